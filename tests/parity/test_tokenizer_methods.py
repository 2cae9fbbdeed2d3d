"""What a tokenizer and its answers can be asked, against the reference on the same files."""

import copy
import json
from enum import Enum
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
import transformers
from tokenizer_corpus import CHAT, MARKED, TEXTS
from tokenizer_folders import files_of, marian_files, whisper_files, write
from transformers.utils import get_json_schema

import core
from core.errors import TokenizerError
from core.tokenization.tools import schema_of

NAMES = ["BertTokenizer", "RobertaTokenizer", "GPT2Tokenizer"]
PAIRS = [(text, TEXTS[-1 - i]) for i, text in enumerate(TEXTS[:12])]
WORDS = [["Hello", "unbelievable", "world"], ["a"], ["naïve", "你好", "x" * 40]]


@pytest.fixture(scope="module", params=NAMES)
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    folder = write(tmp_path_factory.mktemp("both"), **files_of(request.param))
    pad = {"pad_token": "<|endoftext|>"} if request.param == "GPT2Tokenizer" else {}
    prefix = {"add_prefix_space": True} if request.param != "BertTokenizer" else {}
    return tuple(getattr(library, request.param).from_pretrained(folder, **pad, **prefix) for library in (core, transformers))  # type: ignore[return-value]


def rows(encoded: Any) -> dict[str, Any]:
    return {key: json.loads(json.dumps(value.tolist() if hasattr(value, "tolist") else value)) for key, value in encoded.items()}


