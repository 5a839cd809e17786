"""The documentation: links resolve, code parses or runs, every public name has its place.

The whole build is ``python -m sphinx -W -n -b html docs docs/_build/html``; what is here takes seconds.
"""

import ast
import doctest
import importlib
import re
from pathlib import Path
from urllib.parse import unquote

import pytest

import ecgtwin
import ecgtwin.metrics

pytest.importorskip("sphinx")
pytest.importorskip("myst_parser")

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
if not (DOCS / "conf.py").is_file():
    pytest.skip("no documentation beside the tests", allow_module_level=True)
PAGES = sorted(DOCS.glob("*.md"))
TEXTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted(ROOT.glob("ecgtwin/assets/*/README.md")), *PAGES]
BUILT = "gallery/"

_FENCE = re.compile(r"^(```+|~~~+|:::+)([^\n]*)\n(.*?)^\1 *$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"!?\[[^\]]*\]\(<?([^)\s>]+)>?[^)]*\)")
_DIRECTIVE_FILE = re.compile(r"^```\{(?:image|figure|include|literalinclude)\} (\S+)", re.MULTILINE)


def name_of(path):
    return str(path.relative_to(ROOT))


def code_blocks(text, *languages):
    return [body for _, head, body in _FENCE.findall(text) if head.strip() in languages]


def prose(text):
    return _FENCE.sub(lambda block: "" if block[2][:1] not in ("", "{") else block[0], text)


def anchors(path):
    """The anchors of headings, as GitHub and MyST make them."""
    headings = re.findall(r"^#{1,3} (.+)$", _FENCE.sub("", path.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", TEXTS, ids=name_of)
def test_links_to_files_resolve(path):
    text = path.read_text(encoding="utf-8")
    for link in _LINK.findall(prose(text)) + _DIRECTIVE_FILE.findall(text):
        if re.match(r"[a-z]+:", link) or link.startswith(BUILT):
            continue
        target, _, anchor = unquote(link).partition("#")
        file = (path.parent / target).resolve() if target else path
        assert file.exists(), f"{path.name}: {link} leads nowhere"
        if anchor:
            assert anchor in anchors(file), f"{path.name}: no heading #{anchor} in {file.name}"


@pytest.mark.parametrize("path", TEXTS, ids=name_of)
def test_python_code_parses(path):
    for block in code_blocks(path.read_text(encoding="utf-8"), "python", "py"):
        if ">>>" in block:
            assert doctest.DocTestParser().get_examples(block)
        else:
            ast.parse(block)


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_examples_run(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = [block for block in code_blocks(path.read_text(encoding="utf-8"), "python") if ">>>" in block]
    if not blocks:
        pytest.skip("no doctest on this page")
    names, flags = {}, doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    for number, block in enumerate(blocks):
        # One namespace for a page: a reader goes through it from the top.
        test = doctest.DocTestParser().get_doctest(block, names, f"{path.name}, block {number}", str(path), 0)
        report = []
        runner = doctest.DocTestRunner(optionflags=flags)
        runner.run(test, out=report.append, clear_globs=False)
        names = test.globs
        assert runner.failures == 0, "".join(report)


def test_every_page_is_in_a_table_of_contents():
    listed = {"index"}
    for path in PAGES:
        for block in code_blocks(path.read_text(encoding="utf-8"), "{toctree}"):
            for entry in block.split("\n"):
                if entry and not entry.startswith(":"):
                    listed |= {found.stem for found in DOCS.glob(f"{entry}.*")}
    assert {path.stem for path in PAGES} <= listed


def test_reference_holds_every_public_name():
    listed = set(re.findall(r"^ +([\w.]+)$", (DOCS / "api.rst").read_text(encoding="utf-8"), re.MULTILINE))
    listed |= set(
        re.findall(r"^\.\. data:: (\w+)$", (DOCS / "api.rst").read_text(encoding="utf-8"), re.MULTILINE)
    )
    public = {*ecgtwin.__all__, *ecgtwin.metrics.__all__}
    assert public <= listed, f"docs/api.rst lacks {', '.join(sorted(public - listed))}"
    for name in listed:
        owner = ecgtwin.metrics if name in ecgtwin.metrics.__all__ else ecgtwin
        if "." not in name:
            assert hasattr(owner, name), f"docs/api.rst names {name}, which is not there"


def test_figures_in_pages_are_those_of_the_report():
    written = (DOCS / "evaluation.md").read_text(encoding="utf-8")
    for path in PAGES:
        for key in re.findall(r"\{\{ (\w+) \}\}", path.read_text(encoding="utf-8")):
            stem = key.removesuffix("_real").removeprefix("rule_")
            assert key == "speed" or re.search(rf"^\| `?{stem}`? \|", written, re.MULTILINE), (path.name, key)


def test_examples_of_the_gallery_are_there():
    tree = ast.parse((DOCS / "_ext" / "gallery_order.py").read_text(encoding="utf-8"))
    assigned = {
        ast.unparse(node.targets[0]): node.value for node in tree.body if isinstance(node, ast.Assign)
    }
    run = ast.literal_eval(assigned["RUN"]) + ast.literal_eval(assigned["LAST"])
    for name in run:
        assert (ROOT / "examples" / f"{name}.py").is_file()
    for path in (ROOT / "examples").glob("*.py"):
        assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), f"{path.name} says nothing"


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.py")), ids=name_of)
def test_examples_import_what_is_there(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] == "ecgtwin":
            module = importlib.import_module(node.module)
            for alias in node.names:
                assert hasattr(module, alias.name), f"{node.module} has no {alias.name}"
