"""``mvdeploy describe``."""

from __future__ import annotations

import collections
import shutil
import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from mvdeploy import models
from mvdeploy.cli import completion, options
from mvdeploy.errors import UsageError
from mvdeploy.models import feeding
from mvdeploy.records import Artifact, FileInputs, Finding, ModelSpec, PassReport, TensorInfo
from mvdeploy.text_format import NONE, clean, join, percent

if TYPE_CHECKING:
    from pathlib import Path

    from mvdeploy.models.stages import Description, Stage, Totals

_TRUE, _CVNETS = "true", "cvnets"
_FOLD = "fold_batchnorm"

_TITLES = {_TRUE: "MACs (M)", _CVNETS: "CVNets MACs (M)"}

_WHY = (
    "The CVNets profiler, whose log is often quoted, takes each attention product as B·P·N·d·d "
    "where B·P·N²·d is right; all else is counted alike."
)

_LEGEND = (
    "N: patches, the tokens of an attention. P: pixels of a patch. Coverage: share of the map that "
    "can influence one pixel of the transformer's output, mean over its pixels."
)

_SENTENCES = {
    "patch_exceeds_kernel": (
        "In {stage} a pixel is reached by only {mean} of the map ({min} at worst): the {patch} "
        "patch is larger than the {kernel} window of the convolutions before it."
    ),
    "edge_out_of_reach": (
        "In {stage} a pixel is reached by {mean} of the map ({min} at worst): the {patch} patch is "
        "no larger than the {kernel} window of the convolutions before it, but at the map's border "
        "some pixels lie in no window."
    ),
    "uncounted_operators": (
        "No rule counts these operators, whose work is missing in the MACs: {operators}."
    ),
}

_PUBLISHED = "Published cost of such patches: {published} ({source})."


@click.command("describe")
@click.argument(
    "model", default=models.DEFAULT, metavar="[MODEL|FILE]", shell_complete=completion.models
)
@options.network
@options.file_inputs
@click.option(
    "--macs",
    "rule",
    type=click.Choice((_TRUE, _CVNETS)),
    help="Rule that the stages' multiply-accumulates are counted by: true (the default) or that "
    "of the CVNets log.",
)
@click.option(
    "--device",
    type=click.Choice(("host",)),
    help="Instead of a network, show how fast this machine multiplies; measured once, in some "
    "seconds, and kept.",
)
@click.option("--again", is_flag=True, help="With --device: measure anew what was kept.")
@options.left_out
@click.option("--fused", is_flag=True, help="List which BatchNorms are folded, and which are not.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with both counts.")
@options.debug
def command(
    model: str,
    rule: str | None,
    left_out: tuple[str, ...],
    fused: bool,
    as_json: bool,
    shapes: tuple[str, ...],
    values: tuple[str, ...],
    device: str | None,
    again: bool,
    **network: Any,
) -> None:
    """Show MODEL stage by stage: shapes, parameters, MACs, patches and what they see.

    Nothing is measured. With several --patches, there is a table for each.

    Of an exported FILE: inputs, outputs, parameters, MACs and operators.
    With --device host: multiply-accumulates per second of this machine, which 'bench' then holds
    latencies against.
    """
    if device is not None:
        _describe_device(again, as_json)
        return
    if again:
        raise UsageError("--again is for the rates of a device.", "Add --device host.")
    file = options.file_argument(model)
    if file is not None:
        _describe_file(file, options.read_file_inputs(shapes, values), as_json)
        return
    if shapes or values:
        raise UsageError("--shape and --values are for files.", "Give a file, or leave them out.")
    specs = options.specs((model,), **network)
    described = [_describe(spec, fused, left_out) for spec in specs]
    if as_json:
        _print_json(described)
        return
    for i, (description, reports) in enumerate(described):
        if i:
            click.echo()
        _show(description, rule, reports)


def _describe_device(again: bool, as_json: bool) -> None:
    from mvdeploy.pipeline import rates as machine
    from mvdeploy.records import codec

    found = machine.of_host(again, lambda text: click.echo(text, err=True))
    if as_json:
        click.echo(codec.dumps(found, indent=1))
        return
    click.echo(f"{clean(found.machine['cpu'])}, measured {found.measured}")
    rows: list[tuple[str, ...]] = [
        ("numbers", "threads", "GMAC/s", "95 % interval", "reached by", "instructions")
    ]
    for rate in found.rates:
        low, middle, high = (
            f"{value / 1e9:.1f}" for value in (rate.low, rate.macs_per_s, rate.high)
        )
        interval = f"{low}–{high}"
        rows.append((rate.numbers, str(rate.threads), middle, interval, rate.by, rate.instructions))
    for line in _aligned(rows):
        click.echo(line)
    _say(
        "The best median of several products of matrices in the libraries that are installed; "
        "int8 adds up in 32 bits. 'bench' says how much of it each case uses."
    )


