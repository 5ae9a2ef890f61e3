"""A task of a file of its own: two outputs, which nothing else in the package knows of."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from mvdeploy import formats, models, tasks
from mvdeploy.errors import CheckFailed, UsageError
from mvdeploy.pipeline.export import Builder
from mvdeploy.pipeline.verify import Verifier
from mvdeploy.precisions import fp32
from mvdeploy.records import Artifact, Parity, TensorInfo
from mvdeploy.verify import inputs, parity
from mvdeploy.verify.reference import Outputs, Reference, Yardstick, reference

TASK = """
from mvdeploy.records import TensorInfo
from mvdeploy.tasks import Column, Decision

TITLE = "points and their weight"
IMAGE_SIZE = (8, 8)
COLUMNS = (Column("same point", lambda one: "yes" if one.agrees else "no"),)

def outputs(spec):
    return (
        TensorInfo("points", (spec.batch, 2), "float32"),
        TensorInfo("weight", (spec.batch,), "float32"),
    )

def named(result):
    return {"points": result["points"], "weight": result["weight"]}

def compare(wanted, got, rounded, spec):
    return Decision(bool(abs(wanted["points"] - got["points"]).max() < 0.1))
"""


class Points(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.points = nn.Linear(3, 2)
        self.weight = nn.Linear(3, 1)

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        mean = image.mean(dim=(2, 3))
        return {"weight": self.weight(mean)[:, 0], "points": self.points(mean)}


@pytest.fixture(autouse=True)
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "points.py").write_text(TASK)
    monkeypatch.setattr(tasks, "__path__", [*tasks.__path__, str(tmp_path)])
    yield


@pytest.fixture
def made(tmp_path: Path) -> tuple[Artifact, Path, Points]:
    """Export the network with both outputs, in the order of its dict."""
    torch.manual_seed(0)
    network = Points().eval()
    path = tmp_path / "points.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's older exporter, which is quicker, says that it is
        torch.onnx.export(
            network,
            (torch.zeros(1, 3, 8, 8),),
            path,
            input_names=["picture"],
            output_names=["weight", "points"],
            dynamo=False,
        )
    spec = dataclasses.replace(models.make_spec("yardstick", image_size=(8, 8)), task="points")
    artifact = Artifact(
        path=path.name,
        sha256="",
        size_bytes=0,
        format="onnx",
        precision="fp32",
        spec=spec,
        passes=(),
        inputs=(TensorInfo("picture", (1, 3, 8, 8), "float32", "NCHW"),),
        outputs=tasks.get("points").outputs(spec),
        preprocessing=models.preprocessing(spec),
        versions={},
        operators=(),
        modules={},
        parameters=0,
    )
    return artifact, path, network


def check(made: tuple[Artifact, Path, Points]) -> Parity:
    artifact, path, network = made
    images = inputs.synthetic((1, 3, 8, 8))
    feeds = {name: {"picture": image} for name, image in images.items()}
    return parity.check(Yardstick(artifact, network, feeds), path, "onnxruntime")


def test_every_output_is_compared(made: tuple[Artifact, Path, Points]) -> None:
    found = check(made)
    assert found.passed and found.task == "points"
    for one in found.inputs:
        assert [output.name for output in one.outputs] == ["points", "weight"]
        assert one.max_abs == max(output.max_abs for output in one.outputs)
        assert one.cosine == min(output.cosine for output in one.outputs)
    assert tasks.get(found.task).COLUMNS[0].text(found.inputs[0]) == "yes"


@pytest.mark.parametrize(("name", "agrees"), [("points", False), ("weight", True)])
def test_a_fault_in_either_output_is_caught(
    made: tuple[Artifact, Path, Points], name: str, agrees: bool
) -> None:
    _, path, network = made
    model = onnx.load(path)
    (bias,) = [t for t in model.graph.initializer if t.name == f"{name}.bias"]
    values = getattr(network, name).bias.detach().numpy() + np.float32(0.5)
    bias.CopyFrom(onnx.numpy_helper.from_array(values, bias.name))
    onnx.save(model, path)
    found = check(made)
    assert not found.passed
    assert {one.agrees for one in found.inputs} == {agrees}
    for one in found.inputs:
        moved = {output.name for output in one.outputs if output.max_abs > 0.1}
        assert moved == {name}
    with pytest.raises(CheckFailed, match=r"the outputs differ by 0\.5"):
        parity.demand(found, "it")


def test_an_output_that_the_network_lacks_is_named(made: tuple[Artifact, Path, Points]) -> None:
    artifact, path, network = made
    more = (*artifact.outputs, TensorInfo("masks", (1,), "float32"))
    changed = dataclasses.replace(artifact, outputs=more)
    with pytest.raises(CheckFailed, match=r"no output 'masks' \(it has points, weight\)"):
        check((changed, path, network))


def test_what_a_device_returned_is_judged_by_the_same_rules(
    made: tuple[Artifact, Path, Points],
) -> None:
    artifact, _, network = made
    image = inputs.synthetic((1, 3, 8, 8))["noise"]
    wanted = reference(artifact, network, {"picture": image}, "photograph")
    assert not wanted.not_exact and wanted.rounded is not None
    right = wanted.rounded["photograph"]
    assert list(right) == ["points", "weight"]
    found = parity.compare_outputs(artifact, wanted, right, engine="e 1 on d")
    assert found.passed and not found.blind and found.output_spread is None
    assert (found.engine, found.inputs[0].name) == ("e 1 on d", "photograph")
    # A single input is given more room than several.
    assert found.max_ratio == 2 * (fp32.PRECISION.max_ratio or 0)
    wrong = {**right, "weight": right["weight"] * np.float32(1 + 1e-5)}
    found = parity.compare_outputs(artifact, wanted, wrong, engine="e")
    assert not found.passed
    with pytest.raises(CheckFailed, match="has no output 'weight'"):
        parity.compare_outputs(artifact, wanted, {"points": right["points"]}, engine="e")
    broken = {**right, "weight": right["weight"] * np.float32("nan")}
    with pytest.raises(CheckFailed, match="'weight' on the input 'photograph' has values that"):
        parity.compare_outputs(artifact, wanted, broken, engine="e")


def test_a_device_that_rounds_is_given_what_rounding_costs(
    made: tuple[Artifact, Path, Points],
) -> None:
    artifact, _, network = made
    half = dataclasses.replace(artifact, precision="fp16")
    fed = {"picture": inputs.synthetic((1, 3, 8, 8))["noise"]}
    wanted = reference(half, network, fed, "x")
    assert wanted.rounded is not None
    found = parity.compare_outputs(half, wanted, wanted.rounded["x"], engine="e")
    assert found.passed and found.min_snr_db == 45 and found.max_ratio is None
    for output in found.inputs[0].outputs:
        assert output.rounding_db == output.snr_db is not None


def test_an_engine_that_adds_up_in_halves_is_given_what_that_costs(
    made: tuple[Artifact, Path, Points],
) -> None:
    artifact, _, network = made
    half = dataclasses.replace(artifact, precision="fp16")
    fed = {"picture": inputs.synthetic((1, 3, 8, 8))["noise"]}
    wanted = reference(half, network, fed, "x")
    assert wanted.rounded is not None and wanted.summed is not None
    # A network in which sums cost far more than rounding: its sums are 30 times as far off.
    far = {name: 30 * wanted.rounded["x"][name] - 29 * exact for name, exact in out(wanted).items()}
    summing = dataclasses.replace(wanted, summed=lambda: {"x": far})
    rounding_only = parity.compare_outputs(half, summing, far, engine="e")
    found = parity.compare_outputs(half, summing, far, engine="e", running_sums=True)
    if rounding_only.passed:
        pytest.fail("the errors are too small to tell")
    assert found.passed and found.running_sums
    wrong = {name: far[name] + np.abs(exact).max() / 4 for name, exact in out(wanted).items()}
    assert not parity.compare_outputs(half, summing, wrong, engine="e", running_sums=True).passed
    right = parity.compare_outputs(half, wanted, wanted.rounded["x"], engine="e", running_sums=True)
    assert right.passed and not right.running_sums  # rounding alone explains it


def out(reference: Reference) -> Outputs:
    return reference.outputs["x"]


def test_a_precision_that_does_not_exist_is_no_unjudged_pass(
    made: tuple[Artifact, Path, Points],
) -> None:
    artifact, path, network = made
    unknown = dataclasses.replace(artifact, precision="fp8")
    with pytest.raises(UsageError, match="There is no precision 'fp8'"):
        check((unknown, path, network))


def test_an_unknown_task_is_refused_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="There is no task 'clasify'") as caught:
        tasks.get("clasify")
    assert "Did you mean 'classify'?" in caught.value.remedy


NETWORK = """
import torch
from torch import nn


