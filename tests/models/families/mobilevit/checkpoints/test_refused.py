"""What is no checkpoint of the model asked for: an error that says what it is, nothing loaded."""

from __future__ import annotations

import copy
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor, nn

from mvdeploy import models
from mvdeploy.errors import UsageError
from mvdeploy.models import checkpoints
from mvdeploy.models.families import mobilevit
from mvdeploy.records import ModelSpec

XXS = "mobilevit_xxs"
LAYOUTS = ("cvnets", "timm", "transformers")
State = dict[str, Tensor]


def spec_of(path: Path, model: str = XXS) -> ModelSpec:
    return models.make_spec(model, weights=path)


def save(held: Any, path: Path) -> Path:
    if path.suffix == ".safetensors":
        save_file({name: tensor.contiguous() for name, tensor in held.items()}, path)
    else:
        torch.save(held, path)
    return path


def refusal(path: Path, model: str = XXS) -> UsageError:
    with pytest.raises(UsageError) as caught:
        models.build(spec_of(path, model))
    error = caught.value
    assert error.message.endswith(".")
    assert error.remedy.endswith(".")
    assert "\n" not in f"{error}"
    assert len(error.message) < 700
    return error


# Code


class Malicious:
    """Runs a command when it is read by pickle."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {self.trace}",)


def raw(held: object, path: Path) -> None:
    path.write_bytes(pickle.dumps(held))


def zipped(held: object, path: Path) -> None:
    torch.save(held, path)


def legacy(held: object, path: Path) -> None:
    torch.save(held, path, _use_new_zipfile_serialization=False)


@pytest.mark.parametrize("write", [raw, zipped, legacy])
@pytest.mark.parametrize("name", ["x.pt", "x.pth", "x.bin", "x.safetensors"])
@pytest.mark.parametrize("place", ["alone", "beside", "inside"])
def test_a_malicious_pickle_runs_nothing(
    state: Any, tmp_path: Path, write: Callable[[object, Path], None], name: str, place: str
) -> None:
    trace = tmp_path / "was_here"
    evil = Malicious(trace)
    held = {
        "alone": evil,
        "beside": {"state_dict": state("timm"), "args": evil},
        "inside": {"state_dict": state("timm") | {"stem.conv.weight": evil}},
    }[place]
    path = tmp_path / name
    write(held, path)
    error = refusal(path)
    assert not trace.exists()
    assert "could run any code" in error.message and "save the tensors alone" in error.remedy
    assert ("written by pickle" if write is raw else "system") in error.message
    pickle.loads(pickle.dumps(evil))  # what the trap does when it is sprung
    assert trace.exists()


def test_a_malicious_shard_runs_nothing(tmp_path: Path) -> None:
    trace = tmp_path / "was_here"
    zipped({"a": Malicious(trace)}, tmp_path / "pytorch_model-1.bin")
    index = {"weight_map": {"a": "pytorch_model-1.bin"}}
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    refusal(tmp_path)
    assert not trace.exists()


def test_a_pickled_network_is_refused(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2), tmp_path / "x.pt")
    assert "an object of torch.nn.modules.linear.Linear" in refusal(tmp_path / "x.pt").message


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_a_torchscript_program_is_refused(tmp_path: Path) -> None:
    torch.jit.script(nn.Linear(2, 2)).save(tmp_path / "x.pt")
    assert "TorchScript" in refusal(tmp_path / "x.pt").message


# Files


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"not a checkpoint at all", "is no checkpoint"),
        (b"{}", "is no checkpoint"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "Git LFS pointer"),
        (b"PK\x03\x04", "cannot be read as a checkpoint"),
        (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", "cannot be read as a checkpoint"),
        (b"\x10\x00\x00\x00\x00\x00\x00\x00{", "cannot be read as a checkpoint"),
        (b"\xff" * 8 + b"{}", "cannot be read as a checkpoint"),
        (b"\x02\x00\x00\x00\x00\x00\x00\x00{}", "holds no tensors under names"),
    ],
)
@pytest.mark.parametrize("name", ["x.pt", "x.safetensors"])
def test_a_file_that_is_no_checkpoint(
    tmp_path: Path, content: bytes, message: str, name: str
) -> None:
    (tmp_path / name).write_bytes(content)
    error = refusal(tmp_path / name)
    assert message in error.message and name in error.message


def test_an_archive_that_is_no_checkpoint(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.pt", "w") as archive:
        archive.writestr("folder/a.txt", "text")
    assert "is an archive of a.txt, and was not written by" in refusal(tmp_path / "x.pt").message


@pytest.mark.parametrize("write", [raw, zipped, legacy])
def test_what_torch_says_is_cut_to_its_reason(
    state: Any, tmp_path: Path, write: Callable[[object, Path], None]
) -> None:
    write(state("timm"), tmp_path / "x.pt")
    whole = (tmp_path / "x.pt").read_bytes()
    (tmp_path / "x.pt").write_bytes(whole[: len(whole) // 2])
    message = refusal(tmp_path / "x.pt").message
    assert ". " not in message.removeprefix(f"{tmp_path}") and "weights_only" not in message


@pytest.mark.parametrize(
    "held", [[1, 2], torch.ones(3), {"a": 1}, {}, None, {"model": []}], ids=str
)
def test_torch_files_without_named_tensors(tmp_path: Path, held: object) -> None:
    torch.save(held, tmp_path / "x.pt")
    assert "holds no tensors under names" in refusal(tmp_path / "x.pt").message


@pytest.fixture(scope="session")
def whole(state: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Small files of each container, complete."""
    folder = tmp_path_factory.mktemp("whole")
    held = {name: tensor[:1] if tensor.ndim else tensor for name, tensor in state("timm").items()}
    torch.save(held, folder / "zip.pt")
    torch.save(held, folder / "legacy.pt", _use_new_zipfile_serialization=False)
    save(held, folder / "x.safetensors")
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("name", ["zip.pt", "legacy.pt", "x.safetensors"])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=12)
@given(share=st.floats(0, 1, exclude_max=True))
def test_a_truncated_file(whole: dict[str, bytes], tmp_path: Path, name: str, share: float) -> None:
    (tmp_path / name).write_bytes(whole[name][: int(share * len(whole[name]))])
    message = refusal(tmp_path / name).message
    # Cut in a class name, it is another class; cut in its first bytes, any pickle.
    words = ("is empty", "cannot be read", "is no checkpoint", "is refused", "written by pickle")
    assert any(word in message for word in words)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(start=st.sampled_from([b"", b"PK\x03\x04", b"\x80\x02", b"\x80\x04"]), rest=st.binary())
