"""What is said in a recording."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from core.errors import ConfigError
from core.modeling.seq2seq import Seq2Seq
from core.pipelines.audio import AudioPipeline
from core.pipelines.base import Piece, is_stream
from core.pipelines.options import Option
from core.pipelines.text2text_generation import stop_rule
from core.pipelines.transcript import Chunk, assemble
from core.processing import load_audio
from core.tokenization.languages import WHISPER

SILENCE = 1e-3  # a recording nowhere louder than this, of 1, is silent: 60 dB below full scale


class AutomaticSpeechRecognitionPipeline(AudioPipeline):
    """`listen("speech.wav")` -> {"text"}; with return_timestamps, {"text", "chunks": [{"text", "timestamp": (from, to) in seconds}]}.

    Models with a decoder give times of segments (True) or words ("word"); a recording longer than their window is read window by window,
    each beginning where the last segment ended, or in overlapping chunks where chunk_length_s says so, which can be computed together.
    Models of CTC give times of words ("word") or letters ("char"). Further keywords are GenerationConfig's, such as language and task.
    """

    task = "automatic-speech-recognition"
    kinds = ("SpeechSeq2Seq", "CTC")
    parts = ("feature_extractor", "tokenizer")
    generates = True
    options = (
        Option("return_timestamps", None, "Times of segments (True), words or letters.", choices=(False, True, "word", "char")),
        Option("return_language", None, "Whether to say which language was spoken.", choices=(False, True)),
        Option("chunk_length_s", 0, "Seconds of a chunk; 0 reads the recording as a whole.", 0, 3600),
        Option(
            "stride_length_s", None, "Seconds that a chunk shares with its neighbours, or (left, right); None is a sixth of it."
        ),
        Option("generate_kwargs", None, "Parameters of the generation, as a dictionary."),
        Option("ignore_warning", False, "Accepted."),
    )

    @property
    def writes(self) -> bool:
        """Whether the model has a decoder."""
        model = self.model.get_base_model() if hasattr(self.model, "get_base_model") else self.model
        return isinstance(model, Seq2Seq)

    def is_many(self, inputs: Any, options: dict[str, Any]) -> bool:
        """A list of clips; a list of numbers is one clip."""
        numbers = isinstance(inputs, list | tuple) and inputs and isinstance(inputs[0], int | float)
        return (isinstance(inputs, list | tuple) and not numbers) or is_stream(inputs)

    def settings(self, given: dict[str, Any]) -> dict[str, Any]:
        """With the dictionary's parameters among the others. Raises ConfigError for times that the model cannot give."""
        values = super().settings(given)
        values = {**values, **(values.pop("generate_kwargs") or {})}
        wanted = values["return_timestamps"]
        if not self.writes and wanted is True:
            raise ConfigError("A model of CTC gives times of words or letters: return_timestamps='word' or 'char'.")
        if self.writes and wanted == "char":
            raise ConfigError("This model gives times of segments or words, not of letters: return_timestamps=True or 'word'.")
        if not self.writes and values["return_language"]:
            raise ConfigError("A model of CTC does not tell the language: leave out return_language.")
        return values

    @property
    def ratio(self) -> int:
        """Samples of one output of a CTC model."""
        return 1 if self.writes else math.prod(self.model.config.conv_stride)

    # ------------------------------------------------------------------ a recording -> pieces

    def prepare(self, item: Any, options: dict[str, Any]) -> list[Piece]:
        """A piece, or one for each chunk; none where nothing is to be heard."""
        clip = load_audio(item, self.rate)
        if np.abs(clip).max() <= SILENCE:
            return []
        if not options["chunk_length_s"]:
            return [self._piece(clip, None)]
        return [self._piece(part, stride) for part, stride in self._chunks(clip, options)]

    def _piece(self, clip: np.ndarray, stride: tuple[int, int] | None) -> Piece:
        whole = {}
        if self.writes and len(clip) > self.feature_extractor.n_samples:
            if stride is not None:
                seconds = self.feature_extractor.n_samples / self.rate
                raise ConfigError(f"chunk_length_s must be at most {seconds:g}: this model hears no longer chunks.")
            whole = {"truncation": False, "padding": "longest"}
        inputs = self.features(clip, return_attention_mask=True, **whole)
        if not self.writes and not self.feature_extractor.return_attention_mask:
            inputs.pop("attention_mask", None)
        size = next(iter(inputs.values())).shape[-1]
        return Piece(inputs, (len(clip), *(stride or ()))[: 3 if stride else 1], size=size)

    def _chunks(self, clip: np.ndarray, options: dict[str, Any]) -> Iterator[tuple[np.ndarray, tuple[int, int]]]:
        """Samples of each chunk, and how many of them it shares with the one before and the one behind it."""
        seconds, stride = options["chunk_length_s"], options["stride_length_s"]
        stride = seconds / 6 if stride is None else stride
        left, right = stride if isinstance(stride, list | tuple) else (stride, stride)
        length, left, right = (round(value * self.rate / self.ratio) * self.ratio for value in (seconds, left, right))
        if length <= left + right or min(left, right) < 0:
            raise ConfigError(f"chunk_length_s ({seconds}) must be more than both of stride_length_s together.")
        for begin in range(0, len(clip), length - left - right):
            part, last = clip[begin : begin + length], begin + length >= len(clip)
            before = left if begin else 0
            if len(part) > before:
                yield part, (before, 0 if last else right)
            if last:
                return

    @property
    def may_pad(self) -> bool:
        """Only clips of one length go together."""
        return False

    # ------------------------------------------------------------------ pieces -> text

    def forward(self, inputs: dict[str, torch.Tensor], options: dict[str, Any]) -> list[Any]:
        """A Chunk a row, or (frames,) tokens a row of CTC."""
        if not self.writes:
            return list(self.run_model(inputs).logits.argmax(-1).cpu())
        own = {option.name for option in self.options} | {"cancelled"}
        values = {name: value for name, value in options.items() if name not in own} | stop_rule(options["cancelled"])
        name = self.model.main_input_name
        features, mask = inputs[name].to(self.model.dtype), inputs.get("attention_mask")
        wanted, timed = options["return_timestamps"], hasattr(self.tokenizer, "timestamp_begin")
        if not timed:
            if wanted:
                raise ConfigError("This model writes no times: leave out return_timestamps.")
            return [Chunk(row.tolist()) for row in self.model.generate(**{name: features}, **values).cpu()]
        found = self.model.generate(
            **{name: features},
            attention_mask=mask,
            return_timestamps=wanted is not None and bool(wanted),
            return_token_timestamps=wanted == "word",
            return_segments=True,
            **values,
        )
        chunks = []
        for prompt, segments in zip(found["prompts"].tolist(), found["segments"], strict=True):
            tokens = [token for segment in segments for token in segment["tokens"].tolist()]
            times = [t for segment in segments for t in segment["token_timestamps"].tolist()] if wanted == "word" else None
            heard = self._language(prompt) if options["return_language"] or wanted == "word" else None
            chunks.append(Chunk(tokens, times, heard))
        return chunks

    def _language(self, prompt: list[int]) -> str | None:
        """The language that one of the prompt's tokens names: <|fr|> -> french."""
        names = (WHISPER.get(str(token).strip("<|>")) for token in self.tokenizer.convert_ids_to_tokens(prompt))
        return next((name for name in names if name), None)

    def finish(self, pieces: list[Piece], outputs: list[Any], options: dict[str, Any]) -> dict[str, Any]:
        """The pieces' texts as one."""
        wanted = options["return_timestamps"]
        if not pieces:
            return {"text": ""} | ({"chunks": []} if wanted or options["return_language"] else {})
        if not self.writes:
            return self._letters(pieces, outputs, wanted)
        for piece, chunk in zip(pieces, outputs, strict=True):
            if len(piece.facts) == 3:
                chunk.stride = tuple(samples / self.rate for samples in piece.facts)
        return assemble(self.tokenizer, outputs, wanted or False, bool(options["return_language"]))

    def _letters(self, pieces: list[Piece], outputs: list[Any], wanted: Any) -> dict[str, Any]:
        """Of each chunk what its neighbours do not hear better; repeated letters then count once. Graves et al. 2006."""
        kept = []
        for piece, tokens in zip(pieces, outputs, strict=True):
            samples, left, right = (*piece.facts, 0, 0)[:3]
            frames = round(samples / self.ratio)
            left, right = (round(part / samples * frames) for part in (left, right))
            kept += tokens[left : frames - right if len(piece.facts) == 3 else None].tolist()
        if not wanted:
            return {"text": self.tokenizer.decode(kept)}
        found = self.tokenizer.decode(kept, output_char_offsets=True, output_word_offsets=True)
        step = self.ratio / self.rate
        spans = [(part[wanted], part["start_offset"] * step, part["end_offset"] * step) for part in found[f"{wanted}_offsets"]]
        return {"text": found["text"], "chunks": [{"text": text, "timestamp": (start, end)} for text, start, end in spans]}
