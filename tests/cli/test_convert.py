"""``mvdeploy convert``, and ``--weights`` of the commands that build a network."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from mvdeploy import models
from mvdeploy.models.preprocess import load_image, sample_photograph
from mvdeploy.records import Artifact, codec
from mvdeploy.records.spec import ImageChanges

Mvdeploy = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def checkpoint(built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Our network's weights with 7 classes, as timm saves them, inside a training checkpoint."""
    table = json.loads((Path(__file__).parents[1] / "data" / "state_dict_names.json").read_text())
    ours = built("mobilevit_xxs", 7).state_dict()
    rows = zip(table["tensors"], ours.values(), strict=True)
    held = {row["names"][0]: tensor for row, tensor in rows}
    path = tmp_path_factory.mktemp("checkpoints") / "best.pth.tar"
    torch.save({"epoch": 1, "state_dict": held}, path)
    return path


def test_what_was_done_is_said(
    typed: Mvdeploy, mvdeploy: Mvdeploy, tmp_path: Path, checkpoint: Path
) -> None:
    done = typed("convert", str(checkpoint), "--to", "cvnets", "-o", "x.safetensors")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "x.safetensors",
        "  timm, entry 'state_dict' → cvnets: 311 tensors of mobilevit_xxs, 7 classes",
        "  expects RGB images, as is usual in the layout timm (--channel-order says otherwise)",
        "  which is not usual in this layout: give --channel-order rgb when you use it with "
        "mvdeploy",
    ]
    back = mvdeploy("convert", "x.safetensors", "--to", "timm", "-o", "y.pt", "--json")
    assert json.loads(back.stdout) == {
        "path": "y.pt",
        "source": "x.safetensors",
        "entry": "",
        "from": "cvnets",
        "to": "timm",
        "model": "mobilevit_xxs",
        "num_classes": 7,
        "tensors": 311,
        "channel_order": "BGR",
    }
    expected = torch.load(checkpoint, weights_only=True)["state_dict"]
    found = torch.load(tmp_path / "y.pt", weights_only=True)
    assert list(found) == list(expected)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_the_usual_order_needs_no_hint(mvdeploy: Mvdeploy, checkpoint: Path) -> None:
    order = ("--channel-order", "bgr")
    done = mvdeploy("convert", str(checkpoint), "--to", "cvnets", "-o", "x.pt", *order)
    assert done.stdout.splitlines()[2:] == ["  expects BGR images, as --channel-order says"]
    done = mvdeploy("convert", str(checkpoint), "--to", "transformers", "-o", "folder")
    assert done.stdout.splitlines()[2:] == [
        "  expects RGB images, as is usual in the layout timm (--channel-order says otherwise)"
    ]
    done = mvdeploy("convert", "folder", "--to", "timm", "-o", "y.pt")
    assert done.stdout.splitlines()[2:] == [
        "  expects RGB images, as preprocessor_config.json says"
    ]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["convert", "no.pt", "--to", "timm", "-o", "x.pt"], "no.pt"),
        (["convert", "notes.pt", "--to", "timm", "-o", "x.pt"], "notes.pt"),
        (["convert", "notes.pt", "--to", "keras", "-o", "x.pt"], "keras"),
        (["convert", "notes.pt", "--to", "timm", "-o", "x.onnx"], "x.onnx"),
        (["convert", "notes.pt", "--to", "timm", "-o", "notes.pt"], "notes.pt"),
        (["convert", "notes.pt", "--to", "timm"], "-o"),
        (["convert", "notes.pt", "-o", "x.pt"], "--to"),
        (["convert", "empty", "--to", "timm", "-o", "x.pt"], "empty"),
        (["export", "--weights", "notes.pt"], "notes.pt"),
        (["export", "--weights", "no.pt"], "no.pt"),
        (["export", "--channel-order", "gbr"], "gbr"),
        (["bench", "--weights", "notes.pt"], "notes.pt"),
        (["bench", "notes.pt", "--weights", "notes.pt"], "--weights"),
    ],
    ids=" ".join,
)
def test_bad_input(mvdeploy: Mvdeploy, tmp_path: Path, arguments: list[str], named: str) -> None:
    (tmp_path / "notes.pt").write_text("no checkpoint")
    (tmp_path / "empty").mkdir()
    before = sorted(tmp_path.rglob("*"))
    done = mvdeploy(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    what, remedy = done.stderr.splitlines()
    assert what.startswith("Error: ") and what.endswith(".")
    assert named in what
    assert remedy.endswith(".")
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("command", ["export", "describe", "convert"])
def test_a_name_in_a_file_commands_no_terminal(
    mvdeploy: Mvdeploy, tmp_path: Path, checkpoint: Path, command: str
) -> None:
    held = torch.load(checkpoint, weights_only=True)["state_dict"]
    torch.save({"a\n\x1b[31m": held}, tmp_path / "x.pt")
    arguments = {
        "export": (
            "mobilevit_xxs",
            "--weights",
            "x.pt",
            "--image-size",
            "64",
            "--format",
            "pytorch",
        ),
        "describe": ("mobilevit_xxs", "--weights", "x.pt", "--image-size", "64"),
        "convert": ("x.pt", "--to", "timm", "-o", "y.pt"),
    }[command]
    done = mvdeploy(command, *arguments)
    assert done.returncode == 0, done.stderr
    assert "entry 'a \ufffd[31m'" in done.stdout


@pytest.mark.parametrize("command", ["export", "bench", "describe"])
def test_a_checkpoint_of_another_variant(
    mvdeploy: Mvdeploy, tmp_path: Path, checkpoint: Path, command: str
) -> None:
    done = mvdeploy(command, "mobilevit_s", "--weights", str(checkpoint))
    assert done.returncode == 2
    assert "is a checkpoint of mobilevit_xxs, not of mobilevit_s" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_manifest_says_what_the_file_is_fed(
    mvdeploy: Mvdeploy, tmp_path: Path, checkpoint: Path
) -> None:
    arguments = ("--weights", str(checkpoint), "--channel-order", "bgr", "--image-size", "96")
    done = mvdeploy("export", "mobilevit_xxs", "--format", "pytorch", "-o", "x.pt2", *arguments)
    assert done.returncode == 0, done.stderr
    artifact = codec.load(Artifact, tmp_path / "x.pt2.json")
    assert artifact.preprocessing.channel_order == "BGR"
    assert artifact.preprocessing.resize == (106, 106)
    assert artifact.outputs[0].shape == (1, 7)
    assert artifact.spec.weights is not None
    assert artifact.spec.weights.layout == "timm"
    assert artifact.preprocessing == models.preprocessing(artifact.spec)


def test_channel_order_turns_the_input_around(checkpoint: Path) -> None:
    images = [
        load_image(
            sample_photograph(),
            models.preprocessing(
                models.make_spec(
                    "mobilevit_xxs", weights=checkpoint, images=ImageChanges(channel_order=order)
                )
            ),
        )
        for order in ("RGB", "BGR")
    ]
    assert np.array_equal(images[0], images[1][:, ::-1])
    assert not np.array_equal(images[0], images[1])
