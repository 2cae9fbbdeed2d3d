"""Every task of a recipe learns rows by heart and trains an adapter; what it wrote is what it had, and answers in its pipeline."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from tiny_tasks import CASES, Case, made

import core
from core.runs import Store
from core.trainer.reading import load_rows
from core.trainer.run import main, read
from core.trainer.tasks import task_class


def trained(case: Case, folder: Path, steps: int, **values: Any) -> tuple[Store, str]:
    """`launch.py train` on its recipe, to the end; the run."""
    data = made(case, folder)
    training = {
        "max_steps": steps,
        "per_device_train_batch_size": 4,
        "learning_rate": case.rate,
        "lr_scheduler_type": "constant",
        "save_steps": steps,
    }
    known = {"model": str(folder), "dataset": str(data), "task": case.task, "max_length": 32, "training": training}
    (folder / "recipe.yaml").write_text(yaml.safe_dump({**known, **values}))
    assert main(str(folder / "recipe.yaml"), []) == 0
    store = Store()
    run = store.runs("training")[0]
    assert run["state"] == "finished", run
    return store, run["id"]


def figures(store: Store, run: str, name: str) -> list[float]:
    return [row["value"] for row in store.metrics(run)[0] if row["name"] == name]


def same_again(model: Any, folder: Path, expected: float) -> None:
    """A model that was read back loses as much on the rows as the trained one did."""
    config = read(folder / "config.yaml")
    task = task_class(config.task)(config)
    rows = task.learn(load_rows(*config.files()[1:], split="valid"))  # type: ignore[arg-type]
    task.prepare(model)
    args = config.arguments(folder / "again")
    trainer = task.make_trainer(model, args, task.collator(), eval_dataset=task.encode(rows, False))
    assert trainer.evaluate()["eval_loss"] == pytest.approx(expected, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("name", CASES)
def test_rows_are_learned_by_heart(name: str, data_dir: Path, tmp_path: Path) -> None:
    case = CASES[name]
    store, run = trained(case, tmp_path / "model", case.steps, lora=None)
    lost = figures(store, run, "loss")
    assert len(lost) == case.steps and sum(lost[-5:]) < 0.3 * sum(lost[:5])
    if case.measured[0]:
        assert figures(store, run, case.measured[0])[-1] == case.measured[1]
    for kept in ("model", f"checkpoint-{case.steps}"):
        asked = core.pipeline(case.pipeline, model=str(data_dir / "runs" / run / kept))
        assert case.right(asked, tmp_path / "model")
        if case.task != "masked-lm":  # which words are masked is chance
            same_again(asked.model, data_dir / "runs" / run, figures(store, run, "eval_loss")[-1])


@pytest.mark.parametrize("name", CASES)
def test_an_adapter_is_trained_and_read_back(name: str, data_dir: Path, tmp_path: Path) -> None:
    """By the adapter's folder alone: its base, what prepares its inputs and its classes are found from there."""
    case = CASES[name]
    store, run = trained(case, tmp_path / "model", 12, lora={"r": 8})
    lost = figures(store, run, "loss")
    assert len(lost) == 12 and (min(lost[6:]) < min(lost[:2]) or case.task == "masked-lm")
    for kept in ("adapter", "checkpoint-12"):
        asked = core.pipeline(case.pipeline, model=str(data_dir / "runs" / run / kept))
        case.right(asked, tmp_path / "model")
        if case.task != "masked-lm":
            same_again(asked.model, data_dir / "runs" / run, figures(store, run, "eval_loss")[-1])
