"""A conversation's branches, and a person's presets."""

from pathlib import Path

import pytest

from app import conversation as tree
from app import presets
from app.components.branches import branches
from app.tabs.chat import parameters
from core.errors import ConfigError


def talk(*texts: str) -> tree.Talk:
    """Question, answer, question, …"""
    made = tree.empty()
    for place, text in enumerate(texts):
        made = tree.add(made, "assistant" if place % 2 else "user", text)
    return made


def contents(made: tree.Talk) -> list[str]:
    """What is shown."""
    return [message["content"] for message in tree.messages(made)]


def test_another_answer_is_a_branch_and_one_can_switch() -> None:
    one = talk("q1", "a1", "q2", "a2")
    two = tree.add(tree.to_question(tree.back_to(one, 1)), "assistant", "b1")
    assert contents(two) == ["q1", "b1"]
    assert tree.children(two, 0) == [1, 4]
    assert contents(tree.switched(two, 1)) == ["q1", "a1", "q2", "a2"], "the old branch is whole"
    assert contents(one) == ["q1", "a1", "q2", "a2"], "a tree is never changed"


def test_going_back_and_on_differently() -> None:
    made = tree.back_to(talk("q1", "a1", "q2", "a2"), 1)
    assert contents(made) == ["q1", "a1"] and "What came after" in branches(made)
    made = tree.add(made, "user", "other")
    assert contents(made) == ["q1", "a1", "other"]
    shown = branches(made)
    assert "Versions of question 2" in shown and shown.count("data-pick") == 3


def test_an_edited_question_stands_beside_the_first() -> None:
    made = tree.edited(talk("q1", "a1", "q2", "a2"), 0, "other")
    assert contents(made) == ["other"] and tree.children(made, None) == [0, 4]
    assert contents(tree.switched(made, 0)) == ["q1", "a1", "q2", "a2"]


def test_an_answer_goes_on() -> None:
    made = tree.lengthen(tree.add(talk("q1"), "assistant", "half", cut=True), "half and whole", False)
    assert contents(made) == ["q1", "half and whole"] and tree.last(made) == {
        **{"role": "assistant", "content": "half and whole", "parent": 0, "cut": False}
    }


def test_a_title_is_no_markup() -> None:
    made = tree.add(tree.to_question(talk("q", '"><script>${1}')), "assistant", "x")
    assert "<script>" not in branches(made) and "${" not in branches(made)
    assert branches(talk("q", "a")) == branches(tree.empty()) == ""


def test_presets_are_kept_in_the_data_folder(data_dir: Path) -> None:
    values = {"temperature": 0.5, "do_sample": True, "stop_strings": 'a\n"b" 🦊', "max_new_tokens": 12}
    assert presets.save("  Mine  är 🦊 ", values) == "Mine är 🦊"
    assert presets.presets()["Mine är 🦊"] == values and "Precise" in presets.presets()
    assert presets.own_path().parent == data_dir
    presets.save("Other", {})
    presets.delete("Mine är 🦊")
    assert list(presets.own()) == ["Other"]
    for name in ("", "Precise", "x" * 41):
        with pytest.raises(ConfigError):
            presets.save(name, {})
    for name in ("Precise", "gone"):
        with pytest.raises(ConfigError):
            presets.delete(name)
    presets.own_path().write_text("[broken")
    with pytest.raises(ConfigError, match=r"presets\.toml"):
        presets.presets()


def test_knobs_that_are_empty_mean_none() -> None:
    values = (256, False, 1.0, 1.0, 50, "", 1.0, "", "", False)
    assert parameters(values) == {
        **{"max_new_tokens": 256, "do_sample": False, "temperature": 1.0, "top_p": 1.0, "top_k": 50, "repetition_penalty": 1.0}
    }
    found = parameters((256, False, 1.0, 1.0, 50, " 0.1 ", 1.0, "7", "END\nSTOP", True))
    assert (found["min_p"], found["seed"], found["stop_strings"]) == (0.1, 7, ["END", "STOP"])
    assert found["prompt_lookup_num_tokens"] == 10
    with pytest.raises(ConfigError, match="seed has to be a number"):
        parameters((256, False, 1.0, 1.0, 50, "", 1.0, "many", "", False))
