"""Layers whose weight stays in small blocks of 4 or 8 bits: core.checkpoints.blocks says how a block looks.

The products follow the dtype of what they are given. bfloat16 on a CPU and few rows: torch's packed 4-bit product, from a copy of the
blocks in its order (core.modeling.packed). Otherwise the weight is unpacked for this product and forgotten.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from core.checkpoints.blocks import COUNT, SIZES, Blocks, dequantize
from core.modeling import packed


class Quantized(nn.Module):
    """What the layers share: a matrix (rows, columns) in the buffer `blocks` (rows, columns / 32, bytes of a block), uint8."""

    blocks: torch.Tensor

    def __init__(self, blocks: Blocks) -> None:
        super().__init__()
        self.form = blocks.form
        self.register_buffer("blocks", blocks.data)

    def dequantize(
        self, dtype: torch.dtype = torch.float32, passing: bool = False, rows: torch.Tensor | None = None
    ) -> torch.Tensor:
        """The matrix (rows, columns), or some of its rows. A passing one holds until the next is asked for."""
        from core import kernels  # which know this package

        blocks = self.blocks if rows is None else self.blocks.index_select(0, rows)
        found = kernels.unpacked(blocks, self.form, dtype, passing)
        return dequantize(blocks, self.form, dtype) if found is None else found

    @property
    def weight(self) -> torch.Tensor:
        """The matrix in float32, unpacked at each call; what is written to it is lost."""
        return self.dequantize()

    @property
    def count(self) -> int:
        """How many numbers the matrix holds."""
        return self.blocks.numel() // SIZES[self.form] * COUNT


class QuantizedLinear(Quantized):
    """x W^T + bias, W in blocks. W is frozen; gradients flow to x and to the bias."""

    bias: nn.Parameter | None

    def __init__(self, blocks: Blocks, bias: nn.Parameter | None = None) -> None:
        super().__init__(blocks)
        self.out_features, self.in_features = blocks.shape
        self.register_parameter("bias", bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(…, in) -> (…, out), in the dtype of x."""
        if torch.is_grad_enabled() and x.requires_grad:
            y: torch.Tensor = _Product.apply(x, self)  # type: ignore[assignment]
        else:
            y = self.product(x)
        return self.biased(y)

    def biased(self, y: torch.Tensor) -> torch.Tensor:
        """The product with the bias, where there is one."""
        return y if self.bias is None else y + self.bias.to(y.dtype)

    def product(self, x: torch.Tensor) -> torch.Tensor:
        """x W^T."""
        y = packed.product(x, (self,))
        return F.linear(x, self.dequantize(x.dtype, passing=True)) if y is None else y

    def extra_repr(self) -> str:
        """As in a printed model."""
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}, form={self.form}"


class _Product(torch.autograd.Function):
    """The product, unpacking the weight again in backward, so that none is kept in between."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, layer: QuantizedLinear) -> torch.Tensor:
        ctx.layer = layer
        return layer.product(x)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        return gradients[0] @ ctx.layer.dequantize(gradients[0].dtype, passing=True), None


class QuantizedEmbedding(Quantized):
    """A table of vectors in blocks; vectors leave in `dtype`, multiplied by `scale`."""

    def __init__(
        self, blocks: Blocks, padding_idx: int | None = None, dtype: torch.dtype = torch.float32, scale: float = 1.0
    ) -> None:
        super().__init__(blocks)
        self.num_embeddings, self.embedding_dim = blocks.shape
        self.padding_idx, self.dtype, self.scale = padding_idx, dtype, scale

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """(…) -> (…, width)."""
        vectors = self.dequantize(self.dtype, rows=ids.reshape(-1)).view(*ids.shape, -1)
        return vectors if self.scale == 1 else vectors * torch.tensor(self.scale, dtype=self.dtype)

    def _apply(self, fn: Any, recurse: bool = True) -> "QuantizedEmbedding":
        self.dtype = fn(torch.empty(0, dtype=self.dtype, device=self.blocks.device)).dtype
        return super()._apply(fn, recurse)  # type: ignore[return-value]

    def extra_repr(self) -> str:
        """As in a printed model."""
        return f"{self.num_embeddings}, {self.embedding_dim}, form={self.form}"


def quantized(layer: nn.Module, blocks: Blocks, dtype: torch.dtype) -> Quantized:
    """What a Linear or an Embedding is with its matrix in blocks."""
    if isinstance(layer, nn.Embedding):
        return QuantizedEmbedding(blocks, layer.padding_idx, dtype, getattr(layer, "scale", 1.0))
    assert isinstance(layer, nn.Linear)
    return QuantizedLinear(blocks, layer.bias)
