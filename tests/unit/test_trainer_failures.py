"""What goes wrong in a run is one sentence in its store and on the terminal, and what was saved before goes on. Real runs, real limits."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from tiny_tasks import CASES, TEXTS, bert, llama, made

import core
from core.errors import TrainingError
from core.runs import Store
from core.trainer import checkpoints
from core.trainer.run import main

ROOT = Path(__file__).resolve().parents[2]
LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits of a process are Linux's here")


def recipe(folder: Path, data: Path | str, task: str, training: dict[str, Any] | None = None, **values: Any) -> Path:
    few = {"max_steps": 2, "save_strategy": "no"}
    known = {"model": str(folder), "dataset": str(data), "task": task, "max_length": 32, "lora": None}
    (folder / "recipe.yaml").write_text(yaml.safe_dump({**known, "training": {**few, **(training or {})}, **values}))
    return folder / "recipe.yaml"


def put(folder: Path, name: str, text: str | bytes) -> Path:
    (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder / name


def lines(*rows: Any) -> str:
    return "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)


GOOD = {"text": TEXTS[0], "label": "x"}, {"text": TEXTS[1], "label": "y"}


@pytest.mark.parametrize(
    ("name", "text", "values", "said"),
    [
        ("a.jsonl", lines(*GOOD, '{"text": '), {}, "a.jsonl, line 3: not JSON"),
        ("a.jsonl", lines(*GOOD, {"text": 7, "label": "x"}), {}, "Row 3 of a.jsonl: its text is a int, no text"),
        ("a.jsonl", lines(*GOOD, {"txt": "a", "label": "x"}), {}, "Row 3 of a.jsonl has no column 'text'; it has: txt, label"),
        ("a.jsonl", lines(*GOOD), {"columns": {"text": "body"}}, "has no column 'body'; it has: text, label"),
        ("a.jsonl", "", {}, "a.jsonl has no rows"),
        ("a.jsonl", b'{"text": "ok", "label": "x"}\n{"text": "\xff"}\n', {}, "a.jsonl, line 2, is not UTF-8 text"),
        ("a.jsonl", lines(*GOOD), {"max_length": 64}, "max_length is 64, .* reads at most 32 tokens: lower it"),
        ("a.jsonl", lines(GOOD[0]), {}, "have 1 class"),
        ("a.jsonl", lines(*GOOD), {"valid": "nowhere.jsonl"}, "There is no data set 'nowhere.jsonl'"),
    ],
)
def test_rows_that_cannot_be_used(
    name: str, text: str | bytes, values: dict, said: str, tmp_path: Path, data_dir: Path, capsys: pytest.CaptureFixture
) -> None:
    """The place is the one in the file, though rows are mixed before they are read."""
    folder = tmp_path / "model"
    folder.mkdir()
    bert(folder, TEXTS)
    assert main(str(recipe(folder, put(tmp_path, name, text), "sequence-classification", **values)), []) == 1
    sentence = capsys.readouterr().err.strip()
    assert len(sentence.splitlines()) == 1
    with pytest.raises(AssertionError, match=said):
        raise AssertionError(sentence)
    if "no data set" not in said:  # there a run is not even begun
        run = Store().runs("training")[0]
        assert (run["state"], run["error"]) == ("failed", sentence)


def test_rows_of_conversations_that_cannot_be_used(tmp_path: Path, data_dir: Path, capsys: pytest.CaptureFixture) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    llama(folder, [*TEXTS, "user assistant"])
    good = {"prompt": TEXTS[0], "completion": TEXTS[1]}
    for rows, said in (
        ([good, good, {"prompt": "a"}], "Row 3 of a.jsonl: it lacks or misnames a field"),
        ([good, {"prompt": "a", "completion": 3}], "Row 2 of a.jsonl: a message has no text"),
        ([{"a": 1}], "The fields a are none that can be trained on"),
        ([{"prompt": " ".join(TEXTS * 3), "completion": "fox"}], "No row has an answer within 32 tokens: raise max_length"),
    ):
        assert main(str(recipe(folder, put(tmp_path, "a.jsonl", lines(*rows)), "instruction")), []) == 1
        sentence = capsys.readouterr().err.strip()
        assert said in sentence and Store().runs("training")[0]["error"] == sentence


@pytest.mark.parametrize("workers", [0, 1])
def test_a_picture_that_cannot_be_read(workers: int, tmp_path: Path, data_dir: Path, capsys: pytest.CaptureFixture) -> None:
    """It is met in mid-training, and in another process too: the same sentence."""
    data = made(CASES["pictures"], tmp_path / "model")
    broken = data / "train" / "down" / "one.png"
    broken.write_bytes(broken.read_bytes()[:40])
    assert main(str(recipe(tmp_path / "model", data, "image-classification", {"dataloader_num_workers": workers})), []) == 1
    sentence = capsys.readouterr().err.strip().splitlines()[-1]
    assert sentence.startswith("Row 2 of train cannot be used: ") and "one.png" in sentence
    assert Store().runs("training")[0]["error"] == sentence


def test_a_spoken_text_longer_than_the_model_writes(tmp_path: Path, data_dir: Path, capsys: pytest.CaptureFixture) -> None:
    data = made(CASES["whisper"], tmp_path / "model")
    rows = [json.loads(line) for line in data.read_text().splitlines()]
    rows[1]["text"] = " eleven" * 40
    data.write_text(lines(*rows))
    assert main(str(recipe(tmp_path / "model", data, "speech-seq2seq", {"per_device_train_batch_size": 3})), []) == 1
    assert "Row 2 of rows.train.jsonl: its text has" in capsys.readouterr().err


def child(*words: str, data: Path) -> subprocess.Popen:
    environment = {
        **os.environ,
        "VITRINE_DATA_DIR": str(data),
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}",
    }
    return subprocess.Popen(
        [sys.executable, *words], env=environment, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


@LINUX
def test_no_memory_at_the_first_step(tmp_path: Path, data_dir: Path) -> None:
    """A process that may have 300 MB, and a batch that needs more."""
    folder = tmp_path / "model"
    folder.mkdir()
    bert(folder, TEXTS)
    data = put(tmp_path, "a.jsonl", lines(*({**GOOD[i % 2], "text": " ".join(TEXTS)} for i in range(20_000))))
    path = recipe(folder, data, "sequence-classification", {"per_device_train_batch_size": 20_000, "max_steps": 1})
    process = child(str(ROOT / "tests" / "failing_child.py"), str(path), "300", data=data_dir)
    sentence = process.communicate()[1].strip().splitlines()[-1]
    assert process.returncode == 1
    assert sentence.startswith(
        "The memory ran out at step 1 with 20000 x 22 (rows x tokens) in a batch: lower per_device_train_batch_size"
    )
    run = Store().runs("training")[0]
    assert (run["state"], run["error"]) == ("failed", sentence)


@LINUX
def test_no_room_for_a_checkpoint(tmp_path: Path, data_dir: Path) -> None:
    """From the second checkpoint on no file may become as large as the weights. The run goes on when there is room again."""
    import resource

    folder, store = tmp_path / "model", Store()
    folder.mkdir()
    words = [*TEXTS, " ".join(f"w{i}" for i in range(20_000))]  # 5 MB of vectors, more than the store takes
    llama(folder, words)
    (folder / "rows.txt").write_text("\n".join(TEXTS))
    training = {
        "max_steps": 30,
        "save_steps": 5,
        "save_strategy": "steps",
        "save_total_limit": 2,
        "per_device_train_batch_size": 1,
    }
    path = recipe(folder, folder / "rows.txt", "causal-lm", training)
    process = child(str(ROOT / "launch.py"), "train", str(path), "--skip-install", data=data_dir)
    while not (runs := list((data_dir / "runs").glob("*/checkpoint-*[0-9]"))) and process.poll() is None:
        time.sleep(0.01)
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (3 * 2**20, 3 * 2**20))
    sentence = process.communicate()[1].strip().splitlines()[-1]
    run = store.runs("training")[0]
    assert process.returncode == 1 and (run["state"], run["error"]) == ("failed", sentence), sentence
    assert "cannot be written: " in sentence and "Earlier ones are kept" in sentence
    kept = checkpoints.checkpoints(runs[0].parent)
    assert kept and not list(runs[0].parent.glob("*.part"))
    for whole in kept:
        core.AutoModelForCausalLM.from_pretrained(whole)
    done = int(kept[-1].name.split("-")[1])
    resumed = child(str(ROOT / "launch.py"), "train", run["id"], "--skip-install", data=data_dir)
    assert resumed.wait() == 0, resumed.communicate()[1]
    assert store.run(run["id"])["state"] == "finished" and done < 30
    steps = [row["step"] for row in store.metrics(run["id"])[0] if row["name"] == "loss"]
    assert steps == list(range(1, 31))


def test_a_run_whose_loss_is_no_number(tmp_path: Path, data_dir: Path, capsys: pytest.CaptureFixture) -> None:
    """With a learning rate beyond all measure; its checkpoints stay, and it fails at the same step again."""
    data = made(CASES["causal-lm"], tmp_path / "model")
    training = {"max_steps": 9, "save_steps": 1, "save_strategy": "steps", "save_total_limit": 1, "learning_rate": 1000}
    path = recipe(tmp_path / "model", data, "causal-lm", training, dtype="float16")  # which ends at 65,504
    assert main(str(path), []) == 1
    sentence = capsys.readouterr().err.strip()
    run = Store().runs("training")[0]
    assert (run["state"], run["error"]) == ("failed", sentence)
    last = checkpoints.last_checkpoint(data_dir / "runs" / run["id"])
    assert last is not None and f"is kept in {last}." in sentence
    assert all(p.isfinite().all() for p in core.AutoModelForCausalLM.from_pretrained(last).parameters())
    assert main(run["id"], []) == 1 and capsys.readouterr().err.strip() == sentence


def test_a_gradient_that_is_no_number_does_not_reach_the_weights(tmp_path: Path) -> None:
    """The loss is fine, its gradient is not: a root at 0."""

    class Rooted(core.Trainer):
        def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None) -> Any:
            loss = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
            root = (model.lm_head.weight.sum() * 0).sqrt() * 0
            return loss + (root if self.state.global_step == 3 else 0)

    config = core.LlamaConfig(vocab_size=50, hidden_size=16, intermediate_size=20, num_hidden_layers=1, num_attention_heads=2)
    model = core.LlamaForCausalLM(config)
    rows = [{"input_ids": (ids := torch.arange(5, 14) + i), "labels": ids} for i in range(8)]
    args = core.TrainingArguments(output_dir=str(tmp_path), max_steps=9, save_steps=2, save_total_limit=1)
    with pytest.raises(TrainingError, match=r"gradient's norm is nan at step 4: .*The state after step 3 is kept"):
        Rooted(model, args, train_dataset=rows).train()
    assert all(p.isfinite().all() for p in model.parameters())
    assert [path.name for path in checkpoints.checkpoints(tmp_path)] == ["checkpoint-2", "checkpoint-3"]
