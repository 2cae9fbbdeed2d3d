"""Tiny random models for tests of the page, as folders of a models folder."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

import core
from core.processing import ViTImageProcessor
from core.tokenization import PreTrainedTokenizer

TEMPLATE = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"


def writer(folder: Path, **sizes: int) -> None:
    """A Llama over bytes that never ends an answer."""
    torch.manual_seed(0)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({"<s>": 0, "<pad>": 1} | {c: i + 2 for i, c in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    PreTrainedTokenizer(tokenizer, {"bos_token": "<s>", "pad_token": "<pad>", "chat_template": TEMPLATE}).save_pretrained(folder)
    values = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4} | sizes
    config = core.LlamaConfig(vocab_size=300, max_position_embeddings=4096, eos_token_id=None, pad_token_id=1, **values)
    core.LlamaForCausalLM(config).save_pretrained(folder)


def seer(folder: Path) -> None:
    """A ViT that knows two labels."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    labels = {"id2label": {0: "dark", 1: "light"}, "label2id": {"dark": 0, "light": 1}}
    core.ViTForImageClassification(core.ViTConfig(image_size=32, patch_size=8, **sizes, **labels)).save_pretrained(folder)
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