def test_any_bytes_are_refused(tmp_path: Path, start: bytes, rest: bytes) -> None:
    (tmp_path / "x.pt").write_bytes(start + rest)
    refusal(tmp_path / "x.pt")


def test_a_path_that_the_system_refuses(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="File name too long"):
        spec_of(tmp_path / ("x" * 300))


@pytest.mark.parametrize("path", ["missing.pt", "no/such/folder"])
def test_a_missing_path(tmp_path: Path, path: str) -> None:
    assert f"There is no checkpoint {tmp_path / path}" in refusal(tmp_path / path).message


def test_a_folder_without_weights(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert "holds no weights" in refusal(tmp_path).message


INDEX = "model.safetensors.index.json"


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ("", "is not valid JSON"),
        ("[]", "holds no JSON object"),
        ("{}", "does not say which file holds which tensor"),
        ('{"weight_map": {}}', "does not say which file"),
        ('{"weight_map": {"a": 1}}', "names no file of its folder, but 1"),
        ('{"weight_map": {"a": null}}', "names no file of its folder, but None"),
        ('{"weight_map": {"a": "../x.safetensors"}}', "folder, but '../x.safetensors'"),
        ('{"weight_map": {"a": "/etc/passwd"}}', "folder, but '/etc/passwd'"),
        ('{"weight_map": {"a": ".."}}', "folder, but '..'"),
        ('{"weight_map": {"a": "gone.safetensors"}}', "lacks the weights gone.safetensors"),
        ('{"weight_map": {"a": "x.safetensors"}}', "lacks 1 of the tensors in its index (a)"),
    ],
)
def test_a_broken_index(state: Any, tmp_path: Path, index: str, message: str) -> None:
    save(state("transformers"), tmp_path / "x.safetensors")
    (tmp_path / INDEX).write_text(index)
    assert message in refusal(tmp_path).message


# Tensors


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", ["x.pt", "x.safetensors"])
def test_missing_tensors_are_named(state: Any, tmp_path: Path, layout: str, name: str) -> None:
    held = state(layout)
    gone = sorted(key for key in held if key.endswith("weight"))[:5]
    for key in gone:
        del held[key]
    message = refusal(save(held, tmp_path / name)).message
    assert f"layout {layout}" in message and name in message
    assert f"does not fit {XXS}: 5 missing ({', '.join(gone[:3])} and 2 more)" in message


