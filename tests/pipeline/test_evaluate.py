"""Evaluations of networks that are known to be right or wrong, here and by a runner."""

from __future__ import annotations

import csv
import dataclasses
import shutil
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mvdeploy import devices, formats, links, models
from mvdeploy.errors import DeviceUnavailable, EngineError, UsageError
from mvdeploy.links.families.host import HostLink
from mvdeploy.pipeline.evaluate import Evaluated, evaluate
from mvdeploy.pipeline.evaluation import Request, programs
from mvdeploy.pipeline.export import Builder
from mvdeploy.records import Evaluation, JobResult, codec
from mvdeploy.records.evaluation import EvaluationShard
from tests import colours

HOST = devices.get("host", ())


@pytest.fixture(scope="module")
def nets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A network that is right and one that always says green, and files of both."""
    folder = tmp_path_factory.mktemp("nets")
    right = models.make_spec(colours.network(folder))
    green = models.make_spec(colours.network(folder, favoured=2, name="green"))
    files = {}
    for name, spec in (("right", right), ("green", green)):
        for format_name in ("onnx", "executorch") if name == "right" else ("onnx",):
            path = folder / f"{name}{formats.suffix(format_name)}"
            Builder(spec).export(format_name, path)
            files[f"{name}.{format_name}"] = path
    return {"right": right, "green": green, **files}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return colours.folders(tmp_path_factory.mktemp("data") / "images")


@pytest.fixture
def data(images: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(images, tmp_path / "data"))


def run(*subjects: Any, data: Path, **asked: Any) -> Evaluated:
    return evaluate(Request(subjects, data, asked.pop("device", HOST), **asked))


def test_a_network_that_is_right_is_right(nets: Any, images: Path) -> None:
    found = run(nets["right"], data=images).evaluation
    (subject,) = found.subjects
    assert (found.images, found.found, found.layout) == (24, 24, "folders")
    assert [(m.name, m.hits) for m in subject.metrics] == [("top1", 24), ("top5", 24)]
    assert subject.confusions == () and subject.agreement is None
    assert subject.agreement_unknown == "" and subject.engine.startswith("PyTorch")
    assert found.titles["2"] == "green" and not found.left_out
    assert subject.inference_ns > 0 and found.decode_ns > 0


def test_a_file_is_held_against_another_on_the_same_images(nets: Any, images: Path) -> None:
    found = run(nets["right.onnx"], nets["green.onnx"], nets["right"], data=images).evaluation
    first, second, third = found.subjects
    assert [one.metrics[0].hits for one in found.subjects] == [24, 4, 24]
    for one in (first, second):
        assert one.agreement is not None and one.agreement.same == 24
    assert third.agreement is None
    pairs = {(p.b, p.metric): (p.both, p.only_a, p.only_b, p.neither) for p in found.pairs}
    assert pairs[1, "top1"] == (4, 20, 0, 0) and pairs[2, "top1"] == (24, 0, 0, 0)
    assert [(p.b, p.agreement.same) for p in found.agreements] == [(1, 4), (2, 24)]
    assert {(c.said, c.count) for c in second.confusions} == {(2, 4)}
    assert [c.number for c in second.classes][-1] == 2
    assert (first.format, second.format, third.format) == ("onnx", "onnx", "")


def test_every_program_that_can_be_run_says_the_same(nets: Any, images: Path) -> None:
    found = run(nets["right.executorch"], data=images, limit=12).evaluation
    assert found.subjects[0].metrics[0].hits == 12
    assert (found.images, found.found) == (12, 24)


@pytest.mark.parametrize("batch", [5, None])
def test_files_that_take_several_images(
    nets: Any, images: Path, tmp_path: Path, batch: int | None
) -> None:
    spec = nets["right"].with_batch(batch or 1)
    options = formats.options("onnx", dynamic_batch=batch is None)
    Builder(spec).export("onnx", tmp_path / "a.onnx", options)
    found = run(tmp_path / "a.onnx", data=images).evaluation
    assert found.subjects[0].metrics[0].hits == 24


# What cannot be used


def test_what_is_damaged_is_named_and_the_rest_counts(
    nets: Any, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mvdeploy.models.preprocess.MOST_PIXELS", 100_000)
    (data / "red" / "0.png").write_bytes(b"")
    (data / "red" / "1.png").write_bytes(b"no image at all")
    whole = (data / "green" / "0.png").read_bytes()
    (data / "green" / "0.png").write_bytes(whole[: len(whole) // 2])
    (data / "red" / "notes.txt").write_text("hello")
    (data / "zebra").mkdir()
    Image.new("RGB", (10, 3_000)).save(data / "cyan" / "0.png")
    found = run(nets["right.onnx"], data=data).evaluation
    assert found.images == 20
    assert found.subjects[0].metrics[0].hits == 20
    left = {one.what: (one.kind, one.reason) for one in found.left_out}
    assert left["red/0.png"] == ("damaged", "it is empty")
    assert left["red/1.png"] == ("damaged", "of no kind that Pillow knows")
    assert left["green/0.png"][0] == "damaged" and "truncated" in left["green/0.png"][1]
    assert left["cyan/0.png"][1].startswith("The image is too long and thin")
    assert left["red/notes.txt"][0] == "no_image"
    assert left["zebra/"][0] == "class_outside"
    assert len(left) == 6


def test_a_bomb_is_not_decoded(nets: Any, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mvdeploy.models.feeding import pictures

    monkeypatch.setattr(pictures, "_PIXELS", 40 * 48)
    Image.new("L", (1000, 1000)).save(data / "red" / "0.png")
    found = run(nets["right"], data=data).evaluation
    (left,) = found.left_out
    assert left.reason == "it has more than the 1,920 pixels that are decoded"


def test_not_one_image_can_be_used(nets: Any, data: Path) -> None:
    for file in data.rglob("*.png"):
        file.write_bytes(b"")
    with pytest.raises(UsageError, match=r"Not one of the 24 images .* \(blue/0.png: it is empty"):
        run(nets["right"], data=data)


def test_what_is_no_number_counts_as_wrong(nets: Any, images: Path, monkeypatch: Any) -> None:
    plain = programs.FileProgram.run

    def broken(self: Any, pictures: Any) -> Any:
        outputs = plain(self, pictures)
        outputs[0]["logits"][:] = np.nan
        return outputs

    monkeypatch.setattr(programs.FileProgram, "run", broken)
    found = run(nets["right.onnx"], data=images).evaluation
    (subject,) = found.subjects
    assert (subject.not_finite, subject.metrics[0].hits, found.images) == (24, 0, 24)
    assert subject.confusions[0].said == -1


@pytest.mark.parametrize("kind", ["EXIF", "L", "P", "RGBA", "CMYK", "LA", "1", "I;16"])
def test_every_kind_of_image_counts(nets: Any, tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "data" / "red"
    folder.mkdir(parents=True)
    image = colours.image("red")
    if kind == "EXIF":
        exif = Image.Exif()
        exif[0x0112] = 6
        image.save(folder / "a.jpg", exif=exif)
    elif kind == "I;16":
        Image.fromarray(np.full((9, 9), 30_000, np.uint16)).save(folder / "a.png")
    else:
        image.convert(kind).save(folder / ("a.tif" if kind == "CMYK" else "a.png"))
    found = run(nets["right"], data=tmp_path / "data").evaluation
    assert found.images == 1 and not found.left_out


# Files whose network is not known


@pytest.fixture
def bare(nets: Any, tmp_path: Path) -> Path:
    """A file without its manifest."""
    return Path(shutil.copy(nets["right.onnx"], tmp_path / "bare.onnx"))


def test_a_file_without_a_manifest(nets: Any, images: Path, bare: Path) -> None:
    with pytest.raises(UsageError, match="Of the task 'tensors' it is not known") as caught:
        run(bare, data=images)
    assert "--task" in caught.value.remedy
    (subject,) = run(bare, data=images, task="classify").evaluation.subjects
    assert subject.metrics[0].hits == 24
    assert "does not say which network" in subject.agreement_unknown
    found = run(nets["right.onnx"], bare, data=images).evaluation
    assert [one.metrics[0].hits for one in found.subjects] == [24, 24]
    assert found.notes == (
        "bare.onnx is taken for a network of the task of right.onnx, and is fed like it.",
    )
    named = run(bare, data=images, network=nets["right"]).evaluation.subjects[0]
    assert named.agreement is not None and named.agreement.same == 24


def test_a_network_that_cannot_be_built_is_said_so(nets: Any, images: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copy(nets["right.onnx"], tmp_path / "moved.onnx"))
    artifact = dataclasses.replace(formats.read(nets["right.onnx"]), sources={}, path="moved.onnx")
    gone = dataclasses.replace(artifact.spec, model=str(tmp_path / "gone.py:make"))
    formats.save_manifest(dataclasses.replace(artifact, spec=gone), copy, "")
    (subject,) = run(copy, data=images).evaluation.subjects
    assert subject.agreement is None
    assert "is Python code that a manifest names" in subject.agreement_unknown
    with pytest.raises(UsageError, match="There is no file"):
        run(copy, data=images, model=str(tmp_path / "gone.py:make"))
    asked = run(nets["right.onnx"], data=images, with_pytorch=False).evaluation.subjects[0]
    assert (asked.agreement, asked.agreement_unknown) == (None, "it was not asked for")


def test_subjects_that_do_different_things(nets: Any, images: Path, exported: Any) -> None:
    with pytest.raises(UsageError, match=r"is for 'classify' with 6 classes, and .* 1000"):
        run(nets["right"], exported("onnx").path, data=images)


def test_two_files_of_one_name_are_told_apart(nets: Any, images: Path) -> None:
    found = run(nets["right.onnx"], nets["right.onnx"], data=images, limit=6).evaluation
    assert [one.name for one in found.subjects] == ["right.onnx", "right.onnx (2)"]


# What is kept


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_table_of_what_is_said_of_each_image(nets: Any, data: Path, tmp_path: Path) -> None:
    (data / "red" / "0.png").rename(data / "red" / "=0.png")
    (data / "red" / "1.png").write_bytes(b"")
    run(nets["right.onnx"], nets["green"], data=data, output=tmp_path / "out.csv")
    table = rows(tmp_path / "out.csv")
    assert len(table) == 24
    assert table[0]["path"] == "blue/0.png" and table[0]["truth"] == "0"
    assert table[0]["right.onnx says"].startswith("[0, ")
    assert {row[f"{nets['green'].label} says"][:3] for row in table} == {"[2,", ""}
    lost = next(row for row in table if row["path"] == "red/1.png")
    assert lost["left out"] == "damaged it is empty"
    assert not (tmp_path / "conditions.json").exists()


class Cut(Exception):
    """Ends an evaluation in its middle."""


def test_an_evaluation_that_was_cut_goes_on(
    nets: Any, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mvdeploy.pipeline.evaluate._SHARD", 10)
    plain, left = programs.FileProgram.run, [13]

    def cut(self: Any, pictures: Any) -> Any:
        left[0] -= len(pictures)
        if left[0] < 0:
            raise Cut
        return plain(self, pictures)

    out = tmp_path / "out"
    asked = {"data": data, "output": out}
    monkeypatch.setattr(programs.FileProgram, "run", cut)
    with pytest.raises(Cut):
        run(nets["right.onnx"], **asked)
    assert sorted(p.name for p in (out / "shards").iterdir()) == ["00000.json"]
    assert not (out / "predictions.csv").exists()
    left[0] = 14  # as many as are left
    found = run(nets["right.onnx"], **asked)
    assert (found.resumed, found.changed) == (10, "")
    assert found.evaluation.subjects[0].metrics[0].hits == 24
    assert len(rows(out / "predictions.csv")) == 24
    saved = codec.load(Evaluation, out / "evaluation.json")
    assert saved == found.evaluation
    again = run(nets["right.onnx"], **asked)
    assert again.resumed == 24
    assert again.evaluation.subjects[0].agreement == saved.subjects[0].agreement


def test_a_damaged_shard_is_made_again(nets: Any, data: Path, tmp_path: Path) -> None:
    asked = {"data": data, "output": tmp_path / "out"}
    run(nets["right"], **asked)
    file = tmp_path / "out" / "shards" / "00000.json"
    file.write_text(file.read_text().replace('"number": 3', '"number": 4'))
    assert run(nets["right"], **asked).resumed == 0
    assert run(nets["right"], **asked).resumed == 24
    shard = codec.load(EvaluationShard, file)
    codec.save(dataclasses.replace(shard, of="another"), file)
    assert run(nets["right"], **asked).resumed == 0


def test_what_was_made_under_other_conditions_is_not_taken(
    nets: Any, data: Path, tmp_path: Path
) -> None:
    asked: dict[str, Any] = {"data": data, "output": tmp_path / "out"}
    assert run(nets["right"], **asked).changed == ""
    found = run(nets["right"], limit=6, **asked)
    assert (found.changed, found.resumed) == ("the data set, the choice of images", 0)
    assert run(nets["green"], limit=6, **asked).changed == "a file or network"
    file = data / "blue" / "0.png"
    file.write_bytes(file.read_bytes() + b"x")
    assert run(nets["green"], **asked).changed.startswith("the data set")
    (tmp_path / "out" / "conditions.json").write_text("{")
    assert run(nets["green"], **asked).changed == "what is known of it"


def test_a_folder_of_something_else_is_left_alone(nets: Any, data: Path) -> None:
    with pytest.raises(UsageError, match="is there, and holds no evaluation"):
        run(nets["right"], data=data, output=data)
    assert len(list(data.rglob("*.png"))) == 24


# By a runner


@pytest.fixture
def link() -> Iterator[links.Link]:
    with links.get(HOST) as link:
        yield link


@pytest.mark.slow
@pytest.mark.parametrize("name", ["right.onnx", "right.executorch"])
def test_a_runner_says_the_same_of_every_picture(
    nets: Any, link: links.Link, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    from mvdeploy import engines

    artifact = formats.read(nets[name])
    pictures = [np.random.default_rng(n).random((1, 3, 32, 32), dtype=np.float32) for n in range(7)]
    monkeypatch.setattr(programs, "_AT_ONCE", 3)
    engine = engines.for_format(artifact.format, links.engines_of(HOST))
    there = programs.DeviceProgram(nets[name], artifact, link, engine)
    assert there.at_once == 3
    found = there.run(pictures)
    assert there.engine.split()[0] == engine
    here = programs.FileProgram(nets[name], artifact, 1).run(pictures)
    assert len(found) == len(here) == 7
    for one, other in zip(found, here, strict=True):
        np.testing.assert_allclose(one["logits"], other["logits"], rtol=1e-5, atol=1e-5)


class Board(HostLink):
    """This machine as a device: files are copied there, and the cable may be pulled."""

    def __init__(self, folder: Path, jobs: int = 1000) -> None:
        super().__init__(BOARD)
        self.folder, self.jobs = folder, jobs
        folder.mkdir(exist_ok=True)

    def upload(self, files: Sequence[Path]) -> dict[Path, str]:
        places = {path: self.folder / f"{uuid.uuid4().hex}{path.suffix}" for path in files}
        return {path: str(shutil.copy(path, place)) for path, place in places.items()}

    def discard(self, places: Sequence[str]) -> None:
        for place in places:
            Path(place).unlink()

    def run(self, *arguments: Any, **options: Any) -> JobResult:
        self.jobs -= 1
        if self.jobs < 0:
            raise DeviceUnavailable("The cable was pulled.", "Put it in.")
        return super().run(*arguments, **options)


BOARD = dataclasses.replace(HOST, name="board", title="A board", link="ssh")


@pytest.mark.slow
def test_an_evaluation_on_a_device_goes_on_after_a_cut(
    nets: Any, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    board = Board(tmp_path / "board", jobs=3)
    monkeypatch.setattr(links, "get", lambda *_: board)
    monkeypatch.setattr(programs, "_AT_ONCE", 5)
    monkeypatch.setattr("mvdeploy.pipeline.evaluate._SHARD_ON_DEVICE", 10)
    asked: dict[str, Any] = {"data": images, "device": BOARD, "output": tmp_path / "out"}
    with pytest.raises(DeviceUnavailable, match="cable"):
        run(nets["right.onnx"], **asked)
    for left in board.folder.glob("*.npy"):  # a link that is closed removes what was sent
        left.unlink()
    board.jobs = 3  # those of 14 images
    found = run(nets["right.onnx"], **asked)
    (subject,) = found.evaluation.subjects
    assert (found.resumed, found.evaluation.images) == (10, 24)
    assert (subject.device, subject.metrics[0].hits) == ("A board", 24)
    assert subject.engine.startswith("onnxruntime 1.")
    assert subject.agreement is not None and subject.agreement.same == 24
    # The model is left to the end; what was fed is not.
    assert not list(board.folder.glob("*.npy"))
    elsewhere = run(nets["right.onnx"], data=images, output=tmp_path / "out")
    assert (elsewhere.changed, elsewhere.resumed) == ("the device", 0)


def test_sessions_of_one_job_fit_into_memory(nets: Any, link: links.Link) -> None:
    artifact = dataclasses.replace(formats.read(nets["right.onnx"]), size_bytes=200_000_000)
    assert programs.DeviceProgram(nets["right.onnx"], artifact, link, "onnxruntime").at_once == 1


def test_a_network_is_not_run_on_a_device(nets: Any, images: Path) -> None:
    with pytest.raises(UsageError, match="runs exported files"):
        run(nets["right"], data=images, device=devices.get("pixel4", ()))


def test_outputs_that_are_missing(nets: Any, link: links.Link, tmp_path: Path) -> None:
    program = programs.DeviceProgram(
        nets["right.onnx"], formats.read(nets["right.onnx"]), link, "onnxruntime"
    )
    with pytest.raises(EngineError, match="left no outputs"):
        program._fetched({}, tmp_path)
