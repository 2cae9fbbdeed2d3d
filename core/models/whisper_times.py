"""When Whisper heard what: the rules of time tokens, long recordings window by window, and the time of every token.

Radford et al. 2022, 2.3 and 3.8. A time token is a number of steps of 20 ms from the window's beginning; a frame is 10 ms.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from core.modeling.taps import Taps

STEP = 0.02  # seconds
FRAMES_A_STEP = 2
MEDIAN = 7  # width of the filter over a pattern, where the configuration does not say

Rule = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def time_rule(first: int, end: int, begin: int, latest: int | None) -> Rule:
    """For `generate`: times stand in pairs and never go back, the text begins with one (of at most `latest` steps), and one is written
    wherever all of them together are likelier than any other token.

    first: the id of <|0.00|>, right behind that of <|notimestamps|>; end: that of the end; begin: tokens before the text.
    """

    def process(ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        scores = scores.clone()
        scores[:, first - 1] = -torch.inf
        for row, written in zip(scores, ids[:, begin:].tolist(), strict=True):
            last = bool(written) and written[-1] >= first
            before = len(written) < 2 or written[-2] >= first
            if last and before:
                row[first:] = -torch.inf
            elif last:
                row[:end] = -torch.inf
            times = [token for token in written if token >= first]
            if times:
                row[first : times[-1] + int(not last or before)] = -torch.inf
        if ids.shape[1] == begin:
            scores[:, :first] = -torch.inf
            if latest is not None:
                scores[:, first + latest + 1 :] = -torch.inf
        chances = scores.float().log_softmax(-1)
        timed = chances[:, first:].logsumexp(-1) > chances[:, :first].amax(-1)
        scores[:, :first] = scores[:, :first].masked_fill(timed[:, None], -torch.inf)
        return scores

    return process


def segments_of(tokens: list[int], first: int, frames: int) -> tuple[list[tuple[int, int, float, float]], int]:
    """What one window of so many frames says: (from, to) in tokens and (from, to) in seconds of each segment; and how many frames on
    the next window begins: where the last whole segment ended, unless the text ran to the window's end."""
    timed = [token >= first for token in tokens]
    ends = [i + 1 for i in range(len(tokens) - 1) if timed[i] and timed[i + 1]]
    if not ends:
        last = frames / FRAMES_A_STEP
        said = [token for token in tokens if token >= first]
        if said and said[-1] != first:
            last = said[-1] - first
        return [(0, len(tokens), 0.0, last * STEP)], frames
    whole = timed[-2:] == [False, True]
    ends = [*ends, len(tokens)] if whole else [*ends[:-1], ends[-1] + 1]
    found, begin = [], 0
    for end in ends:
        until = tokens[end - 1] if end != ends[-1] or whole else tokens[end - 2]
        found.append((begin, end, (tokens[begin] - first) * STEP, (until - first) * STEP))
        begin = end
    advance = frames if whole else (tokens[begin - 2] - first) * FRAMES_A_STEP
    return found, advance or frames  # a window that says nothing but its own beginning is done with


def transcribe(
    model: Any,
    features: torch.Tensor,
    lengths: torch.Tensor | None,
    said: dict[str, Any],
    write: Callable[..., torch.Tensor],
    prompt_of: Callable[[Any], torch.Tensor],
    timed: bool,
    aligned: bool,
    monitor: Callable[[torch.Tensor], None] | None = None,
) -> dict[str, Any]:
    """features (batch, mels, frames) of any length, `lengths` (batch,) the frames that count -> sequences (batch, tokens), segments a row,
    prompts (batch, tokens) and, where `aligned`, token_timestamps (batch, tokens) in seconds.

    write(encoder's output, prompts, processors) generates one window; prompt_of(encoder's output) is what it begins with.
    """
    window, first = FRAMES_A_STEP * model.config.max_source_positions, said["no_timestamps_token_id"] + 1
    ends = [features.shape[-1]] * len(features)
    if lengths is not None and len(features) > 1 and features.shape[-1] > window:
        ends = lengths.tolist()  # within a window, the silence behind a clip is a part of what the model was trained on
    heard = None if lengths is None else lengths.tolist()
    seek, segments, prompts = [0] * len(features), [[] for _ in features], None
    while active := [i for i in range(len(features)) if seek[i] < ends[i]]:
        if monitor is not None:
            monitor(torch.tensor([seek, ends]).T)
        here = features.new_zeros(len(active), features.shape[1], window)
        for row, i in enumerate(active):
            part = features[i, :, seek[i] : min(seek[i] + window, ends[i])]
            here[row, :, : part.shape[-1]] = part
        with torch.inference_mode():
            encoded = model.encode(input_features=here.to(model.device))
            if prompts is None:
                prompts = prompt_of(encoded)[:, :-1] if timed else prompt_of(encoded)
        begin = prompts[active]
        latest = said.get("max_initial_timestamp_index")
        rule = [time_rule(first, said["end"], begin.shape[1], latest)] if timed else []
        out = write(encoded, begin, rule)[:, begin.shape[1] :]
        for row, i in enumerate(active):
            tokens = out[row].tolist()
            length = tokens.index(said["end"]) + 1 if said["end"] in tokens else len(tokens)
            written = [token for token in tokens[:length] if token != said["end"]]
            times = None
            if aligned:
                left = None if heard is None else heard[i] - seek[i]
                states = encoded.last_hidden_state[row : row + 1]
                times = token_times(model, states, begin[row], tokens[:length], said, left)
            parts, advance = segments_of(written, first, min(window, ends[i] - seek[i]))
            offset = seek[i] * STEP / FRAMES_A_STEP
            for low, high, start, end in parts:
                segment = {
                    "start": offset + start,
                    "end": offset + end,
                    "tokens": torch.tensor(written[low:high], dtype=torch.long),
                }
                if times is not None:
                    segment["token_timestamps"] = torch.tensor(times[low:high]) + offset
                segments[i].append(segment)
            seek[i] += advance
    found = {"sequences": _even(segments, "tokens", said["pad"]), "segments": segments, "prompts": prompts}
    return found | ({"token_timestamps": _even(segments, "token_timestamps", 0.0)} if aligned else {})