@pytest.mark.parametrize("layout", LAYOUTS)
def test_unexpected_tensors_are_named(state: Any, tmp_path: Path, layout: str) -> None:
    held = state(layout) | {"surplus.weight": torch.ones(2), "another": torch.ones(1)}
    message = refusal(save(held, tmp_path / "x.pt")).message
    assert "2 unexpected (another, surplus.weight)" in message and f"layout {layout}" in message


@pytest.mark.parametrize("layout", LAYOUTS)
def test_wrong_shapes_are_named(state: Any, tmp_path: Path, layout: str) -> None:
    held = state(layout)
    key = next(key for key, tensor in held.items() if tensor.ndim == 2)
    held[key] = held[key][:-1]
    rows, columns = held[key].shape
    message = refusal(save(held, tmp_path / "x.safetensors")).message
    assert f"1 of another shape ({key}: {rows}×{columns} for {rows + 1}×{columns})" in message


def test_all_kinds_of_faults_together(state: Any, tmp_path: Path) -> None:
    held = state("timm")
    held["final_conv.bn.bias"] = torch.ones(())
    held["surplus"] = held.pop("stem.conv.weight")
    message = refusal(save({"model": held}, tmp_path / "x.pt")).message
    assert "(layout timm, entry 'model')" in message
    assert "1 missing (stem.conv.weight), 1 unexpected (surplus), 1 of another shape" in message
    assert "final_conv.bn.bias: a single number for 320" in message


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("asked", ["mobilevit_xs", "mobilevit_s"])
def test_another_variant_is_recognised(state: Any, tmp_path: Path, layout: str, asked: str) -> None:
    path = save(state(layout), tmp_path / "x.safetensors")
    error = refusal(path, asked)
    assert f"is a checkpoint of mobilevit_xxs, not of {asked}: " in error.message
    assert "of another shape" in error.message
    assert "Give the model mobilevit_xxs" in error.remedy


def test_another_variant_is_recognised_in_spite_of_a_fault(state: Any, tmp_path: Path) -> None:
    held = state("timm", "mobilevit_s")
    del held["stem.bn.bias"]
    message = refusal(save(held, tmp_path / "x.pt")).message
    assert f"looks like a checkpoint of mobilevit_s, not of {XXS}: 1 missing (stem.bn" in message


def test_another_architecture_is_an_unknown_layout(tmp_path: Path) -> None:
    held = {
        "conv1.weight": torch.ones(64, 3, 7, 7),
        "bn1.weight": torch.ones(64),
        "layer1.0.conv1.weight": torch.ones(64, 64, 3, 3),
        "classifier.weight": torch.ones(10, 64),
        "classifier.bias": torch.ones(10),
    }
    error = refusal(save(held, tmp_path / "x.pt"))
    assert "has none of the known layouts: its 5 tensors are named bn1.weight," in error.message
    assert "in the names of cvnets, mvdeploy, timm, transformers" in error.remedy


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_values_must_be_finite(state: Any, tmp_path: Path, layout: str, value: float) -> None:
    held = state(layout)
    keys = sorted(key for key in held if key.endswith("bias"))[:4]
    for key in keys:
        held[key][-1] = value
    message = refusal(save(held, tmp_path / "x.safetensors")).message
    assert f"NaN or infinity in 4 tensors ({', '.join(keys[:3])} and 1 more)" in message


@pytest.mark.parametrize("name", ["x.pt", "x.safetensors"])
def test_a_flipped_bit_of_an_exponent_is_named(state: Any, tmp_path: Path, name: str) -> None:
    held = dict(state("timm"))
    weight = held["stem.conv.weight"].clone()
    weight.view(torch.int32).reshape(-1)[7] ^= 1 << 30
    assert weight.abs().max() > 1e8
    held["stem.conv.weight"] = weight
    error = refusal(save(held, tmp_path / name))
    assert f"{name}" in error.message and "in stem.conv.weight, which no training" in error.message
    assert "flipped bit" in error.remedy


@pytest.mark.parametrize(
    "values",
    [
        [1e7, *[1.0] * 99],  # a variance
        [0.0] * 100,
        [torch.finfo(torch.float32).min, *[0.0] * 99],  # masks
        [-1e20] * 50 + [0.0] * 50,
        [1e9] * 3,
        [65504.0, 0.1],
        [],
    ],
)
def test_values_that_networks_have_are_taken(values: list[float]) -> None:
    checkpoints.demand_ordinary("x", {"a": torch.tensor(values), "n": torch.tensor(2**62)})


