"""What changes the scores of the next token before one is picked. Each takes the ids so far (batch, tokens) and scores
(batch, vocabulary) and returns scores of the same shape."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch

from core.errors import GenerationError
from core.generation.config import GenerationConfig

Ids = int | Sequence[int] | torch.Tensor
Processor = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


class LogitsProcessor(ABC):
    """One change of the scores."""

    @abstractmethod
    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """New scores; those given are left as they are."""


class LogitsProcessorList(list[Processor]):
    """Several, one after the other."""

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Scores after all of them."""
        for process in self:
            scores = process(input_ids, scores)
        return scores


# ------------------------------------------------------------------ what was written already


class RepetitionPenaltyLogitsProcessor(LogitsProcessor):
    """Tokens that were used: positive scores divided by the penalty, negative ones multiplied. Keskar et al. 2019.

    prompt_ignore_length: how many first tokens do not count, of all rows or of each (batch,).
    """

    def __init__(self, penalty: float, prompt_ignore_length: int | torch.Tensor | None = None) -> None:
        GenerationConfig(repetition_penalty=penalty).validate()
        self.penalty, self.ignored = penalty, prompt_ignore_length

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Used tokens made less likely."""
        used = scores.new_zeros(scores.shape[0], scores.shape[1] + 1, dtype=torch.bool)
        if self.ignored is not None:  # these fall into a column of their own
            places = torch.arange(input_ids.shape[1], device=input_ids.device)
            first = torch.as_tensor(self.ignored, device=input_ids.device).view(-1, 1)
            input_ids = input_ids.masked_fill(places < first, scores.shape[1])
        used = used.scatter(1, input_ids, True)[:, :-1]
        return torch.where(used, torch.where(scores < 0, scores * self.penalty, scores / self.penalty), scores)


class EncoderRepetitionPenaltyLogitsProcessor(RepetitionPenaltyLogitsProcessor):
    """Tokens of the source, or of the prompt, made more likely by the penalty: against what is not there."""

    def __init__(self, penalty: float, encoder_input_ids: torch.Tensor) -> None:
        GenerationConfig(encoder_repetition_penalty=penalty).validate()
        super().__init__(1 / penalty)
        self.source = encoder_input_ids

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """The source's tokens made more likely."""
        return super().__call__(self.source.repeat_interleave(scores.shape[0] // self.source.shape[0], 0), scores)


class PresenceFrequencyPenaltyLogitsProcessor(LogitsProcessor):
    """Of every token that the answer holds, `presence` subtracted once and `frequency` for each time. OpenAI's API.

    prompt: how many first tokens are not the answer's.
    """

    def __init__(self, presence: float, frequency: float, prompt: int) -> None:
        self.presence, self.frequency, self.prompt = presence, frequency, prompt

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Used tokens made less likely."""
        written = input_ids[:, self.prompt :]
        counts = torch.zeros_like(scores).scatter_add(1, written, torch.ones_like(written, dtype=scores.dtype))
        return scores - self.presence * (counts > 0) - self.frequency * counts


class NoRepeatNGramLogitsProcessor(LogitsProcessor):
    """No sequence of n tokens twice. Paulus et al. 2017."""

    def __init__(self, ngram_size: int) -> None:
        self.size = _counted("ngram_size", ngram_size)

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """What would complete such a sequence left out."""
        return _without_next(scores, input_ids, input_ids, self.size)


class EncoderNoRepeatNGramLogitsProcessor(LogitsProcessor):
    """No sequence of n tokens that stands in the source."""

    def __init__(self, encoder_ngram_size: int, encoder_input_ids: torch.Tensor) -> None:
        self.size, self.source = _counted("encoder_ngram_size", encoder_ngram_size), encoder_input_ids

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """What would complete such a sequence left out."""
        source = self.source.repeat_interleave(scores.shape[0] // self.source.shape[0], 0)
        return _without_next(scores, input_ids, source, self.size)


def _without_next(scores: torch.Tensor, ids: torch.Tensor, text: torch.Tensor, size: int) -> torch.Tensor:
    """Wherever the last size - 1 of `ids` stand in `text`, no token that follows them there."""
    if ids.shape[1] < size - 1 or text.shape[1] < size:
        return scores
    windows = text.unfold(1, size, 1)
    same = (windows[..., :-1] == ids[:, None, ids.shape[1] + 1 - size :]).all(-1)
    banned = scores.new_zeros(scores.shape[0], scores.shape[1] + 1, dtype=torch.bool)
    banned = banned.scatter(1, windows[..., -1].masked_fill(~same, scores.shape[1]), True)
    return scores.masked_fill(banned[:, :-1], -math.inf)


# ------------------------------------------------------------------ tokens and sequences that are wanted or not


class SequenceBiasLogitsProcessor(LogitsProcessor):
    """A number added to the score of the last token of a sequence, where the others of it were written just before.

    sequence_bias: {(token, …): bias} or [[[token, …], bias], …].
    """

    def __init__(self, sequence_bias: dict[tuple[int, ...], float] | list[list]) -> None:
        pairs = sequence_bias.items() if isinstance(sequence_bias, dict) else sequence_bias
        self.pairs = [(tuple(tokens), float(bias)) for tokens, bias in pairs]

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Biased scores. Raises GenerationError for a token outside the vocabulary."""
        if outside := [token for tokens, _ in self.pairs for token in tokens if token >= scores.shape[1]]:
            raise GenerationError(f"Token {outside[0]} is biased, but the vocabulary has {scores.shape[1]} tokens.")
        bias = torch.zeros_like(scores)
        for (*before, last), value in self.pairs:
            if len(before) <= input_ids.shape[1]:
                follows = input_ids[:, input_ids.shape[1] - len(before) :] == torch.tensor(before, device=input_ids.device)
                bias[follows.all(1), last] += value
        return scores + bias


class NoBadWordsLogitsProcessor(SequenceBiasLogitsProcessor):
    """Sequences never to be written; an end of the text cannot be one of them."""

    def __init__(self, bad_words_ids: list[list[int]], eos_token_id: Ids | None = None) -> None:
        ends = [[end] for end in token_list(() if eos_token_id is None else eos_token_id)]
        super().__init__({tuple(word): -math.inf for word in bad_words_ids if word not in ends})


class SuppressTokensLogitsProcessor(LogitsProcessor):
    """Tokens never to be written. device, here and below: accepted for the reference's sake; the tokens go where the scores are."""

    def __init__(self, suppress_tokens: Ids, device: Any = None) -> None:
        self.tokens = token_list(suppress_tokens)

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Without them."""
        return _put(scores, self.tokens, -math.inf)


class SuppressTokensAtBeginLogitsProcessor(SuppressTokensLogitsProcessor):
    """Tokens not to begin with, `begin_index` tokens into the text."""

    def __init__(self, begin_suppress_tokens: Ids, begin_index: int, device: Any = None) -> None:
        super().__init__(begin_suppress_tokens)
        self.begin = begin_index

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Without them at the beginning."""
        return super().__call__(input_ids, scores) if input_ids.shape[1] == self.begin else scores


class PrefixConstrainedLogitsProcessor(LogitsProcessor):
    """Only the tokens that a function allows: (row of the batch, ids so far) -> tokens. De Cao et al. 2020."""

    def __init__(self, prefix_allowed_tokens_fn: Callable[[int, torch.Tensor], list[int]], num_beams: int = 1) -> None:
        self.allowed, self.beams = prefix_allowed_tokens_fn, num_beams

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """The others left out; where all of a prompt's are out already, the allowed ones at 0. Raises GenerationError where none is."""
        mask = torch.full_like(scores, -math.inf)
        for row, ids in enumerate(input_ids):
            tokens = self.allowed(row // self.beams, ids)
            if not len(tokens):
                raise GenerationError(
                    f"prefix_allowed_tokens_fn allows no token after {ids.tolist()} of row {row // self.beams}."
                )
            mask[row, tokens] = 0
        left = scores + mask
        none = left.amax(-1).isneginf().view(-1, self.beams).all(1).repeat_interleave(self.beams)
        return torch.where(none[:, None], mask, left)


# ------------------------------------------------------------------ beginning, end and length


class MinLengthLogitsProcessor(LogitsProcessor):
    """No end before the text has so many tokens, the prompt counted."""

    def __init__(self, min_length: int, eos_token_id: Ids, device: Any = None) -> None:
        self.least, self.ends = min_length, token_list(eos_token_id)

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Without an end, while it is too short."""
        return _put(scores, self.ends, -math.inf) if input_ids.shape[1] < self.least else scores


class MinNewTokensLengthLogitsProcessor(MinLengthLogitsProcessor):
    """No end before so many tokens after the prompt."""

    def __init__(self, prompt_length_to_skip: int, min_new_tokens: int, eos_token_id: Ids, device: Any = None) -> None:
        super().__init__(prompt_length_to_skip + min_new_tokens, eos_token_id)


class ForcedBOSTokenLogitsProcessor(LogitsProcessor):
    """This token, and no other, after the first of the text."""

    def __init__(self, bos_token_id: int) -> None:
        self.tokens, self.at = [bos_token_id], 1

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Only these, at their place."""
        return _put(torch.full_like(scores, -math.inf), self.tokens, 0.0) if input_ids.shape[1] == self.at else scores


class ForcedEOSTokenLogitsProcessor(ForcedBOSTokenLogitsProcessor):
    """One of these tokens, and no other, where the text reaches its greatest length."""

    def __init__(self, max_length: int, eos_token_id: Ids, device: Any = None) -> None:
        self.tokens, self.at = token_list(eos_token_id), max_length - 1


class ExponentialDecayLengthPenalty(LogitsProcessor):
    """(start, factor): from `start` tokens after the prompt on, an end becomes likelier, by factor ** (tokens beyond).

    input_ids_seq_length: the prompt's tokens.
    """

    def __init__(self, exponential_decay_length_penalty: tuple[int, float], eos_token_id: Ids, input_ids_seq_length: int) -> None:
        start, self.factor = exponential_decay_length_penalty
        self.start, self.ends = input_ids_seq_length + start, token_list(eos_token_id)

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Ends raised."""
        if input_ids.shape[1] <= self.start:
            return scores
        old = scores[:, self.ends]
        more = old.abs() * (self.factor ** (input_ids.shape[1] - self.start) - 1)
        scores = scores.clone()
        scores[:, self.ends] = old + more.masked_fill(~old.isfinite(), 0)
        return scores


class InfNanRemoveLogitsProcessor(LogitsProcessor):
    """No infinities and no NaN: the largest finite numbers and 0 in their place."""

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Finite scores."""
        return scores.nan_to_num(0.0, torch.finfo(scores.dtype).max, torch.finfo(scores.dtype).min)


class LogitNormalization(LogitsProcessor):
    """Log-probabilities."""

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Scores whose exponentials sum to 1."""
        return scores.log_softmax(-1)


def token_list(ids: Ids) -> list[int]:
    """One token, or several in any form, as a list."""
    return torch.as_tensor(ids).flatten().tolist() if not isinstance(ids, int) else [ids]


def _counted(name: str, size: int) -> int:
    if size < 1:
        raise GenerationError(f"{name} must be at least 1, not {size}.")
    return size


def _put(scores: torch.Tensor, tokens: list[int], value: float) -> torch.Tensor:
    scores = scores.clone()
    scores[:, tokens] = value
    return scores
