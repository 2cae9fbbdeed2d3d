"""Blocks of 32 numbers as plain numbers, for products with many rows: PyTorch's operations, one pass each, took longer than the product."""

import threading
from typing import Any

import numpy as np
import torch

from core.checkpoints.blocks import COUNT, SIZES
from core.kernels import machine
from core.kernels.ops import BF16, F32, Q4_0, Q4_1, Q8_0
from core.kernels.pack import BLOCKS, PLAIN
from core.kernels.vec import add, floats, half, high_half, low_half, mul, signed_bytes, splat, store, store_bf16, unsigned_bytes

LARGEST = 1 << 25  # bytes that a thread keeps
_mine = threading.local()


def run(form, size, at, count, out, wanted):  # type: ignore[no-untyped-def]
    """`count` blocks of `size` bytes from `at` on to float32 or bfloat16 at `out`."""
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
            store(out, low)
            store(out + 64, high)
            out += 128
        else:
            store_bf16(out, low)
            store_bf16(out + 32, high)
            out += 64
        at += size


def unpack(blocks: torch.Tensor, form: str, dtype: torch.dtype, passing: bool = False) -> torch.Tensor:
    """(rows, columns / 32, bytes of a block), contiguous on the CPU -> (rows, columns) in float32 or bfloat16, to the bit what
    core.checkpoints.blocks makes of them. A passing one stands where this thread's next passing one will: memory new from the system
    takes as long as the numbers."""
    shape = blocks.shape[0], blocks.shape[1] * COUNT
    out = _place(shape, dtype) if passing else torch.empty(shape, dtype=dtype)
    function: Any = machine.kept(run)
    number, wanted = BLOCKS[form][0], PLAIN[dtype]
    assert number in (Q4_0, Q4_1, Q8_0) and wanted in (F32, BF16)
    function(number, SIZES[form], blocks.data_ptr(), blocks.shape[0] * blocks.shape[1], out.data_ptr(), wanted)
    return out


def read_rows(blocks: torch.Tensor, form: str, rows: list[int], out: np.ndarray) -> None:
    """These rows of a matrix in blocks, contiguous on the CPU, as float32 to the beginnings of the first rows of `out`."""
    function: Any = machine.kept(run)
    number, size, count, step = BLOCKS[form][0], SIZES[form], blocks.shape[1], blocks.stride(0)
    for place, row in enumerate(rows):
        if not 0 <= row < blocks.shape[0]:
            raise IndexError(f"there is no token {row} among {blocks.shape[0]}")
        function(number, size, blocks.data_ptr() + step * row, count, out.ctypes.data + out.strides[0] * place, F32)


def _place(shape: tuple[int, int], dtype: torch.dtype) -> torch.Tensor:
    size = shape[0] * shape[1] * dtype.itemsize
    if size > LARGEST:
        return torch.empty(shape, dtype=dtype)
    if not hasattr(_mine, "room") or _mine.room.numel() < size:
        with torch.inference_mode(False):
            _mine.room = torch.empty(size, dtype=torch.uint8)
    return _mine.room[:size].view(dtype).view(shape)
