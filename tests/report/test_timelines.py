"""Timelines, read back as their viewers read them."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mvdeploy import report
from mvdeploy.analysis.breakdown_view import KINDS, breakdown_view_of
from mvdeploy.errors import UsageError
from mvdeploy.pipeline.report import view as read_view
from mvdeploy.records import Breakdown, BreakdownRow, Category, OperatorKind, TimeKind
from mvdeploy.report.renderers.json import as_json

EXAMPLE = Path(__file__).parents[2] / "reports" / "example-host"
FORMATS = ["perfetto", "speedscope"]

Slice = dict[str, Any]


def read_trace(text: str) -> dict[tuple[int, int], list[Slice]]:
    """Return the slices of each thread of trace events, checked as they are read."""
    stacks: dict[tuple[int, int], list[Slice]] = defaultdict(list)
    clocks: dict[tuple[int, int], float] = defaultdict(float)
    slices: dict[tuple[int, int], list[Slice]] = defaultdict(list)
    for event in json.loads(text)["traceEvents"]:
        thread = event["pid"], event["tid"]
        assert isinstance(event["name"], str) and event["name"]
        if event["ph"] == "M":
            assert set(event["args"]) == {"name"}
            continue
        assert event["ph"] in ("B", "E")
        assert event["ts"] >= clocks[thread]
        clocks[thread] = event["ts"]
        stack = stacks[thread]
        if event["ph"] == "B":
            stack.append({**event, "within": [s["name"] for s in stack]})
        else:
            begun = stack.pop()
            assert begun["name"] == event["name"]
            slices[thread].append({**begun, "end": event["ts"]})
    assert not any(stacks.values())
    return slices


def read_speedscope(text: str) -> list[list[Slice]]:
    """Return the frames of each profile; what the file's schema demands is demanded."""
    body = json.loads(text)
    assert body["$schema"] == "https://www.speedscope.app/file-format-schema.json"
    for key in ("name", "exporter"):
        assert isinstance(body[key], str)
    frames = body["shared"]["frames"]
    assert all({"name"} <= set(f) <= {"name", "file"} for f in frames)
    assert all(isinstance(value, str) for f in frames for value in f.values())
    assert len({json.dumps(f) for f in frames}) == len(frames)
    assert body["profiles"] and body["activeProfileIndex"] in range(len(body["profiles"]))
    profiles = []
    for profile in body["profiles"]:
        assert set(profile) == {"type", "name", "unit", "startValue", "endValue", "events"}
        assert (profile["type"], profile["unit"]) == ("evented", "microseconds")
        assert isinstance(profile["name"], str)
        at, stack, found = profile["startValue"], [], []
        for event in profile["events"]:
            assert set(event) == {"type", "at", "frame"}
            assert event["type"] in ("O", "C")
            assert isinstance(event["at"], (int, float)) and event["at"] >= at
            assert isinstance(event["frame"], int)
            at = event["at"]
            if event["type"] == "O":
                stack.append((event["frame"], at))
            else:
                number, began = stack.pop()
                assert number == event["frame"]
                found.append({**frames[number], "ts": began, "end": at, "depth": len(stack)})
        assert not stack
        assert at <= profile["endValue"]
        profiles.append(found)
    return profiles


def ms(slices: Sequence[Slice]) -> float:
    return math.fsum(s["end"] - s["ts"] for s in slices) / 1e3


def sums(slices: Sequence[Slice], key: Callable[[Slice], str]) -> dict[str, float]:
    groups: dict[str, list[Slice]] = defaultdict(list)
    for each in slices:
        groups[key(each)].append(each)
    return {name: ms(group) for name, group in groups.items()}