OPTIONS: list[dict[str, Any]] = [
    {},
    {"padding": True},
    {"padding": "longest", "pad_to_multiple_of": 7},
    {"padding": "max_length", "max_length": 40, "truncation": True},
    {"padding": "max_length", "max_length": 30},
    {"padding": True, "padding_side": "left"},
    {"truncation": True, "max_length": 12},
    {"truncation": "longest_first", "max_length": 9, "stride": 2, "return_overflowing_tokens": True},
    {"truncation": "only_first", "max_length": 30, "stride": 3, "return_overflowing_tokens": True, "padding": True},
    {"max_length": 8},
    {"add_special_tokens": False, "return_length": True, "return_special_tokens_mask": True},
    {"return_token_type_ids": True, "return_attention_mask": False, "return_offsets_mapping": True},
    {"padding": "max_length", "truncation": True, "max_length": 16, "return_tensors": "pt"},
    {"padding": True, "return_tensors": "np"},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("side", ["right", "left"])
def test_options(both: tuple[Any, Any], options: dict[str, Any], side: str) -> None:
    for tokenizer in both:
        tokenizer.padding_side = tokenizer.truncation_side = side
    ours, reference = both
    texts = [text for text in TEXTS[2:] if len(text) > 120] if options.get("truncation") == "only_first" else TEXTS
    assert rows(ours(texts, **options)) == rows(reference(texts, **options))
    for text in ("Hello, world!", TEXTS[23]):
        assert rows(ours(text, **options)) == rows(reference(text, **options))
    for tokenizer in both:
        tokenizer.padding_side = tokenizer.truncation_side = "right"


@pytest.mark.parametrize("strategy", [True, "longest_first", "only_first", "only_second"])
def test_pairs(both: tuple[Any, Any], strategy: Any) -> None:
    ours, reference = both
    long, short = "What is this, then? " * 12, "A test."
    pairs = [(short, long)] if strategy == "only_second" else [(long, short)]
    pairs += [] if isinstance(strategy, str) and "only" in strategy else [(short, long), (long, long), (short, short)]
    options = {"truncation": strategy, "max_length": 20}
    assert rows(ours(pairs, **options)) == rows(reference(pairs, **options))
    first, second = map(list, zip(*PAIRS, strict=True))
    found, expected = ours(first, second, padding=True), reference(first, second, padding=True)
    assert rows(found) == rows(expected) and found.sequence_ids(2) == expected.sequence_ids(2)
    assert ours.num_special_tokens_to_add(True) == reference.num_special_tokens_to_add(True)


def test_words(both: tuple[Any, Any]) -> None:
    ours, reference = both
    for options in ({}, {"padding": True}, {"truncation": True, "max_length": 5}, {"return_offsets_mapping": True}):
        found, expected = ours(WORDS, is_split_into_words=True, **options), reference(WORDS, is_split_into_words=True, **options)
        assert rows(found) == rows(expected)
        assert [found.word_ids(i) for i in range(3)] == [expected.word_ids(i) for i in range(3)]
    assert rows(ours(WORDS[0], is_split_into_words=True)) == rows(reference(WORDS[0], is_split_into_words=True))
    pair = ours(WORDS, WORDS[::-1], is_split_into_words=True)
    assert rows(pair) == rows(reference(WORDS, WORDS[::-1], is_split_into_words=True))


def test_places(both: tuple[Any, Any]) -> None:
    """Every token, word and character of a batch and of a single text."""
    ours, reference = both
    texts = [text for text in TEXTS if text.strip()]
    found, expected = ours(texts), reference(texts)
    for row in range(len(texts)):
        count = len(found["input_ids"][row])
        assert found.tokens(row) == expected.tokens(row) and found.words(row) == expected.word_ids(row)
        for at in range(count):
            for method in ("token_to_chars", "token_to_word", "token_to_sequence"):
                assert getattr(found, method)(row, at) == getattr(expected, method)(row, at), (method, texts[row], at)
        for at in range(len(texts[row])):
            for method in ("char_to_token", "char_to_word"):
                assert getattr(found, method)(row, at) == getattr(expected, method)(row, at), (method, texts[row], at)
        for at in {word for word in found.word_ids(row) if word is not None}:
            for method in ("word_to_tokens", "word_to_chars"):
                assert getattr(found, method)(row, at) == getattr(expected, method)(row, at), (method, texts[row], at)
    one = ours("two words", "and more")
    assert one.char_to_token(0) == one.char_to_token(0, 0) and one.word_to_tokens(1).start < one.word_to_tokens(0, 1).end + 9
    assert one.char_to_token(0, 0, 1) == reference("two words", "and more").char_to_token(0, 0, 1)
    assert (
        one.token_to_chars(one.char_to_token(4)).start
        == reference("two words", "and more").token_to_chars(one.char_to_token(4)).start
    )


def test_decoding(both: tuple[Any, Any]) -> None:
    ours, reference = both
    ids = [ours(text)["input_ids"] for text in [*TEXTS, *MARKED, "I do n't know , it 's ' quoted ' . Is it ?"]]
    for skip in (False, True):
        for clean in (None, False, True):
            options = {"skip_special_tokens": skip, "clean_up_tokenization_spaces": clean}
            for row in ids:
                wanted = reference.decode(row, **options)
                assert ours.decode(row, **options) == wanted or (clean and ours.decode(row, **options) == tidy(wanted))
    assert ours.batch_decode(ids) == reference.batch_decode(ids)
    assert ours.decode(torch.tensor(ids[3])) == ours.decode(np.array(ids[3])) == ours.decode(ids[3])
    assert ours.decode(torch.tensor([ids[3], ids[3]])) == [ours.decode(ids[3])] * 2
    assert ours.decode(5) == reference.decode(5)
    with pytest.raises(TokenizerError, match="ids"):
        ours.decode([-1])


def tidy(text: str) -> str:
    return core.PreTrainedTokenizer.clean_up_tokenization(text)


def test_new_tokens(both: tuple[Any, Any]) -> None:
    ours, reference = (copy.deepcopy(tokenizer) for tokenizer in both)
    text = "Hello [NEW]newword, bravenewword <a> x"
    for tokenizer in (ours, reference):
        assert tokenizer.add_tokens(["newword", "newword"]) == 1
        assert tokenizer.add_tokens("[NEW]", special_tokens=True) == 1
        assert tokenizer.add_special_tokens({"sep_token": "<sep>", "additional_special_tokens": ["<a>", "<b>"]}) == 3
    assert len(ours) == len(reference) and ours.get_vocab() == reference.get_vocab()
    assert ours(text)["input_ids"] == reference(text)["input_ids"]
    assert ours.sep_token_id == reference.sep_token_id and ours.additional_special_tokens_ids == ours.convert_tokens_to_ids(
        ["<a>", "<b>"]
    )
    assert len(both[0]) == len(both[1]) == len(ours) - 5
    ours.sep_token_id = ours.convert_tokens_to_ids("<a>")
    assert ours.sep_token == "<a>"
    assert ours.convert_ids_to_tokens([0, len(ours) - 1, 10**6]) == reference.convert_ids_to_tokens([0, len(ours) - 1, 10**6])
    with pytest.raises(TokenizerError, match="kind of special token"):
        ours.add_special_tokens({"nose_token": "x"})


def test_padding_rows(both: tuple[Any, Any]) -> None:
    ours, reference = both
    batch = [dict(ours(text)) for text in TEXTS[2:9]]
    for options in (
        {},
        {"padding": "max_length", "max_length": 90},
        {"pad_to_multiple_of": 8},
        {"padding_side": "left"},
        {"return_tensors": "pt"},
    ):
        assert rows(ours.pad(batch, **options)) == rows(reference.pad(batch, **options))
        columns = {key: [row[key] for row in batch] for key in batch[0]}
        assert rows(ours.pad(columns, **options)) == rows(reference.pad(columns, **options))
    with pytest.raises(TokenizerError, match="input_ids"):
        ours.pad([{"x": [1]}])


def test_what_is_refused(both: tuple[Any, Any]) -> None:
    ours = both[0]
    for call, message in (
        (lambda: ours(3), "takes a text"),
        (lambda: ours(["a", None]), "no text"),
        (lambda: ours(["a"], "b"), "second texts"),
        (lambda: ours(["a"], ["b", "c"]), "second texts"),
        (lambda: ours("a", truncation="longest", max_length=3), "truncation"),
        (lambda: ours("a", truncation=True, max_length=3, stride=3), "stride"),
        (lambda: ours("a", padding="widest"), "padding"),
        (lambda: ours("a", "b " * 30, truncation="only_first", max_length=9), "cannot be cut to 9 tokens"),
        (lambda: ours(["a", "b c d"], return_tensors="pt"), "padding=True"),
        (lambda: ours("a", return_tensors="tf"), "return_tensors"),
        (lambda: ours("\ud800 lone surrogate"), "no text"),
    ):
        with pytest.raises(TokenizerError, match=message):
            call()


# ---------------------------------------------------------------------- languages and speech


def test_languages_of_mbart(tmp_path: Path) -> None:
    for name in ("MBartTokenizer", "MBart50Tokenizer"):
        ours = getattr(core, name).from_pretrained(write(tmp_path / name, **files_of(name)), src_lang="de_DE", tgt_lang="fr_XX")
        german, french = ours.lang_code_to_id["de_DE"], ours.lang_code_to_id["fr_XX"]
        at = -1 if name == "MBartTokenizer" else 0
        both = ours("Hello", text_target="world")
        assert both["input_ids"][at] == german and both["labels"][at] == french
        assert ours(text_target="world")["input_ids"] == both["labels"] and ours("Hello")["input_ids"] == both["input_ids"]
        ours.src_lang = "ro_RO"
        assert ours("Hello")["input_ids"][at] == ours.lang_code_to_id["ro_RO"]
        assert len(ours("Hello", "you")["input_ids"]) == len(ours("Hello")["input_ids"]) + len(
            ours("you", add_special_tokens=False)["input_ids"]
        )
        with pytest.raises(TokenizerError, match="no language"):
            ours.src_lang = "tlh"
        ours.save_pretrained(tmp_path / "saved")
        again = core.AutoTokenizer.from_pretrained(tmp_path / "saved")
        assert again.src_lang == "ro_RO" and again.tgt_lang == "fr_XX"


def test_both_sides_of_marian(tmp_path: Path) -> None:
    folder = write(tmp_path, **marian_files())
    ours, reference = core.MarianTokenizer.from_pretrained(folder), transformers.MarianTokenizer.from_pretrained(folder)
    texts = [text for text in TEXTS if not any(mark in text for mark in (">>", "!!!"))]
    for text in texts:
        found, expected = ours("Hello", text_target=text), reference("Hello", text_target=text)
        assert dict(found) == dict(expected), text
        for source in (False, True):
            options = {"skip_special_tokens": True, "use_source_tokenizer": source}
            assert ours.decode(found["labels"], **options) == reference.decode(expected["labels"], **options)
    assert rows(ours(texts, padding=True)) == rows(reference(texts, padding=True))
    with ours.as_target_tokenizer():
        assert ours("world")["input_ids"] == reference(text_target="world")["input_ids"]


def test_whisper(tmp_path: Path) -> None:
    folder = write(tmp_path, **whisper_files())
    ours, reference = core.WhisperTokenizer.from_pretrained(folder), transformers.WhisperTokenizer.from_pretrained(folder)
    for options in (
        {},
        {"language": "french", "task": "translate"},
        {"language": "en", "task": "transcribe", "predict_timestamps": True},
    ):
        for tokenizer in (ours, reference):
            tokenizer.set_prefix_tokens(**options)
        assert ours("Hello there")["input_ids"] == reference("Hello there")["input_ids"]
        assert ours.prefix_tokens == reference.prefix_tokens
    assert ours.get_decoder_prompt_ids("transcribe", "fr") == reference.get_decoder_prompt_ids("transcribe", "fr")
    begin = ours.timestamp_begin
    words = ours("hello there you", add_special_tokens=False)["input_ids"]
    spoken = [begin, *words, begin + 50, begin + 50, *words, begin + 130]
    for ids in (
        spoken,
        [*spoken, begin, *words, begin + 40],
        [*spoken[:-1], begin + 50, begin, *words, begin + 40],
        [*spoken, begin + 130, begin, *words, begin + 40, begin + 90],
        [begin + 9, begin + 5, *words],
        [begin + 3, *words],
        ours("abc")["input_ids"],
    ):
        for options in ({}, {"skip_special_tokens": True}, {"decode_with_timestamps": True}, {"output_offsets": True}):
            assert ours.decode(ids, **options) == reference.decode(ids, **options), options
    prompt = [ours._id("<|startofprev|>"), *words, *ours("said")["input_ids"]]
    assert ours.decode(prompt, skip_special_tokens=True) == reference.decode(prompt, skip_special_tokens=True) == "said"
    with pytest.raises(TokenizerError, match="language"):
        ours.set_prefix_tokens(language="klingon")


def test_letters(tmp_path: Path) -> None:
    files = files_of("Wav2Vec2CTCTokenizer")
    for options in ({}, {"do_lower_case": True}):
        folder = write(tmp_path, **files)
        ours = core.Wav2Vec2CTCTokenizer.from_pretrained(folder, **options)
        reference = transformers.Wav2Vec2CTCTokenizer.from_pretrained(folder, **options)
        for text in ("HELLO WORLD", "hello <s> you", "", " A  B "):
            assert ours(text)["input_ids"] == reference(text)["input_ids"], text
        ids = [11, 11, 5, 0, 15, 15, 0, 15, 8, 4, 4, 18, 8, 0, 13, 15, 14, 2, 0]
        for more in ({}, {"group_tokens": False}, {"skip_special_tokens": True}, {"spaces_between_special_tokens": True}):
            assert ours.decode(ids, **more) == reference.decode(ids, **more)
        found = ours.decode(ids, output_word_offsets=True, output_char_offsets=True)
        expected = reference.decode(ids, output_word_offsets=True, output_char_offsets=True)
        assert found["text"] == expected.text and found["word_offsets"] == expected.word_offsets
        assert found["char_offsets"] == expected.char_offsets


# ---------------------------------------------------------------------- chat

TEMPLATE = (
    "{% if tools %}tools: {{ tools | tojson }}\n{% endif %}{% for d in documents or [] %}[{{ d.title }}: {{ d.text }}]\n{% endfor %}"
    "{% for m in messages %}<{{ m.role }}>{% if m.role == 'assistant' %}{% generation %}{{ m.content | trim }}{{ eos_token }}{% endgeneration %}"
    "{% else %}{{ m.content }}{% endif %}\n{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
)


class Unit(Enum):
    CELSIUS = "c"
    FAHRENHEIT = "f"


def weather(
    place: str, days: int = 1, unit: Unit = Unit.CELSIUS, exact: bool | None = None, near: list[str] | str = ""
) -> dict[str, float]:
    """
    Tell the weather at a place.

    In one more paragraph.

    Args:
        place: Where, as a name
            of a town.
        days: How many days ahead.
        unit: The scale.
        exact: Whether decimals are wanted.
        near: Places nearby.

    Returns:
        Temperatures by day.
    """
    return {}


def add(a: float, b: tuple[int, str], c: Literal["x", "y"], d: dict[str, Any], kind: str) -> None:
    """Add.

    Args:
        a: One.
        b: Two.
        c: Three.
        d: Four.
        kind: Five. (choices: ["p", "q"])
    """


@pytest.mark.parametrize("function", [weather, add])
def test_functions_as_tools(function: Any) -> None:
    assert schema_of(function) == get_json_schema(function)


def test_functions_that_are_no_tools() -> None:
    def silent(a: int) -> int:
        return a

    def untold(a: int) -> int:
        """Does."""
        return a

    def untyped(a):  # type: ignore[no-untyped-def]
        """Does.

        Args:
            a: One.
        """

    for function, message in (
        (silent, "docstring"),
        (untold, "describe its argument"),
        (untyped, "type hint"),
        (3, "schema or a function"),
    ):
        with pytest.raises(TokenizerError, match=message):
            schema_of(function)  # type: ignore[arg-type]


def test_chat(both: tuple[Any, Any]) -> None:
    ours, reference = both
    end = {} if ours.eos_token else {"eos_token": "!"}
    tools = [weather, {"type": "function", "function": {"name": "f", "description": "d", "parameters": {}}}]
    documents = [{"title": "One", "text": "first"}, {"title": "Two", "text": "second"}]
    for options in (
        {},
        {"add_generation_prompt": True},
        {"tools": tools, "documents": documents},
        {"continue_final_message": True},
        {"padding": "max_length", "max_length": 300, "return_tensors": "pt"},
        {"truncation": True, "max_length": 17},
    ):
        plain = {"chat_template": TEMPLATE, **end, **options}
        text = {
            key: value for key, value in plain.items() if key not in ("padding", "return_tensors", "truncation", "max_length")
        }
        assert ours.apply_chat_template(CHAT, tokenize=False, **text) == reference.apply_chat_template(
            CHAT, tokenize=False, **text
        )
        for chat in (CHAT, [CHAT, CHAT[1:3]]):
            if "return_tensors" in options or chat is CHAT or "continue_final_message" not in options:
                assert rows(ours.apply_chat_template(chat, return_dict=True, **plain)) == rows(
                    reference.apply_chat_template(chat, return_dict=True, **plain)
                )
    options = {"chat_template": TEMPLATE, "return_dict": True, "return_assistant_tokens_mask": True, **end}
    for chat in (CHAT, [CHAT, CHAT[1:3]]):
        assert rows(ours.apply_chat_template(chat, **options)) == rows(reference.apply_chat_template(chat, **options))


def test_continued_messages(both: tuple[Any, Any]) -> None:
    ours, reference = both
    parts = [{"role": "user", "content": "a"}, {"role": "assistant", "content": [{"type": "text", "text": "Well, "}]}]
    template = "{% for m in messages %}<{{ m.role }}>{{ m.content if m.content is string else m.content[0].text }}</>{% endfor %}"
    spaced = [*CHAT[:-1], {"role": "assistant", "content": "Bye "}]
    for chat, form in ((parts, template), (spaced, template), (spaced, template.replace("m.content if", "m.content | trim if"))):
        options = {"chat_template": form, "continue_final_message": True, "tokenize": False}
        assert ours.apply_chat_template(chat, **options) == reference.apply_chat_template(chat, **options)
    for options, message in (
        ({"add_generation_prompt": True, "continue_final_message": True}, "continued"),
        ({"continue_final_message": True, "chat_template": "nothing"}, "leaves out"),
    ):
        with pytest.raises(TokenizerError, match=message):
            ours.apply_chat_template(CHAT, **{"chat_template": TEMPLATE, **options})


def test_named_templates(tmp_path: Path) -> None:
    named = [
        {"name": "default", "template": "D{{ messages[0].content }}"},
        {"name": "tool_use", "template": "T"},
        {"name": "rag", "template": "R"},
    ]
    folder = write(tmp_path / "a", **files_of("BertTokenizer"), tokenizer_config__json={"chat_template": named})
    ours = core.AutoTokenizer.from_pretrained(folder)
    ours.save_pretrained(tmp_path / "b")
    tokenizers = [
        ours,
        core.AutoTokenizer.from_pretrained(tmp_path / "b"),
        transformers.AutoTokenizer.from_pretrained(tmp_path / "b"),
    ]
    tokenizers[2].save_pretrained(tmp_path / "c")
    tokenizers.append(core.AutoTokenizer.from_pretrained(tmp_path / "c"))
    for tokenizer in tokenizers:
        for options, text in (
            ({}, "DBe brief."),
            ({"tools": []}, "T"),
            ({"chat_template": "rag"}, "R"),
            ({"chat_template": "own"}, "own"),
        ):
            assert tokenizer.apply_chat_template(CHAT, tokenize=False, **options) == text
    ours.chat_template = None
    with pytest.raises(TokenizerError, match="no chat template"):
        ours.apply_chat_template(CHAT)
