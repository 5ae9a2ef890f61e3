from __future__ import annotations

import string
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from mvdeploy.analysis.findings import ViewFinding, collect
from mvdeploy.records import Device, DeviceProfile, Finding, Level
from mvdeploy.report import wording
from mvdeploy.report.wording import apart, grouped, word

GRADED: dict[str, str | int | float] = {"percent": -2.5, "fine_below": 2.0, "bad_above": 5.0}
WIDTH: dict[str, str | int | float] = {"percent": 3.2, "target": 2.0}

VALUES: dict[str, dict[str, str | int | float]] = {
    "hidden_page": {},
    "tier_up": {"times": 3.6, "count": 7, "clock": "CPU time"},
    "rounds_otherwise": {
        "precision": "int8",
        "engine": "onnxruntime 1.32.0",
        "here": 24.5,
        "there": 24.7,
    },
    "software_adapter": {
        "case": "mobilevit_xxs 2,2,2",
        "reason": "WebGPU is computed by SwiftShader, on the processor",
    },
    "few_samples": {"count": 40, "percentiles": "p99"},
    "views_disagree": {"alone": 0.14, "turns": 1.13, "clock": "CPU time"},
    "more_threads_than_cores": {"threads": 16, "cores": 2},
    "more_threads_than_free_cores": {"threads": 2, "cores": 2, "free": 0.9},
    "cpu_quota": {
        "cores": 0.5,
        "how": "in 178 of 194 periods",
        "ratio": 1.9,
        "basis": "both clocks",
        "fine_below": 1.1,
        "bad_above": 1.3,
    },
    "engine_versions_differ": {
        "engine": "onnxruntime",
        "here": "exported with 1.30.0 and verified with 1.32.0",
        "there": "1.29.0",
    },
    "environment": {"variables": "OMP_NUM_THREADS=2"},
    "wide_interval": WIDTH,
    "no_interval": {"count": 12, "target": 2.0},
    "wide_ratio": WIDTH,
    "few_groups": {"groups": 2},
    "latency_in_turns": {},
    "not_interleaved": {"reason": "the devices differ"},
    "cpu_time_partial": {"threads": 4},
    "cpu_time_elsewhere": {},
    "fused_across_modules": {"percent": 1.5, "count": 5},
    "unplaced_operators": {"percent": 0.4, "count": 25},
    "operators_exceed_latency": {"percent": 12.0},
    "unmatched_operators": {"count": 7, "reason": "delegate 0 has 7 recorded operators, and 8 ran"},
    "merged_operators": {"count": 3},
    "coarse_times": {"count": 545, "percent": 4.5},
    "unmatched_events": {"count": 7, "reason": "nothing ran for 'ADD' number 1"},
    "computed_in_float32": {},
    "preempted": {"ratio": 1.21, "basis": "both clocks", "fine_below": 1.1, "bad_above": 1.3},
    "preempted_samples": GRADED,
    "drift": GRADED,
    "steal": GRADED,
    "anchor": GRADED,
    "anchor_failed": {"reason": "it crashed."},
    "profiler_cost_unknown": {"engine": "onnxruntime", "reason": "it crashed."},
    "throttled": {"changes": "governor from a to b"},
    "unchecked": {"signals": "steal and heat"},
    "outputs_differ": {"session": 2, "count": 3},
    "outputs_depend_on_threads": {"threads": 4},
    "blind_parity": {"spread": 0.0},
    "loses_digits": {"times": 4.8, "module": "norm", "operator": "GroupNorm", "input": "black"},
    "random_weights": {"seed": 7},
    "provisional_scales": {"images": 32},
    "categories_by_table": {},
    "profile_failed": {"reason": "it crashed."},
    "no_profiler": {"reason": "that engine has none"},
    "interrupted": {"cases": "a, b"},
    "unfinished": {"what": "the whole pipeline of a"},
    "ended_early": {"reason": "The phone is gone."},
    "page_not_isolated": {"step_us": 100.0},
    "coarse_clock": {"step_us": 100.0, "percent": 3.2},
    "clock_too_coarse": {"step_us": 100.0, "percent": 3.2, "limit": 0.2},
    "fixed_performance": {},
    "no_fixed_performance": {},
    "mode_lost": {"device": "Pixel 4"},
    "mode_left_on": {"device": "Pixel 4"},
    "mode_not_restored": {"device": "Pixel 4"},
    "mode_restored": {"device": "Pixel 4"},
    "pipeline_differs": {"percent": 3.1, "said": "3, 7", "wanted": "7, 3"},
    "pipeline_failed": {"reason": "it crashed."},
    "stages_cost_time": {"percent": 7.2},
    "first_run_failed": {"reason": "it crashed."},
    "boost": {"profile": "MaxPerformance"},
    "no_boost": {"profile": "MaxPerformance", "reason": "the system has no program for it"},
    "cooled_down": {"waited_s": 15.0},
    "hot": {"status": "severe", "skin": "45 °C", "waited_s": 300.0},
    "heat_by_hand": {},
    "battery_by_hand": {},
    "impossible_heat": {"sensors": "skin=850 °C"},
    "charging": {},
    "energy_unavailable": {"reason": "It is being fed (USB).", "remedy": "Take it off its cable."},
    "energy_ended_early": {"reason": "It was being fed.", "remedy": "Keep it off its cable."},
    "energy_of_case_unavailable": {"reason": "It has too few blocks."},
    "energy_too_small": {"millijoules": 0.2},
    "energy_rest_drifts": {"before": 1.2, "after": 1.5, "least": 0.9},
    "energy_assumed": {"assumed": "its current is in mA, as its size says"},
    "screen_on": {},
    "no_checksums": {"device": "Pixel 4"},
    "screen_not_set": {"wanted": "on"},
    "experimental_link": {"link": "adb_browser"},
    "several_browsers": {"taken": "Chrome 156.0", "others": "Chrome 155.0 (com.brave.browser)"},
    "may_sleep": {},
    "own_runner": {"program": "executor_runner"},
    "cores_refused": {"device": "Pixel 4", "cores": "4, 5, 6, 7", "used": "4, 5, 6"},
    "runner_times_lost": {"total": 110, "told": 80, "runs": 2},
    "left_behind": {"device": "Pixel 4", "folder": "/data/local/tmp/mvdeploy", "reason": "Gone."},
    "leftovers_removed": {"device": "Pixel 4", "runs": 2, "megabytes": 75.3},
    "not_removed": {"device": "Pixel 4", "reason": "It belongs to root."},
    "shared_device": {"device": "Pixel 4", "who": "process 12 on another"},
    "emulated": {"device": "A phone"},
    "parity_failed": {"max_abs": 0.2, "demand": "SNR 45 dB", "input": "noise"},
    "device_not_judged": {"case": "a", "reason": "The checkpoint is gone."},
    "device_parity_failed": {"max_abs": 0.2, "demand": "SNR 45 dB", "input": "photo"},
    "manifest_of_another_file": {"file": "a.onnx"},
    "not_measured": {"precision": "int8", "engine": "pytorch", "reason": "it has none"},
    "emulated_precision": {"case": "A", "precision": "fp16", "engine": "e", "reason": "casts"},
    "changed_code": {"code": "net.py", "file": "a.onnx"},
    "unknown_network": {},
    "outputs_not_finite": {},
    "unknown_images": {"fed": "as RGB in 0 to 1"},
    "free_dimensions": {"inputs": "'x' (N×3×32×32) as 1×3×32×32"},
    "seeded_inputs": {"inputs": "'ids' from 0 to 99"},
    "unknown_modules": {},
    "modules_read": {"source": "the names of its nodes", "percent": 99.1},
    "operator_times_estimated": {"engine": "Core ML"},
    "compute_plan": {
        "compute_units": "all",
        **{f"{unit}_operators": 7 for unit in ("ane", "gpu", "cpu", "none")},
        **{f"{unit}_percent": 25.0 for unit in ("ane", "gpu", "cpu", "none")},
    },
    "operators_without_cost": {"count": 2, "of": 9},
    "openvino_coarse_times": {"count": 3, "percent": 1.2},
}


