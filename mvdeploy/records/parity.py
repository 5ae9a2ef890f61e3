"""`Parity`: does the artifact compute what the PyTorch network computes?"""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Iterator, Sequence
from typing import Annotated

from mvdeploy.records.codec import FORMERLY
from mvdeploy.records.limits import Count, Decibels, Number, Range, Size

Cosine = Annotated[float, Range(-1.0001, 1.0001)]
"""Of two tensors, which rounding takes past 1."""

BLIND = 1e-3
"""A check is blind when the outputs vary between inputs by less than this share of their spread:
an export that ignored its input would pass."""

ROUNDING_MARGIN_DB = 6.0
"""How much worse a program may be than its network rounded in the same way: twice the noise."""

LEAST_ROUNDING = 2.0**-23
"""The error, relative to the outputs, that rounding is taken to cost at the least: one unit in the
last place of single precision. Of a network that is exact by luck, no multiple would be allowed."""

ONE_INPUT = 2.0
"""How much more of an error is allowed on a single input than over several: on some, rounding
happens to cost PyTorch little. Sound exports reach 16 times its error on a flat image."""

ONE_INPUT_DB = 6.0
"""The same in half precision, where the median of several inputs is as exact as is demanded. A
sound MobileNetV2 is 7 dB worse than its network rounded on black, 2 dB better on photographs."""

NOTABLE = 3.0
"""Errors that are this multiple of rounding's are told, though they may be within what is allowed:
sound exports of 18 of 19 networks have at most 1.8."""


@dataclasses.dataclass(frozen=True)
class OutputParity:
    """The comparison of one output on one input.

    Attributes:
        name: of the output.
        max_abs: largest absolute difference.
        snr_db: signal power over the power of the difference, dB; None when they are identical.
        cosine: cosine similarity.
        rounding_db: SNR of what PyTorch computes in the artifact's precision; None where that is
            the reference itself, or identical to it.
        plain_sums_db: SNR of PyTorch in single precision with every sum added one number after
            another, as simple kernels do; None where that was not looked at.
    """

    name: str
    max_abs: Size
    snr_db: Decibels | None
    cosine: Cosine
    rounding_db: Decibels | None = None
    plain_sums_db: Decibels | None = None

    @property
    def plain_sums_ratio(self) -> float:
        """The error as a multiple of what rounding costs with sums of either kind."""
        costs = [_relative(db) for db in (self.rounding_db, self.plain_sums_db)]
        return ratio(_relative(self.snr_db), max(costs))

    @property
    def ratio(self) -> float:
        """The error as a multiple of what rounding costs PyTorch."""
        return ratio(_relative(self.snr_db), _relative(self.rounding_db))


@dataclasses.dataclass(frozen=True)
class OutputError:
    """How far one output is from the network in double precision, over all inputs.

    Attributes:
        name: of the output.
        error: root mean square of the difference, relative to that of the output.
        rounding: the same of what PyTorch computes in the artifact's precision.
    """

    name: str
    error: Size
    rounding: Size

    @property
    def ratio(self) -> float:
        """The error as a multiple of what rounding costs PyTorch."""
        return ratio(self.error, self.rounding)


def ratio(error: float, rounding: float) -> float:
    """Return an error as a multiple of rounding's, both relative to the same tensor."""
    return error / max(rounding, LEAST_ROUNDING)


def _or_infinite(snr_db: float | None) -> float:
    return math.inf if snr_db is None else snr_db


def _relative(snr_db: float | None) -> float:
    return 0.0 if snr_db is None else float(10 ** (-snr_db / 20))


@dataclasses.dataclass(frozen=True)
class ParityInput:
    """The comparison on one input; numbers are the worst of the outputs'.

    Attributes:
        name: what the input was, such as ``photograph``.
        max_abs: largest absolute difference over the outputs.
        snr_db: signal power over the power of the difference, dB; None when they are identical.
        cosine: cosine similarity of the outputs.
        agrees: both say the same, as the task means it: a classifier's largest output.
        rounding_db: SNR of what PyTorch computes in the artifact's precision; None where that is
            the reference itself, or identical to it.
        tied: they do not, but rounding cannot tell the two answers apart: the reference's values of
            them are too near to each other.
        outputs: each output apart; empty in results of before there could be several.
    """

    name: str
    max_abs: Size
    snr_db: Decibels | None
    cosine: Cosine
    agrees: bool = dataclasses.field(metadata={FORMERLY: "top1_agrees"})
    rounding_db: Decibels | None = None
    tied: bool = dataclasses.field(default=False, metadata={FORMERLY: "top1_tied"})
    outputs: tuple[OutputParity, ...] = ()

    @property
    def ratio(self) -> float:
        """The largest error of an output as a multiple of what rounding costs PyTorch."""
        own = ratio(_relative(self.snr_db), _relative(self.rounding_db))
        return max((output.ratio for output in self.outputs), default=own)


