"""Models in memory: who waits is told its place, who leaves stops the work, what is unused goes, what cannot fit is refused."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from models import seer, writer
from PIL import Image

from app.components.task_page import _named
from app.workbench import Workbench
from core.errors import MediaError, VitrineError
from core.generation import GenerationConfig


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, whisper_tiny: Path) -> Path:
    """Two that write, one that sees, one that hears."""
    folder = tmp_path_factory.mktemp("models")
    writer(folder / "one")
    writer(folder / "two")
    seer(folder / "eye")
    (folder / "ear").symlink_to(whisper_tiny, target_is_directory=True)
    return folder


@pytest.fixture
def bench(models: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workbench]:
    """A workbench over these."""
    monkeypatch.setenv("VITRINE_MODELS_DIR", str(models))
    workbench = Workbench("cpu", "float32")
    yield workbench
    workbench.close()


def until(what: Any, seconds: float = 20) -> None:
    """Wait for it."""
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it never came to be"
        time.sleep(0.01)


def counted(resident: Any) -> tuple[list[bool], threading.Event]:
    """The model's steps as they come, each with whether the reader had left by then."""
    steps, left = [], threading.Event()
    resident.model.register_forward_hook(lambda *_: (steps.append(left.is_set()), time.sleep(0.002))[0])
    return steps, left


def test_a_reader_who_leaves_stops_the_writing_within_five_steps(bench: Workbench) -> None:
    steps, left = counted(bench.use("one", "text-generation"))
    events = bench.chat_stream("one", None, "Once", GenerationConfig(max_new_tokens=3000))
    while len(steps) < 20:
        next(events)
    left.set()
    events.close()
    until(lambda: not bench.use("one").busy)
    assert sum(steps) <= 5 and len(steps) < 3000


def test_a_call_whose_page_is_closed_stops_within_five_steps(bench: Workbench) -> None:
    steps, left = counted(bench.use("one", "text-generation"))
    call = bench.call("text-generation", "one", ("Once",), {"max_new_tokens": 3000})
    sentences = call.waiting()
    next(sentences)
    until(lambda: len(steps) > 20)
    left.set()
    sentences.close()
    call.answer.result(timeout=20)
    assert call.stopped and sum(steps) <= 5 and len(steps) < 3000


def test_who_waits_is_told_the_place_in_line(bench: Workbench) -> None:
    resident, gate = bench.use("one", "text-generation"), threading.Event()
    calls = [bench.ask(None, "one", lambda *_: gate.wait(20))]
    until(lambda: len(resident._line) == 1)
    for number in (2, 3):
        calls.append(bench.ask(None, "one", lambda *_: None))
        until(lambda number=number: len(resident._line) == number)
    assert [call.standing for call in calls] == [
        *("Working …", "In line, number 1: others use this model …", "In line, number 2: others use this model …"),
    ]
    assert bench.residents()["one"]["calls"] == 3
    calls[1].stop()
    gate.set()
    for call in calls:
        call.answer.result(timeout=20)
    assert bench.residents()["one"]["calls"] == 0


def test_the_longest_unused_goes_where_the_next_needs_its_room(bench: Workbench) -> None:
    first, second = bench.use("one"), bench.use("two")
    first.used, second.used = 1.0, 2.0
    bench.budget = first.nbytes + second.nbytes + 1
    bench.use("eye", "image-classification")
    assert "one" not in bench.residents() and "two" in bench.residents()
    with pytest.raises(VitrineError, match="unloaded"):
        first.run(lambda model: None)


def test_a_model_that_cannot_fit_is_refused_with_its_numbers(bench: Workbench) -> None:
    bench.budget = 1000
    with pytest.raises(VitrineError, match=r"one needs about .* choose a smaller model"):
        bench.use("one")
    assert bench.residents() == {}


def test_a_model_in_use_is_never_let_go(bench: Workbench) -> None:
    resident, gate = bench.use("one", "text-generation"), threading.Event()
    call = bench.ask(None, "one", lambda *_: gate.wait(20))
    until(lambda: resident._line)
    bench.budget = resident.nbytes + 10
    with pytest.raises(VitrineError, match="others use now"):
        bench.use("two")
    bench.idle = 0.0
    bench.unload_idle()
    assert "one" in bench.residents()
    gate.set()
    call.answer.result(timeout=20)
    until(lambda: not resident.busy)
    bench.unload_idle()
    assert bench.residents() == {}
    with pytest.raises(VitrineError, match="not in memory"):
        bench.unload("one")


def test_a_model_for_another_task_is_refused_in_a_sentence(bench: Workbench) -> None:
    labels = {"candidate_labels": ["a", "b"]}
    for task, name, options in (
        *(("text-generation", "eye", {}), ("image-classification", "one", {})),
        *(("zero-shot-classification", "ear", labels), ("feature-extraction", "eye", {})),
    ):
        with pytest.raises(VitrineError, match=f"{task}|no tokenizer"):
            bench.call(task, name, ("x",), options).answer.result(timeout=20)


def broken(kind: str, folder: Path) -> Path:
    """An image that is none, is cut off, or is a text."""
    file = folder / f"{kind}.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(file)
    if kind == "cut":
        file.write_bytes(file.read_bytes()[:700])
    if kind == "text":
        file.write_text("no image")
    return file


@pytest.mark.parametrize("kind", ["cut", "text"])
def test_a_broken_image_is_named_without_its_place(bench: Workbench, tmp_path: Path, kind: str) -> None:
    file = broken(kind, tmp_path)
    with pytest.raises(MediaError) as caught:
        bench.call("image-classification", "eye", (str(file),), {}).answer.result(timeout=20)
    said = _named(str(caught.value), [str(file)])
    assert said.startswith(f"{kind}.jpg is ") and str(tmp_path) not in said


def test_an_image_of_one_pixel_has_labels(bench: Workbench, tmp_path: Path) -> None:
    file = tmp_path / "dot.png"
    Image.new("RGB", (1, 1), "red").save(file)
    found = bench.call("image-classification", "eye", (str(file),), {}).answer.result(timeout=20)
    assert {row["label"] for row in found} == {"dark", "light"}


def test_silence_and_what_is_no_sound(bench: Workbench, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "silent.wav", np.zeros(16000 * 60), 16000)
    task = "automatic-speech-recognition"
    assert bench.call(task, "ear", (str(tmp_path / "silent.wav"),), {}).answer.result(timeout=60)["text"] == ""
    (tmp_path / "text.wav").write_text("no sound")
    with pytest.raises(MediaError, match="no sound file"):
        bench.call(task, "ear", (str(tmp_path / "text.wav"),), {}).answer.result(timeout=60)


def test_half_an_hour_is_heard_window_by_window_and_can_be_stopped(bench: Workbench, tmp_path: Path) -> None:
    file = tmp_path / "long.wav"
    noise = (np.random.default_rng(0).standard_normal(8000) * 0.01).astype(np.float32)
    soundfile.write(file, np.tile(noise, 30 * 60), 8000, subtype="PCM_U8")
    windows = []
    bench.use("ear", "automatic-speech-recognition").model.model.encoder.register_forward_hook(lambda *_: windows.append(1))
    call = bench.call("automatic-speech-recognition", "ear", (str(file),), {"return_timestamps": True, "max_new_tokens": 3})
    until(lambda: len(windows) >= 2, 60)
    call.stop()
    call.answer.result(timeout=60)
    assert len(windows) < 10, "it went on after it was stopped"
