"""What distinguishes one named tokenizer from another, as data: its files, its special tokens, and what stands around a text."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, normalizers, processors

from core.errors import TokenizerError
from core.tokenization import convert
from core.tokenization.spm import CONTROL, NORMAL, UNKNOWN, Pieces, read_pieces

Build = Callable[[Path, dict[str, Any]], Tokenizer]
Arrange = Callable[[Pieces, dict[str, Any]], Pieces]


@dataclass(frozen=True)
class Layout:
    """files: the vocabulary's, the first name of each group being the published one; build: a folder of them -> the backend.

    single and pair say what stands around a text, by role ("cls $A sep"); ends instead, whether bos and eos stand there, which
    `add_bos_token` and `add_eos_token` change. defaults: settings of a tokenizer_config.json that says nothing.
    """

    files: tuple[str, ...] = ()
    build: Build | None = None
    single: str = ""
    pair: str = ""
    ends: tuple[bool, bool] = (False, False)
    trim: bool | None = None
    inputs: tuple[str, ...] = ("input_ids", "attention_mask")
    defaults: dict[str, Any] = field(default_factory=dict)

    def around(self, settings: dict[str, Any]) -> tuple[str, str]:
        """The two templates, in the terms of `single` and `pair`."""
        if self.single:
            return self.single, self.pair
        bos, eos = (
            bool(default if settings.get(key) is None else settings[key])
            for key, default in zip(("add_bos_token", "add_eos_token"), self.ends, strict=True)
        )
        single = " ".join(["bos"] * bos + ["$A"] + ["eos"] * eos)
        return single, " ".join([single] + ["bos:1"] * bos + ["$B:1"] + ["eos:1"] * eos)

    def post_processor(self, tokenizer: Tokenizer, settings: dict[str, Any], roles: dict[str, str | None]) -> Any:
        """The tokens around a text or a pair; `roles` maps "cls" and its like to tokens. None where nothing stands there."""
        single, pair = self.around(settings)
        used = {}
        for part in f"{single} {pair}".split():
            role = part.partition(":")[0]
            if not role.startswith("$"):
                used[role] = roles.get(role)
        for role, token in used.items():
            if token is None or tokenizer.token_to_id(token) is None:
                raise TokenizerError(f"The tokenizer needs a {role}_token in its vocabulary, and has {token!r}.")
        steps: list[Any] = [] if self.trim is None else [_trimmed(self.trim, settings)]
        if used:

            def named(template: str) -> list[str]:
                parts = [part.partition(":") for part in template.split()]
                return [f"{used.get(role, role)}:{kind or 0}" for role, _, kind in parts]

            special = [(token, tokenizer.token_to_id(token)) for token in dict.fromkeys(used.values())]
            steps.append(processors.TemplateProcessing(single=named(single), pair=named(pair), special_tokens=special))
        return processors.Sequence(steps) if steps else None


def _trimmed(trim: bool, settings: dict[str, Any]) -> Any:
    """Offsets with or without the space before a word."""
    return processors.ByteLevel(add_prefix_space=bool(settings.get("add_prefix_space", False)), trim_offsets=trim)


def special(**roles: str) -> dict[str, Any]:
    """bos="<s>" -> {"bos_token": "<s>"}, with flags where the mask takes the space before it (`mask=" <mask>"`)."""
    tokens: dict[str, Any] = {}
    for role, text in roles.items():
        flags = {"lstrip": True, "rstrip": False, "normalized": False, "single_word": False, "special": True}
        tokens[f"{role}_token"] = {"content": text[1:], **flags} if text.startswith(" ") else text
    return tokens


# ---------------------------------------------------------------------- how a folder becomes a backend


def from_vocab_txt(folder: Path, settings: dict[str, Any]) -> Tokenizer:
    """One token a line."""
    path = folder / "vocab.txt"
    lines = convert.read_text(path).split("\n")
    tokens = [line.removesuffix("\r") for line in (lines[:-1] if lines[-1] == "" else lines)]
    ids = {token: i for i, token in enumerate(tokens)}
    return convert.word_piece(ids, settings, path)


def from_merges(words: str | None = None, compose: bool = False) -> Build:
    """vocab.json and merges.txt as byte-level BPE; `compose`: accents are composed (NFC) before."""

    def build(folder: Path, settings: dict[str, Any]) -> Tokenizer:
        path = folder / "merges.txt"
        model = convert.bpe(convert.read_ids(folder / "vocab.json"), convert.read_merges(path), path)
        tokenizer = convert.byte_bpe(model, bool(settings.get("add_prefix_space", False)), words)
        if compose:
            tokenizer.normalizer = normalizers.NFC()
        return tokenizer

    return build


def from_clip(folder: Path, settings: dict[str, Any]) -> Tokenizer:
    """vocab.json and merges.txt as CLIP reads them."""
    path = folder / "merges.txt"
    ids = convert.read_ids(folder / "vocab.json")
    unknown = convert.token_text(settings.get("unk_token"))
    options = {"end_of_word_suffix": "</w>", "continuing_subword_prefix": "", "unk_token": unknown}
    return convert.clip_bpe(convert.bpe(ids, convert.read_merges(path), path, **options))


def from_characters(folder: Path, settings: dict[str, Any]) -> Tokenizer:
    """vocab.json alone."""
    return convert.characters(convert.read_ids(folder / "vocab.json"), settings)


def from_model(*names: str, arrange: Arrange | None = None) -> Build:
    """A SentencePiece file under one of its names; `arrange` puts the architecture's own tokens among the pieces."""

    def build(folder: Path, settings: dict[str, Any]) -> Tokenizer:
        path = next((folder / name for name in names if (folder / name).is_file()), folder / names[0])
        pieces = read_pieces(path)
        if arrange:
            pieces = arrange(pieces, settings)
            pieces.check(path)
        before: list[Any] = []
        if settings.get("keep_accents") is False:
            quotes = [normalizers.Replace("``", '"'), normalizers.Replace("''", '"')]
            before += [*quotes, normalizers.NFKD(), normalizers.StripAccents()]
        if settings.get("do_lower_case"):
            before.append(normalizers.Lowercase())
        punctuation, first_only = bool(settings.get("split_by_punct")), settings.get("legacy") is False
        return convert.sentence_pieces(pieces, path, before=before, punctuation=punctuation, first_only=first_only)

    return build


