"""The starters that come with the program: their cards, their names, their tasks; what is said where something is missing."""

import logging
import re
from pathlib import Path

import pytest

from app.shelf import Shelf
from core import AutoTokenizer, pipeline
from core.checkpoints import bundled
from core.checkpoints.resolve import resolve
from core.errors import CheckpointError, ConfigError
from core.paths import assets_dir
from core.pipelines.loading import TASKS, starter
from core.trainer.config import read
from tools import starters

CARDS = bundled.cards()
ADAPTERS = [name for name, card in CARDS.items() if bundled.base_of(card.folder)]


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """No network is asked for anything."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.mark.parametrize("name", CARDS)
def test_a_card_says_what_it_must(name: str) -> None:
    card = CARDS[name]
    assert card.score > card.floor and card.task in TASKS and card.hub.count("/") == 1 and card.data
    assert 0 < card.size <= starters.LARGEST
    recipe = re.search(r"assets/recipes/\S+\.yaml", card.command)
    assert recipe and read(assets_dir().parent / recipe[0]).name == name
    text = (card.folder / "README.md").read_text()
    assert all(licence in text and source in text for _, licence, source in card.data)


def test_all_are_small_and_written_down() -> None:
    assert 0 < sum(card.size for card in CARDS.values()) <= starters.ALL
    root = assets_dir().parent
    assert starters.table() in (root / "README.md").read_text()
    assert (root / "THIRD_PARTY.md").read_text() == starters.third_party()


def test_names_lead_to_folders_and_bases(offline: None, minilm: Path, smollm2: Path) -> None:
    for name, card in CARDS.items():
        assert resolve(name.upper()) == card.folder
    for name in ADAPTERS:
        base = AutoTokenizer.from_pretrained(bundled.base_of(CARDS[name].folder) or "")
        assert AutoTokenizer.from_pretrained(name)("Hello there")["input_ids"] == base("Hello there")["input_ids"]


def test_the_task_alone_finds_its_starter(offline: None, minilm: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        found = pipeline("sentiment-analysis")("A wonderful, moving film.")
    assert found[0]["label"] == "positive" and "using the starter minilm-movies" in caplog.text
    with pytest.raises(ConfigError, match=r"no starter for zero-shot-image-classification: name a model, such as .*clip"):
        starter("zero-shot-image-classification")


def test_an_adapter_gives_vectors_and_no_other_heads_answers(offline: None, minilm: Path) -> None:
    vectors = pipeline("feature-extraction", "minilm-movies")("Hello")
    plain = pipeline("feature-extraction", "all-MiniLM-L6-v2")("Hello")
    assert len(vectors[0]) == len(plain[0]) and len(vectors[0][0]) == len(plain[0][0]) == 384 and vectors != plain
    with pytest.raises(ConfigError, match="minilm-movies is an adapter with a head for something else"):
        pipeline("question-answering", "minilm-movies")


def test_a_base_that_is_not_here_is_named(offline: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VITRINE_MODELS_DIR", str(tmp_path))
    with pytest.raises((ConfigError, CheckpointError), match="all-MiniLM-L6-v2"):
        pipeline("text-classification", "minilm-movies")
    listed = {model.name: model for model in Shelf().models()}
    assert listed["minilm-movies"].problem == "it is an adapter on all-MiniLM-L6-v2, which is not here: fetch that first"
    assert listed["vit-digits"].problem is None and "vit-digits" in Shelf().names("image-classification")
    assert "minilm-movies" not in Shelf().names("text-classification")


def test_a_folder_that_is_no_starter_is_named(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("---\ntitle: x\n---\n")
    with pytest.raises(CheckpointError, match=r"README.md is no model card of ours: KeyError\('measured'\)"):
        bundled.read_card(tmp_path)
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(CheckpointError, match="does not name its base model"):
        bundled.base_of(tmp_path)
