"""Blocks of a study or a sweep, measured by an executor that only answers."""

from __future__ import annotations

from pathlib import Path

import pytest

import mvdeploy
from mvdeploy import links
from mvdeploy.errors import DeviceUnavailable, EngineError
from mvdeploy.pipeline.fleet import blocks
from mvdeploy.pipeline.fleet.executors import Event
from tests.pipeline.fleet.conftest import unit
from tests.pipeline.fleet.test_queue import Answering
from tests.saved_runs import two_cases


def requests(root: Path) -> dict[str, mvdeploy.Request]:
    return {
        f"{side} pixels": mvdeploy.Request(
            subjects=(mvdeploy.make_spec("yardstick", image_size=(side, side)),),
            formats=("pytorch",),
            device=links.profile("host"),
            plan=mvdeploy.Plan(iterations=4),
            root=root,
        )
        for side in (56, 64, 72)
    }


@pytest.fixture(autouse=True)
def saved(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs are there, and no device was lost in them."""
    monkeypatch.setattr(blocks, "load_run", lambda folder: two_cases().saved)


def test_blocks_are_kept_as_they_end(tmp_path: Path) -> None:
    executor = Answering(unit("a", "host"), unit("b", "host"))
    kept: list[str] = []
    steps: list[str] = []
    blocks.run(requests(tmp_path), kept.append, steps.append, executor=executor)
    assert kept == ["run"] * 3
    assert {name for _, name in executor.started} == {"a", "b"}
    assert steps[:3] == [f"block {n} of 3: {side} pixels" for n, side in enumerate((56, 64, 72), 1)]


def test_a_block_that_comes_to_nothing_takes_no_other_with_it(tmp_path: Path) -> None:
    error = EngineError("The engine failed.", "Mend it.")
    executor = Answering(unit("a", "host"), a=[Event("", error=error)])
    kept: list[str] = []
    with pytest.raises(EngineError) as caught:
        blocks.run(requests(tmp_path), kept.append, lambda _: None, executor=executor)
    assert kept == ["run"] * 2
    assert caught.value.remedy == "Mend it. The same command goes on from here."


def test_without_a_device_nothing_is_kept(tmp_path: Path) -> None:
    kept: list[str] = []
    with pytest.raises(DeviceUnavailable, match="There is no host to measure on"):
        blocks.run(requests(tmp_path), kept.append, lambda _: None, executor=Answering())
    assert kept == []
