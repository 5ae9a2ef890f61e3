"""A device that answers jobs with times that tell where they come from."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from mvdeploy.errors import MvdeployError
from mvdeploy.links import Link, OnEvent
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
from mvdeploy.timing.case import Entry

MS = 1_000_000
PROFILE = DeviceProfile("fake", "Fake", "fake", ("fast",))


@dataclasses.dataclass
class FakeLink(Link):
    """Answers every job; entry i of its order takes ``i`` wall ns and ``case`` CPU ns.

    Attributes:
        times: of one inference instead, by number of the job, case and position in the order.
        now: seconds by a clock that only jobs move.
        fault: is given each job and its number, and returns what is to be raised.
        outputs: is given each job, its number and a case, and returns what is to be told of the
            case's outputs instead.
        inference_ns: of each case, as its warm-up shows it.
        jobs: all that was asked for.
        limits: and within how long.
    """

    fault: Callable[[Job, int], MvdeployError | None] = lambda job, number: None
    inference_ns: Sequence[int] = (MS,) * 9
    profile_name: str | None = "profile.json"
    hello: dict[str, Any] = dataclasses.field(
        default_factory=lambda: {
            "runner": "fake",
            "mvdeploy": "1",
            "cores": [0, 3],
            "engines": {"fast": "7.1"},
            "engine_options": {"fast": {"spinning": "off"}},
            "clock": {"wall": {"implementation": "ticks", "resolution_s": 1e-9}},
        }
    )
    outputs: Callable[[Job, int, int], dict[str, Any]] = lambda job, number, case: {}
    jobs: list[Job] = dataclasses.field(default_factory=list)
    limits: list[float] = dataclasses.field(default_factory=list)
    times: Callable[[int, int, int], int] | None = None
    now: float = 0.0
    states: int = 0
    profile: DeviceProfile = PROFILE

    def open(self) -> None: ...

    def close(self) -> None: ...

    def lock_key(self) -> str:
        return "fake"

    def identity(self) -> dict[str, Reading]:
        return {}

    def upload(self, files: Sequence[Path]) -> dict[Path, str]:
        return {}

    def fetch(self, remote: str, local: Path) -> None: ...

    def state(self) -> DeviceState:
        self.states += 1
        return DeviceState(str(self.states), {})

    def scratch(self) -> str:
        return "/scratch"

    def run(self, job: Job, limit_s: float, on_event: OnEvent | None = None) -> JobResult:
        self.jobs.append(job)
        self.limits.append(limit_s)
        error = self.fault(job, len(self.jobs) - 1)
        if error is not None:
            raise error
        cases = [case_of(model) for model in job.models]
        samples = Samples(tuple(range(len(job.order))), tuple(cases[i] for i in job.order))
        if self.times is not None:
            number = len(self.jobs)
            times = tuple(self.times(number, cases[i], at) for at, i in enumerate(job.order))
            samples = Samples(times, times)
        self.now += sum(samples.wall_ns) / 1e9 + 0.5
        return JobResult(
            hello=self.hello,
            models=tuple(self._model(model, job) for model in job.models),
            order=job.order,
            samples=samples,
            peak_memory=1000 + len(self.jobs),
            usage={"run_delay_ns": len(self.jobs)},
        )

    def _model(self, model: JobModel, job: Job) -> ModelResult:
        case = case_of(model)
        ns = self.inference_ns[case]
        result = ModelResult(
            load_ns=100 + case,
            first=Samples((2 * ns,), (case,)),
            warmup=Samples((3 * ns, ns, ns), (case, case, case)),
            memory_before=10,
            memory_after=20,
            output_sha256=f"out{case}",
            output_shapes={"y": (2, 3)},
            finite=True,
            output_files={"y": f"{model.outputs_to}/0.npy"} if model.outputs_to else {},
            profile=f"{model.profile_to}/{self.profile_name}"
            if model.profile_to and self.profile_name
            else None,
        )
        told = self.outputs(job, len(self.jobs) - 1, case)
        return dataclasses.replace(result, **told)


def case_of(model: JobModel) -> int:
    return int(model.path.removesuffix(".onnx").removeprefix("case"))


@pytest.fixture
def make_link() -> type[FakeLink]:
    return FakeLink


@pytest.fixture
def make_entries() -> Callable[..., list[Entry]]:
    def make(count: int, engine: str = "fast") -> list[Entry]:
        return [
            Entry(f"c{i}", JobModel(engine, f"case{i}.onnx", f"sha{i}", {"x": "x.npy"}))
            for i in range(count)
        ]

    return make
