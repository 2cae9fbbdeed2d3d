"""Attention of one new token a row, or of some new tokens of one text, over the cache's own memory. Positions are read in chunks of which
each gives a maximum, a sum and a vector, so that threads share a long text and the result does not depend on how many they are. Dao et
al. 2023 (flash decoding)."""

from collections.abc import Callable
from typing import Any

import numpy as np

from core.kernels.ops import BF16, CHUNK, F32, RMS, SCORES
from core.kernels.products import BFLOATS, FLOATS, HALVES, Form, dot4_bf16, dot4_f16, dot4_f32, fetch_all, jit, jit_for
from core.kernels.vec import (
    add,
    between,
    div,
    exp,
    f32,
    fma,
    fma_every,
    fma_spread,
    largest,
    mul,
    one,
    put,
    put_bf16,
    put_f16,
    splat,
    store,
    store_bf16,
    store_f16,
    store_fours,
    store_fourth,
    store_tile,
    sub,
    total,
    vmax,
    word,
    zeros,
    zeros4,
)

LEAST = -1e30
MANY = 16  # tokens of one text, from which on keys are laid out for them
FOUR, EIGHT = (0,) * 4, (0,) * 8


@jit
def turn_head(x, width, turned, turns, norm, weight, eps):  # type: ignore[no-untyped-def]
    """A head's vector, normalised where the model does, its first `turned` numbers turned in pairs (i, i + turned / 2)."""
    if norm == RMS:
        squares = np.float32(0)
        for i in range(width):
            squares += one(x + 4 * i) * one(x + 4 * i)
        factor = np.float32(1) / np.sqrt(squares / np.float32(width) + eps)
        for i in range(width):
            put(x + 4 * i, one(x + 4 * i) * factor * one(weight + 4 * i))
    half, sines = turned // 2, turns + 4 * turned
    whole = half // 16 * 16
    for i in range(0, whole, 16):
        a, b, there = f32(x + 4 * i), f32(x + 4 * (i + half)), 4 * (i + half)
        store(x + 4 * i, sub(mul(a, f32(turns + 4 * i)), mul(b, f32(sines + 4 * i))))
        store(x + there, add(mul(b, f32(turns + there)), mul(a, f32(sines + there))))
    for i in range(whole, half):
        a, b = one(x + 4 * i), one(x + 4 * (i + half))
        put(x + 4 * i, a * one(turns + 4 * i) - b * one(sines + 4 * i))
        put(x + 4 * (i + half), b * one(turns + 4 * (i + half)) + a * one(sines + 4 * (i + half)))


@jit
def remember(form, x, place, width):  # type: ignore[no-untyped-def]
    """A head's vector into the cache."""
    whole = width // 16 * 16
    for i in range(0, whole, 16):
        if form == F32:
            store(place + 4 * i, f32(x + 4 * i))
        elif form == BF16:
            store_bf16(place + 2 * i, f32(x + 4 * i))
        else:
            store_f16(place + 2 * i, f32(x + 4 * i))
    for i in range(whole, width):
        if form == F32:
            put(place + 4 * i, one(x + 4 * i))
        elif form == BF16:
            put_bf16(place + 2 * i, one(x + 4 * i))
        else:
            put_f16(place + 2 * i, one(x + 4 * i))


@jit
def stands(op, row):  # type: ignore[no-untyped-def]
    """The text that a row of the batch belongs to, and its token's place in memory."""
    return (0, op.length + row) if op.along else (row, op.length)


@jit
def heads(op, tid, team, batch):  # type: ignore[no-untyped-def]
    """Queries, keys and values of a step: norms, positions, and keys and values into the cache."""
    every = op.heads + 2 * op.kv_heads
    size = 4 if op.form == F32 else 2
    for item in range(tid, batch * every, team):
        row, head = item // every, item % every
        text, here = stands(op, row)
        turns = op.turns + 8 * op.turned * row
        base = row * op.src_stride
        if head < op.heads:
            x = op.src + base + 4 * op.width * head
            turn_head(x, op.width, op.turned, turns, op.norm, op.norm_weight, op.eps)
            continue
        head -= op.heads
        is_key = head < op.kv_heads
        head = head if is_key else head - op.kv_heads
        x = (op.other if is_key else op.dst) + base + 4 * op.width * head
        if is_key:
            turn_head(x, op.width, op.turned, turns, op.norm, op.norm_bias, op.eps)
        place = (op.keys if is_key else op.values) + size * op.width * ((text * op.kv_heads + head) * op.capacity + here)
        remember(op.form, x, place, op.width)


