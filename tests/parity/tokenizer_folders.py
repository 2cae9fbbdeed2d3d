"""Folders laid out as the published repositories are, with small vocabularies trained on the spot."""

import io
import json
from functools import cache
from pathlib import Path
from typing import Any

import sentencepiece
from tokenizer_corpus import training_lines
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from core.tokenization.languages import WHISPER


@cache
def word_pieces(lower: bool = True) -> list[str]:
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lower)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    letters = sorted({letter for line in training_lines() for letter in tokenizer.normalizer.normalize_str(line)} - {" "})
    # the trainer numbers letters within words as its hash table has them, and ties go by number: another vocabulary each time, unless told
    first = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"##{letter}" for letter in letters)]
    tokenizer.train_from_iterator(training_lines(), trainers.WordPieceTrainer(vocab_size=700, special_tokens=first))
    vocabulary = tokenizer.get_vocab()
    # GGUF marks where a word begins with ▁, so that no piece of this vocabulary may hold one
    return [token for token in sorted(vocabulary, key=vocabulary.__getitem__) if "▁" not in token]


@cache
def byte_pairs(special: tuple[str, ...]) -> tuple[dict[str, int], list[list[str]]]:
    """vocab.json and merges.txt of byte-level BPE, the special tokens first."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=800, special_tokens=list(special), initial_alphabet=alphabet)
    tokenizer.train_from_iterator(training_lines(), trainer)
    model = json.loads(tokenizer.to_str())["model"]
    return model["vocab"], model["merges"]


@cache
def clip_pairs() -> tuple[dict[str, int], list[list[str]]]:
    tokenizer = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    letters = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=900, end_of_word_suffix="</w>", initial_alphabet=letters)
    lines = [line.replace(" ", "") for line in " ".join(training_lines()).split()]
    tokenizer.train_from_iterator(lines, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    tokens = sorted(letters) + [letter + "</w>" for letter in sorted(letters)]
    tokens += ["".join(pair) for pair in model["merges"]] + ["<|startoftext|>", "<|endoftext|>"]
    return {token: i for i, token in enumerate(dict.fromkeys(tokens))}, model["merges"]


@cache
def sentence_model(**options: Any) -> bytes:
    """A SentencePiece model file, by its trainer's options."""
    out = io.BytesIO()
    settings = {"vocab_size": 900, "hard_vocab_limit": False, "character_coverage": 0.98, "minloglevel": 2} | options
    lines = iter(training_lines())
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=lines, model_writer=out, num_threads=1, **settings)
    return out.getvalue()


