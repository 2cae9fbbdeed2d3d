"""The branches of a conversation: which version of a message is shown, and the answers one can go back to. Shown in a `result_view`."""

from app import conversation as tree
from app.components.results import safe

PREVIEW = 120  # characters of a message in a title


def branches(talk: tree.Talk) -> str:
    """HTML, empty where there is neither another version nor an earlier answer. A click takes "to NODE" or "back NODE"."""
    path = tree.path(talk)
    lines = []
    for place, node in enumerate(path):
        same = tree.children(talk, talk["nodes"][node]["parent"])
        if len(same) > 1:
            lines.append(_line(talk, f"Versions of {_name(talk, place, node)}", "to", same, node))
    if after := tree.children(talk, talk["leaf"]) if talk["leaf"] is not None else []:
        lines.append(_line(talk, "What came after", "to", after, None))
    earlier = [node for node in path[:-1] if talk["nodes"][node]["role"] == "assistant"]
    if earlier:
        lines.append(_line(talk, "Go back to answer", "back", earlier, None))
    return f'<div class="br">{"".join(lines)}</div>' if lines else ""


def _name(talk: tree.Talk, place: int, node: int) -> str:
    return f"{'question' if talk['nodes'][node]['role'] == 'user' else 'answer'} {place // 2 + 1}"


def _line(talk: tree.Talk, title: str, kind: str, nodes: list[int], here: int | None) -> str:
    buttons = ""
    for number, node in enumerate(nodes, 1):
        preview = " ".join(talk["nodes"][node]["content"].split())[:PREVIEW]
        pressed = "" if here is None else f' aria-pressed="{"true" if node == here else "false"}"'
        buttons += (
            f'<button type="button" class="rs-pick" data-pick="{kind} {node}" title="{safe(preview)}" '
            f'aria-label="{safe(f"{title}: {number}")}"{pressed}>{number}</button>'
        )
    return f'<p class="br-line"><span>{safe(title)}</span> {buttons}</p>'
