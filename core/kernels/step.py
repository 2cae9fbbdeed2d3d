"""The compiled step: every thread goes through the same table of operations, does its share of each, and waits where it must."""

import math
import os

import numpy as np
from numba import types

from core.kernels import attention
from core.kernels.blocks import eight_bits, four_bits, prepare
from core.kernels.ops import (
    ACTIVATE,
    ADD,
    ATTEND,
    CAP,
    COMBINE,
    EIGHT_BITS,
    F16,
    GELU,
    GELU_TANH,
    HEADS,
    LAYER,
    NO_NORM,
    PREPARE,
    PRODUCT,
    Q4_1,
    Q8_0,
    SILU,
)
from core.kernels.products import dense, finish, jit
from core.kernels.vec import (
    add,
    atomic_add,
    atomic_read,
    atomic_write,
    div,
    exp,
    f32,
    fma,
    mul,
    one,
    put,
    splat,
    store,
    sub,
    total,
    vmax,
)

CLOSED = 1 << 32  # in the gate: nobody may join any more
PATIENCE = 30000  # looks at the gate (some 10 ns each) before a step begins without those who have not come
YIELD_AFTER = 2000  # looks at the barrier before a thread offers its core to others
give_way = types.ExternalFunction("SwitchToThread" if os.name == "nt" else "sched_yield", types.int32())


# ---------------------------------------------------------------- threads. A gate is three words, 128 bytes apart: who came, meetings, team


@jit
def join(gate, leads, wanted):  # type: ignore[no-untyped-def]
    """This thread's number and how many take part. The leading thread waits a moment for the others, then closes the gate: a step never
    waits for a thread that is not running. (0, 0) for one that comes too late."""
    if leads:
        looks = 0
        while looks < PATIENCE and atomic_read(gate) < wanted - 1:
            looks += 1
        team = atomic_add(gate, CLOSED) + 1
        atomic_write(gate + 256, team)
        return 0, team
    came = atomic_add(gate, 1)
    if came >= CLOSED:
        return 0, 0
    team = atomic_read(gate + 256)
    while team == 0:
        team = atomic_read(gate + 256)
    return came + 1, team


@jit
def meet(gate, team):  # type: ignore[no-untyped-def]
    """Wait until all are here."""
    if team == 1:
        return
    here = atomic_add(gate + 128, 1) + 1
    goal, looks = (here + team - 1) // team * team, 0
    while atomic_read(gate + 128) < goal:
        looks += 1
        if looks > YIELD_AFTER:
            give_way()


# ---------------------------------------------------------------- operations


