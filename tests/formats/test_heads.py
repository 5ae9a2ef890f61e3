"""Networks that detect and segment, in the formats: outputs apart, one delegate, categories."""

from __future__ import annotations

import pytest

from mvdeploy.models.heads import deeplabv3, ssdlite
from mvdeploy.records import Category

pytestmark = pytest.mark.slow

OUTPUTS = {"detect": ["boxes", "scores"], "segment": ["logits"]}
CLASSES = 6  # so few that random weights see something
HEADS = {"detect": ssdlite.HEAD, "segment": deeplabv3.HEAD}


# Each task in one format, and ExecuTorch: docs/support.md has all of them.
@pytest.mark.parametrize(
    ("task", "format_name"),
    [("detect", "onnx"), ("segment", "coreml")],
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
