"""The page for those who use no mouse, see little, or want nothing to move: axe-core, the keyboard alone, reduced motion, and tokens of
scripts whose characters are several tokens."""

from collections.abc import Iterator
from importlib.resources import files
from typing import Any

import pytest
from pages import GROUPS, tab

AXE = """async () => (await axe.run(document, {resultTypes: ['violations']})).violations
    .filter(v => ['serious', 'critical'].includes(v.impact))
    .flatMap(v => v.nodes.map(n => `${v.id}: ${n.target.join(' ')}: ${n.failureSummary}`))"""
# What a person may act on, by the keyboard: a group of radios, and a row of tokens, is one stop.
STOPS = """() => {
  const seen = e => e.checkVisibility({visibilityProperty: true}) && !e.disabled && !e.closest('[inert], [aria-hidden=true]')
    && e.getClientRects().length;
  const all = 'button, a[href], input:not([type=hidden]):not([type=file]), select, textarea, summary, canvas[aria-label], [tabindex="0"]';
  window.stops = [...document.querySelectorAll(all)].filter(seen).map(e => ({element: e, group: e.type === 'radio' ? e.name : e.closest('[data-roves]')}));
  document.body.tabIndex = -1;
  document.body.focus();
}"""
HERE = """() => {
  const at = document.activeElement;
  if (!at || at === document.body || at === document.documentElement) return null;
  at.dataset.reached = 'yes';
  const style = getComputedStyle(at);
  const ring = style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2;
  return ring ? '' : at.outerHTML.slice(0, 200);
}"""
MISSED = """() => window.stops.filter(s => s.element.isConnected && !s.element.dataset.reached
    && !(s.group && window.stops.some(t => t.group === s.group && t.element.dataset.reached)))
    .map(s => s.element.outerHTML.slice(0, 200))"""


@pytest.fixture
def visit(server: Any, chromium: Any) -> Iterator[Any]:
    """Opens the page in a theme."""
    pages = []

    def come(theme: str, **settings: Any) -> Any:
        page = chromium.new_page(viewport={"width": 1440, "height": 1000}, **settings)
        pages.append(page)
        page.set_default_timeout(60_000)
        page.goto(f"{server.url}?__theme={theme}")
        page.wait_for_selector("#chat-box textarea")
        return page

    yield come
    for page in pages:
        page.close()


def every_tab(page: Any) -> Iterator[str]:
    """Open one after the other; their names."""
    for name in page.locator("#tabs > .tab-wrapper [role=tab]:visible").all_inner_texts():
        tab(page, name)
        nested = (
            page.locator(f"#{name.lower()}-tabs > .tab-wrapper [role=tab]:visible").all_inner_texts() if name in GROUPS else []
        )
        for inner in nested:
            tab(page, inner)
            page.wait_for_timeout(300)
            yield inner
        if not nested:
            page.wait_for_timeout(300)
            yield name


def fill(page: Any) -> None:
    """Results on the tabs that have a model: a look, a comparison, a continuation, labels, an answer."""
    page.locator("#chat-box textarea").fill("What is the capital of France?")
    page.keyboard.press("Enter")
    page.wait_for_selector("#chat-said:has-text('tokens read')", timeout=120_000)
    tab(page, "Completion")
    page.locator("#complete-text textarea").fill("The capital of France is")
    page.locator("#complete-run").click()
    page.wait_for_selector(".cv[data-state=ready] .cv-token", timeout=120_000)
    tab(page, "Zero-shot")
    page.locator("#zero-shot-examples button").first.click()
    page.wait_for_selector("#zero-shot-said:has-text(' s · ')")
    tab(page, "Embeddings")
    page.locator("#embed-run").click()
    page.wait_for_selector(".sv[data-ready='8']")
    tab(page, "Inspect")
    page.locator("#inspect-run").click()
    page.wait_for_selector(".av[data-large=ready]")
    tab(page, "Runs")
    page.locator(".rl-row").first.click()
    page.wait_for_selector("#runs-list .rv[data-state=ready]")