@pytest.mark.parametrize("value", [3e8, 1e16, 3e38])
def test_a_lone_value_out_of_all_proportion_is_refused(value: float) -> None:
    with pytest.raises(UsageError, match=r"x has the value .* in a\.b, which no training"):
        checkpoints.demand_ordinary("x", {"a.b": torch.tensor([0.1] * 99 + [-value])})


def test_a_damaged_byte_of_an_archive_names_its_place(state: Any, tmp_path: Path) -> None:
    path = save(state("timm"), tmp_path / "x.pt")
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 2] ^= 1
    path.write_bytes(whole)
    error = refusal(path)
    assert "x.pt is damaged: the checksum of 'x/data/" in error.message


def test_an_archive_that_unpacks_to_far_more_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/data.pkl", b"")
        archive.writestr("x/data/0", bytes(70_000_000))
    assert "would unpack to 70 MB" in refusal(path).message


def test_values_that_single_precision_cannot_hold(state: Any, tmp_path: Path) -> None:
    held = state("timm") | {"head.fc.bias": torch.full((7,), 1e300, dtype=torch.float64)}
    assert "infinity in 1 tensor (head.fc.bias)" in refusal(save(held, tmp_path / "x.pt")).message


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.to(torch.int8),
        lambda t: t.to(torch.complex64),
        lambda t: t.to_sparse(),
        lambda t: t.to("meta"),
        lambda t: torch.quantize_per_tensor(t, 0.1, 0, torch.qint8),
    ],
    ids=["int8", "complex", "sparse", "meta", "quantised"],
)
@pytest.mark.filterwarnings("ignore:.*quantized tensor creation functions:UserWarning")
def test_tensors_must_be_plain_numbers(
    state: Any, tmp_path: Path, change: Callable[[Tensor], Tensor]
) -> None:
    held = state("timm")
    held["head.fc.weight"] = change(held["head.fc.weight"])
    message = refusal(save(held, tmp_path / "x.pt")).message
    assert "other values than floating-point numbers in 1 tensor (head.fc.weight)" in message


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")
def test_a_tensor_without_a_shape(state: Any, tmp_path: Path) -> None:
    nested = torch.nested.nested_tensor([torch.zeros(2), torch.zeros(3)])
    message = refusal(save(state("timm") | {"head.fc.weight": nested}, tmp_path / "x.pt")).message
    assert "holds a nested tensor, which has no shape (head.fc.weight)" in message


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_variance_is_not_below_0(state: Any, tmp_path: Path, layout: str) -> None:
    held = state(layout)
    name = next(name for name in sorted(held) if name.endswith("running_var"))
    held[name][0] = -1
    message = refusal(save(held, tmp_path / "x.pt")).message
    assert f"variances below 0 in 1 tensor ({name})" in message


HOSTILE = "line\n\x1b[31m\u202e" + "n" * 10**6


@pytest.mark.parametrize("where", ["tensor alone", "tensor", "entry", "entries"])
def test_names_in_a_file_are_printed_on_a_line(state: Any, tmp_path: Path, where: str) -> None:
    held = state("timm")
    surplus = {HOSTILE: torch.ones(1)}
    content = {
        "tensor alone": surplus,
        "tensor": held | surplus,
        "entry": {HOSTILE: held | {"x": torch.ones(1)}},
        "entries": {HOSTILE: held, "b": {name: 2 * tensor for name, tensor in held.items()}},
    }
    error = refusal(save(content[where], tmp_path / "x.pt"))  # its lines and lengths are looked at
    assert "line \ufffd[31m\ufffdnn" in error.message and "nn…nn" in error.message
    assert "\x1b" not in f"{error}"


# Networks without a classifier


def backbone(held: State, prefix: str, classifier: tuple[str, ...]) -> State:
    return {prefix + key: t for key, t in held.items() if not key.startswith(classifier)}


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize(
    ("head", "meaning"),
    [
        ({}, "the backbone of a detection or segmentation network"),
        ({"seg_head.classifier.block.conv.weight": (21, 256, 1, 1)}, "a segmentation network"),
        ({"ssd_heads.0.loc_cls_layer.pw_conv.block.conv.bias": (510,)}, "a detection network"),
        ({"extra_layers.os_64.dw_conv.block.conv.weight": (80, 1, 3, 3)}, "a detection network"),
    ],
)
def test_a_backbone_of_cvnets(
    state: Any, tmp_path: Path, prefix: str, head: dict[str, Any], meaning: str
) -> None:
    held = backbone(state("cvnets"), "encoder.", ("classifier.", "conv_1x1_exp."))
    held |= {key: torch.ones(shape) for key, shape in head.items()}
    held = {prefix + key: tensor for key, tensor in held.items()}
    error = refusal(save({"model_state_dict": held}, tmp_path / "x.pt"))
    assert meaning in error.message and "layout cvnets" in error.message
    assert "has no classifier.fc.weight, so it cannot classify" in error.message
    assert "trained for classification" in error.remedy


