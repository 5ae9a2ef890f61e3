"""LiteRT (``.tflite``): torch.export, then converted by litert-torch.

LiteRT runs what XNNPACK takes inside of delegates, without a call for each operator. A network that
is written for it (`formulation`) is one delegate as a whole.
"""

from __future__ import annotations

import importlib.util
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mvdeploy import export
from mvdeploy.errors import MvdeployError, UsageError
from mvdeploy.export import Subject, Written
from mvdeploy.export._failures import failed
from mvdeploy.export._tracing import trace
from mvdeploy.files import writing
from mvdeploy.quiet import quiet

SUFFIX = ".tflite"
PACKAGES = ("torch", "litert-torch", "litert-converter", "ai-edge-litert")
PRECISIONS = ("fp32",)

_LACKING = r"Lowering not found: ([\w:.]+)"


def formulation(options: export.Options) -> str:
    """Return how the network is written: with nothing but what XNNPACK takes."""
    return "delegable"


def check(options: export.Options) -> None:
    """Refuse to write files where nothing converts to them; nothing heavy is imported.

    Raises:
        UsageError: see above.
    """
    if all(map(importlib.util.find_spec, ("litert_torch", "litert_converter"))):
        return
    machine = platform.machine()
    if machine in ("aarch64", "arm64") and platform.system() == "Linux":
        raise UsageError(
            f"There is no converter to LiteRT for this machine ({machine}).",
            "Export on a machine with x86-64, or on a Mac, and bring the file and its manifest.",
        )
    raise UsageError(
        "The converter to LiteRT is not installed.", "Install it: pip install 'mvdeploy[litert]'."
    )


def write(subject: Subject, path: Path, options: export.Options) -> Written:
    """Write a ``.tflite`` file.

    Raises:
        EngineError: torch.export or the converter failed, or an operator cannot be placed.
    """
    with _engine_errors(subject):
        from mvdeploy.export.litert import conversion, delegation, naming

        program = trace(subject)
        converted = conversion.convert(program, subject.inputs, subject.outputs)
        named = naming.named(converted, subject)
        operators, delegates = delegation.found(named.data, named.operators)
    writing.fill(path, named.data)
    return Written(operators=operators, backend="xnnpack", delegation=delegates)


@contextmanager
def _engine_errors(subject: Subject) -> Iterator[None]:
    """Turn whatever torch and litert-torch raise into an `EngineError`."""
    try:
        with quiet(errors=True):
            yield
    except MvdeployError:
        raise
    except Exception as error:
        raise failed("LiteRT", error, subject, _LACKING) from error
