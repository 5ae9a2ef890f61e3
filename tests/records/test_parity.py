from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from mvdeploy.records import OutputParity, Parity, ParityInput, codec

SAVED = Path(__file__).parents[2] / "reports/example-host/cases"


@pytest.mark.parametrize("path", sorted(SAVED.glob("*/parity.json")), ids=lambda p: p.parent.name)
def test_results_from_before_there_were_tasks_are_read(path: Path) -> None:
    parity = codec.load(Parity, path)
    assert parity.task == "classify" and parity.passed
    assert all(one.agrees and not one.tied and one.outputs == () for one in parity.inputs)
    assert all(map(parity.accepts, parity.inputs))
    assert codec.loads(Parity, codec.dumps(parity), "again") == parity


def judged(parity: Parity, *outputs: OutputParity) -> bool:
    # What stands for all outputs would pass.
    return parity.accepts(ParityInput("x", 0.0, None, 1.0, True, outputs=outputs))


def test_every_output_has_to_meet_the_demands() -> None:
    exact = Parity("e", (), 1e-4, None, False)
    good, bad = OutputParity("a", 1e-5, 90.0, 1.0), OutputParity("b", 1e-3, 90.0, 1.0)
    assert judged(exact, good) and not judged(exact, good, bad)
    noisy = Parity("e", (), None, None, False, min_snr_db=45.0)
    clear, dim = OutputParity("a", 1.0, 50.0, 1.0), OutputParity("b", 1.0, 40.0, 1.0)
    assert judged(noisy, clear) and not judged(noisy, clear, dim)
    # Each by what rounding costs itself.
    assert judged(noisy, clear, dataclasses.replace(dim, rounding_db=42.0))
    assert not judged(noisy, dataclasses.replace(clear, rounding_db=42.0), dim)


def test_a_spread_that_is_not_judged_is_not_blind() -> None:
    parity = Parity("e", (), 1e-4, None, False)
    assert not parity.blind
    assert dataclasses.replace(parity, output_spread=1e-5).blind
    assert dataclasses.replace(parity, output_spread=float("nan")).blind


def test_a_demand_is_worded_whatever_the_precision_demands() -> None:
    assert Parity("e", (), None, None, False).demand == "the same answer"
    assert Parity("e", (), 1e-4, None, False).demand == "max abs 1e-04"
