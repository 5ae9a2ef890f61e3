"""The environment that the process was started with.

Libraries write into the environment when they are imported. What they write reaches the runner, and
which of them are imported depends on whether an export was kept: a result must not.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping

_remembered: dict[str, str] | None = None


@contextlib.contextmanager
def remembered(own: Mapping[str, str] | None = None) -> Iterator[None]:
    """Take an environment for that which the process was started with.

    Args:
        own: the environment; None for what it is now.
    """
    global _remembered
    _remembered = dict(os.environ if own is None else own)
    try:
        yield
    finally:
        _remembered = None


def environment() -> dict[str, str]:
    """Return the environment that the command was started with; as it is now outside of one."""
    return dict(os.environ) if _remembered is None else dict(_remembered)
