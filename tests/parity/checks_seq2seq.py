"""What is checked of every row of encoder-decoders."""

from collections.abc import Callable
from typing import Any

import torch
import transformers
from checks import INNER, compare_gradients
from support import CHECKED, Row, close, labels_for, pair

import core
from core.auto import ARCHITECTURES
from core.modeling.taps import Taps

WRITES = ("ConditionalGeneration", "SpeechSeq2Seq")
ENCODER_ALONE = ("Encoder", "TokenClassification", "AudioClassification")


def source_of(row: Row, padding: str = "right") -> tuple[dict[str, Any], torch.Tensor]:
    """What the encoder reads, two rows, the second padded where that can be; which of its states count."""
    torch.manual_seed(1)
    eos, pad = row.values.get("eos_token_id", 2), row.values.get("pad_token_id", 1)
    if row.model_type == "whisper":
        frames = row.values["max_source_positions"]
        return {"input_features": torch.randn(2, row.values["num_mel_bins"], 2 * frames)}, torch.ones(2, frames).bool()
    ids = torch.randint(5, row.values["vocab_size"], (2, 11))
    mask = torch.ones(2, 11, dtype=torch.long)
    mask[1, slice(8, None) if padding == "right" else slice(0, 3)] = 0
    if row.head == "SequenceClassification":  # the reference wants as many ends in each text
        ids[:, 4], ids[0, 10], ids[1, 7] = (eos,) * 3
    ids[mask == 0] = pad
    return {"input_ids": ids, "attention_mask": mask}, mask.bool()


def inputs_of(row: Row, padding: str = "right") -> tuple[dict[str, Any], torch.Tensor]:
    """Source and target, with labels where the head has a loss; which of the encoder's states count."""
    inputs, real = source_of(row, padding)
    torch.manual_seed(2)
    target = torch.randint(5, row.values["vocab_size"], (2, 7))
    if row.head == "Model":
        return inputs | {"decoder_input_ids": target}, real
    if row.head in WRITES:
        target[1, 5:] = -100
        return inputs | {"labels": target}, real
    if row.head == "AudioClassification":
        return inputs | {"labels": torch.tensor([1, 2])}, real
    return inputs | labels_for(row, inputs["input_ids"], real), real


def compare(row: Row, found: Any, expected: Any, real: torch.Tensor) -> None:
    """All that the reference gave, in its order; of the encoder's the positions that count."""
    given = {name: value for name, value in expected.items() if name != "past_key_values" and value != ()}
    assert [name for name in found.keys() if name != "past_key_values"] == list(given)
    for name, value in given.items():
        by_source = name.startswith("encoder") or (row.head in ENCODER_ALONE and name not in ("loss", "logits"))
        by_source |= name == "logits" and row.head == "TokenClassification"
        tensors = [(found[name], value)] if isinstance(value, torch.Tensor) else list(zip(found[name], value, strict=True))
        for layer, (a, b) in enumerate(tensors):
            if by_source:
                a, b = ((t.transpose(1, 2) if t.dim() == 4 else t)[real] for t in (a, b))
            close(a, b, f"{name} {layer}")


def same_outputs(row: Row) -> None:
    """Outputs, hidden states and the three kinds of attentions, loss and gradients equal the reference's; so does the fast path."""
    reference, ours, _ = pair(row)
    inputs, real = inputs_of(row)
    expected, found = reference(**inputs, **INNER), ours(**inputs, **INNER)
    compare(row, found, expected, real)
    fast = ours(**inputs)
    compare(row, fast, reference(**inputs), real)
    if expected.get("loss") is not None:
        fast.loss.backward()
        expected.loss.backward()
        compare_gradients(ours, reference)


def changed_fields_are_noticed(row: Row) -> None:
    """One wrong field of the configuration fails the comparison."""
    reference, ours, folder = pair(row)
    inputs, real = inputs_of(row)
    expected = reference(**inputs)
    for name, value in row.changes.items():
        config = type(ours.config).from_dict(ours.config.to_dict() | {name: value})
        wrong = type(ours).from_pretrained(folder, config=config)
        try:
            compare(row, wrong(**inputs), expected, real)
        except AssertionError:
            continue
        raise AssertionError(f"{row}: nobody noticed {name} = {value}")


def left_padding(row: Row) -> None:
    """A source padded on the left."""
    reference, ours, _ = pair(row)
    inputs, real = inputs_of(row, "left")
    compare(row, ours(**inputs, **INNER), reference(**inputs, **INNER), real)


