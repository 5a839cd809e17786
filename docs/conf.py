"""How Sphinx builds the documentation: ``python -m sphinx -W -n -b html docs docs/_build/html``."""

import re
import shutil
import sys
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent
sys.path[:0] = [str(ROOT), str(HERE / "_ext")]

from gallery_order import RUN  # noqa: E402
from sphinx.util.nodes import make_refnode  # noqa: E402

import ecgtwin  # noqa: E402

project = "ecgtwin"
author = "The ecgtwin developers"
copyright = author
version = release = ecgtwin.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "myst_parser",
    "sphinx_copybutton",
    "sphinx_gallery.gen_gallery",
    "statement_table",
]
exclude_patterns = ["_build", "_gallery_source", "gallery/*.ipynb", "gallery/*.py", "gallery/*.md5"]
templates_path = ["_templates"]
default_role = "py:obj"
nitpicky = True

# Docstrings give types with their units; annotations would say them a second time, without.
autodoc_typehints = "none"
autosummary_generate = True
toc_object_entries_show_parents = "hide"
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False

myst_enable_extensions = ["colon_fence", "deflist", "substitution"]
myst_heading_anchors = 3

copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

html_theme = "pydata_sphinx_theme"
html_title = "ecgtwin"
html_static_path = ["_static"]
html_css_files = ["ecgtwin.css"]
html_show_sourcelink = False
html_theme_options = {
    "navigation_with_keys": False,
    "show_toc_level": 2,
    "header_links_before_dropdown": 6,
    "navbar_align": "left",
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
}
html_sidebars = {"index": []}

# The examples are plain scripts that run as they are: what a gallery needs is put into copies of them.


def copy_examples(source: Path, target: Path) -> None:
    """Copy the examples, the first line of each docstring made a heading."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    for path in sorted(source.glob("*.py")):
        text = path.read_text(encoding="utf-8")
        _, docstring, code = text.split('"""', 2)
        title, _, rest = docstring.partition("\n")
        title = title.rstrip(".")
        rest = rest.replace("\n    python ", "\n.. code-block:: console\n\n    $ python ", 1)
        text = f'"""\n{title}\n{"=" * len(title)}\n{rest}"""{code}'
        (target / path.name).write_text(text, encoding="utf-8")
    shutil.copy(source / "README.rst", target)


copy_examples(ROOT / "examples", HERE / "_gallery_source")
sphinx_gallery_conf = {
    "examples_dirs": ["_gallery_source"],
    "gallery_dirs": ["gallery"],
    "filename_pattern": rf"/({'|'.join(RUN)})\.py$",
    "ignore_pattern": r"/__init__\.py$",
    "download_all_examples": False,
    "show_signature": False,
    "show_memory": False,
    "min_reported_time": 0,
    "abort_on_example_error": True,
    "within_subsection_order": "gallery_order.by_need",
    "default_thumb_file": str(HERE / "images" / "aligned_beats.png"),
    "first_notebook_cell": None,
    "notebook_extensions": set(),
}


def measured(evaluation: str, card: str) -> dict[str, str]:
    """The figures of the shipped weights, from the one place where they stand, for use in pages.

    ``{{ rfid }}`` is the value with its interval, ``{{ rfid_real }}`` that of real ECGs.
    """
    found = {}
    for line in evaluation.splitlines():
        cells = [cell.strip() for cell in line.strip()[1:-1].split("|")]  # the last may be empty
        if len(cells) == 9 and re.fullmatch(r"`\w+`", cells[0]):  # figure, twin, n, real, four arms, ...
            found[cells[0].strip("`")], found[cells[0].strip("`") + "_real"] = cells[1], cells[3]
        elif len(cells) == 6 and re.fullmatch(r"[\dA-Z_/]+", cells[0]) and cells[4]:
            found["rule_" + cells[0].strip("_").replace("/", "_")] = f"{cells[4]} (real {cells[5]})"
    speed = re.search(r"one twin / each of 64 \| ([^|]+) \|", card)
    found["speed"] = speed[1] if speed else ""
    return found


myst_substitutions = measured(
    (HERE / "evaluation.md").read_text(encoding="utf-8"),
    (ROOT / "ecgtwin" / "assets" / "default" / "README.md").read_text(encoding="utf-8"),
)


def skip_metadata_requests(app, what, name, obj, skip, options):
    """Leave out scikit-learn's generated ``set_fit_request`` and the like: they are documented there."""
    return True if re.fullmatch(r"set_\w+_request", name) else None


def link_short_names(app, env, node, contnode):
    """Resolve what stands in single backticks: a name of ours without its module, or no name of ours at all.

    Docstrings put parameters, methods of their class and functions of other libraries in single backticks.
    What says that it is ours, ``ecgtwin.``, must exist.
    """
    if node.get("reftype") != "obj":
        return None
    domain, target = env.domains.python_domain, node["reftarget"]
    ours = target.startswith("ecgtwin.")
    short = (
        target.rpartition(".")[2] if ours else target
    )  # public names are documented where users import them
    inside = f"{node.get('py:module')}.{node.get('py:class')}.{target}"
    found = [name for name in domain.objects if name.endswith(f".{short}")]
    name = inside if inside in found else found[0] if len(found) == 1 and "." in target else None
    if name is None:
        return None if ours else contnode
    page = node.get("refdoc", env.docname)
    return make_refnode(app.builder, page, domain.objects[name].docname, name, contnode, name)


def link_within(app, docname, source):
    """Lead links that hold on GitHub, to files outside of ``docs``, to the pages that show these files."""
    for outside, page in (
        (r"\.\./ecgtwin/assets/default/README\.md", "model_card.md#default-weights"),
        (r"\.\./ecgtwin/assets/judges/README\.md", "model_card.md#judges"),
        (r"\.\./examples/(\w+)\.py", r"gallery/\1.rst"),
        (r"\.\./CHANGELOG\.md", "changelog.md"),
        (r"\.\./README\.md", "index.md"),
    ):
        source[0] = re.sub(rf"\]\({outside}\)", f"]({page})", source[0])


def setup(app):
    app.connect("source-read", link_within)
    app.connect("autodoc-skip-member", skip_metadata_requests)
    app.connect("missing-reference", link_short_names)
