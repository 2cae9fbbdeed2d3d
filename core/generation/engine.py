"""One thread owns a model in memory, and serves everybody who wants something of it.

Two lanes take turns. In the batched one plain generations are computed together, a token each a step. In the exclusive one stands
what a batch cannot serve: generations with taps, beams or an encoder, a step a turn, and whole calls (`run`).

    with Engine(model) as engine:
        for event in engine.submit("Once upon a time", tokenizer=tokenizer, max_new_tokens=20):
            ...
        hidden = engine.run(lambda model: model(ids).last_hidden_state)
"""

import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self, TypeVar

from core.errors import GenerationError
from core.generation.adapted import Adapted
from core.generation.config import GenerationConfig
from core.generation.lane import Lane
from core.generation.prefixes import PrefixStore
from core.generation.prompt import settings
from core.generation.request import Prompt, Request, check_fits, prompt_ids
from core.generation.solo import Solo, needs_solo
from core.modeling.model import PreTrainedModel
from core.modeling.seq2seq import Seq2Seq
from core.modeling.taps import Taps

T = TypeVar("T")


@dataclass(frozen=True)
class _Call:
    """A function that wants the model to itself."""

    work: Callable[[PreTrainedModel], Any]
    adapter: str | None
    outcome: Future[Any]


class Engine:
    """The owner of a model (or PeftModel); its methods may be called by any thread.

    max_rows: generations computed together. max_tokens: bound on the tokens that they may come to hold, padding counted.
    prefix_bytes: memory for the keys and values of ended conversations, so that a next turn computes only what is new.
    """

    def __init__(
        self, model: Any, *, max_rows: int = 8, max_tokens: int = 32768, prefix_bytes: int = 512 << 20, name: str = "model"
    ) -> None:
        if max_rows < 1 or max_tokens < 1:
            raise GenerationError(f"max_rows and max_tokens must be at least 1, not {max_rows} and {max_tokens}.")
        self.name = name
        self._model = Adapted(model)
        self.prefixes = PrefixStore(prefix_bytes)
        self._lane = Lane(self._model, self.prefixes, max_rows, max_tokens)
        self._solo = Solo(self._model, self.prefixes)
        self._calls: deque[_Call] = deque()
        self._owed = 0.0  # seconds that the generations may run before the next call, for those that calls have taken
        self._inbox: queue.SimpleQueue[Request | _Call | None] = queue.SimpleQueue()
        self._closed = False
        self._door = threading.Lock()  # nothing enters the inbox after close
        self._thread = threading.Thread(target=self._work, name=f"engine-{name}", daemon=True)
        self._thread.start()

    # ------------------------------------------------------------------ for callers

    @property
    def model(self) -> PreTrainedModel:
        """The model without its adapters, to read settings from: only the engine runs it."""
        return self._model.base

    @property
    def adapters(self) -> list[str]:
        """Names of the adapters that were loaded."""
        return self._model.names

    @property
    def busy(self) -> bool:
        """Whether someone runs or waits."""
        return not (self._inbox.empty() and self._idle)

    @property
    def running(self) -> int:
        """Generations that are computed now."""
        return len(self._lane.rows) + (not self._solo.idle)

    @property
    def waiting(self) -> int:
        """Generations in line."""
        return self._lane.waiting + self._solo.waiting

    def submit(
        self,
        prompt: Prompt,
        config: GenerationConfig | None = None,
        *,
        adapter: str | None = None,
        tokenizer: Any = None,
        taps: Taps | None = None,
        **values: Any,
    ) -> Request:
        """Ask for a generation: a text, messages or token ids continued, with an adapter by name or with none.

        Keywords are those of GenerationConfig. Without the tokenizer the events have no text. `taps` see every step. Raises
        GenerationError or AdapterError at once for what makes no sense.
        """
        self._model.check(adapter)
        ids, model = prompt_ids(prompt, tokenizer), self._model.base
        if ids.shape[0] > 1 or values.get("num_return_sequences", config.num_return_sequences if config else 1) > 1:
            raise GenerationError("An engine writes one answer to a request: submit each prompt as often as you want answers.")
        held = settings(model, config, values)
        if not isinstance(model, Seq2Seq):
            check_fits(model, ids.shape[1])
            held.validate(ids.shape[1], model.config.vocab_size)
        if held.stop_strings and tokenizer is None:
            raise GenerationError("stop_strings needs the tokenizer: submit(…, tokenizer=tokenizer).")
        request = Request(ids, replace(held, return_dict_in_generate=False), adapter, tokenizer, taps)
        self._enter(request)
        return request

    def run(self, work: Callable[[PreTrainedModel], T], adapter: str | None = None) -> T:
        """What `work` makes of the model, which it has to itself meanwhile, with an adapter by name or with none."""
        self._model.check(adapter)
        if threading.current_thread() is self._thread:
            raise GenerationError("A call that has the model cannot ask for it again.")
        call = _Call(work, adapter, Future())
        self._enter(call)
        return call.outcome.result()

    def load_adapter(self, folder: str | Path, name: str) -> None:
        """Read an adapter's folder; afterwards `adapter=name` puts it on. Raises AdapterError."""
        self.run(lambda model: self._model.load(folder, name))

    def close(self) -> None:
        """Stop after the step that is running. Who still runs or waits gets a GenerationError."""
        with self._door:
            if not self._closed:
                self._closed = True
                self._inbox.put(None)
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _enter(self, what: Request | _Call) -> None:
        with self._door:
            if self._closed:
                raise GenerationError(f"{self.name} was unloaded: ask again to load it anew.")
            self._inbox.put(what)

    # ------------------------------------------------------------------ on the thread

    @property
    def _idle(self) -> bool:
        return not self._calls and self._solo.idle and self._lane.idle

    def _work(self) -> None:
        try:
            while self._receive():
                self._call()
                begun = time.perf_counter()
                self._solo.turn()
                self._lane.turn()
                idle = self._solo.idle and self._lane.idle
                self._owed = 0.0 if idle else max(0.0, self._owed - (time.perf_counter() - begun))
        finally:
            self._shut()

    def _receive(self) -> bool:
        """Take in what came, waiting for it where there is nothing to do. False: it is time to stop."""
        while self._idle or not self._inbox.empty():
            what = self._inbox.get()
            if what is None:
                return False
            if isinstance(what, _Call):
                self._calls.append(what)
            elif needs_solo(self._model.base, what.config, what.taps):
                self._solo.add(what)
            else:
                self._lane.add(what)
        return True

    def _call(self) -> None:
        """The next call, unless generations are owed time: each side gets half of it, so that neither starves."""
        if not self._calls or self._owed > 0:
            return
        call, begun, before = self._calls[0], time.perf_counter(), self._model.weights()
        try:
            call.outcome.set_result(call.work(self._model.wear(call.adapter)))
        except BaseException as error:
            call.outcome.set_exception(error)
        self._model.settle()
        if not before <= self._model.weights():
            self.prefixes.clear()
        self._calls.popleft()
        self._owed = time.perf_counter() - begun

    def _shut(self) -> None:
        """End everything that is here or still comes."""
        with self._door:
            self._closed = True
        error = GenerationError(f"{self.name} was unloaded before the end.")
        self._lane.drop_all(error)
        self._solo.drop_all(error)
        while not self._inbox.empty():
            what = self._inbox.get()
            if isinstance(what, Request):
                what.send(error)
            elif what is not None:
                self._calls.append(what)
        for call in self._calls:
            call.outcome.set_exception(error)
        self._calls.clear()
        self.prefixes.clear()
