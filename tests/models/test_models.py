from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from mvdeploy import models, tasks
from mvdeploy.errors import UsageError
from mvdeploy.models.families import mobilevit
from mvdeploy.records import Category, PatchSize
from mvdeploy.records.spec import parse_patches


def weights(**asked: object) -> dict[str, Tensor]:
    return models.build(models.make_spec("mobilevit_xxs", **asked)).state_dict()  # type: ignore[arg-type]


def equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_weights_depend_on_neither_patches_nor_image_size() -> None:
    plain = weights(seed=3)
    assert equal(plain, weights(seed=3))
    assert equal(plain, weights(seed=3, patches=parse_patches("8,4,2"), image_size=(320, 240)))


def test_another_seed_gives_other_weights() -> None:
    a, b = weights(seed=0), weights(seed=1)
    same = {name for name in a if torch.equal(a[name], b[name])}
    assert {name.rpartition(".")[2] for name in same} <= {"num_batches_tracked"}


def test_torchs_own_random_numbers_and_threads_are_left_alone() -> None:
    threads = torch.get_num_threads()
    torch.manual_seed(11)
    state = torch.random.get_rng_state()
    plain = weights()
    assert torch.equal(state, torch.random.get_rng_state())
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            torch.rand(count)
            # A different split of a sum over threads would give different statistics.
            assert equal(plain, weights())
            assert torch.get_num_threads() == count
    finally:
        torch.set_num_threads(threads)


def test_the_catalogue_has_every_variant() -> None:
    assert list(models.catalogue())[: len(mobilevit.VARIANTS)] == [*mobilevit.VARIANTS]
    assert "yardstick" in models.catalogue()
    assert "channels 16, 32, 64, 96, 128, 160" in models.catalogue()["mobilevit_s"]
    assert models.DEFAULT in models.catalogue()


def test_defaults_are_the_papers() -> None:
    spec = models.make_spec("mobilevit_s")
    assert spec.patches == (PatchSize(2, 2),) * 3
    assert (spec.image_size, spec.num_classes, spec.batch) == ((256, 256), 1000, 1)


def test_what_is_asked_for_is_in_the_spec() -> None:
    patches = parse_patches("8,4x2,1")
    spec = models.make_spec(
        "mobilevit_xs", patches=patches, image_size=(128, 96), num_classes=3, seed=9
    )
    assert (spec.patches, spec.image_size, spec.num_classes, spec.seed) == (
        patches,
        (128, 96),
        3,
        9,
    )
    network = models.build(spec)
    with torch.inference_mode():
        assert network(torch.rand(1, 3, 128, 96)).shape == (1, 3)
    folds = [m.patch for m in network.modules() if hasattr(m, "patch")]
    assert folds == [p for p in patches for _ in range(2)]


