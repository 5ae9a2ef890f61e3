"""Exports are kept, taken when all that they were made of is the same, and made anew if damaged."""

from __future__ import annotations

import dataclasses
import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mvdeploy import files, formats, models, plugins
from mvdeploy.errors import UsageError
from mvdeploy.models.preprocess import sample_photograph
from mvdeploy.pipeline import calibration, identity, kept_exports
from mvdeploy.pipeline.export import Builder, Exported
from mvdeploy.pipeline.kept_exports import Content, Damaged, KeptExport, Shelf
from mvdeploy.records import ModelSpec, codec
from tests.warm import Server, started

SPEC = models.make_spec("yardstick")
GB = 1_000_000_000
A, B, C = ("a" * 64, "b" * 64, "c" * 64)


class Steps(list[str]):
    """What a builder said, all in one text."""

    @property
    def text(self) -> str:
        return "\n".join(self)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> tuple[Exported, Path]:
    """An export, and the folder in which it is kept; who changes that works on a copy."""
    folder = tmp_path_factory.mktemp("first")
    shelf = Shelf(folder / "kept", GB)
    return Builder(SPEC, shelf=shelf).export("onnx", folder / "a.onnx"), shelf.folder


@pytest.fixture
def shelf(first: tuple[Exported, Path], tmp_path: Path) -> Shelf:
    shutil.copytree(first[1], tmp_path / "kept")
    return Shelf(tmp_path / "kept", GB)


@pytest.fixture
def content(first: tuple[Exported, Path]) -> Content:
    return first[0].content


def exported(shelf: Shelf, path: Path, spec: ModelSpec = SPEC) -> tuple[Exported, Steps]:
    steps = Steps()
    return Builder(spec, on_step=steps.append, shelf=shelf).export("onnx", path), steps


