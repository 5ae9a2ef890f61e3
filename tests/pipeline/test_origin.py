"""A file's network is built again from wherever file and network lie; other weights are told."""

from __future__ import annotations

import dataclasses
import functools
import json
import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

from mvdeploy import formats, models
from mvdeploy.errors import UsageError
from mvdeploy.pipeline.export import Builder, Exported
from mvdeploy.pipeline.verify import Verifier
from tests.conftest import MakeNetwork
from tests.warm import Server

FACTORY = """
import torch
from torch import nn


def make():
    torch.manual_seed(3)
    return unseeded()


def unseeded():
    layers = nn.Conv2d(3, 8, 3, 2), nn.SiLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    return nn.Sequential(*layers, nn.Linear(8, 5))


def changing():
    torch.seed()  # another one each time
    return unseeded()


make.image_size = changing.image_size = (32, 32)
"""


def export_in(folder: Path, factory: str, monkeypatch: pytest.MonkeyPatch) -> Exported:
    """Export what a file in a folder makes into a folder below, with paths as typed there."""
    folder.mkdir()
    (folder / "net.py").write_text(FACTORY)
    monkeypatch.chdir(folder)
    return Builder(models.make_spec(f"net.py:{factory}")).export("onnx", Path("out/net.onnx"))


@pytest.fixture
def moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An exported file whose folder was moved together with its network, seen from elsewhere."""
    exported = export_in(tmp_path / "home", "make", monkeypatch)
    assert exported.artifact.spec.model == "net.py:make"
    (tmp_path / "home").rename(tmp_path / "moved")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "moved/out/net.onnx"


def test_code_runs_only_where_it_is_named(
    warm: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exported = export_in(tmp_path / "home", "make", monkeypatch)
    assert len(exported.artifact.code_sha256) == 64
    run = functools.partial(warm.mvdeploy, cwd=tmp_path / "home")
    ran = tmp_path / "home/ran"
    changed = f"{FACTORY}\nopen({str(ran)!r}, 'w').close()\n"
    (tmp_path / "home/net.py").write_text(changed)

    for arguments in (("verify",), ("verify", "--mutations"), ("describe",)):
        done = run(arguments[0], "out/net.onnx", *arguments[1:])
        assert not ran.exists()
        assert done.returncode == (0 if arguments == ("describe",) else 2)
        if done.returncode:
            assert "net.py:make is Python code that a manifest names" in done.stderr
            assert "give --model net.py:make." in done.stderr
    few = ("--iterations", "4", "--sessions", "1", "--warmup", "3", "--no-breakdown")
    measured = run("bench", "out/net.onnx", "-o", "run", *few)
    assert measured.returncode == 0, measured.stderr
    assert not ran.exists()
    assert "net.py:make is Python code that a manifest names" in measured.stdout

    done = run("verify", "out/net.onnx", "--model", "net.py:make")
    assert done.returncode == 0 and ran.exists(), done.stderr
    assert "net.py:make is not the code that was exported" in done.stderr
    (tmp_path / "home/net.py").write_text(changed.replace("SiLU", "GELU"))
    done = run("verify", "out/net.onnx", "--model", "net.py:make")
    assert done.returncode == 1
    assert "is not the code that was exported (its sha256 differs), which may be all" in done.stderr
    (tmp_path / "home/net.py").write_text(changed.replace("seed(3)", "seed(4)"))
    done = run("verify", "out/net.onnx", "--model", "net.py:make")
    assert done.returncode == 2
    assert "is not the code that was exported (its sha256 differs), and the netw" in done.stderr


def test_a_moved_folder_is_verified_from_anywhere(moved: Path) -> None:
    assert Verifier(moved, model=f"{moved.parent.parent}/net.py:make").check().passed


def test_a_file_that_moved_alone_finds_its_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export_in(tmp_path / "home", "make", monkeypatch)
    shutil.move(tmp_path / "home/out", tmp_path / "away")
    monkeypatch.chdir("/")
    assert Verifier(tmp_path / "away/net.onnx").check().passed


def test_what_is_gone_is_named_and_can_be_given(moved: Path, tmp_path: Path) -> None:
    there = (moved.parent.parent / "net.py").rename(tmp_path / "mine.py")
    with pytest.raises(UsageError, match=r"net\.onnx came from net\.py") as raised:
        Verifier(moved)
    assert "--model" in raised.value.remedy
    assert Verifier(moved, model=f"{there}:make").check().passed


def test_other_weights_are_called_other_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exported = export_in(tmp_path / "home", "changing", monkeypatch)
    with pytest.raises(UsageError, match="has other weights") as raised:
        Verifier(exported.path)
    assert "network that net.py:changing builds" in raised.value.message
    assert "Seed" in raised.value.remedy


def test_random_weights_that_come_out_otherwise_are_the_reason_of_a_difference(
    tmp_path: Path,
) -> None:
    path = tmp_path / "net.onnx"
    exported = Builder(models.make_spec("yardstick")).export("onnx", path)
    # As on a machine, or with a torch, whose generator gives other numbers for the same seed.
    spec = dataclasses.replace(exported.artifact.spec, seed=1)
    formats.save_manifest(dataclasses.replace(exported.artifact, spec=spec), path)
    with pytest.raises(UsageError, match=r"yardstick builds has other weights.*depend on the mach"):
        Verifier(path).check()


def test_a_manifest_of_before_is_read_and_judged_by_its_outputs(
    moved: Path, tmp_path: Path
) -> None:
    artifact = dataclasses.replace(formats.read(moved), weights_fingerprint="", sources={})
    shutil.move(moved.parent.parent / "net.py", moved.parent)
    formats.save_manifest(artifact, moved)
    models.allow(f"{moved.parent}/net.py:make")
    assert Verifier(moved).check().passed


def test_a_checkpoint_is_found_again_or_given_and_has_to_be_the_same(
    warm: Server, built: MakeNetwork, tmp_path: Path
) -> None:
    home, moved = tmp_path / "home", tmp_path / "moved"
    home.mkdir()
    write_checkpoint(built(classes=7), home / "w.pt")
    asked = ("--weights", "w.pt", "--image-size", "64", "-o", "out/net.onnx")
    done = warm.mvdeploy("export", "mobilevit_xxs", *asked, cwd=home)
    assert done.returncode == 0, done.stderr
    home.rename(moved)
    verify = functools.partial(warm.mvdeploy, "verify", str(moved / "out/net.onnx"), cwd=tmp_path)
    assert verify().returncode == 0
    (moved / "w.pt").rename(tmp_path / "elsewhere.pt")
    gone = verify()
    assert gone.returncode == 2
    assert "net.onnx came from w.pt, which is not where it was" in gone.stderr
    assert "--weights" in gone.stderr
    assert verify("--weights", "elsewhere.pt").returncode == 0
    write_checkpoint(
        models.build(models.make_spec("mobilevit_xxs", num_classes=7, seed=1)), moved / "w.pt"
    )
    assert "sha256 differs" in verify().stderr


def write_checkpoint(network: nn.Module, path: Path) -> None:
    """Save a network as timm would."""
    table = json.loads((Path(__file__).parents[1] / "data/state_dict_names.json").read_text())
    column, state = table["layouts"].index("timm"), {}
    for tensor, row in zip(network.state_dict().values(), table["tensors"], strict=True):
        state[row["names"][column]] = tensor
    torch.save(state, path)
