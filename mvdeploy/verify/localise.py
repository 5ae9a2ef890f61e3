"""Where an export first departs from the network: module by module, in the order they run.

Tensors that enter or leave a module are compared between the exported program and PyTorch in double
precision. Rounding grows along the way, and some modules amplify it, so no fixed limit tells a
fault from rounding. But what rounding costs up to a tensor is known: PyTorch's own single precision
has an error too. A fault is a jump: what comes out of a few operators is a far larger multiple of
that than what went into them was. In precisions whose inner rounding is not measured, the errors
themselves are taken.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import itertools
import math
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from mvdeploy.precisions import fp32
from mvdeploy.records import ModuleParity, Operator, PrecisionLoss
from mvdeploy.records.parity import LEAST_ROUNDING, NOTABLE

if TYPE_CHECKING:
    from torch import Tensor, nn

Array = npt.NDArray[np.generic]

MAX_RATIO = 8.0
"""A module diverges when the error of its output is more than this multiple of rounding, and ..."""

JUMP = 4.0
"""... more than this multiple of that of its inputs. On photographs, sound exports of six networks
have 3.1 and 2.5 at most. Where rounding is not measured, errors are taken for multiples of it, and
``sure_db`` of the precision for the limit."""

MAX_OWN_RATIO = 16.0
"""A module that computes one tensor from another also diverges when, given what the export gave it,
the error of its result is more than this multiple of what rounding costs PyTorch in it alone. Sound
exports of ten networks have 4.5 at most."""

Alone = Callable[[str, Array], tuple[npt.NDArray[np.float64], Sequence[Array]]]
"""Path of a module and what it is given → its result in double precision, and rounded ones."""

_SUMMING = ("norm", "mean", "sum", "pool")
"""What operators are called that lose digits, the likelier first."""

NAMED = 3
"""Modules that are named as losing digits."""

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

    `unary` are the modules that compute one tensor from another and nothing else;
    `makers_of_inputs` and `makers_of_outputs` are those that computed what a module reads, and
    returns.

    What goes into a BatchNorm is left out: exporters fold those that the passes had to leave, and
    then the tensor before it exists in PyTorch alone.
    """

    def __init__(self, network: nn.Module, *inputs: Tensor) -> None:
        import torch

        self._snapshots = _Snapshots()
        self._read: dict[str, tuple[int, Array]] = {}
        self._returned: dict[str, tuple[int, Array]] = {}
        self._folded: set[int] = set()
        self._repeated: set[str] = set()
        self._alone: set[str] = set()
        hooks = []
        for path, module in network.named_modules():
            if path:
                # Inputs are taken before the module runs, because it may work in place.
                hooks.append(module.register_forward_pre_hook(self._before(path)))
                hooks.append(module.register_forward_hook(self._after(path)))
        try:
            with torch.no_grad():  # inference_mode() does not count changes of tensors
                network(*inputs)
        finally:
            for hook in hooks:
                hook.remove()
        self.inputs = self._arrays(self._read)
        self.outputs = self._arrays(self._returned)
        self.unary = self._alone & self.inputs.keys() & self.outputs.keys()
        self.makers_of_inputs, self.makers_of_outputs = self._made()

    def _before(self, path: str) -> Callable[[nn.Module, tuple[object, ...]], None]:
        import torch
        from torch.nn.modules.batchnorm import _BatchNorm

        def record(module: nn.Module, args: tuple[object, ...]) -> None:
            if path in self._returned:
                # It runs more than once: which of its tensors is meant cannot be told.
                self._repeated.add(path)
            tensors = [a for a in args if isinstance(a, torch.Tensor)]
            if len(tensors) == 1:
                self._read[path] = self._snapshots.of(tensors[0])
                self._alone |= {path} if len(args) == 1 else set()
            if isinstance(module, _BatchNorm):
                self._folded.update(self._snapshots.of(tensor)[0] for tensor in tensors)

        return record

    def _after(self, path: str) -> Callable[[nn.Module, tuple[object, ...], object], None]:
        import torch

        def record(module: nn.Module, args: tuple[object, ...], output: object) -> None:
            if isinstance(output, torch.Tensor):
                self._returned[path] = self._snapshots.of(output)

        return record

    def _made(self) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
        makers: dict[int, list[str]] = collections.defaultdict(list)
        for path, (tensor, _) in self._returned.items():
            if path not in self._read or self._read[path][0] != tensor:
                makers[tensor].append(path)
        read, returned = (
            {path: makers[tensor] for path, (tensor, _) in tensors.items()}
            for tensors in (self._read, self._returned)
        )
        return read, returned

    def _arrays(self, tensors: Mapping[str, tuple[int, Array]]) -> dict[str, Array]:
        return {
            path: array
            for path, (tensor, array) in tensors.items()
            if path not in self._repeated and tensor not in self._folded
        }


