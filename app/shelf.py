"""The models a person can pick: starters, folders of the models folder, the hub's cache; what each is, what it needs, or why it
cannot be used. And downloads, one thread each, that can be stopped and go on."""

import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from core.checkpoints import bundled, catalogue
from core.checkpoints.download import Cancelled
from core.errors import HubError, VitrineError, printable
from core.paths import models_dir

# What a head is for, in the order in which a class name decides.
TASKS = [
    ("CausalLM", "text-generation"),
    ("LMHeadModel", "text-generation"),
    ("ForMaskedLM", "fill-mask"),
    ("ForSequenceClassification", "text-classification"),
    ("ForTokenClassification", "token-classification"),
    ("ForQuestionAnswering", "question-answering"),
    ("WhisperForConditionalGeneration", "automatic-speech-recognition"),
    ("ForConditionalGeneration", "text2text-generation"),
    ("MTModel", "translation"),
    ("ForAudioClassification", "audio-classification"),
    ("ForImageClassification", "image-classification"),
    ("CLIPModel", "zero-shot-image-classification"),
    ("ForCTC", "automatic-speech-recognition"),
]
ALSO = {
    "feature-extraction": (
        "feature-extraction",
        "fill-mask",
        "text-classification",
        "token-classification",
        "question-answering",
    ),
    "sentence-similarity": ("feature-extraction",),
    "zero-shot-classification": ("zero-shot-classification", "feature-extraction"),
    "translation": ("translation", "text2text-generation"),
    "summarization": ("summarization", "text2text-generation"),
    "text2text-generation": ("text2text-generation", "translation", "summarization"),
}
WEIGHTS = (".safetensors", ".bin", ".gguf")
QUANTISED = 4  # bytes a weight takes that a file keeps in blocks


@dataclass
class Model:
    """One line of the picker; sizes in bytes. `problem` is the reason why it cannot be used, `memory` what its weights take."""

    name: str
    source: str  # starter, folder, hub
    here: bool
    task: str = ""
    architecture: str = ""
    parameters: int = 0
    size: int = 0
    memory: int = 0
    licence: str = ""
    problem: str | None = None


@dataclass
class Download:
    """A download on its way, or how it ended: running, stopped, failed, done. Sizes in bytes."""

    state: str = "running"
    done: int = 0
    total: int = 0
    error: str = ""


class Shelf:
    """What there is, and what is being fetched."""

    def __init__(self) -> None:
        self._downloads: dict[str, Download] = {}
        self._stops: dict[str, threading.Event] = {}
        self._lock = threading.Lock()

    # ------------------------------------------------------------------ what there is

    def models(self) -> list[Model]:
        """Starters first, fetched ones before bundled ones, then folders, then the hub's cache; each name once."""
        found: dict[str, Model] = {}
        for entry in catalogue.load_catalogue().values():
            folder = catalogue.installed(entry)
            model = look(folder) if folder else Model(entry.key, "starter", False, size=entry.size_bytes)
            model.name, model.source, model.task, model.licence = entry.key, "starter", entry.task, entry.licence
            found[model.name] = model
        for card in bundled.cards().values():
            found[card.name] = _bundled(card, found)
        for path in _folders():
            found.setdefault(path.name, look(path))
        for name, path in _hub_cache():
            model = look(path)
            model.name, model.source = name, "hub"
            found.setdefault(name, model)
        return list(found.values())

    def names(self, task: str) -> list[str]:
        """Of the usable models those that a task can be done with."""
        return [model.name for model in self.models() if model.here and not model.problem and model.task in able(task)]

    def find(self, name: str) -> Model | None:
        """The model of this name."""
        return next((model for model in self.models() if model.name == name), None)

    # ------------------------------------------------------------------ downloads

    def downloads(self) -> dict[str, Download]:
        """By name."""
        return dict(self._downloads)

    def fetch(self, name: str) -> None:
        """Begin, or go on with, a starter or a hub name. Raises HubError where it runs already or the name is none."""
        name = name.strip().strip("/")
        entry = catalogue.find(name)
        if entry is None and not _is_hub_name(name):
            raise HubError(f"'{printable(name, 80)}' is neither a starter nor a hub name such as owner/model.")
        with self._lock:
            if (running := self._downloads.get(name)) and running.state == "running":
                raise HubError(f"{name} is being fetched already.")
            download = self._downloads[name] = Download(total=entry.size_bytes if entry else 0)
            stop = self._stops[name] = threading.Event()
        threading.Thread(target=_work, args=(name, download, stop), name=f"fetch-{name}", daemon=True).start()

    def stop(self, name: str) -> None:
        """Ask a download to end; what has arrived is kept. Raises HubError where there is none."""
        if name not in self._stops or self._downloads[name].state != "running":
            raise HubError(f"'{printable(name, 80)}' is not being fetched.")
        self._stops[name].set()

    def report(self) -> dict[str, Any]:
        """All of it, for the page."""
        return {
            "models": [asdict(model) for model in self.models()],
            "downloads": {name: asdict(download) for name, download in self._downloads.items()},
            "folder": str(models_dir()).replace(str(Path.home()), "~", 1),
        }


