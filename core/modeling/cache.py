"""Keys and values of the tokens already read, so that decoding computes one token a step. An argument, never module state."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch

Pair = tuple[torch.Tensor, torch.Tensor]
ROOM = 64  # tokens that a layer has room for at the least, and behind rows that were put together


class _Layer:
    """One layer's keys and values: (batch, kv heads, capacity, head width), the first `length` of them valid."""

    __slots__ = ("keys", "length", "owned", "values")

    def __init__(self, keys: torch.Tensor, values: torch.Tensor, length: int | None = None, owned: bool = False) -> None:
        self.keys, self.values = keys, values
        self.length = keys.shape[2] if length is None else length
        self.owned = owned  # a caller's tensors are never written to

    def append(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        end = self.length + keys.shape[2]
        if torch.is_grad_enabled() and (keys.requires_grad or self.keys.requires_grad):
            # an in-place write would break the graph
            self.keys = torch.cat([self.keys[:, :, : self.length], keys], 2)
            self.values = torch.cat([self.values[:, :, : self.length], values], 2)
            self.owned = False
        else:
            self.reserve(end)
            self.keys[:, :, self.length : end] = keys
            self.values[:, :, self.length : end] = values
        self.length = end

    def reserve(self, end: int) -> None:
        """Memory of its own for so many tokens."""
        writable = self.owned and self.keys.is_inference() == torch.is_inference_mode_enabled()
        if not writable or end > self.keys.shape[2]:
            capacity = max(2 * self.length, end, ROOM)
            self.keys, self.values = self._grown(self.keys, capacity), self._grown(self.values, capacity)
            self.owned = True

    def _grown(self, old: torch.Tensor, capacity: int) -> torch.Tensor:
        new = old.new_empty(*old.shape[:2], capacity, old.shape[3])
        new[:, :, : self.length] = old[:, :, : self.length]
        return new

    def pair(self) -> Pair:
        return self.keys[:, :, : self.length], self.values[:, :, : self.length]


def _aligned(parts: Sequence[torch.Tensor], length: int) -> torch.Tensor:
    """Each (1, heads, tokens, width) -> (rows, heads, length and some room, width): all end at `length`, after zeros."""
    first = parts[0]
    out = first.new_empty(len(parts), first.shape[1], length + ROOM, first.shape[3])
    for row, part in zip(out, parts, strict=True):
        row[:, : length - part.shape[2]] = 0
        row[:, length - part.shape[2] : length] = part[0]
    return out


class Cache:
    """Grown by doubling, trimmed for rollback, reordered for beams.

    `cache[i]` is the legacy tuple (k, v), each (batch, kv heads, tokens, head width); (k, v, cross k, cross v) where the
    model attends to an encoder. `len(cache)` counts layers.
    """

    def __init__(self) -> None:
        self._layers: dict[int, _Layer] = {}
        self.cross: dict[int, Pair] = {}
        self.virtual = 0  # how many of the first places belong to no token: a tuned prefix

    @classmethod
    def of(cls, past: Any) -> "Cache":
        """A cache as it is, or one made from tuples of two or four tensors a layer."""
        if isinstance(past, Cache):
            return past
        cache = cls()
        for index, layer in enumerate(past):
            cache._layers[index] = _Layer(layer[0], layer[1])
            if len(layer) == 4:
                cache.cross[index] = (layer[2], layer[3])
        return cache

    def update(self, layer: int, keys: torch.Tensor, values: torch.Tensor) -> Pair:
        """Append (batch, kv heads, new tokens, head width) and return all keys and values so far."""
        if layer in self._layers:
            self._layers[layer].append(keys, values)
        else:
            self._layers[layer] = _Layer(keys, values)
        return self._layers[layer].pair()

    def extend(self) -> list[Pair]:
        """Make room for one more token, which then counts as held -> each layer's whole memory, (batch, kv heads, capacity, head width),
        whose place `length - 1` the caller writes."""
        for layer in self._layers.values():
            layer.reserve(layer.length + 1)
            layer.length += 1
        return [(self._layers[index].keys, self._layers[index].values) for index in range(len(self))]

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Tokens held."""
        return self._layers[layer_idx].length if layer_idx in self._layers else 0

    @classmethod
    def joined(cls, rows: Sequence[tuple["Cache", int, int]]) -> "Cache":
        """Rows of several caches as one batch, in memory of its own: each is (cache, row, first token kept).

        They end together; before a shorter one stand zeros, for an attention mask to hide. Cross-attention is not taken along.
        """
        cache = cls()
        for index in rows[0][0]._layers:
            pairs = [[x[row : row + 1, :, start:] for x in part._layers[index].pair()] for part, row, start in rows]
            length = max(keys.shape[2] for keys, _ in pairs)
            keys, values = (_aligned(parts, length) for parts in zip(*pairs, strict=True))
            cache._layers[index] = _Layer(keys, values, length, owned=True)
        return cache

    def prefix(self, length: int) -> "Cache":
        """The first `length` tokens as a cache that reads this one's memory and never writes to it."""
        cache = Cache()
        for index, layer in self._layers.items():
            cache._layers[index] = _Layer(layer.keys[:, :, :length], layer.values[:, :, :length])
        return cache

    @property
    def nbytes(self) -> int:
        """Memory of the keys and values, with the room for more."""
        return sum(x.untyped_storage().nbytes() for layer in self._layers.values() for x in (layer.keys, layer.values))

    def trim(self, length: int) -> None:
        """Forget all but the first `length` tokens; a tuned prefix stays."""
        for layer in self._layers.values():
            layer.length = min(layer.length, self.virtual + length)

    def reorder(self, indices: torch.Tensor) -> None:
        """Keep these rows of the batch, in this order; rows may repeat."""
        for index, layer in self._layers.items():
            keys, values = layer.pair()
            self._layers[index] = _Layer(keys.index_select(0, indices), values.index_select(0, indices))
        for index, (keys, values) in self.cross.items():
            self.cross[index] = (keys.index_select(0, indices), values.index_select(0, indices))

    def __getitem__(self, layer: int) -> tuple[torch.Tensor, ...]:
        layer = layer + len(self) if layer < 0 else layer
        if layer not in self._layers:
            raise IndexError(f"the cache has {len(self)} layers")
        return self._layers[layer].pair() + self.cross.get(layer, ())

    def __iter__(self) -> Iterator[tuple[torch.Tensor, ...]]:
        return (self[layer] for layer in range(len(self)))

    def __len__(self) -> int:
        return len(self._layers)