def embeddings_given(row: Row) -> None:
    """inputs_embeds and decoder_inputs_embeds in place of ids."""
    reference, ours, _ = pair(row)
    inputs, real = source_of(row)
    target = torch.randint(5, row.values["vocab_size"], (2, 7))
    given = []
    for model in (ours, reference):
        # ours takes what its table gives; the reference's Marian scales outside of it, in the decoder also what it is given
        outside = model is reference and row.model_type == "marian" and ours.config.scale_embedding
        scale = ours.config.d_model**0.5 if outside else 1.0
        table = model.get_input_embeddings()
        own = dict(inputs)
        if "input_ids" in own:
            own["inputs_embeds"] = table(own.pop("input_ids")).detach() * scale
        if row.head not in ENCODER_ALONE:
            own["decoder_inputs_embeds"] = table(target).detach()
        given.append(own)
    compare(row, ours(**given[0]), reference(**given[1]), real)


def encoder_run_before(row: Row) -> None:
    """encoder_outputs as an output and as a tuple; a mask of the target's padding."""
    reference, ours, _ = pair(row)
    inputs, real = inputs_of(row)
    target = torch.randint(5, row.values["vocab_size"], (2, 7))
    named = {"decoder_input_ids": target, "decoder_attention_mask": torch.tensor([[1] * 7, [0] * 2 + [1] * 5])}
    expected, found = reference(**inputs | named), ours(**inputs | named)
    compare(row, found, expected, real)
    source = {name: value for name, value in source_of(row)[0].items() if name != "attention_mask"}
    without = {name: value for name, value in (inputs | named).items() if name not in source}
    encoded = ours.get_encoder()(**source_of(row)[0], **INNER)
    for outputs in (encoded, encoded.to_tuple(), (encoded.last_hidden_state,)):
        close(ours(**without, encoder_outputs=outputs)[0], found[0])
    close(ours(**without, encoder_outputs=encoded).encoder_attentions[0], encoded.attentions[0])


def tuples(row: Row) -> None:
    """return_dict=False gives the same values in the order of the fields."""
    _, ours, _ = pair(row)
    inputs, _ = inputs_of(row)
    named, plain = ours(**inputs, **INNER), ours(**inputs, **INNER, return_dict=False)
    assert isinstance(plain, tuple) and len(plain) == len(named.to_tuple())
    assert torch.equal(plain[0], named.to_tuple()[0])


def head_masks(row: Row) -> None:
    """Ones change nothing; a silenced head's pattern is zero and the output differs; three masks for three kinds of attention."""
    _, ours, _ = pair(row)
    inputs, _ = inputs_of(row)
    plain = ours(**inputs, **INNER)
    if row.head in ENCODER_ALONE:
        kinds = [("head_mask", "attentions")]
    else:
        kinds = [("head_mask", "encoder"), ("decoder_head_mask", "decoder"), ("cross_attn_head_mask", "cross")]
    kinds = [(name, kind if kind == "attentions" else f"{kind}_attentions") for name, kind in kinds]
    for name, field in kinds:
        mask = torch.ones(len(plain[field]), plain[field][0].shape[1])
        result = next(n for n in ("logits", "start_logits", "last_hidden_state") if n in plain)
        close(ours(**inputs, **{name: mask})[result], plain[result])
        mask[0, 1] = 0
        masks = {name: mask}
        if name == "head_mask" and field != "attentions":  # T5 lets a head_mask alone hold for both stacks
            masks["decoder_head_mask"] = torch.ones(len(plain["decoder_attentions"]), plain["decoder_attentions"][0].shape[1])
        masked = ours(**inputs, **masks, output_attentions=True)
        assert masked[field][0][:, 1].abs().max() == 0 and masked[field][0][:, 0].abs().max() > 0
        assert not torch.allclose(masked[result], plain[result], atol=1e-4), name
        for _, other in kinds:
            assert other == field or masked[other][0].abs().amax((0, 2, 3)).min() > 0


