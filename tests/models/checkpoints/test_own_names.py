"""Checkpoints of networks of any origin: found among other tensors, strict, chosen by a key."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from mvdeploy import models
from mvdeploy.errors import UsageError
from mvdeploy.records import Artifact, codec
from mvdeploy.records.spec import ImageChanges
from tests.warm import Server

NETWORK = """
import torch
from torch import nn

def make():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5),
    )

class Table(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("index", torch.arange(3))
        self.linear = nn.Linear(3, 2)
    def forward(self, x):
        return self.linear(x.mean((2, 3))[:, self.index])

def table():
    return Table()

class Wrapper(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = make()
    def forward(self, x):
        return self.net(x)

def wrapped():
    return Wrapper()

def single():
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 5))

def empty():
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())

for factory in (make, table, wrapped, single, empty):
    factory.image_size = (8, 8)
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "net.py"
    path.write_text(NETWORK)
    return path


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    """A trained state of ``make``."""
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(3)
        network = nn.Sequential(
            *(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU()),
            *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)),
        )
        network(torch.rand(4, 3, 8, 8))
    return network.state_dict()


def under(prefix: str, held: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}{name}": tensor for name, tensor in held.items()}


def loaded(name: str, path: Path, **asked: Any) -> dict[str, Tensor]:
    return models.build(models.make_spec(name, weights=path, **asked)).state_dict()


def refusal(name: str, path: Path, **asked: Any) -> str:
    with pytest.raises(UsageError) as caught:
        loaded(name, path, **asked)
    text = f"{caught.value}"
    assert "\n" not in text and len(text) < 900
    assert "False" not in text  # never: set weights_only to False
    return text


