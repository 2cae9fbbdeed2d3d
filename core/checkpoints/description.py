"""What a resolved folder or file says its model is: config.json, or what GGUF or CTranslate2 say in its stead."""

import json
import re
from pathlib import Path
from typing import Any

from core.checkpoints.checkpoint import CTRANSLATE2, is_ctranslate2
from core.checkpoints.ctranslate2 import CTranslate2File
from core.checkpoints.gguf import GGUFFile
from core.checkpoints.gguf_architectures import config_dict
from core.errors import ConfigError, one_line

# No model is larger; a file that says so is damaged, and building what it says would fill the memory.
LIMITS = [
    (r"(layers?|groups?|group_num|experts?)$", 1 << 11),
    (r"^(hidden_size|head_dim|d_model|n_embd|d_kv|embedding_size)$", 1 << 20),
    (r"(heads?|_size|dim|width|d_model|d_ff|n_embd|n_inner)$", 1 << 24),
    (r"", 1 << 40),
]


def read_description(path: Path) -> dict[str, Any]:
    """The configuration's keys. Raises ConfigError or CheckpointError naming the file and what is wrong with it."""
    if path.suffix == ".gguf":
        with GGUFFile(path) as file:
            return _checked(config_dict(file), path)
    values = _read_json(path / "config.json") if (path / "config.json").is_file() else {}
    if "model_type" not in values and (path / CTRANSLATE2).is_file() and is_ctranslate2(path / CTRANSLATE2):
        with CTranslate2File(path / CTRANSLATE2) as file:
            return _checked(file.config_dict(), file.path)
    if not values and not (path / "config.json").is_file():
        raise ConfigError(f"{path} has no config.json: it is not a model folder.")
    if not isinstance(values.get("model_type", ""), str):
        raise ConfigError(f"{path / 'config.json'}: its model_type is {values['model_type']!r}, not a name.")
    return _checked(values, path / "config.json")


def _read_json(file: Path) -> dict[str, Any]:
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError) as error:
        raise ConfigError(f"{file} cannot be read as JSON: {one_line(error)}.") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{file} holds a {type(values).__name__}, not a JSON object.")
    return values


def _checked(values: dict[str, Any], file: Path) -> dict[str, Any]:
    """The values, where none is a number that no model has."""
    for key, value in values.items():
        if isinstance(value, dict):
            _checked(value, file)
        elif isinstance(value, int) and not isinstance(value, bool):
            limit = next(limit for pattern, limit in LIMITS if re.search(pattern, str(key)))
            if abs(value) > limit:
                raise ConfigError(f"{file} says that {key} is {value}, which no model has; the file is damaged.")
    return values