def gradient_checkpointing(row: Row) -> None:
    """The same gradients, with a head silenced and a place of the encoder replaced when a layer is computed again too."""
    _, _, folder = pair(row)
    ours = type(pair(row)[1]).from_pretrained(folder)
    inputs, _ = inputs_of(row)
    inputs["head_mask"] = torch.ones(ours.config.num_hidden_layers, ours.config.num_attention_heads)
    inputs["head_mask"][1, 2] = 0
    for module in ours.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        for name, value in list(vars(module).items()):
            if "drop" in name and isinstance(value, float):
                setattr(module, name, 0.0)
    ours.train()
    results = []
    for on in (False, True):
        ours.gradient_checkpointing_enable() if on else ours.gradient_checkpointing_disable()
        ours.zero_grad()
        place = "mlp_out" if row.head in ENCODER_ALONE else "encoder.mlp_out"
        out = ours(**inputs, taps=Taps(replace={(place, 1): lambda x: 2 * x.sin()}))
        (out.loss if out.get("loss") is not None else out[0].square().mean()).backward()
        results.append({n: p.grad.clone() for n, p in ours.named_parameters() if p.grad is not None})
    assert results[0].keys() == results[1].keys() and len(results[0]) > 10
    for name, gradient in results[0].items():
        close(results[1][name], gradient, name)


def resized_vocabulary(row: Row) -> None:
    """More rows: the old ones stay, tied layers stay tied, the model runs, saves and loads."""
    _, ours, folder = pair(row)
    inputs, _ = inputs_of(row)
    model = type(ours).from_pretrained(folder)
    rows = row.values["vocab_size"]
    old, before = model.get_input_embeddings().weight.detach().clone(), model(**inputs)
    model.resize_token_embeddings(rows + 3)
    after = model(**inputs)
    assert model.config.vocab_size == rows + 3 and torch.equal(model.get_input_embeddings().weight[:rows], old)
    assert len({p.data_ptr() for n, p in model.state_dict().items() if n.endswith(("shared.weight", "embed_tokens.weight"))}) == 1
    name = next(n for n in ("logits", "start_logits", "last_hidden_state") if n in before)
    if row.head in WRITES:
        assert after.logits.shape[-1] == rows + 3
        close(after.logits[..., :-3], before.logits)
    else:
        close(after[name], before[name])
    model.save_pretrained(folder / "resized")
    close(type(model).from_pretrained(folder / "resized")(**inputs)[name], after[name])


def saved_for_the_reference(row: Row) -> None:
    """What we save, the reference loads with equal outputs."""
    reference, ours, folder = pair(row)
    inputs, real = inputs_of(row)
    ours.save_pretrained(folder / "saved")
    back = getattr(transformers, row.class_name).from_pretrained(folder / "saved", attn_implementation="eager")
    compare(row, ours(**inputs), back(**inputs), real)
    compare(row, ours(**inputs), reference(**inputs), real)


def heads_swapped(row: Row) -> None:
    """The trunk of a checkpoint with a head, and back: the same states."""
    _, ours, folder = pair(row)
    inputs, _ = source_of(row)
    if row.head not in ENCODER_ALONE:
        inputs["decoder_input_ids"] = torch.randint(5, row.values["vocab_size"], (2, 11))
    kind = "Encoder" if row.head == "TokenClassification" else "Model"
    trunk = getattr(core, ARCHITECTURES[row.model_type].class_name(kind)).from_pretrained(folder)
    name = "hidden_states" if row.head in ENCODER_ALONE else "decoder_hidden_states"
    expected = ours(**inputs, output_hidden_states=True)[name][-1]
    found = trunk(**inputs, output_hidden_states=True)[name][-1]
    close(found, expected)
    trunk.save_pretrained(folder / "trunk")
    again = type(ours).from_pretrained(folder / "trunk")
    close(again(**inputs, output_hidden_states=True)[name][-1], expected)


