"""Two processes as torchrun starts them train as one with the same batch together. Real processes."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import yaml
from safetensors.torch import load_file
from tiny_tasks import CASES, made

import core
from core.runs import Store

ROOT = Path(__file__).resolve().parents[2]


def run(processes: int, folder: Path, *words: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    child = [str(ROOT / "tests" / "distributed_child.py"), str(folder), *words]
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    command = [sys.executable, *(torchrun if processes > 1 else []), *child]
    return subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=240)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Undisturbed trainings, each done once: the folder of one of so many processes, of a batch of 4 rows together."""

    @cache
    def done(processes: int, *what: str) -> Path:
        folder = tmp_path_factory.mktemp("whole")
        finished = run(processes, folder, str(4 // processes), *what)
        assert finished.returncode == 0, finished.stderr[-3000:]
        return folder

    return done


def found(folder: Path) -> dict[str, list[float]]:
    return json.loads((folder / "found.json").read_text())


@pytest.mark.parametrize("what", [["words"], ["classes"], ["words", "full_shard"], ["whole", "full_shard"]], ids="-".join)
def test_two_processes_are_as_good_as_one(what: list[str], whole: Callable[..., Path]) -> None:
    """Losses, gradients, evaluations, weights at the end; the last batch leaves one process without a row. One set of files."""
    folders = whole(1, what[0]), whole(2, *what)
    one, two = map(found, folders)
    assert len(one["losses"]) == (18 if "classes" in what else 9)
    for name in one:
        assert two[name] == pytest.approx(one[name], rel=1e-4, abs=1e-5), name
    files = [{str(f.relative_to(folder)) for f in folder.rglob("*") if "rng_state" not in f.name} for folder in folders]
    assert files[0] == files[1]
    weights = "adapter_model.safetensors" if "words" in what else "model.safetensors"
    ends = [load_file(folder / "end" / weights) for folder in folders]
    for name, tensor in ends[0].items():
        assert (ends[1][name] - tensor).abs().max() < 1e-5, name
    held = float((folders[1] / "held").read_text())  # of the weights, by the first process
    assert held == 1 if "full_shard" not in what else held < 0.6


@pytest.mark.parametrize("how", [[], ["full_shard"]], ids=["ddp", "fsdp"])
def test_a_dead_process_ends_the_run_and_it_goes_on_from_there(
    how: list[str], tmp_path: Path, whole: Callable[..., Path]
) -> None:
    """With spread weights from what all of them held."""
    broken, kind = tmp_path, "whole" if how else "words"
    died = run(2, broken, "2", kind, "die", *how)
    assert died.returncode != 0
    assert "lost another process" in died.stderr or "exitcode  : 9" in died.stderr
    assert (broken / "checkpoint-2").is_dir() and not (broken / "found.json").exists()
    resumed = run(2, broken, "2", kind, "resume", *how)
    assert resumed.returncode == 0, resumed.stderr[-3000:]
    assert found(broken)["losses"] == found(whole(2, kind, *how))["losses"]


def test_a_recipe_with_spread_weights(tmp_path: Path, data_dir: Path) -> None:
    """`torchrun launch.py train`: evaluated in both processes, answered and written by the first."""
    case = CASES["instruction"]
    data = made(case, tmp_path / "model")
    training = {"max_steps": 40, "per_device_train_batch_size": 2, "learning_rate": 1e-2, "fsdp": "full_shard", "use_cpu": True}
    known = {"model": str(tmp_path / "model"), "dataset": str(data), "task": case.task, "max_length": 32, "lora": None}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump({**known, "training": training, "exact_match": 4}))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "launch.py", "train"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    words = [*command, str(tmp_path / "recipe.yaml"), "--skip-install"]
    done = subprocess.run(words, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    run, *others = Store().runs("training")
    found = [row["value"] for row in Store().metrics(run["id"])[0] if row["name"] == "exact_match"]
    assert run["state"] == "finished" and not others and found == [0, 1]
    assert case.right(core.pipeline(case.pipeline, model=str(data_dir / "runs" / run["id"] / "model")), tmp_path)
