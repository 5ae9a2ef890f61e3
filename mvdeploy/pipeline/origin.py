"""The network that a file came from, built again wherever the file lies now."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import TYPE_CHECKING

from mvdeploy import files, formats, models, passes
from mvdeploy.errors import UsageError
from mvdeploy.records import Artifact, ModelSpec

if TYPE_CHECKING:
    from torch import nn

    from mvdeploy.quantization.emulation import Emulation


def sources(spec: ModelSpec, path: Path) -> dict[str, tuple[str, ...]]:
    """Return where the files are that a spec names; see `Artifact.sources`.

    Args:
        spec: the network.
        path: where the exported file will lie.
    """
    folder = path.absolute().parent
    return {
        named: (os.path.relpath(named, folder), os.path.abspath(named))
        for named in models.paths(spec)
        if Path(named).exists()
    }


def code_sha256(spec: ModelSpec) -> str:
    """Return the sha256 of the Python file that makes a network; empty for one of a library."""
    code = models.code_of(spec)
    return files.sha256(code) if code is not None and code.is_file() else ""


def has_same_files(artifact: Artifact, spec: ModelSpec) -> bool:
    """Say whether the checkpoint of a file's network is the one that was exported.

    Args:
        artifact: the manifest.
        spec: of the network, as `spec_of` returns it.
    """
    if artifact.spec.weights is None or spec.weights is None:
        return not models.paths(spec)
    there = Path(spec.weights.path)
    return there.is_file() and files.sha256(there) == artifact.spec.weights.sha256


def changed_code(artifact: Artifact, spec: ModelSpec) -> str:
    """Return the name of the Python file that makes a network, if it is not the one exported."""
    if not artifact.code_sha256 or code_sha256(spec) in ("", artifact.code_sha256):
        return ""
    return spec.model


def rewritten(artifact: Artifact, network: nn.Module) -> nn.Module:
    """Return a file's network as it was exported, after the passes."""
    import torch

    from mvdeploy.verify import inputs

    names = tuple(report.name for report in artifact.passes)
    feed = inputs.seeded(artifact.spec.inputs)
    return passes.apply(network, tuple(map(torch.from_numpy, feed.values())), names)[0]


def source(artifact: Artifact, network: nn.Module) -> formats.Source:
    """Return what a file was made of, given the network after the passes."""
    return formats.Source(
        artifact.spec,
        network,
        {},
        0,
        artifact.passes,
        artifact.preprocessing,
        quantized=artifact.quantized,
    )


def options(artifact: Artifact) -> formats.Options:
    """Return the options that a file was made with."""
    free = any(formats.DYNAMIC in tensor.shape for tensor in artifact.inputs)
    return dataclasses.replace(formats.options_of(artifact), dynamic_batch=free)


def emulation(artifact: Artifact, network: nn.Module) -> Emulation | None:
    """Return what PyTorch runs of a file in whole numbers; None where there are none.

    Args:
        artifact: its manifest.
        network: as it was built.

    Raises:
        UsageError: its scales are not those of the network as it is traced here.
    """
    if artifact.quantized is None:
        return None
    made = source(artifact, rewritten(artifact, network))
    return formats.emulation(made, artifact.format, options(artifact))


def spec_of(
    artifact: Artifact, path: Path, weights: Path | None = None, model: str | None = None
) -> ModelSpec:
    """Return the spec of a file's network, with paths that lead to its files from here.

    Args:
        artifact: the manifest.
        path: of the file.
        weights: where its checkpoint is now; None to look where it was, as seen from the file.
        model: what builds the network now; None likewise.

    Raises:
        UsageError: a checkpoint is given for a network that has none, or what the manifest names
            is not there.
    """
    spec = artifact.spec
    if weights is not None:
        if spec.weights is None:
            raise UsageError(f"{path} was exported without a checkpoint.", "Leave out --weights.")
        spec = dataclasses.replace(
            spec, weights=dataclasses.replace(spec.weights, path=str(weights))
        )
    elif spec.weights is not None:
        there = _find(artifact, path, spec.weights.path, "--weights FILE")
        spec = dataclasses.replace(spec, weights=dataclasses.replace(spec.weights, path=there))
    if model is not None:
        models.allow(model)
        return dataclasses.replace(spec, model=model)
    return models.moved(spec, lambda named: _find(artifact, path, named, "--model FILE.py:FACTORY"))


def _find(artifact: Artifact, path: Path, named: str, flag: str) -> str:
    """Return where a file is that a manifest names.

    Raises:
        UsageError: in none of the places.
    """
    folder, places = path.absolute().parent, artifact.sources.get(named)
    if places is None:
        if artifact.weights_fingerprint:
            return named  # a name, not a path
        places = (os.path.abspath(named), named, Path(named).name)  # an earlier version's manifest
    for place in (*(folder / place for place in places), Path(named)):
        if place.exists():
            return os.path.relpath(place) if place.is_relative_to(Path.cwd()) else str(place)
    raise UsageError(
        f"{path.name} came from {named}, which is not where it was, as seen from that file.",
        f"Put it there, or say with {flag} where it is.",
    )


def network(artifact: Artifact, spec: ModelSpec) -> nn.Module:
    """Build the network of a file again, as it was before any pass.

    Args:
        artifact: the manifest.
        spec: of the network, as `spec_of` returns it.

    Raises:
        UsageError: it cannot be built, or has other weights than the one that was exported.
    """
    built = models.build(spec)
    # Of a seed, the last digits of weights depend on the machine: there the comparison decides.
    if spec.seed is None:
        demand_same_weights(artifact, built, spec)
    return built


def demand_same_weights(artifact: Artifact, built: nn.Module, spec: ModelSpec) -> None:
    """Refuse a network with other weights than the one that was exported.

    Raises:
        UsageError: they are others.
    """
    known = artifact.weights_fingerprint
    if known and models.fingerprint(built) != known:
        message = f"The network that {spec.model} builds has other weights than the one exported."
        remedy = "Give --model what built it, or export it again."
        if changed_code(artifact, spec):
            message = (
                f"{spec.model} is not the code that was exported (its sha256 differs), and the "
                "network that it builds has other weights."
            )
            raise UsageError(message, "Give --model the code as it was, or export it again.")
        if spec.seed is not None:
            remedy = "Random weights depend on the machine and on torch's version: export it again."
        elif spec.weights is None:
            remedy = (
                "Seed what draws its weights, or have it load them from a file; then export it "
                "again."
            )
        raise UsageError(message, remedy)
