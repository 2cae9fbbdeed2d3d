"""Vectors of 16 numbers for Numba, without a word about any processor: LLVM makes AVX-512, AVX2 or NEON of them.

`vf` is <16 x float>, `vi` is <16 x i32>; memory is addressed by plain integers, in bytes. A tile is a tuple of `vf`, whose length
is known to the compiler: an operation on a tile is written once and unrolled. Functions here are called from compiled code only.
"""

import platform
import struct
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.typing.templates import signature
from numba.extending import intrinsic, models, register_model

LANES = 16
I8, I16, I32, I64, F16, F32 = ir.IntType(8), ir.IntType(16), ir.IntType(32), ir.IntType(64), ir.HalfType(), ir.FloatType()
VF, VI = ir.VectorType(F32, LANES), ir.VectorType(I32, LANES)


class _Vector(types.Type):
    """A vector as a type of Numba."""


class _Floats(_Vector):
    pass


class _Ints(_Vector):
    pass


vf, vi = _Floats("vf16"), _Ints("vi16")
i64, i32, f32_, void = types.int64, types.int32, types.float32, types.void


def _model(kind: type[types.Type], lowered: ir.Type) -> None:
    @register_model(kind)
    class _(models.PrimitiveModel):
        def __init__(self, manager: Any, kind: Any) -> None:
            super().__init__(manager, kind, lowered)


_model(_Floats, VF)
_model(_Ints, VI)


def tile(count: int) -> types.UniTuple:
    """The type of `count` vectors."""
    return types.UniTuple(vf, count)


def op(result: Any, *parameters: Any) -> Callable[[Callable[..., Any]], Any]:
    """A function for compiled code from one that emits its instructions: emit(builder, *values).

    Types of parameters are Numba's; None takes what is given (tiles). A result that is a function gets the arguments' types.
    """

    def make(emit: Callable[..., Any]) -> Any:
        def typed(*given: Any) -> Any:
            expected = [want or types.unliteral(have) for want, have in zip(parameters, given, strict=True)]
            returned = result(*expected) if callable(result) and not isinstance(result, types.Type) else result

            def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
                made = emit(builder, *values)
                return context.get_dummy_value() if returned is void else made

            return signature(returned, *expected), generate

        return intrinsic(_WITH_ARGUMENTS[len(parameters)](typed))

    return make


# Numba wants to see how many arguments a function takes
_WITH_ARGUMENTS: dict[int, Callable[[Callable[..., Any]], Callable[..., Any]]] = {
    1: lambda typed: lambda context, a: typed(a),
    2: lambda typed: lambda context, a, b: typed(a, b),
    3: lambda typed: lambda context, a, b, c: typed(a, b, c),
    4: lambda typed: lambda context, a, b, c, d: typed(a, b, c, d),
    5: lambda typed: lambda context, a, b, c, d, e: typed(a, b, c, d, e),
    6: lambda typed: lambda context, a, b, c, d, e, f: typed(a, b, c, d, e, f),
    7: lambda typed: lambda context, a, b, c, d, e, f, g: typed(a, b, c, d, e, f, g),
}


# ---------------------------------------------------------------- constants, memory

AHEAD = 8192  # bytes between what a product reads and what it asks memory for


def constant(number: float | int, kind: ir.VectorType) -> ir.Constant:
    if kind is VF:  # as LLVM writes it: a float's digits must be a float's
        number = struct.unpack("f", struct.pack("f", number))[0]
    return ir.Constant(kind, [number] * kind.count)


def _undefined(kind: ir.Type) -> ir.Constant:
    return ir.Constant(kind, ir.Undefined)


def call(builder: Any, name: str, result: ir.Type, *arguments: Any) -> Any:
    function = ir.FunctionType(result, [argument.type for argument in arguments])
    return builder.call(cgutils.get_or_insert_function(builder.module, function, name), arguments)


def read(builder: Any, at: Any, kind: ir.Type, align: int) -> Any:
    loaded = builder.load(builder.inttoptr(at, kind.as_pointer()))
    loaded.align = align
    return loaded


def write(builder: Any, at: Any, value: Any, align: int) -> None:
    builder.store(value, builder.inttoptr(at, value.type.as_pointer())).align = align


def same_everywhere(builder: Any, value: Any, kind: ir.VectorType) -> Any:
    first = builder.insert_element(_undefined(kind), value, ir.Constant(I32, 0))
    return builder.shuffle_vector(first, _undefined(kind), ir.Constant(ir.VectorType(I32, kind.count), [0] * kind.count))


