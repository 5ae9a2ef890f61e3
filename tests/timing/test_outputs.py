"""What comes out of an engine is looked at before its times are believed."""

from __future__ import annotations

import dataclasses
import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from mvdeploy.errors import EngineError
from mvdeploy.links import RunnerFailed
from mvdeploy.links.families.host import HostLink
from mvdeploy.records import (
    DeviceProfile,
    Finding,
    JobModel,
    JobResult,
    Level,
    Measurement,
    Plan,
    TensorInfo,
    Warmup,
)
from mvdeploy.timing.case import Entry
from mvdeploy.timing.measure import Listener, measure

PLAN = Plan(iterations=4, sessions=4, warmup=Warmup(iterations=1))
WANTED = (TensorInfo("y", ("batch", 3), "float32"),)


class Told:
    """What a listener was told last of each case."""

    def __init__(self) -> None:
        self.measured: dict[str, Measurement] = {}
        self.failed: dict[str, EngineError] = {}
        self.loaded: dict[str, JobResult] = {}
        self.listener = Listener(
            measured=self.measured.__setitem__,
            failed=self.failed.__setitem__,
            step=lambda _: None,
            loaded=self.loaded.__setitem__,
        )

    def findings(self, slug: str) -> tuple[Finding, ...]:
        return self.measured[slug].findings


@pytest.fixture
def told() -> Told:
    return Told()


def expecting(entries: Sequence[Entry]) -> list[Entry]:
    return [dataclasses.replace(entry, outputs=WANTED) for entry in entries]


BAD = {
    "not finite": (
        {"finite": False},
        "gives outputs ('y') with values that are no finite numbers",
    ),
    "missing": ({"output_shapes": {"x": (2, 3), "a": ()}}, "no output 'y' (it gives 'a', 'x')"),
    "another shape": ({"output_shapes": {"y": (2, 4)}}, "'y' in the shape 2×4, not batch×3"),
    "another rank": ({"output_shapes": {"y": (3,)}}, "'y' in the shape 3, not batch×3"),
    "no shape": ({"output_shapes": {"y": ()}}, "'y' in the shape of a single number, not batch×3"),
}


@pytest.mark.parametrize("what", BAD)
def test_wrong_outputs_of_the_probe_are_a_failure_of_their_case(
    make_link, make_entries, told: Told, what: str
) -> None:
    fields, words = BAD[what]
    link = make_link(outputs=lambda job, number, case: fields if case == 1 else {})
    measure(expecting(make_entries(3)), link, PLAN, told.listener)
    assert set(told.failed) == {"c1"}
    error = told.failed["c1"]
    assert words in error.message and "c1" in error.message
    assert (error.exit_code, error.remedy[-1]) == (4, ".")
    assert set(told.measured) == {"c0", "c2"}
    assert all(len(m.steady) == 4 for m in told.measured.values())
    assert set(told.loaded) == {"c0", "c2"}


@pytest.mark.parametrize(
    "fields",
    [{}, {"output_shapes": {"y": (7, 3), "z": (1,)}}, {"output_shapes": {}, "finite": None}],
)
def test_what_fits_or_is_not_told_is_no_failure(
    make_link, make_entries, told: Told, fields: dict
) -> None:
    link = make_link(outputs=lambda job, number, case: fields)
    measure(expecting(make_entries(2)), link, PLAN, told.listener)
    assert not told.failed
    assert told.findings("c0") == told.findings("c1") == ()


def test_the_outputs_of_the_probe_can_be_judged(make_link, make_entries, told: Told) -> None:
    wrong = EngineError("It computes something else.", "Do not use it.")

    def judge(slug: str, result: JobResult) -> None:
        assert result.models[0].output_files == {"y": f"/scratch/outputs-{slug}/0.npy"}
        if slug == "c0":
            raise wrong

    listener = dataclasses.replace(told.listener, loaded=judge)
    measure(make_entries(2), make_link(), PLAN, listener)
    assert told.failed == {"c0": wrong}
    assert set(told.measured) == {"c1"}


def test_wrong_outputs_later_are_a_failure_too(make_link, make_entries, told: Told) -> None:
    def outputs(job, number, case):
        return {"finite": False} if case == 0 and number == 4 else {}  # in the second session

    link = make_link(outputs=outputs)
    made = measure(expecting(make_entries(3)), link, PLAN, told.listener)
    assert set(told.failed) == {"c0"}
    assert [len(told.measured[f"c{case}"].sessions) for case in range(3)] == [1, 4, 4]
    # The others keep that session, in which the first of them is the reference already.
    assert [len(job.models) for job in link.jobs[3:]] == [3, 3, 2, 2]
    assert told.findings("c1") == told.findings("c2") == ()
    groups = {(c.a, c.b): len(c.groups) for c in made}
    assert groups == {("c0", "c1"): 1, ("c0", "c2"): 1, ("c1", "c2"): 3}


