"""Word what exporters say when they fail: the reason, and where in the network it lies."""

from __future__ import annotations

import gc
import re
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from mvdeploy.errors import EngineError, MvdeployError
from mvdeploy.files import writing
from mvdeploy.formats import Subject
from mvdeploy.quiet import quiet

if TYPE_CHECKING:
    from torch import fx

_LINE = re.compile(r'File "([^"]+)", line (\d+), in (\w+)')
_BRANCHES = ("GuardOnDataDependent", "DataDependent")
_LIBRARIES = ("site-packages", "dist-packages", "<")


def failed(exporter: str, error: Exception, subject: Subject, lacking: str) -> EngineError:
    """Return the error for an export that failed.

    Args:
        exporter: its name.
        error: what it raised.
        subject: what was exported.
        lacking: regular expression for what it says of an operator that it has not; its first group
            is the operator's name.

    Raises:
        OSError: the disk refused what it wrote.
    """
    _release(error)
    if (refusal := writing.cause(error)) is not None:
        raise refusal
    cause: BaseException = error
    while cause.__cause__ is not None and not isinstance(cause, MvdeployError):
        cause = cause.__cause__
    text = str(cause)
    if any(kind in type(cause).__name__ for kind in _BRANCHES):
        return EngineError(
            f"The network branches on values that it computes{_where(text)}, which {exporter} "
            "cannot export.",
            "Write the branch with torch.where or torch.cond, or without looking at values.",
        )
    operator = re.search(lacking, text)
    if operator is not None:
        name = operator[1]
        return EngineError(
            f"{exporter} has no counterpart of the operator {name}{_place(name, subject)}.",
            "Write that part of the network with other operators, or give another --format.",
        )
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    reason = lines[0].rstrip(".") if lines else type(cause).__name__
    return EngineError(
        f"{exporter} failed: {reason}{_where(text)}.",
        "Run again with --debug for all that it says, or give another --format.",
    )


def _release(error: BaseException | None) -> None:
    """Free what a failed export held, such as temporary folders, while nobody hears of it."""
    with quiet(errors=True):
        while error is not None:
            traceback.clear_frames(error.__traceback__)
            error = error.__cause__ or error.__context__
        gc.collect()


def _where(text: str) -> str:
    """Return the innermost line of a trace in a message that is no library's."""
    places = [m for m in _LINE.finditer(text) if not any(part in m[1] for part in _LIBRARIES)]
    return f" ({Path(places[-1][1]).name}, line {places[-1][2]})" if places else ""


def _place(operator: str, subject: Subject) -> str:
    """Return which module an operator comes from, and the line, by tracing the network again."""
    import torch

    wanted = operator.replace("::", ".")
    try:
        traced = torch.export.export(subject.network, subject.examples)
    except Exception:
        return ""
    for node in traced.graph.nodes:
        if node.op == "call_function" and _is(node, wanted):
            stack = list(node.meta.get("nn_module_stack", {}).values())
            module = stack[-1][0] if stack else ""
            named = f"the module '{module}'" if module else "the network itself"
            return f", which {named} uses{_where(node.meta.get('stack_trace') or '')}"
    return ""


def _is(node: fx.Node, wanted: str) -> bool:
    """Whether a node is of an operator, with or without its library's name and its overload."""
    name = str(node.target)
    return wanted in (name, name.rpartition(".")[0], name.partition(".")[2]) or wanted in (
        name.partition(".")[2].partition(".")[0],
    )
