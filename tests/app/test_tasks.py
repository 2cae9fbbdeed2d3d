"""A tab for each task: its first example on its starter gives the right result, read off the page; what is missing is said."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from pages import tab

from core.paths import assets_dir

EXAMPLES = assets_dir() / "examples"
PLAYS_FROM = """(at) => {
  const players = (root) => [...root.querySelectorAll('*')].flatMap((e) =>
    [...(e.tagName === 'AUDIO' ? [e] : []), ...(e.shadowRoot ? players(e.shadowRoot) : [])]);
  return players(document.querySelector('#speech-audio')).some((p) => p.duration > 2 && p.currentTime >= at && p.currentTime < at + 2);
}"""


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


def first_label(page: Any, id: str) -> str:
    """The label of the longest bar."""
    return page.locator(f"#{id}-result .rs-label").first.inner_text()


def model_of(page: Any, id: str) -> str:
    """What the tab chose at its start."""
    return page.locator(f"#{id}-model input").input_value()


def test_classify(page: Any) -> None:
    tab(page, "Classify")
    assert model_of(page, "classify") == "minilm-movies"
    page.wait_for_selector("text=where a trivial method has 0.81")
    run_example(page, "classify")
    assert first_label(page, "classify") == "positive"
    run_example(page, "classify", 1)
    page.wait_for_function("() => document.querySelector('#classify-result .rs-label').textContent === 'negative'")
    page.locator("#classify-inside").click()
    page.wait_for_selector(".av[data-large=ready]")


def test_entities(page: Any) -> None:
    tab(page, "Entities")
    assert model_of(page, "entities") == "minilm-entities"
    run_example(page, "entities")
    marks = {
        mark.evaluate("e => e.firstChild.textContent"): mark.get_attribute("title").split(",")[0]
        for mark in page.locator("#entities-result mark").all()
    }
    assert marks["Marie Curie"] == "PER" and marks["Warsaw"] == "LOC" and marks["University of Paris"] == "ORG"


def test_image_labels_of_both_starters(page: Any) -> None:
    tab(page, "Image labels")
    assert model_of(page, "image-labels") == "vit-digits"
    for number, label in enumerate(("7", "3", "1")):
        run_example(page, "image-labels", number)
        page.wait_for_function(f"() => document.querySelector('#image-labels-result .rs-label').textContent === '{label}'")
    page.reload()
    tab(page, "Image labels")
    page.locator("#image-labels-model input").fill("vit-textures")
    page.keyboard.press("Enter")
    page.locator("#image-labels-image input[type=file]").set_input_files(str(EXAMPLES / "wall.png"))
    page.wait_for_selector("#image-labels-image img")
    page.locator("#image-labels-run").click()
    page.wait_for_selector("#image-labels-said:has-text(' s · vit-textures')")
    assert first_label(page, "image-labels") == "brick"


def test_sounds(page: Any) -> None:
    tab(page, "Sounds")
    assert model_of(page, "sounds") == "whisper-digits"
    run_example(page, "sounds")
    assert first_label(page, "sounds") == "five"


def test_speech(page: Any, whisper_tiny: Path, tmp_path: Path) -> None:
    """The example's words; nothing and silence get a sentence and no words."""
    tab(page, "Speech")
    page.locator("#speech-run").click()
    page.wait_for_selector("#speech-said:has-text('choose a file first')")
    assert "young man" in run_example(page, "speech")
    word = page.locator("#speech-result .rs-word", has_text="young")
    word.click()
    page.wait_for_function(PLAYS_FROM, arg=float(word.get_attribute("data-seek")))
    page.reload()
    tab(page, "Speech")
    file = tmp_path / "silence.wav"
    soundfile.write(file, np.zeros(16000), 16000)
    page.locator("#speech-audio input[type=file]").set_input_files(str(file))
    page.wait_for_selector("#speech-audio audio", state="attached")
    page.locator("#speech-run").click()
    page.wait_for_selector("#speech-said:has-text(' s · whisper')", timeout=120_000)
    assert page.locator("#speech-result").inner_text().strip().startswith("Transcript")


