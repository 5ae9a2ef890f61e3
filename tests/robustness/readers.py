"""What reads files, and how it is told whether it read them right: a command for each kind."""

from __future__ import annotations

import dataclasses
import functools
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.robustness import judges
from tests.robustness.judges import Judge
from tests.robustness.workshop import EVALUATION


@dataclasses.dataclass(frozen=True)
class Reader:
    """A command on a kind of file.

    Attributes:
        name: of it.
        files: of the workshop that it needs, those in ``sound/`` to compare with.
        victims: patterns of those that are damaged.
        command: the command line.
        judge: of a result that it comes to.
        share: how many of ten thousand damages are its.
        reseal: done after a damage, such as making a sum right.
    """

    name: str
    files: Sequence[str]
    victims: Sequence[str]
    command: Sequence[str]
    judge: Judge
    share: int
    reseal: Callable[[Path], None] = lambda folder: None

    def lay(self, workshop: Path, folder: Path) -> None:
        """Copy the sound files to a new folder."""
        folder.mkdir(parents=True)
        for name in self.files:
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            source = workshop / name.removeprefix("sound/")
            copy = shutil.copytree if source.is_dir() else shutil.copy
            copy(source, target)

    def damaged(self, folder: Path) -> tuple[str, ...]:
        """Return the files that are damaged, as paths in the folder."""
        found = (file for pattern in self.victims for file in sorted(folder.glob(pattern)))
        return tuple(file.relative_to(folder).as_posix() for file in found if file.is_file())


_LARGE = 1 << 26
_NETWORK = ("--model", "net.py:make")


def _sum_right(model: str) -> Callable[[Path], None]:
    """Return what makes the manifest of a damaged model have its sha256."""

    def reseal(folder: Path) -> None:
        from mvdeploy import files

        manifest = folder / f"{model}.json"
        parts = (folder / model).rglob("*") if (folder / model).is_dir() else [folder / model]
        if not all(
            part.is_dir() or (part.is_file() and part.stat().st_size < _LARGE) for part in parts
        ):
            return  # it has none, or nobody would wait for it
        total = files.sha256(folder / model)
        text = manifest.read_text()
        manifest.write_text(re.sub(r'("sha256": )"[0-9a-f]+"', rf'\1"{total}"', text, count=1))
        _without_checksums(folder)  # its own would no longer hold

    return reseal


def _without_checksums(folder: Path) -> None:
    """Take the checksums out of saved files, as those of earlier versions have none."""
    for file in folder.rglob("*.json"):
        if file.is_file() and file.stat().st_size < _LARGE:
            file.write_bytes(re.sub(rb',\s*"checksum": "[0-9a-f]{64}"', b"", file.read_bytes()))


