"""LiteRT in a browser, which is XNNPACK in WebAssembly; also WebGPU or WebNN. It has no profiler."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mvdeploy.engines import WebPlugin, _in_browser
from mvdeploy.engines._in_browser import PROVIDER, options, refuse, version
from mvdeploy.errors import EngineError
from mvdeploy.records import Artifact, OperatorTimes

if TYPE_CHECKING:
    from collections.abc import Collection

    from mvdeploy.engines import SessionRequest, Tensor

__all__ = ["options", "version"]

TITLE = "LiteRT.js"
FORMATS = ("litert",)
PACKAGES = ()
RUNNERS = ("web",)
ARCHITECTURE = _in_browser.ARCHITECTURE
PROFILE_COMPANIONS = ()
OPTIONS = (PROVIDER,)
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


def start() -> None:
    """Refuse: it runs in a browser."""
    refuse(TITLE)


def open_session(request: SessionRequest) -> _in_browser.NoSession:
    """Refuse: it runs in a browser."""
    return refuse(TITLE)


def read_tensors(request: SessionRequest, names: Collection[str]) -> dict[str, Tensor]:
    """Return none: it shows no inner tensors."""
    return {}


def read_profile(artifact: Artifact, path: Path, runs: int) -> OperatorTimes:
    """Refuse: there is no profile."""
    raise EngineError(f"{NO_PROFILER}.", "Use --no-breakdown.")
