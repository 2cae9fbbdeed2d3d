"""What holds of single encoders: BERT as a decoder that reads another text, positions by distance, and folders as published."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from rows.encoders import BERT
from safetensors.torch import save_file
from support import Row, close, pair, randomise

import core
from core.errors import ConfigError
from core.models.deberta_v2 import buckets
from tools.freeze_bert_relative import fill, inputs

FROZEN = json.loads((Path(__file__).parent / "frozen" / "bert_relative.json").read_text(encoding="utf-8"))
SMALL = {"hidden_size": 36, "intermediate_size": 50, "num_hidden_layers": 2, "num_attention_heads": 6, "vocab_size": 99}


def test_bert_reads_another_text() -> None:
    """Cross-attention: outputs, both attentions, loss, a cache of four tensors a layer, and a step with it."""
    values = BERT | {"is_decoder": True, "add_cross_attention": True}
    reference, ours, _ = pair(Row("bert", "CausalLM", "cross-attention", values))
    torch.manual_seed(2)
    cross = {"encoder_hidden_states": torch.randn(2, 5, 36), "encoder_attention_mask": torch.tensor([[1] * 5, [1, 1, 1, 0, 0]])}
    ids, more = torch.randint(5, 99, (2, 7)), torch.randint(5, 99, (2, 2))
    options = {"output_attentions": True, "output_hidden_states": True, "use_cache": True}
    found, expected = ours(ids, **cross, **options), reference(ids, **cross, **options)
    assert found.keys() == ["logits", "past_key_values", "hidden_states", "attentions", "cross_attentions"]
    for name in ("hidden_states", "attentions", "cross_attentions"):
        for a, b in zip(found[name], expected[name], strict=True):
            close(a, b, name)
    close(found.logits, expected.logits)
    close(ours(ids, labels=ids, **cross).loss, reference(ids, labels=ids, **cross).loss)
    assert [t.shape for t in found.past_key_values[0]] == [(2, 6, 7, 6)] * 2 + [(2, 6, 5, 6)] * 2
    past = tuple(tuple(t.detach() for t in layer) for layer in found.past_key_values)
    expected_next = reference(more, past_key_values=expected.past_key_values, **cross).logits
    close(ours(more, past_key_values=past, **cross).logits, expected_next)
    without = reference(ids, encoder_hidden_states=cross["encoder_hidden_states"]).logits
    close(ours(ids, encoder_hidden_states=cross["encoder_hidden_states"]).logits, without)
    assert (without - expected.logits).abs().max() > 1e-3


@pytest.mark.parametrize("case", FROZEN, ids=lambda case: case["config"]["position_embedding_type"])
def test_positions_by_distance(case: dict[str, Any]) -> None:
    """Numbers of 4.57.6; and for a decoder the cache changes nothing."""
    model = fill(core.BertModel(core.BertConfig(**case["config"])))
    expected = {name: torch.tensor(case["numbers"][name]).view(shape) for name, shape in case["shapes"].items()}
    given = inputs()
    real = given["attention_mask"].bool()
    with torch.no_grad():
        out = model(**given, output_attentions=True)
        masked = model(**given, head_mask=torch.tensor(case["head_mask"]))
        close(out.last_hidden_state[real], expected["last_hidden_state"][real])
        close(model(**given).last_hidden_state[real], expected["last_hidden_state"][real])
        close(masked.last_hidden_state[real], expected["masked_hidden_state"][real])
        for layer, attention in enumerate(out.attentions):
            close(attention.transpose(1, 2)[real], expected[f"attention {layer}"].transpose(1, 2)[real])
        if model.config.is_decoder:
            ids = given["input_ids"][:1]
            first = model(ids[:, :4])
            second = model(ids[:, 4:], past_key_values=first.past_key_values)
            close(torch.cat([first[0], second[0]], 1), out[0][:1])


def test_distances_are_gathered_as_the_reference_gathers_them() -> None:
    """DeBERTa v3's 256 buckets over 512 tokens, and others."""
    from transformers.models.deberta_v2.modeling_deberta_v2 import make_log_bucket_position

    distance = torch.arange(-1500, 1500)
    for count, reach in ((256, 512), (32, 128), (6, 64)):
        assert buckets(distance, count, reach).tolist() == make_log_bucket_position(distance, count, reach).long().tolist()


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (core.BertConfig, {"position_embedding_type": "sideways"}),
        (core.BertConfig, {"add_cross_attention": True}),
        (core.BertConfig, {"hidden_size": 30, "num_attention_heads": 7}),
        (core.AlbertConfig, {"is_decoder": True}),
        (core.DistilBertConfig, {"dim": 30, "n_heads": 7}),
        (core.DebertaV2Config, {"hidden_size": 30, "num_attention_heads": 7}),
    ],
)
def test_a_configuration_that_cannot_be_is_refused(kind: Any, values: dict[str, Any]) -> None:
    """In one sentence that names the key or the architecture."""
    with pytest.raises(ConfigError, match=f"{next(iter(values))}|albert"):
        kind(**values)


