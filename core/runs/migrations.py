"""The store's schema, as steps that are only ever added to the end."""

import shutil
import sqlite3
from pathlib import Path

from sqlite_utils import Database

from core.errors import StoreError


def m001_runs(db: Database) -> None:
    """Runs and what they log."""
    db["runs"].create(  # type: ignore[union-attr]
        {
            "id": str,
            "kind": str,
            "name": str,
            "state": str,
            "model": str,
            "config": str,
            "started": float,
            "ended": float,
            "error": str,
            "device": str,
            "versions": str,
            "created": float,
        },
        pk="id",
    )
    db.execute(
        "CREATE TABLE metrics (seq INTEGER PRIMARY KEY AUTOINCREMENT, run TEXT NOT NULL REFERENCES runs(id), step INTEGER NOT NULL,"
        " name TEXT NOT NULL, value REAL, time REAL NOT NULL, UNIQUE (run, name, step))"
    )
    db["samples"].create({"id": int, "run": str, "step": int, "prompt": str, "output": str, "time": float}, pk="id")  # type: ignore[union-attr]
    db["checkpoints"].create({"run": str, "step": int, "path": str, "time": float}, pk=("run", "step"))  # type: ignore[union-attr]
    db["system"].create({"id": int, "run": str, "time": float, "rss_mb": float, "cpu_percent": float}, pk="id")  # type: ignore[union-attr]
    db.execute("CREATE INDEX runs_by_time ON runs(created)")
    for table in ("samples", "system"):
        db.execute(f"CREATE INDEX {table}_by_run ON {table}(run)")


STEPS = [m001_runs]


def migrate(db: Database, path: Path) -> None:
    """Bring the file to the newest schema: one process does it, a copy of an older file is kept first."""
    connection = db.conn
    if _version(connection) == len(STEPS):
        return
    try:
        connection.execute("BEGIN IMMEDIATE")
        done = _version(connection)
        if done > len(STEPS):
            raise StoreError(f"{path} was written by a newer version of Vitrine.")
        if 0 < done < len(STEPS):
            shutil.copy2(path, path.with_suffix(f".v{done}.bak"))
        for step in STEPS[done:]:
            step(db)
        connection.execute(f"PRAGMA user_version = {len(STEPS)}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _version(connection: sqlite3.Connection) -> int:
    return connection.execute("PRAGMA user_version").fetchone()[0]
