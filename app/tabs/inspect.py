"""The Inspect tab: one text, image or recording through one model, and what its heads and hidden states do with it."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import gradio as gr

from app.api.attention import handle
from app.components.attention_view import attention_view
from app.components.hidden_view import hidden_view
from app.components.said import escape
from app.residents import Resident
from app.tabs.tasks.fields import bounded
from app.tabs.tasks.image_labels import image_box, the_image
from app.tabs.tasks.speech import sound_box, the_sound
from core.errors import VitrineError
from core.lens import Inspection, inspect, inspect_image, inspect_pair, inspect_sound

EXAMPLE = "The keys to the cabinet near the old doors are on the table, because she left them there."
LONGEST = 512
# what a model reads, by the task that it is for; any other task's model reads a text
KINDS = {
    "translation": "pair",
    "summarization": "pair",
    "text2text-generation": "pair",
    "image-classification": "image",
    "automatic-speech-recognition": "sound",
    "audio-classification": "sound",
}
TASKS = ("text-generation", "feature-extraction", *KINDS)
CALLED = {"cross": "Target reads source", "encoder": "Encoder", "decoder": "Decoder"}


def model_names(workbench: Any) -> list[str]:
    """Every model that the workbench offers, those that write text first."""
    return list(dict.fromkeys(name for task in TASKS for name in workbench.model_names(task)))


def build(workbench: Any) -> SimpleNamespace:
    """Lay out the tab and wire its button."""
    names = model_names(workbench)
    with gr.Row(equal_height=False):
        with gr.Column(scale=4, min_width=300):
            text = gr.Textbox(EXAMPLE, label="Text", lines=3, max_lines=8, elem_id="inspect-text")
            target = gr.Textbox(
                label="Target", placeholder="Empty: the model writes it", lines=2, visible=False, elem_id="inspect-target"
            )
            image, sound = image_box("inspect"), sound_box("inspect")
            image.visible = sound.visible = False
        with gr.Column(scale=1, min_width=220):
            model = gr.Dropdown(names, value=names[0] if names else None, label="Model", elem_id="inspect-model")
            run = gr.Button("Run", variant="primary", elem_id="inspect-run")
    status = gr.Markdown("", elem_id="inspect-status", visible=False)
    part = gr.Radio([], label="What to look at", visible=False, elem_id="inspect-part")
    handles = gr.State({})
    view = attention_view(elem_id="inspect-attention")
    hidden = hidden_view(elem_id="inspect-hidden")

    def kind_of(name: str | None) -> str:
        known = workbench.shelf.find(name) if name else None
        return KINDS.get(known.task, "text") if known else "text"

    def show_fields(name: str | None) -> tuple[Any, ...]:
        kind = kind_of(name)
        return (
            gr.Textbox(visible=kind in ("text", "pair")),
            gr.Textbox(visible=kind == "pair"),
            gr.Image(visible=kind == "image"),
            gr.Audio(visible=kind == "sound"),
        )

    def work(
        name: str | None, words: str, answer: str | None, picture: str | None, clip: str | None
    ) -> Iterator[tuple[Any, ...]]:
        """status, part, handles, view, hidden, run"""
        kind = kind_of(name)

        def wrong(said: str) -> tuple[Any, ...]:
            shown = gr.Markdown(f"**Not done.** {escape(said)}", visible=True)
            return shown, gr.Radio(visible=False), {}, None, None, gr.Button(interactive=True)

        yield gr.Markdown("Reading …", visible=True), *[gr.skip()] * 4, gr.Button(interactive=False)
        try:
            given = the_image([picture]) if kind == "image" else the_sound([clip]) if kind == "sound" else bounded(words)
            task = workbench.shelf.find(name).task if kind != "text" else None
            call = workbench.ask(task, name, lambda resident, model, _: seen(kind, resident, model, given, answer or ""))
            for said in call.waiting():
                yield gr.Markdown(escape(said), visible=True), *[gr.skip()] * 5
            found = {which: (handle(one, name or ""), one) for which, one in call.answer.result().items()}
        except VitrineError as error:
            yield wrong(str(error))
            return
        except Exception as error:
            yield wrong(f"{type(error).__name__}: {error}")
            raise
        values = {which: value for which, (value, _) in found.items()}
        first = next(iter(values))
        choices = [(CALLED[which], which) for which in values] if len(values) > 1 else []
        yield (
            gr.Markdown(described(kind, values[first]), visible=True),
            gr.Radio(choices, value=first if choices else None, visible=bool(choices)),
            {which: (described(kind, value), value) for which, value in values.items()},
            values[first],
            values[first],
            gr.Button(interactive=True),
        )

    outputs = [status, part, handles, view, hidden, run]
    event: dict[str, Any] = {
        "fn": work,
        "inputs": [model, text, target, image, sound],
        "outputs": outputs,
        "show_progress": "hidden",
        "concurrency_limit": 32,
        "api_visibility": "private",
    }
    private: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    run.click(**event)
    text.submit(**event)
    target.submit(**event)
    model.change(show_fields, model, [text, target, image, sound], **private)
    part.input(lambda which, all_: (*all_[which], all_[which][1]), [part, handles], [status, view, hidden], **private)
    fields = {"text": text, "target": target, "image": image, "sound": sound}
    return SimpleNamespace(fields=fields, model=model, work=work, inputs=event["inputs"], outputs=outputs)


def seen(kind: str, resident: Resident, model: Any, given: Any, target: str) -> dict[str, Inspection]:
    """What the lens sees of an input of this kind, by part; a text or an image has one."""
    if kind == "pair" and model.config.is_encoder_decoder:  # a chat model may do such a task too
        return inspect_pair(model, resident.tokenizer, given, target, LONGEST)
    if kind == "image":
        return {"": inspect_image(model, resident.parts["image_processor"], given)}
    if kind == "sound":
        return inspect_sound(model, resident.parts, given)
    return {"": inspect(model, resident.tokenizer, given, max_tokens=LONGEST)}


def described(kind: str, value: dict[str, Any]) -> str:
    """One line on what is shown."""
    rows, columns = len(value["tokens"]), len(value["columns"])
    if value["crossed"]:
        said = f"{rows} tokens read {columns} {'moments of the recording' if kind == 'sound' else 'tokens of the source'}"
    elif value["grid"]:
        said = "{} by {} patches".format(*value["grid"])
    else:
        said = f"{rows} {'tokens' if kind != 'sound' or value['ids'] else 'moments of the recording'}"
    said += f" · {value['layers']} layers · {value['heads']} heads"
    if value["kv_heads"] != value["heads"]:
        said += f" on {value['kv_heads']} key-value heads"
    if not value["crossed"]:
        said += " · each token sees only those before it" if value["causal"] else " · every one sees all others"
    if value["cut"]:
        left = f"The text was cut: {value['cut']} tokens at its end are left out."
        said += f" · {'Only the first 30 seconds are shown.' if kind == 'sound' else left}"
    return said
