"""A file in whole numbers, held against the same program as PyTorch computes it.

Whole numbers add noise, and random weights amplify it: two sound programs that round a single
number otherwise differ by as much as the noise is. So each tensor is computed from those that the
file itself computed before it, once as the file should and once in floats. How far the file is from
the one, as a multiple of what lies between the two, tells a fault from rounding, whatever comes
before and after.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Container, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mvdeploy import tasks
from mvdeploy.quantization import HALF, LAST
from mvdeploy.records import Artifact, ModuleParity, Operator

if TYPE_CHECKING:
    from torch import Tensor

    from mvdeploy.quantization.emulation import Checkpoint, Emulation
    from mvdeploy.verify.inputs import Feed

Array = npt.NDArray[Any]

MAX_RATIO = 0.4
"""A tensor may be this multiple of the noise of whole numbers away from what PyTorch computes. In
sound files of MobileViT it is 0.22 at most."""

LEAST_NOISE = 1e-4
"""What counts as noise at least, relative to a tensor: engines compute floats as they like."""

TIE = 0.51
"""A whole number that is no more than so many steps away from what is computed in floats is right:
what lies between two steps, as all that softmax makes of a black image may, is rounded either way.
"""

HALVES = 5.0
"""Where floats are in half precision, this multiple of what that makes of a tensor counts as noise
at least: engines round results of their own choice. In sound files of MobileViT a tensor is 1.04
times that away from what PyTorch computes at most, and 2 times are allowed."""


@dataclasses.dataclass(frozen=True)
class Emulated:
    """A program in whole numbers as PyTorch computes it.

    Attributes:
        artifact: the manifest of the file.
        emulation: of its program.
    """

    artifact: Artifact
    emulation: Emulation

    def outputs(self, feed: Feed) -> dict[str, Array]:
        """Return the outputs by name."""
        import torch

        spec = self.artifact.spec
        task = tasks.get(spec.task)
        returned = self.emulation.outputs(tuple(map(torch.from_numpy, feed.values())))
        names = [output.name for output in task.outputs(spec)]
        found: dict[str, Tensor] = dict(zip(names, returned, strict=True))
        if not {output.name for output in self.artifact.outputs} <= found.keys():
            found |= tasks.postprocess(task, found, spec)
        return {name: tensor.numpy() for name, tensor in found.items()}

    def chosen(self, operators: Iterable[Operator]) -> tuple[str, ...]:
        """Return the names of the tensors of a program that can be compared."""
        made = {name for op in operators for name in op.outputs}
        found = (self._named(point, made) for point in self.emulation.checkpoints())
        return tuple(name for name in found if name)

    def _named(self, point: Checkpoint, names: Container[str]) -> str:
        """Return what a tensor is called in a file; empty where it is not there."""
        called = [point.tensor, point.tensor + LAST, point.tensor + HALF]
        called += [point.numbers, point.numbers + LAST] if point.numbers else []
        returned = self.emulation.returned
        if point.tensor in returned:
            called.append(self.artifact.outputs[returned.index(point.tensor)].name)
        return next((name for name in called if name in names), "")

    def compare(
        self, feed: Feed, tensors: Mapping[str, Array], tie: float = TIE
    ) -> tuple[ModuleParity, ...]:
        """Compare tensors of the file, each computed from those before it.

        Args:
            feed: what the file was fed.
            tensors: what it computed, by name.
            tie: see `TIE`; more where an engine is less exact.
        """
        import torch

        inputs = tuple(map(torch.from_numpy, feed.values()))
        called = ((p, self._named(p, tensors)) for p in self.emulation.checkpoints())
        taken = {
            point.tensor: torch.from_numpy(np.ascontiguousarray(_floats(point, tensors, name)))
            for point, name in called
            if name
        }
        if self.emulation.halves:
            # A tensor of this name that has another shape is another one, see `checkpoints`.
            shapes = {point.tensor: point.shape for point in self.emulation.checkpoints()}
            taken = {n: t for n, t in taken.items() if tuple(t.shape) == shapes[n]}
        whole = self.emulation.forced(inputs, taken)
        floats = self.emulation.forced(inputs, taken, lambda _: False, exact=True)
        single = whole
        if self.emulation.halves:
            single = self.emulation.forced(inputs, taken, exact=True)
        return tuple(
            _compared(
                point,
                taken[point.tensor].numpy().astype(np.float64),
                whole[point.tensor].numpy().astype(np.float64),
                floats[point.tensor].numpy().astype(np.float64),
                single[point.tensor].numpy().astype(np.float64),
                tie,
            )
            for point in self.emulation.checkpoints()
            if point.tensor in whole and point.tensor in floats
        )


def _floats(point: Checkpoint, tensors: Mapping[str, Array], name: str) -> Array:
    """Return a tensor as the network has it, from what the file has of this name."""
    got = tensors[name].transpose(0, 3, 1, 2) if name.endswith(LAST) else tensors[name]
    if point.numbers and name in (point.numbers, point.numbers + LAST):
        return (got.astype(np.float32) - point.zero_point) * np.float32(point.scale)
    return got.astype(np.float32) if np.issubdtype(got.dtype, np.floating) else got


def _compared(
    point: Checkpoint, got: Array, wanted: Array, exact: Array, single: Array, tie: float = TIE
) -> ModuleParity:
    if got.shape != wanted.shape:
        return ModuleParity(point.module, point.tensor, None, None, None, diverges=True)
    size = _rms(exact)
    least = max(LEAST_NOISE * size, HALVES * _rms(wanted - single))
    noise = max(_rms(wanted - exact), least)
    wrong = got - wanted
    if point.quantised:
        right = np.abs(got - exact) <= tie * point.scale + LEAST_NOISE * size
        wrong = np.where(right, 0.0, wrong)
    off = _rms(wrong)
    ratio = 0.0 if off == 0 else off / noise if noise > 0 else float("inf")
    added = _rms(got - exact)
    return ModuleParity(
        module=point.module,
        tensor=point.tensor,
        max_abs=float(np.abs(got - wanted).max()) if np.isfinite(off) else None,
        snr_db=20 * float(np.log10(size / added)) if added > 0 and size > 0 else None,
        input_snr_db=None,
        diverges=not ratio <= MAX_RATIO,  # written so that a NaN diverges
        ratio=ratio if np.isfinite(ratio) else None,
    )


def _rms(values: Array) -> float:
    return float(np.sqrt((values**2).mean())) if values.size else 0.0
