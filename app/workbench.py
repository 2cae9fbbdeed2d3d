"""What the tabs share: the run store, and the models in memory, each behind its engine."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

import psutil

from app.jobs import Jobs
from app.shelf import Shelf, look, serves
from core.checkpoints import catalogue
from core.errors import AdapterError, VitrineError
from core.generation import Engine, Finished, GenerationConfig, Request
from core.generation.request import Event
from core.paths import models_dir, runs_dir
from core.runs import Store

T = TypeVar("T")


class Resident:
    """A model in memory with its tokenizer, behind its engine: only that runs the model."""

    def __init__(self, name: str, model: Any, tokenizer: Any) -> None:
        self.name, self.tokenizer, self.engine = name, tokenizer, Engine(model, name=name)
        self.nbytes = sum(x.nbytes for x in (*model.parameters(), *model.buffers()))
        self.used = time.monotonic()
        self._reading = threading.Lock()

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
        self._lock = threading.Lock()  # of the two above; never held while a model is read

    # ------------------------------------------------------------------ models

    def model_names(self, task: str) -> list[str]:
        """Models on this machine for "text-generation" or "feature-extraction" that can be used: starters first."""
        return self.shelf.names(task)

    def use(self, name: str | None) -> Resident:
        """The model of this name, loaded once. Raises VitrineError in a sentence; nothing half-loaded stays."""
        if not name or not name.strip():
            raise VitrineError("No model is chosen: pick one in the list.")
        name = name.strip()
        with self._lock:
            if name in self._residents:
                return self._residents[name]
            coming = self._loading.get(name)
            mine = coming is None
            if coming is None:
                coming = self._loading[name] = Future()
        if mine:
            try:
                resident = self._load(name)
                with self._lock:
                    self._residents[name] = resident
                self._make_room(name)
                coming.set_result(resident)
            except BaseException as error:
                coming.set_exception(error)
            finally:
                with self._lock:
                    del self._loading[name]
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

    def _load(self, name: str) -> Resident:
        import core

        path = models_dir() / name
        kind = core.AutoModelForCausalLM if self._task(name, path) == "text-generation" else core.AutoModel
        where = str(path) if path.is_dir() else name
        tokenizer = core.AutoTokenizer.from_pretrained(where)
        model = kind.from_pretrained(where, dtype=self.dtype, device_map=None if self.device == "auto" else self.device)
        if self.device == "auto":
            from core.modeling.devices import usable_device

            model = model.to(usable_device())
        return Resident(name, model, tokenizer)

    def _task(self, name: str, path: Path) -> str:
        from core.checkpoints.resolve import resolve

        entry = catalogue.find(name)
        return entry.task if entry else serves(look(path if path.exists() else resolve(name)))

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