def _from_bf16(builder: Any, halves: Any) -> Any:
    return builder.bitcast(builder.shl(builder.zext(halves, VI), constant(16, VI)), VF)


def _to_bf16(builder: Any, value: Any) -> Any:
    """Round to the nearest, ties to even."""
    bits = builder.bitcast(value, VI)
    odd = builder.and_(builder.lshr(bits, constant(16, VI)), constant(1, VI))
    return builder.trunc(builder.lshr(builder.add(bits, builder.add(odd, constant(0x7FFF, VI))), constant(16, VI)), _H)


_H, _HF = ir.VectorType(I16, LANES), ir.VectorType(F16, LANES)
_READ = {
    4: lambda b, at: read(b, at, VF, 4),
    "bf16": lambda b, at: _from_bf16(b, read(b, at, _H, 2)),
    "f16": lambda b, at: b.fpext(read(b, at, _HF, 2), VF),
}


def _part(builder: Any, at: Any, count: Any, size: int, read: Callable[..., Any]) -> Any:
    """The first `count` numbers there, then zeros; nothing beyond them is touched."""
    box = cgutils.alloca_once(builder, ir.ArrayType(I8, LANES * size))
    start = builder.bitcast(box, I8.as_pointer())
    cgutils.memset(builder, start, ir.Constant(I64, LANES * size), 0)
    there = builder.inttoptr(at, I8.as_pointer())
    cgutils.raw_memcpy(builder, start, there, builder.mul(count, ir.Constant(I64, size)), 1)
    return read(builder, builder.ptrtoint(start, I64))


@op(vf, i64)
def f32(b: Any, at: Any) -> Any:
    """16 floats."""
    return _READ[4](b, at)


@op(vf, i64)
def bf16(b: Any, at: Any) -> Any:
    """16 bfloat16, widened."""
    return _READ["bf16"](b, at)


@op(vf, i64)
def f16(b: Any, at: Any) -> Any:
    """16 halves, widened."""
    return _READ["f16"](b, at)


@op(vf, i64, i64)
def f32_part(b: Any, at: Any, count: Any) -> Any:
    """The first `count` < 16 floats, then zeros."""
    return _part(b, at, count, 4, _READ[4])


@op(vf, i64, i64)
def bf16_part(b: Any, at: Any, count: Any) -> Any:
    """The first `count` < 16 bfloat16, then zeros."""
    return _part(b, at, count, 2, _READ["bf16"])


@op(vf, i64, i64)
def f16_part(b: Any, at: Any, count: Any) -> Any:
    """The first `count` < 16 halves, then zeros."""
    return _part(b, at, count, 2, _READ["f16"])


@op(void, i64, vf)
def store(b: Any, at: Any, value: Any) -> None:
    """16 floats to memory."""
    write(b, at, value, 4)


@op(vf, i64)
def every(b: Any, at: Any) -> Any:
    """The float there in all 16 places."""
    return same_everywhere(b, read(b, at, F32, 4), VF)


@op(f32_, i64)
def one(b: Any, at: Any) -> Any:
    """The float there."""
    return read(b, at, F32, 4)


@op(void, i64, f32_)
def put(b: Any, at: Any, value: Any) -> None:
    """A float to memory."""
    write(b, at, value, 4)


@op(void, i64, f32_)
def put_bf16(b: Any, at: Any, value: Any) -> None:
    """A float to memory as bfloat16."""
    write(b, at, b.extract_element(_to_bf16(b, same_everywhere(b, value, VF)), ir.Constant(I32, 0)), 2)


@op(void, i64, f32_)
def put_f16(b: Any, at: Any, value: Any) -> None:
    """A float to memory as a half."""
    write(b, at, b.fptrunc(value, F16), 2)


@op(void, i64, vf)
def store_bf16(b: Any, at: Any, value: Any) -> None:
    """16 floats to memory as bfloat16."""
    write(b, at, _to_bf16(b, value), 2)


@op(void, i64, vf)
def store_f16(b: Any, at: Any, value: Any) -> None:
    """16 floats to memory as halves."""
    write(b, at, b.fptrunc(value, _HF), 2)


@op(f32_, i64)
def half(b: Any, at: Any) -> Any:
    """The half there, widened."""
    return b.fpext(read(b, at, F16, 2), F32)


