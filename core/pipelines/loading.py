"""`pipeline(task, …)`: from a task and a name to a pipeline with its model and what prepares its inputs."""

import importlib
import logging
import os
from pathlib import Path
from typing import Any, NamedTuple

from core.checkpoints import bundled
from core.checkpoints.catalogue import load_catalogue
from core.checkpoints.resolve import resolve
from core.errors import ConfigError, HubError, printable
from core.modeling.configuration import read_config
from core.modeling.devices import usable_device
from core.pipelines.base import Pipeline

logger = logging.getLogger(__name__)
MOOT = ("framework", "use_fast", "config", "processor")  # taken for the reference's sake


class Task(NamedTuple):
    """A pipeline's class, in the module of its task's name; the task whose starter serves where it has none of its own; a model of
    the hub that does it."""

    pipeline: str
    hub: str
    served_by: str = ""


TASKS = {
    "text-generation": Task("TextGenerationPipeline", "HuggingFaceTB/SmolLM2-135M-Instruct"),
    "text2text-generation": Task("Text2TextGenerationPipeline", "google/flan-t5-small"),
    "summarization": Task("SummarizationPipeline", "sshleifer/distilbart-cnn-12-6"),
    "translation": Task("TranslationPipeline", "Helsinki-NLP/opus-mt-en-fr"),
    "text-classification": Task("TextClassificationPipeline", "distilbert-base-uncased-finetuned-sst-2-english"),
    "token-classification": Task("TokenClassificationPipeline", "dslim/bert-base-NER"),
    "fill-mask": Task("FillMaskPipeline", "distilroberta-base"),
    "question-answering": Task("QuestionAnsweringPipeline", "deepset/roberta-base-squad2"),
    "zero-shot-classification": Task("ZeroShotClassificationPipeline", "facebook/bart-large-mnli", "feature-extraction"),
    "feature-extraction": Task("FeatureExtractionPipeline", "sentence-transformers/all-MiniLM-L6-v2"),
    "sentence-similarity": Task("SentenceSimilarityPipeline", "sentence-transformers/all-MiniLM-L6-v2", "feature-extraction"),
    "image-classification": Task("ImageClassificationPipeline", "google/vit-base-patch16-224"),
    "zero-shot-image-classification": Task("ZeroShotImageClassificationPipeline", "openai/clip-vit-base-patch32"),
    "image-feature-extraction": Task("ImageFeatureExtractionPipeline", "google/vit-base-patch16-224-in21k"),
    "automatic-speech-recognition": Task("AutomaticSpeechRecognitionPipeline", "openai/whisper-tiny"),
    "audio-classification": Task("AudioClassificationPipeline", "superb/wav2vec2-base-superb-ks"),
}
ALIASES = {"sentiment-analysis": "text-classification", "ner": "token-classification"}


def find_task(name: str) -> tuple[str, Task]:
    """The task of a name, an alias, or translation_xx_to_yy. Raises ConfigError."""
    found = ALIASES.get(name, name)
    parts = found.split("_")
    if parts[0] == "translation" and len(parts) == 4 and parts[2] == "to":
        found = "translation"
    if found not in TASKS:
        known = ", ".join([*TASKS, *ALIASES, "translation_xx_to_yy"])
        raise ConfigError(f"There is no pipeline for the task '{printable(str(name), 60)}'; tasks: {known}.")
    return found, TASKS[found]


def pipeline_class(task: str) -> type[Pipeline]:
    """The class that does a task; its `options` are what a page shows."""
    found, entry = find_task(task)
    return getattr(importlib.import_module(f"core.pipelines.{found.replace('-', '_')}"), entry.pipeline)


def starter(task: str) -> str:
    """The starter of a task: fetched, else bundled. Raises ConfigError naming one of the hub's where there is none."""
    found, entry = find_task(task)
    known = [*load_catalogue().items(), *bundled.cards().items()]
    for wanted in (found, entry.served_by):
        for name, candidate in known:
            if candidate.task == wanted:
                return name
    raise ConfigError(f"There is no starter for {task}: name a model, such as pipeline('{task}', model='{entry.hub}').")


def pipeline(
    task: str,
    model: Any = None,
    tokenizer: Any = None,
    feature_extractor: Any = None,
    image_processor: Any = None,
    *,
    device: Any = None,
    torch_dtype: Any = None,
    dtype: Any = None,
    device_map: Any = None,
    batch_size: int | None = None,
    num_workers: int = 0,
    revision: str | None = None,
    token: str | None = None,
    model_kwargs: dict[str, Any] | None = None,
    **options: Any,
) -> Any:
    """A pipeline for the task.

    model: a name, a path or a model; none takes the starter of the task. An adapter's folder brings its base with it. What prepares
    the inputs is the model's own, where none is given. options: the task's, held for every call.
    Raises ConfigError for an unknown task, and for a model that does not fit it.
    """
    kind = pipeline_class(task)
    if model is None:
        model = starter(task)
        logger.warning("No model was named for %s: using the starter %s.", task, model)
    where = {name: value for name, value in {"revision": revision, "token": token}.items() if value is not None}
    processor = options.get("processor")
    options = {name: value for name, value in options.items() if name not in MOOT}
    model = Path(model) if isinstance(model, os.PathLike) else model
    name = model if isinstance(model, str | Path) else getattr(model, "name_or_path", None)
    parts = {"tokenizer": tokenizer, "feature_extractor": feature_extractor, "image_processor": image_processor}
    for part in kind.parts:
        given = parts[part] if parts[part] is not None else getattr(processor, part, None)
        if given is None and not name:
            raise ConfigError(f"The model has no name to find its {part.replace('_', ' ')} by: give pipeline(…, {part}=…).")
        parts[part] = load_part(part, name if given is None else given, where)
    if isinstance(model, str | Path):
        model = load_model(
            kind, task, model, {"dtype": dtype or torch_dtype, "device_map": device_map, **where, **(model_kwargs or {})}
        )
    if device is not None:
        model = model.to(usable_device(device))
    return kind(model, **parts, batch_size=batch_size, task=task, **options)