def test_sums_are_those_of_the_numbers_for_programs(tmp_path: Path) -> None:
    view = read_view(EXAMPLE)
    report.write(view, tmp_path, FORMATS)
    cases = as_json(view)["cases"]
    assert len(cases) == 4
    for number, case in enumerate(cases, 1):
        shown, place = case["breakdown"], tmp_path / "timelines" / case["slug"]
        threads = read_trace(Path(f"{place}.perfetto.json").read_text())
        assert set(threads) == {(number, 1), (number, 2)}
        lane = threads[number, 1]
        inference = [s for s in lane if s["cat"] == "inference"]
        assert ms(inference) == pytest.approx(case["latency_ms"]["p50"])
        operators = [s for s in lane if "position" in s.get("args", {})]
        outside = shown["categories"]["outside"]["ms"]
        assert ms([s for s in lane if s["cat"] == "outside"]) == pytest.approx(outside, abs=1e-5)
        by_category = {k: v["ms"] for k, v in shown["categories"].items() if v["ms"]}
        by_category.pop("outside", None)
        assert sums(operators, lambda s: s["cat"]) == pytest.approx(by_category, abs=1e-5)
        assert sums(threads[number, 2], lambda s: s["cat"]) == pytest.approx(by_category, abs=1e-5)
        by_module = {k: v["ms"] for k, v in shown["modules"].items()}
        found = sums(operators, lambda s: s["within"][-1])
        assert {k: v for k, v in found.items() if k in by_module} == pytest.approx(
            by_module, abs=1e-5
        )
        (frames,) = read_speedscope(Path(f"{place}.speedscope.json").read_text())
        assert ms([f for f in frames if f["depth"] == 0]) == pytest.approx(ms(inference))
        titles = sums([f for f in frames if "file" in f], lambda f: f["file"])
        assert sorted(titles.values()) == pytest.approx(sorted(by_category.values()), abs=1e-5)


@pytest.mark.parametrize("format_", FORMATS)
def test_says_what_its_times_are(format_: str, tmp_path: Path) -> None:
    (path,) = report.write(read_view(EXAMPLE), tmp_path, [format_], ["B"])
    body = json.loads(path.read_text())
    facts = body["otherData"] if format_ == "perfetto" else body["mvdeploy"]
    assert facts["case"] == "mobilevit_s-p8-4-2-256-onnx"
    assert facts["time_kind"] == "measured"
    assert facts["times"].startswith("estimated: measured medians of 100 profiled inferences, × ")
    assert facts["starts"].startswith("not stored: operators are laid one after another")
    assert facts["total"] == "the median latency of the case, measured without the profiler"
    assert facts["operators_ms"] + facts["outside_ms"] == pytest.approx(facts["total_ms"])


def test_a_run_that_stores_beginnings_says_so_and_names_the_thread(tmp_path: Path) -> None:
    view = read_view(EXAMPLE)
    case = view.cases[0]
    assert case.case.trace is not None
    clocks = [0] * len(case.case.trace.profiled_ns)
    events = []
    for event in case.case.trace.events:
        ends = [clock + ns for clock, ns in zip(clocks, event.samples_ns, strict=True)]
        events.append(dataclasses.replace(event, starts_ns=tuple(clocks), track="4711"))
        clocks = [end + 1000 for end in ends]
    trace = dataclasses.replace(case.case.trace, events=tuple(events))
    case = dataclasses.replace(case, case=dataclasses.replace(case.case, trace=trace))
    stored = dataclasses.replace(view, cases=(case,))
    perfetto, speedscope = report.write(stored, tmp_path, FORMATS)
    body = json.loads(perfetto.read_text())
    named = [e["args"]["name"] for e in body["traceEvents"] if e["name"] == "thread_name"]
    assert named == ["thread 4711", "thread 4711: categories"]
    assert body["otherData"]["starts"].startswith("estimated: the time before each operator")
    operators = sorted(
        (s for s in read_trace(perfetto.read_text())[1, 1] if "position" in s["args"]),
        key=lambda s: float(s["ts"]),
    )
    gaps = [b["ts"] - a["end"] for a, b in itertools.pairwise(operators)]
    assert gaps == pytest.approx([gaps[0]] * len(gaps), abs=1e-5)
    outside = 1e3 * body["otherData"]["outside_ms"]
    assert sum(gaps) == pytest.approx(outside, abs=1e-4)
    (profile,) = json.loads(speedscope.read_text())["profiles"]
    assert profile["name"] == "thread 4711"


