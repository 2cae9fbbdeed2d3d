"""Mixtral: Mistral with several MLPs a layer, of which a router picks a few for each token. Jiang et al. 2024."""

from typing import Any

import torch
from torch import nn

from core.modeling.heads import CausalLMHead, LastTokenHead, TokenHead, inner
from core.modeling.layers import activation
from core.modeling.linear import Linear
from core.modeling.losses import causal_loss
from core.modeling.model import keep_logits
from core.modeling.outputs import MoeCausalLMOutputWithPast, MoeModelOutputWithPast
from core.modeling.taps import Taps, tap, tapped
from core.models.llama import LlamaConfig, LlamaDecoderLayer, LlamaModel, LlamaPreTrainedModel


class MixtralConfig(LlamaConfig):
    """Keys and defaults of a mixtral config.json."""

    model_type = "mixtral"
    attribute_map = {"num_experts": "num_local_experts"}
    defaults = LlamaConfig.defaults | {
        "intermediate_size": 14336,
        "num_key_value_heads": 8,
        "max_position_embeddings": 131072,
        "rms_norm_eps": 1e-5,
        "sliding_window": None,
        "rope_theta": 1_000_000.0,
        "num_experts_per_tok": 2,
        "num_local_experts": 8,
        "output_router_logits": False,
        "router_aux_loss_coef": 0.001,
        "router_jitter_noise": 0.0,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }


class MixtralExpert(nn.Module):
    """w2(act(w1 x) * w3 x), in two steps."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        width, inside = config.hidden_size, config.intermediate_size
        self.w1, self.w3 = Linear(width, inside, bias=False), Linear(width, inside, bias=False)
        self.w2 = Linear(inside, width, bias=False)
        self.act_fn = activation(config.hidden_act)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(tokens, width) -> (tokens, inner width): the first step."""
        return self.act_fn(self.w1(x)) * self.w3(x)


class MixtralSparseMoeBlock(nn.Module):
    """The MLPs of the `num_experts_per_tok` likeliest experts, weighted by how likely these are among themselves."""

    def __init__(self, config: Any, layer: int) -> None:
        super().__init__()
        self.layer, self.inside = layer, config.intermediate_size
        self.chosen, self.noise = config.num_experts_per_tok, config.router_jitter_noise
        self.gate = Linear(config.hidden_size, config.num_local_experts, bias=False)
        self.experts = nn.ModuleList(MixtralExpert(config) for _ in range(config.num_local_experts))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, tokens, width) -> the same."""
        if self.training and self.noise > 0:
            x = x * torch.empty_like(x).uniform_(1 - self.noise, 1 + self.noise)
        tokens = x.flatten(0, 1)
        logits = tap("router", self.layer, self.gate(tokens))
        weights, chosen = logits.softmax(-1, dtype=torch.float32).topk(self.chosen)
        weights = (weights / weights.sum(-1, keepdim=True)).to(x.dtype)
        acts = tokens.new_zeros(*chosen.shape, self.inside)
        visits: list[Any] = [(expert, *(chosen == i).nonzero(as_tuple=True)) for i, expert in enumerate(self.experts)]
        for expert, token, place in visits:
            if len(token):
                acts[token, place] = expert(tokens[token])
        acts, out = tap("mlp_act", self.layer, acts), torch.zeros_like(tokens)
        for expert, token, place in visits:
            if len(token):
                out.index_add_(0, token, expert.w2(acts[token, place]) * weights[token, place, None])
        return out.view_as(x)


class MixtralDecoderLayer(LlamaDecoderLayer):
    """LLaMA's, with experts for an MLP."""

    feed_forward, feed_forward_name = MixtralSparseMoeBlock, "block_sparse_moe"


class MixtralPreTrainedModel(LlamaPreTrainedModel):
    """What the Mixtral classes share. Some files hold all experts of a layer in one tensor, under the name of an MLP."""

    config_class = MixtralConfig
    other_names = r"\.mlp\.(gate|experts)\."

    @classmethod
    def translate(cls, name: str, tensor: torch.Tensor) -> dict[str, torch.Tensor]:
        """gate_up_proj (experts, 2 * inner width, width) and down_proj (experts, width, inner width) -> experts one by one."""
        layer, _, leaf = name.partition(".mlp.")
        place = f"{layer}.block_sparse_moe."
        if leaf == "gate.weight":
            return {place + leaf: tensor}
        parts = dict(zip(("w1", "w3"), tensor.chunk(2, 1), strict=True)) if leaf == "experts.gate_up_proj" else {"w2": tensor}
        return {f"{place}experts.{i}.{part}.weight": one for part, all_ in parts.items() for i, one in enumerate(all_)}


