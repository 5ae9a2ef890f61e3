from __future__ import annotations

import dataclasses
import importlib.util
import platform
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from mvdeploy import formats, models
from mvdeploy.engines import SessionRequest
from mvdeploy.engines import litert as engine
from mvdeploy.errors import CheckFailed, EngineError, UsageError
from mvdeploy.formats import Options
from mvdeploy.formats import litert as exporter
from mvdeploy.formats.litert import conversion, naming, reading, schema, whole_numbers
from mvdeploy.pipeline import calibration
from mvdeploy.pipeline.export import Builder, Exported
from mvdeploy.quantization import Scheme, Target, running
from mvdeploy.quantization.calibration import Calibration
from mvdeploy.quantization.quantiser import Quantiser
from mvdeploy.records import Artifact
from mvdeploy.verify.mutations import Alter
from mvdeploy.verify.mutations import program as mutations
from tests.formats.subjects import subject
from tests.quantization import networks

# torch 2.13 copies its own deprecated tree specifications.
pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")

FILE = Path(networks.__file__)
FACTS = {"mvdeploy.model": "tiny", "mvdeploy.weights": "seed 0"}


@pytest.fixture(autouse=True)
def few_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "ANSWERS", 2)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Exported]:
    """Return a function that exports a small network, once."""
    folder = tmp_path_factory.mktemp("litert")
    known: dict[tuple[str, str], Exported] = {}

    def make(name: str, precision: str = "fp32") -> Exported:
        if (name, precision) not in known:
            builder = Builder(models.make_spec(f"{FILE}:{name}"), wish=calibration.Wish(2))
            path = folder / f"{name}-{precision}.tflite"
            known[name, precision] = builder.export("litert", path, Options(precision))
        return known[name, precision]

    return make


def kinds(done: Exported) -> Counter[str]:
    return Counter(op.type for op in done.artifact.operators)


def constants(path: Path) -> Counter[str]:
    """Return how many numbers of which type a file holds."""
    model = schema.unpacked(path.read_bytes())
    found: Counter[str] = Counter()
    for tensor in model.subgraphs[0].tensors:
        data = model.buffers[tensor.buffer].data
        if data is not None and len(data):
            found[schema.type_of(tensor)] += int(np.prod(tensor.shape))
    return found


# What is in the file


@pytest.fixture
def mobilevit(exported: Callable[..., Exported]) -> Artifact:
    return exported("litert", patches="4x2,2,2").artifact


def test_the_whole_network_is_one_delegate(mobilevit: Artifact) -> None:
    """The network of this fixture has maps that its patches do not divide: they are resized."""
    assert mobilevit.delegation is not None
    assert mobilevit.delegation.full
    assert mobilevit.delegation.delegated == len(mobilevit.operators) > 250
    assert {op.delegate for op in mobilevit.operators} == {0}
    assert mobilevit.backend == "xnnpack"
    assert {"torch", "litert-torch", "litert-converter"} <= mobilevit.versions.keys()
    resized = [op.module for op in mobilevit.operators if op.type == "RESIZE_BILINEAR"]
    assert resized == ["layer_5.1.unfold", "layer_5.1.fold"]


def test_every_weight_is_in_the_operator_of_its_module(mobilevit: Artifact) -> None:
    """As many operators with weights as modules, each in its own: no name is only a guess."""
    classes = {path: info.class_name for path, info in mobilevit.modules.items()}
    for kind, of in (
        ("Conv2d", ("CONV_2D", "DEPTHWISE_CONV_2D")),
        ("Linear", ("FULLY_CONNECTED",)),
    ):
        placed = [op.module for op in mobilevit.operators if op.type in of]
        expected = [path for path, name in classes.items() if name == kind]
        if kind == "Linear":  # the packed projection is written as three
            expected = [path for path in expected if not path.endswith(".qkv")]
        assert sorted(placed) == sorted(expected)
    assert all(classes[op.module] == "SiLU" for op in mobilevit.operators if op.type == "LOGISTIC")
    softmax = {classes[op.module] for op in mobilevit.operators if op.type == "SOFTMAX"}
    assert softmax == {"Attention"}


def test_names(mobilevit: Artifact) -> None:
    names = [op.name for op in mobilevit.operators]
    assert len(set(names)) == len(names)
    assert names[-1] == mobilevit.outputs[0].name == "logits"
    assert mobilevit.operators[0].inputs[0] == mobilevit.inputs[0].name == "image"
    assert all(op.name == op.outputs[0] for op in mobilevit.operators)
    assert "layer_1.0.project.conv/conv2d_3" in names
    assert all(mobilevit.category(op.module) is not None for op in mobilevit.operators)


