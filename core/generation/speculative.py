"""Speculative decoding: a cheap guess of several tokens, checked by the model in one forward. What is written is what the model alone
would write. Leviathan et al. 2023; Chen et al. 2023; guesses out of the prompt: Saxena 2023."""

from abc import ABC, abstractmethod
from collections.abc import Generator

import torch

from core.errors import GenerationError
from core.generation.config import GenerationConfig
from core.generation.prompt import Job, Step
from core.generation.selection import processors_for
from core.generation.step import decode_step, likeliest
from core.modeling.model import PreTrainedModel


class Drafter(ABC):
    """Where guesses come from."""

    @abstractmethod
    def propose(self, ids: torch.Tensor, most: int) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Of ids (1, tokens): at most so many next ones (1, drafted), and the distributions they were drawn from (drafted, vocabulary);
        None where a guess is certain of itself."""


class PromptLookup(Drafter):
    """The last few tokens are looked for in what stands before; what followed there is the guess."""

    def __init__(self, tokens: int, ngram: int) -> None:
        self.tokens, self.ngram = tokens, ngram

    def propose(self, ids: torch.Tensor, most: int) -> tuple[torch.Tensor, None]:
        """After the newest place of the longest match."""
        row, most = ids[0], min(most, self.tokens)
        for size in range(min(self.ngram, len(row) - 1), 0, -1):
            same = (row[:-1].unfold(0, size, 1) == row[-size:]).all(1).nonzero()
            if len(same) and most > 0:
                start = int(same[-1]) + size
                return ids[:, start : start + most], None
        return ids[:, :0], None


class Assistant(Drafter):
    """A smaller model of the same vocabulary writes the guess, until it is unsure."""

    def __init__(self, model: PreTrainedModel, config: GenerationConfig, prompt: int, generator: torch.Generator | None) -> None:
        self.model, self.config, self.generator = model, config, generator
        self.processors = processors_for(config, prompt)
        self.cache = model.new_cache()

    def propose(self, ids: torch.Tensor, most: int) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Greedy, or drawn where the model samples."""
        begin, chances = ids.shape[1], []
        if not self.cache.can_trim(begin - 1):  # a long guess was wrong
            self.cache = self.model.new_cache()
        self.cache.trim(begin - 1)
        for _ in range(min(most, self.config.num_assistant_tokens)):
            scores = self.processors(ids, decode_step(self.model, ids, torch.ones_like(ids), self.cache))
            chance = scores.softmax(-1)
            token = torch.multinomial(chance, 1, generator=self.generator) if self.config.do_sample else chance.argmax(-1, True)
            ids = torch.cat([ids, token], 1)
            chances.append(chance)
            if float(chance.gather(1, token)) < self.config.assistant_confidence_threshold:
                break
        return ids[:, begin:], torch.cat(chances) if chances and self.config.do_sample else None


def drafter_for(job: Job, assistant: PreTrainedModel | None) -> Drafter | None:
    """The one that was asked for. Raises GenerationError where it cannot serve this generation."""
    config, decoding = job.config, job.decoding
    if assistant is None and not config.prompt_lookup_num_tokens:
        return None
    if decoding.ids.shape[0] > 1 or decoding.cache is None:
        raise GenerationError(
            "Speculative decoding writes one answer to one prompt, with a cache: call generate for each prompt."
        )
    if assistant is None:
        return PromptLookup(config.prompt_lookup_num_tokens or 0, config.max_matching_ngram_size)
    if assistant.config.vocab_size != decoding.model.config.vocab_size or assistant.config.is_encoder_decoder:
        raise GenerationError(
            f"The assistant must be a decoder of the same vocabulary: it has {assistant.config.vocab_size} tokens, the model "
            f"{decoding.model.config.vocab_size}."
        )
    if decoding.source is not None or decoding.embeds is not None:
        raise GenerationError("An assistant model reads token ids, as a decoder: use prompt_lookup_num_tokens here.")
    return Assistant(assistant, config, job.prompt, job.generator)


def speculative_steps(job: Job, drafter: Drafter) -> Generator[Step, None, None]:
    """As `steps` of core.generation.loop, for one row; several steps come out of one forward. Counts in `job`."""
    rows, limit, written = job.decoding, job.limit, 0
    while written < limit:
        found = []
        with torch.inference_mode():
            draft, chances = drafter.propose(rows.ids, limit - written - 1)
            logits = rows.verify(draft)
            for at in range(len(logits)):
                scores = job.processors(rows.ids, logits[at : at + 1])
                guess = draft[:, at] if at < draft.shape[1] else None
                token, kept = _choose(job, scores, guess, None if chances is None else chances[at : at + 1])
                rows.append(token)
                running = ~job.criteria(rows.ids, scores)
                found.append(Step(token, running, scores, logits[at : at + 1], rows.cache))
                job.accepted += kept
                if not kept or not running:
                    break
            job.drafted += draft.shape[1]
            written += len(found)
            rows.rewind()
        yield from found
        if not found[-1].running:
            return


def _choose(
    job: Job, scores: torch.Tensor, guess: torch.Tensor | None, chances: torch.Tensor | None
) -> tuple[torch.Tensor, bool]:
    """The token (1,), and whether it is the guess, kept. Drawn so that tokens come as likely as from the scores alone."""
    if not job.config.do_sample:
        token = likeliest(scores)
        return token, guess is not None and bool(token == guess)
    wanted = scores.softmax(-1)
    if guess is None:
        return torch.multinomial(wanted, 1, generator=job.generator)[:, 0], False
    if chances is None:
        chances = torch.zeros_like(wanted).scatter(1, guess[:, None], 1.0)
    ratio = wanted[0, guess] / chances[0, guess]
    if torch.rand(1, generator=job.generator, device=ratio.device) < ratio:
        return guess, True
    rest = (wanted - chances).clamp(min=0)
    return torch.multinomial(rest / rest.sum(), 1, generator=job.generator)[:, 0], False
