"""GenerationConfig: each parameter's name, default, range and one line of help, declared once; the page and the API read them here."""

import json
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any, Self

from core.errors import GenerationError


def _knob(default: Any, help: str, low: float | None = None, high: float | None = None, step: float | None = None) -> Any:
    return field(default=default, metadata={"help": help, "min": low, "max": high, "step": step})


DEFAULT_NEW_TOKENS = 20  # where no length is set
# what a model's files say of its vocabulary; a caller's configuration that leaves them out means these
FACTS = (
    "bos_token_id",
    "eos_token_id",
    "pad_token_id",
    "decoder_start_token_id",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "bad_words_ids",
    "suppress_tokens",
    "begin_suppress_tokens",
)


@dataclass
class GenerationConfig:
    """How a prompt is continued. Unknown keys of a generation_config.json are kept in `extra` and written back."""

    max_new_tokens: int | None = _knob(None, "Most tokens to write.", 1, 4096, 1)
    max_length: int | None = _knob(
        None, "Most tokens of prompt and answer together, where max_new_tokens is not set.", 1, 8192, 1
    )
    min_new_tokens: int | None = _knob(None, "Fewest tokens to write before an end is allowed.", 0, 4096, 1)
    min_length: int = _knob(0, "Fewest tokens of prompt and answer together.", 0, 8192, 1)
    max_time: float | None = _knob(None, "Seconds after which to stop.", 0.0, 86400.0)
    do_sample: bool = _knob(False, "Draw the next token by its probability instead of taking the likeliest.")
    temperature: float = _knob(1.0, "Below 1 sharpens the probabilities, above 1 flattens them.", 0.05, 2.0, 0.05)
    top_k: int = _knob(50, "Draw from the k likeliest tokens only; 0 for all.", 0, 500, 1)
    top_p: float = _knob(1.0, "Draw from the likeliest tokens that together have this probability.", 0.0, 1.0, 0.01)
    min_p: float | None = _knob(None, "Leave out tokens less likely than this share of the likeliest.", 0.0, 1.0, 0.01)
    top_h: float | None = _knob(
        None, "Draw from the likeliest tokens that together have this share of the entropy.", 0.0, 1.0, 0.01
    )
    typical_p: float = _knob(
        1.0, "Draw from the tokens of most expected surprise that together have this probability.", 0.0, 1.0, 0.01
    )
    epsilon_cutoff: float = _knob(0.0, "Leave out tokens less likely than this; 0 for none.", 0.0, 1.0, 0.0001)
    eta_cutoff: float = _knob(0.0, "The same, with a threshold that falls where the model is unsure.", 0.0, 1.0, 0.0001)
    repetition_penalty: float = _knob(1.0, "Above 1 makes tokens that were already used less likely.", 0.5, 2.0, 0.01)
    encoder_repetition_penalty: float = _knob(1.0, "Above 1 makes tokens of the source more likely.", 0.5, 2.0, 0.01)
    presence_penalty: float = _knob(0.0, "Subtracted once from the score of every token that the answer holds.", -2.0, 2.0, 0.01)
    frequency_penalty: float = _knob(0.0, "Subtracted from the score of a token each time the answer holds it.", -2.0, 2.0, 0.01)
    no_repeat_ngram_size: int = _knob(0, "No sequence of so many tokens twice; 0 for any.", 0, 20, 1)
    encoder_no_repeat_ngram_size: int = _knob(0, "No sequence of so many tokens of the source; 0 for any.", 0, 20, 1)
    seed: int | None = _knob(None, "The same seed draws the same answer.", 0, 2**31 - 1, 1)
    num_return_sequences: int = _knob(1, "How many answers to a prompt.", 1, 16, 1)
    num_beams: int = _knob(1, "Beams of a beam search; 1 is none.", 1, 16, 1)
    length_penalty: float = _knob(1.0, "Above 0 beams favour longer answers, below 0 shorter ones.", -5.0, 5.0, 0.1)
    early_stopping: bool | str = _knob(
        False, "When beams stop: True at enough answers, False when no better is likely, never when none can be."
    )
    prompt_lookup_num_tokens: int | None = _knob(
        None, "Tokens guessed at once from what stands before, checked by the model.", 1, 32, 1
    )
    max_matching_ngram_size: int = _knob(2, "Tokens that have to match for such a guess, at the most.", 1, 10, 1)
    num_assistant_tokens: int = _knob(20, "Tokens that an assistant model guesses at once.", 1, 64, 1)
    assistant_confidence_threshold: float = _knob(0.4, "An assistant stops guessing below this probability.", 0.0, 1.0, 0.01)
    use_cache: bool = _knob(True, "Keep keys and values, so that each step computes one token.")
    stop_strings: list[str] | str | None = _knob(None, "Texts at which to stop; they are not part of the answer.")
    bos_token_id: int | None = _knob(None, "The token that begins a text.")
    eos_token_id: int | list[int] | None = _knob(None, "The tokens that end an answer.")
    pad_token_id: int | None = _knob(None, "The token that fills shorter rows.")
    decoder_start_token_id: int | None = _knob(None, "The token with which a decoder that answers an encoder begins.")
    forced_bos_token_id: int | None = _knob(None, "The token that must come first, such as a language to translate to.")
    forced_eos_token_id: int | list[int] | None = _knob(None, "The token that must stand at the limit of the length.")
    bad_words_ids: list[list[int]] | None = _knob(None, "Sequences of tokens never to write.")
    suppress_tokens: list[int] | None = _knob(None, "Tokens never to write.")
    begin_suppress_tokens: list[int] | None = _knob(None, "Tokens not to begin with.")
    sequence_bias: Any = _knob(
        None, "Sequences of tokens and a number added to the score of each one's last: [[[1, 2], 0.5], …]."
    )
    exponential_decay_length_penalty: Any = _knob(None, "(start, factor): how an end becomes likelier after so many tokens.")
    renormalize_logits: bool = _knob(False, "Return scores as log-probabilities.")
    remove_invalid_values: bool = _knob(False, "Replace infinities and NaN in the scores.")
    language: str | list[str] | None = _knob(
        None, "The language that is spoken, by code or name, or one for each clip, for a model of speech that knows several."
    )
    task: str | None = _knob(None, "What a model of speech is to do: transcribe, or translate to English.")
    return_dict_in_generate: bool = _knob(False, "Return scores and more beside the token ids.")
    output_scores: bool = _knob(False, "Return each step's scores after processing.")
    output_logits: bool = _knob(False, "Return each step's scores before processing.")
    output_attentions: bool = _knob(False, "Return each step's attentions.")
    output_hidden_states: bool = _knob(False, "Return each step's hidden states.")
    extra: dict[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def knobs(cls) -> dict[str, Field]:
        """The declared parameters by name."""
        return {f.name: f for f in fields(cls) if f.name != "extra"}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """From the content of a generation_config.json; null stands for the default."""
        known = {k: v for k, v in values.items() if k in cls.knobs() and v is not None}
        return cls(**known, extra={k: v for k, v in values.items() if k not in cls.knobs()})

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> Self:
        """Read generation_config.json of a folder."""
        path = Path(folder) / "generation_config.json"
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise GenerationError(f"{path} cannot be read as JSON: {error}.") from error
        if not isinstance(values, dict):
            raise GenerationError(f"{path} holds a {type(values).__name__}, not a JSON object.")
        return cls.from_dict(values)

    def to_dict(self) -> dict[str, Any]:
        """What differs from the defaults, and the unknown keys."""
        changed = {name: getattr(self, name) for name, f in self.knobs().items() if getattr(self, name) != f.default}
        return {**self.extra, **changed}

    def save_pretrained(self, folder: str | Path) -> None:
        """Write generation_config.json, beside and renamed."""
        path = Path(folder) / "generation_config.json"
        part = path.with_suffix(".part")
        part.write_text(json.dumps(self.to_dict(), indent=2, sort_keys=True) + "\n", encoding="utf-8")
        part.replace(path)

    def updated(self, **values: Any) -> Self:
        """A copy with these parameters. Raises GenerationError for a name that does not exist."""
        if unknown := sorted(set(values) - set(self.knobs())):
            raise GenerationError(f"generate has no parameter {', '.join(map(repr, unknown))}.")
        return type(self)(**{**{name: getattr(self, name) for name in self.knobs()}, **values}, extra=dict(self.extra))

    @property
    def eos_ids(self) -> list[int]:
        """The ending tokens as a list."""
        eos = self.eos_token_id
        return [] if eos is None else [eos] if isinstance(eos, int) else list(eos)

    def limit(self, prompt: int) -> int:
        """How many tokens may be written after a prompt of this length."""
        if self.max_new_tokens is not None:
            return self.max_new_tokens
        return DEFAULT_NEW_TOKENS if self.max_length is None else self.max_length - prompt

    def validate(self, prompt: int | None = None, vocabulary: int | None = None) -> None:
        """Raise GenerationError, in one sentence, for parameters that make no sense."""
        checks = [
            (self.num_beams < 1, f"num_beams must be at least 1, not {self.num_beams}."),
            (
                self.do_sample and not self.temperature > 0,
                f"temperature must be above 0 to sample, not {self.temperature}: use do_sample=False for the likeliest token.",
            ),
            (not 0 < self.top_p <= 1, f"top_p must be above 0 and at most 1, not {self.top_p}."),
            (not 0 < self.typical_p <= 1, f"typical_p must be above 0 and at most 1, not {self.typical_p}."),
            (self.top_h is not None and not 0 < self.top_h <= 1, f"top_h must be above 0 and at most 1, not {self.top_h}."),
            (not 0 <= self.epsilon_cutoff < 1, f"epsilon_cutoff must be at least 0 and below 1, not {self.epsilon_cutoff}."),
            (not 0 <= self.eta_cutoff < 1, f"eta_cutoff must be at least 0 and below 1, not {self.eta_cutoff}."),
            (self.top_k < 0, f"top_k must be 0 (off) or more, not {self.top_k}."),
            (self.min_p is not None and not 0 <= self.min_p <= 1, f"min_p must be between 0 and 1, not {self.min_p}."),
            (not self.repetition_penalty > 0, f"repetition_penalty must be above 0, not {self.repetition_penalty}."),
            (
                not self.encoder_repetition_penalty > 0,
                f"encoder_repetition_penalty must be above 0, not {self.encoder_repetition_penalty}.",
            ),
            (self.no_repeat_ngram_size < 0, f"no_repeat_ngram_size must be 0 (off) or more, not {self.no_repeat_ngram_size}."),
            (
                self.encoder_no_repeat_ngram_size < 0,
                f"encoder_no_repeat_ngram_size must be 0 (off) or more, not {self.encoder_no_repeat_ngram_size}.",
            ),
            (
                self.early_stopping not in (True, False, "never"),
                f"early_stopping must be True, False or 'never', not {self.early_stopping!r}.",
            ),
            (self.num_return_sequences < 1, f"num_return_sequences must be at least 1, not {self.num_return_sequences}."),
            (
                self.num_return_sequences > 1 and not self.do_sample and self.num_beams == 1,
                "num_return_sequences above 1 needs do_sample=True or num_beams: the likeliest answer is always the same.",
            ),
            (
                self.num_beams > 1 and self.num_return_sequences > self.num_beams,
                f"num_return_sequences ({self.num_return_sequences}) must not be above num_beams ({self.num_beams}).",
            ),
            (
                self.num_beams > 1 and bool(self.prompt_lookup_num_tokens),
                "prompt_lookup_num_tokens and num_beams above 1 exclude each other: choose one.",
            ),
            (self.max_time is not None and self.max_time <= 0, f"max_time must be above 0 seconds, not {self.max_time}."),
            (
                self.max_new_tokens is not None and self.max_new_tokens < 1,
                f"max_new_tokens must be at least 1, not {self.max_new_tokens}.",
            ),
            (
                prompt is not None and self.max_new_tokens is None and self.max_length is not None and self.max_length <= prompt,
                f"The prompt has {prompt} tokens and max_length is {self.max_length}: set max_new_tokens instead.",
            ),
            (
                prompt is not None and (self.min_new_tokens or 0) > self.limit(prompt),
                f"min_new_tokens ({self.min_new_tokens}) is above the most that may be written ({self.limit(prompt or 0)}).",
            ),
            (
                vocabulary is not None and any(not 0 <= token < vocabulary for token in self.eos_ids),
                f"eos_token_id {self.eos_token_id} is outside the vocabulary of {vocabulary} tokens.",
            ),
        ]
        for wrong, sentence in checks:
            if wrong:
                raise GenerationError(sentence)
