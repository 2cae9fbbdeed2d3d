"""The Embeddings tab: sentences in, their similarity and a map out."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import gradio as gr

from app.components.said import escape
from app.components.similarity_view import similarity_view
from app.tabs.tasks.fields import the_text
from core.errors import VitrineError
from core.lens import flat, similarity

EXAMPLE = """A cat sleeps on the warm windowsill.
The kitten naps in the sun.
Dogs bark at the passing postman.
Interest rates rose again this quarter.
The central bank raised its key rate.
Shares fell after the announcement.
She plays the violin every evening.
The orchestra tuned before the concert."""
MOST = 64


def lines(text: str) -> list[str]:
    """One sentence a line. Raises VitrineError."""
    texts = [line.strip() for line in the_text([text], what="two sentences or more").splitlines() if line.strip()]
    if len(texts) < 2:
        raise VitrineError("Write at least two sentences, one a line.")
    if len(texts) > MOST:
        raise VitrineError(f"These are {len(texts)} lines; at most {MOST} can be shown together.")
    return texts


def compared(texts: list[str], vectors: Any) -> dict[str, Any]:
    """The view's value for sentences and their vectors (sentences, width)."""
    points, share = flat(vectors)
    cosines = [round(float(value), 4) for value in similarity(vectors).ravel()]
    return {"texts": texts, "cosines": cosines, "points": points.round(4).tolist(), "share": share, "width": vectors.shape[1]}


def build(workbench: Any) -> SimpleNamespace:
    """Lay out the tab and wire it."""
    names = workbench.model_names("feature-extraction")
    with gr.Row(equal_height=False):
        text = gr.Textbox(EXAMPLE, label="Sentences, one a line", lines=8, max_lines=16, scale=4, elem_id="embed-text")
        with gr.Column(scale=1, min_width=220):
            model = gr.Dropdown(
                names, value=names[0] if names else None, label="Model", allow_custom_value=True, elem_id="embed-model"
            )
            run = gr.Button("Compare", variant="primary", elem_id="embed-run")
    said = gr.Markdown("", elem_id="embed-said", visible=False)
    view = similarity_view(elem_id="embed-view")

    def work(model: str | None, text: str) -> Iterator[tuple[Any, Any]]:
        try:
            texts = lines(text)
            call = workbench.call("feature-extraction", model, (texts,), {"pooling": "mean", "normalize": True})
            for words in call.waiting():
                yield gr.Markdown(escape(words), visible=True), gr.skip()
            value = compared(texts, call.answer.result())
        except VitrineError as error:
            yield gr.Markdown(f"**Not done.** {escape(str(error))}", visible=True), gr.skip()
            return
        said = f"{len(value['texts'])} sentences · vectors of {value['width']} numbers, the mean of the tokens', of length one"
        yield gr.Markdown(" · ".join([said, *map(escape, call.notes)]), visible=True), value

    run.click(work, [model, text], [said, view], concurrency_limit=32, api_visibility="private", show_progress="hidden")
    return SimpleNamespace(text=text, run=run, view=view, model=model)
