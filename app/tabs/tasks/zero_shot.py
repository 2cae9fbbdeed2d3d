"""Labels of one's own."""

from app.components.results import bars, heading
from app.components.task_page import Task
from app.tabs.tasks.fields import labels, text_box, the_text

TASK = Task(
    id="zero-shot",
    title="Zero-shot",
    task="zero-shot-classification",
    about="Which of your own labels fits a text; the model was never trained on them.",
    inputs=lambda id: [
        text_box("Text", 3)(id),
        text_box("Labels, with commas between them", 1, "labels")(id),
    ],
    examples=[
        ["The striker scored twice in the last ten minutes.", "sport, politics, cooking"],
        ["Stir the onions until they are soft and golden.", "sport, politics, cooking"],
        ["My order arrived broken and nobody answers my letters.", "complaint, praise, question"],
    ],
    call=lambda values: ((the_text(values),), {"candidate_labels": labels(values, 1)}),
    show=lambda found, values: heading("Labels") + bars(list(zip(found["labels"], found["scores"], strict=True))),
    waiting="Write a text and labels, or click an example.",
    hub="facebook/bart-large-mnli",
    button="Classify",
    shown_options=("hypothesis_template", "multi_label"),
    looked_into=lambda values: str(values[0]),
    fixed={"hypothesis_template": "This text is about {}."},
)
