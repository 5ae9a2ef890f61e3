"""What an app computes of outputs before it has something to show."""

from __future__ import annotations

import numpy as np
import pytest

from mvdeploy import models, tasks
from mvdeploy.tasks import View, detect

WHOLE = View(picture=(600, 512), resized=(96, 96), crop=(96, 96), left=0, top=0)
MIDDLE = View(picture=(100, 200), resized=(100, 200), crop=(100, 100), left=50, top=0)


def test_five_classes() -> None:
    spec = models.make_spec("yardstick")
    words, finish = tasks.finish(tasks.get("classify")) or pytest.fail("nothing is known")
    logits = np.log(np.array([[0.1, 0.4, 0.2, 0.05, 0.15, 0.1]], np.float32))
    found = finish({"logits": logits}, spec, WHOLE)
    assert [one.number for one in found] == [1, 2, 4, 0, 5]  # type: ignore[attr-defined]
    assert "softmax" in words


def test_a_mask_as_large_as_what_was_seen_of_the_picture() -> None:
    spec = models.make_spec("mobilevit_xxs", task="segment", image_size=(96, 96))
    _, finish = tasks.finish(tasks.get("segment")) or pytest.fail("nothing is known")
    logits = np.zeros((1, 21, 4, 4), np.float32)
    logits[0, 7, :2] = 1
    for view, size in ((WHOLE, (512, 600)), (MIDDLE, (100, 100))):
        mask = finish({"logits": logits}, spec, view)
        assert mask.size == size  # type: ignore[attr-defined]
        values = np.asarray(mask)
        assert (values[: size[1] // 2] == 7).all() and (values[size[1] // 2 :] == 0).all()


def test_boxes_in_pixels_of_the_picture() -> None:
    spec = models.make_spec("mobilevit_xxs", task="detect", image_size=(96, 96))
    _, finish = tasks.finish(tasks.get("detect")) or pytest.fail("nothing is known")
    anchors = detect.priors((96, 96))
    scores = np.zeros((1, len(anchors), 81), np.float32)
    scores[..., 0] = 20
    scores[0, 0, 5] = 40
    outputs = {detect.BOXES: np.zeros((1, len(anchors), 4), np.float32), detect.SCORES: scores}
    ((number, value, box),) = finish(outputs, spec, MIDDLE)  # type: ignore[misc]
    (answer,) = tasks.answers(tasks.get("detect"), outputs, spec) or ()
    assert (number, value) == (5, answer.value)
    left, _, right, _ = answer.box
    assert box[0] == pytest.approx(max(0, 50 + 100 * left))
    assert box[2] == pytest.approx(50 + 100 * right)


def test_a_task_that_says_nothing_has_no_stage() -> None:
    assert tasks.finish(tasks.get("tensors")) is None
