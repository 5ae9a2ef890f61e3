"""The stages of a pipeline as functions, each of which takes what the one before returned.

They are those by which all pictures are prepared here, so what the network is fed is the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mvdeploy import tasks
from mvdeploy.models import preprocess
from mvdeploy.models.feeding import pictures
from mvdeploy.records import Artifact, TensorInfo
from mvdeploy.records.stages import INFERENCE
from mvdeploy.verify import images, inputs, running

if TYPE_CHECKING:
    from mvdeploy.engines import EngineSession

    Arrays = Mapping[str, npt.NDArray[Any]]

Step = Callable[[Any], Any]


def unfit(artifact: Artifact) -> str:
    """Return why a file has no pipeline from a picture to an answer; empty where it has one."""
    taken = [tensor for tensor in artifact.spec.inputs if tensor.is_image]
    if len(taken) == 1:
        return ""
    return "the file takes several images" if taken else "the file takes no image"


def steps(artifact: Artifact, session: EngineSession, data: bytes) -> dict[str, Step]:
    """Return the stages by name, in order; the first takes anything.

    Args:
        artifact: the manifest of what the session has loaded.
        session: of an engine.
        data: of an image file that can be decoded.
    """
    (taken,) = (tensor for tensor in artifact.spec.inputs if tensor.is_image)
    batch, channels, height, width = map(int, taken.shape)
    rule = preprocess.sized(artifact.preprocessing, (height, width))
    # Values that are no images stay as they are: an app has them from elsewhere.
    still = {taken.name: np.zeros((batch, channels, height, width), np.float32)}
    others = inputs.whole(artifact.spec.inputs, still, 0)
    plain = _takes_pixels(artifact, channels)

    def decode(_: Any) -> list[Any]:
        return [pictures.decoded(data) for _ in range(batch)]

    def resize(found: list[Any]) -> list[npt.NDArray[np.uint8]]:
        return [preprocess.pixels(picture, rule) for picture in found]

    def normalise(found: list[npt.NDArray[np.uint8]]) -> Arrays:
        if plain is not None:
            return {plain.name: _pixels(found, plain, artifact.format)}
        tensors = [preprocess.normalised(seen, rule) for seen in found]
        if channels == 1:
            tensors = [preprocess.grey(tensor, rule) for tensor in tensors]
        whole = tensors[0] if batch == 1 else np.concatenate(tensors)
        return images.fed(artifact, {**others, taken.name: whole})

    infer = session.infer
    stages: dict[str, Step] = {
        "decode": decode,
        "resize": resize,
        "normalise": normalise,
        "feed": session.feed,
        INFERENCE: lambda _: infer(),
        "fetch": lambda _: running.numeric(artifact, session.outputs()),
    }
    known = tasks.finish(tasks.get(artifact.spec.task))
    if known is not None:
        _, finish = known
        view = preprocess.view(pictures.decoded(data), rule)
        stages["finish"] = lambda outputs: [
            finish(one, artifact.spec, view) for one in apart(outputs, batch)
        ]
    return stages


def apart(outputs: Arrays, batch: int) -> list[Arrays]:
    """Return the outputs of each picture of a batch."""
    if batch == 1:
        return [outputs]
    return [{name: out[n : n + 1] for name, out in outputs.items()} for n in range(batch)]


def _takes_pixels(artifact: Artifact, channels: int) -> TensorInfo | None:
    """Return the input of a program that takes pixels as they are, if it has no other."""
    own = artifact.inputs
    pixels = len(own) == 1 and own[0].is_image and own[0].dtype == "uint8" and channels == 3
    return own[0] if pixels else None


def _pixels(
    found: list[npt.NDArray[np.uint8]], info: TensorInfo, format_name: str
) -> npt.NDArray[np.uint8]:
    if images.are_pictures(format_name):
        return np.ascontiguousarray(found[0])
    stacked = np.stack(found)
    last = info.layout == "NHWC"
    return np.ascontiguousarray(stacked if last else stacked.transpose(0, 3, 1, 2))
