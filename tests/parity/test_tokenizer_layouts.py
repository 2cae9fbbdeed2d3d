"""Folders laid out as published repositories are, and GGUF vocabularies: the right class, and the ids of the plain files."""

import json
from pathlib import Path
from typing import Any

import gguf
import pytest
import sentencepiece
import transformers
from tokenizer_corpus import CHAT, TEXTS
from tokenizer_folders import LLAMA, files_of, sentence_model, word_pieces, write

import core

FLAGS = {"lstrip": False, "rstrip": False, "normalized": True, "single_word": False}


def flagged(**tokens: str) -> dict[str, Any]:
    """special_tokens_map.json with every flag, as older files have it."""
    return {f"{role}_token": {"content": text, "__type": "AddedToken", **FLAGS} for role, text in tokens.items()}


def same_ids(ours: Any, reference: Any) -> None:
    for text in TEXTS:
        assert ours(text)["input_ids"] == reference(text)["input_ids"], text


def test_distilbert_sst2(tmp_path: Path) -> None:
    settings = {"do_lower_case": True, "model_max_length": 512}
    folder = write(
        tmp_path, **files_of("BertTokenizer"), tokenizer_config__json=settings, config__json={"model_type": "distilbert"}
    )
    ours = core.AutoTokenizer.from_pretrained(folder)
    assert type(ours) is core.DistilBertTokenizer and ours.model_max_length == 512
    assert set(ours("a")) == {"input_ids", "attention_mask"}
    same_ids(ours, transformers.DistilBertTokenizer.from_pretrained(folder))


def test_roberta_squad2(tmp_path: Path) -> None:
    roles = {"bos": "<s>", "eos": "</s>", "unk": "<unk>", "sep": "</s>", "pad": "<pad>", "cls": "<s>"}
    special = flagged(**roles) | {"mask_token": {"content": "<mask>", **FLAGS, "lstrip": True}}
    settings = {"do_lower_case": False, "model_max_length": 512, "full_tokenizer_file": None}
    files = {"special_tokens_map__json": special, "tokenizer_config__json": settings, "config__json": {"model_type": "roberta"}}
    ours = core.AutoTokenizer.from_pretrained(write(tmp_path, **files_of("RobertaTokenizer"), **files))
    assert type(ours) is core.RobertaTokenizer and ours.mask_token == "<mask>"
    same_ids(ours, transformers.RobertaTokenizer.from_pretrained(tmp_path))
    assert ours.convert_ids_to_tokens(ours("a <mask>.")["input_ids"])[-3] == "<mask>"


def test_opus_mt(tmp_path: Path) -> None:
    settings = {"source_lang": "en", "target_lang": "fr"}
    folder = write(
        tmp_path, **files_of("MarianTokenizer") | {"tokenizer_config__json": settings, "config__json": {"model_type": "marian"}}
    )
    ours = core.AutoTokenizer.from_pretrained(folder)
    assert type(ours) is core.MarianTokenizer
    assert (
        ours("Hello", text_target="world")["labels"]
        == transformers.MarianTokenizer.from_pretrained(folder)(text_target="world")["input_ids"]
    )


def test_llama_chat(tmp_path: Path) -> None:
    write(tmp_path / "plain", tokenizer__model=sentence_model(**LLAMA))
    plain = core.LlamaTokenizer.from_pretrained(tmp_path / "plain", legacy=False)
    plain.save_pretrained(tmp_path / "saved")
    whole = (tmp_path / "saved" / "tokenizer.json").read_text()
    settings: dict[str, Any] = {
        "add_bos_token": True,
        "add_eos_token": False,
        "legacy": False,
        "tokenizer_class": "LlamaTokenizer",
    }
    settings |= {
        "chat_template": "{{ bos_token }}{% for m in messages %}[{{ m.role }}] {{ m.content }}{% endfor %}",
        "model_max_length": 10**30,
    }
    special = flagged(bos="<s>", eos="</s>", unk="<unk>")
    folder = write(
        tmp_path / "new", tokenizer__json=whole, tokenizer_config__json={**settings, **special}, special_tokens_map__json=special
    )
    write(folder, tokenizer__model=sentence_model(**LLAMA))
    ours, slow = core.AutoTokenizer.from_pretrained(folder), core.AutoTokenizer.from_pretrained(tmp_path / "plain", legacy=False)
    assert type(ours) is type(slow) is core.LlamaTokenizer
    reference = transformers.PreTrainedTokenizerFast.from_pretrained(folder)
    for text in TEXTS:
        assert ours(text)["input_ids"] == reference(text)["input_ids"] == slow(text)["input_ids"], text
    assert ours.apply_chat_template(CHAT, tokenize=False) == reference.apply_chat_template(CHAT, tokenize=False)
    assert core.AutoTokenizer.from_pretrained(folder, add_eos_token=True)("a")["input_ids"][-1] == ours.eos_token_id


