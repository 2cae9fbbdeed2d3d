"""Texts and their labels: feelings, topics, whatever the model was trained for."""

from app.components.results import bars, heading
from app.components.task_page import Task
from app.tabs.tasks.fields import one_text, the_text

TASK = Task(
    id="classify",
    title="Classify",
    task="text-classification",
    about="The label of a whole text, such as whether a review is friendly, and how sure the model is of each.",
    inputs=one_text,
    examples=[
        ["A warm, funny film that I would see again tomorrow."],
        ["Two hours of my life that nobody will give me back."],
        ["The acting is fine, but the story goes nowhere."],
    ],
    call=lambda values: ((the_text(values),), {}),
    show=lambda found, values: heading("Labels") + bars([(row["label"], row["score"]) for row in _rows(found)]),
    waiting="Write a text, or click an example.",
    hub="distilbert/distilbert-base-uncased-finetuned-sst-2-english",
    button="Classify",
    shown_options=("top_k", "function_to_apply"),
    looked_into=lambda values: str(values[0]),
    fixed={"top_k": None},
)


def _rows(found: list) -> list[dict]:
    return found[0] if found and isinstance(found[0], list) else found
