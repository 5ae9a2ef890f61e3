"""What engines share that run in a browser: how they are reached, and that they are not here."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from mvdeploy.errors import EngineError, UsageError
from mvdeploy.plugins import Option

if TYPE_CHECKING:
    from collections.abc import Collection

    from mvdeploy.engines import EngineSession, SessionRequest, Tensor

ARCHITECTURE = "wasm"
PACKAGES: tuple[str, ...] = ()
RUNNERS = ("web",)
PROFILE_COMPANIONS: tuple[str, ...] = ()

PROVIDER = Option(
    "provider",
    "--web-provider",
    "In browsers: what the engine computes with: WebAssembly on the CPU, WebGPU, or WebNN. "
    "[default: wasm]",
    choices=("wasm", "webgpu", "webnn"),
)
OPTIONS = (PROVIDER,)


def options(threads: int) -> dict[str, str | int]:
    """Return what a session is opened with; all but the threads are the engines' defaults."""
    return {"provider": "wasm", "num_threads": threads}


def version() -> str:
    """Refuse: the version is that of the files which the browser is given."""
    raise UsageError(
        "An engine of browsers has no version on this machine.", "Use --device chrome."
    )


def start() -> NoReturn:
    """Refuse: it runs in a browser.

    Raises:
        EngineError: always.
    """
    raise EngineError("This engine runs in a browser, not in Python.", "Use --device chrome.")


def open_session(request: SessionRequest) -> EngineSession:
    """Refuse, as `start` does."""
    start()


def read_tensors(request: SessionRequest, names: Collection[str]) -> dict[str, Tensor]:
    """Return none: no inner tensors are shown."""
    return {}
