"""The run store, on real files and processes."""

import subprocess
import sys
from pathlib import Path

import pytest

from core.errors import StoreError, TrainingError
from core.runs import FileLock, Store, is_held

WRITER = """
import sys
from pathlib import Path
from core.runs import Store
store = Store(Path(sys.argv[1]))
for step in range(100):
    store.log("a", step, {sys.argv[2]: step})
"""
HOLDER = """
import sys
from pathlib import Path
from core.runs import FileLock
with FileLock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_run_from_beginning_to_end(tmp_path: Path) -> None:
    store = Store(tmp_path / "store.db")
    run = store.create_run("training", "first", "SmolLM2", {"r": 8})
    store.set_state(run, "running")
    store.log(run, 1, {"loss": 2.5, "learning_rate": 1e-4})
    rows, cursor = store.metrics(run)
    assert [(row["name"], row["value"]) for row in rows] == [("loss", 2.5), ("learning_rate", 1e-4)]
    for step in (2, 3):
        store.log(run, step, {"loss": 1.0})
        store.add_checkpoint(run, step, f"checkpoint-{step}")
    assert [row["step"] for row in store.metrics(run, cursor)[0]] == [2, 3]
    store.truncate(run, 2)
    store.log(run, 3, {"loss": 0.5})
    store.log(run, 3, {"loss": 0.6})
    assert [row["value"] for row in store.metrics(run)[0] if row["name"] == "loss"] == [2.5, 1.0, 0.6]
    assert [row["step"] for row in store.checkpoints(run)] == [2]
    store.add_sample(run, 3, "hi", "ahoy")
    store.add_system(run, 100.0, 50.0)
    store.set_state(run, "finished")
    found = Store(tmp_path / "store.db").run(run)
    assert found["config"] == {"r": 8} and found["state"] == "finished" and found["ended"] >= found["started"]
    store.delete_run(run)
    assert store.runs() == [] and store.samples(run) == []


def test_two_processes_write_at_once(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    Store(path).create_run("training", "a", "m", {}, id="a")
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(path), name]) for name in ("x", "y")]
    assert [writer.wait() for writer in writers] == [0, 0]
    assert len(Store(path).metrics("a")[0]) == 200


def test_two_processes_make_the_file_at_once(tmp_path: Path) -> None:
    code = "import sys; from pathlib import Path; from core.runs import Store; Store(Path(sys.argv[1])).runs()"
    makers = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "new.db")]) for _ in range(3)]
    assert [maker.wait() for maker in makers] == [0, 0, 0]


def test_errors_are_sentences(tmp_path: Path) -> None:
    (tmp_path / "bad.db").write_bytes(b"this is no database" * 100)
    with pytest.raises(StoreError, match=r"bad\.db"):
        Store(tmp_path / "bad.db")
    store = Store(tmp_path / "good.db")
    with pytest.raises(StoreError, match="no run 'x'"):
        store.run("x")
    with pytest.raises(StoreError, match="sleeping"):
        store.set_state("x", "sleeping")


def test_a_lock_dies_with_its_process(tmp_path: Path) -> None:
    path = tmp_path / "run" / "lock"
    assert not is_held(path)
    path.parent.mkdir()
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None and holder.stdout.readline() == "held\n"
    assert is_held(path)
    with pytest.raises(TrainingError), FileLock(path):
        pass
    holder.kill()
    holder.wait()
    assert not is_held(path)
    with FileLock(path):
        assert is_held(path)
