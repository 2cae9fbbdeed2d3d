"""What the parts of a Trainer share."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch

from core.trainer import loaders
from core.trainer.arguments import TrainingArguments
from core.trainer.callbacks import CallbackHandler, TrainerControl, TrainerState
from core.trainer.distributed import world


class Shared:
    """Its model, arguments and state, and the small things that every part does with them."""

    args: TrainingArguments
    model: Any
    model_wrapped: Any
    processing_class: Any
    train_dataset: Any
    eval_dataset: Any
    data_collator: Any
    optimizer: Any
    lr_scheduler: Any
    scaler: Any
    state: TrainerState
    control: TrainerControl
    callback_handler: CallbackHandler
    callback_handler_extra: dict[str, Any]
    compute_loss_func: Callable[..., torch.Tensor] | None
    compute_metrics: Callable[[Any], dict[str, float]] | None
    preprocess_logits_for_metrics: Callable[[Any, Any], Any] | None
    label_names: list[str]
    model_accepts_loss_kwargs: bool
    _base: Any
    _sharded: Any  # core.trainer.sharding.Sharded, where the processes share the weights out among them
    _takes: set[str]
    _shifts: bool
    _loss_takes_count: bool

    @property
    def _base_encoder_decoder(self) -> bool:
        return bool(getattr(getattr(self._base, "config", None), "is_encoder_decoder", False))

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
