"""Scores before a token is picked, in the reference's order: penalties, then warpers.

Each takes ids so far (batch, tokens) and scores (batch, vocabulary), and returns scores.
"""

from collections.abc import Callable

import torch

from core.generation.config import GenerationConfig

Processor = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def repetition(penalty: float) -> Processor:
    """Keskar et al. 2019: scores of used tokens divided by the penalty where positive, multiplied where negative."""

    def process(ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        used = scores.gather(1, ids)
        return scores.scatter(1, ids, torch.where(used < 0, used * penalty, used / penalty))

    return process


def not_before(prompt: int, least: int, ends: list[int]) -> Processor:
    """No end before so many new tokens."""

    def process(ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        if ids.shape[1] - prompt < least:
            scores = scores.clone()
            scores[:, ends] = -torch.inf
        return scores

    return process


def without_words(words: list[list[int]]) -> Processor:
    """Of each sequence of tokens no last one after the others."""
    alone = [word[0] for word in words if len(word) == 1]

    def process(ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        scores = scores.clone()
        scores[:, alone] = -torch.inf
        for *before, last in (word for word in words if 1 < len(word) <= ids.shape[1] + 1):
            follows = (ids[:, -len(before) :] == torch.tensor(before, device=ids.device)).all(1)
            scores[follows, last] = -torch.inf
        return scores

    return process


def without_tokens(tokens: list[int], only_at: int | None = None) -> Processor:
    """None of these tokens; or not as the one after `only_at` tokens."""

    def process(ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        if only_at is None or ids.shape[1] == only_at:
            scores = scores.clone()
            scores[:, tokens] = -torch.inf
        return scores

    return process


def forced(tokens: list[int], at: int) -> Processor:
    """One of these tokens, and no other, after `at` tokens."""

    def process(ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        if ids.shape[1] == at:
            scores = torch.full_like(scores, -torch.inf)
            scores[:, tokens] = 0
        return scores

    return process


def temperature(value: float) -> Processor:
    """Scores divided by the temperature."""
    return lambda ids, scores: scores / value


def top_k(count: int) -> Processor:
    """Only the k highest scores. Fan et al. 2018."""

    def process(ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        least = scores.topk(min(count, scores.shape[-1])).values[:, -1:]
        return scores.masked_fill(scores < least, -torch.inf)

    return process


def top_p(mass: float) -> Processor:
    """The smallest set of tokens that reaches this probability. Holtzman et al. 2019."""

    def process(ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        ordered, where = scores.sort(descending=False)
        drop = ordered.softmax(-1).cumsum(-1) <= 1 - mass
        drop[:, -1] = False
        return scores.masked_fill(drop.scatter(1, where, drop), -torch.inf)

    return process


def min_p(share: float) -> Processor:
    """Tokens at least this share as likely as the likeliest. Nguyen et al. 2024."""

    def process(ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        chances = scores.softmax(-1)
        return scores.masked_fill(chances < share * chances.amax(-1, keepdim=True), -torch.inf)

    return process


def processors_for(config: GenerationConfig, prompt: int) -> list[Processor]:
    """Those that the configuration asks for."""
    found: list[Processor] = []
    if config.repetition_penalty != 1.0:
        found.append(repetition(config.repetition_penalty))
    if config.bad_words_ids:
        found.append(without_words(config.bad_words_ids))
    if config.min_new_tokens and config.eos_ids:
        found.append(not_before(prompt, config.min_new_tokens, config.eos_ids))
    if config.forced_bos_token_id is not None:
        found.append(forced([config.forced_bos_token_id], 1))
    if (end := config.forced_eos_token_id) is not None:
        found.append(forced([end] if isinstance(end, int) else end, prompt + config.limit(prompt) - 1))
    if config.suppress_tokens:
        found.append(without_tokens(config.suppress_tokens))
    if config.begin_suppress_tokens:
        begin = prompt + 1 if prompt == 1 and config.forced_bos_token_id is not None else prompt
        found.append(without_tokens(config.begin_suppress_tokens, only_at=begin))
    if config.do_sample:
        if config.temperature != 1.0:
            found.append(temperature(config.temperature))
        if config.top_k:
            found.append(top_k(config.top_k))
        if config.top_p < 1.0:
            found.append(top_p(config.top_p))
        if config.min_p is not None:
            found.append(min_p(config.min_p))
    return found
