"""Continuing a prompt: configuration, scores, stopping, the decode loop and streaming."""

from core.generation.config import GenerationConfig
from core.generation.engine import Engine
from core.generation.events import Finished, TextDelta, Waiting
from core.generation.loop import generate
from core.generation.outputs import GenerateOutput
from core.generation.request import Request
from core.generation.streaming import TextIteratorStreamer, TextStreamer, stream

__all__ = [
    "Engine",
    "Finished",
    "GenerateOutput",
    "GenerationConfig",
    "Request",
    "TextDelta",
    "TextIteratorStreamer",
    "TextStreamer",
    "Waiting",
    "generate",
    "stream",
]