def test_a_whole_network_below_encoder_loads(state: Any, built: Any, tmp_path: Path) -> None:
    held = {f"encoder.{key}": tensor for key, tensor in state("cvnets").items()}
    network = models.build(spec_of(save(held, tmp_path / "x.pt")))
    expected = built(XXS, 7).state_dict()
    assert all(torch.equal(expected[k], t) for k, t in network.state_dict().items())


def test_a_model_of_transformers_without_head(state: Any, tmp_path: Path) -> None:
    held = backbone(state("transformers"), "", ("classifier.",))
    bare = {key.removeprefix("mobilevit."): tensor for key, tensor in held.items()}
    message = refusal(save(bare, tmp_path / "x.safetensors")).message
    assert "is a network without its classifier: it has no classifier.weight" in message
    held["segmentation_head.classifier.convolution.weight"] = torch.ones(21, 256, 1, 1)
    message = refusal(save(held, tmp_path / "y.safetensors")).message
    assert "is a checkpoint of a segmentation network" in message


def test_a_model_of_timm_without_head(state: Any, tmp_path: Path) -> None:
    held = backbone(state("timm"), "", ("head.",))
    message = refusal(save(held, tmp_path / "x.pt")).message
    assert "is a network without its classifier: it has no head.fc.weight" in message


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({"weight": "head.fc.weight"}, "1 missing (head.fc.bias)"),
        (
            {"weight": "head.fc.1.weight", "bias": "head.fc.1.bias"},
            "has another classifier than mobilevit_xxs: head.fc.1.bias, head.fc.1.weight in place "
            "of head.fc.weight, head.fc.bias",
        ),
    ],
    ids=["no bias", "several layers"],
)
def test_another_classifier(
    state: Any, tmp_path: Path, names: dict[str, str], message: str
) -> None:
    held = state("timm")
    classifier = {leaf: held.pop(f"head.fc.{leaf}") for leaf in ("weight", "bias")}
    held |= {theirs: classifier[leaf] for leaf, theirs in names.items()}
    error = refusal(save(held, tmp_path / "x.pt"))
    assert message in error.message
    assert "FILE.py:FACTORY" in error.remedy


def test_half_a_classifier_is_a_missing_tensor(state: Any, tmp_path: Path) -> None:
    held = state("timm")
    del held["head.fc.weight"]
    assert "1 missing (head.fc.weight)" in refusal(save(held, tmp_path / "x.pt")).message


@pytest.mark.parametrize("weight", [torch.ones(()), torch.ones(0, 320), torch.ones(7)], ids=str)
def test_a_classifier_that_is_no_matrix(state: Any, tmp_path: Path, weight: Tensor) -> None:
    held = state("timm") | {"head.fc.weight": weight}
    assert "head.fc." in refusal(save(held, tmp_path / "x.pt")).message


# All or nothing


def test_nothing_is_half_loaded(built: Any, state: Any, tmp_path: Path) -> None:
    network = copy.deepcopy(built(XXS, 7))
    before = copy.deepcopy(network.state_dict())
    held = {key: torch.ones_like(tensor) for key, tensor in state("timm").items()}
    held["head.fc.bias"][0] = float("nan")  # the last of all
    spec = spec_of(save(held, tmp_path / "x.pt"))
    assert spec.weights is not None
    with pytest.raises(UsageError, match="NaN"):
        mobilevit.load(network, spec.weights, XXS)
    after = network.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_values_that_a_shift_of_bytes_makes_are_refused() -> None:
    """Where a byte is lost, all floats after it begin in the one before."""
    values = torch.randn(1000, generator=torch.Generator().manual_seed(0))
    shifted = torch.frombuffer(bytearray(values.numpy().tobytes()[2:-2]), dtype=torch.float32)
    shifted = shifted[shifted.isfinite()]
    assert (shifted.abs() > 1e15).float().mean() > 0.1
    with pytest.raises(UsageError, match=r"x has the value .* in a\.b, which no training"):
        checkpoints.demand_ordinary("x", {"a.b": shifted})
