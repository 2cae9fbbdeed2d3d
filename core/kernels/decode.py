"""A model's decode step at work: what a plan needs to be told of one step, and the proof that it computes what the model does."""

from typing import Any

import numpy as np
import torch

from core.kernels import crew, machine, pack
from core.kernels.ops import CHUNK
from core.kernels.plan import ROWS, Plan, Unfit
from core.modeling.cache import Cache

EXACT, ROUNDED = 1e-3, 0.1  # how far logits may be from the plain path's, of the largest: in float32, and in half precision
TABLE = 512  # positions whose turns are computed at once

_crew = crew.Crew()


class Decoder:
    """The compiled step of one model, as it is now."""

    def __init__(self, model: Any) -> None:
        self.plan = Plan(model)
        self.pace = crew.Pace(crew.cores())
        self.proven = False
        self.team = 0  # of the last step
        self._scratch = np.zeros(self.pace.most * self.plan.scratch_size + 64, np.uint8)
        self._partial = np.zeros(0, np.float32)
        self._tables: dict[str, np.ndarray] = {}
        self._exact = model.dtype == torch.float32

    # ------------------------------------------------------------------ one step

    def step(self, model: Any, ids: torch.Tensor, mask: torch.Tensor, cache: Cache) -> torch.Tensor:
        """ids (batch, 1), mask (batch, tokens so far and this one) -> logits (batch, vocabulary) float32; keys and values go into the
        cache. Raises Unfit, before anything is changed, where the mask has gaps or the cache another shape."""
        plan, (batch, length) = self.plan, mask.shape
        positions = self._positions(mask, cache)
        with torch.inference_mode():
            trunk = model.base_model
            x = trunk.embed(trunk.get_input_embeddings()(ids), torch.from_numpy(positions)[:, None])
            torch.from_numpy(plan.h.memory)[:batch, : plan.width] = x[:, 0]
            self._turn(positions, x)
            self._tell_cache(cache, batch, length - 1)
            logits = torch.empty(batch, plan.vocabulary)
        plan.ops["dst"][plan.outputs] = logits.data_ptr()
        plan.ops["dst_stride"][plan.outputs] = 4 * plan.vocabulary
        tile = machine.tile_for(batch)
        wanted, began = self.pace.team(), crew.now()
        self.team = _crew.step(
            machine.compiled(tile), wanted, plan.ops, batch, (0,) * tile, self._scratch_start(), plan.scratch_size
        )
        self.pace.took(wanted, crew.now() - began)
        return logits

    def prove(self, model: Any, ids: torch.Tensor, mask: torch.Tensor, cache: Cache) -> torch.Tensor:
        """The first step, computed on both paths. Raises Unfit where they differ; the plain path's logits are returned and its keys and
        values kept."""
        past = cache.get_seq_length()
        found = self.step(model, ids, mask, cache)
        cache.trim(past)
        positions = (mask.cumsum(-1) - 1).clamp(min=0)[:, past:]
        expected = model(input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache, logits_to_keep=1)
        logits = expected.logits[:, -1].float()
        off, largest = (found - logits).abs().max().item(), max(1.0, logits.abs().max().item())
        if not off <= (EXACT if self._exact else ROUNDED) * largest:
            raise Unfit(f"the compiled step differs from the plain path by {off:.2g} in logits of up to {largest:.2g}")
        self.proven = True
        return logits

    # ------------------------------------------------------------------ what a step is told

    def _scratch_start(self) -> int:
        return (self._scratch.ctypes.data + 63) // 64 * 64

    def _positions(self, mask: torch.Tensor, cache: Cache) -> np.ndarray:
        """Each row's position, (batch,); its first token is told to the plan."""
        plan, (batch, length) = self.plan, mask.shape
        if len(cache) != plan.layers or cache.get_seq_length() != length - 1:
            raise Unfit("the cache does not hold all tokens but the last")
        real = mask.numpy() != 0
        counts = real.sum(1)
        starts = length - counts
        if any(not real[row, start:].all() for row, start in enumerate(starts)):
            raise Unfit("a row has padding elsewhere than on the left")
        plan.starts[:batch] = starts
        return counts - 1

    def _turn(self, positions: np.ndarray, x: torch.Tensor) -> None:
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

    def _tell_cache(self, cache: Cache, batch: int, length: int) -> None:
        """Where keys and values stand, now with room for this token."""
        plan = self.plan
        memory = cache.extend()
        first = memory[0][0]
        shape, form = (batch, plan.kv_heads, first.shape[2], plan.head_dim), pack.PLAIN.get(first.dtype)
        if form is None or any(k.shape != shape or v.shape != shape or k.dtype != first.dtype for k, v in memory):
            cache.trim(length)
            raise Unfit("the cache has another shape")
        where, told = plan.reading, plan.ops
        told["keys"][where] = [k.data_ptr() for k, _ in memory]
        told["values"][where] = [v.data_ptr() for _, v in memory]
        told["capacity"][where], told["length"][where], told["form"][where] = first.shape[2], length, form
        chunks = length // CHUNK + 1
        size = ROWS * plan.heads * (16 + -(-plan.head_dim // 16) * 16)
        if size * chunks > self._partial.size:
            self._partial = np.zeros(size * 2 * chunks, np.float32)
        told["partial"][where], told["chunks"][where] = self._partial.ctypes.data, self._partial.size // size
