from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from mvdeploy.records import FirstRun, Start
from mvdeploy.records.codec import RecordError, dumps, loads

WARM = Start(False, 1.0, 100, 50, (20, 10))
COLD = Start(True, 0.0, 100, 80, (22, 10))
FOUND = FirstRun((COLD, WARM), 5_000_000)


def test_they_are_read_as_they_were_written() -> None:
    assert loads(FirstRun, dumps(FOUND), "it") == FOUND
    assert FOUND.of(cold=True) == (COLD,)
    assert (COLD.first_ns, COLD.answered_ns) == (22, 102)
    elsewhere = FirstRun((Start(False, None, None, 50, (20,)),), 5, "it reads the file before")
    assert loads(FirstRun, dumps(elsewhere), "it") == elsewhere


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"starts": (WARM,)}, "or neither"),
        ({"no_cold": "it cannot"}, "or neither"),
        ({"starts": (COLD,)}, "no start with the file in the cache"),
        ({"starts": (WARM, dataclasses.replace(COLD, resident=0.2))}, "but has it there"),
        ({"starts": (WARM, dataclasses.replace(COLD, resident=None))}, "but has it there"),
        ({"starts": (WARM, dataclasses.replace(COLD, inferences_ns=()))}, "has no inference"),
    ],
)
def test_what_cannot_be_is_refused(changes: dict[str, Any], fault: str) -> None:
    with pytest.raises(RecordError, match=fault):
        loads(FirstRun, dumps(dataclasses.replace(FOUND, **changes)), "it")
