"""Requests that are computed together: each row picks, stops and ends for itself."""

from collections.abc import Sequence

import torch

from core.generation.request import Request
from core.generation.selection import processors_for
from core.generation.step import decode_step, likeliest
from core.generation.streaming import Answer
from core.modeling.cache import Cache
from core.modeling.model import PreTrainedModel


class Row:
    """One request as it is written: its tokens so far (1, tokens), how the next is picked, and when it ends."""

    def __init__(self, request: Request) -> None:
        config = request.config
        self.request, self.ids, self.limit = request, request.ids, config.limit(request.ids.shape[1])
        self.prompt = self.ids.shape[1]
        self._sample, self._ends = config.do_sample, frozenset(config.eos_ids)
        self._processors = processors_for(config, self.prompt, source_ids=self.ids)
        self._generator = None
        if config.seed is not None:
            self._generator = torch.Generator(self.ids.device).manual_seed(config.seed)
        stops = [config.stop_strings] if isinstance(config.stop_strings, str) else config.stop_strings or []
        self.answer = Answer(request.tokenizer, stops, self.prompt, request.begin)

    @property
    def reserved(self) -> int:
        """Tokens it may come to hold."""
        return self.prompt + self.limit

    def take(self, logits: torch.Tensor) -> bool:
        """Pick the next token by logits (1, vocabulary) and tell of it. Whether the row goes on."""
        for process in self._processors:
            logits = process(self.ids, logits)
        if self._sample:
            token = torch.multinomial(logits.softmax(-1), 1, generator=self._generator)
        else:
            token = likeliest(logits)[:, None]
        self.ids = torch.cat([self.ids, token], 1)
        number = int(token)
        if delta := self.answer.take(number, number in self._ends):
            self.request.send(delta)
        if self.request.cancelled:
            self.answer.reason = "cancelled"
        return not self.answer.reason and self.ids.shape[1] < self.prompt + self.limit

    def end(self, reason: str | None = None) -> None:
        """Tell the rest."""
        self.answer.reason = reason or self.answer.reason
        for event in self.answer.end():
            self.request.send(event)


class Batch:
    """Rows padded on the left to end together, in one cache; each lacks there its newest token only."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.cache = Cache()
        self._ids = self._mask = torch.empty(0, 0, dtype=torch.long)

    def logits(self, model: PreTrainedModel) -> torch.Tensor:
        """One step: scores of every row's next token (rows, vocabulary). Where it raises, the batch is as before."""
        before = self.cache.get_seq_length()
        try:
            return decode_step(model, self._ids, self._mask, self.cache)
        except Exception:
            self.cache.trim(before)
            raise

    def advance(self) -> None:
        """After each row has taken its token."""
        newest = torch.cat([row.ids[:, -1:] for row in self.rows])
        self._ids = torch.cat([self._ids, newest], 1)
        self._mask = torch.cat([self._mask, torch.ones_like(newest)], 1)

    def part(self, row: Row) -> Cache:
        """The cache of one row alone, without padding."""
        at = self.rows.index(row)
        padding = self._mask.shape[1] - int(self._mask[at].sum())
        return self.cache if len(self.rows) == 1 and not padding else Cache.joined([(self.cache, at, padding)])

    def change(self, leaving: Sequence[Row], joining: Sequence[tuple[Row, Cache]] = ()) -> None:
        """Let rows go and take others in, whose caches lack their newest token. Padding that no row needs any more goes too."""
        staying = [(row, self.cache, at) for at, row in enumerate(self.rows) if row not in leaving]
        every = staying + [(row, cache, 0) for row, cache in joining]
        self.rows = [row for row, _, _ in every]
        if not every:
            self.cache = Cache()
            return
        if len(every) == 1 and joining:
            self.cache = joining[0][1]
        else:
            self.cache = Cache.joined([(c, at, c.get_seq_length() - row.ids.shape[1] + 1) for row, c, at in every])
        width = self.cache.get_seq_length() + 1
        self._ids = torch.cat([_padded(row.ids, width, 0) for row in self.rows])
        self._mask = torch.cat([_padded(torch.ones_like(row.ids), width, 0) for row in self.rows])


def _padded(row: torch.Tensor, width: int, value: int) -> torch.Tensor:
    return torch.nn.functional.pad(row, (width - row.shape[1], 0), value=value)
