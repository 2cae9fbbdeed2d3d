"""Ten browsers over all tabs for five minutes (VITRINE_SOAK seconds): nothing is lost or crossed, memory stays flat."""

import os
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from pages import tab

pytestmark = pytest.mark.soak
BROWSERS = 10
SECONDS = float(os.environ.get("VITRINE_SOAK", "300"))
COUNTRIES = ("France", "Italy", "Spain", "Germany", "Japan")
PEOPLE = ("Anna", "Boris", "Carla", "David", "Emma")
WRITTEN = ("fill-mask", "questions", "translate", "summarise")
KINDS = (
    "chat",
    "zero-shot",
    "embed",
    "inspect",
    "complete",
    "classify",
    "entities",
    *WRITTEN,
    "image-labels",
    "speech",
    "sounds",
    "rest",
)


class Visitor:
    """One person: a browser context of their own, and what went wrong for them."""

    def __init__(self, chromium: Any, url: str, number: int) -> None:
        self.context = chromium.new_context(viewport={"width": 1100, "height": 900})
        self.page = self.context.new_page()
        self.page.set_default_timeout(120_000)
        self.number, self.turns = number, 0
        self.country, self.person = COUNTRIES[number % len(COUNTRIES)], PEOPLE[number % len(PEOPLE)]
        self.errors: list[str] = []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.goto(url)
        self.page.wait_for_selector("#chat-box textarea")

    def begin(self) -> None:
        """Ask something on the tab whose turn it is; nobody waits here, so that all ten are at work together."""
        page = self.page
        self.what = KINDS[(self.number + self.turns) % len(KINDS)]
        self.turns += 1
        if self.what == "chat":
            tab(page, "Chat")
            page.locator("#chat-clear").click()
            page.locator("#chat-box textarea").fill(f"What is the capital of {self.country}?")
            page.locator("#chat-send").click()
        elif self.what == "zero-shot":
            tab(page, "Zero-shot")
            page.locator("#zero-shot-text textarea").fill(f"The capital of {self.country} is beautiful.")
            page.locator("#zero-shot-labels textarea, #zero-shot-labels input").first.fill("travel, cooking")
            page.locator("#zero-shot-run").click()
        elif self.what == "embed":
            tab(page, "Embeddings")
            page.locator("#embed-text textarea").fill(f"{self.country} is a country.\nI eat bread {self.turns}.")
            page.locator("#embed-run").click()
        elif self.what == "inspect":
            tab(page, "Inspect")
            page.locator("#inspect-text textarea").fill(f"People of {self.country} {self.turns}.")
            page.locator("#inspect-run").click()
        elif self.what in ("classify", "entities"):
            tab(page, self.what.title())
            mood = "A warm and wonderful" if self.number % 2 else "A dull and pointless"
            words = f"{mood} film." if self.what == "classify" else f"Mary Smith lives in {self.country} and works for Siemens."
            page.locator(f"#{self.what}-text textarea").fill(words)
            page.locator(f"#{self.what}-run").click()
        elif self.what in ("fill-mask", "translate", "summarise"):
            tab(page, {"fill-mask": "Fill mask", "translate": "Translate", "summarise": "Summarise"}[self.what])
            page.locator(f"#{self.what}-text textarea").fill(self.written())
            page.locator(f"#{self.what}-run").click()
        elif self.what == "questions":
            tab(page, "Questions")
            page.locator("#questions-question textarea, #questions-question input").first.fill("Who designed the tower?")
            page.locator("#questions-context textarea").fill(self.written())
            page.locator("#questions-run").click()
        elif self.what in ("image-labels", "speech", "sounds"):
            tab(page, {"image-labels": "Image labels", "speech": "Speech", "sounds": "Sounds"}[self.what])
            page.locator(f"#{self.what}-examples button").nth(self.number % 3 if self.what == "image-labels" else 0).click()
        elif self.what == "rest":
            for name in ("Train", "Runs", "Models"):
                tab(page, name)
        else:
            tab(page, "Completion")
            page.locator("#complete-text textarea").fill(f"The capital of {self.country} is")
            page.locator("#complete-run").click()

    def written(self) -> str:
        """What this person writes on the tab whose turn it is: of this turn alone where the result shows it, so that an old answer
        is no answer."""
        return {
            "fill-mask": ("She opened the [MASK] and went inside.", "He is a very good [MASK].")[self.number % 2],
            "translate": f"{self.person} wants to eat {self.turns} apples.",
            "summarise": f"{self.person} measured {self.turns} language models. They learn grammar from few words, and facts from many.",
            "questions": f"The tower has {self.turns} floors. It was designed by the engineer {self.person} Eiffel.",
        }[self.what]

    def expected(self) -> str:
        """What the result of `written` shows; in a context the answer is marked, with a word behind it."""
        if self.what == "fill-mask":
            return ("door", "teacher")[self.number % 2]
        return f"The tower has {self.turns} floors." if self.what == "questions" else self.written()

    def end(self) -> None:
        """As `check`; where it fails, what the page shows instead is said."""
        try:
            self.check()
        except Exception as error:
            shown = self.page.get_by_role("tabpanel").locator("visible=true").last.inner_text()
            raise AssertionError(f"visitor {self.number}, turn {self.turns}, {self.what}: {shown[:2000]}") from error

    def check(self) -> None:
        """The answer is there, and is this person's own."""
        page, own = self.page, self.country
        if self.what == "chat":
            page.wait_for_function("document.querySelector('#chat-said').innerText.includes('tokens read')")
            log = page.locator("#chat-log").inner_text()
            assert f"capital of {own}?" in log and not any(f"capital of {other}?" in log for other in COUNTRIES if other != own)
            assert len(log) > len(f"What is the capital of {own}?") + 5
        elif self.what == "zero-shot":
            page.wait_for_function("document.querySelector('#zero-shot-said').innerText.includes(' s · ')")
            page.wait_for_selector("#zero-shot-run:not([disabled])")
        elif self.what == "embed":
            page.wait_for_function("t => document.querySelector('#embed-view').innerText.includes(t)", arg=f"bread {self.turns}.")
            assert own in page.locator(".sv-pair").first.inner_text()
        elif self.what == "inspect":
            words = "t => [...document.querySelectorAll('.av-rows span')].map(e => e.textContent).join('').includes(t)"
            page.wait_for_function(words, arg=f"·{own}")
            page.wait_for_selector(".av[data-large=ready]")
        elif self.what in ("classify", "image-labels", "sounds"):
            right = {"classify": ("negative", "positive")[self.number % 2], "sounds": "five"}.get(
                self.what, "731"[self.number % 3]
            )
            page.wait_for_function(
                "([id, t]) => document.querySelector(`#${id}-result .rs-label`)?.textContent === t", arg=[self.what, right]
            )
        elif self.what == "entities":
            marks = "t => [...document.querySelectorAll('#entities-result mark')].some(m => m.firstChild.textContent === t)"
            page.wait_for_function(marks, arg=own)
        elif self.what in WRITTEN:
            shown = "([id, t]) => document.querySelector(`#${id}-result`).innerText.includes(t)"
            page.wait_for_function(shown, arg=[self.what, self.expected()])
            assert self.what != "questions" or f"{self.person} Eiffel" in page.locator("#questions-result h3").first.inner_text()
        elif self.what == "speech":
            page.wait_for_function("document.querySelector('#speech-result').innerText.includes('young man')")
        elif self.what == "rest":
            page.wait_for_function("document.querySelector('#tabs').innerText.includes('SmolLM2')")
        else:
            page.wait_for_selector("#complete-run:not([disabled])")
            page.wait_for_function("document.querySelector('#complete-said').innerText.includes('tokens')")
            assert own in page.locator("#complete-text textarea").input_value()


