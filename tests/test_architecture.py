"""The room rules, read from the imports."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ORACLES = {"transformers", "peft", "accelerate"}
ARCHITECTURE_BLIND = ("generation", "trainer", "peft", "lens", "pipelines")


def imports(file: Path) -> set[str]:
    """Modules that a file imports, at any depth in it; relative imports made absolute."""
    found = set()
    package = file.relative_to(ROOT).with_suffix("").parts
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: -node.level]) if node.level else ""
            module = ".".join(part for part in (base, node.module) if part)
            found |= {module} | {f"{module}.{alias.name}" for alias in node.names}
    return found


def broken(folder: str, forbidden: tuple[str, ...]) -> list[str]:
    """file: import, for every forbidden import below the folder."""
    rows = []
    for file in sorted((ROOT / folder).rglob("*.py")):
        for name in imports(file):
            if any(name == module or name.startswith(f"{module}.") for module in forbidden):
                rows.append(f"{file.relative_to(ROOT)}: {name}")
    return rows


def test_core_never_imports_the_app() -> None:
    assert list((ROOT / "core").rglob("*.py"))
    assert broken("core", ("app", "gradio", "fastapi", "starlette", "uvicorn")) == []


def test_modeling_never_imports_models() -> None:
    assert broken("core/modeling", ("core.models", "core.auto")) == []


@pytest.mark.parametrize("room", ARCHITECTURE_BLIND)
def test_rooms_see_models_through_their_base(room: str) -> None:
    assert broken(f"core/{room}", ("core.models",)) == []


def test_no_oracle_in_the_product() -> None:
    rows = broken("core", tuple(ORACLES)) + broken("app", tuple(ORACLES))
    assert rows == []
    assert not imports(ROOT / "launch.py") & ORACLES


def test_launch_imports_only_the_standard_library() -> None:
    import sys

    tree = ast.parse((ROOT / "launch.py").read_text(encoding="utf-8"))
    top = {
        alias.name.split(".")[0]
        for node in tree.body
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in ([ast.alias(node.module or "")] if isinstance(node, ast.ImportFrom) else node.names)
    }
    assert top <= set(sys.stdlib_module_names) | {"__future__"}


def test_the_app_holds_no_tensor_arithmetic() -> None:
    assert broken("app/tabs", ("torch",)) == []


def test_a_forbidden_import_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rules above can fail."""
    (tmp_path / "core").mkdir()
    (tmp_path / "core" / "bad.py").write_text("def f():\n    from app.main import serve\n")
    monkeypatch.setattr("test_architecture.ROOT", tmp_path)
    assert (
        broken("core", ("app",)) == ["core/bad.py: app.main", "core/bad.py: app.main.serve"] or len(broken("core", ("app",))) == 2
    )
