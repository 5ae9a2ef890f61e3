"""Model files as others make them: by hand, by torch, by the tools of others."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto as T
from onnx import helper, numpy_helper
from torch import nn

WEIGHT = np.random.default_rng(0).standard_normal((4, 3, 3, 3)).astype(np.float32) * 0.1
MACS = 4 * 3 * 9 * 32 * 32
"""Of the one convolution, on an image of 32 by 32."""


def value(name: str, shape: Sequence[int | str] | None, kind: int = T.FLOAT) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


def model(
    nodes: Sequence[Any],
    inputs: Sequence[Any],
    outputs: Sequence[Any],
    weights: Sequence[Any] = (),
    opset: int = 17,
    ir: int = 8,
    domains: Sequence[Any] = (),
) -> onnx.ModelProto:
    graph = helper.make_graph(nodes, "graph", inputs, outputs, weights)
    opsets = [helper.make_opsetid("", opset), *domains]
    return helper.make_model(graph, opset_imports=opsets, ir_version=ir)


def convolution(
    shape: Sequence[int | str] = (1, 3, 32, 32),
    *,
    before: Sequence[Any] = (),
    takes: Any = None,
    also: Sequence[Any] = (),
    weight: np.ndarray = WEIGHT,
    kind: int = T.FLOAT,
    **versions: int,
) -> onnx.ModelProto:
    """A convolution, pooled: ``x`` of a shape, or what `takes` and `before` make of another."""
    nodes = [
        *before,
        helper.make_node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("GlobalAveragePool", ["c"], ["g"]),
        helper.make_node("Flatten", ["g"], ["y"]),
    ]
    inputs = [takes or value("x", shape, kind), *also]
    outputs = [value("y", [shape[0], 4], kind)]
    return model(nodes, inputs, outputs, [numpy_helper.from_array(weight, "w")], **versions)


def by_hand(folder: Path) -> None:
    """Write ONNX files of every form that inputs and weights have."""
    save = lambda made, name: onnx.save(made, folder / f"{name}.onnx")  # noqa: E731
    save(convolution(), "plain")
    old = [value("w", (4, 3, 3, 3))]
    save(convolution(also=old, opset=11, ir=3), "initialisers_as_inputs")
    save(convolution(("N", 3, 32, 32)), "free_batch")
    save(convolution(("N", 3, "height", "width")), "free_size")
    save(convolution(weight=WEIGHT.astype(np.float16), kind=T.FLOAT16), "half")
    to_planes = [
        helper.make_node("Cast", ["u"], ["f"], to=T.FLOAT),
        helper.make_node("Transpose", ["f"], ["x"], perm=[0, 3, 1, 2]),
    ]
    eight_bits = value("u", (1, 32, 32, 3), T.UINT8)
    save(convolution(before=to_planes, takes=eight_bits), "uint8_nhwc")
    save(tokens(), "tokens")
    save(branches(), "branches")
    masked = helper.make_node("Log", ["x"], ["y"])  # as scores are that must not be chosen
    zeros = helper.make_node("Sub", ["some", "some"], ["x"])
    save(model([zeros, masked], [value("some", (1, 4))], [value("y", (1, 4))]), "infinite")
    onnx.save(
        convolution(weight=WEIGHT * 2),
        folder / "outer.onnx",
        save_as_external_data=True,
        location="outer.data",
        size_threshold=0,
    )


def tokens() -> onnx.ModelProto:
    """Two inputs that are no images and a grey one, and two outputs."""
    table = numpy_helper.from_array(np.eye(100, 8, dtype=np.float32), "table")
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["rows"]),
        helper.make_node("Mul", ["rows", "scale"], ["scaled"]),
        helper.make_node("ReduceMean", ["picture"], ["grey"], keepdims=0),
    ]
    inputs = [
        value("ids", ("batch", 5), T.INT64),
        value("scale", ()),
        value("picture", (1, 1, 16, 16)),
    ]
    outputs = [value("scaled", ("batch", 5, 8)), value("grey", ())]
    return model(nodes, inputs, outputs, [table])


def branches() -> onnx.ModelProto:
    """A branch, whose operators run inside another."""

    def branch(kind: str) -> Any:
        shape = value(kind, (1, 3, 16, 16))
        return helper.make_graph([helper.make_node(kind, ["z"], [kind])], kind, [], [shape])

    nodes = [
        helper.make_node("ReduceSum", ["z"], ["sum"], keepdims=0),
        helper.make_node("Greater", ["sum", "zero"], ["positive"]),
        helper.make_node(
            "If",
            ["positive"],
            ["chosen"],
            then_branch=branch("Sigmoid"),
            else_branch=branch("Tanh"),
        ),
        helper.make_node("Sigmoid", ["chosen"], ["y"]),
    ]
    zero = numpy_helper.from_array(np.float32(0), "zero")
    shape = (1, 3, 16, 16)
    return model(nodes, [value("z", shape)], [value("y", shape)], [zero])


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(8, 8, 3, padding=1)
        self.bn = nn.BatchNorm2d(8)
        self.act = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.act(self.bn(self.conv(x)))


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.layer1 = nn.Sequential(Block(), Block())
        self.norm = nn.LayerNorm(8)
        self.head = nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.layer1(self.stem(x)).flatten(2).transpose(1, 2)
        scores: torch.Tensor = self.head(self.norm(x).mean(1))
        return scores


def net() -> Net:
    """A small network, the same every time."""
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        return Net().eval()


def by_torch(folder: Path) -> None:
    """Write one network with torch's exporters, old and new, and ONNX Runtime's quantiser."""
    from onnxruntime.quantization import (
        CalibrationDataReader,
        QuantFormat,
        quantize_dynamic,
        quantize_static,
    )

    image = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))

    class Images(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._left = [{"pixels": image.numpy()}]

        def get_next(self) -> dict[str, np.ndarray] | None:
            return self._left.pop() if self._left else None

    names = {"input_names": ["pixels"], "output_names": ["scores"]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            net(), (image,), folder / "noted.onnx", dynamo=True, external_data=False, **names
        )
        torch.onnx.export(net(), (image,), folder / "named.onnx", dynamo=False, **names)
        quantize_dynamic(folder / "noted.onnx", folder / "dynamic_int8.onnx")
        for kind in (QuantFormat.QDQ, QuantFormat.QOperator):
            path = folder / f"{kind.name.lower()}_int8.onnx"
            quantize_static(folder / "noted.onnx", path, Images(), quant_format=kind)
        optimised_for_ort(folder / "noted.onnx", folder / "noted.ort")
        program = torch.export.export(net(), (image,))
        torch.export.save(program, folder / "net.pt2")


def optimised_for_ort(path: Path, target: Path) -> None:
    """Convert an ONNX file to ONNX Runtime's own format, as its tool does."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(target)
    options.add_session_config_entry("session.save_model_format", "ORT")
    ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def by_executorch(folder: Path) -> None:
    """Write the network as an ExecuTorch program: two delegates and what is between them."""
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    program = torch.export.export(net(), (torch.zeros(1, 3, 32, 32),))
    lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
    (folder / "net.pte").write_bytes(lowered.to_executorch().buffer)


