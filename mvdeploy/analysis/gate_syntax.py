"""`Gate`: what can be demanded of a result, and how it is typed: ``p50:5%``.

==================================  ======  ======================================================
metric                              limit   the gate fails when
==================================  ======  ======================================================
``p50 p90 p95 p99 mean load first`` ``%``   it takes longer than in the reference by more than
                                            that, and the interval of the ratio lies above 1
the same                            ``ms``  it takes longer than that
``memory``                          ``MB``  the peak is above that
``pipeline``                        ``ms``  from a picture's bytes to an answer it takes longer
                                            (with ``--pipeline``)
a category, ``unattributed``        ``%``   its share of the latency is above that
the same                            ``ms``  it takes longer than that
==================================  ======  ======================================================
"""

from __future__ import annotations

import dataclasses
import decimal
import math
import re
from collections.abc import Sequence

from mvdeploy import plugins
from mvdeploy.errors import UsageError
from mvdeploy.records import Category
from mvdeploy.text_format import clean, elide

UNATTRIBUTED = "unattributed"

LATENCIES = ("p50", "p90", "p95", "p99", "mean")
TIMES = (*LATENCIES, "load", "first")
MEMORY, PIPELINE = "memory", "pipeline"
METRICS = (*TIMES, MEMORY, PIPELINE, *Category.declared(), UNATTRIBUTED)
"""What a gate can be about, beside the categories that only the network knows."""

_UNITS = {"%": "%", "ms": "ms", "mb": "MB"}

_ALIASES = {
    "latency": "p50",
    "median": "p50",
    "first-inference": "first",
    "peak-memory": "memory",
    "conv": str(Category.CONVOLUTION),
    "unfold": str(Category.FOLD),
    "fold-unfold": str(Category.FOLD),
    "attn": str(Category.ATTENTION),
    "mlp": str(Category.FFN),
    "feed-forward": str(Category.FFN),
    "pre-post": str(Category.PRE_AND_POST),
    "pre-and-post-processing": str(Category.PRE_AND_POST),
}

_SHAPE = "Give METRIC:LIMIT with a unit, as in p50:5%, p99:20ms, memory:200MB or attention:40%."
_ID = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_LIMIT = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*([^\s0-9.]*)")


@dataclasses.dataclass(frozen=True)
class Gate:
    """A demand on every case of a run.

    Attributes:
        metric: one of `METRICS`, or the id of another category.
        limit: number in `unit`, 0 or more.
        unit: ``%``, ``ms`` or ``MB`` (1e6 bytes).
    """

    metric: str
    limit: float
    unit: str

    @property
    def relative(self) -> bool:
        """Whether it compares with a reference."""
        return self.metric in TIMES and self.unit == "%"

    @property
    def of_part(self) -> bool:
        """Whether it is about a part of the latency."""
        return self.metric not in (*TIMES, MEMORY, PIPELINE)

    @property
    def limit_text(self) -> str:
        """The limit as reports print it: ``5 %``."""
        return f"{_plain(self.limit)} {self.unit}"

    def __str__(self) -> str:
        """Return what `parse` reads as this gate: ``p50:5%``."""
        return f"{self.metric}:{_plain(self.limit)}{self.unit}"


def parse(text: str) -> Gate:
    """Read a gate: ``METRIC:NUMBER UNIT``, in upper or lower case, with or without spaces.

    Raises:
        UsageError: it is none; names the text and what is allowed.
    """
    shown = elide(clean(text), 60)
    name, _, rest = text.partition(":")
    match = _LIMIT.fullmatch(rest.strip())
    if match is None or not name.strip():
        raise UsageError(f"'{shown}' is no gate.", _SHAPE)
    metric = _metric(name, shown)
    limit, unit = float(match[1]), _UNITS.get(match[2].lower(), match[2])
    allowed = {MEMORY: ("MB",), PIPELINE: ("ms",)}.get(metric, ("%", "ms"))
    if unit not in allowed:
        raise _wrong_unit(shown, metric, unit, allowed)
    if not math.isfinite(limit):
        raise UsageError(f"'{shown}' is no gate: its limit is too large.", _SHAPE)
    gate = Gate(metric, limit, unit)
    if gate.of_part and unit == "%" and limit > 100:
        raise UsageError(
            f"'{shown}' is no gate: no part of a latency is above 100 % of it.",
            "Give a share from 0 to 100 %, or a limit in ms.",
        )
    return gate


def _metric(name: str, shown: str) -> str:
    key = re.sub(r"[\s_/-]+", "-", name.strip().lower())
    metric = _ALIASES.get(key, key)
    # A network may have categories of its own: whether it has this one is known when it has run.
    if metric not in METRICS and not (len(metric) <= 40 and _ID.fullmatch(metric)):
        error = plugins.unknown("metric", elide(clean(key), 30), METRICS)
        raise UsageError(f"'{shown}' is no gate: its metric is not known.", error.remedy)
    return metric


def _wrong_unit(shown: str, metric: str, unit: str, allowed: Sequence[str]) -> UsageError:
    if metric == MEMORY and unit == "%":
        return UsageError(
            f"'{shown}' is no gate: peak memory is a single figure without an interval, so no "
            "change of it can be told from chance.",
            "Give an upper limit in MB, as in memory:200MB.",
        )
    problem = (
        f"'{elide(clean(unit), 20)}' is no unit of {metric}" if unit else "its limit has no unit"
    )
    return UsageError(
        f"'{shown}' is no gate: {problem}.",
        f"Give {metric} a limit in {' or '.join(allowed)}, as in {metric}:20{allowed[0]}.",
    )


def _plain(number: float) -> str:
    """Return a number without an exponent, with all its digits, so that it reads back the same."""
    return f"{decimal.Decimal(repr(number)):f}".removesuffix(".0")
