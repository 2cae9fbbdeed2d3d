"""What one sees inside a model: attention patterns, hidden states, next-token predictions. No UI."""

from core.lens.attention import dequantise, pool, quantise
from core.lens.embedding import flat, similarity
from core.lens.hidden import plane
from core.lens.images import inspect_image
from core.lens.inspection import Inspection, inspect
from core.lens.likelihood import Choice, likelihood
from core.lens.pairs import PARTS, inspect_pair
from core.lens.sounds import inspect_sound
from core.tokenization.readable import readable_tokens

__all__ = [
    "PARTS",
    "Choice",
    "Inspection",
    "dequantise",
    "flat",
    "inspect",
    "inspect_image",
    "inspect_pair",
    "inspect_sound",
    "likelihood",
    "plane",
    "pool",
    "quantise",
    "readable_tokens",
    "similarity",
]
