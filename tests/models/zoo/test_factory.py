from __future__ import annotations

from pathlib import Path

import pytest

from mvdeploy import models, tasks
from mvdeploy.errors import UsageError
from mvdeploy.pipeline.export import Builder

NETWORK = """
import torch
from torch import nn
from mvdeploy.models import random_weights
from mvdeploy.records import Category


class Stem(nn.Sequential):
    category = Category.CONVOLUTION


def make():
    net = nn.Sequential(
        Stem(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU()),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10),
    )
    random_weights.initialise(net, 0)
    return net


make.image_size = (40, 48)


def number():
    return 3


def broken():
    raise RuntimeError("no weights here")
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "net.py"
    path.write_text(NETWORK)
    return path


def test_a_factory_is_a_model(file: Path) -> None:
    spec = models.make_spec(f"{file}:make")
    assert (spec.image_size, spec.num_classes, spec.patches) == ((40, 48), 10, ())
    assert spec.seed is None  # its weights are its own
    table = models.module_table(models.build(spec))
    assert table["0.1"].category == "convolution"
    assert table["0.1"].declared and not table["1"].declared


def test_it_goes_the_same_path(file: Path, tmp_path: Path) -> None:
    spec = models.make_spec(f"{file}:make")
    exported = Builder(spec).export("onnx", tmp_path / "net.onnx")
    assert exported.parity.passed
    assert exported.artifact.passes[0].changed == ("0.1 into 0.0",)


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        ("nothing", "net.py has nothing called 'nothing'"),
        ("number", "returned an int"),
        ("broken", r"broken failed \(net.py, line 29\): RuntimeError: no weights here"),
    ],
)
def test_a_factory_that_makes_no_network_is_refused(file: Path, factory: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        models.make_spec(f"{file}:{factory}")


def test_a_file_that_fails_or_is_missing_is_refused(tmp_path: Path) -> None:
    bad = tmp_path / "bad.py"
    bad.write_text("def make(:")
    with pytest.raises(UsageError, match="SyntaxError"):
        models.make_spec(f"{bad}:make")
    with pytest.raises(UsageError, match="There is no file"):
        models.make_spec(f"{tmp_path / 'none.py'}:make")


def test_what_a_factory_cannot_be_asked_for_is_refused(file: Path) -> None:
    from mvdeploy.records.spec import parse_patches

    with pytest.raises(UsageError, match="no patch sizes"):
        models.make_spec(f"{file}:make", patches=parse_patches("2,2,2"))
    with pytest.raises(UsageError, match="10 outputs, not 7"):
        models.make_spec(f"{file}:make", num_classes=7)


@pytest.mark.parametrize("name", ["tim:resnet", "timm:", ":x", "mobilevit_s:x"])
def test_an_unknown_prefix_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="names no model"):
        models.make_spec(name)


def test_a_factory_says_what_its_network_does(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = tmp_path / "tasks"
    room.mkdir()
    (room / "mapping.py").write_text(
        "IMAGE_SIZE = (32, 64)\ndef named(result):\n    return {'map': result['map']}\n"
    )
    monkeypatch.setattr(tasks, "__path__", [*tasks.__path__, str(room)])
    file.write_text(
        "from torch import nn\n"
        "class Map(nn.Conv2d):\n"
        "    def forward(self, x):\n"
        "        return {'map': super().forward(x)}\n"
        "def make():\n"
        "    return Map(3, 8, 3)\n"
        "def plain():\n"
        "    return nn.Conv2d(3, 8, 3)\n"
        "make.task = plain.task = 'mapping'\n"
        "make.num_classes = plain.num_classes = 8\n"
    )
    spec = models.make_spec(f"{file}:make")
    assert (spec.task, spec.image_size, spec.num_classes) == ("mapping", (32, 64), 8)
    with pytest.raises(UsageError, match="is no network for the task 'classify'"):
        models.make_spec(f"{file}:make", task="classify")
    with pytest.raises(UsageError, match="plain does not return what its task, mapping, does"):
        models.make_spec(f"{file}:plain")
