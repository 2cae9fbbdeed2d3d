"""One step of a model: the only place where generation calls a forward."""

from dataclasses import dataclass, field
from typing import Any

import torch

from core import kernels
from core.modeling.cache import Cache
from core.modeling.model import PreTrainedModel


@dataclass
class Record:
    """What steps keep beside logits, where a caller asked for it: a tuple by layer for each step."""

    attentions: bool = False
    hidden_states: bool = False
    kept: dict[str, list[Any]] = field(default_factory=dict)

    def wanted(self) -> dict[str, bool]:
        """Keywords for a forward."""
        return {"output_attentions": self.attentions, "output_hidden_states": self.hidden_states}

    def keep(self, out: Any) -> None:
        """Take in a forward's output."""
        for name in ("attentions", "hidden_states", "decoder_attentions", "cross_attentions", "decoder_hidden_states"):
            if (value := getattr(out, name, None)) is not None:
                self.kept.setdefault(name, []).append(value)

    def all(self, name: str) -> tuple[Any, ...] | None:
        """Of all steps."""
        return tuple(self.kept[name]) if name in self.kept else None


def decode_step(
    model: PreTrainedModel,
    ids: torch.Tensor,
    mask: torch.Tensor,
    cache: Cache | None,
    source: dict[str, Any] | None = None,
    **more: Any,
) -> torch.Tensor:
    """Logits of the next token (batch, vocabulary) in float32. ids (batch, tokens so far), mask the same shape; see decode_steps."""
    return decode_steps(model, ids, mask, cache, source, **more)[:, -1]


def decode_steps(
    model: PreTrainedModel,
    ids: torch.Tensor,
    mask: torch.Tensor,
    cache: Cache | None,
    source: dict[str, Any] | None = None,
    *,
    embeds: torch.Tensor | None = None,
    record: Record | None = None,
    keep: int = 1,
) -> torch.Tensor:
    """Logits after each of the last `keep` tokens (batch, keep, vocabulary) in float32.

    With a cache only the tokens it lacks are computed. `source` is what a decoder is told of its encoder. embeds (batch, places, width)
    stand before the ids, and are counted in the mask.
    """
    past = cache.get_seq_length() - cache.virtual if cache is not None else 0
    wanted = record.wanted() if record is not None else {}
    wanted = {"past_key_values": cache, "use_cache": cache is not None, "logits_to_keep": keep, **wanted}
    if source is not None:
        out = model(**source, decoder_input_ids=ids[:, past:], decoder_attention_mask=mask, **wanted)
    else:
        new = mask.shape[1] - past
        written = record is None and new <= ids.shape[1]
        if written and (compiled := kernels.step_for(model, mask, cache)) is not None:
            return compiled(ids[:, -new:], keep)
        places = (mask.cumsum(-1) - 1).masked_fill(mask == 0, 0)[:, past:]
        out = model(**_tokens(model, ids, embeds, past), attention_mask=mask, position_ids=places, **wanted)
    if record is not None:
        record.keep(out)
    return out.logits.float()


def likeliest(scores: torch.Tensor) -> torch.Tensor:
    """The place of the largest of each row (batch, vocabulary) -> (batch,), the first of equals. On a CPU NumPy looks: it takes a
    tenth of the time of PyTorch's argmax, which was a twentieth of a compiled step."""
    if scores.device.type == "cpu" and scores.dtype == torch.float32 and not scores.requires_grad:
        return torch.from_numpy(scores.numpy().argmax(-1))
    return scores.argmax(-1)


def _tokens(model: PreTrainedModel, ids: torch.Tensor, embeds: torch.Tensor | None, past: int) -> dict[str, torch.Tensor]:
    if embeds is None:
        return {"input_ids": ids[:, past:]}
    if past >= embeds.shape[1]:
        return {"input_ids": ids[:, past - embeds.shape[1] :]}
    written = [model.get_input_embeddings()(ids)] if ids.shape[1] else []
    return {"inputs_embeds": torch.cat([embeds, *written], 1)[:, past:]}


@dataclass
class Decoding:
    """Rows on their way: ids (batch, tokens), mask (batch, embeds' places and tokens), and what a step needs beside them."""

    model: PreTrainedModel
    ids: torch.Tensor
    mask: torch.Tensor
    cache: Cache | None
    source: dict[str, Any] | None = None
    embeds: torch.Tensor | None = None
    record: Record | None = None

    def logits(self) -> torch.Tensor:
        """Of each row's next token (batch, vocabulary)."""
        more = {"embeds": self.embeds, "record": self.record}
        return decode_step(self.model, self.ids, self.mask, self.cache, self.source, **more)

    def verify(self, draft: torch.Tensor) -> torch.Tensor:
        """One row's logits after it and after each token of a draft (1, tokens) of what may follow: (tokens + 1, vocabulary)."""
        ids, mask = torch.cat([self.ids, draft], 1), torch.cat([self.mask, torch.ones_like(draft)], 1)
        more = {"embeds": self.embeds, "record": self.record, "keep": draft.shape[1] + 1}
        return decode_steps(self.model, ids, mask, self.cache, self.source, **more)[0]

    def append(self, tokens: torch.Tensor) -> None:
        """One more token a row, (batch,)."""
        self.ids = torch.cat([self.ids, tokens[:, None]], 1)
        self.mask = torch.cat([self.mask, self.mask.new_ones(len(tokens), 1)], 1)

    def rewind(self) -> None:
        """Forget in the cache all but what stands before the newest token."""
        if self.cache is not None:
            self.cache.trim(self.mask.shape[1] - 1)

    def take(self, ids: torch.Tensor, rows: torch.Tensor) -> None:
        """Go on with other ids (batch, tokens), made from these rows by one more token each; a row's parent answers the same text."""
        self.ids = ids
        self.mask = torch.cat([self.mask, self.mask.new_ones(len(ids), 1)], 1)
        if self.cache is not None:
            self.cache.reorder(rows, cross=False)
