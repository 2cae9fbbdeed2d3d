"""The training loop: collate, forward, loss, backward, clip, optimiser, scheduler."""

import contextlib
import logging
import math
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from core.errors import TrainingError
from core.modeling.devices import usable_device
from core.trainer.arguments import TrainingArguments
from core.trainer.callbacks import TrainerCallback, TrainerControl, TrainerState
from core.trainer.checkpoints import keep_newest, last_checkpoint, load_state, load_weights, save_checkpoint
from core.trainer.collators import DataCollatorWithPadding, default_data_collator
from core.trainer.schedules import get_scheduler

logger = logging.getLogger(__name__)


@dataclass
class TrainOutput:
    """What `train` returns."""

    global_step: int
    training_loss: float
    metrics: dict[str, float]


class Trainer:
    """The reference's Trainer for one device.

    Rows are dictionaries with input_ids and labels. The order of an epoch follows from data_seed (or seed) and the epoch's number alone,
    so that a resumed run sees the same rows.
    """

    def __init__(
        self,
        model: Any,
        args: TrainingArguments | None = None,
        data_collator: Callable[[list[Any]], dict[str, torch.Tensor]] | None = None,
        train_dataset: Any = None,
        eval_dataset: Any = None,
        processing_class: Any = None,
        compute_metrics: Callable[[Any], dict[str, float]] | None = None,
        callbacks: list[TrainerCallback] | None = None,
        optimizers: tuple[Any, Any] = (None, None),
        tokenizer: Any = None,
    ) -> None:
        self.args = args or TrainingArguments()
        _seed(self.args.seed)
        if model.device.type == "cpu":
            model = model.to(usable_device(None))
        self.model = model
        self.train_dataset, self.eval_dataset = train_dataset, eval_dataset
        self.processing_class = processing_class or tokenizer
        padded = self.processing_class is not None
        self.data_collator = data_collator or (
            DataCollatorWithPadding(self.processing_class) if padded else default_data_collator
        )
        self.compute_metrics = compute_metrics
        self.callbacks = list(callbacks or [])
        self.optimizer, self.lr_scheduler = optimizers
        self.state, self.control = TrainerState(), TrainerControl()
        base = model.get_base_model() if hasattr(model, "get_base_model") else model
        self._takes = set(base.forward_names())
        self._counts = "num_items_in_batch" in self._takes
        # a causal loss predicts the next token, so a row's first label is no target
        self._first_target = int(base.can_generate() and not base.config.is_encoder_decoder)

    # ------------------------------------------------------------------ parts

    def create_optimizer(self) -> torch.optim.Optimizer:
        """AdamW; no decay for biases and norms. Loshchilov & Hutter 2017."""
        if self.optimizer is None:
            trained = {name: p for name, p in self.model.named_parameters() if p.requires_grad}
            if not trained:
                raise TrainingError("Nothing is left to train: every parameter is frozen.")
            decayed = {name for name in _decayed(self.model) if name in trained}
            groups = [
                {"params": [p for n, p in trained.items() if n in decayed], "weight_decay": self.args.weight_decay},
                {"params": [p for n, p in trained.items() if n not in decayed], "weight_decay": 0.0},
            ]
            betas = (self.args.adam_beta1, self.args.adam_beta2)
            self.optimizer = torch.optim.AdamW(groups, lr=self.args.learning_rate, betas=betas, eps=self.args.adam_epsilon)
        return self.optimizer

    def _batches(self, epoch: int, skip: int = 0) -> Iterator[list[Any]]:
        """The epoch's batches of rows."""
        rows, size = len(self.train_dataset), self.args.per_device_train_batch_size
        seed = self.args.seed if self.args.data_seed is None else self.args.data_seed
        order = torch.randperm(rows, generator=torch.Generator().manual_seed(seed + epoch)).tolist()
        for number, begin in enumerate(range(0, rows, size)):
            indices = order[begin : begin + size]
            if number >= skip and not (self.args.dataloader_drop_last and len(indices) < size):
                yield [self.train_dataset[i] for i in indices]

    def _collate(self, rows: list[Any]) -> dict[str, torch.Tensor]:
        if self.args.remove_unused_columns and isinstance(rows[0], dict):
            keep = self._takes | {"label", "label_ids"}
            rows = [{key: value for key, value in row.items() if key in keep} for row in rows]
            if not rows[0]:
                raise TrainingError(f"The rows have no column that {type(self.model).__name__} takes.")
        return {key: value.to(self.model.device) for key, value in self.data_collator(rows).items()}

    def compute_loss(
        self, model: Any, inputs: dict[str, torch.Tensor], num_items_in_batch: torch.Tensor | None = None
    ) -> torch.Tensor:
        """The model's own loss; a subclass may compute another."""
        extra = {"num_items_in_batch": num_items_in_batch} if self._counts and num_items_in_batch is not None else {}
        loss = model(**inputs, **extra).loss
        if loss is None:
            raise TrainingError("The model gave no loss: the rows need labels.")
        return loss

    def _autocast(self) -> Any:
        if not self.args.bf16:
            return contextlib.nullcontext()
        return torch.autocast(self.model.device.type, torch.bfloat16)

    def _tell(self, event: str, **kwargs: Any) -> None:
        for callback in self.callbacks:
            getattr(callback, event)(self.args, self.state, self.control, model=self.model, **kwargs)

    # ------------------------------------------------------------------ the loop

    def train(self, resume_from_checkpoint: bool | str | Path | None = None) -> TrainOutput:
        """Train to the end, from the start or a checkpoint (True: the newest in output_dir). Raises TrainingError."""
        args, state, control = self.args, self.state, self.control
        if self.train_dataset is None or not len(self.train_dataset):
            raise TrainingError("There are no rows to train on.")
        per_epoch_batches = len(self.train_dataset) / args.per_device_train_batch_size
        batches = math.floor(per_epoch_batches) if args.dataloader_drop_last else math.ceil(per_epoch_batches)
        if not batches:
            raise TrainingError("There are fewer rows than one batch, and dataloader_drop_last leaves them out.")
        per_epoch = max(1, math.ceil(batches / args.gradient_accumulation_steps))
        total = args.max_steps if args.max_steps > 0 else math.ceil(args.num_train_epochs * per_epoch)
        state.max_steps = total
        optimizer = self.create_optimizer()
        if self.lr_scheduler is None:
            self.lr_scheduler = get_scheduler(args.lr_scheduler_type, optimizer, args.get_warmup_steps(total), total)
        if args.gradient_checkpointing:
            self.model.gradient_checkpointing_enable()
        self._resume(resume_from_checkpoint)
        trained = [p for p in self.model.parameters() if p.requires_grad]
        begin, summed, since = time.time(), 0.0, (state.global_step, 0.0)
        self.model.train()
        self._tell("on_train_begin")
        while state.global_step < total and not control.should_training_stop:
            epoch, done = divmod(state.global_step, per_epoch)
            self._tell("on_epoch_begin")
            loader = self._batches(epoch, done * args.gradient_accumulation_steps)
            for step_in_epoch in range(done, per_epoch):
                rows = [batch for _, batch in zip(range(args.gradient_accumulation_steps), loader, strict=False)]
                self._tell("on_step_begin")
                metrics = self._step(rows, optimizer, trained)
                state.global_step += 1
                state.epoch = epoch + (step_in_epoch + 1) / per_epoch
                metrics["epoch"] = state.epoch
                summed += metrics["loss"]
                since = (since[0], since[1] + metrics["loss"])
                self._tell("on_step_end", metrics=metrics)
                if state.global_step % args.logging_steps == 0 or control.should_log:
                    self.log({**metrics, "loss": since[1] / (state.global_step - since[0])})
                    since = (state.global_step, 0.0)
                self._after(state.global_step == total, step_in_epoch + 1 == per_epoch)
                if state.global_step >= total or control.should_training_stop:
                    break
            self._tell("on_epoch_end")
        self._tell("on_train_end")
        self.model.eval()
        seconds = time.time() - begin
        loss = summed / max(1, state.global_step)
        return TrainOutput(state.global_step, loss, {"train_runtime": seconds, "train_loss": loss, "epoch": state.epoch})

    def _step(self, batches: list[list[Any]], optimizer: Any, trained: list[nn.Parameter]) -> dict[str, float]:
        """One step of the optimiser over one or more batches; the loss is the mean over all their target tokens."""
        begin = time.perf_counter()
        inputs = [self._collate(rows) for rows in batches]
        targets = sum(int((batch["labels"][..., self._first_target :] != -100).sum()) for batch in inputs if "labels" in batch)
        count = torch.tensor(targets, device=self.model.device) if self._counts and targets else None
        loss = 0.0
        for batch in inputs:
            with self._autocast():
                part = self.compute_loss(self.model, batch, count)
            if count is None:
                part = part / len(inputs)
            part.backward()
            loss += part.item()
        if not math.isfinite(loss):
            raise TrainingError(
                f"The loss is {loss} at step {self.state.global_step + 1}: lower the learning rate. The last checkpoint is kept."
            )
        limit = self.args.max_grad_norm or math.inf
        norm = float(torch.nn.utils.clip_grad_norm_(trained, limit))
        rate = optimizer.param_groups[0]["lr"]
        optimizer.step()
        self.lr_scheduler.step()
        optimizer.zero_grad(set_to_none=True)
        seconds = time.perf_counter() - begin
        tokens = sum(
            int(batch["attention_mask"].sum()) if "attention_mask" in batch else batch["input_ids"].numel() for batch in inputs
        )
        return {"loss": loss, "grad_norm": norm, "learning_rate": rate, "tokens_per_second": tokens / seconds}

    def _after(self, last: bool, epoch_ended: bool) -> None:
        """Evaluate and save where it is time to."""
        args, state, control = self.args, self.state, self.control

        def due(strategy: str, steps: int | None) -> bool:
            by_steps = strategy == "steps" and (last or state.global_step % (steps or args.logging_steps) == 0)
            return by_steps or (strategy == "epoch" and epoch_ended)

        if self.eval_dataset is not None and (due(args.eval_strategy, args.eval_steps) or control.should_evaluate):
            self.evaluate()
        if due(args.save_strategy, args.save_steps) or control.should_save:
            self._save_checkpoint()
        control.should_save = control.should_evaluate = control.should_log = False

    def _resume(self, source: bool | str | Path | None) -> None:
        if not source:
            return
        folder = last_checkpoint(Path(self.args.output_dir)) if source is True else Path(source)
        if folder is None or not folder.is_dir():
            raise TrainingError(f"There is no checkpoint to resume from in {self.args.output_dir if folder is None else folder}.")
        load_weights(self.model, folder)
        saved = load_state(folder, self.optimizer, self.lr_scheduler)
        self.state.global_step, self.state.epoch = saved["global_step"], saved["epoch"]
        self.state.log_history = saved["log_history"]

    def _save_checkpoint(self) -> None:
        folder = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
        state = {name: getattr(self.state, name) for name in ("global_step", "epoch", "max_steps", "log_history")}
        save_checkpoint(folder, self.model, self.optimizer, self.lr_scheduler, state, self.args.to_dict())
        keep_newest(Path(self.args.output_dir), self.args.save_total_limit)
        self._tell("on_save", folder=folder)

    def save_model(self, output_dir: str | Path | None = None) -> None:
        """Weights or adapter into output_dir."""
        self.model.save_pretrained(output_dir or self.args.output_dir)

    def log(self, logs: dict[str, float]) -> None:
        """One line into the state's history and to the callbacks."""
        line = {**logs, "step": self.state.global_step}
        self.state.log_history.append(line)
        self._tell("on_log", logs=logs)

    @torch.no_grad()
    def evaluate(self, eval_dataset: Any = None, metric_key_prefix: str = "eval") -> dict[str, float]:
        """Mean loss over the rows, and what compute_metrics says of (predictions, label_ids)."""
        rows = self.eval_dataset if eval_dataset is None else eval_dataset
        if rows is None or not len(rows):
            raise TrainingError("There are no rows to evaluate on.")
        training, size = self.model.training, self.args.per_device_eval_batch_size
        self.model.eval()
        losses, counts, predictions, labels = [], [], [], []
        for begin in range(0, len(rows), size):
            batch = self._collate([rows[i] for i in range(begin, min(begin + size, len(rows)))])
            with self._autocast():
                out = self.model(**batch)
            counts.append(len(next(iter(batch.values()))))
            losses.append(float(out.loss) if out.loss is not None else math.nan)
            if self.compute_metrics:
                predictions.append(out.logits.float().cpu().numpy())
                labels.append(batch["labels"].cpu().numpy())
        self.model.train(training)
        mean = sum(loss * count for loss, count in zip(losses, counts, strict=True)) / sum(counts)
        metrics = {f"{metric_key_prefix}_loss": mean}
        if self.compute_metrics:
            pair = (np.concatenate(predictions), np.concatenate(labels))
            metrics |= {f"{metric_key_prefix}_{name}": value for name, value in self.compute_metrics(pair).items()}
        self.log(metrics)
        self._tell("on_evaluate", metrics=metrics)
        return metrics


def _seed(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def _decayed(model: nn.Module) -> set[str]:
    """Parameters that are neither biases nor of norms."""
    norms = {name for name, module in model.named_modules() if "norm" in type(module).__name__.lower()}
    return {name for name, _ in model.named_parameters() if not name.endswith("bias") and name.rpartition(".")[0] not in norms}