# ---------------------------------------------------------------------- where an architecture puts its own tokens


def _placed(pieces: Pieces, before: list[tuple[str, int]], skip: int, after: list[tuple[str, int]]) -> Pieces:
    """Tokens before the pieces from `skip` on, and behind them those that are no pieces yet."""
    after = [(token, kind) for token, kind in after if token not in set(pieces.tokens[skip:])]
    pieces.tokens = [t for t, _ in before] + pieces.tokens[skip:] + [t for t, _ in after]
    pieces.scores = [0.0] * len(before) + pieces.scores[skip:] + [0.0] * len(after)
    pieces.types = [k for _, k in before] + pieces.types[skip:] + [k for _, k in after]
    return pieces


FAIRSEQ = [("<s>", CONTROL), ("<pad>", CONTROL), ("</s>", CONTROL), ("<unk>", UNKNOWN)]


def fairseq(*languages: str) -> Arrange:
    """XLM-RoBERTa and mBART: fairseq's four tokens instead of SentencePiece's three, then languages, then the mask."""
    after = [*((code, CONTROL) for code in languages), ("<mask>", NORMAL)]
    return lambda pieces, settings: _placed(pieces, FAIRSEQ, 3, after)


def camembert(pieces: Pieces, settings: dict[str, Any]) -> Pieces:
    """CamemBERT: five in front, four of which its vocabulary never uses."""
    front = ["<s>NOTUSED", "<pad>", "</s>NOTUSED", "<unk>", "<unk>NOTUSED"]
    kinds = [CONTROL, CONTROL, CONTROL, UNKNOWN, CONTROL]
    return _placed(pieces, list(zip(front, kinds, strict=True)), 1, [("<mask>", NORMAL)])


def sentinels(pieces: Pieces, settings: dict[str, Any]) -> Pieces:
    """T5: <extra_id_99> … <extra_id_0> behind the pieces."""
    count = settings.get("extra_ids", 100)
    if type(count) is not int or not 0 <= count <= 10_000:
        raise TokenizerError(f"extra_ids is {count!r}; it must be a number from 0 to 10000.")
    return _placed(pieces, [], 0, [(f"<extra_id_{i}>", CONTROL) for i in reversed(range(count))])
