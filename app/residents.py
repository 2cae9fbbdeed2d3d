"""A model in memory behind its engine, and the calls that want it to themselves: where each stands in line, and how it is stopped."""

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from pathlib import Path
from typing import Any, TypeVar

from core.errors import AdapterError
from core.generation import Engine, GenerationConfig, Request
from core.pipelines import Pipeline

T = TypeVar("T")


class Call:
    """Something that wants a model to itself, asked for by someone who waits: `answer` is what comes of it (None where it was stopped)."""

    def __init__(self, stage: Callable[[], str]) -> None:
        self.notes: list[str] = []  # what the library warned of meanwhile, such as tokens that were cut
        self.answer: Future[Any] = Future()
        self.resident: Resident | None = None
        self._stage, self._gone = stage, threading.Event()

    def stop(self) -> None:
        """Nobody listens any more: it ends within a step."""
        self._gone.set()

    def waiting(self) -> Iterator[str]:
        """Sentences for who waits, until there is an answer; whoever stops reading them stops the work."""
        try:
            while not wait([self.answer], 0.4).done:
                yield self.standing
        finally:
            if not self.answer.done():
                self.stop()

    @property
    def stopped(self) -> bool:
        """Whether it is to end."""
        return self._gone.is_set()

    @property
    def standing(self) -> str:
        """A sentence for who waits."""
        if self.resident is None:
            return self._stage()
        place = self.resident.place(self)
        return f"In line, number {place}: others use this model …" if place else "Working …"


class Resident:
    """A model in memory with what prepares its inputs, behind its engine: only that runs the model."""

    def __init__(self, name: str, loaded: Pipeline) -> None:
        model = loaded.model.merge_and_unload() if hasattr(loaded.model, "merge_and_unload") else loaded.model
        self.name, self.engine = name, Engine(model, name=name)
        self.parts = {part: getattr(loaded, part) for part in ("tokenizer", "feature_extractor", "image_processor")}
        self.weights = sum(x.nbytes for x in (*model.parameters(), *model.buffers()))
        self.used = time.monotonic()
        self._reading = threading.Lock()
        self._line: list[Call] = []

    @property
    def tokenizer(self) -> Any:
        """None where the model reads no text."""
        return self.parts["tokenizer"]

    @property
    def model(self) -> Any:
        """To read settings from."""
        return self.engine.model

    @property
    def nbytes(self) -> int:
        """Memory of the weights and of the conversations that are kept for a next turn."""
        return self.weights + self.engine.prefixes.nbytes

    @property
    def busy(self) -> bool:
        """Whether someone uses it now."""
        return bool(self._line) or self.engine.busy

    @property
    def report(self) -> dict[str, int]:
        """Its memory in bytes; how many generations run and wait, how many calls were asked for; and for how many seconds nobody used it."""
        calls, engine = len(self._line), self.engine
        idle = 0 if self.busy else int(time.monotonic() - self.used)
        return {"bytes": self.nbytes, "running": engine.running, "waiting": engine.waiting, "calls": calls, "idle": idle}

    def place(self, call: Call) -> int:
        """How many calls are before this one; 0 where it is being computed."""
        line = list(self._line)
        return line.index(call) if call in line else 0

    def run(self, work: Callable[[Any], T], adapter: str | None = None) -> T:
        """What `work` makes of the model, alone with it, with the adapter of this folder or with none."""
        self.used = time.monotonic()
        return self.engine.run(work, self._adapter(adapter))

    def call(self, call: Call, work: Callable[[Any], T]) -> T | None:
        """What `work` makes of the model, in this call's turn; None where it was stopped."""

        def heeded(model: Any) -> T | None:
            if call.stopped:
                return None
            with heard(call.notes), contextlib.suppress(StopIteration):
                return work(model)

        self._line.append(call)
        call.resident = self
        try:
            return self.run(heeded)
        finally:
            self._line.remove(call)
            self.used = time.monotonic()

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


@contextlib.contextmanager
def heard(notes: list[str]) -> Iterator[None]:
    """Collect what the library warns of on this thread meanwhile, each sentence once."""
    here = threading.get_ident()

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.thread == here and (said := record.getMessage()) not in notes:
                notes.append(said)

    listener = Listener(logging.WARNING)
    logging.getLogger("core").addHandler(listener)
    try:
        yield
    finally:
        logging.getLogger("core").removeHandler(listener)
