"""What holds of single decoders: old and new files, and what the reference lacks or dropped."""

import torch
from rows.llamas import MIXTRAL
from safetensors.torch import load_file, save_file
from support import Row, close, pair

import core

IDS = torch.tensor([[5, 17, 42, 8, 63, 21, 9]])


def test_mixtral_says_where_tokens_went() -> None:
    """Router logits by layer, the loss over them, and both files: experts one by one, or all in one tensor."""
    reference, ours, folder = pair(Row("mixtral", "CausalLM", "routers", MIXTRAL))
    mask = torch.tensor([[1, 1, 1, 1, 1, 0, 0]])
    expected = reference(IDS, attention_mask=mask, output_router_logits=True)
    found = ours(IDS, attention_mask=mask, output_router_logits=True)
    close(found.aux_loss, expected.aux_loss)
    assert len(found.router_logits) == len(expected.router_logits) == 3
    for a, b in zip(found.router_logits, expected.router_logits, strict=True):
        close(a[:5], b[:5])
    assert "router_logits" not in ours(IDS) and ours.model(IDS, output_router_logits=True).router_logits[0].shape == (7, 5)
    names = load_file(folder / "model.safetensors").keys()
    assert names == ours.state_dict().keys()
    fused = {name: tensor.clone() for name, tensor in reference.state_dict().items()}
    assert "model.layers.0.mlp.experts.gate_up_proj" in fused
    save_file(fused, folder / "model.safetensors")
    for cls, run in ((core.MixtralForCausalLM, ours), (core.MixtralModel, ours.model)):
        close(cls.from_pretrained(folder)(IDS)[0], run(IDS)[0])
