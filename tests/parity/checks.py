"""What is checked of every row of text models. A check is a function of the row; its name says what holds."""

import collections
from collections.abc import Callable
from typing import Any

import torch
import transformers
from support import Row, close, labels_for, pair, text_batch

import core
from core.auto import ARCHITECTURES

OUTPUTS = (
    "last_hidden_state",
    "logits",
    "aux_loss",
    "pooler_output",
    "start_logits",
    "end_logits",
    "prediction_logits",
    "seq_relationship_logits",
)
INNER = {"output_attentions": True, "output_hidden_states": True}


def compare(found: Any, expected: Any, real: torch.Tensor) -> None:
    """Outputs, hidden states and attentions, at the positions that count."""
    names = [name for name in OUTPUTS if expected.get(name) is not None]
    assert names
    for name in names:
        value = expected[name]
        by_token = value.shape[:2] == real.shape
        close(*((t[real] if by_token else t) for t in (found[name], value)), counted=name)
    if expected.get("hidden_states") is not None and found.get("hidden_states") is not None:
        for layer, (a, b) in enumerate(zip(found.hidden_states, expected.hidden_states, strict=True)):
            close(a[real], b[real], f"hidden state {layer}")
    for name in ("attentions", "cross_attentions"):
        if expected.get(name) is not None and found.get(name) is not None:
            for layer, (a, b) in enumerate(zip(found[name], expected[name], strict=True)):
                close(a.transpose(1, 2)[real], b.transpose(1, 2)[real], f"{name} {layer}")


def gradients_of(model: torch.nn.Module) -> dict[str, Any]:
    """By the reference's names, where its modules are not called as its files call them: Mixtral's experts and router, GPT-NeoX's
    output layer."""
    found: dict[str, Any] = {}
    experts = collections.defaultdict(list)
    for name, parameter in model.named_parameters():
        layer, _, leaf = name.partition(".block_sparse_moe.experts.")
        if leaf:  # an expert that no token picked has no gradient
            experts[layer, leaf.split(".")[1]].append(torch.zeros_like(parameter) if parameter.grad is None else parameter.grad)
        else:
            found[name.replace("block_sparse_moe.gate", "mlp.gate").replace("embed_out.", "lm_head.")] = parameter.grad
    for layer in {layer for layer, _ in experts}:
        w1, w2, w3 = (torch.stack(experts[layer, part]) for part in ("w1", "w2", "w3"))
        found |= {f"{layer}.mlp.experts.gate_up_proj": torch.cat([w1, w3], 1), f"{layer}.mlp.experts.down_proj": w2}
    return found


def compare_gradients(ours: torch.nn.Module, reference: torch.nn.Module) -> None:
    """Of every parameter that the reference has a gradient for."""
    gradients = gradients_of(ours)
    compared = 0
    for name, parameter in reference.named_parameters():
        if parameter.grad is not None:
            assert gradients[name] is not None, name
            close(gradients[name], parameter.grad, f"gradient of {name}")
            compared += 1
    assert compared > 10


def same_outputs(row: Row) -> None:
    """Outputs, hidden states, attentions, loss and gradients equal the reference's; so does the fast path."""
    reference, ours, _ = pair(row)
    inputs, real = text_batch(row)
    inputs |= labels_for(row, inputs["input_ids"], real)
    expected, found, fast = reference(**inputs, **INNER), ours(**inputs, **INNER), ours(**inputs)
    assert found.hidden_states is not None and found.attentions is not None
    compare(found, expected, real)
    compare(fast, expected, real)
    if expected.get("loss") is not None:
        close(found.loss, expected.loss, "loss")
        fast.loss.backward()
        expected.loss.backward()
        compare_gradients(ours, reference)


def changed_fields_are_noticed(row: Row) -> None:
    """The comparison has teeth: one wrong field of the configuration fails it."""
    reference, ours, folder = pair(row)
    inputs, real = text_batch(row)
    inputs |= labels_for(row, inputs["input_ids"], real)
    expected = reference(**inputs)
    for name, value in row.changes.items():
        config = type(ours.config).from_dict(ours.config.to_dict() | {name: value})
        wrong = type(ours).from_pretrained(folder, config=config)
        try:
            compare(wrong(**inputs), expected, real)
        except AssertionError:
            continue
        raise AssertionError(f"{row}: nobody noticed {name} = {value}")


