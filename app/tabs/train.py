"""The Train tab: pick a model and data, see what is learned, press Start. The run is a process of its own."""

import tomllib
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
from gradio.components import Component

from app.components.run_view import run_view
from app.components.said import escape
from app.components.token_strip import token_strip
from app.jobs import save_upload
from core.errors import DataError, VitrineError
from core.paths import assets_dir
from core.peft import LoraConfig
from core.trainer.arguments import TrainingArguments
from core.trainer.data import preview
from core.trainer.reading import load_rows
from core.trainer.run import DEFAULTS, RunConfig, find_dataset

RECIPES = {
    "Quick: 30 steps": {"max_steps": 30, "learning_rate": 1e-3, "per_device_train_batch_size": 4},
    "Usual: 120 steps": {"max_steps": 120, "learning_rate": 5e-4, "per_device_train_batch_size": 8},
    "Thorough: 3 epochs": {"max_steps": -1, "learning_rate": 2e-4, "per_device_train_batch_size": 8},
}
LORA = {"r": 8, "lora_alpha": 16}
BASIC = ("max_steps", "num_train_epochs", "learning_rate", "per_device_train_batch_size")
MORE = (
    "gradient_accumulation_steps",
    "lr_scheduler_type",
    "warmup_steps",
    "weight_decay",
    "max_grad_norm",
    "save_steps",
    "seed",
    "bf16",
    "gradient_checkpointing",
)


@cache
def bundled() -> dict[str, dict[str, Any]]:
    """The bundled data sets, by name."""
    with open(assets_dir() / "datasets" / "catalogue.toml", "rb") as file:
        return tomllib.load(file)


def knob(name: str, value: Any, field: Any) -> Component:
    """A widget for a declared argument, with its help."""
    settings = {"label": name, "info": field.metadata["help"], "elem_id": f"train-{name}", "value": value}
    if field.metadata["choices"]:
        return gr.Dropdown(list(field.metadata["choices"]), **settings)
    if isinstance(field.default, bool):
        return gr.Checkbox(**settings)
    return gr.Number(precision=0 if isinstance(field.default, int) else None, **settings)


def dataset_of(name: str | None, file: str | None) -> Path:
    """The file to train on. Raises DataError where there is none."""
    if file:
        return save_upload(file)
    if not name:
        raise DataError("No data is chosen: pick a bundled set or drop a file.")
    return find_dataset(name)


def look(workbench: Any, model: str | None, name: str | None, file: str | None, length: int, system: str) -> tuple[str, str]:
    """What the first rows teach: a sentence, and their tokens coloured by loss mask."""
    from core import AutoTokenizer
    from core.paths import models_dir

    path = dataset_of(name, file)
    rows = load_rows(path)
    if not model:
        raise DataError("No model is chosen: pick one in the list.")
    local = models_dir() / model
    tokenizer = AutoTokenizer.from_pretrained(str(local) if local.is_dir() else model)
    shown = preview(tokenizer, rows, 3, length, system or None)
    learned = sum(marked for row in shown for _, marked in row)
    total = sum(len(row) for row in shown)
    about = "" if file or not name else f" {bundled()[name]['about']}"
    said = f"**{len(rows)} rows.**{about} The first {len(shown)} of them as the model reads them: {learned} of {total} tokens are learned."
    return said, token_strip(shown)


