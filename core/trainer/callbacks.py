"""Callbacks with the reference's events, and those that every training has: when to log, evaluate and save, and the progress bar."""

import logging
import sys
from dataclasses import dataclass, field, fields
from typing import Any

from core.errors import TrainingError

logger = logging.getLogger(__name__)
EVENTS = (
    "on_init_end on_train_begin on_train_end on_epoch_begin on_epoch_end on_step_begin on_pre_optimizer_step on_optimizer_step "
    "on_substep_end on_step_end on_evaluate on_predict on_save on_log on_prediction_step"
).split()


@dataclass
class TrainerState:
    """Where a training is; what a checkpoint's trainer_state.json holds. A step is one of the optimiser's."""

    epoch: float = 0.0
    global_step: int = 0
    max_steps: int = 0
    logging_steps: float = 500
    eval_steps: float = 500
    save_steps: float = 500
    train_batch_size: int | None = None
    num_train_epochs: int = 0
    num_input_tokens_seen: int = 0
    log_history: list[dict[str, Any]] = field(default_factory=list)
    best_metric: float | None = None
    best_global_step: int | None = None
    best_model_checkpoint: str | None = None
    is_local_process_zero: bool = True
    is_world_process_zero: bool = True
    stateful_callbacks: dict[str, Any] = field(default_factory=dict)

    def compute_steps(self, args: Any, max_steps: int) -> None:
        """Shares of all steps as steps."""
        for name in ("logging_steps", "eval_steps", "save_steps"):
            if steps := getattr(args, name):
                setattr(self, name, -int(-max_steps * steps // 1) if steps < 1 else int(steps))

    def take(self, saved: dict[str, Any]) -> None:
        """What a checkpoint's state says."""
        for name in {f.name for f in fields(self)} & saved.keys():
            setattr(self, name, saved[name])


@dataclass
class TrainerControl:
    """What a callback may ask for."""

    should_training_stop: bool = False
    should_epoch_stop: bool = False
    should_save: bool = False
    should_evaluate: bool = False
    should_log: bool = False


class TrainerCallback:
    """A subclass overrides the events it wants; each is called with (args, state, control, **what there is): model,
    processing_class, optimizer, lr_scheduler, the dataloaders. One that has `state_dict` and `load_state_dict` is kept in checkpoints."""

    def on_init_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> Any:
        """The trainer is made."""

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> Any:
        """Before the first step."""

    def on_train_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> Any:
        """After the last."""

    def on_epoch_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> Any:
        """Before an epoch's first step."""

    def on_epoch_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> Any:
        """After its last."""

    def on_step_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> Any:
        """Before a step."""

    def on_pre_optimizer_step(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> Any:
        """Gradients are there and clipped."""

    def on_optimizer_step(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> Any:
        """The optimiser has stepped; gradients are still there."""

    def on_substep_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> Any:
        """After a batch that does not end a step."""

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> Any:
        """After a step; `metrics` are its numbers."""

    def on_evaluate(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> Any:
        """After an evaluation; `metrics` are its numbers."""

    def on_predict(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> Any:
        """After a prediction; `metrics` are its numbers."""

    def on_save(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> Any:
        """After a checkpoint; `folder` is its place."""

    def on_log(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> Any:
        """After a log line; `logs` is it."""

    def on_prediction_step(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> Any:
        """After a batch of an evaluation."""


class FlowCallback(TrainerCallback):
    """Logs, evaluates, saves and ends where the arguments say so."""

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """By steps."""
        step, last = state.global_step, state.global_step >= state.max_steps

        def due(strategy: str, steps: float) -> bool:
            return strategy == "steps" and step % steps == 0

        control.should_log |= due(args.logging_strategy, state.logging_steps) or (step == 1 and args.logging_first_step)
        if args.eval_strategy == "steps" and args.eval_delay <= step:
            control.should_evaluate |= last or due("steps", state.eval_steps)
        control.should_save |= due(args.save_strategy, state.save_steps) or (last and args.save_strategy == "steps")
        control.should_training_stop |= last

    def on_epoch_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """By epochs."""
        control.should_log |= args.logging_strategy == "epoch"
        control.should_evaluate |= args.eval_strategy == "epoch" and args.eval_delay <= state.epoch
        control.should_save |= args.save_strategy == "epoch"


class EarlyStoppingCallback(TrainerCallback):
    """Ends the training when `metric_for_best_model` has not become better, by more than the threshold, in so many evaluations."""

    def __init__(self, early_stopping_patience: int = 1, early_stopping_threshold: float = 0.0) -> None:
        self.patience, self.threshold, self.waited = early_stopping_patience, early_stopping_threshold, 0

    def state_dict(self) -> dict[str, Any]:
        """How long it has waited."""
        return {"waited": self.waited}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on waiting."""
        self.waited = state["waited"]

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Raises TrainingError where there would be nothing to judge by."""
        if args.metric_for_best_model is None or args.eval_strategy == "no":
            raise TrainingError("Early stopping needs metric_for_best_model and an eval_strategy.")

    def on_evaluate(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Compare with the best so far."""
        value = kwargs["metrics"].get(metric_name(args))
        if value is None:
            return
        best = state.best_metric
        better = best is None or (value > best if args.greater_is_better else value < best)
        self.waited = 0 if better and (best is None or abs(value - best) > self.threshold) else self.waited + 1
        control.should_training_stop |= self.waited >= self.patience


class ProgressCallback(TrainerCallback):
    """A bar over the steps, and one over an evaluation's batches."""

    def __init__(self) -> None:
        self.bar: Any = None
        self.evaluation: Any = None

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Begin."""
        from tqdm.auto import tqdm

        self.bar = tqdm(total=state.max_steps, initial=state.global_step, dynamic_ncols=True, unit="step")

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """One further."""
        if self.bar is not None:
            self.bar.update(state.global_step - self.bar.n)
            self.bar.set_postfix_str(f"loss {kwargs['metrics']['loss']:.4f}", refresh=False)

    def on_prediction_step(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """One batch further."""
        from tqdm.auto import tqdm

        if self.evaluation is None:
            loader = kwargs.get("eval_dataloader")
            total = len(loader) if loader is not None and hasattr(loader, "__len__") else None
            self.evaluation = tqdm(total=total, leave=self.bar is None, dynamic_ncols=True, unit="batch", desc="evaluation")
        self.evaluation.update(1)

    def on_evaluate(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Done."""
        if self.evaluation is not None:
            self.evaluation.close()
        self.evaluation = None

    on_predict = on_evaluate

    def on_log(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """The line, above the bar."""
        if self.bar is not None:
            self.bar.write(str({k: float(f"{v:.4g}") if isinstance(v, float) else v for k, v in kwargs["logs"].items()}))

    def on_train_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Done."""
        if self.bar is not None:
            self.bar.close()
        self.bar = None


class CallbackHandler:
    """Tells every callback each event. A callback that returns a control replaces the one before."""

    def __init__(self, callbacks: list[Any]) -> None:
        self.callbacks: list[TrainerCallback] = []
        for callback in callbacks:
            self.add(callback)

    def add(self, callback: Any) -> None:
        """An object, or a class to make one of."""
        self.callbacks.append(callback() if isinstance(callback, type) else callback)

    def pop(self, callback: Any) -> TrainerCallback | None:
        """Take out an object, or the first of a class."""
        fits = (lambda own: isinstance(own, callback)) if isinstance(callback, type) else (lambda own: own is callback)
        found = next((own for own in self.callbacks if fits(own)), None)
        if found is not None:
            self.callbacks.remove(found)
        return found

    def tell(self, event: str, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> TrainerControl:
        """One event to all; wishes that it answers are cleared before."""
        for wish in CLEARED.get(event, ()):
            setattr(control, wish, False)
        for callback in self.callbacks:
            answer = getattr(callback, event)(args, state, control, **kwargs)
            control = control if answer is None else answer
        return control

    def states(self) -> dict[str, Any]:
        """Of the callbacks that have one, by class."""
        return {type(own).__name__: own.state_dict() for own in self.callbacks if hasattr(own, "state_dict")}  # type: ignore[attr-defined]

    def take(self, states: dict[str, Any]) -> None:
        """What `states` gave."""
        for own in self.callbacks:
            if hasattr(own, "load_state_dict") and type(own).__name__ in states:
                own.load_state_dict(states[type(own).__name__])  # type: ignore[attr-defined]


CLEARED = {
    "on_train_begin": ("should_training_stop",),
    "on_epoch_begin": ("should_epoch_stop",),
    "on_step_begin": ("should_save", "should_evaluate", "should_log"),
    "on_evaluate": ("should_evaluate",),
    "on_save": ("should_save",),
    "on_log": ("should_log",),
}


def metric_name(args: Any) -> str:
    """`metric_for_best_model` as an evaluation names it."""
    name = args.metric_for_best_model or "loss"
    return name if name.startswith("eval_") else f"eval_{name}"


def usual_callbacks(args: Any) -> list[TrainerCallback]:
    """When to log, evaluate and save; the bar where there is a terminal and nobody said no; where figures go."""
    bar = sys.stderr.isatty() if args.disable_tqdm is None else not args.disable_tqdm
    from core.trainer.reporting import reporters

    return [FlowCallback(), *([ProgressCallback()] if bar else []), *reporters(args)]