@pytest.mark.parametrize(
    ("name", "asked", "message"),
    [
        ("mobilevit_xss", {}, "There is no model 'mobilevit_xss'. Did you mean 'mobilevit_x"),
        ("", {}, "There is no model ''"),
        ("mobilevit_s", {"task": "sing"}, "There is no task 'sing'"),
        ("mobilevit_s", {"num_classes": 0}, "0 classes"),
        ("mobilevit_s", {"num_classes": -3}, "-3 classes"),
        ("mobilevit_s", {"image_size": (32, 32)}, "larger than the 1x1 map at output stride 32"),
    ],
)
def test_what_cannot_be_built_is_refused(name: str, asked: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        models.make_spec(name, **asked)  # type: ignore[arg-type]


def test_images_are_fed_as_the_reference_does() -> None:
    rule = models.preprocessing(models.make_spec("mobilevit_xs", image_size=(256, 320)))
    assert (rule.resize, rule.crop) == ((288, 352), (256, 320))
    assert (rule.mean, rule.std, rule.scale) == ((0, 0, 0), (1, 1, 1), 1 / 255)


# Categories


def expected_category(path: str) -> Category:
    """What a reader of the paper would say."""
    names = path.split(".")
    if names[0] == "classifier":
        return Category.PRE_AND_POST
    if "attention" in names:
        return Category.ATTENTION
    if "ffn" in names or (len(names) == 3 and names[1:] == ["1", "norm"]):
        return Category.FFN
    if "fold" in names or "unfold" in names:
        return Category.FOLD
    return Category.CONVOLUTION


def test_every_module_that_runs_has_the_right_category(built) -> None:
    network = built()
    table = models.module_table(network)
    ran: set[str] = set()
    hooks = [
        module.register_forward_hook(lambda m, args, out, path=path: ran.add(path))
        for path, module in network.named_modules()
        if not list(module.children())
    ]
    with torch.inference_mode():
        network(torch.rand(1, 3, 64, 64))
    for hook in hooks:
        hook.remove()
    assert len(ran) > 150
    assert {path: table[path].category for path in ran} == {
        path: expected_category(path) for path in ran
    }


def test_every_module_is_in_the_table_with_its_class(built) -> None:
    network = built()
    table = models.module_table(network)
    assert table.keys() == {path for path, _ in network.named_modules()}
    assert table[""].class_name == "MobileViT"
    assert table["layer_3.1.unfold"].class_name == "Unfold"
    # What a residual or a concatenation costs is counted where it stands.
    assert table["layer_3.1.transformer.0.attention"].category is Category.ATTENTION
    assert table["layer_3.1.transformer.0.ffn"].category is Category.FFN
    assert table["layer_3.1"].category is Category.CONVOLUTION
    assert table["layer_2.1"].category is Category.CONVOLUTION


class Declares(nn.Sequential):
    category = Category.FOLD


class Misleads(nn.Sequential):
    category = "ffn"


def test_a_category_comes_from_the_nearest_module_that_declares_one() -> None:
    inner = Misleads(nn.ReLU(), mobilevit_norm())
    table = models.module_table(nn.Sequential(nn.ReLU(), Declares(nn.Sequential(inner))))
    assert {path: info.category for path, info in table.items()} == {
        "": None,
        "0": None,
        "1": Category.FOLD,
        "1.0": Category.FOLD,
        "1.0.0": Category.FOLD,
        "1.0.0.0": Category.FOLD,
        "1.0.0.1": Category.FFN,
    }


def mobilevit_norm() -> nn.Module:
    from mvdeploy.models.families.mobilevit.network import OutputNorm

    return OutputNorm(4)


def test_patches_belong_to_mobilevit() -> None:
    with pytest.raises(TypeError, match="expected a MobileViT, not ReLU"):
        mobilevit.set_patches(nn.ReLU(), parse_patches("2,2,2"))


def test_a_task_that_a_model_does_not_do_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "caption.py").write_text("TITLE = 'words'\nfrom mvdeploy.tasks.tensors import *\n")
    monkeypatch.setattr(tasks, "__path__", [*tasks.__path__, str(tmp_path)])
    with pytest.raises(UsageError, match="mobilevit_s is no network for the task 'caption'") as e:
        models.make_spec("mobilevit_s", task="caption")
    assert "It does: classify, detect, segment." in e.value.remedy
    assert models.make_spec("mobilevit_s", task="classify").task == "classify"
    monkeypatch.setattr(mobilevit, "tasks", lambda name: ("caption",), raising=False)
    assert models.make_spec("mobilevit_s").task == "caption"


def test_a_family_without_layouts_takes_its_own_names(tmp_path: Path) -> None:
    network = models.build(models.make_spec("yardstick", seed=3))
    torch.save({"net": network.state_dict()}, tmp_path / "x.pt")
    found = models.build(models.make_spec("yardstick", weights=tmp_path / "x.pt"))
    for name, tensor in network.state_dict().items():
        assert torch.equal(found.state_dict()[name], tensor)
    with pytest.raises(UsageError, match="There is no layout 'torchvision'"):
        models.convert(tmp_path / "x.pt", "torchvision", tmp_path / "y.pt")
    assert models.layouts() == ("cvnets", "mvdeploy", "timm", "transformers")


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("net.py", "builds the network: net.py:FUNCTION."),
        ("weights.pt", "with --weights weights.pt."),
        ("folder", "Give hf:folder if transformers saved it, or a model with --weights folder."),
    ],
)
def test_what_lies_on_the_disk_is_no_misspelt_model(
    name: str, remedy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).mkdir() if name == "folder" else (tmp_path / name).touch()
    with pytest.raises(UsageError, match=f"{name} is no model") as caught:
        models.make_spec(name)
    assert remedy in caught.value.remedy
