"""Products of whole numbers: four bytes of a weight with four bytes of an activation in each of 16 places, added to 32-bit sums.

The only file that names instructions: VNNI's (512 or 256 bits wide) or AVX2's, whichever LLVM is told the processor has; elsewhere
products are computed in float32. An activation is given as two planes of bytes, the second what the first leaves over in steps of 1/256
of its own, about 15 bits in all.
"""

import os
from typing import Any

from llvmlite import ir
from numba import types

from core.kernels import vec
from core.kernels.machine import EXACT, SWITCH, cpu_features
from core.kernels.vec import I8, I16, I32, LANES, VF, VI, f32_, i64, op, vf, vi, void


def instructions() -> str | None:
    """Which to use; none where VITRINE_KERNELS=float asks for exact products."""
    if os.environ.get(SWITCH) == EXACT:
        return None
    features = cpu_features()
    if {"avx512vnni", "avx512bw"} <= features:
        return "vnni512"
    return next((name for feature, name in (("avxvnni", "vnni256"), ("avx2", "avx2")) if feature in features), None)


CHOSEN = instructions()
WITHOUT_SIGN = CHOSEN in ("vnni512", "vnni256")  # VNNI multiplies bytes without a sign (weights) with bytes that have one
WIDE = CHOSEN == "vnni512"  # whether there are registers for the larger tile
MATRICES = "amx-bf16" in cpu_features()  # PyTorch multiplies many rows in bfloat16 by another unit, several times as fast
BYTES = ir.VectorType(I8, 64)


def _halves(b: Any, x: Any, kind: ir.Type) -> list[Any]:
    """<16 x i32> as two parts of 256 bits, of this type."""
    parts = []
    for at in (0, 8):
        mask = ir.Constant(ir.VectorType(I32, 8), list(range(at, at + 8)))
        parts.append(b.bitcast(b.shuffle_vector(x, ir.Constant(VI, ir.Undefined), mask), kind))
    return parts


def _whole(b: Any, low: Any, high: Any) -> Any:
    return b.shuffle_vector(low, high, ir.Constant(VI, list(range(LANES))))


def _vnni(b: Any, acc: Any, w: Any, x: Any) -> Any:
    if CHOSEN == "vnni512":
        return vec.call(b, "llvm.x86.avx512.vpdpbusd.512", VI, acc, w, x)
    half = ir.VectorType(I32, 8)
    parts = zip(*(_halves(b, value, half) for value in (acc, w, x)), strict=True)
    return _whole(b, *(vec.call(b, "llvm.x86.avx512.vpdpbusd.256", half, *part) for part in parts))


def _avx2(b: Any, acc: Any, w: Any, x: Any, signed: bool) -> Any:
    kind, pairs, half = ir.VectorType(I8, 32), ir.VectorType(I16, 16), ir.VectorType(I32, 8)
    sums = []
    for p, q in zip(_halves(b, w, kind), _halves(b, x, kind), strict=True):
        if signed:  # the weight's sign goes to the activation
            p, q = vec.call(b, "llvm.x86.avx2.psign.b", kind, p, p), vec.call(b, "llvm.x86.avx2.psign.b", kind, q, p)
        two = vec.call(b, "llvm.x86.avx2.pmadd.ub.sw", pairs, p, q)
        sums.append(vec.call(b, "llvm.x86.avx2.pmadd.wd", half, two, ir.Constant(pairs, [1] * 16)))
    return b.add(acc, _whole(b, *sums))


def _every(b: Any, acc: Any, w: Any, at: Any, stride: Any, signed: bool) -> Any:
    if signed and WITHOUT_SIGN:
        w = b.bitcast(b.xor(b.bitcast(w, BYTES), ir.Constant(BYTES, [-128] * 64)), VI)
    out = []
    for entry in vec.entries(b, acc):
        x = vec.same_everywhere(b, vec.read(b, at, I32, 4), VI)
        out.append(_vnni(b, entry, w, x) if WITHOUT_SIGN else _avx2(b, entry, w, x, signed))
        at = b.add(at, stride)
    return vec.make_tuple(b, out)


