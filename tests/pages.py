"""Ways about the page, for its tests and pictures."""

from typing import Any

GROUPS = ("Text", "Vision", "Audio")


def tab(page: Any, name: str) -> None:
    """Open a tab, by way of its group where it stands in one."""
    wanted = page.get_by_role("tab", name=name, exact=True)
    for group in GROUPS:
        if wanted.first.is_visible():
            break
        page.get_by_role("tab", name=group, exact=True).click()
    wanted.first.click()
