"""Tokenizers that know languages: mBART's codes around a text, Marian's two SentencePiece models over one vocabulary."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import AddedToken, Encoding, Tokenizer

from core.errors import TokenizerError, printable
from core.tokenization import convert
from core.tokenization.base import PreTrainedTokenizer
from core.tokenization.languages import MBART, MBART50
from core.tokenization.layout import Layout, fairseq, from_model, special
from core.tokenization.spm import CONTROL, UNUSED, read_pieces

MBART_TOKENS = special(bos="<s>", eos="</s>", unk="<unk>", sep="</s>", pad="<pad>", cls="<s>", mask=" <mask>")


class MBartTokenizer(PreTrainedTokenizer):
    """Unigram, the language's code behind the text; Liu et al. 2020."""

    layout = Layout(
        ("sentencepiece.bpe.model",),
        from_model("sentencepiece.bpe.model", arrange=fairseq(*MBART)),
        single="$A eos lang",
        pair="$A $B eos lang",
        defaults={**MBART_TOKENS, "src_lang": "en_XX"},
    )
    languages = MBART

    def __init__(self, tokenizer: Tokenizer, settings: dict[str, Any] | None = None, *, complete: bool = True) -> None:
        super().__init__(tokenizer, settings, complete=True)
        self.lang_code_to_id = {code: number for code in self.languages if (number := self._id(code)) is not None}
        self.tgt_lang: str | None = self.settings.get("tgt_lang")
        self.src_lang = self.settings.get("src_lang") or self.layout.defaults["src_lang"]

    @property
    def src_lang(self) -> str:
        """The language of the texts."""
        return self.settings["src_lang"]

    @src_lang.setter
    def src_lang(self, code: str) -> None:
        self._set_language(code)
        self.settings["src_lang"] = code

    def _set_language(self, code: str) -> None:
        if not isinstance(code, str) or self._id(code) is None:
            shown = printable(str(code), 60)
            raise TokenizerError(f"'{shown}' is no language of this tokenizer; languages: {', '.join(self.lang_code_to_id)}.")
        roles = {"eos": self.eos_token, "lang": code}
        self.backend_tokenizer.post_processor = self.layout.post_processor(self.backend_tokenizer, self.settings, roles)

    @contextmanager
    def as_target_tokenizer(self) -> Iterator[None]:
        """Within it, the code is that of `tgt_lang`."""
        self._set_language(self.tgt_lang or self.src_lang)
        try:
            yield
        finally:
            self._set_language(self.src_lang)


class MBart50Tokenizer(MBartTokenizer):
    """As mBART's with twice the languages, the code before the text; Tang et al. 2020."""

    layout = Layout(
        ("sentencepiece.bpe.model",),
        from_model("sentencepiece.bpe.model", arrange=fairseq(*MBART50)),
        single="lang $A eos",
        pair="lang $A $B eos",
        defaults={**MBART_TOKENS, "src_lang": "en_XX"},
    )
    languages = MBART50


def from_marian(folder: Path, settings: dict[str, Any]) -> Tokenizer:
    """source.spm, with what vocab.json knows beside its pieces: padding and language codes."""
    return _with_codes(folder / "source.spm", convert.read_ids(folder / "vocab.json"))


def _with_codes(path: Path, ids: dict[str, int]) -> Tokenizer:
    pieces = read_pieces(path)
    pieces.types = [
        UNUSED if kind == CONTROL and token not in ids else kind for token, kind in zip(pieces.tokens, pieces.types, strict=True)
    ]
    tokenizer = convert.sentence_pieces(pieces, path)
    tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token in ("<pad>", "</s>", "<unk>")])
    codes = [token for token in ids if token.startswith(">>") and token.endswith("<<")]
    tokenizer.add_tokens([AddedToken(code, normalized=False) for code in codes])
    return tokenizer


