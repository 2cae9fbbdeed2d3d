"""Choosing a named set of parameters, and keeping one's own."""

from types import SimpleNamespace
from typing import Any

import gradio as gr

from app import presets
from app.components.knobs import chosen
from app.components.said import escape
from core.errors import VitrineError
from core.pipelines.options import Option


def preset_buttons() -> SimpleNamespace:
    """A name and two buttons, to stand below the parameters."""
    title = gr.Textbox(label="Keep these as a preset", placeholder="its name", max_lines=1, elem_id="chat-preset-name")
    with gr.Row():
        save = gr.Button("Save", size="sm", min_width=80, elem_id="chat-preset-save")
        forget = gr.Button("Delete the preset", size="sm", min_width=80, elem_id="chat-preset-delete")
    return SimpleNamespace(title=title, save=save, forget=forget)


def known_presets() -> tuple[Any, Any]:
    """choice, said: the person's own too, as they are now."""
    try:
        return gr.Radio(list(presets.presets())), gr.skip()
    except VitrineError as error:
        return gr.skip(), escape(str(error))


def wire_presets(choice: gr.Radio, own: SimpleNamespace, fields: list[Option], knobs: list[Any], said: gr.Markdown) -> None:
    """Choosing sets the knobs; Save keeps what they show, under a name."""

    def set_preset(name: str) -> list[Any]:
        values = presets.presets().get(name, {})
        return [_shown_value(values[field.name]) if field.name in values else gr.skip() for field in fields]

    def save_preset(name: str, *values: Any) -> tuple[Any, ...]:
        """choice, title, said"""
        try:
            name = presets.save(name, chosen(fields, values))
        except VitrineError as error:
            return gr.skip(), gr.skip(), escape(str(error))
        return (
            gr.Radio(list(presets.presets()), value=name),
            "",
            f"The preset {escape(name)} is kept in {escape(str(presets.own_path()))}.",
        )

    def delete_preset(name: str) -> tuple[Any, ...]:
        """choice, said"""
        try:
            presets.delete(name)
        except VitrineError as error:
            return gr.skip(), escape(str(error))
        left = list(presets.presets())
        return gr.Radio(left, value=left[0]), f"The preset {escape(name)} is gone."

    private: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    choice.change(set_preset, choice, knobs, **private)
    own.save.click(save_preset, [own.title, *knobs], [choice, own.title, said], **private)
    own.forget.click(delete_preset, choice, [choice, said], **private)


def _shown_value(value: Any) -> Any:
    """A preset's value as its widget has it."""
    return "\n".join(value) if isinstance(value, list) else value
