"""LiteRT on the CPU, which is XNNPACK, through the C functions of its package.

The program is read from memory, not by its path: only so does the engine check that it is sound
before it follows what is written in it.

`read_tensors` is the engine's own kernels one by one, as XNNPACK shows no inner tensors. In floats
both agree to rounding. In whole numbers they are as far from each other as from float32, so what it
reads there is not what a session computes.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import importlib.metadata
import mmap
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mvdeploy.attribute import litert
from mvdeploy.engines import AndroidBuild, NativePlugin, _aar, _chip, with_chosen
from mvdeploy.engines.litert import profile
from mvdeploy.engines.litert.library import (
    PACKAGE,
    READ,
    WRITE,
    Handle,
    Library,
    ProfilerEvent,
    Refusal,
    TensorType,
    loaded,
)
from mvdeploy.errors import EngineError, UsageError
from mvdeploy.files import elf
from mvdeploy.plugins import Option
from mvdeploy.quiet import muted
from mvdeploy.records import Artifact, OperatorTimes

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

    from mvdeploy.engines import SessionRequest, Tensor

TITLE = "LiteRT"
FORMATS = ("litert",)
PACKAGES = (PACKAGE,)
RUNNERS = ("host", "native")
RUNNING_SUMS = ("fp16",)
MAY_CRASH = True
TIE = 0.76
"""See `mvdeploy.verify.emulated`: XNNPACK makes whole numbers of another scale by a factor of eight
bits after the point, which is a quarter of a step off at most."""

ENVIRONMENT = ("XNNPACK_*", "XNN_*", "LITERT_*", "TFLITE_*")
PROFILE_COMPANIONS = ()

_SWITCH = ("on", "off")

OPTIONS = (
    Option(
        "kernel_mode",
        "--kernel-mode",
        "What LiteRT runs operators with: XNNPACK (delegate), or kernels of its own (builtin). "
        "[default: delegate]",
        choices=("delegate", "builtin"),
    ),
    Option(
        "force_fp16",
        "--force-fp16",
        "Whether LiteRT computes in half precision what the program has in floats. "
        "[default: on for a program in fp16, else off]",
        choices=_SWITCH,
    ),
)

WORDS = {
    "unmatched_events": (
        "{count} operators are not placed in modules, because what ran is not what the program "
        "has: {reason}.",
        "Report the network that shows it, with the versions of ai-edge-litert and mvdeploy.",
    ),
    "computed_in_float32": (
        "The program is in fp16, and its products and convolutions were computed in float32.",
        "Measure on a processor with half precision, as arm64 has it from Armv8.2 on, and with "
        "--force-fp16 on.",
    ),
    "coarse_times": (
        "The engine gives the times of {count} operators in whole microseconds and cuts off the "
        "rest: up to {percent} % of the operator time is missing from them, and is counted outside "
        "operators.",
        "Take shares of small operators with that uncertainty; a larger image makes it smaller.",
    ),
}
"""What findings of its profiles say, and what to do about them."""

_XNNPACK_FLAGS = 0b1111
"""Whole numbers of all kinds, as by default, and half precision."""

_ARCHIVE = _aar.Archive("LiteRT", "libLiteRt.so", "litert-VERSION.aar")

_EXPORT_AGAIN = "Export the model again: the file is damaged, or another version made it."
_FREE_MEMORY = (
    "Free memory if there is little, or use a smaller model, batch or image size; if there is "
    "enough, export the model again."
)


def _take_aar(path: Path, architecture: str, into: Path) -> str:
    """Unpack the library of LiteRT for Android into a kit; return the version.

    Raises:
        UsageError: the file is no such archive, or its version cannot be told.
    """
    with _ARCHIVE.unpacked(path, architecture, into) as library:
        exported = elf.symbols(library).defined
    if "LiteRtGetProfilerEvents" not in exported:
        raise UsageError(
            f"The library of LiteRT in {path} is too old: it lacks LiteRtGetProfilerEvents.",
            "Give the file litert-VERSION.aar of version 2.3 or newer.",
        )
    # The library does not say its version.
    return _ARCHIVE.version(path, path.name)


NATIVE = NativePlugin(
    package=PACKAGE,
    libraries=("ai_edge_litert/libLiteRt.so",),
    flags=lambda _folder, version: (f"-DLITERT_VERSION={version}",),
    android=(
        AndroidBuild(
            Option(
                "litert_aar",
                "--litert-aar",
                "setup: LiteRT for Android, for a kit of the android build.",
                metavar="FILE",
            ),
            _take_aar,
        ),
    ),
    sources=("engines/litert.c", "dtypes.c"),
)


def version() -> str:
    """Return the version of LiteRT."""
    return importlib.metadata.version(PACKAGE)


def start() -> None:
    """Load the engine's library."""
    loaded()