def write(folder: Path, **files: Any) -> Path:
    """Files by name with `_` for the last dot's place: bytes, text, or what becomes JSON."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        path = folder / name.replace("__", ".")
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            path.write_text(content if isinstance(content, str) else json.dumps(content, ensure_ascii=False), encoding="utf-8")
    return folder


def merges_text(merges: list[list[str]]) -> str:
    return "#version: 0.2\n" + "\n".join(" ".join(pair) for pair in merges) + "\n"


def _bpe_files(*special: str) -> dict[str, Any]:
    vocabulary, merges = byte_pairs(special)
    return {"vocab__json": vocabulary, "merges__txt": merges_text(merges)}


END = "<|endoftext|>"
ROBERTA = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
LLAMA = {
    "model_type": "bpe",
    "byte_fallback": True,
    "normalization_rule_name": "identity",
    "remove_extra_whitespaces": False,
}
GEMMA = LLAMA | {
    "add_dummy_prefix": False,
    "pad_id": 0,
    "eos_id": 1,
    "bos_id": 2,
    "unk_id": 3,
    "bos_piece": "<bos>",
    "eos_piece": "<eos>",
    "user_defined_symbols": "<mask>,<start_of_turn>",
}
ALBERT = {"pad_id": 0, "unk_id": 1, "bos_id": -1, "eos_id": -1, "control_symbols": "[CLS],[SEP],[MASK]"}
DEBERTA = {"pad_id": 0, "bos_id": 1, "eos_id": 2, "unk_id": 3} | {
    f"{role}_piece": f"[{token}]" for role, token in (("pad", "PAD"), ("bos", "CLS"), ("eos", "SEP"), ("unk", "UNK"))
}
T5 = {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1}
LETTERS = ["<pad>", "<s>", "</s>", "<unk>", "|", *"ETAONIHSRDLUMWCFGYPBVK'XJQZ"]
TIMES = [f"<|{i * 0.02:.2f}|>" for i in range(1501)]
TASKS = ["<|startoftranscript|>", *(f"<|{code}|>" for code in WHISPER), "<|translate|>", "<|transcribe|>"]
TASKS += ["<|startoflm|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>"]


def whisper_files() -> dict[str, Any]:
    vocabulary, merges = byte_pairs((END,))
    added = {token: len(vocabulary) + i for i, token in enumerate(TASKS + TIMES)}
    listed = {str(number): {"content": token, "special": token in TASKS} for token, number in added.items()}
    flags = {"lstrip": False, "rstrip": False, "normalized": False, "single_word": False}
    config = {
        "added_tokens_decoder": {number: {**flags, **token} for number, token in listed.items()},
        "additional_special_tokens": TASKS,
        "tokenizer_class": "WhisperTokenizer",
        "pad_token": END,
    }
    files = {"vocab__json": vocabulary, "merges__txt": merges_text(merges), "tokenizer_config__json": config}
    return files | {"added_tokens__json": added}


def marian_files() -> dict[str, Any]:
    source, target = sentence_model(), sentence_model(vocab_size=200, model_type="bpe")
    pieces: list[str] = []
    for model in (source, target):
        reader = sentencepiece.SentencePieceProcessor(model_proto=model)
        # a few pieces are missing, as in the published vocabularies
        pieces += [reader.id_to_piece(i) for i in range(3, len(reader)) if i % 17]
    tokens = ["</s>", "<unk>", *sorted(set(pieces)), ">>fra<<", ">>deu<<", "<pad>"]
    return {
        "source__spm": source,
        "target__spm": target,
        "vocab__json": {token: i for i, token in enumerate(tokens)},
        "tokenizer_config__json": {"source_lang": "en", "target_lang": "fr", "tokenizer_class": "MarianTokenizer"},
    }


def files_of(name: str) -> dict[str, Any]:
    """The vocabulary files of a named tokenizer."""
    if name in ("BertTokenizer", "DistilBertTokenizer", "ElectraTokenizer"):
        return {"vocab__txt": "\n".join(word_pieces()) + "\n"}
    if name == "CLIPTokenizer":
        vocabulary, merges = clip_pairs()
        return {"vocab__json": vocabulary, "merges__txt": merges_text(merges)}
    if name == "WhisperTokenizer":
        return whisper_files()
    if name == "MarianTokenizer":
        return marian_files()
    if name == "Wav2Vec2CTCTokenizer":
        return {"vocab__json": {token: i for i, token in enumerate(LETTERS)}}
    if name in SENTENCE_PIECES:
        file, options = SENTENCE_PIECES[name]
        return {file.replace(".", "__"): sentence_model(**options)}
    return _bpe_files(*BYTE_PAIRS[name])


BYTE_PAIRS: dict[str, tuple[str, ...]] = {
    "GPT2Tokenizer": (END,),
    "CodeGenTokenizer": (END,),
    "Qwen2Tokenizer": (END,),
    "GPTNeoXTokenizer": (END, "<|padding|>"),
    "RobertaTokenizer": ROBERTA,
    "BartTokenizer": ROBERTA,
}
SENTENCE_PIECES: dict[str, tuple[str, dict[str, Any]]] = {
    "XLMRobertaTokenizer": ("sentencepiece.bpe.model", {}),
    "CamembertTokenizer": ("sentencepiece.bpe.model", {}),
    "MBartTokenizer": ("sentencepiece.bpe.model", {}),
    "MBart50Tokenizer": ("sentencepiece.bpe.model", {}),
    "AlbertTokenizer": ("spiece.model", ALBERT),
    "DebertaV2Tokenizer": ("spm.model", DEBERTA),
    "T5Tokenizer": ("spiece.model", T5),
    "LlamaTokenizer": ("tokenizer.model", LLAMA),
    "GemmaTokenizer": ("tokenizer.model", GEMMA),
}
