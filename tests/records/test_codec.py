from __future__ import annotations

import dataclasses
import enum
import json
import math
import types
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, Union

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mvdeploy import records
from mvdeploy.records import (
    Breakdown,
    Category,
    Device,
    DeviceState,
    Finding,
    FirstRun,
    Gap,
    Interval,
    JobResult,
    Level,
    Measurement,
    ModelSpec,
    Moment,
    PairGroup,
    PatchSize,
    Plan,
    Preprocessing,
    Said,
    Samples,
    Stages,
    StagesSession,
    Start,
    Sustained,
    TimeKind,
    Trace,
    TraceEvent,
    codec,
)
from mvdeploy.records.codec import RecordError
from mvdeploy.records.energy import Channel, Energy, EnergyBlock, PowerMeter, PowerReading
from mvdeploy.records.limits import Range
from mvdeploy.records.stages import INFERENCE, TITLES

RECORDS = [
    kind
    for name in records.__all__
    if dataclasses.is_dataclass(kind := getattr(records, name)) and kind is not Breakdown
]
# `Breakdown` is derived, never saved, and refuses most combinations of numbers.

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=4,
)


def within(kind: Any, limits: tuple[Any, ...]) -> st.SearchStrategy[Any]:
    """Values of a type within the limits of a field."""
    if kind in SOUND:
        return SOUND[kind]()
    ranges = [limit for limit in limits if isinstance(limit, Range)]
    if kind is str:
        return st.from_regex(r"[a-z][a-z0-9._-]{0,5}", fullmatch=True)
    least, most = ranges[0].least, ranges[0].most
    if kind is int:
        return st.integers(int(least), 2**63 - 1 if math.isinf(most) else int(most))
    numbers = st.floats(least, most, allow_nan=False)
    return numbers.filter(lambda n: not any(limit.problem(n) for limit in limits))


