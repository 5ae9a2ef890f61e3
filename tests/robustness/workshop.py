"""Sound files of every kind that mvdeploy reads, small ones, made once."""

from __future__ import annotations

import json
import os
from pathlib import Path
from unittest import mock

from tests.warm import Server

NETWORK = """\
import torch
from torch import nn


def make():
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 4, 3, stride=2), nn.ReLU(), nn.Conv2d(4, 4, 3, stride=2), nn.Flatten()
    return nn.Sequential(*layers, nn.Linear(196, 5)).eval()


make.image_size = (32, 32)
make.num_classes = 5
"""

PROFILE = """\
name = "board"
title = "A board"
link = "ssh"
engines = ["executorch", "onnxruntime"]
formats = ["executorch", "onnx"]
aliases = ["board one"]
match = { "ro.product.device" = ["flame"] }
architecture = "aarch64"
soc = "Some chip (X1)"
clusters = [
    { name = "Small", cores = [0, 1, 2, 3], max_khz = 1785600 },
    { name = "Large", cores = [4, 5, 6, 7], max_khz = 2841600 },
]
bandwidth_gb_s = 34.1
cores = [4, 5, 6, 7]
threads = 4
cool_down = { thermal_status = 0, skin_c = 36.0, limit_s = 300.0, poll_s = 5.0 }
"""

STUDY = """\
title = "Two sizes"
paper = "Ours"
about = "Large images take longer."
reference = "small"
rows = [
    { name = "small", model = "yardstick", image_size = "32" },
    { name = "large", model = "yardstick", image_size = "64" },
]

[[published]]
quantity = "latency"
title = "CPU"
unit = "ms"
where = "A phone"
source = "table 1"
values = { small = 1.0, large = 3.5 }
"""

EVALUATION = ("eval", "net.onnx", "--without-pytorch")
"""A command that judges pictures."""

SHORT = ("--warmup", "3", "--iterations", "12", "--sessions", "2")
FORMATS = {
    "onnx": "net.onnx",
    "pytorch": "net.pt2",
    "executorch": "net.pte",
    "litert": "net.tflite",
    "coreml": "net.mlpackage",
}


def build(server: Server, folder: Path) -> Path:
    """Make all of them in a folder, if they are not there; return the folder."""
    done = folder / "done"
    if done.exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "net.py").write_text(NETWORK)
    (folder / "profiles").mkdir(exist_ok=True)
    (folder / "profiles/board.toml").write_text(PROFILE)
    (folder / "labels.txt").write_text("cat\ndog\nbird\nfish\nMüsli\n")
    _labels(folder)
    with server.start(str(folder), cwd=folder, call=f"{__name__}:made") as running:
        made = running.wait(300)
        if made.returncode:
            raise RuntimeError(made.stderr)
    for kind, name in FORMATS.items():
        _run(server, folder, "export", "net.py:make", "--format", kind, "-o", name)
    yardstick = ("yardstick", "--image-size", "32", "--num-classes", "5")
    _run(server, folder, "export", *yardstick, "--format", "onnx", "-o", "yard.onnx")
    _run(server, folder, "convert", "timm", "--to", "transformers", "-o", "hf")
    _run(server, folder, "export", "net.py:make", "--format", "onnx", "-o", "second.onnx")
    files = ("net.onnx", "second.onnx", "net.pt2")
    _run(server, folder, "bench", *files, *SHORT, "-o", "runs")
    (run,) = (folder / "runs").iterdir()
    run.rename(folder / "run")
    _run(server, folder, "bench", "net.onnx", *SHORT, "--save-baseline", "base.json", "-o", "runs")
    (folder / "rooms/studies").mkdir(parents=True, exist_ok=True)
    (folder / "rooms/studies/sizes.toml").write_text(STUDY)
    with mock.patch.dict(os.environ, {"MVDEPLOY_PLUGINS": str(folder / "rooms")}):
        _run(server, folder, "study", "sizes", *SHORT, "--no-breakdown", "-o", "studies")
    (study,) = (folder / "studies").iterdir()
    study.rename(folder / "study")
    _run(server, folder, *EVALUATION, "--data", "labels.csv", "-o", "evaluation")
    done.touch()
    return folder


