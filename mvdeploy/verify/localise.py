"""Where an export first departs from the network: module by module, in the order they run.

Tensors that enter or leave a module are compared between the exported program and PyTorch. Small
differences of arithmetic grow along the way, so no fixed limit tells a fault from rounding. A fault
is a jump: what comes out of a few operators differs far more than what went into them did.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import math
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from mvdeploy import precisions
from mvdeploy.records import ModuleParity, Operator

if TYPE_CHECKING:
    from torch import Tensor, nn

Array = npt.NDArray[np.generic]

JUMP_DB = 12.0
"""A module diverges when its output's SNR is this much below that of its inputs, and below what
rounding alone leaves in the export's precision."""

EXACT_DB = 160.0
"""Tensors that agree to the last bit of a float32 count as this; the program's inputs do."""


@dataclasses.dataclass(frozen=True)
class Boundary:
    """A tensor that enters or leaves modules.

    Attributes:
        tensor: its name in the exported program.
        module: path of the module whose operator makes it.
        inputs: the nearest such tensors that it is computed from; empty at the program's inputs.
    """

    tensor: str
    module: str
    inputs: tuple[str, ...]


class Capture:
    """What PyTorch's modules read and return in one forward pass, by module path.

    What goes into a BatchNorm is left out: exporters fold those that the passes had to leave, and
    then the tensor before it exists in PyTorch alone.
    """

    def __init__(self, network: nn.Module, *inputs: Tensor) -> None:
        import torch

        self._read: dict[str, tuple[Tensor, Array]] = {}
        self._returned: dict[str, tuple[Tensor, Array]] = {}
        self._folded: list[Tensor] = []
        self._repeated: set[str] = set()
        hooks = []
        for path, module in network.named_modules():
            if path:
                # Inputs are taken before the module runs, because it may work in place.
                hooks.append(module.register_forward_pre_hook(self._before(path)))
                hooks.append(module.register_forward_hook(self._after(path)))
        try:
            with torch.inference_mode():
                network(*inputs)
        finally:
            for hook in hooks:
                hook.remove()
        self.inputs = self._arrays(self._read)
        self.outputs = self._arrays(self._returned)

    def _before(self, path: str) -> Callable[[nn.Module, tuple[object, ...]], None]:
        import torch
        from torch.nn.modules.batchnorm import _BatchNorm

        def record(module: nn.Module, args: tuple[object, ...]) -> None:
            if path in self._returned:
                # It runs more than once: which of its tensors is meant cannot be told.
                self._repeated.add(path)
            tensors = [a for a in args if isinstance(a, torch.Tensor)]
            if len(tensors) == 1:
                self._read[path] = _snapshot(tensors[0])
            if isinstance(module, _BatchNorm):
                self._folded += tensors

        return record

    def _after(self, path: str) -> Callable[[nn.Module, tuple[object, ...], object], None]:
        import torch

        def record(module: nn.Module, args: tuple[object, ...], output: object) -> None:
            if isinstance(output, torch.Tensor):
                self._returned[path] = _snapshot(output)

        return record

    def _arrays(self, tensors: Mapping[str, tuple[Tensor, Array]]) -> dict[str, Array]:
        folded = {id(tensor) for tensor in self._folded}
        return {
            path: array
            for path, (tensor, array) in tensors.items()
            if path not in self._repeated and id(tensor) not in folded
        }


def _snapshot(tensor: Tensor) -> tuple[Tensor, Array]:
    """Return a tensor, for its identity, and its values now: a later module may work in place."""
    return tensor, tensor.numpy().copy()


def references(operators: tuple[Operator, ...], capture: Capture) -> dict[str, Array]:
    """Return PyTorch's values of the tensors that enter or leave modules, by tensor name.

    A tensor counts as a module's input or output when it is the only one that its operators read
    from outside, or that is read outside.
    """
    entering, leaving = _entering(operators), _leaving(operators)
    values: dict[str, Array] = {}
    for path in sorted(capture.outputs, key=lambda p: p.count(".")):
        read, returned = entering.get(path, set()), leaving.get(path, [])
        if len(read) == 1 and path in capture.inputs:
            values.setdefault(next(iter(read)), capture.inputs[path])
        if len(returned) == 1:
            values[returned[0]] = capture.outputs[path]
    return values