def _describe_file(path: Path, said: FileInputs, as_json: bool) -> None:
    from mvdeploy.pipeline import files

    file = files.opened(path, said)
    files.demand_inputs(said, (file,))
    artifact = file.artifact
    if as_json:
        import json

        from mvdeploy.records import codec

        body = {"schema_version": codec.SCHEMA_VERSION, **codec.encode(artifact)}
        click.echo(json.dumps(body, indent=1, ensure_ascii=False))
        return
    for finding in file.findings:
        click.echo(f"Warning: {_word(finding)}", err=True)
    for line in _file_lines(artifact):
        click.echo(line)


def _word(finding: Finding) -> str:
    from mvdeploy.report.wording import word

    return word(finding).sentence


def _file_lines(artifact: Artifact) -> Iterator[str]:
    size = f"{artifact.size_bytes / 1e6:,.2f} MB"
    also = f" with {join(list(artifact.data))}" if artifact.data else ""
    yield f"{artifact.path}{also}: {artifact.format}, {artifact.precision}, {size}"
    made = ", ".join(f"{name} {version}" for name, version in artifact.versions.items())
    if made:
        yield f"Made by: {made}."
    if artifact.spec.model:
        yield f"Network: {artifact.spec.label}."
    if artifact.runs_on:
        yield f"It needs {artifact.runs_on}."
    yield ""
    fed = dict(zip((t.name for t in artifact.inputs), artifact.spec.inputs, strict=False))
    rows: list[tuple[str, ...]] = [("tensor", "shape", "type", "fed")]
    rows += [("input " + t.name, _shape(t), t.dtype, _fed(t, fed[t.name])) for t in artifact.inputs]
    rows += [("output " + t.name, _shape(t), t.dtype, "") for t in artifact.outputs]
    yield from _aligned(rows)
    yield ""
    parameters = f"{artifact.parameters:,}" if artifact.parameters else "not known"
    macs = "not known" if artifact.macs is None else f"{_millions(artifact.macs)} M"
    yield f"Parameters: {parameters}. MACs: {macs}."
    if artifact.uncounted:
        yield _SENTENCES["uncounted_operators"].format(operators=", ".join(artifact.uncounted))
    yield from _operator_lines(artifact)


def _operator_lines(artifact: Artifact) -> Iterator[str]:
    delegation = artifact.delegation
    if delegation is not None and artifact.read_from:
        yield (
            f"Delegates: {delegation.delegates}; what is in them, the file does not tell. Outside "
            f"of them run {len(artifact.operators)} operators."
        )
    counts = collections.Counter(operator.type for operator in artifact.operators)
    if counts:
        yield ""
        yield from _aligned(
            [("operator", "", "count"), *((k, "", f"{n:,}") for k, n in counts.most_common())]
        )
        yield f"total: {counts.total():,}"
    if artifact.read_from:
        known = [module for module in artifact.modules if module]
        modules = f"{len(known)}, read from {artifact.read_from}" if known else "not in the file"
        yield f"Modules: {modules}."


def _shape(tensor: TensorInfo) -> str:
    return "x".join(map(str, tensor.shape)) or "a number"


def _fed(taken: TensorInfo, given: TensorInfo) -> str:
    if given.values is not None:
        return f"{_shape(given)}, seeded values {given.values[0]:g} to {given.values[1]:g}"
    return f"images, {taken.layout}" + (
        f" ({_shape(given)})" if _shape(given) != _shape(taken) else ""
    )


def _describe(
    spec: ModelSpec, fused: bool, left_out: tuple[str, ...]
) -> tuple[Description, tuple[PassReport, ...]]:
    import torch

    from mvdeploy import passes
    from mvdeploy.models import stages
    from mvdeploy.verify import inputs

    built = models.build(spec, seeded=False)  # no weight changes what is described
    feed = inputs.seeded(spec.inputs, spec.seed or 0)
    examples = tuple(map(torch.from_numpy, feed.values()))
    prepared, reports = passes.prepare(built, examples, passes.known(left_out))
    if fused and _FOLD not in left_out:
        reports += passes.apply(prepared, examples, (_FOLD,))[1]
    return stages.describe(prepared, spec, *examples), reports


