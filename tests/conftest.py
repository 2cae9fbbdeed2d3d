"""What tests share: the starter models' files, data folders of their own, a real server and a real browser."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from serving import Server, start_server

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
# compiled once for all tests and the servers they start, and kept for the next run
os.environ.setdefault("NUMBA_CACHE_DIR", str(Path(__file__).resolve().parents[1] / ".pytest_cache" / "kernels"))

CHROMIUM = "/usr/bin/chromium"
FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    " --disable-component-update --disable-sync"
).split()


def _starter(key: str) -> Path:
    from core.checkpoints import catalogue

    return catalogue.fetch(catalogue.load_catalogue()[key])


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """The GGUF file of SmolLM2-135M-Instruct."""
    return _starter("SmolLM2-135M-Instruct") / "SmolLM2-135M-Instruct.Q4_1.gguf"


@pytest.fixture(scope="session")
def minilm() -> Path:
    """The folder of all-MiniLM-L6-v2."""
    return _starter("all-MiniLM-L6-v2")


@pytest.fixture(scope="session")
def whisper_tiny() -> Path:
    """The folder of whisper-tiny.en, as CTranslate2 stores it."""
    return _starter("whisper-tiny.en")


@pytest.fixture
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty data folder, told to this process and its children."""
    monkeypatch.setenv("VITRINE_DATA_DIR", str(tmp_path / "data"))
    return tmp_path / "data"


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, smollm2: Path, minilm: Path) -> Iterator[Server]:
    """One server for all tests of the page, with both starters."""
    started = start_server(tmp_path_factory.mktemp("server"), "--port", "7900")
    yield started
    started.stop()


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """A browser."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()
