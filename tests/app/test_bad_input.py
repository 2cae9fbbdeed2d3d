"""What a person may send by mistake gets a sentence where it was sent, and the page goes on. What the page cannot show, test_workbench.py has."""

import json
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from pages import tab
from PIL import Image
from serving import Server, start_server

ALONE = "import launch; launch.fetch_starters = lambda args: None; launch.main(__import__('sys').argv[1:])"
MEGABYTE = "word " * 200_000
EMPTY = {
    "Classify": "classify",
    "Entities": "entities",
    "Fill mask": "fill-mask",
    "Questions": "questions",
    "Translate": "translate",
}
EMPTY |= {
    "Summarise": "summarise",
    "Zero-shot": "zero-shot",
    "Image labels": "image-labels",
    "Image zero-shot": "image-zero-shot",
}
EMPTY |= {"Speech": "speech", "Sounds": "sounds"}


@pytest.fixture(scope="module")
def clinic(tmp_path_factory: pytest.TempPathFactory, smollm2: Path, minilm: Path, whisper_tiny: Path) -> Iterator[Server]:
    """A server with the starters."""
    folder = tmp_path_factory.mktemp("clinic")
    (folder / "models").mkdir()
    for starter in (smollm2.parent, minilm, whisper_tiny):
        (folder / "models" / starter.name).symlink_to(starter, target_is_directory=True)
    server = start_server(folder / "data", "--port", "7930", models=folder / "models", command=[sys.executable, "-c", ALONE])
    yield server
    server.stop()


@pytest.fixture
def page(clinic: Server, chromium: Any) -> Iterator[Any]:
    """A page that must meet no error of its own, and still answers at the end."""
    page = chromium.new_page(viewport={"width": 1440, "height": 1000})
    page.set_default_timeout(60_000)
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto(clinic.url)
    page.wait_for_selector("#chat-box textarea")
    yield page
    if not page.is_closed():
        tab(page, "Embeddings")
        page.locator("#embed-text textarea").fill("A cat sleeps.\nA dog runs.")
        page.locator("#embed-run").click()
        page.wait_for_selector(".sv[data-ready='2']")
        page.close()
    assert problems == []


def says(page: Any, id: str, text: str) -> None:
    """The sentence stands in its place."""
    page.wait_for_function("([id, t]) => document.getElementById(id)?.innerText.includes(t)", arg=[id, text])


def paste(page: Any, selector: str, text: str) -> None:
    """Into a text field at once: a browser types a megabyte too slowly."""
    page.locator(selector).evaluate("(e, t) => { e.value = t; e.dispatchEvent(new Event('input', {bubbles: true})); }", text)


def test_nothing_on_every_tab(page: Any) -> None:
    page.locator("#chat-send").click()
    says(page, "chat-said", "Write a message first")
    for name, id in EMPTY.items():
        tab(page, name)
        page.locator(f"#{id}-run").click()
        says(page, f"{id}-said", " first")
    tab(page, "Completion")
    page.locator("#complete-run").click()
    says(page, "complete-said", "Write a beginning first")
    tab(page, "Embeddings")
    page.locator("#embed-text textarea").fill(" \n")
    page.locator("#embed-run").click()
    says(page, "embed-said", "Write two sentences or more first")


def test_a_megabyte_of_text(page: Any) -> None:
    for name, box, button, said in (
        ("Chat", "#chat-box textarea", "#chat-send", "chat-said"),
        ("Completion", "#complete-text textarea", "#complete-run", "complete-said"),
        ("Classify", "#classify-text textarea", "#classify-run", "classify-said"),
        ("Embeddings", "#embed-text textarea", "#embed-run", "embed-said"),
        ("Inspect", "#inspect-text textarea", "#inspect-run", "inspect-status"),
    ):
        tab(page, name)
        paste(page, box, MEGABYTE)
        page.locator(button).click()
        says(page, said, "1,000,000 characters; at most 100,000")
        paste(page, box, "")