def load_part(part: str, given: Any, where: dict[str, Any]) -> Any:
    """What prepares inputs, by a name, or as it is."""
    if not isinstance(given, str | os.PathLike):
        return given
    given = str(given)
    if part == "tokenizer":
        from core.tokenization import AutoTokenizer as Auto
    else:
        from core.processing import AutoFeatureExtractor, AutoImageProcessor

        Auto = AutoFeatureExtractor if part == "feature_extractor" else AutoImageProcessor
    return Auto.from_pretrained(given, **where)


def load_model(kind: type[Pipeline], task: str, name: str | Path, options: dict[str, Any]) -> Any:
    """The model of a name, in the kind that the task needs. Raises ConfigError where its files hold no trained head for it."""
    import core

    where = {key: options[key] for key in ("revision", "token") if key in options}
    folder = resolve(str(name), weights=False, **where)
    if base := bundled.base_of(folder):
        return load_adapted(kind, task, base, folder, options)
    values = read_config(name, **where)
    head = choose_kind(kind, task, str(name), values)
    if head == "Model":
        return core.AutoModel.from_pretrained(name, **options)
    from core.auto import AutoModel

    auto = type(f"AutoModelFor{head}", (AutoModel,), {"kind": head})
    model, info = auto.from_pretrained(name, output_loading_info=True, **options)
    if missing := [key for key in info["missing_keys"] if model.in_head(key)]:
        raise ConfigError(
            f"{name} has no trained head for {task} ({', '.join(missing[:2])} {'are' if len(missing) > 1 else 'is'} missing): use a model "
            f"made for it, such as {find_task(task)[1].hub}, or train one from it."
        )
    return model


def load_adapted(kind: type[Pipeline], task: str, base: str, folder: Path, options: dict[str, Any]) -> Any:
    """An adapter on its base; its head and labels are those of a config.json beside it. For vectors its head is left away.

    Raises ConfigError for a base that is not to be had, and where the adapter was made for another task.
    """
    import core
    from core.auto import AutoModel, find_class

    try:
        values = read_config(base)
    except HubError as error:
        raise ConfigError(f"{folder.name} is an adapter on {base}, which is not here: {error}") from error
    own = read_config(folder) if (folder / "config.json").is_file() else {}
    values |= {
        key: value for key, value in own.items() if key in ("id2label", "label2id", "problem_type", "task_specific_params")
    }
    head = choose_kind(kind, task, str(folder), {**values, "architectures": own.get("architectures")})
    trained = named_head(values["model_type"], own) or head  # its tensors fit this one
    if head not in (trained, "Model"):
        raise ConfigError(
            f"{folder.name} is an adapter with a head for something else ({trained}): {task} needs one such as {find_task(task)[1].hub}."
        )
    config = find_class(values["model_type"], "Config").from_dict(values)
    options = {name: value for name, value in options.items() if name != "revision"}  # that is the adapter's
    # a head of other classes than the base's comes with the adapter
    load = {**options, "config": config, "ignore_mismatched_sizes": True, "output_loading_info": True}
    model, info = type("Auto", (AutoModel,), {"kind": trained}).from_pretrained(base, **load)
    odd = [*info["missing_keys"], *(key for key, _, _ in info["mismatched_keys"])]
    if lost := [key for key in odd if not model.in_head(key)]:
        raise ConfigError(f"{base} is not the base of {folder}: its '{lost[0]}' is missing or of another size.")
    adapted = core.PeftModel.from_pretrained(model, folder)
    return adapted if head == trained else adapted.merge_and_unload().base_model


def named_head(model_type: str, values: dict[str, Any]) -> str | None:
    """The head that a config.json names."""
    from core.auto import ARCHITECTURES

    named, architecture = values.get("architectures") or (), ARCHITECTURES[model_type]
    return next((head for head in architecture.heads if architecture.class_name(head) in named), None)


def prompt_of(values: Any, task: str) -> str | None:
    """What a chat model is asked with for a task, its text at {text}: `task_specific_params` of a configuration may say it."""
    return ((values.get("task_specific_params") or {}).get(task) or {}).get("prompt")


def choose_kind(kind: type[Pipeline], task: str, name: str, values: dict[str, Any]) -> str:
    """Of the heads that do a task, the one that the files name, else the first that the architecture has. Raises ConfigError."""
    from core.auto import ARCHITECTURES, has_head

    model_type = values.get("model_type")
    if model_type not in ARCHITECTURES:
        known = ", ".join(sorted(ARCHITECTURES))
        raise ConfigError(f"{name}: architecture '{printable(str(model_type), 60)}' is not supported; supported: {known}.")
    kinds = (*kind.kinds, "CausalLM") if prompt_of(values, task) else kind.kinds
    heads = [head for head in kinds if head == "Model" or has_head(model_type, head)]
    if not heads:
        able = [key for key in ARCHITECTURES if any(has_head(key, head) for head in kind.kinds)]
        raise ConfigError(f"{name} is a {model_type} model, which cannot do {task}; architectures that can: {', '.join(able)}.")
    if (found := named_head(model_type, values)) in heads:
        return found
    return "Model" if "Model" in heads and values.get("architectures") else heads[0]
