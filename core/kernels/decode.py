"""A model's decode step at work: what a plan needs to be told of one step, and the proof that it computes what the model does."""

import sys
import threading
import time
from contextlib import nullcontext
from typing import Any
from weakref import WeakSet

import numpy as np
import torch

from core.kernels import crew, integers, machine, pack
from core.kernels.ops import CHUNK, F16
from core.kernels.plan import ROWS, Plan
from core.kernels.unpack import read_rows
from core.modeling.cache import ROOM, Cache
from core.modeling.decoder import RotaryDecoder
from core.modeling.quantized import QuantizedEmbedding

EXACT, ROUNDED = 1e-3, 0.1  # how far logits may be from the plain path's, of the largest: in float32, and in half precision
TEXTS = 3  # that may be further off in half precision, where the plain path itself strays on some, before the step is given up
FEW = 32  # rows, or new tokens, of plain weights: for more of them PyTorch's products are as fast
TABLE = 512  # positions whose turns are computed at once

_crew = crew.Crew()


class Decoder:
    """The compiled step of one model, as it is now."""

    def __init__(self, model: Any) -> None:
        self.plan = Plan(model)
        self.pace = crew.Pace(crew.cores())
        self.proven = False
        self.doubts = 0
        self.doubted: WeakSet[Cache] = WeakSet()  # texts that the plain path goes on with
        self.team = 0  # of the last step
        self._scratch = np.zeros(self.pace.most * self.plan.scratch_size + 64, np.uint8)
        self._partial = np.zeros(0, np.float32)
        self._lock = threading.Lock()
        self._stands: list[int] = []  # which memory the last step's keys and values had
        self._fitting = (-1, 0)  # and which was last seen to have the model's shapes, and for how many rows
        self._along = all(rope.steady for rope in self.plan.ropes.values())
        self._trunk, self._words = model.base_model, model.get_input_embeddings()
        self._in_blocks = self._reads_blocks()
        self._stream = torch.from_numpy(self.plan.h.memory)[:, : self.plan.width]
        self._start = (self._scratch.ctypes.data + 63) // 64 * 64
        self._tables: dict[str, np.ndarray] = {}
        self._dtype = getattr(self._words, "dtype", None) or self._words.weight.dtype
        self._exact = self._dtype == torch.float32
        # products of bytes are faster than PyTorch's for any number of rows, but for bfloat16's where the processor multiplies matrices
        self._bytes = integers.CHOSEN is not None and min(self.plan.forms) > F16
        self._most = ROWS if self._bytes else FEW
        self._most_new = sys.maxsize if self._bytes and (self._exact or not integers.MATRICES) else self._most

    def _reads_blocks(self) -> bool:
        """Whether the tokens' vectors stand in blocks, and nothing is done to them but unpacking."""
        words = self._words
        if not isinstance(words, QuantizedEmbedding) or words.form not in pack.BLOCKS or words.scale != 1:
            return False
        there = words.blocks.device.type == "cpu" and words.blocks.is_contiguous()
        return there and type(self._trunk).embed is RotaryDecoder.embed

    # ------------------------------------------------------------------ one step

    def places(self, mask: torch.Tensor, cache: Cache) -> np.ndarray | None:
        """The positions of the tokens that the cache lacks (batch, new), where a step can be computed: padding stands on the left only,
        and either one token of each row is new or some tokens of a single one. A text from its beginning is one of those where weights
        are multiplied as bytes."""
        plan, (batch, length) = self.plan, mask.shape
        past, along = cache.get_seq_length(), self._along and batch == 1
        if not 0 < length - past <= (self._most_new if along else 1) or batch > self._most:
            return None
        if len(cache) != plan.layers and (len(cache) or not (along and self._bytes)):
            return None
        if len(cache) and ((first := cache.layer(0)).memory, batch) != self._fitting:
            keys, values, shape = first.keys, first.values, (batch, plan.kv_heads, first.capacity, plan.head_dim)
            if keys.dtype not in pack.PLAIN or keys.device.type != "cpu" or values.dtype != keys.dtype:
                return None
            if keys.shape != shape or values.shape != shape:
                return None
            self._fitting = first.memory, batch
        real, positions = mask.numpy(), np.arange(past, length)[None]
        if real.all():
            return positions if batch == 1 else positions.repeat(batch, 0)
        padding = (real == 0).sum(1)
        if not all(real[row, count:].all() for row, count in enumerate(padding)):
            return None
        positions = positions - padding[:, None]
        return positions if positions.min() >= 0 else None

    def step(self, model: Any, ids: torch.Tensor, positions: np.ndarray, cache: Cache, keep: int = 1) -> torch.Tensor:
        """ids (batch, new), positions as `places` has them -> the logits after the last `keep` of them (batch, keep, vocabulary) float32;
        keys and values go into the cache."""
        with self._lock, crew.one_thread():
            return self._step(model, ids, positions, cache, min(keep, ids.shape[1]))

    def _step(self, model: Any, ids: torch.Tensor, positions: np.ndarray, cache: Cache, keep: int) -> torch.Tensor:
        plan, (texts, new) = self.plan, ids.shape
        with nullcontext() if torch.is_inference_mode_enabled() else torch.inference_mode():
            logits = torch.empty(texts, keep, plan.vocabulary)
            if not len(cache):
                cache.begin(plan.layers, torch.empty(texts, plan.kv_heads, 0, plan.head_dim, dtype=self._dtype))
            if new > ROWS:
                cache.room = max(cache.room, cache.get_seq_length() + new + ROOM)
            tile, times = self.tile(texts * new), -(-new // ROWS)
            size = -(-new // (times * machine.WIDE)) * machine.WIDE  # about as many tokens each time
            for first in range(0, new, size):
                part = slice(first, first + size)
                self._part(tile, ids[:, part], positions[:, part], cache, logits, new - keep - first)
        return logits

    def tile(self, rows: int) -> int:
        """How many of so many rows a product serves at once."""
        return machine.tile_for(rows, self._bytes and integers.WIDE)

    def _part(self, tile: int, ids: torch.Tensor, positions: np.ndarray, cache: Cache, logits: torch.Tensor, ahead: int) -> None:
        """As many tokens as one step computes; the logits begin with those after the token `ahead` of the first."""
        plan, (texts, new), batch = self.plan, ids.shape, ids.numel()
        plan.starts[:batch].reshape(texts, new)[:] = cache.get_seq_length() - positions[:, :1]
        self._embed(ids, positions)
        self._turn(positions.ravel())
        self._tell_cache(cache, new)
        stride = 4 * plan.vocabulary
        plan.ops["skipped"][plan.tail :] = max(0, min(ahead, new))
        plan.ops["dst"][plan.outputs], plan.ops["dst_stride"][plan.outputs] = logits.data_ptr() - ahead * stride, stride
        wanted, began = self.pace.team() if new == 1 else self.pace.best(), time.perf_counter()
        self.team = _crew.step(machine.compiled(tile), wanted, plan.ops, batch, (0,) * tile, self._start, plan.scratch_size)
        if new == 1:
            self.pace.took(wanted, time.perf_counter() - began)

    def prove(
        self, model: Any, ids: torch.Tensor, mask: torch.Tensor, positions: np.ndarray, cache: Cache, keep: int = 1
    ) -> tuple[torch.Tensor, str | None]:
        """A step on both paths -> the plain path's logits; and in what the compiled one differs, if it does so for good. In half precision
        a text may be one of the few on which the plain path is as far from float32: the next one is asked before that is said."""
        past, new = cache.get_seq_length(), ids.shape[1]
        # a text's beginning, or so many tokens that a sliding layer forgets what a rollback would need, are read beside it
        trial = cache if len(cache) and new <= ROWS else cache.prefix(past)
        found = self.step(model, ids, positions, trial, keep)
        if trial is cache:
            cache.trim(past)
        places = torch.from_numpy(positions)
        out = model(input_ids=ids, attention_mask=mask, position_ids=places, past_key_values=cache, logits_to_keep=keep)
        logits = out.logits.float()
        off, largest = (found - logits).abs().max().item(), max(1.0, logits.abs().max().item())
        self.proven = off <= (EXACT if self._exact else ROUNDED) * largest
        if self.proven:
            return logits, None
        self.doubts += 1
        self.doubted.add(cache)
        difference = f"the compiled step is {off:.2g} off the plain path, whose logits go to {largest:.2g}"
        return logits, difference if self._exact or self.doubts == TEXTS else None

    # ------------------------------------------------------------------ what a step is told

    def _embed(self, ids: torch.Tensor, positions: np.ndarray) -> None:
        """The tokens' vectors, as the first layer reads them."""
        if self._in_blocks:
            read_rows(
                self._words.blocks, self._words.form, np.ascontiguousarray(ids.numpy().ravel(), np.int64), self.plan.h.memory
            )
            return
        x = self._trunk.embed(self._words(ids), torch.from_numpy(positions))
        self._stream[: ids.numel()] = x.flatten(0, 1)

    def _turn(self, positions: np.ndarray) -> None:
        """Cosines and sines of the rows' positions, for each kind of layer."""
        for kind, rope in self.plan.ropes.items():
            turns = self.plan.turns[kind]
            if not rope.steady:
                cos, sin = rope(torch.from_numpy(positions)[:, None], torch.empty(0))
                turns[: len(positions), 0], turns[: len(positions), 1] = cos[:, 0, 0].numpy(), sin[:, 0, 0].numpy()
                continue
            table = self._tables.get(kind)
            if table is None or positions.max() >= len(table):
                count = -(-int(positions.max() + 1) // TABLE) * TABLE * 2
                cos, sin = rope(torch.arange(count)[None], torch.empty(0))
                table = self._tables[kind] = np.stack([cos[0, 0].numpy(), sin[0, 0].numpy()], 1)
            turns[: len(positions)] = table[positions]

    def _tell_cache(self, cache: Cache, new: int) -> None:
        """Where keys and values stand, now with room for these tokens."""
        plan, layers = self.plan, cache.extend(new)
        where, told = plan.reading, plan.ops
        stands, places = [layer.memory for layer in layers], [layer.length - new for layer in layers]
        if stands != self._stands:  # once in many tokens
            pairs = [(layer.keys.data_ptr(), layer.values.data_ptr(), layer.capacity) for layer in layers]
            told["keys"][where], told["values"][where], told["capacity"][where] = zip(*pairs, strict=True)
            told["form"][where], self._stands = pack.PLAIN[layers[0].keys.dtype], stands
        told["length"][where], told["dropped"][where] = places, [layer.dropped for layer in layers]
        told["along"][where] = int(new > 1)
        chunks = (max(places) + new - 1) // CHUNK + 1
        size = ROWS * plan.heads * (16 + -(-plan.head_dim // 16) * 16)
        if size * chunks > self._partial.size:
            self._partial = np.zeros(size * (chunks + chunks // 4 + 4), np.float32)
            told["partial"][where], told["chunks"][where] = self._partial.ctypes.data, self._partial.size // size
