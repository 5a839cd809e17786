"""Imports run one way, and importing the package is cheap."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "ecgtwin"
# Each part may import those before it.
ORDER = [
    ["exceptions", "files", "card", "parallel"],
    ["memory", "filters"],
    ["statements", "hub"],
    ["conditions", "beats", "leads"],
    ["alignment", "headers"],
    ["quality", "delineation"],
    ["ecg"],
    ["formats"],
    ["simulate", "datasets", "rhythm", "provenance", "resampling", "retiming", "electrodes"],
    ["nn", "heartbeats"],
    ["diffusion"],
    ["training"],
    ["pretrained", "recordings"],
    ["request", "weights", "given", "output"],
    ["sampling"],
    ["editing", "explanation"],
    ["extractor", "generator"],
    ["augment"],
    ["classifier"],
    ["plotting"],
    ["comparison"],
    ["metrics", "bench"],
    ["__init__", "__main__"],
]
RANK = {name: rank for rank, names in enumerate(ORDER) for name in names}
FILES = [path for path in PACKAGE.rglob("*.py")]


def imported(path: Path, of_top_level_only: bool = False) -> set[str]:
    """The parts of the package, and the foreign packages, that a file imports."""
    tree = ast.parse(path.read_text())
    names = set()
    inside = path.relative_to(PACKAGE).parts[:-1]
    for node in tree.body if of_top_level_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            if node.level == 0:
                parts = (node.module or "").split(".")
                names.add("." + parts[1] if parts[0] == "ecgtwin" and len(parts) > 1 else parts[0])
            elif node.level > len(inside):
                names |= {"." + (node.module or alias.name).split(".")[0] for alias in node.names}
    return names


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_run_one_way(path):
    parts = path.relative_to(PACKAGE).parts
    own = parts[0].removesuffix(".py")
    for name in imported(path):
        if name.startswith(".") and name[1:] != "__version__":
            assert RANK[name[1:]] <= RANK[own], f"{own} imports {name}"
            assert name[1:] == own or RANK[name[1:]] < RANK[own] or own == "__init__" or own == "datasets"


@pytest.mark.parametrize("part", ["nn", "diffusion"])
def test_networks_know_nothing_of_scikit_learn_or_files(part):
    for path in (PACKAGE / part).glob("*.py"):
        assert not imported(path) & {
            "sklearn",
            "wfdb",
            "safetensors",
            "huggingface_hub",
            "matplotlib",
            "pathlib",
        }


def test_conditions_and_signals_need_no_torch():
    for name in (
        "statements",
        "conditions",
        "beats",
        "ecg",
        "delineation",
        "simulate",
        "datasets",
        "rhythm",
        "resampling",
        "retiming",
    ):
        assert "torch" not in imported(PACKAGE / f"{name}.py")


def test_heavy_packages_are_imported_when_they_are_used():
    code = (
        "import sys, torch, sklearn; before = set(sys.modules); import ecgtwin; "
        "heavy = {'wfdb', 'pandas', 'matplotlib', 'huggingface_hub', 'scipy.signal'}; "
        "print(sorted(heavy & (set(sys.modules) - before)))"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PACKAGE.parent
    )
    assert out.stdout.strip() == "[]"
