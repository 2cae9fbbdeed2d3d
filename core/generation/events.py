"""What a streamed generation yields."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class TextDelta:
    """Text that is now certain, and the token that completed it; `index` counts tokens from 0."""

    text: str
    token_id: int
    index: int


@dataclass(frozen=True)
class Waiting:
    """The request stands in an engine's line; `position` 1 is the next to run."""

    position: int


@dataclass(frozen=True)
class Finished:
    """The end. reason: "eos", "stop", "length" or "cancelled"; times in seconds, tokens_per_second after the first token;
    reused_tokens: how many of the prompt's tokens an earlier answer had computed already; drafted and accepted: tokens of speculation."""

    reason: str
    text: str
    token_ids: list[int] = field(repr=False)
    prompt_tokens: int
    seconds: float
    first_token_seconds: float
    tokens_per_second: float
    reused_tokens: int = 0
    drafted_tokens: int = 0
    accepted_tokens: int = 0
