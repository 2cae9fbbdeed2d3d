"""The bones of every task's tab: model, examples, input, options, result, raw JSON, the same as Python, a way to look inside.

A task is a `Task`: its words, its input widgets, how their values become a call, and how a result is shown. See app/tabs/tasks.
"""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
from gradio.components import Component

from app.components.knobs import generation, given, knob
from app.components.results import result_view
from app.components.said import escape
from core.checkpoints import bundled
from core.errors import VitrineError
from core.pipelines import pipeline_class

Values = Sequence[Any]


@dataclass(frozen=True)
class Task:
    """What a task's tab is made of; the rest is the same for all.

    call: the input widgets' values -> the pipeline's arguments, by position and by name; raises VitrineError where something is missing.
    show: (result, values) -> HTML. looked_into: values -> what Inspect is given, into its field `looked_at` (text, image, sound).
    picked: (values, what a click took) -> new values of the input widgets. hub: the model that a person with a network would take.
    examples: the widgets' values; a Path is a file.
    """

    id: str
    title: str
    task: str
    about: str
    inputs: Callable[[str], list[Component]]
    examples: list[list[Any]]
    call: Callable[[Values], tuple[tuple[Any, ...], dict[str, Any]]]
    show: Callable[[Any, Values], str]
    waiting: str
    hub: str
    button: str = "Run"
    shown_options: tuple[str, ...] = ()
    looked_into: Callable[[Values], Any] | None = None
    looked_at: str = "text"
    picked: Callable[[Values, str], list[Any]] | None = None
    fixed: dict[str, Any] = field(default_factory=dict)


def build(workbench: Any, task: Task) -> SimpleNamespace:
    """Lay out the tab and wire it."""
    id = task.id
    names = workbench.model_names(task.task)
    declared = {option.name: option for option in pipeline_class(task.task).options}
    fields = [declared[name] if name in declared else generation(name) for name in task.shown_options]
    fields = [replace(option, default=task.fixed.get(option.name, option.default)) for option in fields]
    with gr.Row(equal_height=False, elem_classes="tk"):
        with gr.Column(scale=7, min_width=320):
            gr.Markdown(escape(task.about), elem_classes="tk-about")
            inputs = task.inputs(id)
            with gr.Row(elem_classes="tk-buttons"):
                run = gr.Button(task.button, variant="primary", elem_id=f"{id}-run")
                stop = gr.Button("Stop", visible=False, elem_id=f"{id}-stop")
            examples = gr.Dataset(
                components=inputs,
                samples=[[str(value) for value in example] for example in task.examples],
                sample_labels=[_called(example[0]) for example in task.examples],
                label="Examples: a click runs one",
                elem_id=f"{id}-examples",
                visible=bool(task.examples),
            )
        with gr.Column(scale=3, min_width=260):
            model = gr.Dropdown(
                names, value=names[0] if names else None, label="Model", allow_custom_value=True, elem_id=f"{id}-model"
            )
            facts = gr.Markdown(_facts(workbench, task, names[0] if names else None), elem_classes="tk-facts")
            get = gr.Button(f"Fetch {task.hub}", size="sm", elem_id=f"{id}-fetch")
            knobs: list[Component] = []
            if fields:
                with gr.Accordion("Options", open=False):
                    knobs = [knob(option, id) for option in fields]
    said = gr.Markdown("", elem_id=f"{id}-said", elem_classes="tk-said")
    result = result_view(task.waiting, elem_id=f"{id}-result")
    with gr.Row(elem_classes="tk-more"):
        with gr.Accordion("Raw result", open=False):
            raw = gr.Code("", language="json", interactive=False, show_label=False, elem_id=f"{id}-raw")
        with gr.Accordion("The same in Python", open=False):
            code = gr.Code("", language="python", interactive=False, show_label=False, elem_id=f"{id}-code")
    with gr.Row(elem_classes="tk-more"):
        inside = gr.Button(
            "Look inside", size="sm", scale=0, min_width=140, visible=task.looked_into is not None, elem_id=f"{id}-inside"
        )
        earlier = gr.Dropdown([], label="Earlier, kept in Runs", elem_id=f"{id}-earlier", scale=3)

    def work(name: str | None, *values: Any) -> Iterator[tuple[Any, ...]]:
        """said, result, raw, code, run, stop"""
        given_inputs, set_options = list(values[: len(inputs)]), given(fields, values[len(inputs) :])
        busy = (gr.Button(interactive=False), gr.Button(visible=True))
        idle = (gr.Button(interactive=True), gr.Button(visible=False))
        try:
            args, kwargs = task.call(given_inputs)
            kwargs = {**task.fixed, **kwargs, **set_options}
            begin = time.perf_counter()
            call = workbench.call(task.task, name, args, kwargs)
            yield "", *[gr.skip()] * 3, *busy
            for words in call.waiting():  # a yield is where Gradio can end this
                yield escape(words), *[gr.skip()] * 5
            found = call.answer.result()
            seconds = time.perf_counter() - begin
            shown = task.show(found, given_inputs)
        except VitrineError as error:
            yield f"**Not done.** {escape(_named(str(error), given_inputs))}", *[gr.skip()] * 3, *idle
            return
        except Exception as error:
            yield f"**Not done.** {escape(f'{type(error).__name__}: {error}')}", *[gr.skip()] * 3, *idle
            raise
        texts = [value if isinstance(value, str) else None for value in given_inputs]
        title = next((_file_name(text) or text for text in texts if text), "")
        workbench.record_call(task.task, name, title, texts, found, seconds)
        plain = json.dumps(found, indent=2, ensure_ascii=False, default=float)
        said = " · ".join([f"{seconds:.2f} s", escape(name or ""), *(f"**note:** {escape(note)}" for note in call.notes)])
        yield said, shown, plain, as_python(task.task, name, args, kwargs), *idle

    def before() -> Any:
        return gr.Dropdown(workbench.calls(task.task), value=None)

    def each(values: list[Any]) -> Any:
        """One value for each input widget; of a single widget the value itself, for Gradio would show the list."""
        return values if len(inputs) > 1 else values[0]

    def reload(run: str | None) -> Any:
        found = workbench.call_inputs(run) if run else [None] * len(inputs)
        return each([gr.skip() if value is None else value for value in found])

    private: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    asked: dict[str, Any] = {
        "fn": work,
        "inputs": [model, *inputs, *knobs],
        "outputs": [said, result, raw, code, run, stop],
        "concurrency_id": "pipeline",
        "concurrency_limit": 32,  # the workbench has a line of its own, which says where one stands
        **private,
    }
    started: list[Any] = [run.click(**asked)]
    started += [widget.submit(**asked) for widget in inputs if isinstance(widget, gr.Textbox)]
    started.append(examples.click(each, examples, inputs, **private).then(**asked))
    stop.click(
        lambda: ("Stopped.", gr.Button(interactive=True), gr.Button(visible=False)),
        None,
        [said, run, stop],
        cancels=started,
        **private,
    )
    get.click(lambda: fetch(workbench, task.hub), None, facts, **private)
    model.change(lambda name: _facts(workbench, task, name), model, facts, **private)
    earlier.focus(before, None, earlier, **private)
    earlier.input(reload, earlier, inputs, **private)
    if task.picked is not None:
        picked = task.picked

        def pick(event: gr.EventData, *values: Any) -> Any:
            return each(picked(values, str(event.value)))

        result.pick(pick, inputs, inputs, **private)  # type: ignore[attr-defined]
    return SimpleNamespace(task=task, model=model, inputs=inputs, inside=inside)


