"""What sampling does to the scores first: flatten or sharpen them, and leave out the unlikely."""

import math

import torch

from core.generation.processors import LogitsProcessor


class TemperatureLogitsWarper(LogitsProcessor):
    """Scores divided by the temperature."""

    def __init__(self, temperature: float) -> None:
        self.temperature = temperature

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Sharper below 1, flatter above."""
        return scores / self.temperature


class TopKLogitsWarper(LogitsProcessor):
    """Only the k highest scores. Fan et al. 2018."""

    def __init__(self, top_k: int, min_tokens_to_keep: int = 1) -> None:
        self.k = max(top_k, min_tokens_to_keep)

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """The others at minus infinity."""
        return scores.masked_fill(scores < _nth(scores, self.k), -math.inf)


class TopPLogitsWarper(LogitsProcessor):
    """The smallest set of tokens that reaches this probability. Holtzman et al. 2019."""

    def __init__(self, top_p: float, min_tokens_to_keep: int = 1) -> None:
        self.mass, self.least = top_p, min_tokens_to_keep

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """The others at minus infinity."""
        ordered, where = scores.sort(descending=False)
        drop = ordered.softmax(-1).cumsum(-1) <= 1 - self.mass
        drop[:, -self.least :] = False
        return scores.masked_fill(drop.scatter(1, where, drop), -math.inf)


class MinPLogitsWarper(LogitsProcessor):
    """Tokens at least this share as likely as the likeliest. Nguyen et al. 2024."""

    def __init__(self, min_p: float, min_tokens_to_keep: int = 1) -> None:
        self.share, self.least = min_p, min_tokens_to_keep

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """The others at minus infinity."""
        chances = scores.softmax(-1)
        drop = chances < self.share * chances.amax(-1, keepdim=True)
        best = chances.topk(min(self.least, chances.shape[1])).indices
        return scores.masked_fill(drop.scatter(1, best, False), -math.inf)


class TopHLogitsWarper(LogitsProcessor):
    """The likeliest tokens whose entropy together stays under this share of that of the hundred likeliest. Potraghloo et al. 2025."""

    MOST = 100

    def __init__(self, top_h: float) -> None:
        self.share = top_h

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """The others at minus infinity."""
        best, where = scores.topk(min(self.MOST, scores.shape[1]))
        terms = -(best.softmax(-1) * best.log_softmax(-1)).nan_to_num(0.0)
        keep = terms.cumsum(-1) <= self.share * terms.sum(-1, keepdim=True)
        keep[:, 0] = True
        return scores.masked_fill(~torch.zeros_like(scores, dtype=torch.bool).scatter(1, where, keep), -math.inf)


class TypicalLogitsWarper(LogitsProcessor):
    """Tokens whose surprise is nearest to the expected one, until they reach this probability. Meister et al. 2022."""

    def __init__(self, mass: float, min_tokens_to_keep: int = 1) -> None:
        self.mass, self.least = mass, min_tokens_to_keep

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """The others at minus infinity."""
        logs = scores.log_softmax(-1)
        entropy = -(logs * logs.exp()).nansum(-1, keepdim=True)
        distance, where = (-logs - entropy).abs().sort(descending=False)
        reached = scores.gather(1, where).softmax(-1).cumsum(-1)
        last = (reached < self.mass).sum(1, keepdim=True).clamp(max=scores.shape[1] - 1)
        drop = distance > distance.gather(1, last)
        drop[:, : self.least] = False
        return scores.masked_fill(drop.scatter(1, where, drop), -math.inf)


class EpsilonLogitsWarper(LogitsProcessor):
    """Tokens at least this likely. Hewitt et al. 2022."""

    def __init__(self, epsilon: float, min_tokens_to_keep: int = 1) -> None:
        self.epsilon, self.least = epsilon, min_tokens_to_keep

    def threshold(self, scores: torch.Tensor) -> torch.Tensor | float:
        """The least probability."""
        return self.epsilon

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """The others at minus infinity."""
        drop = scores.softmax(-1) < self.threshold(scores)
        return scores.masked_fill(drop & (scores < _nth(scores, self.least)), -math.inf)


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
