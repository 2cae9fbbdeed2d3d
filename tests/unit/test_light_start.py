"""What a fresh process does not load: PyTorch's compiler takes most of a second, and nothing here needs it."""

import subprocess
import sys
from pathlib import Path

from core.models.llama import LlamaConfig, LlamaForCausalLM

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import sys, torch, core
model = core.AutoModelForCausalLM.from_pretrained(sys.argv[1])
model.generate(torch.tensor([[1, 2, 3]]), max_new_tokens=2, do_sample=False)
model = core.get_peft_model(model, core.LoraConfig(r=2, target_modules=["q_proj"]))
rows = [{"input_ids": (ids := torch.arange(8)), "labels": ids} for _ in range(4)]
args = core.TrainingArguments(output_dir=sys.argv[2], max_steps=2, report_to="none", disable_tqdm=True, use_cpu=True)
trainer = core.Trainer(model=model, args=args, train_dataset=rows)
trainer.train()
print(trainer.state.global_step, "torch._dynamo" in sys.modules)
"""


def test_a_model_is_read_and_trained_without_the_compiler(tmp_path: Path) -> None:
    sizes = {"vocab_size": 50, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    LlamaForCausalLM(LlamaConfig(**sizes, max_position_embeddings=32)).save_pretrained(tmp_path / "model")
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "model"), str(tmp_path / "run")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split()[-2:] == ["2", "False"]
