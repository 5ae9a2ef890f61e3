from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mvdeploy import attribute, engines
from mvdeploy.engines import SessionRequest, pytorch
from mvdeploy.errors import EngineError
from mvdeploy.records import Artifact, OperatorKind, TimeKind, Trace, TraceEvent

ENGINE = engines.get("pytorch")
RUNS = 2


@pytest.fixture(scope="module")
def profile(exported, tmp_path_factory: pytest.TempPathFactory) -> tuple[Artifact, Path]:
    small = exported("pytorch")
    image = np.random.default_rng(0).random((1, 3, 96, 96), dtype=np.float32)
    folder = tmp_path_factory.mktemp("profile") / "new"
    session = ENGINE.open_session(SessionRequest(small.path, {"image": image}, profile_to=folder))
    for _ in range(1 + RUNS):
        session.infer()
    path = session.end_profile()
    assert path is not None
    return small.artifact, path


@pytest.fixture
def events(profile: tuple[Artifact, Path]) -> tuple[TraceEvent, ...]:
    return ENGINE.read_profile(*profile, RUNS).events


def test_every_operator_is_one_event_in_its_module(
    profile: tuple[Artifact, Path], events: tuple[TraceEvent, ...]
) -> None:
    artifact, path = profile
    expected = [(op.name, op.type, (op.module,)) for op in artifact.operators]
    assert [(e.name, e.type, e.modules) for e in events] == expected
    times = json.loads(path.read_text())
    for event in events:
        assert (event.starts_ns, event.samples_ns) == tuple(
            zip(*times[event.name][-RUNS:], strict=True)
        )
        assert all(ns > 0 for ns in event.samples_ns)
    # One operator after the other, inference by inference.
    spans = [
        span
        for run in range(RUNS)
        for event in events
        for span in (event.starts_ns[run], event.starts_ns[run] + event.samples_ns[run])
    ]
    assert spans == sorted(spans)


def test_operator_time_is_attributed(
    profile: tuple[Artifact, Path], events: tuple[TraceEvent, ...]
) -> None:
    trace = Trace("pytorch", TimeKind.MEASURED, events, (10**9,), (10**9,))
    breakdown = attribute.break_down(trace, profile[0], 1e9)
    assert breakdown.attributed_share == 1
    assert all(ns > 0 for ns in breakdown.by_category().values())


@pytest.mark.parametrize(
    ("operator", "kind"),
    [
        ("aten.conv2d.default", OperatorKind.CONV),
        ("aten.linear.default", OperatorKind.MATMUL),
        ("aten.matmul.default", OperatorKind.MATMUL),
        ("aten.softmax.int", OperatorKind.SOFTMAX),
        ("aten.layer_norm.default", OperatorKind.LAYERNORM),
        ("aten.silu.default", OperatorKind.ACTIVATION),
        ("aten.permute.default", OperatorKind.DATA_MOVEMENT),
        ("aten.cat.default", OperatorKind.DATA_MOVEMENT),
        ("<built-in function getitem>", OperatorKind.DATA_MOVEMENT),
        ("aten.add.Tensor", OperatorKind.OTHER),
        ("", OperatorKind.OTHER),
        ("custom", OperatorKind.OTHER),
    ],
)
def test_kinds(operator: str, kind: OperatorKind) -> None:
    assert pytorch._kind(operator) is kind


def test_few_operators_are_of_no_kind(events: tuple[TraceEvent, ...]) -> None:
    others = {e.type for e in events if e.kind is OperatorKind.OTHER}
    assert others <= {
        "aten.add.Tensor",
        "aten.mul.Tensor",
        "aten.mean.dim",
        "aten.dropout.default",
        "aten.upsample_bilinear2d.vec",
    }


def times_of(path: Path, change: Callable[[dict[str, list[object]]], object]) -> str:
    times = json.loads(path.read_text())
    change(times)
    return json.dumps(times)


BROKEN: dict[str, Callable[[Path], str | None]] = {
    "missing": lambda p: None,
    "empty": lambda p: "",
    "truncated": lambda p: p.read_text()[:-3],
    "no object": lambda p: "[]",
    "null": lambda p: "null",
    "nothing": lambda p: "{}",
    "deeply nested": lambda p: "[" * 100_000,
    "no times": lambda p: times_of(p, lambda t: t.update(conv2d=None)),
    "times that are no numbers": lambda p: times_of(p, lambda t: t.update(conv2d=["a"] * 3)),
    "too few runs": lambda p: times_of(p, lambda t: t["conv2d"].clear()),
    "an unknown operator": lambda p: times_of(p, lambda t: t.update(stranger=[[1, 1]] * 9)),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_profile_is_an_engine_error(
    profile: tuple[Artifact, Path], tmp_path: Path, fault: str
) -> None:
    artifact, path = profile
    text = BROKEN[fault](path)
    broken = tmp_path / "broken.json"
    if text is not None:
        broken.write_text(text)
    with pytest.raises(EngineError, match="The profile of PyTorch cannot be used: it"):
        ENGINE.read_profile(artifact, broken, RUNS)
