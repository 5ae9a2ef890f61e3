from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from mvdeploy.records import DeviceState, Gap, Interval, Moment, Sustained, codec
from mvdeploy.records.codec import RecordError
from mvdeploy.records.run import load_run, save_case, save_run
from tests.saved_runs import one_case

FIRST = Interval(0.0, 10.0, 40, 39, 9.0, 11.0, 12.0, 8.9, ((1100, 2), (1150, 2)))
SECOND = dataclasses.replace(FIRST, start_s=10.0)
WHOLE = Sustained(
    "2026-03-04T10:00:00+00:00",
    60.0,
    10.0,
    0.001,
    intervals=(FIRST, SECOND),
    moments=(Moment(5.0, DeviceState("x", {"thermal_status": "none"})),),
    gaps=(Gap(20.0, 3.0, "It was gone."),),
)


def test_a_case_keeps_it_in_a_file_of_its_own(tmp_path: Path) -> None:
    saved = one_case().saved
    case = dataclasses.replace(saved.cases[0], sustained=WHOLE)
    save_run(saved.run, tmp_path)
    save_case(case, tmp_path)
    assert (tmp_path / "cases" / case.slug / "sustained.json").is_file()
    assert load_run(tmp_path).cases[0].sustained == WHOLE
    grown = dataclasses.replace(WHOLE, ended="It was interrupted.")
    save_case(dataclasses.replace(case, sustained=grown), tmp_path, {"sustained"})
    assert load_run(tmp_path).cases[0].sustained == grown


def test_what_it_says_of_itself() -> None:
    assert FIRST.count == 4 and SECOND.stop_s == WHOLE.until_s == 20.0
    assert dataclasses.replace(WHOLE, intervals=()).until_s == 0.0


@pytest.mark.parametrize(
    ("record", "fault"),
    [
        (dataclasses.replace(FIRST, bins=()), "no inference"),
        (dataclasses.replace(FIRST, p90_ns=1.0), "do not rise"),
        (dataclasses.replace(FIRST, bins=((2, 1), (1, 1))), "out of order"),
        (dataclasses.replace(WHOLE, intervals=(FIRST, FIRST)), "overlap"),
        (
            dataclasses.replace(
                WHOLE, moments=(*WHOLE.moments, Moment(1.0, WHOLE.moments[0].state))
            ),
            "readings out of order",
        ),
        (dataclasses.replace(WHOLE, accuracy=0.0), "accuracy"),
        (dataclasses.replace(FIRST, length_s=0.0), "length_s"),
    ],
)
def test_what_cannot_be_is_refused(record: Interval | Sustained, fault: str) -> None:
    with pytest.raises(RecordError, match=fault):
        codec.loads(type(record), codec.dumps(record), "x.json")