class Points(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
        self.points, self.weight = nn.Linear(4, 2), nn.Linear(4, 1)

    def forward(self, image):
        mean = self.stem(image).mean(dim=(2, 3))
        return {"weight": self.weight(mean)[:, 0], "points": self.points(mean)}


def make():
    torch.manual_seed(0)
    return Points().eval()


make.task, make.num_classes = "points", 2
"""


def test_a_network_with_two_outputs_goes_the_whole_way(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(NETWORK)
    spec = models.make_spec(f"{tmp_path}/net.py:make")
    assert (spec.task, spec.image_size) == ("points", (8, 8))
    done = Builder(spec).export("onnx", tmp_path / "points.onnx")
    assert [(o.name, o.shape) for o in done.artifact.outputs] == [
        ("points", (1, 2)),
        ("weight", (1,)),
    ]
    assert done.artifact.passes[0].changed == ("stem.1 into stem.0",)
    assert {op.module for op in done.artifact.operators} >= {"stem.0", "points", "weight"}
    assert done.parity is not None and done.parity.passed and done.parity.modules
    assert [o.name for o in done.parity.inputs[0].outputs] == ["points", "weight"]
    again = Verifier(done.path)
    assert again.check().passed
    faults = {result.mutation: result.good for result in again.mutations()}
    kinds = (
        "bias dropped",
        "weight × 1.01",
        "activation exchanged",
        "BatchNorm folded with eps 1e-3",
    )
    assert faults == dict.fromkeys(kinds, True)


@pytest.mark.parametrize("format_name", ["coreml", "executorch", "pytorch"])
def test_every_format_names_both_outputs(format_name: str, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(NETWORK)
    spec = models.make_spec(f"{tmp_path}/net.py:make")
    done = Builder(spec).export(format_name, tmp_path / f"points{formats.suffix(format_name)}")
    assert [o.name for o in done.artifact.outputs] == ["points", "weight"]
    assert done.parity is not None and done.parity.passed
