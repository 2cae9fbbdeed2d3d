"""What `generate` returns with return_dict_in_generate, and the scores of the tokens that were chosen."""

from dataclasses import dataclass
from typing import Any

import torch

from core.modeling.cache import Cache
from core.modeling.outputs import ModelOutput

Steps = tuple[Any, ...] | None


@dataclass
class GenerateOutput(ModelOutput):
    """sequences (batch, prompt + new tokens). A step each: scores after and logits before processing (batch, vocabulary), attentions and
    hidden states, a tuple by layer; those of an encoder are a tuple by layer. drafted_tokens, accepted_tokens: of speculation.

    Of beams, scores are log-probabilities of all (batch x beams, vocabulary); sequences_scores (batch,): the sum over a sequence, by its
    length to the length_penalty; beam_indices (batch, new tokens): from which row of the scores each token is, -1 after the end.
    """

    sequences: torch.Tensor = None  # type: ignore[assignment]
    sequences_scores: torch.Tensor | None = None
    scores: Steps = None
    logits: Steps = None
    beam_indices: torch.Tensor | None = None
    attentions: Steps = None
    hidden_states: Steps = None
    encoder_attentions: Steps = None
    encoder_hidden_states: Steps = None
    decoder_attentions: Steps = None
    cross_attentions: Steps = None
    decoder_hidden_states: Steps = None
    past_key_values: Cache | None = None
    drafted_tokens: int | None = None
    accepted_tokens: int | None = None


class GenerateDecoderOnlyOutput(GenerateOutput):
    """Of a decoder."""


class GenerateEncoderDecoderOutput(GenerateOutput):
    """Of a decoder that answers an encoder."""


class GenerateBeamDecoderOnlyOutput(GenerateOutput):
    """Of a decoder's beams."""


class GenerateBeamEncoderDecoderOutput(GenerateOutput):
    """Of beams that answer an encoder."""


def transition_scores(
    sequences: torch.Tensor,
    scores: tuple[torch.Tensor, ...],
    beam_indices: torch.Tensor | None = None,
    normalize_logits: bool = False,
) -> torch.Tensor:
    """The score of each chosen token (batch, new tokens), 0 after a beam's end. normalize_logits: as log-probabilities."""
    stacked = torch.stack(scores, 1)  # (rows, steps, vocabulary)
    if normalize_logits:
        stacked = stacked.log_softmax(-1)
    if beam_indices is None:
        beam_indices = torch.arange(len(stacked), device=sequences.device)[:, None].expand(-1, len(scores))
    beams = beam_indices[:, : int((beam_indices >= 0).sum(1).max())].long()
    steps = torch.arange(beams.shape[1], device=sequences.device)
    tokens = sequences[:, sequences.shape[1] - beams.shape[1] :]
    return stacked[beams.clamp(min=0), steps, tokens].masked_fill(beams < 0, 0)
