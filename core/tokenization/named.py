"""The tokenizers by the names of the ecosystem: each is its layout."""

from typing import Any

from core.tokenization import convert
from core.tokenization.base import PreTrainedTokenizer
from core.tokenization.layout import (
    Layout,
    camembert,
    fairseq,
    from_clip,
    from_merges,
    from_model,
    from_vocab_txt,
    sentinels,
    special,
)

PreTrainedTokenizerFast = PreTrainedTokenizer

TYPED = ("input_ids", "token_type_ids", "attention_mask")
BERT: dict[str, Any] = {"single": "cls $A sep", "pair": "cls $A sep $B:1 sep:1"}
ROBERTA: dict[str, Any] = {"single": "cls $A sep", "pair": "cls $A sep sep $B sep"}
BPE_FILES = ("vocab.json", "merges.txt")
END = "<|endoftext|>"
BERT_TOKENS = special(unk="[UNK]", sep="[SEP]", pad="[PAD]", cls="[CLS]", mask="[MASK]")
ROBERTA_TOKENS = special(bos="<s>", eos="</s>", unk="<unk>", sep="</s>", pad="<pad>", cls="<s>", mask=" <mask>")


class BertTokenizer(PreTrainedTokenizer):
    """WordPiece; Devlin et al. 2018."""

    layout = Layout(("vocab.txt",), from_vocab_txt, **BERT, inputs=TYPED, defaults=BERT_TOKENS)


class DistilBertTokenizer(PreTrainedTokenizer):
    """BERT's, without token types; Sanh et al. 2019."""

    layout = Layout(("vocab.txt",), from_vocab_txt, **BERT, defaults=BERT_TOKENS)


class ElectraTokenizer(BertTokenizer):
    """BERT's; Clark et al. 2020."""


class GPT2Tokenizer(PreTrainedTokenizer):
    """Byte-level BPE; Radford et al. 2019. Also OPT's and StarCoder's."""

    layout = Layout(BPE_FILES, from_merges(), trim=False, defaults=special(bos=END, eos=END, unk=END))


class CodeGenTokenizer(GPT2Tokenizer):
    """GPT-2's with tokens for runs of spaces; Nijkamp et al. 2022."""


class GPTNeoXTokenizer(PreTrainedTokenizer):
    """Byte-level BPE over composed characters; Black et al. 2022."""

    layout = Layout(
        BPE_FILES, from_merges(compose=True), trim=False, defaults=special(bos=END, eos=END, unk=END, pad="<|padding|>")
    )


class BloomTokenizer(PreTrainedTokenizer):
    """Byte-level BPE, from tokenizer.json only; Le Scao et al. 2022."""

    layout = Layout(defaults=special(bos="<s>", eos="</s>", unk="<unk>", pad="<pad>"))


class Qwen2Tokenizer(PreTrainedTokenizer):
    """Byte-level BPE, digits one by one; Yang et al. 2024."""

    layout = Layout(
        BPE_FILES,
        from_merges(convert.QWEN2_WORDS, compose=True),
        trim=False,
        defaults=special(eos=END, unk=END, pad=END),
    )


class RobertaTokenizer(PreTrainedTokenizer):
    """Byte-level BPE; Liu et al. 2019."""

    layout = Layout(BPE_FILES, from_merges(), **ROBERTA, trim=True, defaults=ROBERTA_TOKENS)


class BartTokenizer(RobertaTokenizer):
    """RoBERTa's; Lewis et al. 2019."""


class CLIPTokenizer(PreTrainedTokenizer):
    """Lower-case BPE with ends of words; Radford et al. 2021."""

    layout = Layout(
        BPE_FILES,
        from_clip,
        single="bos $A eos",
        pair="bos $A eos eos $B eos",
        trim=False,
        defaults=special(bos="<|startoftext|>", eos=END, unk=END, pad=END),
    )

    def _text_of(self, ids: list[int], skip_special_tokens: bool) -> str:
        return super()._text_of(ids, skip_special_tokens).replace("</w>", " ").strip()


