"""Models against the reference: tiny, every parameter random, odd sizes, sent through save_pretrained and from_pretrained.

Tolerance: 1e-4 * max(1, max|reference|) in float32, at the positions that are not padding.
"""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

import core
from core.modeling.cache import Cache
from core.modeling.model import PreTrainedModel
from core.modeling.taps import Taps

LLAMA = {
    "vocab_size": 99,
    "hidden_size": 36,
    "intermediate_size": 50,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "rms_norm_eps": 0.1,
    "max_position_embeddings": 64,
}
GPT2 = {
    "vocab_size": 99,
    "n_embd": 36,
    "n_layer": 3,
    "n_head": 6,
    "n_positions": 64,
    "layer_norm_epsilon": 0.1,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
BERT = {
    "vocab_size": 99,
    "hidden_size": 36,
    "intermediate_size": 50,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "layer_norm_eps": 0.1,
    "max_position_embeddings": 64,
}
LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 500.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
CAUSAL, MODEL = "AutoModelForCausalLM", "AutoModel"
ROWS: list[tuple[str, str, str, dict[str, Any]]] = [
    ("llama", CAUSAL, "plain", LLAMA),
    ("llama", MODEL, "no head", LLAMA),
    ("llama", CAUSAL, "tied, biases", LLAMA | {"tie_word_embeddings": True, "attention_bias": True, "mlp_bias": True}),
    ("llama", CAUSAL, "wide heads", LLAMA | {"head_dim": 8, "num_key_value_heads": 3}),
    ("llama", CAUSAL, "llama 3 rope", LLAMA | {"rope_parameters": LLAMA3_ROPE}),
    ("llama", CAUSAL, "linear rope", LLAMA | {"rope_parameters": {"rope_type": "linear", "rope_theta": 99.0, "factor": 3.0}}),
    ("gpt2", CAUSAL, "plain", GPT2),
    ("gpt2", MODEL, "no head", GPT2),
    ("gpt2", CAUSAL, "scaled by layer", GPT2 | {"scale_attn_by_inverse_layer_idx": True, "n_inner": 44}),
    ("gpt2", CAUSAL, "unscaled, relu", GPT2 | {"scale_attn_weights": False, "activation_function": "relu"}),
    ("bert", MODEL, "no head", BERT),
    ("bert", "AutoModelForMaskedLM", "masked words", BERT),
    ("bert", "AutoModelForSequenceClassification", "three labels", BERT | {"num_labels": 3}),
    ("bert", "AutoModelForSequenceClassification", "regression", BERT | {"num_labels": 1}),
    ("bert", "AutoModelForTokenClassification", "entities", BERT | {"num_labels": 5}),
    ("bert", "AutoModelForQuestionAnswering", "spans", BERT | {"hidden_act": "gelu_new"}),
]


def close(ours: torch.Tensor, reference: torch.Tensor) -> None:
    """Assert equality within the stated tolerance."""
    assert ours.shape == reference.shape
    assert (ours - reference).abs().max() <= 1e-4 * max(1.0, reference.abs().max().item())


def randomise(model: torch.nn.Module) -> torch.nn.Module:
    """Every parameter random, norms around one."""
    torch.manual_seed(0)
    for name, parameter in model.named_parameters():
        torch.nn.init.normal_(parameter, std=0.3)
        if parameter.dim() == 1 and "weight" in name:
            parameter.data += 1
    return model.eval()


def pair(model_type: str, auto: str, values: dict[str, Any], folder: Path) -> tuple[Any, Any]:
    """The reference model and ours, loaded from what it saved."""
    config = transformers.AutoConfig.for_model(model_type, **values)
    config._attn_implementation = "eager"
    reference = randomise(getattr(transformers, auto).from_config(config, attn_implementation="eager"))
    reference.save_pretrained(folder)  # type: ignore[operator]
    return reference, getattr(core, auto).from_pretrained(folder)


def batch(auto: str, values: dict[str, Any]) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Two rows, the second padded on the right; labels where the head has a loss; the positions that count."""
    torch.manual_seed(1)
    ids = torch.randint(5, 99, (2, 11))
    mask = torch.ones(2, 11, dtype=torch.long)
    mask[1, 8:] = 0
    inputs = {"input_ids": ids, "attention_mask": mask}
    if auto.endswith(("CausalLM", "MaskedLM")):
        inputs["labels"] = ids.masked_fill(mask == 0, -100)
    elif auto.endswith("SequenceClassification"):
        inputs["labels"] = torch.tensor([0.3, -1.2]) if values["num_labels"] == 1 else torch.tensor([0, 2])
    elif auto.endswith("TokenClassification"):
        inputs["labels"] = torch.randint(0, 5, (2, 11)).masked_fill(mask == 0, -100)
    elif auto.endswith("QuestionAnswering"):
        inputs |= {"start_positions": torch.tensor([1, 2]), "end_positions": torch.tensor([3, 20])}
    return inputs, mask.bool()


@pytest.mark.parametrize(("model_type", "auto", "what", "values"), ROWS, ids=lambda v: v if isinstance(v, str) else "")
def test_equal_to_the_reference(model_type: str, auto: str, what: str, values: dict[str, Any], tmp_path: Path) -> None:
    """Outputs, hidden states, attentions, loss and gradients."""
    reference, ours = pair(model_type, auto, values, tmp_path)
    inputs, real = batch(auto, values)
    expected = reference(**inputs, output_attentions=True, output_hidden_states=True)
    found = ours(**inputs, output_attentions=True, output_hidden_states=True)
    fast = ours(**inputs)
    for name in ("last_hidden_state", "logits", "pooler_output", "start_logits", "end_logits"):
        if (value := expected.get(name)) is not None:
            by_token = value.shape[:2] == real.shape
            for output in (found, fast):
                close(*((t[real] if by_token else t) for t in (output[name], value)))
    for ours_h, reference_h in zip(found.hidden_states, expected.hidden_states, strict=True):
        close(ours_h[real], reference_h[real])
    for ours_a, reference_a in zip(found.attentions, expected.attentions, strict=True):
        close(ours_a.transpose(1, 2)[real], reference_a.transpose(1, 2)[real])
    if expected.get("loss") is None:
        return
    close(found.loss, expected.loss)
    fast.loss.backward()
    expected.loss.backward()
    gradients = {name: parameter.grad for name, parameter in ours.named_parameters()}
    compared = 0
    for name, parameter in reference.named_parameters():
        if parameter.grad is not None:
            close(gradients[name], parameter.grad)
            compared += 1
    assert compared > 20


@pytest.mark.parametrize(
    ("model_type", "values", "change"),
    [
        ("llama", LLAMA, {"rms_norm_eps": 0.2}),
        ("llama", LLAMA, {"rope_theta": 77.0, "rope_parameters": None}),
        ("llama", LLAMA, {"hidden_act": "relu"}),
        ("gpt2", GPT2, {"layer_norm_epsilon": 0.2}),
        ("gpt2", GPT2, {"scale_attn_weights": False}),
        ("bert", BERT, {"layer_norm_eps": 0.2}),
        ("bert", BERT, {"hidden_act": "gelu_new"}),
    ],
)
def test_a_changed_field_is_noticed(model_type: str, values: dict, change: dict, tmp_path: Path) -> None:
    """The comparison has teeth: one wrong field of the configuration fails it."""
    reference, ours = pair(model_type, MODEL, values, tmp_path)
    wrong = core.AutoModel.from_pretrained(tmp_path, config=type(ours.config).from_dict(ours.config.to_dict() | change))
    inputs, _ = batch(MODEL, values)
    expected = reference(**inputs).last_hidden_state
    close(ours(**inputs).last_hidden_state[0], expected[0])
    with pytest.raises(AssertionError):
        close(wrong(**inputs).last_hidden_state[0], expected[0])


@pytest.mark.parametrize(("model_type", "values"), [("llama", LLAMA), ("gpt2", GPT2)])
def test_cache_and_chunks(model_type: str, values: dict[str, Any], tmp_path: Path) -> None:
    """A text read in pieces, with the cache as it is and as tuples, gives the logits of the whole."""
    reference, model = pair(model_type, CAUSAL, values, tmp_path)
    ids = torch.randint(5, 99, (2, 12))
    with torch.no_grad():
        whole = model(ids)
        close(whole.logits, reference(ids).logits)
        first = model(ids[:, :5], use_cache=True)
        second = model(ids[:, 5:9], past_key_values=first.past_key_values)
        third = model(ids[:, 9:10], past_key_values=tuple(tuple(layer) for layer in second.past_key_values))
        close(torch.cat([first.logits, second.logits, third.logits], 1), whole.logits[:, :10])
        cache = third.past_key_values
        assert len(cache) == 3 and len(cache[0]) == 2 and cache[-1][0].shape[2] == 10
        for (k, v), expected in zip(cache, reference(ids[:, :10]).past_key_values, strict=True):
            close(k, expected[0])
            close(v, expected[1])
        cache.trim(7)
        close(model(ids[:, 7:], past_key_values=cache).logits, whole.logits[:, 7:])
        close(model(ids, logits_to_keep=2).logits, whole.logits[:, -2:])
    with torch.inference_mode():
        turned = model(ids[:, :6]).past_key_values
        turned.reorder(torch.tensor([1, 0]))
        close(model(ids.flip(0)[:, 6:], past_key_values=turned).logits, whole.logits.flip(0)[:, 6:])


def test_gpt2_forward_is_the_tutorials(tmp_path: Path) -> None:
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
    reference, ours = pair("gpt2", MODEL, GPT2 | {"add_cross_attention": True}, tmp_path)
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
    ("model_type", "auto", "values"), [("llama", CAUSAL, LLAMA), ("gpt2", CAUSAL, GPT2), ("bert", MODEL, BERT)]
)
def test_taps(model_type: str, auto: str, values: dict[str, Any], tmp_path: Path) -> None:
    """Every place is visited; head outputs add up; replacing a pattern is what head_mask does; the other layers stay fast."""
    _, model = pair(model_type, auto, values, tmp_path)
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


@pytest.mark.parametrize(
    ("model_type", "auto", "values"), [("llama", CAUSAL, LLAMA), ("gpt2", CAUSAL, GPT2), ("bert", MODEL, BERT)]
)
def test_gradient_checkpointing(model_type: str, auto: str, values: dict[str, Any], tmp_path: Path) -> None:
    """The same gradients, with a tap and a head mask in force too."""
    _, model = pair(model_type, auto, values, tmp_path)
    ids = torch.randint(5, 99, (2, 7))
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        if isinstance(getattr(module, "dropout", None), float):
            module.dropout = 0.0
    model.train()
    for extra in ({}, {"head_mask": torch.rand(3, 6), "output_attentions": True}):
        results = []
        for on in (False, True):
            model.gradient_checkpointing_enable() if on else model.gradient_checkpointing_disable()
            model.zero_grad()
            model(ids, **extra)[0].square().mean().backward()
            results.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
        for a, b in zip(*results, strict=True):
            close(b, a)


def test_what_we_save_the_reference_loads(tmp_path: Path) -> None:
    """Both ways, unknown keys kept."""
    reference, ours = pair("llama", CAUSAL, LLAMA | {"tie_word_embeddings": True}, tmp_path / "a")
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
