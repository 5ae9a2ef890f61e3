"""Shares of images: intervals for one, and the difference of two on the same images."""

from __future__ import annotations

import dataclasses
import math

LEVEL = 0.95
"""Confidence of intervals."""

METHOD = (
    "Wilson's score intervals for shares; McNemar's exact test, and Newcombe's interval (1998, "
    "method 10) for the difference of two shares of the same images"
)
"""How it is done, in words."""


@dataclasses.dataclass(frozen=True)
class Proportion:
    """A share of independent images.

    Attributes:
        hits: images that count.
        of: all images.
        low: lower end of the interval.
        high: upper end of the interval.
    """

    hits: int
    of: int
    low: float
    high: float

    @property
    def share(self) -> float:
        """The share that was seen, 0 to 1."""
        return self.hits / self.of


@dataclasses.dataclass(frozen=True)
class PairedDifference:
    """The share of B minus that of A, on the same images.

    Attributes:
        difference: −1 to 1; above 0 where B has more.
        low: lower end of the interval.
        high: upper end of the interval.
        p: of McNemar's exact test that neither is better.
    """

    difference: float
    low: float
    high: float
    p: float


def wilson(hits: int, of: int, level: float = LEVEL) -> Proportion:
    """Return a share with Wilson's score interval, which holds for shares near 0 and 1 too.

    Args:
        hits: images that count.
        of: all images, one at least.
        level: confidence of the interval, between 0 and 1.

    Raises:
        ValueError: there are no images, or more hits than images.
    """
    _check(hits, of)
    low, high = _wilson(hits, of, _z(level))
    return Proportion(hits, of, low, high)


def mcnemar(only_a: int, only_b: int) -> float:
    """Return the two-sided p value of McNemar's exact test.

    Only images count on which the two differ. If neither is better, each of them is a toss of a
    coin.

    Args:
        only_a: images that A alone gets right.
        only_b: images that B alone gets right.

    Raises:
        ValueError: a count is negative.
    """
    # scipy.special loads in a tenth of the time that scipy.stats takes.
    from scipy.special import bdtr

    if min(only_a, only_b) < 0:
        raise ValueError("a count is negative")
    return min(1.0, 2 * float(bdtr(min(only_a, only_b), only_a + only_b, 0.5)))


def paired_difference(
    both: int, only_a: int, only_b: int, neither: int, level: float = LEVEL
) -> PairedDifference:
    """Return how much larger the share of B is than that of A, on the same images.

    The interval is made of the Wilson intervals of the two shares and the correlation between them:
    R. G. Newcombe, Improved confidence intervals for the difference between binomial proportions
    based on paired data, Statistics in Medicine 17 (1998), 2635–2650, method 10. It stays within
    −1 and 1, and has a width where no image differs.

    Args:
        both: images that both get right.
        only_a: images that A alone gets right.
        only_b: images that B alone gets right.
        neither: images that neither gets right.
        level: confidence of the interval, between 0 and 1.

    Raises:
        ValueError: there are no images, or a count is negative.
    """
    of = both + only_a + only_b + neither
    if min(both, only_a, only_b, neither) < 0:
        raise ValueError("a count is negative")
    _check(0, of)
    z = _z(level)
    a, b = both + only_a, both + only_b
    (low_a, high_a), (low_b, high_b) = (_wilson(hits, of, z) for hits in (a, b))
    phi = _correlation(both, only_a, only_b, neither)
    difference = (only_b - only_a) / of
    down = _joined(b / of - low_b, high_a - a / of, phi)
    up = _joined(high_b - b / of, a / of - low_a, phi)
    p = mcnemar(only_a, only_b)
    return PairedDifference(difference, difference - down, difference + up, p)


def _joined(one: float, other: float, phi: float) -> float:
    """Return the length of a side of the interval from those of the two shares."""
    return math.sqrt(max(0.0, one**2 - 2 * phi * one * other + other**2))


def _correlation(both: int, only_a: int, only_b: int, neither: int) -> float:
    """Return Newcombe's correlation of the two answers, with its correction for continuity."""
    margins = (both + only_a) * (only_b + neither) * (both + only_b) * (only_a + neither)
    if not margins:
        return 0.0
    product = float(both * neither - only_a * only_b)
    if product > 0:
        product = max(product - (both + only_a + only_b + neither) / 2, 0)
    return product / math.sqrt(margins)


def _wilson(hits: int, of: int, z: float) -> tuple[float, float]:
    share, extra = hits / of, z * z / of
    centre = share + extra / 2
    half = z * math.sqrt(share * (1 - share) / of + extra / (4 * of))
    low, high = (centre - half) / (1 + extra), (centre + half) / (1 + extra)
    # Rounding alone would leave 1e-17 of nothing.
    return (0.0 if hits == 0 else low), (1.0 if hits == of else high)


def _z(level: float) -> float:
    from scipy.special import ndtri

    if not 0 < level < 1:
        raise ValueError(f"a confidence of {level} is not between 0 and 1")
    return float(ndtri((1 + level) / 2))


def _check(hits: int, of: int) -> None:
    if of < 1:
        raise ValueError("there are no images")
    if not 0 <= hits <= of:
        raise ValueError(f"{hits} of {of} images is no share")
