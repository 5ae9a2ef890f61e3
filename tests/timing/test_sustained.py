from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable

import pytest

from mvdeploy.errors import DeviceUnavailable, EngineError
from mvdeploy.links import OnEvent, RunnerFailed
from mvdeploy.records import DeviceState, Finding, Job, JobResult, Measurement, Plan, Sustained
from mvdeploy.stats import sketch
from mvdeploy.timing import sustained
from mvdeploy.timing.sessions import Listener
from tests.timing.conftest import MS, FakeLink, case_of

PLAN = Plan(sustained_s=20.0, interval_s=2.0)


@dataclasses.dataclass
class Endless(FakeLink):
    """A device whose jobs go on by a clock of its own; loading takes it a second.

    Attributes:
        pace_ns: of an inference, by case and seconds by its clock.
        breaks: by its clock, when it is lost.
        away_s: for how long.
        error: what a job ends with at ``breaks`` instead.
    """

    pace_ns: Callable[[int, float], int] = lambda case, now: 10 * MS
    breaks: list[float] = dataclasses.field(default_factory=list)
    away_s: float = 3.0
    error: BaseException | None = None
    back_at: float = 0.0
    came_back: int = 0

    def run(self, job: Job, limit_s: float, on_event: OnEvent | None = None) -> JobResult:
        result = super().run(dataclasses.replace(job, order=()), limit_s, on_event)
        self.jobs[-1] = job
        if not job.repeat_s or on_event is None:
            return result
        self.now += 1.0
        began, start = self.now, 0
        while self.now - began < job.repeat_s:
            cases, at_ns, times = job.part(start, 50), round((self.now - began) * 1e9), []
            for index in cases:
                times.append(self.pace_ns(case_of(job.models[index]), self.now))
                self.now += times[-1] / 1e9
                if self.breaks and self.now >= self.breaks[0]:
                    self.breaks.pop(0)
                    self.back_at = self.now + self.away_s
                    raise self.error or DeviceUnavailable("It is gone.", "Attach it.")
            on_event(
                {
                    "event": "samples",
                    "start": start,
                    "at_ns": at_ns,
                    "wall_ns": times,
                    "cpu_ns": times,
                }
            )
            start += len(times)
        return result

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def again(self) -> None:
        if self.now < self.back_at:
            raise DeviceUnavailable("It is gone.", "Attach it.")
        self.came_back += 1

    def state(self) -> DeviceState:
        super().state()
        return DeviceState("now", {"thermal_status": "none", "governor": ("x",)})


@dataclasses.dataclass
class Heard:
    """What a listener was told."""

    known: dict[str, list[Sustained]] = dataclasses.field(default_factory=dict)
    measured: dict[str, Measurement] = dataclasses.field(default_factory=dict)
    failed: dict[str, EngineError] = dataclasses.field(default_factory=dict)
    steps: list[str] = dataclasses.field(default_factory=list)

    def run(self, link: Endless, entries, plan: Plan = PLAN) -> None:
        listener = Listener(self.measured.__setitem__, self.failed.__setitem__, self.steps.append)
        sustained.sustain(
            entries,
            link,
            plan,
            listener,
            lambda slug, known: self.known.setdefault(slug, []).append(known),
            lambda: link.now,
            link.sleep,
        )


@pytest.fixture
def heard() -> Heard:
    return Heard()


def test_a_case_has_one_process_and_every_interval_is_told_at_once(heard, make_entries):
    link = Endless()
    heard.run(link, make_entries(1))
    assert [job.repeat_s for job in link.jobs] == [0.0, 20.0]
    grown = [len(known.intervals) for known in heard.known["c0"]]
    assert grown == [*range(1, 11), 10]
    last = heard.known["c0"][-1]
    assert last.ended == "" and not last.gaps
    assert last.until_s == pytest.approx(20.0, abs=0.6)
    for one in last.intervals:
        assert one.length_s == pytest.approx(2.0, abs=0.02)
        assert one.p50_ns == one.p99_ns == 10 * MS
        assert one.count == pytest.approx(200, abs=2)
        assert sketch.quantile(one.bins, 50) == pytest.approx(10 * MS, rel=0.001)
    assert all(b.start_s >= a.stop_s - 1e-6 for a, b in itertools.pairwise(last.intervals))
    assert heard.measured["c0"].sessions == ()
    assert all(set(m.state.readings) == {"thermal_status"} for m in last.moments)


def test_times_that_change_are_in_the_interval_in_which_they_did(heard, make_entries):
    link = Endless(pace_ns=lambda case, now: (10 if now < 12 else 20) * MS)
    heard.run(link, make_entries(1))
    medians = [one.p50_ns / MS for one in heard.known["c0"][-1].intervals]
    began = 12 - heard.known["c0"][-1].intervals[0].start_s
    assert medians[0] == 10 and medians[-1] == 20 and began > 0
    assert medians == sorted(medians)


