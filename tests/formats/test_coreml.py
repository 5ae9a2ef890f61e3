"""Core ML packages: what is in them, what is said of them, and what is refused."""

from __future__ import annotations

import gc
import json
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from mvdeploy import files, formats, models
from mvdeploy.engines import SessionRequest
from mvdeploy.errors import EngineError, UsageError
from mvdeploy.formats import Options, coreml
from mvdeploy.pipeline.export import Builder
from mvdeploy.pipeline.files import Opened, measurable
from mvdeploy.quiet import quiet
from mvdeploy.records import Artifact, PassReport, Preprocessing
from tests.conftest import MakeExport
from tests.formats.subjects import subject

with quiet():
    import coremltools as ct

    from mvdeploy.formats.coreml import conversion

FACTS = {"mvdeploy.version": "1.2", "mvdeploy.model": "tiny"}
LABELS = tuple(f"class {i}" for i in range(5))


class Tiny(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.act = nn.SiLU()
        self.head = nn.Linear(4, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.act(self.conv(x)).mean((2, 3)))


def write(
    path: Path, rule: Preprocessing | None = None, precision: str | None = None, **own: Any
) -> formats.Written:
    torch.manual_seed(0)
    tiny = subject(Tiny(), torch.rand(1, 3, 8, 8), FACTS, rule)
    options = formats.options("coreml", own, precision=precision)
    return coreml.write(tiny, path, formats.complete("coreml", options))


def spec(path: Path) -> Any:
    return ct.models.MLModel(str(path), skip_model_load=True).get_spec()


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, formats.Written]:
    path = tmp_path_factory.mktemp("coreml") / "a.mlpackage"
    return path, write(path, author="Somebody", license="MIT")


def test_inputs_and_outputs_are_named_floats(package: tuple[Path, formats.Written]) -> None:
    path, written = package
    described = spec(path).description
    assert [i.name for i in described.input] == ["image"]
    assert [o.name for o in described.output] == ["logits"]
    for one in (*described.input, *described.output):
        assert one.type.multiArrayType.dataType == 65568  # float32, in half precision too
    assert written.outputs is not None and written.outputs[0].shape == (1, 5)


def test_the_package_says_what_it_is(package: tuple[Path, formats.Written]) -> None:
    metadata = spec(package[0]).description.metadata
    assert (metadata.author, metadata.license) == ("Somebody", "MIT")
    assert (metadata.shortDescription, metadata.versionString) == ("tiny", "1.2")
    assert {k: v for k, v in metadata.userDefined.items() if k in FACTS} == FACTS
    assert not any("date" in key for key in metadata.userDefined)


def test_every_operator_has_its_module(package: tuple[Path, formats.Written]) -> None:
    path, written = package
    found = {op.name: (op.type, op.module) for op in written.operators}
    function = spec(path).mlProgram.functions["main"]
    made = function.block_specializations[function.opset].operations
    assert list(found) == [op.outputs[0].name for op in made if op.type != "const"]
    # The casts count with what they are for.
    assert found["image_to_fp16"] == ("cast", "conv")
    assert found["logits"] == ("cast", "head")
    assert {module for _, module in found.values()} == {"conv", "act", "", "head"}


def test_the_same_network_gives_the_same_bytes(
    package: tuple[Path, formats.Written], tmp_path: Path
) -> None:
    write(tmp_path / "b.mlpackage", author="Somebody", license="MIT")
    assert files.sha256(tmp_path / "b.mlpackage") == files.sha256(package[0])
    names = {file.name for file in tmp_path.rglob("*") if file.is_file()}
    assert names == {"Manifest.json", "model.mlmodel", "weight.bin"}


def test_single_precision_has_no_halves(tmp_path: Path) -> None:
    written = write(tmp_path / "a.mlpackage", precision="fp32")
    assert "cast" not in {op.type for op in written.operators}


@pytest.mark.parametrize(
    ("target", "version"), [("iOS15", 6), ("iOS16", 7), ("iOS17", 8), ("iOS18", 9), ("iOS26", 10)]
)
def test_the_deployment_target_is_that_of_the_package(
    tmp_path: Path, target: str, version: int
) -> None:
    write(tmp_path / "a.mlpackage", deployment_target=target)
    assert spec(tmp_path / "a.mlpackage").specificationVersion == version


