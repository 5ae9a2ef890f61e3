from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mvdeploy.stats.stopping import Stop, decide

widths = st.floats(0, 1, allow_nan=False)


def test_the_target_ends_it() -> None:
    assert decide(0.02, 0.02, 10, 60) is Stop.TARGET
    assert decide(0.021, 0.02, 10, 60) is None


def test_the_limit_ends_it_before_the_step_that_would_exceed_it() -> None:
    assert decide(None, 0.02, 58, 60, 2.5) is Stop.LIMIT
    assert decide(None, 0.02, 57, 60, 2.5) is None


def test_what_is_out_of_reach_is_given_up_only_if_that_is_asked_for() -> None:
    # Ten seconds for 7 %: 2 % would take 122 s, more than twice the minute.
    assert decide(0.07, 0.02, 10, 60, give_up=True) is Stop.OUT_OF_REACH
    assert decide(0.069, 0.02, 10, 60, give_up=True) is None
    assert decide(0.07, 0.02, 10, 60) is None


def test_a_target_of_nothing_is_not_divided_by() -> None:
    assert decide(0.07, 0.0, 10, 60, give_up=True) is None


@given(widths, widths, st.floats(0, 100), st.floats(0, 100))
def test_giving_up_ends_nothing_later(width: float, target: float, spent: float, limit: float):
    patient = decide(width, target, spent, limit)
    hasty = decide(width, target, spent, limit, give_up=True)
    assert hasty == patient or (patient is None and hasty is Stop.OUT_OF_REACH)
