"""timm's and transformers' networks go through the same path, built without downloads."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from mvdeploy import models
from mvdeploy.errors import UsageError
from mvdeploy.models import random_weights
from mvdeploy.pipeline.export import Builder
from mvdeploy.records import Category
from tests.warm import started


@pytest.mark.parametrize("name", ["timm:mobilevit_xxs", "hf:mobilevit"])
def test_a_library_s_network_is_described_as_typed(name: str, tmp_path: Path) -> None:
    done = started("describe", name, "--image-size", "64", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    parameters = {"timm:mobilevit_xxs": "1,272,024", "hf:mobilevit": "4,938,914"}
    assert re.search(rf"^total +{parameters[name]} ", done.stdout, re.MULTILINE)


@pytest.mark.parametrize("kind", ["deit", "levit"])
def test_of_a_type_with_several_classifiers_the_plain_one_is_built(kind: str) -> None:
    network = models.build(models.make_spec(f"hf:{kind}", num_classes=3))
    with torch.inference_mode():
        assert network(torch.zeros(1, 3, 224, 224)).shape == (1, 3)
    assert models.make_spec(f"hf:{kind}").num_classes == 2  # building changed no defaults


def test_a_network_of_timm(tmp_path: Path) -> None:
    spec = models.make_spec("timm:mobilevit_xxs", image_size=(64, 64))
    assert models.preprocessing(spec).interpolation == "bicubic"
    network = models.build(spec)
    assert models.parameter_count(network) == 1_272_024
    table = models.module_table(network)
    assert not any(module.declared for module in table.values())
    assert {module.category for module in table.values()} >= {
        Category.ATTENTION,
        Category.FFN,
        Category.CONVOLUTION,
        Category.FOLD,
        Category.PRE_AND_POST,
    }
    exported = Builder(spec).export("onnx", tmp_path / "timm.onnx")
    assert exported.parity.passed
    assert exported.parity.modules
    # timm's BatchNorm has the activation inside.
    assert exported.artifact.passes[0].left == ()


def test_a_vision_transformer_of_timm_at_its_own_size() -> None:
    spec = models.make_spec("timm:deit_tiny_patch16_224")
    assert spec.image_size == (224, 224)
    table = models.module_table(models.build(spec))
    assert table["blocks.0.attn"].category is Category.ATTENTION
    assert table["blocks.0.mlp"].category is Category.FFN
    # What a norm serves is told by the data flow.
    assert table["blocks.0.norm1"].category is None
    assert table["patch_embed.proj"].category is not None


def test_a_type_of_transformers(tmp_path: Path) -> None:
    spec = models.make_spec("hf:mobilevit", image_size=(64, 64), num_classes=10)
    assert spec.seed == 0
    assert models.preprocessing(spec).channel_order == "BGR"
    exported = Builder(spec).export("onnx", tmp_path / "hf.onnx")
    assert exported.parity.passed
    assert exported.artifact.outputs[0].shape == (1, 10)


def test_a_folder_of_transformers_keeps_its_weights(references, tmp_path: Path) -> None:
    import torch

    configuration = references.transformers.MobileViTConfig(num_labels=7, image_size=64)
    saved = references.transformers.MobileViTForImageClassification(configuration).eval()
    saved.save_pretrained(tmp_path / "saved")
    spec = models.make_spec(f"hf:{tmp_path / 'saved'}")
    assert (spec.num_classes, spec.image_size, spec.seed) == (7, (64, 64), None)
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(models.build(spec)(image), saved(image).logits)


@pytest.mark.parametrize(
    "settings",
    [
        '{"model_type": "evil"}',
        '{"model_type": "mobilevit", "id2label": true}',
        '{"model_type": "mobilevit", "image_size": 64, "hidden_sizes": "many"}',
    ],
)
def test_settings_that_transformers_cannot_follow_are_refused(
    references, tmp_path: Path, settings: str
) -> None:
    configuration = references.transformers.MobileViTConfig(num_labels=7, image_size=64)
    saved = references.transformers.MobileViTForImageClassification(configuration)
    saved.save_pretrained(tmp_path / "saved")
    (tmp_path / "saved/config.json").write_text(settings)
    with pytest.raises(UsageError, match="transformers cannot") as caught:
        models.build(models.make_spec(f"hf:{tmp_path / 'saved'}"))
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("timm:mobilevit_xxl", "no network in timm 'mobilevit_xxl'"),
        ("hf:mobilevitt", "no image classifier in transformers 'mobilevitt'"),
    ],
)
def test_an_unknown_name_is_refused(name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        models.make_spec(name)


def test_patches_are_refused() -> None:
    from mvdeploy.records.spec import parse_patches

    with pytest.raises(UsageError, match="no patch sizes"):
        models.make_spec("timm:deit_tiny_patch16_224", patches=parse_patches("2,2,2"))


@pytest.mark.parametrize("name", ["mobilevit_xxs", "resnet18"])
def test_a_checkpoint_of_timm(references, tmp_path: Path, name: str) -> None:
    network = references.timm.create_model(name, num_classes=3)
    random_weights.initialise(network, 1, (64, 64))
    held = {f"model.{key}": tensor for key, tensor in network.state_dict().items()}
    torch.save({"state_dict": held | {"loss.weight": torch.ones(3)}}, tmp_path / "x.ckpt")
    spec = models.make_spec(f"timm:{name}", image_size=(64, 64), weights=tmp_path / "x.ckpt")
    assert spec.num_classes == 3
    assert spec.weights is not None and spec.weights.key == "state_dict.model"
    found = models.build(spec).state_dict()
    assert all(torch.equal(found[key], tensor) for key, tensor in network.state_dict().items())
    with pytest.raises(UsageError, match=r"has 3 classes, not 4\. Leave out --num-classes"):
        models.make_spec(f"timm:{name}", weights=tmp_path / "x.ckpt", num_classes=4)
    with pytest.raises(UsageError, match="is no checkpoint of timm:deit_tiny"):
        models.make_spec("timm:deit_tiny_patch16_224", weights=tmp_path / "x.ckpt")


def test_a_folder_of_timm(references, tmp_path: Path) -> None:
    network = references.timm.create_model("resnet10t", num_classes=2)
    save_file(network.state_dict(), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text('{"architecture": "resnet10t", "num_classes": 2}')
    typed = ("describe", "timm:resnet10t", "--image-size", "64", "--weights", ".")
    done = started(*typed, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"^fc +2 +1,026 ", done.stdout, re.MULTILINE)
    spec = models.make_spec("timm:resnet10t", weights=tmp_path)
    found = models.build(spec).state_dict()
    assert all(torch.equal(found[key], tensor) for key, tensor in network.state_dict().items())


def test_shapes_follow_the_size_of_the_image(references, tmp_path: Path) -> None:
    name = "deit_tiny_patch16_224"
    network = references.timm.create_model(name, num_classes=2, img_size=(64, 32))
    torch.save(network.state_dict(), tmp_path / "x.pt")
    spec = models.make_spec(f"timm:{name}", weights=tmp_path / "x.pt", image_size=(64, 32))
    assert spec.num_classes == 2
    with pytest.raises(UsageError, match=r"1 of another shape \(pos_embed: 1×9×192 for 1×197×192"):
        models.make_spec(f"timm:{name}", weights=tmp_path / "x.pt")


def test_names_that_transformers_has_only_in_files(references, tmp_path: Path) -> None:
    """In memory its SegFormer has other names than published checkpoints do."""
    library = references.transformers
    configuration = library.SegformerConfig(num_labels=3)
    network = library.SegformerForImageClassification(configuration).eval()
    network.save_pretrained(tmp_path / "saved")
    spec = models.make_spec("hf:segformer", weights=tmp_path / "saved", image_size=(64, 64))
    assert spec.num_classes == 3
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    built = models.build(spec)
    with torch.inference_mode():
        torch.testing.assert_close(built(image), network(image).logits)
    torch.save(built.state_dict(), tmp_path / "ours.pt")
    again = models.build(models.make_spec("hf:segformer", weights=tmp_path / "ours.pt"))
    assert all(
        torch.equal(again.state_dict()[key], tensor) for key, tensor in built.state_dict().items()
    )
    torch.save(network.segformer.state_dict(), tmp_path / "bare.pt")
    with pytest.raises(UsageError, match="is a network without its classifier"):
        models.make_spec("hf:segformer", weights=tmp_path / "bare.pt")