def _labels(folder: Path) -> None:
    """Write what says which picture is of which class, in three ways."""
    classes = {"picture.png": 0, "picture.jpg": 1, "picture.bmp": 4, "picture.webp": 2}
    names = {0: "cat", 1: "dog 7", 2: "bird, small", 4: "Müsli"}
    table = (f"{path},{number},x" for path, number in classes.items())
    (folder / "labels.csv").write_text("\n".join(("path,label,note", *table)))
    listed = (f"{path} {number}" for path, number in classes.items())
    (folder / "val.txt").write_text("\n".join(listed))
    named = (f'{path},"{names[number]}"' for path, number in classes.items())
    (folder / "named.csv").write_text("\n".join(("path,label", *named)))
    mapped = (f"{name}\t{number}" for number, name in names.items())
    (folder / "map.txt").write_text("\n".join(mapped))


def _run(server: Server, folder: Path, *arguments: str) -> None:
    done = server.mvdeploy(*arguments, cwd=folder)
    if done.returncode:
        raise RuntimeError(f"{arguments}: {done.stderr}")


def made() -> None:
    """Make what takes torch, Pillow and others; in a fork of the warm process."""
    import sys

    folder = Path(sys.argv[1])
    _checkpoints(folder)
    _pictures(folder)
    _timm(folder)
    _of_others(folder)


def _checkpoints(folder: Path) -> None:
    import runpy

    import torch
    from safetensors.torch import save_file

    state = runpy.run_path(str(folder / "net.py"))["make"]().state_dict()
    state = {name: tensor + 0.01 for name, tensor in state.items()}
    torch.save(state, folder / "net.pt")
    save_file(state, folder / "net.safetensors")
    lightning = {
        "epoch": 3,
        "global_step": 12,
        "pytorch-lightning_version": "2.5.0",
        "state_dict": {f"model.{name}": tensor for name, tensor in state.items()},
        "hyper_parameters": {"lr": 0.1, "name": "net"},
        "optimizer_states": [],
    }
    torch.save(lightning, folder / "net.ckpt")
    torch.save(state, folder / "old.pth", _use_new_zipfile_serialization=False)


def _pictures(folder: Path) -> None:
    import numpy as np
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 256, (40, 48, 3), np.uint8)
    pixels = np.repeat(np.repeat(pixels[::8, ::8], 8, 0), 8, 1)
    picture = Image.fromarray(pixels)
    for name in ("picture.png", "picture.jpg", "picture.bmp", "picture.gif", "picture.webp"):
        picture.save(folder / name)
    picture.save(folder / "picture.tif", compression="tiff_lzw")
    Image.fromarray((pixels[..., 0].astype(np.uint16)) * 257).save(folder / "deep.png")


def _timm(folder: Path) -> None:
    from safetensors.torch import save_file

    from mvdeploy.models import zoo

    name = "mobilevit_xxs"
    network = zoo.load("timm").create_model(name, num_classes=5)
    (folder / "timm").mkdir(exist_ok=True)
    save_file(network.state_dict(), folder / "timm/model.safetensors")
    config = {
        "architecture": name,
        "num_classes": 5,
        "pretrained_cfg": {
            "input_size": [3, 64, 64],
            "interpolation": "bicubic",
            "crop_pct": 0.9,
            "mean": [0.0, 0.0, 0.0],
            "std": [1.0, 1.0, 1.0],
            "crop_mode": "center",
        },
    }
    (folder / "timm/config.json").write_text(json.dumps(config, indent=2))


def _of_others(folder: Path) -> None:
    from tests import others

    others.by_hand(folder)
    others.optimised_for_ort(folder / "plain.onnx", folder / "plain.ort")
    others.by_litert(folder / "others.tflite")