@dataclasses.dataclass(frozen=True)
class ModuleParity:
    """The comparison of one tensor inside the network.

    Attributes:
        module: path of the module that makes it.
        tensor: its name in the exported program.
        max_abs: largest absolute difference; None when a value is no finite number.
        snr_db: signal power over the power of the difference, dB; None when that is no number.
        input_snr_db: the lowest of the compared tensors that it is computed from.
        diverges: it differs far more than what it is computed from.
        ratio: the error as a multiple of what rounding costs PyTorch up to there; None where that
            is not known.
        input_ratio: the largest of the compared tensors that it is computed from.
        own_ratio: the error of the module alone, given what the export gave it, as a multiple of
            what rounding costs PyTorch in it alone; None for what is no module of one input.
    """

    module: str
    tensor: str
    max_abs: Size | None
    snr_db: Decibels | None
    input_snr_db: Decibels | None
    diverges: bool
    ratio: Size | None = None
    input_ratio: Size | None = None
    own_ratio: Size | None = None


@dataclasses.dataclass(frozen=True)
class PrecisionLoss:
    """A place where an export computes less exactly than PyTorch does, though not wrongly.

    Attributes:
        module: path of the module.
        operator: what the export computes there.
        input: on which of the inputs.
        ratio: how many times the error grows there, relative to PyTorch's own; None where it is not
            measured, but the operator is known for it.
    """

    module: str
    operator: str
    input: str
    ratio: Size | None = None


@dataclasses.dataclass(frozen=True)
class Answers:
    """How often a file says the same as its network, on inputs that it was not made with.

    Attributes:
        inputs: how many there were.
        same: on how many it said the same, as the task means it.
        snr_db: of the outputs, on the median input; None where they are identical.
    """

    inputs: Number
    same: Count
    snr_db: Decibels | None = None


@dataclasses.dataclass(frozen=True)
class Verified:
    """What a comparison came to, as a manifest has it; see `Parity`.

    Attributes:
        engine: what ran the artifact, with its version.
        reference: what the differences are to.
        snr_db: the lowest of an output on an input; None when all are identical.
        ratio: the largest error of an output as a multiple of rounding's; None if it is not judged.
        inside: whose inner tensors were compared: ``file``, ``probe``, or empty.
        tensors: how many.
        weights: what the weights in the file were compared with: ``network``, ``probe``,
            ``export``, or empty.
        losses: where the export is less exact than PyTorch.
        answers: how often it says the same as its network; None where that was not looked at.
    """

    engine: str
    reference: str
    snr_db: Decibels | None
    ratio: Size | None
    inside: str
    tensors: Count
    weights: str
    losses: tuple[PrecisionLoss, ...] = ()
    answers: Answers | None = None


