"""Checkpoints that load: every library, container, wrapper; and what the spec says of them."""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from mvdeploy import models
from mvdeploy.errors import UsageError
from mvdeploy.records import ModelSpec, PatchSize, codec
from mvdeploy.records.spec import ImageChanges

LAYOUTS = ("cvnets", "timm", "transformers")
XXS = "mobilevit_xxs"


def save(held: Any, path: Path) -> Path:
    if path.suffix == ".safetensors":
        save_file({name: tensor.contiguous() for name, tensor in held.items()}, path)
    else:
        torch.save(held, path)
    return path


def spec_of(path: Path, **asked: Any) -> ModelSpec:
    return models.make_spec(asked.pop("model", XXS), weights=path, **asked)


def check_equal(network: nn.Module, expected: nn.Module) -> None:
    found, wanted = network.state_dict(), expected.state_dict()
    assert list(found) == list(wanted)
    for name, tensor in wanted.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor), name
    assert not network.training


@pytest.mark.parametrize("name", ["x.pt", "x.pth", "x.bin", "x.safetensors", "x.pth.tar", "x"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_in_every_container(
    state: Any, built: Any, tmp_path: Path, layout: str, name: str
) -> None:
    path = save(state(layout), tmp_path / name)
    spec = spec_of(path)
    assert spec.num_classes == 7
    assert spec.weights is not None
    assert spec.weights.layout == layout
    assert spec.weights.path == str(path)
    assert spec.weights.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    check_equal(models.build(spec), built(XXS, 7))


@pytest.mark.parametrize("model", ["mobilevit_xs", "mobilevit_s"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_variant(state: Any, built: Any, tmp_path: Path, layout: str, model: str) -> None:
    path = save(state(layout, model), tmp_path / "x.safetensors")
    check_equal(models.build(spec_of(path, model=model)), built(model, 7))


def test_the_old_format_of_torch(state: Any, built: Any, tmp_path: Path) -> None:
    torch.save(state("timm"), tmp_path / "x.pt", _use_new_zipfile_serialization=False)
    check_equal(models.build(spec_of(tmp_path / "x.pt")), built(XXS, 7))


# Folders


def folder(path: Path, held: dict[str, Tensor], kind: str) -> Path:
    """Save as transformers does."""
    path.mkdir()
    stem, suffix = ("model", ".safetensors") if "safe" in kind else ("pytorch_model", ".bin")
    if "sharded" not in kind:
        save(held, path / f"{stem}{suffix}")
        return path
    names = list(held)
    shards = {}
    for number, part in enumerate((names[:100], names[100:250], names[250:]), 1):
        file = f"{stem}-{number:05}-of-00003{suffix}"
        save({name: held[name] for name in part}, path / file)
        shards |= dict.fromkeys(part, file)
    index = {"metadata": {"total_size": 1}, "weight_map": shards}
    (path / f"{stem}{suffix}.index.json").write_text(json.dumps(index))
    return path


KINDS = ("safetensors", "bin", "sharded safetensors", "sharded bin")


@pytest.mark.parametrize("kind", KINDS)
def test_a_folder(state: Any, built: Any, tmp_path: Path, kind: str) -> None:
    path = folder(tmp_path / "folder", state("transformers"), kind)
    (path / "config.json").write_text(json.dumps({"model_type": "mobilevit"}))
    spec = spec_of(path)
    assert spec.weights is not None and spec.weights.path == str(path)
    check_equal(models.build(spec), built(XXS, 7))


def test_a_folder_of_another_library(state: Any, built: Any, tmp_path: Path) -> None:
    path = folder(tmp_path / "folder", state("timm"), "safetensors")
    (path / "config.json").write_text(json.dumps({"architecture": XXS, "num_classes": 7}))
    spec = spec_of(path)
    assert spec.weights is not None and spec.weights.channel_order == "RGB"
    check_equal(models.build(spec), built(XXS, 7))


@pytest.mark.parametrize(
    "changed", ["model.safetensors", "config.json", "preprocessor_config.json"]
)
def test_a_folders_sha256_is_of_all_that_is_read(state: Any, tmp_path: Path, changed: str) -> None:
    path = folder(tmp_path / "folder", state("transformers"), "safetensors")
    (path / "config.json").write_text("{}")
    (path / "preprocessor_config.json").write_text("{}")
    (path / "README.md").write_text("a")
    first = spec_of(path)
    (path / "README.md").write_text("b")
    assert spec_of(path) == first
    if changed.endswith(".json"):
        (path / changed).write_text("{ }")
    else:
        save(state("transformers") | {"classifier.bias": torch.ones(7)}, path / changed)
    assert spec_of(path) != first
    with pytest.raises(UsageError, match="its sha256 differs"):
        models.build(first)


def test_the_patch_size_of_a_folder_is_the_default(state: Any, tmp_path: Path) -> None:
    path = folder(tmp_path / "folder", state("transformers"), "safetensors")
    (path / "config.json").write_text(json.dumps({"patch_size": 4}))
    assert spec_of(path).patches == (PatchSize(4, 4),) * 3
    asked = (PatchSize(8, 8), PatchSize(4, 2), PatchSize(1, 1))
    assert spec_of(path, patches=asked).patches == asked


# Wrappers


def taken(path: Path, key: str, *notes: str, **asked: Any) -> nn.Module:
    """Build the network of a checkpoint, and check what the spec says was taken of it."""
    spec = spec_of(path, **asked)
    assert spec.weights is not None
    assert (spec.weights.key, spec.weights.notes) == (key, notes)
    return models.build(spec)


ENTRIES = ("state_dict", "model", "net", "params", "weights", "ema", "state_dict_ema", "a.b")


@pytest.mark.parametrize("entry", ENTRIES)
def test_an_entry_of_a_training_checkpoint(
    state: Any, built: Any, tmp_path: Path, entry: str
) -> None:
    held = {"epoch": 3, entry: state("cvnets"), "optimizer": {"state": {0: torch.ones(2)}}}
    check_equal(taken(save(held, tmp_path / "x.pt"), entry), built(XXS, 7))


@pytest.mark.parametrize(
    ("prefix", "key"),
    [
        ("module.", "module"),
        ("backbone.", "backbone"),
        ("_orig_mod.", ""),
        ("model._orig_mod.", "model"),
        ("_orig_mod.module.", "module"),
        ("network.inner.model.", "network.inner.model"),
    ],
)
@pytest.mark.parametrize("name", ["x.pt", "x.safetensors"])
def test_a_prefix(state: Any, built: Any, tmp_path: Path, prefix: str, key: str, name: str) -> None:
    held = {prefix + name: tensor for name, tensor in state("timm").items()}
    check_equal(taken(save(held, tmp_path / name), key), built(XXS, 7))


def test_a_compiled_part(state: Any, built: Any, tmp_path: Path) -> None:
    held = {
        name.replace("stages.2.", "stages.2._orig_mod."): tensor
        for name, tensor in state("timm").items()
    }
    check_equal(taken(save(held, tmp_path / "x.pt"), ""), built(XXS, 7))


def test_losses_and_metrics_are_left_aside(state: Any, built: Any, tmp_path: Path) -> None:
    """As Lightning saves a module that holds the network among other things."""
    held = {f"model.{name}": tensor for name, tensor in state("timm").items()}
    held |= {"criterion.weight": torch.ones(7), "train_acc.tp": torch.zeros(7)}
    whole = {"epoch": 3, "state_dict": held, "callbacks": {"best": {"score": torch.ones(())}}}
    path = save(whole, tmp_path / "x.ckpt")
    note = "left aside: criterion.weight and 1 more"
    check_equal(taken(path, "state_dict.model", note), built(XXS, 7))


def test_a_teacher_of_another_variant_is_left_aside(state: Any, built: Any, tmp_path: Path) -> None:
    held = {f"student.{name}": tensor for name, tensor in state("timm").items()}
    held |= {f"teacher.{name}": tensor for name, tensor in state("timm", "mobilevit_xs").items()}
    path = save(held, tmp_path / "x.pt")
    note = "left aside: teacher.final_conv.bn.bias and 310 more"
    check_equal(taken(path, "student", note), built(XXS, 7))
    note = "left aside: student.final_conv.bn.bias and 310 more"
    check_equal(taken(path, "teacher", note, model="mobilevit_xs"), built("mobilevit_xs", 7))


def test_a_teacher_within_the_students_names(state: Any, built: Any, tmp_path: Path) -> None:
    held = state("timm") | {f"ema.{name}": t for name, t in state("timm", "mobilevit_s").items()}
    note = "left aside: ema.final_conv.bn.bias and 310 more"
    check_equal(taken(save(held, tmp_path / "x.pt"), "", note), built(XXS, 7))


def test_real_wrappers_of_torch(built: Any, state: Any, tmp_path: Path) -> None:
    network = nn.Module()
    for key, tensor in state("timm").items():
        owner = network
        *path, leaf = key.split(".")
        for part in path:
            if part not in owner._modules:
                owner.add_module(part, nn.Module())
            owner = owner.get_submodule(part)
        owner.register_buffer(leaf, tensor)
    averaged = AveragedModel(nn.DataParallel(network))
    assert "n_averaged" in averaged.state_dict()
    path = save({"model": averaged.state_dict()}, tmp_path / "x.pt")
    check_equal(models.build(spec_of(path)), built(XXS, 7))


@pytest.fixture
def averaged(state: Any, tmp_path: Path) -> Path:
    """As timm's training script saves a checkpoint: the weights, and their average."""
    other = {name: torch.zeros_like(tensor) for name, tensor in state("timm").items()}
    held = {
        "epoch": 12,
        "arch": XXS,
        "state_dict": other,
        "optimizer": {"param_groups": [{"lr": 0.1}]},
        "args": argparse.Namespace(lr=0.1, model=XXS, crop=None, output=tmp_path),
        "state_dict_ema": OrderedDict(state("timm")),
        "metric": np.float64(71.5),
    }
    return save(held, tmp_path / "model_best.pth.tar")


def test_several_copies_are_listed(averaged: Path) -> None:
    with pytest.raises(UsageError) as caught:
        spec_of(averaged)
    assert (
        "2 copies of the network, and they differ: 'state_dict', 'state_dict_ema'"
        in f"{caught.value}"
    )
    assert "--weights-key state_dict_ema" in caught.value.remedy


def test_a_key_chooses_among_copies(averaged: Path, built: Any) -> None:
    check_equal(taken(averaged, "state_dict_ema", weights_key="state_dict_ema"), built(XXS, 7))
    plain = taken(averaged, "state_dict", weights_key="state_dict").state_dict()
    assert not any(tensor.any() for tensor in plain.values())


@pytest.mark.parametrize("key", ["ema_model", "state_dict.ema_model", "state_dict.ema_model."])
def test_a_key_is_all_of_a_place_or_a_part_of_it(
    state: Any, built: Any, tmp_path: Path, key: str
) -> None:
    held = {f"ema_model.{name}": tensor for name, tensor in state("timm").items()}
    held |= {f"model.{name}": torch.zeros_like(t) for name, t in state("timm").items()}
    path = save({"state_dict": held}, tmp_path / "x.ckpt")
    with pytest.raises(UsageError, match=r"'state_dict\.ema_model', 'state_dict\.model'"):
        spec_of(path)
    with pytest.raises(UsageError, match="2 copies"):
        spec_of(path, weights_key="state_dict")
    note = "left aside: model.final_conv.bn.bias and 310 more"
    check_equal(taken(path, "state_dict.ema_model", note, weights_key=key), built(XXS, 7))


def test_the_key_of_the_file_itself(state: Any, built: Any, tmp_path: Path) -> None:
    held = state("timm") | {f"ema.{name}": torch.zeros_like(t) for name, t in state("timm").items()}
    path = save(held, tmp_path / "x.pt")
    with pytest.raises(UsageError, match=r"they differ: '\.', 'ema'\."):
        spec_of(path)
    note = "left aside: ema.final_conv.bn.bias and 310 more"
    check_equal(taken(path, "", note, weights_key="."), built(XXS, 7))


def test_copies_that_are_the_same_are_one(state: Any, built: Any, tmp_path: Path) -> None:
    counters = {k: t + 1 for k, t in state("timm").items() if k.endswith("num_batches_tracked")}
    held = {"state_dict": state("timm"), "ema": state("timm") | counters}
    check_equal(taken(save(held, tmp_path / "x.pt"), "state_dict"), built(XXS, 7))


@pytest.mark.parametrize("kind", [torch.float8_e4m3fn, torch.float16])
def test_copies_are_compared_in_any_type(state: Any, tmp_path: Path, kind: torch.dtype) -> None:
    held = {k: t.to(kind) if t.is_floating_point() else t for k, t in state("timm").items()}
    copies = {"state_dict": held, "ema": dict(held)}
    taken(save(copies, tmp_path / "x.pt"), "state_dict", f"{kind} taken as float32"[6:])
    with pytest.raises(UsageError, match="holds 2 copies of the network, and they differ"):
        spec_of(save(copies | {"ema": state("timm")}, tmp_path / "x.pt"))


def test_a_key_of_nothing(averaged: Path) -> None:
    with pytest.raises(UsageError, match="has nothing of the network under 'ema'") as caught:
        spec_of(averaged, weights_key="ema")
    assert caught.value.remedy == "Give --weights-key state_dict or state_dict_ema."
    with pytest.raises(UsageError, match="Random weights lie in no file"):
        models.make_spec(XXS, weights_key="ema")


def test_what_was_saved_before_keys_were_is_read(state: Any, built: Any, tmp_path: Path) -> None:
    path = save({"model": state("timm")}, tmp_path / "x.pt")
    spec = spec_of(path)
    record = json.loads(codec.dumps(spec))
    del record["weights"]["key"], record["weights"]["notes"]
    old = codec.loads(ModelSpec, json.dumps(record), "test")
    check_equal(models.build(old), built(XXS, 7))


def test_an_empty_average_is_passed_over(state: Any, built: Any, tmp_path: Path) -> None:
    held = {"state_dict_ema": None, "ema": {"decay": 0.9}, "state_dict": state("timm")}
    check_equal(models.build(spec_of(save(held, tmp_path / "x.pt"))), built(XXS, 7))


def test_nested_entries(state: Any, built: Any, tmp_path: Path) -> None:
    held = {"ema": {"decay": 0.9, "module": state("timm")}}
    check_equal(models.build(spec_of(save(held, tmp_path / "x.pt"))), built(XXS, 7))


def test_parameters(state: Any, built: Any, tmp_path: Path) -> None:
    held = {
        name: nn.Parameter(tensor) if tensor.is_floating_point() else tensor
        for name, tensor in state("timm").items()
    }
    check_equal(models.build(spec_of(save(held, tmp_path / "x.pt"))), built(XXS, 7))


def test_pruned_weights(state: Any, tmp_path: Path) -> None:
    held = state("timm")
    whole = held.pop("stem.conv.weight")
    mask = (torch.arange(whole.numel()) % 3 > 0).reshape(whole.shape).float()
    held |= {"stem.conv.weight_orig": whole, "stem.conv.weight_mask": mask}
    path = save({"model": held}, tmp_path / "x.pt")
    network = taken(path, "model", "pruned weights multiplied by their masks")
    assert torch.equal(network.state_dict()["conv_1.conv.weight"], whole * mask)


# Our own names


def test_the_state_dict_of_a_network_of_ours(built: Any, tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    torch.save(built(XXS, 7).state_dict(), path)
    spec = spec_of(path, patches=(PatchSize(8, 8), PatchSize(4, 4), PatchSize(2, 2)))
    assert spec.weights is not None and spec.weights.layout == "mvdeploy"
    rule, seeded = models.preprocessing(spec), models.preprocessing(models.make_spec(XXS))
    assert rule == seeded
    check_equal(models.build(spec), built(XXS, 7))


# Values


@pytest.mark.parametrize(
    "kind", [torch.float16, torch.bfloat16, torch.float64, torch.float8_e4m3fn, torch.float8_e5m2]
)
@pytest.mark.parametrize("name", ["x.pt", "x.safetensors"])
def test_other_precisions_are_widened(
    state: Any, tmp_path: Path, kind: torch.dtype, name: str
) -> None:
    held = {k: t.to(kind) if t.is_floating_point() else t for k, t in state("cvnets").items()}
    note = f"{kind} taken as float32".removeprefix("torch.")
    network = taken(save(held, tmp_path / name), "", note)
    for tensor, theirs in zip(network.state_dict().values(), held.values(), strict=True):
        assert tensor.dtype == (torch.float32 if theirs.is_floating_point() else torch.int64)
        assert torch.equal(tensor, theirs.to(tensor.dtype))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_counters_may_be_absent(state: Any, built: Any, tmp_path: Path, layout: str) -> None:
    held = {k: t for k, t in state(layout).items() if not k.endswith("num_batches_tracked")}
    found = models.build(spec_of(save(held, tmp_path / "x.pt"))).state_dict()
    for name, tensor in built(XXS, 7).state_dict().items():
        expected = torch.tensor(0) if name.endswith("num_batches_tracked") else tensor
        assert torch.equal(found[name], expected)


# The spec


@pytest.mark.parametrize("layout", LAYOUTS)
def test_classes_are_read_off_the_classifier(state: Any, tmp_path: Path, layout: str) -> None:
    path = save(state(layout, XXS, 3), tmp_path / "x.safetensors")
    assert spec_of(path).num_classes == 3
    assert spec_of(path, num_classes=3).num_classes == 3
    with pytest.raises(UsageError, match=r"has 3 classes, not 1000\. Leave out --num-classes"):
        spec_of(path, num_classes=1000)


@pytest.mark.parametrize(
    ("layout", "order", "resize", "interpolation"),
    [
        ("cvnets", "BGR", (288, 352), "bilinear"),
        ("transformers", "BGR", (288, 352), "bilinear"),
        ("timm", "RGB", (284, 355), "bicubic"),
    ],
)
def test_each_layout_has_its_preprocessing(
    state: Any, tmp_path: Path, layout: str, order: str, resize: Any, interpolation: str
) -> None:
    path = save(state(layout), tmp_path / "x.safetensors")
    rule = models.preprocessing(spec_of(path, image_size=(256, 320)))
    assert (rule.resize, rule.crop) == (resize, (256, 320))
    assert (rule.channel_order, rule.interpolation) == (order, interpolation)
    assert (rule.scale, rule.mean, rule.std) == (1 / 255, (0, 0, 0), (1, 1, 1))
    for asked in ("RGB", "BGR"):
        spec = spec_of(path, images=ImageChanges(channel_order=asked))
        assert models.preprocessing(spec).channel_order == asked


def test_a_channel_order_has_a_name(state: Any, tmp_path: Path) -> None:
    path = save(state("timm"), tmp_path / "x.pt")
    with pytest.raises(UsageError, match="There is no channel order 'GBR'"):
        spec_of(path, images=ImageChanges(channel_order="GBR"))


def test_a_spec_with_weights_is_a_key_and_a_record(state: Any, tmp_path: Path) -> None:
    path = save(state("timm"), tmp_path / "x.safetensors")
    spec = spec_of(path)
    assert {spec: 1}[spec_of(path)] == 1
    assert spec != spec_of(path, images=ImageChanges(channel_order="BGR"))
    assert codec.loads(ModelSpec, codec.dumps(spec), "test") == spec


def test_a_safetensors_file_is_checked_without_torch(state: Any, tmp_path: Path) -> None:
    path = folder(tmp_path / "folder", state("transformers"), "sharded safetensors")
    code = (
        "import sys, pathlib\n"
        "from mvdeploy import models\n"
        f"spec = models.make_spec('{XXS}', weights=pathlib.Path({str(path)!r}))\n"
        "assert spec.num_classes == 7\n"
        "print(sorted({'torch', 'onnx', 'scipy', 'pandas'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_checkpoint_that_changed_is_refused(state: Any, tmp_path: Path) -> None:
    path = save(state("timm"), tmp_path / "x.pt")
    spec = spec_of(path)
    save(state("timm") | {"head.fc.bias": torch.ones(7)}, path)
    with pytest.raises(UsageError, match=r"x\.pt is not the checkpoint it was"):
        models.build(spec)
    path.unlink()
    with pytest.raises(UsageError, match=r"There is no checkpoint .*x\.pt"):
        models.build(spec)
