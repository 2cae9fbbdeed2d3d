"""What the tabs share: the run store, the models in memory, and who may use them when."""

import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from app.jobs import Jobs
from app.shelf import Shelf, look, serves
from core.checkpoints import catalogue
from core.errors import AdapterError, VitrineError
from core.generation import Finished, GenerationConfig, TextDelta
from core.paths import models_dir, runs_dir
from core.runs import Store

Event = TextDelta | Finished


class Resident:
    """A model in memory with its tokenizer. Whoever runs it holds `exclusive()`."""

    def __init__(self, name: str, model: Any, tokenizer: Any) -> None:
        self.name, self.model, self.tokenizer = name, model, tokenizer
        self.used = time.monotonic()
        self._lock = threading.Lock()
        self._adapted: Any = None

    @contextmanager
    def exclusive(self, adapter: str | None = None) -> Iterator[None]:
        """The model for one caller, with the adapter of this folder or with none."""
        with self._lock:
            self.used = time.monotonic()
            if adapter is None:
                if self._adapted is None:
                    yield
                else:
                    with self._adapted.disable_adapter():
                        yield
                return
            self._put_on(adapter)
            yield

    @property
    def busy(self) -> bool:
        """Whether someone runs it now."""
        return self._lock.locked()

    @property
    def nbytes(self) -> int:
        """Memory of its weights, in bytes."""
        return sum(p.numel() * p.element_size() for p in self.model.parameters())

    def _put_on(self, folder: str) -> None:
        """Make this adapter the active one; its name is its folder's and time, so that one trained anew is read anew."""
        from core.peft import PeftModel

        file = Path(folder) / "adapter_model.safetensors"
        if not file.is_file():
            raise AdapterError(f"The adapter {folder} is gone: choose another, or the base model.")
        name = f"{Path(folder).parent.name}-{file.stat().st_mtime_ns}".replace(".", "-")
        if self._adapted is None:
            self._adapted = PeftModel.from_pretrained(self.model, folder, adapter_name=name)
        elif name not in self._adapted.peft_config:
            self._adapted.load_adapter(folder, name)
        self._adapted.set_adapter(name)


class Workbench:
    """The program's state. `device` and `dtype` as on the command line."""

    def __init__(self, device: str = "auto", dtype: str = "auto", store: Store | None = None) -> None:
        self.device, self.dtype = device, dtype
        self.store = store or Store()
        self.jobs = Jobs(self.store)
        self.shelf = Shelf()
        self.budget = int(psutil.virtual_memory().total * 0.6)
        self._residents: dict[str, Resident] = {}
        self._loading = threading.Lock()

    # ------------------------------------------------------------------ models

    def model_names(self, task: str) -> list[str]:
        """Models on this machine for "text-generation" or "feature-extraction" that can be used: starters first."""
        return self.shelf.names(task)

    def use(self, name: str | None) -> Resident:
        """The model of this name, loaded once. Raises VitrineError in a sentence; nothing half-loaded stays."""
        if not name or not name.strip():
            raise VitrineError("No model is chosen: pick one in the list.")
        name = name.strip()
        with self._loading:
            if name not in self._residents:
                self._residents[name] = self._load(name)
                self._make_room(name)
            return self._residents[name]

    def unload(self, name: str) -> None:
        """Let go of a model."""
        with self._loading:
            self._residents.pop(name, None)

    def loaded(self) -> dict[str, int]:
        """Models in memory and the bytes of their weights."""
        return {name: resident.nbytes for name, resident in self._residents.items()}

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
        for resident in sorted(self._residents.values(), key=lambda resident: resident.used):
            if sum(self.loaded().values()) <= self.budget:
                return
            if resident.name != keep and not resident.busy:
                del self._residents[resident.name]

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
        """The answer as events, computed on a thread of its own: whoever stops reading stops it, and the model is always let go."""
        from core.pipelines import TextGenerationPipeline

        resident = self.use(model)
        events: queue.Queue[Event | BaseException | None] = queue.Queue()
        gone = threading.Event()

        def work() -> None:
            try:
                with resident.exclusive(adapter):
                    pipeline = TextGenerationPipeline(resident.model, resident.tokenizer)
                    for event in pipeline.stream(prompt, config, gone.is_set):
                        events.put(event)
            except BaseException as error:
                events.put(error)
            events.put(None)

        threading.Thread(target=work, name=f"generate-{resident.name}", daemon=True).start()
        yield from _until_none(events, gone.set)

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


def _until_none(events: "queue.Queue[Any]", leave: Callable[[], None]) -> Iterator[Any]:
    try:
        while (event := events.get()) is not None:
            if isinstance(event, BaseException):
                raise event
            yield event
    finally:
        leave()
