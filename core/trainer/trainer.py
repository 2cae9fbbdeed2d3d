"""The training loop."""

import contextlib
import inspect
import logging
import math
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
from core.trainer import checkpoints, evaluation, loaders
from core.trainer.arguments import TrainingArguments
from core.trainer.callbacks import CallbackHandler, TrainerControl, TrainerState, metric_name, usual_callbacks
from core.trainer.collators import DataCollatorWithPadding, default_data_collator
from core.trainer.distributed import join, local_rank, total, wait, world
from core.trainer.failures import as_sentence
from core.trainer.optimizers import make_optimizer
from core.trainer.packing import PackedCollator
from core.trainer.sampling import has_length
from core.trainer.schedules import get_scheduler
from core.trainer.smoothing import Noise, smoothed_loss
from core.trainer.wrapping import wrapped

logger = logging.getLogger(__name__)


@dataclass
class TrainOutput:
    """What `train` returns."""

    global_step: int
    training_loss: float
    metrics: dict[str, float]

    def __iter__(self) -> Iterator[Any]:
        return iter((self.global_step, self.training_loss, self.metrics))


class Trainer:
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

    def get_eval_dataloader(self, eval_dataset: Any = None) -> DataLoader:
        """Batches in the order of the rows."""
        dataset = self.eval_dataset if eval_dataset is None else eval_dataset
        if dataset is None or (has_length(dataset) and not len(dataset)):
            raise TrainingError("There are no rows to evaluate on.")
        return loaders.eval_loader(self.args, dataset, self._keeping(self.data_collator))

    def get_test_dataloader(self, test_dataset: Any) -> DataLoader:
        """As for an evaluation."""
        return self.get_eval_dataloader(test_dataset)

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

    @property
    def _base_encoder_decoder(self) -> bool:
        return bool(getattr(getattr(self._base, "config", None), "is_encoder_decoder", False))

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
            checkpoints.load_weights(self.model, Path(state.best_model_checkpoint))
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
        batches, each = iter(loader), args.gradient_accumulation_steps
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
            self._answer(metrics)
            if self.control.should_epoch_stop or self.control.should_training_stop:
                break
        if not metrics and not skip:
            raise TrainingError(f"Epoch {epoch + 1} has no rows: the data set that yields them is used up.")
        self.tell("on_epoch_end")
        self._answer(metrics)

    def _step(self, batches: list[dict[str, Any]], weights: list[float]) -> dict[str, float]:
        """One step of the optimiser over one or more batches. Raises TrainingError for what can go wrong in it."""
        begin, step, args = time.perf_counter(), self.state.global_step + 1, self.args
        count, self._batches_in_step = self._count(batches, weights), len(batches)
        loss = torch.zeros((), device=next(self.model.parameters()).device)
        tokens = sum(_tokens(inputs) for inputs in batches)
        for number, (inputs, self._weight) in enumerate(zip(batches, weights, strict=True), 1):
            last = number == len(batches)
            waiting = hasattr(self.model_wrapped, "no_sync") and not last
            try:
                with self.model_wrapped.no_sync() if waiting else contextlib.nullcontext():
                    loss += self.training_step(self.model_wrapped, inputs, count)
            except Exception as error:
                if (known := as_sentence(error, step, inputs, self._base)) is not None:
                    raise known from error
                raise
            if not last:
                self.tell("on_substep_end")
        found = float(total(loss)) / world()[1]
        if not math.isfinite(found):
            self._keep_before_failure()
            raise TrainingError(
                f"The loss is {found} at step {step}: lower the learning rate, or look for broken values in the rows of that step. "
                f"The state after step {step - 1} is kept in {args.output_dir}."
            )
        self.scaler.unscale_(self.optimizer)  # type: ignore[arg-type]
        norm = float(torch.nn.utils.clip_grad_norm_(self._trained, args.max_grad_norm or math.inf))
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

    @property
    def _counts(self) -> bool:
        """Whether the loss is normalised by the number of targets."""
        own = self.compute_loss_func is not None or bool(self.args.label_smoothing_factor) or self.model_accepts_loss_kwargs
        return own and self._loss_takes_count

    def _count(self, batches: list[dict[str, Any]], weights: list[float]) -> torch.Tensor | None:
        """Targets in a step's batches, in all processes."""
        if not self._counts or not all(torch.is_tensor(inputs.get("labels")) for inputs in batches):
            return None
        first, counted = int(self._shifts), zip(batches, weights, strict=True)
        targets = sum(int((inputs["labels"][..., first:] != -100).sum()) for inputs, weight in counted if weight)
        count = torch.tensor(targets, device=next(self.model.parameters()).device)
        return total(count) if self.args.average_tokens_across_devices else count * world()[1]

    def _own_count(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """Targets of one batch of an evaluation, as compute_loss takes them."""
        if not self._counts or not torch.is_tensor(labels := inputs.get("labels")):
            return {}
        return {"num_items_in_batch": (labels[..., int(self._shifts) :] != -100).sum()}

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

    # ------------------------------------------------------------------ checkpoints

    def save_checkpoint(self) -> None:
        """All that the next step depends on, into output_dir/checkpoint-STEP. Raises TrainingError where it cannot be written."""
        args, state = self.args, self.state
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        if state.best_global_step is not None:
            best = folder.with_name(f"checkpoint-{state.best_global_step}")
            state.best_model_checkpoint = str(best) if best.is_dir() or best == folder else state.best_model_checkpoint
        state.stateful_callbacks = self.callback_handler.states()
        order = None if self._order is None else torch.tensor(self._order)
        place = {"position": self._position, "order": order, "loss_since": self._loss_since, "last_logged": self._last_logged}
        parts: dict[str, Any] = {}
        if not args.save_only_model:
            parts = {
                "optimizer.pt": self.optimizer.state_dict(),  # type: ignore[union-attr]
                "scheduler.pt": self.lr_scheduler.state_dict(),  # type: ignore[union-attr]
                **({"scaler.pt": self.scaler.state_dict()} if args.fp16 else {}),
                checkpoints.own_file(world()[0]): {**checkpoints.random_states(), **place},
            }
        documents = {"trainer_state.json": asdict(state), "training_args.json": args.to_dict()}
        checkpoints.save_checkpoint(folder, parts, documents, self._write_model)
        if self.is_world_process_zero():
            checkpoints.keep_newest(Path(args.output_dir), args.save_total_limit, state.best_model_checkpoint)
        wait()
        self.tell("on_save", folder=folder)

    def _keep_before_failure(self) -> None:
        """A checkpoint of the last good step, where none is there yet."""
        folder = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
        if self.args.save_strategy != "no" and self.state.global_step and not folder.is_dir():
            self.save_checkpoint()

    def _resume(self, source: bool | str | Path | None) -> tuple[int, list[int] | None, int]:
        """The epoch, its order and how many of its batches are done."""
        source = {"true": True, "false": False}.get(str(source).lower(), source)
        if not source:
            return 0, None, 0
        folder = checkpoints.last_checkpoint(Path(self.args.output_dir)) if source is True else Path(str(source))
        if folder is None or not folder.is_dir():
            raise TrainingError(f"There is no checkpoint to resume from in {self.args.output_dir if folder is None else folder}.")
        checkpoints.load_weights(self.model, folder)
        self.optimizer.load_state_dict(checkpoints.load_part(folder, "optimizer.pt"))  # type: ignore[union-attr]
        self.lr_scheduler.load_state_dict(checkpoints.load_part(folder, "scheduler.pt"))  # type: ignore[union-attr]
        if self.args.fp16:
            self.scaler.load_state_dict(checkpoints.load_part(folder, "scaler.pt"))
        ends = self.state.max_steps, self.state.num_train_epochs
        self.state.take(checkpoints.load_document(folder, "trainer_state.json"))
        self.state.max_steps, self.state.num_train_epochs = ends
        self.callback_handler.take(self.state.stateful_callbacks)
        states = checkpoints.load_part(folder, checkpoints.own_file(world()[0]))
        checkpoints.restore(states)
        (epoch, done), order = states["position"], states["order"]
        self._loss_since, self._last_logged = states["loss_since"], states["last_logged"]
        if self.args.ignore_data_skip:
            return epoch, None, 0
        return epoch, None if order is None else order.tolist(), done

    def save_model(self, output_dir: str | Path | None = None, _internal_call: bool = False) -> None:
        """Weights or adapter, and the tokenizer, into output_dir."""
        if self.is_world_process_zero():
            folder = Path(output_dir or self.args.output_dir)
            folder.mkdir(parents=True, exist_ok=True)
            self._write_model(folder)
        wait()

    def _write_model(self, folder: Path) -> None:
        if hasattr(self.model, "save_pretrained"):
            self.model.save_pretrained(folder)
        else:
            torch.save(self.model.state_dict(), folder / "pytorch_model.bin")
        if hasattr(self.processing_class, "save_pretrained"):
            self.processing_class.save_pretrained(folder)

    def save_state(self) -> None:
        """trainer_state.json into output_dir."""
        if self.is_world_process_zero():
            import json

            Path(self.args.output_dir).mkdir(parents=True, exist_ok=True)
            path = Path(self.args.output_dir) / "trainer_state.json"
            path.write_text(json.dumps(asdict(self.state), indent=1), encoding="utf-8")

    # ------------------------------------------------------------------ evaluation

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
        finally:
            self.model.train(training)

    # ------------------------------------------------------------------ small things

    def _new_state(self) -> TrainerState:
        rows, first = self.args.per_device_train_batch_size, self.is_world_process_zero()
        return TrainerState(train_batch_size=rows, is_world_process_zero=first, is_local_process_zero=local_rank() == 0)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """One line into the state's history and to the callbacks."""
        logs["epoch"] = self.state.epoch
        self.state.log_history.append({**logs, "step": self.state.global_step})
        self.tell("on_log", logs=logs)

    def tell(self, event: str, **kwargs: Any) -> None:
        """An event to the callbacks."""
        there = {
            "model": self.model,
            "processing_class": self.processing_class,
            "optimizer": self.optimizer,
            "lr_scheduler": self.lr_scheduler,
            **self.callback_handler_extra,
        }
        self.control = self.callback_handler.tell(event, self.args, self.state, self.control, **there, **kwargs)

    def add_callback(self, callback: Any) -> None:
        """One more, an object or a class."""
        self.callback_handler.add(callback)

    def pop_callback(self, callback: Any) -> Any:
        """Take one out, by object or class."""
        return self.callback_handler.pop(callback)

    remove_callback = pop_callback

    def is_world_process_zero(self) -> bool:
        """Whether this process writes the files."""
        return world()[0] == 0

    def _keeping(self, collate: Callable[[list[Any]], Any]) -> Callable[[list[Any]], Any]:
        if not self.args.remove_unused_columns:
            return collate
        columns = self._takes | {"label", "label_ids", "segment", *self.label_names, *getattr(collate, "columns", ())}
        return loaders.Keeping(collate, columns, type(self._base).__name__)

    def _prepare_inputs(self, inputs: Any) -> Any:
        """Tensors onto the model's device, nested ones too."""
        if isinstance(inputs, dict) or hasattr(inputs, "keys"):
            return {key: self._prepare_inputs(inputs[key]) for key in inputs}
        if isinstance(inputs, list | tuple):
            return type(inputs)(self._prepare_inputs(value) for value in inputs)
        return inputs.to(next(self.model.parameters()).device, non_blocking=True) if torch.is_tensor(inputs) else inputs

    def _autocast(self) -> Any:
        half = torch.bfloat16 if self.args.bf16 else torch.float16 if self.args.fp16 else None
        device = next(self.model.parameters()).device.type
        return contextlib.nullcontext() if half is None else torch.autocast(device, half)

    @contextlib.contextmanager
    def _without_cache(self) -> Iterator[None]:
        """Keys and values are not kept: nobody goes on from a training's batch."""
        config = getattr(self._base, "config", None)
        before = getattr(config, "use_cache", None)
        if before is not None:
            config.use_cache = False  # type: ignore[union-attr]
        try:
            yield
        finally:
            if before is not None:
                config.use_cache = before  # type: ignore[union-attr]


def set_seed(seed: int) -> None:
    """For Python, NumPy and PyTorch alike."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def _tokens(inputs: dict[str, Any]) -> int:
    """Of one batch, without padding; where it has none, its rows."""
    mask, ids = inputs.get("attention_mask"), inputs.get("input_ids")
    if torch.is_tensor(mask) and mask.dim() == 2:
        return int(mask.sum())
    if torch.is_tensor(ids):
        return ids.numel()
    return max((len(value) for value in inputs.values() if torch.is_tensor(value) and value.dim()), default=0)
