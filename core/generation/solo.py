"""The exclusive lane's generations: what no batch can serve, one request after the other, a step a turn."""

from collections import deque
from collections.abc import Iterator

import torch

from core.generation.adapted import Adapted
from core.generation.config import GenerationConfig
from core.generation.events import Finished
from core.generation.loop import generate
from core.generation.prefixes import PrefixStore
from core.generation.request import Event, Request
from core.generation.streaming import Answer, stream
from core.modeling.cache import Cache
from core.modeling.model import PreTrainedModel
from core.modeling.seq2seq import Seq2Seq
from core.modeling.taps import Taps, tapped


def needs_solo(model: PreTrainedModel, config: GenerationConfig, taps: Taps | None) -> bool:
    """Whether the batched lane cannot serve this."""
    return (
        taps is not None
        or isinstance(model, Seq2Seq)
        or config.num_beams > 1
        or not config.use_cache
        or bool(config.prompt_lookup_num_tokens)
    )


class Solo:
    """A line of requests, the first of which is computed. Those of a decoder begin with what the prefix store knows of their prompt,
    unless taps are to see all of it."""

    def __init__(self, model: Adapted, prefixes: PrefixStore) -> None:
        self._model, self._prefixes = model, prefixes
        self._line: deque[Request] = deque()
        self._events: Iterator[Event] | None = None

    @property
    def idle(self) -> bool:
        """Whether there is nothing to do."""
        return not self._line

    @property
    def waiting(self) -> int:
        """How many stand in line behind the one that is computed."""
        return max(0, len(self._line) - 1)

    def add(self, request: Request) -> None:
        """To the end of the line."""
        self._line.append(request)
        request.stand(len(self._line) - 1)

    def turn(self) -> None:
        """One event of the first request."""
        if not self._line:
            return
        request = self._line[0]
        model = self._model.wear(request.adapter)
        try:
            self._events = self._events or _events(model, request, self._prefixes)
            # the taps are set and reset within the step: other lanes' steps come in between
            with tapped(*([request.taps] if request.taps else [])):
                event = next(self._events)
        except Exception as error:
            event = error
        request.send(event)
        if not isinstance(event, Finished | Exception):
            return
        self._events = None
        self._line.popleft()
        for position, other in enumerate(self._line):
            other.stand(position)

    def drop_all(self, error: Exception) -> None:
        """End every request with this error."""
        for request in self._line:
            request.send(error)
        self._line.clear()
        self._events = None


def _events(model: PreTrainedModel, request: Request, prefixes: PrefixStore) -> Iterator[Event]:
    """The events of one request; where several beams compete for the text, it comes at the end."""
    config, tokenizer, cache = request.config, request.tokenizer, None
    if request.taps is None and config.use_cache and not isinstance(model, Seq2Seq):
        cache = prefixes.take(request.adapter, request.ids[0]) or model.new_cache()
    if request.cancelled:
        answer = Answer(tokenizer, [], request.ids.shape[1], request.begin)
        answer.reason = "cancelled"
        yield from answer.end()
    elif config.num_beams == 1:
        for event in stream(model, request.ids, None, config, tokenizer, lambda: request.cancelled, past_key_values=cache):
            if isinstance(event, Finished) and cache is not None:
                _keep(prefixes, request, event, cache)
            yield event
    else:
        prompt = 1 if isinstance(model, Seq2Seq) else request.ids.shape[1]
        answer = Answer(tokenizer, [], request.ids.shape[1], request.begin)
        answer.reused_tokens = 0 if cache is None else cache.get_seq_length()
        stop = [lambda ids, scores: torch.full((ids.shape[0],), request.cancelled)]
        out = generate(model, request.ids, config, tokenizer=tokenizer, stopping_criteria=stop, past_key_values=cache)
        assert isinstance(out, torch.Tensor)
        for token in out[0, prompt:].tolist():
            if (delta := answer.take(token, token in config.eos_ids)) is not None:
                yield delta
            if answer.reason:
                break
        answer.reason = "cancelled" if request.cancelled else answer.reason
        yield from answer.end()


def _keep(prefixes: PrefixStore, request: Request, end: Finished, cache: Cache) -> None:
    """What was computed, for a next turn: of a guess that went beyond the end, what belongs to the answer."""
    ids = torch.cat([request.ids[0], request.ids.new_tensor(end.token_ids)])
    length = min(cache.get_seq_length(), len(ids))
    if cache.can_trim(length):
        cache.trim(length)
        prefixes.put(request.adapter, ids[:length], cache)
