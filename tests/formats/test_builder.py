"""A file appears under its name only when it was verified; whatever fails leaves no trace."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from torch import Tensor, nn

from mvdeploy import formats, models
from mvdeploy.errors import CheckFailed, EngineError, UsageError
from mvdeploy.formats import onnx as exporter
from mvdeploy.models.preprocess import sample_photograph
from mvdeploy.pipeline.export import Builder, staged


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def old(tmp_path: Path) -> dict[str, bytes]:
    """What was there before."""
    (tmp_path / "a.onnx").write_bytes(b"old model")
    (tmp_path / "a.onnx.json").write_bytes(b"old manifest")
    return tree(tmp_path)


@pytest.fixture
def builder(exported, monkeypatch: pytest.MonkeyPatch):
    """Return a function that makes a builder whose exporter writes a finished graph, changed."""
    small = exported()

    def write(given: formats.Subject, path: Path, options: formats.Options):
        model = onnx.load(small.path)
        change[0](model)
        onnx.save(model, path)
        return formats.Written(small.artifact.operators)

    change: list[Callable[[onnx.ModelProto], None]] = [lambda model: None]
    monkeypatch.setattr(exporter, "write", write)

    def make(changed: Callable[[onnx.ModelProto], None] = lambda model: None) -> Builder:
        change[0] = changed
        return Builder(small.spec, sample_photograph())

    return make


def test_a_verified_export_replaces_the_old_one(
    builder, tmp_path: Path, old: dict[str, bytes]
) -> None:
    done = builder().export("onnx", tmp_path / "a.onnx")
    assert done.parity.passed
    assert set(tree(tmp_path)) == set(old)
    assert formats.read(tmp_path / "a.onnx") == done.artifact
    assert {p.name for p in tmp_path.iterdir()} == set(old)


def test_the_folder_is_made(builder, tmp_path: Path) -> None:
    builder().export("onnx", tmp_path / "new" / "folder" / "a.onnx")
    assert set(tree(tmp_path)) == {"new/folder/a.onnx", "new/folder/a.onnx.json"}


def wrong_axis(model: onnx.ModelProto) -> None:
    for node in model.graph.node:
        if node.op_type == "Softmax":
            node.attribute[0].i = 2


def interrupted(model: onnx.ModelProto) -> None:
    raise KeyboardInterrupt


def failing(model: onnx.ModelProto) -> None:
    raise EngineError("The exporter fell.", "Catch it.")


def no_graph(model: onnx.ModelProto) -> None:
    model.ClearField("graph")


def nan(model: onnx.ModelProto) -> None:
    tensor = next(t for t in model.graph.initializer if t.name == "classifier.fc.bias")
    values = onnx.numpy_helper.to_array(tensor) * float("nan")
    tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (wrong_axis, CheckFailed),
        (nan, CheckFailed),
        (failing, EngineError),
        (no_graph, EngineError),
        (interrupted, KeyboardInterrupt),
    ],
)
def test_whatever_fails_leaves_the_old_file_and_nothing_else(
    builder, tmp_path: Path, old: dict[str, bytes], fault, error: type[BaseException]
) -> None:
    with pytest.raises(error):
        builder(fault).export("onnx", tmp_path / "a.onnx")
    assert tree(tmp_path) == old
    assert {p.name for p in tmp_path.iterdir()} == set(old)


def test_a_failed_export_makes_no_file(builder, tmp_path: Path) -> None:
    with pytest.raises(CheckFailed, match=r"mobilevit_xxs 4x2,2,2 in onnx does not compute"):
        builder(wrong_axis).export("onnx", tmp_path / "a.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_broken_network_leaves_nothing(
    builder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parity is against the network before any pass: a pass that breaks it is seen."""
    from mvdeploy import passes

    real = passes.apply

    def breaking(network: nn.Module, example: Tensor, names: tuple[str, ...]):
        result, reports = real(network, example, names)
        result.classifier.fc.bias.data.zero_()  # type: ignore[union-attr, operator]
        return result, reports

    monkeypatch.undo()
    monkeypatch.setattr(passes, "apply", breaking)
    small = models.make_spec("mobilevit_xxs", image_size=(64, 64))
    with pytest.raises(CheckFailed, match="does not compute what the PyTorch network computes"):
        Builder(small, sample_photograph()).export("pytorch", tmp_path / "a.pt2")
    assert list(tmp_path.iterdir()) == []


def test_unknown_formats_and_images_are_refused_before_any_work(builder, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="There is no format 'tflite'"):
        builder().export("tflite", tmp_path / "a.tflite")
    with pytest.raises(UsageError, match="There is no file"):
        Builder(models.make_spec("mobilevit_xxs"), tmp_path / "none.jpg")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_a_usage_error(builder, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"a\.onnx cannot be written"):
        builder().export("onnx", tmp_path / "file" / "a.onnx")
    assert set(tree(tmp_path)) == {"file"}


def write_both(part: Path) -> None:
    part.write_bytes(b"new model")
    formats.manifest_path(part).write_bytes(b"new manifest")


def test_staging_shows_nothing_until_the_end(tmp_path: Path, old: dict[str, bytes]) -> None:
    path = tmp_path / "a.onnx"
    with staged(path) as part:
        write_both(part)
        assert part.name == path.name
        assert path.read_bytes() == b"old model"
    assert tree(tmp_path) == {"a.onnx": b"new model", "a.onnx.json": b"new manifest"}
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_staging_leaves_the_old_files_when_the_work_fails(
    tmp_path: Path, old: dict[str, bytes], error: type[BaseException]
) -> None:
    with pytest.raises(error), staged(tmp_path / "a.onnx") as part:
        write_both(part)
        raise error
    assert tree(tmp_path) == old
    assert len(list(tmp_path.iterdir())) == 2


def test_between_the_two_moves_the_new_file_is_refused(
    exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the machine stops after the first move, the old manifest does not vouch for the file."""
    small = exported()
    path = tmp_path / "a.onnx"
    path.write_bytes(b"old")
    manifest = formats.manifest_path(small.path).read_text()
    formats.manifest_path(path).write_text(manifest)
    real, moves = Path.replace, []

    def once(source: Path, target: Path) -> Path:
        moves.append(target.name)
        if len(moves) > 1:
            raise OSError("the machine stops")
        return real(source, target)

    monkeypatch.setattr(Path, "replace", once)
    with pytest.raises(UsageError, match="the machine stops"), staged(path) as part:
        write_both(part)
    assert moves == ["a.onnx", "a.onnx.json"]
    with pytest.raises(UsageError, match="is not the file that"):
        formats.read(path)
