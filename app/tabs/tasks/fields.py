"""Input widgets and checks that several tasks share."""

from collections.abc import Sequence
from typing import Any

import gradio as gr
from gradio.components import Component

from core.errors import VitrineError
from core.paths import assets_dir

EXAMPLES = assets_dir() / "examples"
LONGEST = 100_000  # characters a person may send; a tokenizer takes seconds beyond


def text_box(label: str, lines: int = 4, name: str = "text", **settings: Any) -> Any:
    """A maker of one text widget."""
    return lambda id: gr.Textbox(label=label, lines=lines, max_lines=16, elem_id=f"{id}-{name}", **settings)


def one_text(id: str) -> list[Component]:
    """A single text."""
    return [text_box("Text")(id)]


def the_text(values: Sequence[Any], at: int = 0, what: str = "a text") -> str:
    """A text that can be worked on. Raises VitrineError."""
    text = str(values[at] or "")
    if not text.strip():
        raise VitrineError(f"Write {what} first, or click an example.")
    return bounded(text)


def bounded(text: str) -> str:
    """A text that is not too long. Raises VitrineError."""
    if len(text) > LONGEST:
        raise VitrineError(f"This text has {len(text):,} characters; at most {LONGEST:,} are taken at once: send a part of it.")
    return text


def labels(values: Sequence[Any], at: int) -> list[str]:
    """Labels with commas or lines between them. Raises VitrineError."""
    found = [label.strip() for label in str(values[at] or "").replace("\n", ",").split(",") if label.strip()]
    if len(found) < 2:
        raise VitrineError("Write at least two labels, with commas between them.")
    return list(dict.fromkeys(found))
