"""What a file says of a photograph: the numbers of PyTorch, and pictures of them."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mvdeploy import devices, formats, models, tasks
from mvdeploy.errors import EngineError, UsageError
from mvdeploy.models.preprocess import load_image, sample_photograph
from mvdeploy.pipeline.evaluation import programs
from mvdeploy.pipeline.predict import predict
from mvdeploy.records import Delegation, ModelSpec

HOST = devices.get("host", ())


@pytest.fixture
def photograph(tmp_path: Path) -> Path:
    """A picture of 160x120 pixels."""
    pixels = np.random.default_rng(0).integers(0, 255, (6, 8, 3), np.uint8)
    picture = Image.fromarray(pixels).resize((160, 120), Image.Resampling.BICUBIC)
    picture.save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def by_pytorch(spec: ModelSpec, network: Any, photograph: Path) -> tuple[tasks.Answer, ...]:
    task = tasks.get(spec.task)
    image = torch.from_numpy(load_image(photograph, models.preprocessing(spec)))
    with torch.inference_mode():
        named = task.named(network(image))
    found = tasks.answers(task, {name: out.numpy() for name, out in named.items()}, spec)
    assert found
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("format_name", "task"), [("onnx", "classify"), ("onnx", "segment"), ("executorch", "detect")]
)
def test_the_answers_are_those_of_pytorch(
    exported, photograph: Path, format_name: str, task: str
) -> None:
    asked = {} if task == "classify" else {"task": task, "patches": "2,2,2", "classes": 6}
    made = exported(format_name, **asked)
    if format_name == "executorch":
        assert made.artifact.delegation == Delegation(1, len(made.artifact.operators))
    found = predict(made.path, photograph, HOST)
    assert found.answers is not None
    wanted = by_pytorch(made.spec, made.network, photograph)
    assert [one.number for one in found.answers] == [one.number for one in wanted]
    for one, other in zip(found.answers, wanted, strict=True):
        assert one.value == pytest.approx(other.value, abs=1e-3)
        assert one.box == pytest.approx(other.box, abs=1e-3)
    assert found.random_weights
    assert found.device == ""
    picture = found.draw(str)
    assert picture is not None
    # A network with a head sees the whole photograph, and a classifier the square in its middle.
    assert picture.size == ((960, 720), (672, 672))[task == "classify"]


def test_a_photograph_that_is_large_enough_is_not_enlarged(exported) -> None:
    found = predict(exported("onnx").path, sample_photograph(), HOST)
    stretched = dataclasses.replace(
        found.artifact.preprocessing, fit="stretch", resize=found.artifact.preprocessing.crop
    )
    whole = dataclasses.replace(
        found, artifact=dataclasses.replace(found.artifact, preprocessing=stretched)
    )
    with Image.open(sample_photograph()) as picture:
        size = picture.size
    enlarged = whole.draw(str)
    assert enlarged is not None
    factor = -(-640 // min(size))
    assert enlarged.size == (factor * size[0], factor * size[1])


def test_trained_weights_are_not_called_random(exported, photograph: Path) -> None:
    found = predict(exported("onnx").path, photograph, HOST)
    spec = dataclasses.replace(found.artifact.spec, seed=None)
    trained = dataclasses.replace(found, artifact=dataclasses.replace(found.artifact, spec=spec))
    assert (found.random_weights, trained.random_weights) == (True, False)


def test_a_file_whose_network_is_not_known_has_numbers(others, photograph: Path) -> None:
    found = predict(others("noted.onnx"), photograph, HOST)
    assert (found.answers, found.draw(str), found.random_weights) == (None, None, False)
    assert all(np.isfinite(array).all() for array in found.outputs.values())


def test_a_file_that_is_not_the_manifests_is_told(
    exported, others, tmp_path: Path, photograph: Path
) -> None:
    made = exported("onnx").path
    shutil.copy(others("noted.onnx"), tmp_path / made.name)
    shutil.copy(formats.manifest_path(made), tmp_path)
    found = predict(tmp_path / made.name, photograph, HOST)
    assert [finding.code for finding in found.findings] == ["manifest_of_another_file"]


def test_no_photograph(exported, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nothing\.jpg"):
        predict(exported("onnx").path, tmp_path / "nothing.jpg", HOST)


def test_an_output_that_came_back_damaged(tmp_path: Path) -> None:
    (tmp_path / "0.npy").write_bytes(b"\x93NUMPY nonsense")
    with pytest.raises(EngineError, match="'logits' came back damaged"):
        programs.loaded(tmp_path / "0.npy", "logits")
