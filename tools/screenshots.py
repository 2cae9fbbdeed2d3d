"""The README's pictures, taken of the real page: `python tools/screenshots.py` (with the test extra installed).

`--all FOLDER` takes every tab at 1440 and 390 pixels, in light and dark, to look at.
"""

import argparse
import io
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

PICTURES = ROOT / "docs" / "screenshots"
TABS = ("Chat", "Completion", "Zero-shot", "Embeddings", "Inspect", "Train", "Runs", "Models")
GROUPS = {"text": "Entities", "vision": "Image labels", "audio": "Speech"}  # a tab of each, in light and dark
ANSWERED = ("' s · '", "'No model is chosen'")  # what a task's tab says below its result; the second where it has no starter
QUESTION = "Explain attention in a transformer in two sentences."


def prepare(page: Any, url: str) -> None:
    """The story once, so that every tab has something to show."""
    from pages import tab

    page.goto(url)
    page.wait_for_selector("#chat-box textarea")
    page.locator("#chat-box textarea").fill(QUESTION)
    page.keyboard.press("Enter")
    page.wait_for_selector("#chat-said:has-text('tokens read')", timeout=180_000)
    tab(page, "Train")
    page.wait_for_selector("#train-strip .ts-marked")
    page.locator("#train-start").click()
    page.wait_for_selector(".rv[data-run=finished]", timeout=600_000)


def show(page: Any, url: str, name: str) -> None:
    """A tab with something in it."""
    from pages import tab

    page.goto(url)
    page.wait_for_selector("#chat-box textarea")
    tab(page, name)
    if name == "Chat":
        page.wait_for_selector(f"#chat-log :text('{QUESTION}')")
    elif name == "Completion":
        page.locator("#complete-examples button").first.click()
        page.wait_for_selector(".cv[data-state=ready]", timeout=180_000)
    elif name == "Embeddings":
        page.locator("#embed-run").click()
        page.wait_for_selector(".sv[data-ready]")
    elif name == "Inspect":
        page.locator("#inspect-model input").click()
        page.get_by_role("option", name="all-MiniLM-L6-v2").first.click()
        page.locator("#inspect-text textarea").fill("The animal didn't cross the street because it was too tired.")
        page.locator("#inspect-run").click()
        page.wait_for_selector(".av[data-large=ready]")
        page.locator(".av-grid").click(position={"x": 130, "y": 90})
        page.wait_for_selector(".av[data-large=ready]")
        page.locator(".av-token", has_text="it").first.click()
    elif name == "Train":
        page.wait_for_selector(".rv[data-run=finished]")
    elif name == "Runs":
        page.locator(".rl-row", has_text="telegrams").first.click()
        page.wait_for_selector("#runs-list .rv[data-run=finished]")
    elif name == "Models":
        page.wait_for_selector(".ml[data-state=ready]")
    else:
        id = name.lower().replace(" ", "-")
        page.locator(f"#{id}-examples button").first.click()
        page.wait_for_selector(", ".join(f"#{id}-said:has-text({said})" for said in ANSWERED), timeout=180_000)
    page.evaluate("window.scrollTo(0, 0)")
    page.wait_for_timeout(1200)


def save(page: Any, path: Path, whole: bool = False) -> None:
    """As a PNG of few colours."""
    from PIL import Image

    picture = Image.open(io.BytesIO(page.screenshot(full_page=whole))).convert("RGB")
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.quantize(192, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(path, optimize=True)
    print(path, f"{path.stat().st_size / 1e3:.0f} kB")


def main() -> None:
    """Start a server, tell the story, take the pictures."""
    from conftest import CHROMIUM, FLAGS
    from playwright.sync_api import sync_playwright
    from serving import start_server

    from app.main import AUDIO, TEXT, VISION

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--all", type=Path, metavar="FOLDER")
    folder = parser.parse_args().all
    tasks = [module.TASK.title for module in (*TEXT, *VISION, *AUDIO)]
    shown = [*TABS, *(title for title in tasks if title not in (*TABS, *GROUPS.values()))] if folder else TABS
    with tempfile.TemporaryDirectory() as data, sync_playwright() as playwright:
        server = start_server(Path(data), "--port", "7960")
        try:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
            first = browser.new_context(viewport={"width": 1440, "height": 900})
            page = first.new_page()
            page.set_default_timeout(60_000)
            prepare(page, server.url)
            kept = first.storage_state()
            for width, height in ((1440, 900), (390, 844)) if folder else ((1440, 900),):
                for scheme in ("light", "dark"):
                    context = browser.new_context(
                        viewport={"width": width, "height": height}, color_scheme=scheme, storage_state=kept
                    )
                    page = context.new_page()
                    page.set_default_timeout(60_000)
                    for name in shown if folder or scheme == "light" else ():
                        show(page, server.url, name)
                        if folder:
                            save(page, folder / f"{name.lower().replace(' ', '-')}-{width}-{scheme}.png", whole=True)
                        else:
                            save(page, PICTURES / f"{name.lower()}.png")
                    for group, name in GROUPS.items():
                        show(page, server.url, name)
                        if folder:
                            save(page, folder / f"{group}-{width}-{scheme}.png", whole=True)
                        else:
                            save(page, PICTURES / f"{group}-{scheme}.png")
                    context.close()
        finally:
            server.stop()


if __name__ == "__main__":
    main()