def test_it_computes_what_the_network_does(exported: Callable[..., Exported]) -> None:
    parity = exported("litert", patches="4x2,2,2").parity
    assert parity is not None
    assert parity.passed
    assert parity.weights == "network"  # LayerNorms were folded before, not by the converter


def test_the_same_network_gives_the_same_bytes_with_its_facts() -> None:
    torch.manual_seed(0)
    net = networks.plain().eval()
    given = subject(net, torch.rand(1, 3, 16, 16), FACTS)
    files = [exporter._file(given, exporter._program(given), given.outputs).data for _ in range(2)]
    assert files[0] == files[1]
    model = schema.unpacked(files[0])
    stored = {schema.text(m.name): bytes(model.buffers[m.buffer].data) for m in model.metadata}
    assert stored["mvdeploy.model"] == b"tiny"
    assert str(FILE.parent).encode() not in files[0]


def test_several_inputs_and_outputs_have_their_names(tmp_path: Path) -> None:
    class Two(nn.Module):
        def forward(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            y = torch.tanh(a) * b
            return y, a.sum(1), y

    one = subject(nn.Identity(), torch.rand(2, 3), FACTS)
    info = one.inputs[0]
    given = dataclasses.replace(
        one,
        network=Two().eval(),
        examples=(torch.rand(2, 3), torch.rand(2, 3)),
        inputs=tuple(dataclasses.replace(info, name=name) for name in ("z", "a")),
        outputs=(
            dataclasses.replace(info, name="y"),
            dataclasses.replace(info, name="b", shape=(2,)),
            dataclasses.replace(info, name="again"),
        ),
    )
    path = tmp_path / "two.tflite"
    exporter.write(given, path, formats.complete("litert", Options()))
    facts = exporter.read_file(path)
    assert [tensor.name for tensor in facts.inputs] == ["z", "a"]
    shapes = {tensor.name: tensor.shape for tensor in facts.outputs}
    assert shapes == {"y": (2, 3), "b": (2,), "again": (2, 3)}
    feed = {name: np.full((2, 3), i + 1, np.float32) for i, name in enumerate(("z", "a"))}
    session = engine.open_session(SessionRequest(path, feed))
    session.infer()
    got = session.outputs()
    assert np.allclose(got["y"], 2 * np.tanh(1.0))
    assert np.allclose(got["b"], 3)
    assert np.array_equal(got["again"], got["y"])


# Precisions


@pytest.mark.parametrize(
    ("name", "precision"),
    [
        ("class_token", "fp16"),
        ("class_token", "int8-dynamic"),
        ("class_token", "int8"),
        ("class_token", "int8-fast"),
        ("linear_3d", "int8-dynamic"),
        ("silus", "int8"),
        ("silus", "int8-fast"),
    ],
)
def test_precisions_are_one_delegate_that_passes(
    made: Callable[..., Exported], name: str, precision: str
) -> None:
    done = made(name, precision)
    assert done.parity is not None
    assert done.parity.passed
    assert done.artifact.delegation is not None
    assert done.artifact.delegation.full
    ends = {tensor.dtype for tensor in exporter.read_file(done.path).inputs}
    assert ends == {"float32"}


def test_whole_numbers_are_what_is_asked_for(made: Callable[..., Exported]) -> None:
    plain, fast = kinds(made("silus", "int8")), kinds(made("silus", "int8-fast"))
    assert plain["QUANTIZE"] == plain["DEQUANTIZE"] > 1  # SiLUs are floats
    assert fast["QUANTIZE"] == fast["DEQUANTIZE"] == 1  # the input and the output
    assert constants(made("silus", "int8-fast").path)["FLOAT32"] == 0
    dynamic = made("linear_3d", "int8-dynamic")
    assert "QUANTIZE" not in kinds(dynamic)
    held = constants(dynamic.path)
    linear = [op for op in dynamic.artifact.operators if op.type == "FULLY_CONNECTED"]
    assert linear
    assert held["INT8"] > 0
    assert dynamic.artifact.quantized is not None


def test_halves_are_held_and_read_as_floats(made: Callable[..., Exported]) -> None:
    done = made("class_token", "fp16")
    held = constants(done.path)
    assert held["FLOAT16"] > 10 * held["FLOAT32"]
    assert "DEQUANTIZE" in kinds(done)


def test_a_module_stays_in_float(made: Callable[..., Exported], tmp_path: Path) -> None:
    builder = Builder(models.make_spec(f"{FILE}:class_token"), wish=calibration.Wish(2))
    options = Options("int8-dynamic", keep_float=("*",))
    with pytest.raises(UsageError, match="Nothing in the network"):
        builder.export("litert", tmp_path / "a.tflite", options)


def test_a_tensor_that_is_read_otherwise_than_written_is_converted_so() -> None:
    """The converter takes scales from what quantises alone."""
    net, image = networks.plain().eval(), torch.rand(1, 3, 16, 16)
    traced = torch.export.export(net, (image,))
    quantiser = Quantiser(Scheme(), Target(), (), Calibration(lambda: [(image,)], "one"))
    program = quantiser(traced)
    for node in program.graph.nodes:
        if node.target is whole_numbers.rewriting.DEQUANTIZE[0]:
            node.update_arg(1, 1.5 * node.args[1])
            node.update_arg(2, node.args[2] + 3)
    program.graph_module.recompile()
    wanted = running.run(program, (image,))[0]
    (got,) = running.run(whole_numbers.lowerable(program), (image,))
    assert torch.allclose(got, wanted, atol=1e-5)
    assert not torch.allclose(wanted, running.run(quantiser(traced), (image,))[0], atol=1e-2)


# Faults


@pytest.mark.parametrize("name", ["weight × 1.01", "bias dropped"])
def test_a_fault_of_the_converter_is_found_and_named(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    builder = Builder(models.make_spec(f"{FILE}:chain"))
    _, source = builder._source("folded")
    traced = torch.export.export(source.network, builder._examples)
    found = next(p for p in mutations.places(traced, builder.network, (name,), each=1))
    alters = [Alter(lambda program: mutations.broken(program, builder.network, *found[:2]))]
    write = formats.write

    def broken_once(*given: Any, **more: Any) -> Artifact:
        """The file is broken; what it is compared with is not."""
        return write(*given, **{**more, "alter": alters.pop() if alters else None})

    monkeypatch.setattr(formats, "write", broken_once)
    with pytest.raises(CheckFailed, match=f"departs is '{found[2]}'|other values of {found[2]}"):
        builder.export("litert", tmp_path / "a.tflite")
    assert not list(tmp_path.iterdir())


def test_a_changed_weight_is_seen(made: Callable[..., Exported], tmp_path: Path) -> None:
    path = made("class_token").path
    model = schema.unpacked(path.read_bytes())
    held = schema.held(path.read_bytes())
    largest = max(model.buffers, key=lambda buffer: 0 if buffer.data is None else len(buffer.data))
    largest.data = np.array(largest.data) ^ np.eye(1, len(largest.data), 3, np.uint8)[0]
    other = tmp_path / "other.tflite"
    other.write_bytes(schema.packed(model))
    assert len(held - exporter.held_weights(other)) == 1


# What cannot be written


def test_what_is_missing_is_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    with pytest.raises(UsageError, match=r"not installed\.") as caught:
        formats.check_options("litert", Options())
    assert "litert-torch" in caught.value.remedy
    with pytest.raises(UsageError, match="not installed"):
        exporter.read_file(tmp_path / "a.tflite")
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    with pytest.raises(UsageError, match=r"no converter to LiteRT for this machine \(aarch64\)"):
        formats.check_options("litert", Options())


def test_any_number_of_images_is_refused() -> None:
    with pytest.raises(UsageError, match="litert has no --batch dynamic"):
        formats.check_options("litert", Options(dynamic_batch=True))


def test_another_version_of_the_converter(monkeypatch: pytest.MonkeyPatch) -> None:
    from litert_torch._convert import core

    monkeypatch.delattr(core, "_run_convert_passes")
    with pytest.raises(EngineError, match="converts differently"):
        conversion._parts()


def test_an_operator_of_no_module_is_refused(made: Callable[..., Exported]) -> None:
    data = made("class_token").path.read_bytes()
    nothing = conversion.Converted(data, {}, ("x",))
    given = subject(nn.Identity(), torch.rand(1, 3), FACTS)
    with pytest.raises(EngineError, match="cannot be traced to a module"):
        naming.named(nothing, given, given.outputs, {})


# Files of others


def test_a_file_without_its_manifest(made: Callable[..., Exported]) -> None:
    done = made("class_token")
    artifact = formats.read_file(done.path)
    written = done.artifact
    assert artifact.inputs[0].shape == written.inputs[0].shape
    assert [output.name for output in artifact.outputs] == [o.name for o in written.outputs]
    assert artifact.precision == "fp32"
    assert artifact.macs is not None
    assert written.macs is not None
    assert 0.95 * written.macs < artifact.macs <= written.macs
    mine = {op.name: op.module for op in written.operators if op.name not in artifact.outputs}
    found = {op.name: op.module for op in artifact.operators}
    assert {name: module for name, module in found.items() if module != "?"}.items() <= mine.items()
    assert formats.read_file(made("silus", "int8").path).precision == "int8"
    assert formats.read_file(made("class_token", "fp16").path).precision == "fp16"


def test_scopes_of_litert_torch() -> None:
    scope = "net.Net/torch.nn.Sequential_stem/my.lib.ConvBN_0/torch.nn.Conv2d_conv;2"
    found = reading._scoped(scope)
    assert found is not None
    assert list(found) == ["", "stem", "stem.0", "stem.0.conv"]
    assert (found[""], found["stem"], found["stem.0.conv"]) == ("Net", "Sequential", "Conv2d")
    assert reading._scoped("model/block_1/Conv2D") is None
    assert reading._scoped("arith.constant12") in (None, {"": "constant12"})


@pytest.mark.parametrize("damage", ["empty", "text", "cut", "no magic"])
def test_damaged_files(made: Callable[..., Exported], tmp_path: Path, damage: str) -> None:
    whole = made("class_token").path.read_bytes()
    path = tmp_path / "a.tflite"
    damaged = {
        "empty": b"",
        "text": b"hello",
        "cut": whole[: len(whole) // 2],
        "no magic": whole[:4] + b"XXXX" + whole[8:],
    }
    path.write_bytes(damaged[damage])
    with pytest.raises(UsageError) as caught:
        formats.read_file(path)
    assert "a.tflite" in caught.value.message
    assert "\n" not in caught.value.message
    if damage != "no magic":  # which nobody who follows the offsets looks at
        with pytest.raises(UsageError, match=r"a\.tflite is damaged"):
            exporter.held_weights(path)


def test_an_operator_without_what_it_reads_is_refused(
    made: Callable[..., Exported], tmp_path: Path
) -> None:
    """What it would be counted by is not there."""
    model = schema.unpacked(made("silus", "int8").path.read_bytes())
    graph = model.subgraphs[0]
    summing = next(op for op in graph.operators if schema.kind(model, op) in reading._SUMS)
    weight = graph.tensors[summing.inputs[1]]
    weight.shape, weight.buffer = None, 0
    path = tmp_path / "a.tflite"
    path.write_bytes(schema.packed(model))
    with pytest.raises(UsageError, match="is damaged"):
        formats.read_file(path)


def test_one_table_in_many_places_is_not_followed() -> None:
    """Of some kilobytes, a million tensors would be made."""
    from ai_edge_litert import schema_py_generated as generated

    builder = flatbuffers.Builder()

    def often(start: Callable[..., Any], table: int) -> int:
        start(builder, 1000)
        for _ in range(1000):
            builder.PrependUOffsetTRelative(table)
        return builder.EndVector()

    generated.TensorStart(builder)
    tensors = often(generated.SubGraphStartTensorsVector, generated.TensorEnd(builder))
    generated.SubGraphStart(builder)
    generated.SubGraphAddTensors(builder, tensors)
    graphs = often(generated.ModelStartSubgraphsVector, generated.SubGraphEnd(builder))
    generated.ModelStart(builder)
    generated.ModelAddSubgraphs(builder, graphs)
    builder.Finish(generated.ModelEnd(builder), file_identifier=schema.IDENTIFIER)
    data = bytes(builder.Output())
    assert len(data) < 10_000
    with pytest.raises(ValueError, match="more tensors and operators than there is room for"):
        schema.unpacked(data)


@given(data=st.data())
def test_flipped_bits_end_in_a_sentence(made: Callable[..., Exported], data: st.DataObject) -> None:
    """Also those that lead offsets out of the file, or make a length four billion."""
    whole = bytearray(made("silus", "int8").path.read_bytes())
    for _ in range(data.draw(st.integers(1, 8))):
        at = data.draw(st.integers(8, len(whole) - 1))
        whole[at] = data.draw(st.integers(0, 255))
    path = made("silus", "int8").path.with_name("flipped.tflite")
    path.write_bytes(bytes(whole))
    try:
        artifact = formats.read_file(path)
    except UsageError as error:
        assert "\n" not in error.message
    else:
        assert artifact.format == "litert"
