"""A reference interpreter of saved Core ML packages, for checking exports where there is no Mac.

It executes the MIL program that is in the package, operator by operator, with PyTorch on the CPU.
A float32 program runs in float32. In a float16 program every operator's result is stored as half,
and computed in float32 from halves: what happens inside one operator is more exact than on a
device, and what is between operators is as coarse.

It has what `mvdeploy.verify` needs of an engine's file in `mvdeploy.engines`, but it is no engine:
its times mean nothing.
"""

from __future__ import annotations

import importlib
import importlib.metadata
from pathlib import Path
from typing import TYPE_CHECKING

from mvdeploy.engines import with_chosen
from mvdeploy.quiet import quiet
from mvdeploy.verify.coremltools_alone import import_coremltools
from mvdeploy.verify.mil.program import Operation, Program, Value, load

if TYPE_CHECKING:
    from collections.abc import Collection

    from mvdeploy.engines import SessionRequest, Tensor
    from mvdeploy.verify.mil.session import MilSession

__all__ = [
    "FORMATS",
    "Operation",
    "Program",
    "Value",
    "load",
    "open_session",
    "operations",
    "options",
    "read_tensors",
    "start",
    "version",
]

FORMATS = ("coreml",)
PROFILE_COMPANIONS = ()


def version() -> str:
    """Return what executes the package and what reads it."""
    return f"MIL interpreter (coremltools {importlib.metadata.version('coremltools')})"


def start() -> None:
    """Import coremltools and PyTorch."""
    with quiet(errors=True):
        import_coremltools()
    importlib.import_module("mvdeploy.verify.mil.session")


def options(threads: int) -> dict[str, str | int]:
    """Return what a session is opened with."""
    return {"num_threads": threads}


def open_session(request: SessionRequest) -> MilSession:
    """Load an ``.mlpackage`` with an ML program.

    Args:
        request: what to load. Inputs have the shapes and types of the program; an image is uint8,
            H×W×3 in the order red, green, blue, or H×W where the program takes grey. Threads are
            those of PyTorch, which has one number for the whole process. There is no profile.

    Raises:
        UsageError: there is no such package, it is none with an ML program, or the request chooses
            an option; there is none.
        EngineError: the package is damaged, has operators that cannot be executed here, or does not
            take these inputs.
    """
    import torch

    from mvdeploy.verify.mil.session import MilSession

    chosen = with_chosen((), options(request.threads), request.options)
    program = load(request.path)
    torch.set_num_threads(int(chosen["num_threads"]))
    return MilSession(program, request.inputs)


def read_tensors(request: SessionRequest, names: Collection[str]) -> dict[str, Tensor]:
    """Run a package once and return those of its inner tensors that it has, by MIL output name.

    Raises:
        UsageError: there is no such package, or it is none with an ML program.
        EngineError: as for `open_session`, or an operator cannot be executed.
    """
    from mvdeploy.verify.mil.session import MilSession

    program = load(request.path)
    computed = {out.name for operation in program.operations() for out in operation.outputs}
    present = [name for name in names if name in computed]
    session = MilSession(program, request.inputs, present)
    session.infer()
    return session.tensors(present)


def operations(path: Path) -> tuple[Operation, ...]:
    """Return a package's operators, without constants, in the order in which they run.

    Raises:
        UsageError: there is no such package, or it is none with an ML program.
        EngineError: it is damaged, or has operators that cannot be executed here.
    """
    return load(path).operations()
