"""TrainingArguments: each argument's name, default, range, choices and one line of help, declared once.

Python, YAML, the command line and the Train panel all read them here.
"""

import json
import types
import typing
from dataclasses import Field, dataclass, field, fields
from typing import Any

from core.errors import TrainingError
from core.trainer.optimizers import OPTIMIZERS
from core.trainer.schedules import SCHEDULES

STEPS = (0, 1_000_000_000)
SHARE = (0, 1)
WHEN = ("no", "steps", "epoch")


def _knob(default: Any, help: str, bounds: tuple[float, float] | None = None, choices: Any = None) -> Any:
    low, high = bounds or (None, None)
    settings: dict[str, Any] = {"metadata": {"help": help, "min": low, "max": high, "choices": choices and tuple(choices)}}
    return field(default_factory=default, **settings) if default is list else field(default=default, **settings)


def _old(new: str) -> Any:
    """An earlier name of an argument: read, never written."""
    return field(default=None, repr=False, metadata={"renamed": new})


@dataclass
class TrainingArguments:
    """How to train; names, defaults and meanings of the reference. Steps below 1 are a share of all steps.

    Raises TrainingError for a value that is no value of its argument, and for two that contradict each other.
    """

    output_dir: str = _knob("trainer_output", "Where checkpoints are written.")
    per_device_train_batch_size: int = _knob(8, "Rows in a batch.", (1, 65536))
    per_device_eval_batch_size: int = _knob(8, "Rows in a batch of an evaluation.", (1, 65536))
    gradient_accumulation_steps: int = _knob(1, "Batches whose gradients make one step.", (1, 65536))
    num_train_epochs: float = _knob(3.0, "How often all rows are seen.", (0, 1_000_000))
    max_steps: int = _knob(-1, "Steps in all; above 0 it overrides num_train_epochs.", (-1, STEPS[1]))
    learning_rate: float = _knob(5e-5, "Size of a step at its highest.", (0, 1000))
    weight_decay: float = _knob(0.0, "Pull of weights towards zero; biases and norms are spared.", (0, 100))
    adam_beta1: float = _knob(0.9, "Memory of AdamW's mean gradient.", SHARE)
    adam_beta2: float = _knob(0.999, "Memory of AdamW's mean squared gradient.", SHARE)
    adam_epsilon: float = _knob(1e-8, "Keeps AdamW's division finite.", SHARE)
    max_grad_norm: float = _knob(1.0, "Longer gradients are shortened to this; 0 for none.", (0, 1e9))
    lr_scheduler_type: str = _knob("linear", "How the learning rate goes after the warm-up.", choices=SCHEDULES)
    lr_scheduler_kwargs: Any = _knob(None, "Further settings of the schedule, such as num_cycles.")
    warmup_steps: float = _knob(0, "Steps in which the learning rate rises; below 1 a share of all.", STEPS)
    warmup_ratio: float = _knob(0.0, "The same as a share of all steps.", SHARE)
    optim: str = _knob("adamw_torch_fused", "What turns gradients into steps.", choices=OPTIMIZERS)
    optim_args: str | None = _knob(None, "Further settings of the optimiser: name=value, …")
    label_smoothing_factor: float = _knob(0.0, "Share of each target spread over all classes.", SHARE)
    neftune_noise_alpha: float | None = _knob(None, "Noise on the embeddings while training (NEFTune); 5 is usual.", (0, 1000))
    seed: int = _knob(42, "For weights, dropout and order.", (0, 2**32 - 1))
    data_seed: int | None = _knob(None, "For the order of the rows alone.", (0, 2**32 - 1))
    bf16: bool = _knob(False, "Compute in bfloat16 over weights of full precision.")
    fp16: bool = _knob(False, "Compute in float16 with a scaled loss; on a GPU.")
    bf16_full_eval: bool = _knob(False, "Evaluate with weights in bfloat16.")
    gradient_checkpointing: bool = _knob(False, "Less memory for about a third more time.")
    gradient_checkpointing_kwargs: Any = _knob(None, "Accepted; the newer way is always used.")
    packing: bool = _knob(False, "Several short rows in one, which do not read each other; for causal models.")
    packing_length: int | None = _knob(None, "Tokens of a packed row; the longest row's where not said.", (2, 1_000_000))
    group_by_length: bool = _knob(False, "Rows of like length in one batch: less padding.")
    train_sampling_strategy: str = _knob("random", "Order of the rows.", choices=("random", "sequential", "group_by_length"))
    length_column_name: str = _knob("length", "Column with the rows' lengths, for group_by_length.")
    logging_strategy: str = _knob("steps", "When to log.", choices=WHEN)
    logging_steps: float = _knob(500, "Steps between log lines.", STEPS)
    logging_first_step: bool = _knob(False, "Log the first step too.")
    eval_strategy: str = _knob("no", "When to evaluate.", choices=WHEN)
    eval_steps: float | None = _knob(None, "Steps between evaluations; logging_steps where not said.", STEPS)
    eval_delay: float = _knob(0, "Steps or epochs before the first evaluation.", STEPS)
    eval_on_start: bool = _knob(False, "Evaluate before the first step.")
    eval_accumulation_steps: int | None = _knob(None, "Accepted: predictions are moved off the device after each batch.", STEPS)
    prediction_loss_only: bool = _knob(False, "Evaluations keep no predictions.")
    include_for_metrics: list[str] = _knob(list, "What compute_metrics gets besides: inputs, loss.")
    save_strategy: str = _knob("steps", "When to save.", choices=(*WHEN, "best"))
    save_steps: float = _knob(500, "Steps between checkpoints.", STEPS)
    save_total_limit: int | None = _knob(None, "How many checkpoints to keep; the best is never removed.", (1, 1_000_000))
    save_only_model: bool = _knob(False, "Checkpoints hold weights alone and cannot be resumed.")
    load_best_model_at_end: bool = _knob(False, "End with the weights of the best evaluation.")
    metric_for_best_model: str | None = _knob(None, "Which figure of an evaluation says what is best; loss where not said.")
    greater_is_better: bool | None = _knob(None, "Whether more of it is better; follows from its name where not said.")
    resume_from_checkpoint: str | None = _knob(None, "A checkpoint's folder to go on from.")
    ignore_data_skip: bool = _knob(False, "A resumed run begins its epoch anew instead of going on within it.")
    dataloader_drop_last: bool = _knob(False, "Leave out the last, smaller batch.")
    dataloader_num_workers: int = _knob(0, "Processes that prepare batches; 0 for none beside this one.", (0, 256))
    dataloader_pin_memory: bool = _knob(True, "Batches in memory that a GPU copies faster.")
    dataloader_persistent_workers: bool = _knob(False, "Keep these processes between epochs.")
    dataloader_prefetch_factor: int | None = _knob(None, "Batches each of them prepares ahead.", (1, 1024))
    remove_unused_columns: bool = _knob(True, "Leave out columns the model does not take.")
    label_names: list[str] | None = _knob(None, "Columns that are targets; labels where not said.")
    average_tokens_across_devices: bool = _knob(True, "Count the targets of all processes for the loss.")
    ddp_backend: str | None = _knob(None, "How processes talk: gloo or nccl.", choices=("gloo", "nccl"))
    ddp_timeout: int = _knob(1800, "Seconds until a silent process counts as dead.", (1, 1_000_000))
    ddp_find_unused_parameters: bool | None = _knob(None, "Look for parameters without gradient in each step.")
    fsdp: str | None = _knob(None, "full_shard: weights, gradients and optimiser spread over the processes.")
    use_cpu: bool = _knob(False, "Stay on the CPU where there is a GPU.")
    full_determinism: bool = _knob(False, "Only algorithms that give the same numbers each time.")
    disable_tqdm: bool | None = _knob(None, "No progress bar; where not said, a bar in a terminal alone.")
    report_to: str | list[str] | None = _knob("none", "Where figures go besides: none, store (the Runs tab), tensorboard.")
    run_name: str | None = _knob(None, "The run's name there; output_dir's where not said.")
    do_train: bool = _knob(False, "Accepted, for scripts of yours.")
    do_eval: bool = _knob(False, "Accepted, for scripts of yours.")
    do_predict: bool = _knob(False, "Accepted, for scripts of yours.")

    evaluation_strategy: str | None = _old("eval_strategy")
    no_cuda: bool | None = _old("use_cpu")
    per_gpu_train_batch_size: int | None = _old("per_device_train_batch_size")
    per_gpu_eval_batch_size: int | None = _old("per_device_eval_batch_size")
    activation_checkpointing: bool | None = _old("gradient_checkpointing")

    def __post_init__(self) -> None:
        for old in fields(self):
            if (new := old.metadata.get("renamed")) and getattr(self, old.name) is not None:
                setattr(self, new, getattr(self, old.name))
        hints = typing.get_type_hints(type(self))
        for name, declared in self.knobs().items():
            setattr(self, name, checked(name, getattr(self, name), hints[name], declared.metadata))
        self._derive()
        self._agree()

    def _derive(self) -> None:
        """What follows from other arguments."""
        if self.group_by_length:
            self.train_sampling_strategy = "group_by_length"
        if self.eval_strategy != "no":
            self.do_eval = True
        if self.eval_strategy == "steps" and not self.eval_steps:
            self.eval_steps = self.logging_steps
        for name in ("lr_scheduler_kwargs", "gradient_checkpointing_kwargs"):
            if isinstance(text := getattr(self, name), str):
                try:
                    setattr(self, name, json.loads(text))
                except ValueError:
                    raise TrainingError(f"{name} must be a JSON object, not {text!r}.") from None
        if self.load_best_model_at_end and self.metric_for_best_model is None:
            self.metric_for_best_model = "loss"
        if self.greater_is_better is None and self.metric_for_best_model is not None:
            self.greater_is_better = not self.metric_for_best_model.endswith("loss")
        named = [self.report_to] if isinstance(self.report_to, str) else list(self.report_to or [])
        self.report_to = [name for name in named if name != "none"]

    def _agree(self) -> None:
        """Raises TrainingError where two arguments contradict each other."""
        if self.fp16 and self.bf16:
            raise TrainingError("Only one of fp16 and bf16 can be chosen.")
        for name in ("logging", "save", "eval"):
            steps = getattr(self, f"{name}_steps")
            if getattr(self, f"{name}_strategy") == "steps" and (not steps or (steps > 1 and steps != int(steps))):
                raise TrainingError(f"{name}_steps must be a whole number of steps or a share below 1, not {steps}.")
        if self.load_best_model_at_end and self.save_strategy != "best":
            if self.eval_strategy != self.save_strategy:
                raise TrainingError(
                    f"load_best_model_at_end wants evaluations where it saves: eval_strategy is {self.eval_strategy}, save_strategy {self.save_strategy}."
                )
            if self.eval_strategy == "steps" and self.save_steps >= 1 and self.save_steps % (self.eval_steps or 1):
                raise TrainingError(f"save_steps {self.save_steps} must be a multiple of eval_steps {self.eval_steps}.")
        if self.dataloader_prefetch_factor is not None and not self.dataloader_num_workers:
            raise TrainingError("dataloader_prefetch_factor needs dataloader_num_workers above 0.")

    @classmethod
    def knobs(cls) -> dict[str, Field]:
        """The declared arguments by name."""
        return {f.name: f for f in fields(cls) if "renamed" not in f.metadata}

    @classmethod
    def names(cls) -> set[str]:
        """The names that are understood, earlier ones too."""
        return {f.name for f in fields(cls)}

    def to_dict(self) -> dict[str, Any]:
        """All of them."""
        return {name: getattr(self, name) for name in self.knobs()}

    def get_warmup_steps(self, steps: int) -> int:
        """Of this many steps."""
        warm = self.warmup_steps or self.warmup_ratio
        return int(warm) if warm >= 1 else -int(-steps * warm // 1)


def checked(name: str, value: Any, hint: Any, metadata: Any) -> Any:
    """The value as its argument's type, within its range and choices. Raises TrainingError otherwise."""
    kinds = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if value is None and type(None) in kinds:
        return None
    value = getattr(value, "value", value)  # an enumeration's member counts as its name
    kind = next((k for k in (bool, int, float) if k in kinds), None)
    if kind is bool:
        value = {"true": True, "false": False}.get(str(value).lower(), value)
        if not isinstance(value, bool):
            raise TrainingError(f"{name} must be true or false, not {value!r}.")
    elif kind is not None:
        try:
            number = float(value)
        except (TypeError, ValueError):
            raise TrainingError(f"{name} must be a number, not {value!r}.") from None
        if kind is int and number != int(number):
            raise TrainingError(f"{name} must be a whole number, not {value}.")
        value = int(number) if kind is int or (number == int(number) and not isinstance(value, float)) else number
    elif value is False and "no" in (metadata["choices"] or ()):
        value = "no"  # as YAML reads it
    elif kinds == (str,) and not isinstance(value, str):
        value = str(value)
    low, high, choices = metadata["min"], metadata["max"], metadata["choices"]
    if low is not None and not low <= value <= high:
        raise TrainingError(f"{name} must be between {low} and {high}, not {value}.")
    if choices and value not in choices:
        raise TrainingError(f"{name} must be one of {', '.join(choices)}, not {value!r}.")
    return value
