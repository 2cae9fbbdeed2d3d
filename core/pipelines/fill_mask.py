"""What may stand where a text has a mask."""

import logging
from typing import Any

import torch

from core.errors import ConfigError, DataError, printable
from core.pipelines.base import Piece, Pipeline, row_of, text_of
from core.pipelines.options import Option

logger = logging.getLogger(__name__)


class FillMaskPipeline(Pipeline):
    """`filler("Paris is the [MASK] of France.")` -> [{"score", "token", "token_str", "sequence"}], the likeliest first; of a text with
    several masks such a list for each, in which the others stay masks."""

    task = "fill-mask"
    kinds = ("MaskedLM",)
    options = (
        Option("top_k", 5, "How many candidates for each mask.", 1),
        Option("targets", None, "Words to choose from, instead of the whole vocabulary."),
        Option("tokenizer_kwargs", None, "More arguments for the tokenizer."),
    )

    def __call__(self, inputs: Any, *, batch_size: int | None = None, num_workers: int = 0, **given: Any) -> Any:
        """A text or several, each with at least one mask; a list of one text gives what that text alone gives."""
        result = super().__call__(inputs, batch_size=batch_size, **given)
        return result[0] if isinstance(inputs, list) and len(inputs) == 1 else result

    def settings(self, given: dict[str, Any]) -> dict[str, Any]:
        """With the ids of the targets."""
        values = super().settings(given)
        values["ids"] = None if values["targets"] is None else self._target_ids(values["targets"])
        return values

    def _target_ids(self, targets: str | list[str]) -> list[int]:
        """The targets' ids, each once; of one that is no token, its first token's. Raises ConfigError where none is left."""
        vocabulary, found = self.tokenizer.get_vocab(), []
        for target in [targets] if isinstance(targets, str) else targets:
            number = vocabulary.get(target)
            if number is None:
                pieces = self.tokenizer(target, add_special_tokens=False)["input_ids"] if target else []
                shown = printable(str(target), 60)
                if not pieces:
                    logger.warning("The target '%s' is no token of this model and is left out.", shown)
                    continue
                number = pieces[0]
                instead = self.tokenizer.convert_ids_to_tokens(number)
                logger.warning("The target '%s' is no token of this model: '%s' stands for it.", shown, instead)
            found.append(number)
        if not found:
            raise ConfigError("targets needs at least one word that the tokenizer knows.")
        return sorted(set(found))

    def prepare(self, item: Any, options: dict[str, Any]) -> list[Piece]:
        """One piece."""
        mask = self.tokenizer.mask_token
        if mask is None:
            raise ConfigError("This tokenizer has no mask token: fill-mask needs a model trained with one.")
        encoded, cut = self.encode(text_of(item, "fill-mask"), **(options["tokenizer_kwargs"] or {}))
        piece = Piece(row_of(encoded), cut=cut)
        if self.tokenizer.mask_token_id not in encoded["input_ids"]:
            where = f" among the {self.most_tokens} tokens that the model reads" if cut else ""
            raise DataError(f"The text has no {mask}{where}: write it where a word is to be found.")
        return [piece]

    def forward(self, inputs: dict[str, torch.Tensor], options: dict[str, Any]) -> list[Any]:
        """The logits at the masks alone, (masks, vocabulary) a row."""
        logits = self.run_model(inputs).logits
        return [
            row[ids == self.tokenizer.mask_token_id].float().cpu() for row, ids in zip(logits, inputs["input_ids"], strict=True)
        ]

    def finish(self, pieces: list[Piece], outputs: list[Any], options: dict[str, Any]) -> Any:
        """The candidates of the only mask, or of each."""
        ids = pieces[0].inputs["input_ids"]
        chances, targets = outputs[0].softmax(-1), options["ids"]
        if targets is not None:
            chances = chances[:, targets]
        places = (ids == self.tokenizer.mask_token_id).nonzero()[:, 0].tolist()
        values, best = chances.topk(min(options["top_k"], chances.shape[-1]))
        found = []
        for place, row, candidates in zip(places, values.tolist(), best.tolist(), strict=True):
            tokens = candidates if targets is None else [targets[i] for i in candidates]
            found.append([self._candidate(ids, place, v, t, len(places) == 1) for v, t in zip(row, tokens, strict=True)])
        return found[0] if len(places) == 1 else found

    def _candidate(self, ids: torch.Tensor, place: int, value: float, token: int, only: bool) -> dict[str, Any]:
        row = ids.tolist()
        row[place] = token
        row = [number for number in row if number != self.tokenizer.pad_token_id]
        text = self.tokenizer.decode(row, skip_special_tokens=only)
        return {"score": value, "token": token, "token_str": self.tokenizer.decode([token]), "sequence": text}