def test_fill_mask_and_a_candidate_taken(page: Any) -> None:
    tab(page, "Fill mask")
    assert model_of(page, "fill-mask") == "minilm-fill-mask"
    assert "door" in run_example(page, "fill-mask")
    page.locator("#fill-mask-result .rs-pick", has_text="door").first.click()
    sentence = "w => document.querySelector('#fill-mask-text textarea').value === `She opened the ${w} and went inside.`"
    page.wait_for_function(sentence, arg="door")
    page.locator("#fill-mask-earlier input").click()
    page.get_by_role("option").first.click()
    page.wait_for_function(sentence, arg="[MASK]")


def test_questions(page: Any) -> None:
    tab(page, "Questions")
    assert model_of(page, "questions") == "minilm-questions"
    run_example(page, "questions")
    assert "Gustave Eiffel" in page.locator("#questions-result h3").first.inner_text()
    assert "Gustave Eiffel" in page.locator("#questions-result mark").first.inner_text()


def test_summarise(page: Any, smollm2: Path) -> None:
    tab(page, "Summarise")
    assert model_of(page, "summarise") == "smollm2-summaries"
    page.wait_for_selector("text=a chat model that is asked for it")
    summary = run_example(page, "summarise").split("\n\n")[1]
    assert 30 < len(summary) < 300 and "language model" in summary
    page.locator("#summarise-inside").click()
    page.wait_for_selector(".av[data-large=ready][data-crossed=false]")


def test_translate_and_where_it_looks(page: Any) -> None:
    tab(page, "Translate")
    assert model_of(page, "translate") == "marian-en-fr"
    assert "heureux de te voir" in run_example(page, "translate")
    page.locator("#translate-inside").click()
    page.wait_for_selector(".av[data-large=ready][data-crossed=true]")
    written = page.locator(".av-rows .av-token span").all_inner_texts()
    read = page.locator(".av-columns .av-token span").all_inner_texts()
    assert any("heureux" in word for word in written) and any("happy" in word for word in read)
    page.locator("#inspect-target textarea").fill("Je suis content.")
    page.locator("#inspect-run").click()
    page.wait_for_function("[...document.querySelectorAll('.av-rows span')].some(e => e.textContent.includes('content'))")
    page.get_by_role("radio", name="Encoder").check()
    page.wait_for_selector(".av[data-large=ready][data-crossed=false]")
    assert page.locator(".av-rows .av-token").count() == len(read)


@pytest.mark.parametrize(
    ("title", "id", "hub"),
    [
        ("Image zero-shot", "image-zero-shot", "openai/clip-vit-base-patch32"),
    ],
)
def test_a_task_without_a_starter_says_what_to_fetch(page: Any, title: str, id: str, hub: str) -> None:
    tab(page, title)
    page.wait_for_selector(f"#{id}-fetch:has-text('{hub}')")
    page.locator(f"#{id}-examples button").first.click()
    page.wait_for_selector(f"#{id}-said:has-text('No model is chosen')")


def test_code_has_no_starter_and_says_what_to_fetch(page: Any) -> None:
    tab(page, "Completion")
    page.wait_for_selector("#complete-code:has-text('No starter for code')")
    page.wait_for_selector("#complete-fetch:has-text('bigcode/starcoder2-3b')")


def test_each_model_of_the_list_opens_where_it_can_be_tried(page: Any) -> None:
    """The model that was clicked is the one chosen there, in every group."""
    for name, id in (
        ("vit-textures", "image-labels"),
        ("whisper-digits", "sounds"),
        ("minilm-questions", "questions"),
        ("all-MiniLM-L6-v2", "embed"),
        ("SmolLM2-135M-Instruct", "chat"),
    ):
        tab(page, "Models")
        page.locator(f".ml-row[data-name='{name}'] .ml-act button").click()
        page.wait_for_selector(f"#{id}-model input:visible")
        page.wait_for_function("([id, name]) => document.querySelector(`#${id}-model input`).value === name", arg=[id, name])
    assert page.locator("#chat-said:has-text('Talking to SmolLM2')").count() == 1
