from __future__ import annotations

import pytest

from mvdeploy.stats.middle import middle_half


@pytest.mark.parametrize(
    ("values", "chosen"),
    [
        ([5.0], [0]),
        ([3.0, 1.0, 2.0], [1, 2, 0]),
        ([9.0, 1.0, 4.0, 5.0], [2, 3]),
        ([8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 100.0], [4, 3, 2, 1]),
    ],
)
def test_the_fastest_and_the_slowest_quarter_are_left_out(
    values: list[float], chosen: list[int]
) -> None:
    assert middle_half(values) == chosen
