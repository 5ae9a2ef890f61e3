from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mvdeploy.errors import UsageError
from mvdeploy.records import Baseline, BaselineCase, Plan, codec
from mvdeploy.records.baseline import load_baseline, save_baseline

TEXT = st.text(max_size=8)
TIMES = st.lists(st.integers(0, 10**16), max_size=4).map(tuple)
READINGS = st.one_of(
    TEXT,
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.lists(TEXT, max_size=3).map(tuple),
)
CASES = st.builds(
    BaselineCase,
    slug=st.from_regex(r"[a-z][A-Za-z0-9._-]{0,9}", fullmatch=True),
    label=TEXT,
    conditions=st.dictionaries(TEXT, READINGS, max_size=4),
    sessions=st.lists(TIMES, max_size=3).map(tuple),
    loads_ns=TIMES,
    firsts_ns=TIMES,
    parts_ns=st.dictionaries(TEXT, st.floats(0, 1e12), max_size=3),
    peak_memory_bytes=st.integers(0, 2**40),
)
BASELINES = st.builds(
    Baseline,
    name=TEXT,
    created=TEXT,
    mvdeploy=TEXT,
    cases=st.lists(CASES, min_size=1, max_size=3, unique_by=lambda c: c.slug).map(tuple),
)

CASE = BaselineCase(
    slug="a",
    label="mobilevit_xxs 2,2,2",
    conditions={"device": "host", "threads": 1, "cores": ("0", "1"), "kernel": "unavailable"},
    sessions=((5_000_001, 5_000_002), (5_100_000,)),
    loads_ns=(40_000_000, 41_000_000),
    firsts_ns=(8_000_000, 9_000_000),
    parts_ns={"attention": 2.5e6, "outside": 0.25},
    peak_memory_bytes=142_600_000,
)
BASELINE = Baseline("2026-03-04-100000-host", "2026-03-04T10:00:00+00:00", "0.1.0", (CASE,))


@given(baseline=BASELINES)
def test_it_comes_back_as_it_went(
    tmp_path_factory: pytest.TempPathFactory, baseline: Baseline
) -> None:
    path = tmp_path_factory.mktemp("baseline") / "baseline.json"
    save_baseline(baseline, path)
    back = load_baseline(path)
    assert back == baseline
    for here, there in zip(baseline.cases, back.cases, strict=True):
        assert list(map(type, here.conditions.values())) == list(
            map(type, there.conditions.values())
        )


def test_the_file_says_what_it_is(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "baseline.json"
    save_baseline(BASELINE, path)
    data = json.loads(path.read_text())
    assert (data["schema_version"], data["record"]) == (codec.SCHEMA_VERSION, "Baseline")
    assert data["cases"][0]["sessions"] == [[5_000_001, 5_000_002], [5_100_000]]
    assert [p.name for p in path.parent.iterdir()] == ["baseline.json"]


def test_another_record_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    codec.save(Plan(), path)
    with pytest.raises(UsageError, match="holds a record of kind 'Plan', not 'Baseline'"):
        load_baseline(path)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"schema_version": 1}', "p50:5%"])
def test_what_is_no_baseline_is_refused_by_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "baseline.json"
    path.write_text(text)
    with pytest.raises(UsageError, match=r"baseline\.json") as caught:
        load_baseline(path)
    assert caught.value.remedy


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none.json", tmp_path):
        with pytest.raises(UsageError, match=r"cannot be read|is a folder"):
            load_baseline(path)


@pytest.mark.parametrize(
    ("cases", "message"),
    [
        ((), "Baseline holds no case"),
        ((CASE, CASE), "holds the case 'a' twice"),
        (
            (dataclasses.replace(CASE, sessions=((5, -1),)),),
            r"s\[0\]\[1\] should be at least 0",
        ),
        (
            (dataclasses.replace(CASE, sessions=((5, 6, 7), (8,), (5, 6, 7))),),
            "has the times of one session twice",
        ),
        ((dataclasses.replace(CASE, loads_ns=(-1,)),), r"loads_ns\[0\] should be at least 0"),
        (
            (dataclasses.replace(CASE, firsts_ns=(10**400,)),),
            r"\[0\] should be int, not inf",
        ),
        ((dataclasses.replace(CASE, firsts_ns=(10**17,)),), r"should be at most 1e\+16, not 10"),
        ((dataclasses.replace(CASE, slug="a\x1b[31m"),), r"a simple name: .*, not 'a\\x1b\[31m'"),
        ((dataclasses.replace(CASE, peak_memory_bytes=-1),), "peak_memory_bytes should be at"),
    ],
)
def test_what_no_run_measured_is_refused(
    tmp_path: Path, cases: tuple[BaselineCase, ...], message: str
) -> None:
    path = tmp_path / "baseline.json"
    codec.save(dataclasses.replace(BASELINE, cases=cases), path)
    with pytest.raises(UsageError, match=message) as caught:
        load_baseline(path)
    assert str(path) in caught.value.message


def test_a_damaged_field_is_named(tmp_path: Path) -> None:
    path = tmp_path / "baseline.json"
    save_baseline(BASELINE, path)
    path.write_text(path.read_text().replace("5100000", '"5100000"'))
    with pytest.raises(UsageError, match=r"cases\[0\]\.sessions\[1\]\[0\] should be int"):
        load_baseline(path)


def test_a_file_that_cannot_be_written_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "file" / "baseline.json", tmp_path / "folder"):
        with pytest.raises(UsageError, match="cannot be written") as caught:
            save_baseline(BASELINE, path)
        assert str(path) in caught.value.message
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder"]
