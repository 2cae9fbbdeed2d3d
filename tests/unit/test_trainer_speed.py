"""What makes training light gives the plain way's losses and gradients."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F

import core
from core.modeling import losses
from core.modeling.attention import attend
from core.modeling.layers import RMSNorm, gated
from core.modeling.masks import Mask, fill, make_mask, stretches_of
from core.trainer.packing import PackedCollator, PackedRows, bins

LLAMA: dict[str, Any] = {
    "vocab_size": 99,
    "hidden_size": 36,
    "intermediate_size": 50,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "tie_word_embeddings": True,
}
T5 = {
    "vocab_size": 99,
    "d_model": 36,
    "d_kv": 8,
    "d_ff": 50,
    "num_layers": 2,
    "num_heads": 5,
    "decoder_start_token_id": 0,
    "dropout_rate": 0.0,
}


def close(a: torch.Tensor, b: torch.Tensor) -> None:
    assert (a - b).abs().max() <= 1e-5 * max(1.0, float(b.abs().max()))


def llama(**values: Any) -> Any:
    torch.manual_seed(0)
    model = core.LlamaForCausalLM(core.LlamaConfig(**{**LLAMA, **values}))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return model.train()


def gradients(model: Any, **inputs: Any) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    model.zero_grad()
    loss = model(**inputs).loss
    loss.backward()
    return loss.detach(), {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("kind", ["whole", "lora", "lora on the head", "gemma2", "t5", "half"])
def test_a_loss_without_logits_has_the_same_gradients(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses, "PART", 7)  # so that there are several parts
    if kind == "t5":
        torch.manual_seed(0)
        model: Any = core.T5ForConditionalGeneration(core.T5Config(**T5)).train()
    elif kind == "gemma2":
        torch.manual_seed(0)
        sizes = {**LLAMA, "num_attention_heads": 6, "head_dim": 6, "query_pre_attn_scalar": 6, "sliding_window": 8}
        model = core.Gemma2ForCausalLM(core.Gemma2Config(**sizes)).train()
    else:
        model = llama(tie_word_embeddings=kind != "lora on the head")
    if kind.startswith("lora"):
        targets = ["q_proj", "lm_head"] if kind == "lora on the head" else ["q_proj"]
        model = core.get_peft_model(model, core.LoraConfig(r=3, target_modules=targets))
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.2)
    torch.manual_seed(1)
    ids = torch.randint(0, 99, (3, 11))
    inputs = {"input_ids": ids, "labels": ids.masked_fill(torch.rand(ids.shape) < 0.4, -100)}
    for count in ({}, {"num_items_in_batch": torch.tensor(40)}):
        expected, plain = gradients(model, **inputs, **count)
        found, lean = gradients(model, **inputs, **count, skip_logits=True)
        close(found, expected)
        assert plain.keys() == lean.keys() and len(plain) > 0
        for name in plain:
            close(lean[name], plain[name])
    with torch.no_grad():
        out = model(**inputs, skip_logits=True)
        assert out.logits is None
        close(out.loss, model(**inputs).loss)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("frozen", [False, True])
def test_the_lean_norm_and_gate(dtype: torch.dtype, frozen: bool) -> None:
    torch.manual_seed(0)
    norm = RMSNorm(48, 1e-5).to(dtype)
    torch.nn.init.normal_(norm.weight, 1.0, 0.3)
    norm.weight.requires_grad_(not frozen)
    x, other = (torch.randn(2, 5, 48, dtype=dtype) * 3 for _ in range(2))
    direction = torch.randn(2, 5, 48, dtype=dtype)
    found = []
    for lean in (False, True):
        a, b = x.clone().requires_grad_(), other.clone().requires_grad_()
        norm.weight.grad = None
        if lean:
            y, z = norm(a), gated(F.silu, a, b)
        else:
            y = norm.weight * F.rms_norm(a.float(), (48,), eps=1e-5).to(dtype)
            z = F.silu(a) * b
        y.backward(direction)
        of_x, a.grad = a.grad, None
        z.backward(direction)
        found.append([y, z, of_x, a.grad, b.grad, *([] if frozen else [norm.weight.grad])])
    for plain, lean in zip(*found, strict=True):
        tolerance = 1e-5 if dtype == torch.float32 else 2e-2
        assert (plain.float() - lean.float()).abs().max() <= tolerance * max(1.0, float(plain.float().abs().max()))


def test_nothing_is_kept_below_the_lowest_adapted_layer() -> None:
    """Backward reaches no layer below it, and none of its insides is in memory."""
    model = core.get_peft_model(llama(), core.LoraConfig(r=2, target_modules=r"model\.layers\.2\..*q_proj"))
    ids = torch.randint(0, 99, (2, 9))
    reached = []
    for number, layer in enumerate(model.get_base_model().model.layers):
        layer.register_forward_hook(lambda m, i, out, number=number: reached.append((number, out.requires_grad)))
    model(input_ids=ids, labels=ids, skip_logits=True).loss.backward()
    assert reached == [(0, False), (1, False), (2, True)]


def test_packed_losses_are_the_rows_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Row by row, in a model with windows too; a row never reads another."""
    torch.manual_seed(3)
    rows = []
    for length in (3, 9, 5, 12, 2, 7, 4):
        ids = torch.randint(0, 99, (length,)).tolist()
        rows.append({"input_ids": ids, "labels": [-100 if i % 3 == 1 else token for i, token in enumerate(ids)]})
    packed = PackedRows(rows, 14)
    assert sorted(row for own in packed.bins for row in own) == list(range(7)) and len(packed) == 3
    model = llama(tie_word_embeddings=False).eval()
    with torch.no_grad():
        batch = PackedCollator()([packed[i] for i in range(len(packed))])
        logits = model(**{name: value for name, value in batch.items() if name != "labels"}).logits
        whole = model(**batch).loss
        total = torch.zeros(())
        for place, own in enumerate(packed.bins):
            begin = 0
            for number in own:
                row = {name: torch.tensor([values]) for name, values in rows[number].items()}
                alone, end = model(**row), begin + len(rows[number]["input_ids"])
                close(logits[place, begin:end], alone.logits[0])
                count = int((row["labels"][:, 1:] != -100).sum())
                total += alone.loss * count if count else 0
                begin = end
    close(whole, total / int((batch["labels"] != -100).sum()))


