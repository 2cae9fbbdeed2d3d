"""One text sent through one model, and all that was seen on the way."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from core.errors import DataError
from core.lens.attention import PatternRecorder
from core.lens.hidden import plane
from core.modeling.model import PreTrainedModel
from core.tokenization.readable import readable_token, readable_tokens


@dataclass
class Inspection:
    """What `inspect` saw. Layer 0 of `norms` and `points` is the embedding, layer n what leaves block n."""

    tokens: list[str]  # as a person reads them
    ids: list[int]
    cut: int  # tokens left out at the end
    patterns: np.ndarray  # (layers, heads, q, k) uint8, square-root quantised
    means: np.ndarray  # (layers, q, k) uint8: over the heads of a layer
    overall: np.ndarray  # (q, k) uint8: over all
    kv_heads: int
    causal: bool
    norms: np.ndarray  # (layers + 1, tokens) float32: lengths of the residual stream
    points: np.ndarray  # (layers + 1, tokens, 2) float32
    share: np.ndarray  # (layers + 1,) float32: the share of variance that the plane of `points` holds
    predictions: list[tuple[str, float]] = field(default_factory=list)  # next tokens with probability; none without logits

    @property
    def layers(self) -> int:
        """Blocks of the model."""
        return self.patterns.shape[0]

    @property
    def heads(self) -> int:
        """Query heads of a block."""
        return self.patterns.shape[1]

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        arrays = (self.patterns, self.means, self.overall, self.norms, self.points, self.share)
        return sum(array.nbytes for array in arrays)


@torch.inference_mode()
def inspect(model: PreTrainedModel, tokenizer: Any, text: str, max_tokens: int = 512, top: int = 10) -> Inspection:
    """Send a text through the model once and keep patterns, norms, a plane of the tokens and the next-token predictions.

    A text beyond `max_tokens`, or beyond what the model's positions reach, is cut at its end (`cut` says by how much).
    Raises DataError where there is nothing to read.
    """
    if not text or not text.strip():
        raise DataError("There is no text to look into: write a sentence first.")
    reach = getattr(model.config, "max_position_embeddings", None) or max_tokens
    limit = max(1, min(max_tokens, reach))
    whole = len(tokenizer(text)["input_ids"])
    batch = tokenizer(text, truncation=True, max_length=limit, return_tensors="pt")
    if not whole:
        raise DataError("This text has no tokens for this model: write a sentence first.")
    inputs = {name: value.to(model.device) for name, value in batch.items()}
    predicts = model.can_generate()
    if predicts:
        inputs |= {"use_cache": False, "logits_to_keep": 1}
        inputs.pop("token_type_ids", None)
    recorder = PatternRecorder(model.config.num_hidden_layers)
    taps = recorder.taps({"resid_pre": [0], "resid_post": None})
    training = model.training
    model.eval()
    try:
        out = model(**inputs, taps=taps)
    finally:
        model.train(training)
    overall = recorder.overall()
    patterns, means = recorder.stacked()
    states = torch.stack([s[0].float().cpu() for s in (taps["resid_pre", 0], *taps.layers("resid_post"))]).numpy()
    points, share = plane(states)
    ids = batch["input_ids"][0].tolist()
    predictions: list[tuple[str, float]] = []
    if predicts:
        probabilities = out.logits[0, -1].float().softmax(-1)
        best = probabilities.topk(min(top, len(probabilities)))
        predictions = [
            (readable_token(tokenizer, id), p) for id, p in zip(best.indices.tolist(), best.values.tolist(), strict=True)
        ]
    upper = np.triu_indices(len(ids), 1)
    return Inspection(
        tokens=readable_tokens(tokenizer, ids),
        ids=ids,
        cut=whole - len(ids),
        patterns=patterns,
        means=means,
        overall=overall,
        kv_heads=recorder.kv_heads or patterns.shape[1],
        causal=not overall[upper].any() and not means[:, upper[0], upper[1]].any(),
        norms=np.linalg.norm(states, axis=-1).astype(np.float32),
        points=points,
        share=share,
        predictions=predictions,
    )
