"""What the tabs share: the run store, and the models in memory, each behind its engine."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

import psutil

from app.jobs import Jobs
from app.shelf import Shelf, look
from core import kernels
from core.checkpoints.resolve import resolve
from core.errors import AdapterError, VitrineError
from core.generation import Engine, Finished, GenerationConfig, Request
from core.generation.request import Event
from core.modeling.configuration import read_config
from core.modeling.devices import usable_device
from core.paths import models_dir, runs_dir
from core.pipelines import Pipeline, pipeline, pipeline_class
from core.pipelines.loading import choose_kind
from core.runs import Store

T = TypeVar("T")


class Resident:
    """A model in memory with what prepares its inputs, behind its engine: only that runs the model."""

    def __init__(self, name: str, loaded: Pipeline) -> None:
        model = loaded.model.merge_and_unload() if hasattr(loaded.model, "merge_and_unload") else loaded.model
        self.name, self.engine = name, Engine(model, name=name)
        self.parts = {part: getattr(loaded, part) for part in ("tokenizer", "feature_extractor", "image_processor")}
        self.nbytes = sum(x.nbytes for x in (*model.parameters(), *model.buffers()))
        self.used = time.monotonic()
        self._reading = threading.Lock()

    @property
    def tokenizer(self) -> Any:
        """None where the model reads no text."""
        return self.parts["tokenizer"]

    @property
    def model(self) -> Any:
        """To read settings from."""
        return self.engine.model

    @property
    def busy(self) -> bool:
        """Whether someone uses it now."""
        return self.engine.busy

    def run(self, work: Callable[[Any], T], adapter: str | None = None) -> T:
        """What `work` makes of the model, alone with it, with the adapter of this folder or with none."""
        self.used = time.monotonic()
        return self.engine.run(work, self._adapter(adapter))

    def call(self, task: str, args: tuple[Any, ...], kwargs: dict[str, Any], cancelled: Callable[[], bool]) -> Any:
        """What the task's pipeline makes of this; None where it was cancelled."""

        def work(model: Any) -> Any:
            pipe = pipeline(task, model, **self.parts)
            pipe.cancelled = cancelled
            try:
                return pipe(*args, **kwargs)
            except StopIteration:
                return None

        return self.run(work)

    def submit(self, prompt: Any, config: GenerationConfig, adapter: str | None = None) -> Request:
        """Ask for a generation, with the adapter of this folder or with none."""
        self.used = time.monotonic()
        return self.engine.submit(prompt, config, adapter=self._adapter(adapter), tokenizer=self.tokenizer)

    def _adapter(self, folder: str | None) -> str | None:
        """The name of a folder's adapter, read where it is new; made of its file's time too, so that one trained anew is read anew."""
        if folder is None:
            return None
        file = Path(folder) / "adapter_model.safetensors"
        if not file.is_file():
            raise AdapterError(f"The adapter {folder} is gone: choose another, or the base model.")
        name = f"{Path(folder).parent.name}-{file.stat().st_mtime_ns}".replace(".", "-")
        with self._reading:
            if name not in self.engine.adapters:
                self.engine.load_adapter(folder, name)
        return name