def test_starcoder_and_opt(tmp_path: Path) -> None:
    core.GPT2Tokenizer.from_pretrained(write(tmp_path / "files", **files_of("GPT2Tokenizer"))).save_pretrained(tmp_path / "star")
    more = ["<fim_prefix>", "<fim_middle>", "<fim_suffix>"]
    end = "<|endoftext|>"
    settings = {
        "additional_special_tokens": [end, *more],
        "bos_token": end,
        "eos_token": end,
        "unk_token": end,
        "tokenizer_class": "GPT2Tokenizer",
    }
    folder = write(tmp_path / "star", **files_of("GPT2Tokenizer"), tokenizer_config__json=settings | {"vocab_size": 49152})
    ours, reference = core.AutoTokenizer.from_pretrained(folder), transformers.AutoTokenizer.from_pretrained(folder)
    same_ids(ours, reference)
    assert ours("<fim_prefix>a<fim_suffix>")["input_ids"] == reference("<fim_prefix>a<fim_suffix>")["input_ids"]
    settings = {
        "add_bos_token": True,
        "tokenizer_class": "GPT2Tokenizer",
        **flagged(bos="</s>", eos="</s>", unk="</s>", pad="<pad>"),
    }
    opt = core.AutoTokenizer.from_pretrained(
        write(tmp_path / "opt", **files_of("RobertaTokenizer"), tokenizer_config__json=settings)
    )
    assert type(opt) is core.GPT2Tokenizer and opt("a")["input_ids"][0] == opt.bos_token_id == 2 and opt.pad_token_id == 1


@pytest.mark.parametrize("old", [True, False])
def test_added_tokens_beside_the_vocabulary(old: bool, tmp_path: Path) -> None:
    """added_tokens.json of older files, added_tokens_decoder of newer ones: the ids that these say."""
    count = len(word_pieces())
    added = {"[NEW]": count, "newword": count + 1}
    listed = {str(number): {"content": token, **FLAGS, "normalized": False, "special": False} for token, number in added.items()}
    files = (
        {"added_tokens__json": added}
        if old
        else {"tokenizer_config__json": {"added_tokens_decoder": listed, "tokenizer_class": "BertTokenizer"}}
    )
    folder = write(tmp_path, **files_of("BertTokenizer"), **files)
    ours, reference = core.BertTokenizer.from_pretrained(folder), transformers.BertTokenizer.from_pretrained(folder)
    assert ours.get_added_vocab()["newword"] == count + 1 and len(ours) == count + 2
    assert ours("a [NEW] b newword c")["input_ids"] == reference("a [NEW] b newword c")["input_ids"]


def test_bloom(tmp_path: Path) -> None:
    write(tmp_path / "files", **files_of("RobertaTokenizer"))
    plain = core.GPT2Tokenizer.from_pretrained(tmp_path / "files", unk_token="<unk>", bos_token="<s>", eos_token="</s>")
    plain.save_pretrained(tmp_path / "bloom")
    settings = {
        "tokenizer_class": "BloomTokenizerFast",
        "padding_side": "left",
        "pad_token": "<pad>",
        "bos_token": "<s>",
        "eos_token": "</s>",
    }
    ours = core.AutoTokenizer.from_pretrained(write(tmp_path / "bloom", tokenizer_config__json=settings))
    assert type(ours) is core.BloomTokenizer and ours.padding_side == "left" and ours("a")["input_ids"] == plain("a")["input_ids"]


# ---------------------------------------------------------------------- GGUF


def gguf_file(path: Path, kind: str, tokens: list[str], types: list[int], scores: list[float] | None = None, **more: Any) -> Path:
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tokenizer_model(kind)
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    if scores:
        writer.add_token_scores(scores)
    for name, value in more.items():
        key = f"tokenizer.ggml.{name}"
        (writer.add_bool if isinstance(value, bool) else writer.add_uint32)(key, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return path


@pytest.mark.parametrize("kind", ["llama", "t5"])
def test_gguf_pieces(kind: str, tmp_path: Path) -> None:
    options = LLAMA if kind == "llama" else {"normalization_rule_name": "identity"}
    reader = sentencepiece.SentencePieceProcessor(model_proto=sentence_model(**options))
    size = range(len(reader))
    kinds = [2 if reader.is_unknown(i) else 3 if reader.is_control(i) else 6 if reader.is_byte(i) else 1 for i in size]
    tokens, scores = [reader.id_to_piece(i) for i in size], [reader.get_score(i) for i in size]
    path = gguf_file(tmp_path / "v.gguf", kind, tokens, kinds, scores, bos_token_id=1, eos_token_id=2, unknown_token_id=0)
    ours = core.AutoTokenizer.from_pretrained(path)
    assert type(ours) is (core.LlamaTokenizer if kind == "llama" else core.T5Tokenizer)
    for text in [text for text in TEXTS if "<unk>" not in text]:
        found, expected = ours(text, add_special_tokens=False)["input_ids"], reader.encode(text)
        same_pieces = [tokens[i] for i in found] == [tokens[i] for i in expected]
        tie = abs(sum(scores[i] for i in found) - sum(scores[i] for i in expected)) < 1e-4
        assert same_pieces or (kind == "t5" and tie), text
    ours.save_pretrained(tmp_path / "saved")
    same_ids(core.AutoTokenizer.from_pretrained(tmp_path / "saved"), ours)


def test_gguf_word_pieces(tmp_path: Path) -> None:
    pieces = word_pieces()
    plain = core.BertTokenizer.from_pretrained(write(tmp_path / "plain", **files_of("BertTokenizer")))
    kinds = [3 if token.startswith("[") and token.endswith("]") and len(token) > 2 else 1 for token in pieces]
    marked = [t if k == 3 else t[2:] if t.startswith("##") else f"▁{t}" for t, k in zip(pieces, kinds, strict=True)]
    roles = {"unknown": "[UNK]", "seperator": "[SEP]", "padding": "[PAD]", "cls": "[CLS]", "mask": "[MASK]"}
    ids = {f"{role}_token_id": pieces.index(token) for role, token in roles.items()}
    ours = core.AutoTokenizer.from_pretrained(gguf_file(tmp_path / "b.gguf", "bert", marked, kinds, **ids))
    assert type(ours) is core.BertTokenizer
    same_ids(ours, plain)
    assert json.loads(json.dumps(ours.special_tokens_map)).items() <= plain.special_tokens_map.items()
