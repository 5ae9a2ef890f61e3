"""``mvdeploy export``."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mvdeploy import formats, models, passes
from mvdeploy.cli import completion, options
from mvdeploy.cli.declared_options import declared
from mvdeploy.errors import UsageError
from mvdeploy.models import feeding
from mvdeploy.pipeline import places
from mvdeploy.plugins import Option
from mvdeploy.records import (
    Artifact,
    Delegation,
    ModelSpec,
    PlacementRisk,
    Sensitivity,
    Undelegated,
)
from mvdeploy.text_format import clean

if TYPE_CHECKING:
    from mvdeploy.pipeline.export import Builder, Exported

WEB_ITERATIONS = 200
"""Inferences of each network in a page, where nothing else is said."""

SHOWN = 3
"""Modules that are named for each undelegated operator."""


def _declared() -> tuple[Option, ...]:
    """Return what formats let their user choose, with the formats that have it."""
    return tuple(
        declaration.option._replace(
            help=f"{', '.join(declaration.formats)}: {declaration.option.help}"
        )
        for declaration in formats.declared()
    )


@click.command("export")
@click.argument(
    "model", default=models.DEFAULT, metavar="[MODEL]", shell_complete=completion.models
)
@click.option(
    "--format",
    "format_names",
    multiple=True,
    default=["onnx"],
    show_default=True,
    metavar="FORMAT",
    shell_complete=completion.of_names(formats.names),
    help=f"{', '.join(formats.names())}. Repeat it for several.",
)
@options.network
@options.precisions
@options.quantising
@click.option(
    "--sensitivity",
    is_flag=True,
    help="int8, int8-dynamic and int8-fast: rank modules by the noise that each alone adds, as a "
    "table and a figure beside the file, and propose what to keep in float.",
)
@click.option(
    "--min-sqnr",
    type=float,
    default=25.0,
    show_default=True,
    metavar="DB",
    help="What --sensitivity proposes is to reach: signal to quantisation noise of the outputs.",
)
@click.option(
    "--formulation",
    metavar="NAME",
    help="How the network is written: plain, delegable for engines that run it in one piece, "
    "folded with less to do behind each LayerNorm, or channels_first for the Neural Engine. "
    "[default: what suits the format]",
)
@options.left_out
@options.keeping
@declared("own", _declared())
@click.option(
    "--batch",
    metavar="N|dynamic",
    help="Images in one inference; 'dynamic' for any number. [default: 1, or as a factory's inputs "
    "are]",
)
@click.option(
    "--input",
    "photograph",
    type=click.Path(path_type=Path),
    help="Photograph that the export is verified on, among other inputs.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path(),
    metavar="FILE|DIR",
    help="Where to write; in a folder, the file is named after the model.",
)
@click.option(
    "--web",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="onnx, litert: write a page of static files to DIR instead, which measures the networks "
    "in the browser that opens it, on any phone or laptop; 'mvdeploy report' reads what it saves.",
)
@click.option(
    "--web-iterations",
    type=int,
    metavar="N",
    help=f"Inferences of each network that such a page measures. [default: {WEB_ITERATIONS}]",
)
@click.option("--json", "as_json", is_flag=True, help="Print the manifests as JSON.")
@options.debug
def command(
    model: str,
    format_names: tuple[str, ...],
    output: Path,
    web: Path | None,
    web_iterations: int | None,
    as_json: bool,
    **given: Any,
) -> None:
    """Build MODEL, rewrite it, export it, and verify the file against PyTorch.

    The file and its manifest (FILE.json) appear only when the outputs agree. Core ML programs are
    verified by an interpreter of their own. What ExecuTorch lowers for Apple devices and for Vulkan
    is made, but cannot be verified here.
    """
    precisions = given["precisions"] or (None,)
    for name in format_names:
        for precision in precisions:
            formats.check(name, precision)
    if given["formulation"] is not None:
        passes.check(given["formulation"])
    left_out = passes.known(given["left_out"])
    dynamic = given["batch"] == "dynamic"
    images = None if dynamic else _batch(given["batch"])
    network = {name: given[name] for name in options.NETWORK}
    specs = tuple(
        spec.with_batch(images or spec.batch) for spec in options.specs((model,), **network)
    )
    _check_page(web, web_iterations, format_names, output)
    jobs = [
        _job(spec, name, output, dynamic, precision, given)
        for spec in specs
        for name in format_names
        for precision in precisions
    ]
    if len(jobs) > 1 and not places.is_folder(output):
        raise UsageError(
            f"{output} is one file, but {len(jobs)} exports are asked for.",
            "Give a folder with -o.",
        )
    from mvdeploy.pipeline import calibration

    wish = calibration.read(*(given[name] for name in options.QUANTISING))
    looked = given["min_sqnr"] if given["sensitivity"] else None
    _demand_whole(jobs, looked)
    shelf = options.shelf(given["no_cache"], given["cache_size"])

    def builder(spec: ModelSpec, announce: Callable[[str], None]) -> Builder:
        from mvdeploy.pipeline.export import Builder

        return Builder(spec, given["photograph"], announce, left_out, wish, shelf)

    if web is None:
        _run(jobs, builder, looked, as_json)
        return
    from mvdeploy.files import writing
    from mvdeploy.pipeline import web_page

    with writing.temporary() as work:
        aside = [dataclasses.replace(job, path=work / job.path.name) for job in jobs]
        done = _run(aside, builder, looked, as_json, web / "models")
        iterations = web_iterations or WEB_ITERATIONS
        web_page.write(done, web, given["photograph"], iterations, given["seed"])
    if not as_json:
        click.echo(
            f"{web / 'index.html'}: serve it with 'python {web / 'serve.py'}' or put the folder on "
            "a web server, open it on a device, and read what it saves with 'mvdeploy report'"
        )


def _check_page(
    web: Path | None, iterations: int | None, format_names: Sequence[str], output: Path
) -> None:
    """Refuse what cannot become a page.

    Raises:
        UsageError: see `mvdeploy.pipeline.web_page.check`; or a place for files is given as well.
    """
    if web is None:
        if iterations is not None:
            raise UsageError("--web-iterations is for pages.", "Add --web DIR, or leave it out.")
        return
    if output != Path():
        raise UsageError("-o and --web are two places.", "Leave -o out: a page holds its files.")
    from mvdeploy.pipeline import web_page

    web_page.check(web, format_names, WEB_ITERATIONS if iterations is None else iterations)


@dataclasses.dataclass(frozen=True)
class _Job:
    """An export to come."""

    spec: ModelSpec
    format: str
    path: Path
    options: formats.Options


def _job(
    spec: ModelSpec,
    format_name: str,
    output: Path,
    dynamic_batch: bool,
    precision: str | None,
    given: Mapping[str, Any],
) -> _Job:
    chosen = formats.options(
        format_name,
        given["own"],
        precision=precision,
        formulation=given["formulation"],
        dynamic_batch=dynamic_batch,
        keep_float=given["keep_float"],
    )
    formats.check_options(format_name, chosen)
    return _Job(spec, format_name, places.place(output, spec, format_name, chosen), chosen)


def _run(
    jobs: Sequence[_Job],
    builder: Callable[[ModelSpec, Callable[[str], None]], Builder],
    min_sqnr: float | None,
    as_json: bool,
    shown_in: Path | None = None,
) -> list[Exported]:
    """Export, and say what came of it; return what is to be used of it.

    Args:
        jobs: the exports.
        builder: of their networks.
        min_sqnr: what the sensitivity of modules is looked at for; None to leave that.
        as_json: print manifests alone.
        shown_in: the folder that files are said to be in; None for where they are.
    """
    from mvdeploy.cli.progress import steps

    specs = dict.fromkeys(job.spec for job in jobs)
    written = sum(1 if formats.twin(job.format, job.options) is None else 2 for job in jobs)
    done: list[Exported] = []
    main: list[Exported] = []
    with steps(len(specs) + 2 * written) as announce:
        builders = {spec: builder(spec, announce) for spec in specs}
        for job in jobs:
            result = builders[job.spec].export(job.format, job.path, job.options)
            done += [result] if result.twin is None else [result, result.twin]
            main.append(result)
            if not as_json:
                _show(result, shown_in)
                if result.twin is not None:
                    _show(result.twin, shown_in)
            if min_sqnr is not None:
                found = builders[job.spec].sensitivity(result, min_sqnr)
                if found is not None:
                    _show_sensitivity(found, result, quietly=as_json)
    if as_json:
        import json

        from mvdeploy.records import codec

        click.echo(json.dumps([codec.encode(exported.artifact) for exported in done], indent=1))
    return main


def _batch(text: str | None) -> int | None:
    """Return a number of images; None where nothing is said."""
    if text is None:
        return None
    if not text.isdecimal() or int(text) < 1:
        raise UsageError(f"'{text}' is no number of images.", "Give --batch 1 or --batch dynamic.")
    return int(text)


def _show(exported: Exported, folder: Path | None = None) -> None:
    artifact = exported.artifact
    place = exported.path if folder is None else folder / exported.path.name
    click.echo(f"{place}  ({artifact.size_bytes / 1e6:.1f} MB)")
    click.echo(
        f"  {artifact.spec.label}, {artifact.parameters:,} parameters, "
        + (f"{artifact.macs / 1e6:,.1f} M MACs, " if artifact.macs else "")
        + f"{len(artifact.operators)} operators"
    )
    if any(tensor.is_image for tensor in artifact.spec.inputs):
        click.echo(f"  fed {feeding.describe(artifact.preprocessing)}")
    if artifact.spec.weights is not None:
        click.echo(f"  weights: {clean(artifact.spec.weights.text)}")
    click.echo(f"  passes: {_passes(artifact)}")
    for line in (*_prepared(artifact), *_backend(artifact)):
        click.echo(f"  {line}")
    if artifact.placement is not None:
        for line in _placement(artifact.placement):
            click.echo(f"  {line}")
    for line in _parity(exported):
        click.echo(f"  {line}")
    _show_before(exported)


def _show_before(exported: Exported) -> None:
    """Say what there was before: the export itself, or another file in its place."""
    if exported.kept:
        click.echo("  was made and verified before, and kept; --no-cache makes it anew")
    if exported.changes is not None:
        same = "the same, byte for byte, as the file that was there"
        differs = f"replaces a file that differs in: {'; '.join(exported.changes)}"
        click.echo(f"  {differs if exported.changes else same}")


def _demand_whole(jobs: Sequence[_Job], min_sqnr: float | None) -> None:
    """Refuse to look for the sensitivity of programs without whole numbers.

    Raises:
        UsageError: none of the files has any, or what is to be reached is no number.
    """
    if min_sqnr is not None and not math.isfinite(min_sqnr):
        raise UsageError(
            f"No outputs can be {min_sqnr:g} dB above their noise.",
            "Give --min-sqnr a number such as 25.",
        )
    if min_sqnr is None or any(formats.target(job.format, job.options) for job in jobs):
        return
    raise UsageError(
        "--sensitivity is for programs in whole numbers, and none is asked for.",
        "Add --precision int8-fast.",
    )


def _show_sensitivity(found: Sensitivity, exported: Exported, *, quietly: bool) -> None:
    from mvdeploy.report import sensitivity

    artifact, path = exported.artifact, exported.path
    label = f"{artifact.spec.label} in {artifact.format}, {artifact.precision}"
    written = sensitivity.write(found, label, path.parent, path.stem)
    if quietly:
        return
    for line in sensitivity.sentences(found):
        click.echo(f"  {line}")
    click.echo(f"  written to {' and '.join(map(str, written))}")


def _passes(artifact: Artifact) -> str:
    return ", ".join(
        f"{report.name} {len(report.changed)}"
        + (f" ({len(report.left)} left)" if report.left else "")
        for report in artifact.passes
    )


def _prepared(artifact: Artifact) -> Iterator[str]:
    """Say what was done to the network before everything else, which is not as it was built."""
    for report in artifact.passes:
        if report.name in passes.PREPARATION:
            shown = "; ".join(report.changed[:SHOWN])
            more = f"; and {len(report.changed) - SHOWN} more" if report.changed[SHOWN:] else ""
            moved = f"{report.max_abs_difference:.1e}"
            yield f"{report.name} (moved the outputs by {moved}): {shown}{more}"


def _backend(artifact: Artifact) -> list[str]:
    """Say what the program was written for, where its format has a choice."""
    if artifact.delegation is not None:
        return _delegation(artifact.backend, artifact.delegation)
    return [f"written for {artifact.backend}, with operators of its own"] * bool(artifact.backend)


def _delegation(backend: str, delegation: Delegation) -> list[str]:
    left = sum(group.count for group in delegation.undelegated)
    noun = "delegate" if delegation.delegates == 1 else "delegates"
    lines = [
        f"{backend}: {delegation.delegates} {noun}, {delegation.delegated} operators delegated, "
        f"{left} undelegated"
    ]
    by_type: dict[str, list[Undelegated]] = {}
    for group in delegation.undelegated:
        by_type.setdefault(group.operator, []).append(group)
    for operator, groups in by_type.items():
        modules = [group.module or "(network)" for group in groups]
        more = f", and {len(modules) - SHOWN} more" if len(modules) > SHOWN else ""
        count = sum(group.count for group in groups)
        lines.append(f"  undelegated: {count} {operator} in {', '.join(modules[:SHOWN])}{more}")
    return lines


def _placement(risks: Sequence[PlacementRisk]) -> list[str]:
    if not risks:
        return ["Neural Engine: nothing found that keeps operators off it (predicted)"]
    from mvdeploy.verify.neural_engine_lint import remedy

    lines = []
    by_rule: dict[str, list[PlacementRisk]] = {}
    for risk in risks:
        by_rule.setdefault(risk.rule, []).append(risk)
    for rule, violations in by_rule.items():
        modules = list(dict.fromkeys(risk.module or "(network)" for risk in violations))
        more = f" and {len(modules) - SHOWN} more" if len(modules) > SHOWN else ""
        count = sum(len(risk.operators) for risk in violations)
        lines.append(
            f"Neural Engine (predicted): {rule}: {count} operators ({violations[0].detail}) in "
            f"{', '.join(modules[:SHOWN])}{more}. {remedy(rule)}"
        )
    return lines


def _parity(exported: Exported) -> list[str]:
    from mvdeploy.cli import parity_sentences as sentences

    parity = exported.parity
    if parity is None:
        return [f"not verified here: runs on {exported.artifact.runs_on}"]
    worst = parity.worst
    snr = "identical" if worst.snr_db is None else f"SNR {worst.snr_db:.0f} dB"
    times = "" if parity.ratio is None else f", {parity.ratio:.2g} times the error of rounding"
    return [
        f"parity with PyTorch on {len(parity.inputs)} inputs by {parity.engine}: "
        f"max abs {worst.max_abs:.1e}, {snr}{times} (demanded: {parity.demand})",
        *sentences.scope(parity),
        *sentences.cost(parity, exported.artifact),
        *sentences.findings(parity),
    ]
