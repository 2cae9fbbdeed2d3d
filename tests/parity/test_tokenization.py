"""Tokenizers against the reference, on texts of many scripts and awkward ones."""

from pathlib import Path
from typing import Any

import pytest
import transformers

import core
from core.errors import TokenizerError
from core.tokenization import assistant_spans

TEXTS = [
    "Hello, world!",
    "  two  spaces and\ttabs\n\n\nlines \n",
    "It's 12345.67 and 2024-11-24, isn't it?",
    "Größe, naïve, Ångström, İstanbul",
    "你好，世界。これはテストです。",
    "مرحبا بالعالم",
    "emoji 👩‍👩‍👧‍👦 🏳️‍🌈 and ZWJ",
    "def f(x):\n    return x**2  # ok\n",
    "<|im_start|>user\nhi<|im_end|>",
    "a" * 300,
    "\u200b\u0000\ufeff",
    "",
]
CHAT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hi {{ x }} {% y %}"},
    {"role": "assistant", "content": "Hello."},
    {"role": "user", "content": "Bye"},
    {"role": "assistant", "content": "Bye!"},
]


@pytest.fixture(scope="module")
def smol(smollm2: Path) -> tuple[Any, Any]:
    """Ours and the reference's from the GGUF."""
    reference = transformers.AutoTokenizer.from_pretrained(smollm2.parent, gguf_file=smollm2.name)
    return core.AutoTokenizer.from_pretrained(smollm2), reference


@pytest.fixture(scope="module")
def mini(minilm: Path) -> tuple[Any, Any]:
    """Ours and the reference's from tokenizer.json."""
    return core.AutoTokenizer.from_pretrained(minilm), transformers.AutoTokenizer.from_pretrained(minilm)


def test_ids_of_smollm2(smol: tuple[Any, Any]) -> None:
    ours, reference = smol
    for text in TEXTS:
        assert ours(text)["input_ids"] == reference(text, add_special_tokens=False)["input_ids"], text
        assert ours.decode(ours.encode(text)) == text
    assert ours.eos_token == "<|im_end|>" and ours.eos_token_id == 2


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"padding": True, "truncation": True, "max_length": 12},
        {"padding": "max_length", "max_length": 20, "truncation": True, "return_offsets_mapping": True},
        {"add_special_tokens": False, "return_special_tokens_mask": True},
        {"padding": True, "pad_to_multiple_of": 8, "padding_side": "left"},
        {"truncation": True, "max_length": 10, "stride": 2, "return_overflowing_tokens": True},
    ],
    ids=str,
)
def test_minilm_options(mini: tuple[Any, Any], options: dict[str, Any]) -> None:
    ours, reference = mini
    found, expected = ours(TEXTS, **options), reference(TEXTS, **options)
    assert set(found) == set(expected)
    for key in expected:
        assert [list(map(tuple, row)) if key == "offset_mapping" else row for row in found[key]] == list(expected[key])


def test_pairs_words_and_decoding(mini: tuple[Any, Any]) -> None:
    ours, reference = mini
    found = ours("What is it?", "It is a small test.", truncation="only_second", max_length=9)
    assert dict(found) == dict(reference("What is it?", "It is a small test.", truncation="only_second", max_length=9))
    words = ["Hugging", "Face", "unbelievably"]
    found, expected = ours(words, is_split_into_words=True), reference(words, is_split_into_words=True)
    assert dict(found) == dict(expected) and found.word_ids() == expected.word_ids()
    for clean in (True, False):
        options = {"skip_special_tokens": True, "clean_up_tokenization_spaces": clean}
        assert ours.decode(found["input_ids"], **options) == reference.decode(found["input_ids"], **options)


def test_from_vocabulary_alone(minilm: Path, tmp_path: Path, mini: tuple[Any, Any]) -> None:
    (tmp_path / "vocab.txt").write_bytes((minilm / "vocab.txt").read_bytes())
    ours = core.AutoTokenizer.from_pretrained(tmp_path)
    for text in TEXTS:
        assert ours(text)["input_ids"] == mini[1](text)["input_ids"]


def test_chat_template(smol: tuple[Any, Any]) -> None:
    ours, reference = smol
    for messages, options in ((CHAT, {}), (CHAT[:2], {"add_generation_prompt": True}), (CHAT[1:2], {})):
        text = ours.apply_chat_template(messages, tokenize=False, **options)
        assert text == reference.apply_chat_template(messages, tokenize=False, **options)
    ids, mask = assistant_spans(ours, CHAT)
    spoken = ours.decode([i for i, m in zip(ids, mask, strict=True) if m])
    assert spoken == "Hello.<|im_end|>Bye!<|im_end|>"


def test_saved_and_read_back(smol: tuple[Any, Any], tmp_path: Path) -> None:
    ours, _ = smol
    ours.save_pretrained(tmp_path)
    back, reference = core.AutoTokenizer.from_pretrained(tmp_path), transformers.PreTrainedTokenizerFast.from_pretrained(tmp_path)
    for text in TEXTS:
        assert back(text)["input_ids"] == ours(text)["input_ids"] == reference(text)["input_ids"]
    assert back.apply_chat_template(CHAT) == ours.apply_chat_template(CHAT)
    assert back.eos_token_id == reference.eos_token_id == ours.eos_token_id


@pytest.mark.parametrize(
    "template",
    [
        "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}",
        "{{ 'a' * 999999999 }}",
        "{{ 9 ** 9 ** 9 }}",
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ messages.append(1) }}",
        "{{ cycler.__init__.__globals__.os.system('true') }}",
        "{% for m in messages %}",
        "{{ raise_exception('no system role') }}",
        "{% for x in range(3000) %}{{ 'a' * 9999 }}{% endfor %}",
        "{{ '%9999999999d' % 1 }}",
    ],
)
def test_hostile_templates(smol: tuple[Any, Any], template: str) -> None:
    with pytest.raises(TokenizerError, match="chat template"):
        smol[0].apply_chat_template(CHAT, chat_template=template, tokenize=False)


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text('{"model": 3')
    with pytest.raises(TokenizerError, match=r"tokenizer\.json"):
        core.AutoTokenizer.from_pretrained(tmp_path)


def test_a_missing_device_warns_once(smol: tuple[Any, Any]) -> None:
    import warnings

    import torch

    if torch.cuda.is_available():
        assert smol[0]("a", return_tensors="pt").to("cuda").input_ids.device.type == "cuda"
        return
    from core.modeling import devices

    devices._warned.clear()
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        for _ in range(2):
            assert smol[0]("a", return_tensors="pt").to("cuda").input_ids.device.type == "cpu"
    assert len(seen) == 1