def test_cases_run_one_after_the_other(heard, make_entries):
    link = Endless()
    heard.run(link, make_entries(2))
    assert [len(job.models) for job in link.jobs] == [1, 1, 1, 1]
    assert all(heard.known[slug][-1].intervals[0].start_s == 0 for slug in ("c0", "c1"))


def test_cases_that_alternate_share_a_process_and_an_axis(heard, make_entries):
    link = Endless(inference_ns=(10 * MS, 20 * MS), pace_ns=lambda case, _: 10 * (case + 1) * MS)
    heard.run(link, make_entries(2), dataclasses.replace(PLAN, alternate=True))
    assert link.jobs[-1].order == (0,) * 200 + (1,) * 100
    a, b = (heard.known[slug][-1] for slug in ("c0", "c1"))
    assert a.alternating and {one.p50_ns for one in b.intervals} == {20 * MS}
    starts = sorted(
        [(one.start_s, "a") for one in a.intervals] + [(one.start_s, "b") for one in b.intervals]
    )
    assert [who for _, who in starts] == ["a", "b"] * 5


def test_a_device_that_comes_back_goes_on_and_the_gap_is_told(heard, make_entries):
    link = Endless(breaks=[10.0])
    heard.run(link, make_entries(1))
    last = heard.known["c0"][-1]
    assert link.came_back == 1 and last.ended == ""
    (gap,) = last.gaps
    assert gap.reason == "It is gone." and gap.length_s == pytest.approx(6.5, abs=1.5)
    inside = [
        one for one in last.intervals if gap.start_s < one.start_s < gap.start_s + gap.length_s
    ]
    assert not [one for one in inside if one.stop_s < gap.start_s + gap.length_s]
    assert 20.0 <= last.until_s < 23.0  # loading anew comes on top
    assert link.jobs[-1].repeat_s < 20.0 - gap.start_s


def test_a_device_that_stays_away_ends_it_and_what_was_measured_is_kept(heard, make_entries):
    link = Endless(breaks=[10.0], away_s=1e9)
    with pytest.raises(DeviceUnavailable, match="It is gone"):
        heard.run(link, make_entries(1))
    last = heard.known["c0"][-1]
    assert last.ended == "It is gone." and len(last.intervals) >= 3
    assert link.now < 40.0


def test_patience_is_bounded(heard, make_entries, monkeypatch):
    monkeypatch.setattr(sustained, "PATIENCE_S", 8.0)
    link = Endless(breaks=[10.0], away_s=100.0)
    with pytest.raises(DeviceUnavailable):
        heard.run(link, make_entries(1), dataclasses.replace(PLAN, sustained_s=600.0))
    assert link.now < 30.0


def test_a_device_that_answers_and_cannot_work_is_not_waited_for_longer(
    heard, make_entries, monkeypatch
):
    monkeypatch.setattr(sustained, "PATIENCE_S", 30.0)
    link = Endless(breaks=[10.0, *[0.0] * 500], away_s=0.0)
    with pytest.raises(DeviceUnavailable):
        heard.run(link, make_entries(1), dataclasses.replace(PLAN, sustained_s=600.0))
    assert 35.0 < link.now < 60.0 and len(heard.known["c0"][-1].gaps) == 1


def test_a_device_that_is_gone_before_anything_is_measured_is_not_waited_for(heard, make_entries):
    link = Endless(breaks=[0.0])
    with pytest.raises(DeviceUnavailable):
        heard.run(link, make_entries(1))
    assert not heard.known and link.came_back == 0


def test_who_interrupts_it_keeps_what_was_measured(heard, make_entries):
    link = Endless(breaks=[10.0], error=KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        heard.run(link, make_entries(1))
    last = heard.known["c0"][-1]
    assert last.ended == "It was interrupted." and last.intervals


def test_a_case_that_fails_leaves_the_others_their_time(heard, make_entries):
    link = Endless(breaks=[10.0], error=RunnerFailed("It crashed.", "Try another."))
    heard.run(link, make_entries(2))
    assert heard.failed["c0"].message == "It crashed."
    assert heard.known["c0"][-1].ended == "It crashed."
    assert heard.known["c1"][-1].ended == "" and "c1" not in heard.failed


def test_outputs_that_changed_in_the_end_are_told(heard, make_entries):
    link = Endless(outputs=lambda job, number, case: {"output_sha256": f"x{number}"})
    heard.run(link, make_entries(1))
    assert [finding.code for finding in heard.measured["c0"].findings] == ["outputs_differ"]
    assert isinstance(heard.measured["c0"].findings[0], Finding)


def test_an_interval_ends_where_the_next_begins_also_within_what_is_reported_at_once(
    heard, make_entries
):
    heard.run(Endless(), make_entries(1), dataclasses.replace(PLAN, interval_s=0.73))
    intervals = heard.known["c0"][-1].intervals
    assert len(intervals) > 20
    for a, b in itertools.pairwise(intervals):
        assert b.start_s == pytest.approx(a.stop_s, abs=1e-6)
        assert a.length_s == pytest.approx(a.wall_ns / 1e9, abs=1e-6)
