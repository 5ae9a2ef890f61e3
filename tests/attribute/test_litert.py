"""Events placed in programs that are written down here: what runs where, and what is merged."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mvdeploy.attribute import litert
from mvdeploy.attribute.litert import Event
from mvdeploy.records import Artifact, Level, ModuleInfo, Operator, OperatorKind, OperatorTimes
from tests.engines.litert_programs import BARE


def chain(*types: str) -> Artifact:
    """Return a program in which each operator reads what the one before it makes."""
    operators = tuple(
        Operator(f"op{i}", type_, f"module{i}", (f"t{i}", "weights"), (f"t{i + 1}",))
        for i, type_ in enumerate(types)
    )
    modules = {op.module: ModuleInfo("Module", None) for op in operators}
    return dataclasses.replace(BARE, operators=operators, modules=modules)


def ran(*names: str) -> list[Event]:
    """Return events inside of delegates; of a name with a number, outside."""
    events = []
    for i, name in enumerate(names):
        plain, _, number = name.partition("@")
        events.append(Event(plain, not number, int(number or i), 1000 * (i + 1) + 1))
    return events


def place(artifact: Artifact, names: Sequence[str]) -> OperatorTimes:
    return litert.place(artifact, [ran(*names), ran(*names)])


def modules(times: OperatorTimes) -> list[tuple[str, ...]]:
    return [event.modules for event in times.events]


CASES: dict[str, tuple[tuple[str, ...], tuple[str, ...], list[tuple[str, ...]]]] = {
    "one each": (
        ("CONV_2D", "ADD", "SOFTMAX"),
        ("Convolution (NHWC, F32) IGEMM", "Add (ND)", "Softmax (NC, F32)"),
        [("module0",), ("module1",), ("module2",)],
    ),
    "a padding is done by what reads it": (
        ("PAD", "CONV_2D", "PAD", "DEPTHWISE_CONV_2D"),
        ("Fully Connected (NC, F32) GEMM", "Convolution (NHWC, F32) DWConv"),
        [("module1", "module0"), ("module3", "module2")],
    ),
    "a chain is done by what reads its end": (
        ("RESHAPE", "TRANSPOSE", "BATCH_MATMUL"),
        ("Batch Matrix Multiply (NC, F32) GEMM",),
        [("module2", "module0", "module1")],
    ),
    "x·sigmoid(x) is one table": (
        ("LOGISTIC", "MUL", "MUL"),
        ("Invalid Unary Op (NC)", "Multiply (ND, QS8)"),
        [("module0", "module1"), ("module2",)],
    ),
    "what is added counts with what comes next": (
        ("ADD", "FULLY_CONNECTED"),
        ("Add (ND)", "Convert (NC, F32, QD8)", "Fully Connected (NC, QD8, F32, QC8W) GEMM"),
        [("module0",), ("module1",), ("module1",)],
    ),
    "but the parts of an operator with that": (
        ("CONCATENATION", "ADD"),
        ("Copy (NC, X32)", "Copy (NC, X32)", "Add (ND)"),
        [("module0",), ("module0",), ("module1",)],
    ),
    "and what is added at the end with the last": (
        ("ADD",),
        ("Add (ND)", "Convert (NC)"),
        [("module0",), ("module0",)],
    ),
    "outside of delegates, by number": (
        ("CONV_2D", "CUMSUM", "CONV_2D"),
        ("Convolution (NHWC, F32) IGEMM", "CUMSUM@1", "Fully Connected (NC, F32) GEMM"),
        [("module0",), ("module1",), ("module2",)],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_events_are_placed(case: str) -> None:
    types, names, expected = CASES[case]
    times = place(chain(*types), names)
    assert modules(times) == expected
    assert times.findings == ()
    assert [event.samples_ns for event in times.events] == [
        (1000 * (i + 1) + 1,) * 2 for i in range(len(names))
    ]
    assert all(event.placed_by for event in times.events)


def test_kinds_are_those_of_operators_and_of_classes() -> None:
    artifact = chain("CONV_2D", "MEAN", "MUL", "FULLY_CONNECTED", "TRANSPOSE")
    artifact.modules["module1"] = ModuleInfo("LayerNorm", None)
    artifact.modules["module2"] = ModuleInfo("SiLU", None)
    names = ("Fully Connected (NC)", "Mean (ND)", "Multiply (ND)", "Fully Connected (NC)", "Copy")
    assert [event.kind for event in place(artifact, names).events] == [
        OperatorKind.CONV,
        OperatorKind.LAYERNORM,
        OperatorKind.ACTIVATION,
        OperatorKind.MATMUL,
        OperatorKind.DATA_MOVEMENT,
    ]


STRANGE: dict[str, tuple[tuple[str, ...], tuple[str, ...], str]] = {
    "an event that nothing becomes": (
        ("CONV_2D", "SOFTMAX"),
        ("Convolution (NHWC)", "Argmax (ND)", "Softmax (NC)"),
        "'Argmax (ND)' ran, and no operator becomes that",
    ),
    "an operator of which nothing ran": (
        ("CONV_2D", "ADD", "SOFTMAX"),
        ("Convolution (NHWC)", "Softmax (NC)"),
        "nothing ran for 'ADD' number 1",
    ),
    "a number that the program does not have": (
        ("CONV_2D",),
        ("Convolution (NHWC)", "ADD@9"),
        "'ADD' ran as number 9 of the program",
    ),
    "a number of another operator": (
        ("CONV_2D", "MUL"),
        ("Convolution (NHWC)", "ADD@1"),
        "'ADD' ran as number 1 of the program",
    ),
    "no operators": ((), ("Convert (NC)",), "'Convert (NC)' ran, and no operator becomes that"),
}


@pytest.mark.parametrize("case", STRANGE)
def test_what_is_not_explained_is_placed_nowhere_and_told(case: str) -> None:
    types, names, reason = STRANGE[case]
    times = place(chain(*types), names)
    finding = times.findings[0]
    assert (finding.code, finding.level) == ("unmatched_events", Level.WARNING)
    assert reason in str(finding.values["reason"])
    unplaced = [event for event in times.events if not event.modules]
    assert finding.values["count"] == len(unplaced)
    assert all(event.placed_by == "" for event in unplaced)
    sound = {"Convolution (NHWC)": "module0", "Softmax (NC)": f"module{len(types) - 1}"}
    for event in times.events:
        if event.type in sound:
            assert event.modules == (sound[event.type],)


def test_only_some_reasons_are_told() -> None:
    times = place(chain("CONV_2D"), ("Argmax", "Argmax", "Argmax", "Argmax", "Argmax"))
    assert str(times.findings[0].values["reason"]).endswith("; and 3 more")


def test_parts_of_a_program_take_in_all_that_can_be_computed_by_then() -> None:
    """The way that LiteRT cuts: 0, 3 and 4 are in one delegate, though 1 stands between."""
    reads = {0: ("in",), 1: ("t0",), 2: ("t1",), 3: ("t0",), 4: ("t3",), 5: ("t2", "t4")}
    operators = [Operator(f"{i}", "ADD", "", ins, (f"t{i}",)) for i, ins in reads.items()]
    assert litert.delegated(operators, {1}) == [0, 3, 4, 2, 5]
    assert litert.delegated(operators, ()) == [0, 1, 2, 3, 4, 5]
    assert litert.delegated(operators, range(6)) == []
    # What is outside and could come first, does.
    assert litert.delegated(operators, {0, 4}) == [1, 2, 3, 5]


def test_parts_run_in_their_own_order() -> None:
    """The last convolution is in the first delegate, with what it reads."""
    reads = {0: "in", 1: "t0", 2: "t1", 3: "t0"}
    types = ("CONV_2D", "CUMSUM", "CONV_2D", "CONV_2D")
    operators = tuple(
        Operator(f"op{i}", types[i], f"module{i}", (reads[i],), (f"t{i}",)) for i in reads
    )
    artifact = dataclasses.replace(BARE, operators=operators)
    convolution = "Convolution (NHWC, F32) IGEMM"
    times = place(artifact, (convolution, convolution, "CUMSUM@1", convolution))
    assert modules(times) == [("module0",), ("module3",), ("module1",), ("module2",)]


TYPES = st.sampled_from(["CONV_2D", "ADD", "MUL", "LOGISTIC", "PAD", "RESHAPE", "CUMSUM"])
NAMES = st.sampled_from(
    ["Convolution (NHWC)", "Add", "Multiply", "Sigmoid", "Convert", "Copy", "Argmax", "CUMSUM@2"]
)


@given(types=st.lists(TYPES, max_size=7), names=st.lists(NAMES, min_size=1, max_size=7))
def test_all_time_stands_somewhere(types: list[str], names: list[str]) -> None:
    """Whatever ran: each event once, with its times, and in a module or with a reason."""
    times = place(chain(*types), names)
    assert [event.type for event in times.events] == [name.partition("@")[0] for name in names]
    named = [event.name for event in times.events]
    assert len(set(named)) == len(named)
    if any(not event.modules for event in times.events):
        assert times.findings[0].code == "unmatched_events"


@given(data=st.data(), count=st.integers(1, 9))
def test_operators_run_after_what_they_read(data: st.DataObject, count: int) -> None:
    operators = []
    for i in range(count):
        before = st.lists(st.integers(0, i - 1), max_size=2, unique=True) if i else st.just([])
        reads = tuple(f"t{n}" for n in data.draw(before))
        operators.append(Operator(f"{i}", "ADD", "", reads, (f"t{i}",)))
    alone = data.draw(st.sets(st.integers(0, count - 1)))
    order = litert.delegated(operators, alone)
    assert sorted([*order, *alone]) == list(range(count))
    for position, number in enumerate(order):
        later = {f"t{n}" for n in order[position:]}
        assert later.isdisjoint(operators[number].inputs)
