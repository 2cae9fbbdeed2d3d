"""What pipelines share: finding the model and its tokenizer."""

import importlib
import logging
from typing import Any, ClassVar

from core.errors import ConfigError
from core.modeling.devices import usable_device
from core.modeling.model import PreTrainedModel

logger = logging.getLogger(__name__)

TASKS = {
    "text-generation": ("core.pipelines.text_generation", "TextGenerationPipeline", "SmolLM2-135M-Instruct"),
    "feature-extraction": ("core.pipelines.feature_extraction", "FeatureExtractionPipeline", "all-MiniLM-L6-v2"),
}


class Pipeline:
    """A model with its tokenizer, for one task."""

    task: ClassVar[str] = ""
    auto_class: ClassVar[str] = "AutoModel"

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self.model, self.tokenizer = model, tokenizer

    @property
    def device(self) -> Any:
        """Where the model is."""
        return self.model.device


def pipeline(
    task: str,
    model: Any = None,
    tokenizer: Any = None,
    *,
    device: Any = None,
    torch_dtype: Any = None,
    dtype: Any = None,
    device_map: Any = None,
    **kwargs: Any,
) -> Any:
    """A pipeline for the task.

    model: a name, a path or a model; none takes the starter of the task. Raises ConfigError for an unknown task.
    """
    if task not in TASKS:
        raise ConfigError(f"There is no pipeline for the task '{task}'; tasks: {', '.join(TASKS)}.")
    module, name, starter = TASKS[task]
    kind: type[Pipeline] = getattr(importlib.import_module(module), name)
    if model is None:
        model = starter
        logger.warning("No model was named for %s: using the starter %s.", task, starter)
    if (not isinstance(model, PreTrainedModel) and isinstance(model, str | bytes)) or hasattr(model, "__fspath__"):
        import core

        tokenizer = tokenizer if tokenizer is not None else model
        auto = getattr(core, kind.auto_class)
        model = auto.from_pretrained(model, dtype=dtype or torch_dtype, device_map=device_map, **kwargs)
    if tokenizer is None:
        tokenizer = model.name_or_path
    if isinstance(tokenizer, str) or hasattr(tokenizer, "__fspath__"):
        from core.tokenization import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(tokenizer)
    if device is not None:
        model = model.to(usable_device(device))
    return kind(model, tokenizer)
