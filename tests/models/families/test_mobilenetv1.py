from __future__ import annotations

import pytest
import torch

from mvdeploy.models import random_weights
from mvdeploy.models.families import mobilenetv1
from mvdeploy.models.families.mobilenetv1.network import MobileNetV1
from mvdeploy.records import Category
from tests.models.families.measured import measure


@pytest.mark.parametrize(
    ("name", "parameters", "macs"),
    [
        ("mobilenetv1_050", 1_331_592, 150),
        ("mobilenetv1_075", 2_585_560, 325),
        ("mobilenetv1_100", 4_231_976, 569),
    ],
)
def test_published_counts(name: str, parameters: int, macs: int) -> None:
    """The paper's table 6 has 1.3, 2.6 and 4.2 million parameters; 149, 325 and 569 MACs."""
    found = measure(mobilenetv1, name)
    assert found.parameters == parameters
    assert found.macs == pytest.approx(macs, abs=0.6)
    assert found.shares[Category.CONVOLUTION] > 99


def test_it_computes_what_timm_computes_with_its_names(references) -> None:
    theirs = references.timm.create_model("mobilenetv1_100", num_classes=7)
    random_weights.initialise(theirs, seed=1, image_size=(64, 64))
    ours = MobileNetV1(1.0, num_classes=7).eval()
    ours.load_state_dict(theirs.state_dict())
    image = torch.rand(2, 3, 65, 90)
    with torch.inference_mode():
        expected = theirs(image)
        torch.testing.assert_close(ours(image), expected, rtol=1e-4, atol=1e-4)
    assert expected.std() > 0.1


def test_images_are_fed_as_to_the_authors_network() -> None:
    fed = mobilenetv1.preprocessing(mobilenetv1.defaults("mobilenetv1_075"))
    assert (fed.resize, fed.mean, fed.std) == ((256, 256), (0.5,) * 3, (0.5,) * 3)  # -1..1
