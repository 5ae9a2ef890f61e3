"""Options that say how a device is reached; each link declares its own."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

from mvdeploy import links
from mvdeploy.cli.declared_options import declared

F = TypeVar("F", bound=Callable[..., Any])


def options(command: F) -> F:
    """Add the options of all links to a command.

    It is given one value for all of them, ``link_options``: what was typed, and what the
    environment says where nothing was, as `mvdeploy.links` takes it.
    """

    @functools.wraps(command)
    def resolved(*args: Any, link_options: Mapping[str, Any], **given: Any) -> Any:
        return command(*args, **given, link_options=links.resolve(link_options))

    return cast(F, declared("link_options", links.declared())(resolved))
