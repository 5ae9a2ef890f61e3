"""Run an artifact and the PyTorch network it came from on the same inputs, and compare."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt

from mvdeploy import precisions, tasks
from mvdeploy.engines import SessionRequest
from mvdeploy.errors import CheckFailed, EngineError, MvdeployError
from mvdeploy.records import (
    Artifact,
    ModuleParity,
    OutputError,
    OutputParity,
    Parity,
    ParityInput,
    PrecisionLoss,
)
from mvdeploy.records.parity import NOTABLE, ONE_INPUT
from mvdeploy.verify import exact, images, localise, probes, verifiers
from mvdeploy.verify import plain_sums as sums
from mvdeploy.verify.inputs import Feed, Feeds

if TYPE_CHECKING:
    from torch import Tensor, nn

Array = npt.NDArray[Any]
Outputs = Mapping[str, Array]
"""Of one inference, by name."""

T = TypeVar("T")

NAMED = 3
"""Weights that an error names."""


@dataclasses.dataclass(frozen=True)
class Reference:
    """What a network computes, to hold an artifact against.

    Attributes:
        outputs: by input: in double precision where that can be.
        rounded: by input: as PyTorch computes them in the artifact's precision; None where nothing
            else is known than `outputs`.
        not_exact: why `outputs` are not in double precision; empty where they are.
        plain_sums: computes the outputs by input with sums that are added one number after another.
    """

    outputs: Mapping[str, Outputs]
    rounded: Mapping[str, Outputs] | None
    not_exact: str = ""
    plain_sums: Callable[[], Mapping[str, Outputs]] = dict


class Yardstick:
    """What a network computes on some inputs: what any number of its artifacts are held against.

    Args:
        artifact: a manifest; others differ in the file only.
        network: before any pass, in eval mode.
        feeds: what the network is fed, by name; two at least. The first is looked at closely.
        rewritten: the network after the passes; None to leave out the inside.
    """

    def __init__(
        self,
        artifact: Artifact,
        network: nn.Module,
        feeds: Feeds,
        rewritten: nn.Module | None = None,
    ) -> None:
        if images.takes_images(artifact):
            feeds = {name: images.rounded(artifact, feed) for name, feed in feeds.items()}
        self.artifact, self.feeds, self.rewritten = artifact, feeds, rewritten
        self._network = network
        self._summed: dict[str, localise.Capture] = {}
        self._captures: dict[str, tuple[localise.Capture, localise.Capture | None]] = {}

    @functools.cached_property
    def reference(self) -> Reference:
        """The outputs."""
        return _reference(self.artifact, self._network, self.feeds)

    def captures(self, name: str) -> tuple[localise.Capture, localise.Capture | None]:
        """Return the tensors between modules on an input, as exact as can be.

        Returns:
            In double precision and in single; or in single and None.
        """
        if name not in self._captures:
            self._captures[name] = self._captured(self.feeds[name])
        return self._captures[name]

    def _captured(self, feed: Feed) -> tuple[localise.Capture, localise.Capture | None]:
        import torch

        assert self.rewritten is not None
        usual = localise.Capture(self.rewritten, *map(torch.from_numpy, feed.values()))
        if self._doubled is None:
            return usual, None
        try:
            with exact.doubles():
                wide = map(torch.from_numpy, exact.widened(feed).values())
                return localise.Capture(self._doubled, *wide), usual
        except Exception:  # see `Reference.not_exact`
            return usual, None

    @functools.cached_property
    def _doubled(self) -> nn.Module | None:
        """The rewritten network in double precision; None where errors are not judged by it."""
        if precisions.get(self.artifact.precision).max_ratio is None or self.rewritten is None:
            return None
        return exact.doubled(self.rewritten)

    def plain_sums(self, name: str) -> localise.Capture:
        """Return the tensors between modules with sums added one number after another."""
        import torch

        if name not in self._summed:
            assert self.rewritten is not None
            fed = map(torch.from_numpy, self.feeds[name].values())
            with sums.plain_sums():
                self._summed[name] = localise.Capture(self.rewritten, *fed)
        return self._summed[name]

    def alone(
        self, path: str, given: Array, *, plain_sums: bool = False
    ) -> tuple[Array, Sequence[Array]]:
        """Return what a module makes of a tensor, in double precision and in single.

        With `plain_sums` also with sums that are added one number after another.
        """
        import torch

        assert self.rewritten is not None and self._doubled is not None
        tensor = torch.from_numpy(np.array(given))
        module = self.rewritten.get_submodule(path)
        with torch.inference_mode():
            rounded = [module(tensor.clone()).numpy()]
            if plain_sums:
                with sums.plain_sums():
                    rounded.append(module(tensor.clone()).numpy())
        wide = exact.run(self._doubled.get_submodule(path), tensor.double())
        return wide.numpy(), rounded


def check(
    yardstick: Yardstick,
    path: Path,
    engine: str,
    *,
    probing: probes.Probing | None = None,
) -> Parity:
    """Compare an artifact with its reference.

    Outputs are compared with the network as it was built, so that the passes are checked too. What
    is inside is compared with the network as it was exported, on the first of the inputs, and
    where the export loses digits on the input on which it loses most.

    Args:
        yardstick: the manifest and the network.
        path: the file.
        engine: what runs the artifact.
        probing: how to look inside where the file's tensors cannot be read; None to read them. It
            takes its time, so it is done when it is asked for or something looks wrong.

    Raises:
        UsageError: there is no such precision, task or engine.
        CheckFailed: an output is missing, has another shape or is no finite number.
        EngineError: the engine cannot run the artifact.
    """
    import torch

    threads = torch.get_num_threads()
    try:
        expected = yardstick.reference
        actual = _run_artifact(yardstick.artifact, path, yardstick.feeds, engine)
        title, spread = verifiers.title(engine), _largest_spread(expected.outputs.values())
        parity = _judged(yardstick.artifact, title, expected, actual, spread)
        if yardstick.rewritten is not None:
            parity = _looked_into(parity, _Inside(yardstick, path, engine, probing))
    finally:
        torch.set_num_threads(threads)  # PyTorch is an engine too, and sets it for the process
    return parity


def reference(artifact: Artifact, network: nn.Module, inputs: Outputs, name: str) -> Reference:
    """Return what a network returns for one inference of its artifact.

    Args:
        artifact: the manifest.
        network: before any pass, in eval mode.
        inputs: the artifact's input tensors by name, as the artifact is fed.
        name: of the input.
    """
    return _reference(artifact, network, {name: images.unfed(artifact, inputs)})


def compare_outputs(
    artifact: Artifact, expected: Reference, device_outputs: Outputs, *, engine: str
) -> Parity:
    """Compare what came out of an artifact elsewhere; whether the check is blind is not judged.

    Args:
        artifact: the manifest.
        expected: see `reference`; of one input.
        device_outputs: the artifact's, by name.
        engine: what ran it, and where, in words.

    Raises:
        UsageError: there is no such precision or task.
        CheckFailed: an output is missing, has another shape or is no finite number.
    """
    (name,) = expected.outputs
    actual = {name: _numeric(artifact, device_outputs)}
    return _judged(artifact, engine, expected, actual, None)


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
        f"the outputs differ by {worst.max_abs:.2g}{_snr(worst)}{_times(parity)} (demanded: "
        f"{parity.demand}){_where(parity)}.",
        "Do not use the file; report the model, the format and the versions.",
    )


def _snr(one: ParityInput) -> str:
    return "" if one.snr_db is None else f", SNR {one.snr_db:.0f} dB"


def _times(parity: Parity) -> str:
    return "" if parity.ratio is None else f", {parity.ratio:.3g} times the error of rounding"


def _where(parity: Parity) -> str:
    if parity.differing:
        return f"; the file has other values of {', '.join(parity.differing[:NAMED])}"
    first = parity.first_diverging
    loss = next(iter(parity.losses), None)
    causes = [f"the first module that departs is '{first.module}'"] if first is not None else []
    if loss is not None:
        causes.append(f"'{loss.module}' loses digits ({loss.operator})")
    return "".join(f"; {cause}" for cause in causes)


def _reference(artifact: Artifact, network: nn.Module, feeds: Feeds) -> Reference:
    naming = _naming(artifact, network)
    usual = {name: _run(naming, feed) for name, feed in feeds.items()}
    rounding = precisions.get(artifact.precision).rounded
    own = rounding(naming, feeds) if rounding else None
    try:
        exact_network = exact.doubled(naming)
        with exact.doubles():
            outputs = {n: _run(exact_network, exact.widened(feed)) for n, feed in feeds.items()}
    except MvdeployError:
        raise
    except Exception as error:  # whatever an operator says that has no such kernel
        return Reference(usual, own, str(error).partition("\n")[0] or type(error).__name__)

    @functools.cache
    def plain_sums() -> Mapping[str, Outputs]:
        with sums.plain_sums():
            return {name: _run(naming, feed) for name, feed in feeds.items()}

    return Reference(outputs, own or usual, plain_sums=plain_sums)


def _judged(
    artifact: Artifact,
    engine: str,
    expected: Reference,
    actual: Mapping[str, Outputs],
    spread: float | None,
) -> Parity:
    """Judge outputs by input."""
    precision = precisions.get(artifact.precision)
    rounded = expected.rounded or {}
    results = tuple(
        _compare(artifact, name, outputs, actual[name], rounded.get(name))
        for name, outputs in expected.outputs.items()
    )
    ratio = None if expected.not_exact else precision.max_ratio
    if ratio is not None and len(results) == 1:
        ratio *= ONE_INPUT
    parity = Parity(
        engine=engine,
        inputs=results,
        max_abs_threshold=None,
        output_spread=spread,
        passed=False,
        min_snr_db=None if ratio is not None else precision.min_snr_db,
        task=artifact.spec.task,
        max_ratio=ratio,
        errors=_errors(expected, actual) if ratio is not None else (),
        reference="float32" if expected.not_exact else "float64",
        not_exact=expected.not_exact,
    )
    if ratio is not None and not parity.near:
        parity = dataclasses.replace(parity, inputs=_with_plain_sums(results, expected))
    return _with_verdict(parity)


def _with_plain_sums(
    results: Sequence[ParityInput], expected: Reference
) -> tuple[ParityInput, ...]:
    """Add what rounding costs where sums are added one number after another."""
    try:
        summed = expected.plain_sums()
    except Exception:  # an operator that takes no part in it
        return tuple(results)

    def decibels(one: str, output: str) -> float | None:
        reference = expected.outputs[one][output].astype(np.float64)
        return _snr_db(reference, reference - summed[one][output])

    return tuple(
        dataclasses.replace(
            one,
            outputs=tuple(
                dataclasses.replace(output, plain_sums_db=decibels(one.name, output.name))
                for output in one.outputs
            ),
        )
        for one in results
    )


def _with_verdict(parity: Parity) -> Parity:
    good = all(map(parity.accepts, parity.inputs)) and parity.near and not parity.blind
    good = good and not parity.differing and parity.first_diverging is None
    return dataclasses.replace(parity, passed=good)


def _errors(expected: Reference, actual: Mapping[str, Outputs]) -> tuple[OutputError, ...]:
    """Return how far each output is from double precision, over all inputs."""
    rounded = expected.rounded or expected.outputs
    first = next(iter(expected.outputs.values()))
    return tuple(
        OutputError(
            name,
            _pooled(expected.outputs, actual, name),
            _pooled(expected.outputs, rounded, name),
        )
        for name in first
    )


def _pooled(wanted: Mapping[str, Outputs], got: Mapping[str, Outputs], name: str) -> float:
    """Return the root mean square of the differences, relative to that of the output."""
    error = power = 0.0
    for one, outputs in wanted.items():
        reference = outputs[name].astype(np.float64)
        error += float(((reference - got[one][name]) ** 2).sum())
        power += float((reference**2).sum())
    if error == 0:
        return 0.0
    return (error / power) ** 0.5 if power > 0 else math.inf


@dataclasses.dataclass(frozen=True)
class _Inside:
    """Compares what is inside of an artifact.

    Attributes:
        yardstick: the manifest and the network.
        path: the file.
        engine: what runs it.
        probing: see `check`.
    """

    yardstick: Yardstick
    path: Path
    engine: str
    probing: probes.Probing | None

    @contextmanager
    def program(self, name: str) -> Iterator[probes.Probe]:
        """Give the program whose tensors are read, on an input among others."""
        reference, _ = self.yardstick.captures(name)
        choose = functools.partial(localise.references, capture=reference)
        if self.probing is None:
            operators = self.yardstick.artifact.operators
            yield probes.Probe(self.path, operators, tuple(choose(operators)))
        else:
            with self.probing.make(choose) as made:
                yield made

    def compare(self, program: probes.Probe, name: str) -> tuple[ModuleParity, ...]:
        """Compare the tensors between modules on one input."""
        artifact = self.yardstick.artifact
        reader = verifiers.get(self.engine)
        feed = images.fed(artifact, self.yardstick.feeds[name])
        request = SessionRequest(program.path, feed, outputs=program.names)
        with _engine_errors(self.engine, artifact):
            if self.probing is None:
                tensors = reader.read_tensors(request, program.names)
            else:
                session = reader.open_session(request)
                session.infer()
                tensors = session.outputs()
        reference, usual = self.yardstick.captures(name)
        rounded = (usual,) if usual is not None else ()
        compared = functools.partial(
            localise.compare, program.operators, reference, tensors, artifact.precision
        )
        modules = compared(rounded, self.yardstick.alone)
        if rounded and any(module.diverges for module in modules):
            alone = functools.partial(self.yardstick.alone, plain_sums=True)
            both = (*rounded, self.yardstick.plain_sums(name))
            again = compared(both, alone, to_first=True)
            # After the first that stays, what was said of the others stands.
            cleared = (
                dataclasses.replace(module, diverges=module.diverges and also.diverges)
                for module, also in zip(modules, again, strict=False)
            )
            modules = (*cleared, *modules[len(again) :])
        return modules


def _looked_into(parity: Parity, inside: _Inside) -> Parity:
    """Add what is inside, and where digits are lost."""
    probing = inside.probing
    if probing is not None:
        parity = dataclasses.replace(parity, weights="" if probing.unknown else "network")
        notable = not parity.passed or (parity.ratio or 0.0) >= NOTABLE
        if not (probing.always or probing.unknown or notable):
            return parity
    name = next(iter(inside.yardstick.feeds))
    with inside.program(name) as program:
        modules = inside.compare(program, name)
        parity = dataclasses.replace(
            parity,
            modules=modules,
            inside="" if not modules else "file" if probing is None else "probe",
            weights="" if probing is None else "probe",
            differing=program.differing,
        )
        if parity.first_diverging is None and (parity.ratio or 0.0) >= NOTABLE:
            worst = parity.worst.name
            there = modules if worst == name else inside.compare(program, worst)
            losses = localise.losses(program.operators, there, worst)
            parity = dataclasses.replace(parity, losses=losses)
    return _with_verdict(_with_known_losses(parity, inside))


def _with_known_losses(parity: Parity, inside: _Inside) -> Parity:
    """Add what loses digits by its kernel, where the outputs are less exact than PyTorch's."""
    if (parity.ratio or 0.0) < NOTABLE:
        return parity
    inexact: tuple[str, ...] = getattr(verifiers.get(inside.engine), "INEXACT", ())
    losses = {loss.module: loss for loss in parity.losses}
    for op in inside.yardstick.artifact.operators:
        if op.delegate is None and any(op.type.startswith(kind) for kind in inexact):
            own = PrecisionLoss(op.module, op.type, parity.worst.name)
            measured = losses.get(op.module)
            losses[op.module] = dataclasses.replace(measured or own, operator=op.type)
    return dataclasses.replace(parity, losses=tuple(losses.values()))


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