class XLMRobertaTokenizer(PreTrainedTokenizer):
    """Unigram, fairseq's ids; Conneau et al. 2019."""

    layout = Layout(
        ("sentencepiece.bpe.model",),
        from_model("sentencepiece.bpe.model", arrange=fairseq()),
        **ROBERTA,
        defaults=ROBERTA_TOKENS,
    )


class CamembertTokenizer(PreTrainedTokenizer):
    """Unigram for French; Martin et al. 2019."""

    layout = Layout(
        ("sentencepiece.bpe.model",),
        from_model("sentencepiece.bpe.model", arrange=camembert),
        **ROBERTA,
        defaults=ROBERTA_TOKENS,
    )


class AlbertTokenizer(PreTrainedTokenizer):
    """Unigram without case and accents; Lan et al. 2019."""

    layout = Layout(
        ("spiece.model",),
        from_model("spiece.model"),
        **BERT,
        defaults={
            **special(bos="[CLS]", eos="[SEP]", unk="<unk>", sep="[SEP]", pad="<pad>", cls="[CLS]", mask=" [MASK]"),
            "do_lower_case": True,
            "keep_accents": False,
        },
    )


class DebertaV2Tokenizer(PreTrainedTokenizer):
    """Unigram; He et al. 2021."""

    layout = Layout(
        ("spm.model",),
        from_model("spm.model"),
        **BERT,
        inputs=TYPED,
        defaults=special(bos="[CLS]", eos="[SEP]", unk="[UNK]", sep="[SEP]", pad="[PAD]", cls="[CLS]", mask="[MASK]"),
    )


class T5Tokenizer(PreTrainedTokenizer):
    """Unigram with a hundred sentinels; Raffel et al. 2019. Also mT5's and Flan-T5's."""

    layout = Layout(
        ("spiece.model",),
        from_model("spiece.model", "sentencepiece.model", arrange=sentinels),
        single="$A eos",
        pair="$A eos $B eos",
        defaults=special(eos="</s>", unk="<unk>", pad="<pad>"),
    )


class LlamaTokenizer(PreTrainedTokenizer):
    """BPE on SentencePiece, unknown characters as bytes; Touvron et al. 2023. Also Mistral's and Phi-3's."""

    layout = Layout(
        ("tokenizer.model",),
        from_model("tokenizer.model"),
        ends=(True, False),
        defaults=special(bos="<s>", eos="</s>", unk="<unk>"),
    )


class GemmaTokenizer(PreTrainedTokenizer):
    """BPE on SentencePiece, no prefix space; Gemma Team 2024."""

    layout = Layout(
        ("tokenizer.model",),
        from_model("tokenizer.model"),
        ends=(True, False),
        defaults=special(bos="<bos>", eos="<eos>", unk="<unk>", pad="<pad>", mask="<mask>"),
    )


BertTokenizerFast, DistilBertTokenizerFast, ElectraTokenizerFast = BertTokenizer, DistilBertTokenizer, ElectraTokenizer
GPT2TokenizerFast, CodeGenTokenizerFast, GPTNeoXTokenizerFast = GPT2Tokenizer, CodeGenTokenizer, GPTNeoXTokenizer
BloomTokenizerFast, Qwen2TokenizerFast, RobertaTokenizerFast = BloomTokenizer, Qwen2Tokenizer, RobertaTokenizer
BartTokenizerFast, CLIPTokenizerFast, XLMRobertaTokenizerFast = BartTokenizer, CLIPTokenizer, XLMRobertaTokenizer
CamembertTokenizerFast, AlbertTokenizerFast = CamembertTokenizer, AlbertTokenizer
DebertaV2TokenizerFast, T5TokenizerFast = DebertaV2Tokenizer, T5Tokenizer
LlamaTokenizerFast, GemmaTokenizerFast = LlamaTokenizer, GemmaTokenizer
