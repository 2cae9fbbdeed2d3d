"""The run store: one SQLite file that anyone can open."""

from core.runs.lock import FileLock, is_held
from core.runs.store import Store

__all__ = ["FileLock", "Store", "is_held"]
