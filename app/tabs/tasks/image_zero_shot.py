"""An image and labels of one's own."""

from app.components.results import bars, heading
from app.components.task_page import Task
from app.tabs.tasks.fields import EXAMPLES, labels, text_box
from app.tabs.tasks.image_labels import image_box, the_image

TASK = Task(
    id="image-zero-shot",
    title="Image zero-shot",
    task="zero-shot-image-classification",
    about="Which of your own labels fits an image; the model compares the image with each of them.",
    inputs=lambda id: [image_box(id), text_box("Labels, with commas between them", 1, "labels")(id)],
    examples=[
        [EXAMPLES / "wall.png", "brick, grass, gravel"],
        [EXAMPLES / "lawn.png", "brick, grass, gravel"],
        [EXAMPLES / "digit-seven.png", "the digit one, the digit seven, grass"],
    ],
    call=lambda values: ((the_image(values),), {"candidate_labels": labels(values, 1)}),
    show=lambda found, values: heading("Labels") + bars([(row["label"], row["score"]) for row in found]),
    waiting="Choose an image and write labels, or click an example.",
    hub="openai/clip-vit-base-patch32",
    button="Classify",
    shown_options=("hypothesis_template",),
)
