from __future__ import annotations

import getpass
import os
import tempfile
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from torch import Tensor, nn

import mvdeploy
from mvdeploy import formats, models
from mvdeploy.errors import EngineError
from mvdeploy.formats import onnx as exporter
from mvdeploy.formats import pytorch
from mvdeploy.records import Category
from tests.formats.subjects import subject

FACTS = {
    "mvdeploy.version": mvdeploy.__version__,
    "mvdeploy.weights": "seed 0",
    "mvdeploy.passes": "fold_batchnorm",
}


def test_the_file_is_valid_onnx(exported) -> None:
    small = exported()
    model = onnx.load(small.path)
    onnx.checker.check_model(model, full_check=True)
    (image,), (logits,) = model.graph.input, model.graph.output
    shapes = [[d.dim_value for d in v.type.tensor_type.shape.dim] for v in (image, logits)]
    assert (image.name, logits.name) == ("image", "logits")
    assert shapes == [[1, 3, 96, 96], [1, 1000]]
    assert model.graph.name == small.spec.label
    facts = {p.key: p.value for p in model.metadata_props}
    assert facts == {**FACTS, "mvdeploy.model": small.spec.label}


def test_every_node_carries_the_module_that_the_manifest_has(exported) -> None:
    small = exported()
    graph = onnx.load(small.path).graph
    found = [(n.name, n.op_type, tuple(filter(None, n.input)), tuple(n.output)) for n in graph.node]
    operators = small.artifact.operators
    assert found == [(op.name, op.type, op.inputs, op.outputs) for op in operators]
    assert len({op.name for op in operators}) == len(operators) > 300
    for made, op in zip(graph.node, operators, strict=True):
        assert [(p.key, p.value) for p in made.metadata_props] == [("mvdeploy.module", op.module)]
        small.network.get_submodule(op.module)
        assert small.artifact.category(op.module) is not None


def test_operators_lie_in_the_module_that_owns_their_weights(exported) -> None:
    """Parameters are named after their module: a check that knows nothing of scopes."""
    small = exported()
    owners = {
        f"{path}.{name}"
        for path, module in small.network.named_modules()
        for name, _ in module.named_parameters(recurse=False)
    }
    checked = 0
    for op in small.artifact.operators:
        for name in op.inputs:
            if name in owners or name.removesuffix(".bias") + ".weight" in owners:
                assert op.module == name.rpartition(".")[0]
                checked += 1
    assert checked > 100


def test_every_block_has_its_operators(exported) -> None:
    small = exported()
    made = {(op.module, op.type) for op in small.artifact.operators}
    for path, module in small.network.named_modules():
        kind = type(module).__name__
        expected = {
            "Conv2d": {(path, "Conv")},
            "LayerNorm": {(path, "LayerNormalization")},
            "OutputNorm": {(path, "LayerNormalization")},
            "SiLU": {(path, "Sigmoid"), (path, "Mul")},
            "Attention": {(path, "Softmax"), (path, "MatMul"), (path, "Add")},
            "FeedForward": {(path, "Add")},
            "Unfold": {(path, "Transpose"), (path, "Reshape")},
            "Fold": {(path, "Transpose"), (path, "Reshape")},
            "MobileViTBlock": {(path, "Concat")},
        }.get(kind, set())
        assert expected <= made, path
    assert ("layer_5.1.unfold", "Resize") in made
    assert ("layer_4.1.unfold", "Resize") not in made
    assert "BatchNormalization" not in {kind for _, kind in made}


@pytest.mark.parametrize("format_name", ["onnx", "pytorch", "executorch"])
def test_nothing_of_the_machine_is_in_the_file(exported, format_name: str) -> None:
    small = exported(format_name)
    machine = {
        str(Path(mvdeploy.__file__).parent),
        str(Path(torch.__file__).parent),
        str(Path(__file__).parent),
        tempfile.gettempdir() + os.sep,
        str(Path.home()) + os.sep,
        f"/{getpass.getuser()}/",
        '.py", line',
        '.py\\", line',
    }
    for path in (small.path, formats.manifest_path(small.path)):
        data = path.read_bytes()
        assert [word for word in machine if word.encode() in data] == []


def test_manifest(exported) -> None:
    small = exported()
    artifact = small.artifact
    assert (artifact.path, artifact.format, artifact.precision) == (small.path.name, "onnx", "fp32")
    assert artifact.size_bytes == small.path.stat().st_size
    assert artifact.parameters == 1_272_024
    assert len(artifact.passes[0].changed) == 32
    assert artifact.passes[0].left == ()
    assert artifact.preprocessing == models.preprocessing(small.spec)
    assert {"mvdeploy", "python", "torch", "onnx", "onnxscript"} <= artifact.versions.keys()
    assert artifact.category("layer_3.1.fold") is Category.FOLD
    assert artifact.modules.keys() == {path for path, _ in small.network.named_modules()}
    (image,), (logits,) = artifact.inputs, artifact.outputs
    assert (image.name, image.shape, image.dtype) == ("image", (1, 3, 96, 96), "float32")
    assert (logits.name, logits.shape, logits.dtype) == ("logits", (1, 1000), "float32")


def test_pytorch_operators_have_modules(exported) -> None:
    small = exported("pytorch")
    program = torch.export.load(small.path)
    names = [n.name for n in program.graph.nodes if n.op == "call_function"]
    assert [op.name for op in small.artifact.operators] == names
    for op in small.artifact.operators:
        small.network.get_submodule(op.module)
        assert small.artifact.category(op.module) is not None
    made = {(op.module, op.type) for op in small.artifact.operators}
    assert ("layer_3.1.transformer.0.attention", "aten.softmax.int") in made
    assert ("layer_3.1.fuse.conv", "aten.conv2d.default") in made
    assert ("layer_3.1", "aten.cat.default") in made


