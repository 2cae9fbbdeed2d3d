"""Speech as text."""

from collections.abc import Sequence
from typing import Any

import gradio as gr

from app.components.results import heading, words
from app.components.task_page import Task
from app.tabs.tasks.fields import EXAMPLES
from core.errors import VitrineError


def sound_box(id: str) -> gr.Audio:
    """A place for a recording."""
    return gr.Audio(label="Recording", type="filepath", elem_id=f"{id}-audio", sources=["upload", "microphone"])


def the_sound(values: Sequence[Any]) -> str:
    """The recording's file. Raises VitrineError where there is none."""
    if not values[0]:
        raise VitrineError("Record something or choose a file first.")
    return str(values[0])


def _shown(found: dict[str, Any], values: Sequence[Any]) -> str:
    if not found["text"].strip():
        return heading("Transcript", "No speech is heard: the recording is silent, or holds no words.")
    chunks = [(chunk["text"], *chunk["timestamp"]) for chunk in found.get("chunks") or []]
    hint = "A click on a word plays it." if chunks else ""
    return heading("Transcript", hint) + words(chunks or [(found["text"], None, None)])


TASK = Task(
    id="speech",
    title="Speech",
    task="automatic-speech-recognition",
    about="What is said in a recording, and when.",
    inputs=lambda id: [sound_box(id)],
    examples=[[EXAMPLES / "young-man.flac"]],
    call=lambda values: ((the_sound(values),), {}),
    show=_shown,
    waiting="Record something, choose a file, or click the example.",
    hub="openai/whisper-small",
    button="Transcribe",
    shown_options=("return_timestamps", "chunk_length_s", "language", "task"),
    fixed={"return_timestamps": "word"},
    looked_into=lambda values: values[0],
    looked_at="sound",
)
