"""What the tabs share: the run store, and the models in memory, each behind its engine."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

import psutil

from app.jobs import Jobs
from app.residents import Call, Resident
from app.shelf import Shelf, look
from core import kernels
from core.checkpoints.resolve import resolve
from core.errors import VitrineError
from core.generation import Finished, GenerationConfig
from core.generation.request import Event
from core.modeling.configuration import read_config
from core.modeling.devices import usable_device
from core.paths import models_dir, runs_dir
from core.pipelines import pipeline, pipeline_class
from core.pipelines.loading import choose_kind
from core.runs import Store

POOL = ThreadPoolExecutor(64, thread_name_prefix="workbench")  # threads that wait for an engine
IDLE = 30 * 60  # seconds after which a model that nobody uses is let go


class Workbench:
    """The program's state. `device` and `dtype` as on the command line; models unused for `idle` seconds are let go."""

    def __init__(self, device: str = "auto", dtype: str = "auto", store: Store | None = None, idle: float = IDLE) -> None:
        self.device, self.dtype = device, dtype
        self.store = store or Store()
        self.jobs = Jobs(self.store)
        self.shelf = Shelf()
        self.budget = int(psutil.virtual_memory().total * 0.6)
        self._residents: dict[str, Resident] = {}
        self._loading: dict[str, Future[Resident]] = {}
        self._heads: dict[tuple[str, str | None], str] = {}
        self._stages: dict[str, str] = {}  # what is done for a model that is being read
        self.idle, self._over = idle, threading.Event()
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
                self._make_room(name)
                resident = self._load(key, name, task or self._task(name), head)
                with self._lock:
                    self._residents[key] = resident
                coming.set_result(resident)
            except BaseException as error:
                coming.set_exception(error)
            finally:
                with self._lock:
                    del self._loading[key]
                    self._stages.pop(name, None)
        return coming.result()

    def opening(self, name: str | None, task: str | None = None) -> Iterator[str]:
        """Read a model where it is not here yet, saying what is done meanwhile. Raises as `use` does."""
        coming = POOL.submit(self.use, name, task)
        while not wait([coming], 0.3).done:
            yield self.stage(name)
        coming.result()

    def stage(self, name: str | None) -> str:
        """What is done for a model that is not ready yet."""
        return self._stages.get((name or "").strip(), f"Loading {name} …")

    def unload(self, name: str) -> None:
        """Let go of a model; who still uses it is told. Raises VitrineError where it is not in memory."""
        if not self._drop(name):
            raise VitrineError(f"{name} is not in memory.")

    def unload_idle(self) -> None:
        """Let go of models that nobody used for a while."""
        for resident in list(self._residents.values()):
            if resident.busy:
                resident.used = time.monotonic()
            elif time.monotonic() - resident.used > self.idle:
                self._drop(resident.name)

    def watch(self, seconds: float = 20) -> None:
        """Look after trainings and idle models in the background until `close()`."""

        def loop() -> None:
            while not self._over.wait(seconds):
                self.unload_idle()

        threading.Thread(target=loop, name="idle", daemon=True).start()
        self.jobs.watch()

    def residents(self) -> dict[str, dict[str, int]]:
        """Of each model in memory what it holds and who uses it."""
        return {name: resident.report for name, resident in list(self._residents.items())}

    def close(self) -> None:
        """At the end of the program: let go of the models, stop watching."""
        self._over.set()
        for name in list(self._residents):
            self._drop(name)
        self.jobs.close()

    def _load(self, key: str, name: str, task: str, head: str) -> Resident:
        device = usable_device() if self.device == "auto" else self.device
        # a file's blocks are computed with as they are where compiled steps can: exact, and the fastest
        blocks = self.dtype == "auto" and resolve(_where(name)).suffix == ".gguf" and kernels.reason_against() is None
        kept = {"quantization": "gguf", "dtype": "float32"} if blocks else {"dtype": self.dtype}
        loaded = pipeline(task, _where(name), device=device, model_kwargs=kept)
        if head == "CausalLM" and not kernels.is_compiled():
            self._stages[name] = "Preparing the fast path for this processor, once; it takes some seconds …"
            kernels.warm_up()
        return Resident(key, loaded)

    def _task(self, name: str) -> str:
        """What a model is for, where nobody says: to write, or to read."""
        known = self.shelf.find(name) or look(resolve(_where(name)))
        return "text-generation" if known.task == "text-generation" else "feature-extraction"

    def _head(self, name: str, task: str | None) -> str:
        """The head that does the task."""
        if (name, task) not in self._heads:
            wanted = task or self._task(name)
            # an encoder has a head that writes by its architecture, but nobody trained it
            if wanted == "text-generation" and self._task(name) != wanted:
                raise VitrineError(f"{name} was not made to write text (text-generation): choose another model.")
            self._heads[name, task] = choose_kind(pipeline_class(wanted), wanted, name, read_config(_where(name)))
        return self._heads[name, task]

    def _make_room(self, name: str) -> None:
        """Let go of models longest unused, until there is room for this one. Raises VitrineError where there cannot be."""
        known = self.shelf.find(name)
        need = known.memory if known else 0
        for resident in sorted(list(self._residents.values()), key=lambda resident: resident.used):
            if self._held() + need <= self.budget:
                return
            if not resident.busy:
                self._drop(resident.name)
        if need > self.budget:
            raise VitrineError(
                f"{name} needs about {gigabytes(need)} of memory and this machine has {gigabytes(self.budget)} to give to models: "
                "choose a smaller model, or a GGUF file of it with smaller numbers."
            )
        if self._held() + need > self.budget:
            raise VitrineError(
                f"{name} needs about {gigabytes(need)} of memory, and models that others use now hold {gigabytes(self._held())} of "
                f"{gigabytes(self.budget)}: try again when they are done."
            )

    def _drop(self, name: str) -> bool:
        with self._lock:
            resident = self._residents.pop(name, None)
        if resident is not None:
            resident.engine.close()
        return resident is not None

    def _held(self) -> int:
        return sum(resident.nbytes for resident in list(self._residents.values()))

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
        yield from self.use(model, "text-generation").submit(prompt, config, adapter)

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

    def ask(self, task: str | None, name: str | None, work: Callable[[Resident, Any, Call], Any]) -> Call:
        """Begin what `work` makes of (resident, model, call), with the model of this name and the head for a task, alone with it."""
        call = Call(lambda: self.stage(name))

        def begin() -> Any:
            if call.stopped:
                return None
            resident = self.use(name, task)
            return resident.call(call, lambda model: work(resident, model, call))

        call.answer = POOL.submit(begin)
        return call

    def call(self, task: str, name: str | None, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
        """Begin what a task's pipeline makes of this."""

        def work(resident: Resident, model: Any, call: Call) -> Any:
            pipe = pipeline(task, model, **resident.parts)
            pipe.cancelled = lambda: call.stopped
            return pipe(*args, **kwargs)

        return self.ask(task, name, work)

    def record_call(self, task: str, name: str, title: str, values: list[Any], result: Any, seconds: float) -> None:
        """One call into the store; values: the tab's inputs, texts and files only."""
        title = " ".join(title.split())[:60] or task
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


def gigabytes(count: int) -> str:
    """Bytes as a person says them."""
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.0f} MB"
