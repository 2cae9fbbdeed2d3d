"""The class of an adapted model by its task, and models loaded by their adapter's folder alone."""

from pathlib import Path
from typing import Any, ClassVar

from core.errors import AdapterError
from core.peft.config import PeftConfig
from core.peft.model import PeftModel


class PeftModelForCausalLM(PeftModel):
    """A language model."""


class PeftModelForSeq2SeqLM(PeftModel):
    """An encoder-decoder that writes."""


class PeftModelForSequenceClassification(PeftModel):
    """A text's class; the head is trained whole."""

    heads = ("classifier", "score")


class PeftModelForTokenClassification(PeftModel):
    """Each token's class; the head is trained whole."""

    heads = ("classifier", "score")


class PeftModelForQuestionAnswering(PeftModel):
    """Where an answer begins and ends; the head is trained whole."""

    heads = ("qa_outputs",)


class PeftModelForFeatureExtraction(PeftModel):
    """A trunk without a head."""


# task -> class of the adapted model, auto class of the base
TASKS: dict[str, tuple[type[PeftModel], str]] = {
    "CAUSAL_LM": (PeftModelForCausalLM, "AutoModelForCausalLM"),
    "SEQ_2_SEQ_LM": (PeftModelForSeq2SeqLM, "AutoModelForSeq2SeqLM"),
    "SEQ_CLS": (PeftModelForSequenceClassification, "AutoModelForSequenceClassification"),
    "TOKEN_CLS": (PeftModelForTokenClassification, "AutoModelForTokenClassification"),
    "QUESTION_ANS": (PeftModelForQuestionAnswering, "AutoModelForQuestionAnswering"),
    "FEATURE_EXTRACTION": (PeftModelForFeatureExtraction, "AutoModel"),
}


def class_for(task: str | None) -> type[PeftModel]:
    """The class of an adapted model. Raises AdapterError for an unknown task."""
    if task is not None and task not in TASKS:
        raise AdapterError(f"task_type {task!r} is not known; known: {', '.join(TASKS)}.")
    return TASKS[task][0] if task is not None else PeftModel


class AutoPeftModel:
    """An adapter's folder -> its base and the adapter on it; the base is the one its configuration names."""

    task: ClassVar[str | None] = None

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | Path, adapter_name: str = "default", is_trainable: bool = False, **kwargs: Any
    ) -> PeftModel:
        """`kwargs` are for loading the base. Raises AdapterError where no base or another task is named."""
        import core

        config = PeftConfig.from_pretrained(pretrained_model_name_or_path)
        if not config.base_model_name_or_path:
            raise AdapterError(
                f"{pretrained_model_name_or_path} does not say its base: load that, then PeftModel.from_pretrained."
            )
        if cls.task is not None and config.task_type != cls.task:
            raise AdapterError(f"{pretrained_model_name_or_path} is for the task {config.task_type}, not {cls.task}.")
        own = (config.auto_mapping or {}).get("base_model_class", "AutoModel")
        auto = getattr(core, TASKS[config.task_type][1] if config.task_type in TASKS else own, None)
        if auto is None:
            raise AdapterError(f"{pretrained_model_name_or_path} is for {own}, which is not there.")
        base = auto.from_pretrained(config.base_model_name_or_path, **kwargs)
        return PeftModel.from_pretrained(base, pretrained_model_name_or_path, adapter_name, is_trainable, config)


class AutoPeftModelForCausalLM(AutoPeftModel):
    """Of a language model."""

    task = "CAUSAL_LM"


class AutoPeftModelForSeq2SeqLM(AutoPeftModel):
    """Of an encoder-decoder."""

    task = "SEQ_2_SEQ_LM"


class AutoPeftModelForSequenceClassification(AutoPeftModel):
    """Of a classifier of texts."""

    task = "SEQ_CLS"


class AutoPeftModelForTokenClassification(AutoPeftModel):
    """Of a classifier of tokens."""

    task = "TOKEN_CLS"


class AutoPeftModelForQuestionAnswering(AutoPeftModel):
    """Of a model that finds answers."""

    task = "QUESTION_ANS"


class AutoPeftModelForFeatureExtraction(AutoPeftModel):
    """Of a trunk."""

    task = "FEATURE_EXTRACTION"
