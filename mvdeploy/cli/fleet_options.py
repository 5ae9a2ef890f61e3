"""The options of commands that measure on several devices, and how such a command ends."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mvdeploy import links
from mvdeploy.cli import history_options, measuring, streams
from mvdeploy.errors import DeviceUnavailable, UsageError

if TYPE_CHECKING:
    from mvdeploy.cli.bench_options import Options
    from mvdeploy.pipeline.bench import Request
    from mvdeploy.pipeline.blocks import Measure
    from mvdeploy.pipeline.fleet.bench import Outcome
    from mvdeploy.pipeline.fleet.executors import Executor
    from mvdeploy.pipeline.fleet.executors.cluster import Address
    from mvdeploy.pipeline.fleet.tasks import Assignment
    from mvdeploy.records.fleet import Unit

_WAIT_S = 10.0

F = TypeVar("F", bound=Callable[..., Any])
Read = Callable[[dict[str, Any]], "tuple[Options, Request]"]

_OF_ONE_RUN = {
    "baseline": "--baseline",
    "save_baseline": "--save-baseline",
    "junit": "--junit",
    "github_summary": "--github-summary",
}
"""What is made of one run, by the name of the value."""


def keys(command: F) -> F:
    """Add the options that say who is let in."""
    folder = click.option(
        "--keys",
        type=click.Path(path_type=Path),
        metavar="DIR",
        help="Keys of the cluster, which 'mvdeploy cluster keys DIR' makes.",
    )
    insecure = click.option(
        "--insecure",
        is_flag=True,
        help="Without keys beyond this machine: whoever reaches the address can run programs.",
    )
    return folder(insecure(command))


def cluster(*, required: bool = False) -> Callable[[F], F]:
    """Return what adds the options that say which cluster is meant.

    Args:
        required: whether there has to be one.
    """

    def add(command: F) -> F:
        address = click.option(
            "--cluster",
            "cluster_address",
            required=required,
            metavar="HOST[:PORT]",
            help="The cluster: where 'mvdeploy cluster start' listens.",
        )
        return address(keys(command))

    return add


def options(command: F) -> F:
    """Add the options that say how several devices are measured."""
    repeat = click.option(
        "--repeat-units",
        is_flag=True,
        help="Measure on every device that there is of each kind: two phones of a model are two "
        "samples.",
    )
    return repeat(of_blocks(command))


def of_blocks(command: F) -> F:
    """Add the options that say which cluster measures."""
    wait = click.option(
        "--wait-for",
        "wait_s",
        type=click.FloatRange(0),
        metavar="SECONDS",
        help="How long a device is waited for that the cluster does not have. [default: 10]",
    )
    return cluster()(wait(command))


@dataclasses.dataclass(frozen=True)
class Several:
    """How several devices are measured.

    Attributes:
        devices: as they were named.
        repeat_units: on every device that there is of each kind.
        address: of the cluster that has them; None for this machine.
        wait_s: how long a device that there is not is waited for.
    """

    devices: tuple[str, ...]
    repeat_units: bool = False
    address: Address | None = None
    wait_s: float = 0.0

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
        with contextlib.ExitStack() as stack:
            if self.address is None:
                asked = {name: read({**given, "device": name}) for name in self.devices}
                executor = self._local([request for _, request in asked.values()], given)
                stack.callback(executor.close)
            else:
                executor = self._cluster(self.address)
                stack.callback(executor.close)
                asked = self._of_cluster(executor.units(), read, given)
            jobs = list(self._jobs({name: r for name, (_, r) in asked.items()}, executor))
            first = next(asked for asked, _ in asked.values())
            return _measure(jobs, executor, first, self.wait_s)

    def _local(self, requests: Sequence[Request], given: Mapping[str, Any]) -> Executor:
        from mvdeploy.pipeline.fleet.executors import here
        from mvdeploy.pipeline.fleet.executors.local import LocalExecutor

        devices = [request.device for request in requests]
        return LocalExecutor(here.units_of(devices, given["link_options"], each=self.repeat_units))

    def _cluster(self, address: Address) -> Executor:
        from mvdeploy.pipeline.fleet.executors.cluster import ClusterExecutor

        return ClusterExecutor(address)

    def _of_cluster(
        self, units: Sequence[Unit], read: Read, given: dict[str, Any]
    ) -> dict[str, tuple[Options, Request]]:
        """Return what is asked of each device; one that is named by its serial number is known."""
        own = _typed(given["link_options"])
        kinds = {unit.name: unit.profile.name for unit in units}
        found = {}
        for name in self.devices:
            device = kinds.get(name, name)
            asked, request = read({**given, "link_options": own, "device": device})
            if name in kinds:
                profile = dataclasses.replace(request.device, address=name)
                request = dataclasses.replace(request, device=profile)
            found[name] = asked, request
        return found

    def _jobs(self, requests: Mapping[str, Request], executor: Executor) -> Iterator[Assignment]:
        from mvdeploy.pipeline import refusals
        from mvdeploy.pipeline.fleet import tasks

        for request in requests.values():
            refusals.demand_used(request)
            if not self.repeat_units:
                yield tasks.job(request)
                continue
            yield from self._of_each(request, executor.units())

    def _of_each(self, request: Request, units: Sequence[Unit]) -> Iterator[Assignment]:
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

    Raises:
        UsageError: something is said of a cluster, and none is given.
    """
    repeat_units = given.pop("repeat_units")
    address, wait_s = _place(given)
    if address is None and len(devices) == 1 and not repeat_units:
        return None
    return Several(devices, repeat_units, address, wait_s)


