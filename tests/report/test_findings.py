from __future__ import annotations

import string

import pytest

from mvdeploy.records import Finding, Level
from mvdeploy.report import findings
from mvdeploy.report.findings import grouped, word, word_all

VALUES: dict[str, dict[str, str | int | float]] = {
    "p99_is_maximum": {"count": 40},
    "wide_interval": {"percent": 3.2},
    "not_interleaved": {"reason": "the devices differ"},
    "cpu_time_partial": {"threads": 4},
    "fused_across_modules": {"percent": 1.5, "count": 5},
    "unplaced_operators": {"percent": 0.4, "count": 25},
    "operators_exceed_latency": {"percent": 12.0},
    "preempted": {"ratio": 1.21},
    "drift": {"percent": -2.5},
    "steal": {"percent": 1.4},
    "blind_parity": {"spread": 0.0},
    "random_weights": {"seed": 7},
    "categories_by_table": {},
    "profile_failed": {"reason": "it crashed."},
    "interrupted": {"cases": "a, b"},
    "emulated": {},
    "parity_failed": {"max_abs": 0.2, "threshold": 0.001, "input": "noise"},
}


def test_every_code_is_tried_here() -> None:
    assert set(VALUES) == set(findings._WORDS)


@pytest.mark.parametrize("code", VALUES)
def test_every_code_has_a_sentence_with_its_figures_and_a_remedy(code: str) -> None:
    worded = word(Finding(code, Level.WARNING, VALUES[code]))
    assert worded.sentence.endswith(".")
    assert not worded.sentence.endswith("..")
    assert "Recorded as" not in worded.sentence
    assert worded.remedy.endswith(".")
    for template in findings._WORDS[code]:
        assert {name for _, name, _, _ in string.Formatter().parse(template) if name} <= {
            *VALUES[code]
        }


def test_figures_are_in_the_sentence() -> None:
    assert "changed by −2.5 %" in word(Finding("drift", Level.WARNING, {"percent": -2.5})).sentence


@pytest.mark.parametrize(
    "finding",
    [
        Finding("from_the_future", Level.NOTE, {"depth": 3, "why": "a\nb"}),
        Finding("drift", Level.NOTE, {"depth": 3, "why": "a\nb"}),
    ],
)
def test_what_cannot_be_worded_is_shown_as_it_is(finding: Finding) -> None:
    worded = word(finding)
    assert worded.sentence == f"Recorded as '{finding.code}': depth = 3, why = a b."
    assert worded.remedy == ""


def test_braces_in_values_are_text() -> None:
    worded = word(Finding("profile_failed", Level.NOTE, {"reason": "{0} {percent.__class__}"}))
    assert "{0} {percent.__class__}" in worded.sentence


def test_the_same_finding_of_several_cases_is_told_once() -> None:
    same = Finding("random_weights", Level.NOTE, {"seed": 0})
    other = Finding("drift", Level.ERROR, {"percent": 9.0})
    run = Finding("emulated", Level.WARNING)
    worded = word_all((run,), (("A", (same,)), ("B", (same, other))))
    assert [(w.code, w.subjects) for w in worded] == [
        ("drift", ("B",)),
        ("emulated", ()),
        ("random_weights", ("A", "B")),
    ]


def test_groups_share_a_remedy() -> None:
    worded = word_all(
        (),
        tuple(
            (c, (Finding("drift", Level.WARNING, {"percent": p}),))
            for c, p in (("A", 3.0), ("B", 4.0))
        ),
    )
    (group,) = grouped(worded)
    assert [subject for subject, _ in group.lines] == ["A", "B"]
    assert "--warmup" in group.remedy
