"""Auto classes for images and audio: from what a folder says of itself to a class, by literal tables."""

from pathlib import Path
from typing import Any

from core.errors import ConfigError, printable
from core.processing.feature_extractors import Wav2Vec2FeatureExtractor, WhisperFeatureExtractor
from core.processing.image_processors import CLIPImageProcessor, ViTImageProcessor
from core.processing.processors import CLIPProcessor, Processor, Wav2Vec2Processor, WhisperProcessor
from core.processing.settings import (
    PREPROCESSOR,
    PROCESSOR,
    Preprocessor,
    class_name,
    locate,
    model_type,
    read_json,
    read_settings,
)

IMAGE_PROCESSORS = {"vit": ViTImageProcessor, "clip": CLIPImageProcessor}
FEATURE_EXTRACTORS = {"whisper": WhisperFeatureExtractor, "wav2vec2": Wav2Vec2FeatureExtractor}
PROCESSORS = {"whisper": WhisperProcessor, "wav2vec2": Wav2Vec2Processor, "clip": CLIPProcessor}

# The class names found in files; Fast and Pil are the reference's other implementations of the same numbers.
NAMES: dict[str, type[Preprocessor]] = {
    "ViTImageProcessor": ViTImageProcessor,
    "ViTImageProcessorFast": ViTImageProcessor,
    "ViTImageProcessorPil": ViTImageProcessor,
    "ViTFeatureExtractor": ViTImageProcessor,
    "CLIPImageProcessor": CLIPImageProcessor,
    "CLIPImageProcessorFast": CLIPImageProcessor,
    "CLIPImageProcessorPil": CLIPImageProcessor,
    "CLIPFeatureExtractor": CLIPImageProcessor,
    "WhisperFeatureExtractor": WhisperFeatureExtractor,
    "Wav2Vec2FeatureExtractor": Wav2Vec2FeatureExtractor,
}
PROCESSOR_NAMES: dict[str, type[Processor]] = {cls.__name__: cls for cls in PROCESSORS.values()}
PARTS: dict[str, dict[str, Any]] = {"image_processor": IMAGE_PROCESSORS, "feature_extractor": FEATURE_EXTRACTORS}


def load_preprocessor(folder: Path, *parts: str, **overrides: Any) -> Any:
    """The image processor or feature extractor of a folder, of one of these parts.

    Its class is named by image_processor_type or feature_extractor_type, or follows from config.json's model_type.
    """
    settings = read_settings(folder, *parts)
    if name := class_name(settings):
        cls = NAMES.get(name)
        if cls is None:
            raise ConfigError(f"{folder}: '{printable(name, 80)}' is not supported; supported: {', '.join(NAMES)}.")
    else:
        kind = _model_type(folder)
        cls = next((PARTS[part][kind] for part in parts if kind in PARTS[part]), None)
    if cls is None or cls.part not in parts:
        wanted = " or ".join(part.replace("_", " ") for part in parts)
        raise ConfigError(
            f"{folder} has no {wanted}: its {PREPROCESSOR} is {'of ' + cls.__name__ if cls else 'of an unknown kind'}."
        )
    return cls.from_dict(settings, **overrides)


def _processor_class(folder: Path) -> type[Processor] | None:
    for file in (PROCESSOR, PREPROCESSOR, "tokenizer_config.json"):
        if (name := read_json(folder / file).get("processor_class")) is not None:
            if (cls := PROCESSOR_NAMES.get(str(name))) is None:
                known = ", ".join(PROCESSOR_NAMES)
                raise ConfigError(f"{folder / file}: '{printable(str(name), 80)}' is not supported; supported: {known}.")
            return cls
    return PROCESSORS.get(_model_type(folder) or "")


def _model_type(folder: Path) -> str | None:
    found = model_type(folder)
    if found in ("clip_text_model", "clip_vision_model"):
        return "clip"
    return found


class AutoImageProcessor:
    """Image processors by name."""

    @staticmethod
    def from_pretrained(name_or_path: str | Path, **options: Any) -> Any:
        """The image processor of a folder or a hub name; options other than where to look are settings."""
        folder, rest = locate(name_or_path, options)
        return load_preprocessor(folder, "image_processor", **rest)


class AutoFeatureExtractor:
    """Feature extractors by name."""

    @staticmethod
    def from_pretrained(name_or_path: str | Path, **options: Any) -> Any:
        """The feature extractor of a folder or a hub name, or the image processor of a model of images, as it was once called."""
        folder, rest = locate(name_or_path, options)
        return load_preprocessor(folder, "feature_extractor", "image_processor", **rest)


class AutoProcessor:
    """Processors by name."""

    @staticmethod
    def from_pretrained(name_or_path: str | Path, **options: Any) -> Any:
        """The processor of a folder or a hub name; where the model has none, what it does have: a part, or a tokenizer."""
        from core.tokenization.auto import AutoTokenizer

        folder, rest = locate(name_or_path, options)
        if (cls := _processor_class(folder)) is not None:
            return cls.from_pretrained(folder, **rest)
        if (folder / PREPROCESSOR).is_file():
            return load_preprocessor(folder, *PARTS, **rest)
        return AutoTokenizer.from_pretrained(folder, **rest)
