"""Which task is done where: with an executor that does nothing but answer."""

from __future__ import annotations

import collections
from pathlib import Path

import pytest

from mvdeploy.errors import DeviceUnavailable, EngineError, MvdeployError, UsageError
from mvdeploy.pipeline.fleet.executors import Event
from mvdeploy.pipeline.fleet.queue import Queue
from mvdeploy.pipeline.fleet.tasks import Assignment
from mvdeploy.records.fleet import Unit
from tests.pipeline.fleet.conftest import MakeJob, unit


class Answering:
    """An executor: `answers` says what becomes of the next tasks of a unit, at once."""

    def __init__(self, *units: Unit, **answers: list[Event]) -> None:
        self.present = list(units)
        self.answers = answers
        self.started: list[tuple[str, str]] = []
        self.running = 0
        self.most: collections.Counter[str] = collections.Counter()
        self.events: list[tuple[str, Event]] = []
        self.busy: collections.Counter[str] = collections.Counter()
        self.cancelled = False

    def units(self) -> tuple[Unit, ...]:
        return tuple(self.present)

    def start(self, job: Assignment, unit: Unit, root: Path) -> None:
        self.started.append((job.task.key, unit.name))
        self.busy[unit.name] += 1
        self.most[unit.name] = max(self.most[unit.name], self.busy[unit.name])
        own = self.answers.get(unit.name, [])
        event = own.pop(0) if own else Event("", run="run")
        self.events.append(
            (unit.name, Event(job.task.key, event.step, event.run, event.error, event.lost))
        )

    def next(self, timeout_s: float) -> Event | None:
        if not self.events:
            return None
        name, event = self.events.pop(0)
        self.busy[name] -= 1
        return event

    def cancel(self) -> None:
        self.cancelled = True

    def close(self) -> None:
        pass


class Heard:
    def __init__(self) -> None:
        self.runs: dict[str, str] = {}
        self.errors: dict[str, MvdeployError] = {}
        self.steps: list[str] = []

    def step(self, job: Assignment, text: str) -> None:
        self.steps.append(text)

    def done(self, job: Assignment, run: str) -> None:
        self.runs[job.task.title] = run

    def failed(self, job: Assignment, error: MvdeployError) -> None:
        self.errors[job.task.title] = error


class Clock:
    now = 0.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


def test_tasks_of_one_kind_share_its_units_and_none_does_two_at_once(make_job: MakeJob) -> None:
    units = [unit("serial1", "pixel4"), unit("serial2", "pixel4")]
    executor, heard = Answering(*units), Heard()
    jobs = [make_job("pixel4", number=number) for number in range(6)]
    Queue(jobs, executor, Path(), heard).run()
    assert {name for _, name in executor.started} == {"serial1", "serial2"}
    assert set(executor.most.values()) == {1}
    assert [key for key, _ in executor.started] == [job.task.key for job in jobs]
    assert heard.runs and not heard.errors


def test_a_task_for_a_unit_goes_nowhere_else(make_job: MakeJob) -> None:
    executor = Answering(unit("serial1", "pixel4"), unit("serial2", "pixel4"))
    jobs = [make_job("pixel4", unit="serial2", number=number) for number in range(3)]
    Queue(jobs, executor, Path(), Heard()).run()
    assert [name for _, name in executor.started] == ["serial2"] * 3


def test_what_is_lost_is_done_again_once(make_job: MakeJob) -> None:
    lost = Event("", lost="it was killed")
    executor, heard = Answering(unit("a"), unit("b"), a=[lost], b=[lost, lost]), Heard()
    Queue([make_job("a"), make_job("b")], executor, Path(), heard).run()
    assert heard.runs == {"a": "run"}
    assert isinstance(heard.errors["b"], DeviceUnavailable)
    assert heard.errors["b"].message.startswith("b was lost 2 times")
    assert len(executor.started) == 4
    assert sum("begin again" in step for step in heard.steps) == 2


def test_an_error_takes_no_other_task_with_it(make_job: MakeJob) -> None:
    error = EngineError("The engine failed.", "Mend it.")
    executor, heard = Answering(unit("a"), unit("b"), a=[Event("", error=error)]), Heard()
    Queue([make_job("a"), make_job("b")], executor, Path(), heard).run()
    assert heard.runs == {"b": "run"} and heard.errors == {"a": error}


def test_a_missing_device_is_waited_for_and_then_told_with_who_is_there(make_job: MakeJob) -> None:
    executor, heard, clock = Answering(unit("serial1", "pixel4")), Heard(), Clock()
    jobs = [make_job("iphone12"), make_job("pixel4")]
    Queue(jobs, executor, Path(), heard, wait_s=5, clock=clock).run()
    assert heard.runs == {"pixel4": "run"}
    error = heard.errors["iphone12"]
    assert error.exit_code == 3
    assert error.message == "There is no iphone12 to measure on. There is pixel4 (serial1)."
    assert clock.now >= 5


def test_a_device_that_comes_while_it_is_waited_for_is_measured(make_job: MakeJob) -> None:
    executor, heard = Answering(), Heard()

    class Coming(Clock):
        def __call__(self) -> float:
            if self.now == 3:
                executor.present.append(unit("a"))
            return super().__call__()

    Queue([make_job("a")], executor, Path(), heard, wait_s=60, clock=Coming()).run()
    assert heard.runs == {"a": "run"} and not heard.errors


def test_what_cannot_be_started_is_told(make_job: MakeJob) -> None:
    class Refusing(Answering):
        def start(self, job: Assignment, unit: Unit, root: Path) -> None:
            raise UsageError("It cannot be sent.", "Export it first.")

    heard = Heard()
    Queue([make_job("a")], Refusing(unit("a")), Path(), heard).run()
    assert heard.errors["a"].message == "It cannot be sent."


def test_an_interrupt_ends_the_tasks_first(make_job: MakeJob) -> None:
    class Interrupted(Answering):
        asked = 0

        def next(self, timeout_s: float) -> Event | None:
            self.asked += 1
            if self.asked == 1:
                raise KeyboardInterrupt
            return super().next(timeout_s)

    executor, heard = Interrupted(unit("a")), Heard()
    with pytest.raises(KeyboardInterrupt):
        Queue([make_job("a"), make_job("a", later=True)], executor, Path(), heard).run()
    assert executor.cancelled and heard.runs == {"a": "run"}
    assert len(executor.started) == 1
