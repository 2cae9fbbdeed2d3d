"""What is checked of every row of models that see and hear."""

import re
from collections.abc import Callable
from typing import Any

import torch
import transformers
from rows.senses import RENAMED
from support import Row, close, pair

import core
from core.auto import ARCHITECTURES

INNER = {"output_attentions": True, "output_hidden_states": True}
OUTPUTS = (
    "last_hidden_state logits pooler_output extract_features logits_per_image logits_per_text text_embeds image_embeds"
).split()


def inputs_of(row: Row) -> tuple[dict[str, Any], dict[str, Any]]:
    """Inputs of two rows, the second shorter where that can be; and labels where the head has a loss."""
    torch.manual_seed(1)
    inputs: dict[str, Any] = {}
    labels: dict[str, Any] = {}
    classes = row.values.get("num_labels", 2)
    if row.model_type in ("clip", "clip_text_model") and row.head != "ImageClassification":
        ids = torch.randint(5, 97, (2, 11))
        ids[0, 9], ids[1, 6] = 98, 98
        inputs |= {"input_ids": ids, "attention_mask": torch.tensor([[1] * 11, [1] * 7 + [0] * 4])}
        if row.model_type == "clip":
            labels["return_loss"] = True
    if row.model_type in ("vit", "clip", "clip_vision_model"):
        config = row.values.get("vision_config", row.values)
        height, width = config["image_size"] if isinstance(config["image_size"], tuple) else (config["image_size"],) * 2
        inputs["pixel_values"] = torch.randn(2, config.get("num_channels", 3), height, width)
    if row.model_type == "wav2vec2":
        inputs |= {"input_values": torch.randn(2, 203), "attention_mask": torch.ones(2, 203, dtype=torch.long)}
        inputs["attention_mask"][1, 150:] = 0
        if row.head == "CTC":
            labels["labels"] = torch.tensor([[3, 4, 4, 7], [5, 6, -100, -100]])
    if row.head in ("ImageClassification", "AudioClassification"):
        labels["labels"] = torch.randn(2) if classes == 1 else torch.tensor([2, 0])
    return inputs, labels


def flat(out: Any) -> dict[str, torch.Tensor]:
    """Every tensor of an output by name, hidden states and attentions too."""
    found = {name: out[name] for name in OUTPUTS if out.get(name) is not None}
    for name in ("hidden_states", "attentions"):
        for layer, value in enumerate(out.get(name) or ()):
            found[f"{name} {layer}"] = value
    for name in ("text_model_output", "vision_model_output"):
        if out.get(name) is not None:
            found |= {f"{name} {inner}": value for inner, value in flat(out[name]).items() if inner != "pooler_output"}
    return found


def compare(row: Row, found: Any, expected: Any) -> None:
    """All that the reference gave; padded frames and tokens may differ in the second row."""
    have, want = flat(found), flat(expected)
    assert want
    for name, value in want.items():
        a, b = have[name], value
        if row.model_type in ("wav2vec2", "clip_text_model", "clip") and value.dim() >= 3 and "vision" not in name:
            # the first row has no padding; of the second, what is pooled is compared below
            a, b = a[:1], b[:1]
        close(a, b, name)


def same_outputs(row: Row) -> None:
    """Outputs, hidden states, attentions, loss and gradients equal the reference's; so does the fast path."""
    reference, ours, _ = pair(row)
    inputs, labels = inputs_of(row)
    expected, found, fast = (
        model(**inputs, **labels, **extra) for model, extra in ((reference, INNER), (ours, INNER), (ours, {}))
    )
    compare(row, found, expected)
    for name in OUTPUTS:
        if expected.get(name) is not None and fast[name].dim() < 3:
            close(fast[name], expected[name], name)
    if expected.get("loss") is None:
        return
    close(found.loss, expected.loss, "loss")
    fast.loss.backward()
    expected.loss.backward()
    gradients = {name: parameter.grad for name, parameter in ours.named_parameters()}
    compared = 0
    for name, parameter in reference.named_parameters():
        if parameter.grad is not None:
            for pattern, new in RENAMED.get(row.model_type, ()):
                name = re.sub(pattern, new, name)
            assert gradients[name] is not None, name
            close(gradients[name], parameter.grad, f"gradient of {name}")
            compared += 1
    assert compared > 10


def changed_fields_are_noticed(row: Row) -> None:
    """One wrong field of the configuration fails the comparison."""
    reference, ours, folder = pair(row)
    inputs, labels = inputs_of(row)
    expected = reference(**inputs, **labels)
    for name, value in row.changes.items():
        config = type(ours.config).from_dict(ours.config.to_dict() | {name: value})
        wrong = type(ours).from_pretrained(folder, config=config)
        try:
            out = wrong(**inputs, **labels)
            compare(row, out, expected)
            if expected.get("loss") is not None:
                close(out.loss, expected.loss)
        except AssertionError:
            continue
        raise AssertionError(f"{row}: nobody noticed {name} = {value}")