def test_bins_are_full_and_hold_everything_once() -> None:
    torch.manual_seed(0)
    lengths = torch.randint(1, 200, (500,)).tolist()
    found = bins(lengths, 256)
    assert sorted(row for own in found for row in own) == list(range(500))
    assert all(sum(lengths[row] for row in own) <= 256 for own in found)
    assert sum(lengths) / (len(found) * 256) > 0.97


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_attention_by_stretches_is_that_under_the_mask(dtype: torch.dtype) -> None:
    """Values and gradients, grouped heads, a stretch too long for the short way."""
    torch.manual_seed(5)
    lengths, heads = [[40, 90, 70], [200]], (6, 2)
    segment = torch.tensor([[i for i, n in enumerate(row) for _ in range(n)] for row in lengths])
    allowed = (segment[:, :, None] == segment[:, None, :]).tril()[:, None]
    assert stretches_of(allowed) == [40, 90, 70, 200]
    like, found = torch.zeros(2, 200, 1, dtype=dtype), []
    inputs = [torch.randn(2, n, 200, 16, dtype=dtype) for n in (heads[0], heads[1], heads[1])]
    direction = torch.randn(2, 200, heads[0], 16, dtype=dtype)
    for mask in (Mask(fill(allowed, dtype)), make_mask(allowed, like, 200, causal=True)):
        own = [x.clone().requires_grad_() for x in inputs]
        z = attend(*own, mask, layer=0)
        z.backward(direction)
        found.append([z, *(x.grad for x in own)])
    assert mask.stretches
    for plain, short in zip(*found, strict=True):
        tolerance = 1e-5 if dtype == torch.float32 else 2e-2
        assert (plain.float() - short.float()).abs().max() <= tolerance * max(1.0, float(plain.float().abs().max()))


def test_other_masks_are_no_stretches() -> None:
    """One more pair, one fewer, both ways, too short."""
    segment = torch.arange(3).repeat_interleave(40)[None]
    allowed = (segment[:, :, None] == segment[:, None, :]).tril()[:, None]
    more, fewer = allowed.clone(), allowed.clone()
    more[0, 0, 50, 3], fewer[0, 0, 30, 20] = True, False
    short = torch.eye(64, dtype=torch.bool)[None, None]
    assert stretches_of(allowed) == [40] * 3
    for other in (more, fewer, allowed | allowed.transpose(-1, -2), short, allowed[..., 1:], allowed.expand(1, 2, 120, 120)):
        assert stretches_of(other) is None
