"""The batched lane: requests join and leave a running batch between steps. Yu et al. 2022 (iteration-level scheduling)."""

from collections import deque
from dataclasses import dataclass

import torch

from core import kernels
from core.generation.adapted import Adapted
from core.generation.batch import Batch, Row
from core.generation.prefixes import PrefixStore
from core.generation.request import Request
from core.generation.step import decode_step
from core.modeling.cache import Cache

CHUNK = 128  # tokens of new prompts that are read between two steps of those who write
ALONE = 512  # the same where nobody writes
ROOM = 512  # tokens of an answer for which memory is taken before it begins


@dataclass
class _Joining:
    """A row whose prompt is being read, and the cache of what was read."""

    row: Row
    cache: Cache


class Lane:
    """At most `max_rows` requests at once, whose longest, times their number, is at most `max_tokens`; the others wait in line.

    All rows are one batch, each with its own adapter. A prompt is read alone, in pieces, and begins with what the prefix store knows of it.
    """

    def __init__(self, model: Adapted, prefixes: PrefixStore, max_rows: int, max_tokens: int) -> None:
        self._model, self._prefixes, self._max_rows, self._max_tokens = model, prefixes, max_rows, max_tokens
        self._waiting: deque[Row] = deque()
        self._joining: deque[_Joining] = deque()
        self._batch = Batch()

    @property
    def rows(self) -> list[Row]:
        """Those that have a place."""
        return [*self._batch.rows, *(one.row for one in list(self._joining))]

    @property
    def idle(self) -> bool:
        """Whether there is nothing to do."""
        return not (self._waiting or self._joining or self._batch.rows)

    @property
    def waiting(self) -> int:
        """How many stand in line."""
        return len(self._waiting)

    def add(self, request: Request) -> None:
        """To the end of the line."""
        try:
            self._waiting.append(Row(request))
        except Exception as error:
            request.send(error)
        self._admit()

    @torch.inference_mode()
    def turn(self) -> None:
        """Read a piece of the new prompts, then one token for every row."""
        self._admit()
        self._read()
        if self._batch.rows:
            self._step()

    def drop_all(self, error: Exception) -> None:
        """End every request with this error."""
        for row in [*self._waiting, *self.rows]:
            row.request.send(error)
        self._waiting.clear()
        self._joining.clear()
        self._batch = Batch()

    # ------------------------------------------------------------------ in

    def _admit(self) -> None:
        """Give places to the first in line; nobody overtakes."""
        for row in [row for row in self._waiting if row.request.cancelled]:
            self._waiting.remove(row)
            row.end("cancelled")
        while self._waiting:
            row, taken = self._waiting[0], self.rows
            longest = max(other.reserved for other in [row, *taken])
            if taken and (len(taken) == self._max_rows or longest * (len(taken) + 1) > self._max_tokens):
                break
            self._waiting.popleft().request.stand(0)
            cache = self._prefixes.take(row.request.adapter, row.ids[0]) or self._model.base.new_cache()
            row.answer.reused_tokens = cache.get_seq_length()
            cache.room = row.prompt + min(row.limit, ROOM)
            self._joining.append(_Joining(row, cache))
        for position, row in enumerate(self._waiting, 1):
            row.request.stand(position)

    def _read(self) -> None:
        """Read a piece of the new prompts; those that are read through join their batch."""
        left = CHUNK if self._batch.rows else ALONE
        ready: list[tuple[Row, Cache]] = []
        while left > 0 and self._joining:
            row, cache = self._joining[0].row, self._joining[0].cache
            past = cache.get_seq_length()
            end = min(row.prompt, past + left)
            left -= end - past
            try:
                if row.request.cancelled:
                    row.end("cancelled")
                    self._joining.popleft()
                    continue
                ids, model = row.ids[:, :end], self._model.wear(row.request.adapter)
                logits = decode_step(model, ids, torch.ones_like(ids), cache)
                if end < row.prompt:
                    continue
                goes_on = row.take(logits)
            except Exception as error:
                row.request.send(error)
                self._joining.popleft()
                continue
            self._joining.popleft()
            if goes_on:
                ready.append((row, cache))
            else:
                self._end(row, cache)
        if ready:
            self._batch.change((), ready)

    # ------------------------------------------------------------------ on and out

    def _step(self) -> None:
        """One token for every row; those that have ended go."""
        batch = self._batch
        try:
            with self._model.worn_by([row.request.adapter for row in batch.rows]) as model:
                logits = batch.logits(model)
        except Exception as error:
            for row in (gone := self._at_fault()):
                row.request.send(error)
        else:
            with kernels.quiet(self._model.base):
                gone = self._take(logits)
                if not gone:
                    batch.advance()
        if gone:
            batch.change(gone)

    def _take(self, logits: torch.Tensor) -> list[Row]:
        """Each row picks by its logits -> those that have ended."""
        gone = []
        for row, scores in zip(self._batch.rows, logits.split(1), strict=True):
            try:
                if row.take(scores):
                    continue
                self._end(row, self._batch.part(row))
            except Exception as error:
                row.request.send(error)
            gone.append(row)
        return gone

    def _at_fault(self) -> list[Row]:
        """After a step has raised: the rows that raise alone as well; the newest where none does."""
        batch = self._batch

        def raises(row: Row) -> bool:
            alone = Batch()
            alone.change((), [(row, batch.part(row))])
            try:
                alone.logits(self._model.wear(row.request.adapter))
            except Exception:
                return True
            return False

        return [row for row in batch.rows if len(batch.rows) > 1 and raises(row)] or batch.rows[-1:]

    def _end(self, row: Row, cache: Cache) -> None:
        """Tell the end, and keep what was computed for a next turn."""
        row.end()
        self._prefixes.put(row.request.adapter, row.ids[0, : cache.get_seq_length()], cache)
