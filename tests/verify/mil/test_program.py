"""Reading packages: what is in them, and what is wrong with those that cannot be read."""

from __future__ import annotations

import logging
import shutil
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from mvdeploy.engines import SessionRequest
from mvdeploy.errors import EngineError, UsageError
from mvdeploy.quiet import quiet
from mvdeploy.verify import mil

with quiet(errors=True):
    import coremltools as ct

INSIDE = "Data/com.apple.CoreML"


def test_operations_are_listed_in_order_without_constants(small_package):
    found = mil.operations(small_package("fp16"))
    assert found[0].type == "conv"
    assert found[-1].name == "logits"
    assert not {o.type for o in found} & {"const"}
    conv = found[0]
    assert conv.inputs == (mil.Value("image", (2, 3, 8, 8), "fp16"),)
    assert conv.outputs[0].shape == (2, 16, 4, 4)
    assert conv.outputs[0].dtype == "fp16"
    assert conv.weights["weight"].shape == (16, 3, 3, 3)
    assert conv.attributes["strides"] == [2, 2]
    assert conv.attributes["pad_type"] == "custom"
    assert type(conv.attributes["groups"]) is int
    softmax = next(o for o in found if o.type == "softmax")
    assert softmax.attributes == {"axis": -1}


def test_an_operator_takes_what_others_made(small_package):
    made = {"image"}
    for operation in mil.operations(small_package("fp32")):
        assert {value.name for value in operation.inputs} <= made
        made |= {value.name for value in operation.outputs}


def test_a_package_is_read_once_until_it_changes(small_package, tmp_path):
    path = tmp_path / "a.mlpackage"
    shutil.copytree(small_package("fp16"), path)
    first = mil.load(path)
    assert mil.load(path) is first
    weights = path / INSIDE / "weights/weight.bin"
    data = bytearray(weights.read_bytes())
    data[-3] ^= 0x40  # as many bytes as before
    weights.write_bytes(data)
    again = mil.load(path)
    assert any((first.constants[n] != again.constants[n]).any() for n in _arrays(first))


def _arrays(program):
    return [name for name, value in program.constants.items() if isinstance(value, np.ndarray)]


class Scaled(nn.Module):
    def forward(self, x):
        return x * 2


def test_dimensions_that_are_not_fixed_have_no_number(save):
    batch = torch.export.Dim("batch", min=1, max=8)
    with quiet(errors=True):
        exported = torch.export.export(
            Scaled(), (torch.zeros(2, 3),), dynamic_shapes={"x": {0: batch}}
        )
        model = ct.convert(
            exported.run_decompositions({}),
            inputs=[ct.TensorType(name="x", shape=(ct.RangeDim(1, 8, 2), 3))],
            compute_precision=ct.precision.FLOAT32,
            minimum_deployment_target=ct.target.iOS17,
            skip_model_load=True,
        )
    path = save(model)
    assert mil.operations(path)[0].inputs[0].shape == (None, 3)
    session = mil.open_session(SessionRequest(path, {"x": torch.ones(5, 3).numpy()}))
    session.infer()
    (result,) = session.outputs().values()
    assert result.tolist() == [[2.0] * 3] * 5


def test_the_default_function_of_several_is_read(save, small_package, tmp_path):
    described = ct.utils.MultiFunctionDescriptor()
    described.add_function(str(small_package("fp32")), "main", "first")
    described.add_function(str(save(Scaled(), (torch.zeros(1, 3),))), "main", "second")
    described.default_function_name = "second"
    path = tmp_path / "several.mlpackage"
    with quiet(errors=True):
        ct.utils.save_multifunction(described, str(path))
    assert [operation.type for operation in mil.operations(path)] == ["mul"]


