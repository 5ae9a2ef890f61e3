"""Run an artifact and the PyTorch network it came from on the same inputs, and compare."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt

from mvdeploy import precisions, tasks
from mvdeploy.engines import SessionRequest
from mvdeploy.errors import CheckFailed, EngineError, MvdeployError
from mvdeploy.records import Artifact, ModuleParity, OutputParity, Parity, ParityInput
from mvdeploy.verify import images, localise, verifiers
from mvdeploy.verify.inputs import Feed, Feeds

if TYPE_CHECKING:
    from torch import Tensor, nn

Array = npt.NDArray[Any]
Outputs = Mapping[str, Array]
"""Of one inference, by name."""

T = TypeVar("T")


def check(
    artifact: Artifact,
    path: Path,
    reference: nn.Module,
    feeds: Feeds,
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
        feeds: what the network is fed, by name; two at least.
        engine: what runs the artifact.
        rewritten: the reference after the passes; None to leave out the inside.

    Raises:
        UsageError: there is no such precision, task or engine.
        CheckFailed: an output is missing, has another shape or is no finite number.
        EngineError: the engine cannot run the artifact.
    """
    import torch

    precision = precisions.get(artifact.precision)
    threads = torch.get_num_threads()
    if images.takes_images(artifact):
        feeds = {name: images.rounded(artifact, feed) for name, feed in feeds.items()}
    network = _naming(artifact, reference)
    try:
        expected = {name: _run(network, feed) for name, feed in feeds.items()}
        actual = _run_artifact(artifact, path, feeds, engine)
        first = next(iter(feeds.values()))
        modules = _inside(artifact, path, rewritten, first, engine) if rewritten else ()
    finally:
        torch.set_num_threads(threads)  # PyTorch is an engine too, and sets it for the process
    rounded = precision.rounded(network, feeds) if precision.rounded else {}
    results = tuple(
        _compare(artifact, name, expected[name], actual[name], rounded.get(name)) for name in feeds
    )
    spread = _largest_spread(expected.values())
    return _judged(artifact, verifiers.title(engine), results, spread, modules)


def reference_outputs(artifact: Artifact, network: nn.Module, inputs: Outputs) -> dict[str, Array]:
    """Return what a network returns for one inference of its artifact.

    Args:
        artifact: the manifest.
        network: before any pass, in eval mode.
        inputs: the artifact's input tensors by name, as the artifact is fed.

    Returns:
        Arrays under the names of the artifact's outputs.
    """
    return _run(_naming(artifact, network), images.unfed(artifact, inputs))


def rounded_outputs(
    artifact: Artifact, network: nn.Module, inputs: Outputs
) -> dict[str, Array] | None:
    """Return the same as `reference_outputs`, rounded as the artifact's precision rounds.

    Returns:
        None where that is the reference's own.
    """
    rounded = precisions.get(artifact.precision).rounded
    if rounded is None:
        return None
    feeds = {"": images.unfed(artifact, inputs)}
    outputs: dict[str, Array] = rounded(_naming(artifact, network), feeds)[""]
    return outputs


def compare_outputs(
    artifact: Artifact,
    reference_outputs: Outputs,
    device_outputs: Outputs,
    input_name: str,
    rounded: Outputs | None = None,
    *,
    engine: str,
) -> Parity:
    """Compare what came out of an artifact elsewhere; whether the check is blind is not judged.

    Args:
        artifact: the manifest.
        reference_outputs: see the function of this name.
        device_outputs: the artifact's, by name.
        input_name: what the input was, such as ``photograph``.
        rounded: see `rounded_outputs`.
        engine: what ran it, and where, in words.

    Raises:
        UsageError: there is no such precision or task.
        CheckFailed: an output is missing, has another shape or is no finite number.
    """
    actual = _numeric(artifact, device_outputs)
    result = _compare(artifact, input_name, reference_outputs, actual, rounded)
    return _judged(artifact, engine, (result,), None)


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


def _judged(
    artifact: Artifact,
    engine: str,
    results: tuple[ParityInput, ...],
    spread: float | None,
    modules: tuple[ModuleParity, ...] = (),
) -> Parity:
    precision = precisions.get(artifact.precision)
    parity = Parity(
        engine=engine,
        inputs=results,
        max_abs_threshold=precision.max_abs,
        output_spread=spread,
        passed=False,
        modules=modules,
        min_snr_db=precision.min_snr_db,
        task=artifact.spec.task,
    )
    good = all(map(parity.accepts, results)) and not parity.blind
    good = good and not any(module.diverges for module in modules)
    return dataclasses.replace(parity, passed=good)


def _inside(
    artifact: Artifact, path: Path, network: nn.Module, feed: Feed, engine: str
) -> tuple[ModuleParity, ...]:
    import torch

    capture = localise.Capture(network, *map(torch.from_numpy, feed.values()))
    names = localise.references(artifact.operators, capture)
    request = SessionRequest(path, images.fed(artifact, feed))
    tensors = verifiers.get(engine).read_tensors(request, names)
    return localise.compare(artifact.operators, capture, tensors, artifact.precision)


