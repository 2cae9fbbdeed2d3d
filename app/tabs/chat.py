"""The Chat tab: a conversation with a model, or with an adapter trained on it, streamed; stop, regenerate, edit, look inside."""

import time
import tomllib
from collections.abc import Iterator
from functools import cache
from types import SimpleNamespace
from typing import Any

import gradio as gr
from gradio.components import Component

from app.components.said import escape
from core.errors import VitrineError
from core.generation import Finished, GenerationConfig, Waiting
from core.paths import assets_dir

GUESSED = "prompt_lookup_num_tokens"
SHOWN = (
    *("max_new_tokens", "do_sample", "temperature", "top_p", "top_k", "min_p", "repetition_penalty", "seed", "stop_strings"),
    GUESSED,
)
AHEAD = 10  # tokens guessed at once where the switch is on
BASE = ("The base model", "")
ASKED = ["What is attention in a transformer?", "What is the capital of France?", "Write a haiku about rain."]
SYSTEM = ""
REDRAWN = 0.05  # seconds between two pictures of a growing answer: a browser lags behind a hundred a second


@cache
def presets() -> dict[str, dict[str, Any]]:
    """Named sets of parameters from assets/presets.toml."""
    with open(assets_dir() / "presets.toml", "rb") as file:
        return tomllib.load(file)


def knob(name: str, value: Any) -> Component:
    """A widget for a generation parameter: its range and help are GenerationConfig's."""
    field = GenerationConfig.knobs()[name]
    meta = field.metadata
    settings: dict[str, Any] = {"label": name, "info": meta["help"], "elem_id": f"chat-{name}"}
    if name == GUESSED:
        settings["label"] = f"{name} = {AHEAD}"
        return gr.Checkbox(bool(value), **settings)
    if isinstance(field.default, bool):
        return gr.Checkbox(value, **settings)
    if name == "stop_strings":
        return gr.Textbox(value or "", lines=1, placeholder="one a line", **settings)
    if name in ("seed", "min_p"):
        settings["placeholder"] = "none"
        return gr.Number(value, precision=0 if name == "seed" else None, minimum=meta["min"], maximum=meta["max"], **settings)
    top = 1024 if name == "max_new_tokens" else meta["max"]
    return gr.Slider(meta["min"], top, value=value, step=meta["step"], **settings)


def parameters(values: tuple[Any, ...]) -> dict[str, Any]:
    """The widgets' values as generation parameters; empty ones are left out."""
    found = dict(zip(SHOWN, values, strict=True))
    found["stop_strings"] = [line for line in (found["stop_strings"] or "").split("\n") if line]
    found[GUESSED] = AHEAD if found[GUESSED] else None
    for name in ("max_new_tokens", "top_k", "seed"):
        found[name] = None if found[name] is None else int(found[name])
    return {name: value for name, value in found.items() if value not in (None, "", [])}


def plain(history: list[dict[str, Any]]) -> list[dict[str, str]]:
    """The chat widget's messages as role and text."""
    return [{"role": message["role"], "content": _text(message["content"])} for message in history]


def _text(content: Any) -> str:
    if isinstance(content, list):
        return "".join(part.get("text", "") if isinstance(part, dict) else str(part) for part in content)
    return content if isinstance(content, str) else str(content)


