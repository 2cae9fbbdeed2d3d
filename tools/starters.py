"""Make the bundled starters of finished runs, and what is written about them.

python tools/starters.py pack RUN_ID …     a finished run of a recipe -> assets/starters/NAME, in half precision, with its card
python tools/starters.py write             README.md's table and THIRD_PARTY.md, from the cards
"""

import argparse
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from core.checkpoints import bundled, catalogue, open_checkpoint
from core.checkpoints.safetensors_io import save
from core.errors import VitrineError
from core.modeling.configuration import read_config
from core.paths import assets_dir, runs_dir
from core.runs import Store
from core.trainer.config import RunConfig, read

ROOT = Path(__file__).resolve().parents[1]
LARGEST, ALL = 6_000_000, 35_000_000  # bytes of weights
BEGIN, END = "<!-- starters -->", "<!-- /starters -->"


def pack(run: str) -> Path:
    """The folder of a run's starter. Raises VitrineError where the run is not finished or what it made is too large or no better than
    its floor."""
    config = read(runs_dir() / run / "config.yaml")
    recipe = recipe_of(config)
    config.card = read(recipe).card  # as it is said now
    kind = "adapter" if config.lora is not None else "model"
    made, folder = runs_dir() / run / kind, assets_dir() / "starters" / config.name
    judged = scores(run, config.card.get("measured_by") or config.card["metric"])
    if not judged:
        raise VitrineError(f"{run} was never judged.")
    score = judged[max(judged)]
    if not made.is_dir():
        raise VitrineError(f"{run} has made nothing yet: go on with it first.")
    if score <= config.card["floor"]:
        raise VitrineError(f"{config.name} has {score:.3f}, no more than its floor: it is no starter.")
    part = folder.with_name(f".{config.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    with open_checkpoint(made if kind == "model" else made / "adapter_model.safetensors") as file:
        halves = {name: file.load(name).half().contiguous() for name in file.names()}
    save(halves, part, metadata={"format": "pt"}, stem="adapter_model" if kind == "adapter" else "model")
    for source in made.glob("*.json"):
        own = (
            source.name in ("adapter_config.json", "config.json")
            if kind == "adapter"
            else not source.name.endswith(".index.json")
        )
        if own:  # an adapter's tokenizer is its base's
            shutil.copy(source, part)
    if "prompt" in config.card:  # a chat model that is asked: its files say what
        own = read_config(config.model)
        asked = {config.card["pipeline_tag"]: {"prompt": config.card["prompt"], "max_new_tokens": 64, "do_sample": False}}
        values = {**own, "task_specific_params": asked}
        (part / "config.json").write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    base = judged.get(0, config.card.get("base"))
    (part / "README.md").write_text(card(config, recipe.name, score, base), encoding="utf-8")
    size = sum(file.stat().st_size for file in part.glob("*.safetensors"))
    if size > LARGEST:
        raise VitrineError(f"{config.name} has {size / 1e6:.1f} MB of weights, at most {LARGEST / 1e6:.0f} MB are bundled.")
    shutil.rmtree(folder, ignore_errors=True)
    part.replace(folder)
    bundled.cards.cache_clear()
    if (whole := sum(one.size for one in bundled.cards().values())) > ALL:
        raise VitrineError(f"All starters have {whole / 1e6:.1f} MB together, more than {ALL / 1e6:.0f} MB.")
    return folder


def scores(run: str, metric: str) -> dict[int, float]:
    """What the run was judged by, by step."""
    return {row["step"]: row["value"] for row in Store().metrics(run)[0] if row["name"] in (metric, f"eval_{metric}")}


def card(config: RunConfig, recipe: str, score: float, before: float | None) -> str:
    """The model card: front matter that core.checkpoints.bundled reads, and sentences for people."""
    said = config.card
    command = f"python launch.py train assets/recipes/{recipe} --data FOLDER/{Path(config.dataset).name}"
    entry = catalogue.find(config.model) if config.scratch is None else None
    front: dict[str, Any] = {
        "title": said["title"],
        "license": said["license"],
        "pipeline_tag": said["pipeline_tag"],
        **({"base_model": entry.hub_id} if entry else {}),
        "hub": said["hub"],
        "measured": {
            "metric": said["metric"],
            "score": round(score, 4),
            "floor": said["floor"],
            "floor_is": said["floor_is"],
            "base": None if before is None else round(before, 4),
        },
        "data": said["data"],
        "command": command,
    }
    base = f"An adapter (LoRA) on {config.model}, which is fetched by itself." if entry else "Trained from nothing."
    lines = [
        f"# {said['title']}",
        "",
        f"{base} Made by our own Trainer on one processor core. On rows kept apart its {said['metric']} is {score:.3f};",
        f"a trivial method ({said['floor_is']}) reaches {said['floor']:.3f}"
        f"{'' if before is None else f', the base before its training {before:.3f}'}. It is an example of its kind, small enough to come with the",
        f"program: with a network, take `{said['hub']}`.",
        *(["", said["note"]] if "note" in said else []),
        "",
        "Use it: `pipeline({!r}, model={!r})`. Make it again:".format(said["pipeline_tag"], config.name),
        "",
        *(f"    {line}" for line in (said.get("prepare"), command) if line),
        "",
        "Trained on:",
        "",
        *(f"- {row['name']}, {row['licence']}, {row['source']}" for row in said["data"]),
    ]
    return f"---\n{yaml.safe_dump(front, sort_keys=False, allow_unicode=True, width=130)}---\n\n" + "\n".join(lines) + "\n"


def recipe_of(config: RunConfig) -> Path:
    """The recipe's file that has this name. Raises VitrineError where there is none."""
    for path in sorted((assets_dir() / "recipes").glob("*.yaml")):
        if read(path).name == config.name:
            return path
    raise VitrineError(f"No recipe in assets/recipes is named {config.name}.")


def table() -> str:
    """The README's table."""
    lines = ["| task | starter | score | base | floor | size |", "| --- | --- | --- | --- | --- | --- |"]
    for one in sorted(bundled.cards().values(), key=lambda card: card.task):
        base = f" on {bundled.base_of(one.folder)}" if one.base else ""
        lines.append(
            f"| {one.task} | [{one.name}](assets/starters/{one.name}/README.md){base} | {one.metric} {one.score:.3f} | "
            f"{'' if one.base_score is None else f'{one.base_score:.3f}'} | {one.floor:.3f} | "
            f"{one.size / 1e6:.1f} MB |"
        )
    return "\n".join(lines)


def third_party() -> str:
    """THIRD_PARTY.md."""
    lines = [
        "# What is by others",
        "",
        "Written by `tools/starters.py write` from the cards. Models that are fetched, never part of this project:",
        "",
        *(f"- {one.title} (`{one.hub_id}`), {one.licence}" for one in catalogue.load_catalogue().values()),
        "",
        "The page's examples: their notice is assets/examples/NOTICE.md.",
        "",
        "Data that the bundled starters were trained on; it is not part of this project, the weights made from it are:",
    ]
    for one in bundled.cards().values():
        lines += ["", f"## {one.name} ({one.licence})", ""]
        lines += [f"- {name}, {licence}, {source}" for name, licence, source in one.data]
        lines += [f"- on top of {one.base}"] if one.base else []
    return "\n".join(lines) + "\n"


def write() -> None:
    """Both."""
    readme = ROOT / "README.md"
    before, rest = readme.read_text(encoding="utf-8").split(BEGIN)
    readme.write_text(f"{before}{BEGIN}\n\n{table()}\n\n{END}{rest.split(END)[1]}", encoding="utf-8")
    (ROOT / "THIRD_PARTY.md").write_text(third_party(), encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["pack", "write"])
    parser.add_argument("runs", nargs="*")
    given = parser.parse_args()
    try:
        for run in given.runs:
            print(pack(run))
        if given.what == "write":
            write()
    except VitrineError as error:
        sys.exit(str(error))
