"""Continuing a prompt: configuration, scores, stopping, the decode loop and streaming."""

from core.generation.config import GenerationConfig
from core.generation.events import Finished, TextDelta
from core.generation.loop import GenerateOutput, generate
from core.generation.streaming import TextIteratorStreamer, TextStreamer, stream

__all__ = [
    "Finished",
    "GenerateOutput",
    "GenerationConfig",
    "TextDelta",
    "TextIteratorStreamer",
    "TextStreamer",
    "generate",
    "stream",
]
