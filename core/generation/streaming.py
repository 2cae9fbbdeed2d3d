"""Text as it is written: never half a character, never part of a stop string."""

import queue
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch

from core.generation.config import GenerationConfig
from core.generation.events import Finished, TextDelta
from core.generation.loop import steps_of
from core.generation.prompt import prepare, settings
from core.modeling.model import PreTrainedModel


class Detokeniser:
    """Tokens in, certain text out. A window of tokens is decoded from the last clean place on, so cost stays even."""

    def __init__(self, tokenizer: Any, stop_strings: list[str], skip_special_tokens: bool = True) -> None:
        self._tokenizer, self._stops, self._skip = tokenizer, stop_strings, skip_special_tokens
        self.ids: list[int] = []
        self.text = ""
        self._sent = 0
        self._start = self._clean = 0
        self.stopped = False

    def _decode(self, ids: list[int]) -> str:
        return "" if self._tokenizer is None else self._tokenizer.decode(ids, skip_special_tokens=self._skip)

    def push(self, token: int) -> str:
        """The text that this token makes certain."""
        self.ids.append(token)
        before = self._decode(self.ids[self._start : self._clean])
        window = self._decode(self.ids[self._start :])
        if not window.endswith("\ufffd"):
            self.text += window[len(before) :]
            self._start, self._clean = self._clean, len(self.ids)
        for stop in self._stops:
            if (at := self.text.find(stop, max(0, self._sent - len(stop)))) >= 0:
                self.text = self.text[:at]
                self.stopped = True
        return self._release(self._held())

    def rest(self) -> str:
        """At the end: what was held back."""
        if not self.stopped:
            before = self._decode(self.ids[self._start : self._clean])
            self.text += self._decode(self.ids[self._start :])[len(before) :]
        return self._release(0)

    def close(self, token: int) -> None:
        """A token that ends the text and is not shown."""
        self.ids.append(token)
        self._clean += self._clean == len(self.ids) - 1

    def _held(self) -> int:
        """How many last characters could be the beginning of a stop string."""
        if self.stopped:
            return 0
        sizes = (n for stop in self._stops for n in range(len(stop) - 1, 0, -1) if self.text.endswith(stop[:n]))
        return max(sizes, default=0)

    def _release(self, held: int) -> str:
        end = max(self._sent, len(self.text) - held)
        new, self._sent = self.text[self._sent : end], end
        return new


class Answer:
    """One answer as it grows: tokens in, events out. `reason` says why it ended, once it has.

    Times count from `begin` (perf_counter seconds), now where None. Without a tokenizer each token is an event with no text.
    """

    def __init__(self, tokenizer: Any, stop_strings: list[str], prompt_tokens: int, begin: float | None = None) -> None:
        self._text, self._mute = Detokeniser(tokenizer, stop_strings), tokenizer is None
        self._prompt, self._begin, self._first = prompt_tokens, time.perf_counter() if begin is None else begin, 0.0
        self.reason: str | None = None
        self.reused_tokens = self.drafted_tokens = self.accepted_tokens = 0

    def take(self, token: int, ended: bool) -> TextDelta | None:
        """One more token; `ended`: it is one that ends an answer, and has no text."""
        self._first = self._first or time.perf_counter()
        if ended:
            self._text.close(token)
            self.reason = "eos"
            return None
        new = self._text.push(token)
        if self._text.stopped:
            self.reason = "stop"
        return TextDelta(new, token, len(self._text.ids) - 1) if new or self._mute else None

    def end(self) -> Iterator[TextDelta | Finished]:
        """What was held back, and Finished; the limit of the length is the reason where there was no other."""
        ids = self._text.ids
        if rest := self._text.rest():
            yield TextDelta(rest, ids[-1], len(ids) - 1)
        end = time.perf_counter()
        first = self._first or end
        speed = (len(ids) - 1) / (end - first) if len(ids) > 1 and end > first else 0.0
        times = (end - self._begin, first - self._begin, speed)
        yield Finished(
            self.reason or "length",
            self._text.text,
            ids,
            self._prompt,
            *times,
            self.reused_tokens,
            self.drafted_tokens,
            self.accepted_tokens,
        )


def stream(
    model: PreTrainedModel,
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor | None = None,
    config: GenerationConfig | None = None,
    tokenizer: Any = None,
    cancelled: Callable[[], bool] | None = None,
    **values: Any,
) -> Iterator[TextDelta | Finished]:
    """One prompt's (1, tokens) answer as events, the last of them Finished. `cancelled` is asked at every step."""
    held = settings(model, config, {k: v for k, v in values.items() if k in GenerationConfig.knobs()})
    stops = [held.stop_strings] if isinstance(held.stop_strings, str) else held.stop_strings or []
    # stop strings are found as the text is written, not by decoding it anew at every step
    held = replace(held, stop_strings=None)
    others = {k: v for k, v in values.items() if k not in GenerationConfig.knobs()}
    job = prepare(model, input_ids, held, {"attention_mask": attention_mask, **others})
    answer, cache = Answer(tokenizer, stops, job.prompt), job.decoding.cache
    answer.reused_tokens = 0 if cache is None else cache.get_seq_length() - cache.virtual
    training = model.training
    model.eval()
    loop = steps_of(job)
    try:
        for step in loop:
            token = int(step.tokens[0])
            answer.drafted_tokens, answer.accepted_tokens = job.drafted, job.accepted
            if delta := answer.take(token, ended=token in held.eos_ids):
                yield delta
            if cancelled is not None and cancelled():
                answer.reason = "cancelled"
            if answer.reason:
                break
    finally:
        loop.close()
        model.train(training)
    yield from answer.end()


class TextStreamer:
    """`generate(…, streamer=TextStreamer(tokenizer))` prints the answer as it is written."""

    def __init__(self, tokenizer: Any, skip_prompt: bool = False, skip_special_tokens: bool = False, **kwargs: Any) -> None:
        self._text = Detokeniser(tokenizer, [], skip_special_tokens)
        self._skip_prompt, self._prompt = skip_prompt, True

    def put(self, value: torch.Tensor) -> None:
        """Token ids of the prompt, then of each step."""
        prompt, self._prompt = self._prompt, False
        if prompt and self._skip_prompt:
            return
        for token in value.flatten().tolist():
            if new := self._text.push(token):
                self.on_finalized_text(new)

    def end(self) -> None:
        """All is written."""
        self.on_finalized_text(self._text.rest(), stream_end=True)

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        """What becomes of the text; a subclass may say otherwise."""
        sys.stdout.write(text + ("\n" if stream_end else ""))
        sys.stdout.flush()


class TextIteratorStreamer(TextStreamer):
    """The same, iterated over in another thread than the one that generates."""

    def __init__(self, tokenizer: Any, skip_prompt: bool = False, timeout: float | None = None, **kwargs: Any) -> None:
        super().__init__(tokenizer, skip_prompt, **kwargs)
        self._queue: queue.Queue[str | None] = queue.Queue()
        self._timeout = timeout

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        """Into the queue."""
        if text:
            self._queue.put(text)
        if stream_end:
            self._queue.put(None)

    def __iter__(self) -> Iterator[str]:
        while (text := self._queue.get(timeout=self._timeout)) is not None:
            yield text
