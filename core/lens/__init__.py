"""What one sees inside a model: attention patterns, hidden states, next-token predictions. No UI."""

from core.lens.attention import dequantise, pool, quantise
from core.lens.embedding import flat, similarity
from core.lens.hidden import plane
from core.lens.inspection import Inspection, inspect
from core.lens.likelihood import Choice, likelihood
from core.tokenization.readable import readable_tokens

__all__ = [
    "Choice",
    "Inspection",
    "dequantise",
    "flat",
    "inspect",
    "likelihood",
    "plane",
    "pool",
    "quantise",
    "readable_tokens",
    "similarity",
]