class Workbench:
    """The program's state. `device` and `dtype` as on the command line."""

    def __init__(self, device: str = "auto", dtype: str = "auto", store: Store | None = None) -> None:
        self.device, self.dtype = device, dtype
        self.store = store or Store()
        self.jobs = Jobs(self.store)
        self.shelf = Shelf()
        self.budget = int(psutil.virtual_memory().total * 0.6)
        self._residents: dict[str, Resident] = {}
        self._loading: dict[str, Future[Resident]] = {}
        self._heads: dict[tuple[str, str | None], str] = {}
        self._lock = threading.Lock()  # of the two above; never held while a model is read

    # ------------------------------------------------------------------ models

    def model_names(self, task: str) -> list[str]:
        """Models on this machine for "text-generation" or "feature-extraction" that can be used: starters first."""
        return self.shelf.names(task)

    def use(self, name: str | None, task: str | None = None) -> Resident:
        """The model of this name with the head for a task, loaded once; without a task to write or, where it cannot, to read.

        Raises VitrineError in a sentence; nothing half-loaded stays.
        """
        if not name or not name.strip():
            raise VitrineError("No model is chosen: pick one in the list.")
        name = name.strip()
        head = self._head(name, task)
        key = name if task is None or head in ("CausalLM", "Model") else f"{name} ({head})"
        with self._lock:
            if key in self._residents:
                return self._residents[key]
            coming = self._loading.get(key)
            mine = coming is None
            if coming is None:
                coming = self._loading[key] = Future()
        if mine:
            try:
                resident = self._load(key, name, task or self._task(name))
                with self._lock:
                    self._residents[key] = resident
                self._make_room(key)
                coming.set_result(resident)
            except BaseException as error:
                coming.set_exception(error)
            finally:
                with self._lock:
                    del self._loading[key]
        return coming.result()

    def unload(self, name: str) -> None:
        """Let go of a model; who still uses it is told."""
        with self._lock:
            resident = self._residents.pop(name, None)
        if resident is not None:
            resident.engine.close()

    def loaded(self) -> dict[str, int]:
        """Models in memory and the bytes of their weights."""
        return {name: resident.nbytes for name, resident in list(self._residents.items())}

    def residents(self) -> dict[str, dict[str, int]]:
        """Of each model in memory its bytes, and how many generations run and wait."""
        return {
            name: {"bytes": resident.nbytes, "running": resident.engine.running, "waiting": resident.engine.waiting}
            for name, resident in list(self._residents.items())
        }

    def close(self) -> None:
        """At the end of the program: let go of the models, stop watching trainings."""
        for name in list(self._residents):
            self.unload(name)
        self.jobs.close()

    def _load(self, key: str, name: str, task: str) -> Resident:
        device = usable_device() if self.device == "auto" else self.device
        # a file's blocks are computed with as they are where compiled steps can: exact, and the fastest
        blocks = self.dtype == "auto" and resolve(_where(name)).suffix == ".gguf" and kernels.reason_against() is None
        kept = {"quantization": "gguf", "dtype": "float32"} if blocks else {"dtype": self.dtype}
        return Resident(key, pipeline(task, _where(name), device=device, model_kwargs=kept))

    def _task(self, name: str) -> str:
        """What a model is for, where nobody says: to write, or to read."""
        known = self.shelf.find(name) or look(resolve(_where(name)))
        return "text-generation" if known.task == "text-generation" else "feature-extraction"

    def _head(self, name: str, task: str | None) -> str:
        """The head that does the task."""
        if (name, task) not in self._heads:
            wanted = task or self._task(name)
            self._heads[name, task] = choose_kind(pipeline_class(wanted), wanted, name, read_config(_where(name)))
        return self._heads[name, task]

    def _make_room(self, keep: str) -> None:
        """Forget the models longest unused while they are more than the budget together."""
        for resident in sorted(list(self._residents.values()), key=lambda resident: resident.used):
            if sum(self.loaded().values()) <= self.budget:
                return
            if resident.name != keep and not resident.busy:
                self.unload(resident.name)

    # ------------------------------------------------------------------ adapters

    def adapters(self, model: str | None) -> list[tuple[str, str]]:
        """(label, folder) of the finished runs on this model, newest first."""
        found = []
        for run in self.store.runs("training"):
            folder = runs_dir() / run["id"] / "adapter"
            if run["model"] == model and (folder / "adapter_config.json").is_file():
                found.append((f"{run['name']} ({run['id']})", str(folder)))
        return found

    # ------------------------------------------------------------------ generation

    def chat_stream(
        self,
        model: str | None,
        adapter: str | None,
        prompt: str | list[dict[str, Any]],
        config: GenerationConfig,
    ) -> Iterator[Event]:
        """The answer as events, from the model's engine: whoever stops reading stops it."""
        yield from self.use(model).submit(prompt, config, adapter)

    def record(
        self, model: str, adapter: str | None, messages: list[dict[str, Any]], params: dict[str, Any], end: Finished
    ) -> str:
        """One generation into the store, at its end; its run id."""
        prompt = next((m["content"] for m in reversed(messages) if m["role"] == "user"), "")
        config = {"adapter": adapter, "parameters": params, "messages": messages, "reason": end.reason}
        run = self.store.create_run("generation", " ".join(prompt.split())[:60] or "(empty)", model, config, state="running")
        numbers = {
            "tokens": len(end.token_ids),
            "prompt_tokens": end.prompt_tokens,
            "seconds": end.seconds,
            "tokens_per_second": end.tokens_per_second,
        }
        self.store.log(run, 0, numbers)
        self.store.add_sample(run, 0, prompt, end.text)
        self.store.set_state(run, "finished")
        return run

    # ------------------------------------------------------------------ tasks

    def call(
        self,
        task: str,
        name: str | None,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        cancelled: Callable[[], bool] = lambda: False,
    ) -> Any:
        """What a task's pipeline makes of this with the model of this name; None where it was cancelled."""
        return self.use(name, task).call(task, args, kwargs, cancelled)

    def record_call(self, task: str, name: str, values: list[Any], result: Any, seconds: float) -> None:
        """One call into the store; values: the tab's inputs, texts only."""
        title = next((" ".join(value.split())[:60] for value in values if isinstance(value, str)), task)
        run = self.store.create_run(task, title, name, {"inputs": values}, state="running")
        self.store.log(run, 0, {"seconds": seconds})
        self.store.add_sample(run, 0, title, json.dumps(result, ensure_ascii=False, default=str)[:10_000])
        self.store.set_state(run, "finished")

    def calls(self, task: str, most: int = 20) -> list[tuple[str, str]]:
        """(label, run) of the newest calls of a task."""
        return [(f"{run['name']} · {run['model']}", run["id"]) for run in self.store.runs(task)[:most]]

    def call_inputs(self, run: str) -> list[Any]:
        """What a tab's inputs were at that call."""
        return self.store.run(run)["config"]["inputs"]


def _where(name: str) -> str:
    """A folder of the models folder by its name; else the name."""
    path = models_dir() / name
    return str(path) if path.is_dir() else name