@jit
def normed(op, src, dst):  # type: ignore[no-untyped-def]
    """One row, normalised (or as it is), with zeros to the next multiple of 32."""
    columns, whole = op.columns, op.columns // 16 * 16
    shift, scale = np.float32(0), np.float32(1)
    if op.norm == LAYER:
        for i in range(columns):
            shift += one(src + 4 * i)
        shift /= np.float32(columns)
    if op.norm != NO_NORM:
        squares = splat(0.0)
        for i in range(0, whole, 16):
            x = sub(f32(src + 4 * i), splat(shift))
            squares = fma(x, x, squares)
        variance = total(squares)
        for i in range(whole, columns):
            variance += (one(src + 4 * i) - shift) * (one(src + 4 * i) - shift)
        scale = np.float32(1) / np.sqrt(variance / np.float32(columns) + op.eps)
    for i in range(0, whole, 16):
        x = mul(sub(f32(src + 4 * i), splat(shift)), splat(scale))
        if op.norm_weight:
            x = mul(x, f32(op.norm_weight + 4 * i))
        if op.norm_bias:
            x = add(x, f32(op.norm_bias + 4 * i))
        store(dst + 4 * i, x)
    for i in range(whole, columns):
        y = (one(src + 4 * i) - shift) * scale
        if op.norm_weight:
            y *= one(op.norm_weight + 4 * i)
        if op.norm_bias:
            y += one(op.norm_bias + 4 * i)
        put(dst + 4 * i, y)
    for i in range(columns, (columns + 31) // 32 * 32):
        put(dst + 4 * i, np.float32(0))


@jit
def prepared(op, tid, team, batch):  # type: ignore[no-untyped-def]
    """Rows as the products after it read them: normalised, and in planes of bytes where they are multiplied with blocks."""
    for t in range(op.skipped + tid, batch, team):
        normed(op, op.src + t * op.src_stride, op.dst + t * op.dst_stride)
        if op.blocks:
            prepare(op.dst + t * op.dst_stride, (op.columns + 31) // 32, op.blocks == EIGHT_BITS)


@jit
def product(op, tid, team, batch, rows, out):  # type: ignore[no-untyped-def]
    """weight · rows, 16 outputs at a time, the weight read once for a tile of rows."""
    blocks, groups, tile = (op.columns + 31) // 32, (op.rows + 15) // 16, len(rows)
    for group in range(groups * tid // team, groups * (tid + 1) // team):
        for t in range(op.skipped // tile * tile, batch, tile):
            at = op.src + t * op.src_stride
            if op.form <= F16:
                dense(op.form, op.weight, 16 * group, min(op.rows, 16 * group + 16), at, op.src_stride, op.columns, out, rows)
            elif op.form == Q8_0:
                eight_bits(op.weight + 544 * blocks * group, blocks, at, op.src_stride, out, rows)
            else:
                size = 320 if op.form == Q4_1 else 288
                four_bits(op.form, op.weight + size * blocks * group, blocks, at, op.src_stride, out, rows)
            for i in range(max(0, op.skipped - t), min(tile, batch - t)):
                finish(op, out + 64 * i, t + i, group)


@jit
def activated(kind, x):  # type: ignore[no-untyped-def]
    """The activation of 16 numbers."""
    unit = splat(1.0)
    if kind == SILU:
        return div(x, add(unit, exp(sub(splat(0.0), x))))
    if kind == GELU_TANH:  # x (1 + tanh y) / 2 = x / (1 + e^(-2 y))
        inner = mul(x, fma(mul(x, x), splat(-2 * 0.7978845608028654 * 0.044715), splat(-2 * 0.7978845608028654)))
        return div(x, add(unit, exp(inner)))
    return vmax(x, splat(0.0))


@jit
def activate(op, tid, team, batch):  # type: ignore[no-untyped-def]
    """act(src) · other, or act(src) where there is no other: of each row the columns that this thread computed."""
    parts = (op.columns + 15) // 16
    for row in range(op.skipped, batch):
        for part in range(parts * tid // team, parts * (tid + 1) // team):
            x, dst = op.src + row * op.src_stride + 64 * part, op.dst + row * op.dst_stride + 64 * part
            if op.form == GELU:
                for i in range(16):
                    value = one(x + 4 * i)
                    put(dst + 4 * i, value * np.float32(0.5) * (np.float32(1) + math.erf(value * np.float32(0.7071067811865476))))
                y = f32(dst)
            else:
                y = activated(op.form, f32(x))
            store(dst, mul(y, f32(op.other + row * op.src_stride + 64 * part)) if op.other else y)


@jit
def add_row(op, tid, team, batch, scratch):  # type: ignore[no-untyped-def]
    """dst + scale · norm(src)."""
    for row in range(op.skipped + tid, batch, team):
        normed(op, op.src + row * op.src_stride, scratch)
        for i in range(op.columns):
            at = op.dst + row * op.dst_stride + 4 * i
            put(at, one(at) + op.scale * one(scratch + 4 * i))


@jit
def cap(op, tid, team, batch):  # type: ignore[no-untyped-def]
    """cap · tanh(dst / cap), in place."""
    for row in range(op.skipped, batch):
        for i in range(op.columns * tid // team, op.columns * (tid + 1) // team):
            at = op.dst + row * op.dst_stride + 4 * i
            put(at, np.float32(op.cap * math.tanh(one(at) / op.cap)))


def run(gate, leads, wanted, ops, batch, rows, scratch, scratch_size):  # type: ignore[no-untyped-def]
    """One thread's part of a step. rows: a tuple as long as a tile; scratch: memory of `scratch_size` bytes a thread."""
    tid, team = join(gate, leads, wanted)
    if team == 0:
        return 0
    scratch += tid * scratch_size
    for i in range(len(ops)):
        op = ops[i]
        if op.kind == PREPARE:
            prepared(op, tid, team, batch)
        elif op.kind == PRODUCT:
            product(op, tid, team, batch, rows, scratch)
        elif op.kind == HEADS:
            attention.heads(op, tid, team, batch)
        elif op.kind == ATTEND:
            attention.attend(op, tid, team, batch, scratch)
        elif op.kind == COMBINE:
            attention.combine(op, tid, team, batch)
        elif op.kind == ACTIVATE:
            activate(op, tid, team, batch)
        elif op.kind == ADD:
            add_row(op, tid, team, batch, scratch)
        elif op.kind == CAP:
            cap(op, tid, team, batch)
        if op.wait:
            meet(gate, team)
    return team
