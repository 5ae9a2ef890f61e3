"""What is to be measured, as plain JSON and back."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import mvdeploy
from mvdeploy import links
from mvdeploy.pipeline import calibration
from mvdeploy.pipeline.fleet import tasks
from mvdeploy.records import FileInputs, codec
from mvdeploy.records.fleet import FleetRun, FleetTask, Task, Unit


def request(root: Path, **changes: Any) -> mvdeploy.Request:
    plain = mvdeploy.Request(
        subjects=(mvdeploy.make_spec("yardstick"),),
        formats=("pytorch", "onnx"),
        device=links.profile("host"),
        plan=mvdeploy.Plan(iterations=8, sessions=2),
        root=root,
        precisions=("fp32", None),
        engine_options={"spinning": "off"},
        said=FileInputs(),
        wish=calibration.Wish(12, percentile=99.0),
        keep_float=("head*",),
        command=("mvdeploy", "bench"),
    )
    return dataclasses.replace(plain, **changes)


def test_a_request_comes_back_as_it_was_on_the_device_that_was_found(tmp_path: Path) -> None:
    asked = request(tmp_path)
    job = tasks.job(asked)
    read = codec.decode(Task, json.loads(json.dumps(codec.encode(job.task))))
    assert read == job.task and read.key == job.task.key
    profile = dataclasses.replace(asked.device, title="the machine")
    unit = Unit(profile, "vm", "vm")
    found = tasks.request(read, unit, {}, tmp_path / "elsewhere", None)
    expected = dataclasses.replace(
        asked, device=profile, root=tmp_path / "elsewhere", command=(), shelf=None
    )
    assert found == expected


@pytest.mark.parametrize(
    "change",
    [
        lambda one: {"plan": dataclasses.replace(one.plan, iterations=9)},
        lambda one: {"formats": ("onnx", "pytorch")},
        lambda one: {"link_options": {"boost": "True"}},
        lambda one: {"subjects": (mvdeploy.make_spec("yardstick", seed=1),)},
        lambda one: {"device": dataclasses.replace(one.device, address="serial")},
    ],
)
def test_what_changes_a_number_changes_the_key(
    tmp_path: Path, change: Callable[[mvdeploy.Request], dict[str, Any]]
) -> None:
    plain = request(tmp_path)
    assert tasks.job(plain).task.key != tasks.job(request(tmp_path, **change(plain))).task.key


def test_where_it_was_asked_for_does_not(tmp_path: Path) -> None:
    paths = [tmp_path / "here" / "photo.jpg", tmp_path / "there" / "photo.jpg"]
    keys = set()
    for path in paths:
        path.parent.mkdir()
        path.write_bytes(b"the same")
        keys.add(tasks.job(request(path.parent, photograph=path, command=(str(path),))).task.key)
    assert len(keys) == 1
    paths[0].write_bytes(b"another")
    assert tasks.job(request(tmp_path, photograph=paths[0])).task.key not in keys


def test_what_only_this_machine_has_is_known(tmp_path: Path) -> None:
    assert tasks.job(request(tmp_path)).bound == ()
    wish = calibration.Wish(tmp_path)
    assert tasks.job(request(tmp_path, wish=wish)).bound == (f"the folder {tmp_path}",)


def test_units_fit_their_kind_their_serial_number_and_nothing_else() -> None:
    unit = Unit(links.profile("pixel4"), "serial1", "laptop")
    task = Task("bench", "pixel4", "", {}, {}, "0.1.0")
    assert unit.fits(task)
    assert unit.fits(dataclasses.replace(task, device="flame", unit="serial1"))
    assert not unit.fits(dataclasses.replace(task, unit="serial2"))
    assert not unit.fits(dataclasses.replace(task, device="iphone12"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"tasks": []}, "has no task"),
        ({"run": "../outside"}, "a simple name"),
        ({"key": "short"}, "a sha256"),
    ],
)
def test_a_damaged_record_is_refused(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    own = FleetRun("net", "2026-03-04T10:00:00+00:00", (), (FleetTask("a" * 64, "host", "run"),))
    data = codec.encode(own)
    assert codec.decode(FleetRun, data) == own
    if "tasks" in change:
        data.update(change)
    else:
        data["tasks"][0].update(change)
    with pytest.raises(codec.RecordError, match=words):
        codec.decode(FleetRun, data)
