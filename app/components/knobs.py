"""A widget for each declared parameter: its kind, range, choices and help are the declaration's."""

from dataclasses import MISSING, Field
from typing import Any

import gradio as gr
from gradio.components import Component


def knob(field: Field, id: str, value: Any = MISSING) -> Component:
    """The widget of one parameter; the value is its default where none is given."""
    default = field.default if field.default is not MISSING else None
    value = default if value is MISSING else value
    meta = field.metadata
    settings: dict[str, Any] = {"label": field.name, "info": meta["help"], "elem_id": f"{id}-{field.name}"}
    if choices := meta.get("choices"):
        return gr.Dropdown([(str(choice), choice) for choice in choices], value=value, **settings)
    if isinstance(default, bool):
        return gr.Checkbox(bool(value), **settings)
    low, high, step = meta.get("min"), meta.get("max"), meta.get("step")
    if low is None:
        return gr.Textbox(value or "", lines=1, max_lines=3, **settings)
    if default is None:
        return gr.Number(value, precision=0 if step == 1 else None, minimum=low, maximum=high, **settings)
    return gr.Slider(low, high, value=value, step=step, **settings)


def given(fields: list[Field], values: tuple[Any, ...]) -> dict[str, Any]:
    """The widgets' values as keywords; those left at their defaults, and empty ones, are left out."""
    found: dict[str, Any] = {}
    for field, value in zip(fields, values, strict=True):
        if value is None or value == "" or value == field.default:
            continue
        whole = field.metadata.get("step") == 1 and isinstance(value, float)
        found[field.name] = int(value) if whole else value
    return found