def test_reading_is_silent_and_leaves_logging_alone(small_package, capfd):
    def settings():
        logger = logging.getLogger("coremltools")
        return (
            logging.root.manager.disable,
            logger.level,
            list(logger.handlers),
            warnings.filters[:],
        )

    logging.disable(logging.DEBUG)
    before = settings()
    mil.operations(small_package("fp16"))
    after = settings()
    logging.disable(logging.NOTSET)
    assert after == before
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_nothing_is_printed_when_coremltools_is_imported(small_package):
    code = (
        "import sys; from pathlib import Path; from mvdeploy.verify import mil; mil.start();"
        "mil.operations(Path(sys.argv[1]))"
    )
    command = [sys.executable, "-W", "default", "-c", code, str(small_package("fp16"))]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


def test_importing_the_interpreter_is_light():
    code = (
        "import sys, mvdeploy.verify.mil;"
        "print([m for m in ('torch', 'coremltools', 'scipy', 'onnx') if m in sys.modules])"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.fixture
def copy(small_package, tmp_path):
    path = tmp_path / "broken.mlpackage"
    shutil.copytree(small_package("fp32"), path)
    return path


def _cut(path):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


DAMAGE = {
    "no_manifest": lambda path: (path / "Manifest.json").unlink(),
    "broken_manifest": lambda path: (path / "Manifest.json").write_text("{"),
    "no_model": lambda path: (path / INSIDE / "model.mlmodel").unlink(),
    "cut_model": lambda path: _cut(path / INSIDE / "model.mlmodel"),
    "foreign_model": lambda path: (path / INSIDE / "model.mlmodel").write_bytes(b"hello world!"),
    "no_weights": lambda path: (path / INSIDE / "weights/weight.bin").unlink(),
    "no_weights_folder": lambda path: shutil.rmtree(path / INSIDE / "weights"),
    "cut_weights": lambda path: _cut(path / INSIDE / "weights/weight.bin"),
    "empty_weights": lambda path: (path / INSIDE / "weights/weight.bin").write_bytes(b""),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_package_is_an_error(name, copy):
    DAMAGE[name](copy)
    with pytest.raises(EngineError, match="cannot be read") as caught:
        mil.operations(copy)
    assert "Export the model again" in caught.value.remedy


def test_a_package_that_is_not_there(tmp_path):
    with pytest.raises(UsageError, match="is not there"):
        mil.operations(tmp_path / "none.mlpackage")


def test_a_file_is_no_package(tmp_path):
    path = tmp_path / "model.mlmodel"
    path.write_bytes(b"model")
    with pytest.raises(UsageError, match="is no Core ML package"):
        mil.operations(path)


def test_the_old_format_is_refused(copy):
    spec = ct.proto.Model_pb2.Model()
    spec.specificationVersion = 4
    spec.neuralNetwork.layers.add().name = "old"
    (copy / INSIDE / "model.mlmodel").write_bytes(spec.SerializeToString())
    with pytest.raises(UsageError, match=r"no ML program \(but neuralNetwork\)") as caught:
        mil.operations(copy)
    assert "iOS15" in caught.value.remedy


def test_an_empty_model_is_refused(copy):
    (copy / INSIDE / "model.mlmodel").write_bytes(b"")
    with pytest.raises(UsageError, match="no ML program"):
        mil.operations(copy)


def test_all_unknown_operators_are_named_at_once(small_package, edit):
    def mutate(block):
        for operator in block.operations:
            operator.type = {"silu": "swish", "softmax": "sparsemax"}.get(
                operator.type, operator.type
            )

    path = edit(small_package("fp32"), mutate)
    image = torch.zeros(2, 3, 8, 8).numpy()
    with pytest.raises(EngineError, match=r"cannot execute: sparsemax \('.+'\), swish \('silu'\)"):
        mil.open_session(SessionRequest(path, {"image": image}))


def test_an_operator_of_coremltools_that_is_missing_here_is_named(save):
    class Sorted(nn.Module):
        def forward(self, x):
            return x.topk(2)[0]

    path = save(Sorted(), (torch.zeros(1, 3),))
    with pytest.raises(EngineError, match=r"topk \('"):
        mil.operations(path)
