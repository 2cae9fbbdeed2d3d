"""The threads that compute a step together, and how many of them it pays to call."""

import os
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any

import numpy as np
import torch

MOST = 16
LOOK, REST = 3, 256  # steps that look at what the other number of threads would do, and between two looks at the most


def cores() -> int:
    """Processors this process may use; OMP_NUM_THREADS, where it is set, is heeded."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    wish = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    return max(1, min(MOST, allowed, int(wish) if wish.isdigit() and int(wish) else allowed))


@contextmanager
def one_thread() -> Iterator[None]:
    """PyTorch on one thread inside: after work on several, its threads stay awake for a while and take the processor from those of the
    next step, which come some milliseconds late or not at all (measured: less than half the tokens a second)."""
    threads = torch.get_num_threads()
    if threads == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class Pace:
    """How many threads to call: one or all, whichever was faster of late. Others may be at work on this machine, and a step waits for
    its slowest thread. Each is judged by the middle one of its last three steps, so that a hiccup says nothing; the one not in use is
    looked at again soon in the beginning, when nothing is warm yet, and ever more rarely."""

    def __init__(self, most: int) -> None:
        self.most, self._step, self._look, self._pause = most, 0, 2 * LOOK + 4, 8
        self._other = 1
        self._times = {team: deque[float](maxlen=LOOK) for team in {1, most}}

    def team(self) -> int:
        """Threads for the next step."""
        self._step += 1
        unknown = [team for team, times in self._times.items() if len(times) < LOOK]
        if unknown:
            return max(unknown)
        if self._step < self._look:
            return self.best()
        if self._step == self._look:
            self._other = 1 if self.best() == self.most else self.most
        if self._step >= self._look + LOOK - 1:
            self._look, self._pause = self._step + self._pause, min(2 * self._pause, REST)
        return self._other

    def best(self) -> int:
        """Whichever was faster of late; all, as long as that is not known."""
        known = {team: median(times) for team, times in self._times.items() if times}
        return min(known, key=lambda team: known[team]) if len(known) == len(self._times) else self.most

    def took(self, team: int, seconds: float) -> None:
        """A step's time."""
        self._times[team].append(seconds)


class Crew:
    """Threads that wait for steps. Those of a parent process do not exist after a fork: others are started when needed."""

    def __init__(self) -> None:
        self._lock, self._process, self._calls = threading.Lock(), 0, []
        self._job: Any = None

    def _prepare(self, helpers: int) -> None:
        if self._process != os.getpid():
            self._process, self._calls = os.getpid(), []
        while len(self._calls) < helpers:
            call = threading.Semaphore(0)
            self._calls.append(call)
            threading.Thread(target=self._help, args=(call,), daemon=True, name="decode").start()

    def _help(self, call: threading.Semaphore) -> None:
        while True:
            call.acquire()
            function, gate, arguments = self._job
            function(gate.ctypes.data, False, 0, *arguments)

    def step(self, function: Any, wanted: int, *arguments: Any) -> int:
        """Run a compiled step with up to `wanted` threads -> how many there were."""
        with self._lock:
            gate = np.zeros(48, np.int64)
            self._prepare(wanted - 1)
            self._job = function, gate, arguments
            for call in self._calls[: wanted - 1]:
                call.release()
            return function(gate.ctypes.data, True, wanted, *arguments)