def make_gather(form: Form) -> Callable[..., Any]:
    """The weighted sums of vectors of this form."""
    _, read, part, size = form

    @jit_for(form)
    def gather(weights, vectors, count, width, ahead, out, stride, heads):  # type: ignore[no-untyped-def]
        """out[t] (width) = the sum of weights[t, j] vectors[j], for each of these heads."""
        step, d = size * width, 0
        while d + 64 <= width:
            acc, at = zeros4(heads), vectors + size * d
            for j in range(count):
                if d == 0:
                    fetch_all(ahead + j * step, step)
                a, b, c, e = read(at), read(at + 16 * size), read(at + 32 * size), read(at + 48 * size)
                acc = fma_spread(acc, a, b, c, e, weights + 4 * j, SCORES)
                at += step
            store_fourth(acc, out + 4 * d, stride)
            d += 64
        while d < width:
            some, n = zeros(heads), width - d
            for j in range(count):
                at = vectors + j * step + size * d
                some = fma_every(some, read(at) if n >= 16 else part(at, n), weights + 4 * j, SCORES)
            store_tile(some, out + 4 * d, stride, np.float32(1))
            d += 16

    return gather


@jit
def weigh(op, scores, count, first, end, out):  # type: ignore[no-untyped-def]
    """A head's scores, from `first` to before `end`, become weights: exponentials of what they are above the largest, which is put before
    their sum. The others' weights are 0."""
    top, scale = splat(LEAST), splat(op.scale)
    for j in range(0, count, 16):
        score = mul(f32(scores + 4 * j), scale)
        if op.cap > 0:
            doubled = exp(mul(score, splat(2 / op.cap)))
            score = mul(div(sub(doubled, splat(1.0)), add(doubled, splat(1.0))), splat(op.cap))
        if j < first or j + 16 > end:
            score = between(score, splat(LEAST), first - j, end - j)
        store(scores + 4 * j, score)
        top = vmax(top, score)
    best = largest(top)
    whole = splat(0.0)
    for j in range(0, count, 16):
        weight = exp(sub(f32(scores + 4 * j), splat(best)))
        if j < first or j + 16 > end:
            weight = between(weight, splat(0.0), first - j, end - j)
        store(scores + 4 * j, weight)
        whole = add(weight, whole)
    put(out, best)
    put(out + 4, total(whole))


@jit
def first_read(op, row, here):  # type: ignore[no-untyped-def]
    """The first place in memory that a row's new token reads."""
    start = max(0, word(op.starts + 8 * row) - op.dropped)
    return max(start, here + 1 - op.window) if op.window else start


