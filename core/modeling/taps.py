"""Parameter-free taps at named places of a model, each recording what passes or replacing it.

Places, by layer: resid_pre q k v scores pattern z head_out attn_out resid_mid mlp_act mlp_out resid_post; once a model:
embed, final_norm, logits (layer None). Those of cross-attention stand under `cross.`: `cross.pattern`; resid_mid comes after it.
Of an encoder-decoder the plain names are the decoder's, and the encoder's stand under `encoder.`: `encoder.pattern`,
`encoder.embed`; an encoder that is called by itself has the plain names. In post-norm blocks (BERT) resid_mid and resid_post are
what leaves the LayerNorm. Where a router picks experts (Mixtral), `router` is its logits (batch * tokens, experts) and mlp_act
(batch * tokens, chosen experts, inner width).

    taps = Taps(record={"pattern": [0, 3], "resid_post": None})     # None: every layer
    model(ids, taps=taps)
    taps["pattern", 3]                                              # (batch, heads, q, k)
    Taps(replace={("z", 5): lambda z: z * keep})                    # ablation, patching

The sets in force are handed down by a ContextVar, set and reset inside one forward.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

import torch

Replace = Callable[[torch.Tensor], torch.Tensor]
Place = tuple[str, int | None]


class Taps:
    """What one forward records and replaces."""

    def __init__(
        self,
        record: Mapping[str, list[int] | None] | None = None,
        replace: Mapping[Place, Replace] | None = None,
    ) -> None:
        self.record = dict(record or {})
        self.replace = dict(replace or {})
        self.seen: dict[Place, torch.Tensor] = {}

    def wants(self, name: str, layer: int | None) -> bool:
        """Whether this place is recorded or replaced."""
        return (name, layer) in self.replace or self._records(name, layer)

    def visit(self, name: str, layer: int | None, value: torch.Tensor) -> torch.Tensor:
        """Replace, then record."""
        if change := self.replace.get((name, layer)):
            value = change(value)
        if self._records(name, layer):
            self.seen[name, layer] = value
        return value

    def _records(self, name: str, layer: int | None) -> bool:
        return name in self.record and ((layers := self.record[name]) is None or layer in layers)

    def __getitem__(self, place: Place) -> torch.Tensor:
        return self.seen[place]

    def layers(self, name: str) -> tuple[torch.Tensor, ...]:
        """All that was recorded at this place, by layer."""
        found = sorted(layer for place, layer in self.seen if place == name and layer is not None)
        return tuple(self.seen[name, layer] for layer in found)

    def again(self) -> "Taps":
        """The same wishes with an empty record, for a block computed a second time (gradient checkpointing)."""
        return Taps(self.record, self.replace)


class _Under(Taps):
    """A set as seen from a part of the model whose places stand under a prefix."""

    def __init__(self, taps: Taps, prefix: str) -> None:
        self._taps, self._prefix = taps, prefix

    def wants(self, name: str, layer: int | None) -> bool:
        return self._taps.wants(self._prefix + name, layer)

    def visit(self, name: str, layer: int | None, value: torch.Tensor) -> torch.Tensor:
        return self._taps.visit(self._prefix + name, layer, value)

    def again(self) -> Taps:
        return _Under(self._taps.again(), self._prefix)


_active: ContextVar[tuple[Taps, ...]] = ContextVar("taps", default=())


def active() -> tuple[Taps, ...]:
    """The sets in force, outermost first."""
    return _active.get()


@contextmanager
def tapped(*sets: Taps) -> Iterator[None]:
    """Put these sets in force too; never hold it across a `yield` to another caller."""
    token = _active.set(_active.get() + sets)
    try:
        yield
    finally:
        _active.reset(token)


@contextmanager
def under(prefix: str) -> Iterator[None]:
    """For the sets in force, the places visited inside stand under this prefix."""
    token = _active.set(tuple(_Under(taps, prefix) for taps in _active.get()))
    try:
        yield
    finally:
        _active.reset(token)


def wanted(name: str, layer: int | None = None) -> bool:
    """Whether any active set asks for this place."""
    return any(taps.wants(name, layer) for taps in _active.get())


def tap(name: str, layer: int | None, value: torch.Tensor) -> torch.Tensor:
    """The value, recorded or replaced where an active set asks for it; the innermost set goes first."""
    for taps in reversed(_active.get()):
        value = taps.visit(name, layer, value)
    return value


def head_mask_taps(head_mask: torch.Tensor, layers: int, places: tuple[str, ...] = ("pattern", "cross.pattern")) -> Taps:
    """`head_mask` (heads,), (layers, heads) or (layers, batch, heads, q, k): 1 keeps a head, 0 silences it. A decoder's mask holds
    for its cross-attention too, unless that has a mask of its own."""
    if head_mask.dim() == 1:
        head_mask = head_mask.expand(layers, -1)
    if head_mask.dim() == 2:
        head_mask = head_mask[:, None, :, None, None]

    def masking(layer: int) -> Replace:
        return lambda pattern: pattern * head_mask[layer].to(pattern)

    return Taps(replace={(place, layer): masking(layer) for layer in range(layers) for place in places})
