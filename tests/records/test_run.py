from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from mvdeploy.errors import UsageError
from mvdeploy.records import (
    Artifact,
    Case,
    Comparison,
    Device,
    DeviceProfile,
    DeviceState,
    Failure,
    Measurement,
    ModelSpec,
    OperatorKind,
    PairGroup,
    Parity,
    ParityInput,
    Plan,
    Preprocessing,
    Run,
    Samples,
    Session,
    SessionOrder,
    TimeKind,
    Trace,
    TraceEvent,
)
from mvdeploy.records.run import load_run, save_case, save_comparisons, save_orders, save_run
from tests.saved_runs import without_checksum

STATE = DeviceState("2026-01-01T00:00:00+00:00", {"governor": ("a", "b"), "x": 1.5})
TIMES = Samples((3, 4), (2, 3))
RUN = Run(
    name="r",
    created="2026-01-01T00:00:00+00:00",
    mvdeploy="0",
    command=("mvdeploy", "bench"),
    device=Device(DeviceProfile("host", "Host", "host", ("onnxruntime",)), {"cpu": "x"}),
    plan=Plan(),
    environment={"python": "3"},
    input="photograph.jpg",
    cases=("full", "failed", "missing"),
)
FULL = Case(
    "full",
    "Full",
    "onnxruntime",
    artifact=Artifact(
        "a.onnx",
        "00",
        1,
        "onnx",
        "fp32",
        ModelSpec("m", (), (2, 2)),
        passes=(),
        inputs=(),
        outputs=(),
        preprocessing=Preprocessing((2, 2), (2, 2)),
        versions={},
        operators=(),
        modules={},
        parameters=1,
    ),
    parity=Parity("e", (ParityInput("noise", 0.0, None, 1.0, True),), 1e-4, 0.5, True),
    measurement=Measurement(
        "onnxruntime", {}, (Session(0, 1, TIMES, TIMES, TIMES),), 1, TIMES, 2, 1, STATE, STATE
    ),
    trace=Trace(
        "onnxruntime",
        TimeKind.MEASURED,
        (TraceEvent("n", "Conv", OperatorKind.CONV, ("a",), "name", (1, 2), (0, 5), "7"),),
        (5, 6),
        (4, 5),
    ),
)
FAILED = Case("failed", "Failed", "onnxruntime", failure=Failure("It fell.", "Catch it.", 4))
COMPARED = (Comparison("full", "failed", (PairGroup(1, TIMES, TIMES),)),)
ORDERS = (SessionOrder(0, "2026-01-01T00:00:00.5+00:00", ("full", "failed"), ((0, 3), (1, 1))),)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_run(RUN, tmp_path)
    save_case(FULL, tmp_path)
    save_case(FAILED, tmp_path)
    save_comparisons(COMPARED, tmp_path)
    save_orders(ORDERS, tmp_path)
    return tmp_path


def test_a_run_is_read_as_far_as_it_was_saved(folder: Path) -> None:
    saved = load_run(folder)
    assert saved.run == RUN
    assert saved.cases == (FULL, FAILED)
    assert saved.comparisons == COMPARED
    assert saved.orders == ORDERS


def test_a_run_without_results_is_a_run(tmp_path: Path) -> None:
    save_run(RUN, tmp_path)
    saved = load_run(tmp_path)
    assert (saved.run, saved.cases, saved.comparisons, saved.orders) == (RUN, (), (), ())


def test_a_case_grows_and_keeps_what_it_had(tmp_path: Path) -> None:
    save_run(RUN, tmp_path)
    save_case(dataclasses.replace(FULL, measurement=None, trace=None), tmp_path)
    assert load_run(tmp_path).cases[0].measurement is None
    save_case(FULL, tmp_path)
    assert load_run(tmp_path).cases == (FULL,)


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "none"):
        with pytest.raises(UsageError, match=r"is not the folder of a run"):
            load_run(place)


@pytest.mark.parametrize(
    "file",
    [
        "run.json",
        "comparisons.json",
        "sessions.json",
        *(f"cases/full/{part}.json" for part in ("case", "artifact", "parity", "trace")),
    ],
)
def test_a_broken_file_is_named(folder: Path, file: str) -> None:
    path = folder / file
    path.write_text(path.read_text()[:-5])
    with pytest.raises(UsageError, match=f"{file.replace('.', '[.]')} is not valid JSON"):
        load_run(folder)
    path.write_text(json.dumps({"schema_version": 99, "record": "x"}))
    with pytest.raises(UsageError, match=f"{file.replace('.', '[.]')} has schema version 99"):
        load_run(folder)


@pytest.mark.parametrize("file", ["cases/full/case.json", "cases/full/trace.json", "outputs.json"])
@pytest.mark.parametrize("kind", ["folder", "link to nothing"])
def test_what_is_no_file_is_not_taken_for_missing(folder: Path, file: str, kind: str) -> None:
    path = folder / file
    path.unlink(missing_ok=True)
    if kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("nowhere")
    with pytest.raises(UsageError, match=re.escape(f"{path} ")):
        load_run(folder)


