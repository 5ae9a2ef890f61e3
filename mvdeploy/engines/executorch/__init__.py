"""ExecuTorch on the CPU, through the runtime of its pip wheel.

What the engine does not check itself is checked here, as it takes what it gets for what it expects:
its file has no checksum (the runner compares the whole file's), and an input in another memory
layout is read as if it were contiguous.

Inner tensors of a delegate cannot be read: `read_tensors` has none.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import importlib
import importlib.metadata
import io
import re
import sys
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from mvdeploy.attribute import executorch
from mvdeploy.engines import AndroidBuild, NativePlugin, _chip, output_names, with_chosen
from mvdeploy.engines.executorch import android, etdump
from mvdeploy.errors import EngineError
from mvdeploy.plugins import Option
from mvdeploy.records import Artifact, OperatorTimes

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from mvdeploy.engines import SessionRequest, Tensor

TITLE = "ExecuTorch"
FORMATS = ("executorch",)
PACKAGES = ("executorch",)
RUNNERS = ("host", "native")
RUNNING_SUMS = ("fp16",)
PROFILE_COMPANIONS = ()

INEXACT = ("aten.native_layer_norm", "aten.native_group_norm")
"""Operators whose kernels lose digits: they take the variance for E[x^2] - E[x]^2, which is nearly
all rounding on flat images."""

_PROFILE = "executorch.etdp"
_METHOD = "forward"
_VERIFICATION = "InternalConsistency"  # the engine crashes on a damaged file without it

# The engine's own package around this imports its exporter, which takes seconds.
_BINDINGS = "executorch.extension.pybindings._C"

_DTYPES = (
    *("uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64"),
    *("", "complex64", "complex128", "bool"),
)
"""Element types by the engine's numbers; empty for what NumPy lacks."""


WORDS = {
    "unmatched_operators": (
        "{count} operators are not placed in modules, because what ran is not what was recorded "
        "when the program was made: {reason}.",
        "Export the model again with the installed version of executorch; if that does not help, "
        "report the network that shows it.",
    ),
    "merged_operators": (
        "The engine merged {count} changes of layout with the operators beside them.",
        "Nothing is to be done: their time is in those operators.",
    ),
    "coarse_times": (
        "The engine gives the times of {count} operators in whole microseconds and cuts off the "
        "rest: up to {percent} % of the operator time is missing from them, and is counted outside "
        "operators.",
        "Take shares of small operators with that uncertainty; a larger image makes it smaller.",
    ),
}
"""What findings of its profiles say, and what to do about them."""


def _flags(folder: Path, version: str) -> tuple[str, ...]:
    # In a wheel it is one package of several; an installation has it all.
    inside = folder / "executorch"
    place = inside if (inside / "include").is_dir() else folder
    headers = android.headers() if place == folder else None
    behind = () if headers is None else (f"-DEXECUTORCH_HEADERS={headers}",)
    return f"-DEXECUTORCH_DIR={place}", f"-DEXECUTORCH_VERSION={version}", *behind


NATIVE = NativePlugin(
    package="executorch",
    libraries=tuple(
        f"executorch/lib/libexecutorch{part}.so"
        for part in (
            *("", "_kernels_optimized", "_kernels_quantized", "_backend_xnnpack"),
            *("_threadpool", "_etdump"),
        )
    ),
    flags=_flags,
    android=(
        AndroidBuild(
            Option(
                "executorch_android",
                "--executorch-android",
                "setup: where a build of ExecuTorch for Android was installed, for such a kit.",
                metavar="DIR",
            ),
            android.take,
            android.concerns,
        ),
        AndroidBuild(
            Option(
                "executorch_aar",
                "--executorch-aar",
                "setup: ExecuTorch for Android as an archive, if it has what plug-ins are built "
                "against.",
                metavar="FILE",
            ),
            android.take,
            android.concerns,
            android.unpack_aar,
        ),
    ),
)

_EXPORT_AGAIN = (
    "Export the model again with the installed version of executorch: the file is damaged, or "
    "another version made it."
)
_FREE_MEMORY = (
    "Free memory, or use a smaller model, batch or image size; if there is enough, the file is "
    "damaged: export the model again."
)
_REMEDIES = {
    **dict.fromkeys((0x12, 0x14, 0x20, 0x23, 0x24, 0x30), _EXPORT_AGAIN),
    **dict.fromkeys((0x21, 0x31), _FREE_MEMORY),
    0x22: "Check that the file is there and can be read.",
}
_ELSEWHERE = (
    "Run it on a device that has this backend (its manifest says where it runs), or export the "
    "model with --backend xnnpack."
)
_MEANINGS = {
    0x01: "an internal error",
    0x02: "the engine is in a wrong state",
    0x10: "something is not supported",
    0x11: "something is not implemented",
    0x12: "an invalid argument",
    0x13: "a value of the wrong type",
    0x14: "an operator that the engine does not have",
    0x20: "something that the engine does not have",
    0x21: "it could not get the memory that the program asks for",
    0x22: "the file could not be read",
    0x23: "the program is invalid",
    0x24: "the program's outer data are invalid",
    0x25: "resources ran out",
    0x30: "a delegate that is damaged or of another version",
    0x31: "a delegate could not get the memory that it asks for",
    0x32: "a delegate's handle is invalid",
}

