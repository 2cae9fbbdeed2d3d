"""Results that a person reads at a glance, as HTML: bars, marked texts, answers, candidates. Every text is escaped."""

import html
from collections.abc import Iterable, Sequence

import gradio as gr

# Okabe and Ito's colours, which colour-blind people tell apart; a label keeps its colour within a result.
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442")


def safe(text: object) -> str:
    """Plain text inside a component's HTML: nothing in it is markup or a template."""
    return html.escape(str(text)).replace("{", "&#123;").replace("}", "&#125;").replace("$", "&#36;").replace("`", "&#96;")


def bars(rows: Iterable[tuple[str, float]], most: int = 10) -> str:
    """(label, share of 1) as bars, the largest first."""
    ordered = sorted(rows, key=lambda row: -row[1])
    shown = "".join(
        f'<li class="rs-bar"><span class="rs-label">{safe(label)}</span>'
        f'<span class="rs-track"><span class="rs-fill" style="width:{min(100, max(0, 100 * share)):.1f}%"></span></span>'
        f'<span class="rs-number">{_percent(share)}</span></li>'
        for label, share in ordered[:most]
    )
    more = f'<p class="rs-hint">and {len(ordered) - most} more, in the raw result</p>' if len(ordered) > most else ""
    return f'<ol class="rs-bars">{shown}</ol>{more}'


def marked(text: str, spans: Sequence[tuple[int, int, str, float | None]]) -> str:
    """The text with (start, end, label, score) marked in it, each label in its colour and in words."""
    colours = {label: COLOURS[i % len(COLOURS)] for i, label in enumerate(dict.fromkeys(span[2] for span in spans))}
    parts, at = [], 0
    for start, end, label, score in sorted(spans):
        if start < at:
            continue
        title = f"{label}, {_percent(score)}" if score is not None else label
        parts.append(safe(text[at:start]))
        parts.append(
            f'<mark class="rs-mark" style="--tone:{colours[label]}" title="{safe(title)}">{safe(text[start:end])}'
            f"<small>{safe(label)}</small></mark>"
        )
        at = end
    parts.append(safe(text[at:]))
    return f'<p class="rs-text">{"".join(parts)}</p>'


def candidates(rows: Iterable[tuple[str, float, str]]) -> str:
    """(shown, share of 1, what a click takes) as buttons with bars."""
    shown = "".join(
        f'<li class="rs-bar"><button type="button" class="rs-pick" data-pick="{safe(pick)}">{safe(label)}</button>'
        f'<span class="rs-track"><span class="rs-fill" style="width:{100 * share:.1f}%"></span></span>'
        f'<span class="rs-number">{_percent(share)}</span></li>'
        for label, share, pick in rows
    )
    return f'<ol class="rs-bars">{shown}</ol>'


def beside(left: tuple[str, str], right: tuple[str, str]) -> str:
    """Two titled texts beside each other."""
    parts = "".join(f'<div><h3>{safe(title)}</h3><p class="rs-text">{safe(text)}</p></div>' for title, text in (left, right))
    return f'<div class="rs-beside">{parts}</div>'


def words(chunks: Iterable[tuple[str, float | None, float | None]]) -> str:
    """A transcript's (text, start, end in seconds); a click on a piece plays from there."""
    parts = []
    for text, start, end in chunks:
        if start is None:
            parts.append(safe(text))
            continue
        title = f"{start:.1f} s" + (f" to {end:.1f} s" if end is not None else "")
        parts.append(
            f'<button type="button" class="rs-word" data-seek="{start:.2f}" title="Play from {title}">{safe(text)}</button>'
        )
    return f'<p class="rs-text">{"".join(parts)}</p>'


def heading(text: str, hint: str = "") -> str:
    """A small title with a hint."""
    return f"<h3>{safe(text)}</h3>" + (f'<p class="rs-hint">{safe(hint)}</p>' if hint else "")


def empty(text: str) -> str:
    """What to do where there is nothing yet."""
    return f'<p class="rs-empty">{safe(text)}</p>'


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if share >= 0.001 else "< 0.1 %"


# Clicks: data-pick goes to Python as the event `pick`, data-seek moves the tab's player.
ON_LOAD = """
// the player that plays hides in a shadow root; beside it stands one without a source
const players = (root) => [...root.querySelectorAll('*')].flatMap((e) =>
  [...(e.tagName === 'AUDIO' && e.currentSrc ? [e] : []), ...(e.shadowRoot ? players(e.shadowRoot) : [])]);
/* 'pick' */ element.addEventListener('click', (event) => {
  const pick = event.target.closest('[data-pick]');
  if (pick) trigger('pick', {value: pick.dataset.pick});
  const seek = event.target.closest('[data-seek]');
  const player = seek && players(element.closest('[role=tabpanel]'))[0];
  if (player) { player.currentTime = Number(seek.dataset.seek); player.play(); }
});
"""


def result_view(text: str, **settings: object) -> gr.HTML:
    """A place for a result. Event `pick` carries what a click on a candidate takes."""
    return gr.HTML(
        empty(text),
        html_template='<div class="rs" aria-live="polite">${value}</div>',
        js_on_load=ON_LOAD,
        apply_default_css=False,
        padding=False,
        **settings,  # type: ignore[arg-type]
    )
