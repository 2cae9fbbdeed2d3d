"""A widget for each declared parameter: its kind, range, choices and help are the declaration's."""

from dataclasses import Field
from typing import Any

import gradio as gr
from gradio.components import Component

from core.generation import GenerationConfig
from core.pipelines.options import Option


def generation(name: str, default: Any = None) -> Option:
    """A generation parameter as an option, as GenerationConfig declares it."""
    field: Field = GenerationConfig.knobs()[name]
    meta = field.metadata
    value = field.default if default is None else default
    return Option(name, value, meta["help"], meta["min"], meta["max"], tuple(meta.get("choices") or ()))


def knob(option: Option, id: str) -> Component:
    """The widget of one option."""
    default = option.default
    settings: dict[str, Any] = {"label": option.name, "info": option.help, "elem_id": f"{id}-{option.name}"}
    if option.choices:
        shown: Any = [("as the model asks" if choice is None else str(choice), choice) for choice in _choices(option)]
        return gr.Dropdown(shown, value=default, **settings)
    if isinstance(default, bool):
        return gr.Checkbox(default, **settings)
    if option.low is None:
        return gr.Textbox(default or "", lines=1, max_lines=3, **settings)
    if default is None or option.high is None:
        return gr.Number(default, minimum=option.low, maximum=option.high, **settings)
    whole = isinstance(default, int)
    return gr.Slider(option.low, option.high, value=default, step=1 if whole else 0.01, **settings)


def given(options: list[Option], values: tuple[Any, ...]) -> dict[str, Any]:
    """The widgets' values as keywords; those left at their defaults, and empty ones, are left out."""
    found: dict[str, Any] = {}
    for option, value in zip(options, values, strict=True):
        if value is None or value == "" or value == option.default:
            continue
        whole = isinstance(value, float) and value.is_integer() and not isinstance(option.default, float)
        found[option.name] = int(value) if whole else value
    return found


def _choices(option: Option) -> list[Any]:
    return [*([None] if option.default is None else []), *option.choices]
