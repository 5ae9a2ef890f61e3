"""Networks that are given as they are, and everything else that may stand for one."""

from __future__ import annotations

import copy
import gc
from pathlib import Path

import pytest
import torch
from torch import nn

import mvdeploy
from mvdeploy.api import _asked
from mvdeploy.errors import MvdeployError, UsageError
from mvdeploy.records import PatchSize


@pytest.fixture(autouse=True)
def _folder(workspace: Path) -> None:
    """Files go there."""


def test_a_network_is_exported_as_a_copy_and_stays_as_it_is(network) -> None:
    net, example = network
    before = copy.deepcopy(net.state_dict())
    modes = [module.training for module in net.modules()]
    noise = torch.random.get_rng_state()
    exported = mvdeploy.export(net, "net.onnx", example=example)
    assert exported.parity is not None and exported.parity.passed
    assert exported.artifact.inputs[0].shape == (1, 3, 32, 32)
    assert modes == [module.training for module in net.modules()] and all(modes)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert torch.equal(torch.random.get_rng_state(), noise)
    assert exported.artifact.passes  # BatchNorm was folded, in the copy


def test_two_of_a_class_are_two_networks_and_none_is_kept(
    network, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MVDEPLOY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MVDEPLOY_CACHE_SIZE", "1GB")
    first, example = network
    second = copy.deepcopy(first)
    with torch.no_grad():
        second[5].bias += 1
    exports = [
        mvdeploy.export(net, f"{n}.pt2", format="pytorch", example=example)
        for n, net in enumerate((first, second, first))
    ]
    specs = [exported.artifact.spec.model for exported in exports]
    assert specs[0] == specs[2] != specs[1]
    assert not any(exported.kept for exported in exports)
    assert not list((tmp_path / "cache").glob("*"))
    weights = [exported.artifact.weights_fingerprint for exported in exports]
    assert weights[0] == weights[2] != weights[1]


def test_what_is_computed_is_a_part_of_the_name(network) -> None:
    class Scaled(nn.Module):
        def __init__(self, factor: float) -> None:
            super().__init__()
            self.factor = factor

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return image.mean((2, 3)) * self.factor

    example = network[1]
    held = [_asked.subjects([Scaled(f)], _asked.Networks(example)).held[0] for f in (1.0, 2.0)]
    assert held[0].spec.model != held[1].spec.model
    assert mvdeploy.make_spec(held[0].spec.model) == held[0].spec
    name = held[0].spec.model
    del held
    gc.collect()
    with pytest.raises(UsageError, match="is not held here"):
        mvdeploy.make_spec(name)


def test_networks_take_several_tensors_and_return_several() -> None:
    class Two(nn.Module):
        def forward(self, image: torch.Tensor, ids: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"mean": image.mean((2, 3)), "sum": ids.sum(1, keepdim=True)}

    example = (torch.rand(2, 3, 8, 8), torch.tensor([[0, 7], [3, 9]]))
    exported = mvdeploy.export(Two(), "two.onnx", example=example)
    inputs = [(t.name, t.shape, t.dtype) for t in exported.artifact.inputs]
    assert inputs == [("image", (2, 3, 8, 8), "float32"), ("ids", (2, 2), "int64")]
    assert exported.artifact.spec.inputs[1].values == (0.0, 9.0)
    assert exported.parity is not None and exported.parity.passed


@pytest.mark.parametrize(
    ("change", "example", "words"),
    [
        (lambda net: net, None, "Nothing says what Sequential takes"),
        (lambda net: net, torch.rand(1, 4, 8, 8), "does not take its example"),
        (lambda net: net, [torch.rand(1, 3, 32, 32), 3], "has an int in it"),
        (lambda net: net, "image", "is a str"),
        (lambda net: net, torch.rand(0, 3, 32, 32), "is empty"),
        (lambda net: net.half(), torch.rand(1, 3, 32, 32), r"Give network\.float\(\)"),
        (lambda net: net.to("meta"), torch.rand(1, 3, 32, 32), "device 'meta'"),
        (lambda net: torch.jit.script(net), torch.rand(1, 3, 32, 32), "TorchScript"),
        (lambda net: 3, torch.rand(1, 3, 32, 32), "is an int, and no network"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")
def test_what_cannot_be_exported_is_refused(network, change, example, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        mvdeploy.export(change(copy.deepcopy(network[0])), "x.onnx", example=example)
    assert not Path("x.onnx").exists()


def test_hooks_of_the_user_are_refused_and_those_of_torch_are_not(network) -> None:
    net, example = copy.deepcopy(network[0]), network[1]
    seen: list[object] = []
    handle = net[2].register_forward_hook(lambda *values: seen.append(values))
    with pytest.raises(UsageError, match=r"a hook of its own .* on '2'"):
        mvdeploy.export(net, "x.onnx", example=example)
    assert seen == []
    handle.remove()
    nn.utils.parametrizations.weight_norm(net[0])
    assert mvdeploy.export(net, "x.onnx", example=example).parity.passed  # type: ignore[union-attr]


def test_names_are_for_modules_and_what_names_choose_is_for_named_networks(network) -> None:
    net, example = network
    named = _asked.subjects({"before": net}, _asked.Networks(example)).found[0]
    assert named.model.startswith("module:before-")  # type: ignore[union-attr]
    for networks, asked, words in (
        ({"mine": "yardstick"}, _asked.Networks(), "'mine' is a name for yardstick"),
        ([net], _asked.Networks(example, patches=(2, 2, 2)), "patches can be chosen"),
        (["yardstick"], _asked.Networks(example), "An example says"),
        ([], _asked.Networks(), "nothing to measure"),
        ([Path("none.onnx")], _asked.Networks(), "There is no file none.onnx"),
        ([Path("none")], _asked.Networks(), "There is no file none"),
    ):
        with pytest.raises(UsageError, match=words):
            _asked.subjects(networks, asked)


@pytest.mark.parametrize(
    ("given", "read"),
    [
        (None, [None]),
        ("8,4,2", [["8", "4", "2"]]),
        ((8, 4, 2), [["8", "4", "2"]]),
        (((4, 2), 2, 2), [["4x2", "2", "2"]]),
        ([(8, 4, 2), "2,2,2"], [["8", "4", "2"], ["2", "2", "2"]]),
        ([((4, 2), 2, 2), (2, 2, 2)], [["4x2", "2", "2"], ["2", "2", "2"]]),
        ((PatchSize(4, 2), PatchSize(2, 2)), [["4x2", "2"]]),
    ],
)
def test_patches_are_read_as_they_are_written(given, read) -> None:
    found = _asked.configurations(given)
    assert [None if one is None else [str(size) for size in one] for one in found] == read


@pytest.mark.parametrize("given", [(0, 2, 2), (2.5, 2, 2), 8.5, ("a",), {}, [[]]])
def test_what_are_no_patches_is_refused(given) -> None:
    with pytest.raises(UsageError, match="no list of patch sizes"):
        _asked.configurations(given)


@pytest.mark.parametrize(
    ("keywords", "words"),
    [
        ({"format": "onnxx"}, "no format 'onnxx'"),
        ({"precision": "int9"}, "no precision 'int9'"),
        ({"colour": 3}, "no keyword of export, or option .* 'colour'"),
        ({"opset": 3}, "opset"),
        ({"opset": "new"}, "'new' is no whole number"),
        ({"backend": "xnnpack"}, "has no backend"),
        ({"image_input": 1}, "image_input is 1"),
        ({"batch": 0}, "0 is no number of images"),
        ({"formulation": "best"}, "no formulation 'best'"),
        ({"path": "net.pte"}, "does not end in '.onnx'"),
        ({"patches": [(2, 2, 2), (8, 4, 2)]}, "One network is exported at a time|no patch sizes"),
        ({"progress": "yes"}, "progress is 'yes'"),
        ({"weights": "none.pt"}, "none.pt"),
    ],
)
def test_what_an_export_cannot_be_asked_for_names_the_keyword(keywords, words: str) -> None:
    with pytest.raises(MvdeployError, match=words) as caught:
        mvdeploy.export("yardstick", **{"path": "x.onnx", **keywords})
    assert "--" not in caught.value.message
    assert str(caught.value) == f"{caught.value.message} {caught.value.remedy}"


def test_a_file_is_not_exported_again() -> None:
    mvdeploy.export("yardstick", "net.pt2", format="pytorch", image_size=(64, 96), batch=2)
    with pytest.raises(UsageError, match="is an exported file already"):
        mvdeploy.export("net.pt2")
