"""What a run needs to know, as one YAML: a recipe, or the frozen configuration of a run."""

from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

from core.errors import DataError, TrainingError
from core.paths import assets_dir
from core.trainer.arguments import TrainingArguments
from core.trainer.reading import find_splits

DEFAULTS = {
    "per_device_train_batch_size": 4,
    "learning_rate": 2e-4,
    "lr_scheduler_type": "cosine",
    "logging_steps": 1,
    "save_steps": 10,
}


@dataclass
class RunConfig:
    """What a run needs to know; `lora` are LoraConfig's keys (none: the whole model is trained), `training` TrainingArguments'.

    task: a name of core.trainer.tasks. dataset: a file, a folder, or NAME where NAME.train.… stands; `valid` another file to judge by,
    else the one that goes with it, else eval_fraction of the rows is held out. columns: what a file calls the task's columns.
    header: column names of a table without a line of them. labels: the classes in their order; rows of others are left out. dtype:
    of the weights. exact_match: so many held-out rows are answered before and after, and the share of answers that equal the
    row's is logged, with their ROUGE-1. scratch: a model that begins from nothing (core.trainer.scratch); `model` is then its name alone. card: what the
    model card of a starter says beside its score (tools/starters.py).
    """

    model: str
    dataset: str
    name: str = "run"
    task: str = "instruction"
    valid: str | None = None
    columns: dict[str, str] = field(default_factory=dict)
    header: list[str] | None = None
    labels: list[str] | None = None
    dtype: str = "float32"
    max_length: int = 256
    system: str | None = None
    lora: dict[str, Any] | None = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    sample_prompts: list[str] = field(default_factory=list)
    eval_fraction: float = 0.0
    exact_match: int = 0
    scratch: dict[str, Any] | None = None
    card: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.max_length < 2:
            raise TrainingError(f"max_length must be at least 2 tokens, not {self.max_length}.")
        if not 0 <= self.eval_fraction < 1:
            raise TrainingError(f"eval_fraction must be at least 0 and below 1, not {self.eval_fraction}.")

    def arguments(self, output_dir: str | Path) -> TrainingArguments:
        """The checked arguments. Raises TrainingError for an unknown or senseless one."""
        if unknown := sorted(set(self.training) - TrainingArguments.names()):
            raise TrainingError(f"There is no training argument {', '.join(unknown)}.")
        return TrainingArguments(**{**DEFAULTS, **self.training, "output_dir": str(output_dir)})

    def files(self) -> tuple[Path, Path | None]:
        """The file to train on and the one to judge by. Raises DataError where there is none."""
        if not self.dataset:
            raise DataError("No data is named: add --data PATH.")
        train, beside = bundled(self.dataset) or find_splits(self.dataset)
        return train, find_splits(self.valid)[0] if self.valid else beside

    @property
    def folder(self) -> Path:
        """Where paths within the rows begin."""
        train = self.files()[0]
        return train.parent if train.is_file() else Path()


def bundled(name: str) -> tuple[Path, None] | None:
    """A data set that comes with the program."""
    path = assets_dir() / "datasets" / f"{name}.jsonl"
    return (path, None) if path.is_file() and not Path(name).expanduser().exists() else None


def find_dataset(name: str) -> Path:
    """A path, or the name of a bundled set. Raises DataError where there is neither."""
    return (bundled(name) or find_splits(name))[0]


def read(path: str | Path) -> RunConfig:
    """A configuration from a YAML file; a recipe may leave its data to the command line. Raises TrainingError naming the file and
    the key."""
    path = Path(path)
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise TrainingError(f"{path} cannot be read as YAML: {error}.") from error
    if not isinstance(values, dict):
        raise TrainingError(f"{path} must hold keys and values.")
    known = {f.name for f in fields(RunConfig)}
    if unknown := sorted(set(values) - known):
        raise TrainingError(f"{path}: unknown key {', '.join(map(str, unknown))}; known: {', '.join(sorted(known))}.")
    if not values.get("model"):
        raise TrainingError(f"{path} does not say its model.")
    return RunConfig(**{"dataset": "", **values})


def write(config: RunConfig, path: str | Path) -> None:
    """Write the YAML, beside and renamed."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(yaml.safe_dump(asdict(config), sort_keys=False, allow_unicode=True), encoding="utf-8")
    part.replace(path)


def override(config: RunConfig, words: list[str]) -> RunConfig:
    """`--data PATH`, `--learning_rate 2e-4`, `--lora.r 16`, `--name NAME`: a recipe with other values. Raises TrainingError for a
    name that is none."""
    if len(words) % 2 or not all(word.startswith("--") for word in words[::2]):
        raise TrainingError("After the configuration come pairs such as --learning_rate 2e-4.")
    values = asdict(config)
    own, arguments = {f.name for f in fields(RunConfig)}, TrainingArguments.names()
    for word, text in zip(words[::2], words[1::2], strict=True):
        name = {"data": "dataset"}.get(word[2:], word[2:])
        group, _, key = name.partition(".")
        value = yaml.safe_load(text)
        if key and group in ("lora", "training", "columns"):
            values[group] = {**(values[group] or {}), key: value}
        elif name in own:
            values[name] = text if name in ("dataset", "valid", "model", "name") else None if value == "none" else value
        elif name in arguments:
            values["training"] = {**values["training"], name: value}
        else:
            raise TrainingError(f"There is no argument {word}; see launch.py train --help.")
    return RunConfig(**values)


def explain() -> str:
    """All that the command line takes, with one line each."""
    lines = [
        "launch.py train RECIPE.yaml [--data PATH] [--NAME VALUE …]   a new run",
        "launch.py train RUN_ID                                       go on with a run",
        "",
        f"Of the run: {', '.join('--' + f.name for f in fields(RunConfig))}; --lora.r 16 and the like.",
        "",
    ]
    for name, declared in TrainingArguments.knobs().items():
        default = declared.default if declared.default.__class__.__name__ != "_MISSING_TYPE" else []
        choices = f" One of {', '.join(declared.metadata['choices'])}." if declared.metadata["choices"] else ""
        lines.append(f"  --{name:32} {declared.metadata['help']}{choices} [{default}]")
    return "\n".join(lines)