@jit
def partial_of(op, row, head, chunk):  # type: ignore[no-untyped-def]
    """Where the result of a chunk stands."""
    return op.partial + 4 * (16 + (op.width + 15) // 16 * 16) * ((row * op.heads + head) * op.chunks + chunk)


@jit
def chunks_of(op, row):  # type: ignore[no-untyped-def]
    """How many chunks a row reads."""
    _, here = stands(op, row)
    return here // CHUNK + 1 - first_read(op, row, here) // CHUNK


gather_f32, gather_bf16, gather_f16 = make_gather(FLOATS), make_gather(BFLOATS), make_gather(HALVES)


def make_attend(form: Form, dot4: Any, gather: Any) -> Callable[..., Any]:
    """Attention over keys and values of this form."""
    size = form.size

    @jit_for(form)
    def read_chunk(op, query, keys, values, count, scores, out, stride, heads):  # type: ignore[no-untyped-def]
        """What some heads of a group read at `count` positions, keys and values being read once for all: of each head the largest score,
        the sum of the exponentials above it, the weighted vectors."""
        step = size * op.width
        for j in range(0, count, 4):
            w = keys + j * step
            fetch_all(values + j * step, 4 * step)
            w1, w2, w3 = w + min(1, count - j - 1) * step, w + min(2, count - j - 1) * step, w + min(3, count - j - 1) * step
            store_fours(dot4(w, w1, w2, w3, query, 4 * op.width, op.width, heads), scores + 4 * j, SCORES, heads)
        for t in range(len(heads)):
            weigh(op, scores + t * SCORES, count, 0, count, out + t * stride)
        gather(scores, values, count, op.width, keys + CHUNK * step, out + 64, stride, heads)

    @jit_for(form)
    def attend(op, tid, team, batch, scores):  # type: ignore[no-untyped-def]
        """All chunks of all rows and groups of heads, a stretch of them for each thread: where threads took turns, two of them took as long
        as one over 4,000 tokens (measured)."""
        step, group, items = size * op.width, op.heads // op.kv_heads, 0
        for row in range(op.skipped, batch):
            items += op.kv_heads * chunks_of(op, row)
        before, last_mine, item = items * tid // team, items * (tid + 1) // team, 0
        for row in range(op.skipped, batch):
            text, here = stands(op, row)
            first = first_read(op, row, here)
            for kv in range(op.kv_heads):
                memory = step * (text * op.kv_heads + kv) * op.capacity
                for chunk in range(first // CHUNK, here // CHUNK + 1):
                    item += 1
                    if not before < item <= last_mine:
                        continue
                    begin, end = max(first, chunk * CHUNK), min(here + 1, (chunk + 1) * CHUNK)
                    keys, values = op.keys + memory + step * begin, op.values + memory + step * begin
                    head, last = kv * group, (kv + 1) * group
                    while head < last:
                        query, out = op.src + row * op.src_stride + 4 * op.width * head, partial_of(op, row, head, chunk)
                        stride = partial_of(op, row, head + 1, chunk) - out
                        if last - head >= 4:
                            read_chunk(op, query, keys, values, end - begin, scores, out, stride, (0, 0, 0, 0))
                            head += 4
                        elif last - head == 3:
                            read_chunk(op, query, keys, values, end - begin, scores, out, stride, (0, 0, 0))
                            head += 3
                        else:
                            read_chunk(op, query, keys, values, end - begin, scores, out, stride, (0,))
                            head += 1

    return attend


attend_f32, attend_bf16, attend_f16 = (
    make_attend(FLOATS, dot4_f32, gather_f32),
    make_attend(BFLOATS, dot4_bf16, gather_bf16),
    make_attend(HALVES, dot4_f16, gather_f16),
)


def make_lay(form: Form) -> Callable[..., Any]:
    """Keys and values of this form as `attend_along` reads them."""
    _, read, part, size = form

    @jit_for(form)
    def lay(keys, values, count, width, out):  # type: ignore[no-untyped-def]
        """Floats: number d of key j at `out + SCORES d + 4 j`, and behind the keys the values, one after the other."""
        vectors, box = out + SCORES * width, out + SCORES * width + 4 * CHUNK * width
        for j in range(count):
            for d in range(0, width, 16):
                n, at = min(16, width - d), size * (width * j + d)
                store(box, read(keys + at) if n == 16 else part(keys + at, n))
                for i in range(n):
                    put(out + SCORES * (d + i) + 4 * j, one(box + 4 * i))
                store(vectors + 4 * (width * j + d), read(values + at) if n == 16 else part(values + at, n))

    return lay


lay_f32, lay_bf16, lay_f16 = make_lay(FLOATS), make_lay(BFLOATS), make_lay(HALVES)


@jit
def lay(form, keys, values, count, width, out):  # type: ignore[no-untyped-def]
    """Keys and values of this form."""
    if form == F32:
        lay_f32(keys, values, count, width, out)
    elif form == BF16:
        lay_bf16(keys, values, count, width, out)
    else:
        lay_f16(keys, values, count, width, out)


@jit
def read_along(op, row, head, chunk, begin, count, scores, laid):  # type: ignore[no-untyped-def]
    """What a head reads of a chunk for eight tokens that follow each other, each up to its own place: as `read_chunk`, the scores of 16
    keys side by side."""
    query, out = op.src + row * op.src_stride + 4 * op.width * head, partial_of(op, row, head, chunk)
    stride = partial_of(op, row + 1, head, chunk) - out
    for j in range(0, count, 16):
        acc = zeros(EIGHT)
        for d in range(op.width):
            acc = fma_every(acc, f32(laid + SCORES * d + 4 * j), query + 4 * d, op.src_stride)
        store_tile(acc, scores + 4 * j, SCORES, np.float32(1))
    for t in range(8):
        here = op.length + row + t
        first, end = first_read(op, row + t, here) - begin, min(count, here + 1 - begin)
        weigh(op, scores + t * SCORES, count, first, end, out + t * stride)
    vectors = laid + SCORES * op.width
    for t in range(0, 8, 4):
        gather_f32(scores + t * SCORES, vectors, count, op.width, vectors, out + t * stride + 64, stride, FOUR)


@jit
def attend_along(op, tid, team, batch, scores):  # type: ignore[no-untyped-def]
    """As `attend`, of many tokens of one text: a chunk's keys and values are laid out once and read for all of a thread's tokens."""
    size, group, laid = (4 if op.form == F32 else 2) * op.width, op.heads // op.kv_heads, scores + 8 * SCORES
    skipped, tiles = op.skipped // 8, (batch + 7) // 8 - op.skipped // 8
    first_row, end_row = 8 * (skipped + tiles * tid // team), 8 * (skipped + tiles * (tid + 1) // team)
    if first_row == end_row:
        return
    first, end = first_read(op, first_row, op.length + first_row), op.length + min(end_row, batch)
    for kv in range(op.kv_heads):
        memory = size * kv * op.capacity
        for chunk in range(first // CHUNK, (end - 1) // CHUNK + 1):
            begin, after = max(first, chunk * CHUNK), min(end, (chunk + 1) * CHUNK)
            lay(op.form, op.keys + memory + size * begin, op.values + memory + size * begin, after - begin, op.width, laid)
            for row in range(first_row, end_row, 8):
                count = min(after, op.length + row + 8) - begin
                if count > 0 and first_read(op, row, op.length + row) < after:
                    for head in range(kv * group, (kv + 1) * group):
                        read_along(op, row, head, chunk, begin, count, scores, laid)


@jit
def attend(op, tid, team, batch, scores):  # type: ignore[no-untyped-def]
    """Scores, weights and weighted vectors, in chunks, in the form that the cache has."""
    if op.along and batch - op.skipped >= MANY:
        attend_along(op, tid, team, batch, scores)
    elif op.form == F32:
        attend_f32(op, tid, team, batch, scores)
    elif op.form == BF16:
        attend_bf16(op, tid, team, batch, scores)
    else:
        attend_f16(op, tid, team, batch, scores)


@jit
def combine(op, tid, team, batch):  # type: ignore[no-untyped-def]
    """What each head read, from its chunks."""
    first_item, items = op.skipped * op.heads, (batch - op.skipped) * op.heads
    for item in range(first_item + items * tid // team, first_item + items * (tid + 1) // team):
        row, head = item // op.heads, item % op.heads
        _, here = stands(op, row)
        first = first_read(op, row, here) // CHUNK
        chunks = range(first, here // CHUNK + 1)
        best, whole = np.float32(LEAST), np.float32(0)
        for chunk in chunks:
            best = max(best, one(partial_of(op, row, head, chunk)))
        for chunk in chunks:
            part = partial_of(op, row, head, chunk)
            put(part, np.exp(one(part) - best))
            whole += one(part) * one(part + 4)
        z = op.dst + row * op.dst_stride + 4 * op.width * head
        for d in range(0, op.width, 16):
            out = splat(0.0)
            for chunk in chunks:
                part = partial_of(op, row, head, chunk)
                out = fma(f32(part + 64 + 4 * d), splat(one(part) / whole), out)
            if d + 16 <= op.width:
                store(z + 4 * d, out)
            else:
                box = partial_of(op, row, head, first) + 64 + 4 * d
                store(box, out)
                for i in range(op.width - d):
                    put(z + 4 * (d + i), one(box + 4 * i))
