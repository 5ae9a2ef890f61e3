"""Precisions: in which numbers a program computes, and how exact it has to be then.

A precision is one file in this folder, importable without torch, with ``PRECISION``. Nothing else
says what is demanded of a program by the name of its precision.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from mvdeploy import plugins

if TYPE_CHECKING:
    import numpy.typing as npt
    from torch import Tensor, nn

    Feed = Mapping[str, npt.NDArray[Any]]
    """Inputs of one inference by name, in order."""


REQUIRED = ("PRECISION",)
"""What every precision's file has."""


@dataclasses.dataclass(frozen=True)
class Precision:
    """A precision.

    Attributes:
        name: as it is typed, and as it stands in names of files.
        label: in tables.
        title: in sentences.
        sure_db: SNR of a tensor inside the network that rounding alone does not go below: where an
            export departs, it is lower.
        min_snr_db: signal to noise of the outputs that is demanded; where `max_ratio` is given, of
            networks whose rounding cannot be measured.
        max_ratio: the error of the outputs may be this multiple of what rounding costs PyTorch.
            None where that is not judged.
        rounding: ``with rounding(network) as copy`` gives a copy of a network that rounds every
            result as a program of this precision does. None where that is the network.
        stored: ``stored(weight)`` returns a weight of the network as programs of this precision
            hold it.
        rewrite: ``rewrite(graph, format_name, calibration)`` returns what is lowered or saved
            instead of what a format traced; `calibration` holds feeds of it, each by a name.
            None where programs stay as they are.
        formats: formats that can be had in it by its rewriting, besides those that write it of
            themselves.
    """

    name: str
    label: str
    title: str
    sure_db: float
    min_snr_db: float
    max_ratio: float | None = None
    rounding: Callable[[nn.Module], AbstractContextManager[nn.Module]] | None = None
    stored: Callable[[Tensor], Tensor] = lambda weight: weight
    rewrite: Callable[..., Any] | None = None
    formats: tuple[str, ...] = ()


def names() -> tuple[str, ...]:
    """Return the names of all precisions."""
    return plugins.names(__name__)


def get(name: str) -> Precision:
    """Return a precision by name.

    Raises:
        UsageError: there is no such precision.
    """
    precision: Precision = plugins.load(__name__, name, "precision").PRECISION
    return precision
