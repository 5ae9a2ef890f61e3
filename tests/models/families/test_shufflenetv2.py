from __future__ import annotations

import pytest
import torch

from mvdeploy.models import random_weights, zoo
from mvdeploy.models.families import shufflenetv2
from mvdeploy.models.families.shufflenetv2.network import ShuffleNetV2
from mvdeploy.records import Category
from tests.models.families.measured import measure


@pytest.mark.parametrize(
    ("name", "parameters", "macs"),
    [("shufflenetv2_100", 2_278_604, 144.9), ("shufflenetv2_150", 3_503_624, 295.8)],
)
def test_published_counts(name: str, parameters: int, macs: float) -> None:
    found = measure(shufflenetv2, name)
    assert (found.parameters, round(found.macs, 1)) == (parameters, macs)
    assert found.shares[Category.CONVOLUTION] > 99


def test_it_computes_what_torchvision_computes_with_its_names() -> None:
    theirs = zoo.load("torchvision.models").shufflenet_v2_x1_0(num_classes=7)
    random_weights.initialise(theirs, seed=1, image_size=(64, 64))
    ours = ShuffleNetV2((116, 232, 464), num_classes=7).eval()
    ours.load_state_dict(theirs.state_dict())
    # Any size: neither is a multiple of the stride.
    image = torch.rand(2, 3, 65, 90)
    with torch.inference_mode():
        expected = theirs(image)
        torch.testing.assert_close(ours(image), expected, rtol=1e-4, atol=1e-4)
    assert expected.std() > 0.1
