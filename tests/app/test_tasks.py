"""A tab for each task: its first example on its starter gives the right result, read off the page; what is missing is said."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from pages import tab


@pytest.fixture
def page(server: Any, chromium: Any) -> Iterator[Any]:
    """A page that must meet no error."""
    page = chromium.new_page(viewport={"width": 1440, "height": 1000})
    page.set_default_timeout(60_000)
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto(server.url)
    page.wait_for_selector("#chat-box textarea")
    yield page
    page.close()
    assert problems == []


def run_example(page: Any, id: str, number: int = 0) -> str:
    """Click an example and wait: the result's text."""
    page.locator(f"#{id}-examples button").nth(number).click()
    page.wait_for_selector(f"#{id}-said:has-text(' s · ')", timeout=120_000)
    return page.locator(f"#{id}-result").inner_text()


def test_zero_shot_its_python_and_its_history(page: Any) -> None:
    tab(page, "Zero-shot")
    assert page.locator("#zero-shot-model input").input_value() == "all-MiniLM-L6-v2"
    assert run_example(page, "zero-shot").split("\n")[1] == "sport"
    page.get_by_role("button", name="The same in Python").locator("visible=true").click()
    code = page.locator("#zero-shot-code").inner_text()
    assert "pipeline('zero-shot-classification', model='all-MiniLM-L6-v2')" in code and "candidate_labels" in code
    page.locator("#zero-shot-text textarea").fill("")
    page.locator("#zero-shot-run").click()
    page.wait_for_selector("#zero-shot-said:has-text('Write a text first')")
    page.locator("#zero-shot-earlier input").click()
    page.get_by_role("option").first.click()
    page.wait_for_function("() => document.querySelector('#zero-shot-text textarea').value.startsWith('The striker')")
    page.locator("#zero-shot-inside").click()
    page.wait_for_selector(".av[data-large=ready]")
    assert "striker" in page.locator("#inspect-text textarea").input_value()


def test_completion_takes_another_token(page: Any) -> None:
    tab(page, "Completion")
    page.locator("#complete-text textarea").fill("The capital of France is")
    page.locator("#complete-run").click()
    page.wait_for_selector(".cv[data-state=ready] .cv-token", timeout=180_000)
    tokens = page.locator(".cv-token")
    assert "Paris" in tokens.nth(5).inner_text() and "likeliest" in tokens.nth(5).get_attribute("title")
    tokens.nth(5).click()
    other = page.locator(".cv-others .rs-pick").nth(2)
    word = other.inner_text().strip("·")
    other.click()
    page.wait_for_function(
        "w => document.querySelector('#complete-text textarea').value.startsWith('The capital of France is ' + w)",
        arg=word,
        timeout=180_000,
    )


def test_speech(page: Any, whisper_tiny: Path, tmp_path: Path) -> None:
    """Nothing and silence get a sentence and no words; spoken words stand in tests/parity/test_speech.py."""
    tab(page, "Speech")
    page.locator("#speech-run").click()
    page.wait_for_selector("#speech-said:has-text('choose a file first')")
    file = tmp_path / "silence.wav"
    soundfile.write(file, np.zeros(16000), 16000)
    page.locator("#speech-audio input[type=file]").set_input_files(str(file))
    page.wait_for_selector("#speech-audio audio", state="attached")
    page.locator("#speech-run").click()
    page.wait_for_selector("#speech-said:has-text(' s · whisper')", timeout=120_000)
    assert page.locator("#speech-result").inner_text().strip().startswith("Transcript")


def test_a_task_without_a_model_says_what_to_fetch(page: Any) -> None:
    tab(page, "Entities")
    page.wait_for_selector("text=dslim/bert-base-NER")
    page.locator("#entities-examples button").first.click()
    page.wait_for_selector("#entities-said:has-text('No model is chosen')")
