"""TrainingArguments: each argument's name, default, range and one line of help, declared once."""

from dataclasses import Field, dataclass, field, fields
from typing import Any

from core.errors import TrainingError


def _knob(default: Any, help: str, low: float | None = None, high: float | None = None) -> Any:
    return field(default=default, metadata={"help": help, "min": low, "max": high})


@dataclass
class TrainingArguments:
    """How to train; names and defaults of the reference."""

    output_dir: str = _knob("trainer_output", "Where checkpoints are written.")
    per_device_train_batch_size: int = _knob(8, "Rows in a batch.", 1, 1024)
    per_device_eval_batch_size: int = _knob(8, "Rows in a batch of an evaluation.", 1, 1024)
    gradient_accumulation_steps: int = _knob(1, "Batches whose gradients make one step.", 1, 1024)
    num_train_epochs: float = _knob(3.0, "How often all rows are seen.", 0.01, 1000)
    max_steps: int = _knob(-1, "Steps in all; above 0 it overrides num_train_epochs.", -1, 1_000_000)
    learning_rate: float = _knob(5e-5, "Size of a step at its highest.", 0, 1)
    weight_decay: float = _knob(0.0, "Pull of weights towards zero; biases and norms are spared.", 0, 1)
    adam_beta1: float = _knob(0.9, "Memory of AdamW's mean gradient.", 0, 1)
    adam_beta2: float = _knob(0.999, "Memory of AdamW's mean squared gradient.", 0, 1)
    adam_epsilon: float = _knob(1e-8, "Keeps AdamW's division finite.", 0, 1)
    max_grad_norm: float = _knob(1.0, "Longer gradients are shortened to this; 0 for none.", 0, 1000)
    lr_scheduler_type: str = _knob("linear", "How the learning rate goes: linear, cosine, constant, constant_with_warmup.")
    warmup_steps: int = _knob(0, "Steps in which the learning rate rises.", 0, 100_000)
    warmup_ratio: float = _knob(0.0, "The same as a share of all steps.", 0, 1)
    seed: int = _knob(42, "For weights, dropout and order.", 0, 2**31 - 1)
    data_seed: int | None = _knob(None, "For the order of the rows alone.", 0, 2**31 - 1)
    bf16: bool = _knob(False, "Compute in bfloat16.")
    gradient_checkpointing: bool = _knob(False, "Less memory for about a third more time.")
    eval_strategy: str = _knob("no", "When to evaluate: no, steps or epoch.")
    eval_steps: int | None = _knob(None, "Steps between evaluations.", 1, 1_000_000)
    save_strategy: str = _knob("steps", "When to save: no, steps or epoch.")
    save_steps: int = _knob(500, "Steps between checkpoints.", 1, 1_000_000)
    save_total_limit: int | None = _knob(None, "How many checkpoints to keep.", 1, 1000)
    logging_steps: int = _knob(500, "Steps between log lines.", 1, 1_000_000)
    dataloader_drop_last: bool = _knob(False, "Leave out the last, smaller batch.")
    remove_unused_columns: bool = _knob(True, "Leave out columns the model does not take.")
    disable_tqdm: bool = _knob(False, "No progress bar.")
    report_to: str = _knob("none", "Accepted; runs are logged to the store.")

    def __post_init__(self) -> None:
        for name, f in self.knobs().items():
            value, low, high = getattr(self, name), f.metadata["min"], f.metadata["max"]
            if isinstance(value, str) and low is not None:
                try:
                    value = type(f.default)(value)
                except (TypeError, ValueError):
                    raise TrainingError(f"{name} must be a number, not {value!r}.") from None
                setattr(self, name, value)
            if low is not None and value is not None and not low <= value <= high:
                raise TrainingError(f"{name} must be between {low} and {high}, not {value}.")
        for name in ("eval_strategy", "save_strategy"):
            if getattr(self, name) not in ("no", "steps", "epoch"):
                raise TrainingError(f"{name} must be no, steps or epoch, not {getattr(self, name)!r}.")

    @classmethod
    def knobs(cls) -> dict[str, Field]:
        """The declared arguments by name."""
        return {f.name: f for f in fields(cls)}

    def to_dict(self) -> dict[str, Any]:
        """All of them."""
        return {name: getattr(self, name) for name in self.knobs()}

    def get_warmup_steps(self, steps: int) -> int:
        """Of this many steps."""
        return self.warmup_steps or -int(-steps * self.warmup_ratio // 1)
