"""What engines share that run in a browser: how they are reached, and that they are not here."""

from __future__ import annotations

from typing import NoReturn

from mvdeploy.errors import EngineError, UsageError
from mvdeploy.plugins import Option

ARCHITECTURE = "wasm"
NoSession = NoReturn

PROVIDER = Option(
    "provider",
    "--web-provider",
    "In browsers: what the engine computes with: WebAssembly on the CPU, WebGPU, or WebNN. "
    "[default: wasm]",
    choices=("wasm", "webgpu", "webnn"),
)


def options(threads: int) -> dict[str, str | int]:
    """Return what a session is opened with; all but the threads are the engines' defaults."""
    return {"provider": "wasm", "num_threads": threads}


def version() -> str:
    """Refuse: the version is that of the files which the browser is given."""
    raise UsageError(
        "An engine of browsers has no version on this machine.", "Use --device chrome."
    )


def refuse(title: str) -> NoReturn:
    """Say that an engine runs in a browser only.

    Raises:
        EngineError: always.
    """
    raise EngineError(f"{title} runs in a browser, not in Python.", "Use --device chrome.")