class _Snapshots:
    """What tensors were, as a later module may work in place; no tensor is kept for it."""

    def __init__(self) -> None:
        self._count = itertools.count()
        self._latest: dict[int, tuple[weakref.ref[Tensor], int, int, Array]] = {}

    def of(self, tensor: Tensor) -> tuple[int, Array]:
        """Return a number that stands for a tensor, and its values now, which others share."""
        known = self._latest.get(id(tensor))
        # Changes of those that were made in inference mode are not counted.
        version = -1 if tensor.is_inference() else tensor._version
        if known is None or known[0]() is not tensor:  # another one had this address
            number = next(self._count)
        else:
            _, number, before, array = known
            if version == before >= 0:
                return number, array
        array = tensor.detach().numpy().copy()
        self._latest[id(tensor)] = (weakref.ref(tensor), number, version, array)
        return number, array


def references(operators: tuple[Operator, ...], capture: Capture) -> dict[str, Array]:
    """Return PyTorch's values of the tensors that enter or leave modules, by tensor name.

    A tensor counts as a module's input or output when it is the only one that its operators read
    from outside, or that is read outside.
    """
    values: dict[str, Array] = {}
    for path, (read, returned) in ends(operators, capture).items():
        if read:
            values.setdefault(read, capture.inputs[path])
        if returned:
            values[returned] = capture.outputs[path]
    return values


def ends(operators: tuple[Operator, ...], capture: Capture) -> dict[str, tuple[str, str]]:
    """Return the tensors that modules read and return, by path, outer modules first.

    Either is empty where there are several, or none was captured, and where a module that computed
    the tensor was fused into one that comes after it.
    """
    entering, leaving = _entering(operators), _leaving(operators)
    placed = frozenset().union(*(_around(op.module) for op in operators))
    found = {}
    for path in sorted(capture.outputs, key=lambda p: p.count(".")):
        read, returned = entering.get(path, set()), leaving.get(path, [])
        is_read = path in capture.inputs and placed.issuperset(capture.makers_of_inputs[path])
        is_returned = placed.issuperset(capture.makers_of_outputs[path])
        found[path] = (
            next(iter(read)) if len(read) == 1 and is_read else "",
            returned[0] if len(returned) == 1 and is_returned else "",
        )
    return found


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
    reference: Capture,
    tensors: Mapping[str, Array],
    sure_db: float = fp32.PRECISION.sure_db,
    rounded: Sequence[Capture] = (),
    alone: Alone | None = None,
    *,
    rounding: Capture | None = None,
    to_first: bool = False,
) -> tuple[ModuleParity, ...]:
    """Compare tensor by tensor.

    Args:
        operators: of the exported program, in the order they run.
        reference: PyTorch's tensors for the same input, in double precision where that can be.
        tensors: the exported program's, by name.
        sure_db: of the export's precision.
        rounded: PyTorch's tensors in the export's precision; of several, that with the largest
            error counts. Empty where they are not known.
        alone: runs single modules; None to leave that out.
        rounding: where `rounded` is empty, PyTorch's tensors with every result rounded as the
            export's: an error that is not `JUMP` times theirs is rounding.
        to_first: end with the first tensor that diverges.

    Returns:
        One entry for each tensor that both sides have in the same shape, in the order they run.
    """
    judge = _Judge(operators, reference, tensors, sure_db, rounded, alone, rounding)
    results: list[ModuleParity] = []
    for boundary in boundaries(operators, judge.usable):
        results.append(judge.judged(boundary))
        if to_first and results[-1].diverges:
            break
    return tuple(results)


