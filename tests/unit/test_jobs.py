"""The queue of training runs, where no process has to run: who waits, who is lost, what is refused."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.jobs import LOST, Jobs
from core.errors import TrainingError
from core.paths import runs_dir
from core.runs import FileLock, Store
from core.trainer.run import RunConfig


@pytest.fixture
def jobs(data_dir: Path) -> Iterator[Jobs]:
    """On an empty store, with a run of another process going on: its lock is held."""
    found = Jobs(Store())
    found.store.create_run("training", "other", "m", {}, id="other", state="running")
    (runs_dir() / "other").mkdir(parents=True)
    with FileLock(runs_dir() / "other" / "lock"):
        yield found


def test_a_second_run_waits_and_can_leave_the_queue(jobs: Jobs) -> None:
    run = jobs.submit(RunConfig("m", "queries"))
    assert jobs.store.run(run)["state"] == "queued" and (runs_dir() / run / "config.yaml").is_file()
    with pytest.raises(TrainingError, match="queued: only a stopped or failed one"):
        jobs.resume(run)
    jobs.stop(run)
    assert jobs.store.run(run)["state"] == "stopped"
    jobs.resume(run)
    assert jobs.store.run(run)["state"] == "queued"
    assert jobs.store.run("other")["state"] == "running"


def test_a_run_whose_process_is_gone_is_marked(jobs: Jobs) -> None:
    jobs.store.create_run("training", "lost", "m", {}, id="lost", state="running")
    jobs.tick()
    assert (jobs.store.run("lost")["state"], jobs.store.run("lost")["error"]) == ("failed", LOST)
    with pytest.raises(TrainingError, match="folder is gone"):
        jobs.resume("lost")


def test_what_is_alive_cannot_be_deleted_and_what_is_over_not_stopped(jobs: Jobs) -> None:
    with pytest.raises(TrainingError, match="stop it first"):
        jobs.delete("other")
    jobs.stop("other")
    assert (runs_dir() / "other" / "stop").is_file()
    jobs.store.set_state("other", "finished")
    with pytest.raises(TrainingError, match="nothing to stop"):
        jobs.stop("other")
    jobs.delete("other")
    assert jobs.store.runs() == [] and not (runs_dir() / "other").exists()


def test_a_senseless_argument_makes_no_run(jobs: Jobs) -> None:
    with pytest.raises(TrainingError, match="lerning_rate"):
        jobs.submit(RunConfig("m", "queries", training={"lerning_rate": 1}))
    assert [run["id"] for run in jobs.store.runs()] == ["other"]
