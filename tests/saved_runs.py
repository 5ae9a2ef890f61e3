"""Synthetic runs: what a run looks like when it is saved, without a device or an engine."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mvdeploy.analysis.view import View, view_of
from mvdeploy.records import (
    Artifact,
    Breakdown,
    BreakdownRow,
    Case,
    Category,
    Comparison,
    Device,
    DeviceProfile,
    DeviceState,
    Failure,
    Finding,
    Level,
    Measurement,
    ModelSpec,
    ModuleInfo,
    Operator,
    OperatorKind,
    PairGroup,
    Parity,
    ParityInput,
    PassReport,
    PatchSize,
    Plan,
    Preprocessing,
    Run,
    Samples,
    SavedRun,
    Session,
    TensorInfo,
    TimeKind,
    WeightsFile,
)

HOSTILE = '<script>document.title="owned"</script> | a\n# b `c` $x_1^2$ [red]d[/red] &amp; \x1b[31m'


@dataclasses.dataclass(frozen=True)
class Story:
    """A saved run with its breakdowns."""

    saved: SavedRun
    breakdowns: dict[str, Breakdown]


@pytest.fixture(scope="session")
def two() -> Story:
    return two_cases()


@pytest.fixture(scope="session")
def single() -> Story:
    return one_case()


@pytest.fixture(scope="session")
def trouble() -> Story:
    return troubled()


@pytest.fixture(scope="session")
def hostile_story() -> Story:
    return hostile()


@pytest.fixture(scope="session")
def hostile_text() -> str:
    return HOSTILE


@pytest.fixture(scope="session")
def eight() -> Story:
    return several_cases(8)


@pytest.fixture(scope="session")
def four() -> Story:
    return several_cases(4)


@pytest.fixture(scope="session")
def fleet_story() -> Story:
    return fleet()


@pytest.fixture(scope="session")
def view_for() -> Callable[[Story], View]:
    return lambda story: view_of(story.saved, story.breakdowns)


def without_checksum(path: Path) -> dict[str, Any]:
    """Return what a saved file holds; one that is written of it is read whatever is changed."""
    body: dict[str, Any] = json.loads(path.read_text())
    del body["checksum"]
    return body


def samples(rng: np.random.Generator, count: int, ms: float, drift: float = 0.0) -> Samples:
    slope = np.linspace(1, 1 + drift, count)
    cpu = ms * 1e6 * slope * np.exp(rng.normal(0, 0.01, count))
    busy = np.where(rng.random(count) < 0.06, rng.gamma(2, 0.08, count), 0)
    wall = cpu * (1.01 + np.abs(rng.normal(0, 0.008, count)) + busy)
    return Samples(tuple(wall.astype(int).tolist()), tuple(cpu.astype(int).tolist()))


def session(rng: np.random.Generator, ms: float, count: int, created: int) -> Session:
    ms *= float(np.exp(rng.normal(0, 0.004)))
    return Session(
        created=created,
        load_ns=int(38e6),
        first=samples(rng, 1, 1.6 * ms),
        warmup=samples(rng, 12, 1.1 * ms),
        steady=samples(rng, count, ms),
    )


def state(moment: str, clock: int) -> DeviceState:
    return DeviceState(
        moment,
        {
            "cpu_khz": (str(clock), str(clock), "2400000", "2400000"),
            "cpu_max_khz": ("2400000",) * 4,
            "governor": ("schedutil",) * 4,
            "temperatures_c": ("k10temp=41.25",),
            "loadavg_1": 0.42,
            "steal_ticks": 1200,
            "total_ticks": 500_000 + clock // 1000,
            "battery_percent": 87,
            "thermal_status": "unavailable",
        },
    )


def measurement(seed: int, ms: float, count: int = 260, sessions: int = 4) -> Measurement:
    rng = np.random.default_rng(seed)
    return Measurement(
        engine="onnxruntime",
        conditions={
            "version": "1.24.1",
            "providers": ("CPUExecutionProvider",),
            "graph_optimization": "all",
            "threads": 1,
            "clock": "perf_counter_ns, 1 ns",
        },
        sessions=tuple(session(rng, ms, count, i % 2) for i in range(sessions)),
        load_ns=41_300_000,
        first=samples(rng, 1, 1.7 * ms),
        peak_memory_bytes=142_600_000 + seed * 1_000_000,
        baseline_memory_bytes=88_100_000,
        before=state("2026-03-04T10:00:00+00:00", 1_800_000),
        after=state("2026-03-04T10:01:00+00:00", 2_400_000),
    )


def artifact(patches: tuple[int, int, int], weights: WeightsFile | None = None) -> Artifact:
    spec = ModelSpec(
        "mobilevit_xxs", tuple(PatchSize(p, p) for p in patches), (256, 256), weights=weights
    )
    return Artifact(
        path=f"{spec.slug}.onnx",
        sha256="3f" * 32,
        size_bytes=5_160_442,
        format="onnx",
        precision="fp32",
        spec=spec,
        passes=(PassReport("fold_batchnorm", ("stem.conv",)),),
        inputs=(TensorInfo("image", (1, 3, 256, 256), "float32"),),
        outputs=(TensorInfo("logits", (1, 1000), "float32"),),
        preprocessing=Preprocessing((288, 288), (256, 256)),
        versions={"torch": "2.13.0"},
        operators=tuple(
            Operator(f"n{i}", "Conv", "stem", ("image",), (f"t{i}",)) for i in range(300)
        ),
        modules={"stem": ModuleInfo("ConvLayer", Category.PRE_AND_POST)},
        parameters=1_272_024,
        macs=412_345_678,
    )


def bare_artifact(path: str, format_name: str, operators: tuple[Operator, ...] = ()) -> Artifact:
    """A manifest in which nothing is known but its operators."""
    return Artifact(
        path=path,
        sha256="",
        size_bytes=0,
        format=format_name,
        precision="fp32",
        spec=ModelSpec("mobilevit_xxs", (PatchSize(2, 2),) * 3, (256, 256)),
        passes=(),
        inputs=(),
        outputs=(),
        preprocessing=Preprocessing((16, 16), (16, 16)),
        versions={},
        operators=operators,
        modules={},
        parameters=0,
    )


_PARTS: tuple[tuple[str, Category | None, OperatorKind, str, float], ...] = (
    ("stem.conv", Category.PRE_AND_POST, OperatorKind.CONV, "Conv", 2.0),
    ("stages.{s}.mobilevit.local.conv_3x3", Category.CONVOLUTION, OperatorKind.CONV, "Conv", 6.0),
    ("stages.{s}.inverted.{b}.expand", Category.CONVOLUTION, OperatorKind.CONV, "FusedConv", 2.5),
    ("stages.{s}.mobilevit.unfold", Category.FOLD, OperatorKind.DATA_MOVEMENT, "Transpose", 1.6),
    ("stages.{s}.mobilevit.fold", Category.FOLD, OperatorKind.DATA_MOVEMENT, "Reshape", 0.7),
    (
        "stages.{s}.mobilevit.transformer.{b}.attention.qkv",
        Category.ATTENTION,
        OperatorKind.MATMUL,
        "MatMul",
        2.4,
    ),
    (
        "stages.{s}.mobilevit.transformer.{b}.attention",
        Category.ATTENTION,
        OperatorKind.SOFTMAX,
        "Softmax",
        1.1,
    ),
    (
        "stages.{s}.mobilevit.transformer.{b}.attention.norm",
        Category.ATTENTION,
        OperatorKind.LAYERNORM,
        "LayerNormalization",
        0.4,
    ),
    (
        "stages.{s}.mobilevit.transformer.{b}.ffn.expand",
        Category.FFN,
        OperatorKind.MATMUL,
        "MatMul",
        2.2,
    ),
    (
        "stages.{s}.mobilevit.transformer.{b}.ffn.activation",
        Category.FFN,
        OperatorKind.ACTIVATION,
        "QuickGelu",
        0.8,
    ),
    ("", Category.PRE_AND_POST, OperatorKind.OTHER, "Gemm", 1.0),
    ("?", None, OperatorKind.DATA_MOVEMENT, "ReorderOutput", 0.08),
)


def breakdown(
    ms: float,
    *,
    attention: float = 1.0,
    kind: TimeKind = TimeKind.MEASURED,
    operators: int = 300,
    seed: int = 0,
) -> Breakdown:
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(operators):
        path, category, op, name, weight = _PARTS[i % len(_PARTS)]
        module = path.format(s=1 + i % 5, b=i % 4)
        factor = attention if category in (Category.ATTENTION, Category.FOLD) else 1.0
        modules = () if path == "?" else (module,)
        if i % 61 == 2:
            modules = (module, "stages.1.norm")
        named = f"/{module.replace('.', '/')}/{name}_{i}"
        ns = weight * factor * float(rng.lognormal(0, 0.5))
        rows.append(BreakdownRow(named, name, op, category, modules, ns))
    total = ms * 1e6
    inside = 0.97 * total / math.fsum(r.ns for r in rows)
    scaled = tuple(dataclasses.replace(r, ns=r.ns * inside) for r in rows)
    outside = total - math.fsum(r.ns for r in scaled)
    return Breakdown(kind, total, scaled, outside, 0.97, 0.06, inside)


def parity(passed: bool = True) -> Parity:
    worst = 3.1e-6 if passed else 0.21
    return Parity(
        "onnxruntime 1.24.1",
        (
            ParityInput("photograph", worst, 118.4, 0.99999999, passed),
            ParityInput("noise", 1.2e-6, None, 1.0, True),
        ),
        1e-3,
        0.8,
        passed,
    )


def groups(seed: int, factor: float, count: int = 10, pairs: int = 60) -> tuple[PairGroup, ...]:
    rng = np.random.default_rng(seed)
    pair_groups = []
    for i in range(count):
        a = samples(rng, pairs, 5.0)
        b = samples(rng, pairs, 5.0 * factor * float(np.exp(rng.normal(0, 0.002))))
        pair_groups.append(PairGroup(1 if i % 2 else -1, a, b))
    return tuple(pair_groups)


def device(emulated: bool = False) -> Device:
    profile = DeviceProfile("host", "This machine", "host", ("onnxruntime", "executorch"))
    identity = {"cpu": "AMD EPYC 7B13", "cores": 2, "memory_bytes": 8_300_000_000}
    return Device(profile, {**identity, "system": "Linux 6.1"}, emulated)


def run(slugs: tuple[str, ...], **changes: object) -> Run:
    usual = Run(
        name="2026-03-04-100000-host",
        created="2026-03-04T10:00:00+00:00",
        mvdeploy="0.1.0",
        command=("mvdeploy", "bench", "mobilevit_xxs", "--patches", "2,2,2"),
        device=device(),
        plan=Plan(session_time_s=1.25),
        environment={"cpu": "AMD EPYC 7B13", "python": "3.11.9", "onnxruntime": "1.24.1"},
        input="seeded noise, seed 0",
        cases=slugs,
    )
    return dataclasses.replace(usual, **changes)  # type: ignore[arg-type]


def case(slug: str, label: str, seed: int, ms: float, patches: tuple[int, int, int]) -> Case:
    return Case(
        slug,
        label,
        "onnxruntime",
        artifact=artifact(
            patches, WeightsFile("mobilevit_xxs.safetensors", "ab" * 32, "cvnets", "BGR")
        ),
        parity=parity(),
        measurement=measurement(seed, ms),
    )


def _times(measured: Case, **changes: object) -> Breakdown:
    if measured.measurement is None:
        raise ValueError("no measurement")
    ms = float(np.median(measured.measurement.steady.wall_ns)) / 1e6
    return breakdown(ms, **changes)  # type: ignore[arg-type]


def two_cases() -> Story:
    a = case("a", "mobilevit_xxs 2,2,2", 1, 5.12, (2, 2, 2))
    b = case("b", "mobilevit_xxs 8,4,2", 2, 4.53, (8, 4, 2))
    saved = SavedRun(run(("a", "b")), (a, b), (Comparison("a", "b", groups(3, 0.886)),))
    return Story(saved, {"a": _times(a), "b": _times(b, attention=0.72)})


def one_case(count: int = 40, sessions: int = 1) -> Story:
    only = dataclasses.replace(
        case("only", "mobilevit_xxs 2,2,2", 5, 5.1, (2, 2, 2)),
        measurement=measurement(5, 5.1, count, sessions),
    )
    return Story(SavedRun(run(("only",)), (only,)), {"only": _times(only)})


def several_cases(count: int) -> Story:
    long = "file_with_a_long_name_for_a_network.py:factory_of_networks 8,4,2 with folded batch norm"
    cases = tuple(
        case(
            f"c{i}",
            f"{long} {i}" if i % 3 == 1 else f"mobilevit_xs 2,{i},2",
            10 + i,
            4.2 + 0.7 * i,
            (2, 2, 2),
        )
        for i in range(count)
    )
    compared = tuple(Comparison("c0", c.slug, groups(20 + i, 1.1)) for i, c in enumerate(cases[1:]))
    saved = SavedRun(run(tuple(c.slug for c in cases)), cases, compared)
    return Story(saved, {c.slug: _times(c, attention=0.5 + i / 4) for i, c in enumerate(cases)})


def limits(fine: float, bad: float) -> dict[str, str | int | float]:
    return {"fine_below": fine, "bad_above": bad}


def troubled() -> Story:
    """A case that failed, one that drifts, one without profile, one the run did not come to."""
    rng = np.random.default_rng(9)
    failed = Case(
        "failed",
        "mobilevit_xs 2,2,2",
        "executorch",
        failure=Failure("The runner was killed (out of memory).", "Take a smaller --batch.", 4),
    )
    drifting = case("drifting", "mobilevit_xxs 2,2,2", 1, 5.0, (2, 2, 2))
    hot = dataclasses.replace(
        measurement(1, 5.0),
        sessions=(Session(0, 1, Samples(), Samples(), samples(rng, 400, 5.0, drift=0.3)),),
        findings=(
            Finding("steal", Level.WARNING, {"percent": 1.4, **limits(0.5, 2.0)}),
            Finding("code_from_the_future", Level.NOTE, {"depth": 3}),
            Finding("drift", Level.ERROR, {"percent": 14.25, **limits(2.0, 5.0)}),
        ),
    )
    plain = dataclasses.replace(
        case("plain", "mobilevit_xxs 8,4,2", 2, 4.5, (8, 4, 2)), parity=parity(passed=False)
    )
    cases = (failed, dataclasses.replace(drifting, measurement=hot), plain)
    whole = run(("failed", "drifting", "plain", "waiting"), device=device(emulated=True))
    return Story(
        SavedRun(whole, cases), {"drifting": breakdown(5.6, kind=TimeKind.ESTIMATED, operators=40)}
    )


NECK = Category("neck")


def with_neck(usual: Breakdown) -> Breakdown:
    """The same with the last stage's convolutions counted as a neck."""
    rows = tuple(
        dataclasses.replace(r, category=NECK)
        if r.category == "convolution" and r.modules[0].startswith("stages.5")
        else r
        for r in usual.rows
    )
    return dataclasses.replace(usual, rows=rows)


