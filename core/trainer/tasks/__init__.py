"""The kinds of training: what each reads, which model it makes, and how it is judged.

A task is chosen by its name in a recipe; a table names the file, so that only what is used is imported.
"""

from importlib import import_module
from typing import Any

from core.errors import TrainingError

TASKS = {
    "causal-lm": ("language", "CausalLM"),
    "instruction": ("language", "Instruction"),
    "masked-lm": ("language", "MaskedLM"),
    "sequence-classification": ("labels", "SequenceClassification"),
    "token-classification": ("labels", "TokenClassification"),
    "question-answering": ("answers", "QuestionAnswering"),
    "seq2seq": ("answers", "Seq2Seq"),
    "image-classification": ("media", "ImageClassification"),
    "image-captions": ("pairs", "ImageCaptions"),
    "audio-classification": ("media", "AudioClassification"),
    "ctc": ("media", "CTC"),
    "speech-seq2seq": ("media", "SpeechSeq2Seq"),
}


def task_class(name: str) -> Any:
    """The class of a task. Raises TrainingError for an unknown one."""
    if name not in TASKS:
        raise TrainingError(f"task '{name}' is not known; known: {', '.join(TASKS)}.")
    module, kind = TASKS[name]
    return getattr(import_module(f"{__name__}.{module}"), kind)
