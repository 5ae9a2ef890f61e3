from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mvdeploy.analysis.cases import case_views
from mvdeploy.analysis.comparability import conditions_of, demand_alike, first_difference
from mvdeploy.errors import UsageError
from mvdeploy.records import UNAVAILABLE, Case, PatchSize, Reading, Run, SavedRun

ORDER = [
    *("device", "emulated", "cpu", "machine", "os", "kernel", "build", "engine"),
    *("engine_version", "compute_units", "format", "precision", "threads", "cores", "batch"),
]
NOT_ALWAYS_TOLD = [
    *("runner_build", "cpu_quota", "environment"),
    *("fixed_performance", "task_profile", "scheduling_groups"),
]
KEYS = st.sampled_from([*ORDER, "zeal", "new"])
VALUES = st.sampled_from([1, 2, "1", UNAVAILABLE, ("0", "1"), ("0",)])
CONDITIONS = st.dictionaries(KEYS, VALUES)


@pytest.fixture
def run(two: Any) -> Run:
    made: Run = two.saved.run
    identity = {
        "cpu": "Cortex-A76",
        "machine": "Pixel 4",
        "os": "Android 13",
        "kernel": "Linux 4.14",
        "build": "google/flame/…",
        "memory_bytes": 6_000_000_000,
    }
    return dataclasses.replace(made, device=dataclasses.replace(made.device, identity=identity))


@pytest.fixture
def case(two: Any) -> Case:
    made: Case = two.saved.cases[0]
    assert made.measurement is not None
    told = {"engine_version": "1.24.1", "threads": 1, "cores": ("4", "5"), "clock": "monotonic"}
    told["compute_units"] = "cpu_and_ne"
    return dataclasses.replace(
        made, measurement=dataclasses.replace(made.measurement, conditions=told)
    )


def conditions(run: Run, case: Case) -> dict[str, Reading]:
    saved = SavedRun(dataclasses.replace(run, cases=(case.slug,)), (case,))
    (view,) = case_views(saved, {}, {})
    return conditions_of(view, run.plan)


def test_the_conditions_in_order(run: Run, case: Case) -> None:
    found = conditions(run, case)
    assert list(found) == [*ORDER, *NOT_ALWAYS_TOLD]
    assert found == {
        "device": "host",
        "emulated": "no",
        "cpu": "Cortex-A76",
        "machine": "Pixel 4",
        "os": "Android 13",
        "kernel": "Linux 4.14",
        "build": "google/flame/…",
        "engine": "onnxruntime",
        "engine_version": "1.24.1",
        "compute_units": "cpu_and_ne",
        "format": "onnx",
        "precision": "fp32",
        "threads": 1,
        "cores": ("4", "5"),
        "batch": 1,
        "runner_build": UNAVAILABLE,
        "cpu_quota": UNAVAILABLE,
        "environment": UNAVAILABLE,
        "fixed_performance": UNAVAILABLE,
        "task_profile": UNAVAILABLE,
        "scheduling_groups": UNAVAILABLE,
    }


def test_results_of_other_browsers_engines_and_clocks_are_not_compared(
    run: Run, case: Case
) -> None:
    assert case.measurement is not None
    measured = {
        **case.measurement.conditions,
        "engine_sha256": "3f" * 32,
        "cpu_clock": "schedstat of the worker's thread",
    }

    def within(browser: str = "Chrome 156", **changes: Reading) -> dict[str, Reading]:
        identity = {**run.device.identity, "browser": browser}
        there = dataclasses.replace(run, device=dataclasses.replace(run.device, identity=identity))
        measurement = dataclasses.replace(case.measurement, conditions={**measured, **changes})
        return conditions(there, dataclasses.replace(case, measurement=measurement))

    here = within()
    assert {"browser", "engine_sha256", "adapter", "cpu_clock"} == {*here} - {
        *conditions(run, case)
    }
    assert first_difference(here, within()) is None
    for other, key in (
        (within("Chrome 157"), "browser"),
        (within(engine_sha256="40" * 32), "engine_sha256"),
        (within(cpu_clock="ProcessTime of DevTools"), "cpu_clock"),
    ):
        found = first_difference(here, other)
        assert found and found[0] == key
    # What no browser took says nothing of one: the two are never alike.
    found = first_difference(here, conditions(run, case))
    assert found and found[0] == "browser"