def phone() -> Device:
    profile = DeviceProfile("pixel", "A phone", "adb", ("onnxruntime",), notes="In a rack.")
    return Device(profile, {"cpu": "Cortex-X1", "build": "a/b/c"}, emulated=True)


def fleet() -> Story:
    """One network in two precisions on this machine and on a phone, with a neck of its own.

    What the phone computes in fp16 is wrong.
    """
    base, cases = case("a", "detector 2,2,2", 1, 5.12, (2, 2, 2)), []
    for i, (precision, where) in enumerate(
        (p, d) for p in ("fp32", "fp16") for d in (device(), phone())
    ):
        if base.artifact is None:
            raise ValueError("no artifact")
        cases.append(
            dataclasses.replace(
                base,
                slug=f"{precision}-{where.profile.name}",
                format="onnx",
                precision=precision,
                device=where,
                artifact=dataclasses.replace(
                    base.artifact,
                    precision=precision,
                    categories={"neck": "Feature pyramid", "attention": "Attention"},
                ),
                measurement=measurement(31 + i, 5.12 + 2 * i),
                device_parity=dataclasses.replace(parity(i != 3), inputs=parity(i != 3).inputs[:1]),
            )
        )
    saved = SavedRun(run(tuple(c.slug for c in cases)), tuple(cases))
    return Story(saved, {c.slug: with_neck(_times(c, seed=i)) for i, c in enumerate(cases)})


