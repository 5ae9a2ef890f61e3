"""The options that the commands that measure have in common."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mvdeploy import engines, formats, links, models, passes
from mvdeploy.cli import completion, history_options, link_options, numbers, options
from mvdeploy.cli.acceptance import Demands
from mvdeploy.cli.ci_files import CiFiles
from mvdeploy.cli.declared_options import declared
from mvdeploy.errors import UsageError
from mvdeploy.pipeline import length, refusals
from mvdeploy.records import DeviceProfile, FileInputs, ModelSpec, Warmup

if TYPE_CHECKING:
    from mvdeploy.history.store import Store
    from mvdeploy.pipeline.bench import Request
    from mvdeploy.pipeline.calibration import Wish
    from mvdeploy.pipeline.kept_exports import Shelf
    from mvdeploy.records import Plan

F = TypeVar("F", bound=Callable[..., Any])


def where(command: F) -> F:
    """Add the options that say where is measured, and in which format."""
    return _add(
        command,
        link_options.device,
        click.option(
            "--format",
            "formats",
            multiple=True,
            metavar="FORMAT",
            shell_complete=completion.of_names(formats.names),
            help=f"{', '.join(formats.names())}. Repeat it for several. "
            "[default: what the device's profile says]",
        ),
        click.option(
            "--engine",
            "--engines",
            "engines_asked",
            multiple=True,
            metavar="NAME|all",
            shell_complete=completion.of_names(lambda: (*engines.names(), "all")),
            help=f"What runs them: {', '.join(engines.names())}. Repeat it for several; all for "
            "every one that the device can run, in turns. [default: the first that has the format]",
        ),
        options.precisions,
        click.option(
            "--force",
            is_flag=True,
            help="Measure also a precision that an engine emulates there; the row says so.",
        ),
        options.quantising,
        click.option(
            "--portable",
            is_flag=True,
            help="Export networks as 'mvdeploy export' does, for any engine. [default: as the "
            "device's engine runs them fastest, such as with operators of ONNX Runtime's own]",
        ),
        declared("engine_options", refusals.engine_options()),
    )


def conditions(command: F) -> F:
    """Add the options that say under which conditions is measured."""
    return _add(
        command,
        click.option(
            "--threads",
            multiple=True,
            metavar="N|N-N",
            help="Inference threads, such as 2 or 1-4. Repeat it for several numbers of them, "
            "which take turns. [default: the device's]",
        ),
        click.option(
            "--cores", metavar="N,N", help="CPU numbers to run on. [default: the device's]"
        ),
        click.option(
            "--warmup",
            type=click.IntRange(0),
            help="Warm-up inferences of each session. [default: until the time is steady]",
        ),
        click.option(
            "--input", "photograph", type=click.Path(path_type=Path), help="Photograph to run on."
        ),
        options.left_out,
        options.keeping,
        click.option(
            "--breakdown/--no-breakdown",
            default=True,
            show_default=True,
            help="Time every operator.",
        ),
        click.option(
            "--time-limit",
            type=numbers.seconds(),
            metavar="SECONDS",
            help="When one runner counts as hung. [default: ten times what is expected]",
        ),
    )


def results(command: F) -> F:
    """Add the options that say where the result goes, and what is demanded of it."""
    return _add(
        command,
        click.option(
            "--fail-on",
            multiple=True,
            metavar="METRIC:LIMIT",
            help="Exit with status 1 when a limit is passed: p50:5% (slower than the reference), "
            "p99:20ms, memory:200MB, attention:40% (of the latency), pipeline:33ms (with "
            "bench --pipeline). Repeat it for several.",
        ),
        click.option(
            "--require-reliable",
            is_flag=True,
            help="Exit with status 1 when a result is unreliable.",
        ),
        click.option(
            "--junit",
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="Write gates, and whether each case was measured, as test cases in JUnit XML.",
        ),
        click.option(
            "--github-summary",
            is_flag=True,
            help="Append a short summary to the file that GITHUB_STEP_SUMMARY names.",
        ),
        output,
    )


def output(command: F) -> F:
    """Add the options that say where the result goes."""
    return _add(
        command,
        click.option(
            "-o",
            "--output",
            type=click.Path(path_type=Path),
            default=Path("reports"),
            show_default=True,
            metavar="DIR",
            help="The run gets a folder of its own in DIR.",
        ),
        click.option("--json", "as_json", is_flag=True, help="Print the result as JSON."),
        options.debug,
    )


def _add(command: F, *decorators: Callable[[F], F]) -> F:
    for decorate in reversed(decorators):
        command = decorate(command)
    return command


def of_files(command: F) -> F:
    """Add the options that say what is not known of files without a manifest."""
    return _add(
        command,
        options.file_inputs,
        click.option(
            "--model",
            metavar="NAME|FILE.py:FACTORY",
            help="The network that a FILE without a manifest came from: its outputs are checked "
            "against it, and its operators get the network's categories.",
        ),
    )


def network_of_files(given: Mapping[str, Any]) -> ModelSpec | None:
    """Return the network that ``--model`` names; None without it.

    Raises:
        UsageError: there is no such network, or several --patches or sizes are given for it.
    """
    if given["model"] is None:
        return None
    found = options.specs((given["model"],), **_network(given))
    if len(found) > 1:
        raise UsageError(
            f"A file came from one network, and --model {given['model']} with these --patches and "
            f"sizes names {len(found)}.",
            "Give --patches and --image-size once.",
        )
    return found[0]


def _network(given: Mapping[str, Any]) -> dict[str, Any]:
    return {name: given[name] for name in options.NETWORK}


def subjects(texts: Sequence[str], given: dict[str, Any]) -> tuple[ModelSpec | Path, ...]:
    """Return what is to be measured, in the order it was typed; the default model for nothing.

    Args:
        texts: names of models and of exported files.
        given: all options; those of `options.network` are used.

    Raises:
        UsageError: one of them is neither, or cannot be built.
    """
    network = {**_network(given), "batches": given.get("batches", ())}
    paths = [(text, options.file_argument(text)) for text in texts or (models.DEFAULT,)]
    if all(path is not None for _, path in paths) and not given["model"]:
        for_models = {**network, **dict.fromkeys(options.FEEDING)}
        options.specs((), **for_models)  # refuses what is for models only
    chosen: list[ModelSpec | Path] = []
    for text, path in paths:
        chosen += options.specs((text,), **network) if path is None else [path]
    return tuple(chosen)


def core_numbers(text: str | None) -> tuple[int, ...]:
    """Read a list of CPU numbers such as ``0,1``; empty for None.

    Raises:
        UsageError: it is no such list.
    """
    parts = text.split(",") if text is not None else []
    if not all(part.strip().isdigit() for part in parts):
        raise UsageError(f"'{text}' is no list of CPU numbers.", "Give it as in --cores 0,1.")
    return tuple(int(part) for part in parts)


@dataclasses.dataclass(frozen=True)
class Options:
    """What a command that measures was given, beside what it measures and how long.

    Attributes:
        profile: of the device.
        formats: of networks; empty for those of the engines, or the device's usual.
        precisions: that they are exported in; None for each format's usual one.
        engines: that run them; empty for the first of each format.
        force: measure also what is emulated.
        engine_options: what the engines' sessions are opened with, by name.
        link_options: how the device is reached.
        common: fields of the plan.
        said: what is said of the inputs of files.
        network: the one that files without a manifest came from; None where that is not known.
        photograph: what the models are fed; None for the one that is always there.
        left_out: passes that networks do not go through.
        wish: what scales of whole numbers are taken from.
        keep_float: patterns of modules that stay in float.
        shelf: where exports are kept; None for nowhere.
        portable: networks are exported for any engine.
        root: where the run's folder goes.
        as_json: print the result as JSON.
        demands: what is demanded of the result.
        history: that it is added to; None for none.
    """

    profile: DeviceProfile
    formats: tuple[str, ...]
    precisions: tuple[str | None, ...]
    engines: tuple[str, ...]
    force: bool
    engine_options: dict[str, str]
    link_options: Mapping[str, str]
    common: dict[str, Any]
    said: FileInputs | None
    network: ModelSpec | None
    photograph: Path | None
    left_out: tuple[str, ...]
    wish: Wish
    keep_float: tuple[str, ...]
    shelf: Shelf | None
    portable: bool
    root: Path
    as_json: bool
    demands: Demands
    history: Store | None = None

    def request(self, subjects: tuple[ModelSpec | Path, ...], plan: Plan) -> Request:
        """Return what is to be measured."""
        from mvdeploy.pipeline.bench import Request

        return Request(
            subjects=subjects,
            formats=self.formats,
            precisions=self.precisions,
            engines=self.engines,
            force=self.force,
            engine_options=self.engine_options,
            link_options=self.link_options,
            said=self.said,
            network=self.network,
            device=self.profile,
            plan=plan,
            root=self.root,
            photograph=self.photograph,
            left_out=self.left_out,
            wish=self.wish,
            keep_float=self.keep_float,
            shelf=self.shelf,
            portable=self.portable,
            command=("mvdeploy", *sys.argv[1:]),
        )


def read(given: Mapping[str, Any], warmup_rule: Warmup | None = None) -> Options:
    """Check the options of `where`, `conditions` and `results`.

    Args:
        given: all options of the command.
        warmup_rule: the default of the warm-up; None for that of the plan.

    Raises:
        UsageError: one of them cannot be used.
    """
    from mvdeploy.pipeline import calibration

    profile = links.profile(given["device"], given["devices_dir"], given["link_options"])
    precisions = tuple(dict.fromkeys(given["precisions"])) or (None,)
    threads = length.thread_numbers(given["threads"])
    refusals.demand_had(profile, given["engine_options"])
    return Options(
        profile=profile,
        formats=tuple(dict.fromkeys(given["formats"])),
        engines=tuple(dict.fromkeys(given["engines_asked"])),
        force=given["force"],
        wish=calibration.read(*(given[name] for name in options.QUANTISING)),
        keep_float=given["keep_float"],
        portable=given["portable"],
        precisions=precisions,
        engine_options=given["engine_options"],
        link_options=given["link_options"],
        common=_plan_fields(given, profile, warmup_rule, threads),
        said=options.read_file_inputs(
            given["shapes"],
            given["values"],
            **{name: given[name] for name in options.FEEDING},
        ),
        network=network_of_files(given),
        photograph=given["photograph"],
        left_out=passes.known(given["left_out"]),
        shelf=options.shelf(given["no_cache"], given["cache_size"]),
        root=given["output"],
        as_json=given["as_json"],
        demands=Demands.read(
            given["fail_on"],
            given["require_reliable"],
            given.get("baseline"),
            given.get("save_baseline"),
            CiFiles.read(given.get("junit"), given.get("github_summary", False)),
        ),
        history=history_options.wanted(given.get("record", False), given.get("store")),
    )


def _plan_fields(
    given: Mapping[str, Any],
    profile: DeviceProfile,
    warmup_rule: Warmup | None,
    threads: tuple[int, ...],
) -> dict[str, Any]:
    """Return the fields of the plan that the options of `conditions` decide."""
    cores, warmup = given["cores"], given["warmup"]
    fields: dict[str, Any] = {
        "threads": threads[0] if threads else profile.threads,
        "sweep": threads[1:],
        "cores": core_numbers(cores) if cores is not None else profile.cores,
        "seed": given["seed"],
        "time_limit_s": given["time_limit"],
    }
    if warmup is not None:
        fields["warmup"] = Warmup(iterations=warmup)
    elif warmup_rule is not None:
        fields["warmup"] = warmup_rule
    if not given["breakdown"]:
        fields["profile_iterations"] = 0
    return fields