def _place(given: dict[str, Any]) -> tuple[Address | None, float]:
    """Take the options of `of_blocks` out; return the cluster and how long devices are waited for.

    Raises:
        UsageError: something is said of a cluster, and none is given.
    """
    names = ("cluster_address", "keys", "insecure", "wait_s")
    address, keys, insecure, wait_s = (given.pop(name) for name in names)
    if address is None:
        if keys is not None or insecure or wait_s is not None:
            raise UsageError(
                "--keys, --insecure and --wait-for are about a cluster, and none is given.",
                "Give it with --cluster HOST, or leave them out.",
            )
        return None, 0.0
    from mvdeploy.pipeline.fleet.executors.cluster import Address

    return Address(address, keys, insecure), _WAIT_S if wait_s is None else wait_s


@dataclasses.dataclass(frozen=True)
class Elsewhere:
    """Where the blocks of a study or a sweep are measured.

    Attributes:
        measure: measures them.
        unit: the one device that is meant; empty for any of its kind, and for those of this
            machine.
        remote: whether that is a cluster.
    """

    measure: Measure
    unit: str = ""
    remote: bool = False

    def of(self, request: Request) -> Request:
        """Return what is to be measured, on the device that is meant.

        Raises:
            UsageError: it would be one machine for one block, and another for the next.
        """
        if not self.remote:
            return request
        if request.device.link == "host" and not self.unit:
            raise UsageError(
                "'host' is any machine of the cluster, and blocks of several would be compared.",
                "Name one, as 'mvdeploy devices --cluster' lists it.",
            )
        device = dataclasses.replace(request.device, address=self.unit)
        return dataclasses.replace(request, device=device)


def elsewhere(given: dict[str, Any]) -> Elsewhere:
    """Return where blocks are measured, until the command ends.

    Args:
        given: all options of the command; those of `of_blocks` are taken out, and a device that is
            named by its serial number is by its kind.

    Raises:
        UsageError: something is said of a cluster, and none is given.
        DeviceUnavailable: there is no cluster, or it lets nobody in with these keys.
    """
    address, wait_s = _place(given)
    if address is None:
        from mvdeploy.pipeline.blocks import here

        return Elsewhere(here)
    from mvdeploy.pipeline.fleet import blocks
    from mvdeploy.pipeline.fleet.executors.cluster import ClusterExecutor

    executor = ClusterExecutor(address)
    click.get_current_context().call_on_close(executor.close)
    kinds = {unit.name: unit.profile.name for unit in executor.units()}
    name = given["device"]
    given["device"] = kinds.get(name, name)
    given["link_options"] = _typed(given["link_options"])
    measure = functools.partial(blocks.run, executor=executor, wait_s=wait_s)
    return Elsewhere(measure, name if name in kinds else "", remote=True)


def _typed(link_options: Mapping[str, str]) -> dict[str, str]:
    """Return what was typed of how devices are reached.

    What the environment says is said of devices of this machine.
    """
    usual = links.resolve({})
    return {name: value for name, value in link_options.items() if usual.get(name) != value}


def _measure(jobs: Sequence[Assignment], executor: Executor, asked: Options, wait_s: float) -> int:
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