def hostile() -> Story:
    """Every text that comes from files and devices tries to be something else."""
    base = two_cases()
    a, b = base.saved.cases
    findings = (Finding(HOSTILE, Level.WARNING, {HOSTILE: HOSTILE}),)
    bad_state = DeviceState(HOSTILE, {HOSTILE: HOSTILE, "clocks": (HOSTILE, "=1+1")})
    if a.measurement is None or a.artifact is None:
        raise ValueError("no measurement")
    a = dataclasses.replace(
        a,
        label=HOSTILE,
        engine=HOSTILE,
        artifact=dataclasses.replace(a.artifact, path=HOSTILE, sha256=HOSTILE),
        parity=Parity(HOSTILE, (ParityInput(HOSTILE, 1.0, 0.0, 0.0, False),), 0.1, 0.0, False),
        measurement=dataclasses.replace(
            a.measurement,
            conditions={HOSTILE: HOSTILE},
            before=bad_state,
            after=bad_state,
            findings=findings,
        ),
    )
    b = dataclasses.replace(b, label="=cmd|' /C calc'!A0 www.example.org https://example.org @all")
    c = Case(
        "c", "x" * 300, HOSTILE, failure=Failure(HOSTILE, "See https://example.org/" + HOSTILE, 4)
    )
    rows = tuple(
        dataclasses.replace(r, name=f"{HOSTILE}{i}", type=HOSTILE, modules=(f"{HOSTILE}.{i % 20}",))
        for i, r in enumerate(base.breakdowns["a"].rows)
    )
    profile = DeviceProfile(HOSTILE, HOSTILE, HOSTILE, (HOSTILE,), notes=HOSTILE)
    whole = run(
        ("a", "b", "c"),
        name=HOSTILE,
        created=HOSTILE,
        mvdeploy=HOSTILE,
        command=(HOSTILE,),
        input=HOSTILE,
        environment={HOSTILE: HOSTILE},
        device=Device(profile, {HOSTILE: HOSTILE, "cpu": HOSTILE}),
        findings=findings,
    )
    breakdowns = {**base.breakdowns, "a": dataclasses.replace(base.breakdowns["a"], rows=rows)}
    return Story(SavedRun(whole, (a, b, c), base.saved.comparisons), breakdowns)
