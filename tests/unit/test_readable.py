"""Tokens as a person reads them: Chinese, Arabic and emoji, whose characters are several tokens, in byte-level and byte-fallback vocabularies."""

import re
from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

from core.tokenization import AutoTokenizer, PreTrainedTokenizer
from core.tokenization.readable import readable_token, readable_tokens


def byte_tokenizer() -> PreTrainedTokenizer:
    """One token a byte, a start token before them."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({"<s>": 0} | {c: i + 1 for i, c in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return PreTrainedTokenizer(tokenizer, {"bos_token": "<s>"})


def fallback_tokenizer() -> PreTrainedTokenizer:
    """A few words, and bytes for whatever else, as SentencePiece writes them."""
    pieces = ["<unk>", *(f"<0x{i:02X}>" for i in range(256)), "▁good", "▁", "日"]
    tokenizer = Tokenizer(models.Unigram([(piece, -float(i)) for i, piece in enumerate(pieces)], 0, byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()])
    return PreTrainedTokenizer(tokenizer, {"unk_token": "<unk>"})


def test_spaces_ends_and_marks() -> None:
    tokenizer = byte_tokenizer()
    assert readable_tokens(tokenizer, tokenizer("a b\n\té")["input_ids"]) == [
        *("<s>", "a", "·", "b", "↵", "→", "é⟨1/2⟩", "é⟨2/2⟩"),
    ]
    assert readable_tokens(tokenizer, tokenizer.encode("\x00", add_special_tokens=False)) == ["⟨U+0000⟩"]


def test_each_byte_of_a_character_shows_it() -> None:
    tokenizer = byte_tokenizer()
    ids = tokenizer.encode("你🦊", add_special_tokens=False)
    assert readable_tokens(tokenizer, ids) == [
        *(f"你⟨{i}/3⟩" for i in (1, 2, 3)),
        *(f"🦊⟨{i}/4⟩" for i in (1, 2, 3, 4)),
    ]


def test_bytes_that_are_no_character_stay_bytes() -> None:
    tokenizer = byte_tokenizer()
    ids = tokenizer.encode("你a", add_special_tokens=False)
    assert readable_tokens(tokenizer, [*ids[:2], ids[3]]) == ["⟨E4⟩", "⟨BD⟩", "a"]
    assert readable_token(tokenizer, ids[0]) == "⟨E4⟩", "by itself it is no character"


def test_a_byte_fallback_vocabulary() -> None:
    tokenizer = fallback_tokenizer()
    shown = readable_tokens(tokenizer, tokenizer.encode("good 日本", add_special_tokens=False))
    assert shown == ["·good", "·", "日", "本⟨1/3⟩", "本⟨2/3⟩", "本⟨3/3⟩"]


@pytest.mark.parametrize(
    ("text", "characters"),
    [
        ("今天天气很好。", "今天天气很好。"),
        ("مرحبا بالعالم", "مرحباالع"),
        ("I like 🦊🍕 and 👩‍👩‍👧", "🦊🍕👩👧"),
        ("भाषा", "भष"),
    ],
)
def test_a_real_vocabulary_of_parts(smollm2: Path, text: str, characters: str) -> None:
    """Read one after the other, parts counted once, the tokens are the text; no token shows a box or nothing."""
    tokenizer = AutoTokenizer.from_pretrained(str(smollm2))
    ids = tokenizer.encode(text, add_special_tokens=False)
    shown = readable_tokens(tokenizer, ids)
    assert len(shown) == len(ids) and all(shown)
    assert "\ufffd" not in "".join(shown) and not re.search(r"⟨[0-9A-F]{2}", "".join(shown)), "a part shows no character"
    plain = "".join(shown).replace("⟨U+200D⟩", "\u200d").replace("·", " ").replace("◌", "")
    whole = re.sub(r"⟨1/\d⟩", "", re.sub(r".⟨[2-9]/\d⟩", "", plain))  # a character stands in each of its parts: count the first
    assert whole == text
    assert set(characters) <= set("".join(shown))