def left_padding(row: Row) -> None:
    """Rows padded on the left, with positions that count tokens, give what the reference gives."""
    reference, ours, _ = pair(row)
    inputs, real = text_batch(row, padding="left")
    if "position_ids" in type(ours).forward_names() and row.family == "decoder":
        inputs["position_ids"] = (inputs["attention_mask"].cumsum(1) - 1).clamp(min=0)
    compare(ours(**inputs, **INNER), reference(**inputs, **INNER), real)


def embeddings_and_positions_given(row: Row) -> None:
    """inputs_embeds in place of input_ids, and positions of the caller's."""
    reference, ours, _ = pair(row)
    inputs, real = text_batch(row)
    if row.head == "SequenceClassification":  # the reference sees no padding in embeddings
        inputs["attention_mask"][:] = 1
    ids = inputs.pop("input_ids")
    inputs["inputs_embeds"] = ours.get_input_embeddings()(ids).detach()
    theirs = inputs | {"inputs_embeds": reference.get_input_embeddings()(ids).detach()}
    compare(ours(**inputs), reference(**theirs), real)
    if "position_ids" in type(ours).forward_names() and "position_ids" not in row.without:
        positions = torch.arange(ids.shape[1]).flip(0)[None].expand(2, -1) + 2
        given = {"input_ids": ids, "attention_mask": inputs["attention_mask"], "position_ids": positions}
        compare(ours(**given), reference(**given), real)


def tuples(row: Row) -> None:
    """return_dict=False gives the same values in the order of the fields."""
    _, ours, _ = pair(row)
    inputs, _ = text_batch(row)
    named, plain = ours(**inputs, **INNER), ours(**inputs, **INNER, return_dict=False)
    assert isinstance(plain, tuple) and len(plain) == len(named.to_tuple())
    for a, b in zip(plain, named.to_tuple(), strict=True):
        if isinstance(b, torch.Tensor):
            assert torch.equal(a, b)


def head_masks(row: Row) -> None:
    """Ones change nothing; a silenced head's pattern is zero and the output differs."""
    _, ours, _ = pair(row)
    inputs, _ = text_batch(row)
    layers, heads = ours.config.num_hidden_layers, ours.config.num_attention_heads
    plain = ours(**inputs)
    close(ours(**inputs, head_mask=torch.ones(layers, heads))[0], plain[0])
    mask = torch.ones(layers, heads)
    mask[0, 1] = 0
    masked = ours(**inputs, head_mask=mask, output_attentions=True)
    assert masked.attentions[0][:, 1].abs().max() == 0 and masked.attentions[0][:, 0].abs().max() > 0
    assert not torch.allclose(masked[0], plain[0], atol=1e-4)


def gradient_checkpointing(row: Row) -> None:
    """The same gradients."""
    _, ours, _ = pair(row)
    inputs, real = text_batch(row)
    inputs |= labels_for(row, inputs["input_ids"], real)
    results = []
    for on in (False, True):
        ours.train()
        for module in ours.modules():
            for name, value in list(vars(module).items()):  # no chance in it, so that two passes can be compared
                if "drop" in name and isinstance(value, float):
                    setattr(module, name, 0.0)
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        ours.gradient_checkpointing_enable() if on else ours.gradient_checkpointing_disable()
        ours.zero_grad()
        out = ours(**inputs)
        (out.loss if out.get("loss") is not None else out[0].square().mean()).backward()
        results.append({n: p.grad.clone() for n, p in ours.named_parameters() if p.grad is not None})
    ours.gradient_checkpointing_disable()
    assert results[0].keys() == results[1].keys()
    for name, gradient in results[0].items():
        close(results[1][name], gradient, name)


