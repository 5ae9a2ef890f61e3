"""Who may use a machine."""

from __future__ import annotations

import threading

import pytest

from mvdeploy.pipeline.fleet.turns import GivenUp, Turns


def never() -> bool:
    return False


def test_a_machine_is_alone_and_whoever_waits_for_that_is_not_overtaken() -> None:
    turns, order = Turns(), list[str]()
    waiting = threading.Event()

    def host() -> None:
        def given_up() -> bool:
            waiting.set()
            return False

        with turns.taken("host", True, given_up):
            order.append("host")

    def later() -> None:
        with turns.taken("b", False, never):
            order.append("b")

    with turns.taken("a", False, never):
        threads = [threading.Thread(target=host)]
        threads[0].start()
        assert waiting.wait(10)
        threads.append(threading.Thread(target=later))
        threads[1].start()
        threads[1].join(0.5)
        assert order == []
    for thread in threads:
        thread.join(10)
    assert order == ["host", "b"]


def test_what_nobody_waits_for_takes_no_turn() -> None:
    turns = Turns()
    entered = False
    with (
        turns.taken("a", False, never),
        pytest.raises(GivenUp),
        turns.taken("a", False, lambda: True),
    ):
        entered = True
    assert not entered
    with turns.taken("a", True, never):
        pass