def check_equal(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    assert list(found) == list(expected)
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def test_the_network_is_found_among_others(
    file: Path, state: dict[str, Tensor], tmp_path: Path
) -> None:
    held = {**under("model._orig_mod.", state), "criterion.weight": torch.ones(5)}
    torch.save({"epoch": 1, "state": {"last": held}}, tmp_path / "x.ckpt")
    spec = models.make_spec(f"{file}:make", weights=tmp_path / "x.ckpt")
    assert spec.weights is not None and spec.seed is None
    assert (spec.weights.key, spec.weights.layout) == ("state.last.model", "")
    assert spec.weights.notes == ("left aside: criterion.weight",)
    check_equal(models.build(spec).state_dict(), state)


@pytest.mark.parametrize("factory", ["make", "wrapped"])
@pytest.mark.parametrize("prefix", ["", "net.", "a.b."])
def test_a_module_around_a_network_may_be_on_either_side(
    file: Path, state: dict[str, Tensor], tmp_path: Path, factory: str, prefix: str
) -> None:
    save_file(under(prefix, state), tmp_path / "x.safetensors")
    found = loaded(f"{file}:{factory}", tmp_path / "x.safetensors")
    check_equal(found, under("net." if factory == "wrapped" else "", state))


def test_a_single_layer_is_not_found_in_any_network(
    file: Path, state: dict[str, Tensor], tmp_path: Path
) -> None:
    torch.save(state, tmp_path / "x.pt")
    text = refusal(f"{file}:single", tmp_path / "x.pt")
    assert "x.pt does not fit" in text and "7 unexpected" in text


def test_what_differs_is_counted(file: Path, state: dict[str, Tensor], tmp_path: Path) -> None:
    held = dict(state)
    del held["1.weight"], held["0.bias"]
    held |= {"5.weight": torch.ones(6, 8), "7.weight": torch.ones(2)}
    torch.save({"model": held}, tmp_path / "x.pt")
    text = refusal(f"{file}:make", tmp_path / "x.pt")
    assert "x.pt (entry 'model') does not fit" in text
    assert "2 missing (0.bias, 1.weight), 1 unexpected (7.weight), 1 of another shape" in text
    assert "5.weight: 6×8 for 5×8" in text


def test_a_leftover_among_the_networks_names_is_refused(
    file: Path, state: dict[str, Tensor], tmp_path: Path
) -> None:
    held = under("model.", {**state, "6.weight": torch.ones(2)})
    torch.save({"state_dict": {**held, "loss.weight": torch.ones(5)}}, tmp_path / "x.pt")
    assert "1 unexpected (6.weight)" in refusal(f"{file}:make", tmp_path / "x.pt")


def test_copies_are_listed_and_chosen(file: Path, state: dict[str, Tensor], tmp_path: Path) -> None:
    other = {name: tensor + 1 for name, tensor in state.items()}
    held = {"models": [state, other], "ema": None}
    torch.save(held, tmp_path / "x.pt")
    text = refusal(f"{file}:make", tmp_path / "x.pt")
    assert "2 copies of the network, and they differ: 'models.0', 'models.1'" in text
    check_equal(loaded(f"{file}:make", tmp_path / "x.pt", weights_key="models.1"), other)


def test_a_key_of_what_does_not_fit(file: Path, state: dict[str, Tensor], tmp_path: Path) -> None:
    part = {name: tensor for name, tensor in state.items() if name != "0.bias"}
    torch.save({"good": state, "part": part}, tmp_path / "x.pt")
    check_equal(loaded(f"{file}:make", tmp_path / "x.pt"), state)
    text = refusal(f"{file}:make", tmp_path / "x.pt", weights_key="part")
    assert "(entry 'part') does not fit" in text and "1 missing (0.bias)" in text


def test_whole_numbers_are_no_weights(file: Path, tmp_path: Path) -> None:
    held = {"index": torch.tensor([2, 0, 1]), "linear.weight": torch.ones(2, 3)}
    held["linear.bias"] = torch.zeros(2)
    torch.save(held, tmp_path / "x.pt")
    check_equal(loaded(f"{file}:table", tmp_path / "x.pt"), held)
    torch.save({**held, "index": torch.rand(3)}, tmp_path / "x.pt")
    text = refusal(f"{file}:table", tmp_path / "x.pt")
    assert "other values than whole numbers in 1 tensor (index)" in text


def test_a_network_without_weights(file: Path, state: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save(state, tmp_path / "x.pt")
    assert "has no weights that a checkpoint could hold" in refusal(
        f"{file}:empty", tmp_path / "x.pt"
    )


def test_another_number_of_classes(file: Path, state: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save(state, tmp_path / "x.pt")
    assert "5 classes, not 6" in refusal(f"{file}:make", tmp_path / "x.pt", num_classes=6)


def test_a_checkpoint_that_changed(file: Path, state: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save(state, tmp_path / "x.pt")
    spec = models.make_spec(f"{file}:make", weights=tmp_path / "x.pt")
    torch.save({**state, "0.bias": torch.ones(8)}, tmp_path / "x.pt")
    with pytest.raises(UsageError, match="its sha256 differs"):
        models.build(spec)


# What is no state dict


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_torchscript_names_a_safe_way(file: Path, tmp_path: Path) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 5))
    torch.jit.script(network).save(tmp_path / "x.pt")
    text = refusal(f"{file}:single", tmp_path / "x.pt")
    assert "x.pt is a TorchScript program" in text
    code = re.search(r"torch\.save\(.*\)", text)
    assert code is not None
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        exec(code[0], {"torch": torch})
    check_equal(loaded(f"{file}:single", tmp_path / "weights.pt"), network.state_dict())


def test_an_exported_program_names_a_safe_way(file: Path, tmp_path: Path) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 5)).eval()
    torch.export.save(torch.export.export(network, (torch.zeros(1, 3, 8, 8),)), tmp_path / "x.pt2")
    text = refusal(f"{file}:single", tmp_path / "x.pt2")
    assert "x.pt2 is an exported program" in text
    code = re.search(r"torch\.save\(.*\)", text)
    assert code is not None
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        exec(code[0], {"torch": torch})
    check_equal(loaded(f"{file}:single", tmp_path / "weights.pt"), network.state_dict())


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickled_network_names_a_safe_way(file: Path, tmp_path: Path, zipped: bool) -> None:
    torch.save(nn.Linear(2, 2), tmp_path / "x.pth", _use_new_zipfile_serialization=zipped)
    text = refusal(f"{file}:make", tmp_path / "x.pth")
    assert "holds an object of torch.nn.modules.linear.Linear" in text
    assert "torch.save(model.state_dict(), 'weights.pt')" in text


@pytest.mark.parametrize(
    ("held", "message"),
    [
        ([torch.ones(2), torch.ones(3)], "holds no tensors under names"),
        ({0: torch.ones(2)}, "holds no tensors under names"),
        ({"state": {0: {"step": torch.ones(1)}}, "param_groups": []}, "state of an optimizer"),
    ],
    ids=str,
)
def test_what_holds_no_network(file: Path, tmp_path: Path, held: object, message: str) -> None:
    torch.save(held, tmp_path / "x.pt")
    assert message in refusal(f"{file}:make", tmp_path / "x.pt")


def test_masks_that_are_none(file: Path, state: dict[str, Tensor], tmp_path: Path) -> None:
    held = dict(state)
    held |= {"0.weight_orig": held.pop("0.weight"), "0.weight_mask": torch.full((8, 3, 3, 3), 0.5)}
    torch.save(held, tmp_path / "x.pt")
    text = refusal(f"{file}:make", tmp_path / "x.pt")
    assert "pruning masks with other values than 0 and 1" in text and "prune.remove" in text