@pytest.mark.timeout(3600)
def test_ten_browsers_over_all_tabs(chromium: Any, server: Any, whisper_tiny: Path) -> None:
    process, memory, over = psutil.Process(server.process.pid), [], threading.Event()

    def watch() -> None:
        while not over.wait(1):
            memory.append((time.monotonic(), process.memory_info().rss / 1e6))

    visitors = [Visitor(chromium, server.url, number) for number in range(BROWSERS)]
    threading.Thread(target=watch, daemon=True).start()
    try:
        for _ in KINDS:  # all models loaded, all tabs opened once: from here on nothing new is held
            for visitor in visitors:
                visitor.begin()
            for visitor in visitors:
                visitor.end()
        start = time.monotonic()
        while time.monotonic() - start < SECONDS:
            for visitor in visitors:
                visitor.begin()
            for visitor in visitors:
                visitor.end()
    finally:
        over.set()
        for visitor in visitors:
            visitor.context.close()
    rounds = sum(visitor.turns for visitor in visitors)
    held = [size for moment, size in memory if moment >= start]
    print(f"{rounds} requests, memory {held[0]:.0f} MB at first, {held[-1]:.0f} MB at last, {max(held):.0f} MB at most")
    assert [error for visitor in visitors for error in visitor.errors] == []
    third = len(held) // 3
    assert max(held[-third:]) < 1.15 * max(held[:third]) + 50, "memory grows"
