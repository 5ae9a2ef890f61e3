from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mvdeploy.analysis.gate_syntax import METRICS, Gate, parse
from mvdeploy.errors import UsageError
from mvdeploy.records import Category

TIMES = ("p50", "p90", "p95", "p99", "mean", "load", "first")
CATEGORIES = ("pre-and-post", "convolution", "fold", "attention", "ffn", "unattributed")

NUMBERS = st.one_of(
    st.integers(0, 10**9).map(float), st.floats(0, allow_nan=False, allow_infinity=False)
)
GATES = st.one_of(
    st.builds(Gate, st.sampled_from([*TIMES, *CATEGORIES]), NUMBERS, st.just("ms")),
    st.builds(Gate, st.sampled_from(TIMES), NUMBERS, st.just("%")),
    st.builds(Gate, st.sampled_from(CATEGORIES), st.floats(0, 100), st.just("%")),
    st.builds(Gate, st.just("memory"), NUMBERS, st.just("MB")),
    st.builds(Gate, st.just("pipeline"), NUMBERS, st.just("ms")),
)


def test_every_metric_is_known_here() -> None:
    assert (*TIMES, "memory", "pipeline", *CATEGORIES) == METRICS
    assert {metric for metric in METRICS if Gate(metric, 1, "ms").of_part} == {*CATEGORIES}
    assert {*CATEGORIES} == {*Category.ordered(()), "unattributed"}


@pytest.mark.parametrize("text", ["neck:5%", "Box head : 2 ms", "atention:5%", "p5o:5%"])
def test_a_network_may_have_parts_of_its_own(text: str) -> None:
    gate = parse(text)
    assert gate.of_part
    assert gate.metric == text.partition(":")[0].strip().lower().replace(" ", "-")
    assert not gate.relative


@given(GATES)
@example(Gate("p50", 1e22, "%"))
@example(Gate("p50", 5e-324, "ms"))
def test_a_gate_is_read_as_it_is_printed(gate: Gate) -> None:
    assert parse(str(gate)) == gate


@given(GATES, st.sampled_from(["", " ", "  ", "\u00a0", "\t"]), st.booleans())
def test_spaces_and_capitals_do_not_matter(gate: Gate, space: str, capitals: bool) -> None:
    metric, limit = str(gate).split(":")
    number = limit.removesuffix(gate.unit)
    text = f"{space}{metric}{space}:{space}{number}{space}{gate.unit}{space}"
    assert parse(text.upper() if capitals else text) == gate


@pytest.mark.parametrize("metric", TIMES)
@pytest.mark.parametrize("unit", ["%", "ms"])
def test_times(metric: str, unit: str) -> None:
    gate = parse(f"{metric}:5{unit}")
    assert gate == Gate(metric, 5.0, unit)
    assert gate.relative == (unit == "%")
    assert gate.limit_text == f"5 {unit}"


@pytest.mark.parametrize("metric", CATEGORIES)
@pytest.mark.parametrize("unit", ["%", "ms"])
def test_parts(metric: str, unit: str) -> None:
    gate = parse(f"{metric}:40{unit}")
    assert gate == Gate(metric, 40.0, unit)
    assert not gate.relative


def test_memory() -> None:
    gate = parse("memory:200mb")
    assert gate == Gate("memory", 200.0, "MB")
    assert not gate.relative
    assert str(gate) == "memory:200MB"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("conv:40%", "convolution:40%"),
        ("attn : 1.5 ms", "attention:1.5ms"),
        ("MLP:.5%", "ffn:0.5%"),
        ("unfold:5.%", "fold:5%"),
        ("Fold / unfold:5%", "fold:5%"),
        ("Pre- and post-processing:7%", "pre-and-post:7%"),
        ("pre_and_post:7%", "pre-and-post:7%"),
        ("latency:05.50%", "p50:5.5%"),
        ("median:20ms", "p50:20ms"),
        ("first inference:20ms", "first:20ms"),
        ("peak_memory:20MB", "memory:20MB"),
        ("p50:0%", "p50:0%"),
        ("p50:150%", "p50:150%"),
        ("attention:100%", "attention:100%"),
    ],
)
def test_other_spellings(text: str, expected: str) -> None:
    assert str(parse(text)) == expected


