"""Ways about the page, for its tests and pictures."""

from typing import Any

GROUPS = ("Text", "Vision", "Audio")


def tab(page: Any, name: str) -> None:
    """Open a tab, by way of its group where it stands in one; on a narrow page perhaps by the menu of those that find no room."""
    wanted = page.get_by_role("tab", name=name, exact=True).first
    unseen = page.locator(".overflow-dropdown button").get_by_text(name, exact=True)
    menu = page.locator(".overflow-menu:visible").filter(has=unseen)
    for group in GROUPS:
        if wanted.is_visible() or menu.count():
            break
        page.get_by_role("tab", name=group, exact=True).click()
        page.wait_for_timeout(200)  # the row is measured: what finds no room goes into the menu
    if menu.count():
        menu.get_by_role("button", name="More tabs").click()
        unseen.click()
    else:
        wanted.click()
