"""Evaluations and predictions."""

from typing import Any

import torch
from torch.utils.data import DataLoader

from core.errors import TrainingError
from core.trainer import evaluation, loaders
from core.trainer.failures import as_sentence
from core.trainer.parts import Shared
from core.trainer.sampling import has_length


class Judging(Shared):
    """The part of a Trainer that judges a model."""

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """As the trainer computes it."""
        raise NotImplementedError

    def _own_count(self, inputs: dict[str, Any]) -> dict[str, Any]:
        raise NotImplementedError

    def get_eval_dataloader(self, eval_dataset: Any = None) -> DataLoader:
        """Batches in the order of the rows."""
        dataset = self.eval_dataset if eval_dataset is None else eval_dataset
        if dataset is None or (has_length(dataset) and not len(dataset)):
            raise TrainingError("There are no rows to evaluate on.")
        return loaders.eval_loader(self.args, dataset, self._keeping(self.data_collator))

    def get_test_dataloader(self, test_dataset: Any) -> DataLoader:
        """As for an evaluation."""
        return self.get_eval_dataloader(test_dataset)

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: list[str] | None = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Mean loss over the rows, and what compute_metrics says of an EvalPrediction. A dictionary of data sets: each under
        its name."""
        dataset = self.eval_dataset if eval_dataset is None else eval_dataset
        if isinstance(dataset, dict):
            metrics: dict[str, float] = {}
            for name, rows in dataset.items():
                metrics |= self.evaluate(rows, ignore_keys, f"{metric_key_prefix}_{name}")
            return metrics
        loss_only = self.args.prediction_loss_only or self.compute_metrics is None
        metrics = self._run(dataset, self.get_eval_dataloader(dataset), loss_only, ignore_keys, metric_key_prefix).metrics
        self.log(metrics)
        self.tell("on_evaluate", metrics=metrics)
        return metrics

    def predict(
        self, test_dataset: Any, ignore_keys: list[str] | None = None, metric_key_prefix: str = "test"
    ) -> evaluation.PredictionOutput:
        """Predictions of all rows, their labels where there are any, and figures."""
        loader = self.get_test_dataloader(test_dataset)
        out = self._run(test_dataset, loader, self.args.prediction_loss_only, ignore_keys, metric_key_prefix)
        self.tell("on_predict", metrics=out.metrics)
        return out

    def _run(self, *what: Any) -> evaluation.PredictionOutput:
        training = self.model.training
        self.model.eval()
        try:
            with self._without_cache():
                return evaluation.run(self, *what)
        except Exception as error:
            if (known := as_sentence(error, f"the evaluation after step {self.state.global_step}", {}, self._base)) is not None:
                raise known from error
            raise
        finally:
            self.model.train(training)

    def prediction_step(
        self, model: Any, inputs: dict[str, Any], prediction_loss_only: bool, ignore_keys: list[str] | None = None
    ) -> tuple[Any, Any, Any]:
        """One batch of an evaluation: loss, logits (or a tuple of all outputs), labels; None for what there is not."""
        inputs = self._prepare_inputs(inputs)
        labels = tuple(inputs[name] for name in self.label_names if inputs.get(name) is not None) or None
        with torch.no_grad(), self._autocast():
            if labels is None:
                loss, outputs = None, model(**inputs)
            elif prediction_loss_only:
                return self.compute_loss(model, dict(inputs), **self._own_count(inputs)).detach(), None, None
            else:
                loss, outputs = self.compute_loss(model, dict(inputs), return_outputs=True, **self._own_count(inputs))
        if prediction_loss_only:
            return loss, None, None
        left_out = {"loss", *(["past_key_values"] if ignore_keys is None else ignore_keys)}
        found = outputs.items() if hasattr(outputs, "items") else enumerate(outputs)
        logits = tuple(value for name, value in found if name not in left_out and value is not None)
        single = lambda things: things[0] if things is not None and len(things) == 1 else things  # noqa: E731
        return (None if loss is None else loss.detach().mean()), single(logits), single(labels)
