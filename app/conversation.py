"""A conversation as a tree: each message knows the one before it, so that another answer, or another question, is a branch beside the first.

The tree is plain data, for the browser to keep: {"nodes": [{"role", "content", "parent", "cut"}], "leaf": which node is shown last}.
A node is named by its place in the list; `parent` and `leaf` are None before the first. Every function gives a new tree.
"""

from typing import TypedDict


class Node(TypedDict):
    """A message. `cut`: an answer that ended at the limit, or was stopped."""

    role: str
    content: str
    parent: int | None
    cut: bool


class Talk(TypedDict):
    """The tree."""

    nodes: list[Node]
    leaf: int | None


def empty() -> Talk:
    """No message."""
    return {"nodes": [], "leaf": None}


def path(talk: Talk) -> list[int]:
    """The nodes that are shown, the first first."""
    found, at = [], talk["leaf"]
    while at is not None:
        found.append(at)
        at = talk["nodes"][at]["parent"]
    return found[::-1]


def messages(talk: Talk) -> list[dict[str, str]]:
    """What is shown, as role and content."""
    return [{"role": talk["nodes"][at]["role"], "content": talk["nodes"][at]["content"]} for at in path(talk)]


def last(talk: Talk) -> Node | None:
    """The message that is shown last."""
    return None if talk["leaf"] is None else talk["nodes"][talk["leaf"]]


def add(talk: Talk, role: str, content: str, cut: bool = False) -> Talk:
    """A message after the one that is shown last; a branch, where others came after it before."""
    node: Node = {"role": role, "content": content, "parent": talk["leaf"], "cut": cut}
    return {"nodes": [*talk["nodes"], node], "leaf": len(talk["nodes"])}


def lengthen(talk: Talk, content: str, cut: bool) -> Talk:
    """The last message with this content in place of its own."""
    nodes, leaf = talk["nodes"], talk["leaf"]
    assert leaf is not None, "there is no message to go on with"
    return {"nodes": [*nodes[:leaf], {**nodes[leaf], "content": content, "cut": cut}, *nodes[leaf + 1 :]], "leaf": leaf}


def back_to(talk: Talk, leaf: int | None) -> Talk:
    """Shown up to this node; what came after it stays."""
    return {"nodes": talk["nodes"], "leaf": leaf}


def to_question(talk: Talk) -> Talk:
    """Shown up to the last question, for another answer to it."""
    while (end := last(talk)) is not None and end["role"] != "user":
        talk = back_to(talk, end["parent"])
    return talk


def edited(talk: Talk, place: int, content: str) -> Talk:
    """Another question in the place of the one that stands there in what is shown."""
    node = talk["nodes"][path(talk)[place]]
    return add(back_to(talk, node["parent"]), node["role"], content)


def children(talk: Talk, node: int | None) -> list[int]:
    """What comes after a node, the oldest first."""
    return [at for at, other in enumerate(talk["nodes"]) if other["parent"] == node]


def switched(talk: Talk, node: int) -> Talk:
    """Shown through this node, to the end of its newest branch."""
    while after := children(talk, node):
        node = after[-1]
    return back_to(talk, node)
