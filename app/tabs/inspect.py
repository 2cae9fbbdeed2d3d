"""The Inspect tab: one text through one model, and what its heads and hidden states do with it."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import gradio as gr

from app.api.attention import handle
from app.components.attention_view import attention_view
from app.components.hidden_view import hidden_view
from app.components.said import escape
from app.tabs.tasks.fields import bounded
from core.errors import VitrineError
from core.lens import inspect

EXAMPLE = "The keys to the cabinet near the old doors are on the table, because she left them there."
LONGEST = 512
TASKS = ("text-generation", "feature-extraction")


def model_names(workbench: Any) -> list[str]:
    """Every model that the workbench offers, those that write text first."""
    return list(dict.fromkeys(name for task in TASKS for name in workbench.model_names(task)))


def build(workbench: Any) -> SimpleNamespace:
    """Lay out the tab and wire its button."""
    names = model_names(workbench)
    with gr.Row(equal_height=False):
        text = gr.Textbox(EXAMPLE, label="Text", lines=3, max_lines=8, scale=4, elem_id="inspect-text")
        with gr.Column(scale=1, min_width=220):
            model = gr.Dropdown(names, value=names[0] if names else None, label="Model", elem_id="inspect-model")
            run = gr.Button("Run", variant="primary", elem_id="inspect-run")
    status = gr.Markdown("", elem_id="inspect-status", visible=False)
    view = attention_view(elem_id="inspect-attention")
    hidden = hidden_view(elem_id="inspect-hidden")

    def work(name: str | None, words: str) -> Iterator[tuple[Any, ...]]:
        yield gr.Markdown("Reading the text …", visible=True), gr.skip(), gr.skip(), gr.Button(interactive=False)
        try:
            text = bounded(words)
            call = workbench.ask(
                None, name, lambda resident, model, _: inspect(model, resident.tokenizer, text, max_tokens=LONGEST)
            )
            for said in call.waiting():
                yield gr.Markdown(escape(said), visible=True), gr.skip(), gr.skip(), gr.skip()
            value = handle(call.answer.result(), name or "")
        except VitrineError as error:
            yield gr.Markdown(f"**Not done.** {escape(str(error))}", visible=True), None, None, gr.Button(interactive=True)
            return
        except Exception as error:
            yield (
                gr.Markdown(f"**Not done.** {escape(f'{type(error).__name__}: {error}')}", visible=True),
                None,
                None,
                gr.Button(interactive=True),
            )
            raise
        said = f"{len(value['tokens'])} tokens · {value['layers']} layers · {value['heads']} heads"
        if value["kv_heads"] != value["heads"]:
            said += f" on {value['kv_heads']} key-value heads"
        said += " · each token sees only those before it" if value["causal"] else " · every token sees all others"
        said += f" · {value['note']}" if value["note"] else ""
        yield gr.Markdown(said, visible=True), value, value, gr.Button(interactive=True)

    outputs = [status, view, hidden, run]
    event: dict[str, Any] = {
        "fn": work,
        "inputs": [model, text],
        "outputs": outputs,
        "show_progress": "hidden",
        "concurrency_limit": 32,
        "api_visibility": "private",
    }
    run.click(**event)
    text.submit(**event)
    return SimpleNamespace(text=text, run=run, model=model, work=work, outputs=outputs)
