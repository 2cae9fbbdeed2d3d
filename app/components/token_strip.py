"""Tokens in a row, some of them marked: the loss mask before a training, and whatever else is said of tokens."""

from app.components.results import safe


def token_strip(rows: list[list[tuple[str, bool]]], titles: tuple[str, str] = ("read", "learned")) -> str:
    """Rows of (text, marked) as HTML, every text escaped; a mark is a colour, an underline and a title."""
    parts = []
    for row in rows:
        tokens = "<wbr>".join(
            f'<span class="ts-token{" ts-marked" if marked else ""}" title="{titles[marked]}">{safe(text)}</span>'
            for text, marked in row
        )
        parts.append(f'<div class="ts-row" dir="auto">{tokens}</div>')
    legend = (
        f'<p class="ts-legend"><span class="ts-token">{titles[0]}</span> <span class="ts-token ts-marked">{titles[1]}</span></p>'
    )
    return f'<div class="ts">{legend}{"".join(parts)}</div>'
