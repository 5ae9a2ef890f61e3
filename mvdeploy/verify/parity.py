"""Run an artifact and the PyTorch network it came from on the same inputs, and compare."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from mvdeploy.engines import SessionRequest
from mvdeploy.errors import CheckFailed, EngineError, MvdeployError
from mvdeploy.records import Artifact, ModuleParity, Parity, ParityInput
from mvdeploy.records.artifact import PROBABILITIES
from mvdeploy.verify import engines, images, localise

if TYPE_CHECKING:
    from torch import nn

Array = npt.NDArray[np.float32]

MAX_ABS = {"fp32": 1e-4}
"""Largest absolute difference of the outputs that is accepted, by precision."""

MIN_SNR_DB = {"fp16": 45.0}
"""Signal to noise of the outputs that is demanded instead, where every operator rounds."""


def check(
    artifact: Artifact,
    path: Path,
    reference: nn.Module,
    inputs: dict[str, Array],
    engine: str,
    *,
    rewritten: nn.Module | None = None,
) -> Parity:
    """Compare an artifact with its reference.

    Outputs are compared with the network as it was built, so that the passes are checked too. What
    is inside is compared with the network as it was exported, on the first of the inputs.

    Args:
        artifact: the manifest.
        path: the file.
        reference: the network before any pass, in eval mode.
        inputs: by name, each of the artifact's input shape; two at least.
        engine: what runs the artifact.
        rewritten: the reference after the passes; None to leave out the inside.

    Raises:
        EngineError: the engine cannot run the artifact.
    """
    import torch

    threads = torch.get_num_threads()
    if images.takes_images(artifact):
        inputs = images.rounded(inputs, artifact.preprocessing)
    if artifact.outputs[0].name == PROBABILITIES:
        reference = torch.nn.Sequential(reference, torch.nn.Softmax(dim=-1))
    try:
        wanted, got = _run_both(artifact, path, reference, inputs, engine)
        image = next(iter(inputs.values()))
        modules = _inside(artifact, path, rewritten, image, engine) if rewritten else ()
    finally:
        torch.set_num_threads(threads)  # PyTorch is an engine too, and sets it for the process
    results = tuple(_compare(name, wanted[name], got[name]) for name in inputs)
    if artifact.precision == "fp16":
        from mvdeploy.precisions import fp16

        rounded = fp16.run(reference, inputs)
        results = tuple(
            _with_rounding(r, *(o[r.name] for o in (wanted, got, rounded))) for r in results
        )
    spread = _spread(np.stack(list(wanted.values())))
    found = Parity(
        engine=engines.title(engine),
        inputs=results,
        max_abs_threshold=MAX_ABS.get(artifact.precision),
        output_spread=spread,
        passed=False,
        modules=modules,
        min_snr_db=MIN_SNR_DB.get(artifact.precision),
    )
    good = all(map(found.accepts, results)) and not found.blind
    good = good and not any(module.diverges for module in modules)
    return dataclasses.replace(found, passed=good)


def _with_rounding(one: ParityInput, wanted: Array, got: Array, rounded: Array) -> ParityInput:
    """Add to a comparison what rounding alone costs.

    Args:
        one: the comparison of `wanted` and `got`.
        wanted: the reference's outputs.
        got: the artifact's.
        rounded: the reference's with every operator rounded.
    """
    cost = _compare(one.name, wanted, rounded)
    best = np.take_along_axis(wanted, got.argmax(-1)[..., None], -1)[..., 0]
    gap = float((wanted.max(-1) - best).max())
    tied = not one.top1_agrees and gap <= 2 * cost.max_abs
    return dataclasses.replace(one, rounding_db=cost.snr_db, top1_tied=tied)


def demand(parity: Parity, label: str) -> None:
    """Raise if a comparison failed.

    Raises:
        CheckFailed: names the input with the largest difference.
    """
    if parity.passed:
        return
    worst = parity.worst
    if parity.blind:
        raise CheckFailed(
            f"Parity of {label} cannot be judged: the outputs hardly depend on the input "
            f"(spread {parity.output_spread:.1e}).",
            "Give trained weights, or leave --seed to its default.",
        )
    raise CheckFailed(
        f"{label} does not compute what the PyTorch network computes: on the input '{worst.name}' "
        f"the outputs differ by {worst.max_abs:.2g}{_snr(worst)} (demanded: {parity.demand})"
        f"{_where(parity)}.",
        "Do not use the file; report the model, the format and the versions.",
    )


def _snr(one: ParityInput) -> str:
    return "" if one.snr_db is None else f", SNR {one.snr_db:.0f} dB"


def _where(parity: Parity) -> str:
    first = parity.first_diverging
    if first is None:
        return ""
    return f"; the first module that departs is '{first.module}'"


def _inside(
    artifact: Artifact, path: Path, network: nn.Module, image: Array, engine: str
) -> tuple[ModuleParity, ...]:
    import torch

    capture = localise.Capture(network, torch.from_numpy(image))
    names = localise.references(artifact.operators, capture)
    tensors = engines.get(engine).read_tensors(SessionRequest(path, _feed(artifact, image)), names)
    return localise.compare(artifact.operators, capture, tensors, artifact.precision)


def _run_both(
    artifact: Artifact, path: Path, reference: nn.Module, inputs: dict[str, Array], engine: str
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Return the outputs of the reference and of the artifact, by input."""
    import torch

    wanted, got = {}, {}
    first = next(iter(inputs.values()))
    with _engine_errors(engine, artifact):
        names = tuple(output.name for output in artifact.outputs)
        request = SessionRequest(path, _feed(artifact, first), outputs=names)
        session = engines.get(engine).open_session(request)
    for name, image in inputs.items():
        with torch.inference_mode():
            wanted[name] = reference(torch.from_numpy(image)).numpy()
        with _engine_errors(engine, artifact):
            session.feed(_feed(artifact, image))
            session.infer()
            outputs = session.outputs()
        got[name] = _output(artifact, outputs)
    return wanted, got


