"""The Runs tab: everything that was trained or generated, from the store."""

from types import SimpleNamespace
from typing import Any

from app.components.run_view import runs_list


def build(workbench: Any) -> SimpleNamespace:
    """The list and the chosen run; main wires its `chat` event."""
    return SimpleNamespace(view=runs_list(elem_id="runs-list"))
