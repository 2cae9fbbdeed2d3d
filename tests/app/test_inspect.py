"""The Inspect tab in a real browser on the real server: run, open a head, read a token."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pages import tab

TEXT = "The cat <b>sat</b> on ${1+1} {{mats}}."


@pytest.fixture
def page(server: Any, chromium: Any) -> Iterator[Any]:
    page = chromium.new_page(viewport={"width": 1440, "height": 1000})
    page.set_default_timeout(60_000)
    page.problems = []
    page.on("pageerror", lambda error: page.problems.append(str(error)))
    page.goto(str(getattr(server, "url", server)))
    tab(page, "Inspect")
    yield page
    assert page.problems == []
    page.close()


def run(page: Any, model: str, text: str) -> None:
    """Choose a model, write a text, press Run and wait for the large view."""
    page.locator("#inspect-model input").click()
    page.get_by_role("option", name=model).first.click()
    page.locator("#inspect-text textarea").fill(text)
    page.locator("#inspect-run").click()
    page.wait_for_selector(".av[data-large=ready]")


def colours(page: Any, selector: str) -> int:
    """How many colours a canvas holds."""
    return page.locator(selector).evaluate(
        "c => new Set(new Uint32Array(c.getContext('2d').getImageData(0, 0, c.width, c.height).data.buffer)).size"
    )


def test_a_head_is_opened_and_a_token_read(page: Any) -> None:
    run(page, "all-MiniLM-L6-v2", TEXT)
    assert "6 layers · 12 heads" in page.locator("#inspect-status").inner_text()
    assert colours(page, ".av-grid") > 100
    grid = page.locator(".av-grid")
    box = grid.bounding_box()
    cell = (box["width"] - 32) / 12
    at = {"x": 30 + 5.5 * cell, "y": 36 + 3.5 * cell}
    grid.hover(position=at)
    assert page.locator(".av-say").inner_text() == "layer 3 · head 5"
    grid.click(position=at)
    page.wait_for_selector(".av[data-layer='3'][data-head='5'][data-large=ready]")
    assert page.locator(".av-title").inner_text() == "layer 3 · head 5" and colours(page, ".av-large") > 30
    tokens = page.locator(".av-token")
    assert tokens.first.locator("span").inner_text() == "[CLS]"
    page.locator(".av-token", has_text="cat").first.hover()
    page.wait_for_selector(".av[data-query='2']")
    assert "cat" in page.locator(".av-bars").inner_text() and "%" in page.locator(".av-readout").inner_text()
    shares = tokens.evaluate_all("all => all.map(t => parseFloat(t.title.split(': ').pop()))")
    assert 98 < sum(shares) < 102
    assert page.locator(".av b").count() == 0 and "$" in page.locator(".av-rows").inner_text()


def test_keyboard_means_lines_and_picture(page: Any) -> None:
    run(page, "SmolLM2-135M-Instruct", "The keys to the cabinet are on the table.")
    assert page.locator(".av-next").is_visible() and page.locator(".av-nextlist .av-bar").count() == 10
    page.locator(".av-grid").focus()
    for key in ("ArrowDown", "ArrowRight", "ArrowRight", "ArrowRight", "Enter"):
        page.keyboard.press(key)
    page.wait_for_selector(".av[data-layer='1'][data-head='3'][data-large=ready]")
    assert page.locator(".av-title").inner_text() == "layer 1 · head 3 · kv head 1"
    page.get_by_role("button", name="Mean of layer").click()
    page.wait_for_selector(".av[data-scope=layer][data-large=ready]")
    page.get_by_role("button", name="Mean of all").click()
    page.wait_for_selector(".av[data-scope=all][data-large=ready]")
    assert page.locator(".av-title").inner_text() == "mean of all 270 heads"
    page.get_by_role("button", name="Lines").click()
    assert colours(page, ".av-large") > 20
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save PNG").click()
    assert saved.value.suggested_filename == "attention-mean-of-all-270-heads.png"
    with open(saved.value.path(), "rb") as file:
        assert file.read(4) == b"\x89PNG"


def test_hidden_states(page: Any) -> None:
    run(page, "all-MiniLM-L6-v2", "A short sentence.")
    page.wait_for_selector(".hv[data-state=ready]")
    assert colours(page, ".hv-map") > 20 and colours(page, ".hv-dots") > 20
    page.locator(".hv-layer").fill("2")
    page.wait_for_selector(".hv[data-layer='2']")
    assert "after layer 1" in page.locator(".hv-name").inner_text()
    page.locator(".hv-map").hover(position={"x": 60, "y": 10})
    page.wait_for_function("document.querySelector('.hv-say').textContent.includes('norm')")


def test_errors_stand_where_they_arise(page: Any) -> None:
    page.locator("#inspect-text textarea").fill("   ")
    page.locator("#inspect-run").click()
    page.wait_for_function("document.querySelector('#inspect-status')?.innerText.includes('no text')")
    assert page.locator(".av-empty").is_visible()
    run(page, "all-MiniLM-L6-v2", "word " * 600)
    assert "90 tokens at its end are left out" in page.locator("#inspect-status").inner_text()


def inside(page: Any, name: str, id: str) -> str:
    """Run a tab's first example and look inside: what Inspect says of it."""
    tab(page, name)
    page.locator(f"#{id}-examples button").first.click()
    page.wait_for_selector(f"#{id}-said:has-text(' s · ')")
    page.locator(f"#{id}-inside").click()
    page.wait_for_selector(".av[data-large=ready]")
    return page.locator("#inspect-status").inner_text()


