"""Sentences of the page: words of others inside Markdown, where someone waits, how an answer went."""

from core.generation import Finished, Waiting


def escape(text: str) -> str:
    """Plain text inside Markdown."""
    return "".join(f"\\{c}" if c in "\\`*_{}[]()<>#+!|~$" else c for c in text)


def in_line(event: Waiting) -> str:
    """Where someone stands who waits."""
    return f"In line, number {event.position}: others are being answered …"


def summary(end: Finished) -> str:
    """One line on how an answer went."""
    words = [f"{len(end.token_ids)} tokens"]
    if end.tokens_per_second:
        words.append(f"{end.tokens_per_second:.1f} tokens/s")
    words += [f"first after {end.first_token_seconds:.1f} s", f"{end.prompt_tokens - end.reused_tokens} tokens read"]
    if end.reused_tokens:
        words.append(f"{end.reused_tokens} of {end.prompt_tokens} tokens reused")
    if end.drafted_tokens:
        right = end.accepted_tokens / end.drafted_tokens
        words.append(f"{end.accepted_tokens} of {end.drafted_tokens} guesses right ({right:.0%})")
    why = {
        "length": "cut at max_new_tokens: Continue goes on",
        "stop": "ended at a stop string",
        "cancelled": "stopped",
    }
    return " · ".join([*words, *([why[end.reason]] if end.reason in why else [])])