@pytest.mark.parametrize("category", Category.declared())
def test_headings_of_reports_are_metrics(category: Category) -> None:
    assert parse(f"{category.heading}:1%").metric == category


@pytest.mark.parametrize(
    ("text", "message", "remedy"),
    [
        ("", "is no gate", "METRIC:LIMIT"),
        (":", "is no gate", "METRIC:LIMIT"),
        ("p50", "is no gate", "METRIC:LIMIT"),
        ("5%", "is no gate", "METRIC:LIMIT"),
        (":5%", "is no gate", "METRIC:LIMIT"),
        ("p50:", "is no gate", "METRIC:LIMIT"),
        ("p50:%", "is no gate", "METRIC:LIMIT"),
        ("p50:five%", "is no gate", "METRIC:LIMIT"),
        ("p50:-5%", "is no gate", "METRIC:LIMIT"),
        ("p50:+5%", "is no gate", "METRIC:LIMIT"),
        ("p50:nan%", "is no gate", "METRIC:LIMIT"),
        ("p50:inf%", "is no gate", "METRIC:LIMIT"),
        ("p50:1e3%", "is no gate", "METRIC:LIMIT"),
        ("p50:5%:5%", "is no gate", "METRIC:LIMIT"),
        ("p50:5 5%", "is no gate", "METRIC:LIMIT"),
        ("p50:٥%", "is no gate", "METRIC:LIMIT"),
        ("p50:1.2.3%", "is no gate", "METRIC:LIMIT"),
        ("p50>5%", "is no gate", "METRIC:LIMIT"),
        ("p50:" + "9" * 400 + "%", "limit is too large", "METRIC:LIMIT"),
        ("p50:5", "limit has no unit", "in % or ms, as in p50:20%"),
        ("memory:5", "limit has no unit", "in MB, as in memory:20MB"),
        ("p50:5s", "'s' is no unit of p50", "in % or ms"),
        ("p50:5MB", "'MB' is no unit of p50", "in % or ms"),
        ("p50:2,5%", "is no gate", "METRIC:LIMIT"),
        ("attention:5MB", "'MB' is no unit of attention", "in % or ms"),
        ("memory:5ms", "'ms' is no unit of memory", "in MB"),
        ("memory:5%", "a single figure without an interval", "memory:200MB"),
        ("attention:100.1%", "no part of a latency is above 100 %", "0 to 100 %"),
        ("unattributed:101%", "no part of a latency is above 100 %", "0 to 100 %"),
        ("atention!:5%", "metric is not known", "Did you mean 'attention'"),
        ("n" * 41 + ":5%", "metric is not known", "attention, ffn, unattributed"),
        ("-attention:5%", "metric is not known", "attention, ffn, unattributed"),
        ("söftmax:5%", "metric is not known", "p50, p90, p95, p99, mean, load, first, memory"),
    ],
)
def test_what_is_no_gate(text: str, message: str, remedy: str) -> None:
    with pytest.raises(UsageError, match=r"^'") as caught:
        parse(text)
    assert message in caught.value.message
    assert caught.value.message.startswith(f"'{text}'" if len(text) <= 60 else f"'{text[:20]}")
    assert remedy in caught.value.remedy


FRAGMENTS = st.lists(
    st.sampled_from(
        [*METRICS, "conv", ":", "5", "0.5", ".", "-", " ", "%", "ms", "MB", "µs", "e", "\n", "\x1b"]
    )
    | st.text(max_size=3),
    max_size=6,
).map("".join)


@given(st.text() | FRAGMENTS)
def test_nothing_else_is_ever_raised(text: str) -> None:
    try:
        gate = parse(text)
    except UsageError as error:
        assert "\n" not in error.message
        assert "\x1b" not in error.message
        assert "is no gate" in error.message
        assert len(error.message) < 250
        assert error.remedy
    else:
        assert gate.metric in METRICS or re.fullmatch(r"[a-z0-9-]+", gate.metric)
        assert parse(str(gate)) == gate
