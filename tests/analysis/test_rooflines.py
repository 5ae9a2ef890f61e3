"""How much of a machine's measured rate a case uses."""

from __future__ import annotations

import dataclasses
import io
from typing import Any

import pytest
from rich.console import Console

from mvdeploy.analysis.view import View, view_of
from mvdeploy.report import prose
from mvdeploy.report.renderers.json import as_json
from mvdeploy.report.renderers.terminal import show

RATE = 1e11


def view(single: Any, identity: dict[str, Any], threads: int = 1, **artifact: Any) -> View:
    saved = single.saved
    (case,) = saved.cases
    changed = dataclasses.replace(case.artifact, **artifact)
    case = dataclasses.replace(case, artifact=changed, precision=changed.precision)
    device = dataclasses.replace(saved.run.device, identity=identity)
    plan = dataclasses.replace(saved.run.plan, threads=threads)
    run = dataclasses.replace(saved.run, device=device, plan=plan)
    return view_of(dataclasses.replace(saved, run=run, cases=(case,)), {})


def test_the_share_is_work_over_time_and_rate(single: Any) -> None:
    (found,) = view(single, {"macs_per_s_fp32_1": RATE}, macs=10**8).rooflines
    cpu = found.case.timing.cpu  # type: ignore[union-attr]
    assert cpu is not None
    assert found.share == pytest.approx(1e8 / (cpu.p50 / 1e9) / RATE)


def test_with_several_threads_the_cores_count_and_wall_time(single: Any) -> None:
    (found,) = view(single, {"macs_per_s_fp32_1": RATE}, threads=2, macs=10**8).rooflines
    wall = found.case.timing.wall  # type: ignore[union-attr]
    assert found.share == pytest.approx(1e8 / (wall.p50 / 1e9) / (2 * RATE))


@pytest.mark.parametrize("precision", ["int8", "int8-dynamic", "int8-fast"])
def test_whole_numbers_have_a_rate_of_their_own(single: Any, precision: str) -> None:
    identity = {"macs_per_s_fp32_1": RATE, "macs_per_s_int8_1": 4 * RATE}
    (found,) = view(single, identity, precision=precision).rooflines
    assert (found.numbers, found.macs_per_s) == ("int8", 4 * RATE)


@pytest.mark.parametrize(
    ("identity", "artifact"),
    [
        ({}, {}),  # as of a phone, whose rate no one measured
        ({"macs_per_s_fp32_1": "unavailable"}, {}),
        ({"macs_per_s_fp32_1": RATE}, {"macs": 0}),
        ({"macs_per_s_fp32_1": RATE}, {"precision": "palette4"}),
        ({"macs_per_s_fp32_1": RATE}, {"precision": "bf16"}),
    ],
)
def test_what_is_not_known_has_none(
    single: Any, identity: dict[str, Any], artifact: dict[str, Any]
) -> None:
    assert view(single, identity, **artifact).rooflines == ()


def test_reports_say_it_and_that_it_is_estimated(single: Any) -> None:
    found = view(single, {"macs_per_s_fp32_1": RATE})
    (sentence,) = prose.rooflines(found)
    (one,) = found.rooflines
    assert f" uses {100 * one.share:.0f} % of what one core can in fp32 (estimated" in sentence
    out = io.StringIO()
    show(found, Console(file=out, width=200))
    assert sentence in out.getvalue()
    (told,) = as_json(found)["rooflines"]
    assert told["share"] == one.share and told["kind"].startswith("estimated")
