"""What speed costs in quality: each kind of weights against float32, over real text."""

import math
from collections.abc import Callable
from contextlib import nullcontext
from functools import cache as once

import torch

from core import kernels
from core.generation.step import decode_steps
from core.modeling.cache import Cache
from tests.bench.harness import Row
from tests.bench.subjects import Subjects

KINDS = ("float32", "bfloat16", "int8", "int4", "gguf", "page")
WINDOWS, WINDOW, PIECE = 4, 256, 32


def rows(subjects: Subjects) -> list[Row]:
    """Perplexity; and against float32 the divergence and how often the likeliest token is another. SmolLM2's file holds 4-bit numbers:
    float32 is those, unpacked; gguf and page those as they are, computed in bfloat16 and in float32."""

    def figure(kind: str, name: str) -> Callable[[], float]:
        return lambda: compared(subjects, kind)[name]

    table = [Row(f"quality.perplexity.{kind}", "", figure(kind, "perplexity"), rounds=1) for kind in KINDS]
    for kind in KINDS[1:]:
        table.append(Row(f"quality.divergence.{kind}", "nat", figure(kind, "divergence"), rounds=1))
        table.append(Row(f"quality.other_token.{kind}", "%", figure(kind, "other"), rounds=1))
    return table


@once
def log_probabilities(subjects: Subjects, kind: str) -> torch.Tensor:
    """(windows, tokens, vocabulary) of the next token; read a few tokens at a time, as generation computes them."""
    model, found = subjects.ours(kind), []
    with torch.inference_mode(), kernels.off() if kind == "float32" else nullcontext():
        for row in windows(subjects)[:, None]:
            cache, mask = Cache(), torch.ones_like(row)
            ends = range(PIECE, WINDOW + 1, PIECE)
            pieces = [decode_steps(model, row[:, :end], mask[:, :end], cache, keep=PIECE) for end in ends]
            found.append(torch.cat(pieces, 1).log_softmax(-1))
    return torch.cat(found)


def windows(subjects: Subjects) -> torch.Tensor:
    """(windows, tokens)."""
    return subjects.ids(WINDOWS * WINDOW).view(WINDOWS, WINDOW)


@once
def compared(subjects: Subjects, kind: str) -> dict[str, float]:
    """perplexity; divergence KL(float32 | kind) a token; other: per cent of tokens whose likeliest successor is another."""
    whole, found = log_probabilities(subjects, "float32"), log_probabilities(subjects, kind)
    said = found[:, :-1].gather(-1, windows(subjects)[:, 1:, None])
    return {
        "perplexity": math.exp(-said.mean().item()),
        "divergence": (whole.exp() * (whole - found)).sum(-1).mean().item(),
        "other": 100 * (whole.argmax(-1) != found.argmax(-1)).float().mean().item(),
    }
