from __future__ import annotations

import subprocess
import sys
import warnings
from collections import Counter
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from mvdeploy import formats, models, passes, plugins
from mvdeploy.errors import CheckFailed, EngineError, UsageError
from mvdeploy.formats import Options, Written
from mvdeploy.formats import executorch as exporter
from mvdeploy.formats.executorch import recording, saving
from mvdeploy.formats.executorch.backends import xnnpack
from mvdeploy.passes import FORMULATIONS
from mvdeploy.pipeline.export import Builder
from mvdeploy.records import Category, Delegation
from tests.formats.subjects import subject

with exporter.quiet():  # ExecuTorch warns of its own imports
    from executorch.backends.xnnpack import xnnpack_preprocess
    from executorch.backends.xnnpack._passes import (
        convert_to_sdpa,
        convert_to_upsample_bilinear2d,
        fuse_batch_norm,
    )
    from executorch.backends.xnnpack.partition.graphs import bilinear_2d, sdpa
    from executorch.extension.pybindings.portable_lib import _load_for_executorch

    from mvdeploy.formats.executorch import lowering

FACTS = {"mvdeploy.model": "tiny"}


class Tiny(nn.Module):
    """Two LayerNorms, which XNNPACK takes only when they are written out, and what it takes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.first, self.second = nn.LayerNorm(6), nn.LayerNorm(6)
        self.fc = nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(torch.sigmoid(self.conv(x)))
        out: Tensor = torch.tanh(self.second(torch.tanh(self.fc(x))))
        return out


def tiny() -> tuple[nn.Module, Tensor]:
    return Tiny().eval(), torch.rand(1, 3, 5, 6)


def write(path: Path, **own: object) -> Written:
    torch.manual_seed(0)
    plain = formats.options("executorch", own, formulation="plain")
    return exporter.write(subject(*tiny(), FACTS), path, formats.complete("executorch", plain))


def lowered(**own: object) -> Options:
    return formats.options("executorch", own)


# What is in the program


def test_the_whole_network_is_one_delegate(exported) -> None:
    """The network of this fixture has maps that its patches do not divide: they are resized."""
    artifact = exported("executorch").artifact
    assert artifact.delegation == Delegation(1, len(artifact.operators))
    assert artifact.delegation.full
    assert (artifact.backend, artifact.runs_on) == ("xnnpack", "")
    assert {op.delegate for op in artifact.operators} == {0}
    resized = [op.module for op in artifact.operators if "upsample" in op.type]
    assert resized == ["layer_5.1.unfold", "layer_5.1.fold"]
    assert {"torch", "executorch"} <= artifact.versions.keys()


# An export takes ten seconds: every network is in docs/support.md.
@pytest.mark.slow
def test_other_patches_and_sizes_are_one_delegate(exported) -> None:
    small = exported("executorch", model="mobilevit_xs", patches="8,4,3", size="96,128")
    assert small.artifact.delegation is not None
    assert small.artifact.delegation.full
    assert small.parity.passed


def test_it_computes_what_the_network_does(exported) -> None:
    parity = exported("executorch").parity
    assert parity.passed
    assert parity.worst.max_abs <= 1e-4
    assert parity.engine.startswith("executorch ")


def test_operators_have_names_and_modules(exported) -> None:
    artifact = exported("executorch").artifact
    assert len({op.name for op in artifact.operators}) == len(artifact.operators) > 500
    assert all(artifact.category(op.module) is not None for op in artifact.operators)
    made = {(op.module, op.type) for op in artifact.operators}
    attention = "layer_4.1.transformer.1.attention"
    assert {
        (attention, "aten.bmm.default"),
        (attention, "aten._softmax.default"),
        (f"{attention}.q", "aten.linear.default"),
        (f"{attention}.norm", "aten.rsqrt.default"),
        ("layer_3.1", "aten.cat.default"),
        ("layer_3.1.unfold", "aten.permute_copy.default"),
        ("classifier", "aten.mean.dim"),
        ("classifier.fc", "aten.linear.default"),
    } <= made
    assert artifact.category(f"{attention}.q") is Category.ATTENTION
    assert artifact.category("layer_3.1.norm") is Category.FFN


def test_operators_lie_in_the_module_that_owns_their_weights(exported) -> None:
    """Weights are named after their module: a check that knows nothing of the recording."""
    small = exported("executorch")
    owners = {
        f"p_{path}.{name}".replace(".", "_"): path
        for path in small.artifact.modules
        for name in ("weight", "bias")
    }
    checked = 0
    for op in small.artifact.operators:
        for name in op.inputs:
            if name in owners:
                assert op.module == owners[name]
                checked += 1
    assert checked > 200


def test_changes_of_layout_count_with_what_they_are_for(exported) -> None:
    operators = exported("executorch").artifact.operators
    changes = [op for op in operators if op.type == "aten._to_copy.default"]
    assert changes[0].module == "conv_1.conv"
    assert {op.module for op in changes} <= {
        "conv_1.conv",
        "classifier",
        *(f"layer_{n}.1.{part}" for n in (3, 4, 5) for part in ("unfold", "fold")),
        *(f"layer_{n}.1.project_out.conv" for n in (3, 4, 5)),
    }
    for op in changes:
        users = [user for user in operators if op.outputs[0] in user.inputs]
        assert users[0].module == op.module


def test_operators_are_those_that_the_engine_runs_in_its_order(exported, tmp_path: Path) -> None:
    with exporter.quiet():
        from executorch.devtools import Inspector
        from executorch.runtime import Runtime

    small = exported("executorch")
    program = Runtime.get().load_program(small.path, enable_etdump=True)
    program.load_method("forward").execute([torch.rand(1, 3, 96, 96)])
    program.write_etdump_result_to_file(str(tmp_path / "d.etdp"), str(tmp_path / "d.bin"))
    with warnings.catch_warnings(action="ignore"):
        blocks = Inspector(etdump_path=str(tmp_path / "d.etdp")).event_blocks
    (events,) = ([e.name for e in b.events if e.is_delegated_op] for b in blocks[1:2])
    names = {
        "aten._to_copy.default": "Transpose",
        "aten.permute_copy.default": "Transpose",
        "aten.convolution.default": "Convolution|Fully Connected",
        "aten.linear.default": "Fully Connected",
        "aten.bmm.default": "Batch Matrix Multiply",
        "aten._softmax.default": "Softmax",
        "aten.sigmoid.default": "Sigmoid",
        "aten.mul.Tensor": "Multiply|Square",
        "aten.add.Tensor": "Add",
        "aten.sub.Tensor": "Subtract",
        "aten.rsqrt.default": "Reciprocal Square Root",
        "aten.view_copy.default": "Static Reshape",
        "aten.cat.default": "Copy",
        "aten.upsample_bilinear2d.vec": "Resize Bilinear",
        "aten.mean.dim": "Mean",
    }
    assert len(events) == len(small.artifact.operators)
    for event, op in zip(events, small.artifact.operators, strict=True):
        assert event.startswith(tuple(names[op.type].split("|"))), (event, op)


def test_several_delegates_are_numbered_in_the_order_of_their_calls(tmp_path: Path) -> None:
    written = write(tmp_path / "a.pte")
    assert written.delegation is not None
    assert written.delegation.delegates == 3
    assert not written.delegation.full
    assert [(u.operator, u.module, u.count) for u in written.delegation.undelegated] == [
        ("aten.native_layer_norm.out", "first", 1),
        ("aten.native_layer_norm.out", "second", 1),
    ]
    found = [(op.delegate, op.type, op.module) for op in written.operators]
    assert [entry for entry in found if entry[1] != "aten._to_copy.default"] == [
        (0, "aten.convolution.default", "conv"),
        (0, "aten.sigmoid.default", ""),
        (1, "aten.linear.default", "fc"),
        (1, "aten.tanh.default", ""),
        (2, "aten.tanh.default", ""),
        (None, "aten.native_layer_norm.out", "first"),
        (None, "aten.native_layer_norm.out", "second"),
    ]
    assert len({op.name for op in written.operators}) == len(written.operators)
    delegated = sum(op.delegate is not None for op in written.operators)
    assert written.delegation.delegated == delegated
    assert not any("alloc" in name for op in written.operators for name in op.inputs)


def test_the_facts_are_methods_of_the_program(exported) -> None:
    with exporter.quiet():
        from executorch.runtime import Runtime

    program = Runtime.get().load_program(exported("executorch").path)
    facts = {f"mvdeploy_{name}" for name in ("model", "passes", "version", "weights")}
    assert program.method_names == {"forward", *facts}
    assert program.load_method("mvdeploy_model").execute([]) == ["mobilevit_xxs 4x2,2,2"]


# The same again


def test_the_same_network_gives_the_same_bytes(tmp_path: Path) -> None:
    """In this process, and in another with other hashes."""
    write(tmp_path / "a.pte")
    write(tmp_path / "b.pte")
    code = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[1]); "
        "import test_executorch; test_executorch.write(Path(sys.argv[2]))"
    )
    place = [str(Path(__file__).parent), str(tmp_path / "c.pte")]
    subprocess.run(
        [sys.executable, "-c", code, *place],
        check=True,
        capture_output=True,
        env={"PYTHONHASHSEED": "7", "PYTHONPATH": str(Path(formats.__file__).parents[2])},
    )
    first, *others = [(tmp_path / name).read_bytes() for name in ("a.pte", "b.pte", "c.pte")]
    assert all(other == first for other in others)


class Attending(nn.Module):
    """Attention with a mask, and a resize: what the passes that are left out look for."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 1)
        self.register_buffer("mask", torch.zeros(9, 9))

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.interpolate(self.conv(x), (9, 8), mode="bilinear")
        return nn.functional.scaled_dot_product_attention(x, x, x, attn_mask=self.mask)


