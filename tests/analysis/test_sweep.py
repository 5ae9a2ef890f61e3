"""What a sweep says, on runs whose power laws are known."""

from __future__ import annotations

import dataclasses

import pytest

from mvdeploy.analysis.pareto import Standing
from mvdeploy.analysis.sweep import SweepView, sweep_view_of
from mvdeploy.records import Parity
from tests.saved_runs import parity
from tests.saved_sweeps import SIZES, Network, sweep_view

SMALL = Network("small 2,2,2", 1.0, 0.9, 1_000_000, 60)
LARGE = Network("large 2,2,2", 4.0, 1.2, 3_000_000, 70)


def test_exponents_are_those_of_the_power_laws() -> None:
    view = sweep_view([SMALL, LARGE])
    for series, network in zip(view.series, (SMALL, LARGE), strict=True):
        found = series.pixels
        assert found is not None and found.low is not None and found.high is not None
        assert series.name == network.label and found.sizes == len(SIZES)
        assert found.exponent == pytest.approx(network.exponent, abs=0.02)
        assert found.low < network.exponent < found.high
        assert found.high - found.low < 0.1
        assert series.macs == pytest.approx(1)
        assert series.tokens is not None  # which are as many as pixels, but for a factor
        assert series.tokens.exponent == pytest.approx(found.exponent)


def test_blocks_on_a_slower_machine_are_brought_to_one_level() -> None:
    """The first block would take the small sizes, so that a slow second one looks like growth."""
    whole = sweep_view([SMALL, LARGE])
    parted = sweep_view([SMALL, LARGE], speeds=(1.0, 1.5))
    assert len(parted.runs) == 2 and not parted.apart
    for one, other in zip(whole.series, parted.series, strict=True):
        assert one.pixels and other.pixels
        assert other.pixels.exponent == pytest.approx(one.pixels.exponent, abs=0.02)
    raw = {e.name: e.case.timing.wall.p50 for e in parted.entries if e.case and e.case.timing}
    moved = {e.name: e.ns for e in parted.entries}
    ratios = [raw[name] / (moved[name] or 1) for name in raw]
    # Half of them were measured 1.5 times as slow; the common level lies between the blocks.
    assert max(ratios) / min(ratios) == pytest.approx(1.5, abs=0.03)


def test_the_level_of_a_block_is_not_known_exactly() -> None:
    """So intervals of cases of several blocks are wider than those of one."""
    whole, parted = sweep_view([SMALL]), sweep_view([SMALL], speeds=(1.0, 1.0))

    def widths(view: SweepView) -> list[float]:
        ends = [
            e.level.interval for e in view.entries if e.level and e.planned.image_size != (64, 64)
        ]
        return [high / low for low, high in filter(None, ends)]

    assert sum(widths(parted)) > sum(widths(whole))


def test_a_block_without_the_reference_is_told() -> None:
    view = sweep_view([SMALL, LARGE], speeds=(1.0, 1.0))
    first, second = view.runs
    lost = dataclasses.replace(second, cases=second.cases[1:])
    found = sweep_view_of(view.saved, (first, lost))
    assert found.apart == ("run-1",)
    assert all(entry.level for entry in found.entries)


def test_growth_is_by_cpu_time_where_that_holds_all_of_the_work() -> None:
    one, *_ = sweep_view([SMALL]).series
    assert one.clock == "cpu"
    single, double = sweep_view([SMALL], threads=(1, 2)).series
    assert (single.clock, double.clock) == ("cpu", "wall")
    assert (single.name, double.name) == (
        "small 2,2,2 onnx/onnxruntime 1 thread",
        "small 2,2,2 onnx/onnxruntime 2 threads",
    )


