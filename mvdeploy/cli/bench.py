"""``mvdeploy bench``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mvdeploy import devices, export, models, runtimes
from mvdeploy.cli import options
from mvdeploy.errors import UsageError
from mvdeploy.records import DeviceProfile, Plan, Warmup

if TYPE_CHECKING:
    from mvdeploy.pipeline.bench import Request


@click.command("bench")
@click.argument("models_or_files", nargs=-1, metavar="[MODEL|FILE]...")
@click.option(
    "-d", "--device", default="host", show_default=True, help="'mvdeploy devices' lists them."
)
@click.option(
    "--devices-dir",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Folder with more device profiles.",
)
@click.option(
    "--format",
    "formats",
    multiple=True,
    metavar="FORMAT",
    help="onnx or pytorch; default: what the device's first engine runs. Repeat it for several.",
)
@options.network
@click.option("--precision", default="fp32", show_default=True, metavar="NAME")
@click.option(
    "--threads", type=click.IntRange(1), help="Inference threads. [default: the device's]"
)
@click.option("--cores", metavar="N,N", help="CPU numbers to run on. [default: all]")
@click.option(
    "--warmup",
    type=click.IntRange(0),
    help="Warm-up inferences of each session. [default: until the time is steady]",
)
@click.option("--iterations", type=click.IntRange(1), help="Measured inferences of each case.")
@click.option(
    "--min-time",
    type=click.FloatRange(0, min_open=True),
    default=10.0,
    show_default=True,
    metavar="SECONDS",
    help="Measured seconds of each case, unless --iterations is given; cases that share an engine "
    "take as long again in turns, for the comparison.",
)
@click.option(
    "--sessions",
    type=click.IntRange(1),
    default=6,
    show_default=True,
    help="How often the engine sessions are made anew.",
)
@click.option(
    "--input", "photograph", type=click.Path(path_type=Path), help="Photograph to run on."
)
@click.option(
    "--breakdown/--no-breakdown", default=True, show_default=True, help="Time every operator."
)
@click.option(
    "--time-limit",
    type=click.FloatRange(0, min_open=True),
    metavar="SECONDS",
    help="When one runner counts as hung. [default: ten times what is expected]",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("reports"),
    show_default=True,
    metavar="DIR",
    help="The run gets a folder of its own in DIR.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@options.debug
def command(
    models_or_files: tuple[str, ...],
    device: str,
    devices_dir: tuple[Path, ...],
    formats: tuple[str, ...],
    patches: tuple[str, ...],
    image_size: str | None,
    task: str,
    num_classes: int | None,
    weights: Path | None,
    channel_order: str | None,
    precision: str,
    output: Path,
    photograph: Path | None,
    as_json: bool,
    seed: int,
    **measuring: object,
) -> int:
    """Measure models, or files that 'mvdeploy export' wrote, and write a report.

    Cases of one run take turns, so that two patch configurations are compared under the same
    conditions. Results are saved after every session in DIR/<run>.
    """
    profile = devices.get(device, devices_dir)
    files = {text: options.file_argument(text) for text in models_or_files}
    names = tuple(text for text, path in files.items() if path is None)
    if not files:
        names = (models.DEFAULT,)
    formats = _formats(formats, profile, precision)

    specs = options.specs(
        names, patches, image_size, task, num_classes, seed, weights, channel_order
    )

    from mvdeploy.pipeline.bench import Request

    request = Request(
        specs=specs,
        artifacts=tuple(path for path in files.values() if path is not None),
        formats=formats,
        device=profile,
        plan=_plan(profile, seed, **measuring),  # type: ignore[arg-type]
        root=output,
        photograph=photograph,
        command=("mvdeploy", *sys.argv[1:]),
    )
    return _bench(request, as_json)


def _formats(asked: tuple[str, ...], profile: DeviceProfile, precision: str) -> tuple[str, ...]:
    formats = tuple(dict.fromkeys(asked)) or runtimes.get(profile.engines[0]).FORMATS[:1]
    for name in formats:
        export.check(name, precision)
        runtimes.for_format(name, profile.engines)
    return formats


def _plan(
    profile: DeviceProfile,
    seed: int,
    *,
    threads: int | None,
    cores: str | None,
    warmup: int | None,
    iterations: int | None,
    min_time: float,
    sessions: int,
    breakdown: bool,
    time_limit: float | None,
) -> Plan:
    return Plan(
        threads=threads or profile.threads,
        warmup=Warmup(iterations=warmup),
        iterations=iterations,
        min_time_s=min_time,
        sessions=min(sessions, iterations) if iterations else sessions,
        cores=_cores(cores),
        seed=seed,
        profile_iterations=Plan.profile_iterations if breakdown else 0,
        time_limit_s=time_limit,
    )


def _cores(text: str | None) -> tuple[int, ...]:
    parts = text.split(",") if text is not None else []
    if not all(part.strip().isdigit() for part in parts):
        raise UsageError(f"'{text}' is no list of CPU numbers.", "Give it as in --cores 0,1.")
    return tuple(int(part) for part in parts)


def _bench(request: Request, as_json: bool) -> int:
    """Run, report, and return the exit status."""
    from mvdeploy.cli.progress import steps
    from mvdeploy.pipeline import bench, report

    with steps(bench.step_count(request) + 1) as announce:
        store = bench.run(request, announce)
        announce("write the report")
        paths = report.render(store.folder)
    view = report.view(store.folder)
    if as_json:
        import json

        from mvdeploy.report.machine import as_json as to_json

        click.echo(json.dumps(to_json(view), indent=1))
    else:
        from rich.console import Console

        from mvdeploy.report.terminal import show

        show(view, Console())
        click.echo(f"\nReport: {next(p for p in paths if p.name == 'report.html')}")
    failures = [case for case in store.cases if case.failure is not None]
    for case in failures:
        if case.failure is not None:
            click.echo(
                f"Error: {case.label}: {case.failure.message}\n{case.failure.remedy}", err=True
            )
    return max((case.failure.exit_code for case in failures if case.failure), default=0)
