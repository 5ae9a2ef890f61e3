from __future__ import annotations

import json
from typing import Any

import pytest

from mvdeploy.report.renderers.json import as_json


def test_names_follow_the_convention(two: Any, view_for: Any) -> None:
    data = json.loads(json.dumps(as_json(view_for(two)), allow_nan=False))
    assert data["schema_version"] == 2
    assert data["statistics"]["std_ddof"] == 1
    case = data["cases"][0]
    assert set(case["latency_ms"]) == {
        *("mean", "std", "min", "p10", "p50", "p90", "p95", "p99", "max")
    }
    assert case["load_ms"] == pytest.approx(41.3)
    assert case["first_inference_ms"] > case["latency_ms"]["p50"]
    assert case["peak_memory_mb"] == pytest.approx(143.6)
    assert [len(s) for s in case["raw_samples_ms"]] == [260] * 4
    assert case["interval"]["scope"] == "within this run"
    assert sum(p["share"] for p in case["breakdown"]["categories"].values()) == pytest.approx(1)
    assert case["breakdown"]["time_kind"] == "measured"
    comparison = data["comparisons"][0]
    assert comparison["verdict"] == "faster"
    assert comparison["estimate"]["low"] < comparison["estimate"]["ratio"]
    assert comparison["wall"]["clock"] == "wall"


@pytest.mark.parametrize("name", ["single", "trouble", "hostile_story"])
def test_is_always_json(name: str, view_for: Any, request: pytest.FixtureRequest) -> None:
    data = as_json(view_for(request.getfixturevalue(name)))
    assert json.loads(json.dumps(data, allow_nan=False)) == data


def test_failures_have_their_exit_code(trouble: Any, view_for: Any) -> None:
    cases = as_json(view_for(trouble))["cases"]
    assert cases[0]["failure"]["exit_code"] == 4
    assert cases[0]["latency_ms"] is None
    assert cases[1]["failure"] is None
    assert cases[3]["failure"]["exit_code"] is None


def test_findings_name_their_cases(trouble: Any, view_for: Any) -> None:
    found = {f["code"]: f for f in as_json(view_for(trouble))["findings"]}
    assert found["steal"]["cases"] == ["drifting"]
    assert found["emulated"]["cases"] == []
    assert found["code_from_the_future"]["values"] == {"depth": 3}
