"""Weights as the products read them: plain numbers where they are, blocks from a copy in another order, kept outside the module tree."""

import threading
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


SLAB = 1 << 24
_slab, _cutting = np.empty(0, np.uint8), threading.Lock()


def room(shape: tuple[int, ...]) -> np.ndarray:
    """Memory for bytes. That of a model's matrices lies together in slabs, for which the system has large pages: a step reads it all, and
    with small pages waits a quarter longer (measured)."""
    global _slab
    size = int(np.prod(shape))
    with _cutting:  # models that are loaded at the same time
        if size > len(_slab):
            _slab = np.empty(max(SLAB, size + 64), np.uint8)
            _slab = _slab[-_slab.ctypes.data % 64 :]
        taken, _slab = _slab[:size], _slab[(size + 63) // 64 * 64 :]
    return taken.reshape(shape)


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
    flat = [piece.reshape(*parts.shape[:2], -1) for piece in pieces]
    memory = room((*parts.shape[:2], sum(piece.shape[-1] for piece in flat)))
    np.concatenate(flat, -1, out=memory)
    return Weight(number, rows, 32 * count, memory.ctypes.data, memory)
