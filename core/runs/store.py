"""Runs, their metrics, samples, checkpoints and memory, in SQLite: write-ahead log, one connection a thread."""

import json
import sqlite3
import threading
import time
import uuid
from pathlib import Path
from typing import Any

from sqlite_utils import Database

from core.errors import StoreError
from core.paths import store_path
from core.runs.migrations import migrate

STATES = ("queued", "running", "stopped", "finished", "failed")


class Store:
    """The run store. Raises StoreError, naming the file, where it cannot be read or written. Times are seconds since 1970."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = Path(path or store_path())
        self._local = threading.local()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            migrate(self._db, self.path)
        except (sqlite3.Error, OSError) as error:
            raise StoreError(f"The run store {self.path} cannot be opened: {error}.") from error

    @property
    def _db(self) -> Database:
        db = getattr(self._local, "db", None)
        if db is None:
            connection = sqlite3.connect(self.path, timeout=10, isolation_level=None, check_same_thread=False)
            connection.row_factory = None
            connection.execute("PRAGMA busy_timeout = 10000")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            db = self._local.db = Database(connection)
        return db

    def _write(self, sql: str, values: Any = (), many: bool = False) -> None:
        try:
            if not many:
                self._db.conn.execute(sql, values)
                return
            self._db.conn.execute("BEGIN IMMEDIATE")
            self._db.conn.executemany(sql, values)
            self._db.conn.execute("COMMIT")
        except sqlite3.Error as error:
            if self._db.conn.in_transaction:
                self._db.conn.execute("ROLLBACK")
            raise StoreError(f"The run store {self.path} cannot be written: {error}.") from error

    def _read(self, sql: str, values: Any = ()) -> list[dict[str, Any]]:
        try:
            return list(self._db.query(sql, values))
        except sqlite3.Error as error:
            raise StoreError(f"The run store {self.path} cannot be read: {error}.") from error

    # ------------------------------------------------------------------ runs

    def create_run(
        self,
        kind: str,
        name: str,
        model: str,
        config: dict[str, Any],
        id: str | None = None,
        state: str = "queued",
        device: str = "",
    ) -> str:
        """A new run's id."""
        id = id or f"{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:6]}"
        row = (id, kind, name, state, model, json.dumps(config, ensure_ascii=False), device, json.dumps(_versions()), time.time())
        self._write(
            "INSERT INTO runs (id, kind, name, state, model, config, device, versions, created) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            row,
        )
        return id

    def set_state(self, run: str, state: str, error: str | None = None) -> None:
        """Queued, running, stopped, finished or failed; the first running and the last end set the times."""
        if state not in STATES:
            raise StoreError(f"A run cannot be '{state}'; states: {', '.join(STATES)}.")
        now = time.time()
        ended = None if state in ("queued", "running") else now
        started = now if state == "running" else None
        self._write(
            "UPDATE runs SET state = ?, error = ?, ended = ?, started = coalesce(started, ?) WHERE id = ?",
            (state, error, ended, started, run),
        )

    def rename(self, run: str, name: str) -> None:
        """Another name for a run."""
        self._write("UPDATE runs SET name = ? WHERE id = ?", (name, run))

    def delete_run(self, run: str) -> None:
        """The run and all it logged; its folder is not touched."""
        for table in ("metrics", "samples", "checkpoints", "system"):
            self._write(f"DELETE FROM {table} WHERE run = ?", (run,))
        self._write("DELETE FROM runs WHERE id = ?", (run,))

    def run(self, run: str) -> dict[str, Any]:
        """One run, its config as a dictionary. Raises StoreError for an unknown id."""
        rows = self._read("SELECT * FROM runs WHERE id = ?", (run,))
        if not rows:
            raise StoreError(f"There is no run '{run}'.")
        return _decoded(rows[0])

    def runs(self, kind: str | None = None, limit: int = 200) -> list[dict[str, Any]]:
        """The newest runs first."""
        where, values = ("WHERE kind = ?", (kind,)) if kind else ("", ())
        return [
            _decoded(row)
            for row in self._read(f"SELECT * FROM runs {where} ORDER BY created DESC, rowid DESC LIMIT ?", (*values, limit))
        ]

    # ------------------------------------------------------------------ what a run logs

    def log(self, run: str, step: int, values: dict[str, float]) -> None:
        """Numbers of one step, all or none; logged again, they replace the earlier ones."""
        now = time.time()
        sql = (
            "INSERT INTO metrics (run, step, name, value, time) VALUES (?, ?, ?, ?, ?)"
            " ON CONFLICT (run, name, step) DO UPDATE SET value = excluded.value, time = excluded.time"
        )
        self._write(sql, [(run, step, name, float(value), now) for name, value in values.items()], many=True)

    def metrics(self, run: str, after: int = 0) -> tuple[list[dict[str, Any]], int]:
        """Rows written after the cursor, and the new cursor."""
        rows = self._read("SELECT seq, step, name, value, time FROM metrics WHERE run = ? AND seq > ? ORDER BY seq", (run, after))
        return rows, rows[-1]["seq"] if rows else after

    def truncate(self, run: str, step: int) -> None:
        """Forget what lies beyond a checkpoint's step."""
        for table in ("metrics", "samples", "checkpoints"):
            self._write(f"DELETE FROM {table} WHERE run = ? AND step > ?", (run, step))

    def add_sample(self, run: str, step: int, prompt: str, output: str) -> None:
        """A text the model wrote."""
        self._write(
            "INSERT INTO samples (run, step, prompt, output, time) VALUES (?, ?, ?, ?, ?)",
            (run, step, prompt, output, time.time()),
        )

    def add_checkpoint(self, run: str, step: int, path: str) -> None:
        """Where a checkpoint stands."""
        self._write(
            "INSERT OR REPLACE INTO checkpoints (run, step, path, time) VALUES (?, ?, ?, ?)", (run, step, path, time.time())
        )

    def add_system(self, run: str, rss_mb: float, cpu_percent: float) -> None:
        """Memory and load."""
        self._write(
            "INSERT INTO system (run, time, rss_mb, cpu_percent) VALUES (?, ?, ?, ?)", (run, time.time(), rss_mb, cpu_percent)
        )

    def samples(self, run: str) -> list[dict[str, Any]]:
        """By step."""
        return self._read("SELECT * FROM samples WHERE run = ? ORDER BY step, id", (run,))

    def checkpoints(self, run: str) -> list[dict[str, Any]]:
        """By step."""
        return self._read("SELECT * FROM checkpoints WHERE run = ? ORDER BY step", (run,))

    def system(self, run: str) -> list[dict[str, Any]]:
        """By time."""
        return self._read("SELECT * FROM system WHERE run = ? ORDER BY id", (run,))

    def last_system(self, run: str) -> dict[str, Any] | None:
        """The newest of them."""
        rows = self._read("SELECT * FROM system WHERE run = ? ORDER BY id DESC LIMIT 1", (run,))
        return rows[0] if rows else None

    def latest(self, names: tuple[str, ...]) -> dict[str, dict[str, float]]:
        """Each run's last value of these metrics: {run: {name: value}}."""
        marks = ", ".join("?" * len(names))
        sql = f"SELECT run, name, value, max(step) FROM metrics WHERE name IN ({marks}) GROUP BY run, name"
        found: dict[str, dict[str, float]] = {}
        for row in self._read(sql, names):
            found.setdefault(row["run"], {})[row["name"]] = row["value"]
        return found


def _decoded(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "config": json.loads(row["config"] or "{}"), "versions": json.loads(row["versions"] or "{}")}


def _versions() -> dict[str, str]:
    import platform
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": platform.python_version()}
    for name in ("torch", "tokenizers", "gradio"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
