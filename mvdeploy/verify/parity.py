"""Run an artifact and the PyTorch network it came from on the same inputs, and compare."""

from __future__ import annotations

import dataclasses
import functools
import math
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from mvdeploy import engines, precisions, tasks
from mvdeploy.engines import SessionRequest
from mvdeploy.errors import CheckFailed
from mvdeploy.records import (
    Answers,
    Artifact,
    ModuleParity,
    OutputError,
    OutputParity,
    Parity,
    ParityInput,
    PrecisionLoss,
)
from mvdeploy.records.parity import NOTABLE, ONE_INPUT, ROUNDING_MARGIN_DB
from mvdeploy.verify import images, localise, probes, reference, verifiers
from mvdeploy.verify.emulated import TIE
from mvdeploy.verify.inputs import Feed
from mvdeploy.verify.reference import Array, Outputs, Reference, Yardstick
from mvdeploy.verify.running import engine_errors, numeric, run_artifact

if TYPE_CHECKING:
    from torch import nn

NAMED = 3
"""Weights that an error names."""

Watch = Callable[[str, Mapping[str, Array]], None]
"""Is told what a file computed: the input (``inside`` before it for inner tensors), and tensors."""


def check(
    yardstick: Yardstick,
    path: Path,
    engine: str,
    *,
    probing: probes.Probing | None = None,
    watch: Watch = lambda _, __: None,
) -> Parity:
    """Compare an artifact with its reference.

    Outputs are compared with the network as it was built, so that the passes are checked too. What
    is inside is compared with the network as it was exported, on the first of the inputs, and
    where the export loses digits on the input on which it loses most. A file that an engine
    computes more coarsely than it says is first compared as it is.

    Args:
        yardstick: the manifest and the network.
        path: the file.
        engine: what runs the artifact.
        probing: how to look at its weights, and inside where the file's tensors cannot be read.
            Making a probe takes its time: it is done when asked for or something looks wrong.
        watch: is shown every tensor of the artifact that is compared.

    Raises:
        UsageError: there is no such precision, task or engine.
        CheckFailed: an output is missing, has another shape or is no finite number.
        EngineError: the engine cannot run the artifact.
    """
    import torch

    if yardstick.single is not None:
        usual = verifiers.choose(yardstick.artifact.format, None)
        as_it_is = check(yardstick.single, path, usual, probing=probing, watch=watch)
        if not as_it_is.passed:
            return as_it_is
    threads = torch.get_num_threads()
    try:
        expected = yardstick.reference
        actual = run_artifact(yardstick.artifact, path, yardstick.feeds, engine)
        for name, outputs in actual.items():
            watch(name, outputs)
        title, spread = verifiers.title(engine), _largest_spread(expected.outputs.values())
        running = _has_running_sums(engine, yardstick.artifact)
        parity = _judged(yardstick.artifact, title, expected, actual, spread, running=running)
        if yardstick.rewritten is not None:
            parity = _looked_into(parity, _Inside(yardstick, path, engine, probing, watch))
    finally:
        torch.set_num_threads(threads)  # PyTorch is an engine too, and sets it for the process
    return parity


def answers(
    artifact: Artifact, network: nn.Module, path: Path, engine: str, feeds: Iterable[Feed]
) -> Answers:
    """Say how often a file says the same as its network.

    Args:
        artifact: its manifest.
        network: before any pass, in eval mode.
        path: the file.
        engine: what runs it.
        feeds: of the network; one at least.

    Raises:
        CheckFailed: an output is missing.
        EngineError: the engine cannot run the artifact.
    """
    fed = {str(number): feed for number, feed in enumerate(feeds)}
    expected = reference.plain(artifact, network, fed)
    got = run_artifact(artifact, path, fed, engine)
    task, spec = tasks.get(artifact.spec.task), artifact.spec
    same = sum(task.compare(expected[one], got[one], None, spec).agrees for one in fed)
    levels = [_lowest_snr(expected[one], got[one]) for one in fed]
    median = statistics.median(math.inf if db is None else db for db in levels)
    return Answers(len(fed), same, median if math.isfinite(median) else None)


def _lowest_snr(expected: Outputs, got: Outputs) -> float | None:
    wanted = {name: array.astype(np.float64) for name, array in expected.items()}
    return _lowest(_snr_db(array, array - got[name]) for name, array in wanted.items())


def compare_outputs(
    artifact: Artifact,
    expected: Reference,
    device_outputs: Outputs,
    *,
    engine: str,
    running_sums: bool = False,
) -> Parity:
    """Compare what came out of an artifact elsewhere; whether the check is blind is not judged.

    Args:
        artifact: the manifest.
        expected: see `reference`; of one input.
        device_outputs: the artifact's, by name.
        engine: what ran it, and where, in words.
        running_sums: whether that adds up products in the artifact's precision.

    Raises:
        UsageError: there is no such precision or task.
        CheckFailed: an output is missing, has another shape or is no finite number.
    """
    (name,) = expected.outputs
    actual = {name: numeric(artifact, device_outputs)}
    return _judged(artifact, engine, expected, actual, None, running=running_sums)


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


def _has_running_sums(verifier: str, artifact: Artifact) -> bool:
    known = verifier in engines.names()
    here = engines.architecture()
    return known and engines.has_running_sums(verifier, artifact.precision, here)


