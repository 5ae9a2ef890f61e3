"""By which power of its size a network's time grows: regression of logarithms.

A size has an error of its own: what sessions differ in, and what departs from a power law at just
this size, such as a map whose rows fill the vector registers badly. Two intervals know of that:
that of the residuals, with two degrees of freedom less than there are sizes, and that of the spread
between the sessions of each size. The wider one is told, so that three sizes that happen to lie on
a line are not taken for certainty.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from mvdeploy.stats.interval import t_quantile

FEW = 4
"""Sizes below which a straight line says little: with three, one degree of freedom is left."""

METHOD = (
    "least squares on logarithms, of the mean over sessions of each size; the interval is the "
    "wider of that of the residuals and that of the spread between sessions, by Student's t"
)
"""How exponents are estimated, in words for reports."""


@dataclasses.dataclass(frozen=True)
class Scaling:
    """A power law that fits the times of several sizes.

    Attributes:
        exponent: time grows as size to this.
        low: lower end of its interval; None where nothing tells how far it may be off.
        high: upper end likewise.
        level: confidence of the interval.
        sizes: how many there are.
        factor: logarithm of the time at size 1.
        departure: largest departure of a size from the line, as a share of its time.
        from_sessions: whether the spread between sessions made the interval, and not the residuals.
    """

    exponent: float
    low: float | None
    high: float | None
    level: float
    sizes: int
    factor: float
    departure: float
    from_sessions: bool

    @property
    def few(self) -> bool:
        """Whether there are too few sizes to tell a power law from another curve."""
        return self.sizes < FEW

    def at(self, size: float) -> float:
        """Return the time that the line has at a size, in the unit of the times."""
        return math.exp(self.factor + self.exponent * math.log(size))

    def holds(self, exponent: float) -> bool:
        """Say whether another exponent lies in the interval."""
        return self.low is None or self.high is None or self.low <= exponent <= self.high


@dataclasses.dataclass(frozen=True)
class Measured:
    """The times of one size.

    Attributes:
        size: pixels, tokens or whatever times are held against; above 0.
        logs: logarithm of the time in each session.
    """

    size: float
    logs: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Logarithm of the geometric mean."""
        return math.fsum(self.logs) / len(self.logs)

    @property
    def error2(self) -> float:
        """Squared standard error of the mean."""
        n, mean = len(self.logs), self.mean
        return math.fsum((x - mean) ** 2 for x in self.logs) / (n - 1) / n


def fit(points: Sequence[Measured], level: float = 0.95) -> Scaling:
    """Fit a power law.

    Args:
        points: of two or more different sizes.
        level: confidence of the interval, between 0 and 1.

    Raises:
        ValueError: there are fewer than two sizes, or one has no session.
    """
    if any(not point.logs for point in points):
        raise ValueError("a size has no session")
    x = [math.log(point.size) for point in points]
    y = [point.mean for point in points]
    if len({point.size for point in points}) < 2:
        raise ValueError("an exponent needs two sizes or more")
    middle, square = _spread(x)
    weights = [(value - middle) / square for value in x]
    exponent = math.fsum(w * value for w, value in zip(weights, y, strict=True))
    factor = math.fsum(y) / len(y) - exponent * middle
    residuals = [b - factor - exponent * a for a, b in zip(x, y, strict=True)]
    halves = {
        False: _of_residuals(residuals, square, level),
        True: _of_sessions(points, weights, level),
    }
    known = {sessions: half for sessions, half in halves.items() if half is not None}
    widest = max(known, key=lambda sessions: known[sessions], default=False)
    half = known.get(widest)
    return Scaling(
        exponent,
        None if half is None else exponent - half,
        None if half is None else exponent + half,
        level,
        len(points),
        factor,
        math.expm1(max(map(abs, residuals))),
        widest,
    )


def exponent_of(sizes: Sequence[float], amounts: Sequence[float]) -> float | None:
    """Return the exponent by which amounts without errors grow, such as MACs.

    None with fewer than two sizes, or an amount that has no logarithm.
    """
    if len({*sizes}) < 2 or min(*sizes, *amounts) <= 0:
        return None
    points = [Measured(s, (math.log(a),)) for s, a in zip(sizes, amounts, strict=True)]
    return fit(points).exponent


def _spread(x: Sequence[float]) -> tuple[float, float]:
    """Return the mean, and the sum of the squared distances from it."""
    middle = math.fsum(x) / len(x)
    return middle, math.fsum((value - middle) ** 2 for value in x)


def _of_residuals(residuals: Sequence[float], square: float, level: float) -> float | None:
    """Return half the width of the interval that the residuals give; None on two points."""
    freedom = len(residuals) - 2
    if freedom < 1:
        return None
    variance = math.fsum(r * r for r in residuals) / freedom
    return t_quantile((1 + level) / 2, freedom) * math.sqrt(variance / square)


def _of_sessions(
    points: Sequence[Measured], weights: Sequence[float], level: float
) -> float | None:
    """Return half the width that the spread between sessions gives; None where one is alone."""
    if min(len(point.logs) for point in points) < 2:
        return None
    parts = [
        (w * w * point.error2, len(point.logs) - 1)
        for w, point in zip(weights, points, strict=True)
    ]
    variance = math.fsum(part for part, _ in parts)
    if variance <= 0:
        return 0.0
    # Welch and Satterthwaite; shares first, as the squares of tiny variances would underflow.
    freedom = 1 / math.fsum((part / variance) ** 2 / df for part, df in parts)
    return t_quantile((1 + level) / 2, freedom) * math.sqrt(variance)
