"""The Chat tab: a conversation with a model, or with an adapter trained on it, streamed; stop, go on, ask anew, branch, look inside."""

import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import gradio as gr

from app import conversation as tree
from app import presets
from app.components.branches import branches
from app.components.knobs import chosen, generation, knob
from app.components.preset_choice import preset_buttons, wire_presets
from app.components.results import empty, result_view
from app.components.said import escape, in_line, summary
from app.components.token_strip import token_strip
from app.tabs.tasks.fields import the_text
from core.errors import VitrineError
from core.generation import Finished, GenerationConfig, Waiting
from core.pipelines.options import Option
from core.tokenization.readable import readable_tokens

AHEAD = 10  # tokens guessed at once where the switch is on
GUESSED = "prompt_lookup_num_tokens"
FIELDS = [
    generation("max_new_tokens", 256, high=1024),
    *map(generation, ("do_sample", "temperature", "top_p", "top_k", "min_p", "repetition_penalty", "seed")),
    Option("stop_strings", None, f"{GenerationConfig.knobs()['stop_strings'].metadata['help']} One a line."),
    Option(GUESSED, False, f"{GenerationConfig.knobs()[GUESSED].metadata['help']} {AHEAD} at a time."),
]
BASE = ("The base model", "")
ASKED = ["What is attention in a transformer?", "What is the capital of France?", "Write a haiku about rain."]
REDRAWN = 0.05  # seconds between two pictures of a growing answer: a browser lags behind a hundred a second
SHOWN_TOKENS = 4000  # of a prompt, at its end
NOTHING = "(an empty answer)"


def parameters(values: tuple[Any, ...]) -> dict[str, Any]:
    """The widgets' values as generation parameters; empty ones are left out. Raises ConfigError."""
    found = chosen(FIELDS, values)
    if lines := [line for line in str(found.pop("stop_strings", "")).split("\n") if line]:
        found["stop_strings"] = lines
    return found | ({GUESSED: AHEAD} if found.pop(GUESSED) else {})


def shown(talk: tree.Talk) -> list[dict[str, str]]:
    """The conversation as the chat widget has it."""
    return [{**message, "content": message["content"] or NOTHING} for message in tree.messages(talk)]


def prompt_of(talk: tree.Talk, system: str) -> list[dict[str, str]]:
    """The messages that a model gets."""
    first = [{"role": "system", "content": system.strip()}] if system.strip() else []
    return [*first, *tree.messages(talk)]


