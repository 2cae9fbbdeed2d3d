"""Two processes as torchrun starts them train as one with the same batch together. Real processes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run(processes: int, folder: Path, *words: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    child = [str(ROOT / "tests" / "distributed_child.py"), str(folder), *words]
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    command = [sys.executable, *(torchrun if processes > 1 else []), *child]
    return subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=240)


def found(folder: Path) -> dict[str, list[float]]:
    return json.loads((folder / "found.json").read_text())


@pytest.mark.parametrize("kind", ["words", "classes"])
def test_two_processes_are_as_good_as_one(kind: str, tmp_path: Path) -> None:
    """Losses, gradients, evaluations; the last batch leaves one process without a row. One set of files."""
    for processes, batch in ((1, "4"), (2, "2")):
        (tmp_path / str(processes)).mkdir()
        done = run(processes, tmp_path / str(processes), batch, kind)
        assert done.returncode == 0, done.stderr[-3000:]
    one, two = found(tmp_path / "1"), found(tmp_path / "2")
    assert len(one["losses"]) == (9 if kind == "words" else 18)
    for name in one:
        assert two[name] == pytest.approx(one[name], rel=1e-4, abs=1e-5), name
    files = [{str(f.relative_to(tmp_path / n)) for f in (tmp_path / n).rglob("*") if "rng_state" not in f.name} for n in "12"]
    assert files[0] == files[1]


def test_a_dead_process_ends_the_run_and_it_goes_on_from_there(tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    for folder in (whole, broken):
        folder.mkdir()
    assert run(2, whole, "2", "words").returncode == 0
    died = run(2, broken, "2", "words", "die")
    assert died.returncode != 0
    assert "lost another process" in died.stderr or "exitcode  : 9" in died.stderr
    assert (broken / "checkpoint-2").is_dir() and not (broken / "found.json").exists()
    resumed = run(2, broken, "2", "words", "resume")
    assert resumed.returncode == 0, resumed.stderr[-3000:]
    assert found(broken)["losses"] == found(whole)["losses"]
