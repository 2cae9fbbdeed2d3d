"""Models that begin from nothing: whole runs of a few steps by the recipes, on rows made here; what they made does its task."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from core import pipeline
from core.errors import TrainingError
from core.paths import assets_dir, runs_dir
from core.runs import Store
from core.trainer import scratch
from core.trainer.config import override, read
from core.trainer.run import main

RECIPES = assets_dir() / "recipes"
SHORT = {
    "max_steps": 3,
    "per_device_train_batch_size": 4,
    "save_steps": 2,
    "save_strategy": "steps",
    "eval_strategy": "no",
    "load_best_model_at_end": "false",
}


def train(recipe: str, data: Path, **more: Any) -> Path:
    """The folder of a finished short run."""
    words = [word for name, value in {**SHORT, **more}.items() for word in (f"--{name}", str(value))]
    assert main(str(RECIPES / recipe), ["--data", str(data), *words]) == 0
    run = Store().runs("training")[0]
    assert run["state"] == "finished", run["error"]
    return runs_dir() / run["id"]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Dark and bright images of 32 by 32."""
    rng = np.random.default_rng(0)
    bright = np.arange(16) % 2
    pixels = (rng.integers(0, 60, (16, 32, 32)) + 180 * bright[:, None, None]).astype(np.uint8)
    parts = {f"{split}_{what}": rows for split in ("train", "valid") for what, rows in (("images", pixels), ("labels", bright))}
    np.savez(tmp_path / "rows.npz", label_names=np.array(["dark", "bright"]), **parts)
    return tmp_path / "rows.npz"


def test_images(data_dir: Path, images: Path) -> None:
    folder = train("textures.yaml", images, max_steps=20, learning_rate=2e-3)
    label = pipeline("image-classification", str(folder / "model"))
    assert label(np.full((32, 32, 3), 230, np.uint8))[0]["label"] == "bright"
    assert label(np.full((32, 32, 3), 20, np.uint8))[0]["label"] == "dark"


def test_captions(data_dir: Path, images: Path) -> None:
    folder = train("captions.yaml", images, max_steps=30, learning_rate=2e-3)
    choose = pipeline("zero-shot-image-classification", str(folder / "model"))
    names = ["dark", "bright"]
    assert choose(np.full((32, 32, 3), 230, np.uint8), candidate_labels=names)[0]["label"] == "bright"
    assert choose(np.full((32, 32, 3), 20, np.uint8), candidate_labels=names)[0]["label"] == "dark"


def test_clips(data_dir: Path, tmp_path: Path) -> None:
    rows = []
    for number in range(8):
        name, hertz = (("low", 200), ("high", 3000))[number % 2]
        soundfile.write(tmp_path / f"{number}.wav", np.sin(np.arange(6000 + 500 * number) * 2 * np.pi * hertz / 16000), 16000)
        rows.append({"audio": f"{number}.wav", "label": name})
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    folder = train("sounds.yaml", tmp_path / "rows.jsonl", max_steps=25, learning_rate=2e-3)
    label = pipeline("audio-classification", str(folder / "model"))
    assert [label(str(tmp_path / f"{number}.wav"))[0]["label"] for number in (0, 1)] == ["low", "high"]


def test_words_and_going_on(data_dir: Path, tmp_path: Path) -> None:
    """The vocabulary is learned from the rows, once: a run that goes on has the same one."""
    pairs = [("one cat", "un chat"), ("two dogs", "deux chiens"), ("one dog", "un chien"), ("two cats", "deux chats")] * 2
    (tmp_path / "rows.tsv").write_text("".join(f"{en}\t{fr}\n" for en, fr in pairs))
    folder = train("translate.yaml", tmp_path / "rows.tsv", warmup_ratio=0)
    tokenizer = (folder / "scratch" / "tokenizer.json").read_bytes()
    write = pipeline("translation_en_to_fr", str(folder / "model"))
    assert isinstance(write("one cat", max_new_tokens=4)[0]["translation_text"], str)
    assert write.tokenizer.decode(write.tokenizer("deux chats")["input_ids"]) == "deux chats</s>"
    environment = {**os.environ, "VITRINE_DATA_DIR": str(data_dir), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "launch.py", "train", folder.name, "--skip-install"]
    done = subprocess.run(command, cwd=assets_dir().parent, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (folder / "scratch" / "tokenizer.json").read_bytes() == tokenizer


@pytest.mark.parametrize(
    ("plan", "said"),
    [({"confg": {}}, "no key confg"), ({"config": {"hidden_size": 3}}, "must say the model_type")],
)
def test_a_plan_that_is_none(plan: dict[str, Any], said: str, tmp_path: Path) -> None:
    config = override(read(RECIPES / "textures.yaml"), ["--scratch", json.dumps(plan)])
    with pytest.raises(TrainingError, match=said):
        scratch.begin(config, "AutoModelForImageClassification", [], tmp_path, 0)
