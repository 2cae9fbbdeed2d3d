"""LLaMA: pre-norm decoder with rotary positions, grouped queries and a gated MLP. Touvron et al. 2023."""

from typing import Any

import torch
from torch import nn

from core.errors import ConfigError
from core.modeling.attention import attend, merge_heads, split_heads
from core.modeling.cache import Cache
from core.modeling.configuration import PreTrainedConfig
from core.modeling.layers import RMSNorm, activation
from core.modeling.losses import causal_loss
from core.modeling.masks import Mask, make_mask
from core.modeling.model import PreTrainedModel, default_positions, keep_logits
from core.modeling.outputs import BaseModelOutputWithPastAndCrossAttentions, CausalLMOutputWithCrossAttentions
from core.modeling.positions import Rope, rope_settings, rotate
from core.modeling.taps import tap


class LlamaConfig(PreTrainedConfig):
    """Keys and defaults of a llama config.json."""

    model_type = "llama"
    defaults = {
        "vocab_size": 32000,
        "hidden_size": 4096,
        "intermediate_size": 11008,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": None,
        "head_dim": None,
        "hidden_act": "silu",
        "max_position_embeddings": 2048,
        "initializer_range": 0.02,
        "rms_norm_eps": 1e-6,
        "attention_bias": False,
        "attention_dropout": 0.0,
        "mlp_bias": False,
        "tie_word_embeddings": False,
    }

    def check(self) -> None:
        """Fill what follows from other keys; heads must divide evenly."""
        self.num_key_value_heads = self.num_key_value_heads or self.num_attention_heads
        self.head_dim = self.head_dim or self.hidden_size // self.num_attention_heads
        if self.num_attention_heads % self.num_key_value_heads:
            raise ConfigError(
                f"num_attention_heads {self.num_attention_heads} is no multiple of num_key_value_heads {self.num_key_value_heads}."
            )


class LlamaAttention(nn.Module):
    """Rotary self-attention, `num_key_value_heads` keys for `num_attention_heads` queries."""

    def __init__(self, config: LlamaConfig, layer: int) -> None:
        super().__init__()
        self.layer, self.head_dim, self.dropout = layer, config.head_dim, config.attention_dropout
        width, bias = config.hidden_size, config.attention_bias
        self.q_proj = nn.Linear(width, config.num_attention_heads * self.head_dim, bias)
        self.k_proj = nn.Linear(width, config.num_key_value_heads * self.head_dim, bias)
        self.v_proj = nn.Linear(width, config.num_key_value_heads * self.head_dim, bias)
        self.o_proj = nn.Linear(config.num_attention_heads * self.head_dim, width, bias)

    def forward(self, x: torch.Tensor, turn: tuple[torch.Tensor, torch.Tensor], mask: Mask, cache: Cache | None) -> torch.Tensor:
        """(batch, tokens, width) -> the same."""
        q, k, v = (split_heads(project(x), self.head_dim) for project in (self.q_proj, self.k_proj, self.v_proj))
        q, k = rotate(q, *turn), rotate(k, *turn)
        if cache is not None:
            k, v = cache.update(self.layer, k, v)
        z = attend(q, k, v, mask, layer=self.layer, dropout=self.dropout if self.training else 0.0)
        return merge_heads(z, self.o_proj, layer=self.layer)


