"""Products of plain weights with up to as many rows as a tile has, 16 outputs at a time. The numbers stay where PyTorch has them, row
after row, and four rows are read at once."""

from collections.abc import Callable
from typing import Any, NamedTuple

from numba import njit

from core.kernels.ops import BF16, F32
from core.kernels.vec import (
    add,
    bf16,
    bf16_part,
    f16,
    f16_part,
    f32,
    f32_part,
    fetch,
    fma,
    fma_outer,
    mul,
    one,
    put,
    splat,
    store,
    store_fours,
    totals,
    zeros4,
)

jit: Any = njit(nogil=True, error_model="numpy")


class Form(NamedTuple):
    """How plain numbers stand in memory."""

    name: str
    read: Any  # 16 of them
    part: Any  # the first few, then zeros
    size: int  # bytes of one


FLOATS, BFLOATS, HALVES = Form("f32", f32, f32_part, 4), Form("bf16", bf16, bf16_part, 2), Form("f16", f16, f16_part, 2)


def jit_for(form: Form) -> Callable[[Callable[..., Any]], Any]:
    """`jit` for one of several functions of the same text, which gets the form's name.

    To the linker a function is its name, its arguments' types and a number that Numba counts anew in each process. Steps that two processes
    compiled and kept meet in a third: of two functions that share all three, one serves the callers of both (Numba's issue 10486).
    """

    def made(function: Callable[..., Any]) -> Any:
        function.__qualname__ = f"{function.__name__}_{form.name}"
        return jit(function)

    return made


@jit
def fetch_all(at, size):  # type: ignore[no-untyped-def]
    """Ask for so many bytes ahead of their use."""
    for line in range(0, size, 64):
        fetch(at + line)


def make_dot4(form: Form) -> Callable[..., Any]:
    """The products of four rows of this form."""
    _, read, part, size = form

    @jit_for(form)
    def dot4(w0, w1, w2, w3, x, stride, columns, rows):  # type: ignore[no-untyped-def]
        """Place 4 t + i of the result: the row at w_i times the row t at x."""
        acc, next4 = zeros4(rows), 4 * (w1 - w0)
        whole = columns // 16 * 16
        for c in range(0, whole, 16):
            at = size * c
            if c * size % 64 == 0:
                fetch(w0 + next4 + at)
                fetch(w1 + next4 + at)
                fetch(w2 + next4 + at)
                fetch(w3 + next4 + at)
            acc = fma_outer(acc, read(w0 + at), read(w1 + at), read(w2 + at), read(w3 + at), x + 4 * c, stride)
        if whole < columns:
            at, n = size * whole, columns - whole
            acc = fma_outer(acc, part(w0 + at, n), part(w1 + at, n), part(w2 + at, n), part(w3 + at, n), x + 4 * whole, stride)
        return totals(acc)

    return dot4


dot4_f32, dot4_bf16, dot4_f16 = make_dot4(FLOATS), make_dot4(BFLOATS), make_dot4(HALVES)


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
        store_fours(found, place, 64, rows)


@jit
def finish(op, out, t, group):  # type: ignore[no-untyped-def]
    """Row t of a tile, 16 outputs of a product, to where it belongs."""
    n = min(16, op.rows - 16 * group)
    dst = op.dst + t * op.dst_stride + 64 * group
    if n == 16:
        y = mul(f32(out), splat(op.scale))
        if op.bias:
            y = fma(f32(op.bias + 64 * group), splat(op.scale), y)
        if op.add:
            y = add(y, f32(dst))
        store(dst, y)
        return
    for i in range(n):
        value = one(out + 4 * i) * op.scale
        if op.bias:
            value += one(op.bias + 64 * group + 4 * i) * op.scale
        if op.add:
            value += one(dst + 4 * i)
        put(dst + 4 * i, value)
