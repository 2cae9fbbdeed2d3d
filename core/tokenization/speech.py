"""Tokenizers of speech models: Whisper's tasks, languages and times; Wav2Vec2's characters for CTC."""

import json
import re
from itertools import groupby
from typing import Any

from tokenizers import Tokenizer, processors

from core.errors import TokenizerError, printable
from core.tokenization.base import PreTrainedTokenizer
from core.tokenization.languages import WHISPER_CODES
from core.tokenization.layout import Layout, from_characters, from_merges, special

END = "<|endoftext|>"
TIME = re.compile(r"<\|\d+\.\d+\|>")
SECONDS_A_STEP = 0.02
WINDOW = 1500  # steps of a window of thirty seconds


class WhisperTokenizer(PreTrainedTokenizer):
    """Byte-level BPE; tokens before the text say language, task and whether times are wanted. Radford et al. 2022."""

    layout = Layout(("vocab.json", "merges.txt"), from_merges(), defaults=special(bos=END, eos=END, unk=END))

    def __init__(self, tokenizer: Tokenizer, settings: dict[str, Any] | None = None, *, complete: bool = True) -> None:
        super().__init__(tokenizer, settings, complete=True)
        self.language, self.task = self.settings.get("language"), self.settings.get("task")
        self.predict_timestamps = bool(self.settings.get("predict_timestamps"))
        if not complete or self.language or self.task or self.predict_timestamps:
            self.set_prefix_tokens()

    @property
    def prefix_tokens(self) -> list[int]:
        """<|startoftranscript|>, language, task, <|notimestamps|>: those that apply."""
        tokens = ["<|startoftranscript|>"]
        if self.language is not None:
            code = WHISPER_CODES.get(str(self.language).lower())
            if code is None:
                raise TokenizerError(
                    f"'{printable(str(self.language), 60)}' is no language of Whisper's; give a name such as french or a code such as fr."
                )
            tokens.append(f"<|{code}|>")
        if self.task is not None:
            if self.task not in ("transcribe", "translate"):
                raise TokenizerError(f"Whisper's tasks are transcribe and translate, not '{printable(str(self.task), 60)}'.")
            tokens.append(f"<|{self.task}|>")
        if not self.predict_timestamps:
            tokens.append("<|notimestamps|>")
        if missing := [token for token in tokens if self._id(token) is None]:
            raise TokenizerError(f"This tokenizer has no {missing[0]}: it is not multilingual, or not Whisper's.")
        return self.convert_tokens_to_ids(tokens)

    def set_prefix_tokens(
        self, language: str | None = None, task: str | None = None, predict_timestamps: bool | None = None
    ) -> None:
        """Choose what stands before a text; None leaves it as it is."""
        self.language = self.language if language is None else language
        self.task = self.task if task is None else task
        self.predict_timestamps = self.predict_timestamps if predict_timestamps is None else predict_timestamps
        ids = self.prefix_tokens
        prefix, end = self.convert_ids_to_tokens(ids), self.eos_token
        self.backend_tokenizer.post_processor = processors.TemplateProcessing(
            single=[*prefix, "$A", end],
            pair=[*prefix, "$A", "$B:1", f"{end}:1"],
            special_tokens=[*zip(prefix, ids, strict=True), (end, self.eos_token_id)],
        )

    def get_decoder_prompt_ids(
        self, task: str | None = None, language: str | None = None, no_timestamps: bool = True
    ) -> list[tuple[int, int]]:
        """(position, id) of what a decoder is made to begin with, after its start token."""
        self.set_prefix_tokens(language, task, not no_timestamps)
        return list(enumerate(self.prefix_tokens))[1:]

    @property
    def timestamp_begin(self) -> int:
        """The id of <|0.00|>: times stand right behind <|notimestamps|>."""
        return self.convert_tokens_to_ids("<|notimestamps|>") + 1

    def _text_of(
        self,
        ids: list[int],
        skip_special_tokens: bool,
        decode_with_timestamps: bool = False,
        output_offsets: bool = False,
        time_precision: float = SECONDS_A_STEP,
    ) -> Any:
        shown = self._without_prompt(ids) if skip_special_tokens else ids
        if decode_with_timestamps:
            text = self._timed(shown, skip_special_tokens, time_precision)
        else:
            text = TIME.sub("", super()._text_of(shown, skip_special_tokens))
        return {"text": text, "offsets": self._segments(ids, time_precision)} if output_offsets else text

    def _without_prompt(self, ids: list[int]) -> list[int]:
        """Without what stands between <|startofprev|> and <|startoftranscript|>."""
        previous, start = self._id("<|startofprev|>"), self._id("<|startoftranscript|>")
        if not ids or ids[0] != previous:
            return ids
        return ids[ids.index(start) :] if start in ids else []

    def _timed(self, ids: list[int], skip: bool, precision: float) -> str:
        """Text with <|1.08|> where a time stands, counted on over windows."""
        first, parts, run = self.timestamp_begin, [], []
        last = before = passed = 0
        for at, number in enumerate(ids):
            if number < first:
                run.append(number)
                continue
            step = number - first
            if step < last and self._ends_window(ids, at):
                passed += WINDOW
            elif step < last:  # the window was left where its last whole segment ended: the one that had begun is told again
                parts.pop()
                last, passed = before, passed + before
            before, last = last, step
            parts.append(super()._text_of(run, skip) + f"<|{step * precision + passed * precision:.2f}|>")
            run = []
        return "".join(parts) + super()._text_of(run, skip)

    def _segments(self, ids: list[int], precision: float) -> list[dict[str, Any]]:
        """[{"text", "timestamp": (from, to) in seconds}], a segment between two times."""
        first, segments = self.timestamp_begin, []
        times = [at for at, number in enumerate(ids) if number >= first]
        if len(times) < 2:
            return []
        begin, last, passed = times[0], 0, 0
        for end in [at for at in times if at and ids[at - 1] >= first] + [times[-1] + 1]:
            part = ids[begin:end]
            if len(part) > 1:
                low, high = part[0] - first, part[-1] - first
                if low < last:
                    passed += WINDOW if self._ends_window(ids, begin) else last
                last = high
                text = TIME.sub("", super()._text_of(part, False))
                segments.append({"text": text, "timestamp": tuple(step * precision + passed * precision for step in (low, high))})
            begin = end
        return segments

    def _ends_window(self, ids: list[int], at: int) -> bool:
        """Whether one time, not two, stands before this place: the model then heard its window to the end."""
        return at >= 2 and not (ids[at - 1] >= self.timestamp_begin and ids[at - 2] >= self.timestamp_begin)


