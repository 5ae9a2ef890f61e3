"""The options that ask for more than the latency of the inference."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from mvdeploy.pipeline.bench import Request

F = TypeVar("F", bound=Callable[..., Any])


def options(command: F) -> F:
    """Add the options; `asked` reads them."""
    return click.option(
        "--pipeline",
        is_flag=True,
        help="Time also what an app does around the inference: decode the picture, resize, "
        "normalise, and post-processing.",
    )(command)


def asked(request: Request, given: Mapping[str, Any]) -> Request:
    """Return what is to be measured with what these options ask for."""
    return dataclasses.replace(request, pipeline=given["pipeline"])
