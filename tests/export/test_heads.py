"""Networks that detect and segment, in the formats: outputs apart, one delegate, categories."""

from __future__ import annotations

from pathlib import Path

import pytest

from mvdeploy import export, models
from mvdeploy.models.heads import deeplabv3, ssdlite
from mvdeploy.pipeline.export import Builder
from mvdeploy.records import Category, Delegation
from mvdeploy.tasks import detect

pytestmark = pytest.mark.slow

OUTPUTS = {"detect": ["boxes", "scores"], "segment": ["logits"]}
CLASSES = 6  # so few that random weights see something
HEADS = {"detect": ssdlite.HEAD, "segment": deeplabv3.HEAD}


# Each task in each format, but for the two whose operators are in another export here too.
@pytest.mark.parametrize(
    ("task", "format_name"),
    [
        ("detect", "onnx"),
        ("detect", "executorch"),
        ("segment", "coreml"),
        ("segment", "executorch"),
    ],
)
def test_every_output_is_compared_and_the_head_has_its_category(
    exported, task: str, format_name: str
) -> None:
    made = exported(format_name, task=task, patches="2,2,2", classes=CLASSES)
    artifact, parity = made.artifact, made.parity
    assert [output.name for output in artifact.outputs] == OUTPUTS[task]
    assert parity.passed
    assert parity.task == task
    for one in parity.inputs:
        assert [output.name for output in one.outputs] == OUTPUTS[task]
        assert one.agrees or one.tied or artifact.precision == "fp16"
    categories = {artifact.modules[op.module].category for op in artifact.operators}
    # Nothing is before the first convolution, and after the last map all is the head's.
    assert categories == {HEADS[task], *Category.ordered(())} - {Category.PRE_AND_POST}
    if format_name == "executorch":
        assert artifact.delegation == Delegation(1, len(artifact.operators))


def test_a_program_that_chooses_the_detections(tmp_path: Path) -> None:
    """It is verified against the network and the decoding in numpy."""
    spec = models.make_spec(
        "mobilenetv2", task="detect", image_size=(128, 128), num_classes=CLASSES
    )
    options = export.options("onnx", {"with_nms": True})
    path = tmp_path / "net.onnx"
    artifact, parity = (made := Builder(spec).export("onnx", path, options)).artifact, made.parity
    assert tuple(output.name for output in artifact.outputs) == detect.FOUND
    assert parity.passed
    assert "NonMaxSuppression" in {operator.type for operator in artifact.operators}
    photograph = parity.inputs[0]
    assert photograph.agrees
    assert photograph.outputs[0].snr_db is not None  # there are boxes, and they differ in digits
    assert export.options_of(export.read(path)).own.with_nms
