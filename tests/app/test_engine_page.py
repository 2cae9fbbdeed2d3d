"""Two people at the page at once: both are answered together, each by the adapter of their choice, one's leaving gives the place free,
a second turn reuses the first."""

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from serving import ROOT

from core.paths import models_dir

MODEL = "SmolLM2-135M-Instruct"
ANSWERS = {"scarlet": "Red, as always.", "azure": "Blue, as always."}
THINGS = ("a car", "the sky", "my house", "her coat", "this door", "a rose", "the sea", "your pen")
LONG = "Write a very long story about {}."


@pytest.fixture
def visit(server: Any, chromium: Any) -> Iterator[Any]:
    """Opens the page as somebody new."""
    contexts = []

    def come() -> Any:
        contexts.append(chromium.new_context(viewport={"width": 1100, "height": 900}))
        page = contexts[-1].new_page()
        page.set_default_timeout(120_000)
        page.goto(server.url)
        page.wait_for_selector("#chat-box textarea")
        return page

    yield come
    for context in contexts:
        context.close()


def ask(page: Any, text: str) -> None:
    page.locator("#chat-box textarea").fill(text)
    page.keyboard.press("Enter")
    page.wait_for_function("t => document.querySelector('#chat-log').innerText.includes(t)", arg=text)


def written(page: Any) -> int:
    return len(page.locator("#chat-log").inner_text())


def engine(server: Any) -> dict[str, int]:
    """What the engine of the model says of itself."""
    with urllib.request.urlopen(f"{server.url}models") as answer:
        return json.load(answer)["residents"].get(MODEL, {"running": 0, "waiting": 0})


def until(what: Any, seconds: float = 120) -> None:
    end = time.time() + seconds
    while not what():
        assert time.time() < end, "it never came to be"
        time.sleep(0.05)


@pytest.mark.timeout(300)
def test_two_stream_at_once_and_who_leaves_gives_the_place_free(visit: Any, server: Any) -> None:
    one, two = visit(), visit()
    ask(one, LONG.format("the sea"))
    ask(two, LONG.format("a mountain"))
    until(lambda: engine(server)["running"] == 2)
    before = written(one), written(two)
    until(lambda: written(one) > before[0] + 40 and written(two) > before[1] + 40)
    assert engine(server)["running"] == 2, "they were answered one after the other"
    one.close()
    until(lambda: engine(server)["running"] == 1, 10)
    two.locator("#chat-stop").click()
    until(lambda: engine(server)["running"] == 0, 10)


@pytest.fixture(scope="module")
def two_adapters(server: Any, smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """Names of two runs of the server's, each an adapter of the same model with an answer of its own."""
    folder = tmp_path_factory.mktemp("adapters")
    environment = os.environ | {"VITRINE_DATA_DIR": str(server.data), "VITRINE_MODELS_DIR": str(models_dir())}
    for name, answer in ANSWERS.items():
        recipe, rows = folder / f"{name}.yaml", folder / f"{name}.jsonl"
        rows.write_text("".join(json.dumps({"prompt": f"What colour is {t}?", "completion": answer}) + "\n" for t in THINGS))
        settings = {"max_steps": 12, "per_device_train_batch_size": 4, "learning_rate": 2e-3}
        wanted = {"model": MODEL, "task": "instruction", "name": name, "lora": {"r": 8, "target_modules": "all-linear"}}
        recipe.write_text(yaml.safe_dump(wanted | {"training": settings}))
        command = [sys.executable, str(ROOT / "launch.py"), "train", str(recipe), "--data", str(rows), "--skip-install"]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    return tuple(ANSWERS)


@pytest.mark.timeout(400)
def test_two_people_with_two_adapters_get_their_own_answers(visit: Any, two_adapters: tuple[str, ...]) -> None:
    pages = {name: visit() for name in two_adapters}
    for name, page in pages.items():
        page.locator("#chat-adapter input").click()
        page.get_by_role("option", name=name).click()
    for _ in range(2):
        for page in pages.values():
            page.locator("#chat-clear").click()
            ask(page, "What colour is the train?")
        for name, page in pages.items():
            page.wait_for_function("t => document.querySelector('#chat-log').innerText.includes(t)", arg=ANSWERS[name])
            page.wait_for_selector("#chat-said:has-text('tokens read')")
            log = page.locator("#chat-log").inner_text()
            assert [answer for answer in ANSWERS.values() if answer in log] == [ANSWERS[name]], log


@pytest.mark.timeout(300)
def test_a_second_turn_says_what_it_reused(visit: Any) -> None:
    page = visit()
    ask(page, "What is the capital of France?")
    page.wait_for_selector("#chat-said:has-text('tokens read')")
    ask(page, "And of Spain?")
    page.wait_for_selector("#chat-said:has-text('tokens reused')")
    said = page.locator("#chat-said").inner_text()
    reused, _, whole = said[: said.index(" tokens reused")].rsplit(" · ", 1)[1].split()
    assert int(reused) > 0.6 * int(whole), said


@pytest.mark.timeout(300)
def test_guessing_ahead_says_how_often_it_was_right(visit: Any) -> None:
    page = visit()
    page.locator("#chat-parameters button").first.click()
    page.locator("#chat-prompt_lookup_num_tokens input").check()
    ask(page, "Repeat this three times: red green blue yellow white black, red green blue yellow white black.")
    page.wait_for_selector("#chat-said:has-text('guesses right')")
