"""Adapter configurations: the keys of adapter_config.json. Unknown keys are kept and written back."""

import json
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from pathlib import Path
from typing import Any

from core.errors import AdapterError


class TaskType(StrEnum):
    """What the adapted model is for."""

    SEQ_CLS = "SEQ_CLS"
    CAUSAL_LM = "CAUSAL_LM"
    SEQ_2_SEQ_LM = "SEQ_2_SEQ_LM"
    TOKEN_CLS = "TOKEN_CLS"
    QUESTION_ANS = "QUESTION_ANS"
    FEATURE_EXTRACTION = "FEATURE_EXTRACTION"


def _knob(default: Any, help: str, low: float | None = None, high: float | None = None) -> Any:
    return field(default=default, metadata={"help": help, "min": low, "max": high})


@dataclass
class LoraConfig:
    """Low-rank adapters. Hu et al. 2021: W x + alpha/r B A x."""

    r: int = _knob(8, "Rank: how many directions each adapted layer may learn.", 1, 256)
    lora_alpha: float = _knob(8, "The adapter's output is scaled by lora_alpha / r.", 1, 512)
    lora_dropout: float = _knob(0.0, "Share of the adapter's inputs dropped while training.", 0, 0.9)
    target_modules: list[str] | str | None = _knob(None, "Which layers: names, a regular expression, or all-linear.")
    bias: str = _knob("none", "Which biases are trained too.")
    use_rslora: bool = _knob(False, "Scale by lora_alpha / sqrt(r) instead. Kalajdzievski 2023.")
    modules_to_save: list[str] | None = _knob(None, "Layers trained whole and saved with the adapter.")
    fan_in_fan_out: bool = _knob(False, "The weights are stored (in, out); found by itself.")
    init_lora_weights: bool | str = _knob(True, "Start as the identity; 'gaussian' draws A from a normal distribution.")
    task_type: str | None = _knob(None, "What the model is for, such as CAUSAL_LM.")
    inference_mode: bool = _knob(False, "Loaded to be used, not trained.")
    base_model_name_or_path: str | None = _knob(None, "The model the adapter belongs to.")
    peft_type: str = _knob("LORA", "The method.")
    extra: dict[str, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.r, int) or self.r < 1:
            raise AdapterError(f"r must be a whole number of at least 1, not {self.r!r}.")
        if not 0 <= self.lora_dropout < 1:
            raise AdapterError(f"lora_dropout must be at least 0 and below 1, not {self.lora_dropout!r}.")
        if self.bias != "none":
            raise AdapterError(f"bias={self.bias!r} is not supported yet; use 'none'.")
        for key in ("use_dora", "rank_pattern", "alpha_pattern", "layers_to_transform"):
            if self.extra.get(key):
                raise AdapterError(f"{key} is not supported yet.")
        if isinstance(self.target_modules, set | tuple):
            self.target_modules = sorted(self.target_modules)
        if self.task_type is not None:
            self.task_type = str(self.task_type)

    @property
    def scaling(self) -> float:
        """What the adapter's output is multiplied by."""
        return self.lora_alpha / (self.r**0.5 if self.use_rslora else self.r)

    def to_dict(self) -> dict[str, Any]:
        """As in adapter_config.json."""
        values = asdict(self)
        return {**values.pop("extra"), **values}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "LoraConfig":
        """From the content of an adapter_config.json. Raises AdapterError for another method."""
        if values.get("peft_type", "LORA") != "LORA":
            raise AdapterError(f"Adapters of the method {values['peft_type']} are not supported yet; supported: LORA.")
        known = {f.name for f in fields(cls)} - {"extra"}
        own = {k: v for k, v in values.items() if k in known}
        return cls(**own, extra={k: v for k, v in values.items() if k not in known})

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> "LoraConfig":
        """Read adapter_config.json of a folder."""
        path = Path(folder) / "adapter_config.json"
        try:
            return cls.from_dict(json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            raise AdapterError(f"{folder} has no adapter_config.json: it is not an adapter's folder.") from None
        except (OSError, ValueError, AttributeError) as error:
            if isinstance(error, AdapterError):
                raise
            raise AdapterError(f"{path} cannot be read as JSON: {error}.") from error

    def save_pretrained(self, folder: str | Path) -> None:
        """Write adapter_config.json, beside and renamed."""
        path = Path(folder) / "adapter_config.json"
        part = path.with_suffix(".part")
        values = {**self.to_dict(), "inference_mode": True}
        part.write_text(json.dumps(values, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        part.replace(path)


PeftConfig = LoraConfig
