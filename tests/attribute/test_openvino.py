from __future__ import annotations

import itertools

from hypothesis import example, given
from hypothesis import strategies as st

from mvdeploy.attribute import openvino
from mvdeploy.attribute.openvino import Node, Profile
from mvdeploy.records import Category, Operator, OperatorKind
from tests.saved_runs import bare_artifact

ARTIFACT = bare_artifact(
    "net.onnx",
    "onnx",
    (
        Operator("node_conv", "Conv", "stem.conv", ("image", "w"), ("conv",)),
        Operator("node_silu", "Mul", "stem.act", ("conv",), ("silu",)),
        Operator("node_norm", "LayerNormalization", "block.norm", ("silu",), ("norm",)),
        Operator("", "MatMul", "block.fc", ("norm", "v"), ("fc",)),
        Operator("node_add", "Add", "block", ("fc", "silu"), ("sum",), category=Category.FFN),
    ),
)


def placed(*nodes: Node) -> list[tuple[tuple[str, ...], str, OperatorKind]]:
    profile = Profile(nodes, {node.name: (1000, 1000) for node in nodes}, (10**9, 10**9))
    events = openvino.place(ARTIFACT, profile, 2).events
    assert [event.name for event in events] == [node.name for node in nodes]
    return [(event.modules, event.placed_by, event.kind) for event in events]


# Places


def test_a_node_names_all_that_is_in_it_the_product_first() -> None:
    (fused,) = placed(Node("x", "Subgraph", "node_silu,node_conv/WithoutBiases,node_conv", ()))
    assert fused == (("stem.conv", "stem.act"), "name", OperatorKind.CONV)


def test_a_node_without_a_name_is_known_by_its_output() -> None:
    (found,) = placed(Node("fc", "FullyConnected", "fc", ()))
    assert found == (("block.fc",), "name", OperatorKind.MATMUL)


def test_an_operator_has_its_own_category() -> None:
    profile = Profile((Node("a", "Eltwise", "node_add", ()),), {"a": (5,)}, (9000,))
    (event,) = openvino.place(ARTIFACT, profile, 1).events
    assert (event.category, event.modules, event.kind) == (
        Category.FFN,
        ("block",),
        OperatorKind.OTHER,
    )


def test_what_the_engine_added_belongs_to_what_reads_it_else_to_what_it_reads() -> None:
    found = placed(
        Node("image", "Input", "image", ()),
        Node("reorder", "Reorder", "", ("image",)),
        Node("twice", "Reorder", "", ("reorder",)),
        Node("conv", "Convolution", "node_conv", ("twice",)),
        Node("MVN_7", "MVN", "MVN_7", ("conv",)),
        Node("norm", "Subgraph", "node_norm", ("MVN_7",)),
        Node("last", "Reorder", "", ("norm",)),
        Node("end", "Output", "", ("last",)),
    )
    assert found[1] == (("stem.conv",), "neighbour", OperatorKind.DATA_MOVEMENT)
    assert found[2] == found[1]
    assert found[4] == (("block.norm",), "neighbour", OperatorKind.LAYERNORM)
    assert found[6][:2] == found[7][:2] == (("block.norm",), "neighbour")


def test_what_is_near_nothing_known_stays_unplaced() -> None:
    assert placed(Node("odd", "Odd", "a,b", ("nowhere",))) == [((), "", OperatorKind.OTHER)]


def test_what_did_not_run_has_no_row() -> None:
    nodes = Node("a", "Reshape", "node_add", ()), Node("b", "Reshape", "node_add", ())
    (event,) = openvino.place(ARTIFACT, Profile(nodes, {"b": (7, 7, 7)}, (9000,) * 3), 2).events
    assert (event.name, event.samples_ns) == ("b", (7000, 7000))


def test_that_small_times_are_cut_off_is_said() -> None:
    node = Node("a", "Reshape", "node_add", ())
    (said,) = openvino.place(ARTIFACT, Profile((node,), {"a": (9,)}, (10**6,)), 1).findings
    assert (said.code, said.values) == ("openvino_coarse_times", {"count": 1, "percent": 10.0})
    assert not openvino.place(ARTIFACT, Profile((node,), {"a": (99,)}, (10**6,)), 1).findings


# Times


def averages(taken: list[int]) -> list[int]:
    return [total // n for n, total in enumerate(itertools.accumulate(taken), 1)]


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=40))
@example([0, 0, 5000, 0, 0])
@example([3])
def test_times_fit_all_that_the_engine_said(taken: list[int]) -> None:
    said = averages(taken)
    found = openvino.samples_ns(said)
    assert len(found) == len(taken)
    assert min(found) >= 0
    for n, total in enumerate(itertools.accumulate(found), 1):
        slack = n  # nanoseconds of rounding
        assert n * said[n - 1] * 1000 - slack <= total <= (n * said[n - 1] + n) * 1000 + slack


@given(st.integers(0, 10**6), st.integers(1, 120))
def test_equal_times_are_told_to_a_microsecond(taken: int, count: int) -> None:
    found = openvino.samples_ns(averages([taken] * count))
    assert all(abs(each - taken * 1000) <= 1000 for each in found)


def test_a_disturbed_inference_does_not_change_the_others() -> None:
    taken = [12, 11, 13] * 20
    taken[30] = 10_000
    found = openvino.samples_ns(averages(taken))
    assert abs(found[30] - 10_000_000) < 100_000
    others = [each for at, each in enumerate(found) if at not in (29, 30, 31)]
    assert all(10_000 < each < 14_000 for each in others)


def test_operators_take_no_longer_than_the_inference_that_they_are_in() -> None:
    nodes = Node("a", "Reshape", "node_add", ()), Node("b", "Reshape", "node_add", ())
    profile = Profile(nodes, {"a": (30, 30), "b": (10, 10)}, (50_000, 20_000))
    one, other = openvino.place(ARTIFACT, profile, 2).events
    assert (one.samples_ns, other.samples_ns) == ((30_000, 15_000), (10_000, 5_000))
