"""Files of the repository say what is so: the citation, the forms for issues, the workflow."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

import mvdeploy

ROOT = Path(__file__).parents[1]
FORMS = sorted(
    set(ROOT.glob(".github/ISSUE_TEMPLATE/*.yml")) - {ROOT / ".github/ISSUE_TEMPLATE/config.yml"}
)
WORKFLOW = ROOT / ".github" / "workflows" / "ci.yml"


def test_the_citation_names_this_version() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert cited["version"] == mvdeploy.__version__
    assert "MobileViT" in cited["references"][0]["title"]


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_a_form_asks_for_what_it_takes(path: Path) -> None:
    form = yaml.safe_load(path.read_text(encoding="utf-8"))
    fields = {part["id"]: part for part in form["body"]}
    asked = fields["doctor"]["attributes"]["description"]
    assert re.search(r"`mvdeploy devices doctor( NAME)? --json`", asked)
    assert fields["doctor"]["validations"]["required"]
    assert fields["versions"]["validations"]["required"]
    assert fields["run"]["attributes"]["label"] == "The run folder"


def test_the_workflow_runs_what_is_there() -> None:
    text = WORKFLOW.read_text(encoding="utf-8")
    jobs = yaml.safe_load(text)["jobs"]
    assert ".ci/run" in [step.get("run") for step in jobs["linux"]["steps"]]
    named = re.findall(r"tests/\S+\.py", text)
    assert named and all((ROOT / path).is_file() for path in named)
    (variable,) = jobs["macos"]["env"]
    predicting = ROOT / "tests" / "engines" / "test_coreml_prediction.py"
    assert str(predicting.relative_to(ROOT)) in named
    assert variable in predicting.read_text(encoding="utf-8")


def test_the_workflow_may_only_read() -> None:
    workflow = yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))
    assert workflow["permissions"] == {"contents": "read"}
    assert not [job for job in workflow["jobs"].values() if "permissions" in job]