def cache_and_chunks(row: Row) -> None:
    """A target read in pieces, with the cache as it is and as tuples of four, gives the logits of the whole."""
    _, model, _ = pair(row)
    source, _ = source_of(row)
    ids = torch.randint(5, row.values["vocab_size"], (2, 12))
    with torch.no_grad():
        whole = model(**source, decoder_input_ids=ids)
        given = {"encoder_outputs": (whole.encoder_last_hidden_state,)}
        if "attention_mask" in source:
            given["attention_mask"] = source["attention_mask"]
        first = model(**given, decoder_input_ids=ids[:, :5], use_cache=True)
        second = model(**given, decoder_input_ids=ids[:, 5:9], past_key_values=first.past_key_values)
        past = tuple(tuple(layer) for layer in second.past_key_values)
        assert all(len(layer) == 4 for layer in past) and past[0][2].shape[2] == whole.encoder_last_hidden_state.shape[1]
        third = model(**given, decoder_input_ids=ids[:, 9:10], past_key_values=past)
        close(torch.cat([first.logits, second.logits, third.logits], 1), whole.logits[:, :10])
        cache = third.past_key_values
        assert len(cache) == len(whole.past_key_values) and cache[-1][0].shape[2] == 10
        cache.trim(7)
        close(model(**given, decoder_input_ids=ids[:, 7:], past_key_values=cache).logits, whole.logits[:, 7:])
        turned = model(**given, decoder_input_ids=ids[:, :6]).past_key_values
        turned.reorder(torch.tensor([1, 0]))
        flipped = {name: value[0].flip(0) if isinstance(value, tuple) else value.flip(0) for name, value in given.items()}
        flipped["encoder_outputs"] = (flipped["encoder_outputs"],)
        again = model(**flipped, decoder_input_ids=ids.flip(0)[:, 6:], past_key_values=turned)
        close(again.logits, whole.logits.flip(0)[:, 6:])


def logits_to_keep(row: Row) -> None:
    """Only the last logits."""
    _, model, _ = pair(row)
    inputs, _ = inputs_of(row)
    inputs["decoder_input_ids"] = inputs.pop("labels").clamp(min=5)
    close(model(**inputs, logits_to_keep=2).logits, model(**inputs).logits[:, -2:])


def both_generate(row: Row, **options: Any) -> None:
    """The reference's tokens and ours are the same, the encoder's source padded on either side."""
    reference, ours, _ = pair(row)
    for padding in ("right", "left"):
        source, _ = source_of(row, padding)
        torch.manual_seed(5)
        expected = transformers.GenerationMixin.generate(reference, **source, **options)
        torch.manual_seed(5)
        found = ours.generate(**source, **options)
        assert found.tolist() == expected.tolist()
        CHECKED["tokens written"] += found.numel()


def greedy_tokens(row: Row) -> None:
    """Token by token: from the start token; from a prompt; to an end; first and last token forced, others forbidden."""
    size = row.values["vocab_size"]
    plain = {"do_sample": False, "eos_token_id": None, "forced_eos_token_id": None, "max_new_tokens": 8}
    if row.model_type == "whisper":  # in the reference the model, not the loop, knows its start
        plain["decoder_input_ids"] = torch.full((2, 1), 4)
    both_generate(row, **plain)
    both_generate(row, **plain | {"decoder_input_ids": torch.randint(5, size, (2, 3))})
    both_generate(row, **plain | {"eos_token_id": list(range(5, size, 2)), "use_cache": False})
    both_generate(row, **plain | {"suppress_tokens": list(range(5, size, 2)), "begin_suppress_tokens": list(range(4, size, 4))})
    both_generate(row, **plain | {"forced_bos_token_id": 9, "forced_eos_token_id": 11, "repetition_penalty": 1.3})
    both_generate(row, **plain | {"forced_bos_token_id": 9, "begin_suppress_tokens": list(range(4, size, 2))})
    first = pair(row)[1].generate(**source_of(row)[0], **plain)
    banned = [[int(first[0, 2])], [int(first[0, 3]), int(first[0, 4])], [7, 8, 9]]
    both_generate(row, **plain | {"bad_words_ids": banned})


def sampled_tokens(row: Row) -> None:
    """The same draws from the same seed, several answers to a source."""
    options = {
        "do_sample": True,
        "num_return_sequences": 3,
        "max_new_tokens": 6,
        "top_k": 20,
        "temperature": 1.4,
        "eos_token_id": None,
    }
    if row.model_type == "whisper":
        options["decoder_input_ids"] = torch.full((2, 1), 4)
    both_generate(row, **options)


def checks_of(row: Row) -> list[Callable[[Row], None]]:
    """Those that make sense for a row."""
    found = [same_outputs, changed_fields_are_noticed, tuples, head_masks, gradient_checkpointing, saved_for_the_reference]
    if row.head == "AudioClassification":  # no text in it
        return found
    found += [embeddings_given, resized_vocabulary]
    if row.model_type != "whisper":
        found.append(left_padding)
    if row.head not in ENCODER_ALONE:
        found.append(encoder_run_before)
    if row.head not in ("Model", "Encoder"):
        found.append(heads_swapped)
    if row.head in WRITES:
        found += [cache_and_chunks, logits_to_keep, greedy_tokens, sampled_tokens]
    return [check for check in found if check.__name__ not in row.without]
