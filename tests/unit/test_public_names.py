"""The public names follow the table of architectures."""

import inspect

import pytest
import torch
import transformers

import core
from core.auto import ARCHITECTURES
from core.errors import GenerationError
from core.generation import processors, stopping, streaming, warpers
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


OF_GENERATION = {
    name: value
    for module in (processors, stopping, streaming, warpers)
    for name, value in vars(module).items()
    if inspect.isclass(value) and value.__module__ == module.__name__ and hasattr(transformers, name)
}


@pytest.mark.parametrize("name", OF_GENERATION)
def test_what_steers_generation_is_public(name: str) -> None:
    """Under the reference's name, made with the reference's arguments in their order."""
    assert getattr(core, name) is OF_GENERATION[name] and name in dir(core)
    ours, theirs = (list(inspect.signature(kind).parameters) for kind in (getattr(core, name), getattr(transformers, name)))
    asked = [one for one in theirs if one not in ("decode_kwargs", "max_position_embeddings")]  # the second only warns
    assert [one for one in ours if one in theirs] == asked


def test_arguments_of_many_forms() -> None:
    """Ends as a number, a list or a tensor; a time that has begun; what makes no sense is told."""
    ids, scores = torch.tensor([[4, 5]]), torch.zeros(1, 9)
    for end in (5, [5], torch.tensor(5), torch.tensor([5, 7])):
        assert core.EosTokenCriteria(end)(ids, scores).all()
        for kind in (core.MinLengthLogitsProcessor, core.ForcedEOSTokenLogitsProcessor):
            found = kind(3, end)(ids, scores)
            theirs = getattr(transformers, kind.__name__)(3, end if isinstance(end, torch.Tensor) else [5])(ids, scores.clone())
            assert torch.equal(found, theirs)
    assert core.MaxTimeCriteria(5.0, initial_timestamp=0.0)(ids, scores) and not core.MaxTimeCriteria(500.0)(ids, scores)
    assert core.TopKLogitsWarper(2, -7.0)(ids, torch.arange(9.0)[None]).tolist() == [[-7.0] * 7 + [7.0, 8.0]]
    for ignored in (1, torch.tensor([1])):
        theirs = transformers.RepetitionPenaltyLogitsProcessor(2.0, ignored)(ids, scores + 1)
        assert torch.equal(core.RepetitionPenaltyLogitsProcessor(2.0, ignored)(ids, scores + 1), theirs)
    nonsense = [
        (core.TopPLogitsWarper, 2.0, "top_p"),
        (core.TopKLogitsWarper, 0, "top_k"),
        (core.TemperatureLogitsWarper, 0.0, "temperature"),
        (core.NoRepeatNGramLogitsProcessor, 0, "ngram_size"),
        (core.RepetitionPenaltyLogitsProcessor, -1.0, "repetition_penalty"),
    ]
    for kind, value, name in nonsense:
        with pytest.raises(GenerationError, match=name):
            kind(value)
    with pytest.raises(GenerationError, match="min_tokens_to_keep"):
        core.MinPLogitsWarper(0.5, min_tokens_to_keep=0)
