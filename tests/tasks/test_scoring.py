"""Scorers: measures of answers that are known to be right or wrong."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mvdeploy import models, tasks
from mvdeploy.datasets import Data
from mvdeploy.errors import UsageError
from mvdeploy.records import ModelSpec
from mvdeploy.tasks import View, _overlap, detect

WHOLE = View((10, 20), (10, 20), (10, 20), 0, 0)
NOTHING = Data("x", Path(), [], [])


def classifier(classes: int = 10) -> ModelSpec:
    return models.make_spec("mobilevit_xxs", num_classes=classes)


def logits(*order: int, classes: int = 10) -> dict[str, npt.NDArray[Any]]:
    values = np.zeros((1, classes), np.float32)
    for place, number in enumerate(order):
        values[0, number] = len(order) - place
    return {"logits": values}


# Classification


def test_first_and_among_the_first_five() -> None:
    scorer = tasks.scorer("classify", classifier(), NOTHING)
    for truth, order in ((3, (3, 1)), (1, (3, 1)), (9, (1, 2, 3, 4, 5)), (1, (3,))):
        row = scorer.judged(logits(*order), truth, WHOLE)
        assert row[0] == order[0] and len(row) == 5
        scorer.add(truth, row)
    top1, top5 = scorer.metrics()
    assert (top1.name, top1.hits, top1.value) == ("top1", 1, 0.25)
    assert (top5.name, top5.hits, top5.value) == ("top5", 3, 0.75)
    assert scorer.hits(1, [3, 1, 0, 2, 4]) == {"top1": False, "top5": True}
    first = scorer.confusions()[0]
    assert (first.truth, first.said, first.count) == (1, 3, 2)
    assert [(one.number, one.value, one.of) for one in scorer.classes()] == [
        *((1, 0.0, 2), (9, 0.0, 1), (3, 1.0, 1)),
    ]


def test_of_five_classes_all_are_among_the_first_five() -> None:
    scorer = tasks.scorer("classify", classifier(5), NOTHING)
    assert [metric.name for metric in scorer.metrics()] == ["top1"]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_no_number_is_wrong(value: float) -> None:
    scorer = tasks.scorer("classify", classifier(), NOTHING)
    outputs = logits(3)
    outputs["logits"][0, 0] = value
    row = scorer.judged(outputs, 3, WHOLE)
    assert row == [] and scorer.hits(3, row) == {"top1": False, "top5": False}
    scorer.add(3, row)
    assert scorer.metrics()[0].value == 0
    assert scorer.confusions()[0].said == -1
    assert scorer.alike(outputs, outputs) == 0


def test_probabilities_of_core_ml_are_logits_too() -> None:
    scorer = tasks.scorer("classify", classifier(), NOTHING)
    plain = {"classLabel_probs": logits(3, 1)["logits"][0]}
    assert scorer.judged(plain, 3, WHOLE)[:2] == [3, 1]
    assert scorer.alike(plain, logits(3)) == 1
    assert scorer.alike(plain, logits(1)) == 0
    with pytest.raises(ValueError, match="returns a row of numbers"):
        scorer.judged({"a": np.zeros((2, 10))}, 3, WHOLE)


@given(st.lists(st.floats(-5, 5, width=32), min_size=6, max_size=30), st.data())
def test_a_class_counts_as_in_a_sorted_list(values: list[float], data: st.DataObject) -> None:
    truth = data.draw(st.integers(0, len(values) - 1))
    scorer = tasks.scorer("classify", classifier(len(values)), NOTHING)
    row = scorer.judged({"x": np.array([values], np.float32)}, truth, WHOLE)
    larger = sum(v > values[truth] for v in values)
    equal = sum(v == values[truth] for v in values[:truth])
    hits = scorer.hits(truth, row)
    assert hits == {"top1": larger + equal == 0, "top5": larger + equal < 5}


# Segmentation


def masks(classes: int = 3, size: tuple[int, int] = (4, 4)) -> tuple[Any, ModelSpec]:
    spec = models.make_spec("mobilevit_xxs", task="segment", num_classes=classes)
    return tasks.scorer("segment", spec, NOTHING), spec


def said(mask: npt.NDArray[Any], classes: int = 3) -> dict[str, npt.NDArray[Any]]:
    return {"logits": np.eye(classes, dtype=np.float32)[mask].transpose(2, 0, 1)[None]}


def test_mean_intersection_over_union() -> None:
    scorer, _ = masks()
    truth = np.array([[0, 0, 1, 1], [0, 0, 1, 255]])
    mask = np.array([[0, 0, 0, 1], [0, 0, 1, 2]])
    view = View((2, 4), (2, 4), (2, 4), 0, 0)
    row = scorer.judged(said(mask), truth, view)
    assert sorted(row) == [[0, 0, 4], [1, 0, 1], [1, 1, 2]]
    scorer.add(truth, row)
    miou, pixels = scorer.metrics()
    assert miou.value == pytest.approx((4 / 5 + 2 / 3) / 2)
    assert pixels.value == pytest.approx(6 / 7)
    assert scorer.hits(truth, row) == {}
    (confusion,) = scorer.confusions()
    assert (confusion.truth, confusion.said, confusion.count) == (1, 0, 1)
    assert scorer.alike(said(mask), said(np.where(truth == 255, 2, truth))) == 7 / 8


@given(st.integers(0, 10**6))
def test_as_torchmetrics_would_count(seed: int) -> None:
    """Pixel by pixel, in plain loops, over two pictures."""
    generator = np.random.default_rng(seed)
    scorer, _ = masks()
    pairs = []
    for _ in range(2):
        truth, mask = generator.choice([0, 1, 2, 255], (5, 6)), generator.integers(0, 3, (5, 6))
        scorer.add(truth, scorer.judged(said(mask), truth, View((5, 6), (5, 6), (5, 6), 0, 0)))
        pairs += [(t, m) for t, m in zip(truth.flat, mask.flat, strict=True) if t != 255]
    shares = []
    for number in range(3):
        common = sum(t == m == number for t, m in pairs)
        union = sum(number in (t, m) for t, m in pairs)
        shares += [common / union] if union else []
    expected = sum(shares) / len(shares) if shares else 0
    assert scorer.metrics()[0].value == pytest.approx(expected)


def test_a_mask_is_brought_back_to_the_picture() -> None:
    """A picture of 8x16 is resized to 4x8, of which the square in the middle is fed."""
    view = View((8, 16), (4, 8), (4, 4), 2, 0)
    truth = np.zeros((8, 16), np.int64)
    truth[:, 8:] = 1
    mask = np.array([[0, 0, 1, 1]] * 4)
    scorer, _ = masks()
    row = scorer.judged(said(mask), truth, view)
    assert sorted(row) == [[0, 0, 32], [1, 1, 32]]  # the eight columns that are seen
    assert (_overlap._places(8, 4, -1, 6, 6) == [1, 1, 2, 2, 3, 3, 4, 4]).all()  # padded


def test_masks_that_do_not_fit() -> None:
    scorer, _ = masks()
    view = View((4, 4), (4, 4), (4, 4), 0, 0)
    mask = said(np.zeros((4, 4), np.int64))
    with pytest.raises(ValueError, match="its mask is 2x4, and the picture 4x4"):
        scorer.judged(mask, np.zeros((2, 4), np.int64), view)
    with pytest.raises(ValueError, match="its mask has the class 3 of 3"):
        scorer.judged(mask, np.full((4, 4), 3), view)
    mask["logits"][0, 0, 0, 0] = np.nan
    assert scorer.judged(mask, np.zeros((4, 4), np.int64), view) == []
    assert scorer.metrics()[0].value == 0


# Detection

BOXES = {
    "images": [
        {"id": 7, "file_name": "a.jpg", "width": 200, "height": 100},
        {"id": 8, "file_name": "b.jpg", "width": 200, "height": 100},
    ],
    "categories": [{"id": 3, "name": "car"}, {"id": 90, "name": "toothbrush"}],
    "annotations": [
        {
            "id": 1,
            "image_id": 7,
            "category_id": 3,
            "iscrowd": 0,
            "bbox": [20.0, 10.0, 100.0, 50.0],
            "area": 5000.0,
        },
        {
            "id": 2,
            "image_id": 8,
            "category_id": 90,
            "iscrowd": 0,
            "bbox": [100.0, 50.0, 50.0, 25.0],
            "area": 1250.0,
        },
    ],
}


@pytest.fixture
def boxes() -> Any:
    pytest.importorskip("pycocotools")
    spec = models.make_spec("mobilevit_xxs", task="detect", num_classes=3)
    source = {
        "instances": BOXES,
        "classes": {3: 1, 90: 2},
        "sizes": {7: (200, 100), 8: (200, 100)},
    }
    return tasks.scorer("detect", spec, Data("coco", Path(), [], [], source=source))


def found(*detections: tuple[int, float, tuple[float, ...]]) -> dict[str, npt.NDArray[Any]]:
    """Detections as a file with suppression inside returns them."""
    classes, scores, places = zip(*detections, strict=True) if detections else ((), (), ())
    return {
        detect.FOUND_BOXES: np.array(places, np.float32).reshape(-1, 4),
        detect.FOUND_SCORES: np.array(scores, np.float32),
        detect.FOUND_CLASSES: np.array(classes, np.float32),
    }


CAR, BRUSH = (0.1, 0.1, 0.6, 0.6), (0.5, 0.5, 0.75, 0.75)
STRETCHED = View((100, 200), (320, 320), (320, 320), 0, 0)


def test_right_boxes_have_a_precision_of_one(boxes: Any) -> None:
    row = boxes.judged(found((1, 0.9, CAR)), 7, STRETCHED)
    assert row[0][0] == 1 and row[0][2:] == pytest.approx([20, 10, 120, 60], abs=0.01)
    boxes.add(7, row)
    boxes.add(8, boxes.judged(found((2, 0.8, BRUSH)), 8, STRETCHED))
    measures = {metric.name: metric.value for metric in boxes.metrics()}
    assert measures["map"] == pytest.approx(1) and measures["map50"] == pytest.approx(1)
    assert "map_small" not in measures and measures["map_medium"] == pytest.approx(1)
    assert [(one.number, one.of) for one in boxes.classes()] == [(1, 1), (2, 1)]


def test_wrong_classes_missing_and_no_boxes_count(boxes: Any) -> None:
    boxes.add(7, boxes.judged(found((2, 0.9, CAR)), 7, STRETCHED))
    boxes.add(8, boxes.judged(found((2, 0.8, BRUSH)), 8, STRETCHED))
    measures = {metric.name: metric.value for metric in boxes.metrics()}
    assert measures["map"] == pytest.approx(0.25)  # of two classes one, behind a wrong box
    empty = type(boxes)(boxes._spec, boxes._data)
    empty.add(7, empty.judged(found(), 7, STRETCHED))
    assert empty.metrics()[0].value == 0
    assert empty.confusions() == () and empty.hits(7, []) == {}


def test_a_crop_is_brought_back_to_the_picture() -> None:
    """200x100 pixels become 640x320, of which the square in the middle is fed."""
    view = View((100, 200), (320, 640), (320, 320), 160, 0)
    assert view.box((0, 0, 1, 1)) == (50, 0, 150, 100)
    assert view.box((0.5, 0.25, 1.2, 1.4)) == (100, 25, 170, 100)  # cut off at the edge
    padded = View((100, 100), (80, 80), (100, 100), -10, -10)
    assert padded.box((0, 0.1, 0.9, 1)) == (0, 0, 100, 100)


def test_the_size_of_the_picture_has_to_be_the_one_that_is_said(boxes: Any) -> None:
    turned = View((200, 100), (320, 320), (320, 320), 0, 0)
    with pytest.raises(ValueError, match="it is 100x200, and is said to be 200x100"):
        boxes.judged(found(), 7, turned)


def test_boxes_alike(boxes: Any) -> None:
    own = found((1, 0.9, CAR), (2, 0.8, BRUSH))
    moved = found((1, 0.7, (0.1, 0.1, 0.6, 0.55)), (1, 0.8, BRUSH))
    assert boxes.alike(own, own) == 1
    assert boxes.alike(own, moved) == 0.5
    assert boxes.alike(found(), found()) == 1
    broken = found((1, np.nan, CAR))
    assert boxes.judged(broken, 7, STRETCHED) == []


def test_raw_outputs_are_decoded_with_a_lower_bar(boxes: Any) -> None:
    spec = boxes._spec
    shapes = {out.name: out.shape for out in detect.outputs(spec)}
    generator = np.random.default_rng(0)
    outputs = {name: generator.normal(0, 1, shape) for name, shape in shapes.items()}
    outputs["scores"][..., 0] += 6
    sure, unsure = (detect.answers(outputs, spec, least) for least in (0.3, 0.01))
    assert len(unsure) > len(sure)
    assert len(boxes.judged(outputs, 7, STRETCHED)) == min(100, len(unsure))


def test_without_pycocotools(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycocotools.coco", None)
    spec = models.make_spec("mobilevit_xxs", task="detect", num_classes=3)
    with pytest.raises(UsageError, match="pycocotools, which is not installed"):
        tasks.scorer("detect", spec, dataclasses.replace(NOTHING, source={"classes": {}}))


def test_a_task_without_right_answers() -> None:
    with pytest.raises(UsageError, match="Of the task 'tensors' it is not known") as caught:
        tasks.scorer("tensors", classifier(), NOTHING)
    assert "classify, detect, segment" in caught.value.remedy
