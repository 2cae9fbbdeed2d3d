"""A model's configuration: the keys of its config.json as attributes. Unknown keys are kept and written back."""

import copy
import json
from pathlib import Path
from typing import Any, ClassVar, Self

COMMON: dict[str, Any] = {
    "output_attentions": False,
    "output_hidden_states": False,
    "return_dict": True,
    "use_cache": True,
    "dtype": None,
    "is_encoder_decoder": False,
    "is_decoder": False,
    "add_cross_attention": False,
    "tie_word_embeddings": True,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": None,
    "architectures": None,
    "problem_type": None,
}


class PreTrainedConfig:
    """The base of all configurations.

    A subclass names its `model_type`, its `defaults` (the checkpoint's key names) and, where its family uses other
    names, an `attribute_map` from the common name to its own (`hidden_size` -> `n_embd`).
    """

    model_type: ClassVar[str] = ""
    defaults: ClassVar[dict[str, Any]] = {}
    attribute_map: ClassVar[dict[str, str]] = {}

    def __init__(self, **values: Any) -> None:
        values.pop("model_type", None)
        values["dtype"] = _dtype_name(values.pop("torch_dtype", None) or values.get("dtype"))
        labels = values.pop("id2label", None) or {i: f"LABEL_{i}" for i in range(values.pop("num_labels", 2))}
        values.pop("num_labels", None)
        self.id2label = {int(key): value for key, value in labels.items()}
        self.label2id = values.pop("label2id", None) or {value: key for key, value in self.id2label.items()}
        for key, value in {**COMMON, **copy.deepcopy(self.defaults), **values}.items():
            setattr(self, key, value)
        self.check()

    def check(self) -> None:
        """Raise ConfigError where values contradict each other; a subclass adds its own."""

    def __getattr__(self, key: str) -> Any:
        own = type(self).attribute_map.get(key)
        if own is None or own == key:
            raise AttributeError(f"{type(self).__name__} has no key '{key}'")
        return getattr(self, own)

    def __setattr__(self, key: str, value: Any) -> None:
        if key == "torch_dtype":
            key, value = "dtype", _dtype_name(value)
        if key == "num_labels":
            if value != len(self.id2label):
                self.id2label = {i: f"LABEL_{i}" for i in range(value)}
                self.label2id = {label: i for i, label in self.id2label.items()}
            return
        object.__setattr__(self, type(self).attribute_map.get(key, key), value)

    @property
    def num_labels(self) -> int:
        """How many classes a classification head has."""
        return len(self.id2label)

    @property
    def torch_dtype(self) -> str | None:
        """The older name of `dtype`."""
        return self.dtype

    @property
    def use_return_dict(self) -> bool:
        """The older name of `return_dict`."""
        return self.return_dict

    @classmethod
    def from_dict(cls, values: dict[str, Any], **overrides: Any) -> Self:
        """A configuration from the content of a config.json."""
        return cls(**{**values, **overrides})

    @classmethod
    def from_pretrained(cls, name_or_path: str | Path, **overrides: Any) -> Self:
        """Read config.json of a folder, a hub name or a GGUF file."""
        return cls.from_dict(read_config(name_or_path), **overrides)

    def to_dict(self) -> dict[str, Any]:
        """Every key, ready for config.json; common keys that say nothing are left out."""
        values = {key: value for key, value in vars(self).items() if key not in COMMON or COMMON[key] != value}
        values["tie_word_embeddings"] = self.tie_word_embeddings
        values["id2label"] = {str(key): value for key, value in self.id2label.items()}
        if self.model_type:
            values["model_type"] = self.model_type
        return copy.deepcopy(values)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write config.json into the folder, beside and renamed."""
        path = Path(folder) / "config.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".json.part")
        part.write_text(json.dumps(self.to_dict(), indent=2, sort_keys=True) + "\n", encoding="utf-8")
        part.replace(path)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PreTrainedConfig) and self.to_dict() == other.to_dict()

    def __repr__(self) -> str:
        return f"{type(self).__name__} {json.dumps(self.to_dict(), indent=2, sort_keys=True, default=str)}"


def read_config(path: str | Path, **where: Any) -> dict[str, Any]:
    """The config.json of a folder or hub name, or what a GGUF file says in its stead.

    where: resolve's keywords (revision, subfolder, token …). Raises ConfigError where the file is missing or is no JSON object.
    """
    from core.checkpoints.description import read_description
    from core.checkpoints.resolve import resolve

    return read_description(resolve(str(path), weights="gguf_file" in where, **where))


def _dtype_name(value: Any) -> str | None:
    """`torch.float16` or "torch.float16" -> "float16"."""
    return None if value is None else str(value).removeprefix("torch.")
