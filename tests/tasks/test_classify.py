from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch

from mvdeploy import models
from mvdeploy.records import ParityInput, TensorInfo
from mvdeploy.records.artifact import PROBABILITIES
from mvdeploy.tasks import Decision, classify

SPEC = models.make_spec("mobilevit_xxs", num_classes=3)


def row(*values: float) -> dict[str, npt.NDArray[np.float32]]:
    return {"logits": np.asarray([values], dtype=np.float32)}


def test_a_network_returns_one_number_for_each_class() -> None:
    spec = models.make_spec("mobilevit_xxs", num_classes=7)
    assert classify.outputs(spec) == (TensorInfo("logits", (1, 7), "float32"),)


@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: (x,), lambda x: [x], lambda x: {"a": x}])
def test_whatever_holds_the_logits(wrap) -> None:
    logits = torch.ones(1, 3)
    assert classify.named(wrap(logits))["logits"] is logits


def test_more_than_one_tensor_is_no_classification() -> None:
    with pytest.raises(ValueError, match="too many values"):
        classify.named((torch.ones(1), torch.ones(1)))


def test_probabilities_are_those_of_one_image() -> None:
    found = classify.postprocess({"logits": torch.tensor([[1.0, 1.0]])}, SPEC)[PROBABILITIES]
    assert found.tolist() == [0.5, 0.5]


def test_the_same_class_agrees_whatever_the_numbers() -> None:
    assert classify.compare(row(1, 2, 0), row(5, 9, 8), None, SPEC) == Decision(agrees=True)


def test_another_class_does_not_agree() -> None:
    assert classify.compare(row(1, 2, 0), row(2, 1, 0), None, SPEC) == Decision(agrees=False)


@pytest.mark.parametrize(("other", "tied"), [(0.9995, True), (0.9, False)])
def test_a_tie_is_what_rounding_cannot_tell_apart(other: float, tied: bool) -> None:
    """Rounding moves these outputs by 0.001; nearer ones it may put in either order."""
    wanted, got = row(1.0, other, 0.0), row(1.0, other + 0.2, 0.0)
    found = classify.compare(wanted, got, row(1.001, other, 0.0), SPEC)
    assert found == Decision(agrees=False, tied=tied)


def test_one_image_of_a_batch_that_differs_is_a_difference() -> None:
    wanted = {"logits": np.asarray([[1, 0], [0, 1]], np.float32)}
    got = {"logits": np.asarray([[1, 0], [1, 0]], np.float32)}
    assert not classify.compare(wanted, got, None, SPEC).agrees


@pytest.mark.parametrize(
    ("agrees", "tied", "text"),
    [(True, False, "agrees"), (False, True, "tied"), (False, False, "DIFFERS")],
)
def test_the_column_says_which(agrees: bool, tied: bool, text: str) -> None:
    one = ParityInput("x", 0.0, None, 1.0, agrees, tied=tied)
    assert [(c.title, c.text(one)) for c in classify.COLUMNS] == [("Top-1", text)]