def _even(segments: list[list[dict[str, Any]]], key: str, fill: Any) -> torch.Tensor:
    """The rows' segments one behind the other, filled at the end."""
    rows = [torch.cat([segment[key] for segment in row]) if row else torch.empty(0) for row in segments]
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=fill)


def token_times(
    model: Any, states: torch.Tensor, prompt: torch.Tensor, tokens: list[int], said: dict[str, Any], frames: int | None
) -> list[float]:
    """For each written token the second at which it ends: its way through the pattern of the cross-attention heads that follow the sound.

    states (1, frames / 2, width) of the encoder; `frames`: how many of them are sound, where that is known.
    """
    if len(tokens) < 2:
        return [0.0] * len(tokens)
    heads = said.get("alignment_heads") or getattr(model.config, "alignment_heads", None)
    if not heads:  # the upper half of the layers
        layers, count = model.config.decoder_layers, model.config.decoder_attention_heads
        heads = [(layer, head) for layer in range(layers // 2, layers) for head in range(count)]
    ids = torch.cat([prompt, torch.tensor(tokens[:-1], device=prompt.device)])[None]
    taps = Taps(record={"cross.pattern": sorted({layer for layer, _ in heads})})
    with torch.inference_mode():
        model(encoder_outputs=(states,), decoder_input_ids=ids, use_cache=False, taps=taps)
    patterns = torch.stack([taps["cross.pattern", layer][0, head] for layer, head in heads]).float()
    patterns = patterns[:, len(prompt) :, : None if frames is None else max(1, frames // FRAMES_A_STEP)]
    mean, deviation = patterns.mean(-2, keepdim=True), patterns.std(-2, keepdim=True, unbiased=False)
    width = getattr(model.config, "median_filter_width", MEDIAN)
    pattern = smooth((patterns - mean) / deviation, width).mean(0)
    rows, columns = shortest_way(-pattern.double().cpu().numpy())
    begins = np.diff(rows, prepend=-1) > 0
    times = (columns[begins] * STEP).tolist()
    return [*times, times[-1]]


def smooth(x: torch.Tensor, width: int) -> torch.Tensor:
    """(…, frames): each the median of its neighbourhood of `width` frames, mirrored at the ends."""
    half = width // 2
    if x.shape[-1] <= half:
        return x
    padded = torch.nn.functional.pad(x, (half, half), mode="reflect")
    return padded.unfold(-1, width, 1).sort(-1).values[..., half]


def shortest_way(costs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Dynamic time warping: (tokens, frames) of costs -> the rows and the columns of the cheapest way from corner to corner, in steps
    of one to the right, down or both. Sakoe and Chiba 1978. Whole diagonals are computed at a time."""
    rows, columns = costs.shape
    total = np.full((rows + 1, columns + 1), np.inf, np.float32)
    came = np.full((rows + 1, columns + 1), 2, np.int8)  # 0 from both, 1 from above, 2 from the left
    total[0, 0], came[:, 0], came[0, 1:] = 0, 1, 2
    for diagonal in range(2, rows + columns + 1):
        i = np.arange(max(1, diagonal - columns), min(rows, diagonal - 1) + 1)
        j = diagonal - i
        both, above, left = total[i - 1, j - 1], total[i - 1, j], total[i, j - 1]
        way = np.where((both < above) & (both < left), 0, np.where((above < both) & (above < left), 1, 2))
        total[i, j] = costs[i - 1, j - 1] + np.choose(way, (both, above, left))
        came[i, j] = way
    i, j, found = rows, columns, []
    while i > 0 or j > 0:
        found.append((i - 1, j - 1))
        i, j = i - int(came[i, j] != 2), j - int(came[i, j] != 1)
    way = np.array(found[::-1])
    return way[:, 0], way[:, 1]
