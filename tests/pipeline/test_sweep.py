"""Sweeps as they run: in blocks, saved as they come, going on where they stopped."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from mvdeploy import devices, models
from mvdeploy.errors import DeviceUnavailable, EngineError, MvdeployError, UsageError
from mvdeploy.pipeline import accuracies, bench, store, sweep
from mvdeploy.pipeline.bench import Request
from mvdeploy.pipeline.report import SWEEP, load_sweep, sweep_view
from mvdeploy.pipeline.sweep import Planned
from mvdeploy.records import Device, ModelSpec, Plan
from mvdeploy.records.spec import parse_patches
from mvdeploy.records.sweep import Unbuilt
from tests.saved_runs import measurement

SIZES = (32, 64, 96)


def specs(
    *patches: str, sizes: Sequence[int] = SIZES, name: str = "mobilevit_xxs"
) -> list[ModelSpec]:
    return [
        models.make_spec(name, patches=parse_patches(text), image_size=(size, size))
        for text in patches or ("1,1,1", "2,2,1")
        for size in sizes
    ]


def request(root: Path, **changes: object) -> Request:
    usual = Request((), ("onnx",), devices.get("host"), Plan(iterations=4, sessions=1), root)
    return dataclasses.replace(usual, **changes)  # type: ignore[arg-type]


def plan(root: Path, wanted: Sequence[ModelSpec] | None = None, **changes: object) -> Planned:
    return sweep.plan(wanted or specs(), request(root, **changes))


FAILURES: dict[int, BaseException] = {}
"""By number of the run: what ends it, or its last case."""


@pytest.fixture
def benched(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """What is measured, run by run, instead of measuring it."""
    blocks: list[tuple[str, ...]] = []

    def run(request: Request, on_step: bench.OnStep = lambda _: None) -> store.Store:
        blocks.append(tuple(case.slug for case in request.cases))
        device = Device(request.device, {}, False)
        how = {"device": device, "plan": request.plan, "command": (), "image": "none"}
        made = store.create(request.root, "block", request.cases, **how)  # type: ignore[arg-type]
        wrong = FAILURES.get(len(blocks))
        if wrong and not isinstance(wrong, MvdeployError):
            raise wrong
        *others, last = request.cases
        for number, case in enumerate(others):
            made.measured(case.slug, measurement(number, 5.0, 4, 1))
        if isinstance(wrong, MvdeployError):
            made.failed(last.slug, wrong)
        else:
            made.measured(last.slug, measurement(len(others), 5.0, 4, 1))
        return made

    monkeypatch.setattr(bench, "run", run)
    FAILURES.clear()
    return blocks


def test_the_smallest_of_the_first_network_is_in_every_block(tmp_path: Path) -> None:
    planned = plan(tmp_path, [*reversed(specs("2,2,1")), *specs("1,1,1")])
    assert planned.reference == "mobilevit_xxs-p2-2-1-32"
    first, *others = sweep.blocks(planned, room=2 * 600_000_000)
    assert first == ("mobilevit_xxs-p2-2-1-32", "mobilevit_xxs-p2-2-1-96")
    assert [block[0] for block in others] == ["mobilevit_xxs-p2-2-1-32"] * 4
    (whole,) = sweep.blocks(planned, room=10**12)
    assert len(whole) == 6


def test_a_sweep_goes_on_where_it_stopped(
    tmp_path: Path, benched: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep.many.divide, "__defaults__", (None, 3))
    FAILURES[2] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        sweep.run(plan(tmp_path))
    again = plan(tmp_path)
    assert sweep.remaining(again) == (
        *("mobilevit_xxs-p2-2-1-32", "mobilevit_xxs-p2-2-1-64", "mobilevit_xxs-p2-2-1-96"),
    )
    assert 0 < sweep.seconds(again) < sweep.seconds(plan(tmp_path / "other"))
    sweep.run(again)
    assert [len(block) for block in benched] == [3, 3, 3, 2]
    assert {block[0] for block in benched} == {"mobilevit_xxs-p1-1-1-32-onnx"}
    done = plan(tmp_path)
    assert sweep.blocks(done) == [] and sweep.step_count(done) == 0 and sweep.seconds(done) == 0
    sweep.run(done)
    assert len(benched) == 4
    view = sweep_view(done.folder)
    assert all(entry.ns for entry in view.entries)
    assert len(view.runs) == 3  # the one that was interrupted is not among them


def test_more_sizes_are_added_and_others_have_a_folder_of_their_own(
    tmp_path: Path, benched: list[tuple[str, ...]]
) -> None:
    sweep.run(plan(tmp_path, specs(sizes=(32, 64))))
    sweep.run(plan(tmp_path, specs(sizes=(32, 64, 128))))
    assert benched[1] == (
        *("mobilevit_xxs-p1-1-1-32-onnx", "mobilevit_xxs-p1-1-1-128-onnx"),
        "mobilevit_xxs-p2-2-1-128-onnx",
    )
    folder = tmp_path / "sweep-mobilevit_xxs-host"
    assert len(sweep_view(folder).entries) == 6
    threads = plan(tmp_path, plan=Plan(iterations=4, sessions=1, threads=2))
    assert threads.folder.name == "sweep-mobilevit_xxs-host-2"
    classes = [dataclasses.replace(spec, num_classes=7) for spec in specs()]
    assert plan(tmp_path, classes).folder.name == "sweep-mobilevit_xxs-host-2"
    anew = sweep.plan(specs(), request(tmp_path), anew=True)
    assert anew.folder.name == "sweep-mobilevit_xxs-host-2" and not anew.saved.runs


def test_every_way_has_its_reference(tmp_path: Path) -> None:
    ways = request(tmp_path, plan=Plan(iterations=4, sweep=(2,)), precisions=("fp32", "int8"))
    planned = sweep.plan(specs("2,2,1"), ways)
    assert len(planned.saved.cases) == 3 * 4
    assert len({case.way for case in planned.saved.cases}) == 4
    assert planned.saved.reference == (
        *("mobilevit_xxs-p2-2-1-32-onnx-1t", "mobilevit_xxs-p2-2-1-32-onnx-2t"),
        *("mobilevit_xxs-p2-2-1-32-onnx-int8-1t", "mobilevit_xxs-p2-2-1-32-onnx-int8-2t"),
    )
    assert [case.threads for case in planned.saved.cases[::3]] == [1, 2, 1, 2]


def test_tokens_are_those_of_all_stages(tmp_path: Path) -> None:
    planned = plan(tmp_path, [*specs("2,2,1", sizes=(64,)), models.make_spec("yardstick")])
    assert [case.tokens for case in planned.saved.cases] == [4 * 4 + 2 * 2 + 2 * 2, 0]
    assert planned.folder.name == "sweep-mobilevit_xxs-yardstick-host"


def test_accuracies_are_no_condition(tmp_path: Path, benched: list[tuple[str, ...]]) -> None:
    sweep.run(plan(tmp_path))
    path = tmp_path / "a.csv"
    path.write_text("model,image_size,top\nmobilevit_xxs,64,50\n")
    planned = sweep.plan(specs(), request(tmp_path), accuracies=accuracies.read(path, "top"))
    sweep.run(planned)
    assert len(benched) == 1
    kept = load_sweep(planned.folder)
    assert kept.accuracy == "top"
    assert [case.accuracy for case in kept.cases] == [None, 50, None] * 2


@pytest.mark.parametrize("lost", ["sweep.json", "run.json", "runs"])
def test_what_cannot_be_read_any_more_is_named_and_can_be_measured_anew(
    tmp_path: Path, benched: list[tuple[str, ...]], lost: str
) -> None:
    planned = plan(tmp_path)
    sweep.run(planned)
    if lost == "runs":
        shutil.rmtree(planned.folder / "runs")
    else:
        next(planned.folder.rglob(lost)).write_text("{")
    named = "run.json" if lost == "runs" else lost
    for read in (lambda: sweep.remaining(plan(tmp_path)), lambda: sweep_view(planned.folder)):
        with pytest.raises(UsageError, match=named) as caught:
            read()
        assert "--anew takes a folder of its own" in caught.value.remedy
    anew = sweep.plan(specs(), request(tmp_path), anew=True)
    assert anew.folder.name == "sweep-mobilevit_xxs-host-2"
    assert len(sweep.remaining(anew)) == 6


def test_too_many_cases_and_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="These are 6 cases, and --max-cases is 5"):
        sweep.plan(specs(), request(tmp_path), most=5)
    with pytest.raises(UsageError, match="None of the 1 network can be built: Too small"):
        sweep.plan([], request(tmp_path), [Unbuilt("a", "Too small.")])
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_built_is_kept_with_its_reason(
    tmp_path: Path, benched: list[tuple[str, ...]]
) -> None:
    planned = sweep.plan(specs(), request(tmp_path), [Unbuilt("mobilevit_xxs 99", "Too large.")])
    sweep.run(planned)
    assert sweep_view(planned.folder).saved.unbuilt[0].reason == "Too large."


def test_a_case_that_failed_stays_and_the_others_go_on(
    tmp_path: Path, benched: list[tuple[str, ...]]
) -> None:
    FAILURES[1] = EngineError("No kernel for that.", "Take another format.")
    sweep.run(plan(tmp_path))
    assert sweep.remaining(plan(tmp_path)) == ()
    failed = [e for e in sweep_view(tmp_path / "sweep-mobilevit_xxs-host").entries if e.reason]
    assert [(e.planned.slug, e.reason) for e in failed] == [
        ("mobilevit_xxs-p2-2-1-96-onnx", "No kernel for that.")
    ]


def test_a_device_that_is_gone_ends_it(tmp_path: Path, benched: list[tuple[str, ...]]) -> None:
    FAILURES[1] = DeviceUnavailable("The cable is out.", "Put it in.")
    with pytest.raises(DeviceUnavailable, match=r"Put it in\. The same command goes on"):
        sweep.run(plan(tmp_path))
    assert sweep.remaining(plan(tmp_path)) == ("mobilevit_xxs-p2-2-1-96",)


def test_what_cannot_begin_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no file"):
        sweep.run(plan(tmp_path, photograph=tmp_path / "none.jpg"))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_was_changed_is_told(tmp_path: Path, benched: list[tuple[str, ...]]) -> None:
    planned = plan(tmp_path)
    sweep.run(planned)
    file = planned.folder / SWEEP
    file.write_text(file.read_text().replace('"batch": 1', '"batch": 2'))
    with pytest.raises(UsageError, match=r"sweep\.json is not as it was saved"):
        plan(tmp_path)
