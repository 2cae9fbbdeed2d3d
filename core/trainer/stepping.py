"""One step: forward, loss and backward of its batches, then the optimiser's move."""

import contextlib
import math
import time
from typing import Any

import torch

from core.errors import TrainingError
from core.trainer.distributed import total, world
from core.trainer.failures import as_sentence
from core.trainer.parts import Shared
from core.trainer.smoothing import smoothed_loss


class Stepping(Shared):
    """The part of a Trainer that computes losses and takes steps."""

    _weight: float
    _batches_in_step: int
    _trained: list[torch.nn.Parameter]
    _inputs: dict[str, Any]

    def _keep_before_failure(self) -> str:
        raise NotImplementedError

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The model's own loss, or of `compute_loss_func`, or with smoothed labels; a subclass may compute another.

        Logits are not made where nobody reads them. Raises TrainingError where the model gives no loss.
        """
        args, labels = self.args, None
        if self.compute_loss_func is not None or args.label_smoothing_factor:
            labels = inputs.get("labels")
            inputs = {name: value for name, value in inputs.items() if name != "labels"}
        extra: dict[str, Any] = {}
        if labels is None and self.model_accepts_loss_kwargs and num_items_in_batch is not None:
            extra["num_items_in_batch"] = num_items_in_batch
        if labels is None and not return_outputs and "skip_logits" in self._takes:
            extra["skip_logits"] = True
        if (
            labels is not None
            and self._base_encoder_decoder
            and "decoder_input_ids" in self._takes
            and "decoder_input_ids" not in inputs
        ):
            inputs = {**inputs, "decoder_input_ids": self._base.shift_right(labels)}
        outputs = model(**inputs, **extra)
        if self.compute_loss_func is not None:
            loss = self.compute_loss_func(outputs, labels, num_items_in_batch=num_items_in_batch)
        elif labels is not None:
            logits = outputs["logits"] if hasattr(outputs, "items") else outputs[0]
            loss = smoothed_loss(logits, labels, args.label_smoothing_factor, self._shifts, num_items_in_batch)
        else:
            loss = outputs.get("loss") if hasattr(outputs, "items") else outputs[0]
        if loss is None:
            raise TrainingError(f"The model gave no loss: the rows need {' and '.join(self.label_names)}.")
        return (loss, outputs) if return_outputs else loss

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> torch.Tensor:
        """Forward and backward of one batch; its share of the step's loss."""
        model.train()
        inputs = self._prepare_inputs(inputs)
        count = {"num_items_in_batch": num_items_in_batch} if self._loss_takes_count else {}
        with self._autocast():
            loss = self.compute_loss(model, inputs, **count)
        if num_items_in_batch is None or not self._counts:
            loss = loss * self._weight / self._batches_in_step
        else:
            loss = loss * (world()[1] if self._weight else 0.0)
        self.scaler.scale(loss).backward()
        return loss.detach()

    def _step(self, batches: list[dict[str, Any]], weights: list[float]) -> dict[str, float]:
        """One step of the optimiser over one or more batches. Raises TrainingError for what can go wrong in it."""
        self._inputs = {}
        try:
            return self._accumulated(batches, weights)
        except Exception as error:
            known = as_sentence(error, f"step {self.state.global_step + 1}", self._inputs, self._base)
            if known is not None:
                raise known from error
            raise

    def _accumulated(self, batches: list[dict[str, Any]], weights: list[float]) -> dict[str, float]:
        begin, args = time.perf_counter(), self.args
        count, self._batches_in_step = self._count(batches, weights), len(batches)
        loss = torch.zeros((), device=next(self.model.parameters()).device)
        tokens = sum(_tokens(inputs) for inputs in batches)
        for number, (inputs, self._weight) in enumerate(zip(batches, weights, strict=True), 1):
            last, self._inputs = number == len(batches), inputs
            waiting = hasattr(self.model_wrapped, "no_sync") and not last
            with self.model_wrapped.no_sync() if waiting else contextlib.nullcontext():
                loss += self.training_step(self.model_wrapped, inputs, count)
            if not last:
                self.tell("on_substep_end")
        found = float(total(loss)) / world()[1]
        self._check("loss", found)
        self.scaler.unscale_(self.optimizer)  # type: ignore[arg-type]
        length: Any = torch.nn.utils.clip_grad_norm_(self._trained, args.max_grad_norm or math.inf)
        norm = float(length if self._sharded is None else length.full_tensor())
        if not args.fp16:  # there it is the scaler that leaves the step out
            self._check("gradient's norm", norm)
        self.tell("on_pre_optimizer_step")
        rate = self.optimizer.param_groups[0]["lr"]  # type: ignore[union-attr]
        before = self.scaler.get_scale()
        self.scaler.step(self.optimizer)  # type: ignore[arg-type]
        self.scaler.update()
        self.tell("on_optimizer_step")
        if self.scaler.get_scale() >= before:  # else the step was left out for its overflow
            self.lr_scheduler.step()  # type: ignore[union-attr]
        self.optimizer.zero_grad(set_to_none=True)  # type: ignore[union-attr]
        seconds = time.perf_counter() - begin
        self.state.num_input_tokens_seen += tokens
        return {"loss": found, "grad_norm": norm, "learning_rate": rate, "tokens_per_second": tokens / seconds}

    def _check(self, what: str, value: float) -> None:
        """Raises TrainingError for a value that is no number, before the weights are touched; what went before is kept."""
        if not math.isfinite(value):
            raise TrainingError(
                f"The {what} is {value} at step {self.state.global_step + 1}: lower the learning rate, or look for broken values in the "
                f"rows of that step. {self._keep_before_failure()}"
            )

    @property
    def _counts(self) -> bool:
        """Whether the loss is normalised by the number of targets."""
        own = self.compute_loss_func is not None or bool(self.args.label_smoothing_factor) or self.model_accepts_loss_kwargs
        return own and self._loss_takes_count

    def _count(self, batches: list[dict[str, Any]], weights: list[float]) -> torch.Tensor | None:
        """Targets in a step's batches, in all processes; 1 where chance masked none, so that the loss is 0 and no division by it."""
        if not self._counts or not all(torch.is_tensor(inputs.get("labels")) for inputs in batches):
            return None
        first, counted = int(self._shifts), zip(batches, weights, strict=True)
        targets = sum(int((inputs["labels"][..., first:] != -100).sum()) for inputs, weight in counted if weight)
        count = torch.tensor(targets, device=next(self.model.parameters()).device)
        count = total(count) if self.args.average_tokens_across_devices else count * world()[1]
        return count.clamp(min=1)

    def _own_count(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """Targets of one batch of an evaluation, as compute_loss takes them."""
        if not self._counts or not torch.is_tensor(labels := inputs.get("labels")):
            return {}
        return {"num_items_in_batch": (labels[..., int(self._shifts) :] != -100).sum().clamp(min=1)}


def _tokens(inputs: dict[str, Any]) -> int:
    """Of one batch, without padding; where it has none, its rows."""
    mask, ids = inputs.get("attention_mask"), inputs.get("input_ids")
    if torch.is_tensor(mask) and mask.dim() == 2:
        return int(mask.sum())
    if torch.is_tensor(ids):
        return ids.numel()
    return max((len(value) for value in inputs.values() if torch.is_tensor(value) and value.dim()), default=0)