def tuples(row: Row) -> None:
    """return_dict=False gives the same values in the order of the fields."""
    _, ours, _ = pair(row)
    inputs, _ = inputs_of(row)
    named, plain = ours(**inputs, **INNER), ours(**inputs, **INNER, return_dict=False)
    assert isinstance(plain, tuple) and len(plain) == len(named.to_tuple())
    assert torch.equal(plain[0], named.to_tuple()[0])


def head_masks(row: Row) -> None:
    """Ones change nothing; a silenced head's pattern is zero and the output differs."""
    _, ours, _ = pair(row)
    inputs, _ = inputs_of(row)
    layers, heads = ours.config.num_hidden_layers, ours.config.num_attention_heads
    mask = torch.ones(layers, heads)
    plain = ours(**inputs)
    close(ours(**inputs, head_mask=mask)[0], plain[0])
    mask[0, 1] = 0
    masked = ours(**inputs, head_mask=mask, output_attentions=True)
    assert masked.attentions[0][:, 1].abs().max() == 0 and masked.attentions[0][:, 0].abs().max() > 0
    assert not torch.allclose(masked[0], plain[0], atol=1e-5)


def gradient_checkpointing(row: Row) -> None:
    """The same gradients."""
    _, ours, folder = pair(row)
    ours = type(ours).from_pretrained(folder)
    inputs, labels = inputs_of(row)
    for module in ours.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        for name, value in list(vars(module).items()):
            if "drop" in name and isinstance(value, float):
                setattr(module, name, 0.0)
    ours.config.apply_spec_augment = False
    ours.train()
    results = []
    for on in (False, True):
        ours.gradient_checkpointing_enable() if on else ours.gradient_checkpointing_disable()
        ours.zero_grad()
        out = ours(**inputs, **labels)
        (out.loss if out.get("loss") is not None else out[0].square().mean()).backward()
        results.append({n: p.grad.clone() for n, p in ours.named_parameters() if p.grad is not None})
    assert results[0].keys() == results[1].keys() and len(results[0]) > 10
    for name, gradient in results[0].items():
        close(results[1][name], gradient, name)


def saved_for_the_reference(row: Row) -> None:
    """What we save, the reference loads with equal outputs."""
    reference, ours, folder = pair(row)
    inputs, _ = inputs_of(row)
    ours.save_pretrained(folder / "saved")
    back = getattr(transformers, row.class_name).from_pretrained(folder / "saved", attn_implementation="eager")
    compare(row, back(**inputs), reference(**inputs))


def heads_swapped(row: Row) -> None:
    """The trunk of a checkpoint with a head, and back: the same hidden states."""
    _, ours, folder = pair(row)
    inputs, _ = inputs_of(row)
    trunk = getattr(core, ARCHITECTURES[row.model_type].class_name("Model")).from_pretrained(folder)
    expected = ours(**inputs, output_hidden_states=True).hidden_states[-1]
    close(trunk(**inputs, output_hidden_states=True).hidden_states[-1], expected)
    trunk.save_pretrained(folder / "trunk")
    again = type(ours).from_pretrained(folder / "trunk")
    close(again(**inputs, output_hidden_states=True).hidden_states[-1], expected)


def other_sizes(row: Row) -> None:
    """Images of another size, with positions in between; without asking for it, a sentence."""
    reference, ours, _ = pair(row)
    inputs, _ = inputs_of(row)
    inputs["pixel_values"] = torch.randn(2, inputs["pixel_values"].shape[1], 16, 20)
    compare(row, ours(**inputs, interpolate_pos_encoding=True), reference(**inputs, interpolate_pos_encoding=True))
    try:
        ours(**inputs)
    except core.errors.ConfigError as error:
        assert "16, 20" in str(error)
    else:
        raise AssertionError("an image of the wrong size passed")


def hidden_frames(row: Row) -> None:
    """mask_time_indices hides frames as the reference does."""
    reference, ours, _ = pair(row)
    inputs, _ = inputs_of(row)
    frames = ours.config.frames(203)
    torch.manual_seed(2)
    hidden = torch.rand(2, frames) < 0.3
    compare(row, ours(**inputs, mask_time_indices=hidden), reference(**inputs, mask_time_indices=hidden.clone()))


def checks_of(row: Row) -> list[Callable[[Row], None]]:
    """Those that make sense for a row."""
    found = [same_outputs, changed_fields_are_noticed, tuples, gradient_checkpointing, saved_for_the_reference]
    if row.model_type != "clip":
        found.append(head_masks)
    if row.model_type in ("vit", "wav2vec2") and row.head != "Model":
        found.append(heads_swapped)
    if row.model_type in ("vit", "clip", "clip_vision_model") and not isinstance(row.values.get("image_size"), tuple):
        found.append(other_sizes)
    if row.model_type == "wav2vec2" and row.head == "Model":
        found.append(hidden_frames)
    return [check for check in found if check.__name__ not in row.without]
