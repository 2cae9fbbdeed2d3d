"""An encoder-decoder on a source and its target: what each stack looks at, and where in the source the target comes from."""

from typing import Any

import torch

from core.errors import DataError
from core.lens.attention import Grouping
from core.lens.inspection import Inspection, Stack, expected, observe, tokenised
from core.modeling.model import PreTrainedModel
from core.tokenization.readable import readable_tokens

LONGEST = 128  # tokens of a target that is written where no target is given
PARTS = ("cross", "encoder", "decoder")


def inspect_pair(
    model: PreTrainedModel, tokenizer: Any, source: str, target: str | None = None, max_tokens: int = 512, top: int = 10
) -> dict[str, Inspection]:
    """Send a source and its target through an encoder-decoder once -> Inspections "cross", "encoder" and "decoder".

    Without a target the model writes one, greedily. A row of "cross" is a token that the decoder has read, and where in the source it
    looks while it writes the next one. Raises DataError where there is nothing to read.
    """
    batch, cut = tokenised(model, tokenizer, source, max_tokens)
    inputs = {name: batch[name].to(model.device) for name in ("input_ids", "attention_mask") if name in batch}
    if target and target.strip():
        labels, lost = tokenised(model, tokenizer, target, max_tokens, "text_target")
        read = model.prepare_decoder_input_ids_from_labels(labels["input_ids"].to(model.device))  # type: ignore[operator]
        cut += lost
    else:
        read = written(model, inputs)
    return look(model, tokenizer, inputs, read, readable_tokens(tokenizer, batch["input_ids"][0].tolist()), cut, top=top)


def written(model: PreTrainedModel, inputs: dict[str, Any]) -> torch.Tensor:
    """What the decoder reads while it writes its greedy answer, (1, tokens): all but the token that ends it."""
    reach = model.get_decoder().longest or LONGEST  # type: ignore[operator]
    ids = model.generate(**inputs, do_sample=False, num_beams=1, max_new_tokens=None, max_length=min(reach, LONGEST))
    ends = model.generation_config.eos_ids
    return ids[:, :-1] if ids.shape[1] > 1 and int(ids[0, -1]) in ends else ids


def look(
    model: PreTrainedModel,
    tokenizer: Any,
    inputs: dict[str, Any],
    read: torch.Tensor,
    source: list[str],
    cut: int,
    grouping: Grouping | None = None,
    top: int = 10,
) -> dict[str, Inspection]:
    """One forward over a source, whose places are called `source` (joined by `grouping` where that is given), and what the decoder reads."""
    if not model.config.is_encoder_decoder:
        raise DataError(f"{type(model).__name__} has no encoder beside its decoder.")
    encoder, decoder = (len(getattr(stack, stack.blocks_name)) for stack in (model.get_encoder(), model.get_decoder()))  # type: ignore[operator]
    stacks = {
        "cross": Stack(decoder, cross=True, columns=grouping),
        "encoder": Stack(encoder, "encoder.", rows=grouping, columns=grouping),
        "decoder": Stack(decoder),
    }
    out, found = observe(model, inputs | {"decoder_input_ids": read, "use_cache": False}, stacks)
    ids = read[0].tolist()
    tokens, predictions = readable_tokens(tokenizer, ids), expected(tokenizer, out.logits[0, -1], top)
    return {
        "cross": Inspection(tokens, cut, ids=ids, predictions=predictions, columns=source, **found["cross"]),
        "encoder": Inspection(source, cut, **found["encoder"]),
        "decoder": Inspection(tokens, cut, ids=ids, predictions=predictions, **found["decoder"]),
    }
