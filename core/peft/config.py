"""Adapter configurations: the keys of adapter_config.json. What a method does not use is kept and written back.

One registry: a method is one file with a configuration class, `class LoraConfig(…, method="LORA")`; its `tuner` makes the modules.
"""

import json
from dataclasses import dataclass, field, fields
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar, Self

from core.errors import AdapterError


class TaskType(StrEnum):
    """What the adapted model is for."""

    SEQ_CLS = "SEQ_CLS"
    CAUSAL_LM = "CAUSAL_LM"
    SEQ_2_SEQ_LM = "SEQ_2_SEQ_LM"
    TOKEN_CLS = "TOKEN_CLS"
    QUESTION_ANS = "QUESTION_ANS"
    FEATURE_EXTRACTION = "FEATURE_EXTRACTION"


def knob(default: Any, help: str, low: float | None = None, high: float | None = None) -> Any:
    """A field with what a person is told of it, and its range."""
    values = {"metadata": {"help": help, "min": low, "max": high}}
    return field(default_factory=default, **values) if callable(default) else field(default=default, **values)


@dataclass
class PeftConfig:
    """What all methods have. `refused` are the reference's keys that a method knows only at their defaults."""

    task_type: str | None = knob(None, "What the model is for, such as CAUSAL_LM.")
    inference_mode: bool = knob(False, "Loaded to be used, not trained.")
    base_model_name_or_path: str | None = knob(None, "The model the adapter belongs to.")
    revision: str | None = knob(None, "Which version of that model.")
    auto_mapping: dict[str, str] | None = knob(None, "The class of that model, where the task does not say it.")
    peft_version: str | None = knob(None, "Which program wrote the files.")
    modules_to_save: list[str] | None = knob(None, "Layers trained whole and saved with the adapter.")
    extra: dict[str, Any] = field(default_factory=dict, repr=False)

    methods: ClassVar[dict[str, type["PeftConfig"]]] = {}
    peft_type: ClassVar[str] = ""
    is_prompt_learning: ClassVar[bool] = False
    refused: ClassVar[dict[str, Any]] = {}

    def __init_subclass__(cls, method: str | None = None) -> None:
        super().__init_subclass__()
        if method is not None:
            cls.peft_type = method
            PeftConfig.methods[method] = cls

    def __post_init__(self) -> None:
        if self.task_type is not None:
            self.task_type = str(self.task_type)
        if isinstance(self.modules_to_save, set | tuple):
            self.modules_to_save = sorted(self.modules_to_save)
        for key, default in self.refused.items():
            if self.extra.get(key, default) not in (default, None, False):
                raise AdapterError(f"{key}={self.extra[key]!r} of the method {self.peft_type} is not supported: leave it out.")

    def to_dict(self) -> dict[str, Any]:
        """As in adapter_config.json."""
        own = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "extra"}
        return {**self.refused, **self.extra, **own, "peft_type": self.peft_type}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "PeftConfig":
        """From the content of an adapter_config.json; its peft_type says the class. Raises AdapterError for an unknown method."""
        kind = values.get("peft_type", cls.peft_type)
        found = PeftConfig.methods.get(kind)
        if found is None:
            raise AdapterError(f"Adapters of the method {kind} are not supported; supported: {', '.join(PeftConfig.methods)}.")
        if not issubclass(found, cls):
            raise AdapterError(f"The adapter is of the method {kind}, not {cls.peft_type}: read it with PeftConfig.")
        known = {f.name for f in fields(found)} - {"extra"}
        own = {k: v for k, v in values.items() if k in known}
        return found(**own, extra={k: v for k, v in values.items() if k not in known and k != "peft_type"})

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> Self:
        """Read adapter_config.json of a folder. Raises AdapterError."""
        path = Path(folder) / "adapter_config.json"
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise AdapterError(f"{folder} has no adapter_config.json: it is not an adapter's folder.") from None
        except (OSError, ValueError) as error:
            raise AdapterError(f"{path} cannot be read as JSON: {error}.") from error
        if not isinstance(values, dict):
            raise AdapterError(f"{path} holds no JSON object.")
        try:
            return cls.from_dict(values)  # type: ignore[return-value]
        except TypeError as error:
            raise AdapterError(f"{path} has a value of a wrong kind: {error}.") from error

    def save_pretrained(self, folder: str | Path) -> None:
        """Write adapter_config.json, beside and renamed."""
        path = Path(folder) / "adapter_config.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        values = {**self.to_dict(), "inference_mode": True}
        part.write_text(json.dumps(values, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        part.replace(path)


def get_peft_config(config_dict: dict[str, Any]) -> PeftConfig:
    """A configuration from a plain dict with a peft_type."""
    return PeftConfig.from_dict(config_dict)