# Hostile files


def endless() -> object:
    held: dict[str, Any] = {"a": torch.ones(1)}
    held |= {str(number): held for number in range(50)}
    return held


def deep() -> object:
    held: dict[str, Any] = {"0.weight": torch.ones(1)}
    for _ in range(100):
        held = {"model": held, "net": [held, held]}
    return held


def wide() -> object:
    shared = torch.ones(1)
    return {f"{number}.a.b.c.d.0.weight": shared for number in range(50_000)}


def chained() -> object:
    shared = torch.ones(1)
    return {"0.weight." * length + "0.weight": shared for length in range(1_000)}


def dotted() -> object:
    return {"." * 100_000 + "weight": torch.ones(1), "0." * 100_000 + "weight": torch.ones(1)}


@pytest.mark.timeout(60)  # it would be minutes if the work grew as a square
@pytest.mark.parametrize("make", [endless, deep, wide, chained, dotted])
def test_a_hostile_file_ends(file: Path, tmp_path: Path, make: Callable[[], object]) -> None:
    torch.save(make(), tmp_path / "x.pt")
    with pytest.raises(UsageError):
        models.make_spec(f"{file}:make", weights=tmp_path / "x.pt")


# The command line


@pytest.fixture
def mvdeploy(warm: Server, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    return lambda *arguments: warm.mvdeploy(*arguments, cwd=tmp_path)


def test_what_was_taken_is_said(
    mvdeploy: Callable[..., subprocess.CompletedProcess[str]],
    file: Path,
    state: dict[str, Tensor],
    tmp_path: Path,
) -> None:
    half = {
        name: tensor.half() if tensor.is_floating_point() else tensor
        for name, tensor in state.items()
    }
    held = {**under("model.", half), "loss.a": torch.ones(1), "loss.b": torch.ones(1)}
    torch.save({"state_dict": {**held, **under("ema.", state)}}, tmp_path / "x.ckpt")
    arguments = ("export", "net.py:make", "--weights", "x.ckpt", "-o", "x.onnx")
    done = mvdeploy(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert "'state_dict.model', 'state_dict.ema'" in done.stderr
    assert "--weights-key state_dict.model" in done.stderr
    done = mvdeploy(*arguments, "--weights-key", "model")
    assert done.returncode == 0, done.stderr
    assert (
        "  weights: x.ckpt, entry 'state_dict.model'; left aside: ema.0.bias and 10 more; "
        "float16 taken as float32" in done.stdout.splitlines()
    )
    described = mvdeploy("describe", *arguments[1:4], "--weights-key", "model").stdout
    assert "weights: x.ckpt, entry 'state_dict.model'; left aside: ema.0.bias and" in described
    artifact = codec.load(Artifact, tmp_path / "x.onnx.json")
    assert artifact.spec.weights is not None
    assert artifact.spec.weights.key == "state_dict.model"
    assert mvdeploy("verify", "x.onnx", "--model", "net.py:make").returncode == 0


def test_a_key_without_a_file(
    mvdeploy: Callable[..., subprocess.CompletedProcess[str]], file: Path
) -> None:
    done = mvdeploy("describe", "net.py:make", "--weights-key", "ema")
    assert done.returncode == 2
    assert "Random weights lie in no file" in done.stderr


def test_a_folder_says_what_the_network_is_fed(
    file: Path, state: dict[str, Tensor], tmp_path: Path
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    save_file(state, folder / "model.safetensors")
    plain = models.make_spec(f"{file}:make", weights=folder)
    check_equal(models.build(plain).state_dict(), state)
    assert models.preprocessing(plain) == models.preprocessing(models.make_spec(f"{file}:make"))
    said = {"input_size": [3, 12, 16], "crop_pct": 0.5, "mean": [0.1, 0.2, 0.3]}
    (folder / "config.json").write_text(json.dumps({"pretrained_cfg": said}))
    spec = models.make_spec(f"{file}:make", weights=folder)
    rule = models.preprocessing(spec)
    assert (spec.image_size, rule.resize, rule.mean) == ((12, 16), (24, 32), (0.1, 0.2, 0.3))
    asked = models.make_spec(
        f"{file}:make",
        weights=folder,
        image_size=(8, 8),
        images=ImageChanges(channel_order="BGR"),
    )
    rule = models.preprocessing(asked)
    assert (rule.crop, rule.channel_order, rule.mean) == ((8, 8), "BGR", (0.1, 0.2, 0.3))