@op(vi, i64)
def unsigned_bytes(b: Any, at: Any) -> Any:
    """16 bytes, 0 to 255."""
    return b.zext(read(b, at, ir.VectorType(I8, LANES), 1), VI)


@op(vi, i64)
def signed_bytes(b: Any, at: Any) -> Any:
    """16 bytes, -128 to 127."""
    return b.sext(read(b, at, ir.VectorType(I8, LANES), 1), VI)


@op(vi, vi)
def low_half(b: Any, x: Any) -> Any:
    """The lower four bits of each number."""
    return b.and_(x, constant(15, VI))


@op(vi, vi)
def high_half(b: Any, x: Any) -> Any:
    """What stands above them."""
    return b.lshr(x, constant(4, VI))


@op(i64, i64)
def word(b: Any, at: Any) -> Any:
    """The 64-bit integer there."""
    return read(b, at, I64, 8)


@op(void, i64)
def fetch(b: Any, at: Any) -> None:
    """Ask for the 64 bytes around an address, which need not be anybody's, ahead of their use."""
    hints = [ir.Constant(I32, hint) for hint in (0, 2, 1)]  # to read, into the second cache, data
    call(b, "llvm.prefetch.p0", ir.VoidType(), b.inttoptr(at, I8.as_pointer()), *hints)


@op(vi, i64)
def words(b: Any, at: Any) -> Any:
    """16 words of four bytes."""
    return read(b, at, VI, 4)


# ---------------------------------------------------------------- arithmetic


@op(vf, f32_)
def splat(b: Any, value: Any) -> Any:
    """The number in all 16 places."""
    return same_everywhere(b, value, VF)


@op(vf, vi)
def floats(b: Any, value: Any) -> Any:
    """Integers as floats."""
    return b.sitofp(value, VF)


@op(vi, vi, i32)
def nibble(b: Any, value: Any, at: Any) -> Any:
    """The four bits of each word from bit `at` on."""
    return b.and_(b.lshr(value, same_everywhere(b, at, VI)), constant(15, VI))


@op(vi, vi, i32)
def byte(b: Any, value: Any, at: Any) -> Any:
    """The eight bits of each word from bit `at` on, with a sign."""
    up = b.sub(ir.Constant(I32, 24), at)
    return b.ashr(b.shl(value, same_everywhere(b, up, VI)), constant(24, VI))


@op(vf, vf, vf)
def add(b: Any, x: Any, y: Any) -> Any:
    """x + y."""
    return b.fadd(x, y)


@op(vf, vf, vf)
def sub(b: Any, x: Any, y: Any) -> Any:
    """x - y."""
    return b.fsub(x, y)


@op(vf, vf, vf)
def mul(b: Any, x: Any, y: Any) -> Any:
    """x y."""
    return b.fmul(x, y)


@op(vf, vf, vf)
def div(b: Any, x: Any, y: Any) -> Any:
    """x / y."""
    return b.fdiv(x, y)


def fused(b: Any, x: Any, y: Any, z: Any) -> Any:
    return call(b, "llvm.fma.v16f32", VF, x, y, z)


@op(vf, vf, vf, vf)
def fma(b: Any, x: Any, y: Any, z: Any) -> Any:
    """x y + z, rounded once."""
    return fused(b, x, y, z)


def larger(b: Any, x: Any, y: Any) -> Any:
    return b.select(b.fcmp_ordered(">", x, y), x, y)


@op(vf, vf, vf)
def vmax(b: Any, x: Any, y: Any) -> Any:
    """The larger, place by place."""
    return larger(b, x, y)


@op(vf, vf)
def exp(b: Any, x: Any) -> Any:
    """e^x within 2e-7 of it: 2^n times a polynomial in what is left. Arguments are kept within -87 and 88."""
    x = b.select(b.fcmp_ordered(">", x, constant(-87.0, VF)), x, constant(-87.0, VF))
    x = b.select(b.fcmp_ordered("<", x, constant(88.0, VF)), x, constant(88.0, VF))
    n = call(b, "llvm.rint.v16f32", VF, b.fmul(x, constant(1.4426950408889634, VF)))
    rest = fused(b, n, constant(-0.693145751953125, VF), x)  # ln 2 in two parts, the first exact
    rest = fused(b, n, constant(-1.4286068203094173e-06, VF), rest)
    sum_ = constant(1 / 720, VF)
    for coefficient in (1 / 120, 1 / 24, 1 / 6, 1 / 2, 1.0, 1.0):
        sum_ = fused(b, sum_, rest, constant(coefficient, VF))
    power = b.bitcast(b.shl(b.add(b.fptosi(n, VI), constant(127, VI)), constant(23, VI)), VF)
    return b.fmul(sum_, power)


