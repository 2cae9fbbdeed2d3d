"""One file over HTTP, with progress; an interrupted one goes on where it was. And where pip's index keeps a package's wheel."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from core.errors import HubError, one_line

Progress = Callable[[int, int], None]  # bytes that are here, bytes in all
JSON_INDEX = "application/vnd.pypi.simple.v1+json"
TIMEOUT = 30


class Cancelled(HubError):
    """A download was stopped by the person who began it; what has arrived is kept."""


def download(url: str, target: Path, on_progress: Progress | None = None, cancelled: Callable[[], bool] | None = None) -> Path:
    """Fetch `url` into `target`, by way of `target`.part, which a later call goes on from. Raises HubError, or Cancelled."""
    import httpx

    part = target.with_name(target.name + ".part")
    have = part.stat().st_size if part.is_file() else 0
    headers = {"range": f"bytes={have}-"} if have else {}
    try:
        with httpx.stream("GET", url, headers=headers, follow_redirects=True, timeout=TIMEOUT) as answer:
            if answer.status_code == 416:  # nothing is left to send, or the part is of another file
                part.unlink()
                return download(url, target, on_progress, cancelled)
            answer.raise_for_status()
            if answer.status_code != 206:
                have = 0
            whole = have + int(answer.headers.get("content-length") or 0)
            with open(part, "ab" if have else "wb") as out:
                for chunk in answer.iter_bytes(1 << 18):
                    if cancelled is not None and cancelled():
                        raise Cancelled(
                            f"{target.name}: the download was stopped at {have / 1e6:.0f} MB; it can go on from there."
                        )
                    out.write(chunk)
                    have += len(chunk)
                    if on_progress is not None:
                        on_progress(have, whole)
        if whole and have < whole:
            raise HubError(
                f"{target.name}: the connection ended at {have / 1e6:.0f} of {whole / 1e6:.0f} MB; try again to go on."
            )
    except httpx.HTTPError as error:
        raise HubError(f"{target.name} could not be downloaded: {one_line(error)}; try again to go on.") from error
    return part.replace(target)


def find_wheel(package: str, version: str) -> str | None:
    """The address of a package's wheel in pip's index; None where that index does not say (pip itself may still find it)."""
    stem = re.sub(r"[-_.]+", "_", package).lower()
    return find_file(package, rf"{re.escape(f'{stem}-{version}-')}.*\.whl")


def find_file(package: str, pattern: str) -> str | None:
    """The address of a package's first file in pip's index whose name in lower case fits the pattern."""
    import httpx

    name = re.sub(r"[-_.]+", "-", package).lower()
    for index in _indexes():
        try:
            answer = httpx.get(
                f"{index.rstrip('/')}/{name}/", headers={"accept": JSON_INDEX}, follow_redirects=True, timeout=TIMEOUT
            )
            files: list[dict[str, Any]] = answer.raise_for_status().json()["files"]
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError):
            continue
        for file in files:
            if re.fullmatch(pattern, file["filename"].lower()):
                return str(answer.url.join(file["url"]))
    return None


def _indexes() -> list[str]:
    """What pip is told: by its environment, its configuration, else its own default, which its help names."""
    if found := os.environ.get("PIP_INDEX_URL"):
        return [found]
    pip = [sys.executable, "-m", "pip"]
    if configured := subprocess.run([*pip, "config", "get", "global.index-url"], capture_output=True, text=True).stdout.strip():
        return [configured]
    said = subprocess.run(
        [*pip, "download", "--help"], capture_output=True, text=True, env={**os.environ, "COLUMNS": "400"}
    ).stdout
    return re.findall(r"--index-url <url>.*?\(default\s+(https?://[^\s)]+)\)", said, re.S)[:1]