def build(workbench: Any) -> SimpleNamespace:
    """Lay out the tab and wire it."""
    names = workbench.model_names("text-generation")
    first = names[0] if names else None
    preset = next(iter(presets()))
    kept = gr.BrowserState([], storage_key="vitrine-chat", secret="vitrine")
    with gr.Row(equal_height=False):
        with gr.Column(scale=8, min_width=320):
            chat = gr.Chatbot(
                [],
                elem_id="chat-log",
                show_label=False,
                height="60vh",
                min_height=320,
                editable="user",
                layout="panel",
                buttons=["copy"],
                allow_tags=False,
                group_consecutive_messages=False,
                placeholder="<b>Ask something.</b><br>The model runs on this machine; nothing leaves it.",
                examples=[{"text": text} for text in ASKED],
            )
            said = gr.Markdown("", elem_id="chat-said")
            with gr.Row(elem_id="chat-entry"):
                box = gr.Textbox(
                    placeholder="Write a message; Enter sends it, Shift+Enter begins a line",
                    show_label=False,
                    container=False,
                    lines=1,
                    max_lines=8,
                    scale=8,
                    autofocus=True,
                    elem_id="chat-box",
                )
                send = gr.Button("Send", variant="primary", scale=1, min_width=88, elem_id="chat-send")
                stop = gr.Button("Stop", variant="stop", scale=1, min_width=88, visible=False, elem_id="chat-stop")
            with gr.Row(elem_id="chat-tools"):
                again = gr.Button("Regenerate", size="sm", min_width=96, elem_id="chat-again")
                inside = gr.Button("Look inside", size="sm", min_width=96, elem_id="chat-inside")
                clear = gr.Button("New chat", size="sm", min_width=96, elem_id="chat-clear")
        with gr.Column(scale=3, min_width=280):
            model = gr.Dropdown(names, value=first, label="Model", allow_custom_value=True, elem_id="chat-model")
            adapter = gr.Dropdown([BASE, *workbench.adapters(first)], value="", label="Adapter", elem_id="chat-adapter")
            system = gr.Textbox(SYSTEM, label="System prompt", lines=2, max_lines=6, elem_id="chat-system", placeholder="none")
            choice = gr.Radio(list(presets()), value=preset, label="Preset", elem_id="chat-preset")
            with gr.Accordion("Parameters", open=False, elem_id="chat-parameters"):
                knobs = [knob(name, presets()[preset].get(name, GenerationConfig.knobs()[name].default)) for name in SHOWN]

    def refresh(name: str | None, chosen: str) -> Any:
        found = [BASE, *workbench.adapters(name)]
        # a choice that is still there is left alone: the person may have made another meanwhile
        return gr.Dropdown(found) if chosen in [value for _, value in found] else gr.Dropdown(found, value="")

    def set_preset(chosen: str) -> list[Any]:
        values = presets()[chosen]
        return [values.get(name, gr.skip()) for name in SHOWN]

    def ask(text: str, history: list[dict[str, Any]]) -> tuple[Any, Any, Any]:
        if not text.strip():
            return gr.skip(), gr.skip(), "Write a message first."
        return "", [*plain(history), {"role": "user", "content": text}], ""

    def answer(
        history: list[dict[str, Any]], model: str, adapter: str, system: str, *values: Any
    ) -> Iterator[tuple[Any, Any, Any, Any, Any]]:
        """The answer to the last message, as it is written: chat, status, send, stop, kept."""
        history = plain(history)
        busy, idle = (gr.Button(visible=False), gr.Button(visible=True)), (gr.Button(visible=True), gr.Button(visible=False))
        if not history or history[-1]["role"] != "user":
            yield gr.skip(), gr.skip(), *idle, gr.skip()
            return
        messages = [{"role": "system", "content": system.strip()}, *history] if system.strip() else history
        loading = "" if model in workbench.loaded() else f"Loading {model} …"
        yield history, loading or "Reading …", *busy, history
        # from here on the buttons are left alone: what is still on its way when a person stops must not take Send away again
        text, shown = "", 0.0
        try:
            settings = parameters(values)
            config = _config(workbench.use(model).model, settings)
            for event in workbench.chat_stream(model, adapter or None, messages, config):
                if isinstance(event, Finished):
                    workbench.record(model, adapter or None, messages, settings, event)
                    final = [*history, {"role": "assistant", "content": text or "(an empty answer)"}]
                    yield final, summary(event), *idle, final
                    return
                if isinstance(event, Waiting):
                    yield (
                        gr.skip(),
                        f"In line, number {event.position}: others are being answered …",
                        gr.skip(),
                        gr.skip(),
                        gr.skip(),
                    )
                    continue
                text += event.text
                if (now := time.monotonic()) - shown > REDRAWN:
                    status = gr.skip() if shown else ""
                    shown = now
                    yield [*history, {"role": "assistant", "content": text}], status, gr.skip(), gr.skip(), gr.skip()
        except VitrineError as error:
            yield history, f"**No answer.** {escape(str(error))}", *idle, history
        except Exception as error:
            yield history, f"**No answer.** {escape(f'{type(error).__name__}: {error}')}", *idle, history
            raise

    def stopped(history: list[dict[str, Any]]) -> tuple[Any, Any, Any, Any]:
        return gr.Button(visible=True), gr.Button(visible=False), "Stopped.", plain(history)

    def retry(history: list[dict[str, Any]]) -> Any:
        history = plain(history)
        while history and history[-1]["role"] == "assistant":
            history.pop()
        return history

    def undo(history: list[dict[str, Any]]) -> tuple[Any, Any]:
        history = retry(history)
        text = history.pop()["content"] if history else ""
        return history, text

    def edit(history: list[dict[str, Any]], event: gr.EditData) -> Any:
        index = event.index if isinstance(event.index, int) else event.index[0]
        return [*plain(history)[:index], {"role": "user", "content": str(event.value)}]

    def example(event: gr.SelectData) -> str:
        return str(event.value["text"] if isinstance(event.value, dict) else event.value)

    private: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    outputs = [chat, said, send, stop, kept]
    asked: dict[str, Any] = {
        "fn": answer,
        "inputs": [chat, model, adapter, system, *knobs],
        "outputs": outputs,
        "concurrency_id": "generate",
        "concurrency_limit": 32,  # the engine has a line of its own, which says where one stands
        **private,
    }
    started = []
    for trigger in (box.submit, send.click):
        started.append(trigger(ask, [box, chat], [box, chat, said], **private).then(**asked))
    started.append(again.click(retry, chat, chat, **private).then(**asked))
    started.append(chat.retry(retry, chat, chat, **private).then(**asked))
    started.append(chat.edit(edit, chat, chat, **private).then(**asked))
    started.append(
        chat.example_select(example, None, box, **private).then(ask, [box, chat], [box, chat, said], **private).then(**asked)
    )
    chat.undo(undo, chat, [chat, box], **private)
    stop.click(stopped, chat, [send, stop, said, kept], cancels=started, **private)
    gr.on(
        [clear.click, chat.clear], None, None, [chat, said, kept], js="() => [[], '', []]", **private
    )  # at once, in the browser
    model.change(refresh, [model, adapter], adapter, **private)
    choice.change(set_preset, choice, knobs, **private)
    return SimpleNamespace(
        chat=chat, model=model, adapter=adapter, inside=inside, kept=kept, refresh=refresh, plain=plain, said=said
    )


def _config(model: Any, settings: dict[str, Any]) -> GenerationConfig:
    """The model's own ends of an answer, the person's everything else. Raises GenerationError."""
    config = model.generation_config.updated(**settings)
    config.validate()
    return config


def summary(end: Finished) -> str:
    """One line on how an answer went."""
    why = {"length": " · cut at max_new_tokens", "stop": " · ended at a stop string", "cancelled": " · stopped"}.get(
        end.reason, ""
    )
    speed = f" · {end.tokens_per_second:.1f} tokens/s" if end.tokens_per_second else ""
    first = f" · first after {end.first_token_seconds:.1f} s"
    read, reused = f" · {end.prompt_tokens - end.reused_tokens} tokens read", ""
    if end.reused_tokens:
        reused = f" · {end.reused_tokens} of {end.prompt_tokens} tokens reused"
    guessed = ""
    if end.drafted_tokens:
        guessed = (
            f" · {end.accepted_tokens} of {end.drafted_tokens} guesses right ({end.accepted_tokens / end.drafted_tokens:.0%})"
        )
    return f"{len(end.token_ids)} tokens{speed}{first}{read}{reused}{guessed}{why}"