def test_a_trace_of_an_earlier_version_has_no_start_times(folder: Path) -> None:
    path = folder / "cases" / "full" / "trace.json"
    body = without_checksum(path)
    for event in body["events"]:
        del event["starts_ns"], event["track"]
    path.write_text(json.dumps(body))
    trace = load_run(folder).cases[0].trace
    assert trace is not None
    assert [(event.starts_ns, event.track) for event in trace.events] == [((), "")]


@pytest.mark.parametrize(
    ("fields", "pairs_only"),
    [
        ({"session_time_s": 0.0}, True),
        ({"session_time_s": 0.0, "iterations": 5}, False),
        ({"session_time_s": 2.5}, False),
    ],
)
def test_a_plan_of_an_earlier_version_says_pairs_only_by_its_time(
    folder: Path, fields: dict, pairs_only: bool
) -> None:
    path = folder / "run.json"
    body = without_checksum(path)
    del body["plan"]["pairs_only"]
    body["plan"].update(fields)
    path.write_text(json.dumps(body))
    assert load_run(folder).run.plan.pairs_only is pairs_only


def damage(folder: Path, file: str, change: Callable[[dict], object]) -> None:
    path = folder / file
    body = without_checksum(path)
    change(body)
    path.write_text(json.dumps(body))


CASE = "cases/full/case.json"
NAMELESS = {"a": {"class_name": "A", "category": "", "declared": True}}


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("run.json", lambda b: b["plan"].update(threads=0), r"Run\.plan\.threads should be at le"),
        ("run.json", lambda b: b["cases"].append("full"), "has the case 'full' twice"),
        ("run.json", lambda b: b["cases"].append("../../other"), r"cases\[3\] should be a simple"),
        ("run.json", lambda b: b["cases"].append(".."), r"cases\[3\] should be a simple name"),
        ("run.json", lambda b: b["cases"].pop(0), "results of 'full', which is not among its"),
        (CASE, lambda b: b.update(slug="failed"), r"full/case\.json is of another case \('fail"),
        (CASE, lambda b: b["measurement"].update(load_ns=-1), r"load_ns should be at least 0"),
        (CASE, lambda b: b["measurement"].update(load_ns=10**400), r"load_ns should be int"),
        (
            CASE,
            lambda b: steady(b).update(cpu_ns=[10**25, 1]),
            r"cpu_ns\[0\] should be int",
        ),
        (CASE, lambda b: steady(b).update(cpu_ns=[10**15, 1]), "more CPU time than wall time"),
        (CASE, lambda b: steady(b).update(cpu_ns=[0, 1]), "a CPU time of 0 among others"),
        (
            "cases/full/artifact.json",
            lambda b: b.update(modules=NAMELESS),
            "should be a name, not ''",
        ),
        (CASE, lambda b: steady(b)["wall_ns"].pop(), r"steady has 1 wall times and 2 CPU times"),
        (CASE, lambda b: session(b).update(measured_ns=6), "inferences of 7 ns among .* of 6 ns"),
        (CASE, lambda b: session(b).update(usage={"x": "many"}), r"usage\.x should be"),
        ("comparisons.json", lambda b: group(b).update(block_a=0), r"block_a should be at least 1"),
        (
            "comparisons.json",
            lambda b: group(b).update(block_a=2),
            "in turns of 2 beside 2",
        ),
        (
            "comparisons.json",
            lambda b: group(b).update(first_created=2),
            r"one of \[1, -1",
        ),
        ("sessions.json", lambda b: b["orders"][0]["order"].append([2, 1]), "did not create"),
        ("cases/full/trace.json", lambda b: b.update(plain_ns=[]), "no times of whole inferences"),
        ("cases/full/trace.json", lambda b: b["profiled_ns"].pop(), "has not a time of 'n' for"),
        (
            "cases/full/trace.json",
            lambda b: b["events"][0].update(samples_ns=[1, 9999]),
            "operators of 9999 ns in an inference of 6 ns",
        ),
        ("cases/full/parity.json", lambda b: b.update(inputs=[]), "compares no input"),
        (
            "cases/full/parity.json",
            lambda b: b["inputs"][0].update(agrees=False),
            "has passed, though an input misses",
        ),
    ],
)
def test_what_cannot_be_is_refused(
    folder: Path, file: str, change: Callable[[dict], object], message: str
) -> None:
    damage(folder, file, change)
    with pytest.raises(UsageError, match=message) as caught:
        load_run(folder)
    assert str(folder) in caught.value.message


def session(body: dict) -> dict:
    return body["measurement"]["sessions"][0]


def steady(body: dict) -> dict:
    return session(body)["steady"]


def group(body: dict) -> dict:
    return body["comparisons"][0]["groups"][0]


def test_a_second_value_under_one_name_is_refused(folder: Path) -> None:
    path = folder / CASE
    path.write_text(path.read_text().rstrip()[:-1] + ', "measurement": null}')
    with pytest.raises(UsageError, match="the name 'measurement' stands twice in one object"):
        load_run(folder)