def as_python(task: str, name: str | None, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    """The call as a program."""
    words = [repr(_file_name(value) or value) for value in args]
    words += [f"{key}={_file_name(value) or value!r}" for key, value in kwargs.items()]
    return f"from core import pipeline\n\npipe = pipeline({task!r}, model={name!r})\nprint(pipe({', '.join(words)}))\n"


def _called(value: Any) -> str:
    """What an example's button says: of a file its name, since a picture alone is nothing to those who do not see it."""
    return value.stem.replace("-", " ") if isinstance(value, Path) else str(value)


def _file_name(value: Any) -> str | None:
    """Of an upload the name that its owner knows; None for anything else."""
    return (
        Path(value).name
        if isinstance(value, str) and len(value) < 4096 and Path(value).is_absolute() and Path(value).is_file()
        else None
    )


def _named(sentence: str, values: list[Any]) -> str:
    """The sentence with the names of uploads, not the places where this program keeps them."""
    for value in values:
        if name := _file_name(value):
            sentence = sentence.replace(str(value), name)
    return sentence


def _facts(workbench: Any, task: Task, name: str | None) -> str:
    """One line on the chosen model: its size and what it takes of the memory that is free; or where to get one."""
    if not name:
        return "No starter of this task comes with the program: fetch a model from the hub, or write the name of another above."
    found, card = workbench.shelf.find(name), bundled.cards().get(name)
    said = []
    if found is not None and found.parameters:
        fits = "" if found.memory < workbench.budget else ", **more than this machine has to give**"
        said.append(f"{found.parameters / 1e6:,.1f} M parameters · {found.memory / 1e6:,.0f} MB of memory{fits}")
    if card is not None:
        said.append(
            f"A small starter: {card.metric} {card.score:.2f} on rows kept apart, where a trivial method has {card.floor:.2f}. "
            f"With a network take `{card.hub}`."
        )
    return "  \n".join(said)


def fetch(workbench: Any, hub: str) -> str:
    """Begin to fetch a model of the hub; what is said of it."""
    try:
        workbench.shelf.fetch(hub)
    except VitrineError as error:
        return f"**Not done.** {escape(str(error))}"
    return f"`{hub}` is being fetched: Models shows how far it is, and then it stands in the list above."
