"""Training: arguments, loop, data, collators, schedules, optimisers, checkpoints."""

from core.trainer.arguments import TrainingArguments
from core.trainer.callbacks import EarlyStoppingCallback, ProgressCallback, TrainerCallback, TrainerControl, TrainerState
from core.trainer.collators import (
    DataCollatorForSeq2Seq,
    DataCollatorForTokenClassification,
    DataCollatorWithPadding,
    DefaultDataCollator,
    default_data_collator,
)
from core.trainer.evaluation import EvalPrediction, PredictionOutput
from core.trainer.language_collators import DataCollatorForCompletionOnlyLM, DataCollatorForLanguageModeling
from core.trainer.optimizers import Adafactor
from core.trainer.schedules import get_scheduler
from core.trainer.seq2seq import Seq2SeqTrainer, Seq2SeqTrainingArguments
from core.trainer.trainer import Trainer, TrainOutput, set_seed

__all__ = [
    "Adafactor",
    "DataCollatorForCompletionOnlyLM",
    "DataCollatorForLanguageModeling",
    "DataCollatorForSeq2Seq",
    "DataCollatorForTokenClassification",
    "DataCollatorWithPadding",
    "DefaultDataCollator",
    "EarlyStoppingCallback",
    "EvalPrediction",
    "PredictionOutput",
    "ProgressCallback",
    "Seq2SeqTrainer",
    "Seq2SeqTrainingArguments",
    "TrainOutput",
    "Trainer",
    "TrainerCallback",
    "TrainerControl",
    "TrainerState",
    "TrainingArguments",
    "default_data_collator",
    "get_scheduler",
    "set_seed",
]
