"""Which key each query may read, as booleans combined and filled once."""

from itertools import pairwise

import torch

SHORTEST = 32  # tokens of a stretch, in the mean, for which attention of its own pays


class Mask:
    """How one forward masks attention: `causal` (the kernel's own triangle), an additive `bias`, `stretches`, or none of them.

    bias: (batch or 1, heads or 1, q, k), 0 where a key may be read and finfo.min where not; a row that may read nothing stays finite.
    stretches: the lengths of texts that stand one behind the other, row by row, and each read themselves alone, every token those before
    it: so are rows packed. `allowed` (batch, 1, q, k) says the same in booleans.
    """

    __slots__ = ("allowed", "bias", "causal", "stretches")

    def __init__(
        self,
        bias: torch.Tensor | None = None,
        causal: bool = False,
        stretches: list[int] | None = None,
        allowed: torch.Tensor | None = None,
    ) -> None:
        self.bias, self.causal, self.stretches, self.allowed = bias, causal, stretches, allowed

    def explicit(self, queries: int, keys: int, like: torch.Tensor) -> torch.Tensor | None:
        """The bias, with triangles written out."""
        if self.allowed is not None:
            return fill(self.allowed, like.dtype)
        return fill(reach(queries, keys, like.device), like.dtype) if self.causal else self.bias

    def last(self, keys: int) -> "Mask":
        """For the last so many keys, where a sliding layer's cache gives no more."""
        return self if self.bias is None or self.bias.shape[-1] <= keys else Mask(self.bias[..., -keys:])

    def plus(self, bias: torch.Tensor) -> "Mask":
        """This mask with a position scheme's bias (batch or 1, heads, q, k) on top."""
        own = self.explicit(bias.shape[-2], bias.shape[-1], bias)
        if own is None:
            return Mask(bias)
        lowest = torch.finfo(bias.dtype).min
        return Mask((own + bias).masked_fill(own == lowest, lowest))


def reach(queries: int, keys: int, device: torch.device, window: int | None = None) -> torch.Tensor:
    """(1, 1, q, k): True where query i, the (keys - queries + i)-th token, may read key j: none after it, and of those before
    it only the last `window`, itself counted."""
    allowed = torch.ones(queries, keys, dtype=torch.bool, device=device).tril(keys - queries)
    return (allowed if window is None else allowed.triu(keys - queries - window + 1))[None, None]


def fill(allowed: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Booleans -> additive bias."""
    return torch.zeros(allowed.shape, dtype=dtype, device=allowed.device).masked_fill(~allowed, torch.finfo(dtype).min)


def stretches_of(allowed: torch.Tensor) -> list[int] | None:
    """(batch, 1, q, k) booleans -> the lengths of the stretches of all rows where they are nothing else, and long enough."""
    batch, heads, queries, keys = allowed.shape
    if heads != 1 or queries != keys:
        return None
    begins = torch.ones(batch, queries, dtype=torch.bool, device=allowed.device)
    begins[:, 1:] = ~allowed[:, 0].diagonal(-1, 1, 2)
    number = begins.cumsum(1)
    if not torch.equal((number[:, :, None] == number[:, None, :]).tril(), allowed[:, 0]):
        return None
    places = [*begins.flatten().nonzero().flatten().tolist(), batch * queries]
    lengths = [end - begin for begin, end in pairwise(places)]
    return lengths if len(lengths) * SHORTEST <= batch * queries else None


def whole_mask(attention_mask: torch.Tensor, keys: int) -> torch.Tensor:
    """(batch, new tokens or keys) -> (batch, keys): tokens in the cache that the mask does not speak of count as real."""
    read = attention_mask.new_ones(attention_mask.shape[0], keys - attention_mask.shape[1])
    return torch.cat([read, attention_mask], 1) if read.shape[1] else attention_mask


def make_mask(
    attention_mask: torch.Tensor | None, like: torch.Tensor, keys: int, *, causal: bool, window: int | None = None
) -> Mask:
    """The mask of one forward.

    attention_mask: (batch, keys) with 1 for a token and 0 for padding, or a boolean or additive (batch, 1, q, k).
    like: (batch, q, width), for q, dtype and device. window: how many tokens a causal query may read, where not all.
    """
    queries = like.shape[1]
    window = None if window is None or window >= keys else window
    if attention_mask is not None and attention_mask.dim() == 4:
        if attention_mask.dtype != torch.bool:
            return Mask(attention_mask.to(like.dtype))
        stretches = stretches_of(attention_mask) if causal else None
        return Mask(fill(attention_mask, like.dtype)) if stretches is None else Mask(None, False, stretches, attention_mask)
    if attention_mask is not None:
        attention_mask = whole_mask(attention_mask, keys)
    if attention_mask is None or bool((attention_mask != 0).all()):
        if window is None and (not causal or queries == 1):
            return Mask()
        if window is None and queries == keys:
            return Mask(causal=True)
        return Mask(fill(reach(queries, keys, like.device, window), like.dtype))
    allowed = attention_mask[:, None, None, :].to(like.device) != 0
    if causal:
        allowed = allowed & reach(queries, keys, like.device, window)
    return Mask(fill(allowed, like.dtype))
