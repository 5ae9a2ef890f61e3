"""What a CI shows of a run, read back."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mvdeploy.analysis.gates import check, parse
from mvdeploy.analysis.view import view_of
from mvdeploy.errors import UsageError
from mvdeploy.records import SavedRun
from mvdeploy.report.ci import Check, Outcome, checks, github, junit
from tests.saved_runs import run

INSIDE = {"failure": Outcome.FAILED, "error": Outcome.ERROR, "skipped": Outcome.SKIPPED}


def read(xml: str) -> list[tuple[str, str, Outcome, str]]:
    """Return case, name, outcome and words of every test case; counts are checked."""
    whole = ET.fromstring(xml)
    (suite,) = whole.findall("testsuite")
    found = []
    for case in suite.findall("testcase"):
        assert len(case) <= 1
        outcome = INSIDE[case[0].tag] if len(case) and case[0].tag in INSIDE else Outcome.PASSED
        words = (case[0].get("message") or case[0].text or "") if len(case) else ""
        found.append((case.attrib["classname"], case.attrib["name"], outcome, words))
    outcomes = [outcome for _, _, outcome, _ in found]
    for node in (whole, suite):
        counted = [int(node.attrib[n]) for n in ("tests", "failures", "errors", "skipped")]
        assert counted == [len(found), *map(outcomes.count, INSIDE.values())]
    names = [(case, name) for case, name, *_ in found]
    assert len(set(names)) == len(names)
    return found


def gates(view: Any, *texts: str) -> tuple[Check, ...]:
    return checks(view, check([*map(parse, texts)], view))


def test_gates_and_cases_are_test_cases(two: Any, view_for: Any) -> None:
    view = view_for(two)
    found = read(junit.text(view, gates(view, "p50:5ms", "attention:90%")))
    a, b = (case.name for case in view.cases)
    assert [(case, name, outcome) for case, name, outcome, _ in found] == [
        (a, "measured", Outcome.PASSED),
        (b, "measured", Outcome.PASSED),
        (a, "gate p50:5ms", Outcome.FAILED),
        (b, "gate p50:5ms", Outcome.PASSED),
        (a, "gate attention:90%", Outcome.PASSED),
        (b, "gate attention:90%", Outcome.PASSED),
    ]
    assert re.fullmatch(rf"{a} takes 5\.\d+ ms, more than 5 ms\.", found[2][3])
    assert re.fullmatch(rf"{b} takes 4\.\d+ ms, not more than 5 ms\.", found[3][3])


def test_failed_cases_and_those_the_run_did_not_come_to(trouble: Any, view_for: Any) -> None:
    view = view_for(trouble)
    found = read(junit.text(view, checks(view, (), reliable=True)))
    assert [(name, outcome) for _, name, outcome, _ in found] == [
        ("measured", Outcome.ERROR),
        ("measured", Outcome.PASSED),
        ("measured", Outcome.PASSED),
        ("measured", Outcome.SKIPPED),
        ("reliable", Outcome.FAILED),
        ("reliable", Outcome.PASSED),
    ]
    assert found[0][3] == "The runner was killed (out of memory)."
    assert "is unreliable: " in found[4][3]


def test_what_a_device_computes_wrong_is_a_failure(fleet_story: Any, view_for: Any) -> None:
    view = view_for(fleet_story)
    found = read(junit.text(view, checks(view, ())))
    outcomes = [outcome for _, name, outcome, _ in found if name == "outputs on the device"]
    assert outcomes == [*[Outcome.PASSED] * 3, Outcome.FAILED]


def test_gates_that_cannot_be_decided_are_an_error(two: Any, view_for: Any) -> None:
    view = view_for(two)
    refused = UsageError("The baseline is of another device.", "Measure it anew.")
    found = read(junit.text(view, checks(view, (), refused=refused)))
    assert found[-1] == ("gates", "decided", Outcome.ERROR, "The baseline is of another device.")


def rows(text: str) -> list[list[str]]:
    """Return the cells of all rows of a summary's tables."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [re.split(r"(?<!\\)\|", line)[1:-1] for line in lines]
    return [[cell.strip() for cell in row] for row in cells]


def test_the_summary_says_the_answer_then_what_failed(two: Any, view_for: Any) -> None:
    view = view_for(two)
    text = github.text(view, gates(view, "attention:90%", "p50:5ms"))
    lines = [line for line in text.splitlines() if line]
    assert lines[0] == "## mvdeploy: 1 check of 6 failed"
    assert lines[1].startswith("mobilevit_xxs 8,4,2 is 1.13× as fast as mobilevit_xxs 2,2,2 (")
    found = rows(text)
    assert found[2][:3] == ["❌ failed", "p50:5ms", "mobilevit_xxs 2,2,2"]
    assert [row[0] for row in found[3:6]] == ["✅ passed"] * 3
    assert found[-2][0] == "A: mobilevit_xxs 2,2,2"
    assert found[-1][2] == f"{view.cases[1].timing.wall.p50 / 1e6:.3f}"


def test_the_summary_of_a_run_with_trouble(trouble: Any, view_for: Any) -> None:
    view = view_for(trouble)
    text = github.text(view, checks(view, ()))
    assert "## mvdeploy: 1 check of 4 failed" in text
    assert "not measured: The runner was killed (out of memory)." in text
    assert rows(text)[2][0] == "❌ error"


def test_without_demands_the_summary_says_what_was_measured(two: Any, view_for: Any) -> None:
    view = view_for(two)
    text = github.text(view, checks(view, ()))
    assert "## mvdeploy: 2 cases measured" in text
    assert "✅" not in text


def test_a_summary_stays_short(eight: Any, view_for: Any) -> None:
    view = view_for(eight)
    many = [Check("a", f"gate p50:{i}ms", Outcome.FAILED, "x" * 5000) for i in range(5000)]
    text = github.text(dataclasses.replace(view, cases=view.cases * 100), many)
    assert len(text) < 2**17
    assert "4,960 checks more: the report has all." in text
    assert "760 cases more" in text


def test_hostile_text_is_inert(hostile_story: Any, view_for: Any) -> None:
    view = view_for(hostile_story)
    found = gates(view, "p50:5ms")
    assert read(junit.text(view, found))
    text = github.text(view, found)
    assert not re.search(r"(?<!&)<[a-z/]", text)
    assert "https://" not in text and "\x1b" not in text
    assert {len(row) for row in rows(text)} == {4, 6}


words = st.text(st.one_of(st.characters(), st.sampled_from("<>&\"']]>|\n\x00\ufffe")), max_size=30)


@given(st.lists(st.builds(Check, words, words, st.sampled_from(Outcome), words, words), max_size=5))
def test_whatever_is_said_the_xml_is_sound(found: Sequence[Check]) -> None:
    xml = junit.text(view_of(SavedRun(run(()), ()), {}), found)
    assert [outcome for *_, outcome, _ in read(xml)] == [check.outcome for check in found]


@pytest.mark.parametrize("text", ["]]>", "a & b <c>", "\x00\x08\ufffe\ud800"])
def test_words_come_back(text: str, two: Any, view_for: Any) -> None:
    view = view_for(two)
    ((case, name, _, said),) = read(
        junit.text(view, [Check(text, text, Outcome.FAILED, text, text)])
    )
    assert case == name == said
    assert said == re.sub("[\x00\x08\ufffe\ud800]", "\ufffd", text).strip()
