"""Commands that are ended at any moment, and disks that are too small: nothing half is left.

`benchmarks/robustness.py` tries hundreds.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.robustness import kills, outcomes
from tests.robustness.kills import Place, Work
from tests.warm import Server


@pytest.mark.slow
@pytest.mark.parametrize("work", kills.WORKS, ids=lambda work: work.name)
def test_nothing_half_is_left(work: Work, warm: Server, sound_files: Path, tmp_path: Path) -> None:
    place = Place(work, warm, sound_files, tmp_path / "place")
    # The commands share the signals and the sizes.
    number = kills.WORKS.index(work)
    rows = [place.killed(number, kills.SIGNALS[number % len(kills.SIGNALS)])]
    mounted = kills.may_mount() and number % 2 == 0
    rows.append(place.cramped(kills.SIZES[number], number, disk=mounted))
    assert [row for row in rows if row.outcome in outcomes.FORBIDDEN] == []
