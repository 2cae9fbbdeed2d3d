"""Keys and values of the tokens already read, so that decoding computes one token a step. An argument, never module state."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from core.errors import GenerationError

Pair = tuple[torch.Tensor, torch.Tensor]
ROOM = 64  # tokens that a layer has room for at the least, and behind rows that were put together
SLACK = 64  # tokens that a sliding layer keeps before its window, so that a short rollback finds what it needs
_memories = itertools.count()


class _Layer:
    """One layer's keys and values: (batch, kv heads, capacity, head width), the first `length` of them valid.

    Where it reads the last `window` tokens only, it forgets older ones now and then: `dropped` came before the first that is held.
    """

    __slots__ = ("capacity", "dropped", "inference", "keys", "length", "memory", "owned", "values", "window")

    def __init__(
        self,
        keys: torch.Tensor,
        values: torch.Tensor,
        length: int | None = None,
        *,
        owned: bool = False,
        window: int | None = None,
        dropped: int = 0,
    ) -> None:
        self._hold(keys, values)
        self.length = keys.shape[2] if length is None else length
        self.owned = owned  # a caller's tensors are never written to
        self.window, self.dropped = window, dropped

    def _hold(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Keys and values stand here now; what is asked of them at each step is asked once."""
        self.keys, self.values, self.memory = keys, values, next(_memories)
        self.capacity, self.inference = keys.shape[2], keys.is_inference()

    @property
    def seen(self) -> int:
        """Tokens read so far, held or not."""
        return self.dropped + self.length

    def append(self, keys: torch.Tensor, values: torch.Tensor, room: int = 0) -> Pair:
        """All that is held then, or as far back as the first of the new tokens reads."""
        new = keys.shape[2]
        if torch.is_grad_enabled() and (keys.requires_grad or self.keys.requires_grad):
            # an in-place write would break the graph
            pairs = ((self.keys, keys), (self.values, values))
            self._hold(*(torch.cat([held[:, :, : self.length], more], 2) for held, more in pairs))
            self.owned = False
        else:
            self.reserve(new, room)
            self.keys[:, :, self.length : self.length + new] = keys
            self.values[:, :, self.length : self.length + new] = values
        self.length += new
        first = 0 if self.window is None else max(0, self.length - new - self.window + 1)
        return self.keys[:, :, first : self.length], self.values[:, :, first : self.length]

    def reserve(self, new: int, room: int = 0) -> None:
        """Memory of its own with room for so many more tokens, and for `room` in all; what lies well before the window stays behind."""
        if self.owned and self.length + new <= self.capacity and self.inference == torch.is_inference_mode_enabled():
            return
        kept = self.length if self.window is None else min(self.length, self.window + SLACK)
        capacity = max(room if kept < room else 2 * kept, ROOM)
        if self.window is not None:
            capacity = min(capacity, self.window + SLACK + ROOM)
        capacity = max(capacity, kept + new)
        self._hold(*(self._moved(old, kept, capacity) for old in (self.keys, self.values)))
        self.dropped, self.length, self.owned = self.seen - kept, kept, True

    def _moved(self, old: torch.Tensor, kept: int, capacity: int) -> torch.Tensor:
        new = old.new_empty(*old.shape[:2], capacity, old.shape[3])
        new[:, :, :kept] = old[:, :, self.length - kept : self.length]
        return new

    def can_trim(self, length: int) -> bool:
        """Whether all that the next token would read is still held."""
        return self.dropped == 0 or self.window is None or length >= self.seen or length - self.dropped >= self.window - 1

    def prefix(self, length: int) -> "_Layer":
        """The first `length` tokens, in this one's memory."""
        held = max(0, min(self.length, length - self.dropped))
        return _Layer(self.keys[:, :, :held], self.values[:, :, :held], window=self.window, dropped=self.dropped)

    def rows(self, indices: torch.Tensor) -> "_Layer":
        """These rows, with the room behind them."""
        keys, values = self.keys.index_select(0, indices), self.values.index_select(0, indices)
        return _Layer(keys, values, self.length, owned=True, window=self.window, dropped=self.dropped)

    def pair(self) -> Pair:
        return self.keys[:, :, : self.length], self.values[:, :, : self.length]

    @classmethod
    def joined(cls, rows: Sequence[tuple["_Layer", int, int]]) -> "_Layer":
        """Rows of several as one batch, each (layer, row, first token kept)."""
        window, seen = rows[0][0].window, max(layer.seen - start for layer, _, start in rows)
        held = seen if window is None else min(seen, window + SLACK)
        # where one has forgotten its beginning, so must all: zeros there would pass for what was said
        held = min([held, *(layer.length for layer, _, start in rows if layer.dropped > start)])
        pairs = [[x[row, :, max(0, start - layer.dropped) :] for x in layer.pair()] for layer, row, start in rows]
        keys, values = (_aligned(parts, held) for parts in zip(*pairs, strict=True))
        return cls(keys, values, held, owned=True, window=window, dropped=seen - held)


