"""`generate` against the reference: every parameter alone and in the pairs that people use, on decoders and encoder-decoders.

Token ids are identical, processed scores, logits, attentions and hidden states within 1e-4; samples are drawn with the same seed.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from support import CHECKED, Row, close, pair

from core.errors import GenerationError
from core.generation import processors, warpers
from core.generation.stopping import StoppingCriteriaList

VOCABULARY = 99
LLAMA = {
    "vocab_size": VOCABULARY,
    "hidden_size": 36,
    "intermediate_size": 50,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "pad_token_id": 3,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
GPT2 = {
    "vocab_size": VOCABULARY,
    "n_embd": 36,
    "n_layer": 2,
    "n_head": 4,
    "n_positions": 64,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
T5 = {
    "vocab_size": VOCABULARY,
    "d_model": 36,
    "d_kv": 8,
    "d_ff": 50,
    "num_layers": 2,
    "num_heads": 4,
    "pad_token_id": 0,
    "eos_token_id": 1,
    "decoder_start_token_id": 0,
    "layer_norm_epsilon": 0.1,
}
BART = {
    "vocab_size": VOCABULARY,
    "d_model": 36,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 50,
    "decoder_ffn_dim": 44,
    "max_position_embeddings": 64,
    "pad_token_id": 1,
    "bos_token_id": 0,
    "eos_token_id": 2,
    "decoder_start_token_id": 2,
    "forced_eos_token_id": 2,
}
MARIAN = BART | {
    "pad_token_id": 98,
    "eos_token_id": 0,
    "bos_token_id": None,
    "decoder_start_token_id": 98,
    "forced_eos_token_id": 0,
}
WHISPER = {
    "vocab_size": VOCABULARY,
    "num_mel_bins": 7,
    "d_model": 36,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 50,
    "decoder_ffn_dim": 44,
    "max_source_positions": 13,
    "max_target_positions": 64,
    "pad_token_id": 3,
    "bos_token_id": 4,
    "eos_token_id": 2,
    "decoder_start_token_id": 5,
    "begin_suppress_tokens": None,
    "suppress_tokens": None,
}
MODELS = {
    "llama": Row("llama", "CausalLM", "generates", LLAMA),
    "gpt2": Row("gpt2", "CausalLM", "generates", GPT2),
    "t5": Row("t5", "ConditionalGeneration", "generates", T5),
    "bart": Row("bart", "ConditionalGeneration", "generates", BART),
    "marian": Row("marian", "ConditionalGeneration", "generates", MARIAN),
    "whisper": Row("whisper", "ConditionalGeneration", "generates", WHISPER),
}
SEQ2SEQ = ("t5", "bart", "marian", "whisper")
SAMPLE = {"do_sample": True, "top_k": 0}
BEAMS = {"num_beams": 3}
# what -> parameters; a tuple holds the plain call that they have to differ from
ROWS: dict[str, dict[str, Any]] = {
    "greedy": {},
    "no cache": {"use_cache": False},
    "sampling": SAMPLE,
    "temperature": SAMPLE | {"temperature": 2.5},
    "top_k": SAMPLE | {"top_k": 4},
    "top_p": SAMPLE | {"top_p": 0.7},
    "min_p": SAMPLE | {"min_p": 0.2},
    "top_h": SAMPLE | {"top_h": 0.4},
    "typical_p": SAMPLE | {"typical_p": 0.5},
    "epsilon_cutoff": SAMPLE | {"epsilon_cutoff": 0.05},
    "eta_cutoff": SAMPLE | {"eta_cutoff": 0.2},
    "temperature, top_k, top_p": {"do_sample": True, "temperature": 0.7, "top_k": 20, "top_p": 0.9},
    "temperature, min_p": SAMPLE | {"temperature": 1.5, "min_p": 0.1},
    "several samples": SAMPLE | {"num_return_sequences": 3},
    "repetition_penalty": {"repetition_penalty": 3.0},
    "encoder_repetition_penalty": {"encoder_repetition_penalty": 5.0},
    "no_repeat_ngram_size": {"no_repeat_ngram_size": 1},
    "encoder_no_repeat_ngram_size": {"encoder_no_repeat_ngram_size": 1},
    "no_repeat_ngram_size, repetition_penalty": {"no_repeat_ngram_size": 2, "repetition_penalty": 1.3},
    "bad_words_ids": {"bad_words_ids": "some"},
    "suppress_tokens": {"suppress_tokens": "first"},
    "begin_suppress_tokens": {"begin_suppress_tokens": "first"},
    "forced_bos_token_id": {"forced_bos_token_id": 7},
    "forced_eos_token_id": {"forced_eos_token_id": 11},
    "sequence_bias": {"sequence_bias": [[[17], 9.0], [[17, 23], 40.0]]},
    "exponential_decay_length_penalty": {"exponential_decay_length_penalty": (2, 1.9), "eos_token_id": 30},
    "renormalize_logits": {"renormalize_logits": True},
    "remove_invalid_values": {"remove_invalid_values": True},
    "max_length": {"max_new_tokens": None, "max_length": 14},
    "min_new_tokens": {"min_new_tokens": 9, "eos_token_id": "often"},
    "min_length": {"min_length": 15, "eos_token_id": "often"},
    "several ends": {"eos_token_id": "often"},
    "repetition_penalty, sampling": {"do_sample": True, "temperature": 0.8, "top_p": 0.95, "repetition_penalty": 1.2},
    "beams": BEAMS,
    "beams with ends": BEAMS | {"eos_token_id": "often"},
    "beams, no cache": BEAMS | {"use_cache": False},
    "length_penalty": BEAMS | {"length_penalty": 3.0, "eos_token_id": "often"},
    "length_penalty below 0": BEAMS | {"length_penalty": -2.0, "eos_token_id": "often"},
    "early_stopping": BEAMS | {"early_stopping": True, "eos_token_id": "often"},
    "early_stopping never": BEAMS | {"early_stopping": "never", "eos_token_id": "often"},
    "several beams back": {"num_beams": 4, "num_return_sequences": 3},
    "several beams back with ends": {"num_beams": 4, "num_return_sequences": 4, "eos_token_id": "often", "length_penalty": 0.5},
    "beams, no_repeat_ngram_size, min_length": BEAMS | {"no_repeat_ngram_size": 2, "min_length": 12, "eos_token_id": "often"},
    "beams, forced_bos_token_id": BEAMS | {"forced_bos_token_id": 7},
    "beams, repetition_penalty": BEAMS | {"repetition_penalty": 1.5},
    "beam sampling": BEAMS | SAMPLE,
    "beam sampling, top_k, temperature": BEAMS | {"do_sample": True, "top_k": 12, "temperature": 0.7, "eos_token_id": "often"},
    "beam sampling, all warpers": BEAMS
    | {"do_sample": True, "top_k": 30, "top_p": 0.9, "min_p": 0.01, "typical_p": 0.9, "epsilon_cutoff": 0.001},
}
# parameters that leave the result as the plain call's
SAME = {
    "greedy",
    "no cache",
    "sampling",
    "remove_invalid_values",
    "renormalize_logits",
    "beams",
    "beams, no cache",
    "beam sampling",
}
ONLY_SEQ2SEQ = {"forced_bos_token_id", "beams, forced_bos_token_id"}  # it stands after the first token of the text


def livelier(reference: Any, ours: Any) -> None:
    """Tiny random models say one thing for ever: their tables are made larger, so that what they say depends on what they read."""
    with torch.no_grad():
        for model in (reference, ours):
            model.get_input_embeddings().weight.mul_(6)
    assert torch.equal(reference.get_input_embeddings().weight, ours.get_input_embeddings().weight)


_ready: dict[str, Any] = {}


def models(name: str) -> tuple[Any, Any, Path]:
    """The pair, and its folder."""
    reference, ours, path = pair(MODELS[name])
    if _ready.get("pair") is not reference:
        _ready["pair"] = reference
        livelier(reference, ours)
    return reference, ours, path


def inputs_for(name: str, rows: int = 2) -> dict[str, torch.Tensor]:
    """Two prompts, the second shorter."""
    torch.manual_seed(5)
    if name == "whisper":
        return {"input_features": torch.randn(rows, 7, 26)}
    ids = torch.randint(5, 97, (rows, 8))
    mask = torch.ones_like(ids)
    if rows > 1:
        short = slice(5, None) if name in SEQ2SEQ else slice(0, 3)
        mask[1, short] = 0
        ids[1, short] = MODELS[name].values.get("pad_token_id", 0)
    return {"input_ids": ids, "attention_mask": mask}


def resolved(name: str, parameters: dict[str, Any], inputs: dict[str, torch.Tensor]) -> dict[str, Any]:
    """The words in a row's parameters as what the model writes: its first tokens, or those that it writes often."""
    words = {"first", "often", "some"}
    if not any(isinstance(value, str) and value in words for value in parameters.values()):
        return parameters
    ours = models(name)[1]
    free = {"max_new_tokens": 10, "do_sample": False, "num_beams": 1, "eos_token_id": None, "forced_eos_token_id": None}
    plain = ours.generate(**inputs, **free, **decoder_start(name))
    begin = 1 if name in SEQ2SEQ else inputs["input_ids"].shape[1]
    first, later = plain[:, begin].unique().tolist(), plain[:, begin + 3].unique().tolist()
    meant = {
        "first": first,
        "often": sorted({*later, int(plain[0, begin + 5])}),
        "some": [[first[0]], plain[0, begin + 1 : begin + 3].tolist()],
    }
    return {key: meant[value] if isinstance(value, str) and value in words else value for key, value in parameters.items()}


