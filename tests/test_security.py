"""Nothing of others runs unasked: every reader is given files that would leave a marker."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from mvdeploy import files
from mvdeploy.records import codec
from tests import hostile
from tests.saved_runs import two_cases
from tests.warm import Server

Commands = Iterator[tuple[str, ...]]
SUFFIXES = ("pt", "pth", "ckpt", "bin", "safetensors")


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    return tmp_path / "marker"


def programs(folder: Path, marker: Path) -> Commands:
    network = nn.Sequential(nn.Linear(4, 4), nn.ReLU()).eval()
    torch.export.save(torch.export.export(network, (torch.zeros(1, 4),)), folder / "net.pt2")
    yield "describe", "net.pt2"
    for name, path in hostile.programs(folder / "net.pt2", folder, marker):
        if name != "guards":  # its code is left out, and the program is read: see its own test
            yield "describe", path.name
    few = ("--iterations", "4", "--sessions", "1", "--warmup", "3")
    yield "bench", "guards.pt2", "-o", "run", *few
    yield "bench", "weight.pt2"
    yield "verify", "sample_inputs.pt2", "--against", "net.pt2"
    for suffix in ("pt2", "onnx", "pte"):
        (folder / f"pickle.{suffix}").write_bytes(hostile.pickled(marker))
        (folder / f"raw.{suffix}").write_bytes(pickle.dumps(hostile.Marks(marker)))
        yield "describe", f"pickle.{suffix}"
        yield "describe", f"raw.{suffix}"
    (folder / "evil.mlpackage").mkdir()
    (folder / "evil.mlpackage/Manifest.json").write_bytes(pickle.dumps(hostile.Marks(marker)))
    yield "describe", "evil.mlpackage"


def checkpoints(folder: Path, marker: Path) -> Commands:
    for suffix in SUFFIXES:
        for kind, held in (
            ("raw", pickle.dumps(hostile.Marks(marker))),
            ("zip", hostile.pickled(marker)),
        ):
            (folder / f"{kind}.{suffix}").write_bytes(held)
            yield "describe", "mobilevit_xxs", "--weights", f"{kind}.{suffix}"
    torch.save(hostile.Marks(marker), folder / "old.pt", _use_new_zipfile_serialization=False)
    yield "convert", "old.pt", "--to", "timm", "-o", "new.pt"
    tensors = {"a": torch.zeros(1), "b": hostile.Marks(marker)}
    torch.save({"state_dict": tensors}, folder / "inside.ckpt")
    yield "export", "mobilevit_xxs", "--weights", "inside.ckpt", "-o", "out.onnx"


def folders(folder: Path, marker: Path) -> Commands:
    """Folders as transformers saves them: pickled weights, and code of their own."""
    config = {"model_type": "vit", "hidden_size": 16, "num_hidden_layers": 1, "image_size": 32}
    config |= {"num_attention_heads": 2, "intermediate_size": 16, "architectures": ["Evil"]}
    for name, own in (("pickled", {}), ("coded", {"model_type": "evil"}), ("both", {})):
        place = folder / name
        place.mkdir()
        if name != "pickled":
            classes = ("AutoConfig", "AutoModelForImageClassification", "AutoImageProcessor")
            config["auto_map"] = dict.fromkeys(classes, "evil.Evil")
        (place / "config.json").write_text(json.dumps(config | own))
        (place / "preprocessor_config.json").write_text(json.dumps({"size": 32} | own))
        (place / "evil.py").write_text(f"open({str(marker)!r}, 'w')\n")
        (place / "pytorch_model.bin").write_bytes(hostile.pickled(marker))
        yield "describe", f"hf:{name}"
        yield "describe", "mobilevit_xxs", "--weights", name


def surroundings(folder: Path, marker: Path) -> Commands:
    """Pictures, labels, profiles, gates' baselines and runs."""
    script = f"({marker}) (w) file closefile showpage\n"
    head = "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 32 32\n%%EndComments\n"
    (folder / "evil.eps").write_text(f"{head}{script}%%EOF\n")
    yield "export", "mobilevit_xxs", "--input", "evil.eps", "-o", "out.onnx"
    (folder / "evil.npy").write_bytes(pickle.dumps(hostile.Marks(marker)))
    yield "export", "mobilevit_xxs", "--input", "evil.npy", "-o", "out.onnx"
    for suffix in ("txt", "json"):
        (folder / f"labels.{suffix}").write_bytes(pickle.dumps(hostile.Marks(marker)))
        yield "export", "mobilevit_xxs", "--format", "coreml", "--labels", f"labels.{suffix}"
    (folder / "evil.py").write_text(f"open({str(marker)!r}, 'w')\n")
    for field, value in (("link", "evil"), ("link", "../evil"), ("engines", ["evil"])):
        fields = {"name": "evil", "title": "t", "link": "host", "engines": ["onnxruntime"]}
        lines = (f"{key} = {json.dumps(held)}" for key, held in (fields | {field: value}).items())
        (folder / "evil.toml").write_text("\n".join([*lines, "threads = 1", 'notes = ""']))
        yield "bench", "--device", "evil", "--devices-dir", "."
    (folder / "baseline.json").write_bytes(pickle.dumps(hostile.Marks(marker)))
    yield "bench", "net.onnx", "--baseline", "baseline.json"


