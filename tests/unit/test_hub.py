"""The hub, played by a small server on this machine: only needed files, progress, a stop, a kill and what resumes, offline, reasons."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hub_server import Hub

import core
from core.checkpoints.hub import Request, needed

REPOSITORY = [
    "README.md",
    "config.json",
    "flax_model.msgpack",
    "generation_config.json",
    "merges.txt",
    "model.safetensors",
    "onnx/config.json",
    "onnx/model.onnx",
    "pytorch_model.bin",
    "requirements.txt",
    "tf_model.h5",
    "tokenizer.json",
    "vocab.json",
    "1_Pooling/config.json",
]
TEXT = ["1_Pooling/config.json", "config.json", "generation_config.json", "merges.txt", "tokenizer.json", "vocab.json"]

SHARDS = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json"]


@pytest.mark.parametrize(
    ("files", "asked", "weights"),
    [
        (REPOSITORY, {}, ["model.safetensors"]),
        (REPOSITORY, {"use_safetensors": False}, ["pytorch_model.bin"]),
        (REPOSITORY, {"weights": False}, []),
        ([file for file in REPOSITORY if file != "model.safetensors"], {}, ["pytorch_model.bin"]),
        ([file for file in REPOSITORY if file != "model.safetensors"], {"use_safetensors": True}, []),
        ([*TEXT, "model.bin"], {}, ["model.bin"]),
        ([*TEXT, "a.Q4.gguf", "b.Q8.gguf"], {"gguf_file": "b.Q8.gguf"}, ["b.Q8.gguf"]),
        ([*TEXT, "model.fp16.safetensors", "model.safetensors"], {"variant": "fp16"}, ["model.fp16.safetensors"]),
        (
            [*TEXT, *SHARDS, "pytorch_model-00001-of-00001.bin", "pytorch_model.bin.index.json", "consolidated.safetensors"],
            {},
            SHARDS,
        ),
    ],
)
def test_only_needed_files(files: list[str], asked: dict[str, object], weights: list[str]) -> None:
    assert sorted(needed(files, Request("x/y", **asked))) == sorted([*TEXT, *weights])  # type: ignore[arg-type]
    inside = needed([f"deep/{file}" for file in files] + ["config.json"], Request("x/y", subfolder="deep", **asked))  # type: ignore[arg-type]
    assert sorted(inside) == sorted(f"deep/{file}" for file in [*TEXT, *weights])


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    """A hub with one model of 5 MB."""
    folder = tmp_path / "served" / "some" / "model"
    torch.manual_seed(0)
    config = core.GPT2Config(vocab_size=5000, n_embd=256, n_layer=1, n_head=2, n_positions=8)
    core.GPT2LMHeadModel(config).save_pretrained(folder)
    torch.save({}, folder / "pytorch_model.bin")
    server = Hub(tmp_path / "served")
    yield server
    server.stop()


LOAD = """
import sys, core
from core.errors import HubError
try:
    print(float(core.AutoModelForCausalLM.from_pretrained(sys.argv[1], **eval(sys.argv[2])).transformer.wte.weight.detach().sum()))
except HubError as error:
    print("refused:", error)
"""
FETCH = """
import sys, threading, core
from core.checkpoints.resolve import resolve
from core.errors import HubError
cancel, seen = threading.Event(), []
def show(done, total):
    seen.append((done, total))
    if len(sys.argv) > 2 and done > int(sys.argv[2]): cancel.set()
try:
    print(resolve(sys.argv[1], on_progress=show, cancel=cancel).name)
except HubError as error:
    print("refused:", error)
assert all(a <= b for a, b in zip(seen, seen[1:])) and all(total == seen[0][1] for _, total in seen)
print(*(seen[-1] if seen else ("nothing to fetch",)))
"""


def start(hub: Hub, tmp_path: Path, script: str, *arguments: str, **more: str) -> "subprocess.Popen[str]":
    environment = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "0", **more}
    command = [sys.executable, "-c", script, *arguments]
    return subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=Path(core.__file__).parent.parent,
    )


def run(hub: Hub, tmp_path: Path, script: str, *arguments: str, **more: str) -> list[str]:
    return start(hub, tmp_path, script, *arguments, **more).communicate(timeout=60)[0].strip().splitlines()


def test_a_model_by_name_then_offline(hub: Hub, tmp_path: Path) -> None:
    expected = float(core.AutoModelForCausalLM.from_pretrained(hub.root / "some" / "model").transformer.wte.weight.detach().sum())
    assert run(hub, tmp_path, LOAD, "some/model", "{}") == [str(expected)]
    assert "pytorch_model.bin" not in hub.sent, "no .bin where there are safetensors"
    size = (hub.root / "some" / "model" / "model.safetensors").stat().st_size
    assert hub.sent["model.safetensors"] == size, "fetched once"
    for asked, more in (
        ("{}", {"HF_HUB_OFFLINE": "1"}),
        ("{'local_files_only': True}", {}),
        ("{}", {"HF_ENDPOINT": "http://127.0.0.1:9"}),
    ):
        assert run(hub, tmp_path, LOAD, "some/model", asked, **more)[-1] == str(expected)
    assert hub.sent["model.safetensors"] == size
    answer = run(hub, tmp_path, LOAD, "some/other", "{}", HF_HUB_OFFLINE="1")
    assert answer == [line for line in answer if "some/other" in line and "offline" in line and "SmolLM2" in line]


def test_a_stop_and_a_kill_are_resumed(hub: Hub, tmp_path: Path) -> None:
    whole = (hub.root / "some" / "model" / "model.safetensors").stat().st_size
    hub.slow = True
    stopped = run(hub, tmp_path, FETCH, "some/model", "1000000")
    assert stopped[0].startswith("refused: The download was stopped")
    process = start(hub, tmp_path, FETCH, "some/model")
    part = lambda: next((tmp_path / "home").rglob("*.part"), None)  # noqa: E731
    deadline = time.monotonic() + 30
    while (found := part()) is None or found.stat().st_size < 3_000_000:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    hub.slow = False
    done = run(hub, tmp_path, FETCH, "some/model")
    assert done[-1].split()[0] == done[-1].split()[1], "all of all"
    assert len(hub.ranges) == 2 and int(hub.ranges[1].split()[-1]) >= 3_000_000
    cached = next((tmp_path / "home").rglob("snapshots/*/model.safetensors"))
    assert cached.read_bytes() == (hub.root / "some" / "model" / "model.safetensors").read_bytes() and part() is None
    assert len(cached.read_bytes()) == whole
    assert run(hub, tmp_path, FETCH, "some/model")[-1] == "nothing to fetch"


def test_reasons(hub: Hub, tmp_path: Path) -> None:
    for name, asked, words in (
        ("some/gated", "{}", ["gated", "restricted", "HF_TOKEN", "terms"]),
        ("some/nothing", "{}", ["some/nothing", "Repository not found", "spelling"]),
        ("some/model", "{'revision': 'v9'}", ["some/model", "no revision 'v9'"]),
        ("not a name", "{}", ["not a name", "owner/model"]),
    ):
        answer = run(hub, tmp_path, LOAD, name, asked)
        assert len(answer) == 1 and answer[0].startswith("refused:"), answer
        assert all(word in answer[0] for word in words), answer
