"""Detection: priors, boxes and suppression against plain loops; what agrees, and what is a tie."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

from mvdeploy import models
from mvdeploy.records import ParityInput
from mvdeploy.tasks import Decision, _boxes, detect

Arrays = dict[str, npt.NDArray[Any]]

SPEC = models.make_spec("mobilevit_xxs", task="detect", image_size=(96, 64), num_classes=4)


def outputs(seed: int = 0, batch: int = 1) -> Arrays:
    """Outputs as a network has them: some dozens of detections."""
    generator = np.random.default_rng(seed)
    shapes = {output.name: (batch, *output.shape[1:]) for output in detect.outputs(SPEC)}
    return {name: generator.normal(0, 1.5, shape) for name, shape in shapes.items()}


def anchors() -> npt.NDArray[np.float64]:
    return _boxes.priors(SPEC.image_size)


def test_there_are_3232_priors_at_320() -> None:
    assert len(_boxes.priors((320, 320))) == 3232


@pytest.mark.parametrize("size", [(320, 320), (96, 64), (100, 161)])
def test_priors_are_those_of_the_paper(size: tuple[int, int]) -> None:
    """Cell by cell: the small square, the large one, then both ways of each ratio."""
    scales = [0.1 + i * 0.95 / 6 for i in range(7)]
    sizes = [tuple(math.ceil(side / 2**n) for side in size) for n in (4, 5, 6, 7, 8)]
    wanted = []
    for level, (height, width) in enumerate([*sizes, (1, 1)]):
        small, large = scales[level], math.sqrt(scales[level] * scales[level + 1])
        for y, x in product(range(height), range(width)):
            centre = [(x + 0.5) / width, (y + 0.5) / height]
            wanted += [[*centre, small, small], [*centre, large, large]]
            for ratio in (2,) if level == 5 else (2, 3):
                root = math.sqrt(ratio)
                wanted += [[*centre, small * root, small / root]]
                wanted += [[*centre, small / root, small * root]]
    np.testing.assert_allclose(_boxes.priors(size), np.clip(wanted, 0, 1), atol=1e-12)


def test_a_box_is_its_prior_moved_and_grown() -> None:
    prior = np.array([[0.5, 0.25, 0.2, 0.4]])
    box = _boxes.decoded(np.array([[1.0, -2.0, math.log(2) / 0.2, 0.0]]), prior)
    centre, half = (0.5 + 0.02, 0.25 - 0.08), (0.2, 0.2)
    wanted = [centre[0] - half[0], centre[1] - half[1], centre[0] + half[0], centre[1] + half[1]]
    np.testing.assert_allclose(box[0], wanted)


def test_no_box_is_too_large_to_compute_with() -> None:
    assert np.isfinite(_boxes.decoded(np.full((1, 4), 1e6), np.ones((1, 4)))).all()


def plainly(boxes: Any, shares: Any) -> list[tuple[int, int]]:
    """Suppress with loops over all pairs: prior and class of what is left, the surest first."""
    left = [
        (float(shares[prior, number]), prior, number)
        for prior, number in np.ndindex(shares.shape)
        if number and shares[prior, number] > detect.LEAST_SCORE
    ]
    kept: list[tuple[float, int, int]] = []
    for score, prior, number in sorted(left, key=lambda one: -one[0]):
        rivals = [other for _, other, of in kept if of == number]
        if all(iou(boxes[prior], boxes[other]) <= detect.MOST_OVERLAP for other in rivals):
            kept.append((score, prior, number))
    return [(prior, number) for _, prior, number in kept[: detect.MOST]]


def iou(a: Any, b: Any) -> float:
    width = max(0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0, min(a[3], b[3]) - max(a[1], b[1]))
    areas = [(one[2] - one[0]) * (one[3] - one[1]) for one in (a, b)]
    return width * height / (sum(areas) - width * height)


@pytest.mark.parametrize("seed", range(3))
def test_suppression_is_that_of_plain_loops(seed: int) -> None:
    own = outputs(seed)
    seen = _boxes.seen(own["boxes"][0], own["scores"][0], anchors())
    found = list(zip(seen.found.priors.tolist(), seen.found.classes.tolist(), strict=True))
    wanted = plainly(seen.boxes, seen.shares)
    assert found == wanted
    candidates = int((seen.shares[:, 1:] > detect.LEAST_SCORE).sum())
    assert 20 < len(found) < candidates  # some were suppressed


def test_the_same_detections_agree_whatever_the_numbers() -> None:
    wanted = outputs()
    moved = {name: values + 1e-9 for name, values in wanted.items()}
    assert detect.compare(wanted, moved, None, SPEC) == Decision(agrees=True)


def _found(own: Arrays) -> Any:
    return _boxes.seen(own["boxes"][0], own["scores"][0], anchors()).found


def _raised(own: Arrays, prior: int, by: float) -> Arrays:
    changed = {name: values.copy() for name, values in own.items()}
    changed["scores"][0, prior] += by * np.array([1.0, -1, -1, -1])
    return changed


def test_one_detection_less_is_a_difference() -> None:
    wanted = outputs()
    surest = _found(wanted).priors[0]
    lost = _raised(wanted, surest, 9.0)
    rounded = {name: values + 1e-6 for name, values in wanted.items()}
    assert detect.compare(wanted, lost, rounded, SPEC) == Decision(agrees=False)
    assert detect.compare(wanted, lost, None, SPEC) == Decision(agrees=False)


def test_a_score_at_its_limit_is_a_tie_as_far_as_rounding_goes() -> None:
    wanted = outputs()
    last = _found(wanted).priors[-1]
    share = _boxes.probabilities(wanted["scores"][0])[last].max()
    lost = _raised(wanted, last, 0.5 * (share - detect.LEAST_SCORE) / (share * (1 - share)) + 0.01)
    assert not detect.compare(wanted, lost, None, SPEC).agrees
    for scale, tied in ((1e-7, False), (0.2, True)):
        noise = np.random.default_rng(5).normal(0, scale, wanted["scores"].shape)
        rounded = {**wanted, "scores": wanted["scores"] + noise}
        assert detect.compare(wanted, lost, rounded, SPEC) == Decision(False, tied=tied)


def test_two_boxes_of_nearly_one_score_may_take_turns() -> None:
    """Of two that lie on each other, either may be the surer one."""
    scores = np.full((1, len(anchors()), 4), -9.0)
    scores[..., 0] = 9
    scores[0, :2, 0], scores[0, :2, 1] = 0, [3.0, 2.9999]
    boxes = np.zeros((1, len(anchors()), 4))
    boxes[0, 1, 2:] = np.log(anchors()[0, 2:] / anchors()[1, 2:]) / 0.2  # as large as the first
    wanted = {"boxes": boxes, "scores": scores}
    other = {"boxes": boxes, "scores": scores.copy()}
    other["scores"][0, 1, 1] = 3.0002
    assert [len(_found(one).scores) for one in (wanted, other)] == [1, 1]
    for shift, tied in ((1e-3, True), (1e-7, False)):
        rounded = {"boxes": boxes, "scores": scores + shift * (scores == 3.0)}
        assert detect.compare(wanted, other, rounded, SPEC) == Decision(False, tied=tied)


def test_one_image_of_a_batch_that_differs_is_a_difference() -> None:
    wanted = outputs(batch=2)
    got = {name: values.copy() for name, values in wanted.items()}
    got["scores"][1] = -got["scores"][1]
    assert not detect.compare(wanted, got, wanted, SPEC).agrees


def test_detections_that_a_program_chose_itself_are_the_same() -> None:
    own = outputs()
    chosen = detect.postprocess({n: torch.from_numpy(v) for n, v in own.items()}, SPEC)
    assert {name: tuple(tensor.shape) for name, tensor in chosen.items()} == {
        "detected_boxes": (200, 4),
        "detected_scores": (200,),
        "detected_classes": (200,),
    }
    arrays = {name: tensor.numpy() for name, tensor in chosen.items()}
    assert detect.answers(arrays, SPEC) == detect.answers(own, SPEC)
    assert detect.compare(arrays, arrays, None, SPEC).agrees
    others = {**arrays, "detected_classes": arrays["detected_classes"][::-1]}
    assert not detect.compare(arrays, others, None, SPEC).agrees


@pytest.mark.parametrize("wrap", [lambda b, s: {"scores": s, "boxes": b}, lambda b, s: (b, s)])
def test_whatever_holds_boxes_and_scores(wrap: Any) -> None:
    boxes, scores = torch.ones(1), torch.zeros(1)
    named = detect.named(wrap(boxes, scores))
    assert list(named) == ["boxes", "scores"]
    assert named["boxes"] is boxes


def test_a_box_is_drawn_where_it_is_with_its_name() -> None:
    wide = {
        "detected_boxes": np.array([[0.25, 0.5, 0.75, 2.0]]),
        "detected_scores": np.array([0.9]),
        "detected_classes": np.array([2]),
    }
    asked: list[int] = []
    picture = Image.new("RGB", (200, 200))
    detect.draw(picture, wide, SPEC, lambda number: asked.append(number) or "cat")
    pixels = np.asarray(picture).any(-1)
    assert asked == [2]
    assert pixels[150, 50] and pixels[150, 149] and pixels[199, 100]  # its sides, cut at the edge
    assert not pixels[:99].any() and not pixels[:, :48].any()
    assert not pixels[160:190, 60:140].any()  # what is in it stays


@pytest.mark.parametrize(
    ("agrees", "tied", "text"),
    [(True, False, "agree"), (False, True, "tied"), (False, False, "DIFFER")],
)
def test_the_column_says_which(agrees: bool, tied: bool, text: str) -> None:
    one = ParityInput("x", 0.0, None, 1.0, agrees, tied=tied)
    assert [(c.title, c.text(one)) for c in detect.COLUMNS] == [("Detections", text)]