def test_estimated_times_are_called_so(trouble: Any, view_for: Any, tmp_path: Path) -> None:
    """Of four cases one was profiled, by an engine that estimates."""
    (path,) = report.write(view_for(trouble), tmp_path, ["perfetto"])
    assert path.name == "drifting.perfetto.json"
    facts = json.loads(path.read_text())["otherData"]
    assert facts["time_kind"] == "estimated"
    assert facts["times"].startswith("estimated by the engine")


@pytest.mark.parametrize(
    ("formats", "cases", "said"),
    [
        (["perfetto"], ["plain"], "no operator times of the case were measured"),
        (["perfetto"], ["E"], r"no case 'E'\..*A \(failed\), B \(drifting\)"),
        (["speedscope", "csv"], ["B"], "format csv is of all cases.*perfetto or speedscope"),
        (None, ["B"], "A report is of all cases"),
    ],
)
def test_what_cannot_be_drawn_is_refused_and_nothing_is_written(
    trouble: Any, view_for: Any, tmp_path: Path, formats: Any, cases: Any, said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        report.write(view_for(trouble), tmp_path / "new", formats, cases)
    assert not (tmp_path / "new").exists()


def test_where_nothing_has_a_category_kinds_take_their_place(
    two: Any, view_for: Any, tmp_path: Path
) -> None:
    view = view_for(two)
    cases = []
    for case in view.cases:
        divided = two.breakdowns[case.slug]
        rows = tuple(dataclasses.replace(row, category=None) for row in divided.rows)
        shown = breakdown_view_of(dataclasses.replace(divided, rows=rows), KINDS)
        cases.append(dataclasses.replace(case, breakdown=shown))
    plain = dataclasses.replace(view, cases=tuple(cases), categories=dict(KINDS))
    perfetto, _, speedscope, _ = report.write(plain, tmp_path, FORMATS)
    kinds = {p.key: p.ns / 1e6 for p in cases[0].breakdown.kinds if p.key != "outside" and p.ns}
    lane = read_trace(perfetto.read_text())[1, 2]
    assert sums(lane, lambda s: s["name"]) == pytest.approx(kinds, abs=1e-5)
    (frames,) = read_speedscope(speedscope.read_text())
    files = sums([f for f in frames if "file" in f], lambda f: f["file"])
    assert files == pytest.approx(kinds, abs=1e-5)


def test_hostile_names_stay_names(hostile_story: Any, view_for: Any, tmp_path: Path) -> None:
    for path in report.write(view_for(hostile_story), tmp_path, FORMATS):
        text = path.read_text()
        assert text.isascii() and "\\u001b" not in text
        assert read_trace(text) if "perfetto" in path.name else read_speedscope(text)


names = st.text(st.one_of(st.characters(), st.sampled_from("\"'\\.\n\x1b\u202e</>{}")), max_size=20)


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50
)
@given(
    st.lists(
        st.tuples(
            names,
            names,
            st.lists(names, max_size=2),
            st.sampled_from([None, Category.FFN, Category("neck")]),
            st.floats(0, 1e8),
        ),
        min_size=1,
        max_size=8,
    )
)
def test_whatever_operators_and_modules_are_called_the_files_are_sound(
    single: Any, view_for: Any, tmp_path: Path, found: list[Any]
) -> None:
    rows = tuple(
        BreakdownRow(name, kind, OperatorKind.CONV, category, tuple(modules), ns)
        for name, kind, modules, category, ns in found
    )
    operators = math.fsum(r.ns for r in rows)
    divided = Breakdown(TimeKind.MEASURED, operators + 5.0, rows, 5.0, 0.9, 0.0, 1.0)
    view = view_for(single)
    titles = {**view.categories, "neck": "Neck"}
    case = dataclasses.replace(view.cases[0], breakdown=breakdown_view_of(divided, titles))
    view = dataclasses.replace(view, cases=(case,), categories=titles)
    perfetto, speedscope = report.write(view, tmp_path, FORMATS)
    lane = read_trace(perfetto.read_text())[1, 1]
    assert ms([s for s in lane if "position" in s["args"]]) == pytest.approx(
        operators / 1e6, abs=1e-5
    )
    (frames,) = read_speedscope(speedscope.read_text())
    assert ms([f for f in frames if "file" in f]) == pytest.approx(operators / 1e6, abs=1e-5)
