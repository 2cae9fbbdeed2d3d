"""When a row of a generation ends, besides at its length: a token, a text, a time, or what a caller says."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch

from core.errors import GenerationError
from core.generation.config import GenerationConfig
from core.generation.processors import Ids, token_list

Criterion = Callable[..., Any]


class StoppingCriteria(ABC):
    """One reason to end."""

    @abstractmethod
    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor | bool:
        """Of ids (batch, tokens) and the scores of the newest step: which rows end (batch,), or whether all do."""


class StoppingCriteriaList(list[Criterion]):
    """Several; any of them ends a row."""

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        """Which rows end, (batch,)."""
        over = torch.zeros(input_ids.shape[0], dtype=torch.bool, device=input_ids.device)
        for criterion in self:
            over = over | torch.as_tensor(criterion(input_ids, scores, **kwargs), device=input_ids.device)
        return over


class MaxLengthCriteria(StoppingCriteria):
    """The text has this many tokens, the prompt counted."""

    def __init__(self, max_length: int) -> None:
        self.most = max_length

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> bool:
        """All rows at once."""
        return input_ids.shape[1] >= self.most


class MaxTimeCriteria(StoppingCriteria):
    """So many seconds have passed since it was made, or since `initial_timestamp` (time.time())."""

    def __init__(self, max_time: float, initial_timestamp: float | None = None) -> None:
        passed = 0.0 if initial_timestamp is None else time.time() - initial_timestamp
        self.end = time.monotonic() + max_time - passed

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> bool:
        """All rows at once."""
        return time.monotonic() > self.end


class EosTokenCriteria(StoppingCriteria):
    """The newest token is one of these."""

    def __init__(self, eos_token_id: Ids) -> None:
        self.ends = torch.tensor(token_list(eos_token_id), dtype=torch.long)

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        """Rows that have it."""
        return torch.isin(input_ids[:, -1], self.ends.to(input_ids.device))


class StopStringCriteria(StoppingCriteria):
    """The text after the prompt holds one of these; prompt: its tokens."""

    def __init__(self, tokenizer: Any, stop_strings: str | Sequence[str], prompt: int = 0) -> None:
        self.tokenizer, self.prompt = tokenizer, prompt
        self.stops = [stop_strings] if isinstance(stop_strings, str) else list(stop_strings)

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        """Rows that do."""
        texts = [self.tokenizer.decode(row[self.prompt :]) for row in input_ids]
        return torch.tensor([any(stop in text for stop in self.stops) for text in texts], device=input_ids.device)


def criteria_for(config: GenerationConfig, tokenizer: Any, prompt: int, extra: Sequence[Criterion] = ()) -> StoppingCriteriaList:
    """Those that the configuration asks for, but for the length, and the caller's. Raises GenerationError without a tokenizer to
    find stop strings with."""
    found = StoppingCriteriaList()
    if config.eos_ids:
        found.append(EosTokenCriteria(config.eos_ids))
    if config.max_time is not None:
        found.append(MaxTimeCriteria(config.max_time))
    if config.stop_strings:
        if tokenizer is None:
            raise GenerationError("stop_strings needs the tokenizer: generate(…, tokenizer=tokenizer).")
        found.append(StopStringCriteria(tokenizer, config.stop_strings, prompt))
    found.extend(extra)
    return found