def both(name: str, parameters: dict[str, Any], **more: Any) -> tuple[Any, Any]:
    """The reference's output and ours, everything returned."""
    reference, ours, _ = models(name)
    inputs = inputs_for(name)
    asked = {
        "max_new_tokens": 10,
        "return_dict_in_generate": True,
        "output_scores": True,
        "output_logits": True,
        "output_attentions": True,
        "output_hidden_states": True,
        "pad_token_id": MODELS[name].values.get("pad_token_id", 0),
        **resolved(name, parameters, inputs),
    }
    theirs = dict(asked)
    if isinstance(theirs.get("sequence_bias"), list):
        theirs["sequence_bias"] = {tuple(tokens): bias for tokens, bias in theirs["sequence_bias"]}
    call: Callable[..., Any] = reference.generate
    if name == "whisper":  # its own generate adds what Whisper's tokens mean; here the plain one is compared
        call = lambda **kw: transformers.GenerationMixin.generate(reference, **kw)  # noqa: E731
    torch.manual_seed(11)
    expected = call(**inputs, **theirs, **more)
    torch.manual_seed(11)
    found = ours.generate(**inputs, **asked, **decoder_start(name), **more)
    return expected, found


def decoder_start(name: str) -> dict[str, Any]:
    """Whisper begins with more than its start token, unless it is told with what."""
    return {"decoder_input_ids": torch.full((2, 1), 5)} if name == "whisper" else {}


