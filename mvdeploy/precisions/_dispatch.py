"""Computing otherwise whatever operators a network runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any


def dispatching(compute: Callable[[Any, tuple[Any, ...], dict[str, Any]], Any]) -> Any:
    """Return a context in which operators are run by ``compute(operator, args, kwargs)``."""
    from mvdeploy.dispatch import DispatchMode

    class Mode(DispatchMode):  # type: ignore[no-untyped-call]
        def __torch_dispatch__(
            self,
            func: Any,
            types: object,
            args: tuple[Any, ...] = (),
            kwargs: Mapping[str, Any] | None = None,
        ) -> Any:
            return compute(func, args, dict(kwargs or {}))

    mode: AbstractContextManager[Any] = Mode()  # type: ignore[no-untyped-call]
    return mode