def test_images_that_are_none(page: Any, tmp_path: Path) -> None:
    whole = tmp_path / "whole.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(whole)
    (tmp_path / "cut.jpg").write_bytes(whole.read_bytes()[:700])
    (tmp_path / "text.png").write_text("no image")
    Image.new("RGB", (1, 1), "red").save(tmp_path / "dot.png")
    tab(page, "Image labels")
    for name, said in (
        ("cut.jpg", "cut.jpg is a broken image"),
        ("text.png", "text.png is no image"),
        ("dot.png", " s · vit-digits"),
        ("whole.jpg", " s · vit-digits"),
    ):
        if page.locator("#image-labels-image").get_by_label("Remove Image").count():
            page.locator("#image-labels-image").get_by_label("Remove Image").click()
        page.locator("#image-labels-image input[type=file]").set_input_files(str(tmp_path / name))
        page.wait_for_selector("#image-labels-image img", state="attached")
        page.locator("#image-labels-said").evaluate("e => e.dataset.before = e.innerText")
        page.locator("#image-labels-run").click()
        says(page, "image-labels-said", said)
        page.wait_for_selector("#image-labels-run:not([disabled])")
    assert "Labels" in page.locator("#image-labels-result").inner_text()


def test_sounds_that_are_none(page: Any, tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("no sound")
    soundfile.write(tmp_path / "silent.wav", np.zeros(48_000), 16_000)
    tab(page, "Speech")
    for name, said in (("text.wav", "text.wav is no sound file"), ("silent.wav", " s · whisper-tiny.en")):
        if page.locator("#speech-audio").get_by_label("Clear").count():
            page.locator("#speech-audio").get_by_label("Clear").click()
        page.locator("#speech-audio input[type=file]").set_input_files(str(tmp_path / name))
        page.wait_for_selector(f"#speech-audio :text('{name[:4]}'), #speech-audio audio", state="attached")
        page.locator("#speech-run").click()
        says(page, "speech-said", said)
    assert "No speech is heard" in page.locator("#speech-result").inner_text()


def test_half_an_hour_is_begun_at_once_and_a_closed_tab_ends_it(page: Any, clinic: Server, tmp_path: Path) -> None:
    def at_work() -> int:
        with urllib.request.urlopen(f"{clinic.url}models") as answer:
            held = json.load(answer)["residents"]
        return sum(one["calls"] for name, one in held.items() if name.startswith("whisper"))

    noise = (np.random.default_rng(0).standard_normal(8000) * 0.02).astype(np.float32)
    soundfile.write(tmp_path / "long.wav", np.tile(noise, 30 * 60), 8000, subtype="PCM_U8")
    tab(page, "Speech")
    page.locator("#speech-audio input[type=file]").set_input_files(str(tmp_path / "long.wav"))
    page.wait_for_selector("#speech-audio audio", state="attached")
    page.locator("#speech-run").click()
    says(page, "speech-said", "Working")
    assert at_work() == 1
    page.close()
    end = 60
    while at_work() and end:
        end -= 1
        time.sleep(1)
    assert end, "it goes on though nobody listens"


def test_a_model_that_does_not_fit_the_task(page: Any) -> None:
    page.locator("#chat-model input").fill("all-MiniLM-L6-v2")
    page.keyboard.press("Enter")
    page.locator("#chat-box textarea").fill("Hello")
    page.locator("#chat-send").click()
    says(page, "chat-said", "No answer.")
    assert "text-generation" in page.locator("#chat-said").inner_text()
    tab(page, "Zero-shot")
    page.locator("#zero-shot-model input").fill("whisper-tiny.en")
    page.keyboard.press("Enter")
    page.locator("#zero-shot-examples button").first.click()
    says(page, "zero-shot-said", "Not done.")
    assert "zero-shot-classification" in page.locator("#zero-shot-said").inner_text()