def publish(folder: Path, config: dict[str, Any], tensors: dict[str, torch.Tensor], binary: bool = False) -> Path:
    """A folder as the hub has it."""
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    tensors = {name: tensor.detach().clone() for name, tensor in tensors.items()}
    torch.save(tensors, folder / "pytorch_model.bin") if binary else save_file(tensors, folder / "model.safetensors")
    return folder


def test_distilbert_sst2_as_published(tmp_path: Path) -> None:
    """Its config.json of 2019, without a version; labels by name."""
    config = {
        "activation": "gelu",
        "architectures": ["DistilBertForSequenceClassification"],
        "attention_dropout": 0.1,
        "dim": 36,
        "dropout": 0.1,
        "finetuning_task": "sst-2",
        "hidden_dim": 50,
        "id2label": {"0": "NEGATIVE", "1": "POSITIVE"},
        "initializer_range": 0.02,
        "label2id": {"NEGATIVE": 0, "POSITIVE": 1},
        "max_position_embeddings": 64,
        "model_type": "distilbert",
        "n_heads": 6,
        "n_layers": 2,
        "output_past": True,
        "pad_token_id": 0,
        "qa_dropout": 0.1,
        "seq_classif_dropout": 0.2,
        "sinusoidal_pos_embds": False,
        "tie_weights_": True,
        "vocab_size": 99,
    }
    known = {key: value for key, value in config.items() if key not in ("architectures", "model_type", "id2label", "label2id")}
    reference: Any = randomise(transformers.DistilBertForSequenceClassification(transformers.DistilBertConfig(**known)))
    model = core.AutoModelForSequenceClassification.from_pretrained(publish(tmp_path, config, reference.state_dict()))
    ids = torch.randint(5, 99, (2, 9))
    close(model(ids).logits, reference(ids).logits)
    assert model.config.id2label == {0: "NEGATIVE", 1: "POSITIVE"} and model.config.finetuning_task == "sst-2"


def test_roberta_base_squad2_as_published(tmp_path: Path) -> None:
    """A .bin with the position_ids of its day and a pooler that nobody reads."""
    config = SMALL | {
        "architectures": ["RobertaForQuestionAnswering"],
        "attention_probs_dropout_prob": 0.1,
        "bos_token_id": 0,
        "eos_token_id": 2,
        "gradient_checkpointing": False,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "initializer_range": 0.02,
        "language": "english",
        "layer_norm_eps": 1e-05,
        "max_position_embeddings": 66,
        "model_type": "roberta",
        "name": "Roberta",
        "pad_token_id": 1,
        "position_embedding_type": "absolute",
        "type_vocab_size": 1,
        "use_cache": True,
    }
    keys = (*SMALL, "max_position_embeddings", "layer_norm_eps", "type_vocab_size")
    known = transformers.RobertaConfig(**{key: config[key] for key in keys})
    reference: Any = randomise(transformers.RobertaForQuestionAnswering(known))
    extra = {
        "roberta.embeddings.position_ids": torch.arange(66)[None],
        "roberta.pooler.dense.weight": torch.randn(36, 36),
        "roberta.pooler.dense.bias": torch.randn(36),
    }
    model = core.AutoModelForQuestionAnswering.from_pretrained(
        publish(tmp_path, config, reference.state_dict() | extra, binary=True)
    )
    ids = torch.randint(5, 99, (2, 9))
    ids[1, 6:] = 1
    given = {"input_ids": ids, "attention_mask": (ids != 1).long()}
    found, expected = model(**given), reference(**given)
    close(found.start_logits, expected.start_logits)
    close(found.end_logits, expected.end_logits)


