"""ONNX files with operators of ONNX Runtime's own: the same function, in fewer nodes."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from mvdeploy import formats
from mvdeploy.formats import onnx as exporter
from mvdeploy.formats.onnx import macs
from mvdeploy.records import TensorInfo
from tests.formats.subjects import subject

OWN = formats.options("onnx", {"operators": "onnxruntime"}, precision="fp32")
STANDARD = formats.options("onnx", precision="fp32")
TOKENS, DIM, HEADS = 6, 24, 4
WIDTH = DIM // HEADS


class Attends(nn.Module):
    """Attention in the ways in which networks write it; `forward` makes heads into tokens again.

    Every one is of ``DIM`` channels and ``HEADS`` heads.
    """

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.proj = nn.Linear(DIM, 3 * DIM), nn.Linear(DIM, DIM)

    def forward(self, x: Tensor) -> Tensor:
        joined = self.mixed(x).transpose(1, 2).reshape(x.shape[0], -1, DIM)
        out: Tensor = self.proj(joined)
        return out

    def mixed(self, x: Tensor) -> Tensor:
        q, k, v = self.packed(x)
        return torch.softmax(q @ k.transpose(2, 3) * WIDTH**-0.5, dim=-1) @ v

    def packed(self, x: Tensor) -> tuple[Tensor, ...]:
        packed: Tensor = self.qkv(x)
        return packed.reshape(x.shape[0], -1, 3, HEADS, WIDTH).permute(2, 0, 3, 1, 4).unbind(0)


class HeadsFirst(Attends):
    """Each head has its queries, keys and values side by side."""

    def packed(self, x: Tensor) -> tuple[Tensor, ...]:
        packed: Tensor = self.qkv(x)
        return packed.reshape(x.shape[0], -1, HEADS, 3, WIDTH).permute(3, 0, 2, 1, 4).unbind(0)


class Fused(Attends):
    """What PyTorch makes of its own operator; queries and keys are scaled."""

    def mixed(self, x: Tensor) -> Tensor:
        return functional.scaled_dot_product_attention(*self.packed(x))


class Biased(Attends):
    """A term for each head is added to the products, as for the places of tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.places = nn.Parameter(torch.randn(1, HEADS, TOKENS, TOKENS))

    def mixed(self, x: Tensor) -> Tensor:
        q, k, v = self.packed(x)
        return torch.softmax(q * 0.3 @ k.transpose(2, 3) + self.places, dim=-1) @ v