def _work(name: str, download: Download, stop: threading.Event) -> None:
    def show(done: int, total: int) -> None:
        download.done, download.total = done, total

    try:
        _fetch(name, show, stop)
        download.state = "done"
    except Cancelled as error:
        download.state, download.error = "stopped", str(error)
    except VitrineError as error:
        download.state, download.error = "failed", str(error)
    except Exception as error:  # a download must never end without a word
        download.state, download.error = "failed", f"{name} could not be fetched: {printable(str(error))}"


def _fetch(name: str, show: Callable[[int, int], None], stop: threading.Event) -> None:
    if entry := catalogue.find(name):
        catalogue.fetch(entry, show, stop.is_set)
        return
    from core.checkpoints.resolve import resolve

    resolve(name, on_progress=show, cancel=stop)


def look(path: Path) -> Model:
    """What a folder or .gguf file holds, read from its headers; kept until a file changes."""
    files = [path] if path.is_file() else sorted(f for f in path.iterdir() if f.is_file())
    stamp = tuple((f.name, f.stat().st_size, f.stat().st_mtime_ns) for f in files)
    return Model(**_look(path, stamp))


@lru_cache(512)
def _look(path: Path, stamp: tuple[Any, ...]) -> dict[str, Any]:
    from core.auto import ARCHITECTURES, count_parameters
    from core.checkpoints import open_checkpoint
    from core.checkpoints.resolve import resolve
    from core.modeling.configuration import read_config

    model = Model(path.name, "folder", True, size=sum(size for name, size, _ in stamp if name.endswith(WEIGHTS)))
    try:
        inside = resolve(str(path))
        config = read_config(inside)
        model.architecture = printable(str(config.get("model_type") or ""), 40)
        names = [str(name) for name in config.get("architectures") or []]
        known = ARCHITECTURES.get(model.architecture)
        heads = known.heads if known else ()
        usual = "text-generation" if heads[:1] == ("CausalLM",) and not names else "feature-extraction"
        model.task = next((task for end, task in TASKS for name in names if name.endswith(end)), usual)
        if known is None:
            model.problem = (
                f"the architecture '{model.architecture}' is not supported yet"
                if model.architecture
                else "config.json does not say its model_type"
            )
        open_checkpoint(inside).close()
        model.parameters = 0 if known is None else count_parameters(config)
        width = {"float32": 4, "float16": 2, "bfloat16": 2}.get(str(config.get("dtype") or config.get("torch_dtype")), QUANTISED)
        model.memory = model.parameters * width
    except (VitrineError, OSError) as error:
        model.problem = str(error)
    return asdict(model)


def _bundled(card: bundled.Card, known: dict[str, Model]) -> Model:
    """A starter that comes with the program; an adapter needs its base too."""
    base = bundled.base_of(card.folder)
    model = look(card.folder) if base is None else Model(card.name, "starter", True, size=card.size)
    model.source, model.task, model.licence = "starter", card.task, card.licence
    if base is not None:
        under = known.get(base)
        model.architecture = f"adapter on {base}"
        if under is None or not under.here or under.problem:
            model.problem = f"it is an adapter on {base}, which is not here: fetch that first"
        else:
            model.parameters, model.memory = under.parameters, under.memory
    return model


def able(task: str) -> tuple[str, ...]:
    """The tasks whose models can do this one: an encoder gives vectors whatever its head is for."""
    return ALSO.get(task, (task,))


def _folders() -> list[Path]:
    """Model folders and .gguf files in the models folder; a folder with none of a model's files is none."""
    if not models_dir().is_dir():
        return []
    found = []
    for path in sorted(models_dir().iterdir()):
        if path.name.startswith("."):
            continue
        holds = path.is_dir() and any(f.name == "config.json" or f.suffix in WEIGHTS for f in path.iterdir())
        if holds or path.suffix == ".gguf":
            found.append(path)
    return found


def _hub_cache() -> list[tuple[str, Path]]:
    """(name, newest snapshot) of the models in the hub's cache that have a config.json."""
    from huggingface_hub import constants

    found = []
    for folder in sorted(Path(constants.HF_HUB_CACHE).glob("models--*")):
        snapshots = [s for s in folder.glob("snapshots/*") if (s / "config.json").is_file() or any(s.glob("*.gguf"))]
        if snapshots:
            newest = max(snapshots, key=lambda snapshot: snapshot.stat().st_mtime)
            found.append((folder.name.removeprefix("models--").replace("--", "/"), newest))
    return found


def _is_hub_name(name: str) -> bool:
    parts = name.split("/")
    return len(parts) == 2 and all(part and part[0].isalnum() and set(part) <= NAME for part in parts)


NAME = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")
