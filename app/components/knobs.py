"""A widget for each declared parameter: its kind, range, choices and help are the declaration's."""

from dataclasses import Field
from typing import Any

import gradio as gr
from gradio.components import Component

from core.errors import ConfigError
from core.generation import GenerationConfig
from core.pipelines.options import Option


def generation(name: str, default: Any = None, high: float | None = None) -> Option:
    """A generation parameter as an option, as GenerationConfig declares it; `high` where the widget is to end earlier."""
    field: Field = GenerationConfig.knobs()[name]
    meta = field.metadata
    value = field.default if default is None else default
    return Option(name, value, meta["help"], meta["min"], high or meta["max"], tuple(meta.get("choices") or ()))


def knob(option: Option, id: str, value: Any = None) -> Component:
    """The widget of one option, with another value than its default's where one is given. A number that may be none is a text, since
    a field of numbers shows 0 there."""
    default = option.default
    value = default if value is None else value
    settings: dict[str, Any] = {"label": option.name, "info": option.help, "elem_id": f"{id}-{option.name}"}
    if option.choices:
        shown: Any = [("as the model asks" if choice is None else str(choice), choice) for choice in _choices(option)]
        return gr.Dropdown(shown, value=value, **settings)
    if isinstance(default, bool):
        return gr.Checkbox(value, **settings)
    if option.low is None:
        return gr.Textbox(value or "", lines=1, max_lines=3, **settings)
    if default is None:
        return gr.Textbox("" if value is None else str(value), lines=1, max_lines=1, placeholder="none", **settings)
    if option.high is None:
        return gr.Number(value, minimum=option.low, **settings)
    return gr.Slider(option.low, option.high, value=value, step=1 if isinstance(default, int) else 0.01, **settings)


def chosen(options: list[Option], values: tuple[Any, ...]) -> dict[str, Any]:
    """The widgets' values as keywords, empty ones left out. Raises ConfigError for a text where a number belongs."""
    found: dict[str, Any] = {}
    for option, value in zip(options, values, strict=True):
        if value is None or (isinstance(value, str) and not value.strip()):
            continue
        if option.default is None and option.low is not None and not option.choices:
            value = _number(option.name, value)
        whole = isinstance(value, float) and value.is_integer() and not isinstance(option.default, float)
        found[option.name] = int(value) if whole else value
    return found


def given(options: list[Option], values: tuple[Any, ...]) -> dict[str, Any]:
    """As `chosen`, those left at their defaults left out too: a pipeline knows them."""
    defaults = {option.name: option.default for option in options}
    return {name: value for name, value in chosen(options, values).items() if value != defaults[name]}


def _number(name: str, value: Any) -> float:
    try:
        return float(value)
    except ValueError:
        raise ConfigError(f"{name} has to be a number, not “{value}”: leave it empty for none.") from None


def _choices(option: Option) -> list[Any]:
    return [*([None] if option.default is None else []), *option.choices]
