"""Several runs side by side: which cases are the same, and which ratios may be told."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from mvdeploy.analysis.several import SeveralView, several_view_of
from mvdeploy.analysis.view import View, view_of
from mvdeploy.errors import UsageError
from mvdeploy.records import Case, Failure, Plan
from tests.saved_runs import Story, device, measurement, parity, phone, two_cases

PHONE = dataclasses.replace(phone(), emulated=False)


def other(change: Callable[[Case], Case] = lambda case: case, ms: float = 13.0, **run: Any) -> View:
    """The view of a run of the same two cases on a phone."""
    saved = two_cases().saved
    cases = tuple(
        change(dataclasses.replace(case, measurement=measurement(40 + i, ms)))
        for i, case in enumerate(saved.cases)
    )
    changes = {"name": "other", "device": PHONE, **run}
    whole = dataclasses.replace(saved.run, **changes)
    return view_of(dataclasses.replace(saved, run=whole, cases=cases), {})


def here() -> View:
    story = two_cases()
    return view_of(story.saved, story.breakdowns)


def beside(*views: View) -> SeveralView:
    return several_view_of([here(), *views])


def of_spec(**changes: Any) -> Callable[[Case], Case]:
    def change(case: Case) -> Case:
        assert case.artifact
        spec = dataclasses.replace(case.artifact.spec, **changes)
        return dataclasses.replace(case, artifact=dataclasses.replace(case.artifact, spec=spec))

    return change


def test_the_same_cases_stand_in_one_row_with_their_ratio_to_the_first() -> None:
    view = beside(other())
    assert [place.name for place in view.places] == ["This machine", "A phone"]
    assert [row.name for row in view.rows] == ["mobilevit_xxs 2,2,2", "mobilevit_xxs 8,4,2"]
    assert [row.reference for row in view.rows] == [0, 0] and view.shared == view.rows
    first, second = view.rows[0].cells
    assert first and second and first.ratio is None and second.ratio
    times = [cell.case.timing.wall.p50 for cell in (first, second) if cell.case.timing]
    assert second.ratio.value == pytest.approx(times[1] / times[0], rel=0.02)
    assert second.ratio.low and second.ratio.high
    assert second.ratio.low < second.ratio.value < second.ratio.high
    assert second.ratio.verdict == "slower"


def test_differences_of_a_few_percent_across_runs_are_none() -> None:
    for row in beside(other(ms=5.2)).rows[:1]:
        cell = row.cells[1]
        assert cell and cell.ratio and cell.ratio.verdict == "no difference detected"


def test_a_run_is_given_once() -> None:
    with pytest.raises(UsageError, match=r"The run other was given twice\."):
        beside(other(), other())


def test_runs_of_two_machines_may_have_one_name_and_one_moment() -> None:
    found = beside(other(), other(environment={"cpu": "another"}))
    assert len(found.views) == 3


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"image_size": (192, 192)}, "Its image size is 192x192, and 256x256 in This machine."),
        ({"weights": None, "seed": 0}, None),
        ({"batch": 4}, "Its batch is 4, and 1 in This machine."),
    ],
)
def test_another_network_has_no_ratio(changes: dict[str, Any], said: str | None) -> None:
    for row in beside(other(of_spec(**changes))).rows:
        cell = row.cells[1]
        assert cell
        assert (cell.problem or None, cell.ratio is None) == (said, said is not None)


def test_other_weights_have_no_ratio() -> None:
    def fingerprinted(mark: str) -> Callable[[Case], Case]:
        def change(case: Case) -> Case:
            assert case.artifact
            artifact = dataclasses.replace(case.artifact, weights_fingerprint=mark * 64)
            return dataclasses.replace(case, artifact=artifact)

        return change

    first, same, different = (
        other(fingerprinted(mark), name=name, device=where)
        for mark, name, where in (("a", "x", device()), ("a", "y", PHONE), ("b", "z", PHONE))
    )
    cells = several_view_of([first, same, different]).rows[0].cells
    assert [bool(cell and cell.ratio) for cell in cells] == [False, True, False]
    assert cells[2] and cells[2].problem == "It has other weights than in This machine."


def test_emulated_devices_have_no_ratio_to_others() -> None:
    emulated = other(device=phone())
    cell = beside(emulated).rows[0].cells[1]
    assert cell and cell.ratio is None and "emulated" in cell.problem
    # An emulated first run is held against nothing; the next one takes its place.
    view = several_view_of([emulated, here()])
    assert [row.reference for row in view.rows] == [1, 1]
    again = several_view_of([emulated, other(device=phone(), name="again")])
    assert [row.reference for row in again.rows] == [0, 0]
    assert again.rows[0].cells[1] and again.rows[0].cells[1].ratio


def test_what_failed_or_is_wrong_is_no_reference_and_has_no_ratio() -> None:
    failure = Failure("The runner was killed.", "Try again.", 4)
    failed = other(lambda c: dataclasses.replace(c, measurement=None, failure=failure))
    wrong = other(lambda c: dataclasses.replace(c, device_parity=parity(False)), name="wrong")
    view = several_view_of([failed, wrong, here()])
    assert [row.reference for row in view.rows] == [2, 2]
    problems = [cell.problem for cell in view.rows[0].cells if cell]
    assert problems == [
        "The runner was killed.",
        "The device computes something else than the network.",
        "",
    ]


def test_one_session_gives_a_ratio_without_an_interval() -> None:
    def short(case: Case) -> Case:
        return dataclasses.replace(case, measurement=measurement(7, 13.0, sessions=1))

    cell = beside(other(short)).rows[0].cells[1]
    assert cell and cell.ratio and (cell.ratio.low, cell.ratio.verdict) == (None, "")


def test_runs_with_nothing_in_common() -> None:
    view = beside(other(of_spec(model="another")))
    assert len(view.rows) == 4 and not view.shared
    assert all(cell.ratio is None and not cell.problem for _, _, cell in view.cells())


def test_conditions_beside_those_of_the_devices_are_told_where_they_differ() -> None:
    def engine(version: str) -> Callable[[Case], Case]:
        def change(case: Case) -> Case:
            assert case.measurement
            conditions = {**case.measurement.conditions, "engine_version": version}
            taken = dataclasses.replace(case.measurement, conditions=conditions)
            return dataclasses.replace(case, measurement=taken)

        return change

    first = other(engine("1.24"), name="first", device=device())
    second = other(engine("1.23"), name="second", mvdeploy="0.2.0", plan=Plan(threads=2))
    view = several_view_of([first, second])
    assert view.differing["engine version"] == (("1.24",), ("1.23",))
    assert view.differing["mvdeploy"] == (("0.1.0",), ("0.2.0",))
    assert "device" not in view.differing and "cpu" not in view.differing


def test_cases_of_one_name_in_one_run_are_told_apart() -> None:
    """Two image sizes have one label: each is beside its own."""

    def two_sizes(case: Case) -> Case:
        size = (256, 256) if case.slug == "a" else (320, 320)
        patches = two_cases().saved.cases[0].artifact
        assert patches
        return of_spec(image_size=size, patches=patches.spec.patches)(case)

    view = several_view_of([other(two_sizes, name="x", device=device()), other(two_sizes)])
    assert len(view.rows) == 2 and len({row.name for row in view.rows}) == 2
    for row in view.rows:
        sizes = {c.case.case.artifact.spec.image_size for c in row.cells if c}  # type: ignore[union-attr]
        assert len(sizes) == 1 and row.cells[1] and row.cells[1].ratio


def test_numbers_of_threads_are_other_cases() -> None:
    """They are, and their names say so."""

    def threads(number: int) -> Callable[[Case], Case]:
        def change(case: Case) -> Case:
            assert case.measurement
            conditions = {**case.measurement.conditions, "threads": number}
            taken = dataclasses.replace(case.measurement, conditions=conditions)
            return dataclasses.replace(case, measurement=taken)

        return change

    view = beside(other(threads(4)))
    assert not view.shared
    assert view.rows[2].name == "mobilevit_xxs 2,2,2 4 threads"


def test_shares_are_of_kinds_where_some_network_has_no_categories() -> None:
    story = two_cases()
    plain = {
        slug: dataclasses.replace(
            one, rows=tuple(dataclasses.replace(row, category=None) for row in one.rows)
        )
        for slug, one in story.breakdowns.items()
    }
    saved = dataclasses.replace(
        story.saved,
        run=dataclasses.replace(story.saved.run, name="plain", device=PHONE),
        cases=tuple(
            dataclasses.replace(c, artifact=dataclasses.replace(c.artifact, read_from="names"))  # type: ignore[type-var]
            for c in story.saved.cases
        ),
    )
    bare = view_of(saved, plain)
    assert bare.by_kind
    both = beside(view_of(dataclasses.replace(saved), story.breakdowns))
    assert not both.by_kind and "Attention" in both.parts
    view = beside(bare)
    assert view.by_kind and "Attention" not in view.parts
    assert {one.place for one in view.divided} == {0, 1}
    for one in view.divided:
        assert sum(one.shares.values()) == pytest.approx(1)


def test_a_run_on_two_devices_has_two_places(fleet_story: Story) -> None:
    fleet = view_of(fleet_story.saved, fleet_story.breakdowns)
    view = beside(dataclasses.replace(fleet, run=dataclasses.replace(fleet.run, name="fleet")))
    assert [place.name for place in view.places] == [
        "This machine, 2026-03-04-100000-host",
        "This machine, fleet",
        "A phone",
    ]


@pytest.mark.parametrize(
    ("created", "added"),
    [
        ("2026-03-05T10:00:00+00:00", ("2026-03-04", "2026-03-05")),
        ("2026-03-04T10:07:00+00:00", ("2026-03-04 10:00", "2026-03-04 10:07")),
        ("2026-03-04T10:00:00+00:00", ("2026-03-04-100000-host", "again")),
    ],
)
def test_runs_on_devices_of_one_name_are_told_apart(created: str, added: tuple[str, str]) -> None:
    view = beside(other(device=device(), name="again", created=created), other())
    assert [place.name for place in view.places] == [
        *(f"This machine, {one}" for one in added),
        "A phone",
    ]
