"""Writes what follows from the table in core/auto.py, the models' part of core/__init__.pyi and README's table of architectures:
`python tools/public_names.py`."""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STUB = ROOT / "core" / "__init__.pyi"
README = ROOT / "README.md"
TABLE = re.compile(r"\| model_type \|.*?\n(?!\|)", re.S)
MODELS = re.compile(r"(from \.models\.\w+ import \([^)]*\)\n)+")


def stub(text: str) -> str:
    """The stub with the models' part as the table has it."""
    from core.auto import ARCHITECTURES

    modules: dict[str, set[str]] = {}
    for model_type, architecture in ARCHITECTURES.items():
        modules.setdefault(architecture.module or model_type, set()).update(architecture.class_names())
    blocks = []
    for module, names in sorted(modules.items()):
        lines = "".join(f"    {name} as {name},\n" for name in sorted(names))
        blocks.append(f"from .models.{module} import (\n{lines})\n")
    return MODELS.sub("".join(blocks), text, count=1)


def readme(text: str) -> str:
    """README with the table as it is now."""
    from core.auto import architectures_table

    return TABLE.sub(lambda found: architectures_table() + "\n", text, count=1)


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    README.write_text(readme(README.read_text(encoding="utf-8")), encoding="utf-8")
    STUB.write_text(stub(STUB.read_text(encoding="utf-8")), encoding="utf-8")