def _feed(artifact: Artifact, image: Array) -> dict[str, npt.NDArray[np.generic]]:
    """Return what an engine is given for what the network is given."""
    given: npt.NDArray[np.generic] = image
    if images.takes_images(artifact):
        given = images.pixels(image, artifact.preprocessing)
    return {artifact.inputs[0].name: given}


@contextmanager
def _engine_errors(engine: str, artifact: Artifact) -> Iterator[None]:
    """Turn whatever an engine raises into an `EngineError`."""
    try:
        yield
    except MvdeployError:
        raise
    except Exception as error:
        raise EngineError(
            f"{engine} cannot run {artifact.path} ({error}).",
            "Export it again; if it stays so, report the model, the format and the versions.",
        ) from error


def _output(artifact: Artifact, outputs: dict[str, npt.NDArray[np.generic]]) -> Array:
    name = artifact.outputs[0].name
    if name not in outputs:
        raise CheckFailed(
            f"{artifact.path} has no output '{name}' (it has {', '.join(outputs)}).",
            "Export the model again.",
        )
    found = np.asarray(outputs[name], dtype=np.float32)
    # A classifier has a table of probabilities, without the dimension of the batch.
    return found[None] if name == PROBABILITIES else found


def _compare(name: str, wanted: Array, got: Array) -> ParityInput:
    if wanted.shape != got.shape:
        raise CheckFailed(
            f"The output has the shape {got.shape}, the network's is {wanted.shape}.",
            "Export the model again.",
        )
    reference, result = wanted.astype(np.float64), got.astype(np.float64)
    difference = reference - result
    if not np.isfinite(difference).all():
        raise CheckFailed(
            f"The output on the input '{name}' has values that are no finite numbers.",
            "Check the weights; the export may overflow.",
        )
    noise = float((difference**2).sum())
    signal = float((reference**2).sum())
    norms = float(np.linalg.norm(reference) * np.linalg.norm(result))
    return ParityInput(
        name=name,
        max_abs=float(np.abs(difference).max()),
        snr_db=10 * float(np.log10(signal / noise)) if noise > 0 and signal > 0 else None,
        cosine=float((reference * result).sum()) / norms if norms > 0 else 1.0,
        top1_agrees=bool((reference.argmax(-1) == result.argmax(-1)).all()),
    )


def _spread(outputs: Array) -> float:
    """Return how much outputs vary between inputs, relative to how much they vary at all."""
    total = float(outputs.std())
    return float(outputs.std(axis=0).mean()) / total if total > 0 else 0.0