def test_the_second_time_nothing_is_built_and_all_is_the_same(
    first: tuple[Exported, Path], shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build(*_: object, **__: object) -> None:
        raise AssertionError("it is built again")

    monkeypatch.setattr(models, "build", build)
    made, path = first[0], tmp_path / "elsewhere" / "b.onnx"
    taken, steps = exported(shelf, path)
    assert taken.kept and not made.kept
    assert steps == ["yardstick: onnx is kept, and is taken"]
    assert taken.artifact == dataclasses.replace(made.artifact, path="b.onnx")
    assert taken.artifact.verified is not None
    assert taken.parity == made.parity
    assert path.read_bytes() == made.path.read_bytes()
    assert formats.read(path) == taken.artifact
    assert sorted(file.name for file in path.parent.iterdir()) == ["b.onnx", "b.onnx.json"]
    assert made.reference is not None and taken.reference is not None
    assert taken.reference.inputs == made.reference.inputs
    for one, other in zip(
        (made.reference.outputs, made.reference.rounded),
        (taken.reference.outputs, taken.reference.rounded),
        strict=True,
    ):
        assert one is not None and other is not None and one.keys() == other.keys()
        assert all(np.array_equal(one[name], other[name]) for name in one)


def test_what_is_taken_says_how_the_file_before_differed(shelf: Shelf, tmp_path: Path) -> None:
    path = tmp_path / "b.onnx"
    assert exported(shelf, path)[0].changes is None
    assert exported(shelf, path)[0].changes == ()


def _damage(place: Path, name: str) -> None:
    path = place / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def _recorded(place: Path, names: tuple[str, ...]) -> None:
    """Have the record name other files, with the sha256 that they have."""
    record = codec.load(KeptExport, place / "entry.json")
    named = {name: files.sha256(place / name) for name in names}
    codec.save(dataclasses.replace(record, files=named), place / "entry.json")


DAMAGES: dict[str, Callable[[Path], object]] = {
    **{
        name: lambda place, name=name: _damage(place, name)  # type: ignore[misc]
        for name in ("export.onnx", "export.onnx.json", "parity.json", "reference.npz")
    },
    "a record that is cut": lambda place: (place / "entry.json").write_text("{"),
    "no record": lambda place: (place / "entry.json").unlink(),
    "no file": lambda place: (place / "export.onnx").unlink(),
    "a folder in its place": lambda place: (
        (place / "export.onnx").unlink(),
        (place / "export.onnx").mkdir(),
    ),
    "a record of no file": lambda place: _recorded(place, ()),
    "a record of a file elsewhere": lambda place: (
        shutil.copy(place / "export.onnx", place.parent),
        _recorded(place, ("../export.onnx",)),
    ),
    "a record of another": lambda place: (place / "entry.json").write_bytes(
        (place / "parity.json").read_bytes()
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_damaged_is_not_taken(shelf: Shelf, damage: str) -> None:
    (place,) = shelf.folder.iterdir()
    with shelf.taken(place.name) as content:
        assert content is not None
    DAMAGES[damage](place)
    with pytest.raises(Damaged), shelf.taken(place.name):
        pass


def test_a_damaged_export_is_made_again_and_said(
    first: tuple[Exported, Path], shelf: Shelf, tmp_path: Path
) -> None:
    (place,) = shelf.folder.iterdir()
    _damage(place, "export.onnx")
    again, steps = exported(shelf, tmp_path / "b.onnx")
    assert "is damaged (export.onnx has another sha256), and is made again" in steps.text
    assert not again.kept
    assert again.path.read_bytes() == first[0].path.read_bytes()
    assert exported(shelf, tmp_path / "b.onnx")[0].kept


def test_a_folder_that_cannot_be_used_fails_nothing(
    first: tuple[Exported, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The making itself is not what this is about.
    monkeypatch.setattr(Builder, "_made", lambda *_: first[0])
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "within", Path("/proc/none")):
        made, steps = exported(Shelf(place, GB), tmp_path / "b.onnx")
        assert made is first[0]
        assert f"the export cannot be kept ({place}" in steps.text


def test_a_full_disk_keeps_nothing_and_fails_nothing(
    first: tuple[Exported, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Builder, "_made", lambda *_: first[0])
    monkeypatch.setattr(kept_exports, "copy", full)
    shelf = Shelf(tmp_path / "kept", GB)
    assert exported(shelf, tmp_path / "b.onnx")[1].text.endswith("(No space left on device)")
    assert list(shelf.folder.iterdir()) == []


def test_a_file_that_cannot_be_placed_is_an_error(shelf: Shelf, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"file.* cannot be written"):
        exported(shelf, tmp_path / "file" / "b.onnx")


def test_what_was_not_taken_for_longest_makes_room(content: Content, tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, GB)
    shelf.keep(A, content, "p")
    shelf = Shelf(tmp_path, int(2.5 * shelf.entries()[0][2]))
    for age, key in ((30, A), (20, B)):
        shelf.keep(key, content, "p")
        os.utime(tmp_path / key, times=(0, os.stat(tmp_path).st_mtime - age))
    with shelf.taken(A) as found:
        assert found is not None
    shelf.keep(C, content, "p")
    assert [key for key, *_ in shelf.entries()] in ([C, A], [A, C])
    assert {path.name for path in tmp_path.iterdir()} == {A, C}
    Shelf(tmp_path, files.size(content.path) - 1).keep(B, content, "p")
    assert not (tmp_path / B).exists()  # larger than all that may be kept


def test_nothing_is_kept_where_nothing_may_be(
    first: tuple[Exported, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Builder, "_made", lambda *_: first[0])
    shelf = Shelf(tmp_path / "kept")  # tests are given no room
    assert shelf.size == 0
    exported(shelf, tmp_path / "b.onnx")
    assert not shelf.folder.exists()


def test_what_a_file_computes_is_found_by_its_sha256(
    first: tuple[Exported, Path], shelf: Shelf
) -> None:
    artifact = first[0].artifact
    known = shelf.reference(artifact, identity.program())
    assert known is not None and first[0].reference is not None
    assert known.inputs == first[0].reference.inputs
    other = dataclasses.replace(artifact, sha256="0" * 64)
    assert shelf.reference(other, identity.program()) is None
    assert shelf.reference(artifact, "another program") is None
    (place,) = shelf.folder.iterdir()
    _damage(place, "reference.npz")
    assert shelf.reference(artifact, identity.program()) is None


_BUSY = """
import sys
from pathlib import Path
from mvdeploy.pipeline.kept_exports import Shelf
shelf, source, key = Shelf(Path(sys.argv[1]), 10**9), Shelf(Path(sys.argv[2]), 10**9), sys.argv[3]
(name,) = (place.name for place in source.folder.iterdir())
with source.taken(name) as content:
    for number in range(12):
        shelf.keep(key, content, "p")
        with shelf.taken(key) as taken:  # raises if it is half there
            assert taken is None or taken.artifact == content.artifact
        if number % 4 == 3:
            shelf.clear()
"""


def test_processes_keep_take_and_clear_at_once(
    first: tuple[Exported, Path], content: Content, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", _BUSY, str(tmp_path / "kept"), str(first[1])]
    running = [
        subprocess.Popen([*command, key], stderr=subprocess.PIPE, text=True) for key in (A, A, B)
    ]
    for process in running:
        _, error = process.communicate(timeout=100)
        assert process.returncode == 0, error
    shelf = Shelf(tmp_path / "kept", GB)
    shelf.keep(A, content, "p")  # removes what one of them may have been cleared in
    assert {place.name for place in shelf.folder.iterdir()} <= {A, B}


# What an export is made of


def key(
    spec: ModelSpec = SPEC,
    format_name: str = "onnx",
    options: formats.Options = formats.DEFAULTS,
    photograph: Path | None = None,
    left_out: tuple[str, ...] = (),
    wish: calibration.Wish = calibration.DEFAULT,
) -> str | None:
    def network() -> tuple[object, tuple[object, ...]]:
        builder = Builder(spec)
        return builder.network, builder._examples

    return identity.of_export(
        spec,
        format_name,
        options,
        photograph or sample_photograph(),
        left_out,
        wish,
        network,  # type: ignore[arg-type]
    )


def test_everything_that_is_asked_for_counts() -> None:
    chosen = formats.options("onnx", {"opset": 20})
    whole = formats.options("onnx", precision="int8")
    kept = dataclasses.replace(whole, keep_float=("head*",))
    keys = [
        key(),
        key(models.make_spec("yardstick", seed=1)),
        key(models.make_spec("yardstick", image_size=(64, 64))),
        key(models.make_spec("yardstick", calm=True)),
        key(SPEC.with_batch(2)),
        key(format_name="pytorch"),
        key(options=chosen),
        key(options=whole),
        key(options=kept),
        key(options=whole, wish=calibration.Wish(5)),
        key(options=whole, wish=calibration.Wish(method="entropy")),
        key(left_out=("fold_batchnorm",)),
    ]
    assert None not in keys
    assert len(set(keys)) == len(keys)
    assert key() == keys[0]
    assert key(options=formats.options("onnx", precision="fp32")) == keys[0]


def test_images_count_by_what_is_in_them(tmp_path: Path) -> None:
    whole = formats.options("onnx", precision="int8")
    picture = tmp_path / "images" / "a.jpg"
    picture.parent.mkdir()
    picture.write_bytes(sample_photograph().read_bytes())
    wish = calibration.Wish(picture.parent)
    keys = [key(photograph=picture), key(options=whole, wish=wish)]
    assert keys[0] == key()
    picture.write_bytes(picture.read_bytes() + b"more")
    keys += [key(photograph=picture), key(options=whole, wish=wish)]
    assert len(set(keys)) == 4
    assert key(photograph=tmp_path / "none.jpg") is None


def test_programs_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [key()]
    (tmp_path / "passes").mkdir()
    monkeypatch.setenv(plugins.FOLDER, str(tmp_path))
    keys.append(key())
    (tmp_path / "passes" / "_mine.py").write_text("pass")
    keys.append(key())
    (tmp_path / "passes" / "_mine.py").write_text("pass ")
    keys.append(key())
    known = identity._installed()
    for name, other in (("mvdeploy", "0" * 64), ("packages", ["torch-1.dist-info"])):
        monkeypatch.setattr(identity, "_installed", lambda n=name, o=other: {**known, n: o})
        keys.append(key())
    assert len(set(keys)) == 6
    assert any(name.startswith("torch-") for name in known["packages"])


NET = """
import torch
from torch import nn
import {helper}

class Net(nn.Module):
    image_size = 16

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x):
        return {helper}.scale * self.conv(x).mean((2, 3))

def make():
    torch.manual_seed({seed})
    return Net()

def unseeded():
    torch.seed()
    return Net()

make.image_size = unseeded.image_size = 16
"""


def test_code_of_a_users_own_counts_by_what_it_makes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    found = set()
    for number, (seed, scale) in enumerate(((0, 1), (1, 1), (0, 2))):
        helper = f"kept_exports_helper_{number}"
        (tmp_path / f"{helper}.py").write_text(f"scale = {scale}")
        net = tmp_path / str(number) / "net.py"
        net.parent.mkdir()
        net.write_text(NET.format(helper=helper, seed=seed))
        spec = models.make_spec(f"{net}:make")
        found.add(key(spec))
        assert key(spec) in found
    assert None not in found and len(found) == 3
    free = models.make_spec(f"{tmp_path / '0' / 'net.py'}:unseeded")
    assert key(free) != key(free)


def test_a_checkpoint_counts_by_what_is_in_it(tmp_path: Path) -> None:
    import torch

    path = tmp_path / "w.pt"
    state = models.build(models.make_spec("mobilevit_xxs")).state_dict()
    torch.save(state, path)
    spec = models.make_spec("mobilevit_xxs", weights=path)
    before = key(spec)
    assert key(spec) == before
    state["classifier.fc.bias"] += 1
    torch.save(state, path)
    assert None not in (before, key(spec)) and key(spec) != before


# Programs with whole numbers, and those that take images


def test_whole_numbers_are_emulated_again_where_they_are_needed(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "kept", GB)
    options = formats.options("onnx", precision="int8-fast")
    made, taken = (
        Builder(SPEC, wish=calibration.Wish(2), shelf=shelf).export(
            "onnx", tmp_path / name, options
        )
        for name in ("a.onnx", "b.onnx")
    )
    assert taken.kept and made.emulation is not None and taken.emulation is None
    assert taken.artifact.quantized == made.artifact.quantized is not None
    builders = [Builder(SPEC, wish=calibration.Wish(2)) for _ in range(2)]
    one, other = (b.sensitivity(e, 20.0) for b, e in zip(builders, (made, taken), strict=True))
    assert one is not None and one == other


def test_a_program_that_takes_images_is_kept_with_its_twin(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "kept", GB)
    options = formats.options("coreml", {"image_input": True})
    made, taken = (
        Builder(SPEC, shelf=shelf).export("coreml", tmp_path / name / "a.mlpackage", options)
        for name in ("made", "taken")
    )
    assert taken.kept and made.twin is not None and taken.twin is not None
    assert taken.twin.path == tmp_path / "taken" / "a-tensor.mlpackage"
    assert formats.read(taken.path) == made.artifact == taken.artifact
    assert formats.read(taken.twin.path) == made.twin.artifact == taken.twin.artifact
    assert taken.parity == made.parity and taken.twin.parity == made.twin.parity
    _damage(next(shelf.folder.iterdir()) / "twin", "parity.json")
    with pytest.raises(Damaged), shelf.taken(next(shelf.folder.iterdir()).name):
        pass


# From the command line


@given(st.floats(0, 9999).map(lambda x: round(x, 2)), st.sampled_from(["", "K", "m", "G", "T"]))
def test_sizes_are_read(number: float, unit: str) -> None:
    scale = {"": 1, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}[unit.upper()]
    assert kept_exports.read_size(f"{number} {unit}B") == int(number * scale)
    assert kept_exports.read_size(f"{number}{unit}") == int(number * scale)


@given(st.text(max_size=12))
def test_other_text_is_no_size_or_a_size(text: str) -> None:
    try:
        assert kept_exports.read_size(text) >= 0
    except UsageError as error:
        assert "is no size" in error.message


NETWORK = ("mobilevit_xxs", "--model-arg", "depths=1,1,1", "--image-size", "64")


def test_the_commands_from_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(kept_exports.FOLDER, str(tmp_path / "kept"))
    monkeypatch.setenv(kept_exports.SIZE, "500MB")

    def run(*arguments: str, status: int = 0) -> str:
        done = started(*arguments, cwd=tmp_path)
        assert done.returncode == status, done.stderr
        return done.stdout + done.stderr

    export_it = ("export", "yardstick", "-o", "a.onnx")
    assert "export to onnx" in run(*export_it)
    again = run(*export_it)
    assert "export to" not in again and "was made and verified before" in again
    assert run("cache", "path").strip() == str(tmp_path / "kept")
    listed = run("cache", "list")
    assert "yardstick, onnx, fp32" in listed and "1 export, " in listed
    assert "of at most 500 MB" in listed
    assert '"network": "yardstick"' in run("cache", "--json")
    assert "'clear' prints no JSON" in run("cache", "clear", "--json", status=2)
    assert run("cache", "clear").startswith("Removed 1 export (")
    assert "0 exports" in run("cache")
    assert "'much' is no size" in run(*export_it, "--cache-size", "much", status=2)


def test_a_second_run_exports_nothing(
    warm: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(kept_exports.FOLDER, str(tmp_path / "kept"))
    monkeypatch.setenv(kept_exports.SIZE, "500MB")
    short = ("--warmup", "3", "--iterations", "6", "--sessions", "1", "--no-breakdown")

    def run(*arguments: str) -> str:
        done = warm.mvdeploy("bench", *arguments, *short, "-o", "out", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stderr

    assert "export to onnx" in run(*NETWORK)
    again = run(*NETWORK)
    assert "is taken" in again and "export to" not in again and "verify" not in again
    assert "export to onnx" in run(*NETWORK, "--no-cache")
    judged = sorted((tmp_path / "out").glob("*/cases/*/device_parity.json"))
    assert len(judged) == 3
    assert len({path.read_text() for path in judged}) == 1
    assert len({p.read_text() for p in (tmp_path / "out").glob("*/cases/*/parity.json")}) == 1


@pytest.mark.parametrize("name", ["", ".", "..", "../a.onnx", "/a.onnx", "b/a.onnx", "a.onnx/"])
def test_a_record_names_files_of_its_folder_only(name: str) -> None:
    assert not kept_exports._in_its_folder(name)
    assert kept_exports._in_its_folder("a..onnx")
