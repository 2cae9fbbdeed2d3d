"""How a model reads virtual tokens: before its text, or as keys and values that are in its cache before the text comes."""

from typing import Any

import torch

from core.errors import AdapterError
from core.modeling.cache import Cache
from core.modeling.encoder import Encoder
from core.modeling.model import PreTrainedModel
from core.modeling.seq2seq import Seq2Seq
from core.modeling.taps import Replace, Taps, tapped

Given = dict[str, Any]


class Prompted:
    """The part of a PeftModel that is about virtual tokens."""

    enabled: bool
    active_adapter: str
    peft_config: dict[str, Any]
    prompt_encoder: Any

    def get_base_model(self) -> PreTrainedModel:
        """The model inside."""
        raise NotImplementedError

    @property
    def prompting(self) -> bool:
        """Whether a prompt is in use."""
        return self.enabled and self.peft_config[self.active_adapter].is_prompt_learning

    def get_prompt(self, batch_size: int) -> torch.Tensor:
        """(batch, rows of the table, width): the vectors in use, in the model's dtype."""
        vectors = self.prompt_encoder[self.active_adapter]()
        return vectors.to(self.get_base_model().dtype).expand(batch_size, -1, -1)

    def forward_prompted(self, *args: Any, **kwargs: Any) -> Any:
        """The base's forward with the virtual tokens in it."""
        model = self.get_base_model()
        given, taps = self._prompt(dict(zip(model.forward_names(), args, strict=False)) | kwargs)
        with tapped(*taps):
            return model(**given)

    def generate_prompted(self, inputs: torch.Tensor | None = None, *args: Any, **kwargs: Any) -> Any:
        """The base's generate. A prompt before an encoder's text is given once; else each step's inputs are looked through."""
        model, config = self.get_base_model(), self.peft_config[self.active_adapter]
        if isinstance(model, Seq2Seq) and config.peft_type != "PREFIX_TUNING":
            ids = inputs if inputs is not None else kwargs.pop("input_ids", None)
            given = self._before_text(
                {
                    "input_ids": ids,
                    "attention_mask": kwargs.pop("attention_mask", None),
                    "inputs_embeds": kwargs.pop("inputs_embeds", None),
                }
            )
            return model.generate(None, *args, **given, **kwargs)

        def look_through(module: Any, args: Any, given: Given) -> tuple[tuple[()], Given]:
            return (), self._prompt(given)[0]

        hook = model.register_forward_pre_hook(look_through, with_kwargs=True)
        try:
            return model.generate(inputs, *args, **kwargs)
        finally:
            hook.remove()

    def _prompt(self, given: Given) -> tuple[Given, list[Taps]]:
        config, seq2seq = self.peft_config[self.active_adapter], isinstance(self.get_base_model(), Seq2Seq)
        cache = given.get("past_key_values")
        read = cache is not None and Cache.of(cache).get_seq_length() > 0
        if config.peft_type == "PREFIX_TUNING":
            return self._prefix(given, read)
        if seq2seq:
            return (given if given.get("encoder_outputs") is not None else self._before_text(given)), []
        return (self._longer(given, config.num_virtual_tokens) if read else self._before_text(given)), []

    # ------------------------------------------------------------------ before the text

    def _before_text(self, given: Given) -> Given:
        """The inputs with the virtual tokens before the text: as vectors, in the masks, and without labels."""
        model, count = self.get_base_model(), self.peft_config[self.active_adapter].num_virtual_tokens
        ids, vectors = given.pop("input_ids", None), given.get("inputs_embeds")
        if vectors is None:
            if ids is None:
                raise AdapterError("A prompt needs input_ids or inputs_embeds to stand before.")
            vectors = model.get_input_embeddings()(ids)
        given = self._longer(given, count)
        prompt = self.get_prompt(vectors.shape[0])[:, :count]
        given["inputs_embeds"] = torch.cat([prompt.to(vectors.dtype), vectors], 1)
        for name, value in (("token_type_ids", 0), ("labels", -100)):
            tensor = given.get(name)
            by_token = tensor is not None and tensor.dim() == 2 and tensor.shape[1] == vectors.shape[1]
            if by_token and not (name == "labels" and isinstance(model, Seq2Seq)):
                given[name] = torch.cat([tensor.new_full((len(tensor), count), value), tensor], 1)
        if (positions := given.get("position_ids")) is not None:
            own = torch.arange(count, device=positions.device).expand(len(positions), -1)
            given["position_ids"] = torch.cat([own, positions], 1)
        return given

    @staticmethod
    def _longer(given: Given, count: int, mask: str = "attention_mask") -> Given:
        """Inputs of a text that has `count` virtual tokens before it: a mask that shows them, positions that come after them."""
        given = dict(given)
        if (shown := given.get(mask)) is not None:
            given[mask] = torch.cat([shown.new_ones(len(shown), count), shown], 1)
        if given.get("position_ids") is not None:
            given["position_ids"] = given["position_ids"] + count
        return given

    # ------------------------------------------------------------------ keys and values

    def _prefix(self, given: Given, read: bool) -> tuple[Given, list[Taps]]:
        model, config = self.get_base_model(), self.peft_config[self.active_adapter]
        seq2seq, count = isinstance(model, Seq2Seq), config.num_virtual_tokens
        given = self._longer(given, count, "decoder_attention_mask" if seq2seq else "attention_mask")
        if read:
            return given, []
        pairs = self._pairs(_batch(given))
        if not isinstance(model.base_model, Encoder) or getattr(model.config, "is_decoder", False):
            cache = given.get("past_key_values")
            cache = cache if isinstance(cache, Cache) else Cache()
            for layer, (keys, values) in enumerate(pairs):
                cache.update(layer, keys, values)
            cache.virtual = count
            return given | {"past_key_values": cache}, []
        return self._tapped_prefix(given, pairs)

    def _pairs(self, batch: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Keys and values of each layer (batch, heads, virtual tokens, head width)."""
        config = self.peft_config[self.active_adapter]
        parts = (
            self.get_prompt(batch).unflatten(-1, (2 * config.num_layers, config.num_attention_heads, -1)).permute(2, 0, 3, 1, 4)
        )
        return [(parts[2 * layer], parts[2 * layer + 1]) for layer in range(config.num_layers)]

    @staticmethod
    def _tapped_prefix(given: Given, pairs: list[tuple[torch.Tensor, torch.Tensor]]) -> tuple[Given, list[Taps]]:
        """An encoder has no cache: its keys and values get longer where they pass the taps."""
        if (mask := given.get("attention_mask")) is not None:
            given["attention_mask"] = mask[:, None, None] != 0
        text = given.get("input_ids") if given.get("input_ids") is not None else given["inputs_embeds"]
        if given.get("position_ids") is None:
            count = pairs[0][0].shape[2]
            given["position_ids"] = torch.arange(count, count + text.shape[1], device=text.device)[None]

        def before(prefix: torch.Tensor) -> Replace:
            return lambda own: torch.cat([prefix, own], 2)

        replace = {(name, layer): before(part) for layer, pair in enumerate(pairs) for name, part in zip("kv", pair, strict=True)}
        return given, [Taps(replace=replace)]


def _batch(given: Given) -> int:
    for name in ("input_ids", "inputs_embeds", "decoder_input_ids", "labels"):
        if given.get(name) is not None:
            return len(given[name])
    raise AdapterError("A prefix needs input_ids or inputs_embeds to stand before.")
