"""At the end of a session: how much was compared."""

from typing import Any

from support import CHECKED


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """The counts of the parity suite."""
    if not CHECKED:
        return
    from rows import ALL_ROWS as rows

    kinds = {(row.model_type, row.head) for row in rows}
    terminalreporter.write_line(
        f"parity: {len({row.model_type for row in rows})} architectures, {len(kinds)} heads, {len(rows)} rows; "
        + ", ".join(f"{count:,} {what}" for what, count in CHECKED.items())
    )
