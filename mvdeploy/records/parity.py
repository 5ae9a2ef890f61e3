"""`Parity`: does the artifact compute what the PyTorch network computes?"""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class ParityInput:
    """The comparison on one input.

    Attributes:
        name: what the input was, such as ``photograph``.
        max_abs: largest absolute difference over the outputs.
        snr_db: signal power over the power of the difference, dB; None when they are identical.
        cosine: cosine similarity of the outputs.
        top1_agrees: both have the same largest output.
    """

    name: str
    max_abs: float
    snr_db: float | None
    cosine: float
    top1_agrees: bool


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
        max_abs_threshold: demanded of every input.
        output_spread: standard deviation of the reference's outputs between the inputs; near zero
            would mean that the check is blind, because nothing depends on the input.
        passed: every demand is met.
        modules: tensors inside the network, in the order they are computed; empty when the engine
            does not show them.
    """

    engine: str
    inputs: tuple[ParityInput, ...]
    max_abs_threshold: float
    output_spread: float
    passed: bool
    modules: tuple[ModuleParity, ...] = ()

    @property
    def first_diverging(self) -> ModuleParity | None:
        """The first tensor, in the order they are computed, that departs from the reference."""
        return next((m for m in self.modules if m.diverges), None)

    @property
    def worst(self) -> ParityInput:
        """The input with the largest difference."""
        return max(self.inputs, key=lambda i: i.max_abs)
