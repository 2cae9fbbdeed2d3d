"""Models against the reference: tiny, every parameter random, odd sizes, sent through save_pretrained and from_pretrained.

The table is rows/, what is checked of each row checks.py; here they meet, and what holds of one architecture alone stands below.
"""

import copy
from collections.abc import Callable
from pathlib import Path

import checks_senses
import checks_seq2seq
import pytest
import torch
import transformers
from checks import checks_of
from rows import SENSES_ROWS, SEQ2SEQ_ROWS, TEXT_ROWS
from rows.decoders import BLOOM, GPT2, GPT_BIGCODE, GPT_NEOX, LLAMA, OPT, OPT_350M
from rows.encoders import ALBERT, BERT, DEBERTA, DEBERTA_V2, DISTILBERT, ELECTRA, ROBERTA
from rows.llamas import GEMMA2, MISTRAL, MIXTRAL, PHI3, QWEN3, STARCODER2
from support import CHECKED, Row, close, pair

import core
from core.modeling.cache import Cache
from core.modeling.model import PreTrainedModel
from core.modeling.taps import Taps


@pytest.mark.parametrize(
    ("row", "check"),
    [pytest.param(row, check, id=f"{row} {check.__name__}") for row in TEXT_ROWS for check in checks_of(row)],
)
def test_text_model(row: Row, check: Callable[[Row], None]) -> None:
    """Every check of every row."""
    check(row)
    CHECKED["checks"] += 1


@pytest.mark.parametrize(
    ("row", "check"),
    [pytest.param(row, check, id=f"{row} {check.__name__}") for row in SENSES_ROWS for check in checks_senses.checks_of(row)],
)
def test_model_that_sees_or_hears(row: Row, check: Callable[[Row], None]) -> None:
    """Every check of every row."""
    check(row)
    CHECKED["checks"] += 1


@pytest.mark.parametrize(
    ("row", "check"),
    [pytest.param(row, check, id=f"{row} {check.__name__}") for row in SEQ2SEQ_ROWS for check in checks_seq2seq.checks_of(row)],
)
def test_encoder_decoder(row: Row, check: Callable[[Row], None]) -> None:
    """Every check of every row."""
    check(row)
    CHECKED["checks"] += 1


def test_gpt2_forward_is_the_tutorials() -> None:
    """Thirteen parameters in order, five fields of the stated shapes, cross-attention caches of four tensors."""
    import inspect

    names = list(inspect.signature(core.GPT2Model.forward).parameters)[1:]
    assert (
        names
        == (
            "input_ids past_key_values attention_mask token_type_ids position_ids head_mask inputs_embeds encoder_hidden_states "
            "encoder_attention_mask use_cache output_attentions output_hidden_states return_dict"
        ).split()
    )
    reference, ours, _ = pair(Row("gpt2", "Model", "cross-attention", GPT2 | {"add_cross_attention": True}))
    torch.manual_seed(2)
    encoded, encoded_mask = torch.randn(2, 5, 36), torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    ids = torch.randint(5, 99, (2, 7))
    options = {"output_attentions": True, "output_hidden_states": True, "use_cache": True}
    cross = {"encoder_hidden_states": encoded, "encoder_attention_mask": encoded_mask}
    found = ours(ids, token_type_ids=ids % 3, **cross, **options)
    expected = reference(ids, token_type_ids=ids % 3, **cross, **options)
    assert found.keys() == ["last_hidden_state", "past_key_values", "hidden_states", "attentions", "cross_attentions"]
    close(found.last_hidden_state, expected.last_hidden_state)
    for a, b in zip(found.cross_attentions, expected.cross_attentions, strict=True):
        close(a, b)
    assert found.last_hidden_state.shape == (2, 7, 36)
    assert [t.shape for t in found.past_key_values[0]] == [(2, 6, 7, 6)] * 2 + [(2, 6, 5, 6)] * 2
    assert len(found.hidden_states) == 4 and found.attentions[0].shape == (2, 6, 7, 7)
    as_tuple = ours(ids, token_type_ids=ids % 3, return_dict=False, **cross, **options)
    assert len(as_tuple) == 5 and torch.equal(as_tuple[0], found[0]) and isinstance(as_tuple[1], Cache)
    more = torch.randint(5, 99, (2, 2))
    past = tuple(tuple(t.detach() for t in layer) for layer in found.past_key_values)
    expected_next = reference(more, past_key_values=expected.past_key_values, **cross).last_hidden_state
    close(ours(more, past, **cross).last_hidden_state, expected_next)