def resized_vocabulary(row: Row) -> None:
    """More and fewer rows: the old ones stay, tied layers stay tied, the model runs and saves."""
    _, _, folder = pair(row)
    inputs, real = text_batch(row)
    model = type(pair(row)[1]).from_pretrained(folder)
    old = model.get_input_embeddings().weight.detach().clone()
    before = model(**inputs)[0]
    model.resize_token_embeddings(row.values["vocab_size"] + 3)
    after = model(**inputs)[0]
    assert model.config.vocab_size == row.values["vocab_size"] + 3
    assert torch.equal(model.get_input_embeddings().weight[: old.shape[0]], old)
    if row.head in ("CausalLM", "MaskedLM"):
        assert after.shape[-1] == row.values["vocab_size"] + 3
        after = after[..., :-3]
    close(after[real] if after.shape[:2] == real.shape else after, before[real] if after.shape[:2] == real.shape else before)
    model.save_pretrained(folder / "resized")
    again = type(model).from_pretrained(folder / "resized")
    close(again(**inputs)[0], model(**inputs)[0])


def saved_for_the_reference(row: Row) -> None:
    """What we save, the reference loads with equal outputs."""
    reference, ours, folder = pair(row)
    inputs, real = text_batch(row)
    ours.save_pretrained(folder / "saved")
    back = getattr(transformers, row.class_name).from_pretrained(folder / "saved", attn_implementation="eager")
    compare(back(**inputs), reference(**inputs), real)


def heads_swapped(row: Row) -> None:
    """The trunk of a checkpoint with a head, and back: the same hidden states."""
    _, ours, folder = pair(row)
    inputs, real = text_batch(row)
    trunk_class = getattr(core, ARCHITECTURES[row.model_type].class_name("Model"))
    trunk = trunk_class.from_pretrained(folder)
    expected = ours(**inputs, output_hidden_states=True).hidden_states[-1]
    close(trunk(**inputs, output_hidden_states=True).hidden_states[-1][real], expected[real])
    trunk.save_pretrained(folder / "trunk")
    again = type(ours).from_pretrained(folder / "trunk")
    close(again(**inputs, output_hidden_states=True).hidden_states[-1][real], expected[real])


def cache_and_chunks(row: Row) -> None:
    """A text read in pieces, with the cache as it is and as tuples, gives the logits of the whole."""
    _, model, _ = pair(row)
    ids = text_batch(row, length=12)[0]["input_ids"].clamp(min=5)
    with torch.no_grad():
        whole = model(ids)
        first = model(ids[:, :5], use_cache=True)
        second = model(ids[:, 5:9], past_key_values=first.past_key_values)
        third = model(ids[:, 9:10], past_key_values=tuple(tuple(layer) for layer in second.past_key_values))
        close(torch.cat([first[0], second[0], third[0]], 1), whole[0][:, :10])
        cache = third.past_key_values
        assert len(cache) == model.config.num_hidden_layers and cache[-1][0].shape[2] == 10
        cache.trim(7)
        close(model(ids[:, 7:], past_key_values=cache)[0], whole[0][:, 7:])
    with torch.inference_mode():
        turned = model(ids[:, :6]).past_key_values
        turned.reorder(torch.tensor([1, 0]))
        close(model(ids.flip(0)[:, 6:], past_key_values=turned)[0], whole[0].flip(0)[:, 6:])


def logits_to_keep(row: Row) -> None:
    """Only the last logits."""
    _, model, _ = pair(row)
    inputs, _ = text_batch(row)
    close(model(**inputs, logits_to_keep=2).logits, model(**inputs).logits[:, -2:])


def greedy_tokens(row: Row) -> None:
    """The reference's greedy continuation of rows padded on the left, token by token."""
    reference, ours, _ = pair(row)
    inputs, _ = text_batch(row, padding="left")
    options = {"max_new_tokens": 8, "do_sample": False, "pad_token_id": 0, "eos_token_id": None}
    assert ours.generate(**inputs, **options).tolist() == reference.generate(**inputs, **options).tolist()


TEXT: list[Callable[[Row], None]] = [
    same_outputs,
    changed_fields_are_noticed,
    left_padding,
    embeddings_and_positions_given,
    tuples,
    head_masks,
    gradient_checkpointing,
    resized_vocabulary,
    saved_for_the_reference,
]


def checks_of(row: Row) -> list[Callable[[Row], None]]:
    """Those that make sense for a row."""
    found = list(TEXT)
    if row.head != "Model":
        found.append(heads_swapped)
    if row.head == "CausalLM":
        found += [cache_and_chunks, logits_to_keep, greedy_tokens]
    return [check for check in found if check.__name__ not in row.without]