def test_batches_are_series_of_their_own_and_fronts_per_image() -> None:
    view = sweep_view([SMALL, LARGE], batches=(1, 4))
    assert [s.name for s in view.series] == [
        *("small 2,2,2 batch 1", "small 2,2,2 batch 4"),
        *("large 2,2,2 batch 1", "large 2,2,2 batch 4"),
    ]
    four = [e for e in view.entries if e.planned.batch == 4]
    for entry in four:
        assert entry.ns and entry.per_image_ns == pytest.approx(entry.ns / 4)
        assert entry.macs == 10 * entry.planned.pixels
    assert {(one.key, one.batch) for one in view.fronts} == {
        *(("parameters", 1), ("parameters", 4), ("macs", 1), ("macs", 4)),
    }


def test_a_case_that_failed_is_left_out_of_line_and_front() -> None:
    view = sweep_view([SMALL, LARGE], failed=6)
    (entry,) = [e for e in view.entries if not e.level]
    assert entry.name == "large 2,2,2 128 px" and entry.reason == "No kernel for that."
    small, large = view.series
    assert small.pixels and large.pixels and (small.pixels.sizes, large.pixels.sizes) == (4, 3)
    assert large.pixels.few
    for front in view.fronts:
        assert entry.name not in {placed.point.name for placed in front.placed}


def test_a_case_with_wrong_outputs_is_neither_fitted_nor_on_a_front() -> None:
    view = sweep_view([SMALL])
    wrong: Parity = parity(passed=False)
    (run,) = view.runs
    cases = (
        *run.cases[:1],
        dataclasses.replace(
            run.cases[1], case=dataclasses.replace(run.cases[1].case, device_parity=wrong)
        ),
        *run.cases[2:],
    )
    found = sweep_view_of(view.saved, (dataclasses.replace(run, cases=cases),))
    assert [entry.wrong for entry in found.entries] == [False, True, False, False]
    (series,) = found.series
    assert series.pixels and series.pixels.sizes == 3


def test_what_is_worth_having() -> None:
    view = sweep_view([SMALL, LARGE], accuracy="top-1")
    parameters, macs, accuracy = view.fronts
    assert [one.noun for one in view.fronts] == ["parameters", "MACs", "top-1"]
    on = {p.point.name for p in parameters.placed if p.standing is Standing.FRONT}
    assert on == {"small 2,2,2 64 px"}
    placed = {p.point.name: p for p in accuracy.placed}
    # 75 % in 19 ms against 75 % in 9 ms.
    assert placed["large 2,2,2 96 px"].standing is Standing.BEHIND
    assert placed["large 2,2,2 96 px"].beaten_by == "small 2,2,2 192 px"
    assert placed["large 2,2,2 192 px"].standing is Standing.FRONT
    assert not accuracy.lacking and not macs.lacking


def test_networks_without_an_accuracy_are_named() -> None:
    view = sweep_view([SMALL, dataclasses.replace(LARGE, accuracy=None)], accuracy="top-1")
    *_, accuracy = view.fronts
    assert accuracy.lacking == tuple(f"large 2,2,2 {size} px" for size in SIZES)


def test_one_session_tells_nothing_of_fronts() -> None:
    view = sweep_view([SMALL, LARGE], sessions=1)
    assert all(e.level and e.level.interval is None for e in view.entries)
    for front in view.fronts:
        standings = {p.standing for p in front.placed}
        assert Standing.BEHIND not in standings
    small, _ = view.series
    assert small.pixels and small.pixels.low is not None and not small.pixels.from_sessions


def test_parts_grow_by_powers_of_their_own() -> None:
    (series,) = sweep_view([Network(exponent=1.2)]).series
    exponents = {part.title: part.exponent for part in series.parts}
    # In these runs attention takes a share that grows.
    assert exponents["Attention"] > 1.4 > 1.15 > exponents["FFN"]
    shares = {part.title: (part.smallest, part.largest) for part in series.parts}
    assert shares["Attention"][0] < shares["Attention"][1]


def test_one_size_has_no_exponent_and_nothing_no_view() -> None:
    view = sweep_view([SMALL, LARGE], sizes=(64,))
    assert [series.pixels for series in view.series] == [None, None]
    empty = sweep_view_of(dataclasses.replace(view.saved, runs=()), ())
    assert {e.reason for e in empty.entries} == {"It has not been measured yet."}
    assert not empty.series and not empty.fronts and empty.device is None