def build(workbench: Any) -> SimpleNamespace:
    """Lay out the tab and wire it."""
    names = workbench.model_names("text-generation")
    first = names[0] if names else None
    kept = gr.BrowserState(tree.empty(), storage_key="vitrine-talk", secret="vitrine")
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
            versions = result_view("", elem_id="chat-versions")
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
                on = gr.Button("Continue", size="sm", min_width=96, elem_id="chat-on")
                inside = gr.Button("Look inside", size="sm", min_width=96, elem_id="chat-inside")
                clear = gr.Button("New chat", size="sm", min_width=96, elem_id="chat-clear")
            with gr.Accordion("The prompt, as the model reads it", open=False, elem_id="chat-prompt") as prompt_box:
                prompt = gr.HTML(empty("Send a message first."), elem_id="chat-prompt-view", padding=False)
        with gr.Column(scale=3, min_width=280):
            model = gr.Dropdown(names, value=first, label="Model", allow_custom_value=True, elem_id="chat-model")
            adapter = gr.Dropdown([BASE, *workbench.adapters(first)], value="", label="Adapter", elem_id="chat-adapter")
            system = gr.Textbox("", label="System prompt", lines=2, max_lines=6, elem_id="chat-system", placeholder="none")
            bundled = presets.bundled()
            choice = gr.Radio(list(bundled), value=next(iter(bundled)), label="Preset", elem_id="chat-preset")
            with gr.Accordion("Parameters", open=False, elem_id="chat-parameters"):
                begin = bundled[choice.value]
                knobs = [knob(field, "chat", begin.get(field.name)) for field in FIELDS]
                own = preset_buttons()

    def refresh(name: str | None, chosen: str) -> Any:
        found = [BASE, *workbench.adapters(name)]
        # a choice that is still there is left alone: the person may have made another meanwhile
        return gr.Dropdown(found) if chosen in [value for _, value in found] else gr.Dropdown(found, value="")

    def display(talk: tree.Talk | None) -> tuple[Any, ...]:
        """chat, versions: what a conversation looks like."""
        talk = talk or tree.empty()
        return shown(talk), branches(talk)

    def ask(text: str, talk: tree.Talk, *settings: Any) -> Iterator[tuple[Any, ...]]:
        """A question and its answer: box, then as `answer`."""
        try:
            talk = tree.add(talk, "user", the_text([text], what="a message"))
        except VitrineError as error:
            yield gr.skip(), gr.skip(), gr.skip(), escape(str(error)), gr.skip(), gr.skip(), gr.skip()
            return
        box: Any = ""
        for seen in answer(talk, *settings):
            yield box, *seen
            box = gr.skip()

    def ask_again(talk: tree.Talk, *settings: Any) -> Iterator[tuple[Any, ...]]:
        """Another answer to the last question."""
        yield from answer(tree.to_question(talk), *settings)

    def answer(talk: tree.Talk, model: str, adapter: str, system: str, *values: Any) -> Iterator[tuple[Any, ...]]:
        """The answer to the last question, or the last answer's going on, as it is written: chat, versions, said, send, stop, kept."""
        busy, idle = (gr.Button(visible=False), gr.Button(visible=True)), (gr.Button(visible=True), gr.Button(visible=False))
        skip = gr.skip()
        end = tree.last(talk)
        if end is None:
            yield skip, skip, "Send a message first.", *idle, skip
            return
        goes_on = end["role"] == "assistant"
        before = end["content"] if goes_on else ""
        messages = prompt_of(talk, system)
        yield *display(talk), "Reading …", *busy, talk
        # from here on the buttons are left alone: what is still on its way when a person stops must not take Send away again
        text, drawn = before, 0.0
        try:
            settings = parameters(values)
            for words in workbench.opening(model, "text-generation"):
                yield skip, skip, escape(words), skip, skip, skip
            resident = workbench.use(model, "text-generation")
            config = resident.model.generation_config.updated(**settings)
            config.validate()
            asked = resident.tokenizer.apply_chat_template(messages, continue_final_message=True) if goes_on else messages
            for event in workbench.chat_stream(model, adapter or None, asked, config):
                if isinstance(event, Finished):
                    workbench.record(model, adapter or None, messages, settings, event)
                    cut = event.reason in ("length", "cancelled")
                    talk = tree.lengthen(talk, text, cut) if goes_on else tree.add(talk, "assistant", text, cut)
                    yield *display(talk), summary(event), *idle, talk
                    return
                if isinstance(event, Waiting):
                    yield skip, skip, in_line(event), skip, skip, skip
                    continue
                text += event.text
                if (now := time.monotonic()) - drawn > REDRAWN:
                    status = skip if drawn else ""
                    drawn = now
                    grown = tree.lengthen(talk, text, True) if goes_on else tree.add(talk, "assistant", text)
                    yield shown(grown), skip, status, skip, skip, skip
        except VitrineError as error:
            yield *display(talk), f"**No answer.** {escape(str(error))}", *idle, talk
        except Exception as error:
            yield *display(talk), f"**No answer.** {escape(f'{type(error).__name__}: {error}')}", *idle, talk
            raise

    def stopped(history: list[dict[str, Any]], talk: tree.Talk) -> tuple[Any, ...]:
        """What was written until then stays: versions, said, send, stop, kept."""
        written, end = plain(history), tree.last(talk)
        if end is not None and written and written[-1]["role"] == "assistant":
            text = written[-1]["content"]
            talk = tree.lengthen(talk, text, True) if end["role"] == "assistant" else tree.add(talk, "assistant", text, True)
        return branches(talk), "Stopped.", gr.Button(visible=True), gr.Button(visible=False), talk

    def undo(talk: tree.Talk) -> tuple[Any, ...]:
        """The last question back into the box: chat, versions, box, kept."""
        talk = tree.to_question(talk)
        if (question := tree.last(talk)) is None:
            return *display(talk), gr.skip(), talk
        talk = tree.back_to(talk, question["parent"])
        return *display(talk), question["content"], talk

    def edit(talk: tree.Talk, event: gr.EditData) -> tree.Talk:
        index = event.index if isinstance(event.index, int) else event.index[0]
        return tree.edited(talk, index, str(event.value))

    def go(talk: tree.Talk, event: gr.EventData) -> tuple[Any, ...]:
        """Another version, or back to an earlier answer: chat, versions, said, kept."""
        kind, _, number = str(event.value).partition(" ")
        if not number.isdecimal() or int(number) >= len(talk["nodes"]):  # a click on what is gone meanwhile
            return gr.skip(), gr.skip(), gr.skip(), gr.skip()
        talk = tree.switched(talk, int(number)) if kind == "to" else tree.back_to(talk, int(number))
        return *display(talk), "" if kind == "to" else "Write on from here: a new branch begins.", talk

    def example(event: gr.SelectData) -> str:
        return str(event.value["text"] if isinstance(event.value, dict) else event.value)

    def show_prompt(opened: bool, talk: tree.Talk, model: str, system: str) -> Iterator[Any]:
        if not opened:
            yield gr.skip()
            return
        try:
            if not (messages := prompt_of(talk, system)):
                raise VitrineError("Send a message first.")
            for words in workbench.opening(model, "text-generation"):
                yield empty(words)
            tokenizer = workbench.use(model, "text-generation").tokenizer
            asks = messages[-1]["role"] == "user"
            ids = tokenizer.apply_chat_template(messages, add_generation_prompt=asks)
        except VitrineError as error:
            yield empty(str(error))
            return
        special, last = set(tokenizer.all_special_ids), ids[-SHOWN_TOKENS:]
        row = [(text, token in special) for text, token in zip(readable_tokens(tokenizer, last), last, strict=True)]
        yield token_strip([row], (f"{len(ids)} tokens", "special"))

    private: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    settings = [model, adapter, system, *knobs]
    outputs = [chat, versions, said, send, stop, kept]
    generating: dict[str, Any] = {
        "concurrency_id": "generate",
        "concurrency_limit": 32,  # the engine has a line of its own, which says where one stands
        **private,
    }
    asking: dict[str, Any] = {"fn": ask, "inputs": [box, kept, *settings], "outputs": [box, *outputs], **generating}
    answering: dict[str, Any] = {"fn": answer, "inputs": [kept, *settings], "outputs": outputs, **generating}
    started: list[Any] = [
        box.submit(**asking),
        send.click(**asking),
        again.click(**{**answering, "fn": ask_again}),
        chat.retry(**{**answering, "fn": ask_again}),
        on.click(**answering),
        chat.edit(edit, kept, kept, **private).then(**answering),
        chat.example_select(example, None, box, **private).then(**asking),
    ]
    chat.undo(undo, kept, [chat, versions, box, kept], **private)
    versions.pick(go, kept, [chat, versions, said, kept], **private)  # type: ignore[attr-defined]
    stop.click(stopped, [chat, kept], [versions, said, send, stop, kept], cancels=started, **private)
    fresh = "() => [[], '', '', {nodes: [], leaf: null}]"  # at once, in the browser
    gr.on([clear.click, chat.clear], None, None, [chat, versions, said, kept], js=fresh, **private)
    model.change(refresh, [model, adapter], adapter, **private)
    wire_presets(choice, own, FIELDS, knobs, said)
    opened = gr.State(False)
    prompt_box.expand(lambda: True, None, opened, **private)
    prompt_box.collapse(lambda: False, None, opened, **private)
    gr.on(
        [opened.change, kept.change, model.change, system.change],
        show_prompt,
        [opened, kept, model, system],
        prompt,
        trigger_mode="always_last",
        **private,
    )
    return SimpleNamespace(
        **{"chat": chat, "versions": versions, "model": model, "adapter": adapter, "inside": inside, "kept": kept, "said": said},
        refresh=refresh,
        display=display,
        choice=choice,
    )


def plain(history: list[dict[str, Any]]) -> list[dict[str, str]]:
    """The chat widget's messages as role and text."""
    return [{"role": message["role"], "content": _text(message["content"])} for message in history]


def _text(content: Any) -> str:
    if isinstance(content, list):
        return "".join(part.get("text", "") if isinstance(part, dict) else str(part) for part in content)
    return content if isinstance(content, str) else str(content)