@op(vf, vf, vf, i64, i64)
def between(b: Any, x: Any, other: Any, first: Any, end: Any) -> Any:
    """x in the places from `first` to before `end`, `other` elsewhere."""
    places = ir.Constant(VI, list(range(LANES)))
    low, high = (same_everywhere(b, b.trunc(edge, I32), VI) for edge in (first, end))
    inside = b.and_(b.icmp_signed(">=", places, low), b.icmp_signed("<", places, high))
    return b.select(inside, x, other)


def fold(b: Any, x: Any, together: Callable[..., Any]) -> Any:
    lanes = LANES
    while lanes > 1:
        lanes //= 2
        low, high = (ir.Constant(ir.VectorType(I32, lanes), list(range(at, at + lanes))) for at in (0, lanes))
        none = _undefined(x.type)
        x = together(b, b.shuffle_vector(x, none, low), b.shuffle_vector(x, none, high))
    return b.extract_element(x, ir.Constant(I32, 0))


@op(f32_, vf, i64)
def lane(b: Any, x: Any, place: Any) -> Any:
    """One of the 16."""
    return b.extract_element(x, place)


@op(f32_, vf)
def total(b: Any, x: Any) -> Any:
    """The sum of the 16."""
    return fold(b, x, lambda b, x, y: b.fadd(x, y))


@op(f32_, vf)
def largest(b: Any, x: Any) -> Any:
    """The largest of the 16."""
    return fold(b, x, larger)


# ---------------------------------------------------------------- tiles


def entries(b: Any, values: Any) -> list[Any]:
    """The vectors of a tile."""
    return [b.extract_value(values, at) for at in range(values.type.count)]


def make_tuple(b: Any, vectors: list[Any]) -> Any:
    """A tile of these vectors."""
    return cgutils.pack_array(b, vectors)


@op(lambda rows: tile(rows.count), None)
def zeros(b: Any, rows: Any) -> Any:
    """As many zero vectors as `rows` has entries."""
    return make_tuple(b, [constant(0.0, VF)] * rows.type.count)


@op(lambda rows: tile(4 * rows.count), None)
def zeros4(b: Any, rows: Any) -> Any:
    """Four times as many zero vectors as `rows` has entries."""
    return make_tuple(b, [constant(0.0, VF)] * (4 * rows.type.count))


@op(lambda acc, *_: acc, None, vf, i64, i64)
def fma_every(b: Any, acc: Any, x: Any, at: Any, stride: Any) -> Any:
    """acc[t] + x times the float at `at + t stride`."""
    out = []
    for entry in entries(b, acc):
        out.append(fused(b, x, same_everywhere(b, read(b, at, F32, 4), VF), entry))
        at = b.add(at, stride)
    return make_tuple(b, out)


@op(lambda acc, *_: acc, None, None, vf)
def fma_scaled(b: Any, acc: Any, values: Any, x: Any) -> Any:
    """acc[t] + values[t] x."""
    return make_tuple(b, [fused(b, value, x, entry) for value, entry in zip(entries(b, values), entries(b, acc), strict=True)])


@op(lambda acc, *_: acc, None, None)
def plus(b: Any, x: Any, y: Any) -> Any:
    """x[t] + y[t]."""
    return make_tuple(b, [b.fadd(one, two) for one, two in zip(entries(b, x), entries(b, y), strict=True)])


@op(void, None, i64, i64, f32_)
def store_tile(b: Any, values: Any, at: Any, stride: Any, scale: Any) -> None:
    """scale values[t] to `at + t stride`."""
    scale = same_everywhere(b, scale, VF)
    for value in entries(b, values):
        write(b, at, b.fmul(value, scale), 4)
        at = b.add(at, stride)


@op(void, None, i64, i64, f32_)
def add_tile(b: Any, values: Any, at: Any, stride: Any, scale: Any) -> None:
    """Add scale values[t] to what stands at `at + t stride`."""
    scale = same_everywhere(b, scale, VF)
    for value in entries(b, values):
        write(b, at, fused(b, value, scale, read(b, at, VF, 4)), 4)
        at = b.add(at, stride)