def by_litert(path: Path) -> None:
    """Write the network as a LiteRT program, with litert-torch's own signature and names."""
    import litert_torch

    with contextlib.redirect_stdout(io.StringIO()):
        litert_torch.convert(net(), (torch.zeros(1, 3, 32, 32),)).export(str(path))


def by_coremltools(folder: Path) -> None:
    """Write the network as a Core ML package."""
    import coremltools as ct

    program = torch.export.export(net(), (torch.zeros(1, 3, 32, 32),)).run_decompositions({})
    converted = ct.convert(program, minimum_deployment_target=ct.target.iOS17, skip_model_load=True)
    converted.save(str(folder / "net.mlpackage"))


def quantised(path: Path) -> dict[str, np.ndarray]:
    """A file of ``quantize_static`` with its defaults, a weight in it twice; returns its input."""
    import logging

    from onnxruntime.quantization import CalibrationDataReader, quantize_static

    numbers = np.random.default_rng(0)
    feed = {"x": numbers.standard_normal((1, 4, 8)).astype(np.float32)}

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self._feeds = iter([feed])

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self._feeds, None)

    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node("MatMul", ["h", "w"], ["y"]),
    ]
    weight = numbers.standard_normal((8, 8)).astype(np.float32)
    made = model(
        nodes,
        [value("x", [1, 4, 8])],
        [value("y", [1, 4, 8])],
        [numpy_helper.from_array(weight, "w")],
    )
    plain = path.with_name(f"plain-{path.name}")
    onnx.save(made, plain)
    logging.disable()
    try:
        quantize_static(plain, path, Reader())
    finally:
        logging.disable(logging.NOTSET)
    return feed
