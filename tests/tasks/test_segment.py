from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

from mvdeploy import models
from mvdeploy.records import ParityInput, TensorInfo
from mvdeploy.tasks import Answer, Decision, segment

SPEC = models.make_spec("mobilevit_xxs", task="segment", image_size=(64, 96), num_classes=3)


def logits(mask: Any) -> dict[str, npt.NDArray[np.float32]]:
    """Return logits (1, 3, height, width) that are 1 for the class of a mask, and else 0."""
    return {"logits": np.eye(3, dtype=np.float32)[np.array(mask)].transpose(2, 0, 1)[None]}


def test_a_network_returns_a_number_for_each_class_at_each_pixel() -> None:
    assert segment.outputs(SPEC) == (TensorInfo("logits", (1, 3, 64, 96), "float32"),)


@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: (x,), lambda x: {"out": x}])
def test_whatever_holds_the_logits(wrap: Any) -> None:
    tensor = torch.ones(1, 3, 2, 2)
    assert segment.named(wrap(tensor))["logits"] is tensor


def test_the_same_classes_agree_whatever_the_numbers() -> None:
    wanted, got = logits([[0, 1], [2, 2]]), logits([[0, 1], [2, 2]])
    got["logits"] = got["logits"] * 7 + 1
    assert segment.compare(wanted, got, None, SPEC) == Decision(agrees=True)


@pytest.mark.parametrize(("gap", "tied"), [(0.001, True), (0.01, False)])
def test_a_pixel_of_another_class_is_a_tie_as_far_as_rounding_goes(gap: float, tied: bool) -> None:
    """Rounding moves a value by 0.001 somewhere; one pixel's classes are `gap` apart."""
    wanted, got = logits([[0, 1], [2, 2]]), logits([[0, 1], [2, 1]])
    wanted["logits"][0, 1, 1, 1] = 1 - gap
    rounded = {"logits": wanted["logits"] + np.float32(0.001)}
    assert segment.compare(wanted, got, rounded, SPEC) == Decision(False, tied=tied)
    assert segment.compare(wanted, got, None, SPEC) == Decision(agrees=False)


def test_one_pixel_that_is_no_tie_is_a_difference() -> None:
    wanted, got = logits([[0, 1], [2, 2]]), logits([[1, 1], [2, 1]])
    wanted["logits"][0, 1, 1, 1] = 1
    rounded = {"logits": wanted["logits"] + np.float32(0.001)}
    assert segment.compare(wanted, got, rounded, SPEC) == Decision(agrees=False)


def test_classes_by_the_share_of_their_pixels() -> None:
    found = segment.answers(logits([[0, 2], [2, 2]]), SPEC)
    assert found == (Answer(2, 0.75), Answer(0, 0.25))


def test_pixels_are_coloured_by_class_and_the_background_is_left() -> None:
    picture = Image.new("RGB", (400, 400), (100, 100, 100))
    mask = [[0, 0], [1, 2]]
    segment.draw(picture, logits(mask), SPEC, "class {}".format)
    assert picture.getpixel((390, 100)) == (100, 100, 100)
    left, right = picture.getpixel((100, 390)), picture.getpixel((300, 390))
    assert len({left, right, (100, 100, 100)}) == 3


@pytest.mark.parametrize(
    ("agrees", "tied", "text"),
    [(True, False, "agree"), (False, True, "tied"), (False, False, "DIFFER")],
)
def test_the_column_says_which(agrees: bool, tied: bool, text: str) -> None:
    one = ParityInput("x", 0.0, None, 1.0, agrees, tied=tied)
    assert [(c.title, c.text(one)) for c in segment.COLUMNS] == [("Pixels", text)]
