from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest

from mvdeploy.records import (
    ModuleParity,
    OutputError,
    OutputParity,
    Parity,
    ParityInput,
    PrecisionLoss,
    Verified,
    codec,
)

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


def test_errors_are_judged_over_all_inputs_by_what_rounding_costs() -> None:
    def one(name: str, error: float, rounding: float) -> ParityInput:
        db = [-20 * math.log10(value) for value in (error, rounding)]
        output = OutputParity("a", error, db[0], 1.0, db[1])
        return ParityInput(name, error, db[0], 1.0, True, db[1], outputs=(output,))

    near = OutputError("a", 6e-6, 2e-6)
    lucky, usual = one("black", 6e-6, 3e-7), one("noise", 6e-6, 3e-6)
    parity = Parity("e", (lucky, usual), None, 1.0, True, max_ratio=8.0, errors=(near,))
    # PyTorch happened to be exact on one of them.
    assert lucky.ratio == pytest.approx(20) and parity.ratio == pytest.approx(3)
    assert all(map(parity.accepts, parity.inputs)) and parity.near
    assert parity.worst is lucky
    assert parity.demand == "error within 8 times that of rounding"
    far = dataclasses.replace(parity, errors=(near, OutputError("b", 2e-5, 2e-6)))
    assert not far.near
    assert [far.accepts(each) for each in far.inputs] == [False, True]
    nan = dataclasses.replace(parity, errors=(OutputError("a", math.nan, 1e-6),))
    assert not nan.near


def test_a_network_that_is_exact_by_luck_is_given_a_few_ulps() -> None:
    assert OutputError("a", 5e-7, 0.0).ratio < 8 < OutputError("a", 2e-6, 0.0).ratio


def test_a_manifest_has_what_a_comparison_came_to() -> None:
    module = ModuleParity("m", "t", 0.0, 120.0, None, False)
    loss = PrecisionLoss("norm", "InstanceNormalization", "black", 17.0)
    parity = Parity("e 1", (), None, 1.0, True, (module,), max_ratio=8.0, losses=(loss,))
    summary = dataclasses.replace(parity, inside="probe", weights="probe").summary
    assert (summary.inside, summary.tensors, summary.losses) == ("probe", 1, (loss,))
    assert codec.loads(Verified, codec.dumps(summary), "again") == summary
