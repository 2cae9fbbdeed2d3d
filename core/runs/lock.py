"""A run is alive while it holds its file's lock: the system lets go of it however the process ends."""

import os
from pathlib import Path
from typing import IO, Any, Self

from core.errors import TrainingError

if os.name == "nt":
    import msvcrt

    def _try(file: IO[Any]) -> None:
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
else:
    import fcntl

    def _try(file: IO[Any]) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


class FileLock:
    """`with FileLock(path):` holds it, or raises TrainingError where another process does. The file says which."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self._file: IO[Any] | None = None

    def __enter__(self) -> Self:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        file = open(self.path, "a+", encoding="utf-8")
        try:
            _try(file)
        except OSError:
            file.close()
            raise TrainingError(f"The run in {self.path.parent} is already going on in another process.") from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        self._file = file
        return self

    def __exit__(self, *error: object) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def is_held(path: Path) -> bool:
    """Whether a living process holds the lock."""
    if not Path(path).exists():
        return False
    try:
        with open(path, "a+", encoding="utf-8") as file:
            _try(file)
    except OSError:
        return True
    return False
