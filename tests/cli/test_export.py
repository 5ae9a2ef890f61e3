"""What ``mvdeploy export --format executorch`` says, on a small network."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from mvdeploy import models
from mvdeploy.records import Artifact, Preprocessing, codec

Mvdeploy = Callable[..., subprocess.CompletedProcess[str]]
SMALL = ("export", "yardstick", "--format", "executorch")


def test_the_delegation_is_printed_and_stored(typed: Mvdeploy, tmp_path: Path) -> None:
    done = typed(*SMALL, "--require-full-delegation")
    assert done.returncode == 0, done.stderr
    (path,) = tmp_path.glob("*-fp32.pte")
    manifest = json.loads(path.with_name(path.name + ".json").read_text())
    assert manifest["delegation"] == {"delegates": 1, "delegated": 7, "undelegated": []}
    assert manifest["backend"] == "xnnpack"
    assert "  xnnpack: 1 delegate, 7 operators delegated, 0 undelegated" in done.stdout
    assert "parity with PyTorch on 5 inputs by executorch" in done.stdout
    assert "Warning" not in done.stderr
    assert "torchao" not in done.stderr


def test_undelegated_operators_are_named_by_module(mvdeploy: Mvdeploy, tmp_path: Path) -> None:
    done = mvdeploy(*SMALL, "--backend", "portable")
    assert done.returncode == 0, done.stderr
    assert "  portable: 0 delegates, 0 operators delegated, 7 undelegated" in done.stdout
    assert "undelegated: 2 aten.convolution.out in conv_1x1, conv_3x3" in done.stdout
    assert [p.name for p in tmp_path.glob("*.pte")] == [f"{_stem(tmp_path)}-portable-fp32.pte"]


def _stem(folder: Path) -> str:
    (path,) = folder.glob("*.pte")
    return path.name.removesuffix("-portable-fp32.pte")


def test_a_missing_full_delegation_is_a_failed_check(mvdeploy: Mvdeploy, tmp_path: Path) -> None:
    done = mvdeploy(*SMALL, "--backend", "portable", "--require-full-delegation")
    assert done.returncode == 1
    assert "aten.convolution.out in 'conv_1x1'" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_what_runs_elsewhere_is_said_to_be_unverified(mvdeploy: Mvdeploy, tmp_path: Path) -> None:
    done = mvdeploy(*SMALL, "--backend", "coreml", "-o", "a.pte")
    assert done.returncode == 0, done.stderr
    assert "  not verified here: runs on an Apple device" in done.stdout
    assert json.loads((tmp_path / "a.pte.json").read_text())["runs_on"] == "an Apple device"
    for command in (["verify", "a.pte"], ["bench", "a.pte"], ["compare", "a.pte", "a.pte"]):
        refused = mvdeploy(*command)
        assert refused.returncode == 2
        assert "a.pte was lowered to the backend coreml: it needs an Apple device" in refused.stderr
        assert "without --backend coreml" in refused.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.pte", "a.pte.json"]


def test_what_images_are_fed_by_is_kept(mvdeploy: Mvdeploy, tmp_path: Path) -> None:
    channels = ("--mean", "0.4,0.5,0.6", "--std", "0.25", "--channel-order", "bgr")
    sizes = ("--crop", "0.8", "--interpolation", "box", "--format", "pytorch", "-o", "a.pt2")
    done = mvdeploy("export", "yardstick", *channels, *sizes)
    assert done.returncode == 0, done.stderr
    fed = "fed BGR, shorter side to 70 (box), centre 56x56, values 0..1, mean 0.4/0.5/0.6"
    assert f"  {fed}, std 0.25\n" in done.stdout
    artifact = codec.load(Artifact, tmp_path / "a.pt2.json")
    assert artifact.preprocessing == Preprocessing(
        (70, 70), (56, 56), "box", "BGR", mean=(0.4, 0.5, 0.6), std=(0.25, 0.25, 0.25)
    )
    assert artifact.preprocessing == models.preprocessing(artifact.spec)
    assert mvdeploy("verify", "a.pt2").returncode == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("one\ntwo\none\n", "has the label 'one' twice"),
        ("one\n\ntwo\n", "has an empty line"),
        ("", "is empty"),
        ("one\ntwo\n", "There are 2 labels, but the network has"),
    ],
)
def test_wrong_labels_are_refused(
    mvdeploy: Mvdeploy, tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "labels.txt").write_text(text)
    apple = ("export", "yardstick", "--format", "coreml", "--image-input", "--labels", "labels.txt")
    done = mvdeploy(*apple)
    assert done.returncode == 2
    assert message in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["labels.txt"]


def test_weights_of_core_ml_are_compressed(
    typed: Mvdeploy, mvdeploy: Mvdeploy, tmp_path: Path
) -> None:
    several = ("--precision", "fp16", "--precision", "int8", "--precision", "palette6")
    done = typed("export", "yardstick", "--num-classes", "4000", "--format", "coreml", *several)
    assert done.returncode == 0, done.stderr
    manifests = {
        body["precision"]: body
        for path in tmp_path.glob("*.json")
        if (body := json.loads(path.read_text()))
    }
    assert sorted(manifests) == ["fp16", "int8", "palette6"]
    sizes = {name: body["size_bytes"] for name, body in manifests.items()}
    assert sizes["palette6"] < sizes["int8"] < 0.6 * sizes["fp16"]
    for body in manifests.values():
        assert (body["verified"]["inside"], body["verified"]["weights"]) == ("file", "network")
    said = " ".join(done.stdout.split())
    assert "the weights in the file are the network's" in said
    assert "Its weights in fp16" not in said
    (package,) = tmp_path.glob("*palette6.mlpackage")
    checked = mvdeploy("verify", package.name)
    assert checked.returncode == 0, checked.stderr
    cost = "Its weights in palette6 leave an SNR of"
    assert cost in said and cost in checked.stdout
    assert "These weights are random: trained ones tell." in checked.stdout


def test_core_ml_is_exported_and_verified(
    typed: Mvdeploy, mvdeploy: Mvdeploy, tmp_path: Path
) -> None:
    done = typed("export", "yardstick", "--format", "coreml", "--image-input")
    assert done.returncode == 0, done.stderr
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [
        *(".json", ".json", ".mlpackage", ".mlpackage")
    ]
    assert "by MIL interpreter (coremltools" in done.stdout
    assert "Neural Engine: nothing found that keeps operators off it" in done.stdout
    (image,) = tmp_path.glob("*-image.mlpackage")
    checked = mvdeploy("verify", image.name)
    assert checked.returncode == 0, checked.stderr
    assert "The file agrees with PyTorch" in checked.stdout
    refused = mvdeploy("bench", image.name)
    assert refused.returncode == 2
    assert "coreml" in refused.stderr
