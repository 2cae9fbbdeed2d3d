"""Attention, once for all architectures. Vaswani et al. 2017, 3.2; grouped queries: Ainslie et al. 2023.

An architecture owns its projections and its position scheme; what comes after is here.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from core.modeling.cache import Cache, Pair
from core.modeling.masks import Mask
from core.modeling.taps import tap, wanted


def split_heads(x: torch.Tensor, head_dim: int) -> torch.Tensor:
    """(batch, tokens, heads * head_dim) -> (batch, heads, tokens, head_dim)."""
    return x.unflatten(-1, (-1, head_dim)).transpose(1, 2)


def attend(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    mask: Mask,
    *,
    layer: int,
    scale: float | None = None,
    dropout: float = 0.0,
    softcap: float | None = None,
    bias: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None = None,
    prefix: str = "",
) -> torch.Tensor:
    """What each head reads.

    q (batch, heads, q, d); k and v (batch, kv heads, k, d), kv heads dividing heads -> z (batch, q, heads, d). scale: 1/sqrt(d)
    where None. softcap: scores stay within it, by tanh. bias: from q and k to what is added to the scaled scores (batch, heads, q, k),
    for positions that depend on what is said. The fast kernel runs unless there is a soft cap, or this layer's scores or pattern
    are asked for in this call.
    """
    q, k, v = tap(prefix + "q", layer, q), tap(prefix + "k", layer, k), tap(prefix + "v", layer, v)
    mask = mask.last(k.shape[2])
    if bias is not None:
        mask = mask.plus(bias(q, k))
    grouped = q.shape[1] != k.shape[1]
    if softcap is not None or wanted(prefix + "pattern", layer) or wanted(prefix + "scores", layer):
        if grouped:
            k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], 1) for x in (k, v))
        scores = q @ k.transpose(-1, -2) * (q.shape[-1] ** -0.5 if scale is None else scale)
        if softcap is not None:
            scores = softcap * (scores / softcap).tanh()
        masked = mask.explicit(q.shape[2], k.shape[2], q)
        scores = tap(prefix + "scores", layer, scores if masked is None else scores + masked)
        pattern = F.dropout(scores.softmax(-1, dtype=torch.float32).to(q.dtype), dropout, training=dropout > 0)
        z = tap(prefix + "pattern", layer, pattern) @ v
    elif mask.stretches is not None:
        return tap(prefix + "z", layer, _in_stretches(q, k, v, mask.stretches, dropout, scale))
    else:
        z = F.scaled_dot_product_attention(
            q, k, v, attn_mask=mask.bias, is_causal=mask.causal, dropout_p=dropout, scale=scale, enable_gqa=grouped
        )
    return tap(prefix + "z", layer, z.transpose(1, 2))


SHORT = 192  # tokens up to which PyTorch's flash kernel takes longer for gradients in bfloat16 than products do


def _in_stretches(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, lengths: list[int], dropout: float, scale: float | None
) -> torch.Tensor:
    """`attend` stretch by stretch, each token reading those before it: the cost grows with the square of each length, not of all."""
    plain = not dropout and q.dtype == torch.bfloat16 and q.device.type == "cpu" and torch.is_grad_enabled()
    found = []
    for part in zip(*(x.transpose(1, 2).flatten(0, 1).split(lengths) for x in (q, k, v)), strict=True):
        rows = [x.transpose(0, 1)[None] for x in part]
        if plain and len(part[0]) <= SHORT:
            z: torch.Tensor = _Triangle.apply(*rows, q.shape[-1] ** -0.5 if scale is None else scale)  # type: ignore[assignment]
        else:
            grouped = q.shape[1] != k.shape[1]
            z = F.scaled_dot_product_attention(*rows, is_causal=True, dropout_p=dropout, scale=scale, enable_gqa=grouped)
        found.append(z[0].transpose(0, 1))
    return torch.cat(found).unflatten(0, (q.shape[0], -1))


class _Triangle(torch.autograd.Function):
    """Causal attention of a short text whose gradients are a few products: the pattern is computed again, for all queries of a key head
    at once."""

    @staticmethod
    def forward(ctx: Any, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, scale: float) -> torch.Tensor:
        ctx.save_for_backward(q, k, v)
        ctx.scale = scale
        return F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale, enable_gqa=q.shape[1] != k.shape[1])

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, None]:
        q, k, v = ctx.saved_tensors
        heads, tokens = k.shape[1], q.shape[2]
        queries, g = (x.reshape(heads, -1, x.shape[-1]) for x in (q, gradients[0]))  # (key heads, group * tokens, d)
        keys, values = k[0], v[0]
        scores = (queries @ keys.transpose(1, 2)).mul_(ctx.scale).unflatten(1, (-1, tokens))
        later = torch.ones(tokens, tokens, dtype=torch.bool).triu(1)
        pattern = scores.masked_fill_(later, -torch.inf).softmax(-1).flatten(1, 2)
        inner = torch.ops.aten._softmax_backward_data(g @ values.transpose(1, 2), pattern, -1, pattern.dtype).mul_(ctx.scale)
        return (inner @ keys).view_as(q), (inner.transpose(1, 2) @ queries)[None], (pattern.transpose(1, 2) @ g)[None], None


def merge_heads(z: torch.Tensor, output: nn.Module, *, layer: int, prefix: str = "") -> torch.Tensor:
    """z (batch, q, heads, d) through the output projection -> (batch, q, width).

    `head_out` (batch, q, heads, width), what each head adds to the residual stream, is computed only where asked for.
    """
    if not wanted(prefix + "head_out", layer):
        return tap(prefix + "attn_out", layer, output(z.flatten(-2)))
    heads = torch.eye(z.shape[-2], dtype=z.dtype, device=z.device)[..., None]
    apart = (z[..., None, :, :] * heads).flatten(-2)  # one row a head, the other heads zero
    bias = output(torch.zeros_like(apart[..., :1, :]))
    out = tap(prefix + "head_out", layer, output(apart) - bias).sum(-2) + bias.squeeze(-2)
    return tap(prefix + "attn_out", layer, out)


def encoder_pair(cache: Cache | None, layer: int, make: Callable[[], Iterable[torch.Tensor]]) -> Pair:
    """Keys and values of an encoder's states for cross-attention: made once a text, then kept in the cache."""
    if cache is not None and layer in cache.cross:
        return cache.cross[layer]
    keys, values = make()
    if cache is not None:
        cache.cross[layer] = (keys, values)
    return keys, values


class SelfAttention(nn.Module):
    """Self-attention with a projection each for q, k, v and the output, under the names that most checkpoints have for them."""

    def __init__(self, width: int, heads: int, layer: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.layer, self.head_dim, self.dropout = layer, width // heads, dropout
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x: torch.Tensor, mask: Mask) -> torch.Tensor:
        """(batch, tokens, width) -> the same."""
        q, k, v = (split_heads(project(x), self.head_dim) for project in (self.q_proj, self.k_proj, self.v_proj))
        z = attend(q, k, v, mask, layer=self.layer, dropout=self.dropout if self.training else 0.0)
        return merge_heads(z, self.out_proj, layer=self.layer)
