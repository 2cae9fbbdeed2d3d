"""The Embeddings tab: sentences in, their similarity and a map out."""

from types import SimpleNamespace
from typing import Any

import gradio as gr

from app.components.said import escape
from app.components.similarity_view import similarity_view
from core.errors import VitrineError
from core.lens import flat, similarity
from core.pipelines import FeatureExtractionPipeline

EXAMPLE = """A cat sleeps on the warm windowsill.
The kitten naps in the sun.
Dogs bark at the passing postman.
Interest rates rose again this quarter.
The central bank raised its key rate.
Shares fell after the announcement.
She plays the violin every evening.
The orchestra tuned before the concert."""
MOST = 64


def compare(workbench: Any, model: str | None, text: str) -> dict[str, Any]:
    """The view's value for one sentence a line. Raises VitrineError."""
    texts = [line.strip() for line in text.splitlines() if line.strip()]
    if len(texts) < 2:
        raise VitrineError("Write at least two sentences, one a line.")
    if len(texts) > MOST:
        raise VitrineError(f"These are {len(texts)} lines; at most {MOST} can be shown together.")
    resident = workbench.use(model)
    vectors = resident.run(
        lambda model: FeatureExtractionPipeline(model, resident.tokenizer)(texts, pooling="mean", normalize=True)
    )
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

    def work(model: str | None, text: str) -> tuple[Any, Any]:
        try:
            value = compare(workbench, model, text)
        except VitrineError as error:
            return gr.Markdown(f"**Not done.** {escape(str(error))}", visible=True), gr.skip()
        said = f"{len(value['texts'])} sentences · vectors of {value['width']} numbers, the mean of the tokens', of length one"
        return gr.Markdown(said, visible=True), value

    run.click(work, [model, text], [said, view], concurrency_limit=1, api_visibility="private", show_progress="minimal")
    return SimpleNamespace(text=text, run=run, view=view, model=model)
