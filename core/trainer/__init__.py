"""Training: arguments, loop, data, schedules, checkpoints."""

from core.trainer.arguments import TrainingArguments
from core.trainer.callbacks import TrainerCallback, TrainerControl, TrainerState
from core.trainer.collators import DataCollatorWithPadding, default_data_collator
from core.trainer.schedules import get_scheduler
from core.trainer.trainer import Trainer, TrainOutput

__all__ = [
    "DataCollatorWithPadding",
    "TrainOutput",
    "Trainer",
    "TrainerCallback",
    "TrainerControl",
    "TrainerState",
    "TrainingArguments",
    "default_data_collator",
    "get_scheduler",
]