def compare(expected: Any, found: Any) -> None:
    """Ids equal, everything else close."""
    assert found.sequences.tolist() == expected.sequences.tolist()
    CHECKED["tokens written"] += found.sequences.numel()
    for name in ("scores", "logits"):
        ours, theirs = getattr(found, name), getattr(expected, name)
        assert len(ours) == len(theirs), name
        for a, b in zip(ours, theirs, strict=True):
            assert torch.equal(a.isinf(), b.isinf()), name
            close(a.masked_fill(a.isinf(), 0), b.masked_fill(b.isinf(), 0), name)
    if getattr(expected, "sequences_scores", None) is not None:
        close(found.sequences_scores, expected.sequences_scores, "sequences_scores")
        assert found.beam_indices.tolist() == expected.beam_indices.tolist()
    for name in ("attentions", "hidden_states", "decoder_attentions", "cross_attentions", "decoder_hidden_states"):
        ours, theirs = getattr(found, name, None), getattr(expected, name, None)
        assert (ours is None) == (theirs is None), name
        for step, (a, b) in enumerate(zip(ours or (), theirs or (), strict=True)):
            assert len(a) == len(b), name
            for x, y in zip(a, b, strict=True):
                # a row of padding attends to nothing in particular
                if x.shape[0] and "hidden" not in name and step == 0:
                    x, y = x[:1], y[:1]
                if "hidden" in name and step == 0:
                    x, y = x[:, -1:], y[:, -1:]
                close(x, y, f"{name} of step {step}")
    for name in ("encoder_attentions", "encoder_hidden_states"):
        for a, b in zip(getattr(found, name, None) or (), getattr(expected, name, None) or (), strict=True):
            close(a[:1], b[:1], name)