def test_every_code_is_tried_here() -> None:
    assert set(VALUES) == set(wording._words())


@pytest.mark.parametrize("code", VALUES)
def test_every_code_has_a_sentence_with_its_figures_and_a_remedy(code: str) -> None:
    worded = word(Finding(code, Level.WARNING, VALUES[code]))
    assert worded.sentence.endswith(".")
    assert not worded.sentence.endswith("..")
    assert "Recorded as" not in worded.sentence
    assert worded.remedy.endswith(".")
    for template in wording._words()[code]:
        assert {name for _, name, _, _ in string.Formatter().parse(template) if name} <= {
            *VALUES[code]
        }


@pytest.mark.parametrize("code", VALUES)
def test_every_figure_is_in_the_sentence(code: str) -> None:
    sentence = word(Finding(code, Level.WARNING, VALUES[code])).sentence
    for value in VALUES[code].values():
        assert str(value).replace("-", "−").rstrip(".").removesuffix(".0") in sentence


def test_what_was_seen_stands_beside_its_limits() -> None:
    assert word(Finding("drift", Level.WARNING, GRADED)).sentence == (
        "The median changed by −2.5 % from the first half of the samples to the second; "
        "below 2 % is fine, above 5 % unreliable."
    )


@pytest.mark.parametrize("code", ["preempted", "preempted_samples"])
def test_the_program_that_disturbs_is_named_when_it_is_known(code: str) -> None:
    plain = word(Finding(code, Level.ERROR, VALUES[code]))
    values = {**VALUES[code], "process": "a.out\n", "share": 0.87}
    named = word(Finding(code, Level.ERROR, values))
    more = " The busiest other process used 0.87 of a core: a.out."
    assert named.sentence == plain.sentence + more
    assert named.remedy == plain.remedy
    assert "--cores" in plain.remedy
    lacking = word(Finding(code, Level.ERROR, {"process": "a.out", "share": 0.87}))
    assert lacking.sentence.startswith("Recorded as")
    assert lacking.remedy == ""


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
    other = Finding("drift", Level.ERROR, {**GRADED, "percent": 9.0})
    run = Finding("emulated", Level.WARNING)
    worded = collect((run,), (("A", (same,)), ("B", (same, other))))
    assert [(w.code, w.subjects) for w in worded] == [
        ("drift", ("B",)),
        ("emulated", ()),
        ("random_weights", ("A", "B")),
    ]