def test_pytorch_carries_the_facts(exported) -> None:
    extra = dict.fromkeys((*FACTS, "mvdeploy.model"), "")
    torch.export.load(exported("pytorch").path, extra_files=extra)
    assert extra == {**FACTS, "mvdeploy.model": "mobilevit_xxs 4x2,2,2"}


def write(file: ModuleType, network: nn.Module, example: Tensor, path: Path, facts):
    name = file.__name__.rpartition(".")[2]
    given = subject(network, example, facts)
    return file.write(given, path, formats.complete(name, formats.DEFAULTS))


class Tiny(nn.Module):
    """Operators that the optimiser of the exporter moves and makes."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 36, 5))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.inner(x) * 2 + x.mean()
        return out


def test_operators_of_the_network_itself_have_an_empty_path(tmp_path: Path) -> None:
    example = torch.rand(1, 3, 8, 8)
    facts = {"mvdeploy.model": "tiny"}
    operators = write(exporter, Tiny(), example, tmp_path / "a.onnx", facts).operators
    modules = {op.type: op.module for op in operators}
    assert modules["Conv"] == "inner.0"
    assert modules["Gemm"] == "inner.2"
    assert modules["ReduceMean"] == ""
    assert modules["Add"] == ""


def graph_of(*nodes: tuple[str, list[str], list[str], str | None]) -> onnx.GraphProto:
    made = []
    for name, reads, makes, scope in nodes:
        node = onnx.helper.make_node("Op", reads, makes, name)
        if scope is not None:
            path = ["", *scope.split("."), "op"] if scope else ["", "op"]
            steps = [path[0], *[".".join(path[1 : i + 1]) for i in range(1, len(path) - 1)], "op"]
            node.metadata_props.add(key="pkg.torch.onnx.name_scopes", value=repr(steps))
        made.append(node)
    return onnx.helper.make_graph(made, "g", [], [])


def test_a_node_without_a_scope_belongs_where_its_result_goes() -> None:
    graph = graph_of(
        ("a", ["x"], ["1"], "m.a"),
        ("b", ["1"], ["2"], None),
        ("c", ["2"], ["3"], None),
        ("d", ["3"], ["4"], "m.d"),
        ("e", ["4"], ["5"], None),
    )
    assert exporter._modules(graph) == ["m.a", "m.d", "m.d", "m.d", "m.d"]


def test_a_node_that_cannot_be_placed_is_an_error() -> None:
    graph = graph_of(("a", ["x"], ["1"], "m"), ("lost", ["y"], ["2"], None))
    with pytest.raises(EngineError, match="node 'lost' cannot be traced to a module"):
        exporter._modules(graph)


class Branches(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + 1 if x.sum() > 0 else x


@pytest.mark.parametrize("file", [exporter, pytorch], ids=["onnx", "pytorch"])
def test_a_network_that_cannot_be_exported_is_an_engine_error(tmp_path: Path, file) -> None:
    facts = {"mvdeploy.model": "b"}
    with pytest.raises(EngineError) as caught:
        write(file, Branches(), torch.rand(1, 3, 8, 8), tmp_path / "a", facts)
    assert caught.value.__cause__ is not None
    assert list(tmp_path.iterdir()) == []


def test_a_program_that_the_checker_refuses_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = exporter._label

    def spoil(model: onnx.ModelProto, modules: list[str], facts: dict[str, str]) -> None:
        real(model, modules, facts)
        model.graph.node[0].input[0] = "nowhere"

    monkeypatch.setattr(exporter, "_label", spoil)
    with pytest.raises(EngineError, match="nowhere"):
        facts = {"mvdeploy.model": "b"}
        write(exporter, Tiny(), torch.rand(1, 3, 8, 8), tmp_path / "a.onnx", facts)
    assert list(tmp_path.iterdir()) == []


class Guarded(nn.Module):
    """What keeps a divisor from being 0 decides the result where it would be."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc(x) / (x.sum(-1, keepdim=True) + 1e-8)
        return out


def test_no_small_term_is_dropped(tmp_path: Path) -> None:
    guarded = subject(Guarded(), torch.ones(1, 3, 4), FACTS | {"mvdeploy.model": "guarded"})
    options = formats.complete("onnx", formats.options("onnx"))
    written = exporter.write(guarded, tmp_path / "a.onnx", options)
    session = ort.InferenceSession(tmp_path / "a.onnx")
    (found,) = session.run(None, {"image": np.zeros((1, 3, 4), np.float32)})
    with torch.inference_mode():
        wanted = guarded.network(torch.zeros(1, 3, 4))
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found, wanted, rtol=1e-6)
    assert {op.module for op in written.operators} == {"", "fc"}


def test_weights_are_those_of_the_folded_network(exported) -> None:
    small = exported()
    tensors = {
        t.name: onnx.numpy_helper.to_array(t) for t in onnx.load(small.path).graph.initializer
    }
    state = small.network.state_dict()
    same = "classifier.fc.weight"
    assert np.array_equal(tensors[same], state[same].numpy())
    scale = state["conv_1.norm.weight"] / (state["conv_1.norm.running_var"] + 1e-5).sqrt()
    folded = state["conv_1.conv.weight"] * scale[:, None, None, None]
    np.testing.assert_allclose(tensors["conv_1.conv.weight"], folded.numpy(), rtol=1e-5)