def options(threads: int) -> dict[str, str | int]:
    """Return what a session is opened with."""
    return {"num_threads": threads, "kernel_mode": "delegate", "force_fp16": "off"}


def for_precision(precision: str) -> Mapping[str, str]:
    """Return what is chosen for a program of a precision: halves are computed in halves."""
    return {"force_fp16": "on"} if precision == "fp16" else {}


def lacks(precision: str, architecture: str) -> str:
    """Return why a precision cannot be run; all can."""
    return ""


def emulated(precision: str, architecture: str) -> str:
    """Return why a precision is not computed in its own numbers on an architecture.

    Of processors for x86-64 some have half precision; this is asked of the one here.
    """
    if precision == "fp16" and architecture == "x86_64" and not _chip.has("avx512_fp16"):
        return "without AVX512-FP16 XNNPACK computes halves in float32 and rounds each result"
    return ""


class LitertSession:
    """A compiled program with memory for its inputs and outputs."""

    def __init__(self, request: SessionRequest) -> None:
        chosen = with_chosen(OPTIONS, options(request.threads), request.options)
        self._engine = engine = loaded()
        self._path, self._profile_to = request.path, request.profile_to
        freed = contextlib.ExitStack()
        self._close = weakref.finalize(self, freed.close)
        with _explained(f"cannot load {request.path.name}"):
            self._compiled, model = _compiled(engine, request.path, chosen, self._profiled, freed)
            signature = engine.make("GetModelSignature", model, ctypes.c_size_t(0))
            self._inputs = dict(_tensors(engine, signature, "Input"))
            self._outputs = dict(_tensors(engine, signature, "Output"))
        _demand_sizes(request.path, {**self._inputs, **self._outputs})
        with _explained(f"has no memory for {request.path.name}"):
            self._memory = {
                name: _memory(engine, type_, freed)
                for name, type_ in (*self._inputs.items(), *self._outputs.items())
            }
        self.feed(request.inputs)
        ins, outs = self._handles(self._inputs), self._handles(self._outputs)
        run = engine.function("RunCompiledModel")
        count = ctypes.c_size_t
        self._run = functools.partial(
            run, self._compiled, count(0), count(len(ins)), ins, count(len(outs)), outs
        )
        self.infer: Callable[[], object] = self._first
        self._profiler = self._started() if self._profiled else None

    @property
    def _profiled(self) -> bool:
        return self._profile_to is not None

    def _handles(self, tensors: Mapping[str, TensorType]) -> ctypes.Array[Handle]:
        handles = [self._memory[name] for name in tensors]
        return (Handle * len(handles))(*handles)

    def _started(self) -> Handle:
        with _explained("cannot profile"):
            profiler = self._engine.make("CompiledModelGetProfiler", self._compiled)
            self._engine.call("StartProfiler", profiler)
        return profiler

    def _first(self) -> object:
        """Run the first inference; it says in words why it fails, the others just run."""
        # This is when XNNPACK packs the weights and takes its memory.
        with _explained(f"failed to run {self._path.name}", self._said, _FREE_MEMORY):
            self._run()
        # The engine's function itself, so that the timed loop runs no Python of ours.
        self.infer = self._run
        return None

    def _said(self) -> str:
        return self._engine.error_messages(self._compiled)

    def feed(self, inputs: Mapping[str, Tensor]) -> None:
        """Replace the input tensors.

        Raises:
            EngineError: names, shapes or element types are not the program's.
        """
        _check_inputs(inputs, self._inputs)
        for name, tensor in inputs.items():
            with self._locked(name, WRITE) as place:
                place[...] = tensor

    def outputs(self) -> dict[str, Tensor]:
        """Return the output tensors of the last inference, by name."""
        made = {}
        for name in self._outputs:
            with self._locked(name, READ) as place:
                made[name] = place.copy()
        return made

    @contextlib.contextmanager
    def _locked(self, name: str, mode: int) -> Iterator[Any]:
        """Give a tensor's memory as an array."""
        import numpy as np

        type_ = self._inputs[name] if mode == WRITE else self._outputs[name]
        handle, address = self._memory[name], Handle()
        self._engine.call("LockTensorBuffer", handle, ctypes.byref(address), mode)
        try:
            place: Any = (ctypes.c_char * _size(type_)).from_address(address.value or 0)
            yield np.frombuffer(place, dtype=type_.dtype).reshape(type_.shape)
        finally:
            self._engine.call("UnlockTensorBuffer", handle)

    def end_profile(self) -> Path | None:
        """Write the profile and return its file."""
        if self._profile_to is None:
            return None
        count = ctypes.c_int()
        with _explained("cannot give its profile"):
            self._engine.call("StopProfiler", self._profiler)
            self._engine.call("GetNumProfilerEvents", self._profiler, ctypes.byref(count))
            events = (ProfilerEvent * count.value)()
            self._engine.call("GetProfilerEvents", self._profiler, count, events)
        path = self._profile_to / profile.NAME
        profile.write(path, _told(events))
        return path