@pytest.mark.parametrize("make", [tiny, lambda: (Attending().eval(), torch.rand(1, 2, 6, 6))])
def test_what_is_left_out_changes_nothing(make) -> None:
    class Whole:
        """XNNPACK without anything left out."""

        partitioners = staticmethod(xnnpack.partitioners)
        lowering = staticmethod(recording.recorded)

    network, example = make()
    with exporter.quiet():
        found = [
            lowering.lower(torch.export.export(network, (example,)), backend, {})
            for backend in (xnnpack, Whole)
        ]
    assert found[0] == found[1]


def test_the_patterns_that_are_not_searched_for_are_as_assumed() -> None:
    """`saving` relies on it; another version of ExecuTorch may have others."""
    with exporter.quiet():
        for graph in bilinear_2d.get_graphs():
            assert targets(graph) == {"aten.upsample_bilinear2d.vec"}
        for graph in sdpa.get_graphs():
            assert saving._MASKED in targets(graph)


def test_the_table_of_operators_is_the_same_by_the_quick_parser() -> None:
    import ruamel.yaml
    import yaml
    from executorch.exir.dialects import edge

    table = (Path(edge.__path__[0]) / "edge.yaml").read_text(encoding="utf-8")
    assert yaml.load(table, yaml.CSafeLoader) == ruamel.yaml.YAML(typ="safe").load(table)