class MarianTokenizer(PreTrainedTokenizer):
    """source.spm cuts questions and target.spm answers; vocab.json numbers the pieces of both. Junczys-Dowmunt et al. 2018."""

    layout = Layout(
        ("source.spm", "target.spm", "vocab.json"),
        from_marian,
        single="$A eos",
        pair="$A $B eos",
        defaults=special(eos="</s>", unk="<unk>", pad="<pad>"),
    )

    def __init__(self, tokenizer: Tokenizer, settings: dict[str, Any] | None = None, *, complete: bool = True) -> None:
        settings = dict(settings or {})
        folder = Path(settings.pop("folder", "."))  # load() says where the vocabulary stands
        if settings.get("separate_vocabs"):
            raise TokenizerError(f"{folder}: a Marian tokenizer with a vocabulary for each language is not supported.")
        self._numbers = convert.read_ids(folder / "vocab.json")
        listed = settings.get("added_tokens_decoder") or {}  # checked by load()
        added = {str(convert.token_text(token)): int(number) for number, token in listed.items()}
        for token, number in (convert.read_json(folder / "added_tokens.json") | added).items():
            self._numbers.setdefault(token, number)
        self._pieces = {number: token for token, number in self._numbers.items()}
        if "<unk>" not in self._numbers:
            raise TokenizerError(f"{folder / 'vocab.json'} has no token <unk>.")
        self._files: dict[str, str | bytes] = {}
        for name in self.layout.files:
            if not (folder / name).is_file():
                raise TokenizerError(f"{folder / name} is missing: a Marian tokenizer needs {', '.join(self.layout.files)}.")
            self._files[name] = (folder / name).read_bytes()
        super().__init__(tokenizer, settings, complete=complete)
        self._source, self._target = tokenizer, _with_codes(folder / "target.spm", self._numbers)
        self._target.post_processor = tokenizer.post_processor
        self._tables = {id(backend): self._table(backend) for backend in (self._source, self._target)}
        self.supported_language_codes = [token for token in self._numbers if token.startswith(">>") and token.endswith("<<")]

    def _table(self, backend: Tokenizer) -> np.ndarray:
        """The backend's ids -> those of vocab.json; pieces that it lacks are unknown."""
        table = np.full(backend.get_vocab_size(), self._numbers["<unk>"])
        for token, number in backend.get_vocab().items():
            table[number] = self._numbers.get(token, self._numbers["<unk>"])
        return table

    def _ids(self, encoding: Encoding) -> list[int]:
        padding = encoding.attention_mask
        table = self._tables[id(self.backend_tokenizer)]
        pad = self._numbers.get(self.pad_token or "", 0)
        return [int(table[number]) if kept else pad for number, kept in zip(encoding.ids, padding, strict=True)]

    @contextmanager
    def as_target_tokenizer(self) -> Iterator[None]:
        """Within it, target.spm cuts."""
        self.backend_tokenizer = self._target
        try:
            yield
        finally:
            self.backend_tokenizer = self._source

    @property
    def vocab_size(self) -> int:
        """Tokens of vocab.json."""
        return len(self._numbers)

    def __len__(self) -> int:
        return len(self._numbers)

    def get_vocab(self) -> dict[str, int]:
        """Token -> id, of vocab.json."""
        return dict(self._numbers)

    def _id(self, token: str | None) -> int | None:
        return None if token is None else self._numbers.get(token)

    def _token(self, number: int) -> str | None:
        return self._pieces.get(number)

    def add_tokens(self, new_tokens: Any, special_tokens: bool = False) -> int:
        """Add tokens behind vocab.json's; how many were new."""
        given = new_tokens if isinstance(new_tokens, list | tuple) else [new_tokens]
        new = [text for token in given if (text := convert.token_text(token)) and text not in self._numbers]
        for text in dict.fromkeys(new):
            self._numbers[text] = len(self._numbers)
            self._pieces[self._numbers[text]] = text
        for backend in (self._source, self._target):
            backend.add_tokens([AddedToken(text, normalized=False, special=special_tokens) for text in new])
            self._tables[id(backend)] = self._table(backend)
        return len(set(new))

    def _text_of(self, ids: list[int], skip_special_tokens: bool, use_source_tokenizer: bool = False) -> str:
        """Runs of pieces as text, special tokens between them as they are."""
        special, text, run = set(self.all_special_tokens), "", []
        for number in ids:
            token = self._pieces.get(number, "<unk>")
            if token not in special:
                run.append(token)
            elif not skip_special_tokens:
                text, run = f"{text}{self.convert_tokens_to_string(run)}{token} ", []
        return (text + self.convert_tokens_to_string(run)).strip()

    def _vocabulary_files(self) -> dict[str, str | bytes]:
        return {**self._files, "vocab.json": json.dumps(self._numbers, ensure_ascii=False, indent=2)}


MBartTokenizerFast, MBart50TokenizerFast = MBartTokenizer, MBart50Tokenizer
