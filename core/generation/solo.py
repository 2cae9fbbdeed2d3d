"""The exclusive lane's generations: what no batch can serve, one request after the other, a step a turn."""

from collections import deque
from collections.abc import Iterator

import torch

from core.generation.adapted import Adapted
from core.generation.config import GenerationConfig
from core.generation.events import Finished
from core.generation.loop import generate
from core.generation.request import Event, Request
from core.generation.streaming import Answer, stream
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
    """A line of requests, the first of which is computed."""

    def __init__(self, model: Adapted) -> None:
        self._model = model
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
            self._events = self._events or _events(model, request)
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


def _events(model: PreTrainedModel, request: Request) -> Iterator[Event]:
    """The events of one request; where several beams compete for the text, it comes at the end."""
    config, tokenizer = request.config, request.tokenizer
    if request.cancelled:
        answer = Answer(tokenizer, [], request.ids.shape[1], request.begin)
        answer.reason = "cancelled"
        yield from answer.end()
    elif config.num_beams == 1:
        yield from stream(model, request.ids, None, config, tokenizer, lambda: request.cancelled)
    else:
        prompt = 1 if isinstance(model, Seq2Seq) else request.ids.shape[1]
        answer = Answer(tokenizer, [], request.ids.shape[1], request.begin)
        stop = [lambda ids, scores: torch.full((ids.shape[0],), request.cancelled)]
        out = generate(model, request.ids, config, tokenizer=tokenizer, stopping_criteria=stop)
        assert isinstance(out, torch.Tensor)
        for token in out[0, prompt:].tolist():
            if (delta := answer.take(token, token in config.eos_ids)) is not None:
                yield delta
            if answer.reason:
                break
        answer.reason = "cancelled" if request.cancelled else answer.reason
        yield from answer.end()
