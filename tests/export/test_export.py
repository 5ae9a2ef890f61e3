from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mvdeploy import export
from mvdeploy.errors import UsageError
from mvdeploy.export import Options, executorch, onnx
from mvdeploy.records import codec


@pytest.fixture
def copied(exported, tmp_path: Path) -> Path:
    """A copy of an export that may be spoilt."""
    small = exported()
    for path in (small.path, export.manifest_path(small.path)):
        shutil.copy(path, tmp_path)
    return tmp_path / small.path.name


def test_a_manifest_is_read_as_it_was_written(exported, copied: Path) -> None:
    assert export.read(copied) == exported().artifact


def test_a_changed_file_is_refused(copied: Path) -> None:
    data = bytearray(copied.read_bytes())
    data[len(data) // 2] ^= 1
    copied.write_bytes(data)
    with pytest.raises(UsageError, match=r"is not the file that .*\.onnx\.json describes"):
        export.read(copied)


def test_a_file_without_its_manifest_is_refused(copied: Path) -> None:
    export.manifest_path(copied).unlink()
    with pytest.raises(UsageError, match=r"has no manifest \(.*\.onnx\.json\)"):
        export.read(copied)


def test_a_missing_file_is_refused(copied: Path, tmp_path: Path) -> None:
    copied.unlink()
    with pytest.raises(UsageError, match="There is no file"):
        export.read(copied)
    with pytest.raises(UsageError, match="has no manifest"):
        export.read(tmp_path)  # a folder, as packages of Core ML are


def test_a_broken_manifest_is_refused(copied: Path) -> None:
    manifest = export.manifest_path(copied)
    manifest.write_text(manifest.read_text()[:-100])
    with pytest.raises(codec.RecordError, match="is not valid JSON"):
        export.read(copied)


def test_formats_are_known_without_importing_them() -> None:
    assert export.names() == ("coreml", "executorch", "litert", "onnx", "pytorch")
    export.check("onnx")
    export.check("pytorch", "fp32")
    export.check("coreml", "fp16")


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (("onxx",), "There is no format 'onxx'. Did you mean 'onnx'"),
        (("",), "There is no format ''"),
        (("onnx", "fp64"), "There is no precision 'fp64'. Did you mean 'fp16'"),
    ],
)
def test_what_does_not_exist_is_refused(asked: tuple[str, ...], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        export.check(*asked)


def test_an_unknown_format_has_no_suffix() -> None:
    with pytest.raises(UsageError, match="There is no format 'tflite'"):
        export.suffix("tflite")


def test_names_of_files() -> None:
    assert export.suffix("onnx") == ".onnx"
    assert export.suffix("pytorch") == ".pt2"
    assert export.suffix("executorch") == ".pte"
    assert export.manifest_path(Path("a/b.onnx")) == Path("a/b.onnx.json")


@pytest.mark.parametrize("name", ["onnx", "pytorch"])
@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({"backend": "xnnpack"}, "has no --backend.*"),
        ({"full_delegation": True}, "has no --require-full-delegation"),
    ],
)
def test_formats_without_delegates_refuse_their_options(name: str, own, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        export.options(name, own)
    having = " or ".join(("executorch", *(("litert",) if "full_delegation" in own else ())))
    assert caught.value.remedy == f"Leave it out, or use --format {having}."


def test_every_option_is_declared_with_its_flag_and_its_formats() -> None:
    flags = {one.option.flag: one.formats for one in export.declared()}
    assert flags["--opset"] == ("onnx",)
    assert flags["--backend"] == ("executorch",)
    assert all(one.option.name and one.option.help for one in export.declared())
    for name in export.names():
        fields = getattr(export.complete(name, Options()).own, "__dataclass_fields__", {})
        declared = {one.option.name for one in export.declared() if name in one.formats}
        assert declared == set(fields)


def test_a_file_like_one_that_there_is_has_its_options(exported) -> None:
    artifact = exported("executorch").artifact
    assert export.options_of(artifact).own == executorch.Options(backend="xnnpack")
    assert export.options_of(exported().artifact) == Options("fp32", own=onnx.Options())


def test_a_format_says_how_the_network_is_best_written_for_it() -> None:
    assert export.formulation("onnx", Options()) is None
    assert export.formulation("executorch", Options()) == "delegable"
    assert (
        export.formulation("executorch", export.options("executorch", {"backend": "portable"}))
        == "plain"
    )
    assert export.formulation("executorch", Options(formulation="plain")) == "plain"
    assert export.formulation("onnx", Options(formulation="delegable")) == "delegable"
