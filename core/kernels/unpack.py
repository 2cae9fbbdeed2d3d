"""Blocks of 32 numbers as plain numbers, for products with many rows: PyTorch's operations, one pass each, took longer than the product."""

import threading
from typing import Any

import numpy as np
import torch

from core.checkpoints.blocks import COUNT, SIZES
from core.kernels import machine
from core.kernels.ops import BF16, F32, Q4_0, Q4_1, Q8_0
from core.kernels.pack import BLOCKS, PLAIN
from core.kernels.vec import (
    add,
    floats,
    half,
    high_half,
    low_half,
    mul,
    signed_bytes,
    splat,
    store,
    store_bf16,
    unsigned_bytes,
    word,
)

LARGEST = 1 << 25  # bytes that a thread keeps
_mine = threading.local()


def run(form, size, blocks, count, rows, many, out, stride, wanted):  # type: ignore[no-untyped-def]
    """Of a matrix with `count` blocks of `size` bytes a row, `many` rows to float32 or bfloat16, one every `stride` bytes from `out` on;
    which ones stands in `rows` as int64, or they are the first where that is 0."""
    for i in range(many):
        at, to = blocks + size * count * (word(rows + 8 * i) if rows else i), out + stride * i
        for _ in range(count):
            scale = splat(half(at))
            if form == Q8_0:
                low, high = mul(floats(signed_bytes(at + 2)), scale), mul(floats(signed_bytes(at + 18)), scale)
            else:
                packed = unsigned_bytes(at + size - 16)
                least = splat(half(at + 2)) if form == Q4_1 else splat(half(at) * np.float32(-8))
                low = add(mul(floats(low_half(packed)), scale), least)
                high = add(mul(floats(high_half(packed)), scale), least)
            if wanted == F32:
                store(to, low)
                store(to + 64, high)
                to += 128
            else:
                store_bf16(to, low)
                store_bf16(to + 32, high)
                to += 64
            at += size


def unpack(blocks: torch.Tensor, form: str, dtype: torch.dtype, passing: bool = False) -> torch.Tensor:
    """(rows, columns / 32, bytes of a block), contiguous on the CPU -> (rows, columns) in float32 or bfloat16, to the bit what
    core.checkpoints.blocks makes of them. A passing one stands where this thread's next passing one will: memory new from the system
    takes as long as the numbers."""
    shape = blocks.shape[0], blocks.shape[1] * COUNT
    out = _place(shape, dtype) if passing else torch.empty(shape, dtype=dtype)
    _run(blocks, form, 0, shape[0], out.data_ptr(), out.stride(0) * dtype.itemsize, dtype)
    return out


def read_rows(blocks: torch.Tensor, form: str, rows: np.ndarray, out: np.ndarray) -> None:
    """These rows (int64) of a matrix in blocks, contiguous on the CPU, as float32 to the beginnings of the first rows of `out`."""
    if len(rows) and not 0 <= rows.min() <= rows.max() < len(blocks):
        wrong = next(row for row in rows if not 0 <= row < len(blocks))
        raise IndexError(f"there is no token {wrong} among {len(blocks)}")
    _run(blocks, form, rows.ctypes.data, len(rows), out.ctypes.data, out.strides[0], torch.float32)


def _run(blocks: torch.Tensor, form: str, rows: int, many: int, out: int, stride: int, dtype: torch.dtype) -> None:
    function: Any = machine.kept(run)
    number, wanted = BLOCKS[form][0], PLAIN[dtype]
    assert number in (Q4_0, Q4_1, Q8_0) and wanted in (F32, BF16)
    function(number, SIZES[form], blocks.data_ptr(), blocks.shape[1], rows, many, out, stride, wanted)


def _place(shape: tuple[int, int], dtype: torch.dtype) -> torch.Tensor:
    size = shape[0] * shape[1] * dtype.itemsize
    if size > LARGEST:
        return torch.empty(shape, dtype=dtype)
    if not hasattr(_mine, "room") or _mine.room.numel() < size:
        with torch.inference_mode(False):
            _mine.room = torch.empty(size, dtype=torch.uint8)
    return _mine.room[:size].view(dtype).view(shape)