@op(lambda acc, *_: acc, None, vi, i64, i64)
def dot_every(b: Any, acc: Any, w: Any, at: Any, stride: Any) -> Any:
    """acc[t] + the products of the bytes of w, 0 to 127, with the four bytes at `at + t stride`."""
    return _every(b, acc, w, at, stride, False)


@op(lambda acc, *_: acc, None, vi, i64, i64)
def dot_signed(b: Any, acc: Any, w: Any, at: Any, stride: Any) -> Any:
    """As `dot_every`, the bytes of w with a sign; `start` must have taken back what the missing sign of VNNI adds."""
    return _every(b, acc, w, at, stride, True)


@op(lambda rows: types.UniTuple(vi, rows.count), None)
def whole_zeros(b: Any, rows: Any) -> Any:
    """As many zero vectors as `rows` has entries."""
    return vec.make_tuple(b, [ir.Constant(VI, [0] * LANES)] * rows.type.count)


@op(lambda rows, *_: types.UniTuple(vi, rows.count), None, i64, i64)
def start(b: Any, rows: Any, at: Any, stride: Any) -> Any:
    """Sums to begin signed products with: -128 times the activations' sum, which stands at `at + t stride`; zeros where it is not needed."""
    out = []
    for _ in range(rows.type.count):
        out.append(vec.same_everywhere(b, vec.read(b, at, I32, 4), VI) if WITHOUT_SIGN else ir.Constant(VI, [0] * LANES))
        at = b.add(at, stride)
    return vec.make_tuple(b, out)


@op(lambda acc, *_: acc, None, None, None, vf, i64, i64)
def add_planes(b: Any, acc: Any, first: Any, second: Any, scale: Any, at: Any, stride: Any) -> Any:
    """acc[t] + (256 first[t] + second[t]) times `scale` and the scale of the activations' second plane, which stands at `at + t stride`."""
    out = []
    for entry, one, two in zip(vec.entries(b, acc), vec.entries(b, first), vec.entries(b, second), strict=True):
        both = b.add(b.shl(one, vec.constant(8, VI)), two)
        own = vec.same_everywhere(b, vec.read(b, at, vec.F32, 4), VF)
        out.append(vec.fused(b, b.sitofp(both, VF), b.fmul(scale, own), entry))
        at = b.add(at, stride)
    return vec.make_tuple(b, out)


@op(vi, vi)
def low_nibbles(b: Any, w: Any) -> Any:
    """The lower four bits of each byte."""
    return b.bitcast(b.and_(b.bitcast(w, BYTES), ir.Constant(BYTES, [15] * 64)), VI)


@op(vi, vi)
def high_nibbles(b: Any, w: Any) -> Any:
    """The upper four bits of each byte."""
    return b.bitcast(b.and_(b.bitcast(b.lshr(w, vec.constant(4, VI)), BYTES), ir.Constant(BYTES, [15] * 64)), VI)


@op(vi, vf)
def rounded(b: Any, x: Any) -> Any:
    """To the nearest whole number from -127 to 127: half a step is 128 of its 256 parts, and -128 has no opposite for AVX2 to make of it."""
    whole = b.fptosi(vec.call(b, "llvm.rint.v16f32", VF, x), VI)
    for sign, edge in (("<", vec.constant(127, VI)), (">", vec.constant(-127, VI))):
        whole = b.select(b.icmp_signed(sign, whole, edge), whole, edge)
    return whole


@op(void, i64, vi)
def store_bytes(b: Any, at: Any, x: Any) -> None:
    """16 numbers of -127 to 127 to memory."""
    vec.write(b, at, b.trunc(x, ir.VectorType(I8, LANES)), 1)


@op(types.int32, vi, vi)
def whole_total(b: Any, x: Any, y: Any) -> Any:
    """The sum of all of both."""
    return vec.fold(b, b.add(x, y), lambda b, x, y: b.add(x, y))


@op(f32_, vf, vf)
def largest_size(b: Any, x: Any, y: Any) -> Any:
    """The largest of both, without its sign."""
    sizes = [vec.call(b, "llvm.fabs.v16f32", VF, value) for value in (x, y)]
    return vec.fold(b, vec.larger(b, *sizes), vec.larger)


@op(void, i64, types.int32)
def put_whole(b: Any, at: Any, value: Any) -> None:
    """A 32-bit integer to memory."""
    vec.write(b, at, value, 4)
