"""From a name to a folder or a .gguf file: a path, a starter model, the hub's cache, the hub."""

import os
from pathlib import Path

from core.checkpoints import catalogue
from core.errors import CheckpointError, HubError, one_line

WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")


def resolve(
    name: str,
    *,
    revision: str | None = None,
    subfolder: str | None = None,
    cache_dir: str | None = None,
    token: str | None = None,
    local_files_only: bool = False,
) -> Path:
    """The folder of a model, or its .gguf file where that is all the folder holds.

    Raises CheckpointError for a path without a model, HubError for a name that cannot be fetched.
    """
    path = Path(name).expanduser()
    if path.is_file():
        return path
    if path.is_dir():
        return _inside(path / subfolder if subfolder else path)
    entry = catalogue.find(name)
    if entry and (found := catalogue.installed(entry)):
        return _inside(found if found.is_dir() else found.parent)
    if path.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1:
        raise CheckpointError(f"{name}: there is no such file or folder.")
    return _from_hub(name, revision, subfolder, cache_dir, token, local_files_only)


def _inside(folder: Path) -> Path:
    if not (folder / "config.json").is_file():
        gguf = sorted(folder.glob("*.gguf"))
        if len(gguf) == 1:
            return gguf[0]
        if gguf:
            raise CheckpointError(f"{folder} holds {len(gguf)} GGUF files; name one of them.")
    return folder


def _from_hub(
    name: str, revision: str | None, subfolder: str | None, cache_dir: str | None, token: str | None, local: bool
) -> Path:
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    patterns = ["*.json", "*.txt", "*.model", "*.jinja"]
    offline = local or os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on")
    try:
        if not offline:
            files = HfApi().list_repo_files(name, revision=revision, token=token)
            safe = any(file.endswith(".safetensors") for file in files)
            patterns.append("*.safetensors" if safe else "*.bin")
        else:
            patterns += ["*.safetensors", "*.bin", "*.gguf"]
        folder = snapshot_download(
            name, revision=revision, cache_dir=cache_dir, token=token, local_files_only=offline, allow_patterns=patterns
        )
    except GatedRepoError as error:
        raise HubError(f"'{name}' is gated: accept its terms on its page and set HF_TOKEN.") from error
    except RepositoryNotFoundError as error:
        raise HubError(f"'{name}' is neither a folder here nor a model on the hub (a private one needs HF_TOKEN).") from error
    except Exception as error:  # the hub client lets its transport's own errors through
        why = "the program is offline" if offline else f"the hub cannot be reached ({one_line(error)})"
        raise HubError(f"'{name}' is not on this machine and {why}. Give a folder, or a starter: {_starters()}.") from error
    return _inside(Path(folder) / subfolder if subfolder else Path(folder))


def _starters() -> str:
    return ", ".join(catalogue.load_catalogue())
