"""The user's tutorial runs as written; only the names in the import lines and of the model are others."""

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

FIRST = """
from transformers import AutoModelForCausalLM, AutoTokenizer

model_name = "meta-llama/Llama-2-7b-chat-hf"

tokenizer = AutoTokenizer.from_pretrained(model_name)
model = AutoModelForCausalLM.from_pretrained(model_name, torch_dtype="auto", device_map="auto")

prompt = "What is transformers?"
inputs = tokenizer(prompt, return_tensors="pt").to("cuda")
outputs = model.generate(**inputs, max_length=100)
print(tokenizer.decode(outputs[0], skip_special_tokens=True))
"""
PIPELINE = """
from transformers import pipeline

text_generator = pipeline("text-generation", model="meta-llama/Llama-2-7b-chat-hf")
print(text_generator("What is the meaning of life?", max_length=50))
"""
LORA = """
from transformers import AutoModelForCausalLM, AutoTokenizer
import torch

model_name = "meta-llama/Llama-2-7b-chat-hf"

model = AutoModelForCausalLM.from_pretrained(model_name, torch_dtype=torch.float16, device_map="auto")
tokenizer = AutoTokenizer.from_pretrained(model_name)


from peft import LoraConfig, get_peft_model

lora_config = LoraConfig(
    r=8,
    lora_alpha=32,
    lora_dropout=0.05,
    target_modules=["q_proj", "v_proj"]
)

model = get_peft_model(model, lora_config)

model.print_trainable_parameters()


from transformers import TrainingArguments, Trainer

training_args = TrainingArguments(
    output_dir="./lora_llama2",
    per_device_train_batch_size=4,
    gradient_accumulation_steps=4,
    learning_rate=1e-4,
    logging_steps=10,
    save_steps=100,
    num_train_epochs=3
)

trainer = Trainer(
    model=model,
    args=training_args,
    train_dataset=train_dataset
)

trainer.train()
model.save_pretrained("lora_finetuned")


from peft import PeftModel

base_model = AutoModelForCausalLM.from_pretrained(model_name, torch_dtype=torch.float16, device_map="auto")
lora_model = PeftModel.from_pretrained(base_model, "lora_finetuned")

inputs = tokenizer("What is PEFT?", return_tensors="pt").to("cuda")
outputs = lora_model.generate(**inputs)
print(tokenizer.decode(outputs[0]))
"""


def run(code: str, model: Path, **names: Any) -> dict[str, Any]:
    """The block with our library's and the starter's name; its variables."""
    code = code.replace("from transformers", "from core").replace("from peft", "from core")
    names["__name__"] = "tutorial"
    exec(code.replace("meta-llama/Llama-2-7b-chat-hf", str(model)), names)
    return names


@pytest.fixture(autouse=True)
def quiet_about_devices() -> Any:
    """A machine without a GPU says so, which is no failure here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


def test_first_block(smollm2: Path, capsys: pytest.CaptureFixture) -> None:
    names = run(FIRST, smollm2)
    assert names["outputs"].shape[1] <= 100 and "transformers" in capsys.readouterr().out


def test_pipeline_block(smollm2: Path, capsys: pytest.CaptureFixture) -> None:
    run(PIPELINE, smollm2)
    assert "'generated_text': 'What is the meaning of life?" in capsys.readouterr().out


def test_lora_block(smollm2: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    import core

    monkeypatch.chdir(tmp_path)
    tokenizer = core.AutoTokenizer.from_pretrained(smollm2)
    ids = [tokenizer(f"PEFT trains few numbers, case {i}.")["input_ids"] for i in range(8)]
    rows = [{"input_ids": torch.tensor(row[:8]), "labels": torch.tensor(row[:8])} for row in ids]
    names = run(LORA, smollm2, train_dataset=rows)
    out = capsys.readouterr().out
    assert "trainable params: 460,800 || all params: 134,975,808 || trainable%: 0.3414" in out and "What is PEFT?" in out
    assert names["trainer"].state.global_step == 3
    assert (tmp_path / "lora_finetuned" / "adapter_model.safetensors").is_file()
