from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mvdeploy import formats
from mvdeploy.errors import UsageError
from mvdeploy.formats import Options, executorch, onnx
from mvdeploy.records import codec


@pytest.fixture
def copied(exported, tmp_path: Path) -> Path:
    """A copy of an export that may be spoilt."""
    small = exported()
    for path in (small.path, formats.manifest_path(small.path)):
        shutil.copy(path, tmp_path)
    return tmp_path / small.path.name


def test_a_manifest_is_read_as_it_was_written(exported, copied: Path) -> None:
    assert formats.read(copied) == exported().artifact


def test_a_changed_file_is_refused(copied: Path) -> None:
    data = bytearray(copied.read_bytes())
    data[len(data) // 2] ^= 1
    copied.write_bytes(data)
    with pytest.raises(UsageError, match=r"is not the file that .*\.onnx\.json describes"):
        formats.read(copied)


def test_a_file_without_its_manifest_is_refused(copied: Path) -> None:
    formats.manifest_path(copied).unlink()
    with pytest.raises(UsageError, match=r"has no manifest \(.*\.onnx\.json\)"):
        formats.read(copied)


def test_a_missing_file_is_refused(copied: Path, tmp_path: Path) -> None:
    copied.unlink()
    with pytest.raises(UsageError, match="There is no file"):
        formats.read(copied)
    with pytest.raises(UsageError, match="has no manifest"):
        formats.read(tmp_path)  # a folder, as packages of Core ML are


def test_a_broken_manifest_is_refused(copied: Path) -> None:
    manifest = formats.manifest_path(copied)
    manifest.write_text(manifest.read_text()[:-100])
    with pytest.raises(codec.RecordError, match="is not valid JSON"):
        formats.read(copied)


def test_formats_are_known_without_importing_them() -> None:
    assert formats.names() == ("coreml", "executorch", "litert", "onnx", "pytorch")
    formats.check("onnx")
    formats.check("pytorch", "fp32")
    formats.check("coreml", "fp16")


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
        formats.check(*asked)


def test_an_unknown_format_has_no_suffix() -> None:
    with pytest.raises(UsageError, match="There is no format 'tflite'"):
        formats.suffix("tflite")


def test_names_of_files() -> None:
    assert formats.suffix("onnx") == ".onnx"
    assert formats.suffix("pytorch") == ".pt2"
    assert formats.suffix("executorch") == ".pte"
    assert formats.manifest_path(Path("a/b.onnx")) == Path("a/b.onnx.json")


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
        formats.options(name, own)
    having = " or ".join(("executorch", *(("litert",) if "full_delegation" in own else ())))
    assert caught.value.remedy == f"Leave it out, or use --format {having}."


def test_every_option_is_declared_with_its_flag_and_its_formats() -> None:
    flags = {one.option.flag: one.formats for one in formats.declared()}
    assert flags["--opset"] == ("onnx",)
    assert flags["--backend"] == ("executorch",)
    assert all(one.option.name and one.option.help for one in formats.declared())
    for name in formats.names():
        fields = getattr(formats.complete(name, Options()).own, "__dataclass_fields__", {})
        declared = {one.option.name for one in formats.declared() if name in one.formats}
        assert declared == set(fields)


def test_a_file_like_one_that_there_is_has_its_options(exported) -> None:
    artifact = exported("executorch").artifact
    assert formats.options_of(artifact).own == executorch.Options(backend="xnnpack")
    assert formats.options_of(exported().artifact) == Options("fp32", own=onnx.Options())


def test_a_format_says_how_the_network_is_best_written_for_it() -> None:
    assert formats.formulation("onnx", Options()) is None
    assert formats.formulation("executorch", Options()) == "delegable"
    assert (
        formats.formulation("executorch", formats.options("executorch", {"backend": "portable"}))
        == "plain"
    )
    assert formats.formulation("executorch", Options(formulation="plain")) == "plain"
    assert formats.formulation("onnx", Options(formulation="delegable")) == "delegable"