def test_a_pass_is_left_out_only_where_nothing_is_for_it() -> None:
    def run(step: object, graph: object) -> str:
        return "run"

    class Normed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm2d(3)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.norm(x)
            return out

    call = saving._if_needed(run, saving._named("batch_norm"))
    example = torch.zeros(1, 3, 4, 4)
    with_norm = torch.export.export(Normed().eval(), (example,)).graph_module
    without = torch.export.export(nn.ReLU(), (example,)).graph_module
    assert call(None, with_norm) == "run"
    assert call(None, without).modified is False


def test_a_graph_is_compiled_when_it_is_called() -> None:
    with saving.saved():
        graph = torch.fx.symbolic_trace(nn.ReLU())
        assert graph.code == ""
        assert graph(torch.tensor([-1.0, 2.0])).tolist() == [0.0, 2.0]
        assert "relu" in graph.code.lower()
        for node in list(graph.graph.nodes):
            if node.op == "output":
                node.args = (next(iter(graph.graph.nodes)),)
        graph.recompile()
        assert graph(torch.tensor([-1.0])).tolist() == [-1.0]


def targets(graph: torch.fx.GraphModule) -> set[str]:
    return {str(n.target.__name__) for n in graph.graph.nodes if n.op == "call_function"}


def test_what_was_replaced_comes_back(tmp_path: Path) -> None:
    from torch.fx import traceback

    def state() -> list[object]:
        return [
            xnnpack_preprocess.get_node_visitors,
            xnnpack_preprocess.XnnpackBackend.__dict__["preprocess"],
            convert_to_upsample_bilinear2d.ConvertToUpsampleBilinear2d.__dict__["call"],
            convert_to_sdpa.ConvertToSDPAPass.__dict__["call"],
            fuse_batch_norm.FuseBatchNormPass.__dict__["call"],
            torch.fx.GraphModule.recompile,
            traceback.copy,
        ]

    before = state()
    with pytest.raises(KeyboardInterrupt), xnnpack.lowering():
        assert not any(now is then for now, then in zip(state(), before, strict=True))
        raise KeyboardInterrupt
    assert all(now is then for now, then in zip(state(), before, strict=True))


# What can go wrong


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (xnnpack_preprocess, "get_node_visitors"),
        (xnnpack_preprocess, "XnnpackBackend"),
        (convert_to_sdpa, "ConvertToSDPAPass"),
        (convert_to_upsample_bilinear2d, "ConvertToUpsampleBilinear2d"),
    ],
)
def test_another_version_of_executorch_is_an_engine_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: object, name: str
) -> None:
    monkeypatch.delattr(owner, name)
    with pytest.raises(EngineError, match="This version of ExecuTorch"):
        write(tmp_path / "a.pte")
    assert list(tmp_path.iterdir()) == []


