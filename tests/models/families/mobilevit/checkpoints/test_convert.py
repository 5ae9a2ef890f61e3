"""Conversion: every value stays, nothing is overwritten by accident, all or nothing is written."""

from __future__ import annotations

import dataclasses
import errno
import itertools
import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from mvdeploy import models
from mvdeploy.errors import UsageError
from mvdeploy.files import writing

XXS = "mobilevit_xxs"
LAYOUTS = ("cvnets", "timm", "transformers")
FILES = ("x.pt", "x.pth", "x.safetensors")
State = dict[str, Tensor]


def save(held: State, path: Path) -> Path:
    if path.suffix == ".safetensors":
        save_file({name: tensor.contiguous() for name, tensor in held.items()}, path)
    else:
        torch.save(held, path)
    return path


def load(path: Path) -> State:
    if path.suffix == ".safetensors":
        return load_file(path)
    loaded: State = torch.load(path, weights_only=True)
    return loaded


def check_equal(found: State, expected: State) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype
        assert found[name].shape == tensor.shape
        # Bits, not values: 0.0 == -0.0.
        assert torch.equal(
            found[name].reshape(-1).view(torch.uint8), tensor.reshape(-1).view(torch.uint8)
        )


@pytest.mark.parametrize(("source", "target"), [*itertools.product(LAYOUTS, LAYOUTS)])
@pytest.mark.parametrize("name", FILES)
def test_every_direction(state: Any, tmp_path: Path, source: str, target: str, name: str) -> None:
    first = save(state(source), tmp_path / "first.pt")
    done = models.convert(first, target, tmp_path / "there" / name)
    check_equal(load(done.path), state(target))
    assert (done.model, done.layout, done.tensors) == (XXS, target, len(state(target)))
    assert done.source_layout == source
    back = models.convert(done.path, source, tmp_path / "back" / name)
    check_equal(load(back.path), state(source))


@pytest.mark.parametrize("model", ["mobilevit_xs", "mobilevit_s"])
def test_the_variant_is_told(state: Any, tmp_path: Path, model: str) -> None:
    first = save(state("timm", model), tmp_path / "first.pt")
    done = models.convert(first, "transformers", tmp_path / "x.safetensors")
    assert done.model == model
    check_equal(load(done.path), state("transformers", model))


@pytest.mark.parametrize("name", FILES)
def test_values_that_only_bits_tell_apart(state: Any, tmp_path: Path, name: str) -> None:
    held = state("timm")
    for key in ("stages.2.1.transformer.0.attn.qkv.weight", "head.fc.bias"):
        held[key].view(-1)[:3] = torch.tensor([-0.0, 1e-45, 9e7])
    held["stem.bn.num_batches_tracked"] = torch.tensor(2**40)
    first = save(held, tmp_path / "first.pt")
    middle = models.convert(first, "transformers", tmp_path / "there" / name).path
    check_equal(load(models.convert(middle, "timm", tmp_path / "back" / name).path), held)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_precision_is_kept(state: Any, tmp_path: Path, kind: torch.dtype) -> None:
    held = {k: t.to(kind) if t.is_floating_point() else t for k, t in state("cvnets").items()}
    first = save(held, tmp_path / "first.safetensors")
    middle = models.convert(first, "transformers", tmp_path / "x.pt").path
    check_equal(load(models.convert(middle, "cvnets", tmp_path / "x.safetensors").path), held)


def test_absent_counters_stay_absent(state: Any, tmp_path: Path) -> None:
    held = {k: t for k, t in state("timm").items() if not k.endswith("num_batches_tracked")}
    middle = models.convert(save(held, tmp_path / "a.pt"), "cvnets", tmp_path / "b.pt").path
    check_equal(load(models.convert(middle, "timm", tmp_path / "c.pt").path), held)


def test_wrapped_weights_come_out_plain(state: Any, tmp_path: Path) -> None:
    held = {f"module.{name}": tensor for name, tensor in state("cvnets").items()}
    torch.save({"ema_state_dict": held, "epoch": 1}, tmp_path / "a.pt")
    done = models.convert(tmp_path / "a.pt", "cvnets", tmp_path / "b.pt")
    assert done.entry == "ema_state_dict.module"
    check_equal(load(done.path), state("cvnets"))


