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

    from mvdeploy.quantization import Scheme
    from mvdeploy.records import Artifact

    Feed = Mapping[str, npt.NDArray[Any]]
    """Inputs of one inference by name, in order."""


LARGE = 2048
"""Weights with more numbers than that, in two dimensions or more, are compressed."""

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
            networks whose rounding cannot be measured. As much less as rounding alone costs is
            allowed.
        max_ratio: the error of the outputs may be this multiple of what rounding costs PyTorch.
            None where that is not judged.
        rounding: ``with rounding(network) as copy`` gives a copy of a network that rounds every
            result as a program of this precision does. None where that is the network.
        summing: as `rounding`, with products that are added up in the precision too, as by engines
            whose ``RUNNING_SUMS`` names it.
        compresses: programs hold other weights than the network, see `stored`. What that costs is
            measured of the network after the passes, with BatchNorm folded into them; inner tensors
            are compared with those of the network with such weights.
        stored: ``stored(weight, axis)`` returns a weight of the network as programs of this
            precision hold it; `axis` is that of its output channels.
        table: ``table(weight)`` returns the values that a weight is written with (2, 4, … 256 of
            them), and which of them each of its numbers is, in order; for precisions whose programs
            hold weights so. None for others.
        rewrite: ``rewrite(graph, format_name, calibration)`` returns what is lowered or saved
            instead of what a format traced; `calibration` is what `mvdeploy.quantization` takes
            scales from. None where programs stay as they are.
        halves: programs of formats that trace with torch.export are computed in half precision; see
            ``mvdeploy.formats``. Core ML has that of itself.
        scheme: what is computed in whole numbers, in formats whose engines have them; see
            `mvdeploy.quantization`. What that costs is measured with the program's own scales.
        by_engine: files are those of single precision, and engines compute them so where these say
            how by ``for_precision``, see `mvdeploy.engines`. What is in the file is held to single
            precision.
        foreign: how files of others are judged that are said to be of it, where they may round
            more; None for alike.
        formats: formats that can be had in it by what is said of it here, besides those that write
            it of themselves.
    """

    name: str
    label: str
    title: str
    sure_db: float
    min_snr_db: float
    max_ratio: float | None = None
    rounding: Callable[[nn.Module], AbstractContextManager[nn.Module]] | None = None
    summing: Callable[[nn.Module], AbstractContextManager[nn.Module]] | None = None
    compresses: bool = False
    stored: Callable[[Tensor, int], Tensor] = lambda weight, axis: weight
    table: Callable[[npt.NDArray[Any]], tuple[npt.NDArray[Any], npt.NDArray[Any]]] | None = None
    rewrite: Callable[..., Any] | None = None
    halves: bool = False
    scheme: Scheme | None = None
    by_engine: bool = False
    foreign: Precision | None = None
    formats: tuple[str, ...] = ()


def names() -> tuple[str, ...]:
    """Return the names of all precisions: those of the files, hyphens for underscores."""
    return tuple(name.replace("_", "-") for name in plugins.names(__name__))


def channel_axes(network: nn.Module) -> dict[str, int]:
    """Return on which axis each weight of a network has its output channels, by its name."""
    from torch.nn.modules.conv import _ConvTransposeNd

    return {
        f"{path}.{name}".removeprefix("."): int(isinstance(module, _ConvTransposeNd))
        for path, module in network.named_modules()
        for name, _ in module.named_parameters(recurse=False)
    }


def judging(artifact: Artifact) -> Precision:
    """Return the precision that a file is judged by.

    Raises:
        UsageError: there is no such precision.
    """
    own = get(artifact.precision)
    return own.foreign if artifact.read_from and own.foreign is not None else own


def get(name: str) -> Precision:
    """Return a precision by name.

    Raises:
        UsageError: there is no such precision.
    """
    if name not in names():
        raise plugins.unknown("precision", name, names())
    file = name.replace("-", "_")
    precision: Precision = plugins.load(__name__, file, "precision").PRECISION
    return precision