_NO_BACKEND = re.compile(r"Backend \S+ is not registered")

_loaded: weakref.WeakSet[Any] = weakref.WeakSet()
"""Methods that hold on to the process's thread pool."""

_T = TypeVar("_T")


def emulated(precision: str, architecture: str) -> str:
    """Return why XNNPACK does not compute in a precision on an architecture; empty where it does.

    Of chips for x86-64 some have half precision; that is asked of the one here.
    """
    if precision == "fp16" and architecture == "x86_64" and not _chip.has("avx512_fp16"):
        return "XNNPACK converts halves to fp32 around its kernels on chips without AVX512-FP16"
    return ""


def version() -> str:
    """Return the version of ExecuTorch."""
    return importlib.metadata.version("executorch")


def start() -> None:
    """Import the engine."""
    _bindings()


def options(threads: int) -> dict[str, str | int]:
    """Return what a session is opened with."""
    return {"num_threads": threads, "program_verification": _VERIFICATION}


class ExecutorchSession:
    """A loaded program. All sessions of a process share one thread pool."""

    def __init__(self, request: SessionRequest) -> None:
        chosen = with_chosen((), options(request.threads), request.options)
        path, profile_to = request.path, request.profile_to
        _check_identifier(path)
        bindings = _bindings()
        _set_threads(bindings, int(chosen["num_threads"]))
        self._path = path
        self._profile_to = profile_to
        self._program, self._method = _explained(
            f"could not load {path}",
            lambda: _load(bindings, path, str(chosen["program_verification"]), bool(profile_to)),
        )
        _loaded.add(self._method)
        if profile_to is not None and not self._program.has_etdump():
            raise EngineError(
                "This build of ExecuTorch cannot profile.",
                "Use --no-breakdown, or install executorch from PyPI.",
            )
        count = self._method.method_meta().num_outputs()
        self._output_names = output_names(path, request.outputs, count)
        self._arguments: list[Any] = []
        self.feed(request.inputs)
        # The inputs are copied in by every call, as the engine overwrites them in the course of an
        # inference; outputs are not copied out.
        self._call = functools.partial(self._method.call, self._arguments, False)
        self.infer: Callable[[], object] = self._first

    def _first(self) -> object:
        """Run the first inference; it says in words why it fails, the others just run."""
        result = _explained(f"failed to run {self._path}", self._call)
        # The engine's bound function itself, so that the timed loop runs no Python of ours.
        self.infer = self._call
        return result

    def feed(self, inputs: Mapping[str, Tensor]) -> None:
        """Replace the input tensors, which are in the program's order.

        Raises:
            EngineError: number, shape or element type are not the program's.
        """
        import torch

        expected = _explained(f"cannot tell the inputs of {self._path}", self._expected_inputs)
        _check_inputs(inputs, expected)
        # A copy by NumPy is contiguous, with the strides that the engine takes for granted.
        self._arguments[:] = [torch.from_numpy(tensor.copy()) for tensor in inputs.values()]

    def _expected_inputs(self) -> list[tuple[tuple[int, ...], int]]:
        about = self._method.method_meta()
        tensors = [about.input_tensor_meta(i) for i in range(about.num_inputs())]
        return [(tuple(tensor.sizes()), int(tensor.dtype())) for tensor in tensors]

    def outputs(self) -> dict[str, Tensor]:
        """Return the output tensors of the last inference, by name."""
        import numpy as np

        tensors = self._method.get_outputs(True)
        return {n: np.asarray(t) for n, t in zip(self._output_names, tensors, strict=True)}

    def end_profile(self) -> Path | None:
        """Write the profile and return its file; the engine frees its memory."""
        if self._profile_to is None:
            return None
        self._profile_to.mkdir(parents=True, exist_ok=True)
        path = self._profile_to / _PROFILE
        self._program.write_etdump_result_to_file(str(path), None)
        return path


def open_session(request: SessionRequest) -> ExecutorchSession:
    """Load a ``.pte`` file.

    Raises:
        UsageError: the request chooses an option; there is none.
        EngineError: it cannot be loaded here, the inputs are not those of the program, it has more
            or fewer outputs than are named, or another session of this process has another number
            of threads.
    """
    return ExecutorchSession(request)


def read_tensors(request: SessionRequest, names: Collection[str]) -> dict[str, Tensor]:
    """Return no tensors: the engine shows none from inside a delegate."""
    return {}


