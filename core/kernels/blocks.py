"""Products of weights in blocks of 32 numbers, read from a copy (core.kernels.pack) in which 16 rows stand side by side: word j of a block
holds columns 4 j to 4 j + 3 of each of them.

Where the processor multiplies bytes, activations become two planes of bytes for the time of a product (core.kernels.integers); elsewhere
weights become floats on the way.
"""

import numpy as np

from core.kernels.integers import (
    CHOSEN,
    add_planes,
    dot_every,
    dot_signed,
    high_nibbles,
    largest_size,
    low_nibbles,
    put_whole,
    rounded,
    start,
    store_bytes,
    whole_total,
    whole_zeros,
)
from core.kernels.ops import PLANES, Q4_1, SCALES, STARTS, SUMS
from core.kernels.products import jit
from core.kernels.vec import (
    AHEAD,
    add,
    byte,
    f16,
    f32,
    fetch,
    floats,
    fma_every,
    fma_scaled,
    mul,
    nibble,
    plus,
    put,
    splat,
    store_tile,
    sub,
    total,
    words,
    zeros,
)

INTEGERS = CHOSEN is not None


@jit
def prepare(x, count, signed):  # type: ignore[no-untyped-def]
    """What the products need of a row of 32 `count` floats besides them, written behind them. signed: whether weights have 8 bits."""
    for b in range(count):
        low, high = f32(x + 128 * b), f32(x + 128 * b + 64)
        put(x + SUMS * count + 4 * b, total(add(low, high)))
        if INTEGERS:
            size = largest_size(low, high)
            scale, inverse = size / np.float32(127), np.float32(127) / size if size > 0 else np.float32(0)
            plane = x + PLANES * count + 32 * b
            put(x + SCALES * count + 4 * b, scale / np.float32(256))
            for which in range(2):
                p, q = rounded(mul(low, splat(inverse))), rounded(mul(high, splat(inverse)))
                store_bytes(plane + 32 * count * which, p)
                store_bytes(plane + 32 * count * which + 16, q)
                if signed:
                    put_whole(x + (STARTS + 4 * which) * count + 4 * b, -128 * whole_total(p, q))
                low, high = sub(low, mul(floats(p), splat(scale))), sub(high, mul(floats(q), splat(scale)))
                scale, inverse = scale / np.float32(256), inverse * np.float32(256)


@jit
def four_bits_by_integers(form, block, count, x, stride, out, rows):  # type: ignore[no-untyped-def]
    """16 rows of Q4: (n scale + least), of which Q4_0 has -8 scale for the least."""
    acc, least = zeros(rows), 32 if form == Q4_1 else 0
    factor = splat(1.0 if form == Q4_1 else -8.0)
    for b in range(count):
        first, second = whole_zeros(rows), whole_zeros(rows)
        at = x + PLANES * count + 32 * b
        fetch(block + AHEAD + 256)
        for j in range(4):
            fetch(block + AHEAD + 64 * j)
            w = words(block + 64 * j)
            low, high = low_nibbles(w), high_nibbles(w)
            first = dot_every(dot_every(first, low, at + 4 * j, stride), high, at + 4 * j + 16, stride)
            again = at + 32 * count + 4 * j
            second = dot_every(dot_every(second, low, again, stride), high, again + 16, stride)
        acc = add_planes(acc, first, second, f16(block + 256), x + SCALES * count + 4 * b, stride)
        acc = fma_every(acc, mul(f16(block + 256 + least), factor), x + SUMS * count + 4 * b, stride)
        block += 288 + least
    store_tile(acc, out, 64, 1.0)


@jit
def eight_bits_by_integers(block, count, x, stride, out, rows):  # type: ignore[no-untyped-def]
    """16 rows of Q8: n scale."""
    acc = zeros(rows)
    for b in range(count):
        sums = x + STARTS * count + 4 * b
        first, second = start(rows, sums, stride), start(rows, sums + 4 * count, stride)
        at = x + PLANES * count + 32 * b
        fetch(block + AHEAD + 512)
        for j in range(8):
            fetch(block + AHEAD + 64 * j)
            w = words(block + 64 * j)
            first = dot_signed(first, w, at + 4 * j, stride)
            second = dot_signed(second, w, at + 32 * count + 4 * j, stride)
        acc = add_planes(acc, first, second, f16(block + 512), x + SCALES * count + 4 * b, stride)
        block += 544
    store_tile(acc, out, 64, 1.0)


@jit
def four_bits_by_floats(form, block, count, x, stride, out, rows):  # type: ignore[no-untyped-def]
    """As `four_bits_by_integers`, exact."""
    acc, least = zeros(rows), 32 if form == Q4_1 else 0
    factor = splat(1.0 if form == Q4_1 else -8.0)
    for b in range(count):
        low, high = zeros(rows), zeros(rows)
        fetch(block + AHEAD + 256)
        for j in range(4):
            fetch(block + AHEAD + 64 * j)
            w = words(block + 64 * j)
            for c in range(4):
                at = x + 128 * b + 16 * j + 4 * c
                low = fma_every(low, floats(nibble(w, 8 * c)), at, stride)
                high = fma_every(high, floats(nibble(w, 8 * c + 4)), at + 64, stride)
        acc = fma_scaled(acc, plus(low, high), f16(block + 256))
        acc = fma_every(acc, mul(f16(block + 256 + least), factor), x + SUMS * count + 4 * b, stride)
        block += 288 + least
    store_tile(acc, out, 64, 1.0)


@jit
def eight_bits_by_floats(block, count, x, stride, out, rows):  # type: ignore[no-untyped-def]
    """As `eight_bits_by_integers`, exact."""
    acc = zeros(rows)
    for b in range(count):
        even, odd = zeros(rows), zeros(rows)
        fetch(block + AHEAD + 512)
        for j in range(8):
            fetch(block + AHEAD + 64 * j)
            w = words(block + 64 * j)
            for c in range(0, 4, 2):
                at = x + 128 * b + 16 * j + 4 * c
                even = fma_every(even, floats(byte(w, 8 * c)), at, stride)
                odd = fma_every(odd, floats(byte(w, 8 * c + 8)), at + 4, stride)
        acc = fma_scaled(acc, plus(even, odd), f16(block + 512))
        block += 544
    store_tile(acc, out, 64, 1.0)


four_bits = four_bits_by_integers if INTEGERS else four_bits_by_floats
eight_bits = eight_bits_by_integers if INTEGERS else eight_bits_by_floats
