from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from mvdeploy import files, formats, models, passes
from mvdeploy.errors import CheckFailed
from mvdeploy.pipeline.export import Builder, Exported
from mvdeploy.pipeline.verify import Verifier
from mvdeploy.verify import inputs, parity
from mvdeploy.verify.mutations import program as program_mutations
from mvdeploy.verify.mutations.program import broken, names, places

# torch 2.13 copies its own deprecated tree specifications.
pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")


@pytest.fixture(scope="module")
def program() -> torch.export.ExportedProgram:
    spec = models.make_spec("mobilevit_xxs", image_size=(64, 96))
    example = torch.rand(1, 3, 64, 96)
    network, _ = passes.apply(models.build(spec), example, passes.FORMULATIONS["delegable"])
    return torch.export.export(network, (example,))


@pytest.fixture(scope="module")
def plain() -> torch.nn.Module:
    return models.build(models.make_spec("mobilevit_xxs", image_size=(64, 96)))


def test_every_mutation_moves_the_outputs(
    program: torch.export.ExportedProgram, plain: torch.nn.Module
) -> None:
    """On one of the inputs that parity is checked on; the program itself stays as it is."""
    images = [torch.from_numpy(inputs.synthetic((1, 3, 64, 96))["noise"])]
    before = run(program, images)
    found = list(places(program, plain, each=1))
    assert [name for name, _, _ in found] == [n for n in names() if n != "activation exchanged"]
    for name, index, module in found:
        assert module
        after = run(broken(program, plain, name, index), images)
        moved = [float((a - b).abs().max()) for a, b in zip(after, before, strict=True)]
        assert max(moved) > 1e-5, (name, module, moved)
    assert all(map(torch.equal, before, run(program, images)))


def run(program: torch.export.ExportedProgram, images: list[torch.Tensor]) -> list[torch.Tensor]:
    with torch.inference_mode():
        return [program.module()(image) for image in images]


def test_mutations_are_made_at_several_places(
    program: torch.export.ExportedProgram, plain: torch.nn.Module
) -> None:
    assert len({module for _, _, module in places(program, plain)}) > 10


ACTIVATIONS = [
    *(nn.ReLU, nn.GELU, nn.Hardswish, nn.ReLU6, nn.LeakyReLU, nn.Hardsigmoid, nn.ELU),
    functools.partial(nn.ReLU, inplace=True),
    functools.partial(nn.Hardswish, inplace=True),
]


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=str)
def test_other_activations_are_exchanged_as_well(activation: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv1d(2, 8, 1), activation(), nn.LayerNorm(4)).eval()
    example = torch.linspace(-3, 3, 8).reshape(1, 2, 4)
    traced = torch.export.export(network, (example,))
    found = {name: index for name, index, _ in places(traced, network)}
    kinds = "bias dropped", "weight changed", "weight × 1.01", "activation exchanged"
    assert list(found) == [*kinds, "LayerNorm eps × 100"]
    before = network(example)
    for name, index in found.items():
        assert not torch.equal(broken(traced, network, name, index).module()(example), before), name


class Tiny(nn.Module):
    """What a delegate takes as a whole: convolution, BatchNorm, LayerNorm, linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn, self.act = nn.Conv2d(3, 8, 3, 2), nn.BatchNorm2d(8), nn.SiLU()
        self.norm, self.fc1, self.fc2 = nn.LayerNorm(8), nn.Linear(8, 16), nn.Linear(16, 5)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = self.act(self.bn(self.conv(image))).mean((2, 3))
        return self.fc2(torch.relu(self.fc1(self.norm(x))))


TINY = f"""
import torch
from torch import nn

{inspect.getsource(Tiny)}

def make():
    torch.manual_seed(0)
    network = Tiny().eval()
    network.bn.running_var.uniform_(0.01, 0.2)
    return network


make.image_size, make.num_classes = (12, 12), 5
"""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """A program of one delegate."""
    folder = tmp_path_factory.mktemp("tiny")
    (folder / "net.py").write_text(TINY)
    spec = models.make_spec(f"{folder}/net.py:make")
    return Builder(spec).export("executorch", folder / "tiny.pte")


def test_faults_in_a_delegate_are_caught_with_their_module(
    tiny: Exported, monkeypatch: pytest.MonkeyPatch
) -> None:
    faint = "LayerNorm eps × 100", "BatchNorm folded with eps 1e-3", "weight × 1.01"
    chosen = {name: program_mutations._MUTATIONS[name] for name in faint}
    monkeypatch.setattr(program_mutations, "_MUTATIONS", chosen)
    results = Verifier(tiny.path).mutations()
    assert [result.mutation for result in results] == list(faint)
    assert [(r.mutation, r.module, r.named) for r in results if not r.good] == []
    assert all(r.parity is not None and r.parity.inside == "probe" for r in results)


def test_a_program_in_which_nothing_is_broken_is_not_accused(
    tiny: Exported, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing = {"nothing": (lambda editor, node: None, program_mutations._has_weight)}
    monkeypatch.setattr(program_mutations, "_MUTATIONS", nothing)
    (unbroken,) = Verifier(tiny.path).mutations()
    assert not unbroken.caught and not unbroken.named


def test_a_look_inside_is_had_when_it_is_asked_for(tiny: Exported) -> None:
    assert tiny.parity is not None and tiny.artifact.verified is not None
    assert (tiny.parity.inside, tiny.parity.weights) == ("", "network")
    assert tiny.artifact.delegation is not None and tiny.artifact.delegation.full
    looked = Verifier(tiny.path).check(modules=True)
    assert looked.passed and (looked.inside, looked.weights) == ("probe", "probe")
    assert {m.module for m in looked.modules} >= {"conv", "act", "norm", "fc1", "fc2"}


def test_other_weights_in_a_file_are_found_and_named(tiny: Exported, tmp_path: Path) -> None:
    """They are below what the outputs show, and the probe is sound."""
    state = models.build(tiny.artifact.spec).state_dict()
    stored = tiny.path.read_bytes()
    weight = state["fc1.bias"].numpy()
    assert stored.count(weight.tobytes()) == 1
    path = tmp_path / "other.pte"
    path.write_bytes(stored.replace(weight.tobytes(), (weight * np.float32(1 + 1e-7)).tobytes()))
    manifest = dataclasses.replace(tiny.artifact, sha256=files.sha256(path))
    formats.save_manifest(manifest, path)
    found = Verifier(path).check()
    assert not found.passed and found.differing == ("fc1.bias",)
    assert found.first_diverging is None and found.inside == "probe"
    with pytest.raises(CheckFailed, match=r"the file has other values of fc1\.bias"):
        parity.demand(found, "it")