def read_profile(artifact: Artifact, path: Path, runs: int) -> OperatorTimes:
    """Read an ETDump and place its operators in the network's modules.

    Times inside delegates are whole microseconds, cut off. What does not fit the operators that
    were recorded when the program was made is a finding.

    Raises:
        EngineError: the profile is incomplete.
    """
    try:
        inferences = etdump.read(path)
    except (OSError, etdump.BadDumpError) as error:
        raise _broken(str(error)) from error
    if len(inferences) < max(runs, 1):
        raise _broken(f"it has {len(inferences)} inferences of {runs}")
    counted = inferences[-runs:]
    operators = [[event[:3] for event in inference] for inference in counted]
    if any(each != operators[0] for each in operators):
        raise _broken("its inferences did not run the same operators")
    times = executorch.place(artifact, counted)
    if not times.events:
        raise _broken("it has no operator in it")
    return times


def _broken(what: str) -> EngineError:
    return EngineError(
        f"The profile of ExecuTorch cannot be used: {what}.",
        "Use --no-breakdown, or report this with the versions of executorch and mvdeploy.",
    )


def _bindings() -> Any:
    importlib.import_module("torch")  # its libraries are those of the engine
    return importlib.import_module(_BINDINGS)


def _set_threads(bindings: Any, threads: int) -> None:
    with contextlib.redirect_stderr(io.StringIO()):  # it tells about the processor
        if bindings._threadpool_get_thread_count() == threads:
            return
        if len(_loaded):
            gc.collect()
        if len(_loaded):
            # The pool would be taken from under a method that uses it, which then hangs.
            raise EngineError(
                "Another session in this process has another number of threads, and all "
                "ExecuTorch sessions of a process share them.",
                "Close the other session first, or open this one in a process of its own.",
            )
        bindings._unsafe_reset_threadpool(threads)
        count = bindings._threadpool_get_thread_count()
    if count != threads:
        raise EngineError(
            f"ExecuTorch has {count} threads, not the {threads} that it was asked for.",
            "Use another number of threads.",
        )


def _load(bindings: Any, path: Path, verification: str, profiled: bool) -> tuple[Any, Any]:
    program = bindings._load_program(
        str(path),
        enable_etdump=profiled,
        program_verification=bindings.Verification.__members__[verification],
    )
    return program, program.load_method(_METHOD)


def _check_identifier(path: Path) -> None:
    try:
        with path.open("rb") as file:
            start = file.read(8)
    except OSError as error:
        raise EngineError(
            f"{path} could not be read ({error.strerror}).", "Check the path."
        ) from error
    # Of another version it would say so in bytes that need not be text, and abort.
    if start[4:6] != b"ET" or not start[6:8].isdigit():
        raise EngineError(
            f"{path} is no ExecuTorch program.",
            "Give a .pte file; 'mvdeploy export --format executorch' makes one.",
        )


def _check_inputs(
    inputs: Mapping[str, Tensor], expected: list[tuple[tuple[int, ...], int]]
) -> None:
    if len(inputs) != len(expected):
        raise _unfit(
            f"The program takes {len(expected)} inputs, and {len(inputs)} were given"
            + (f" ({', '.join(inputs)})." if inputs else ".")
        )
    for (name, tensor), (shape, number) in zip(inputs.items(), expected, strict=True):
        dtype = _DTYPES[number] if number < len(_DTYPES) else ""
        if not dtype:
            raise _unfit(f"The input '{name}' is of a type that NumPy lacks (number {number}).")
        if tensor.dtype != dtype:
            raise _unfit(f"The input '{name}' is {tensor.dtype}, and the program takes {dtype}.")
        if tensor.shape != shape:
            raise _unfit(f"The input '{name}' is {tensor.shape}, and the program takes {shape}.")


def _unfit(what: str) -> EngineError:
    return EngineError(what, "Give inputs as the program's manifest lists them, or export it anew.")


def _explained(what: str, action: Callable[[], _T]) -> _T:
    """Do something with the engine; where it fails, say why.

    Its errors have a number only; it gives the reason on Python's standard error, where --debug
    shows it.
    """
    heard = io.StringIO()
    try:
        with contextlib.redirect_stderr(heard):
            done = action()
    except MemoryError:
        raise
    except Exception as error:
        error.add_note(heard.getvalue())
        raise _worded(what, error, heard.getvalue().splitlines()) from error
    if sys.stderr is not None:
        sys.stderr.write(heard.getvalue())
    return done


def _worded(what: str, error: Exception, lines: list[str]) -> EngineError:
    number = re.search(r"error:? 0x:?([0-9a-fA-F]+)", str(error))
    code = int(number[1], 16) if number else 0
    # The first line has the cause, those after it what could not be done for it.
    cause = re.sub(r"^\[[^]]*\] ", "", lines[0]) if lines else ""
    plain = (str(error) or type(error).__name__).splitlines()[0]
    reasons = [_MEANINGS.get(code) or plain, cause]
    reason = ": ".join(r.strip().rstrip(".")[:300] for r in reasons if r.strip())
    remedy = _ELSEWHERE if _NO_BACKEND.match(cause) else _REMEDIES.get(code)
    return EngineError(
        f"ExecuTorch {what}: {reason}.",
        remedy or "Export the model again; if that does not help, run with --debug to see more.",
    )
