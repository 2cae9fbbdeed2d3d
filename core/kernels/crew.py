"""The threads that compute a step together, and how many of them it pays to call."""

import os
import threading
from typing import Any

import numpy as np

MOST = 16
PROBE_EVERY = 64  # steps between looks at what another number of threads would do
LOSS = 1.05  # how much slower another number must be to be left alone


def cores() -> int:
    """Processors this process may use; OMP_NUM_THREADS, where it is set, is heeded."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    wish = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    return max(1, min(MOST, allowed, int(wish) if wish.isdigit() and int(wish) else allowed))


class Pace:
    """How many threads to call: one or all, whichever was faster of late. Others may be at work on this machine, and a step waits for
    its slowest thread."""

    def __init__(self, most: int) -> None:
        self.most, self._times, self._step = most, {}, 0

    def team(self) -> int:
        """Threads for the next step."""
        self._step += 1
        if self.most == 1:
            return 1
        if len(self._times) < 2:
            return 1 if self.most in self._times else self.most
        best = min(self._times, key=self._times.__getitem__)
        other = 1 if best == self.most else self.most
        return other if self._step % PROBE_EVERY == 0 else best

    def took(self, team: int, seconds: float) -> None:
        """A step's time; the newest counts a quarter."""
        before = self._times.get(team, seconds)
        self._times[team] = before + (seconds - before) / 4


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
