"""GGUF's tensor types: plain numbers, and blocks of quantised ones with how they unpack.

Layouts: https://github.com/ggml-org/ggml/blob/master/src/ggml-common.h. Blocks come as (blocks, bytes of a block) and leave as
(blocks, numbers of a block) float32. Blocks of 32 have one scale; the K kinds have 256 numbers, whose 8 or 16 groups each
have a small whole-numbered scale under the block's.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from core.checkpoints.blocks import dequantize


def _halves(blocks: np.ndarray, at: int) -> np.ndarray:
    """The fp16 number at this byte of each block -> (blocks, 1) float32."""
    return np.ascontiguousarray(blocks[:, at : at + 2]).view(np.float16).astype(np.float32)


def _nibbles(packed: np.ndarray) -> np.ndarray:
    """(blocks, 16) bytes -> (blocks, 32): the low halves, then the high ones."""
    return np.concatenate([packed & 15, packed >> 4], 1)


def _fifth_bits(packed: np.ndarray) -> np.ndarray:
    """(blocks, 4) bytes -> (blocks, 32) bits, as 16 or 0."""
    return np.unpackbits(np.ascontiguousarray(packed), axis=1, bitorder="little") << 4


def _fields(packed: np.ndarray, bits: int, run: int) -> np.ndarray:
    """(blocks, bytes) -> (blocks, numbers of so many bits): of each run of bytes first all the lowest fields, then the next."""
    shifts = np.arange(0, 8, bits, dtype=np.uint8)[:, None]
    fields = packed.reshape(len(packed), -1, 1, run) >> shifts & np.uint8((1 << bits) - 1)
    return fields.reshape(len(packed), -1)


def _grouped(numbers: np.ndarray, groups: int) -> np.ndarray:
    """(blocks, 256) -> (blocks, groups, numbers of a group) float32."""
    return numbers.astype(np.float32).reshape(len(numbers), groups, -1)


def _six_bit_pairs(packed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(blocks, 12) bytes -> scales and minima, (blocks, 8) each: their upper bits of groups 4 to 7 stand above those of 0 to 3."""
    low, high, mixed = packed[:, :4], packed[:, 4:8], packed[:, 8:]
    scales = np.concatenate([low & 63, (mixed & 15) | (low >> 6) << 4], 1)
    minima = np.concatenate([high & 63, (mixed >> 4) | (high >> 6) << 4], 1)
    return scales.astype(np.float32), minima.astype(np.float32)


def _q5_0(b: np.ndarray) -> np.ndarray:
    return ((_nibbles(b[:, 6:]) | _fifth_bits(b[:, 2:6])).astype(np.float32) - 16) * _halves(b, 0)


def _q5_1(b: np.ndarray) -> np.ndarray:
    return (_nibbles(b[:, 8:]) | _fifth_bits(b[:, 4:8])).astype(np.float32) * _halves(b, 0) + _halves(b, 2)


def _q2_k(b: np.ndarray) -> np.ndarray:
    scales = (b[:, :16] & 15).astype(np.float32) * _halves(b, 80)
    minima = (b[:, :16] >> 4).astype(np.float32) * _halves(b, 82)
    return scales[..., None] * _grouped(_fields(b[:, 16:80], 2, 32), 16) - minima[..., None]


def _q3_k(b: np.ndarray) -> np.ndarray:
    low, high = _fields(b[:, 96:104], 4, 8), _fields(b[:, 104:108], 2, 4)
    scales = ((low | high << 4).astype(np.float32) - 32) * _halves(b, 108)
    numbers = _fields(b[:, 32:96], 2, 32) | _fields(b[:, :32], 1, 32) << 2
    return scales[..., None] * (_grouped(numbers, 16) - 4)


def _q4_k(b: np.ndarray) -> np.ndarray:
    scales, minima = _six_bit_pairs(b[:, 4:16])
    scales, minima = scales * _halves(b, 0), minima * _halves(b, 2)
    return scales[..., None] * _grouped(_fields(b[:, 16:], 4, 32), 8) - minima[..., None]


def _q5_k(b: np.ndarray) -> np.ndarray:
    scales, minima = _six_bit_pairs(b[:, 4:16])
    scales, minima = scales * _halves(b, 0), minima * _halves(b, 2)
    numbers = _fields(b[:, 48:], 4, 32) | _fields(b[:, 16:48], 1, 32) << 4
    return scales[..., None] * _grouped(numbers, 8) - minima[..., None]


def _q6_k(b: np.ndarray) -> np.ndarray:
    scales = b[:, 192:208].view(np.int8).astype(np.float32) * _halves(b, 208)
    numbers = _fields(b[:, :128], 4, 64) | _fields(b[:, 128:192], 2, 32) << 4
    return scales[..., None] * (_grouped(numbers, 16) - 32)


def _q8_k(b: np.ndarray) -> np.ndarray:
    return b[:, 4:260].view(np.int8).astype(np.float32) * np.ascontiguousarray(b[:, :4]).view(np.float32)


def _of_32(form: str) -> Callable[[np.ndarray], np.ndarray]:
    """The kinds that a model may compute with as they are: core.checkpoints.blocks."""
    return lambda b: dequantize(torch.from_numpy(b), form).numpy()


@dataclass(frozen=True)
class Kind:
    """A tensor type: `size` bytes hold `count` numbers; a plain dtype, or blocks and how they unpack."""

    name: str
    size: int
    count: int = 1
    dtype: torch.dtype | None = None
    unpack: Callable[[np.ndarray], np.ndarray] | None = None


KINDS = {
    0: Kind("F32", 4, dtype=torch.float32),
    1: Kind("F16", 2, dtype=torch.float16),
    30: Kind("BF16", 2, dtype=torch.bfloat16),
    2: Kind("Q4_0", 18, 32, unpack=_of_32("q4_0")),
    3: Kind("Q4_1", 20, 32, unpack=_of_32("q4_1")),
    6: Kind("Q5_0", 22, 32, unpack=_q5_0),
    7: Kind("Q5_1", 24, 32, unpack=_q5_1),
    8: Kind("Q8_0", 34, 32, unpack=_of_32("q8_0")),
    10: Kind("Q2_K", 84, 256, unpack=_q2_k),
    11: Kind("Q3_K", 110, 256, unpack=_q3_k),
    12: Kind("Q4_K", 144, 256, unpack=_q4_k),
    13: Kind("Q5_K", 176, 256, unpack=_q5_k),
    14: Kind("Q6_K", 210, 256, unpack=_q6_k),
    15: Kind("Q8_K", 292, 256, unpack=_q8_k),
}
AT_ONCE = 1 << 19


def unpack(raw: np.ndarray, kind: Kind, dtype: torch.dtype) -> torch.Tensor:
    """(bytes,) of quantised blocks -> (numbers,) of this dtype; a part at a time, so that little memory is used on the way."""
    assert kind.unpack is not None
    blocks = raw.reshape(-1, kind.size)
    numbers = torch.empty(len(blocks), kind.count, dtype=dtype)
    step = AT_ONCE // kind.count
    with np.errstate(all="ignore"):  # a scale may be any bits
        for at in range(0, len(blocks), step):
            part = kind.unpack(blocks[at : at + step])
            numbers[at : at + step] = torch.from_numpy(part.reshape(-1, kind.count))
    return numbers.flatten()
