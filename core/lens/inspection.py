"""One input sent through one model, and all that was seen on the way: a text here; pairs.py, images.py and sounds.py hold the others."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from core.errors import DataError
from core.lens.attention import Grouping, PatternRecorder, joined
from core.lens.hidden import plane
from core.modeling.model import PreTrainedModel
from core.modeling.taps import Taps
from core.tokenization.readable import readable_token, readable_tokens


@dataclass
class Inspection:
    """What was seen of one stack of layers. Layer 0 of `norms` and `points` is the embedding, layer n what leaves block n."""

    tokens: list[str]  # those that read, as a person reads them: the rows
    cut: int  # tokens left out at the end
    patterns: np.ndarray  # (layers, heads, q, k) uint8, square-root quantised
    means: np.ndarray  # (layers, q, k) uint8: over the heads of a layer
    overall: np.ndarray  # (q, k) uint8: over all
    kv_heads: int
    causal: bool
    norms: np.ndarray  # (layers + 1, tokens) float32: lengths of the residual stream
    points: np.ndarray  # (layers + 1, tokens, 2) float32
    share: np.ndarray  # (layers + 1,) float32: the share of variance that the plane of `points` holds
    ids: list[int] = field(default_factory=list)  # none where what reads is no text
    predictions: list[tuple[str, float]] = field(default_factory=list)  # next tokens with probability; none without logits
    columns: list[str] | None = None  # those that are read, where they are others than those that read
    image: np.ndarray | None = None  # (height, width, 3) uint8: what the patches are cut from
    grid: tuple[int, int] | None = None  # rows and columns of patches, which are the last of the tokens

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
        arrays = (self.patterns, self.means, self.overall, self.norms, self.points, self.share, self.image)
        return sum(array.nbytes for array in arrays if array is not None)


@dataclass
class Stack:
    """Which layers are to be seen: how many, under which prefix of places, whether they read another stack's states, and how neighbours are joined."""

    layers: int
    prefix: str = ""
    cross: bool = False
    rows: Grouping | None = None
    columns: Grouping | None = None


@torch.inference_mode()
def observe(model: PreTrainedModel, inputs: dict[str, Any], stacks: dict[str, Stack]) -> tuple[Any, dict[str, dict[str, Any]]]:
    """One forward: its output, and for each stack all fields of an Inspection that have no words. A stack that reads another's states
    has the hidden states of the one whose layers it belongs to."""
    recorders = {
        name: PatternRecorder(stack.layers, ("cross." if stack.cross else "") + stack.prefix, stack.rows, stack.columns)
        for name, stack in stacks.items()
    }
    record: dict[str, list[int] | None] = {}
    for stack in stacks.values():
        record |= {f"{stack.prefix}resid_pre": [0], f"{stack.prefix}resid_post": None}
    taps = Taps(record, {place: see for one in recorders.values() for place, see in one.watching().items()})
    training = model.training
    model.eval()
    try:
        out = model(**inputs, taps=taps)
    finally:
        model.train(training)
    found = {}
    for name, stack in stacks.items():
        recorder, prefix = recorders[name], stack.prefix
        overall = recorder.overall()
        patterns, means = recorder.stacked()
        passed = [taps[f"{prefix}resid_pre", 0], *taps.layers(f"{prefix}resid_post")]
        whole = torch.stack([states[0].float().cpu() for states in passed])
        states = (whole if stack.rows is None else joined(whole, stack.rows, 1, mean=True)).numpy()
        points, share = plane(states)
        upper = np.triu_indices(overall.shape[0], 1)
        found[name] = {
            "patterns": patterns,
            "means": means,
            "overall": overall,
            "kv_heads": recorder.kv_heads or patterns.shape[1],
            "causal": not stack.cross and not overall[upper].any() and not means[:, upper[0], upper[1]].any(),
            "norms": np.linalg.norm(states, axis=-1).astype(np.float32),
            "points": points,
            "share": share,
        }
    return out, found


def expected(tokenizer: Any, logits: torch.Tensor, top: int) -> list[tuple[str, float]]:
    """The likeliest next tokens, as a person reads them, by logits (vocabulary,)."""
    probabilities = logits.float().softmax(-1)
    best = probabilities.topk(min(top, len(probabilities)))
    return [(readable_token(tokenizer, id), p) for id, p in zip(best.indices.tolist(), best.values.tolist(), strict=True)]


def tokenised(model: PreTrainedModel, tokenizer: Any, text: str, max_tokens: int, name: str = "text") -> tuple[Any, int]:
    """A text's batch of one row, and how many tokens were cut from its end since they are beyond `max_tokens` or the model's positions;
    `name`: "text_target" for what an encoder-decoder is to answer. Raises DataError where there is nothing to read."""
    if not text or not text.strip():
        raise DataError("There is no text to look into: write a sentence first.")
    reach = getattr(model.config, "max_position_embeddings", None) or max_tokens
    whole = len(tokenizer(**{name: text})["input_ids"])
    batch = tokenizer(**{name: text}, truncation=True, max_length=max(1, min(max_tokens, reach)), return_tensors="pt")
    if not whole:
        raise DataError("This text has no tokens for this model: write a sentence first.")
    return batch, whole - batch["input_ids"].shape[1]


def inspect(model: PreTrainedModel, tokenizer: Any, text: str, max_tokens: int = 512, top: int = 10) -> Inspection:
    """Send a text through the model once and keep patterns, norms, a plane of the tokens and the next-token predictions.

    A text beyond `max_tokens`, or beyond what the model's positions reach, is cut at its end (`cut` says by how much).
    Raises DataError where there is nothing to read.
    """
    batch, cut = tokenised(model, tokenizer, text, max_tokens)
    inputs = {name: value.to(model.device) for name, value in batch.items()}
    predicts = model.can_generate()
    if predicts:
        inputs |= {"use_cache": False, "logits_to_keep": 1}
        inputs.pop("token_type_ids", None)
    out, found = observe(model, inputs, {"": Stack(model.config.num_hidden_layers)})
    ids = batch["input_ids"][0].tolist()
    predictions = expected(tokenizer, out.logits[0, -1], top) if predicts else []
    return Inspection(readable_tokens(tokenizer, ids), cut, ids=ids, predictions=predictions, **found[""])
