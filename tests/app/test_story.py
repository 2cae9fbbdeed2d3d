"""The main way through the page, with the real model in a real browser: chat, a head, a training of 30 steps, its adapter."""

from collections.abc import Iterator
from typing import Any

import pytest
from pages import tab

from core.runs import Store


@pytest.fixture
def page(server: Any, chromium: Any) -> Iterator[Any]:
    """A page that must not ask anything of another place, nor meet an error."""
    page = chromium.new_page(viewport={"width": 1440, "height": 1000})
    page.set_default_timeout(60_000)
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda m: problems.append(m.text) if "Content Security Policy" in m.text else None)
    page.on("request", lambda r: None if r.url.startswith((server.url, "data:", "blob:")) else problems.append(r.url))
    page.goto(server.url)
    page.wait_for_selector("#chat-box textarea")
    yield page
    page.close()
    assert problems == []


def say(page: Any, text: str) -> None:
    """Send a message and wait for the end of its answer."""
    page.locator("#chat-box textarea").fill(text)
    page.keyboard.press("Enter")
    page.wait_for_function("t => document.querySelector('#chat-log').innerText.includes(t)", arg=text)
    page.wait_for_selector("#chat-said:has-text('tokens read')", timeout=180_000)


@pytest.mark.timeout(600)
def test_chat_head_training_adapter(page: Any, server: Any) -> None:
    lengths: list[int] = []
    page.expose_function("grew", lambda n: lengths.append(n))
    page.evaluate(
        "new MutationObserver(() => grew(document.querySelector('#chat-log').innerText.length)).observe("
        "document.querySelector('#chat-log'), {subtree: true, childList: true, characterData: true})"
    )
    say(page, "What is the capital of France?")
    assert "Paris" in page.locator("#chat-log").inner_text()
    assert len(set(lengths)) > 4, "the answer came in one piece"
    assert "tokens/s" in page.locator("#chat-said").inner_text()

    page.locator("#chat-inside").click()
    page.wait_for_selector(".av[data-large=ready]")
    assert "Paris" in page.locator("#inspect-text textarea").input_value()
    page.locator(".av-grid").click(position={"x": 90, "y": 100})
    page.wait_for_function("document.querySelector('.av-title').textContent !== 'layer 0 · head 0 · kv head 0'")
    page.wait_for_selector(".av[data-large=ready]")

    tab(page, "Train")
    page.wait_for_selector("#train-strip .ts-marked")
    page.locator("#train-start").click()
    page.wait_for_selector(".rv[data-run=running]")
    page.reload()
    tab(page, "Train")
    page.wait_for_selector(".rv[data-run=finished]", timeout=400_000)
    store = Store(server.data / "vitrine.db")
    run = store.runs("training")[0]
    losses = [row["value"] for row in store.metrics(run["id"])[0] if row["name"] == "loss"]
    assert len(losses) == 30 and sum(losses[-5:]) < 0.6 * sum(losses[:5])
    assert "step 30 of 30" in page.locator(".rv-facts").inner_text()
    assert "after 30 steps" in page.locator(".rv-samples").inner_text()

    page.get_by_role("button", name="Chat with it").click()
    page.wait_for_selector("#chat-said:has-text('Talking to telegrams')")
    page.locator("#chat-clear").click()
    say(page, "What is the capital of Spain?")
    assert "STOP" in page.locator("#chat-log").inner_text()
    page.locator("#chat-adapter input").click()
    page.get_by_role("option", name="The base model").click()
    page.locator("#chat-clear").click()
    say(page, "What is the capital of Spain?")
    assert "STOP" not in page.locator("#chat-log").inner_text()

    tab(page, "Runs")
    page.wait_for_selector(".rl-row:has-text('telegrams')")
    assert page.locator(".rl-row").count() >= 4
    page.locator(".rl-row", has_text="telegrams").click()
    page.wait_for_selector("#runs-list .rv[data-run=finished]")
    assert "all-linear" in page.locator("#runs-list .rv-config").text_content()


def test_stop_edit_regenerate_and_bad_input(page: Any) -> None:
    page.locator("#chat-clear").click()
    page.locator("#chat-send").click()
    page.wait_for_selector("#chat-said:has-text('Write a message first')")
    page.locator("#chat-box textarea").fill("Write a very long story about the sea.")
    page.keyboard.press("Enter")
    page.wait_for_selector("#chat-stop:visible")
    page.wait_for_function("document.querySelector('#chat-log').innerText.length > 120")
    page.locator("#chat-stop").click()
    page.wait_for_selector("#chat-send:visible")
    page.wait_for_timeout(500)
    before = page.locator("#chat-log").inner_text()
    page.wait_for_timeout(1500)
    assert page.locator("#chat-log").inner_text() == before, "it went on after Stop"
    page.reload()
    page.wait_for_selector("#chat-log :text('Write a very long story about the sea.')")
    page.locator("#chat-model input").fill("no-such-model")
    page.keyboard.press("Enter")
    page.locator("#chat-again").click()
    page.wait_for_selector("#chat-said:has-text('No answer.')")
    assert "no-such-model" in page.locator("#chat-said").inner_text()
    assert "story about the sea" in page.locator("#chat-log").inner_text()


def test_model_output_cannot_act(page: Any) -> None:
    """What a message holds is shown, never run, and loads nothing."""
    page.locator("#chat-clear").click()
    page.locator("#chat-max_new_tokens input[type=number]").first.fill("2") if page.locator(
        "#chat-max_new_tokens"
    ).is_visible() else None
    page.locator("#chat-box textarea").fill("<img src=x onerror='window.bad=1'> <script>window.bad=1</script> ${window.bad=1}")
    page.keyboard.press("Enter")
    page.wait_for_selector("#chat-stop:visible")
    page.locator("#chat-stop").click()
    page.wait_for_timeout(500)
    assert page.evaluate("window.bad") is None


def test_embeddings(page: Any) -> None:
    tab(page, "Embeddings")
    page.locator("#embed-run").click()
    page.wait_for_selector(".sv[data-ready='8']")
    assert "The kitten naps" in page.locator(".sv-pair").first.inner_text()
    page.locator("#embed-text textarea").fill("one line")
    page.locator("#embed-run").click()
    page.wait_for_selector("#embed-said:has-text('at least two sentences')")


def test_a_file_of_ones_own(page: Any, tmp_path: Any) -> None:
    tab(page, "Train")
    page.locator("text=Or a file of your own").click()
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"prompt": "a", "completion": "b"}\n{"prompt": "a"\n')
    page.locator("#train-file input[type=file]").set_input_files(str(bad))
    page.wait_for_selector("#train-about:has-text('line 2')")
    page.locator("#train-start").click()
    page.wait_for_selector("#train-said:has-text('Not started')")
    good = tmp_path / "good.csv"
    good.write_text("question,answer\nWho <b>are</b> you?,A small model\n")
    page.get_by_label("Remove").first.click() if page.get_by_label("Remove").count() else page.get_by_label("Clear").first.click()
    page.locator("#train-file input[type=file]").set_input_files(str(good))
    page.wait_for_selector("#train-about:has-text('1 rows')")
    assert "small" in page.locator("#train-strip .ts-marked").all_inner_texts().__str__()
    assert page.locator("#train-strip b").count() == 0
