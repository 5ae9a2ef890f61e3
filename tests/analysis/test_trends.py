"""What a history keeps of a run, and what is said of a series."""

from __future__ import annotations

import dataclasses

import pytest

from mvdeploy.analysis import trends
from mvdeploy.analysis.trends import Trend, entries_of, network_of, trend_of
from mvdeploy.analysis.view import View, view_of
from mvdeploy.errors import UsageError
from mvdeploy.records import Case, Failure, ModelSpec, SavedRun, WeightsFile
from tests.saved_history import entries, name_of
from tests.saved_runs import artifact, bare_artifact, one_case, parity, two_cases

STEP = [5.0] * 12 + [5.25] * 8


def trend(levels: list[float], **given: float) -> Trend:
    return trend_of("key", entries(levels), **given)  # type: ignore[arg-type]


def changed(**fields: object) -> View:
    """The view of two cases, of which the first is another."""
    saved = two_cases().saved
    first = dataclasses.replace(saved.cases[0], **fields)  # type: ignore[arg-type]
    return view_of(SavedRun(saved.run, (first, *saved.cases[1:]), saved.comparisons), {})


def test_all_cases_with_a_latency_are_kept() -> None:
    view = view_of(two_cases().saved, {})
    a, b = entries_of(view)
    assert (a.run, a.created, a.mvdeploy) == (view.run.name, view.run.created, view.run.mvdeploy)
    assert [e.case.slug for e in (a, b)] == ["a", "b"]
    measured = view.cases[0].case.measurement
    assert measured and a.case.sessions == tuple(s.steady.wall_ns for s in measured.sessions)
    assert a.alike["engine"] == "onnxruntime" and a.alike["cpu"] == "AMD EPYC 7B13"
    assert list(trends.differences(a.alike, b.alike)) == ["network", "network_patches"]


def test_what_failed_or_computes_something_else_is_left_out_and_told() -> None:
    failed = changed(failure=Failure("It broke.", "Mend it.", 4))
    wrong = changed(device_parity=parity(passed=False))
    for view, why in ((failed, "It broke."), (wrong, "The device computes something else")):
        (kept,) = entries_of(view)
        assert kept.case.slug == "b"
        assert trends.why_left(view.cases[0]).startswith(why)
        assert trends.why_left(view.cases[1]) == ""
    right = changed(device_parity=parity())
    assert len(entries_of(right)) == 2


def test_a_run_with_nothing_to_keep_is_refused() -> None:
    saved = one_case().saved
    empty = Case("only", "net", "onnxruntime", failure=Failure("It broke.", "Mend it.", 4))
    with pytest.raises(UsageError, match=r"nothing to add of .*: It broke"):
        entries_of(view_of(SavedRun(saved.run, (empty,)), {}))


def test_a_network_is_the_same_wherever_its_checkpoint_lies() -> None:
    def network(path: str, weights_sha256: str, **fields: object) -> dict[str, object]:
        weights = WeightsFile(path, weights_sha256, "cvnets", "BGR")
        made = dataclasses.replace(artifact((2, 2, 2), weights), **fields)  # type: ignore[arg-type]
        return dict(network_of(made, "label"))

    one = network("a.ckpt", "ab" * 32)
    assert one == network("other/b.ckpt", "ab" * 32)
    assert one != network("a.ckpt", "cd" * 32)
    assert one == network("a.ckpt", "ab" * 32, sha256="99" * 32, versions={"torch": "9"})
    known = network("a.ckpt", "ab" * 32, weights_fingerprint="ff")
    assert known == network("a.ckpt", "cd" * 32, weights_fingerprint="ff") != one
    spec = ModelSpec("mobilevit_xxs", (), (256, 320), seed=3, arguments=(("depth", "6"),))
    sized = dict(network_of(dataclasses.replace(artifact((2, 2, 2)), spec=spec), "label"))
    assert sized["network_image_size"] == "256x320"
    assert sized["network_seed"] == "3"
    assert sized["network_arguments"] == '[["depth", "6"]]'


def test_a_file_of_which_the_network_is_not_known_is_one_of_its_own() -> None:
    bare = bare_artifact("a.onnx", "onnx")
    foreign = dataclasses.replace(bare, spec=ModelSpec("", (), (256, 256)), sha256="ab")
    assert network_of(foreign, "a.onnx") == {"network": "a.onnx", "file_sha256": "ab"}


def test_a_step_is_found_at_its_run_with_its_size() -> None:
    found = trend(STEP)
    (shift,) = found.shifts
    assert [i for i, point in enumerate(found.points) if point.shift] == [12]
    assert found.points[12].entry.run == name_of(13)
    assert shift.estimate.low < 1.05 < shift.estimate.high
    assert shift.estimate.high - shift.estimate.low < 0.04
    assert shift.share == pytest.approx(0.05, abs=0.012)
    assert found.spread == pytest.approx(0.01, abs=0.004)
    before, after = found.points[0].level_ns, found.points[-1].level_ns
    assert after / before == pytest.approx(shift.estimate.ratio)
    assert len({point.level_ns for point in found.points}) == 2
    for point in found.points:
        assert point.interval and point.interval.low < point.median_ns < point.interval.high


def test_none_is_found_among_equal_runs() -> None:
    for seed in range(5):
        found = trend_of("key", entries([5.0] * 20, seed))
        assert found.enough and found.shifts == ()


def test_few_runs_are_not_enough() -> None:
    found = trend(STEP[7:17])
    assert not found.enough and found.shifts == ()
    assert trend([5.0]).spread is None


def test_a_time_of_zero_is_refused() -> None:
    one = entries([5.0])[0]
    zero = dataclasses.replace(one, case=dataclasses.replace(one.case, sessions=((0, 0, 0),)))
    with pytest.raises(UsageError, match="median of zero"):
        trend_of("key", [zero])


def test_what_differs_across_a_trend_is_told_where_it_does() -> None:
    old = entries([5.0] * 2, engine_version="1.0")
    new = entries([5.0] * 2, engine_version="1.1")
    found = trend_of("key", [*old, *new], ["engine_version"])
    told = [point.other for point in found.points]
    assert told == [{"engine_version": "1.0"}, {}, {"engine_version": "1.1"}, {}]


def test_series_are_compared_by_their_runs_since_the_last_change() -> None:
    stepped = trend([5.0] * 10 + [6.0] * 10)
    other = trend_of("other", entries([6.6] * 6, threads="2"))
    compared = trends.compare(stepped, other)
    assert compared.estimate.ratio == pytest.approx(1.1, abs=0.02)
    assert compared.estimate.verdict == "slower"
    assert compared.differing == {"threads": (1, "2")}
    with pytest.raises(UsageError, match="has one run"):
        trends.compare(stepped, trend([5.0]))