def _entering(operators: tuple[Operator, ...]) -> dict[str, set[str]]:
    """Return the computed tensors that operators of a module read from outside, by its path."""
    makers = _around_each((op.outputs, op.module) for op in operators)
    entering: dict[str, set[str]] = collections.defaultdict(set)
    for op in operators:
        for name in op.inputs:
            if name in makers:
                for path in _around(op.module).difference(*makers[name]):
                    entering[path].add(name)
    return entering


def _leaving(operators: tuple[Operator, ...]) -> dict[str, list[str]]:
    """Return the tensors of a module that are read outside, by its path; the last is for all."""
    readers = _around_each((op.inputs, op.module) for op in operators)
    leaving: dict[str, list[str]] = collections.defaultdict(list)
    for op in operators:
        around = _around(op.module)
        for name in op.outputs:
            holding_all = frozenset.intersection(*readers.get(name, (around,)))
            for path in around if op is operators[-1] else around - holding_all:
                leaving[path].append(name)
    return leaving


def _around_each(uses: Iterable[tuple[Iterable[str], str]]) -> dict[str, list[frozenset[str]]]:
    """Return, for each tensor, what is around each of the modules that use it in one way."""
    around = collections.defaultdict(list)
    for tensors, module in uses:
        for name in tensors:
            around[name].append(_around(module))
    return around


@functools.cache
def _around(module: str) -> frozenset[str]:
    """Return the paths of a module and of all that it lies in, but for the network itself."""
    parts = module.split(".") if module else []
    return frozenset(".".join(parts[: i + 1]) for i in range(len(parts)))


def boundaries(operators: tuple[Operator, ...], known: Iterable[str]) -> list[Boundary]:
    """List the compared tensors in the order they are computed, each with what it comes from."""
    compared = set(known)
    sources: dict[str, frozenset[str]] = {}
    ordered = []
    for op in operators:
        parts = [
            frozenset((name,)) if name in compared else sources.get(name, frozenset())
            for name in op.inputs
        ]
        origin = frozenset().union(*parts)
        for out in op.outputs:
            sources[out] = origin
            if out in compared:
                ordered.append(Boundary(out, op.module, tuple(sorted(origin))))
    return ordered


def compare(
    operators: tuple[Operator, ...],
    capture: Capture,
    tensors: Mapping[str, Array],
    precision: str = "fp32",
) -> tuple[ModuleParity, ...]:
    """Compare tensor by tensor.

    Args:
        operators: of the exported program, in the order they run.
        capture: PyTorch's tensors for the same input.
        tensors: the exported program's, by name.
        precision: name of the export's.

    Returns:
        One entry for each tensor that both sides have in the same shape, in the order they run.
    """
    sure_db = precisions.get(precision).sure_db
    values = references(operators, capture)
    usable = {n: v for n, v in values.items() if n in tensors and tensors[n].shape == v.shape}
    snr: dict[str, float] = {}
    results = []
    for boundary in boundaries(operators, usable):
        reference = usable[boundary.tensor].astype(np.float64)
        difference = reference - tensors[boundary.tensor].astype(np.float64)
        out_db = _snr_db(reference, difference)
        in_db = min((snr[name] for name in boundary.inputs), default=EXACT_DB)
        snr[boundary.tensor] = out_db
        # Written so that a NaN diverges.
        same = out_db >= in_db - JUMP_DB or out_db >= sure_db
        finite = bool(np.isfinite(difference).all())
        results.append(
            ModuleParity(
                module=boundary.module,
                tensor=boundary.tensor,
                max_abs=float(np.abs(difference).max()) if finite else None,
                snr_db=out_db if math.isfinite(out_db) else None,
                input_snr_db=in_db if math.isfinite(in_db) else None,
                diverges=not same,
            )
        )
    return tuple(results)


def _snr_db(reference: npt.NDArray[np.float64], difference: npt.NDArray[np.float64]) -> float:
    noise = float((difference**2).sum())
    signal = float((reference**2).sum())
    if noise == 0:
        return EXACT_DB
    if signal == 0:
        return -math.inf
    return min(EXACT_DB, 10 * math.log10(signal / noise)) if math.isfinite(noise) else math.nan
