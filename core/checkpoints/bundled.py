"""Starters that come with the program: adapters and small models under assets/starters, each with a card.

A card is the folder's README.md; its front matter has the hub's keys (license, base_model, pipeline_tag) and ours: `title`, `hub`, the
`data` with their licences, the `command` that made it, and under `measured` the score on rows kept apart, that of the base, and the floor
that a trivial method reaches.
"""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from core.errors import CheckpointError
from core.paths import assets_dir


@dataclass(frozen=True)
class Card:
    """What a bundled starter is. `score`, `base_score` and `floor` are shares of 1 in `metric`; `hub` is the model to fetch where there is
    a network; `data` are (name, licence, source) of what it was trained on."""

    name: str
    folder: Path
    title: str
    task: str
    licence: str
    base: str | None
    metric: str
    score: float
    floor: float
    base_score: float | None
    hub: str
    data: tuple[tuple[str, str, str], ...]
    command: str

    @property
    def size(self) -> int:
        """Bytes of its weights."""
        return sum(file.stat().st_size for file in self.folder.glob("*.safetensors"))


@cache
def cards() -> dict[str, Card]:
    """The bundled starters by name."""
    return {folder.name: read_card(folder) for folder in sorted((assets_dir() / "starters").glob("[!.]*")) if folder.is_dir()}


def find(name: str) -> Path | None:
    """The folder of the bundled starter of this name, whatever its case."""
    return next((card.folder for card in cards().values() if card.name.lower() == name.lower()), None)


def base_of(folder: Path) -> str | None:
    """The name of the model that an adapter's folder stands on; None where it holds no adapter. Raises CheckpointError for one that
    does not say."""
    path = folder / "adapter_config.json"
    if not path.is_file():
        return None
    try:
        base = json.loads(path.read_text(encoding="utf-8"))["base_model_name_or_path"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} does not name its base model (base_model_name_or_path).") from error
    return str(base)


def read_card(folder: Path) -> Card:
    """The card of a folder. Raises CheckpointError where a key is missing."""
    path = folder / "README.md"
    try:
        _, front, _ = path.read_text(encoding="utf-8").split("---\n", 2)
        values: dict[str, Any] = yaml.safe_load(front)
        measured = values["measured"]
        return Card(
            folder.name,
            folder,
            values["title"],
            values["pipeline_tag"],
            values["license"],
            values.get("base_model"),
            measured["metric"],
            float(measured["score"]),
            float(measured["floor"]),
            None if measured.get("base") is None else float(measured["base"]),
            values["hub"],
            tuple((row["name"], row["licence"], row["source"]) for row in values["data"]),
            values["command"],
        )
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError) as error:
        raise CheckpointError(f"{path} is no model card of ours: {error!r}.") from error