def test_what_was_chosen_for_the_engine_is_a_condition(run: Run, case: Case) -> None:
    assert case.measurement is not None
    earlier = conditions(run, case)
    measured = {k: v for k, v in case.measurement.conditions.items() if k != "compute_units"}

    def chosen(*options: str) -> dict[str, Reading]:
        changed = {**measured, "chosen_options": options}
        measurement = dataclasses.replace(case.measurement, conditions=changed)
        return conditions(run, dataclasses.replace(case, measurement=measurement))

    # Where it stands has changed; what it says has not.
    assert chosen("compute_units=cpu_and_ne") == earlier
    assert chosen()["compute_units"] == UNAVAILABLE
    other = chosen("compute_units=cpu_and_ne", "spinning=off")
    assert list(other) == [*ORDER, *NOT_ALWAYS_TOLD, "spinning"]
    assert first_difference(earlier, other) == ("spinning", UNAVAILABLE, "off")


def test_what_a_run_does_not_tell_is_unavailable(run: Run) -> None:
    bare = dataclasses.replace(run, device=dataclasses.replace(run.device, identity={}))
    found = conditions(bare, Case("x", "x", "pytorch"))
    unknown = {key for key, value in found.items() if value == UNAVAILABLE}
    assert unknown == {*ORDER, *NOT_ALWAYS_TOLD} - {"device", "emulated", "engine", "threads"}


def altered(run: Run, case: Case, key: str) -> tuple[Run, Case]:
    """The same result with one condition changed where it is recorded."""
    device, profile = run.device, run.device.profile
    assert case.measurement is not None
    assert case.artifact is not None
    spec = case.artifact.spec
    if key == "device":
        profile = dataclasses.replace(profile, name="pixel4")
        return dataclasses.replace(run, device=dataclasses.replace(device, profile=profile)), case
    if key == "emulated":
        return dataclasses.replace(run, device=dataclasses.replace(device, emulated=True)), case
    if key in device.identity:
        device = dataclasses.replace(device, identity={**device.identity, key: "other"})
        return dataclasses.replace(run, device=device), case
    if key == "engine":
        return run, dataclasses.replace(case, engine="other")
    if key in case.measurement.conditions:
        measured = {**case.measurement.conditions, key: "other"}
        measurement = dataclasses.replace(case.measurement, conditions=measured)
        return run, dataclasses.replace(case, measurement=measurement)
    batch = {"spec": dataclasses.replace(spec, batch=8)}
    changes: dict[str, Any] = batch if key == "batch" else {key: "other"}
    return run, dataclasses.replace(case, artifact=dataclasses.replace(case.artifact, **changes))


def test_the_device_format_and_precision_of_a_case_come_first(run: Run, case: Case) -> None:
    profile = dataclasses.replace(run.device.profile, name="pixel4")
    own = dataclasses.replace(run.device, profile=profile, emulated=True)
    case = dataclasses.replace(case, device=own, format="litert", precision="int8")
    found = conditions(run, case)
    assert (found["device"], found["emulated"]) == ("pixel4", "yes")
    assert (found["format"], found["precision"]) == ("litert", "int8")


def with_surroundings(case: Case, **readings: Reading) -> Case:
    """The same result with readings of its device's state before it."""
    assert case.measurement is not None
    before = dataclasses.replace(case.measurement.before, readings=readings)
    measurement = dataclasses.replace(case.measurement, before=before)
    return dataclasses.replace(case, measurement=measurement)


@pytest.mark.parametrize(
    ("reading", "value", "key"),
    [
        ("cpu_quota_cores", 0.5, "cpu_quota"),
        ("environment", ("OMP_NUM_THREADS=1",), "environment"),
        ("fixed_performance", "on", "fixed_performance"),
        ("task_profile", "MaxPerformance", "task_profile"),
        ("scheduling_groups", ("cpuset=/top-app",), "scheduling_groups"),
    ],
)
def test_surroundings_count_where_both_results_tell_them(
    run: Run, case: Case, reading: str, value: Reading, key: str
) -> None:
    alone = conditions(run, with_surroundings(case, **{reading: "none"}))
    other = conditions(run, with_surroundings(case, **{reading: value}))
    silent = conditions(run, with_surroundings(case))
    earlier = {name: told for name, told in silent.items() if name != key}
    assert first_difference(alone, other) == (key, "none", value)
    for untold in (silent, earlier):
        assert first_difference(untold, other) is None
        assert first_difference(other, untold) is None


def by_runner(run: Run, case: Case, runner: str) -> dict[str, Reading]:
    assert case.measurement is not None
    told = {**case.measurement.conditions, "runner": runner}
    measurement = dataclasses.replace(case.measurement, conditions=told)
    return conditions(run, dataclasses.replace(case, measurement=measurement))


