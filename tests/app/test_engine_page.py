"""Two people at the page at once: both are answered together, one's leaving gives the place free, a second turn reuses the first."""

import json
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

MODEL = "SmolLM2-135M-Instruct"
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
