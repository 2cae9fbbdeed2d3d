"""What one sees inside a model: attention patterns, hidden states, next-token predictions. No UI."""

from core.lens.attention import dequantise, pool, quantise
from core.lens.embedding import flat, similarity
from core.lens.hidden import plane, readable_tokens
from core.lens.inspection import Inspection, inspect

__all__ = ["Inspection", "dequantise", "flat", "inspect", "plane", "pool", "quantise", "readable_tokens", "similarity"]
