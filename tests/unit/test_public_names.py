"""The public names follow the table of architectures."""

import transformers

import core
from core.auto import ARCHITECTURES
from tools.public_names import README, STUB, readme, stub

OURS_ALONE = {
    "Gemma3TextForTokenClassification",
    "OPTForTokenClassification",
}  # heads the reference lacks, named as their siblings


def test_the_stub_is_the_tables() -> None:
    """If this fails: python tools/public_names.py."""
    text = STUB.read_text(encoding="utf-8")
    assert stub(text) == text
    assert stub(text.replace("BertModel as BertModel", "X as X")) == text


def test_readme_carries_the_table() -> None:
    """If this fails: python tools/public_names.py."""
    text = README.read_text(encoding="utf-8")
    assert readme(text) == text and "| bert | Bert | Model, MaskedLM" in text
    assert readme(text.replace("| bert | Bert |", "| bert | Bart |")) == text


def test_every_class_is_there_under_the_references_name() -> None:
    """Ours alone are those stated above."""
    for architecture in ARCHITECTURES.values():
        for name in architecture.class_names():
            assert getattr(core, name).__name__ == name
            assert hasattr(transformers, name) != (name in OURS_ALONE), name