def _judged(
    artifact: Artifact,
    engine: str,
    expected: Reference,
    actual: Mapping[str, Outputs],
    spread: float | None,
    *,
    running: bool,
) -> Parity:
    """Judge outputs by input.

    What rounding alone does not explain is held against running sums, where the engine has them.
    """
    rounded = expected.rounded or {}
    parity = _judged_by(artifact, engine, expected, actual, spread, rounded)
    if parity.passed or not running or expected.summed is None:
        return parity
    again = _judged_by(artifact, engine, expected, actual, spread, expected.summed())
    return dataclasses.replace(again, running_sums=True)


def _judged_by(
    artifact: Artifact,
    engine: str,
    expected: Reference,
    actual: Mapping[str, Outputs],
    spread: float | None,
    rounded: Mapping[str, Outputs],
) -> Parity:
    precision = precisions.judging(artifact)
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
        watch: see `check`.
    """

    yardstick: Yardstick
    path: Path
    engine: str
    probing: probes.Probing | None
    watch: Watch

    @property
    def make(self) -> Callable[[probes.Choose], AbstractContextManager[probes.Probe]] | None:
        """What makes a probe; None to read the file's own tensors."""
        return None if self.probing is None else self.probing.make

    @contextmanager
    def program(self, name: str) -> Iterator[probes.Probe]:
        """Give the program whose tensors are read, on an input among others."""
        emulated = self.yardstick.emulated
        if emulated is not None:
            choose: probes.Choose = emulated.chosen
        else:
            capture, _ = self.yardstick.captures(name)
            choose = functools.partial(localise.references, capture=capture)
        if self.make is None:
            operators = self.yardstick.artifact.operators
            yield probes.Probe(self.path, operators, tuple(choose(operators)))
        else:
            with self.make(choose) as made:
                yield made

    def compare(self, program: probes.Probe, name: str) -> tuple[ModuleParity, ...]:
        """Compare the tensors between modules on one input."""
        artifact = self.yardstick.artifact
        reader = verifiers.get(self.engine)
        feed = images.fed(artifact, self.yardstick.feeds[name])
        options = verifiers.options(self.engine, artifact.precision)
        request = SessionRequest(program.path, feed, outputs=program.names, options=options)
        with engine_errors(self.engine, artifact):
            if self.make is None:
                tensors = reader.read_tensors(request, program.names)
            else:
                session = reader.open_session(request)
                session.infer()
                tensors = session.outputs()
        self.watch(f"inside {name}", tensors)
        emulated = self.yardstick.emulated
        if emulated is not None:
            tie = getattr(reader, "TIE", TIE)
            return emulated.compare(self.yardstick.feeds[name], tensors, tie)
        exact, usual = self.yardstick.captures(name)
        rounded = (usual,) if usual is not None else ()
        sure_db = precisions.judging(artifact).sure_db
        compared = functools.partial(localise.compare, program.operators, exact, tensors, sure_db)
        modules = compared(rounded, self.yardstick.alone)
        if not any(module.diverges for module in modules):
            return modules
        if not rounded:
            rounding = self.yardstick.rounding(name)
            again = modules if rounding is None else compared(rounding=rounding)
            running = _has_running_sums(self.engine, artifact)
            if not (running and any(module.diverges for module in again)):
                return again
            return compared(rounding=self.yardstick.rounding(name, summing=True))
        alone = functools.partial(self.yardstick.alone, plain_sums=True)
        again = compared((*rounded, self.yardstick.plain_sums(name)), alone, to_first=True)
        # After the first that stays, what was said of the others stands.
        cleared = (
            dataclasses.replace(module, diverges=module.diverges and also.diverges)
            for module, also in zip(modules, again, strict=False)
        )
        return (*cleared, *modules[len(again) :])


def _looked_into(parity: Parity, inside: _Inside) -> Parity:
    """Add what is inside, and where digits are lost."""
    probing = inside.probing
    if probing is not None:
        parity = _with_weights(parity, probing)
        notable = not parity.passed or (parity.ratio or 0.0) >= NOTABLE
        if inside.make is not None and not (probing.always or probing.unknown or notable):
            return parity
    name = next(iter(inside.yardstick.feeds))
    with inside.program(name) as program:
        modules = inside.compare(program, name)
        parity = dataclasses.replace(
            parity,
            modules=modules,
            inside="" if not modules else "file" if inside.make is None else "probe",
        )
        if inside.make is not None:
            parity = dataclasses.replace(parity, weights="probe", differing=program.differing)
        if parity.first_diverging is None and (parity.ratio or 0.0) >= NOTABLE:
            worst = parity.worst.name
            there = modules if worst == name else inside.compare(program, worst)
            losses = localise.losses(program.operators, there, worst)
            parity = dataclasses.replace(parity, losses=losses)
    return _with_verdict(_with_known_losses(parity, inside))


def _with_weights(parity: Parity, probing: probes.Probing) -> Parity:
    """Add whether the weights in the file are the network's, or the exporter's of this network."""
    if not probing.unknown:
        return dataclasses.replace(parity, weights="network")
    if probing.make is not None:  # the probe tells
        return dataclasses.replace(parity, weights="")
    return dataclasses.replace(parity, weights="export", differing=probing.again())


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
    spec = artifact.spec
    decision = tasks.get(spec.task).compare(
        expected, actual, _allowed(artifact, expected, rounded), spec
    )
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


def _allowed(artifact: Artifact, expected: Outputs, rounded: Outputs | None) -> Outputs | None:
    """Return outputs as far from the reference's as is allowed: a multiple of what rounding is."""
    if rounded is None:
        return None
    times = precisions.judging(artifact).max_ratio or 10 ** (ROUNDING_MARGIN_DB / 20)
    return {
        name: expected[name] + times * (value.astype(np.float64) - expected[name])
        for name, value in rounded.items()
        if name in expected
    }


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
