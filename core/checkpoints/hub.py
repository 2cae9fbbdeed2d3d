"""Models by their hub names, through huggingface_hub and in its cache: only the files that are needed, resumed where they broke off."""

import hashlib
import os
import re
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from core.checkpoints.download import Cancelled, Progress
from core.errors import HubError, one_line

SETTINGS = re.compile(r"[^/]+\.(json|txt|model|jinja|spm|bpe)|1_Pooling/config\.json")
NOT_SETTINGS = re.compile(r"(README|LICENSE|requirements|tf_|flax_|rust_|.*\.(index|fp16|bf16)\.).*")
TRIES, CHUNK = 5, 1 << 18
SHARD = r"-\d{5}-of-\d{5}"


@dataclass(frozen=True)
class Request:
    """What of which repository: as from_pretrained's keywords; weights False asks for all but the tensors."""

    name: str
    revision: str | None = None
    subfolder: str | None = None
    cache_dir: str | None = None
    token: str | None = None
    variant: str | None = None
    gguf_file: str | None = None
    use_safetensors: bool | None = None
    weights: bool = True


def needed(files: Iterable[str], request: Request) -> list[str]:
    """Of a repository's files those that loading reads: settings, and the weights of one format, safetensors before all others."""
    prefix = f"{request.subfolder.strip('/')}/" if request.subfolder else ""
    inside = [file.removeprefix(prefix) for file in files if file.startswith(prefix)]
    settings = [file for file in inside if SETTINGS.fullmatch(file) and not NOT_SETTINGS.fullmatch(file)]
    weights: list[str] = []
    if request.weights and request.gguf_file:
        weights = [file for file in inside if file == request.gguf_file]
    elif request.weights:
        mark = f".{request.variant}" if request.variant else ""
        formats = [("model", "safetensors"), ("pytorch_model", "bin"), ("model", "bin")]
        for stem, suffix in formats[request.use_safetensors is False : 1 if request.use_safetensors else None]:
            single, index = f"{stem}{mark}.{suffix}", f"{stem}.{suffix}.index{mark}.json"
            shard = re.compile(rf"{stem}{re.escape(mark)}{SHARD}\.{suffix}|{re.escape(index)}")
            weights = [file for file in inside if file == single] or [file for file in inside if shard.fullmatch(file)]
            if weights:
                break
    return [prefix + file for file in settings + weights]


def fetch(request: Request, *, offline: bool, on_progress: Progress | None = None, cancel: threading.Event | None = None) -> Path:
    """The repository's folder in the hub's cache, with the files that are needed.

    on_progress(done, total) in bytes. A download that was cancelled or killed goes on where it stopped. Raises HubError with the hub's
    reason and what to do.
    """
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError, RevisionNotFoundError

    name = request.name
    if offline:
        return _cached(request) or _absent(request, "the program is offline")
    try:
        info = HfApi().model_info(name, revision=request.revision, token=request.token)
        files = needed([sibling.rfilename for sibling in info.siblings or ()], request)
        if request.gguf_file and not any(file.endswith(request.gguf_file) for file in files) and request.weights:
            raise HubError(f"'{name}' has no file {request.gguf_file} on the hub.")
        return _download(request, files, str(info.sha), on_progress, cancel)
    except HubError:
        raise
    except GatedRepoError as error:
        what = "accept its terms on its page, then set HF_TOKEN or pass token"
        raise HubError(f"'{name}' is gated{_reason(error)}: {what}.") from error
    except RevisionNotFoundError as error:
        raise HubError(f"'{name}' has no revision '{request.revision}' on the hub.") from error
    except RepositoryNotFoundError as error:
        text = f"'{name}' is neither a folder here nor a model on the hub{_reason(error)}"
        raise HubError(f"{text}; check its spelling (a private one needs HF_TOKEN).") from error
    except HFValidationError as error:
        raise HubError(f"'{name}' is neither a folder here nor a possible name on the hub, such as 'owner/model'.") from error
    except Exception as error:  # the hub client lets its transport's own errors through
        return _cached(request) or _absent(request, f"the hub cannot be reached ({one_line(error)})")


def _reason(error: Any) -> str:
    said = getattr(error, "server_message", None)
    return f" (the hub says: {one_line(Exception(said))})" if said else ""


def _absent(request: Request, why: str) -> Path:
    from core.checkpoints import bundled, catalogue

    starters = ", ".join([*catalogue.load_catalogue(), *bundled.cards()])
    raise HubError(f"'{request.name}' is not on this machine and {why}. Give a folder, or a starter: {starters}.")