def test_an_image_is_seen_through_its_patches(page: Any) -> None:
    assert "7 by 7 patches · 4 layers · 4 heads" in inside(page, "Image labels", "image-labels")
    picture = page.locator(".av-picture")
    assert "The whole image reads from" in page.locator(".av-image").inner_text() and colours(page, ".av-picture") > 50
    box = picture.bounding_box()
    picture.hover(position={"x": box["width"] * 2.5 / 7, "y": box["height"] * 1.5 / 7})
    page.wait_for_selector(".av[data-query='10']")  # row 2, column 3, after the token for all
    assert "“2,3”" in page.locator(".av-bars").inner_text()
    assert page.locator(".av-token").count() == 50 and page.locator(".av-crossed").is_hidden()
    assert page.locator("#inspect-text").is_hidden() and page.locator("#inspect-image").is_visible()


def test_the_words_of_a_recording_look_at_its_moments(whisper_tiny: Path, page: Any) -> None:
    said = inside(page, "Speech", "speech")
    assert "moments of the recording · 4 layers · 6 heads" in said
    columns = page.locator(".av-columns .av-token")
    word = page.locator(".av-rows .av-token", has_text="young").first
    word.hover()
    page.wait_for_function("document.querySelector('.av-bars').innerText.includes('young')")
    shares = columns.evaluate_all("all => all.map(t => parseFloat(t.title.split(': ').pop()))")
    assert 97 < sum(shares) < 103 and columns.last.locator("span").inner_text() == "after"
    page.locator(".av-columns .av-token").nth(3).click()
    page.wait_for_function("document.querySelector('.av-bars').innerText.includes('is read by')")
    assert page.locator(".av-rows .av-token").first.get_attribute("title").endswith("%")
    page.get_by_role("button", name="Lines").click()
    assert colours(page, ".av-large") > 20
    page.get_by_role("radio", name="Decoder").check()
    page.wait_for_function("document.querySelector('#inspect-status').innerText.includes('only those before it')")
    page.wait_for_selector(".av[data-crossed=false][data-large=ready]")
    page.locator("#inspect-model input").click()
    page.get_by_role("option", name="all-MiniLM-L6-v2").first.click()
    page.wait_for_selector("#inspect-text textarea", state="visible")
    assert page.locator("#inspect-audio").is_hidden()
    run(page, "all-MiniLM-L6-v2", "A short sentence.")
    page.wait_for_selector("#inspect-part", state="hidden")
