"""Processors: a tokenizer and what prepares images or audio, as one object with one call."""

from pathlib import Path
from typing import Any, ClassVar, Self

from core.errors import ConfigError, MediaError
from core.processing.batch import BatchFeature
from core.processing.settings import PROCESSOR, Preprocessor, locate, write_json


class Processor:
    """The base: its `part` ("image_processor" or "feature_extractor") and `tokenizer` are attributes of these names."""

    part: ClassVar[str] = "feature_extractor"
    part_kwargs: ClassVar[str] = "audio_kwargs"
    tokenizer: Any

    def __init__(self, part: Preprocessor, tokenizer: Any) -> None:
        if not isinstance(part, Preprocessor) or part.part != self.part:
            raise ConfigError(f"{type(self).__name__} takes its {self.part} first and its tokenizer second.")
        setattr(self, self.part, part)
        self.tokenizer = tokenizer

    @classmethod
    def from_pretrained(cls, name_or_path: str | Path, **options: Any) -> Self:
        """Both from a folder or a hub name; options other than where to look go to the tokenizer."""
        from core.processing.auto import load_preprocessor
        from core.tokenization.auto import AutoTokenizer

        folder, rest = locate(name_or_path, options)
        return cls(load_preprocessor(folder, cls.part), AutoTokenizer.from_pretrained(folder, **rest))

    def save_pretrained(self, folder: str | Path) -> list[str]:
        """Write preprocessor_config.json, processor_config.json and the tokenizer's files.

        The settings stand in the first, where every version of the reference reads them; the second names the class alone.
        """
        folder, named = Path(folder), {"processor_class": type(self).__name__}
        files = [write_json(folder / PROCESSOR, named)]
        files += getattr(self, self.part).save_pretrained(folder)
        return [*files, *self.tokenizer.save_pretrained(folder)]

    def _call(self, media: Any, text: Any, options: dict[str, Any]) -> tuple[BatchFeature | None, Any]:
        """What the part and the tokenizer make of their inputs; text_kwargs and images_kwargs or audio_kwargs are for one."""
        text_kwargs, part_kwargs = (options.pop(key, None) or {} for key in ("text_kwargs", self.part_kwargs))
        common = options.pop("common_kwargs", None) or {}
        if media is None and text is None:
            raise MediaError(f"{type(self).__name__} needs text, or what its {self.part} prepares, or both.")
        shared = {**common, **options}
        part = getattr(self, self.part)
        made = None if media is None else part(media, **{**self._for_part(shared), **part_kwargs})
        encoded = None if text is None else self.tokenizer(text, **{**self._for_text(shared), **text_kwargs})
        return made, encoded

    def _for_part(self, options: dict[str, Any]) -> dict[str, Any]:
        return options

    def _for_text(self, options: dict[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in options.items() if key != "sampling_rate"}

    def batch_decode(self, *args: Any, **kwargs: Any) -> list[str]:
        """The tokenizer's."""
        return self.tokenizer.batch_decode(*args, **kwargs)

    def decode(self, *args: Any, **kwargs: Any) -> Any:
        """The tokenizer's."""
        return self.tokenizer.decode(*args, **kwargs)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({getattr(self, self.part)!r}, {self.tokenizer!r})"


class SpeechProcessor(Processor):
    """Audio for a model to hear, and text for it to learn as labels."""

    def __call__(self, audio: Any = None, text: Any = None, **options: Any) -> Any:
        """Audio -> its features; text -> its ids; both -> the features with the ids as labels."""
        made, encoded = self._call(audio, text, options)
        if made is None or encoded is None:
            return encoded if made is None else made
        made["labels"] = encoded["input_ids"]
        return made

    def pad(self, input_features: Any = None, labels: Any = None, **options: Any) -> Any:
        """Rows of features, of labels or of both made even, for a collator."""
        made = None if input_features is None else self.feature_extractor.pad(input_features, **options)
        if labels is None:
            return made
        encoded = self.tokenizer.pad(labels, **options)
        if made is None:
            return encoded
        made["labels"] = encoded["input_ids"]
        return made

    feature_extractor: Any

    @property
    def model_input_names(self) -> list[str]:
        """The keys a model is called with."""
        return [*self.feature_extractor.model_input_names, "labels"]


class WhisperProcessor(SpeechProcessor):
    """Log-mel spectrograms and Whisper's tokenizer."""

    def get_decoder_prompt_ids(self, **options: Any) -> Any:
        """The tokenizer's ids that say language and task."""
        return self.tokenizer.get_decoder_prompt_ids(**options)

    def get_prompt_ids(self, text: str, return_tensors: str = "np") -> Any:
        """The tokenizer's ids of a text that came before."""
        return self.tokenizer.get_prompt_ids(text, return_tensors=return_tensors)


class Wav2Vec2Processor(SpeechProcessor):
    """Waves and a tokenizer of characters."""


class CLIPProcessor(Processor):
    """Images and texts to compare."""

    part = "image_processor"
    part_kwargs = "images_kwargs"
    image_processor: Any

    def __call__(self, images: Any = None, text: Any = None, **options: Any) -> Any:
        """Images -> pixel_values; texts -> input_ids and attention_mask; both -> all of them."""
        made, encoded = self._call(images, text, options)
        return BatchFeature({**(encoded or {}), **(made or {})})

    def _for_part(self, options: dict[str, Any]) -> dict[str, Any]:
        own = {*self.image_processor.defaults, "return_tensors", "input_data_format"}
        return {key: value for key, value in options.items() if key in own}

    def _for_text(self, options: dict[str, Any]) -> dict[str, Any]:
        own = {*self.image_processor.defaults, "input_data_format"}
        return {key: value for key, value in options.items() if key not in own}

    @property
    def model_input_names(self) -> list[str]:
        """The keys a model is called with."""
        return ["input_ids", "attention_mask", *self.image_processor.model_input_names]