def test_one_of_two_networks_is_chosen(state: Any, tmp_path: Path) -> None:
    held = {f"student.{name}": tensor for name, tensor in state("timm").items()}
    held |= {f"teacher.{name}": tensor for name, tensor in state("timm", "mobilevit_xs").items()}
    torch.save(held, tmp_path / "a.pt")
    with pytest.raises(UsageError) as caught:
        models.convert(tmp_path / "a.pt", "mvdeploy", tmp_path / "b.pt")
    assert "'student' (mobilevit_xxs), 'teacher' (mobilevit_xs)" in caught.value.message
    done = models.convert(tmp_path / "a.pt", "mvdeploy", tmp_path / "b.pt", weights_key="teacher")
    assert (done.model, done.entry) == ("mobilevit_xs", "teacher")
    assert done.notes == ("left aside: student.final_conv.bn.bias and 310 more",)
    back = models.convert(done.path, "timm", tmp_path / "c.safetensors")
    assert back.source_layout == "mvdeploy"
    check_equal(load(back.path), state("timm", "mobilevit_xs"))


# Channel order


@pytest.mark.parametrize("target", LAYOUTS)
@pytest.mark.parametrize(("source", "order"), [("timm", "RGB"), ("cvnets", "BGR")])
def test_the_order_is_said_and_the_stem_is_left_alone(
    state: Any, tmp_path: Path, source: str, order: str, target: str
) -> None:
    first = save(state(source), tmp_path / "first.pt")
    done = models.convert(first, target, tmp_path / "x.pt")
    assert done.channel_order == order
    assert done.plain_order == ("RGB" if target == "timm" else "BGR")
    stem = next(iter(state(source).values()))
    assert torch.equal(next(iter(load(done.path).values())), stem)
    asked = models.convert(first, target, tmp_path / "y.pt", channel_order="BGR")
    assert asked.channel_order == "BGR"
    check_equal(load(asked.path), load(done.path))


@pytest.mark.parametrize(("source", "resize"), [("timm", 284), ("cvnets", 288)])
def test_a_folder_says_what_it_is_fed(state: Any, tmp_path: Path, source: str, resize: int) -> None:
    first = save(state(source), tmp_path / "first.pt")
    done = models.convert(first, "transformers", tmp_path / "folder")
    assert done.plain_order == done.channel_order
    assert sorted(p.name for p in done.path.iterdir()) == [
        "config.json",
        "model.safetensors",
        "preprocessor_config.json",
    ]
    before = models.preprocessing(models.make_spec(XXS, weights=first))
    after = models.preprocessing(models.make_spec(XXS, weights=done.path))
    # The processor of transformers resizes with torch's rounding.
    assert after == dataclasses.replace(before, rounding="transformers")
    assert after.resize == (resize, resize)


def test_a_folders_own_settings_are_kept(state: Any, tmp_path: Path) -> None:
    first = models.convert(
        save(state("timm"), tmp_path / "first.pt"), "transformers", tmp_path / "one"
    ).path
    config = json.loads((first / "config.json").read_text())
    config["id2label"] = {str(i): f"cat {i}" for i in range(7)}
    (first / "config.json").write_text(json.dumps(config))
    settings = json.loads((first / "preprocessor_config.json").read_text()) | {"extra": 1}
    (first / "preprocessor_config.json").write_text(json.dumps(settings))
    second = models.convert(first, "transformers", tmp_path / "two", "BGR").path
    assert json.loads((second / "config.json").read_text()) == config
    assert json.loads((second / "preprocessor_config.json").read_text()) == settings | {
        "do_flip_channel_order": True
    }


def test_the_real_library_reads_the_folder(references: Any, state: Any, tmp_path: Path) -> None:
    first = save(state("timm"), tmp_path / "first.pt")
    path = models.convert(first, "transformers", tmp_path / "folder").path
    network, notes = references.transformers.MobileViTForImageClassification.from_pretrained(
        path, output_loading_info=True
    )
    assert not any(notes.values())
    assert network.config.num_labels == 7
    check_equal(network.state_dict(), state("transformers"))
    processor = references.transformers.MobileViTImageProcessor.from_pretrained(path)
    assert processor.do_flip_channel_order is False
    assert (processor.size["shortest_edge"], processor.resample) == (284, 3)


# What is refused


