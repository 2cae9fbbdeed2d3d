"""Products of weights with up to as many rows as a tile has: 16 outputs at a time.

Plain numbers stay where PyTorch has them, row after row, and four rows are read at once. Blocks of 4 and 8 bits are read from a copy
(core.kernels.pack) in which 16 rows stand side by side: word j of a block holds columns 4 j to 4 j + 3 of each of them.
"""

from collections.abc import Callable
from typing import Any

from numba import njit

from core.kernels.ops import BF16, F32, Q4_1
from core.kernels.vec import (
    add,
    bf16,
    bf16_part,
    byte,
    f16,
    f16_part,
    f32,
    f32_part,
    floats,
    fma,
    fma_every,
    fma_outer,
    fma_scaled,
    lane,
    mul,
    nibble,
    one,
    plus,
    put,
    splat,
    store,
    store_tile,
    total,
    totals,
    words,
    zeros,
    zeros4,
)

jit: Any = njit(nogil=True, error_model="numpy")


def make_dot4(read: Any, part: Any, size: int) -> Callable[..., Any]:
    """The products of four rows of a form whose numbers take `size` bytes."""

    @jit
    def dot4(w0, w1, w2, w3, x, stride, columns, rows):  # type: ignore[no-untyped-def]
        """Place 4 t + i of the result: the row at w_i times the row t at x."""
        acc = zeros4(rows)
        whole = columns // 16 * 16
        for c in range(0, whole, 16):
            at = size * c
            acc = fma_outer(acc, read(w0 + at), read(w1 + at), read(w2 + at), read(w3 + at), x + 4 * c, stride)
        if whole < columns:
            at, n = size * whole, columns - whole
            acc = fma_outer(acc, part(w0 + at, n), part(w1 + at, n), part(w2 + at, n), part(w3 + at, n), x + 4 * whole, stride)
        return totals(acc)

    return dot4


dot4_f32 = make_dot4(f32, f32_part, 4)
dot4_bf16 = make_dot4(bf16, bf16_part, 2)
dot4_f16 = make_dot4(f16, f16_part, 2)


@jit
def dot4(form, w0, w1, w2, w3, x, stride, columns, rows):  # type: ignore[no-untyped-def]
    """Four rows of plain numbers of this form."""
    if form == F32:
        return dot4_f32(w0, w1, w2, w3, x, stride, columns, rows)
    if form == BF16:
        return dot4_bf16(w0, w1, w2, w3, x, stride, columns, rows)
    return dot4_f16(w0, w1, w2, w3, x, stride, columns, rows)


@jit
def dense(form, weight, first, last, x, stride, columns, out, rows):  # type: ignore[no-untyped-def]
    """Up to 16 rows, first to before last, of plain numbers: out[t] (16 floats each)."""
    size = 4 if form == F32 else 2
    step = size * columns
    for row in range(first, last, 4):
        w0 = weight + row * step
        w1, w2, w3 = w0 + min(1, last - row - 1) * step, w0 + min(2, last - row - 1) * step, w0 + min(3, last - row - 1) * step
        place, found = out + 4 * (row - first), dot4(form, w0, w1, w2, w3, x, stride, columns, rows)
        if len(rows) == 1:
            store(place, found)  # what is too much is written over, or stands behind the tile
            continue
        for t in range(len(rows)):
            for i in range(4):
                put(place + 64 * t + 4 * i, lane(found, 4 * t + i))


@jit
def four_bits(form, block, count, x, stride, sums, sums_stride, out, rows):  # type: ignore[no-untyped-def]
    """16 rows of Q4: (n scale + least), of which Q4_0 has -8 scale for the least."""
    acc = zeros(rows)
    has_least = 32 if form == Q4_1 else 0
    factor = splat(1.0 if form == Q4_1 else -8.0)
    for b in range(count):
        low, high = zeros(rows), zeros(rows)
        for j in range(4):
            w = words(block + 64 * j)
            for c in range(4):
                at = x + 128 * b + 16 * j + 4 * c
                low = fma_every(low, floats(nibble(w, 8 * c)), at, stride)
                high = fma_every(high, floats(nibble(w, 8 * c + 4)), at + 64, stride)
        acc = fma_scaled(acc, plus(low, high), f16(block + 256))
        acc = fma_every(acc, mul(f16(block + 256 + has_least), factor), sums + 4 * b, sums_stride)
        block += 288 + has_least
    store_tile(acc, out, 64, 1.0)


@jit
def eight_bits(block, count, x, stride, out, rows):  # type: ignore[no-untyped-def]
    """16 rows of Q8: n scale."""
    acc = zeros(rows)
    for b in range(count):
        even, odd = zeros(rows), zeros(rows)
        for j in range(8):
            w = words(block + 64 * j)
            for c in range(0, 4, 2):
                at = x + 128 * b + 16 * j + 4 * c
                even = fma_every(even, floats(byte(w, 8 * c)), at, stride)
                odd = fma_every(odd, floats(byte(w, 8 * c + 8)), at + 4, stride)
        acc = fma_scaled(acc, plus(even, odd), f16(block + 512))
        block += 544
    store_tile(acc, out, 64, 1.0)


@jit
def block_sums(x, count):  # type: ignore[no-untyped-def]
    """What the numbers of each block of 32 add up to; they stand after the row."""
    for b in range(count):
        put(x + 128 * count + 4 * b, total(add(f32(x + 128 * b), f32(x + 128 * b + 64))))


@jit
def finish(op, out, t, group, scale):  # type: ignore[no-untyped-def]
    """Row t of a tile, 16 outputs of a product, to where it belongs."""
    n = min(16, op.rows - 16 * group)
    dst = op.dst + t * op.dst_stride + 64 * group
    if n == 16:
        y = mul(f32(out), splat(scale))
        if op.bias:
            y = fma(f32(op.bias + 64 * group), splat(op.scale), y)
        if op.add:
            y = add(y, f32(dst))
        store(dst, y)
        return
    for i in range(n):
        value = one(out + 4 * i) * scale
        if op.bias:
            value += one(op.bias + 64 * group + 4 * i) * op.scale
        if op.add:
            value += one(dst + 4 * i)
        put(dst + 4 * i, value)
