"""LiteRT in a browser: XNNPACK in WebAssembly, WebGPU or WebNN. It has no profiler."""

from __future__ import annotations

from pathlib import Path

from mvdeploy.engines import WebPlugin
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
from mvdeploy.errors import EngineError
from mvdeploy.records import Artifact, OperatorTimes

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

TITLE = "LiteRT.js"
FORMATS = ("litert",)
NO_PROFILER = "LiteRT.js has no profiler"

_SCRIPTS = ("litert_wasm_internal", "litert_wasm_threaded_internal")

WEB = WebPlugin(
    package="@litertjs/core",
    tried="2.5.3",
    files={
        "@litertjs/core/dist/index.js": "index.js",
        "@litertjs/wasm-utils/dist/index.js": "wasm-utils.js",
        **{
            f"@litertjs/core/wasm/{name}.{ending}": f"{name}.{ending}"
            for name in _SCRIPTS
            for ending in ("js", "wasm")
        },
    },
    imports={"@litertjs/wasm-utils": "wasm-utils.js"},
    modules={f"{name}.js": "ModuleFactory" for name in _SCRIPTS},
)


def lacks(precision: str, architecture: str) -> str:
    """Return why a precision cannot be run; all can."""
    return ""


def emulated(precision: str, architecture: str) -> str:
    """Return in what a precision is computed that WebAssembly has no kernels for, or nothing."""
    return "WebAssembly has no half precision" if precision == "fp16" else ""


def read_profile(artifact: Artifact, path: Path, runs: int) -> OperatorTimes:
    """Refuse: there is no profile."""
    raise EngineError(f"{NO_PROFILER}.", "Measure with another engine for a breakdown.")