def test_when_the_only_case_goes_wrong_the_work_ends(make_link, make_entries, told: Told) -> None:
    link = make_link(outputs=lambda job, number, case: {"finite": number != 1})
    measure(make_entries(1), link, PLAN, told.listener)
    assert set(told.failed) == {"c0"}
    assert (len(link.jobs), told.measured) == (2, {})


def test_another_checksum_in_later_sessions_is_one_finding(
    make_link, make_entries, told: Told
) -> None:
    def outputs(job, number, case):
        return {"output_sha256": f"other{number}"} if case == 1 and number in (3, 5) else {}

    measure(make_entries(2), make_link(outputs=outputs), PLAN, told.listener)
    assert told.findings("c0") == ()
    values = {"session": 2, "count": 2}
    assert told.findings("c1") == (Finding("outputs_differ", Level.WARNING, values),)
    assert not told.failed


def test_another_checksum_with_one_thread_is_a_note(make_link, make_entries, told: Told) -> None:
    def outputs(job, number, case):
        return {"output_sha256": f"{min(job.threads, 2)}"} if case == 1 else {}

    plan = dataclasses.replace(PLAN, threads=4)
    measure(make_entries(2), make_link(outputs=outputs), plan, told.listener)
    assert told.findings("c0") == ()
    note = Finding("outputs_depend_on_threads", Level.NOTE, {"threads": 4})
    assert told.findings("c1") == (note,)
    told.measured.clear()
    measure(make_entries(2), make_link(outputs=outputs), PLAN, told.listener)
    assert told.findings("c1") == ()


def test_a_runner_that_knows_no_checksums_has_no_such_note(make_link, make_entries, told) -> None:
    link = make_link(outputs=lambda job, number, case: {"output_sha256": "unavailable"})
    measure(make_entries(1), link, dataclasses.replace(PLAN, threads=2), told.listener)
    assert told.findings("c0") == ()
    assert {job.threads for job in link.jobs} == {2}


def test_a_case_need_not_run_with_one_thread(make_link, make_entries, told: Told) -> None:
    dead = RunnerFailed("It died.", "Mend it.")
    link = make_link(fault=lambda job, number: dead if job.threads == 1 else None)
    measure(make_entries(1), link, dataclasses.replace(PLAN, threads=2), told.listener)
    assert not told.failed
    assert told.findings("c0") == ()


# Engines that are broken on purpose, in the runner of this machine.

ENGINES = Path(__file__).parents[1] / "runners" / "engines"
START = f"""
import mvdeploy.engines
mvdeploy.engines.__path__.append({str(ENGINES)!r})
from mvdeploy.runners.host import main
main()
"""


@pytest.fixture
def entry(tmp_path: Path):
    tensor, path = tmp_path / "x.npy", tmp_path / "model.fake"
    np.save(tensor, np.arange(6, dtype=np.float32).reshape(2, 3))
    path.write_bytes(b"model")
    digest = hashlib.sha256(b"model").hexdigest()
    wanted = (TensorInfo("x", (2, 3), "float32"),)

    def make(engine: str) -> Entry:
        return Entry(engine, JobModel(engine, str(path), digest, {"x": str(tensor)}), wanted)

    return make


def test_engines_that_compute_nonsense_have_no_latency(entry, told: Told) -> None:
    engines = ("nans", "reshapes", "wavers", "counts_threads", "steady")
    tensors = {}

    def loaded(slug: str, result: JobResult) -> None:
        tensors[slug] = np.load(result.models[0].output_files["x"])

    plan = dataclasses.replace(PLAN, iterations=2, sessions=2, threads=2)
    listener = dataclasses.replace(told.listener, loaded=loaded)
    command = (sys.executable, "-c", START)
    with HostLink(DeviceProfile("host", "Host", "host", engines), command) as link:
        measure([entry(engine) for engine in engines], link, plan, listener)
    assert set(told.failed) == {"nans", "reshapes"}
    assert "('x') with values that are no finite numbers" in told.failed["nans"].message
    assert "'x' in the shape 6, not 2×3" in told.failed["reshapes"].message
    assert all(len(told.measured[engine].steady) == 2 for engine in engines[2:])
    codes = {engine: [f.code for f in told.findings(engine)] for engine in engines[2:]}
    assert codes == {
        "wavers": ["outputs_depend_on_threads", "outputs_differ"],
        "counts_threads": ["outputs_depend_on_threads"],
        "steady": [],
    }
    assert told.findings("wavers")[1].values == {"session": 1, "count": 2}
    np.testing.assert_array_equal(tensors["steady"], 2 * np.arange(6).reshape(2, 3))
