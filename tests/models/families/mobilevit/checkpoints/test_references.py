"""Weights of the real timm and transformers, both ways: the same weights give the same logits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mvdeploy import models
from mvdeploy.models import random_weights
from mvdeploy.models.families.mobilevit.checkpoints import detect
from mvdeploy.records.spec import parse_patches

pytestmark = pytest.mark.slow

VARIANTS = ("mobilevit_xxs", "mobilevit_xs", "mobilevit_s")
SIZES = ((256, 256), (200, 240))  # 200x240: none of the maps is a multiple of every patch
CONFIGS = ("2,2,2", "8,4,2", "3,3,3", "4x2,2,2")
CLASSES = 37
CLOSE = 1e-5
"""Largest difference of two logits, relative to their standard deviation."""


# Token dimensions, channels and expansion, as transformers' config has them.
SHAPES = {
    "mobilevit_xxs": ([64, 80, 96], [16, 16, 24, 48, 64, 80, 320], 2.0),
    "mobilevit_xs": ([96, 120, 144], [16, 32, 48, 64, 80, 96, 384], 4.0),
    "mobilevit_s": ([144, 192, 240], [16, 32, 64, 96, 128, 160, 640], 4.0),
}


class Timm:
    """timm's network."""

    layout, file, order = "timm", "timm.pth", "RGB"

    def __init__(self, references: Any, variant: str) -> None:
        self.library = references.timm
        self.variant = variant

    def new(self) -> nn.Module:
        return self.library.create_model(self.variant, num_classes=CLASSES).eval()

    def save(self, network: nn.Module, path: Path) -> None:
        torch.save(network.state_dict(), path)

    def load(self, path: Path) -> nn.Module:
        network = self.new()
        network.load_state_dict(torch.load(path, weights_only=True), strict=True)
        return network

    def set_patches(self, network: nn.Module, config: str) -> None:
        blocks = [m for m in network.modules() if type(m).__name__ == "MobileVitBlock"]
        for block, patch in zip(blocks, parse_patches(config), strict=True):
            block.patch_size = (patch.height, patch.width)
            block.patch_area = patch.height * patch.width

    def logits(self, network: nn.Module, image: Tensor) -> Tensor:
        return network(image)


class Transformers(Timm):
    """transformers' network, in a folder."""

    layout, file, order = "transformers", "folder", "BGR"

    def __init__(self, references: Any, variant: str) -> None:
        self.library = references.transformers
        self.variant = variant

    def new(self) -> nn.Module:
        hidden, neck, ratio = SHAPES[self.variant]
        config = self.library.MobileViTConfig(
            hidden_sizes=hidden, neck_hidden_sizes=neck, expand_ratio=ratio, num_labels=CLASSES
        )
        return self.library.MobileViTForImageClassification(config).eval()

    def save(self, network: nn.Module, path: Path) -> None:
        network.save_pretrained(path)

    def load(self, path: Path) -> nn.Module:
        network, notes = self.library.MobileViTForImageClassification.from_pretrained(
            path, output_loading_info=True
        )
        assert not any(notes.values())
        return network.eval()

    def set_patches(self, network: nn.Module, config: str) -> None:
        blocks = [m for m in network.modules() if type(m).__name__ == "MobileViTLayer"]
        for block, patch in zip(blocks, parse_patches(config), strict=True):
            block.patch_height, block.patch_width = patch.height, patch.width

    def logits(self, network: nn.Module, image: Tensor) -> Tensor:
        return network(image).logits


@pytest.fixture(scope="module", params=VARIANTS)
def variant(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module", params=[Timm, Transformers], ids=lambda kind: kind.layout)
def reference(request: pytest.FixtureRequest, references: Any, variant: str) -> Timm:
    return request.param(references, variant)


@pytest.fixture(scope="module")
def theirs(reference: Timm, tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, Path]:
    """A network of theirs whose weights carry signal, and its checkpoint."""
    network = reference.new()
    random_weights.initialise(network, 5)
    path = tmp_path_factory.mktemp(reference.layout) / reference.file
    reference.save(network, path)
    return network, path


@pytest.fixture(scope="module")
def mine(reference: Timm, theirs: tuple[nn.Module, Path]) -> nn.Module:
    """Our network with their weights."""
    spec = models.make_spec(reference.variant, weights=theirs[1])
    assert spec.weights is not None
    assert (spec.weights.layout, spec.num_classes) == (reference.layout, CLASSES)
    return models.build(spec)


@pytest.fixture(scope="module")
def returned(
    reference: Timm, theirs: tuple[nn.Module, Path], tmp_path_factory: pytest.TempPathFactory
) -> nn.Module:
    """Their network with weights that went through another layout and back."""
    middle = tmp_path_factory.mktemp("middle") / "cvnets.safetensors"
    back = tmp_path_factory.mktemp("back") / reference.file
    models.convert(theirs[1], "cvnets", middle)
    models.convert(middle, reference.layout, back)
    return reference.load(back)


def difference(a: Tensor, b: Tensor) -> float:
    """Largest difference, relative to the logits' standard deviation."""
    assert a.shape == b.shape == (2, CLASSES)
    return float((a - b).abs().max() / a.std())


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_logits_are_the_same(
    reference: Timm,
    theirs: tuple[nn.Module, Path],
    mine: nn.Module,
    config: str,
    size: tuple[int, int],
) -> None:
    patches = parse_patches(config)
    models.make_spec(reference.variant, patches=patches, image_size=size)  # can be asked for
    mine.set_patches(patches)
    reference.set_patches(theirs[0], config)
    image = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        found, expected = mine(image), reference.logits(theirs[0], image)
    assert expected.std() > 0.2  # otherwise the comparison would be blind
    assert (expected[0] - expected[1]).abs().max() > 0.01
    assert difference(expected, found) < CLOSE


def test_patches_matter(reference: Timm, theirs: tuple[nn.Module, Path]) -> None:
    """The comparison above would see a wrong patch."""
    network, _ = theirs
    image = torch.rand(2, 3, 256, 256, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        reference.set_patches(network, "2,2,2")
        plain = reference.logits(network, image)
        reference.set_patches(network, "2x4,2,2")
        wide = reference.logits(network, image)
        reference.set_patches(network, "4x2,2,2")
        high = reference.logits(network, image)
    assert difference(plain, wide) > 1e3 * CLOSE
    assert difference(wide, high) > 1e3 * CLOSE


def test_every_tensor_comes_back(
    reference: Timm, theirs: tuple[nn.Module, Path], returned: nn.Module
) -> None:
    before, after = theirs[0].state_dict(), returned.state_dict()
    assert list(before) == list(after)
    assert all(before[name].dtype == after[name].dtype for name in before)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_network_of_ours_is_read_by_them(reference: Timm, tmp_path: Path, built: Any) -> None:
    network = built(reference.variant, CLASSES)
    names = detect.load_layout("cvnets").theirs
    state = {names(name)[0]: tensor for name, tensor in network.state_dict().items()}
    torch.save(state, tmp_path / "cvnets.pt")
    models.convert(tmp_path / "cvnets.pt", reference.layout, tmp_path / reference.file)
    image = torch.rand(2, 3, 256, 256, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        found = reference.logits(reference.load(tmp_path / reference.file), image)
        assert difference(network(image), found) < CLOSE
