"""Named sets of generation parameters: those of assets/presets.toml, and a person's own in the data folder."""

import json
import tomllib
from pathlib import Path
from typing import Any

from core.errors import ConfigError, one_line
from core.paths import assets_dir, data_dir

LONGEST = 40  # characters of a name


def bundled() -> dict[str, dict[str, Any]]:
    """Those that come with the program."""
    return tomllib.loads((assets_dir() / "presets.toml").read_text(encoding="utf-8"))


def own_path() -> Path:
    """The person's file; it may be written by hand too."""
    return data_dir() / "presets.toml"


def own() -> dict[str, dict[str, Any]]:
    """The person's. Raises ConfigError for a file that is no TOML of such sets."""
    if not own_path().is_file():
        return {}
    try:
        found = tomllib.loads(own_path().read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{own_path()} cannot be read: {one_line(error)}. Mend it, or move it away.") from error
    if wrong := [name for name, values in found.items() if not isinstance(values, dict)]:
        raise ConfigError(f"{own_path()}: {wrong[0]} is no set of parameters; begin one with a line [name].")
    return found


def presets() -> dict[str, dict[str, Any]]:
    """All of them, the bundled first."""
    return {**bundled(), **own()}


def save(name: str, values: dict[str, Any]) -> str:
    """Keep these values under a name; the name. Raises ConfigError for a name that is none or a bundled one's."""
    name = " ".join(name.split())
    if not name or len(name) > LONGEST:
        raise ConfigError(f"Give the preset a name of at most {LONGEST} characters.")
    if name in bundled():
        raise ConfigError(f"{name} comes with the program: choose another name.")
    _write({**own(), name: values})
    return name


def delete(name: str) -> None:
    """Forget one of the person's. Raises ConfigError for another."""
    kept = own()
    if name not in kept:
        raise ConfigError(f"{name} comes with the program and stays." if name in bundled() else f"There is no preset {name}.")
    del kept[name]
    _write(kept)


def _write(kept: dict[str, dict[str, Any]]) -> None:
    """Beside, then renamed. JSON's texts, numbers and lists are TOML's too."""
    lines = ["# Your presets of generation parameters. What a preset does not name stays as it is."]
    for name, values in kept.items():
        lines += [
            "",
            f"[{json.dumps(name, ensure_ascii=False)}]",
            *(f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in values.items()),
        ]
    own_path().parent.mkdir(parents=True, exist_ok=True)
    part = own_path().with_name("presets.toml.part")
    part.write_text("\n".join(lines) + "\n", encoding="utf-8")
    part.replace(own_path())
