"""How `make docs` makes the site: from README.md, docs/ and the docstrings, without a network.

The sources are the repository's own folder, so that links between the documents are the same here
and on a forge. A page is listed in ``_toc.yml``; one that is not fails the build, as every warning
does.
"""

from __future__ import annotations

import importlib
import os
import re
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

mvdeploy = importlib.import_module("mvdeploy")

project = "mvdeploy"
author = "The mvdeploy developers"
project_copyright = author
version = release = mvdeploy.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_click",
    "sphinx_external_toc",
]
root_doc = "docs/index"
external_toc_path = "docs/_toc.yml"
include_patterns = [
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "docs/**.md",
    "benchmarks/*.md",
    "reports/*/report.md",
]
# Folders that are not even looked into.
exclude_patterns = [".*", "build", "devices", "dist", "mvdeploy", "out", "tests", "**/cases"]
# Of the reports, those that the README shows; others are a user's own.
shown = (ROOT / "README.md").read_text(encoding="utf-8")
exclude_patterns += [
    f"reports/{folder.name}"
    for folder in ROOT.glob("reports/*")
    if f"](reports/{folder.name}/" not in shown
]

myst_heading_anchors = 6
myst_links_external_new_tab = False
default_role = "py:obj"
nitpicky = True
# Types of other libraries: their own sites are not asked.
nitpick_ignore_regex = [("py:.*", r"(?!mvdeploy\.).*")]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
napoleon_numpy_docstring = False
add_module_names = False

html_theme = "furo"
html_title = f"mvdeploy {release}"
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
html_additional_pages = {"index": "start.html"}
templates_path = ["_templates"]


def _without_a_page(app: Any, env: Any, node: Any, contnode: Any) -> Any:
    """Show what a docstring names and no page describes as it is written, if it exists."""
    target = node.get("reftarget", "")
    if node.get("refdomain") != "py" or not target.startswith("mvdeploy."):
        return None
    words = target.split(".")
    for end in range(len(words), 0, -1):
        try:
            found = importlib.import_module(".".join(words[:end]))
        except ModuleNotFoundError:
            continue
        for word in words[end:]:
            fields = getattr(found, "__dataclass_fields__", {})
            if word not in fields and not hasattr(found, word):
                return None
            found = getattr(found, word, fields.get(word))
        return contnode
    return None


def _as_typed(app: Any, context: Any, lines: list[str]) -> None:
    """Leave out of what stands for an option's value under which name the code has it."""
    lines[:] = [re.sub(r"<\w+_options_(\w+)>", r"<\1>", line) for line in lines]


def setup(app: Any) -> None:
    """Have Sphinx ask the functions above."""
    app.connect("missing-reference", _without_a_page)
    app.connect("sphinx-click-process-options", _as_typed)