def build(workbench: Any) -> SimpleNamespace:
    """Lay out the tab and wire it."""
    arguments, lora = TrainingArguments.knobs(), LoraConfig.__dataclass_fields__
    models = workbench.model_names("text-generation")
    first = next(iter(RECIPES))
    start_values = {
        **{n: arguments[n].default for n in (*BASIC, *MORE)},
        **{k: v for k, v in DEFAULTS.items() if k in (*BASIC, *MORE)},
    }
    start_values |= RECIPES[first]
    widgets: dict[str, Any] = {}
    with gr.Row(equal_height=False):
        with gr.Column(scale=5, min_width=320):
            model = gr.Dropdown(
                models, value=models[0] if models else None, label="Model", allow_custom_value=True, elem_id="train-model"
            )
            data = gr.Radio(
                [(entry["title"], name) for name, entry in bundled().items()],
                value=next(iter(bundled())),
                label="Data",
                elem_id="train-data",
            )
            with gr.Accordion("Or a file of your own", open=False):
                file = gr.File(
                    label="json, jsonl or csv: messages, conversations, instruction and output, prompt and completion, or text",
                    file_types=[".json", ".jsonl", ".csv"],
                    type="filepath",
                    height=120,
                    elem_id="train-file",
                )
            recipe = gr.Radio(list(RECIPES), value=first, label="Recipe", elem_id="train-recipe")
            name = gr.Textbox("telegrams", label="Name of the run", max_lines=1, elem_id="train-name")
            with gr.Accordion("Settings", open=False):
                with gr.Row():
                    for key in BASIC:
                        widgets[key] = knob(key, start_values[key], arguments[key])
                with gr.Row():
                    widgets["r"] = gr.Number(LORA["r"], label="r", info=lora["r"].metadata["help"], precision=0)
                    widgets["lora_alpha"] = gr.Number(
                        LORA["lora_alpha"], label="lora_alpha", info=lora["lora_alpha"].metadata["help"]
                    )
                    widgets["lora_dropout"] = gr.Number(0.0, label="lora_dropout", info=lora["lora_dropout"].metadata["help"])
                    widgets["target_modules"] = gr.Textbox(
                        "all-linear",
                        label="target_modules",
                        info=lora["target_modules"].metadata["help"] + " Commas between names.",
                    )
                with gr.Row():
                    length = gr.Number(256, label="max_length", info="Tokens of a row that are kept.", precision=0, minimum=8)
                    held = gr.Number(
                        0.1, label="eval_fraction", info="Share of the rows held out to judge by.", minimum=0, maximum=0.5
                    )
                system = gr.Textbox("", label="System prompt", info="Put before every row that has none.", lines=2)
            with gr.Accordion("More settings", open=False), gr.Row():
                for key in MORE:
                    widgets[key] = knob(key, start_values[key], arguments[key])
            start = gr.Button("Start training", variant="primary", elem_id="train-start")
            said = gr.Markdown("", elem_id="train-said", visible=False)
        with gr.Column(scale=7, min_width=320):
            gr.Markdown("## The run")
            view = run_view(elem_id="train-run")
            gr.Markdown("## What is learned")
            about = gr.Markdown("", elem_id="train-about")
            strip = gr.HTML("", elem_id="train-strip", padding=False)

    keys = list(widgets)

    def show_data(model: str, data: str, file: str | None, length: int, system: str) -> tuple[Any, Any]:
        try:
            return look(workbench, model, data, file, int(length or 256), system)
        except VitrineError as error:
            return f"**This cannot be trained on.** {escape(str(error))}", ""

    def set_recipe(chosen: str) -> list[Any]:
        return [RECIPES[chosen].get(key, gr.skip()) for key in BASIC]

    def begin(
        model: str, data: str, file: str | None, name: str, length: int, held: float, system: str, *values: Any
    ) -> tuple[Any, Any]:
        chosen = dict(zip(keys, values, strict=True))
        targets = [word.strip() for word in str(chosen.pop("target_modules")).split(",") if word.strip()]
        adapter = {key: chosen.pop(key) for key in ("r", "lora_alpha", "lora_dropout")}
        adapter["target_modules"] = targets[0] if targets in (["all-linear"], []) and targets else targets or "all-linear"
        entry = {} if file else bundled().get(data, {})
        try:
            missing = [
                key for key, value in {**chosen, **adapter, "max_length": length, "eval_fraction": held}.items() if value is None
            ]
            if missing:
                raise DataError(f"{missing[0]} is empty: give it a number.")
            LoraConfig(**adapter)
            path = dataset_of(data, file)
            look(workbench, model, data, file, int(length), system)
            config = RunConfig(
                model=model,
                dataset=str(path) if file else data,
                name=name.strip() or path.stem,
                max_length=int(length),
                system=system.strip() or None,
                lora=adapter,
                training={key: value for key, value in chosen.items() if value != arguments[key].default or key in DEFAULTS},
                sample_prompts=list(entry.get("ask", [])),
                eval_fraction=float(held),
                exact_match=int(entry.get("exact_match", 0)) if held else 0,
            )
            run = workbench.jobs.submit(config)
        except VitrineError as error:
            return gr.Markdown(f"**Not started.** {escape(str(error))}", visible=True), gr.skip()
        return gr.Markdown("", visible=False), {"id": run}

    def newest() -> Any:
        runs = workbench.store.runs("training", limit=1)
        return {"id": runs[0]["id"]} if runs else None

    private: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    seen = [model, data, file, length, system]
    data.change(lambda value: value, data, name, **private)
    recipe.change(set_recipe, recipe, [widgets[key] for key in BASIC], **private)
    start.click(
        begin, [model, data, file, name, length, held, system, *widgets.values()], [said, view], concurrency_limit=1, **private
    )
    return SimpleNamespace(view=view, model=model, newest=newest, show_data=show_data, seen=seen, about=about, strip=strip)