def _cached(request: Request) -> Path | None:
    """The folder in the cache, where it holds what is asked for."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        found = snapshot_download(request.name, revision=request.revision, cache_dir=request.cache_dir, local_files_only=True)
    except (LocalEntryNotFoundError, HFValidationError):
        return None
    folder = Path(found)
    here = [str(file.relative_to(folder).as_posix()) for file in folder.rglob("*") if file.is_file()]
    return folder if needed(here, request) or any(file.endswith(".gguf") for file in here) else None


def _download(
    request: Request, files: list[str], commit: str, on_progress: Progress | None, cancel: threading.Event | None
) -> Path:
    """Each file into the cache; the folder of this commit."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url, try_to_load_from_cache
    from huggingface_hub.constants import HF_HUB_CACHE
    from huggingface_hub.file_download import repo_folder_name

    cache = Path(request.cache_dir or HF_HUB_CACHE)
    home = cache / repo_folder_name(repo_id=request.name, repo_type="model")
    lacking = [f for f in files if not isinstance(try_to_load_from_cache(request.name, f, cache_dir=cache, revision=commit), str)]
    heads = {file: get_hf_file_metadata(hf_hub_url(request.name, file, revision=commit), token=request.token) for file in lacking}
    counter = Counter(sum(head.size or 0 for head in heads.values()), on_progress, cancel)
    for head in heads.values():
        _blob(home / "blobs" / str(head.etag), head, request.token, counter)
    for file in files:  # finds the blobs, and keeps the books of the cache
        hf_hub_download(request.name, file, revision=request.revision, cache_dir=request.cache_dir, token=request.token)
    return home / "snapshots" / commit


def _blob(blob: Path, head: Any, token: str | None, counter: "Counter") -> None:
    """One file by its checksum. What an earlier, interrupted download left in the .part beside it is not fetched again."""
    if blob.exists():
        counter.add(blob.stat().st_size)
        return
    blob.parent.mkdir(parents=True, exist_ok=True)
    part = blob.with_name(f"{blob.name}.part")
    with open(part, "ab") as file:
        if head.size is not None and file.tell() > head.size:
            file.truncate(0)
        counter.add(file.tell())
        for failures in range(TRIES + 1):
            try:
                _stream(head.location, token, file, counter)
                break
            except OSError:
                raise
            except Exception:  # the transport's own kinds: a connection that breaks is taken up again
                if failures == TRIES or counter.cancelled():
                    raise
                time.sleep(2**failures / 4)
        if head.size is not None and file.tell() != head.size:
            raise HubError(f"The hub sent {file.tell()} bytes of a file of {head.size}; start again to fetch the rest.")
    if len(blob.name) == 64:  # large files are named by their SHA-256
        with open(part, "rb") as file:
            right = hashlib.file_digest(file, "sha256").hexdigest() == blob.name
        if not right:
            part.unlink()
            raise HubError(
                f"A file of the download is damaged ({blob.name[:12]}…); it was removed, start again to fetch it anew."
            )
    part.replace(blob)


def _stream(url: str, token: str | None, file: BinaryIO, counter: "Counter") -> None:
    """What is still lacking of a file at its end; the token goes to the hub itself alone, not to where its files are stored."""
    from huggingface_hub import constants, get_session
    from huggingface_hub.utils import build_hf_headers, hf_raise_for_status

    done = file.tell()
    own = urlsplit(url).netloc == urlsplit(constants.ENDPOINT).netloc
    headers = build_hf_headers(token=token if own else False) | {"Accept-Encoding": "identity"}
    if done:
        headers["Range"] = f"bytes={done}-"
    with get_session().stream("GET", url, headers=headers, timeout=30, follow_redirects=True) as response:
        if response.status_code == 416:  # nothing is lacking
            return
        hf_raise_for_status(response)
        if done and response.status_code != 206:
            file.truncate(0)
            counter.add(-done)
        for chunk in response.iter_bytes(CHUNK):
            file.write(chunk)
            file.flush()  # a stop or a kill loses none of it
            counter.add(len(chunk))


class Counter:
    """How many bytes of how many have arrived, told to whom it may concern."""

    def __init__(self, total: int, on_progress: Progress | None, cancel: threading.Event | None) -> None:
        self.done, self.total, self.on_progress, self.cancel = 0, total, on_progress, cancel

    def cancelled(self) -> bool:
        """Whether someone wants it to stop."""
        return self.cancel is not None and self.cancel.is_set()

    def add(self, size: int) -> None:
        """Raises Cancelled where the download was stopped meanwhile."""
        if self.cancelled():
            raise Cancelled("The download was stopped; what has arrived is kept, and the next start goes on from there.")
        self.done += size
        if self.on_progress:
            self.on_progress(self.done, self.total)