@pytest.mark.timeout(300)
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_no_serious_fault_on_any_tab(visit: Any, theme: str) -> None:
    page = visit(theme)
    page.evaluate((files("axe_playwright_python") / "axe.min.js").read_text())
    found = {"empty Chat": page.evaluate(AXE)}
    fill(page)
    found |= {name: page.evaluate(AXE) for name in every_tab(page)}
    assert len(found) >= 18 and {name: faults for name, faults in found.items() if faults} == {}


@pytest.mark.timeout(300)
def test_the_keyboard_reaches_everything_and_is_seen(visit: Any) -> None:
    page = visit("light")
    fill(page)
    missed, unseen = {}, {}
    for name in every_tab(page):
        page.evaluate(STOPS)
        for _ in range(400):
            page.keyboard.press("Tab")
            if (ring := page.evaluate(HERE)) is None:
                break
            if ring:
                unseen.setdefault(name, []).append(ring)
        if left := page.evaluate(MISSED):
            missed[name] = left
    assert (missed, unseen) == ({}, {})


def test_pictures_are_read_with_keys(visit: Any) -> None:
    page = visit("light")
    tab(page, "Inspect")
    page.locator("#inspect-text textarea").fill("The cat sat on the mat.")
    page.locator("#inspect-run").press("Enter")
    page.wait_for_selector(".av[data-large=ready]")
    page.locator(".av-large").focus()
    before = page.locator(".av-readout").inner_text()
    for key in ("ArrowUp", "ArrowUp", "Enter"):
        page.keyboard.press(key)
    page.wait_for_selector(".av[data-pinned=true]")
    assert page.locator(".av-readout").inner_text() != before
    page.keyboard.press("ArrowLeft")
    page.wait_for_function("b => document.querySelector('.av-readout').innerText !== b", arg=before)
    page.locator(".hv-map").focus()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowRight")
    page.wait_for_function("document.querySelector('.hv-say').textContent.includes('norm')")
    page.locator(".av-rows button").first.focus()
    page.keyboard.press("End")
    assert page.evaluate("document.activeElement === document.querySelector('.av-rows').lastChild")
    tab(page, "Embeddings")
    page.locator("#embed-run").click()
    page.wait_for_selector(".sv[data-ready='8']")
    page.locator(".sv-map").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert "“A cat sleeps" in page.locator(".sv-say").inner_text()


def test_nothing_moves_for_those_who_want_it_still(visit: Any) -> None:
    page = visit("light", reduced_motion="reduce")
    page.locator("#chat-box textarea").fill("Write a long story.")
    page.locator("#chat-send").click()
    page.wait_for_selector("#chat-stop:visible")
    longest = page.evaluate(
        "() => { let longest = 0; for (const e of document.querySelectorAll('*')) { const s = getComputedStyle(e);"
        " for (const d of [s.animationDuration, s.transitionDuration].join(',').split(','))"
        " longest = Math.max(longest, parseFloat(d) * (d.includes('ms') ? 1 : 1000)); } return longest; }"
    )
    page.locator("#chat-stop").click()
    assert longest <= 1


@pytest.mark.parametrize(
    ("text", "shown", "direction"), [("今天天气很好", "今", "ltr"), ("مرحبا بالعالم", "م", "rtl"), ("I ate 🍕🦊", "🦊", "ltr")]
)
def test_tokens_of_other_scripts_are_shown_rightly(visit: Any, text: str, shown: str, direction: str) -> None:
    """Byte-level BPE cuts these characters into several tokens: each strip shows the character in its parts, no boxes, in its direction."""
    page = visit("light")
    tab(page, "Inspect")
    page.locator("#inspect-text textarea").fill(text)
    page.locator("#inspect-run").click()
    page.wait_for_selector(".av[data-large=ready]")
    tokens = page.locator(".av-rows .av-token span").all_inner_texts()
    assert any(token.startswith(shown) for token in tokens) and "\ufffd" not in "".join(tokens)
    assert page.locator(".av-rows").evaluate("e => getComputedStyle(e).direction") == direction
    tab(page, "Completion")
    page.locator("#complete-text textarea").fill(text)
    page.locator("#complete-run").click()
    page.wait_for_selector(".cv[data-state=ready] .cv-token", timeout=120_000)
    given = page.locator(".cv-strip .cv-given").all_inner_texts()
    assert any(shown in token for token in given) and "\ufffd" not in "".join(given)