@pytest.mark.parametrize("what", ROWS)
@pytest.mark.parametrize("name", MODELS)
def test_every_parameter(name: str, what: str) -> None:
    parameters = ROWS[what]
    if what in ONLY_SEQ2SEQ and name not in SEQ2SEQ:
        parameters = parameters | {"forced_bos_token_id": None}
    if name == "whisper" and "encoder" in what:  # there are no ids of the source
        with pytest.warns(UserWarning):
            expected, found = both(name, parameters)
    else:
        expected, found = both(name, parameters)
    compare(expected, found)


@pytest.mark.parametrize("name", ["llama", "t5"])
def test_every_row_bites(name: str) -> None:
    """Each parameter changes what is written or scored: a processor that did nothing would be seen."""
    plain = {}
    for what, parameters in ROWS.items():
        if what in SAME or (what in ONLY_SEQ2SEQ and name not in SEQ2SEQ) or what == "max_length":
            continue
        kind = (parameters.get("do_sample", False), parameters.get("num_beams", 1), parameters.get("num_return_sequences", 1))
        base = {key: value for key, value in parameters.items() if key in ("do_sample", "num_beams", "num_return_sequences")}
        base |= {"top_k": 0} if base.get("do_sample") else {}
        if kind not in plain:
            plain[kind] = both(name, base)[1]
        found, before = both(name, parameters)[1], plain[kind]
        if what in ("several samples", "several beams back"):
            continue
        same = found.sequences.shape == before.sequences.shape and torch.equal(found.sequences, before.sequences)
        same = same and all(torch.equal(a, b) for a, b in zip(found.scores, before.scores, strict=True))
        assert not same, what


@pytest.mark.parametrize("name", ["llama", "gpt2"])
@pytest.mark.parametrize("parameters", [{}, SAMPLE, BEAMS], ids=["greedy", "sampling", "beams"])
def test_from_embeddings(name: str, parameters: dict[str, Any]) -> None:
    reference, ours, _ = models(name)
    inputs = inputs_for(name)
    embeds = reference.get_input_embeddings()(inputs["input_ids"]).detach()
    found = []
    for model in (reference, ours):
        torch.manual_seed(2)
        found.append(
            model.generate(
                inputs_embeds=embeds, attention_mask=inputs["attention_mask"], max_new_tokens=8, pad_token_id=3, **parameters
            )
        )
    assert found[0].tolist() == found[1].tolist() and found[0].shape[1] <= 8


@pytest.mark.parametrize("parameters", [{}, BEAMS], ids=["greedy", "beams"])
@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_padding_on_the_right(name: str, parameters: dict[str, Any]) -> None:
    """Each row is answered as it is alone (the reference warns that its own answers are wrong then)."""
    reference, ours, _ = models(name)
    ids, mask = inputs_for(name).values()
    order = mask.sort(dim=1, descending=True, stable=True).indices
    right = {"input_ids": ids.gather(1, order), "attention_mask": mask.gather(1, order)}
    assert not right["attention_mask"][1, -3:].any()
    asked = {"max_new_tokens": 8, "pad_token_id": 3, **parameters}
    found = ours.generate(**right, **asked)[:, 8:].tolist()
    for row, length in ((0, 8), (1, 5)):
        alone = reference.generate(right["input_ids"][row : row + 1, :length], **asked)[0, length:].tolist()
        assert found[row][: len(alone)] == alone


