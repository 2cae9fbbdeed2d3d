"""The settings of an image processor or a feature extractor: read from and written to preprocessor_config.json."""

import copy
import json
import math
from pathlib import Path
from typing import Any, ClassVar, Self

from core.checkpoints.checkpoint import CTRANSLATE2
from core.checkpoints.description import read_description
from core.checkpoints.resolve import resolve
from core.errors import ConfigError, printable

PREPROCESSOR, PROCESSOR = "preprocessor_config.json", "processor_config.json"
WHERE = ("revision", "subfolder", "cache_dir", "token", "local_files_only")
MOOT = ("use_fast", "backend", "trust_remote_code")  # choices of the reference's that are none here


class Preprocessor:
    """The base of what turns images or audio into tensors.

    A subclass names its `part` (its key in a processor_config.json), its `defaults` (the file's keys), the `ranges` its
    numbers must lie in, and the keys `derived` from others, neither read nor written. A null is the default; unknown keys are kept.
    """

    part: ClassVar[str] = ""
    model_input_names: ClassVar[tuple[str, ...]] = ()
    defaults: ClassVar[dict[str, Any]] = {}
    ranges: ClassVar[dict[str, tuple[float, float]]] = {}
    derived: ClassVar[tuple[str, ...]] = ()

    def __init__(self, **values: Any) -> None:
        given = {key: value for key, value in values.items() if value is not None and key not in self.derived}
        for key, value in {**copy.deepcopy(self.defaults), **given}.items():
            setattr(self, key, value)
        self.check()

    def check(self) -> None:
        """Raise ConfigError for a value of the wrong kind or out of range; a subclass adds its own."""
        for key, default in self.defaults.items():
            value = getattr(self, key)
            if isinstance(default, bool):
                if not isinstance(value, bool):
                    raise self.fault(key, value, "true or false")
            elif key in self.ranges:
                low, high = self.ranges[key]
                whole = isinstance(default, int)
                if not is_number(value) or not low <= value <= high or (whole and int(value) != value):
                    raise self.fault(key, value, f"a {'whole ' * whole}number from {low:g} to {high:g}")
                if whole:
                    setattr(self, key, int(value))

    def fault(self, key: str, value: Any, wanted: str) -> ConfigError:
        """The error for a setting that makes no sense."""
        return ConfigError(f"{type(self).__name__}: {key} is {printable(repr(value), 80)}, but must be {wanted}.")

    @classmethod
    def from_dict(cls, values: dict[str, Any], **overrides: Any) -> Self:
        """From the content of a preprocessor_config.json."""
        return cls(**{key: value for key, value in {**values, **overrides}.items() if key != f"{cls.part}_type"})

    @classmethod
    def from_pretrained(cls, name_or_path: str | Path, **overrides: Any) -> Self:
        """From a folder or a hub name. Raises ConfigError naming file and fault."""
        from core.processing.auto import NAMES

        path, rest = locate(name_or_path, overrides)
        settings = read_settings(path, cls.part)
        named = NAMES.get(class_name(settings))
        if named is not None and named.part != cls.part:
            raise ConfigError(f"{path} holds a {named.__name__}, from which no {cls.__name__} can be made.")
        return cls.from_dict(settings, **rest)

    def to_dict(self) -> dict[str, Any]:
        """Every key that is set, ready for preprocessor_config.json."""
        values = {key: value for key, value in vars(self).items() if value is not None}
        return copy.deepcopy({**values, f"{self.part}_type": type(self).__name__})

    def save_pretrained(self, folder: str | Path) -> list[str]:
        """Write preprocessor_config.json into the folder."""
        return [write_json(Path(folder) / PREPROCESSOR, self.to_dict())]

    def __repr__(self) -> str:
        return f"{type(self).__name__} {json.dumps(self.to_dict(), indent=2, sort_keys=True, default=str)}"


def class_name(settings: dict[str, Any]) -> str:
    """The class that settings were saved from; empty where they do not say."""
    return str(settings.get("image_processor_type") or settings.get("feature_extractor_type") or "")


def is_number(value: Any) -> bool:
    """Whether this is a finite number (true and false are not)."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def locate(name_or_path: str | Path, options: dict[str, Any]) -> tuple[Path, dict[str, Any]]:
    """The folder of a name, and the options that do not say where to look for it."""
    where = {key: value for key, value in options.items() if key in WHERE}
    return resolve(str(name_or_path), weights=False, **where), {
        key: value for key, value in options.items() if key not in WHERE + MOOT
    }


def read_settings(folder: Path, *parts: str) -> dict[str, Any]:
    """The settings of the first of these parts (image_processor, feature_extractor) that a folder has.

    transformers 5 nests them in processor_config.json, which then comes first; before, they were preprocessor_config.json.
    """
    processor = read_json(folder / PROCESSOR)
    for part in parts:
        if isinstance(nested := processor.get(part), dict):
            return nested
    if values := read_json(folder / PREPROCESSOR):
        return values
    if "feature_extractor" in parts and (bands := _mel_bands(folder)):
        return {"feature_extractor_type": "WhisperFeatureExtractor", "feature_size": bands}
    raise ConfigError(f"{folder} has no {PREPROCESSOR}, so nothing says how to prepare its images or audio.")


def model_type(folder: Path) -> str | None:
    """What the folder's model is, by its config.json or, for a CTranslate2 file, by the weights."""
    found = read_json(folder / "config.json").get("model_type")
    if found is None and (folder / CTRANSLATE2).is_file():
        found = read_description(folder).get("model_type")
    return found if isinstance(found, str) else None


def _mel_bands(folder: Path) -> int | None:
    """Of a Whisper that CTranslate2 packed, which leaves the extractor's settings out: they are the model's, all but the bands."""
    return read_description(folder).get("num_mel_bins") if model_type(folder) == "whisper" else None


def read_json(file: Path) -> dict[str, Any]:
    """A JSON object; empty where there is no such file."""
    try:
        values = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{file} cannot be read as JSON: {error}.") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{file} holds a {type(values).__name__}, not a JSON object.")
    return values


def write_json(file: Path, values: dict[str, Any]) -> str:
    """Write beside and rename; the file's path."""
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(".json.part")
    part.write_text(json.dumps(values, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    part.replace(file)
    return str(file)
