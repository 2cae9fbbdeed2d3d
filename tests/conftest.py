"""What tests share: the starter models' files, a data folder of their own."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")


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


@pytest.fixture
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty data folder, told to this process and its children."""
    monkeypatch.setenv("VITRINE_DATA_DIR", str(tmp_path / "data"))
    return tmp_path / "data"
