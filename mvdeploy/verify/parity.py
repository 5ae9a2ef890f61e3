"""Run an artifact and the PyTorch network it came from on the same inputs, and compare."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from mvdeploy import runtimes
from mvdeploy.errors import CheckFailed
from mvdeploy.records import Artifact, Parity, ParityInput

if TYPE_CHECKING:
    from torch import nn

Array = npt.NDArray[np.float32]

MAX_ABS = {"fp32": 1e-4}
"""Largest absolute difference of the outputs that is accepted, by precision."""

BLIND = 1e-3
"""A check is blind when the outputs vary between inputs by less than this share of their spread:
an export that ignored its input would pass."""


def check(
    artifact: Artifact, path: Path, reference: nn.Module, inputs: dict[str, Array], engine: str
) -> Parity:
    """Compare an artifact with its reference.

    Args:
        artifact: the manifest.
        path: the file.
        reference: the network before any pass, in eval mode.
        inputs: by name, each of the artifact's input shape; two at least.
        engine: what runs the artifact.

    Raises:
        EngineError: the engine cannot run the artifact.
    """
    import torch

    threads = torch.get_num_threads()
    try:
        wanted, got = _run_both(artifact, path, reference, inputs, engine)
    finally:
        torch.set_num_threads(threads)  # PyTorch is an engine too, and sets it for the process
    results = tuple(_compare(name, wanted[name], got[name]) for name in inputs)
    spread = _spread(np.stack(list(wanted.values())))
    limit = MAX_ABS[artifact.precision]
    # Written so that a NaN fails.
    good = all(r.max_abs <= limit and r.top1_agrees for r in results) and spread >= BLIND
    version = runtimes.get(engine).version()
    return Parity(f"{engine} {version}", results, limit, spread, good)


def demand(parity: Parity, label: str) -> None:
    """Raise if a comparison failed.

    Raises:
        CheckFailed: names the input with the largest difference.
    """
    if parity.passed:
        return
    worst = parity.worst
    if parity.output_spread < BLIND:
        raise CheckFailed(
            f"Parity of {label} cannot be judged: the outputs hardly depend on the input "
            f"(spread {parity.output_spread:.1e}).",
            "Give trained weights, or leave --seed to its default.",
        )
    raise CheckFailed(
        f"{label} does not compute what the PyTorch network computes: on the input '{worst.name}' "
        f"the outputs differ by {worst.max_abs:.2g} ({parity.max_abs_threshold:.0e} is allowed).",
        "The file was not kept; report the model, the format and the versions.",
    )


def _run_both(
    artifact: Artifact, path: Path, reference: nn.Module, inputs: dict[str, Array], engine: str
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Return the outputs of the reference and of the artifact, by input."""
    import torch

    wanted, got = {}, {}
    key = artifact.inputs[0].name
    first = next(iter(inputs.values()))
    session = runtimes.get(engine).open_session(path, {key: first}, 1, None)
    for name, image in inputs.items():
        with torch.inference_mode():
            wanted[name] = reference(torch.from_numpy(image)).numpy()
        session.feed({key: image})
        session.infer()
        got[name] = _output(artifact, session.outputs())
    return wanted, got


def _output(artifact: Artifact, outputs: dict[str, npt.NDArray[np.generic]]) -> Array:
    name = artifact.outputs[0].name
    if name not in outputs:
        raise CheckFailed(
            f"{artifact.path} has no output '{name}' (it has {', '.join(outputs)}).",
            "Export the model again.",
        )
    return np.asarray(outputs[name], dtype=np.float32)


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