@pytest.mark.parametrize("hostile_files", [programs, checkpoints, folders, surroundings])
def test_no_reader_runs_anything(
    warm: Server, tmp_path: Path, marker: Path, hostile_files: Callable[[Path, Path], Commands]
) -> None:
    hostile.Marks(marker).__reduce__()[0](f"touch {marker}")
    assert marker.exists()  # the trap itself works
    marker.unlink()
    for arguments in hostile_files(tmp_path, marker):
        done = warm.mvdeploy(*arguments, cwd=tmp_path, timeout=60)
        assert not marker.exists(), arguments
        good = arguments[1] in ("net.pt2", "guards.pt2")
        # A folder of Core ML is its engine's to read.
        bad = 4 if arguments[1] == "evil.mlpackage" else 2
        assert done.returncode == (0 if good else bad), (arguments, done.stdout, done.stderr)
        assert good or (done.stderr.count("Error: ") == 1 and "Traceback" not in done.stderr)


def test_a_manifest_names_code_and_runs_none(warm: Server, tmp_path: Path, marker: Path) -> None:
    (tmp_path / "evil.py").write_text(f"open({str(marker)!r}, 'w')\n")
    saved = codec.encode(two_cases().saved)
    text = json.dumps(saved).replace("mobilevit_xxs", "evil.py:make")
    assert "evil.py:make" in text
    artifact = next(case["artifact"] for case in json.loads(text)["cases"] if case["artifact"])
    (tmp_path / "net.onnx").write_bytes(b"no network")
    artifact |= {"path": "net.onnx", "data": [], "twin": ""}
    artifact["spec"] |= {"weights": None, "patches": [], "seed": None}
    artifact["sha256"] = files.sha256(tmp_path / "net.onnx")
    head = {"schema_version": codec.SCHEMA_VERSION, "record": "Artifact"}
    (tmp_path / "net.onnx.json").write_text(json.dumps(head | artifact))
    for command in ("verify", "describe", "bench"):
        done = warm.mvdeploy(command, "net.onnx", cwd=tmp_path, timeout=60)
        assert not marker.exists(), done.stdout
        assert "Traceback" not in done.stderr
        assert command != "verify" or "evil.py:make is Python code that a manif" in done.stderr
    (tmp_path / "net.onnx.json").write_text(json.dumps(head | artifact | {"data": ["../x"]}))
    done = warm.mvdeploy("describe", "net.onnx", cwd=tmp_path)
    assert done.returncode == 2 and "'../x' as a part of net.onnx" in done.stderr


@pytest.mark.parametrize("kind", ["pipe", "device", "large"])
def test_endless_and_huge_files_are_refused_at_once(
    warm: Server, tmp_path: Path, kind: str
) -> None:
    names = ("x.pt", "x.pt2", "x.onnx", "x.pte", "x.png", "x.txt", "x.toml", "x.json")
    make: dict[str, Callable[[Path], Any]] = {
        "pipe": os.mkfifo,
        "device": lambda path: path.symlink_to("/dev/zero"),
        "large": lambda path: path.touch() or os.truncate(path, 10**12),
    }
    for name in names:
        make[kind](tmp_path / name)
    commands = [
        ("describe", "mobilevit_xxs", "--weights", "x.pt"),
        ("convert", "x.pt", "--to", "timm", "-o", "y.pt"),
        *(("describe", f"x.{suffix}") for suffix in ("pt2", "onnx", "pte")),
        ("export", "mobilevit_xxs", "--input", "x.png", "-o", "y.onnx"),
        ("export", "mobilevit_xxs", "--format", "coreml", "--labels", "x.txt"),
        ("bench", "--device", "x", "--devices-dir", "."),
        ("bench", "mobilevit_xxs", "--baseline", "x.json"),
    ]
    words = {"pipe": "it is a pipe", "device": "it is a device", "large": "MVDEPLOY_FILE_LIMIT_MB="}
    for arguments in commands:
        done = warm.mvdeploy(*arguments, cwd=tmp_path, timeout=60)
        assert done.returncode == 2, (arguments, done.stderr)
        assert words[kind] in done.stderr, (arguments, done.stderr)