SYSTEMS = {
    "Android 13": "fixed_performance",
    "iOS 17.5": "Low Power Mode",
    "macOS 14.5": "Low Power Mode",
    "Debian GNU/Linux 12": "cpupower",
    "": "cpupower",
}


def device_with(system: str) -> Device:
    return Device(DeviceProfile("x", "X", "x", ("e",)), {"os": system} if system else {})


@pytest.mark.parametrize("code", ["drift", "anchor", "throttled"])
@pytest.mark.parametrize("system", SYSTEMS)
def test_what_is_advised_can_be_done_on_the_device(code: str, system: str) -> None:
    finding = Finding(code, Level.WARNING, VALUES[code])
    remedy = word(finding, (), [device_with(system)]).remedy
    others = {*SYSTEMS.values()} - {SYSTEMS[system]}
    assert SYSTEMS[system] in remedy
    assert not any(words in remedy for words in others)
    assert ("on mains" in remedy) == (code == "throttled" and "Android" not in system)


@pytest.mark.parametrize(
    "code", ["drift", "wide_interval", "no_interval", "wide_ratio", "few_groups", "few_samples"]
)
def test_what_is_advised_can_be_done_with_a_page(code: str) -> None:
    page = Device(DeviceProfile("web-page", "Chrome", "browser", ("e",)), {"os": "Android 13"})
    remedy = word(Finding(code, Level.WARNING, VALUES[code]), (), [page]).remedy
    assert "--web-iterations" in remedy
    for option in ("--max-time", "--iterations", "--warmup", "--cores", "fixed_performance"):
        assert option not in remedy.replace("--web-iterations", "")


def test_devices_of_several_kinds_are_each_advised() -> None:
    finding = Finding("drift", Level.WARNING, GRADED)
    both = [device_with("Android 13"), device_with("Debian GNU/Linux 12"), device_with("Android 9")]
    remedy = word(finding, (), both).remedy
    assert "leave 'fixed_performance' on in its profile or set its governor" in remedy
    assert remedy.count("fixed_performance") == 1


@pytest.mark.parametrize("system", ["Android 13", "Debian GNU/Linux 12"])
def test_a_report_advises_for_the_device_of_the_case(system: str) -> None:
    case = SimpleNamespace(name="A", device=device_with(system))
    other = SimpleNamespace(name="B", device=device_with("macOS 14"))
    worded = collect((), (("A", (Finding("drift", Level.WARNING, GRADED),)),))
    (group,) = grouped(worded, (case, other))  # type: ignore[arg-type]
    assert SYSTEMS[system] in group.remedy and "Low Power" not in group.remedy


def test_groups_share_a_remedy() -> None:
    worded = collect(
        (),
        tuple(
            (c, (Finding("drift", Level.WARNING, {**GRADED, "percent": p}),))
            for c, p in (("A", 3.0), ("B", 4.0))
        ),
    )
    (group,) = grouped(worded)
    assert [subject for subject, _ in group.lines] == ["A", "B"]
    assert "--warmup" in group.remedy


@pytest.mark.parametrize(
    ("subjects", "said"),
    [
        ("a", "A"),
        ("cb", "B, C"),
        ("abc", "A–C"),
        ("abdefg", "A, B, D–G"),
        ("gfedcba", "All cases"),
        (("b ÷ a", "g ÷ c"), "B ÷ A, G ÷ C"),
        (("b", "what is no case"), "B, what is no case"),
        ((), ""),
    ],
)
def test_many_cases_are_called_by_their_keys(subjects: Sequence[str], said: str) -> None:
    device = device_with("macOS 14")
    cases = [SimpleNamespace(name=n, key=n.upper(), device=device) for n in "abcdefg"]
    found = Finding("drift", Level.WARNING, GRADED)
    worded = collect((), tuple((subject, (found,)) for subject in subjects))
    (group,) = grouped(worded or collect((found,), ()), cases)  # type: ignore[arg-type]
    assert [who for who, _ in group.lines] == [said]


def test_notes_of_every_run_take_one_line(two: Any, view_for: Any) -> None:
    view = view_for(two)
    a, b = (case.name for case in view.cases)
    of_one = ViewFinding(Finding("random_weights", Level.NOTE, {"seed": 0}), (b,))
    of_both = ViewFinding(Finding("categories_by_table", Level.NOTE), (a, b))
    grave = ViewFinding(Finding("unplaced_operators", Level.WARNING, {"percent": 9.0, "count": 2}))
    groups, line = apart(grouped((grave, of_one, of_both), view.cases), view.cases)
    assert [group.code for group in groups] == ["unplaced_operators"]
    assert line.endswith(f"says more: random weights ({b}); categories from tables of names.")
    assert apart(groups, view.cases) == (groups, "")
