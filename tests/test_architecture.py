"""The house of design.md: a package imports only from packages above it; the public names; what must not be imported."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import reasonembed

PACKAGE = Path(reasonembed.__file__).parent
ORDER = (
    ("types", "errors", "progress", "openvino_runtime"),
    ("protocols",),
    ("io",),
    ("data",),
    ("llm", "corpus"),
    ("pages",),
    ("model",),
    ("encode",),
    ("search",),
    ("evaluation",),
    ("mteb",),
    ("dataset",),
    ("synth",),
    ("training",),
    ("adaptation",),
    ("demo",),
    ("cli",),
)  # from design.md section 1, above to below
LEVEL = {name: level for level, names in enumerate(ORDER) for name in names}


def room(path: Path) -> str:
    relative = path.relative_to(PACKAGE)
    return relative.parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        modules = [node.module] if isinstance(node, ast.ImportFrom) and node.module and not node.level else []
        modules += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module == "reasonembed":
            modules = [f"reasonembed.{alias.name}" for alias in node.names]
        found |= {module.split(".")[1] for module in modules if module.startswith("reasonembed.")}
        assert not (isinstance(node, ast.ImportFrom) and node.level), f"{path}: relative import"
    return found


FILES = [file for file in sorted(PACKAGE.rglob("*.py")) if file != PACKAGE / "__init__.py"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_imports_only_from_above(file):
    own = room(file)
    assert own in LEVEL, f"{own} has no place in the order: add it to ORDER and to the README's tree"
    below = {name for name in imports(file) if name != own and LEVEL[name] >= LEVEL[own]}
    assert not below, f"{file.name} imports from {sorted(below)}, which is not above {own}"


def test_public_names():
    assert sorted(reasonembed.__all__) == [
        "BM25Searcher", "Embedder", "ExactSearcher", "FlagLLMModel", "FlagModel", "Pipeline", "adapt", "evaluate", "synthesize",
        "train",
    ]  # fmt: skip
    for name in reasonembed.__all__:
        assert getattr(reasonembed, name).__name__ == name
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        _ = reasonembed.nonsense


HEAVY = ("torch", "transformers", "openvino", "numpy", "bm25s", "datasets", "pydantic")


def loaded_after(code: str) -> set[str]:
    probe = f"import sys\n{code}\nprint(*[m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True, cwd=PACKAGE.parent)
    return set(done.stdout.splitlines()[-1].split())


def test_the_package_and_the_command_line_import_nothing_heavy():
    assert loaded_after("import reasonembed, reasonembed.cli") == set()


def test_searching_with_the_default_model_imports_no_torch(tmp_path):
    (tmp_path / "docs.jsonl").write_text('{"id": "a", "text": "an eigenvector keeps its direction"}\n')
    code = (
        "from typer.testing import CliRunner; from reasonembed.cli import app; run = CliRunner().invoke\n"
        f"assert run(app, ['index', {str(tmp_path / 'docs.jsonl')!r}, '-o', {str(tmp_path / 'i')!r}]).exit_code == 0\n"
        f"done = run(app, ['search', {str(tmp_path / 'i')!r}, 'eigenvalue']); assert done.exit_code == 0, done.output"
    )
    assert not {"torch", "transformers"} & loaded_after(code)


def test_no_pickle_and_no_remote_code_by_default():
    for file in FILES:
        source = file.read_text("utf-8")
        assert "import pickle" not in source, file
        assert "allow_pickle=True" not in source, file
        assert "trust_remote_code=True" not in source, file


def test_public_names_are_no_packages():
    """A name that is also a sub-package would turn into the package once that is imported."""
    packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert not packages & set(reasonembed.__all__)