class Wav2Vec2CTCTokenizer(PreTrainedTokenizer):
    """A character a token; repeated ones count once and the padding token separates. Baevski et al. 2020."""

    is_fast = False
    layout = Layout(
        ("vocab.json",),
        from_characters,
        defaults={**special(bos="<s>", eos="</s>", unk="<unk>", pad="<pad>"), "word_delimiter_token": "|"},
    )

    @property
    def word_delimiter_token(self) -> str:
        """What stands between words."""
        return str(self.settings.get("word_delimiter_token") or "|")

    @property
    def word_delimiter_token_id(self) -> int:
        """Its id."""
        return self.convert_tokens_to_ids(self.word_delimiter_token)

    def _encode(self, items: list[Any], special: bool, words: bool, truncation: dict[str, Any] | None) -> Any:
        """`do_lower_case` means that the vocabulary is upper case; words of a list have a delimiter before them."""
        tokens = re.compile(f"({'|'.join(map(re.escape, self.added_tokens_encoder)) or '$'})")

        def upper(text: str) -> str:
            return "".join(part if i % 2 else part.upper() for i, part in enumerate(tokens.split(text)))

        def prepared(item: Any) -> Any:
            if isinstance(item, tuple | list) and not words:
                return tuple(prepared(part) for part in item)
            text = "".join(f" {word}" for word in item) if words else item
            return upper(text) if self.settings.get("do_lower_case") and isinstance(text, str) else text

        return super()._encode([prepared(item) for item in items], special, False, truncation)

    def _text_of(
        self,
        ids: list[int],
        skip_special_tokens: bool,
        group_tokens: bool = True,
        spaces_between_special_tokens: bool = False,
        output_char_offsets: bool = False,
        output_word_offsets: bool = False,
    ) -> Any:
        special = set(self.all_special_tokens) - {self.word_delimiter_token}
        tokens = [self._token(number) or self.unk_token for number in ids]
        tokens = [token for token in tokens if not (skip_special_tokens and token in special)]
        lengths = [(t, len(list(same))) for t, same in groupby(tokens)] if group_tokens else [(t, 1) for t in tokens]
        at, characters = 0, []
        for token, length in lengths:
            if token != self.pad_token:
                shown = " " if token == self.word_delimiter_token else token
                characters.append({"char": shown, "start_offset": at, "end_offset": at + length})
            at += length
        text = (" " if spaces_between_special_tokens else "").join(c["char"] for c in characters).strip()
        text = text.lower() if self.settings.get("do_lower_case") else text
        if not (output_char_offsets or output_word_offsets):
            return text
        found: dict[str, Any] = {"text": text}
        if output_char_offsets:
            found["char_offsets"] = characters
        if output_word_offsets:
            found["word_offsets"] = _words(characters)
        return found

    def _vocabulary_files(self) -> dict[str, str | bytes]:
        plain = self.backend_tokenizer.get_vocab(with_added_tokens=False)
        texts: dict[str, str | bytes] = {"vocab.json": json.dumps(plain, ensure_ascii=False, indent=2)}
        added = {token: number for token, number in self.get_added_vocab().items() if token not in plain}
        return texts | ({"added_tokens.json": json.dumps(added, ensure_ascii=False)} if added else {})


def _words(characters: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Runs without a space, with the frames from the first character to the last."""
    runs = [list(run) for space, run in groupby(characters, lambda c: c["char"] == " ") if not space]
    return [
        {
            "word": "".join(c["char"] for c in run),
            "start_offset": run[0]["start_offset"],
            "end_offset": run[-1]["end_offset"],
        }
        for run in runs
    ]


WhisperTokenizerFast = WhisperTokenizer
