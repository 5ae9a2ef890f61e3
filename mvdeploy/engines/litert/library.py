"""LiteRT's C functions, as its package brings them: ``libLiteRt.so``, without headers.

What is declared here is what `mvdeploy/runners/native/engines/litert_abi.h` declares. Python's own
classes have no profiler, and would stand in the timed loop.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.metadata
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mvdeploy.errors import EngineError

PACKAGE = "ai-edge-litert"

Handle = ctypes.c_void_p

_RANK_LIMIT = 8
_RANK_BITS = 0x7F
"""Of the number that holds the rank; the bit above says whether there are strides."""

_ACCELERATORS, _SEVERITY = 24, 25
"""Options of an environment: which accelerators it looks for, and which messages it prints."""
_INTEGER = 2
_CPU, _SILENT = 1, 4

_HOST_MEMORY = 1
READ, WRITE = 0, 1

DTYPES = {
    1: "float32",
    2: "int32",
    3: "uint8",
    4: "int64",
    6: "bool",
    7: "int16",
    8: "complex64",
    9: "int8",
    10: "float16",
    11: "float64",
    12: "complex128",
    13: "uint64",
    16: "uint32",
    17: "uint16",
}
"""Element types that NumPy has, by the engine's numbers."""

_MEANINGS = {
    1: "an invalid argument",
    2: "out of memory",
    3: "it failed at run time",
    4: "an input is missing",
    5: "something that it does not support",
    6: "something that is not there",
    8: "another version made it",
    500: "the file cannot be read",
    501: "it is damaged, or no LiteRT program",
    504: "it could not be compiled",
    1000: "a number in it is out of range",
    1001: "it has operators or tensors of unknown types",
    1002: "its graph is not sound",
}
_MEMORY = 2


class TensorType(ctypes.Structure):
    """Element type and shape of a tensor."""

    _fields_ = (
        ("element", ctypes.c_int32),
        ("rank_bits", ctypes.c_uint32),
        ("sizes", ctypes.c_int32 * _RANK_LIMIT),
        ("strides", ctypes.c_uint32 * _RANK_LIMIT),
    )

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape; a size that is not known is negative."""
        return tuple(self.sizes[: self.rank_bits & _RANK_BITS])

    @property
    def dtype(self) -> str:
        """NumPy's name of its element type; empty for what NumPy lacks."""
        return DTYPES.get(self.element, "")


class ProfilerEvent(ctypes.Structure):
    """Something that the profiler saw."""

    _fields_ = (
        ("tag", ctypes.c_char_p),
        ("type", ctypes.c_int32),
        ("start_us", ctypes.c_uint64),
        ("elapsed_us", ctypes.c_uint64),
        ("memory", ctypes.c_size_t * 6),
        ("index", ctypes.c_uint64),
        ("more", ctypes.c_uint64),
        ("source", ctypes.c_int32),
    )


class _EnvironmentOption(ctypes.Structure):
    _fields_ = (("tag", ctypes.c_int32), ("type", ctypes.c_int64), ("value", ctypes.c_int64))


class Refusal(Exception):
    """What a function of the engine returned instead of success.

    Attributes:
        status: its number.
    """

    def __init__(self, status: int) -> None:
        super().__init__(_MEANINGS.get(status, f"error {status}"))
        self.status = status

    @property
    def is_memory(self) -> bool:
        """Whether memory ran out."""
        return self.status == _MEMORY


def _checked(status: int) -> None:
    if status:
        raise Refusal(status)


class Library:
    """The engine's functions. Those that fail raise a `Refusal`.

    Args:
        path: of ``libLiteRt.so``.
    """

    def __init__(self, path: Path) -> None:
        self._functions = ctypes.CDLL(str(path))
        self.environment = self._environment()

    def call(self, name: str, *arguments: Any) -> None:
        """Call one that returns whether all went well."""
        self.function(name)(*arguments)

    def function(self, name: str) -> Callable[..., None]:
        """Return one of those as something that can be called."""
        function: Any = self._functions[f"LiteRt{name}"]
        function.restype = _checked
        return function  # type: ignore[no-any-return]

    def make(self, name: str, *arguments: Any) -> Handle:
        """Return what one hands out through its last argument."""
        made = Handle()
        self.call(name, *arguments, ctypes.byref(made))
        return made

    def count(self, name: str, *arguments: Any) -> int:
        """Return a number that one writes to its last argument."""
        number = ctypes.c_size_t()
        self.call(name, *arguments, ctypes.byref(number))
        return number.value

    def text(self, name: str, *arguments: Any) -> str:
        """Return a text that one hands out through its last argument; it stays the engine's."""
        text = ctypes.c_char_p()
        self.call(name, *arguments, ctypes.byref(text))
        return (text.value or b"").decode(errors="replace")

    def destroy(self, name: str, handle: Handle) -> None:
        """Free what `make` returned."""
        function = self._functions[f"LiteRtDestroy{name}"]
        function.restype = None
        function(handle)

    def add_options(self, options: Handle, reader: str, text: str) -> None:
        """Add options, which are lines of ``name = value``, for a part of the engine.

        Args:
            options: to add them to.
            reader: the name by which that part looks for them.
            text: the lines.
        """
        libc = ctypes.CDLL(None)
        libc.strdup.restype = Handle
        copy = Handle(libc.strdup(text.encode()))
        free = ctypes.cast(libc.free, Handle)
        made = self.make("CreateOpaqueOptions", reader.encode(), copy, free)
        self.call("AddOpaqueOptions", options, made)

    def buffer(self, type_: TensorType, size: int) -> Handle:
        """Return memory for a tensor."""
        arguments = ctypes.byref(type_), ctypes.c_size_t(size)
        return self.make("CreateManagedTensorBuffer", self.environment, _HOST_MEMORY, *arguments)

    def error_messages(self, compiled: Handle) -> str:
        """Return what a program's part of the engine has to say."""
        text = Handle()
        self.call("CompiledModelGetErrorMessages", compiled, ctypes.byref(text))
        if not text.value:
            return ""
        said = ctypes.string_at(text.value).decode(errors="replace")
        ctypes.CDLL(None).free(text)
        return said

    def _environment(self) -> Handle:
        """Return what all programs of a process share.

        Without these options it looks for libraries of graphics processors, and tells of it.
        """
        options = (_EnvironmentOption * 2)(
            _EnvironmentOption(_ACCELERATORS, _INTEGER, _CPU),
            _EnvironmentOption(_SEVERITY, _INTEGER, _SILENT),
        )
        return self.make("CreateEnvironment", len(options), options)


@functools.cache
def loaded() -> Library:
    """Return the engine's functions.

    Raises:
        EngineError: it is not installed, or cannot be loaded.
    """
    try:
        package = importlib.metadata.distribution(PACKAGE)
    except importlib.metadata.PackageNotFoundError as error:
        raise EngineError(
            f"LiteRT is not installed here ({PACKAGE}).", f"Install it: pip install {PACKAGE}."
        ) from error
    folder = Path(str(package.locate_file("ai_edge_litert")))
    path = next(iter(sorted(folder.glob("libLiteRt.*"))), folder / "libLiteRt.so")
    try:
        return Library(path)
    except (OSError, AttributeError, Refusal) as error:
        raise EngineError(
            f"The library of LiteRT cannot be used ({error}).",
            f"Install it again: pip install --force-reinstall {PACKAGE}.",
        ) from error
