"""What a model with a decoder wrote of a recording's chunks, as one text, with the times of its segments or words.

Tokens from `tokenizer.timestamp_begin` on are times, counted from their window's beginning.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

STEP = 0.02  # seconds from one time token to the next
WINDOW = 30.0  # seconds
CLOSING, OPENING = "\"'.。,，!！?？:：”)]}、", "\"'“¡¿([{-"
UNSPACED = ("chinese", "japanese", "thai", "lao", "myanmar", "cantonese")


@dataclass
class Chunk:
    """What was written of one chunk: token ids, the second at which each ends, the language as a word, and (length, left, right) in seconds:
    how much of it was heard by its neighbours too."""

    tokens: list[int]
    times: list[float] | None = None
    language: str | None = None
    stride: tuple[float, ...] | None = None


@dataclass
class Segment:
    """A part of the transcript that grows until its end is known; `runs` are what overlapping chunks wrote of it."""

    language: str | None = None
    start: float | None = None
    end: float | None = None
    runs: list[list[int]] = field(default_factory=list)
    times: list[list[tuple[float, float]]] = field(default_factory=list)


class Assembly:
    """Goes through the chunks and closes a segment at each second time token."""

    def __init__(self, tokenizer: Any, timed: bool | str) -> None:
        self.tokenizer, self.timed = tokenizer, timed
        self.first = tokenizer.timestamp_begin
        added = tokenizer.backend_tokenizer.get_added_tokens_decoder()
        self.special = {number for number, token in added.items() if token.special} | set(tokenizer.all_special_ids)
        self.done: list[Segment] = []
        self.segment, self.language = Segment(), None
        self.offset = 0.0  # where the chunk begins in the recording
        self.skipping = False

    def read(self, chunk: Chunk) -> None:
        """One chunk."""
        tokens = chunk.tokens
        if chunk.language:
            self._hears(chunk.language)
        stride = chunk.stride or (0.0, 0.0, 0.0)
        self.offset -= stride[1]
        earliest = self.first + stride[1] / STEP
        latest = self._latest(tokens, stride) if stride[2] else None
        run: list[int] = []
        times: list[tuple[float, float]] = []
        newest = before = passed = 0.0
        for at, token in enumerate(tokens):
            if token in self.special:
                continue
            if token < self.first:
                run.append(token)
                if chunk.times is not None:
                    begin = chunk.times[at - 1] if at else 0.0
                    times.append((round(begin + self.offset, 2), round(chunk.times[at] + self.offset, 2)))
            else:
                second = (token - self.first) * STEP
                if second < newest:  # a new window has begun: where the last one ended, or with its last whole segment
                    if at >= 2 and not (tokens[at - 1] >= self.first and tokens[at - 2] >= self.first):
                        passed += WINDOW
                    else:
                        newest = before
                        passed += before
                before, newest = newest, second
                if self._marks(token, round(second + self.offset + passed, 2), earliest, latest, run, times):
                    run, times = [], []
        if chunk.stride:
            self.offset += stride[0] - stride[2]
        if run:
            self.segment.runs.append(run)
            self.segment.times.append(times)
        elif not any(self.segment.runs):
            self.segment = Segment(self.language)

    def _latest(self, tokens: list[int], stride: tuple[float, ...]) -> int | None:
        """The last time that this chunk is to tell; those behind it stand in the part that its neighbour hears too."""
        latest = None
        for token in reversed(tokens):
            if token >= self.first:
                if latest is not None and (token - self.first) * STEP < stride[0] - stride[2]:
                    break
                latest = token
        return latest

    def _hears(self, language: str) -> None:
        """Notes the language; text in another one before it is a segment of its own."""
        if self.language and language != self.language and not self.timed:
            self._close()
        self.segment.language = self.language = language

    def _marks(self, token: int, second: float, earliest: float, latest: int | None, run: Any, times: Any) -> bool:
        """A time token begins a segment or ends it, unless a neighbour tells it; whether a segment has ended."""
        if latest is not None and token >= latest:
            self.skipping = True
        elif self.skipping or (self.segment.runs and token < earliest):
            self.skipping = False
        elif self.segment.start is None:
            self.segment.start = second
        elif second != self.segment.start:
            self.segment.end = second
            self.segment.runs.append(run)
            self.segment.times.append(times)
            self._close()
            return True
        return False

    def _close(self) -> None:
        if not self.segment.runs:
            return
        self.done.append(self.segment)
        self.segment = Segment(self.language)

    def finish(self) -> list[Segment]:
        """All segments; the last may have no end."""
        self._close()
        return self.done


def assemble(tokenizer: Any, chunks: list[Chunk], timed: bool | str, with_language: bool) -> dict[str, Any]:
    """{"text"}, and {"chunks"} of segments or words where times or languages are wanted."""
    assembly = Assembly(tokenizer, timed)
    for chunk in chunks:
        assembly.read(chunk)
    text, found = "", []
    for segment in assembly.finish():
        tokens, times = join(segment.runs, segment.times if timed == "word" else None)
        said = tokenizer.decode(tokens)
        text += said
        language = {"language": segment.language} if with_language else {}
        if timed == "word":
            found += [
                {"text": word, "timestamp": (times[at[0]][0], times[at[-1]][1]), **language}
                for word, at in words_of(tokenizer, tokens, assembly.language)
            ]
        else:
            found.append({**language, **({"timestamp": (segment.start, segment.end)} if timed else {}), "text": said})
    return {"text": text} | ({"chunks": found} if timed or with_language else {})


def join(runs: list[list[int]], times: list[list[tuple[float, float]]] | None) -> tuple[list[int], list[tuple[float, float]]]:
    """Runs that overlap as one, each cut in the middle of what it shares best with the next; with times, only tokens that come
    no earlier in the next count as shared."""
    tokens, moments = list(runs[0]), list(times[0]) if times else []
    whole: list[int] = []
    whole_moments: list[tuple[float, float]] = []
    for number, right in enumerate(runs[1:], 1):
        best, cut = 0.0, (len(tokens), 0)
        ours, theirs = np.array(tokens), np.array(right)
        for i in range(1, len(tokens) + len(right)):
            low, high = max(0, len(tokens) - i), min(len(tokens), len(tokens) + len(right) - i)
            begin, end = max(0, i - len(tokens)), min(len(right), i)
            equal = ours[low:high] == theirs[begin:end]
            if times:
                later = times[number]
                equal = [same and moments[low + k] <= later[begin + k] for k, same in enumerate(equal)]
            shared = int(np.sum(equal))
            if shared > 1 and shared / i + i / 10000 > best:
                best, cut = shared / i + i / 10000, ((high + low) // 2, (end + begin) // 2)
        whole += tokens[: cut[0]]
        tokens = right[cut[1] :]
        if times:
            whole_moments += moments[: cut[0]]
            moments = times[number][cut[1] :]
    return whole + tokens, whole_moments + moments


def words_of(tokenizer: Any, tokens: list[int], language: str | None) -> list[tuple[str, list[int]]]:
    """Words, each with the places of its tokens; punctuation stands with the word that it belongs to."""
    parts = characters_of(tokenizer, tokens)
    if (language or tokenizer.language or "english") not in UNSPACED:
        joined: list[tuple[str, list[int]]] = []
        for text, at in parts:
            apart = (
                text.startswith(" ")
                or text.strip() in "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
                or tokens[at[0]] >= tokenizer.eos_token_id
            )
            if apart or not joined:
                joined.append((text, list(at)))
            else:
                joined[-1] = (joined[-1][0] + text, joined[-1][1] + at)
        parts = joined
    found: list[tuple[str, list[int]]] = []
    for text, at in reversed(parts):  # an opening mark goes to the word behind it
        if found and text.startswith(" ") and text.strip() in OPENING:
            found[-1] = (text + found[-1][0], at + found[-1][1])
        else:
            found.append((text, at))
    words: list[tuple[str, list[int]]] = []
    for text, at in reversed(found):  # a closing one to the word before it
        if words and not words[-1][0].endswith(" ") and text in CLOSING:
            words[-1] = (words[-1][0] + text, words[-1][1] + at)
        else:
            words.append((text, at))
    return words


def characters_of(tokenizer: Any, tokens: list[int]) -> list[tuple[str, list[int]]]:
    """Texts of as few tokens as make whole characters."""
    whole, parts, run, at = tokenizer.decode(tokens, decode_with_timestamps=True), [], [], 0
    for place in range(len(tokens)):
        run.append(place)
        text = tokenizer.decode([tokens[i] for i in run], decode_with_timestamps=True)
        broken = text.find("\ufffd")
        if broken < 0 or at + broken >= len(whole) or whole[at + broken] == "\ufffd":
            parts.append((text, run))
            run, at = [], at + len(text)
    return parts
