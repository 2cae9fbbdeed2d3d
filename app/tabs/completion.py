"""The Completion tab: a text continued, each token coloured by its probability; a click puts another in its place."""

import time
from collections.abc import Iterator
from functools import partial
from types import SimpleNamespace
from typing import Any

import gradio as gr

from app.components.choices_view import choices, choices_view
from app.components.knobs import chosen, generation, knob
from app.components.said import escape, in_line
from app.components.task_page import fetch
from app.tabs.chat import REDRAWN
from app.tabs.tasks.fields import the_text
from core.errors import VitrineError
from core.generation import Finished, Waiting
from core.lens import likelihood

SHOWN = ("max_new_tokens", "do_sample", "temperature", "top_p", "top_k", "repetition_penalty", "seed")
STARTS = {"max_new_tokens": 64}
EXAMPLES = [
    ["The three primary colours are"],
    ["Once upon a time, in a village by the sea,"],
    ['def fibonacci(n):\n    """The n-th Fibonacci number."""\n'],
    ["import math\n\ndef area_of_circle(radius):\n"],
]
CODE_HUB = "bigcode/starcoder2-3b"
CODE = (
    "No starter for code comes with the program: SmolLM2 tuned on Python functions solved 14 of HumanEval's 164 problems, untuned 8, and "
    f"both only where the body's indentation is given. With a network take `{CODE_HUB}` (3 billion parameters)."
)


def build(workbench: Any) -> SimpleNamespace:
    """Lay out the tab and wire it."""
    names = workbench.model_names("text-generation")
    fields = [generation(name, STARTS.get(name)) for name in SHOWN]
    ids = gr.State([])
    with gr.Row(equal_height=False):
        with gr.Column(scale=7, min_width=320):
            gr.Markdown(
                "A text or a piece of code goes on where you stop, without a conversation around it.", elem_classes="tk-about"
            )
            text = gr.Textbox(label="Beginning", lines=5, max_lines=20, elem_id="complete-text")
            with gr.Row(elem_classes="tk-buttons"):
                run = gr.Button("Continue", variant="primary", elem_id="complete-run")
                stop = gr.Button("Stop", visible=False, elem_id="complete-stop")
            examples = gr.Dataset(
                components=[text], samples=EXAMPLES, label="Examples: a click runs one", elem_id="complete-examples"
            )
        with gr.Column(scale=3, min_width=260):
            model = gr.Dropdown(names, value=names[0] if names else None, label="Model", elem_id="complete-model")
            code = gr.Markdown(CODE, elem_classes="tk-facts", elem_id="complete-code")
            get = gr.Button(f"Fetch {CODE_HUB}", size="sm", elem_id="complete-fetch")
            with gr.Accordion("Options", open=False):
                knobs = [knob(option, "complete") for option in fields]
    said = gr.Markdown("", elem_id="complete-said", elem_classes="tk-said")
    view = choices_view(elem_id="complete-view")

    def go_on(name: str | None, beginning: str, *values: Any) -> Iterator[tuple[Any, ...]]:
        """text, said, view, ids, run, stop"""
        busy, idle = (
            (gr.Button(interactive=False), gr.Button(visible=True)),
            (gr.Button(interactive=True), gr.Button(visible=False)),
        )
        try:
            the_text([beginning], what="a beginning")
            settings = chosen(fields, values)
            yield gr.skip(), "Reading …", gr.skip(), gr.skip(), *busy
            for words in workbench.opening(name, "text-generation"):
                yield gr.skip(), escape(words), *[gr.skip()] * 4
            resident = workbench.use(name, "text-generation")
            config = resident.model.generation_config.updated(**{"max_new_tokens": STARTS["max_new_tokens"], **settings})
            config.validate()
            whole, shown = beginning, 0.0
            for event in workbench.chat_stream(name, None, beginning, config):
                if isinstance(event, Waiting):
                    yield gr.skip(), in_line(event), *[gr.skip()] * 4
                    continue
                if not isinstance(event, Finished):
                    whole += event.text
                    if (now := time.monotonic()) - shown > REDRAWN:
                        shown = now
                        yield whole, "Writing …", *[gr.skip()] * 4
                    continue
                prompt = resident.tokenizer(beginning)["input_ids"]
                row = [*prompt, *event.token_ids]
                found = resident.run(partial(likelihood, tokenizer=resident.tokenizer, ids=row))
                workbench.record(name, None, [{"role": "user", "content": beginning}], settings, event)
                speed = f" · {event.tokens_per_second:.1f} tokens/s" if event.tokens_per_second else ""
                yield whole, f"{len(event.token_ids)} tokens{speed}", choices(found, len(prompt)), row, *idle
        except VitrineError as error:
            yield gr.skip(), f"**Not done.** {escape(str(error))}", gr.skip(), gr.skip(), *idle
        except Exception as error:
            yield gr.skip(), f"**Not done.** {escape(f'{type(error).__name__}: {error}')}", gr.skip(), gr.skip(), *idle
            raise

    def take(name: str | None, row: list[int], event: gr.EventData) -> Any:
        """The text up to a token, with another in its place."""
        tokenizer = workbench.use(name, "text-generation").tokenizer
        return tokenizer.decode([*row[: int(event.index)], int(event.id)], skip_special_tokens=True)

    private: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    asked: dict[str, Any] = {
        "fn": go_on,
        "inputs": [model, text, *knobs],
        "outputs": [text, said, view, ids, run, stop],
        "concurrency_id": "generate",
        "concurrency_limit": 32,  # as Chat's
        **private,
    }
    started = [
        run.click(**asked),
        examples.click(lambda sample: sample[0], examples, text, **private).then(**asked),
        view.take(take, [model, ids], text, **private).then(**asked),  # type: ignore[attr-defined]
    ]
    get.click(lambda: fetch(workbench, CODE_HUB), None, code, **private)
    stop.click(
        lambda: ("Stopped.", gr.Button(interactive=True), gr.Button(visible=False)),
        None,
        [said, run, stop],
        cancels=started,
        **private,
    )
    return SimpleNamespace(text=text, model=model)
