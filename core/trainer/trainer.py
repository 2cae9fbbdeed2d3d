"""The training loop."""

import inspect
import logging
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from core.errors import TrainingError
from core.modeling.devices import usable_device
from core.trainer import evaluation, loaders
from core.trainer.arguments import TrainingArguments
from core.trainer.callbacks import CallbackHandler, TrainerControl, TrainerState, metric_name, usual_callbacks
from core.trainer.collators import DataCollatorWithPadding, default_data_collator
from core.trainer.distributed import agreed, join, local_rank, world
from core.trainer.judging import Judging
from core.trainer.optimizers import make_optimizer
from core.trainer.packing import PackedCollator
from core.trainer.sampling import has_length
from core.trainer.saving import Saving
from core.trainer.schedules import get_scheduler
from core.trainer.smoothing import Noise
from core.trainer.stepping import Stepping
from core.trainer.wrapping import spread, wrapped

logger = logging.getLogger(__name__)


@dataclass
class TrainOutput:
    """What `train` returns."""

    global_step: int
    training_loss: float
    metrics: dict[str, float]

    def __iter__(self) -> Iterator[Any]:
        return iter((self.global_step, self.training_loss, self.metrics))


class Trainer(Saving, Stepping, Judging):
    """The reference's Trainer: on one device, or as one of torchrun's processes.

    Rows are dictionaries that the collator makes batches of; their order follows from data_seed (or seed) and the epoch's number
    alone. A loss that is normalised by `num_items_in_batch` is the mean over all targets of a step, however they lie in its batches.
    """

    def __init__(
        self,
        model: Any = None,
        args: TrainingArguments | None = None,
        data_collator: Callable[[list[Any]], Any] | None = None,
        train_dataset: Any = None,
        eval_dataset: Any = None,
        processing_class: Any = None,
        model_init: Callable[[], Any] | None = None,
        compute_loss_func: Callable[..., torch.Tensor] | None = None,
        compute_metrics: Callable[[Any], dict[str, float]] | None = None,
        callbacks: list[Any] | None = None,
        optimizers: tuple[Any, Any] = (None, None),
        optimizer_cls_and_kwargs: tuple[type[torch.optim.Optimizer], dict[str, Any]] | None = None,
        preprocess_logits_for_metrics: Callable[[Any, Any], Any] | None = None,
        tokenizer: Any = None,
    ) -> None:
        self.args = args or TrainingArguments()
        join(self.args)
        set_seed(self.args.seed)
        if self.args.full_determinism:
            torch.use_deterministic_algorithms(True)
        if model is None and model_init is None:
            raise TrainingError("A Trainer needs a model, or a model_init that makes one.")
        self.model_init = model_init
        self.processing_class = processing_class or tokenizer
        self.train_dataset, self.eval_dataset = train_dataset, eval_dataset
        self.compute_loss_func, self.compute_metrics = compute_loss_func, compute_metrics
        self.preprocess_logits_for_metrics = preprocess_logits_for_metrics
        self.optimizer, self.lr_scheduler = optimizers
        self.optimizer_cls_and_kwargs = optimizer_cls_and_kwargs
        self._given_scheduler = self.lr_scheduler is not None
        self._take(model if model is not None else model_init())  # type: ignore[misc]
        padded = hasattr(self.processing_class, "pad")
        self.data_collator = data_collator or (
            DataCollatorWithPadding(self.processing_class) if padded else default_data_collator
        )
        self.callback_handler = CallbackHandler([*usual_callbacks(self.args), *(callbacks or [])])
        self.callback_handler_extra: dict[str, Any] = {}
        self.state, self.control = self._new_state(), TrainerControl()
        self._loss_takes_count = evaluation.accepts(self.compute_loss, "num_items_in_batch")
        self.tell("on_init_end")

    def _take(self, model: Any) -> None:
        """Put the model on its device, and see what it takes."""
        if next(model.parameters()).device.type == "cpu" and not self.args.use_cpu:
            device = usable_device(None)
            model = model.to(torch.device("cuda", local_rank()) if device.type == "cuda" else device)
        self._sharded = None
        self.model: Any = model
        self.model_wrapped: Any = model
        base = model.get_base_model() if hasattr(model, "get_base_model") else model
        self._base = base
        names = base.forward_names() if hasattr(base, "forward_names") else inspect.signature(base.forward).parameters
        self._takes = set(names)
        usual = [name for name in ("labels", "start_positions", "end_positions") if name in self._takes]
        self.label_names = self.args.label_names or usual or ["labels"]
        self.model_accepts_loss_kwargs = getattr(base, "accepts_loss_kwargs", "num_items_in_batch" in self._takes)
        writes = hasattr(base, "can_generate") and base.can_generate()
        # a causal loss predicts the next token, so a row's first label is no target
        self._shifts = bool(writes and not base.config.is_encoder_decoder)

    # ------------------------------------------------------------------ what may be overridden

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """The one that was given, or the one `optim` names; biases and norms do not decay."""
        if self.optimizer is None and self.optimizer_cls_and_kwargs is not None:
            kind, settings = self.optimizer_cls_and_kwargs
            self.optimizer = kind([p for p in self.model.parameters() if p.requires_grad], **settings)
        elif self.optimizer is None:
            self.optimizer = make_optimizer(self.model, self.args)
        return self.optimizer

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """The one that was given, or the one `lr_scheduler_type` names."""
        if self.lr_scheduler is None:
            args, warm = self.args, self.args.get_warmup_steps(num_training_steps)
            optimizer = optimizer or self.optimizer
            self.lr_scheduler = get_scheduler(
                args.lr_scheduler_type, optimizer, warm, num_training_steps, args.lr_scheduler_kwargs
            )  # type: ignore[arg-type]
        return self.lr_scheduler

    def create_optimizer_and_scheduler(self, num_training_steps: int) -> None:
        """Both."""
        self.create_optimizer()
        self.create_scheduler(num_training_steps)

    def get_train_dataloader(self) -> DataLoader:
        """The first epoch's batches."""
        return self._epoch_loader(loaders.packed(self.args, self.train_dataset, self._shifts), 0, None, 0)[0]

    # ------------------------------------------------------------------ the loop

    def train(self, resume_from_checkpoint: bool | str | Path | None = None, **kwargs: Any) -> TrainOutput:
        """Train to the end, from the start or a checkpoint (True: the newest in output_dir). Raises TrainingError."""
        args, dataset = self.args, loaders.packed(self.args, self.train_dataset, self._shifts)
        plan = loaders.plan(args, dataset)
        self._begin(plan)
        state = self.state
        self._loss_sum, self._loss_since, self._last_logged = 0.0, 0.0, 0
        begun_at, order, skip = self._resume(resume_from_checkpoint or args.resume_from_checkpoint)
        noise = Noise(self.model.get_input_embeddings(), args.neftune_noise_alpha) if args.neftune_noise_alpha else None
        begin, first_step = time.time(), state.global_step
        try:
            with self._without_cache():
                self.tell("on_train_begin")
                if args.eval_on_start:
                    self.evaluate()
                for epoch in range(begun_at, plan.epochs):
                    if state.global_step >= plan.max_steps:
                        break
                    self._epoch(plan, dataset, epoch, order, skip)
                    order, skip = None, 0
                    if self.control.should_training_stop:
                        break
        finally:
            if noise is not None:
                noise.remove()
        self.model.eval()
        steps, seconds = state.global_step - first_step, max(1e-9, time.time() - begin)
        loss = (self._loss_sum + self._loss_since) / max(1, steps)
        rows = steps * args.per_device_train_batch_size * args.gradient_accumulation_steps * world()[1]
        metrics = {
            "train_runtime": round(seconds, 4),
            "train_samples_per_second": round(rows / seconds, 3),
            "train_steps_per_second": round(steps / seconds, 3),
            "train_loss": loss,
        }
        self.log(metrics)
        if args.load_best_model_at_end and state.best_model_checkpoint is not None:
            self._read_model(Path(state.best_model_checkpoint))
        self.tell("on_train_end")
        return TrainOutput(state.global_step, loss, metrics)

    def _begin(self, plan: loaders.Plan) -> None:
        """Model, optimiser, schedule and state at the first step."""
        args = self.args
        if self.model_init is not None:
            set_seed(args.seed)
            self._take(self.model_init())
            self.optimizer = self.lr_scheduler = None
        elif not self._given_scheduler:
            self.lr_scheduler = None
        self.state = self._new_state()
        self.state.max_steps, self.state.num_train_epochs = plan.max_steps, plan.epochs
        self.state.compute_steps(args, plan.max_steps)
        if args.gradient_checkpointing:
            self.model.gradient_checkpointing_enable()
        if spread(args):
            from core.trainer import sharding

            sharding.check(args)
            self._sharded = self._sharded or sharding.Sharded(self.model)
        self.model_wrapped = wrapped(self.model, args)
        self.create_optimizer_and_scheduler(plan.max_steps)
        self.scaler = torch.amp.GradScaler(next(self.model.parameters()).device.type, enabled=args.fp16)
        self._trained = [p for p in self.model.parameters() if p.requires_grad]

    def _epoch_loader(self, dataset: Any, epoch: int, order: list[int] | None, skip: int) -> tuple[DataLoader, Iterator[float]]:
        if hasattr(dataset, "set_epoch"):
            dataset.set_epoch(epoch)
        if has_length(dataset):
            order = loaders.epoch_order(self.args, dataset, epoch) if order is None else order
        self._order = order
        collate: Any = PackedCollator() if self.args.packing else self.data_collator
        return loaders.train_loader(self.args, dataset, self._keeping(collate), order, skip)

    def _epoch(self, plan: loaders.Plan, dataset: Any, epoch: int, order: list[int] | None, skip: int) -> None:
        """One pass over the rows, from the batch after `skip` on."""
        args, state = self.args, self.state
        loader, weights = self._epoch_loader(dataset, epoch, order, skip)
        self._position = (epoch, skip)
        self.callback_handler_extra["train_dataloader"] = loader
        self.tell("on_epoch_begin")
        batches, each = loaders.told(loader), args.gradient_accumulation_steps
        of = plan.batches or plan.max_steps * each
        metrics: dict[str, float] = {}
        while inputs := [(batch, weight) for _, batch, weight in zip(range(each), batches, weights, strict=False)]:
            self.tell("on_step_begin")
            metrics = self._step([batch for batch, _ in inputs], [weight for _, weight in inputs])
            state.global_step += 1
            self._position = (epoch, self._position[1] + len(inputs))
            state.epoch = metrics["epoch"] = epoch + self._position[1] / of
            self._loss_since += metrics["loss"]
            self.tell("on_step_end", metrics=metrics)
            self.control = TrainerControl(**agreed(asdict(self.control)))  # what one process is asked for, all do
            self._answer(metrics)
            if self.control.should_epoch_stop or self.control.should_training_stop:
                break
        if not metrics and not skip:
            raise TrainingError(f"Epoch {epoch + 1} has no rows: the data set that yields them is used up.")
        self.tell("on_epoch_end")
        self._answer(metrics)

    def _answer(self, metrics: dict[str, float]) -> None:
        """Log, evaluate and save where a callback asked for it."""
        control, state = self.control, self.state
        if control.should_log and state.global_step > self._last_logged:
            mean = self._loss_since / (state.global_step - self._last_logged)
            self._loss_sum, self._loss_since, self._last_logged = self._loss_sum + self._loss_since, 0.0, state.global_step
            self.log({"loss": mean, "grad_norm": metrics["grad_norm"], "learning_rate": metrics["learning_rate"]})
        if control.should_evaluate:
            found = self.evaluate()
            better = self._is_best(found)
            if self.args.save_strategy == "best":
                self.control.should_save = better
        if self.control.should_save:
            self.save_checkpoint()

    def _is_best(self, metrics: dict[str, float]) -> bool:
        if self.args.metric_for_best_model is None:
            return False
        value, best = metrics.get(metric_name(self.args)), self.state.best_metric
        if value is None:
            raise TrainingError(
                f"metric_for_best_model is '{self.args.metric_for_best_model}', the evaluation gave {', '.join(sorted(metrics))}."
            )
        better = best is None or (value > best if self.args.greater_is_better else value < best)
        if better:
            self.state.best_metric, self.state.best_global_step = value, self.state.global_step
        return better

    def _new_state(self) -> TrainerState:
        rows, first = self.args.per_device_train_batch_size, self.is_world_process_zero()
        return TrainerState(train_batch_size=rows, is_world_process_zero=first, is_local_process_zero=local_rank() == 0)


def set_seed(seed: int) -> None:
    """For Python, NumPy and PyTorch alike."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
