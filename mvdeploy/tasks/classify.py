"""Classification of images: one number for each class, the largest of which is the answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mvdeploy.records import ModelSpec, ParityInput, TensorInfo
from mvdeploy.records.artifact import PROBABILITIES
from mvdeploy.tasks import Answer, Column, Decision, Scorer

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from PIL import Image
    from torch import Tensor

    from mvdeploy.datasets import Data
    from mvdeploy.tasks import Arrays, Name, View

TITLE = "image classification"
IMAGE_SIZE = (224, 224)

VALUE = "probability"

FINISH = "softmax and the five most likely classes"

_LOGITS = "logits"
_SHOWN = 5


def outputs(spec: ModelSpec) -> tuple[TensorInfo, ...]:
    """Return the logits, (batch, classes)."""
    return (TensorInfo(_LOGITS, (spec.batch, spec.num_classes), "float32"),)


def named(result: Any) -> dict[str, Tensor]:
    """Name the logits: a tensor, or the only entry of a tuple, list or dict."""
    if isinstance(result, dict):
        result = tuple(result.values())
    if isinstance(result, tuple | list):
        (result,) = result
    return {_LOGITS: result}


def postprocess(outputs: dict[str, Tensor], spec: ModelSpec) -> dict[str, Tensor]:
    """Return probabilities as a classifier in Core ML does, of one image without its batch."""
    return {PROBABILITIES: outputs[_LOGITS].softmax(dim=-1).squeeze(0)}


def compare(wanted: Arrays, got: Arrays, rounded: Arrays | None, spec: ModelSpec) -> Decision:
    """Compare the largest of logits or probabilities.

    Another class is a tie when the reference's values of the two are nearer than twice what
    rounding moves any of them by.
    """
    import numpy as np

    ((name, reference),) = wanted.items()
    top, other = reference.argmax(-1), got[name].argmax(-1)
    agrees = bool(np.array_equal(top, other))
    if agrees or rounded is None:
        return Decision(agrees)
    gap = float((_at(reference, top) - _at(reference, other)).max())
    moved = np.abs(reference.astype(np.float64) - rounded[name].astype(np.float64))
    return Decision(agrees=False, tied=gap <= 2 * float(moved.max()))


def answers(outputs: Arrays, spec: ModelSpec) -> tuple[Answer, ...]:
    """Return the five classes that the first image is most likely of."""
    import numpy as np

    ((name, values),) = ((name, x) for name, x in outputs.items() if x.dtype.kind == "f")
    shares = values.astype(np.float64).reshape(-1, values.shape[-1])[0]
    if name != PROBABILITIES:
        shares = np.exp(shares - shares.max())
        shares /= shares.sum()
    order = np.argsort(-shares, kind="stable")[:_SHOWN]
    return tuple(Answer(int(number), float(shares[number])) for number in order)


def finish(outputs: Arrays, spec: ModelSpec, view: View) -> tuple[Answer, ...]:
    """Return the five classes that an image is most likely of."""
    return answers(outputs, spec)


def draw(picture: Image.Image, outputs: Arrays, spec: ModelSpec, name: Name) -> None:
    """Write the classes into the picture."""
    from PIL import ImageDraw

    from mvdeploy.tasks import _pictures

    canvas, font, below = ImageDraw.Draw(picture), _pictures.font(picture), 0.0
    for answer in answers(outputs, spec):
        text = f"{name(answer.number)} {answer.value:.1%}"
        below = _pictures.label(canvas, (0, below), text, (230, 230, 230), font)


def scorer(spec: ModelSpec, data: Data) -> Scorer:
    """Return what counts how often the right class is the first, or among the first five."""
    from mvdeploy.tasks import _top

    return _top.TopScorer(spec)


def _at(values: npt.NDArray[Any], classes: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
    import numpy as np

    return np.take_along_axis(values, classes[..., None], -1)[..., 0]


def _top1(one: ParityInput) -> str:
    return "agrees" if one.agrees else "tied" if one.tied else "DIFFERS"


COLUMNS = (Column("Top-1", _top1),)
