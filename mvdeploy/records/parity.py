"""`Parity`: does the artifact compute what the PyTorch network computes?"""

from __future__ import annotations

import dataclasses
import math

from mvdeploy.records.codec import FORMERLY

BLIND = 1e-3
"""A check is blind when the outputs vary between inputs by less than this share of their spread:
an export that ignored its input would pass."""

ROUNDING_MARGIN_DB = 6.0
"""How much worse a program may be than its network rounded in the same way: twice the noise."""


@dataclasses.dataclass(frozen=True)
class OutputParity:
    """The comparison of one output on one input.

    Attributes:
        name: of the output.
        max_abs: largest absolute difference.
        snr_db: signal power over the power of the difference, dB; None when they are identical.
        cosine: cosine similarity.
        rounding_db: SNR of the reference with every operator rounded to the artifact's precision;
            None where that is the reference's own.
    """

    name: str
    max_abs: float
    snr_db: float | None
    cosine: float
    rounding_db: float | None = None


@dataclasses.dataclass(frozen=True)
class ParityInput:
    """The comparison on one input; numbers are the worst of the outputs'.

    Attributes:
        name: what the input was, such as ``photograph``.
        max_abs: largest absolute difference over the outputs.
        snr_db: signal power over the power of the difference, dB; None when they are identical.
        cosine: cosine similarity of the outputs.
        agrees: both say the same, as the task means it: a classifier's largest output.
        rounding_db: SNR of the reference with every operator rounded to the artifact's precision;
            None where that is the reference's own.
        tied: they do not, but rounding cannot tell the two answers apart: the reference's values of
            them are too near to each other.
        outputs: each output apart; empty in results of before there could be several.
    """

    name: str
    max_abs: float
    snr_db: float | None
    cosine: float
    agrees: bool = dataclasses.field(metadata={FORMERLY: "top1_agrees"})
    rounding_db: float | None = None
    tied: bool = dataclasses.field(default=False, metadata={FORMERLY: "top1_tied"})
    outputs: tuple[OutputParity, ...] = ()


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
    """

    module: str
    tensor: str
    max_abs: float | None
    snr_db: float | None
    input_snr_db: float | None
    diverges: bool


@dataclasses.dataclass(frozen=True)
class Parity:
    """All inputs of one comparison and the demands on them.

    Attributes:
        engine: what ran the artifact, with its version.
        inputs: one entry for each input.
        max_abs_threshold: demanded of every output; None where rounding alone goes beyond any.
        output_spread: standard deviation of the reference's outputs between the inputs; near zero
            would mean that the check is blind, because nothing depends on the input. Of several
            outputs, the largest. None where it is not judged, as on a device, which is fed one
            input.
        passed: every demand is met.
        modules: tensors inside the network, in the order they are computed; empty when the engine
            does not show them.
        min_snr_db: demanded of every output; where rounding alone leaves less than that, the SNR
            may be `ROUNDING_MARGIN_DB` lower still. None where the largest difference is judged.
        task: of the network; it says what agreeing means.
    """

    engine: str
    inputs: tuple[ParityInput, ...]
    max_abs_threshold: float | None
    output_spread: float | None
    passed: bool
    modules: tuple[ModuleParity, ...] = ()
    min_snr_db: float | None = None
    task: str = "classify"

    def accepts(self, one: ParityInput) -> bool:
        """Say whether all outputs on an input meet the demands."""
        outputs = one.outputs or (one,)
        return all(map(self._near, outputs)) and (one.agrees or one.tied)

    def _near(self, one: ParityInput | OutputParity) -> bool:
        # Written so that a NaN fails.
        near = self.max_abs_threshold is None or one.max_abs <= self.max_abs_threshold
        least = self._least_snr(one)
        return near and (least is None or one.snr_db is None or one.snr_db >= least)

    def _least_snr(self, one: ParityInput | OutputParity) -> float | None:
        if self.min_snr_db is None or one.rounding_db is None:
            return self.min_snr_db
        return min(self.min_snr_db, one.rounding_db - ROUNDING_MARGIN_DB)

    @property
    def blind(self) -> bool:
        """Whether the outputs hardly depend on the input."""
        return self.output_spread is not None and not self.output_spread >= BLIND

    @property
    def demand(self) -> str:
        """What is demanded of every input, in words."""
        if self.min_snr_db is not None:
            least = min((self._least_snr(one) or 0.0 for one in self.inputs), default=0.0)
            if least < self.min_snr_db:
                return f"SNR {self.min_snr_db:.0f} dB, or as far as rounding allows: {least:.0f} dB"
            return f"SNR {self.min_snr_db:.0f} dB"
        if self.max_abs_threshold is not None:
            return f"max abs {self.max_abs_threshold:.0e}"
        return "the same answer"

    @property
    def first_diverging(self) -> ModuleParity | None:
        """The first tensor, in the order they are computed, that departs from the reference."""
        return next((m for m in self.modules if m.diverges), None)

    @property
    def worst(self) -> ParityInput:
        """The input with the largest difference, or with the lowest SNR where that is judged."""
        if self.min_snr_db is not None:
            return min(self.inputs, key=lambda i: math.inf if i.snr_db is None else i.snr_db)
        return max(self.inputs, key=lambda i: i.max_abs)
