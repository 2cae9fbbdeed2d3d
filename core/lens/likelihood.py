"""How likely each token of a text was, and what the model would rather have written there."""

from dataclasses import dataclass
from typing import Any

import torch

from core.errors import DataError
from core.modeling.model import PreTrainedModel
from core.tokenization.readable import readable_token, readable_tokens


@dataclass(frozen=True)
class Choice:
    """A token at its place. `probability` is None for the first, which nothing comes before; alternatives are the likeliest first."""

    id: int
    token: str  # as a person reads it
    probability: float | None
    rank: int | None  # 0 is the likeliest
    alternatives: list[tuple[int, str, float]]


@torch.inference_mode()
def likelihood(model: PreTrainedModel, tokenizer: Any, ids: list[int], top: int = 8) -> list[Choice]:
    """Of each token of `ids`, in one forward: its probability after those before it, its rank, and the `top` likeliest instead.

    Raises DataError for a model that predicts no next token or for more tokens than it reads.
    """
    if not model.can_generate() or model.config.is_encoder_decoder:
        raise DataError(f"{type(model).__name__} does not predict the next token of a text.")
    if not ids:
        raise DataError("There is no token to judge: write a text first.")
    reach = getattr(model.config, "max_position_embeddings", None)
    if reach and len(ids) > reach:
        raise DataError(f"The text has {len(ids)} tokens and the model reads at most {reach}.")
    row = torch.tensor([ids], device=model.device)
    training = model.training
    model.eval()
    try:
        logits = model(input_ids=row, use_cache=False).logits[0, :-1].float()
    finally:
        model.train(training)
    chances = logits.softmax(-1)
    taken = chances.gather(1, row[0, 1:, None])
    ranks = (chances > taken).sum(1).tolist()
    best = chances.topk(min(top, chances.shape[-1]))
    shown = readable_tokens(tokenizer, ids)
    found = [Choice(ids[0], shown[0], None, None, [])]
    for at, probability in enumerate(taken[:, 0].tolist()):
        instead = best.indices[at].tolist()
        found.append(
            Choice(
                ids[at + 1],
                shown[at + 1],
                probability,
                ranks[at],
                [(id, readable_token(tokenizer, id), p) for id, p in zip(instead, best.values[at].tolist(), strict=True)],
            )
        )
    return found
