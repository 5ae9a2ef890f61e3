"""A device that takes the power that a table says, in a time that only its jobs and waits move."""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Callable, Mapping
from pathlib import Path

from mvdeploy.errors import MvdeployError
from mvdeploy.links import Link, OnEvent
from mvdeploy.links.power import Meter, Unmetered
from mvdeploy.records import (
    DeviceProfile,
    DeviceState,
    Job,
    JobModel,
    JobResult,
    ModelResult,
    Reading,
    Samples,
)
from mvdeploy.records.energy import Channel, PowerMeter
from mvdeploy.timing.case import Entry

SENSOR = PowerMeter("sensor", "the board", (Channel("p", "power", 1e-6),), 0.1)
COUNTER = PowerMeter("RAPL", "the processor", (Channel("e", "energy", 1e-6, 20_000_000),), 0.1)
BATTERY = PowerMeter(
    "battery",
    "the whole device",
    (Channel("i", "current", 1e-6), Channel("v", "voltage", 1e-6)),
    0.25,
    battery=True,
)
VOLTS = 4.0
PROFILE = DeviceProfile("fake", "Fake", "fake", ("fast",))


@dataclasses.dataclass
class World:
    """What the device takes when.

    Attributes:
        idle_w: watts at rest, by the time in seconds.
        cases_w: watts while a case runs, by its slug.
        busy_w: watts while something is loaded, warmed up or read back.
        case_s: seconds of an inference, by the case's slug.
        jitter_w: watts by which readings are off, as the standard deviation of a normal error.
    """

    cases_w: Mapping[str, float]
    case_s: Mapping[str, float]
    idle_w: Callable[[float], float] = lambda at: 2.0
    busy_w: float = 9.0
    jitter_w: float = 0.05
    now: float = 100.0
    spans: list[tuple[float, float, Callable[[float], float]]] = dataclasses.field(
        default_factory=list
    )

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.spend(seconds, self.idle_w)

    def spend(self, seconds: float, watts: Callable[[float], float]) -> None:
        self.spans.append((self.now, self.now + seconds, watts))
        self.now += seconds

    def watts(self, at: float) -> float:
        return next((w(at) for begin, end, w in self.spans if begin <= at < end), self.idle_w(at))

    def joules(self, at: float) -> float:
        """What it has taken until then, to a thousandth of a second; powers may change in it."""
        total, before = 0.0, 100.0
        for begin, end, watts in self.spans:
            if begin >= at:
                break
            total += watts((begin + min(end, at)) / 2) * (min(end, at) - begin)
            before = min(end, at)
        return total + self.idle_w(at) * max(0.0, at - before)


class TableMeter(Meter):
    """Reads a world, at its interval, when it is asked what it has read."""

    def __init__(self, world: World, about: PowerMeter, sign: int = 1) -> None:
        super().__init__(about, world.clock)
        self._world, self._sign = world, sign
        self.started = self.stopped = 0
        self.supplies: Callable[[float], str] = lambda at: ""
        self._read = 0

    def start(self) -> None:
        self.started += 1
        self.begin()

    def stop(self) -> None:
        self.stopped += 1

    def fed(self) -> str:
        return self.supplies(self._world.now)

    def between(self, began_s: float, ended_s: float):
        interval = self.about.interval_s
        while self._read * interval <= self.now():
            at = self._read * interval
            self._taken.append((at, None, self._values(self._zero + at)))
            self._read += 1
        return super().between(began_s, ended_s)

    def _values(self, at: float) -> tuple[int, ...]:
        if self.about.counts:
            counted = round(self._world.joules(at) * 1e6)
            return (counted % self.about.channels[0].wraps_at,)
        watts = self._world.watts(at) + random.Random(self._read).gauss(0, self._world.jitter_w)
        if self.about.channels[0].quantity == "power":
            return (round(watts * 1e6),)
        return (self._sign * round(watts / VOLTS * 1e6), round(VOLTS * 1e6))


@dataclasses.dataclass
class MeteredLink(Link):
    """Does jobs in a world: loads for 3 s, warms up for 2 s, and reads back for 1 s.

    Attributes:
        fault: is given the case and the number of the job, and returns what is to be raised.
        late: the runner tells everything when it has ended.
    """

    world: World
    meter_: TableMeter | Unmetered
    fault: Callable[[str, int], MvdeployError | None] = lambda case, number: None
    late: bool = False
    profile: DeviceProfile = PROFILE
    jobs: list[str] = dataclasses.field(default_factory=list)
    settled: int = 0
    settings_taken: list[str] = dataclasses.field(default_factory=list)

    def meter(self) -> Meter:
        if isinstance(self.meter_, Unmetered):
            raise self.meter_
        return self.meter_

    def settle(self) -> None:
        self.settled += 1

    def take(self, setting: str) -> None:
        self.settings_taken.append(setting)

    def run(self, job: Job, limit_s: float, on_event: OnEvent | None = None) -> JobResult:
        case = Path(job.models[0].path).stem
        self.jobs.append(case)
        error = self.fault(case, len(self.jobs) - 1)
        if error is not None:
            raise error
        tell = on_event or (lambda event: None)
        world, each = self.world, self.world.case_s[case]
        world.spend(3.0, lambda at: world.busy_w)
        tell({"event": "loaded"})
        world.spend(2.0, lambda at: world.busy_w)
        if not self.late:
            tell({"event": "warmup"})
        done, half = 0, math.ceil(len(job.order) / 2)
        for count in (half, len(job.order) - half):
            world.spend(count * each, lambda at: world.cases_w[case])
            if not self.late:
                tell({"event": "samples", "start": done})
            done += count
        world.spend(1.0, lambda at: world.busy_w)
        if self.late:
            tell({"event": "warmup"})
            tell({"event": "samples", "start": 0})
        taken = (round(each * 1e9),) * len(job.order)
        nothing = Samples()
        model = ModelResult(1, nothing, nothing, 1, 1, "out", None)
        return JobResult({}, (model,), job.order, Samples(taken, taken), 1)

    def open(self) -> None: ...

    def close(self) -> None: ...

    def lock_key(self) -> str:
        return "fake"

    def identity(self) -> dict[str, Reading]:
        return {}

    def upload(self, files) -> dict[Path, str]:
        return {}

    def fetch(self, remote: str, local: Path) -> None: ...

    def state(self) -> DeviceState:
        return DeviceState("now", {})

    def scratch(self) -> str:
        return "/scratch"


def entries(*slugs: str, **fields: str) -> list[Entry]:
    return [
        Entry(s, JobModel("fast", f"{s}.onnx", "0" * 64, {}), setting=fields.get(s, ""))
        for s in slugs
    ]
