"""``mvdeploy export``."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mvdeploy import export, models, passes
from mvdeploy.cli import options
from mvdeploy.errors import UsageError
from mvdeploy.records import Artifact, Delegation, ModelSpec, Undelegated

if TYPE_CHECKING:
    from mvdeploy.pipeline.export import Exported

_Job = tuple[ModelSpec, str, Path]
"""A network, a format, and where the file goes."""

SHOWN = 3
"""Modules that are named for each undelegated operator."""


@click.command("export")
@click.argument("model", default=models.DEFAULT, metavar="[MODEL]")
@click.option(
    "--format",
    "formats",
    multiple=True,
    default=["onnx"],
    show_default=True,
    metavar="FORMAT",
    help="onnx, pytorch or executorch. Repeat it for several.",
)
@options.network
@click.option("--precision", default="fp32", show_default=True, metavar="NAME")
@click.option(
    "--backend",
    metavar="NAME",
    help="What ExecuTorch lowers to: xnnpack, coreml, vulkan or portable. [default: xnnpack]",
)
@click.option(
    "--formulation",
    metavar="NAME",
    help="How the network is written: plain, or delegable for engines that run it in one piece. "
    "[default: what suits the format]",
)
@click.option(
    "--require-full-delegation",
    "full_delegation",
    is_flag=True,
    help="Fail if one delegate of ExecuTorch does not hold the whole network.",
)
@click.option("--opset", type=int, help="ONNX operator set. [default: the exporter's]")
@click.option(
    "--batch",
    default="1",
    show_default=True,
    metavar="N|dynamic",
    help="Images in one inference; 'dynamic' for any number.",
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
@click.option("--json", "as_json", is_flag=True, help="Print the manifests as JSON.")
@options.debug
def command(
    model: str,
    formats: tuple[str, ...],
    patches: tuple[str, ...],
    image_size: str | None,
    task: str,
    num_classes: int | None,
    seed: int,
    weights: Path | None,
    channel_order: str | None,
    precision: str,
    backend: str | None,
    formulation: str | None,
    full_delegation: bool,
    opset: int | None,
    batch: str,
    photograph: Path | None,
    output: Path,
    as_json: bool,
) -> None:
    """Build MODEL, rewrite it, export it, and verify the file against PyTorch.

    The file and its manifest (FILE.json) appear only when the outputs agree. Files for Apple
    devices and for Vulkan are made, but cannot be verified here.
    """
    for name in formats:
        export.check(name, precision)
    if formulation is not None:
        passes.check(formulation)
    images = _batch(batch)
    specs = options.specs(
        (model,), patches, image_size, task, num_classes, seed, weights, channel_order
    )
    specs = tuple(dataclasses.replace(spec, batch=images or 1) for spec in specs)
    chosen = export.Options(
        opset=opset,
        dynamic_batch=images is None,
        formulation=formulation,
        backend=backend,
        full_delegation=full_delegation,
    )
    for name in formats:
        export.check_options(name, chosen)
    jobs = _jobs(specs, formats, output, precision, backend)
    _run(jobs, chosen, photograph, as_json)


def _jobs(
    specs: Sequence[ModelSpec],
    formats: Sequence[str],
    output: Path,
    precision: str,
    backend: str | None,
) -> list[_Job]:
    jobs = [
        (spec, name, _target(output, spec, name, precision, backend))
        for spec in specs
        for name in formats
    ]
    if len(jobs) > 1 and not _is_folder(output):
        raise UsageError(
            f"{output} is one file, but {len(jobs)} exports are asked for.",
            "Give a folder with -o.",
        )
    return jobs


def _run(
    jobs: Sequence[_Job], chosen: export.Options, photograph: Path | None, as_json: bool
) -> None:
    from mvdeploy.cli.progress import steps
    from mvdeploy.pipeline.export import Builder

    specs = dict.fromkeys(spec for spec, _, _ in jobs)
    done = []
    with steps(len(specs) + 2 * len(jobs)) as announce:
        builders = {spec: Builder(spec, photograph, announce) for spec in specs}
        for spec, name, path in jobs:
            done.append(builders[spec].export(name, path, chosen))
            if not as_json:
                _show(done[-1])
    if as_json:
        import json

        from mvdeploy.records import codec

        click.echo(json.dumps([codec.encode(exported.artifact) for exported in done], indent=1))


def _target(
    output: Path, spec: ModelSpec, format_name: str, precision: str, backend: str | None
) -> Path:
    # The suffix of a format is in its file, which imports the exporter.
    suffix = export.suffix(format_name)
    if _is_folder(output):
        parts = (spec.slug, backend, precision)
        return output / f"{'-'.join(part for part in parts if part)}{suffix}"
    if output.suffix != suffix:
        raise UsageError(
            f"{output} does not end in '{suffix}', as files of the format {format_name} do.",
            f"Give a name that ends in {suffix}, or a folder.",
        )
    return output


def _batch(text: str) -> int | None:
    """Return a number of images, or None for any."""
    if text == "dynamic":
        return None
    if not text.isdigit() or int(text) < 1:
        raise UsageError(f"'{text}' is no number of images.", "Give --batch 1 or --batch dynamic.")
    return int(text)


def _is_folder(output: Path) -> bool:
    return output.is_dir() or not output.suffix


def _show(exported: Exported) -> None:
    artifact = exported.artifact
    click.echo(f"{exported.path}  ({artifact.size_bytes / 1e6:.1f} MB)")
    click.echo(
        f"  {artifact.spec.label}, {artifact.parameters:,} parameters, "
        + (f"{artifact.macs / 1e6:,.1f} M MACs, " if artifact.macs else "")
        + f"{len(artifact.operators)} operators"
    )
    click.echo(f"  passes: {_passes(artifact)}")
    if artifact.delegation is not None:
        for line in _delegation(artifact.backend, artifact.delegation):
            click.echo(f"  {line}")
    click.echo(f"  {_parity(exported)}")
    if exported.changes is not None:
        same = "the same, byte for byte, as the file that was there"
        differs = f"replaces a file that differs in: {'; '.join(exported.changes)}"
        click.echo(f"  {differs if exported.changes else same}")


def _passes(artifact: Artifact) -> str:
    return ", ".join(
        f"{report.name} {len(report.changed)}"
        + (f" ({len(report.left)} left)" if report.left else "")
        for report in artifact.passes
    )


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


def _parity(exported: Exported) -> str:
    parity = exported.parity
    if parity is None:
        return f"not verified here: runs on {exported.artifact.runs_on}"
    worst = parity.worst
    snr = "identical" if worst.snr_db is None else f"SNR {worst.snr_db:.0f} dB"
    return (
        f"parity with PyTorch on {len(parity.inputs)} inputs by {parity.engine}: "
        f"max abs {worst.max_abs:.1e} ({parity.max_abs_threshold:.0e} allowed), {snr}"
        + (f"; {len(parity.modules)} tensors inside" if parity.modules else "")
    )