def test_bert_base_as_published_in_2018(tmp_path: Path) -> None:
    """gamma and beta, both heads of the pre-training, no decoder bias; every class finds its part."""
    reference: Any = randomise(transformers.BertForPreTraining(transformers.BertConfig(**SMALL)))
    tensors = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): tensor
        for name, tensor in reference.state_dict().items()
        if not name.startswith("cls.predictions.decoder")
    }
    tensors["cls.predictions.decoder.weight"] = reference.bert.embeddings.word_embeddings.weight
    config = SMALL | {"architectures": ["BertForMaskedLM"], "model_type": "bert", "layer_norm_eps": 1e-12}
    publish(tmp_path, config, tensors)
    ids = torch.randint(5, 99, (2, 9))
    expected = reference(ids)
    for kind in (core.BertForMaskedLM, core.BertForPreTraining):
        close(kind.from_pretrained(tmp_path)(ids)[0], expected.prediction_logits)
    close(core.BertForNextSentencePrediction.from_pretrained(tmp_path)(ids).logits, expected.seq_relationship_logits)
    pooled = core.AutoModel.from_pretrained(tmp_path)(ids).pooler_output
    close(pooled, reference.bert(ids).pooler_output)
    bare = {name.removeprefix("bert."): tensor for name, tensor in tensors.items() if not name.startswith("cls.")}
    (tmp_path / "bare").mkdir()
    publish(tmp_path / "bare", config | {"architectures": ["BertModel"]}, bare)
    again = core.BertForSequenceClassification.from_pretrained(tmp_path / "bare")
    close(again.bert(ids).pooler_output, pooled)


@pytest.mark.parametrize("bias", ["lm_head.bias", "lm_head.decoder.bias"])
def test_roberta_base_has_one_bias_for_its_words(tmp_path: Path, bias: str) -> None:
    """Under either of its two names."""
    reference: Any = randomise(transformers.RobertaForMaskedLM(transformers.RobertaConfig(**SMALL)))
    tensors = {name: t for name, t in reference.state_dict().items() if not name.startswith(("lm_head.decoder", "lm_head.bias"))}
    config = SMALL | {"architectures": ["RobertaForMaskedLM"], "model_type": "roberta"}
    publish(tmp_path, config, tensors | {bias: reference.lm_head.bias})
    model = core.AutoModelForMaskedLM.from_pretrained(tmp_path)
    ids = torch.randint(5, 99, (2, 9))
    close(model(ids).logits, reference(ids).logits)
    assert model.lm_head.decoder.bias is model.lm_head.bias


def test_deberta_v3_as_published(tmp_path: Path) -> None:
    """Both heads of its training lie beside the trunk; a reader of texts takes the trunk."""
    config: dict[str, Any] = SMALL | {
        "model_type": "deberta-v2",
        "max_position_embeddings": 64,
        "relative_attention": True,
        "position_buckets": 16,
        "norm_rel_ebd": "layer_norm",
        "share_att_key": True,
        "pos_att_type": "p2c|c2p",
        "layer_norm_eps": 1e-7,
        "max_relative_positions": -1,
        "position_biased_input": False,
        "type_vocab_size": 0,
    }
    known = {key: value for key, value in config.items() if key != "model_type"}
    reference: Any = randomise(transformers.DebertaV2ForMaskedLM(transformers.DebertaV2Config(**known, legacy=False)))
    publish(tmp_path, config, reference.state_dict() | {"mask_predictions.dense.weight": torch.randn(36, 36)})
    ids = torch.randint(5, 99, (2, 30))
    close(core.AutoModelForMaskedLM.from_pretrained(tmp_path, legacy=False)(ids).logits, reference(ids).logits)
    close(core.AutoModel.from_pretrained(tmp_path)(ids).last_hidden_state, reference.deberta(ids).last_hidden_state)