def _told(events: Iterable[ProfilerEvent]) -> Iterator[profile.Told]:
    for event in events:
        if event.type in profile.TYPES:
            name = (event.tag or b"").decode(errors="replace")
            yield name, event.type, event.index, event.start_us, event.elapsed_us


def _compiled(
    engine: Library,
    path: Path,
    chosen: Mapping[str, str | int],
    profiled: bool,
    freed: contextlib.ExitStack,
) -> tuple[Handle, Handle]:
    """Return a program compiled, and as it was read."""
    model = engine.make("CreateModelFromBuffer", engine.environment, *_mapped(path, freed))
    freed.callback(engine.destroy, "Model", model)
    made = engine.make("CreateOptions")
    try:
        engine.call("SetOptionsHardwareAccelerators", made, 1)
        engine.add_options(made, "xnnpack", _kernel_options(chosen))
        engine.add_options(made, "runtime_options_string", _runtime_options(profiled))
        with muted():
            compiled = engine.make("CreateCompiledModel", engine.environment, model, made)
    finally:
        engine.destroy("Options", made)
    freed.callback(engine.destroy, "CompiledModel", compiled)
    return compiled, model


def _kernel_options(chosen: Mapping[str, str | int]) -> str:
    lines = [
        f"num_threads = {chosen['num_threads']}",
        f'kernel_mode = "{chosen["kernel_mode"]}"',
    ]
    if chosen["force_fp16"] == "on":
        lines.append(f"flags = {_XNNPACK_FLAGS}")
    return "\n".join(lines)


def _runtime_options(profiled: bool) -> str:
    # Errors are kept, and told when they are asked for.
    return f"error_reporter_mode = 2\nenable_profiling = {str(profiled).lower()}"


def _mapped(path: Path, freed: contextlib.ExitStack) -> tuple[Any, ctypes.c_size_t]:
    """Return a file's memory and its size; it stays there until the session is closed."""
    try:
        with path.open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    except (OSError, ValueError) as error:  # an empty file cannot be mapped
        if getattr(error, "errno", None) == errno.ENOMEM:
            raise MemoryError(str(error)) from error
        reason = getattr(error, "strerror", None) or error
        raise EngineError(f"{path} could not be read ({reason}).", "Check the path.") from error
    place = (ctypes.c_char * len(mapped)).from_buffer(mapped)
    freed.callback(lambda held: None, place)
    return place, ctypes.c_size_t(len(mapped))


def _tensors(engine: Library, signature: Handle, side: str) -> Iterator[tuple[str, TensorType]]:
    """Give the inputs or outputs of a program by the names that its signature has for them."""
    for i in range(engine.count(f"GetNumSignature{side}s", signature)):
        index = ctypes.c_size_t(i)
        name = engine.text(f"GetSignature{side}Name", signature, index)
        tensor = engine.make(f"GetSignature{side}TensorByIndex", signature, index)
        type_ = TensorType()
        engine.call("GetRankedTensorType", tensor, ctypes.byref(type_))
        yield name, type_


def _demand_sizes(path: Path, tensors: Mapping[str, TensorType]) -> None:
    for name, type_ in tensors.items():
        if not type_.dtype or any(size <= 0 for size in type_.shape):
            what = "fixed shape" if type_.dtype else "type that NumPy has"
            raise EngineError(
                f"The tensor '{name}' of {path.name} has no {what}.",
                "Export the model with fixed shapes, and numbers as inputs and outputs.",
            )


