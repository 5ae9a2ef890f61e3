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
from typing import TYPE_CHECKING

from mvdeploy.records import Artifact

if TYPE_CHECKING:
    from torch import nn

    from mvdeploy.verify.inputs import Feed


@dataclasses.dataclass(frozen=True)
class Subject:
    """What is broken.

    Attributes:
        path: the exported file.
        artifact: its manifest.
        network: as it was built.
        rewritten: as it was exported, after the passes.
        feed: its inputs by name, in order.
        export: writes another network of the same inputs to a path as the file was written.
    """

    path: Path
    artifact: Artifact
    network: nn.Module
    rewritten: nn.Module
    feed: Feed
    export: Callable[[nn.Module, Path], object]


@dataclasses.dataclass(frozen=True)
class Mutant:
    """A broken copy.

    Attributes:
        name: what is broken.
        module: where.
        write: writes it to a path that may hold an earlier one.
        same_operators: its operators have the names of the manifest's, so that one can look inside.
    """

    name: str
    module: str
    write: Callable[[Path], object]
    same_operators: bool = True
