"""Cores that stand in for those which a device refuses."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mvdeploy import devices
from mvdeploy.links import RunnerFailed, pinning
from mvdeploy.records import DeviceProfile, Job, Warmup

PIXEL = devices.get("pixel4")
ALL = range(8)


def job(*cores: int) -> Job:
    return Job((), (), 1, Warmup(iterations=0), cores)


def refused(kind: str = pinning.KIND) -> RunnerFailed:
    return RunnerFailed("Refused.", "Choose.", [{"event": "error", "kind": kind}])


class Device:
    """Lets programs run on some cores only.

    Attributes:
        ran: the cores of each job that it did.
        told: what was refused, and what is used.
    """

    def __init__(self, *free: int, profile: DeviceProfile = PIXEL, says: object = None) -> None:
        self.free, self.ran, self.told, self.asked = set(free), [], [], 0
        self._says = free if says is None else says
        self.pinning = pinning.Pinning(profile, self._allowed, lambda *x: self.told.append(x))

    def _allowed(self):
        self.asked += 1
        return self._says

    def run(self, todo: Job):
        return self.pinning.run(todo, self._do)

    def _do(self, todo: Job):
        if not self.free.issuperset(todo.cores):
            raise refused()
        self.ran.append(todo.cores)
        return "done"


@pytest.mark.parametrize(
    ("free", "used"),
    [
        ((0, 1, 2, 3, 4, 5, 6), (4, 5, 6)),
        ((0, 1, 2, 3, 7), (7,)),
        ((0, 1, 2, 3), (0, 1, 2, 3)),
        ((2,), (2,)),
    ],
)
def test_what_is_left_of_the_cores_comes_first_then_the_fastest(free, used) -> None:
    device = Device(*free)
    assert device.run(job(*PIXEL.cores)) == "done"
    assert device.ran == [used]
    assert device.told == [(PIXEL.cores, used)]


def test_cores_that_may_be_used_are_kept() -> None:
    device = Device(*ALL)
    device.run(job(*PIXEL.cores))
    device.run(job())
    assert device.ran == [PIXEL.cores, ()]
    assert device.told == []
    assert device.asked == 0


def test_later_jobs_take_what_was_found() -> None:
    device = Device(0, 1, 2, 3)
    for _ in range(3):
        device.run(job(*PIXEL.cores))
    assert device.ran == [(0, 1, 2, 3)] * 3
    assert len(device.told) == device.asked == 1


def test_cores_that_somebody_chose_stay_refused() -> None:
    device = Device(0, 1)
    with pytest.raises(RunnerFailed):
        device.run(job(6, 7))
    assert device.ran == device.told == []


def test_a_device_that_takes_none_says_what_it_said_first() -> None:
    device = Device(says=(4, 5))
    with pytest.raises(RunnerFailed, match=r"Refused\."):
        device.run(job(*PIXEL.cores))
    assert device.told == []


def test_other_failures_are_no_refusals() -> None:
    def fails(_: Job):
        raise refused("memory")

    device = Device(*ALL)
    with pytest.raises(RunnerFailed):
        device.pinning.run(job(*PIXEL.cores), fails)
    assert device.asked == 0


def test_a_failure_on_the_next_cores_is_that_failure() -> None:
    def runs(todo: Job):
        raise refused("memory" if todo.cores == (4, 5, 6) else pinning.KIND)

    device = Device(4, 5, 6)
    with pytest.raises(RunnerFailed) as caught:
        device.pinning.run(job(*PIXEL.cores), runs)
    assert caught.value.events[0]["kind"] == "memory"
    assert device.told == []


@given(st.sets(st.integers(0, 9)), st.lists(st.integers(0, 9), unique=True, max_size=6))
def test_choices_are_allowed_and_each_is_another(allowed: set[int], cores: list[int]) -> None:
    profile = dataclasses.replace(PIXEL, cores=tuple(cores))
    found = list(pinning.choices(profile, allowed))
    assert len(set(found)) == len(found)
    assert profile.cores not in found
    for choice in found:
        assert choice
        assert allowed.issuperset(choice)


@pytest.mark.parametrize(
    ("hello", "cores"),
    [
        ('{"event": "hello", "cores": [0, 3]}', (0, 3)),
        ('{"event": "hello", "cores": null}', ()),
        ('{"event": "hello"}', ()),
        ("[1]", ()),
        ("not json", ()),
        ("", ()),
    ],
)
def test_what_a_runner_may_use(hello: str, cores: tuple[int, ...]) -> None:
    assert tuple(pinning.may_use(hello)) == cores