@st.composite
def samples(draw: st.DrawFn, length: int | None = None) -> Samples:
    size = draw(st.integers(0, 3)) if length is None else length
    wall = draw(st.lists(st.integers(0, 10**16), min_size=size, max_size=size))
    return Samples(tuple(wall), tuple(time // 2000 * 1000 for time in wall))


@st.composite
def pair_groups(draw: st.DrawFn) -> PairGroup:
    turns, a, b = (draw(st.integers(1, 3)) for _ in range(3))
    sides = draw(samples(turns * a)), draw(samples(turns * b))
    return PairGroup(draw(st.sampled_from([1, -1])), *sides, a, b)


@st.composite
def traces(draw: st.DrawFn) -> Trace:
    profiled = tuple(draw(st.lists(st.integers(0, 10**16), min_size=1, max_size=3)))
    events = draw(st.lists(values(TraceEvent), max_size=2, unique_by=lambda event: event.track))
    times = {"samples_ns": profiled, "starts_ns": draw(st.sampled_from([(), profiled]))}
    events = [dataclasses.replace(event, **times) for event in events]
    kind = draw(st.sampled_from(TimeKind))
    return Trace(draw(st.text(max_size=5)), kind, tuple(events), profiled, (1, 2))


@st.composite
def stages_sessions(draw: st.DrawFn) -> StagesSession:
    passes = draw(st.integers(0, 3))
    asked = draw(st.sets(st.sampled_from([*TITLES]))) | {INFERENCE}
    each = st.lists(st.integers(0, 10**9), min_size=passes, max_size=passes).map(tuple)
    stages = {name: draw(each) for name in TITLES if name in asked}
    total = tuple(map(sum, zip(*stages.values(), strict=True)))
    return StagesSession(stages, total, total, draw(st.integers(0, 9)))


@st.composite
def pipelines(draw: st.DrawFn) -> Stages:
    words, said = draw(st.text(min_size=1, max_size=5)), draw(st.lists(values(Said), max_size=2))
    sessions = tuple(draw(st.lists(stages_sessions(), max_size=1)))
    reason = "" if sessions else words
    return Stages(words, words, 2, "", sessions, tuple(said), (), 0.5, 0.1, reason)


@st.composite
def first_runs(draw: st.DrawFn) -> FirstRun:
    warm = Start(False, draw(st.sampled_from([None, 1.0])), None, 5, (1, draw(st.integers(0, 9))))
    cold = Start(True, 0.0, draw(st.integers(0, 9)), 5, (1,))
    starts, reason = draw(st.sampled_from([((warm, cold), ""), ((warm,), "nothing tells")]))
    return FirstRun(starts, draw(st.integers(0, 9)), reason)


@st.composite
def energies(draw: st.DrawFn) -> Energy:
    watts = Channel("sensor", "power", 1e-6)
    meter = draw(st.sampled_from([None, PowerMeter("sensor", "all", (watts,), 0.1)]))
    words = draw(st.text(max_size=5))
    readings = tuple(PowerReading(float(i), (draw(st.integers(0, 9)),)) for i in range(2))
    block = EnergyBlock("case", 0.0, draw(st.floats(1, 9)), 5, 5, readings if meter else ())
    return Energy(meter, (block,) * draw(st.integers(0, 2)), words, words)


@st.composite
def intervals(draw: st.DrawFn, start_s: float = 0.0) -> Interval:
    bins = draw(st.dictionaries(st.integers(-5, 5), st.integers(1, 9), min_size=1, max_size=3))
    rising = sorted(draw(st.lists(st.floats(0, 1e9), min_size=3, max_size=3)))
    length, wall, cpu = draw(st.floats(0.5, 9)), draw(st.integers(0, 99)), draw(st.floats(0, 9))
    return Interval(start_s, length, wall, 0, *rising, cpu, tuple(sorted(bins.items())))


@st.composite
def under_load(draw: st.DrawFn) -> Sustained:
    states = draw(st.lists(values(DeviceState), max_size=2))
    moments = tuple(Moment(float(i), state) for i, state in enumerate(states))
    following = tuple(draw(intervals(10.0 * i)) for i in range(draw(st.integers(0, 2))))
    gaps = tuple(draw(st.lists(values(Gap), max_size=2)))
    words = draw(st.text(max_size=5))
    return Sustained(words, 60.0, 10.0, 0.01, draw(st.booleans()), following, moments, gaps, words)


def values(kind: Any) -> st.SearchStrategy[Any]:
    """Values of a field's declared type."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is Annotated:
        return within(arguments[0], arguments[1:])
    if origin is Literal:
        return st.sampled_from(arguments)
    if kind in SOUND:
        return SOUND[kind]()
    if origin in (Union, types.UnionType):
        return st.one_of([values(k) for k in arguments])
    if origin is tuple and arguments[-1] is Ellipsis:
        return st.lists(values(arguments[0]), max_size=3).map(tuple)
    if origin is tuple:
        return st.tuples(*map(values, arguments))
    if origin is dict:
        return st.dictionaries(st.text(max_size=5), values(arguments[1]), max_size=3)
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind, include_extras=True)
        fields = {f.name: values(hints[f.name]) for f in dataclasses.fields(kind)}
        made = st.fixed_dictionaries(fields).map(lambda found: kind(**found))
        return made.filter(lambda record: not [*getattr(record, "faults", tuple)()])
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return st.sampled_from(list(kind))
    scalars: dict[Any, st.SearchStrategy[Any]] = {
        Any: json_values,
        type(None): st.none(),
        str: st.text(max_size=8),
        int: st.integers(-(2**63), 2**63 - 1),
        float: st.floats(allow_nan=False, allow_infinity=False),
        bool: st.booleans(),
    }
    return scalars[kind]


SOUND: dict[Any, Callable[[], st.SearchStrategy[Any]]] = {
    Category: lambda: st.sampled_from([*Category.declared(), "head"]).map(Category),
    Samples: samples,
    PairGroup: pair_groups,
    Trace: traces,
    StagesSession: stages_sessions,
    Energy: energies,
    Stages: pipelines,
    FirstRun: first_runs,
    Interval: intervals,
    Sustained: under_load,
}
"""What hardly ever comes out sound by chance."""


@pytest.mark.parametrize("kind", RECORDS, ids=lambda kind: kind.__name__)
def test_every_record_comes_back_as_it_went(kind: type) -> None:
    @settings(max_examples=30)
    @given(values(kind), st.sampled_from([None, 1]))
    def holds(record: Any, indent: int | None) -> None:
        assert codec.loads(kind, codec.dumps(record, indent=indent), "test") == record

    holds()


def test_types_survive_where_several_are_allowed() -> None:
    readings = {"a": "1", "b": 1, "c": 1.0, "d": ("x", "1")}
    device = records.DeviceState("now", readings)
    back = codec.loads(records.DeviceState, codec.dumps(device), "test")
    assert {k: type(v) for k, v in back.readings.items()} == {
        k: type(v) for k, v in readings.items()
    }


def test_a_whole_number_is_a_float_where_one_is_asked_for() -> None:
    plan = codec.decode(Plan, {**codec.encode(Plan()), "max_time_s": 3})
    assert (plan.max_time_s, type(plan.max_time_s)) == (3.0, float)


@st.composite
def damaged(draw: st.DrawFn) -> tuple[type, Any]:
    """A saved record in which one value somewhere is another, missing, or too many."""
    kind = draw(st.sampled_from(RECORDS))
    data = codec.encode(draw(values(kind)))
    place = data
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        if not keys:
            return kind, {"unknown": 1}
        key = draw(st.sampled_from(keys))
        if isinstance(place[key], dict | list) and place[key] and draw(st.booleans()):
            place = place[key]
            continue
        change = draw(st.sampled_from(["set", "remove", "add"]))
        if change == "set":
            place[key] = draw(json_values | st.just(math.inf))
        elif change == "remove":
            del place[key]
        elif isinstance(place, dict):
            place[draw(st.text(max_size=5))] = draw(json_values)
        else:
            place.append(draw(json_values))
        return kind, data


@given(damaged())
def test_damaged_records_are_refused_or_whole(case: tuple[type, Any]) -> None:
    kind, data = case
    try:
        record = codec.decode(kind, data)
    except RecordError as error:
        assert error.message.startswith(kind.__name__)
        assert error.remedy
    else:
        assert codec.decode(kind, codec.encode(record)) == record


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sessions": "4"}, r"Plan\.sessions should be int, not '4'"),
        ({"sessions": 4.0}, r"Plan\.sessions should be int, not 4\.0"),
        ({"sessions": True}, r"Plan\.sessions should be int, not True"),
        ({"sessions": None}, r"Plan\.sessions should be int, not None"),
        ({"max_time_s": "1"}, r"Plan\.max_time_s should be float, not '1'"),
        ({"max_time_s": math.nan}, r"Plan\.max_time_s should be a finite number, not nan"),
        ({"max_time_s": -math.inf}, r"Plan\.max_time_s should be a finite number, not -inf"),
        ({"max_time_s": 10**400}, r"Plan\.max_time_s should be a finite number, not 1000"),
        ({"cores": [0, 1.5]}, r"Plan\.cores\[1\] should be int, not 1\.5"),
        ({"cores": [0, True]}, r"Plan\.cores\[1\] should be int, not True"),
        ({"cores": 3}, r"Plan\.cores should be a list, not 3"),
        ({"warmup": []}, r"Plan\.warmup should be an object \(Warmup\), not \[\]"),
        ({"warmup": {"window": 1}}, r"Plan\.warmup has the unknown field 'window'"),
        ({"warmup": {"tolerance": []}}, r"Plan\.warmup\.tolerance should be float, not \[\]"),
        ({"iterations": "many"}, r"Plan\.iterations should be int, not 'many'"),
        ({"threads ": 1}, r"Plan has the unknown field 'threads '"),
    ],
)
def test_the_message_names_the_field(change: dict[str, Any], message: str) -> None:
    with pytest.raises(RecordError, match=message):
        codec.decode(Plan, {**codec.encode(Plan()), **change})


def test_a_missing_field_is_named() -> None:
    with pytest.raises(RecordError, match="PatchSize lacks the field 'width'"):
        codec.decode(PatchSize, {"height": 2})


def test_a_list_of_another_length_is_refused() -> None:
    rule = {**codec.encode(Preprocessing((1, 2), (3, 4))), "resize": [1, 2, 3]}
    with pytest.raises(RecordError, match=r"Preprocessing\.resize should be a list of 2"):
        codec.decode(Preprocessing, rule)


def test_an_unknown_word_is_refused_with_the_known_ones() -> None:
    finding = {"code": "c", "level": "loud", "values": {}}
    with pytest.raises(RecordError, match=r"Finding\.level should be one of \['note', 'warning'"):
        codec.decode(Finding, finding)
    for odd in ([], {}, 1, None):
        with pytest.raises(RecordError, match=r"Finding\.level"):
            codec.decode(Finding, {**finding, "level": odd})


def test_long_values_are_cut_in_messages() -> None:
    with pytest.raises(RecordError) as caught:
        codec.decode(PatchSize, {"height": "x" * 10_000, "width": 1})
    assert len(caught.value.message) < 200


def saved(**changes: Any) -> str:
    return json.dumps({**json.loads(codec.dumps(PatchSize(1, 2))), **changes})


@pytest.mark.parametrize("version", codec.READABLE)
def test_earlier_schema_versions_are_read(version: int) -> None:
    assert codec.loads(PatchSize, saved(schema_version=version), "test") == PatchSize(1, 2)


@dataclasses.dataclass(frozen=True)
class Renamed:
    now: int = dataclasses.field(metadata={codec.FORMERLY: "before"})


def test_a_field_is_read_under_its_former_name() -> None:
    assert codec.decode(Renamed, {"before": 3}) == codec.decode(Renamed, {"now": 3}) == Renamed(3)
    with pytest.raises(RecordError, match="unknown field 'before'"):
        codec.decode(Renamed, {"now": 3, "before": 3})


@pytest.mark.parametrize("version", [0, 3, 99, "1", 1.0, True, None])
def test_another_schema_version_is_refused_by_number(version: Any) -> None:
    with pytest.raises(RecordError, match=rf"has schema version {version}; .* reads 1 and 2\."):
        codec.loads(PatchSize, saved(schema_version=version), "test")


def test_another_kind_of_record_is_refused() -> None:
    with pytest.raises(RecordError, match="holds a record of kind 'PatchSize', not 'Plan'"):
        codec.loads(Plan, saved(), "test")


@pytest.mark.parametrize(
    "text",
    [
        *("", "[]", "null", "1", "{}", '"x"', "{'a': 1}", "[" * 100_000),
        '{"schema_version": 1, "record": "PatchSize", "height": NaN, "width": 1}',
    ],
)
def test_what_is_no_record_is_refused(text: str) -> None:
    with pytest.raises(RecordError, match=r"^test (is not|has)"):
        codec.loads(PatchSize, text, "test")


@given(st.data())
def test_a_truncated_file_is_refused(data: st.DataObject) -> None:
    text = codec.dumps(Measurement("e", {}, (), 1, Samples((1,), (1,)), 2, 3, STATE, STATE))
    end = data.draw(st.integers(0, len(text) - 1))
    with pytest.raises(RecordError, match="may be truncated"):
        codec.loads(Measurement, text[:end], "test")


STATE = records.DeviceState("now", {"x": 1})


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_never_written(number: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        codec.dumps(Finding("c", Level.NOTE, {"x": number}))


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_what_is_no_number_is_never_read(word: str) -> None:
    text = codec.dumps(Plan()).replace('"max_time_s": 60.0', f'"max_time_s": {word}')
    assert word in text
    with pytest.raises(RecordError):
        codec.loads(Plan, text, "test")
    loose = codec.dumps(JobResult({"x": 7}, (), (), Samples(), 1)).replace("7", word)
    with pytest.raises(RecordError):
        codec.loads(JobResult, loose, "test")


def test_a_file_is_saved_and_read(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "spec.json"
    spec = ModelSpec("m", (PatchSize(1, 2),), (3, 4))
    codec.save(spec, path)
    assert codec.load(ModelSpec, path) == spec
    assert path.read_text().endswith("}\n")


@pytest.mark.parametrize("content", [None, b"\xff\xfe", b"\x00"])
def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "a.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RecordError, match=r"a\.json"):
        codec.load(Plan, path)


PLAN = Plan(seed=7, session_time_s=2.5)


def leaves(body: Any) -> list[tuple[Any, Any]]:
    """Return where the values of a document stand: containers, and keys or places in them."""
    own = body.items() if isinstance(body, dict) else enumerate(body)
    inner = [leaf for _, value in own if isinstance(value, dict | list) for leaf in leaves(value)]
    return [(body, where) for where, _ in own] + inner


@given(st.data())
@settings(max_examples=30)
def test_what_was_changed_is_refused(tmp_path_factory: Any, data: st.DataObject) -> None:
    path = tmp_path_factory.mktemp("changed") / "a.json"
    codec.save(PLAN, path)
    body = json.loads(path.read_text())
    holder, where = data.draw(st.sampled_from(leaves(body)))
    if data.draw(st.booleans()) and where != "checksum":
        del holder[where]
    else:
        holder[where] = data.draw(json_values.filter(lambda value: value != holder[where]))
    path.write_text(json.dumps(body))
    if body.get("checksum", "") is None:
        return  # it has none
    with pytest.raises(RecordError, match=r"a\.json") as caught:
        codec.load(Plan, path)
    assert caught.value.remedy


def test_a_sound_value_that_is_another_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    codec.save(PLAN, path)
    path.write_text(path.read_text().replace('"seed": 7', '"seed": 8'))
    with pytest.raises(RecordError, match=r"a\.json is not as it was saved: it has another chec"):
        codec.load(Plan, path)


def test_the_checksum_is_of_what_a_file_holds(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    codec.save(PLAN, path)
    body = json.loads(path.read_text())
    path.write_text(json.dumps(dict(reversed(body.items())), indent=7, ensure_ascii=True))
    assert codec.load(Plan, path) == PLAN
    del body["checksum"]  # as files of earlier versions
    path.write_text(json.dumps(body | {"seed": 8}))
    assert codec.load(Plan, path) == dataclasses.replace(PLAN, seed=8)


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    codec.save(Plan(seed=1), path)
    with pytest.raises(ValueError, match="not JSON compliant"):
        codec.save(Plan(max_time_s=math.nan), path)

    assert codec.load(Plan, path).seed == 1
    assert list(tmp_path.iterdir()) == [path]


def test_records_are_plain_values_when_encoded() -> None:
    encoded = codec.encode({"a": (Finding("c", Level.NOTE), [TraceEvent.__name__])})
    assert encoded == {"a": [{"code": "c", "level": "note", "values": {}}, ["TraceEvent"]]}
    assert Device in RECORDS


@pytest.mark.parametrize("text", ["attention", "a-head-of-its-own"])
def test_a_kind_of_text_keeps_its_kind(text: str) -> None:
    info = records.ModuleInfo("M", Category(text))
    back = codec.loads(records.ModuleInfo, codec.dumps(info), "test")
    assert (back.category, type(back.category)) == (text, Category)
    with pytest.raises(RecordError, match=r"category should be Category, not 3\."):
        codec.decode(records.ModuleInfo, {**codec.encode(info), "category": 3})
