"""What files of others say of themselves."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto as T
from onnx import helper, numpy_helper
from torch import nn

from mvdeploy import formats
from mvdeploy.engines import SessionRequest, pytorch
from mvdeploy.errors import MvdeployError, UsageError
from mvdeploy.models import macs
from mvdeploy.pipeline.files import opened
from mvdeploy.records import Artifact, FileInputs
from mvdeploy.records.artifact import UNPLACED
from mvdeploy.records.tensor import ANY_SHAPE
from tests import others as makers
from tests.others import MACS, convolution, model, value

Others = Callable[[str], Path]


def read(path: Path, **shapes: tuple[int, ...]) -> Artifact:
    return formats.read_file(path, FileInputs(shapes))


def written(made: onnx.ModelProto, folder: Path) -> Path:
    onnx.save(made, folder / "model.onnx")
    return folder / "model.onnx"


def modules(artifact: Artifact) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for operator in artifact.operators:
        found.setdefault(operator.module, set()).add(operator.type)
    return found


@pytest.mark.parametrize(
    ("name", "taken", "network"),
    [
        ("plain", (1, 3, 32, 32), (1, 3, 32, 32)),
        ("initialisers_as_inputs", (1, 3, 32, 32), (1, 3, 32, 32)),
        ("free_batch", ("N", 3, 32, 32), (1, 3, 32, 32)),
        ("uint8_nhwc", (1, 32, 32, 3), (1, 3, 32, 32)),
        ("half", (1, 3, 32, 32), (1, 3, 32, 32)),
        ("outer", (1, 3, 32, 32), (1, 3, 32, 32)),
    ],
)
def test_inputs_of_onnx_files(
    others: Others, name: str, taken: tuple[int | str, ...], network: tuple[int, ...]
) -> None:
    artifact = read(others(f"{name}.onnx"))
    (tensor,), (fed,) = artifact.inputs, artifact.spec.inputs
    layout = "NHWC" if name == "uint8_nhwc" else "NCHW"
    assert (tensor.shape, tensor.layout) == (taken, layout)
    dtype = {"uint8_nhwc": "uint8", "half": "float16"}.get(name, "float32")
    assert (tensor.dtype, fed.dtype) == (dtype, "float32")
    assert (fed.shape, fed.layout, fed.values) == (network, "NCHW", None)
    assert [output.name for output in artifact.outputs] == ["y"]
    assert (artifact.macs, artifact.uncounted, artifact.parameters) == (MACS, (), 108)
    assert artifact.precision == ("fp16" if name == "half" else "fp32")
    assert artifact.modules == {} and modules(artifact).keys() == {UNPLACED}
    assert artifact.read_from and not artifact.spec.model


def test_weights_in_another_file_belong_to_it(others: Others, tmp_path: Path) -> None:
    for name in ("outer.onnx", "outer.data"):
        shutil.copy(others("outer.onnx").with_name(name), tmp_path)
    path = tmp_path / "outer.onnx"
    artifact = read(path)
    assert artifact.data == ("outer.data",)
    assert artifact.size_bytes == path.stat().st_size + 432
    assert formats.belongs(artifact, path)
    data = bytearray((tmp_path / "outer.data").read_bytes())
    data[0] ^= 1
    (tmp_path / "outer.data").write_bytes(data)
    assert read(path).sha256 != artifact.sha256
    assert not formats.belongs(artifact, path)
    (tmp_path / "outer.data").unlink()
    with pytest.raises(UsageError, match=r"weights in the file outer\.data, which is not beside"):
        read(path)


def test_weights_that_are_cut(others: Others, tmp_path: Path) -> None:
    for name in ("outer.onnx", "outer.data"):
        shutil.copy(others("outer.onnx").with_name(name), tmp_path)
    with (tmp_path / "outer.data").open("r+b") as file:
        file.truncate(400)
    with pytest.raises(UsageError, match=r"outer\.data ends too early: it has 400 bytes, .* 432\."):
        read(tmp_path / "outer.onnx")


def test_endings_in_capitals(others: Others, tmp_path: Path) -> None:
    path = tmp_path / "PLAIN.ONNX"
    shutil.copy(others("plain.onnx"), path)
    assert read(path).format == "onnx"


def test_a_pointer_instead_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 123\n")
    with pytest.raises(UsageError, match="is a pointer of Git LFS") as caught:
        read(path)
    assert "git lfs pull" in caught.value.remedy


def test_a_file_that_takes_nothing(tmp_path: Path) -> None:
    ones = numpy_helper.from_array(np.ones(3, np.float32))
    made = model([helper.make_node("Constant", [], ["y"], value=ones)], [], [value("y", (3,))])
    with pytest.raises(UsageError, match="takes no inputs"):
        read(written(made, tmp_path))


def test_macs_of_old_files_without_weights_among_their_inputs(tmp_path: Path) -> None:
    assert read(written(convolution(opset=7, ir=3), tmp_path)).macs == MACS


class Containers(nn.Module):
    """Takes a tuple, a dictionary and one by name, and returns a dictionary."""

    def forward(
        self, pair: tuple[torch.Tensor, torch.Tensor], rest: dict[str, torch.Tensor], *, by: object
    ) -> dict[str, torch.Tensor]:
        return {"sum": pair[0] + 2 * pair[1] + 4 * rest["c"], "product": pair[0] * by}  # type: ignore[operator]


def test_programs_that_take_containers(tmp_path: Path) -> None:
    a, b, c, by = (torch.full((2,), float(n)) for n in (1, 2, 3, 4))
    program = torch.export.export(Containers(), ((a, b), {"c": c}), {"by": by})
    path = tmp_path / "containers.pt2"
    torch.export.save(program, path)
    artifact = read(path)
    assert [tensor.name for tensor in artifact.inputs] == ["pair_0", "pair_1", "rest_c", "by"]
    feed = {t.name: x.numpy() for t, x in zip(artifact.inputs, (a, b, c, by), strict=True)}
    for profile in (None, tmp_path):
        session = pytorch.open_session(SessionRequest(path, feed, profile_to=profile))
        session.infer()
        assert [list(x) for x in session.outputs().values()] == [[17, 17], [4, 4]]
    assert pytorch.read_profile(artifact, session.end_profile(), 1).events
    assert opened(path).artifact.macs == 0


def test_several_inputs_are_fed_by_what_they_are(others: Others) -> None:
    artifact = formats.read_file(others("tokens.onnx"), FileInputs(values={"ids": (0, 99)}))
    ids, scale, picture = artifact.spec.inputs
    assert (ids.shape, ids.dtype, ids.values) == ((1, 5), "int64", (0, 99))
    assert (scale.shape, scale.values) == ((), (0, 1))
    assert (picture.shape, picture.layout) == ((1, 1, 16, 16), "NCHW")
    assert artifact.spec.image_size == (16, 16)


def test_all_free_sizes_are_asked_for_at_once(tmp_path: Path) -> None:
    inputs = [value("a", ("batch", "length")), value("", None), value("b", ("batch", "length"))]
    inputs[1].name = "c"
    nodes = [helper.make_node("Sum", ["a", "b", "c"], ["y"])]
    path = written(model(nodes, inputs, [value("y", None)]), tmp_path)
    with pytest.raises(UsageError) as caught:
        read(path, c=(1, 4))
    assert "--shape a=1,224 --shape b=1,224." in caught.value.remedy
    with pytest.raises(UsageError, match="does not tell the shape of its input 'c'"):
        read(path, a=(1, 4), b=(1, 4))
    # A cache may be empty; a shape that the file does not tell may be any.
    artifact = read(path, a=(1, 0), b=(1, 0), c=(0,))
    assert [x.shape for x in artifact.spec.inputs] == [(1, 0), (0,), (1, 0)]


def test_free_sizes_have_to_be_given(others: Others) -> None:
    path = others("free_size.onnx")
    with pytest.raises(UsageError, match="leaves its dimension 'height' free") as caught:
        read(path)
    assert "--shape x=1,3,224,224" in caught.value.remedy
    for wrong in ((1, 3, 64), (1, 4, 64, 64)):
        with pytest.raises(UsageError, match="N,3,height,width, and"):
            read(path, x=wrong)
    artifact = read(path, x=(2, 3, 16, 64))
    assert artifact.spec.inputs[0].shape == (2, 3, 16, 64)
    assert artifact.inputs[0].shape == ("N", 3, "height", "width")
    assert (artifact.spec.batch, artifact.spec.image_size) == (2, (16, 64))
    assert artifact.macs == 2 * MACS


WHOLE = {"noted.onnx", "named.onnx", "net.pt2"}


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("noted.onnx", "the exporter's notes"),
        ("named.onnx", "the names of its nodes"),
        ("net.pt2", "the program's own record"),
        ("dynamic_int8.onnx", "the names of its weights"),
        ("qdq_int8.onnx", "the exporter's notes"),
        ("qoperator_int8.onnx", "the names of its weights"),
    ],
)
def test_modules_of_exporters_and_quantisers(others: Others, name: str, source: str) -> None:
    artifact = read(others(name))
    assert source in artifact.read_from
    found = modules(artifact)
    real = dict(makers.net().named_modules())
    assert found.keys() - {UNPLACED} <= real.keys()
    if name in WHOLE:
        assert UNPLACED not in found
        assert {"stem", "layer1.0", "layer1.0.act", "norm", "head", ""} <= found.keys()
    for path, types in found.items():
        kind = real.get(path)
        convolutions = any("Conv" in one or "conv" in one for one in types)
        products = any("MatMul" in one or "Gemm" in one or "linear" in one for one in types)
        if path != UNPLACED:
            # A folded BatchNorm bears the name of either.
            assert not convolutions or isinstance(kind, nn.Conv2d | nn.BatchNorm2d), (path, types)
            assert not products or isinstance(kind, nn.Linear), (path, types)


@pytest.mark.parametrize(
    "name", ["noted.onnx", "named.onnx", "qdq_int8.onnx", "qoperator_int8.onnx"]
)
def test_macs_are_those_of_the_network(others: Others, name: str) -> None:
    artifact = read(others(name))
    assert artifact.macs == macs.count(makers.net(), torch.zeros(1, 3, 32, 32))
    assert artifact.uncounted == ()
    assert artifact.precision == ("int8" if "int8" in name else "fp32")


def test_core_ml_packages(others: Others) -> None:
    artifact = read(others("net.mlpackage"))
    (tensor,) = artifact.inputs
    assert (tensor.dtype, tensor.layout, artifact.precision) == ("float32", "NCHW", "fp16")
    assert artifact.macs == macs.count(makers.net(), torch.zeros(1, 3, 32, 32))
    assert modules(artifact).keys() == {UNPLACED}


def test_files_of_onnx_runtimes_own_format(others: Others, tmp_path: Path) -> None:
    artifact = read(others("noted.ort"))
    assert artifact.inputs == read(others("noted.onnx")).inputs
    assert (artifact.format, artifact.operators, artifact.macs) == ("onnx", (), None)
    path = tmp_path / "cut.ort"
    path.write_bytes(others("noted.ort").read_bytes()[:500])
    with pytest.raises(UsageError, match=r"cut\.ort is no file that ONNX Runtime .* loads"):
        read(path)


def test_executorch_programs(others: Others) -> None:
    artifact = read(others("net.pte"))
    assert [x.shape for x in (*artifact.inputs, *artifact.outputs)] == [(1, 3, 32, 32), (1, 5)]
    assert {op.type for op in artifact.operators} >= {"aten.native_layer_norm.out"}
    assert artifact.delegation is not None and artifact.delegation.delegates == 2
    assert (artifact.macs, artifact.runs_on) == (None, "")


def test_the_rest_of_the_rule(tmp_path: Path) -> None:
    """A linear layer with its bias, a transposed convolution, attention, and what has no rule."""
    weights = [
        numpy_helper.from_array(np.zeros(shape, np.float32), name)
        for name, shape in (("w", (8, 6)), ("b", (6,)), ("t", (3, 5, 2, 2)))
    ]
    nodes = [
        helper.make_node("MatMul", ["rows", "w"], ["products"]),
        helper.make_node("Add", ["products", "b"], ["linear"]),
        helper.make_node("MatMul", ["rows", "columns"], ["scores"]),
        helper.make_node("ConvTranspose", ["image", "t"], ["larger"], strides=[2, 2]),
        helper.make_node("Einsum", ["rows", "rows"], ["gram"], equation="bnd,bmd->bnm"),
    ]
    inputs = [value("rows", (2, 4, 8)), value("columns", (2, 8, 4)), value("image", (1, 3, 4, 4))]
    outputs = [value(name, None) for name in ("linear", "scores", "larger", "gram")]
    artifact = read(written(model(nodes, inputs, outputs, weights), tmp_path))
    linear, scores, larger = 2 * 4 * (8 * 6 + 6), 2 * 4 * 8 * 4, 3 * 4 * 4 * 5 * 2 * 2
    assert artifact.macs == linear + scores + larger
    assert artifact.uncounted == ("Einsum",)
    assert [o.shape for o in artifact.outputs] == [(2, 4, 6), (2, 4, 4), (1, 5, 8, 8), (2, 4, 4)]


def test_an_output_of_no_known_shape(tmp_path: Path) -> None:
    nodes = [helper.make_node("Reshape", ["x", "shape"], ["y"])]
    made = model(nodes, [value("x", (4,)), value("shape", ("r",), T.INT64)], [value("y", None)])
    assert read(written(made, tmp_path), shape=(2,)).outputs[0].shape == ANY_SHAPE


def test_a_model_of_functions_is_read_through_them(tmp_path: Path) -> None:
    """As exporters write that make a function of every module."""
    inner = helper.make_function(
        "of.modules",
        "Stem",
        ["a", "w"],
        ["b"],
        [helper.make_node("Conv", ["a", "w"], ["b"], pads=[1, 1, 1, 1])],
        [helper.make_opsetid("", 17)],
    )
    made = convolution(domains=[helper.make_opsetid("of.modules", 1)])
    made.graph.node[0].CopyFrom(helper.make_node("Stem", ["x", "w"], ["c"], domain="of.modules"))
    made.functions.append(inner)
    artifact = read(written(made, tmp_path))
    assert artifact.operators[0].type == "Conv"
    assert (artifact.macs, artifact.runs_on) == (MACS, "")


def strange_type(kind: str) -> onnx.ModelProto:
    made = convolution()
    if kind == "sequence":
        made.graph.output.append(helper.make_tensor_sequence_value_info("many", T.FLOAT, None))
    elif kind == "optional":
        of = helper.make_optional_type_proto(helper.make_tensor_type_proto(T.FLOAT, (1,)))
        made.graph.input.append(helper.make_value_info("maybe", of))
    else:
        made.graph.input.append(value("text", (1,), T.STRING))
    return made


@pytest.mark.parametrize(
    ("kind", "named"),
    [
        ("sequence", "output 'many' .* is a sequence"),
        ("optional", "input 'maybe' .* is a optional"),
        ("text", "input 'text' .* tensor of texts"),
    ],
)
def test_what_is_no_tensor_of_numbers(tmp_path: Path, kind: str, named: str) -> None:
    with pytest.raises(UsageError, match=named):
        read(written(strange_type(kind), tmp_path))


def test_a_type_that_cannot_be_fed(tmp_path: Path) -> None:
    made = convolution(also=[value("brain", (1,), T.BFLOAT16)])
    with pytest.raises(UsageError, match=r"input 'brain' .* the type bfloat16, which NumPy lacks"):
        read(written(made, tmp_path))


def test_a_type_that_cannot_be_read(tmp_path: Path) -> None:
    made = convolution()
    made.graph.node.append(helper.make_node("Cast", ["y"], ["brain"], to=T.BFLOAT16))
    made.graph.output.append(value("brain", (1, 4), T.BFLOAT16))
    with pytest.raises(UsageError, match=r"output 'brain' .* the type bfloat16, which NumPy lacks"):
        read(written(made, tmp_path))


def test_operators_of_another_library_are_what_it_takes(tmp_path: Path) -> None:
    made = convolution(domains=[helper.make_opsetid("my.own", 1)])
    made.graph.node.append(helper.make_node("Fancy", ["y"], ["z"], domain="my.own"))
    artifact = read(written(made, tmp_path))
    assert "'my.own' (Fancy)" in artifact.runs_on


@pytest.mark.parametrize("name", ["plain.onnx", "net.pt2", "net.pte"])
@pytest.mark.parametrize("damage", ["empty", "text", "cut"])
def test_damaged_files(others: Others, tmp_path: Path, name: str, damage: str) -> None:
    whole = others(name).read_bytes()
    path = tmp_path / name
    path.write_bytes({"empty": b"", "text": b"hello", "cut": whole[: len(whole) // 2]}[damage])
    with pytest.raises(UsageError) as caught:
        read(path)
    assert name in caught.value.message
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("name", [b"GlobalAveragePool", b"graph", b"w"])
def test_names_that_are_no_text(tmp_path: Path, name: bytes) -> None:
    """A bit of a letter is flipped, so that the bytes are no UTF-8."""
    path = written(convolution(), tmp_path)
    data = path.read_bytes()
    field = bytes([len(name)]) + name
    assert field in data
    path.write_bytes(data.replace(field, field[:-1] + bytes([field[-1] ^ 0x80])))
    with pytest.raises(UsageError, match="a name in it is no text"):
        read(path)


@pytest.mark.timeout(60)
def test_a_pipe_in_a_package_is_refused(others: Others, tmp_path: Path) -> None:
    path = Path(shutil.copytree(others("net.mlpackage"), tmp_path / "net.mlpackage"))
    model = next(path.rglob("*.mlmodel"))
    model.unlink()
    os.mkfifo(model)
    with pytest.raises(MvdeployError, match="is a pipe"):
        read(path)


def test_a_folder_that_is_no_package(tmp_path: Path) -> None:
    path = tmp_path / "bad.mlpackage"
    path.mkdir()
    with pytest.raises(MvdeployError, match=r"bad\.mlpackage"):
        read(path)


def test_files_of_no_known_kind(tmp_path: Path) -> None:
    (tmp_path / "model.pb").write_bytes(b"TF")
    with pytest.raises(UsageError, match=r"of no kind that is read \(.*\.onnx"):
        read(tmp_path / "model.pb")
