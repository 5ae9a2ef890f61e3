"""The options of commands that measure on several devices, and how such a command ends."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mvdeploy.cli import history_options, measuring, streams
from mvdeploy.errors import DeviceUnavailable, UsageError

if TYPE_CHECKING:
    from mvdeploy.cli.bench_options import Options
    from mvdeploy.pipeline.bench import Request
    from mvdeploy.pipeline.fleet.bench import Outcome
    from mvdeploy.pipeline.fleet.executors import Executor
    from mvdeploy.pipeline.fleet.tasks import Job
    from mvdeploy.records.fleet import Unit

F = TypeVar("F", bound=Callable[..., Any])
Read = Callable[[dict[str, Any]], "tuple[Options, Request]"]

_OF_ONE_RUN = {
    "baseline": "--baseline",
    "save_baseline": "--save-baseline",
    "junit": "--junit",
    "github_summary": "--github-summary",
}
"""What is made of one run, by the name of the value."""


def options(command: F) -> F:
    """Add the options that say how several devices are measured."""
    repeat = click.option(
        "--repeat-units",
        is_flag=True,
        help="Measure on every device that there is of each kind: two phones of a model are two "
        "samples.",
    )
    return repeat(command)


@dataclasses.dataclass(frozen=True)
class Several:
    """How several devices are measured.

    Attributes:
        devices: as they were named.
        repeat_units: on every device that there is of each kind.
    """

    devices: tuple[str, ...]
    repeat_units: bool = False

    def refused(self, flag: str) -> UsageError:
        """Return the error for an option that several devices cannot have."""
        return UsageError(
            f"{flag} is for one run, and several devices have one each.",
            "Leave it out, or measure the devices one by one.",
        )

    def measure(self, read: Read, given: dict[str, Any]) -> int:
        """Measure on all devices, report, and return the exit status.

        Args:
            read: returns what was given of one device, and what is to be measured there.
            given: all options of the command.

        Raises:
            UsageError: an option is for one device only, or a device is named twice.
            DeviceUnavailable: no device can be measured on.
        """
        for name, flag in _OF_ONE_RUN.items():
            if given.get(name):
                raise self.refused(flag)
        if "address" in given["link_options"]:
            raise UsageError(
                "--address is that of one device, and several are measured.",
                "Name each device by its address, as in --device ADDRESS.",
            )
        asked = {name: read({**given, "device": name}) for name in dict.fromkeys(self.devices)}
        with contextlib.ExitStack() as stack:
            executor = stack.enter_context(self._executor([r for _, r in asked.values()], given))
            jobs = list(self._jobs({name: r for name, (_, r) in asked.items()}, executor))
            first = next(asked for asked, _ in asked.values())
            return _measure(jobs, executor, first)

    @contextlib.contextmanager
    def _executor(
        self, requests: Sequence[Request], given: Mapping[str, Any]
    ) -> Iterator[Executor]:
        from mvdeploy.pipeline.fleet.executors import here
        from mvdeploy.pipeline.fleet.executors.local import LocalExecutor

        devices = [request.device for request in requests]
        units = here.units_of(devices, given["link_options"], each=self.repeat_units)
        executor = LocalExecutor(units)
        try:
            yield executor
        finally:
            executor.close()

    def _jobs(self, requests: Mapping[str, Request], executor: Executor) -> Iterator[Job]:
        from mvdeploy.pipeline import refusals
        from mvdeploy.pipeline.fleet import tasks

        for request in requests.values():
            refusals.demand_used(request)
            if not self.repeat_units:
                yield tasks.job(request)
                continue
            yield from self._of_each(request, executor.units())

    def _of_each(self, request: Request, units: Sequence[Unit]) -> Iterator[Job]:
        """Give a task for every unit of a kind."""
        from mvdeploy.pipeline.fleet import tasks

        fitting = [unit for unit in units if unit.profile.name == request.device.name]
        if not fitting:
            raise DeviceUnavailable(
                f"There is no {request.device.title} to measure on.",
                "'mvdeploy devices' lists what is attached.",
            )
        for name in dict.fromkeys(unit.name for unit in fitting):
            yield tasks.job(request, name)


def read(given: dict[str, Any], devices: tuple[str, ...]) -> Several | None:
    """Return how several devices are measured; None for one of this machine, as always.

    Args:
        given: all options of the command; those of `options` are taken out.
        devices: as they were named.
    """
    repeat_units = given.pop("repeat_units")
    if len(devices) == 1 and not repeat_units:
        return None
    return Several(devices, repeat_units)


def _measure(jobs: Sequence[Job], executor: Executor, asked: Options, wait_s: float = 0) -> int:
    from mvdeploy.cli.progress import steps
    from mvdeploy.pipeline import bench, report
    from mvdeploy.pipeline.fleet import bench as fleet

    planned = fleet.plan(jobs)
    if len(planned.jobs) < len(jobs):
        done = len(jobs) - len(planned.jobs)
        click.echo(f"{done} of {len(jobs)} are there already in {planned.folder}.", err=True)
    total = sum(bench.step_count(job.request) for job in planned.jobs) + 1
    with steps(total) as announce:
        outcome = fleet.run(planned, executor, announce, wait_s)
        announce("write the report")
        if outcome.saved.runs:
            report.render_fleet(planned.folder)
    _show(planned.folder, outcome, asked)
    return _status(planned.folder, outcome, asked)


def _show(folder: Path, outcome: Outcome, asked: Options) -> None:
    from mvdeploy.pipeline import report
    from mvdeploy.report import renderer
    from mvdeploy.report.renderers.terminal import show, show_several
    from mvdeploy.report.several.values import json_text

    if not outcome.saved.runs:
        return
    runs = report.fleet_runs(folder)
    if len(runs) > 1:
        several = report.several_view(runs)
        if asked.as_json:
            click.echo(json_text(several))
        else:
            show_several(several, streams.console())
    elif asked.as_json:
        click.echo(renderer("json").text(report.view(runs[0])))
    else:
        show(report.view(runs[0]), streams.console())
    if not asked.as_json:
        click.echo(f"\nReport: {folder / 'report.html'}")


def _status(folder: Path, outcome: Outcome, asked: Options) -> int:
    """Say what is wrong with each run, and what came to nothing; return the exit status."""
    from mvdeploy.pipeline import report

    status = 0
    for run in report.fleet_runs(folder) if outcome.saved.runs else ():
        view = report.view(run)
        cases = [case.case for case in view.cases]
        found = [measuring.failures(cases), measuring.wrong_outputs(cases)]
        found.append(measuring.wrong_answers(cases))
        if asked.history:
            found.append(history_options.record(view, run, asked.history))
        status = max(status, *found, asked.demands.settle(view))
    for title, error in outcome.failed:
        click.echo(f"Error: {title}: {error.message}\n{error.remedy}", err=True)
        status = max(status, error.exit_code)
    return status