@pytest.mark.parametrize(
    ("own", "common", "message"),
    [
        ({"deployment_target": "iOS14"}, {}, "iOS14 has no ML programs"),
        ({"deployment_target": "iOS13"}, {}, "neural-network format"),
        ({"deployment_target": "ios17"}, {}, "Did you mean 'iOS17'"),
        ({"deployment_target": "tvOS17"}, {}, "no deployment target 'tvOS17'"),
        ({"labels": LABELS}, {}, "Labels are for a program that takes images"),
        ({"opset": 18}, {}, "has no --opset"),
        ({}, {"dynamic_batch": True}, "has no --batch dynamic"),
        ({"backend": "xnnpack"}, {}, "has no --backend"),
        (
            {"deployment_target": "iOS15"},
            {"formulation": "channels_first"},
            "iOS15 cannot run the channels_first formulation",
        ),
    ],
)
def test_what_it_does_not_have_is_refused(own: Any, common: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        formats.check_options("coreml", formats.options("coreml", own, **common))


@pytest.mark.parametrize("name", ["onnx", "pytorch", "executorch"])
def test_other_formats_refuse_its_options(name: str) -> None:
    for own, flag in (
        ({"deployment_target": "iOS17"}, "--deployment-target"),
        ({"image_input": True}, "--image-input"),
        ({"author": "me"}, "--author"),
    ):
        with pytest.raises(UsageError, match=f"has no {flag}.*"):
            formats.options(name, own)
    with pytest.raises(UsageError, match=f"are not those of the format {name}"):
        formats.check_options(name, Options(own=coreml.Options()))
    with pytest.raises(UsageError, match="is not written in palette6"):
        formats.check_options(name, Options(precision="palette6"))


def test_the_formulation_suits_the_system() -> None:
    old = formats.options("coreml", {"deployment_target": "iOS15"})
    assert formats.formulation("coreml", Options()) == "channels_first"
    assert formats.formulation("coreml", old) == "plain"
    assert formats.formulation("coreml", Options(formulation="plain")) == "plain"
    assert formats.precision("coreml", Options()) == "fp16"
    assert formats.precision("onnx", Options()) == "fp32"


def test_what_cannot_be_traced_is_an_error(tmp_path: Path) -> None:
    class Branches(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x if x.sum() > 0 else -x

    with pytest.raises(EngineError, match=r"branches on values that .* which coremltools cannot"):
        coreml.write(
            subject(Branches(), torch.rand(1, 3, 8, 8), FACTS),
            tmp_path / "a.mlpackage",
            formats.complete("coreml", Options()),
        )
    assert list(tmp_path.iterdir()) == []


def test_what_changes_nothing_is_left_out(tmp_path: Path) -> None:
    """Swin's traces have it, and coremltools does not know it."""

    class Aliased(Tiny):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = super().forward(torch.ops.aten.alias.default(x))
            return out

    aliased = subject(Aliased(), torch.rand(1, 3, 8, 8), FACTS)
    written = coreml.write(aliased, tmp_path / "a.mlpackage", formats.complete("coreml", Options()))
    assert "conv" in {operator.module for operator in written.operators}


def test_an_operator_without_a_module_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mvdeploy.formats.coreml import conversion

    monkeypatch.setattr(conversion, "_module", lambda mapping, output: None)
    with pytest.raises(EngineError, match="does not say which module the operator 'image_to_fp16'"):
        write(tmp_path / "a.mlpackage")


# Packages that take images


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A verified classifier for an app, and its twin."""
    network = models.make_spec("yardstick")
    labels = tuple(f"class {i}" for i in range(network.num_classes))
    options = formats.options("coreml", {"image_input": True, "labels": labels})
    path = tmp_path_factory.mktemp("app") / "a.mlpackage"
    return Builder(network).export("coreml", path, options)


def test_an_app_gets_label_and_probabilities_for_an_image(app: Any) -> None:
    described = spec(app.path).description
    assert described.input[0].type.WhichOneof("Type") == "imageType"
    assert described.predictedFeatureName == "classLabel"
    assert [o.name for o in app.artifact.outputs] == ["classLabel_probs", "classLabel"]
    assert app.artifact.inputs[0].dtype == "uint8"
    assert app.parity.passed


def test_its_twin_takes_a_tensor_and_is_what_is_measured(app: Any) -> None:
    assert app.artifact.twin == "a-tensor.mlpackage" == app.twin.path.name
    assert app.twin.artifact.inputs[0].dtype == "float32"
    assert app.twin.parity.passed
    assert measurable(app.path) == Opened(app.twin.path, app.twin.artifact)
    assert measurable(app.twin.path) == Opened(app.twin.path, app.twin.artifact)
    assert formats.read(app.path) == app.artifact


def test_a_missing_twin_is_named(app: Any, tmp_path: Path) -> None:
    shutil.copytree(app.path, tmp_path / "a.mlpackage")
    shutil.copy(formats.manifest_path(app.path), tmp_path)
    with pytest.raises(UsageError, match=r"a-tensor\.mlpackage, and that is not there"):
        measurable(tmp_path / "a.mlpackage")


def test_the_order_of_channels_and_the_scale_are_the_checkpoints(tmp_path: Path) -> None:
    for order, number in (("RGB", 20), ("BGR", 30)):
        rule = Preprocessing((8, 8), (8, 8), channel_order=order)
        path = tmp_path / f"{order}.mlpackage"
        write(path, rule, image_input=True)
        assert spec(path).description.input[0].type.imageType.colorSpace == number


@pytest.mark.parametrize("std", [(0.5, 0.5, 0.5), (0.2, 0.3, 0.4)])
def test_mean_and_deviation_are_in_the_package(tmp_path: Path, std: Any) -> None:
    """Pixels through the saved package, against the network on what the rule makes of them."""
    from mvdeploy.verify import images, mil

    rule = Preprocessing((8, 8), (8, 8), channel_order="BGR", mean=(0.1, 0.4, 0.6), std=std)
    write(tmp_path / "a.mlpackage", rule, "fp32", image_input=True)
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (8, 8, 3), generator=generator).to(torch.uint8).numpy()
    session = mil.open_session(SessionRequest(tmp_path / "a.mlpackage", {"image": pixels}))
    session.infer()
    torch.manual_seed(0)
    with torch.inference_mode():
        wanted = Tiny().eval()(torch.from_numpy(images.tensor(pixels, rule)))
    torch.testing.assert_close(torch.from_numpy(session.outputs()["logits"]), wanted)


class Reshaping(nn.Module):
    """Its constants get names that coremltools also gives to labels when it reads them."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3 * 8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows = x.reshape(1, 3 * 8, 8)
        return self.head(rows.permute(0, 2, 1)).reshape(1, 8, 5).mean(1)


def test_labels_are_told_from_other_constants(tmp_path: Path) -> None:
    from mvdeploy.verify import images, mil

    rule = Preprocessing((8, 8), (8, 8))
    network = Reshaping().eval()
    reshaping = subject(network, torch.rand(1, 3, 8, 8), FACTS, rule)
    own = {"image_input": True, "labels": LABELS}
    options = formats.complete("coreml", formats.options("coreml", own, precision="fp32"))
    coreml.write(reshaping, tmp_path / "a.mlpackage", options)
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    session = mil.open_session(SessionRequest(tmp_path / "a.mlpackage", {"image": pixels}))
    session.infer()
    with torch.inference_mode():
        wanted = network(torch.from_numpy(images.tensor(pixels, rule))).softmax(-1)[0]
    torch.testing.assert_close(torch.from_numpy(session.outputs()["classLabel_probs"]), wanted)


def test_as_many_labels_as_classes_are_needed(tmp_path: Path) -> None:
    rule = Preprocessing((8, 8), (8, 8))
    with pytest.raises(UsageError, match="There are 4 labels, but the network has 5 classes"):
        write(tmp_path / "a.mlpackage", rule, image_input=True, labels=LABELS[:4])


# Verified exports


# Two models, maps that patches divide and such that are resized, and each precision.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "patches", "precision"),
    [
        ("mobilevit_xxs", "2,2,2", "fp16"),
        ("mobilevit_s", "3,3,3", "fp32"),
    ],
)
def test_every_variant_is_verified(
    exported: MakeExport, model: str, patches: str, precision: str
) -> None:
    size = "128" if patches == "3,3,3" else "64"  # the least that has maps to be resized
    done = exported("coreml", model=model, patches=patches, size=size, precision=precision)
    assert done.artifact.precision == precision
    assert done.parity.passed
    assert done.parity.modules
    types = Counter(op.type for op in done.artifact.operators)
    assert types["transpose"] <= 6 and types["linear"] <= 1
    assert {op.module for op in done.artifact.operators} <= done.artifact.modules.keys()


@pytest.mark.parametrize("precision", ["int8", "palette8"])
def test_a_system_that_cannot_read_such_weights_is_refused(precision: str) -> None:
    given = formats.options("coreml", {"deployment_target": "iOS15"}, precision=precision)
    with pytest.raises(UsageError, match=f"iOS15 cannot read weights in {precision}"):
        formats.check_options("coreml", given)


def test_scales_of_a_transposed_convolution_are_of_its_output_channels(tmp_path: Path) -> None:
    """They are on another axis than those of other layers."""
    source = tmp_path / "nets.py"
    source.write_text(
        "from torch import nn\n"
        "def make():\n"
        "    return nn.Sequential(nn.Conv2d(3, 32, 3), nn.ConvTranspose2d(32, 16, 3))\n"
    )
    builder = Builder(models.make_spec(f"{source}:make", image_size=(16, 16), task="tensors"))
    done = builder.export("coreml", tmp_path / "a.mlpackage", Options("int8"))
    assert done.parity is not None and done.parity.passed
    assert done.parity.weights == "network"


def test_a_program_is_checked_after_all_passes_and_not_after_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[int] = []
    real = conversion.Program.validate

    def validate(program: Any, *args: Any, **more: Any) -> None:
        checked.append(len(program.functions["main"].operations))
        real(program, *args, **more)

    monkeypatch.setattr(conversion.Program, "validate", validate)
    write(tmp_path / "a.mlpackage")
    assert 3 <= len(checked) < 12


def test_what_was_there_is_left_out_of_collections() -> None:
    gc.unfreeze()
    try:
        with conversion._own_garbage():
            assert gc.get_freeze_count() > 0
        assert gc.get_freeze_count() == 0
    finally:
        gc.freeze()
    with conversion._own_garbage():
        pass
    assert gc.get_freeze_count() > 0  # somebody else's


def test_an_existing_package_is_replaced_whole(tmp_path: Path) -> None:
    builder = Builder(models.make_spec("yardstick"))
    first = builder.export("coreml", tmp_path / "a.mlpackage")
    stray = tmp_path / "a.mlpackage" / "stray"
    stray.write_text("left by another tool")
    with pytest.raises(UsageError, match="sha256 differs"):
        formats.read(tmp_path / "a.mlpackage")
    again = builder.export("coreml", tmp_path / "a.mlpackage")
    assert not stray.exists()
    assert again.artifact == first.artifact
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.mlpackage", "a.mlpackage.json"]


def test_a_damaged_package_is_refused(tmp_path: Path) -> None:
    done = Builder(models.make_spec("yardstick")).export("coreml", tmp_path / "a.mlpackage")
    (weights,) = done.path.rglob("weight.bin")
    data = bytearray(weights.read_bytes())
    data[-3] ^= 1
    weights.write_bytes(data)
    with pytest.raises(UsageError, match="sha256 differs"):
        formats.read(done.path)
    shutil.rmtree(done.path)
    with pytest.raises(UsageError, match="There is no file"):
        formats.read(done.path)


def test_the_manifest_is_plain_json(app: Any) -> None:
    manifest = json.loads(formats.manifest_path(app.path).read_text())
    assert manifest["twin"] == "a-tensor.mlpackage"
    assert manifest["placement"] == []
    assert manifest["precision"] == "fp16"


def test_the_sources_passes_are_told(tmp_path: Path) -> None:
    network = models.make_spec("yardstick")
    built = models.build(network)
    source = formats.Source(
        network,
        built,
        models.module_table(built),
        models.parameter_count(built),
        (PassReport("fold_batchnorm"),),
        models.preprocessing(network),
    )
    artifact: Artifact = formats.write(source, "coreml", tmp_path / "a.mlpackage")
    told = spec(tmp_path / "a.mlpackage").description.metadata.userDefined
    assert told["mvdeploy.passes"] == "fold_batchnorm"
    assert told["mvdeploy.weights"] == f"seed {network.seed}"
    assert artifact.format == "coreml"


class KeptInFloat32(nn.Module):
    """Linear attention, whose sums of squares over many positions half precision has not."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Conv2d(3, 12, 1)
        self.head = nn.Linear(4, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.qkv(x).flatten(2).mT.chunk(3, -1)
        with torch.autocast("cpu", enabled=False):
            attended = (q.relu() @ (k.relu().mT @ v)) / (
                q.relu() @ k.relu().mT.sum(-1, True) + 1e-15
            )
        return self.head(attended.mean(1))


def test_what_a_network_keeps_in_float32_stays_so(tmp_path: Path) -> None:
    torch.manual_seed(0)
    kept = subject(KeptInFloat32(), torch.rand(1, 3, 8, 8), FACTS)
    path = tmp_path / "kept.mlpackage"
    coreml.write(kept, path, formats.complete("coreml", formats.options("coreml", {})))
    program = spec(path).mlProgram.functions["main"]
    (block,) = program.block_specializations.values()
    types = {
        op.type: {output.type.tensorType.dataType for output in op.outputs}
        for op in block.operations
        if op.type in {"conv", "matmul", "real_div", "linear"}
    }
    half, single = 10, 11  # of MIL's DataType
    assert types == {"conv": {half}, "linear": {half}, "matmul": {single}, "real_div": {single}}