@pytest.mark.parametrize("name", MODELS)
def test_own_processors_and_criteria(name: str) -> None:
    """A caller's own, before those of sampling."""
    reference, ours, _ = models(name)
    inputs = inputs_for(name)

    class Shift(processors.LogitsProcessor):
        def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
            return scores.roll(input_ids.shape[1], -1)

    def fourth(ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        return torch.arange(len(ids)) * 3 + 4 <= ids.shape[1] - (1 if name in SEQ2SEQ else 8)

    call = (lambda **kw: transformers.GenerationMixin.generate(reference, **kw)) if name == "whisper" else reference.generate
    asked = {"max_new_tokens": 9, "pad_token_id": 3}
    theirs = call(
        **inputs,
        **asked,
        logits_processor=transformers.LogitsProcessorList([Shift()]),
        stopping_criteria=transformers.StoppingCriteriaList([fourth]),
    )
    found = ours.generate(
        **inputs,
        **asked,
        **decoder_start(name),
        logits_processor=processors.LogitsProcessorList([Shift()]),
        stopping_criteria=StoppingCriteriaList([fourth]),
    )
    assert found.tolist() == theirs.tolist()


@pytest.mark.parametrize("parameters", [{}, BEAMS, SAMPLE], ids=["greedy", "beams", "sampling"])
@pytest.mark.parametrize("name", MODELS)
def test_prefix_function(name: str, parameters: dict[str, Any]) -> None:
    expected, found = both(
        name, parameters, prefix_allowed_tokens_fn=lambda row, ids: [(int(ids[-1]) * 7 + row + k) % VOCABULARY for k in range(5)]
    )
    compare(expected, found)


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("what", ["greedy", "sampling", "several beams back with ends"])
@pytest.mark.parametrize("name", ["llama", "bart"])
def test_transition_scores(name: str, what: str, normalize: bool) -> None:
    expected, found = both(name, ROWS[what])
    reference, ours, _ = models(name)
    beams = {} if "beams" not in what else {"beam_indices": True}
    theirs = reference.compute_transition_scores(
        expected.sequences, expected.scores, normalize_logits=normalize, **{k: expected.beam_indices for k in beams}
    )
    mine = ours.compute_transition_scores(
        found.sequences, found.scores, normalize_logits=normalize, **{k: found.beam_indices for k in beams}
    )
    close(mine.masked_fill(mine.isinf(), 0), theirs.masked_fill(theirs.isinf(), 0), "transition scores")


WARPERS = {
    "TemperatureLogitsWarper": {"temperature": 0.6},
    "TopKLogitsWarper": {"top_k": 5},
    "TopPLogitsWarper": {"top_p": 0.6},
    "MinPLogitsWarper": {"min_p": 0.3},
    "TopHLogitsWarper": {"top_h": 0.5},
    "TypicalLogitsWarper": {"mass": 0.4},
    "EpsilonLogitsWarper": {"epsilon": 0.02},
    "EtaLogitsWarper": {"epsilon": 0.1},
}


@pytest.mark.parametrize("keep", [1, 3])
@pytest.mark.parametrize("name", WARPERS)
def test_warpers_alone(name: str, keep: int) -> None:
    """On scores of many shapes: flat, sharp, with infinities, with ties."""
    torch.manual_seed(0)
    scores = torch.randn(6, 50) * torch.tensor([0.1, 1, 3, 10, 1, 0]).unsqueeze(1)
    scores[4, ::2] = -torch.inf
    least = {"min_tokens_to_keep": keep} if name not in ("TemperatureLogitsWarper", "TopHLogitsWarper") else {}
    ids = torch.zeros(6, 1, dtype=torch.long)
    # the reference's entropy of top_h is NaN where a score is infinite
    rows = slice(0, 4) if name == "TopHLogitsWarper" else slice(None)
    theirs = getattr(transformers, name)(**WARPERS[name], **least)(ids, scores.clone())[rows]
    found = getattr(warpers, name)(**WARPERS[name], **least)(ids, scores)[rows]
    assert torch.equal(found.isinf(), theirs.isinf())
    close(found.masked_fill(found.isinf(), 0), theirs.masked_fill(theirs.isinf(), 0), name)


def test_presence_and_frequency() -> None:
    """Of what the answer holds, not of the prompt: the numbers of the definition."""
    ids = torch.tensor([[1, 2, 3, 3, 5]])
    scores = torch.zeros(1, 6)
    found = processors.PresenceFrequencyPenaltyLogitsProcessor(0.5, 0.25, prompt=2)(ids, scores)
    assert found.tolist() == [[0, 0, 0, -1.0, 0, -0.75]]


NONSENSE = {
    "temperature": {"do_sample": True, "temperature": 0.0},
    "top_p": {"do_sample": True, "top_p": 2.0},
    "typical_p": {"do_sample": True, "typical_p": 0.0},
    "num_beams": {"num_beams": 0},
    "early_stopping": {"num_beams": 2, "early_stopping": "soon"},
    "num_return_sequences": {"num_beams": 2, "num_return_sequences": 3},
    "max_length": {"max_length": 4},
    "min_new_tokens": {"min_new_tokens": 9, "max_new_tokens": 5},
    "eos_token_id": {"eos_token_id": 4000},
    "prompt_lookup_num_tokens": {"num_beams": 2, "prompt_lookup_num_tokens": 3},
    "max_time": {"max_time": 0.0},
    "no_repeat_ngram_size": {"no_repeat_ngram_size": -1},
}


@pytest.mark.parametrize("word", NONSENSE)
def test_nonsense(word: str) -> None:
    ours = models("llama")[1]
    with pytest.raises(GenerationError, match=word) as caught:
        ours.generate(inputs_for("llama")["input_ids"][:1], **NONSENSE[word])
    assert "\n" not in str(caught.value) and str(caught.value).endswith(".")


def test_time_limit() -> None:
    """It ends after the step in which the time is over."""
    ours = models("llama")[1]
    out = ours.generate(inputs_for("llama")["input_ids"][:1], max_new_tokens=4000, max_time=0.2, eos_token_id=None)
    assert 8 < out.shape[1] < 4000


def test_ours_seed() -> None:
    """`seed` draws the same whatever the global generator is at."""
    ours, ids = models("llama")[1], inputs_for("llama")["input_ids"][:1]
    first, again = (ours.generate(ids, max_new_tokens=10, seed=4, **SAMPLE) for _ in range(2))
    other = ours.generate(ids, max_new_tokens=10, seed=5, **SAMPLE)
    assert torch.equal(first, again) and not torch.equal(first, other)


@pytest.mark.parametrize("name", ["llama", "gpt2", "t5"])
def test_prefix_reuse(name: str) -> None:
    """A second turn over the cache of the first computes only its new tokens, and writes the same."""
    ours = models(name)[1]
    if name == "t5":
        source = {"input_ids": inputs_for(name)["input_ids"][:1]}
        first = ours.generate(**source, max_new_tokens=6, return_dict_in_generate=True)
        more = torch.cat([first.sequences, torch.tensor([[9, 8]])], 1)
        fresh = ours.generate(**source, decoder_input_ids=more, max_new_tokens=6)
        again = ours.generate(**source, decoder_input_ids=more, max_new_tokens=6, past_key_values=first.past_key_values)
    else:
        ids = inputs_for(name)["input_ids"][:1]
        first = ours.generate(ids, max_new_tokens=6, return_dict_in_generate=True)
        more = torch.cat([first.sequences, torch.tensor([[9, 8]])], 1)
        fresh = ours.generate(more, max_new_tokens=6)
        again = ours.generate(more, max_new_tokens=6, past_key_values=first.past_key_values)
        with pytest.raises(GenerationError, match="at least one has to be new"):
            ours.generate(ids, max_new_tokens=6, past_key_values=first.past_key_values)
    assert torch.equal(fresh, again)
