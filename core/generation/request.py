"""What a caller of an engine holds: one generation asked for, its events, and the way to stop it."""

import queue
import time
from collections.abc import Iterator
from typing import Any

import torch

from core.errors import GenerationError
from core.generation.config import GenerationConfig
from core.generation.events import Finished, TextDelta, Waiting
from core.modeling.model import PreTrainedModel
from core.modeling.taps import Taps

Event = Waiting | TextDelta | Finished
Prompt = str | list[dict[str, Any]] | list[int] | torch.Tensor


class Request:
    """One generation. Iterate for its events, the last of them Finished, or the error that ended it is raised.

    It stops, and gives its place free, within a step when it is cancelled or when its iteration is closed or left early.
    `position` counts the line: 0 where it runs or has ended, 1 where it is the next.
    """

    def __init__(
        self, ids: torch.Tensor, config: GenerationConfig, adapter: str | None, tokenizer: Any, taps: Taps | None
    ) -> None:
        self.ids, self.config, self.adapter, self.tokenizer, self.taps = ids, config, adapter, tokenizer, taps
        self.begin = time.perf_counter()
        self.position = 0
        self.cancelled = False
        self._events: queue.SimpleQueue[Event | BaseException] = queue.SimpleQueue()

    def cancel(self) -> None:
        """Stop it; its last event is Finished with the reason "cancelled"."""
        self.cancelled = True

    def __iter__(self) -> Iterator[Event]:
        try:
            while True:
                try:
                    event = self._events.get(timeout=1)
                except queue.Empty:
                    if self.position:  # told again, so that whoever carries it on can see that nobody listens any more
                        yield Waiting(self.position)
                    continue
                if isinstance(event, BaseException):
                    raise event
                yield event
                if isinstance(event, Finished):
                    return
        finally:
            self.cancelled = True

    def result(self) -> Finished:
        """Wait for the end."""
        for event in self:
            if isinstance(event, Finished):
                return event
        raise AssertionError("an engine ends every request with Finished or an error")

    # ------------------------------------------------------------------ for the engine

    def send(self, event: Event | BaseException) -> None:
        """To whoever iterates."""
        self._events.put(event)

    def stand(self, position: int) -> None:
        """Where it is in the line now; told where it is another place than before."""
        if position != self.position:
            self.position = position
            if position:
                self.send(Waiting(position))


def prompt_ids(prompt: Prompt, tokenizer: Any) -> torch.Tensor:
    """A text, messages, or token ids -> (1, tokens). Raises GenerationError."""
    if isinstance(prompt, torch.Tensor):
        return prompt if prompt.dim() == 2 else prompt[None]
    is_ids = isinstance(prompt, list) and all(isinstance(token, int) for token in prompt)
    if not prompt:
        raise GenerationError("There is no prompt: give a text, messages or token ids.")
    if not is_ids and tokenizer is None:
        raise GenerationError("A prompt that is not token ids needs the tokenizer: submit(…, tokenizer=tokenizer).")
    if isinstance(prompt, str):
        prompt = tokenizer(prompt)["input_ids"]
    elif not is_ids:
        prompt = tokenizer.apply_chat_template(prompt, add_generation_prompt=True)
    return torch.tensor([prompt])


def check_fits(model: PreTrainedModel, tokens: int) -> None:
    """Raise GenerationError for a prompt that leaves the model no room to answer."""
    limit = getattr(model.config, "max_position_embeddings", None)
    if limit and tokens >= limit:
        raise GenerationError(
            f"The prompt has {tokens} tokens and the model reads at most {limit}: shorten it or clear the chat."
        )
