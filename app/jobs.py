"""Training runs as processes of their own: one at a time, in the order they were submitted.

A run's process is detached and writes to the store and its log file; this side only starts it, asks it to stop, and watches. A run is
alive while it holds its folder's lock, so a server started anew takes up what goes on.
"""

import os
import shutil
import subprocess
import sys
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Any

from core.errors import TrainingError
from core.paths import data_dir, runs_dir
from core.runs import Store, is_held
from core.trainer.run import RunConfig, write

ROOT = Path(__file__).resolve().parents[1]
LOST = "The process ended without a word (killed, or the memory was full). Resume goes on from the last checkpoint."


class Jobs:
    """Submit, stop, resume, watch. `watch()` begins the watching thread; `tick()` is one round of it."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._started: dict[str, subprocess.Popen[Any]] = {}
        self._lock = threading.Lock()
        self._over = threading.Event()

    def submit(self, config: RunConfig) -> str:
        """A new run: frozen, queued, and started when none is before it. Its id. Raises TrainingError for a senseless argument."""
        config.arguments(".")
        run = self.store.create_run("training", config.name, config.model, asdict(config))
        write(config, runs_dir() / run / "config.yaml")
        self.tick()
        return run

    def stop(self, run: str) -> None:
        """After its present step, with a checkpoint; a queued run leaves the queue."""
        with self._lock:
            state = self.store.run(run)["state"]
            if state == "queued" and run not in self._started:
                self.store.set_state(run, "stopped")
            elif state in ("queued", "running"):
                (runs_dir() / run / "stop").touch()
            else:
                raise TrainingError(f"The run is {state}: there is nothing to stop.")

    def resume(self, run: str) -> None:
        """Queue a stopped or failed run; it goes on from its last checkpoint."""
        with self._lock:
            state = self.store.run(run)["state"]
            if state not in ("stopped", "failed") or is_held(runs_dir() / run / "lock"):
                raise TrainingError(f"The run is {state}: only a stopped or failed one can go on.")
            if not (runs_dir() / run / "config.yaml").is_file():
                raise TrainingError("The run's folder is gone: it cannot go on.")
            (runs_dir() / run / "stop").unlink(missing_ok=True)
            self.store.set_state(run, "queued")
        self.tick()

    def delete(self, run: str) -> None:
        """The run, what it logged and its folder. Raises TrainingError while it is alive."""
        with self._lock:
            if self.store.run(run)["state"] in ("queued", "running"):
                raise TrainingError("The run is not over: stop it first.")
            shutil.rmtree(runs_dir() / run, ignore_errors=True)
            self.store.delete_run(run)

    def tick(self) -> None:
        """One round: runs whose process is gone are marked, the next queued one is started."""
        with self._lock:
            for run, process in list(self._started.items()):
                if process.poll() is not None:
                    del self._started[run]
                    if process.returncode and self.store.run(run)["state"] == "queued":
                        self.store.set_state(run, "failed", _last_words(runs_dir() / run / "log.txt"))
            active = [run for run in self.store.runs("training") if run["state"] in ("queued", "running")]
            alive = False
            for run in active:
                held = is_held(runs_dir() / run["id"] / "lock")
                alive |= held or run["id"] in self._started
                gone = not held and run["id"] not in self._started
                if run["state"] == "running" and gone and self.store.run(run["id"])["state"] == "running":
                    self.store.set_state(run["id"], "failed", LOST)
            queued = [run["id"] for run in reversed(active) if run["state"] == "queued"]
            if queued and not alive:
                self._start(queued[0])

    def watch(self, seconds: float = 0.5) -> None:
        """Tick in the background until `close()`."""

        def loop() -> None:
            while not self._over.wait(seconds):
                self.tick()

        threading.Thread(target=loop, name="jobs", daemon=True).start()

    def close(self) -> None:
        """End the watching; what runs goes on."""
        self._over.set()

    def _start(self, run: str) -> None:
        folder = runs_dir() / run
        folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, str(ROOT / "launch.py"), "train", run, "--skip-install"]
        environment = {**os.environ, "VITRINE_DATA_DIR": str(data_dir().resolve()), "PYTHONUNBUFFERED": "1"}
        settings: dict[str, Any] = {"start_new_session": True}
        if os.name == "nt":
            settings = {"creationflags": subprocess.DETACHED_PROCESS | subprocess.CREATE_NEW_PROCESS_GROUP}  # type: ignore[attr-defined]
        with open(folder / "log.txt", "ab") as log:
            self._started[run] = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, **settings
            )


def _last_words(log: Path) -> str:
    """The last line of a run's log: why its process could not begin."""
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() if log.is_file() else []
    return lines[-1] if lines else LOST


def save_upload(path: str | Path) -> Path:
    """A dropped file into the data folder, under its own name, so that a run can be resumed after the page is closed."""
    import hashlib

    source = Path(path)
    digest = hashlib.sha256(source.read_bytes()).hexdigest()[:8]
    target = data_dir() / "datasets" / f"{source.stem}-{digest}{source.suffix.lower()}"
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.exists():
        part = target.with_name(target.name + ".part")
        shutil.copyfile(source, part)
        part.replace(target)
    return target