class MixtralModel(LlamaModel, MixtralPreTrainedModel):
    """The decoder without a head."""

    block = MixtralDecoderLayer

    @classmethod
    def forward_names(cls) -> list[str]:
        """LLaMA's and `output_router_logits`."""
        return [*LlamaModel.forward_names(), "output_router_logits"]

    def forward(self, *inputs: Any, **named: Any) -> Any:
        """LLaMA's inputs; `output_router_logits` adds the routers' logits to the output."""
        given = dict(zip(self.forward_names(), inputs, strict=False)) | named
        return_dict, wanted = given.pop("return_dict", None), given.pop("output_router_logits", None)
        seen = Taps({"router": None} if (self.config.output_router_logits if wanted is None else wanted) else {})
        with tapped(seen):
            out = super().forward(**given, return_dict=True)
        routers = seen.layers("router") or None
        return MoeModelOutputWithPast(**dict(out.items()), router_logits=routers).packed(self.wants_dict(return_dict))


def balance_loss(router_logits: tuple[torch.Tensor, ...], chosen: int, attention_mask: torch.Tensor | None) -> torch.Tensor:
    """1 where every expert is picked as often as the others, more where not; padding does not count. Fedus et al. 2021, 2.2.

    router_logits a layer (batch * tokens, experts), attention_mask (batch, tokens).
    """
    likely = torch.stack(router_logits).softmax(-1)
    picked = torch.zeros_like(likely).scatter(-1, likely.topk(chosen).indices, 1.0)
    counted = likely.new_ones(likely.shape[1]) if attention_mask is None else attention_mask.flatten().to(likely)
    share = torch.einsum("lte,t->e", picked, counted) / (counted.sum() * len(router_logits))
    weight = torch.einsum("lte,t->e", likely, counted) / (counted.sum() * len(router_logits))
    return likely.shape[-1] * (share * weight).sum()


class MixtralForCausalLM(CausalLMHead, MixtralPreTrainedModel, trunk=MixtralModel):
    """The decoder with a layer that predicts the next token. With `output_router_logits` the loss minds too that experts are picked
    evenly, by `router_aux_loss_coef`."""

    def forward(
        self,
        *inputs: Any,
        labels: torch.Tensor | None = None,
        return_dict: bool | None = None,
        logits_to_keep: int = 0,
        num_items_in_batch: Any = None,
        **named: Any,
    ) -> Any:
        """The trunk's inputs; logits, a loss where labels are given, aux_loss where router logits are asked for."""
        out, given = self.run_trunk(inputs, named)
        logits = tap("logits", None, self.logits(keep_logits(out.last_hidden_state, logits_to_keep)))
        loss = None if labels is None else causal_loss(logits, labels, num_items_in_batch)
        routers, aux_loss = out.router_logits, None
        if routers is not None:
            mask = given.get("attention_mask")
            mask = None if mask is None or mask.dim() > 2 else mask[:, -out.last_hidden_state.shape[1] :]
            aux_loss = balance_loss(routers, self.config.num_experts_per_tok, mask)
            loss = None if loss is None else loss + self.config.router_aux_loss_coef * aux_loss
        fields = {name: value for name, value in inner(out).items() if name != "cross_attentions"}
        return MoeCausalLMOutputWithPast(loss, aux_loss, logits, **fields, router_logits=routers).packed(
            self.wants_dict(return_dict)
        )


class MixtralForSequenceClassification(LastTokenHead, MixtralPreTrainedModel, trunk=MixtralModel):
    """The decoder with a label for the whole text."""


class MixtralForTokenClassification(TokenHead, MixtralPreTrainedModel, trunk=MixtralModel):
    """The decoder with a label for each token."""

    classifier_name = "score"