class _Judge:
    """Judges tensors in the order they are computed; see `compare` for what it is given.

    Attributes:
        usable: PyTorch's values of the tensors that both sides have in the same shape.
    """

    def __init__(
        self,
        operators: tuple[Operator, ...],
        reference: Capture,
        tensors: Mapping[str, Array],
        sure_db: float,
        rounded: Sequence[Capture],
        alone: Alone | None,
        rounding: Capture | None,
    ) -> None:
        values = references(operators, reference)
        tensors = {n: _shaped(tensor, values.get(n)) for n, tensor in tensors.items()}
        self.usable = {
            n: v for n, v in values.items() if n in tensors and tensors[n].shape == v.shape
        }
        self._tensors, self._alone = tensors, alone
        self._sure_db = sure_db
        self._rounded = [references(operators, capture) for capture in rounded]
        self._emulated = references(operators, rounding) if rounding is not None else {}
        self._leaves = {
            returned: (path, read)
            for path, (read, returned) in ends(operators, reference).items()
            if path in reference.unary
            and returned in self.usable
            # Between modules a tensor may have had another shape.
            and read in self.usable
            and reference.inputs[path].shape == tensors[read].shape
        }
        self._snr: dict[str, float] = {}
        self._ratios: dict[str, float] = {}

    def judged(self, boundary: Boundary) -> ModuleParity:
        """Judge a tensor by those that it is computed from."""
        name, wanted = boundary.tensor, self.usable[boundary.tensor].astype(np.float64)
        difference = wanted - self._tensors[name].astype(np.float64)
        out_db = self._snr[name] = _snr_db(wanted, difference)
        in_db = min((self._snr[source] for source in boundary.inputs), default=EXACT_DB)
        in_ratio = max((self._ratios.get(source, 0.0) for source in boundary.inputs), default=0.0)
        if self._rounded:
            own = [values[name] for values in self._rounded]
            ratio = self._ratios[name] = _ratio(wanted, difference, own)
            same = ratio <= max(MAX_RATIO, in_ratio * JUMP)
        else:
            # Written so that a NaN diverges, as above.
            same = out_db >= in_db - _JUMP_DB or out_db >= self._sure_db
            if not same and name in self._emulated:
                same = _ratio(wanted, difference, [self._emulated[name]]) <= JUMP
        own_ratio = self._by_itself(boundary)
        finite = bool(np.isfinite(difference).all())
        return ModuleParity(
            module=boundary.module,
            tensor=name,
            max_abs=float(np.abs(difference).max()) if finite else None,
            snr_db=out_db if math.isfinite(out_db) else None,
            input_snr_db=in_db if math.isfinite(in_db) else None,
            diverges=not (same and (own_ratio is None or own_ratio <= MAX_OWN_RATIO)),
            ratio=_number(self._ratios.get(name)),
            input_ratio=_number(in_ratio) if self._rounded else None,
            own_ratio=_number(own_ratio),
        )

    def _by_itself(self, boundary: Boundary) -> float | None:
        """Return the error of a module that is given what the export gave it; None if unknown."""
        path, read = self._leaves.get(boundary.tensor, ("", ""))
        if self._alone is None or not self._rounded or path != boundary.module or not path:
            return None
        right, usual = self._alone(path, self._tensors[read])
        got = self._tensors[boundary.tensor].astype(np.float64)
        return _ratio(right, right - got, usual)


def _shaped(tensor: Array, value: Array | None) -> Array:
    """Return a tensor in the shape that PyTorch has it in, where it is the rows of that."""
    if value is None or tensor.ndim != 2 or tensor.shape[1:] != value.shape[-1:]:
        return tensor
    return tensor.reshape(value.shape) if tensor.size == value.size else tensor


_JUMP_DB = 20 * math.log10(JUMP)


def losses(
    operators: tuple[Operator, ...], modules: Iterable[ModuleParity], input_name: str
) -> tuple[PrecisionLoss, ...]:
    """Return where the error of a program grows far beyond that of rounding, the largest first.

    Args:
        operators: of the program.
        modules: its tensors, see `compare`.
        input_name: what it was fed.
    """
    grown = sorted(((_growth(module), module) for module in modules), key=lambda pair: -pair[0])
    return tuple(
        PrecisionLoss(module.module, _computing(operators, module), input_name, growth)
        for growth, module in grown[:NAMED]
        if growth >= NOTABLE
    )


def _growth(module: ModuleParity) -> float:
    """Return by how much the error grows in a module, relative to PyTorch's own."""
    return (module.ratio or 0.0) / max(1.0, module.input_ratio or 0.0)


def _computing(operators: tuple[Operator, ...], module: ModuleParity) -> str:
    """Return what computes a tensor: what adds up many numbers in its module, or the last."""
    own = [op.type for op in operators if op.module == module.module]
    summing = [kind for part in _SUMMING for kind in own if part in kind.lower()]
    last = next((op.type for op in operators if module.tensor in op.outputs), "")
    return summing[0] if summing else last


def _ratio(
    wanted: npt.NDArray[np.float64],
    difference: npt.NDArray[np.float64],
    rounded: Sequence[Array],
) -> float:
    """Return an error as a multiple of rounding's, which is taken to be an ulp at least."""
    rounding = max(float(np.linalg.norm(wanted - x.astype(np.float64))) for x in rounded)
    least = LEAST_ROUNDING * float(np.linalg.norm(wanted))
    error = float(np.linalg.norm(difference))
    return error / max(rounding, least) if error != 0 else 0.0


def _number(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _snr_db(reference: npt.NDArray[np.float64], difference: npt.NDArray[np.float64]) -> float:
    noise = float((difference**2).sum())
    signal = float((reference**2).sum())
    if noise == 0:
        return EXACT_DB
    if signal == 0:
        return -math.inf
    return min(EXACT_DB, 10 * math.log10(signal / noise)) if math.isfinite(noise) else math.nan
