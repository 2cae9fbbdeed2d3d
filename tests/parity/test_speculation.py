"""Speculative decoding: the ids of plain greedy, the distribution of plain sampling, and what was guessed."""

from typing import Any

import pytest
import torch

import core
from core.errors import GenerationError
from core.generation import Finished, GenerationConfig, stream
from core.generation.speculative import PromptLookup

SMALL = {
    "vocab_size": 12,
    "hidden_size": 24,
    "intermediate_size": 30,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 200,
    "bos_token_id": None,
    "eos_token_id": None,
}


def tiny(seed: int, **changes: Any) -> Any:
    """A random model whose answers wander."""
    torch.manual_seed(seed)
    model = core.LlamaForCausalLM(core.LlamaConfig(**(SMALL | changes))).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.25)
    return model


@pytest.fixture(scope="module")
def smol() -> tuple[Any, Any]:
    name = "SmolLM2-135M-Instruct"
    return core.AutoModelForCausalLM.from_pretrained(name), core.AutoTokenizer.from_pretrained(name)


@pytest.mark.parametrize("penalty", [1.0, 1.3])
@pytest.mark.parametrize("tokens", [1, 4, 10])
@pytest.mark.parametrize("seed", range(4))
def test_lookup_writes_what_greedy_writes(seed: int, tokens: int, penalty: float) -> None:
    model, ids = tiny(seed), torch.randint(0, 12, (1, 30), generator=torch.Generator().manual_seed(seed))
    asked = {"max_new_tokens": 60, "repetition_penalty": penalty, "return_dict_in_generate": True, "output_scores": True}
    plain = model.generate(ids, **asked)
    guessed = model.generate(ids, **asked, prompt_lookup_num_tokens=tokens)
    assert guessed.sequences.tolist() == plain.sequences.tolist()
    assert len(guessed.scores) == 60 and guessed.past_key_values.get_seq_length() == 89
    for a, b in zip(guessed.scores, plain.scores, strict=True):
        assert torch.allclose(a, b, atol=1e-4)
    assert 0 <= guessed.accepted_tokens <= guessed.drafted_tokens


@pytest.mark.parametrize("seed", range(4))
def test_assistant_writes_what_greedy_writes(seed: int) -> None:
    model, ids = tiny(seed), torch.randint(0, 12, (1, 9), generator=torch.Generator().manual_seed(seed))
    plain = model.generate(ids, max_new_tokens=50)
    for assistant in (tiny(seed + 10, num_hidden_layers=1), model):
        out = model.generate(
            ids,
            max_new_tokens=50,
            assistant_model=assistant,
            num_assistant_tokens=5,
            assistant_confidence_threshold=0.0,
            return_dict_in_generate=True,
        )
        assert out.sequences.tolist() == plain.tolist()
    assert out.accepted_tokens == out.drafted_tokens, "a model that guesses for itself is always right"


@pytest.mark.parametrize("how", ["lookup", "assistant"])
def test_the_distribution_of_sampling(how: str) -> None:
    """Three tokens drawn 6,000 times: as often as the model's own probabilities say, within four standard deviations."""
    model, assistant = tiny(3), tiny(8, num_hidden_layers=1)
    ids, draws = torch.tensor([[1, 2, 3, 4, 1, 2, 3, 4, 1, 2, 3]]), 6000
    with torch.inference_mode():
        first = model(ids).logits[0, -1].softmax(-1)
        pairs = torch.cat([ids.repeat(12, 1), torch.arange(12)[:, None]], 1)
        second = model(pairs).logits[:, -1].softmax(-1) * first[:, None]
    more = {"prompt_lookup_num_tokens": 2} if how == "lookup" else {"assistant_model": assistant, "num_assistant_tokens": 2}
    torch.manual_seed(0)
    counts, kept = torch.zeros(12, 12), 0
    for _ in range(draws):
        asked = {"max_new_tokens": 3, "do_sample": True, "top_k": 0, "return_dict_in_generate": True}
        out = model.generate(ids, **asked, assistant_confidence_threshold=0.0, **more)
        a, b = out.sequences[0, 11:13].tolist()
        counts[a, b] += 1
        kept += out.accepted_tokens
    spread = (second * (1 - second) * draws).sqrt().clamp(min=1)
    assert ((counts - second * draws).abs() <= 4 * spread + 1).all()
    assert kept > 100, "guesses were accepted, or nothing was tested"


def test_real_text(smol: tuple[Any, Any]) -> None:
    """Copying a text: many guesses are right, the ids are the same, streamed too."""
    model, tokenizer = smol
    text = "The old lighthouse keeper climbed the stairs, lit the lamp, and wrote the hour into the heavy book on the table."
    messages = [{"role": "user", "content": f"Repeat this sentence word for word: {text}"}]
    ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt")
    plain = model.generate(ids, max_new_tokens=40)
    out = model.generate(ids, max_new_tokens=40, prompt_lookup_num_tokens=8, return_dict_in_generate=True)
    assert out.sequences.tolist() == plain.tolist()
    assert out.accepted_tokens > 10
    config = GenerationConfig(max_new_tokens=40, prompt_lookup_num_tokens=8)
    *deltas, end = stream(model, ids, None, config, tokenizer)
    assert isinstance(end, Finished) and end.token_ids == plain[0, ids.shape[1] :].tolist()[: len(end.token_ids)]
    assert (end.drafted_tokens, end.accepted_tokens) == (out.drafted_tokens, out.accepted_tokens)
    assert "".join(delta.text for delta in deltas) == end.text


def test_lookup_takes_the_newest_of_the_longest() -> None:
    look = PromptLookup(3, 2)
    found, _ = look.propose(torch.tensor([[5, 6, 1, 9, 9, 6, 2, 8, 5, 6, 3, 7, 7, 5, 6]]), 10)
    assert found.tolist() == [[3, 7, 7]]
    assert look.propose(torch.tensor([[1, 2, 3]]), 10)[0].shape == (1, 0)
    assert look.propose(torch.tensor([[1, 2, 1, 2]]), 0)[0].shape == (1, 0)


def test_ends_and_stops_within_a_guess() -> None:
    """An end in the middle of an accepted guess ends there."""
    model, ids = tiny(1), torch.tensor([[3, 4, 5, 3, 4, 5, 3, 4]])
    plain = model.generate(ids, max_new_tokens=40)
    for end in plain[0, 20:26].unique().tolist():
        expected = model.generate(ids, max_new_tokens=40, eos_token_id=end)
        assert model.generate(ids, max_new_tokens=40, eos_token_id=end, prompt_lookup_num_tokens=6).tolist() == expected.tolist()


def test_refusals() -> None:
    model = tiny(0)
    with pytest.raises(GenerationError, match="one prompt"):
        model.generate(torch.zeros(2, 4, dtype=torch.long), prompt_lookup_num_tokens=3)
    with pytest.raises(GenerationError, match="same vocabulary"):
        model.generate(torch.zeros(1, 4, dtype=torch.long), assistant_model=tiny(0, vocab_size=13))
