"""Keys and values of conversations that have ended, for the next turn to begin with."""

from dataclasses import dataclass

import torch

from core.modeling.cache import Cache

SHORTEST = 16  # tokens; to look up fewer saves nothing


@dataclass(frozen=True)
class _Kept:
    adapter: str | None
    ids: torch.Tensor  # (tokens,)
    cache: Cache  # of exactly these tokens, one row

    def shared(self, adapter: str | None, ids: torch.Tensor) -> int:
        """How many first tokens of ids (tokens,) it can give."""
        length = _shared(self.ids, ids) if adapter == self.adapter else 0
        return length if self.cache.can_trim(length) else 0


class PrefixStore:
    """The most recently used ones, up to `limit` bytes. Whoever takes one gets views that are copied before they are written to, so
    several may use the same at once."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._kept: list[_Kept] = []  # the longest unused first

    def take(self, adapter: str | None, ids: torch.Tensor) -> Cache | None:
        """What is known of the beginning of ids (tokens,): a cache of some of its first tokens, never of all."""
        lengths = [kept.shared(adapter, ids[:-1]) for kept in self._kept]
        best = max(range(len(lengths)), key=lengths.__getitem__, default=0)
        if not lengths or lengths[best] < SHORTEST:
            return None
        self._kept.append(self._kept.pop(best))
        return self._kept[-1].cache.prefix(lengths[best])

    def put(self, adapter: str | None, ids: torch.Tensor, cache: Cache) -> None:
        """Keep the cache of ids (tokens,); what is only a beginning of it goes."""
        if len(ids) < SHORTEST or cache.nbytes > self.limit:
            return
        self._kept = [k for k in self._kept if k.adapter != adapter or _shared(k.ids, ids) < len(k.ids)]
        self._kept.append(_Kept(adapter, ids, cache))
        while self.nbytes > self.limit:
            self._kept.pop(0)

    def clear(self) -> None:
        """Forget all, as after a change of the weights."""
        self._kept.clear()

    @property
    def nbytes(self) -> int:
        """Memory held."""
        return sum(kept.cache.nbytes for kept in self._kept)

    def __len__(self) -> int:
        return len(self._kept)


def _shared(a: torch.Tensor, b: torch.Tensor) -> int:
    """How many first tokens are the same."""
    length = min(len(a), len(b))
    different = (a[:length] != b[:length]).nonzero()
    return int(different[0]) if len(different) else length
