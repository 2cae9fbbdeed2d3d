"""Weights as the products read them: plain numbers where they are, blocks from a copy in another order, kept outside the module tree."""

from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import nn

from core.kernels.ops import BF16, F16, F32, Q4_0, Q4_1, Q8_0

PLAIN = {torch.float32: F32, torch.bfloat16: BF16, torch.float16: F16}
BLOCKS = {"q4_0": (Q4_0, 2), "q4_1": (Q4_1, 4), "q8_0": (Q8_0, 2)}  # name -> form, bytes of scales before the numbers


@dataclass
class Weight:
    """A matrix (rows, columns) as compiled code reads it; `memory` keeps it alive."""

    form: int
    rows: int
    columns: int
    address: int
    memory: Any


@dataclass
class _Copy:
    blocks: torch.Tensor
    version: int
    weight: Weight


_copies: "WeakKeyDictionary[nn.Module, _Copy]" = WeakKeyDictionary()


def version(tensor: torch.Tensor) -> int:
    """Counts writes to a tensor, where PyTorch does."""
    return 0 if tensor.is_inference() else tensor._version


def readable(layer: nn.Module) -> bool:
    """Whether products can read this layer's matrix: a Linear on the CPU, plain, or one in blocks that are known."""
    if getattr(layer, "form", None) in BLOCKS:
        blocks = getattr(layer, "blocks", None)
        return (
            isinstance(blocks, torch.Tensor) and blocks.dtype == torch.uint8 and blocks.dim() == 3 and blocks.device.type == "cpu"
        )
    weight = layer._parameters.get("weight")
    return isinstance(layer, nn.Linear) and weight is not None and weight.dtype in PLAIN and weight.device.type == "cpu"


def weight_of(layer: nn.Module) -> Weight:
    """A layer's matrix for the products."""
    if getattr(layer, "form", None) not in BLOCKS:
        return plain(layer.weight)  # type: ignore[arg-type]
    blocks: torch.Tensor = layer.blocks  # type: ignore[assignment]
    copy = _copies.get(layer)
    if copy is None or copy.blocks is not blocks or copy.version != version(blocks):
        copy = _copies[layer] = _Copy(blocks, version(blocks), packed(blocks, layer.form))  # type: ignore[arg-type]
    return copy.weight


def plain(matrix: torch.Tensor) -> Weight:
    """A matrix (rows, columns) of plain numbers, in place where its rows follow each other."""
    matrix = matrix.detach().contiguous()
    return Weight(PLAIN[matrix.dtype], matrix.shape[0], matrix.shape[1], matrix.data_ptr(), matrix)


def packed(blocks: torch.Tensor, form: str) -> Weight:
    """(rows, columns / 32, bytes of a block) -> 16 rows side by side: of each block the words, then the scales, then the least."""
    number, scales = BLOCKS[form]
    rows, count, size = blocks.shape
    padded = np.zeros((-(-rows // 16) * 16, count, size), np.uint8)
    padded[:rows] = blocks.numpy()
    parts = padded.reshape(-1, 16, count, size).transpose(0, 2, 1, 3)  # (groups, columns / 32, 16, bytes)
    words = parts[..., scales:].reshape(*parts.shape[:3], -1, 4).transpose(0, 1, 3, 2, 4)
    pieces = [words, *(parts[..., at : at + 2] for at in range(0, scales, 2))]
    memory = np.concatenate([piece.reshape(*parts.shape[:2], -1) for piece in pieces], -1)
    return Weight(number, rows, 32 * count, memory.ctypes.data, memory)
