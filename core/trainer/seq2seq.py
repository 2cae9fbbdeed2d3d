"""A Trainer that judges a model by what it writes."""

from dataclasses import dataclass
from typing import Any

import torch

from core.trainer.arguments import TrainingArguments, _knob
from core.trainer.trainer import Trainer


@dataclass
class Seq2SeqTrainingArguments(TrainingArguments):
    """TrainingArguments, and how an evaluation writes."""

    predict_with_generate: bool = _knob(False, "Evaluations write texts; compute_metrics gets their ids.")
    generation_max_length: int | None = _knob(
        None, "Tokens such a text may have; the model's own limit where not said.", (1, 1_000_000)
    )
    generation_num_beams: int | None = _knob(None, "Beams to write with; the model's own number where not said.", (1, 64))


class Seq2SeqTrainer(Trainer):
    """With `predict_with_generate` predictions are written ids (rows, tokens), filled up with -100; keywords of `generate` may be
    given to `evaluate` and `predict`."""

    _generating: dict[str, Any] = {}

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: list[str] | None = None, metric_key_prefix: str = "eval", **gen_kwargs: Any
    ) -> dict[str, float]:
        """As Trainer's; the keywords are generate's."""
        self._generating = self._keywords(gen_kwargs)
        return super().evaluate(eval_dataset, ignore_keys, metric_key_prefix)

    def predict(
        self, test_dataset: Any, ignore_keys: list[str] | None = None, metric_key_prefix: str = "test", **gen_kwargs: Any
    ) -> Any:
        """As Trainer's; the keywords are generate's."""
        self._generating = self._keywords(gen_kwargs)
        return super().predict(test_dataset, ignore_keys, metric_key_prefix)

    def _keywords(self, given: dict[str, Any]) -> dict[str, Any]:
        usual = {
            "max_length": getattr(self.args, "generation_max_length", None) if "max_new_tokens" not in given else None,
            "num_beams": getattr(self.args, "generation_num_beams", None),
        }
        return {name: value for name, value in {**usual, **given}.items() if value is not None}

    def prediction_step(
        self, model: Any, inputs: dict[str, Any], prediction_loss_only: bool, ignore_keys: list[str] | None = None
    ) -> tuple[Any, Any, Any]:
        """Loss, written ids (batch, tokens), labels."""
        if not getattr(self.args, "predict_with_generate", False) or prediction_loss_only:
            return super().prediction_step(model, inputs, prediction_loss_only, ignore_keys)
        inputs = self._prepare_inputs(inputs)
        labels, encoder_decoder = inputs.get("labels"), self._base_encoder_decoder
        loss = None
        if labels is not None:
            with torch.no_grad(), self._autocast():
                loss = self.compute_loss(model, dict(inputs), **self._own_count(inputs)).detach()
        prompt = {
            name: value for name, value in inputs.items() if name not in ("labels", "decoder_input_ids", "decoder_attention_mask")
        }
        # a decoder's config says no cache while it trains; writing wants one
        written = model.generate(**prompt, **{"use_cache": True, **self._generating})
        if not encoder_decoder:
            written = written[:, prompt["input_ids"].shape[1] :]
        return loss, written, labels