@dataclasses.dataclass(frozen=True)
class Parity:
    """All inputs of one comparison and the demands on them.

    Attributes:
        engine: what ran the artifact, with its version.
        inputs: one entry for each input.
        max_abs_threshold: demanded of every output, in results of before errors were judged by what
            rounding costs; None in others.
        output_spread: standard deviation of the reference's outputs between the inputs; near zero
            would mean that the check is blind, because nothing depends on the input. Of several
            outputs, the largest. None where it is not judged, as on a device, which is fed one
            input.
        passed: every demand is met.
        modules: tensors inside the network, in the order they are computed; empty when they were
            not looked at.
        min_snr_db: demanded of every output; where rounding alone leaves less than that, the SNR
            may be `ROUNDING_MARGIN_DB` lower still. None where errors are judged by `max_ratio`.
        task: of the network; it says what agreeing means.
        max_ratio: the error of every output over all inputs may be this multiple of what rounding
            costs PyTorch. None where `min_snr_db` is judged.
        errors: of the outputs, over all inputs; empty where `max_ratio` is None.
        reference: what the differences are to: the network in ``float64``, or in ``float32`` where
            it cannot be computed otherwise.
        not_exact: why it is not float64; empty where it is.
        inside: whose inner tensors were compared: of the ``file`` itself, or of a ``probe`` that
            the same exporter made of the same network, with the tensors as outputs. Empty when
            none were.
        losses: where the export is less exact than PyTorch; a finding, no failure.
        weights: what the weights in the file were compared with: those of the ``network``, of the
            ``probe``, of a second ``export`` of it, or nothing.
        differing: weights of the network, by name, of which the file has other values.
        answers: how often it says the same as its network, on many inputs; None where that was not
            looked at.
        running_sums: whether what rounding costs was taken with products that are added up in the
            artifact's precision, as by the kernels of the engine: rounding the results alone did
            not explain the errors.
    """

    engine: str
    inputs: tuple[ParityInput, ...]
    max_abs_threshold: Size | None
    output_spread: Size | None
    passed: bool
    modules: tuple[ModuleParity, ...] = ()
    min_snr_db: Decibels | None = None
    task: str = "classify"
    max_ratio: Size | None = None
    errors: tuple[OutputError, ...] = ()
    reference: str = "float32"
    not_exact: str = ""
    inside: str = ""
    losses: tuple[PrecisionLoss, ...] = ()
    weights: str = ""
    differing: tuple[str, ...] = ()
    answers: Answers | None = None
    running_sums: bool = False

    def faults(self) -> Iterator[str]:
        """Give what is wrong with it."""
        if not self.inputs:
            yield "compares no input"
        elif self.passed and not all(map(self.accepts, self.inputs)):
            yield "has passed, though an input misses what is demanded"

    def accepts(self, one: ParityInput) -> bool:
        """Say whether all outputs on an input meet the demands.

        Errors are judged over all inputs: where they are small enough, that of one input may be
        larger, because rounding happened to cost PyTorch little there.
        """
        return self._near_all(one) and (one.agrees or one.tied)

    def _near_all(self, one: ParityInput) -> bool:
        if self.max_ratio is not None:
            return self.near or one.ratio <= self.max_ratio
        return all(map(self._near, one.outputs or (one,)))

    @property
    def near(self) -> bool:
        """Whether the errors of all outputs are as small as is demanded.

        Over all inputs by what rounding costs PyTorch, or else on each of them by what it costs
        where sums are added one number after another.
        """
        # Written so that a NaN fails.
        if self.max_ratio is None or all(e.ratio <= self.max_ratio for e in self.errors):
            return True
        found = (output for one in self.inputs for output in one.outputs)
        return self._summed and all(o.plain_sums_ratio <= ONE_INPUT * self.max_ratio for o in found)

    @property
    def _summed(self) -> bool:
        """Whether it was looked at what sums cost that are added one number after another."""
        found = (output for one in self.inputs for output in one.outputs)
        return any(output.plain_sums_db is not None for output in found)

    def _near(self, one: ParityInput | OutputParity) -> bool:
        # Written so that a NaN fails.
        near = self.max_abs_threshold is None or one.max_abs <= self.max_abs_threshold
        least = self._least_snr(one)
        return near and (least is None or one.snr_db is None or one.snr_db >= least)

    def _least_snr(self, one: ParityInput | OutputParity) -> float | None:
        if self.min_snr_db is None or one.rounding_db is None:
            return self.min_snr_db
        # On one input rounding may happen to cost little, or much: the median input counts, too.
        others = self._on_every_input(one)
        rounding = [other.rounding_db for other in others if other.rounding_db is not None]
        usual = statistics.median(rounding or [one.rounding_db])
        least = min(one.rounding_db, usual) - ROUNDING_MARGIN_DB
        levels = [_or_infinite(other.snr_db) for other in others]
        exact = min(self.min_snr_db, usual - ROUNDING_MARGIN_DB)
        if len(levels) > 2 and statistics.median(levels) >= exact:
            least -= ONE_INPUT_DB
        return min(self.min_snr_db, least)

    def _on_every_input(
        self, one: ParityInput | OutputParity
    ) -> Sequence[ParityInput | OutputParity]:
        """Return the same output, or all, on every input."""
        if isinstance(one, ParityInput):
            return self.inputs
        outputs = (output for other in self.inputs for output in other.outputs)
        return [output for output in outputs if output.name == one.name]

    def _to_spare(self, one: ParityInput) -> float:
        """Return by how much the SNR on an input is above what is demanded, dB."""
        return _or_infinite(one.snr_db) - (self._least_snr(one) or 0.0)

    @property
    def blind(self) -> bool:
        """Whether the outputs hardly depend on the input."""
        return self.output_spread is not None and not self.output_spread >= BLIND

    @property
    def demand(self) -> str:
        """What is demanded, of the worst input, in words."""
        if self.max_ratio is not None:
            usual = f"error within {self.max_ratio:g} times that of rounding"
            if not self._summed:
                return usual
            return f"{usual}, or {ONE_INPUT * self.max_ratio:g} with sums one after another"
        if self.min_snr_db is not None:
            least = (self._least_snr(self.worst) if self.inputs else None) or 0.0
            if least < self.min_snr_db:
                return f"SNR {self.min_snr_db:.0f} dB, or as far as rounding allows: {least:.0f} dB"
            return f"SNR {self.min_snr_db:.0f} dB"
        if self.max_abs_threshold is not None:
            return f"max abs {self.max_abs_threshold:.0e}"
        return "the same answer"

    @property
    def ratio(self) -> float | None:
        """The largest error of an output as a multiple of rounding's; None if it is not judged."""
        return max((error.ratio for error in self.errors), default=None)

    @property
    def summary(self) -> Verified:
        """What a manifest says of it."""
        levels = [one.snr_db for one in self.inputs if one.snr_db is not None]
        return Verified(
            engine=self.engine,
            reference=self.reference,
            snr_db=min(levels, default=None),
            ratio=self.ratio,
            inside=self.inside,
            tensors=len(self.modules),
            weights=self.weights,
            losses=self.losses,
            answers=self.answers,
        )

    @property
    def first_diverging(self) -> ModuleParity | None:
        """The first tensor, in the order they are computed, that departs from the reference."""
        return next((m for m in self.modules if m.diverges), None)

    @property
    def worst(self) -> ParityInput:
        """The input with the largest difference, as it is judged."""
        if self.max_ratio is not None:
            return max(self.inputs, key=lambda i: i.ratio)
        if self.min_snr_db is not None:
            return min(self.inputs, key=self._to_spare)
        return max(self.inputs, key=lambda i: i.max_abs)