class Crossed(Attends):
    """Queries of some tokens, keys and values of all, and no bias in their projections."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.kv = nn.Linear(DIM, DIM, bias=False), nn.Linear(DIM, 2 * DIM, bias=False)

    def mixed(self, x: Tensor) -> Tensor:
        q = self.q(x[:, :2]).reshape(x.shape[0], -1, HEADS, WIDTH).transpose(1, 2)
        k, v = self.kv(x).reshape(x.shape[0], -1, 2, HEADS, WIDTH).permute(2, 0, 3, 1, 4).unbind(0)
        return torch.softmax(q @ k.transpose(2, 3) / 3.0, dim=-1) @ v


class OverChannels(Attends):
    """Channels attend to channels: what looks alike, and is something else."""

    def mixed(self, x: Tensor) -> Tensor:
        q, k, v = (part.transpose(2, 3) for part in self.packed(x))
        return (torch.softmax(q @ k.transpose(2, 3), dim=-1) @ v).transpose(2, 3)


class OverQueries(Attends):
    """Softmax runs over the queries."""

    def mixed(self, x: Tensor) -> Tensor:
        q, k, v = self.packed(x)
        return torch.softmax(q @ k.transpose(2, 3), dim=-2) @ v


class ScaledSum(Attends):
    """What is added to the products is scaled with them."""

    def mixed(self, x: Tensor) -> Tensor:
        q, k, v = self.packed(x)
        bias = torch.linspace(-1, 1, TOKENS * TOKENS).reshape(1, 1, TOKENS, TOKENS)
        return torch.softmax((q @ k.transpose(2, 3) + bias) * 0.5, dim=-1) @ v


class Shown(Attends):
    """The probabilities are used a second time."""

    def mixed(self, x: Tensor) -> Tensor:
        q, k, v = self.packed(x)
        shares = torch.softmax(q @ k.transpose(2, 3), dim=-1)
        return shares @ v + shares.sum(-1, keepdim=True)


class Turned(Attends):
    """Values of tokens in another order than the keys, which no channels of one tensor are."""

    def mixed(self, x: Tensor) -> Tensor:
        q, k, v = self.packed(x)
        turned = (
            v.reshape(x.shape[0], HEADS, 2, TOKENS // 2, WIDTH).transpose(2, 3).reshape(v.shape)
        )
        return torch.softmax(q @ k.transpose(2, 3), dim=-1) @ turned


TAKEN = (Attends, HeadsFirst, Fused, Biased, Crossed)
LEFT = (OverChannels, OverQueries, ScaledSum, Shown)


class Several(nn.Module):
    """Blocks with every kind of attention, each with norms, an activation and a residual sum."""

    def __init__(self, kinds: tuple[type[Attends], ...]) -> None:
        super().__init__()
        self.kinds = nn.ModuleDict({kind.__name__: kind() for kind in kinds})
        self.norms = nn.ModuleList([nn.LayerNorm(DIM) for _ in kinds])
        self.ffns = nn.ModuleList([nn.Linear(DIM, DIM) for _ in kinds])
        for norm in self.norms:
            nn.init.normal_(norm.weight, 1.0, 0.3)

    def forward(self, image: Tensor) -> Tensor:
        x = image
        for kind, norm, ffn in zip(self.kinds.values(), self.norms, self.ffns, strict=True):
            found = kind(norm(x))
            x = (
                x
                + functional.silu(ffn(x))
                + functional.pad(found, (0, 0, 0, x.shape[1] - found.shape[1]))
            )
        return x


def written(network: nn.Module, path: Path, options=OWN, batch: int = 2) -> onnx.ModelProto:
    exporter.write(
        subject(network, torch.randn(batch, TOKENS, DIM), {"mvdeploy.model": "m"}), path, options
    )
    return onnx.load(path)


def difference(network: nn.Module, path: Path, batch: int = 2) -> float:
    torch.manual_seed(3)
    image = torch.randn(batch, TOKENS, DIM)
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    (made,) = session.run(None, {"image": image.numpy()})
    with torch.inference_mode():
        exact = network.double()(image.double()).numpy()
    network.float()
    return float(np.abs(made - exact).max() / np.abs(exact).max())


def kinds(model: onnx.ModelProto) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.node)


@pytest.fixture(scope="module")
def several(tmp_path_factory) -> tuple[nn.Module, Path, onnx.ModelProto]:
    torch.manual_seed(0)
    network = Several((*TAKEN, *LEFT, Turned)).eval()
    path = tmp_path_factory.mktemp("several") / "several.onnx"
    return network, path, written(network, path)


def test_what_is_attention_is_one_operator_and_nothing_else_is(several) -> None:
    _, _, model = several
    modules = {
        p.value: node.op_type
        for node in model.graph.node
        for p in node.metadata_props
        if node.op_type in ("MultiHeadAttention", "Softmax")
    }
    expected = {f"kinds.{kind.__name__}": "MultiHeadAttention" for kind in TAKEN}
    expected |= {f"kinds.{kind.__name__}": "Softmax" for kind in (*LEFT, Turned)}
    assert modules == expected


def test_the_outputs_are_those_of_the_network(several) -> None:
    network, path, _ = several
    assert difference(network, path) < 2e-6


def test_scale_and_heads_are_those_of_the_network(several) -> None:
    _, _, model = several
    scales = {}
    for node in model.graph.node:
        if node.op_type == "MultiHeadAttention":
            told = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
            scales[node.metadata_props[0].value.rpartition(".")[2]] = told["scale"]
            assert told["num_heads"] == HEADS
    usual = WIDTH**-0.5
    wanted = {
        "Attends": usual,
        "HeadsFirst": usual,
        "Fused": usual,
        "Biased": 0.3,
        "Crossed": 1 / 3,
    }
    assert scales == pytest.approx(wanted)


def test_linear_layers_take_rows_and_keep_their_modules(several) -> None:
    _, _, model = several
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    layers = [node for node in model.graph.node if node.op_type == "Gemm"]
    assert {"ffns.0", "kinds.Attends.qkv", "kinds.Attends.proj"} <= {
        node.metadata_props[0].value for node in layers
    }
    assert not [
        node.name
        for node in model.graph.node
        if node.op_type == "MatMul"
        and node.input[1] in weights
        and node.metadata_props[0].value.startswith("ffns")
    ]
    assert all(node.metadata_props[0].key == exporter.MODULE_KEY for node in model.graph.node)
    names = [node.name for node in model.graph.node]
    assert len(set(names)) == len(names)


def test_a_batch_that_is_free_stays_free(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = Several((Attends,)).eval()
    given = subject(network, torch.randn(2, TOKENS, DIM), {"mvdeploy.model": "m"})
    free = tuple(TensorInfo(t.name, (formats.DYNAMIC, *t.shape[1:]), t.dtype) for t in given.inputs)
    exporter.write(dataclasses.replace(given, inputs=free), tmp_path / "free.onnx", OWN)
    model = onnx.load(tmp_path / "free.onnx")
    # Which tokens are whose is not told by shapes then, so attention stays; rows need no number.
    assert kinds(model)["Softmax"] == 1 and kinds(model)["Gemm"] == 3
    for batch in (1, 3):
        assert difference(network, tmp_path / "free.onnx", batch) < 2e-6


@pytest.mark.parametrize("opset", [18, 23])
def test_other_opsets(tmp_path: Path, opset: int) -> None:
    torch.manual_seed(0)
    network = Several((Attends, Biased)).eval()
    options = formats.options(
        "onnx", {"operators": "onnxruntime", "opset": opset}, precision="fp32"
    )
    model = written(network, tmp_path / "model.onnx", options, 1)
    assert [o.version for o in model.opset_import if not o.domain] == [opset]
    assert kinds(model)["MultiHeadAttention"] == 2
    assert difference(network, tmp_path / "model.onnx", 1) < 2e-6


def test_the_standard_is_kept_where_nothing_else_is_asked_for(exported) -> None:
    plain, own = exported(), exported(operators="onnxruntime")
    domains = [{n.domain for n in onnx.load(e.path).graph.node} for e in (plain, own)]
    assert domains == [{""}, {"", "com.microsoft"}]
    assert (plain.artifact.backend, own.artifact.backend) == ("", "onnxruntime")
    assert formats.options_of(own.artifact).own == OWN.own
    assert formats.marks("onnx", OWN) == ("fp32", "onnxruntime")
    assert formats.marks("onnx", STANDARD) == ("fp32",)


def test_the_export_is_as_exact_as_before_and_compared_inside(exported) -> None:
    plain, own = exported().parity, exported(operators="onnxruntime").parity
    assert plain is not None and own is not None
    assert own.passed
    assert own.summary.ratio < 2 * plain.summary.ratio
    # Packed projections are no tensor of the file any more.
    assert len(own.modules) > 0.9 * len(plain.modules)
    inside = {module.module for module in own.modules}
    assert {"layer_3.1.transformer.0.ffn.fc1", "layer_3.1.transformer.0.attention"} <= inside


def test_work_of_the_operator_is_counted(exported) -> None:
    plain, own = exported(), exported(operators="onnxruntime")
    counted = [macs.count(onnx.load(e.path), e.artifact.inputs) for e in (plain, own)]
    assert counted[0] == counted[1]
    assert counted[0].uncounted == ()
