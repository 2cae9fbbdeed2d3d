"""A model's decode step at work: what a plan needs to be told of one step, and the proof that it computes what the model does."""

import threading
import time
from typing import Any
from weakref import WeakSet

import numpy as np
import torch

from core.kernels import crew, machine, pack
from core.kernels.ops import CHUNK
from core.kernels.plan import ROWS, Plan
from core.modeling.cache import Cache

EXACT, ROUNDED = 1e-3, 0.1  # how far logits may be from the plain path's, of the largest: in float32, and in half precision
TEXTS = 3  # that may be further off in half precision, where the plain path itself strays on some, before the step is given up
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
        self._stands: Any = None  # where the last step's keys and values were
        self._tables: dict[str, np.ndarray] = {}
        self._exact = model.dtype == torch.float32

    # ------------------------------------------------------------------ one step

    def places(self, mask: torch.Tensor, cache: Cache) -> np.ndarray | None:
        """The positions of the tokens that the cache lacks (batch, new), where a step can be computed: padding stands on the left only,
        and either one token of each row is new or some tokens of a single one."""
        plan, (batch, length) = self.plan, mask.shape
        past = cache.get_seq_length()
        along = batch == 1 and all(rope.steady for rope in plan.ropes.values())
        if len(cache) != plan.layers or not (0 < length - past <= (ROWS if along else 1)) or batch > ROWS:
            return None
        keys, values = cache[0]
        if keys.dtype not in pack.PLAIN or keys.device.type != "cpu" or values.dtype != keys.dtype:
            return None
        if (keys.shape[0], keys.shape[1], keys.shape[3]) != (batch, plan.kv_heads, plan.head_dim) or values.shape != keys.shape:
            return None
        real = mask.numpy()
        if real.all():
            return np.arange(past, length)[None].repeat(batch, 0)
        padding = (real == 0).sum(1)
        if not all(real[row, count:].all() for row, count in enumerate(padding)):
            return None
        positions = np.arange(past, length)[None] - padding[:, None]
        return positions if positions.min() >= 0 else None

    def step(self, model: Any, ids: torch.Tensor, positions: np.ndarray, cache: Cache, keep: int = 1) -> torch.Tensor:
        """ids (batch, new), positions as `places` has them -> the logits after the last `keep` of them (batch, keep, vocabulary) float32;
        keys and values go into the cache."""
        with self._lock, crew.one_thread():
            return self._step(model, ids, positions, cache, min(keep, ids.shape[1]))

    def _step(self, model: Any, ids: torch.Tensor, positions: np.ndarray, cache: Cache, keep: int) -> torch.Tensor:
        plan, (texts, new), batch = self.plan, ids.shape, ids.numel()
        plan.starts[:batch] = (cache.get_seq_length() + np.arange(new) - positions).ravel()
        with torch.inference_mode():
            trunk = model.base_model
            x = trunk.embed(trunk.get_input_embeddings()(ids), torch.from_numpy(positions))
            torch.from_numpy(plan.h.memory)[:batch, : plan.width] = x.flatten(0, 1)
            self._turn(positions.ravel())
            self._tell_cache(cache, new)
            logits = torch.empty(texts, keep, plan.vocabulary)
        skipped, stride = new - keep, 4 * plan.vocabulary
        plan.ops["skipped"][plan.tail :] = skipped
        plan.ops["dst"][plan.outputs], plan.ops["dst_stride"][plan.outputs] = logits.data_ptr() - skipped * stride, stride
        tile = machine.tile_for(batch)
        wanted, began = self.pace.team() if new == 1 else self.pace.best(), time.perf_counter()
        start = (self._scratch.ctypes.data + 63) // 64 * 64
        self.team = _crew.step(machine.compiled(tile), wanted, plan.ops, batch, (0,) * tile, start, plan.scratch_size)
        if new == 1:
            self.pace.took(wanted, time.perf_counter() - began)
        return logits

    def prove(
        self, model: Any, ids: torch.Tensor, mask: torch.Tensor, positions: np.ndarray, cache: Cache, keep: int = 1
    ) -> tuple[torch.Tensor, str | None]:
        """A step on both paths -> the plain path's logits; and in what the compiled one differs, if it does so for good. In half precision
        a text may be one of the few on which the plain path is as far from float32: the next one is asked before that is said."""
        past = cache.get_seq_length()
        found = self.step(model, ids, positions, cache, keep)
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
        plan, memory = self.plan, cache.extend(new)
        where, told = plan.reading, plan.ops
        keys, values, places, dropped = zip(*memory, strict=True)
        stands = [(k.data_ptr(), v.data_ptr(), k.shape[2]) for k, v in zip(keys, values, strict=True)], keys[0].dtype
        if stands != self._stands:  # once in many tokens
            told["keys"][where], told["values"][where], told["capacity"][where] = zip(*stands[0], strict=True)
            told["form"][where], self._stands = pack.PLAIN[stands[1]], stands
        told["length"][where], told["dropped"][where], told["along"][where] = places, dropped, int(new > 1)
        chunks = (max(places) + new - 1) // CHUNK + 1
        size = ROWS * plan.heads * (16 + -(-plan.head_dim // 16) * 16)
        if size * chunks > self._partial.size:
            self._partial = np.zeros(size * 2 * chunks, np.float32)
            told["partial"][where], told["chunks"][where] = self._partial.ctypes.data, self._partial.size // size
