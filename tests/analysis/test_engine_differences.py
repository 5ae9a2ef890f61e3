"""The same network on two engines, module by module."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mvdeploy.analysis.engine_differences import ModuleDifference, aligned
from mvdeploy.report import document, prose
from mvdeploy.report.tables.engines import engines

PATHS = st.lists(st.sampled_from(["conv", "act", "block", "0", "1"]), max_size=4).map(".".join)
TIMES = st.dictionaries(PATHS, st.floats(1, 1e6), min_size=1, max_size=12)


@given(TIMES, TIMES)
def test_every_time_is_counted_once(a: dict[str, float], b: dict[str, float]) -> None:
    found = aligned(a, b)
    assert math.fsum(m.a_ns for m in found) == pytest.approx(math.fsum(a.values()))
    assert math.fsum(m.b_ns for m in found) == pytest.approx(math.fsum(b.values()))
    assert len({(m.path, m.inside) for m in found}) == len(found)
    changes = [abs(m.change_ns) for m in found]
    assert changes == sorted(changes, reverse=True)


@given(TIMES)
def test_the_same_times_are_opened_to_the_last_module(times: dict[str, float]) -> None:
    found = {m.path: (m.a_ns, m.b_ns) for m in aligned(times, times)}
    assert found == {path: (ns, ns) for path, ns in times.items()}


def test_a_fused_activation_keeps_its_block_closed() -> None:
    fused = {"block.conv": 9.0, "head": 5.0}
    apart = {"block.conv": 6.0, "block.act": 2.0, "head": 5.0}
    assert set(aligned(fused, apart)) == {
        ModuleDifference("block", True, 9.0, 8.0),
        ModuleDifference("head", True, 5.0, 5.0),
    }


def test_projections_of_another_formulation_keep_attention_closed() -> None:
    packed = {"layer.attention.qkv": 6.0, "layer.attention": 3.0, "layer.ffn.0": 5.0}
    apart = {**dict.fromkeys((f"layer.attention.{p}" for p in "qkv"), 2.5), **packed}
    del apart["layer.attention.qkv"]
    assert {m.path: (m.a_ns, m.b_ns) for m in aligned(packed, apart)} == {
        "layer.attention": (9.0, 10.5),
        "layer.ffn.0": (5.0, 5.0),
    }


def test_what_hardly_counts_keeps_nothing_closed() -> None:
    a = {"": 0.01, "pool": 0.02, "body.0": 50.0, "body.1": 40.0}
    b = {"body.0": 30.0, "body.1": 60.0}
    assert aligned(a, b) == (
        ModuleDifference("body.0", True, 50.0, 30.0),
        ModuleDifference("body.1", True, 40.0, 60.0),
        ModuleDifference("", False, 0.03, 0.0),
    )


@pytest.fixture
def mixed(two: Any) -> Any:
    """The same network on two engines; the second has faster attention and slower convolutions."""
    a, b = two.saved.cases
    b = dataclasses.replace(b, label=a.label, engine="executorch", artifact=a.artifact)
    faster = two.breakdowns["b"]
    rows = tuple(
        dataclasses.replace(r, ns=r.ns * (1.5 if "conv_3x3" in "".join(r.modules) else 1.0))
        for r in faster.rows
    )
    whole = faster.outside_ns + math.fsum(r.ns for r in rows)
    changed = dataclasses.replace(faster, rows=rows, total_ns=whole)
    saved = dataclasses.replace(two.saved, cases=(a, b), comparisons=())
    return dataclasses.replace(
        two, saved=saved, breakdowns={"a": two.breakdowns["a"], "b": changed}
    )


def test_losses_and_gains_are_named(mixed: Any, view_for: Any) -> None:
    view = view_for(mixed)
    (pair,) = view.engines
    assert "conv_3x3" in pair.losses[0].path
    assert "attention" in pair.gains[0].path or "fold" in pair.gains[0].path
    (sentence,) = prose.engines(view)
    assert sentence.startswith("executorch against onnxruntime on mobilevit_xxs 2,2,2: loses most")
    assert f"{pair.losses[0].path} (+" in sentence and f"{pair.gains[0].path} (−" in sentence
    assert sentence in prose.summary(view)


def test_cases_of_one_precision_are_compared(mixed: Any, view_for: Any) -> None:
    """Each precision with its own; others only where neither has a partner in its own."""

    def with_(*precisions: tuple[str, str]) -> list[str]:
        own, times = [], {}
        for n, (side, precision) in enumerate(precisions):
            case = mixed.saved.cases[side == "b"]
            artifact = dataclasses.replace(case.artifact, precision=precision)
            own.append(dataclasses.replace(case, slug=str(n), artifact=artifact))
            times[str(n)] = mixed.breakdowns[side]
        run = dataclasses.replace(mixed.saved.run, cases=tuple(case.slug for case in own))
        saved = dataclasses.replace(mixed.saved, run=run, cases=tuple(own))
        view = view_for(dataclasses.replace(mixed, saved=saved, breakdowns=times))
        return [pair.network.removeprefix("mobilevit_xxs 2,2,2") for pair in view.engines]

    both = (("a", "fp32"), ("a", "int8-fast"), ("b", "fp32"), ("b", "int8-fast"))
    assert with_(*both) == ["", " in int8-fast"]
    assert with_(("a", "fp32"), ("b", "fp16")) == [" in fp16 against fp32"]
    assert with_(*both[:3]) == [""]


def test_the_rows_add_up_to_the_difference(mixed: Any, view_for: Any) -> None:
    view = view_for(mixed)
    table = engines(view, view.engines[0])
    number = [float(row[3].replace("−", "-")) for row in table.rows]
    assert sum(number[:-1]) == pytest.approx(number[-1], abs=0.02)
    assert [row[0] for row in table.rows][-4:] == [
        f"{len(view.engines[0].modules) - 16} further modules",
        "Unattributed: unplaced operators",
        "Unattributed: outside operators (engine dispatch)",
        "Latency",
    ]
    assert "not measured in turns" in table.note
    (section,) = [s for s in document.sections(view) if s.anchor == "operators"]
    assert table in section.blocks


def test_in_turns_the_ratio_sets_the_scale(mixed: Any, two: Any, view_for: Any) -> None:
    saved = dataclasses.replace(mixed.saved, comparisons=two.saved.comparisons)
    view = view_for(dataclasses.replace(mixed, saved=saved))
    (pair,) = view.engines
    before, after = pair.parts.rows[-1].a_ns, pair.parts.rows[-1].b_ns
    assert after / before == pytest.approx(view.comparisons[0].estimate.ratio)
    outside = sum(r.b_ns for r in pair.parts.rows if r.title.startswith("Unattributed"))
    assert math.fsum(m.b_ns for m in pair.modules) == pytest.approx(after - outside)
    assert "scaled to the paired ratio" in engines(view, pair).note


def test_other_networks_and_the_same_engine_are_not_paired(two: Any, view_for: Any) -> None:
    assert view_for(two).engines == ()
    a, b = two.saved.cases
    saved = dataclasses.replace(two.saved, cases=(a, dataclasses.replace(b, engine="executorch")))
    assert view_for(dataclasses.replace(two, saved=saved)).engines == ()
