"""Where ONNX Runtime's time goes in networks of a library: on modules that have a category."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mvdeploy import attribute, engines, formats, models, passes
from mvdeploy.engines import SessionRequest
from mvdeploy.models.zoo import timm
from mvdeploy.records import Arguments, Breakdown, Category, TimeKind, Trace

A, C, F, P = Category.ATTENTION, Category.CONVOLUTION, Category.FFN, Category.PRE_AND_POST
RUNS = 3


def profiled(name: str, arguments: Arguments, folder: Path) -> Breakdown:
    """Break down a network with the weights that its library gives it."""
    spec = models.make_spec(name, image_size=(64, 64), arguments=arguments, num_classes=10)
    image = torch.rand(1, 3, 64, 64)
    built, _ = passes.prepare(timm.build(spec).eval(), image)
    network, reports = passes.apply(built, image)
    table = models.with_added(models.module_table(built), network)
    source = formats.Source(spec, network, table, 0, reports, models.preprocessing(spec))
    artifact = formats.write(source, "onnx", folder / "x.onnx")
    engine = engines.get("onnxruntime")
    request = SessionRequest(folder / "x.onnx", {"image": image.numpy()}, profile_to=folder)
    session = engine.open_session(request)
    for _ in range(RUNS):
        session.infer()
    events = engine.read_profile(artifact, session.end_profile(), RUNS).events
    whole = tuple(sum(event.samples_ns[i] for event in events) for i in range(RUNS))
    trace = Trace("onnxruntime", TimeKind.MEASURED, events, whole, whole)
    return attribute.break_down(trace, artifact, float(sorted(whole)[1]))


@pytest.mark.parametrize(
    ("name", "arguments", "present"),
    [
        # One HardSwish of its head is two nodes without names.
        ("timm:efficientvit_b0", (), {A, C, P}),
        ("timm:mobilevitv2_050", (), {A, C, F, Category.FOLD, P}),
        (
            "timm:swin_tiny_patch4_window7_224",
            (("embed_dim", "24"), ("depths", "2,2"), ("num_heads", "1,2"), ("window_size", "4")),
            {A, F, P},
        ),
    ],
)
def test_time_is_on_modules(
    name: str, arguments: Arguments, present: set[Category], tmp_path: Path
) -> None:
    found = profiled(name, arguments, tmp_path)
    assert found.attributed_share >= 0.97
    assert {category for category, ns in found.by_category().items() if ns > 0} == present