@pytest.mark.parametrize(
    "row",
    [
        Row("llama", "CausalLM", "taps", LLAMA),
        Row("gpt2", "CausalLM", "taps", GPT2),
        Row("gpt_bigcode", "CausalLM", "taps", GPT_BIGCODE),
        Row("gpt_neox", "CausalLM", "taps", GPT_NEOX),
        Row("opt", "CausalLM", "taps", OPT),
        Row("opt", "CausalLM", "taps, norms after", OPT | OPT_350M),
        Row("bloom", "CausalLM", "taps", BLOOM),
        Row("mistral", "CausalLM", "taps", MISTRAL),
        Row("mixtral", "CausalLM", "taps", MIXTRAL),
        Row("qwen3", "CausalLM", "taps", QWEN3),
        Row("gemma2", "CausalLM", "taps", GEMMA2),
        Row("phi3", "CausalLM", "taps", PHI3),
        Row("starcoder2", "CausalLM", "taps", STARCODER2),
        Row("bert", "Model", "taps", BERT),
        Row("roberta", "Model", "taps", ROBERTA),
        Row("electra", "Model", "taps", ELECTRA),
        Row("albert", "Model", "taps", ALBERT),
        Row("distilbert", "Model", "taps", DISTILBERT),
        Row("deberta-v2", "Model", "taps", DEBERTA | DEBERTA_V2),
    ],
    ids=str,
)
def test_taps(row: Row) -> None:
    """Every place is visited; head outputs add up; replacing a pattern is what head_mask does; the other layers stay fast."""
    _, model, _ = pair(row)
    ids = torch.randint(5, 99, (2, 7))
    places = "resid_pre q k v scores pattern z head_out attn_out resid_mid mlp_act mlp_out resid_post".split()
    taps = Taps(record=dict.fromkeys([*places, "embed"]))
    with torch.no_grad():
        plain = model(ids)[0]
        close(model(ids, taps=taps)[0], plain)
        for place in places:
            assert len(taps.layers(place)) == 3, place
        assert taps["head_out", 1].shape == (2, 7, 6, 36)
        bias = taps["attn_out", 1] - taps["head_out", 1].sum(-2)
        close(bias, bias[:1, :1].expand_as(bias))
        head_mask = torch.ones(3, 6)
        head_mask[1, 4] = 0
        masked = model(ids, head_mask=head_mask, output_attentions=True)
        assert masked.attentions[1][:, 4].abs().max() == 0

        def silence(z: torch.Tensor) -> torch.Tensor:
            z = z.clone()
            z[:, :, 4] = 0
            return z

        close(model(ids, taps=Taps(replace={("z", 1): silence}))[0], masked[0])
        assert (masked[0] - plain).abs().max() > 1e-3


def test_what_we_save_the_reference_loads(tmp_path: Path) -> None:
    """Both ways, unknown keys kept."""
    reference, ours, _ = pair(Row("llama", "CausalLM", "tied", LLAMA | {"tie_word_embeddings": True}))
    ours.config.a_key_of_somebody = {"kept": 1}
    ours.save_pretrained(tmp_path / "b")
    back = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "b")
    ids = torch.randint(5, 99, (2, 7))
    close(back(ids).logits, reference(ids).logits)
    assert back.config.a_key_of_somebody == {"kept": 1}
    again = core.AutoModelForCausalLM.from_pretrained(tmp_path / "b", torch_dtype=torch.bfloat16)
    assert again.dtype == torch.bfloat16 and again.lm_head.weight is again.model.embed_tokens.weight
    copied: PreTrainedModel = copy.deepcopy(again)
    assert copied.get_output_embeddings().weight is copied.get_input_embeddings().weight  # type: ignore[union-attr]


def test_smollm2_equals_the_references_own_loading(smollm2: Path) -> None:
    """The real file: logits within 1e-4 relative, 64 greedy tokens identical."""
    reference = transformers.AutoModelForCausalLM.from_pretrained(smollm2.parent, gguf_file=smollm2.name, dtype=torch.float32)
    ours = core.AutoModelForCausalLM.from_pretrained(smollm2)
    ids = torch.tensor([[1, 9690, 198, 2683, 359, 253, 5356, 5646, 11173, 3365, 3511, 308]])
    with torch.no_grad():
        expected = reference(ids).logits
        assert (ours(ids).logits - expected).abs().max() <= 1e-4 * expected.abs().max()
    want = reference.generate(ids, max_new_tokens=64, do_sample=False)
    have = ours.generate(ids, max_new_tokens=64, do_sample=False)
    assert have.tolist() == want.tolist()
