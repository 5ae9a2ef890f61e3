"""ONNX Runtime in a browser: WebAssembly with SIMD and threads, WebGPU or WebNN.

Its profile is that of ONNX Runtime, but it cannot save the graph that it runs. The native engine
makes the same one of a file when it does not change layouts for the processor, which no browser
does: with both, operators are placed as those of the native engine are.
"""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import TYPE_CHECKING

from mvdeploy.engines import WebPlugin, onnxruntime
from mvdeploy.engines._in_browser import (
    ARCHITECTURE,
    OPTIONS,
    PACKAGES,
    PROFILE_COMPANIONS,
    RUNNERS,
    open_session,
    options,
    read_tensors,
    start,
    version,
)
from mvdeploy.errors import EngineError, reason
from mvdeploy.records import Artifact, OperatorTimes

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "ARCHITECTURE",
    "OPTIONS",
    "PACKAGES",
    "PROFILE_COMPANIONS",
    "RUNNERS",
    "open_session",
    "options",
    "read_tensors",
    "start",
    "version",
]

TITLE = "ONNX Runtime Web"
FORMATS = ("onnx",)

_WASM, _GPU = "ort-wasm-simd-threaded", "ort-wasm-simd-threaded.asyncify"
_NAMES = ("ort.wasm.min.mjs", f"{_WASM}.mjs", f"{_WASM}.wasm")
_GPU_NAMES = ("ort.webgpu.min.mjs", f"{_GPU}.mjs", f"{_GPU}.wasm")

_PROVIDERS = re.compile(r'"provider"\s*:\s*"(\w+?)ExecutionProvider"')

WEB = WebPlugin(
    package="onnxruntime-web",
    tried="1.30.0",
    files={f"onnxruntime-web/dist/{name}": name for name in (*_NAMES, *_GPU_NAMES)},
)


def prefers(format_name: str, precision: str) -> Mapping[str, str]:
    """Return with which options programs run fastest: with operators of its own."""
    return onnxruntime.prefers(format_name, precision)


def lacks(precision: str, architecture: str) -> str:
    """Return why programs of a precision cannot be run; empty if they can."""
    return onnxruntime.lacks(precision, architecture)


def emulated(precision: str, architecture: str) -> str:
    """Return in what a precision is computed that WebAssembly has no kernels for, or nothing."""
    return "WebAssembly computes fp16 as fp32 between casts" if precision == "fp16" else ""


def complete_profile(model: Path, folder: Path) -> None:
    """Write the graph that the engine runs beside a profile, as the native engine makes it.

    Raises:
        EngineError: the native engine is not installed, or cannot load the file.
    """
    try:
        import onnxruntime as native
    except ImportError as error:
        raise EngineError(
            "Operators of ONNX Runtime Web are placed by the graph that the native engine makes, "
            "and that is not installed.",
            "Install onnxruntime, or use --no-breakdown.",
        ) from error
    settings = native.SessionOptions()
    settings.log_severity_level = 4
    settings.optimized_model_filepath = str(folder / onnxruntime.GRAPH)
    # Its weights are not needed.
    settings.add_session_config_entry(
        "session.optimized_model_external_initializers_file_name", onnxruntime.WEIGHTS
    )
    try:
        native.InferenceSession(
            str(model),
            settings,
            providers=["CPUExecutionProvider"],
            disabled_optimizers=["NchwcTransformer"],
        )
    except Exception as error:
        raise EngineError(
            f"The graph of {model.name} could not be made ({reason(error)}).",
            "Use --no-breakdown, or export the model again.",
        ) from error
    (folder / onnxruntime.WEIGHTS).unlink(missing_ok=True)


def read_profile(artifact: Artifact, path: Path, runs: int) -> OperatorTimes:
    """Read the engine's profile and place its nodes in the network's modules.

    Raises:
        EngineError: the profile is incomplete or does not fit its graph, which is that of the
            processor.
    """
    with contextlib.suppress(OSError, UnicodeDecodeError):
        elsewhere = set(_PROVIDERS.findall(path.read_text(encoding="utf-8")))
        if others := sorted(elsewhere - {"CPU"}):
            raise EngineError(
                f"The operators that run by {' and '.join(others)} are those of another graph than "
                "the processor's, which the engine does not give.",
                "Use --no-breakdown, or measure WebAssembly.",
            )
    return onnxruntime.read_profile(artifact, path, runs)