def _print_json(described: list[tuple[Description, tuple[PassReport, ...]]]) -> None:
    import json

    from mvdeploy.records import codec

    printed = []
    for description, reports in described:
        body = {"schema_version": codec.SCHEMA_VERSION, **codec.encode(description)}
        for finding, encoded in zip(description.findings, body["findings"], strict=True):
            encoded["sentence"] = _sentence(finding)
        body["preprocessing"] = codec.encode(models.preprocessing(description.spec))
        if reports:
            body["passes"] = codec.encode(reports)
        printed.append(body)
    click.echo(json.dumps(printed, indent=1, ensure_ascii=False))


def _show(description: Description, rule: str | None, reports: tuple[PassReport, ...]) -> None:
    spec, totals = description.spec, description.totals
    taken = ", ".join("x".join(map(str, tensor.shape)) or "number" for tensor in spec.inputs)
    click.echo(f"{spec.label}, input {taken}")
    if any(tensor.is_image for tensor in spec.inputs):
        click.echo(f"fed {feeding.describe(models.preprocessing(spec))}")
    if spec.weights is not None:
        click.echo(f"weights: {clean(spec.weights.text)}")
    click.echo()
    for line in _aligned(_rows(description, rule or _TRUE)):
        click.echo(line)
    if description.coverage:
        _say(_LEGEND)
    if rule is None and totals.macs != totals.macs_cvnets:
        _say(
            f"MACs: {_millions(totals.macs)} M by the true rule, {_millions(totals.macs_cvnets)} M "
            f"by the rule of the CVNets log (--macs cvnets). {_WHY}"
        )
    elif rule == _CVNETS:
        _say(f"By the true rule: {_millions(totals.macs)} M. {_WHY}")
    for sentence in _sentences(description.findings):
        _say(sentence)
    for report in reports:
        _show_pass(report)


def _rows(description: Description, rule: str) -> list[tuple[str, ...]]:
    def counted(row: Stage | Totals) -> str:
        return _millions(row.macs if rule == _TRUE else row.macs_cvnets)

    titles = ("stage", "output", "parameters", _TITLES[rule], "N", "P", "coverage")
    rows: list[tuple[str, ...]] = [titles]
    for stage in description.stages:
        output = "x".join(map(str, stage.output[1:])) or NONE
        numbers = (f"{stage.parameters:,}", counted(stage))
        rows.append((stage.name, output, *numbers, *_patch_cells(stage)))
    totals = description.totals
    rows.append(("total", "", f"{totals.parameters:,}", counted(totals), "", "", ""))
    return rows if description.coverage else [row[:4] for row in rows]


def _patch_cells(stage: Stage) -> tuple[str, ...]:
    unfolding = stage.unfolding
    if unfolding is None:
        return ("", "", "")
    return (str(unfolding.tokens), str(unfolding.pixels), percent(unfolding.coverage.mean))


def _aligned(rows: list[tuple[str, ...]]) -> Iterator[str]:
    """Set rows of cells in columns: the first two of words, the others of numbers."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (
            cell.ljust(width) if i < 2 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        yield "  ".join(cells).rstrip()


def _sentences(findings: tuple[Finding, ...]) -> Iterator[str]:
    yield from map(_sentence, findings)
    # The same for every stage: once is enough.
    published = (_PUBLISHED.format(**f.values) for f in findings if "published" in f.values)
    yield from dict.fromkeys(published)


def _sentence(finding: Finding) -> str:
    values = {
        name: percent(value) if isinstance(value, float) else value
        for name, value in finding.values.items()
    }
    return _SENTENCES[finding.code].format(**values)


def _show_pass(report: PassReport) -> None:
    title, done = ("BatchNorm", "folded") if report.name == _FOLD else (report.name, "changed")
    _say(
        f"{title}: {len(report.changed)} {done}, {len(report.left)} left. The outputs moved by "
        f"{report.max_abs_difference:.1e} at most."
    )
    for word, lines in ((done, report.changed), ("left", report.left)):
        for line in lines:
            click.echo(f"  {word:<{len(done)}}  {line}")


def _say(text: str) -> None:
    """Print a paragraph, broken at the terminal's width."""
    width = min(shutil.get_terminal_size().columns, 100)
    click.echo(f"\n{textwrap.fill(text, width, break_long_words=False)}")


def _millions(count: int) -> str:
    return f"{count / 1e6:,.3f}"
