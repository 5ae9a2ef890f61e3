from __future__ import annotations

import pytest
import torch

from mvdeploy import models
from mvdeploy.errors import UsageError
from mvdeploy.models import macs
from mvdeploy.records import Category
from mvdeploy.records.spec import PatchSize


def test_it_is_small_and_the_same_every_time() -> None:
    spec = models.make_spec("yardstick")
    first, second = models.build(spec), models.build(spec)
    image = torch.rand(1, 3, 56, 56)
    with torch.inference_mode():
        assert torch.equal(first(image), second(image))
        assert first(image).shape == (1, 10)
        assert not torch.equal(first(image), first(torch.rand(1, 3, 56, 56)))
    # 1x1 and 3x3 convolution over 56 x 56, then the classifier with its bias.
    by_hand = 56 * 56 * 32 * (3 + 9 * 32) + (32 + 1) * 10
    assert macs.observe(first, image).total == by_hand


def test_every_module_has_a_category() -> None:
    table = models.module_table(models.build(models.make_spec("yardstick")))
    assert table["conv_3x3"].category is Category.CONVOLUTION
    assert table["classifier.linear"].category is Category.PRE_AND_POST


def test_it_has_no_patches() -> None:
    with pytest.raises(UsageError, match="no patch sizes"):
        models.make_spec("yardstick", patches=(PatchSize(2, 2),))
