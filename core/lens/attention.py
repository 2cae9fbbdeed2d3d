"""Attention patterns as bytes: square-root quantised, recorded layer by layer, pooled to thumbnails.

A linear byte turns most of a diffuse 512-token pattern into 0; the square root keeps it (largest error 0.004 near 1,
far smaller near 0).
"""

import numpy as np
import torch

from core.modeling.taps import Replace, Taps


def quantise(pattern: torch.Tensor) -> np.ndarray:
    """Probabilities 0..1 of any shape -> uint8 of the same shape, round(255 sqrt p)."""
    return pattern.detach().float().clamp(0, 1).sqrt().mul_(255).round_().to(torch.uint8).cpu().numpy()


def dequantise(data: np.ndarray) -> np.ndarray:
    """The inverse of `quantise`: uint8 -> float32 0..1."""
    return np.square(data.astype(np.float32) / 255)


def pool(data: np.ndarray, side: int = 64) -> np.ndarray:
    """(…, q, k) -> (…, at most side, at most side): the largest value of each cell, so that a thin line stays visible."""
    for axis in (-2, -1):
        length = data.shape[axis]
        if length > side:
            edges = np.arange(side) * length // side
            data = np.maximum.reduceat(data, edges, axis=axis)
    return np.ascontiguousarray(data)


class PatternRecorder:
    """Takes every layer's pattern as it passes and keeps bytes only: the float patterns of all layers never coexist.

    `patterns[layer]` (heads, q, k) and `means[layer]` (q, k) are uint8; `overall` (q, k) the mean over layers and heads.
    """

    def __init__(self, layers: int) -> None:
        self.patterns: dict[int, np.ndarray] = {}
        self.means: dict[int, np.ndarray] = {}
        self.kv_heads: int | None = None
        self._sum: torch.Tensor | None = None
        self.layers = layers

    def taps(self, record: dict[str, list[int] | None]) -> Taps:
        """Taps that feed this recorder and record what else is wanted."""
        watching = {("pattern", layer): self._watch(layer) for layer in range(self.layers)}
        return Taps(record=record, replace={**watching, ("k", 0): self._count})

    def _watch(self, layer: int) -> Replace:
        def see(pattern: torch.Tensor) -> torch.Tensor:
            mean = pattern[0].detach().float().mean(0)
            self.patterns[layer], self.means[layer] = quantise(pattern[0]), quantise(mean)
            self._sum = mean if self._sum is None else self._sum + mean.to(self._sum)
            return pattern

        return see

    def _count(self, k: torch.Tensor) -> torch.Tensor:
        self.kv_heads = k.shape[1]
        return k

    def overall(self) -> np.ndarray:
        """(q, k) uint8: the mean over all heads of all layers."""
        assert self._sum is not None
        return quantise(self._sum / len(self.patterns))

    def stacked(self) -> tuple[np.ndarray, np.ndarray]:
        """patterns (layers, heads, q, k) and means (layers, q, k); the recorder's own copies are let go."""
        order = sorted(self.patterns)
        patterns = np.stack([self.patterns.pop(layer) for layer in order])
        return patterns, np.stack([self.means.pop(layer) for layer in order])