@op(lambda acc, *_: acc, None, vf, vf, vf, vf, i64, i64)
def fma_outer(b: Any, acc: Any, w0: Any, w1: Any, w2: Any, w3: Any, at: Any, stride: Any) -> Any:
    """acc[4 t + i] + w_i times the 16 floats at `at + t stride`."""
    out = entries(b, acc)
    for first in range(0, len(out), 4):
        x = read(b, at, VF, 4)
        for i, w in enumerate((w0, w1, w2, w3)):
            out[first + i] = fused(b, w, x, out[first + i])
        at = b.add(at, stride)
    return make_tuple(b, out)


@op(lambda acc, *_: acc, None, vf, vf, vf, vf, i64, i64)
def fma_spread(b: Any, acc: Any, v0: Any, v1: Any, v2: Any, v3: Any, at: Any, stride: Any) -> Any:
    """acc[4 t + i] + v_i times the float at `at + t stride`."""
    out = entries(b, acc)
    for first in range(0, len(out), 4):
        x = same_everywhere(b, read(b, at, F32, 4), VF)
        for i, v in enumerate((v0, v1, v2, v3)):
            out[first + i] = fused(b, v, x, out[first + i])
        at = b.add(at, stride)
    return make_tuple(b, out)


@op(void, None, i64, i64)
def store_fourth(b: Any, values: Any, at: Any, stride: Any) -> None:
    """Vectors 4 t to 4 t + 3 one behind the other to `at + t stride`."""
    vectors = entries(b, values)
    for first in range(0, len(vectors), 4):
        for i in range(4):
            write(b, b.add(at, ir.Constant(I64, 4 * LANES * i)), vectors[first + i], 4)
        at = b.add(at, stride)


@op(void, vf, i64, i64, None)
def store_fours(b: Any, x: Any, at: Any, stride: Any, rows: Any) -> None:
    """Places 4 t to 4 t + 3 to `at + t stride`, for as many t as `rows` has entries."""
    for first in range(0, 4 * rows.type.count, 4):
        places = ir.Constant(ir.VectorType(I32, 4), list(range(first, first + 4)))
        write(b, at, b.shuffle_vector(x, _undefined(x.type), places), 4)
        at = b.add(at, stride)


@op(vf, None)
def totals(b: Any, values: Any) -> Any:
    """The sums of up to 16 vectors, in its first places: halves of pairs are added until each has one place."""
    vectors, part = entries(b, values), LANES
    count = len(vectors)
    while part > 1:
        lone = len(vectors) == 1
        if not lone and len(vectors) % 2:
            vectors.append(_undefined(vectors[0].type))
        pairs = [(vectors[0], _undefined(vectors[0].type))] if lone else zip(vectors[::2], vectors[1::2], strict=True)
        starts = range(0, vectors[0].type.count * (1 if lone else 2), part)
        part //= 2
        masks = []
        for offset in (0, part):
            places = [start + offset + i for start in starts for i in range(part)]
            masks.append(ir.Constant(ir.VectorType(I32, len(places)), places))
        vectors = [b.fadd(b.shuffle_vector(x, y, masks[0]), b.shuffle_vector(x, y, masks[1])) for x, y in pairs]
    places = [min(i, count - 1) for i in range(LANES)]
    return b.shuffle_vector(vectors[0], _undefined(vectors[0].type), ir.Constant(ir.VectorType(I32, LANES), places))


# ---------------------------------------------------------------- threads


@op(i64, i64, i64)
def atomic_add(b: Any, at: Any, value: Any) -> Any:
    """Add to the integer there; what it was before."""
    return b.atomic_rmw("add", b.inttoptr(at, I64.as_pointer()), value, "acq_rel")


@op(i64, i64)
def atomic_read(b: Any, at: Any) -> Any:
    """The integer there, after a breath: others may be about to write it."""
    if platform.machine() in ("x86_64", "AMD64"):
        call(b, "llvm.x86.sse2.pause", ir.VoidType())
    return b.load_atomic(b.inttoptr(at, I64.as_pointer()), "acquire", 8)


@op(void, i64, i64)
def atomic_write(b: Any, at: Any, value: Any) -> None:
    """Put the integer there."""
    b.store_atomic(value, b.inttoptr(at, I64.as_pointer()), "release", 8)
