"""What sampling does to the scores first: flatten or sharpen them, and leave out the unlikely."""

import math
from abc import abstractmethod
from typing import Any

import torch

from core.errors import GenerationError
from core.generation.config import GenerationConfig
from core.generation.processors import LogitsProcessor


class TemperatureLogitsWarper(LogitsProcessor):
    """Scores divided by the temperature."""

    def __init__(self, temperature: float) -> None:
        GenerationConfig(do_sample=True, temperature=temperature).validate()
        self.temperature = temperature

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Sharper below 1, flatter above."""
        return scores / self.temperature


class Filter(LogitsProcessor):
    """What leaves tokens out: their scores become `filter_value`. At least `min_tokens_to_keep` stay."""

    def __init__(self, filter_value: float = -math.inf, min_tokens_to_keep: int = 1) -> None:
        if min_tokens_to_keep < 1:
            raise GenerationError(f"min_tokens_to_keep must be at least 1, not {min_tokens_to_keep}.")
        self.value, self.least = filter_value, min_tokens_to_keep

    @abstractmethod
    def dropped(self, scores: torch.Tensor) -> torch.Tensor:
        """Which tokens go (batch, vocabulary)."""

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Without them."""
        return scores.masked_fill(self.dropped(scores), self.value)


class TopKLogitsWarper(Filter):
    """Only the k highest scores. Fan et al. 2018."""

    def __init__(self, top_k: int, filter_value: float = -math.inf, min_tokens_to_keep: int = 1) -> None:
        super().__init__(filter_value, min_tokens_to_keep)
        if top_k < 1:
            raise GenerationError(f"top_k must be at least 1, not {top_k}: without this warper all tokens may be drawn.")
        self.k = max(top_k, min_tokens_to_keep)

    def dropped(self, scores: torch.Tensor) -> torch.Tensor:
        """Below the k-th."""
        return scores < _nth(scores, self.k)


class TopPLogitsWarper(Filter):
    """The smallest set of tokens that reaches this probability. Holtzman et al. 2019."""

    def __init__(self, top_p: float, filter_value: float = -math.inf, min_tokens_to_keep: int = 1) -> None:
        super().__init__(filter_value, min_tokens_to_keep)
        GenerationConfig(top_p=top_p).validate()
        self.mass = top_p

    def dropped(self, scores: torch.Tensor) -> torch.Tensor:
        """The others."""
        ordered, where = scores.sort(descending=False)
        drop = ordered.softmax(-1).cumsum(-1) <= 1 - self.mass
        drop[:, -self.least :] = False
        return drop.scatter(1, where, drop)


class MinPLogitsWarper(Filter):
    """Tokens at least this share as likely as the likeliest. Nguyen et al. 2024."""

    def __init__(self, min_p: float, filter_value: float = -math.inf, min_tokens_to_keep: int = 1) -> None:
        super().__init__(filter_value, min_tokens_to_keep)
        GenerationConfig(min_p=min_p).validate()
        self.share = min_p

    def dropped(self, scores: torch.Tensor) -> torch.Tensor:
        """The others."""
        chances = scores.softmax(-1)
        drop = chances < self.share * chances.amax(-1, keepdim=True)
        best = chances.topk(min(self.least, chances.shape[1])).indices
        return drop.scatter(1, best, False)


class TopHLogitsWarper(Filter):
    """The likeliest tokens whose entropy together stays under this share of that of the hundred likeliest. Potraghloo et al. 2025."""

    MOST = 100

    def __init__(self, top_h: float, filter_value: float = -math.inf) -> None:
        super().__init__(filter_value)
        GenerationConfig(top_h=top_h).validate()
        self.share = top_h

    def dropped(self, scores: torch.Tensor) -> torch.Tensor:
        """The others."""
        best, where = scores.topk(min(self.MOST, scores.shape[1]))
        terms = -(best.softmax(-1) * best.log_softmax(-1)).nan_to_num(0.0)
        keep = terms.cumsum(-1) <= self.share * terms.sum(-1, keepdim=True)
        keep[:, 0] = True
        return ~torch.zeros_like(scores, dtype=torch.bool).scatter(1, where, keep)


class TypicalLogitsWarper(Filter):
    """Tokens whose surprise is nearest to the expected one, until they reach this probability. Meister et al. 2022."""

    def __init__(self, mass: float = 0.9, filter_value: float = -math.inf, min_tokens_to_keep: int = 1) -> None:
        super().__init__(filter_value, min_tokens_to_keep)
        GenerationConfig(typical_p=mass).validate()
        self.mass = mass

    def dropped(self, scores: torch.Tensor) -> torch.Tensor:
        """The others."""
        logs = scores.log_softmax(-1)
        entropy = -(logs * logs.exp()).nansum(-1, keepdim=True)
        distance, where = (-logs - entropy).abs().sort(descending=False)
        reached = scores.gather(1, where).softmax(-1).cumsum(-1)
        last = (reached < self.mass).sum(1, keepdim=True).clamp(max=scores.shape[1] - 1)
        drop = distance > distance.gather(1, last)
        drop[:, : self.least] = False
        return drop.scatter(1, where, drop)


class EpsilonLogitsWarper(Filter):
    """Tokens at least this likely. Hewitt et al. 2022."""

    def __init__(self, epsilon: float, filter_value: float = -math.inf, min_tokens_to_keep: int = 1, device: Any = None) -> None:
        super().__init__(filter_value, min_tokens_to_keep)
        GenerationConfig(epsilon_cutoff=epsilon).validate()
        self.epsilon = epsilon

    def threshold(self, scores: torch.Tensor) -> torch.Tensor | float:
        """The least probability."""
        return self.epsilon

    def dropped(self, scores: torch.Tensor) -> torch.Tensor:
        """The others."""
        return (scores.softmax(-1) < self.threshold(scores)) & (scores < _nth(scores, self.least))


class EtaLogitsWarper(EpsilonLogitsWarper):
    """The same, with a threshold that falls where the model is unsure. Hewitt et al. 2022."""

    def threshold(self, scores: torch.Tensor) -> torch.Tensor:
        """(batch, 1)."""
        logs = scores.log_softmax(-1)
        entropy = -(logs.clamp(min=torch.finfo(logs.dtype).min) * logs.exp()).sum(-1, keepdim=True)
        return (self.epsilon**0.5 * torch.exp(-entropy)).clamp(max=self.epsilon)


def _nth(scores: torch.Tensor, n: int) -> torch.Tensor:
    """The n-th highest score of each row (batch, 1)."""
    return scores.topk(min(n, scores.shape[1])).values[:, -1:]