def test_the_build_of_the_kit_counts_where_both_results_tell_it(run: Run, case: Case) -> None:
    glibc, android, earlier = (
        by_runner(run, case, f"native 0.1.0 ({build} build)")
        for build in ("glibc", "android", "bionic")
    )
    assert first_difference(glibc, android) == ("runner_build", "glibc", "android")
    assert first_difference(android, earlier) is None
    for untold in (by_runner(run, case, "native 0.1.0"), conditions(run, case)):
        assert untold["runner_build"] == UNAVAILABLE
        assert first_difference(glibc, untold) is None
    with pytest.raises(UsageError) as error:
        demand_alike(glibc, android, "A", "B")
    assert "runner build is glibc for the first and android for the second" in error.value.message


@pytest.mark.parametrize("key", ORDER)
def test_every_condition_counts(run: Run, case: Case, key: str) -> None:
    found = first_difference(conditions(run, case), conditions(*altered(run, case, key)))
    assert found is not None
    assert found[0] == key
    assert found[1] != found[2]


def test_what_is_compared_does_not_count(run: Run, case: Case) -> None:
    assert case.artifact is not None
    spec = dataclasses.replace(
        case.artifact.spec,
        model="deit",
        patches=(PatchSize(8, 8),),
        image_size=(160, 224),
        weights=None,
        num_classes=10,
    )
    other = dataclasses.replace(
        case, slug="z", label="z", artifact=dataclasses.replace(case.artifact, spec=spec)
    )
    later = dataclasses.replace(run, name="later", mvdeploy="9.9")
    a, b = conditions(run, case), conditions(later, other)
    assert first_difference(a, b) is None
    demand_alike(a, b, "a", "b")


def test_the_first_difference_is_in_order(run: Run, case: Case) -> None:
    a = conditions(run, case)
    b = {**dict(reversed(a.items())), "batch": 8, "os": "Android 14", "aaa": 1}
    assert first_difference(a, b) == ("os", "Android 13", "Android 14")


@given(CONDITIONS, CONDITIONS)
def test_it_is_the_same_from_both_sides(a: dict[str, Reading], b: dict[str, Reading]) -> None:
    there, back = first_difference(a, b), first_difference(b, a)
    assert (there is None) == (back is None)
    if there is not None and back is not None:
        assert back == (there[0], there[2], there[1])
        assert there[1] != there[2]


@given(CONDITIONS)
def test_nothing_differs_from_itself(a: dict[str, Reading]) -> None:
    assert first_difference(a, dict(a)) is None


@given(CONDITIONS, CONDITIONS)
def test_missing_is_unavailable(a: dict[str, Reading], b: dict[str, Reading]) -> None:
    def told(conditions: dict[str, Reading]) -> dict[str, Reading]:
        return {key: value for key, value in conditions.items() if value != UNAVAILABLE}

    assert first_difference(a, b) == first_difference(told(a), told(b))
    assert (first_difference(a, b) is None) == (told(a) == told(b))


@given(CONDITIONS, CONDITIONS)
def test_unlike_results_are_refused(a: dict[str, Reading], b: dict[str, Reading]) -> None:
    found = first_difference(a, b)
    if found is None:
        demand_alike(a, b, "this", "that")
        return
    with pytest.raises(UsageError) as caught:
        demand_alike(a, b, "this", "that")
    assert found[0].replace("_", " ") in caught.value.message


def test_the_message(run: Run, case: Case) -> None:
    a = conditions(run, case)
    with pytest.raises(UsageError) as caught:
        demand_alike(a, {**a, "engine_version": "1.25.0"}, "xxs 2,2,2", "the baseline x")
    assert caught.value.message == (
        "xxs 2,2,2 and the baseline x cannot be compared: engine version is 1.24.1 for the first "
        "and 1.25.0 for the second."
    )
    assert caught.value.remedy == (
        "Measure both on one device in one run: 'mvdeploy compare A B' with the two files."
    )
    with pytest.raises(UsageError, match="cores is 4, 5 for the first and unavailable for the sec"):
        demand_alike(a, {k: v for k, v in a.items() if k != "cores"}, "x", "y")


def test_hostile_values_stay_on_one_line() -> None:
    with pytest.raises(UsageError) as caught:
        demand_alike({"os\n": "a\x1b[31m\nb"}, {}, "x", "y")
    assert "\n" not in caught.value.message
    assert "\x1b" not in caught.value.message
