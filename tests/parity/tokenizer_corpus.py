"""Texts that tokenizers get wrong, and a larger plain one to train small vocabularies on."""

TEXTS = [
    "",
    " ",
    "Hello, world!",
    "The quick brown fox jumps over the lazy dog.",
    "  two  spaces and\ttabs\n\n\nlines \n",
    "            twelve spaces, then\t\t\tthree tabs and a trailing run        ",
    "It's 12345.67 and 2024-11-24, isn't it? They've said: \"no\" -- don't.",
    "1 22 333 4444 55555 1e-9 0x1F ½ ² ٣ ४",
    "Größe, naïve, Ångström, İstanbul, straße, œuvre",
    "e\u0301le\u0300ve A\u030angstro\u0308m n\u0303 q\u0323\u0307",
    "ﬁ ligature, ｆｕｌｌｗｉｄｔｈ, ①②③, ㎏, Ⅳ, ™",
    "你好，世界。这是一个测试。",
    "これはテストです。カタカナ、ひらがな、漢字。",
    "한국어 텍스트와 자모 ㄱㄴㄷ",
    "مرحبا بالعالم، كيف حالك؟",
    "שלום עולם",
    "नमस्ते दुनिया, क्षत्रिय",
    "สวัสดีชาวโลก ภาษาไทย",
    "Привет, мир! Ёлка и ёж.",
    "Γειά σου Κόσμε",
    "emoji 👩‍👩‍👧‍👦 🏳️‍🌈 👍🏽 and ZWJ \u200d alone",
    "def f(x):\n    return x**2  # ok\n\n\nclass A:\n\tpass\n",
    "for (int i = 0; i < n; ++i) { a[i] += b->c; } // done",
    "<html><body class='a'>&amp; &lt;</body></html>",
    "a" * 300,
    "verylongword" * 25,
    "ab \u0000\u0001\u001f\u007f\u0080 cd",
    "\u200b\ufeff zero \u2060 width \u00ad",
    "\ud7ff\ue000\uf8ff\ufffd\U0010fffd",
    "\u00a0no\u00a0break\u2003em\u3000ideographic\u2028line",
    "\r\nwindows\r\nlines\r",
    "``quotes'' and ''more``",
    "▁literal▁▁underline _ __ ___",
    "!!!???...,,,;;;:::---",
    "<unk><pad> <0x41> [UNUSED] <|x|> >>fra<<",
]
# Special tokens within texts; added by those tests whose oracle treats them as we do.
MARKED = [
    "a <s> b</s> c",
    "[CLS] a [SEP]b[MASK] c",
    "end <mask>, <mask> twice",
    "<|endoftext|>x<|endoftext|> y",
    "<extra_id_0> and <extra_id_99>.",
]
CHAT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hi {{ x }} {% y %}"},
    {"role": "assistant", "content": "Hello."},
    {"role": "user", "content": "Bye"},
    {"role": "assistant", "content": "Bye!"},
]


def training_lines() -> list[str]:
    """A few hundred lines with every script above, so that small vocabularies have long pieces and rare ones."""
    words = " ".join(text for text in TEXTS if text.isprintable()).split()
    lines = [text for text in TEXTS if text.strip() and text.isprintable() and len(text) < 200]
    lines += [" ".join(words[i : i + 7]) for i in range(0, len(words) - 7, 3)]
    lines += [f"{a} {b} the {a}ing of {b}s and {a}ed" for a, b in zip(words[::2], words[1::2], strict=False)]
    return [line for line in lines if len(line) < 400] * 3
