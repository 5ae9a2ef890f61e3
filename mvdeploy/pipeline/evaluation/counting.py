"""What has been counted of an evaluation: small, however many images there are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mvdeploy.records.evaluation import Agreement, JudgedImage, LeftOut, PairAgreement, PairCounts

_CELLS = {(True, True): 0, (True, False): 1, (False, True): 2, (False, False): 3}
"""Place among the counts of a pair, by who gets an image right."""


class Counts:
    """What has been counted so far."""

    def __init__(self, subjects: int) -> None:
        self.images = self.decode_ns = self.resumed = 0
        self.inference_ns = [0] * subjects
        self.engines = [""] * subjects
        self.not_finite = [0] * subjects
        self.left_out: list[LeftOut] = []
        self.references: list[list[float]] = [[0.0, 0, 0] for _ in range(subjects)]
        self._alike: list[list[float]] = [[0.0, 0, 0] for _ in range(subjects)]
        self._pairs: dict[tuple[int, str], list[int]] = {}

    def add(self, image: JudgedImage, hits: Sequence[Mapping[str, bool]]) -> None:
        """Count an image.

        Args:
            image: one that counts.
            hits: of each subject, by measure.
        """
        self.images += 1
        for number, row in enumerate(image.rows):
            self.not_finite[number] += row is None
            share = image.references[number]
            if share is not None:
                _tally(self.references[number], share)
        for number, share in enumerate(image.alike, start=1):
            _tally(self._alike[number], share)
            for name, own in hits[0].items():
                cells = self._pairs.setdefault((number, name), [0, 0, 0, 0])
                other = hits[number][name]
                cells[_CELLS[own, other]] += 1

    def pairs(self) -> tuple[PairCounts, ...]:
        """Return the counts of each subject with the first."""
        return tuple(
            PairCounts(0, number, name, *cells) for (number, name), cells in self._pairs.items()
        )

    def agreements(self) -> tuple[PairAgreement, ...]:
        """Return how much each subject says the same as the first."""
        others = enumerate(self._alike[1:], start=1)
        return tuple(PairAgreement(0, number, agreement(tally)) for number, tally in others)


def _tally(tally: list[float], share: float) -> None:
    tally[0] += share
    tally[1] += 1
    tally[2] += share == 1


def agreement(tally: Sequence[float]) -> Agreement:
    """Return what sums of shares, of images and of those that are the same say."""
    total, of, same = tally
    return Agreement(min(total / of, 1.0) if of else 0.0, int(of), int(same))