def _saved(
    name: str, files: Sequence[str], victims: Sequence[str], command: Sequence[str], share: int
) -> tuple[Reader, Reader]:
    """Return what reads a saved file, and what reads it without its checksum."""
    sealed = functools.partial(judges.by_document, checked=True)
    return (
        Reader(name, files, victims, command, sealed, share // 4),
        Reader(
            *(f"{name}, without checksum", files, victims, command, judges.by_document, share),
            reseal=_without_checksums,
        ),
    )


def _models() -> tuple[Reader, ...]:
    """Return what describes models, compares them, and verifies them, also with the sum right."""
    found = []
    for kind, model, inner in (
        ("onnx", "net.onnx", "net.onnx"),
        ("pt2", "net.pt2", "net.pt2"),
        ("pte", "net.pte", "net.pte"),
        ("tflite", "net.tflite", "net.tflite"),
        ("mlpackage", "net.mlpackage", "net.mlpackage/**/*"),
        ("tflite of others", "others.tflite", "others.tflite"),
        ("ort", "plain.ort", "plain.ort"),
        ("onnx with outer data", "outer.onnx", "outer.*"),
    ):
        files = ("outer.onnx", "outer.data") if model == "outer.onnx" else (model,)
        command = ("describe", model, "--json")
        found.append(Reader(f"{kind}, described", files, (inner,), command, judges.by_text, 350))
        also = tuple(f"sound/{name}" for name in files)
        against = ("verify", model, "--against", f"sound/{model}")
        judge = judges.by_outputs(model, f"sound/{model}")
        found.append(
            Reader(f"{kind}, against the sound one", (*files, *also), (inner,), against, judge, 350)
        )
        if not model.startswith("net."):
            continue
        own = (model, f"{model}.json", "net.py")
        judge = judges.by_outputs(model, model)
        name, verify = f"{kind}, its sum made right", ("verify", model, *_NETWORK)
        reseal = _sum_right(model)
        found.append(Reader(name, own, (inner,), verify, judge, 350, reseal))
        found.append(Reader(f"{kind}, exported", own, (inner,), verify, judges.by_verdict, 60))
    return tuple(found)


def _checkpoints() -> tuple[Reader, ...]:
    found = []
    for name, checked in (("pt", True), ("ckpt", True), ("safetensors", False), ("pth", False)):
        file = "old.pth" if name == "pth" else f"net.{name}"
        out = "out.pt2"
        command = ("export", "net.py:make", "--weights", file, "--format", "pytorch", "-o", out)
        judge = judges.by_weights(out, checked)
        found.append(Reader(f"checkpoint .{name}", ("net.py", file), (file,), command, judge, 500))
    return tuple(found)


def _pictures() -> tuple[Reader, ...]:
    names = ("picture.png", "picture.jpg", "picture.bmp", "picture.gif", "picture.webp")
    found = []
    for name in (*names, "picture.tif", "deep.png"):
        files = ("net.onnx", "net.onnx.json", "net.py", name)
        command = ("verify", "net.onnx", *_NETWORK, "--input", name)
        found.append(Reader(f"image {name}", files, (name,), command, judges.by_verdict, 120))
    return tuple(found)


def _labels() -> tuple[Reader, ...]:
    """What says which picture is of which class, and what is kept of an evaluation."""
    net = ("net.onnx", "net.onnx.json")
    shown = ("picture.png", "picture.jpg", "picture.bmp", "picture.webp")
    kinds = (
        ("table of labels", "labels.csv", ("--data", "labels.csv"), ()),
        ("list of labels", "val.txt", ("--data", "val.txt"), ()),
        ("class map", "map.txt", ("--data", "named.csv", "--class-map", "map.txt"), ("named.csv",)),
    )
    found = []
    for name, victim, words, more in kinds:
        command = (*EVALUATION, *words, "-o", "out.csv")
        files = (*net, *shown, victim, *more)
        found.append(Reader(name, files, (victim,), command, judges.by_files("out.csv"), 80))
    kept = ("evaluation/*.json", "evaluation/shards/*.json")
    command = (*EVALUATION, "--data", "labels.csv", "-o", "evaluation")
    judge = judges.by_files("evaluation/predictions.csv", checked=True)
    files = (*net, *shown, "labels.csv", "evaluation")
    return (*found, Reader("saved evaluation", files, kept, command, judge, 80))


_FOREIGN = functools.partial(judges.by_document, foreign=True)
_RUN = ("run/*.json", "run/cases/*/*.json")
_REPORT = ("report", "run", "--json")
_WRITTEN = ("report", "run", "-o", "out", "--format", "csv", "--format", "markdown")

READERS = (
    *_models(),
    *_checkpoints(),
    Reader(
        "checkpoint converted",
        ("timm/model.safetensors",),
        ("timm/model.safetensors",),
        ("convert", "timm/model.safetensors", "--to", "cvnets", "-o", "out.safetensors"),
        judges.by_files("out.safetensors"),
        100,
    ),
    Reader(
        "manifest, verified",
        ("yard.onnx", "yard.onnx.json"),
        ("yard.onnx.json",),
        ("verify", "yard.onnx"),
        judges.by_verdict,
        500,
        _without_checksums,
    ),
    *_saved(
        "manifest, described",
        ("net.onnx", "net.onnx.json"),
        ("net.onnx.json",),
        ("describe", "net.onnx", "--json"),
        300,
    ),
    *_saved("saved run", ("run",), _RUN, _REPORT, 1200),
    Reader(
        *("saved run, written", ("run",), _RUN, _WRITTEN, judges.by_files("out"), 300),
        _without_checksums,
    ),
    _saved("saved study", ("study",), ("study/study.json",), ("report", "study", "--json"), 300)[0],
    *_saved(
        "baseline",
        ("base.json", "sound/base.json"),
        ("base.json",),
        ("compare", "sound/base.json", "base.json", "--json"),
        600,
    ),
    Reader(
        "device profile",
        ("profiles/board.toml",),
        ("profiles/board.toml",),
        ("devices", "--devices-dir", "profiles", "--json"),
        judges.by_document,
        500,
    ),
    *_pictures(),
    *_labels(),
    Reader(
        "folder of transformers",
        ("hf",),
        ("hf/*.json",),
        ("describe", "mobilevit_xxs", "--weights", "hf", "--json"),
        _FOREIGN,
        250,
    ),
    Reader(
        "network of transformers",
        ("hf",),
        ("hf/*",),
        ("describe", "hf:hf", "--json"),
        _FOREIGN,
        20,
    ),
    Reader(
        "folder of timm",
        ("timm",),
        ("timm/*",),
        ("describe", "mobilevit_xxs", "--weights", "timm", "--json"),
        _FOREIGN,
        150,
    ),
    Reader(
        "file of a network",
        ("net.py",),
        ("net.py",),
        ("describe", "net.py:make", "--json"),
        judges.by_text,
        400,
    ),
    Reader(
        "labels",
        ("net.py", "labels.txt"),
        ("labels.txt",),
        (
            *("export", "net.py:make", "--format", "coreml", "--image-input"),
            *("--labels", "labels.txt", "-o", "out.mlpackage"),
        ),
        judges.by_files("out.mlpackage.json"),
        60,
    ),
)
"""All of them."""


def find(name: str) -> Reader:
    """Return the reader of a name."""
    return next(reader for reader in READERS if reader.name == name)