def _size(type_: TensorType) -> int:
    import numpy as np

    return int(np.prod(type_.shape, dtype=np.int64)) * np.dtype(type_.dtype).itemsize


def _memory(engine: Library, type_: TensorType, freed: contextlib.ExitStack) -> Handle:
    made = engine.buffer(type_, _size(type_))
    freed.callback(engine.destroy, "TensorBuffer", made)
    return made


def _check_inputs(inputs: Mapping[str, Tensor], expected: Mapping[str, TensorType]) -> None:
    if set(inputs) != set(expected):
        raise _unfit(
            f"The program takes {', '.join(expected)}, and {', '.join(inputs) or 'nothing'} "
            "was given."
        )
    for name, tensor in inputs.items():
        type_ = expected[name]
        if tensor.dtype != type_.dtype:
            raise _unfit(
                f"The input '{name}' is {tensor.dtype}, and the program takes {type_.dtype}."
            )
        if tensor.shape != type_.shape:
            raise _unfit(
                f"The input '{name}' is {tensor.shape}, and the program takes {type_.shape}."
            )


def _unfit(what: str) -> EngineError:
    return EngineError(what, "Give inputs as the program's manifest lists them, or export it anew.")


@contextlib.contextmanager
def _explained(
    what: str, said: Callable[[], str] = lambda: "", remedy: str = _EXPORT_AGAIN
) -> Iterator[None]:
    """Say in words what the engine refuses to do.

    Args:
        what: it could not do.
        said: tells what the engine has to say about it.
        remedy: what to do then.
    """
    try:
        yield
    except Refusal as refusal:
        reason = " ".join(f"{refusal}: {said()}".split()).rstrip(":. ")[:400]
        if refusal.is_memory:
            raise MemoryError(reason) from refusal
        raise EngineError(f"LiteRT {version()} {what} ({reason}).", remedy) from refusal


def open_session(request: SessionRequest) -> LitertSession:
    """Load a ``.tflite`` file, which names its inputs and outputs itself.

    Raises:
        UsageError: an option has no such value.
        EngineError: it is not installed, the file cannot be loaded, or the inputs are not those of
            the program.
    """
    return LitertSession(request)


def read_tensors(request: SessionRequest, names: Collection[str]) -> dict[str, Tensor]:
    """Run a file once with the engine's own kernels, and return the inner tensors that it has.

    Raises:
        EngineError: it cannot be run.
    """
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    try:
        interpreter = Interpreter(
            model_content=request.path.read_bytes(),  # by its path it would not be checked
            num_threads=request.threads,
            experimental_preserve_all_tensors=True,
            experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        )
        interpreter.allocate_tensors()
        signature = next(iter(interpreter.get_signature_list()))
        interpreter.get_signature_runner(signature)(**request.inputs)
        places = {about["name"]: about["index"] for about in interpreter.get_tensor_details()}
        return {name: interpreter.get_tensor(places[name]) for name in names if name in places}
    except (OSError, ValueError, RuntimeError, KeyError, StopIteration) as error:
        reason = " ".join(str(error).split())[:300].rstrip(". ")
        raise EngineError(
            f"LiteRT {version()} cannot show the tensors of {request.path.name} ({reason}).",
            _EXPORT_AGAIN,
        ) from error


def read_profile(artifact: Artifact, path: Path, runs: int) -> OperatorTimes:
    """Read a profile and place its operators in the network's modules.

    Times are whole microseconds, cut off. What does not fit the program is a finding.

    Raises:
        EngineError: the profile is incomplete.
    """
    try:
        inferences = profile.read(path)
    except profile.BadProfileError as error:
        raise _broken(str(error)) from error
    if len(inferences) < max(runs, 1):
        raise _broken(f"it has {len(inferences)} inferences of {runs}")
    counted = inferences[-runs:]
    ran = [[event[:3] for event in inference] for inference in counted]
    if any(each != ran[0] for each in ran):
        raise _broken("its inferences did not run the same operators")
    if not ran[0]:
        raise _broken("it has no operator in it")
    return litert.place(artifact, counted)


def _broken(what: str) -> EngineError:
    return EngineError(
        f"The profile of LiteRT cannot be used: {what}.",
        "Use --no-breakdown, or report this with the versions of ai-edge-litert and mvdeploy.",
    )