def _aligned(parts: Sequence[torch.Tensor], length: int) -> torch.Tensor:
    """Each (heads, tokens, width) -> (rows, heads, length and some room, width): the last tokens of each, a shorter one's after zeros."""
    first = parts[0]
    out = first.new_empty(len(parts), first.shape[0], length + ROOM, first.shape[2])
    for row, part in zip(out, parts, strict=True):
        held = min(length, part.shape[1])
        row[:, : length - held] = 0
        row[:, length - held : length] = part[:, part.shape[1] - held :]
    return out


class Cache:
    """Grown by doubling, trimmed for rollback, reordered for beams; bounded where a layer slides.

    `cache[i]` is the legacy tuple (k, v), each (batch, kv heads, tokens, head width); (k, v, cross k, cross v) where the
    model attends to an encoder. `len(cache)` counts layers. `windows` says of a layer how many tokens it reads, where not all
    (`model.new_cache()` knows): of those before them it keeps a few.
    """

    def __init__(self, windows: Mapping[int, int] | None = None) -> None:
        self._layers: dict[int, _Layer] = {}
        self._windows = windows or {}
        self.cross: dict[int, Pair] = {}
        self.virtual = 0  # how many of the first places belong to no token: a tuned prefix
        self.room = 0  # tokens that are expected: memory for them is taken at once, where growing would leave holes behind it

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
        """Append (batch, kv heads, new tokens, head width) and return all keys and values that the new tokens may read."""
        if layer in self._layers:
            return self._layers[layer].append(keys, values, self.room)
        self._layers[layer] = _Layer(keys, values, window=self._windows.get(layer))
        return keys, values

    def begin(self, layers: int, like: torch.Tensor) -> None:
        """So many layers without a token yet, for `extend` to fill; like: (batch, kv heads, 0, head width), of the dtype they will have."""
        self._layers = {index: _Layer(like, like, window=self._windows.get(index)) for index in range(layers)}

    def extend(self, new: int = 1) -> list[_Layer]:
        """Make room for so many more tokens, which then count as held -> the layers: `keys` and `values` (batch, kv heads, capacity, head
        width), in which the caller writes the last `new` places before `length`; `memory` is another number when they stand elsewhere."""
        layers = [self._layers[index] for index in range(len(self._layers))]
        for layer in layers:
            layer.reserve(new, self.room)
            layer.length += new
        return layers

    def layer(self, index: int) -> _Layer:
        """One layer as it is held; see `extend`."""
        return self._layers[index]

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Tokens read so far."""
        return self._layers[layer_idx].seen if layer_idx in self._layers else 0

    @classmethod
    def joined(cls, rows: Sequence[tuple["Cache", int, int]]) -> "Cache":
        """Rows of several caches as one batch, in memory of its own: each is (cache, row, first token kept).

        They end together; before a shorter one stand zeros, for an attention mask to hide. Cross-attention is not taken along.
        """
        cache = cls()
        for index in rows[0][0]._layers:
            cache._layers[index] = _Layer.joined([(part._layers[index], row, start) for part, row, start in rows])
        return cache

    def prefix(self, length: int) -> "Cache":
        """The first `length` tokens, to which `can_trim` agrees, as a cache that reads this one's memory and never writes to it."""
        cache = Cache(self._windows)
        cache._layers = {index: layer.prefix(length) for index, layer in self._layers.items()}
        return cache

    @property
    def nbytes(self) -> int:
        """Memory of the keys and values, with the room for more."""
        return sum(x.untyped_storage().nbytes() for layer in self._layers.values() for x in (layer.keys, layer.values))

    def can_trim(self, length: int) -> bool:
        """Whether `trim` can go back so far: a sliding layer forgets what lies well before its window."""
        return all(layer.can_trim(self.virtual + length) for layer in self._layers.values())

    def trim(self, length: int) -> None:
        """Forget all but the first `length` tokens; a tuned prefix stays. Raises GenerationError where a sliding layer has forgotten
        what the next token would read."""
        if not self.can_trim(length):
            raise GenerationError(
                f"The cache cannot go back to {length} tokens: a sliding layer keeps {SLACK} tokens before its window. Use a new cache."
            )
        for layer in self._layers.values():
            layer.length = max(0, min(layer.length, self.virtual + length - layer.dropped))

    def reorder(self, indices: torch.Tensor, cross: bool = True) -> None:
        """Keep these rows of the batch, in this order; rows may repeat. cross: an encoder's too, which the beams of one text share."""
        self._layers = {index: layer.rows(indices) for index, layer in self._layers.items()}
        if cross:
            pairs = self.cross.items()
            self.cross = {index: (k.index_select(0, indices), v.index_select(0, indices)) for index, (k, v) in pairs}

    def __getitem__(self, layer: int) -> tuple[torch.Tensor, ...]:
        layer = layer + len(self) if layer < 0 else layer
        if layer not in self._layers:
            raise IndexError(f"the cache has {len(self)} layers")
        return self._layers[layer].pair() + self.cross.get(layer, ())

    def __iter__(self) -> Iterator[tuple[torch.Tensor, ...]]:
        return (self[layer] for layer in range(len(self)))

    def __len__(self) -> int:
        return len(self._layers)