class LlamaMLP(nn.Module):
    """down(act(gate(x)) * up(x)). Shazeer 2020."""

    def __init__(self, config: LlamaConfig, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, config.mlp_bias)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, config.mlp_bias)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, config.mlp_bias)
        self.act_fn = activation(config.hidden_act)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, tokens, width) -> the same."""
        return self.down_proj(tap("mlp_act", self.layer, self.act_fn(self.gate_proj(x)) * self.up_proj(x)))


class LlamaDecoderLayer(nn.Module):
    """x + attention(norm x), then x + mlp(norm x)."""

    def __init__(self, config: LlamaConfig, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.self_attn = LlamaAttention(config, layer)
        self.mlp = LlamaMLP(config, layer)
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)

    def forward(self, x: torch.Tensor, turn: tuple[torch.Tensor, torch.Tensor], mask: Mask, cache: Cache | None) -> torch.Tensor:
        """(batch, tokens, width) -> the same."""
        x = tap("resid_pre", self.layer, x)
        x = tap("resid_mid", self.layer, x + self.self_attn(self.input_layernorm(x), turn, mask, cache))
        return tap("resid_post", self.layer, x + tap("mlp_out", self.layer, self.mlp(self.post_attention_layernorm(x))))


class LlamaPreTrainedModel(PreTrainedModel):
    """What the Llama classes share."""

    config_class = LlamaConfig
    base_model_prefix = "model"
    gguf_names = [
        ("token_embd.weight", "model.embed_tokens.weight"),
        ("blk.{i}.attn_norm.weight", "model.layers.{i}.input_layernorm.weight"),
        ("blk.{i}.attn_q.weight", "model.layers.{i}.self_attn.q_proj.weight"),
        ("blk.{i}.attn_k.weight", "model.layers.{i}.self_attn.k_proj.weight"),
        ("blk.{i}.attn_v.weight", "model.layers.{i}.self_attn.v_proj.weight"),
        ("blk.{i}.attn_output.weight", "model.layers.{i}.self_attn.o_proj.weight"),
        ("blk.{i}.ffn_norm.weight", "model.layers.{i}.post_attention_layernorm.weight"),
        ("blk.{i}.ffn_gate.weight", "model.layers.{i}.mlp.gate_proj.weight"),
        ("blk.{i}.ffn_up.weight", "model.layers.{i}.mlp.up_proj.weight"),
        ("blk.{i}.ffn_down.weight", "model.layers.{i}.mlp.down_proj.weight"),
        ("output_norm.weight", "model.norm.weight"),
        ("output.weight", "lm_head.weight"),
    ]


class LlamaModel(LlamaPreTrainedModel):
    """The decoder without a head."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__(config)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size, config.pad_token_id)
        self.layers = nn.ModuleList(LlamaDecoderLayer(config, layer) for layer in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.rope = Rope(config.head_dim, rope_settings(config))
        self.post_init()

    def get_input_embeddings(self) -> nn.Embedding:
        """The table of token vectors."""
        return self.embed_tokens

    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.LongTensor | None = None,
        past_key_values: Any = None,
        inputs_embeds: torch.FloatTensor | None = None,
        use_cache: bool | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        head_mask: torch.Tensor | None = None,
    ) -> Any:
        """input_ids (batch, tokens) or inputs_embeds (batch, tokens, width) -> last_hidden_state (batch, tokens, width)."""
        x = tap("embed", None, self.embed_tokens(input_ids) if inputs_embeds is None else inputs_embeds)
        cache = self.make_cache(past_key_values, use_cache)
        past = cache.get_seq_length() if cache is not None else 0
        mask = make_mask(attention_mask, x, past + x.shape[1], causal=True)
        positions = default_positions(past, x.shape[1], x.device) if position_ids is None else position_ids
        turn = self.rope(positions, x)
        with self.watching(output_attentions, output_hidden_states, head_mask, len(self.layers)) as seen:
            for layer in self.layers:
                x = self.run_block(layer, x, turn, mask, cache)
            x = tap("final_norm", None, self.norm(x))
        return BaseModelOutputWithPastAndCrossAttentions(x, cache, **seen(x)).packed(self.wants_dict(return_dict))


class LlamaForCausalLM(LlamaPreTrainedModel):
    """The decoder with a layer that predicts the next token."""

    _tied_weights_keys = {"lm_head.weight": "model.embed_tokens.weight"}

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__(config)
        self.model = LlamaModel(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.LongTensor | None = None,
        past_key_values: Any = None,
        inputs_embeds: torch.FloatTensor | None = None,
        labels: torch.LongTensor | None = None,
        use_cache: bool | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        head_mask: torch.Tensor | None = None,
        logits_to_keep: int = 0,
        num_items_in_batch: Any = None,
    ) -> Any:
        """As LlamaModel; logits (batch, tokens, vocabulary), of the last `logits_to_keep` tokens where that is not 0; labels
        (batch, tokens), -100 not counted -> loss."""
        out = self.model(
            input_ids,
            attention_mask,
            position_ids,
            past_key_values,
            inputs_embeds,
            use_cache,
            output_attentions,
            output_hidden_states,
            True,
            head_mask,
        )
        logits = tap("logits", None, self.lm_head(keep_logits(out.last_hidden_state, logits_to_keep)))
        loss = None if labels is None else causal_loss(logits, labels, num_items_in_batch)
        return CausalLMOutputWithCrossAttentions(loss, logits, out.past_key_values, out.hidden_states, out.attentions).packed(
            self.wants_dict(return_dict)
        )