def _naming(artifact: Artifact, network: nn.Module) -> nn.Module:
    """Return a network whose forward returns the artifact's outputs by name."""
    from torch import nn

    task = tasks.get(artifact.spec.task)

    class Naming(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, *inputs: Tensor) -> dict[str, Tensor]:
            outputs = task.named(self.network(*inputs))
            names = _names(artifact)
            if artifact.read_from and len(outputs) == len(names):
                return dict(zip(names, outputs.values(), strict=True))  # named by another tool
            if not outputs.keys() >= set(names):
                outputs |= tasks.postprocess(task, outputs)
            return {name: _existing(name, outputs, "The network") for name in names}

    return Naming().eval()


def _names(artifact: Artifact) -> tuple[str, ...]:
    """Return the outputs that are compared: those of numbers."""
    return tuple(output.name for output in artifact.outputs if output.dtype != "string")


def _run(network: nn.Module, feed: Feed) -> dict[str, Array]:
    """Run a network that names its outputs."""
    import torch

    with torch.inference_mode():
        outputs = network(*map(torch.from_numpy, feed.values()))
        return {name: out.numpy() for name, out in outputs.items()}


def _run_artifact(
    artifact: Artifact, path: Path, feeds: Feeds, engine: str
) -> dict[str, dict[str, Array]]:
    """Return the outputs of the artifact, by input."""
    by_input = {}
    first = next(iter(feeds.values()))
    with _engine_errors(engine, artifact):
        names = tuple(output.name for output in artifact.outputs)
        request = SessionRequest(path, images.fed(artifact, first), outputs=names)
        session = verifiers.get(engine).open_session(request)
    for name, feed in feeds.items():
        with _engine_errors(engine, artifact):
            session.feed(images.fed(artifact, feed))
            session.infer()
            outputs = session.outputs()
        by_input[name] = _numeric(artifact, outputs)
    return by_input


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


def _numeric(artifact: Artifact, outputs: Outputs) -> dict[str, Array]:
    """Return the outputs that are compared, as the manifest names them."""
    return {name: np.asarray(_existing(name, outputs, artifact.path)) for name in _names(artifact)}


def _existing(name: str, outputs: Mapping[str, T], owner: str) -> T:
    if name not in outputs:
        raise CheckFailed(
            f"{owner} has no output '{name}' (it has {', '.join(outputs)}).",
            "Export the model again.",
        )
    return outputs[name]


def _compare(
    artifact: Artifact, name: str, expected: Outputs, actual: Outputs, rounded: Outputs | None
) -> ParityInput:
    """Compare all outputs on one input.

    Args:
        artifact: whose they are.
        name: of the input.
        expected: the reference's.
        actual: the artifact's.
        rounded: the reference's with every operator rounded; None where that is the same.
    """
    outputs = tuple(
        _compare_output(output, name, expected[output], actual[output], (rounded or {}).get(output))
        for output in expected
    )
    decision = tasks.get(artifact.spec.task).compare(expected, actual, rounded)
    return ParityInput(
        name=name,
        max_abs=max(output.max_abs for output in outputs),
        snr_db=_lowest(output.snr_db for output in outputs),
        cosine=min(output.cosine for output in outputs),
        agrees=decision.agrees,
        rounding_db=_lowest(output.rounding_db for output in outputs),
        tied=decision.tied,
        outputs=outputs,
    )


def _lowest(decibels: Iterable[float | None]) -> float | None:
    return min((db for db in decibels if db is not None), default=None)


def _compare_output(
    name: str, input_name: str, expected: Array, actual: Array, rounded: Array | None
) -> OutputParity:
    if expected.shape != actual.shape:
        raise CheckFailed(
            f"The output '{name}' has the shape {actual.shape}, the network's is {expected.shape}.",
            "Export the model again.",
        )
    reference, result = expected.astype(np.float64), actual.astype(np.float64)
    difference = reference - result
    if not np.isfinite(difference).all():
        raise CheckFailed(
            f"The output '{name}' on the input '{input_name}' has values that are no finite "
            "numbers.",
            "Check the weights; the export may overflow.",
        )
    norms = float(np.linalg.norm(reference) * np.linalg.norm(result))
    return OutputParity(
        name=name,
        max_abs=float(np.abs(difference).max()),
        snr_db=_snr_db(reference, difference),
        cosine=float((reference * result).sum()) / norms if norms > 0 else 1.0,
        rounding_db=None if rounded is None else _snr_db(reference, reference - rounded),
    )


def _snr_db(signal: npt.NDArray[np.float64], difference: npt.NDArray[np.float64]) -> float | None:
    power, noise = float((signal**2).sum()), float((difference**2).sum())
    return 10 * float(np.log10(power / noise)) if noise > 0 and power > 0 else None


def _largest_spread(results: Iterable[Outputs]) -> float:
    """Return how much the output that varies most does between inputs: others may be constants."""
    # Of as many images as the first has: an artifact may take any number of them.
    first, *others = results
    by_input = [first, *(r for r in others if all(r[n].shape == first[n].shape for n in first))]
    return max(_spread(np.stack([outputs[name] for outputs in by_input])) for name in by_input[0])


def _spread(outputs: Array) -> float:
    """Return how much outputs vary between inputs, relative to how much they vary at all."""
    total = float(outputs.std())
    return float(outputs.std(axis=0).mean()) / total if total > 0 else 0.0
