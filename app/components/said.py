"""Words of others inside Markdown."""


def escape(text: str) -> str:
    """Plain text inside Markdown."""
    return "".join(f"\\{c}" if c in "\\`*_{}[]()<>#+!|~$" else c for c in text)
