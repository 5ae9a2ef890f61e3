"""Faults put into copies of an export on purpose, to see that the check notices them.

A check that has never failed proves nothing. Each mutation is a fault that exporters, passes or
hand-written conversions have really made. A file here is a driver: ``mutants(subject)`` yields each
broken copy as a `Mutant`. A format says in its file which one it has, as ``MUTANTS``; `program`,
which breaks the program that files are made from, does for every format.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mvdeploy.records import Artifact

if TYPE_CHECKING:
    import numpy.typing as npt
    from torch import nn

    from mvdeploy.quantization.emulation import Emulation
    from mvdeploy.verify.inputs import Feed

    Array = npt.NDArray[Any]


class Alter(NamedTuple):
    """Breaks a program before a file is made of it.

    Attributes:
        traced: what a format traced → the same, broken.
        quantised: what became of it in whole numbers → the same, broken.
    """

    traced: Callable[[Any], Any] = lambda program: program
    quantised: Callable[[Any], Any] = lambda program: program


@dataclasses.dataclass(frozen=True)
class Subject:
    """What is broken.

    Attributes:
        path: the exported file.
        artifact: its manifest.
        network: as it was built.
        rewritten: as it was exported, after the passes.
        feed: its inputs by name, in order.
        export: ``export(alter, path)`` writes the file again, broken by ``alter``.
        emulation: what PyTorch runs of the program in whole numbers; None where there are none.
    """

    path: Path
    artifact: Artifact
    network: nn.Module
    rewritten: nn.Module
    feed: Feed
    export: Callable[[Alter, Path], object]
    emulation: Emulation | None = None


@dataclasses.dataclass(frozen=True)
class Mutant:
    """A broken copy.

    Attributes:
        name: what is broken.
        module: where.
        write: writes it to a path that may hold an earlier one.
        alter: breaks the program that the copy is made from; None where the file itself was
            changed.
    """

    name: str
    module: str
    write: Callable[[Path], object]
    alter: Alter | None = None


BELOW_HALF = ("LayerNorm eps × 100",)
"""Mutations that do not show where operators round to half precision: they move less than that."""

WRONG_EPS = 1e-3
"""Another framework's default for BatchNorm, where PyTorch has 1e-5."""


def wrongly_folded(
    network: nn.Module, convolution: str, weight: Array, bias: Array
) -> tuple[Array, Array] | None:
    """Return what a convolution would hold if its BatchNorm had been folded with `WRONG_EPS`.

    Args:
        network: as it was built.
        convolution: path of the convolution; the BatchNorm stands right behind it.
        weight: of the convolution once the BatchNorm is in it, output channels first.
        bias: of it.

    Returns:
        Another weight and bias; None if no such BatchNorm is there, or it was folded into nothing.
    """
    import numpy as np
    from torch.nn.modules.batchnorm import _BatchNorm

    parent, _, name = convolution.rpartition(".")
    modules = dict(network.named_modules())
    siblings = list(modules[parent].named_children()) if parent in modules else []
    names = [sibling for sibling, _ in siblings]
    behind = siblings[names.index(name) + 1 :] if name in names else []
    norm = behind[0][1] if behind else None
    if not isinstance(norm, _BatchNorm) or norm.running_var is None or norm.bias is None:
        return None
    if len(norm.running_var) != len(weight) or convolution not in modules:
        return None
    variance = np.asarray(norm.running_var, dtype=np.float64)
    beta = np.asarray(norm.bias.detach(), dtype=np.float64)
    factor = np.sqrt((variance + norm.eps) / (variance + WRONG_EPS))
    shape = (-1, *(1,) * (weight.ndim - 1))
    scaled = (weight * factor.reshape(shape)).astype(weight.dtype)
    return scaled, (beta + (bias - beta) * factor).astype(bias.dtype)
