"""Programs that show what those that are measured do not: the tensors between modules.

A format whose files no engine can be made to show them has a `Probe` instead: the same network,
exported once more in the same way, with these tensors as further outputs. What is wrong with a
probe is wrong with the exporter. That a file is what the exporter makes is another question: the
weights that it holds are compared too.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from pathlib import Path

from mvdeploy.records import Operator


@dataclasses.dataclass(frozen=True)
class Probe:
    """A program whose inner tensors can be read.

    Attributes:
        path: the file.
        operators: of the program, in the order they run.
        names: of its outputs, in order; or of what can be read inside.
        differing: weights, by their names in the network, of which the file that it stands for has
            other values.
    """

    path: Path
    operators: tuple[Operator, ...]
    names: tuple[str, ...]
    differing: tuple[str, ...] = ()


Choose = Callable[[tuple[Operator, ...]], Iterable[str]]
"""Names of the tensors to be read, given the operators of a program."""


@dataclasses.dataclass(frozen=True)
class Probing:
    """How to look into a file.

    Attributes:
        make: gives a `Probe`: a program made as the file was, with the tensors between modules as
            further outputs. None where those of the file itself are read.
        again: makes the file once more, and returns the weights of which the file has others.
        unknown: weights of the exported network that the file does not hold as they are. It may
            hold something else for them, such as what they were folded into.
        always: a probe is made in any case, not only where something looks wrong.
    """

    make: Callable[[Choose], AbstractContextManager[Probe]] | None
    again: Callable[[], tuple[str, ...]]
    unknown: tuple[str, ...] = ()
    always: bool = False