@pytest.fixture
def source(state: Any, tmp_path: Path) -> Path:
    return save(state("timm"), tmp_path / "source.pt")


def refusal(source: Path, layout: str, target: Path) -> str:
    before = sorted(source.parent.rglob("*"))
    content = {path: path.read_bytes() for path in before if path.is_file()}
    with pytest.raises(UsageError) as caught:
        models.convert(source, layout, target)
    assert sorted(source.parent.rglob("*")) == before
    assert {path: path.read_bytes() for path in content} == content
    return caught.value.message


def test_the_input_is_not_overwritten(source: Path, tmp_path: Path) -> None:
    (tmp_path / "link.pt").symlink_to(source)
    os.link(source, tmp_path / "hard.pt")
    (tmp_path / "sub").mkdir()
    for target in ("source.pt", "link.pt", "hard.pt", "sub/../source.pt"):
        assert "is the checkpoint that is read" in refusal(source, "cvnets", tmp_path / target)


def test_an_input_folder_is_left_alone(state: Any, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    save(state("transformers"), folder / "model.safetensors")
    for target in (folder, folder / "model.safetensors", folder / "new.pt", folder / "a" / "new"):
        assert "is the checkpoint that is read" in refusal(folder, "transformers", target)


@pytest.mark.parametrize(
    ("layout", "target", "message"),
    [
        ("timm", "x.onnx", "does not end in .pt, .pth or .safetensors"),
        ("timm", "folder", "does not end in .pt, .pth or .safetensors"),
        ("transformers", "x.bin", "does not end in .pt, .pth or .safetensors"),
        ("transformers", "full", "exists and is no empty folder"),
        ("transformers", "plain", "exists and is no empty folder"),
        ("timm", "full", "does not end in"),
        ("timm", "folder.pt", "is a folder"),
        ("tim", "x.pt", "There is no layout 'tim'"),
        ("timm", "plain/x.pt", "cannot be written"),
        ("timm", "x" * 300 + ".pt", "cannot be written (File name too long)"),
        ("transformers", "plain/folder", "cannot be written"),
    ],
)
def test_a_target_that_cannot_be(
    source: Path, tmp_path: Path, layout: str, target: str, message: str
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    (tmp_path / "folder.pt").mkdir()
    (tmp_path / "plain").write_text("mine")
    assert message in refusal(source, layout, tmp_path / target)


def test_an_empty_folder_is_filled(source: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    models.convert(source, "transformers", tmp_path / "empty")
    assert models.make_spec(XXS, weights=tmp_path / "empty").num_classes == 7


def test_an_unknown_channel_order(source: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="There is no channel order 'GBR'"):
        models.convert(source, "timm", tmp_path / "x.pt", "GBR")


def test_a_checkpoint_that_does_not_load_is_not_converted(state: Any, tmp_path: Path) -> None:
    held = state("timm")
    held["head.fc.bias"][0] = float("nan")
    assert "NaN" in refusal(save(held, tmp_path / "a.pt"), "cvnets", tmp_path / "b.pt")
    del held["stem.conv.weight"]
    assert "1 missing" in refusal(save(held, tmp_path / "a.pt"), "cvnets", tmp_path / "b.pt")
    backbone = {f"encoder.{k}": t for k, t in state("cvnets").items() if "classifier" not in k}
    save(backbone, tmp_path / "a.pt")
    assert "cannot classify" in refusal(tmp_path / "a.pt", "timm", tmp_path / "b.pt")


@pytest.mark.parametrize("target", ["old.safetensors", "old.pt", "folder"])
def test_a_failure_leaves_what_was_there(
    source: Path, tmp_path: Path, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "old.safetensors").write_text("old")
    (tmp_path / "old.pt").write_text("old")

    def half(path: Path, _: object) -> None:
        path.write_text("half")
        raise OSError(errno.EIO, "the disk is gone")

    monkeypatch.setattr(writing, "fill", half)
    message = refusal(source, "transformers", tmp_path / target)
    assert message == f"{tmp_path / target} cannot be written (the disk is gone)."


def test_an_old_file_is_replaced(source: Path, state: Any, tmp_path: Path) -> None:
    (tmp_path / "old.pt").write_text("old")
    models.convert(source, "cvnets", tmp_path / "old.pt")
    check_equal(load(tmp_path / "old.pt"), state("cvnets"))