def test_instructions_that_are_not_those_of_the_graph_are_an_engine_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lowering, "_kernels", lambda graph: iter(()))
    with pytest.raises(EngineError, match="are not those of its graph"):
        write(tmp_path / "a.pte")
    assert list(tmp_path.iterdir()) == []


class Branches(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + 1 if x.sum() > 0 else x


def test_a_network_that_cannot_be_exported_is_an_engine_error(tmp_path: Path) -> None:
    with pytest.raises(
        EngineError,
        match=r"branches on values that it computes \(test_executorch.py, line \d+\), which Exec",
    ) as caught:
        exporter.write(
            subject(Branches(), torch.rand(1, 3, 8, 8), FACTS),
            tmp_path / "a.pte",
            formats.complete("executorch", Options()),
        )
    assert caught.value.__cause__ is not None
    assert list(tmp_path.iterdir()) == []


def test_full_delegation_can_be_required(tmp_path: Path) -> None:
    message = r"3 delegates, 2 operators .* \(aten.native_layer_norm.out in 'first'; .*'second'\)"
    with pytest.raises(CheckFailed, match=message):
        write(tmp_path / "a.pte", full_delegation=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("own", "dynamic", "message"),
    [
        ({"backend": "xnnpak"}, False, "no backend 'xnnpak'. Did you mean 'xnnpack'"),
        ({"opset": 18}, False, "has no --opset"),
        ({}, True, "has no --batch dynamic"),
    ],
)
def test_options_that_it_does_not_have_are_refused(own, dynamic: bool, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        options = formats.options("executorch", own, dynamic_batch=dynamic)
        formats.check_options("executorch", options)


def test_the_format_is_known_without_importing_the_exporter() -> None:
    code = (
        "import sys; from mvdeploy import formats; from mvdeploy.formats import Options; "
        "formats.suffix('executorch'); formats.formulation('executorch', Options()); "
        "chosen = formats.options('executorch', {'backend': 'coreml'}); "
        "formats.check_options('executorch', chosen); "
        "heavy = {'torch', 'executorch', 'coremltools'} & set(sys.modules); "
        "sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# Weights


class Halves(nn.Module):
    """Layers whose weights are the halves of one tensor, as those of a packed projection."""

    def __init__(self) -> None:
        super().__init__()
        self.packed = nn.Linear(4, 8)

    def forward(self, x: Tensor) -> Tensor:
        for half in (slice(0, 4), slice(4, 8)):
            x = functional.linear(x, self.packed.weight[half], self.packed.bias[half])
        return x


def test_a_part_of_a_tensor_is_written_as_such(tmp_path: Path) -> None:
    assert wrong_by(tmp_path, None, Halves(), torch.randn(2, 4)) < 1e-5


def test_otherwise_it_would_be_another_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporter, "_owning", lambda program: program)
    assert wrong_by(tmp_path, None, Halves(), torch.randn(2, 4)) > 1e-2


# Rewritings


class AttentionOverMaps(nn.Module):
    """A softmax of four dimensions after a convolution, as in EfficientFormerV2."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(8, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.softmax(self.conv(x), dim=-1)


@pytest.mark.parametrize("formulation", [None, "plain"])
def test_softmax_of_four_dimensions_is_computed_right(
    tmp_path: Path, formulation: str | None
) -> None:
    assert wrong_by(tmp_path, formulation, AttentionOverMaps(), torch.randn(1, 8, 6, 5)) < 1e-6


def test_without_its_rewriting_it_would_be_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(xnnpack, "NEEDED", ())
    assert wrong_by(tmp_path, "plain", AttentionOverMaps(), torch.randn(1, 8, 6, 5)) > 1e-2


def wrong_by(folder: Path, formulation: str | None, network: nn.Module, x: Tensor) -> float:
    """Return how far a program is from its network."""
    asked = formats.options("executorch", formulation=formulation)
    path = folder / "a.pte"
    options = formats.complete("executorch", asked)
    exporter.write(subject(network.eval(), x, FACTS), path, options)
    (found,) = _load_for_executorch(str(path)).run_method("forward", (x,))
    with torch.inference_mode():
        return float((found - network(x)).abs().max())


# Backends and formulations


def test_every_backend_says_where_it_runs_and_how_the_network_is_written_for_it() -> None:
    room = "mvdeploy.formats.executorch.backends"
    assert plugins.names(room) == ("coreml", "portable", "vulkan", "xnnpack")
    for name in plugins.names(room):
        backend = plugins.load(room, name, "backend")
        assert backend.FORMULATION in FORMULATIONS
        assert isinstance(backend.RUNS_ON, str)
        assert callable(backend.partitioners)


@pytest.fixture(scope="module")
def anchor() -> Builder:
    return Builder(models.make_spec("yardstick"))


@pytest.mark.parametrize(
    ("backend", "runs_on"), [("coreml", "an Apple device"), ("vulkan", "Vulkan driver")]
)
def test_what_does_not_run_here_is_made_but_not_verified(
    anchor: Builder, tmp_path: Path, backend: str, runs_on: str
) -> None:
    done = anchor.export("executorch", tmp_path / "a.pte", lowered(backend=backend))
    assert done.parity is None
    assert runs_on in done.artifact.runs_on
    assert done.artifact.backend == backend
    assert done.artifact.delegation is not None
    assert done.artifact.delegation.delegates > 0
    assert formats.read(done.path) == done.artifact
    assert ("coremltools" in done.artifact.versions) is (backend == "coreml")


def test_portable_programs_have_no_delegate(anchor: Builder, tmp_path: Path) -> None:
    done = anchor.export("executorch", tmp_path / "a.pte", lowered(backend="portable"))
    assert done.parity is not None and done.parity.passed
    assert done.artifact.delegation is not None
    assert (done.artifact.delegation.delegates, done.artifact.delegation.delegated) == (0, 0)
    left = Counter(op.type for op in done.artifact.operators)
    assert left["aten.convolution.out"] == 2
    assert {op.delegate for op in done.artifact.operators} == {None}


def test_another_network_fits_into_a_delegate_too(anchor: Builder, tmp_path: Path) -> None:
    done = anchor.export("executorch", tmp_path / "a.pte", lowered(full_delegation=True))
    assert done.artifact.delegation is not None
    assert done.artifact.delegation.full
    assert done.changes is None
    again = anchor.export("executorch", tmp_path / "a.pte")
    assert again.changes == ()


def test_a_missing_full_delegation_leaves_the_old_file(anchor: Builder, tmp_path: Path) -> None:
    path = tmp_path / "a.pte"
    anchor.export("executorch", path)
    before = path.read_bytes()
    with pytest.raises(CheckFailed, match="not delegated as a whole: 0 delegates"):
        anchor.export("executorch", path, lowered(backend="portable", full_delegation=True))
    assert path.read_bytes() == before
    assert {p.name for p in tmp_path.iterdir()} == {"a.pte", "a.pte.json"}


def test_a_formulation_is_built_once_and_shared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, applied = passes.apply, []

    def counting(network: nn.Module, example: Tensor, names: tuple[str, ...]):
        applied.append(names)
        return real(network, example, names)

    monkeypatch.setattr(passes, "apply", counting)
    steps: list[str] = []
    builder = Builder(models.make_spec("yardstick"), on_step=steps.append)
    builder.export("executorch", tmp_path / "a.pte")
    builder.export("pytorch", tmp_path / "a.pt2")
    builder.export("pytorch", tmp_path / "b.pt2")
    builder.export("pytorch", tmp_path / "c.pt2", Options(formulation="delegable"))
    assert applied == [FORMULATIONS["delegable"], FORMULATIONS["plain"]]
    assert sum(step.endswith(": build") for step in steps) == 1


def test_an_unknown_formulation_is_refused_before_any_work(tmp_path: Path) -> None:
    steps: list[str] = []
    builder = Builder(models.make_spec("yardstick"), on_step=steps.append)
    with pytest.raises(UsageError, match="no formulation 'plane'"):
        builder.export("pytorch", tmp_path / "a.pt2", Options(formulation="plane"))
    assert steps == []
    assert list(tmp_path.iterdir()) == []


# torch 2.13 copies its own deprecated tree specifications.
@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")
def test_what_is_decomposed_is_not_decomposed_again() -> None:
    aten = torch.ops.aten
    program = torch.export.export(nn.SiLU(), (torch.zeros(3),))
    silu = {aten.silu.default: lambda x: x * x.sigmoid()}
    with saving.saved():
        written = program.run_decompositions(silu)  # also where it was only traced
        assert written is not program
        assert written.run_decompositions(silu) is written
        assert written.run_decompositions({}) is not written
        other = written.run_decompositions({aten.mul.Tensor: lambda x, y: x / (1 / y)})
        assert other is not written
        assert aten.mul.Tensor not in [node.target for node in other.graph.nodes]
