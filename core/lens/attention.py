"""Attention patterns as bytes: square-root quantised, recorded layer by layer, pooled to thumbnails.

A linear byte turns most of a diffuse 512-token pattern into 0; the square root keeps it (largest error 0.004 near 1,
far smaller near 0).
"""

from collections.abc import Callable

import numpy as np
import torch

from core.modeling.taps import Place, Replace

Grouping = Callable[[int], list[int]]  # a number of places -> where each group of neighbours begins


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


def joined(x: torch.Tensor, grouping: Grouping, dim: int, mean: bool = False) -> torch.Tensor:
    """Sums, or means, of groups of neighbours along a dimension."""
    size = x.shape[dim]
    begins = grouping(size)
    lengths = torch.tensor([end - begin for begin, end in zip(begins, [*begins[1:], size], strict=True)], device=x.device)
    which = torch.repeat_interleave(torch.arange(len(begins), device=x.device), lengths)
    shape = list(x.shape)
    shape[dim] = len(begins)
    total = x.new_zeros(shape).index_add_(dim, which, x)
    if not mean:
        return total
    sizes = [1] * x.dim()
    sizes[dim] = len(begins)
    return total / lengths.view(sizes)


class PatternRecorder:
    """Takes every layer's pattern as it passes and keeps bytes only: the float patterns of all layers never coexist.

    `prefix` says whose: "" a decoder's or a lone encoder's, "encoder." or "cross." (core.modeling.taps). `rows` and `columns` may join
    neighbours: rows are averaged, columns summed, so that a row still adds up to 1. `patterns[layer]` (heads, q, k) and `means[layer]`
    (q, k) are uint8; `overall` (q, k) the mean over layers and heads.
    """

    def __init__(self, layers: int, prefix: str = "", rows: Grouping | None = None, columns: Grouping | None = None) -> None:
        self.patterns: dict[int, np.ndarray] = {}
        self.means: dict[int, np.ndarray] = {}
        self.kv_heads: int | None = None
        self._sum: torch.Tensor | None = None
        self.layers, self.prefix, self.rows, self.columns = layers, prefix, rows, columns

    def watching(self) -> dict[Place, Replace]:
        """What a `Taps` replaces (by the same) to feed this recorder."""
        watching: dict[Place, Replace] = {(f"{self.prefix}pattern", layer): self._watch(layer) for layer in range(self.layers)}
        return {**watching, (f"{self.prefix}k", 0): self._count}

    def _watch(self, layer: int) -> Replace:
        def see(pattern: torch.Tensor) -> torch.Tensor:
            seen = pattern[0].detach().float()
            if self.columns is not None:
                seen = joined(seen, self.columns, -1)
            if self.rows is not None:
                seen = joined(seen, self.rows, -2, mean=True)
            mean = seen.mean(0)
            self.patterns[layer], self.means[layer] = quantise(seen), quantise(mean)
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
