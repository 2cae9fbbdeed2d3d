"""What is on an image."""

import gradio as gr

from app.components.results import bars, heading
from app.components.task_page import Task
from app.tabs.tasks.fields import EXAMPLES
from core.errors import VitrineError


def image_box(id: str) -> gr.Image:
    """A place for an image; its value is the file's path."""
    box = gr.Image(label="Image", type="filepath", height=320, elem_id=f"{id}-image", sources=["upload", "clipboard"])
    # Gradio would open the file before us, and a broken one would end as an error in a corner of the page
    box.preprocess = lambda payload: payload.path if payload else None  # type: ignore[method-assign]
    return box


def the_image(values: object) -> object:
    """The image. Raises VitrineError where there is none."""
    image = values[0]  # type: ignore[index]
    if image is None:
        raise VitrineError("Choose an image first, or click an example.")
    return image


TASK = Task(
    id="image-labels",
    title="Image labels",
    task="image-classification",
    about="What an image shows, of the labels the model knows.",
    inputs=lambda id: [image_box(id)],
    examples=[[EXAMPLES / f"digit-{name}.png"] for name in ("seven", "three", "one")],
    call=lambda values: ((the_image(values),), {}),
    show=lambda found, values: heading("Labels") + bars([(row["label"], row["score"]) for row in found]),
    waiting="Choose an image, or click an example.",
    hub="google/vit-base-patch16-224",
    button="Classify",
    shown_options=("top_k", "function_to_apply"),
    looked_into=lambda values: values[0],
    looked_at="image",
)
