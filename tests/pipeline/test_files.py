"""Files that others exported, from the command line: measured, compared, verified, described."""

from __future__ import annotations

import dataclasses
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from mvdeploy import formats
from mvdeploy.errors import UsageError
from mvdeploy.pipeline import files
from mvdeploy.pipeline.prepare import input_files, sendable
from mvdeploy.pipeline.report import breakdowns, view
from mvdeploy.records import Category, OperatorKind, SavedRun
from mvdeploy.records.run import load_run
from mvdeploy.report.wording import word
from tests.others import MACS, WEIGHT, convolution, model, value
from tests.warm import Server, started

Others = Callable[[str], Path]

SHORT = ("--warmup", "2", "--iterations", "8", "--sessions", "1")
QUICK = ("--warmup", "1", "--iterations", "2", "--sessions", "1", "--no-breakdown")
BY_HAND = (
    "plain",
    "uint8_nhwc",
    "initialisers_as_inputs",
    "free_size",
    "tokens",
    "branches",
    "outer",
    "infinite",
)
BY_TORCH = ("noted", "named", "qoperator_int8")
NAMES = [f"{name}.onnx" for name in (*BY_HAND, *BY_TORCH)]
PROGRAMS = ["net.pt2", "net.pte", "noted.ort"]


@pytest.fixture(scope="session")
def run(
    warm: Server, others: Others, tmp_path_factory: pytest.TempPathFactory
) -> tuple[SavedRun, Path, str]:
    """A run of files of all kinds, none with a manifest, and what was printed."""
    folder = tmp_path_factory.mktemp("others")
    paths = [str(others(name)) for name in (*NAMES, *PROGRAMS)]
    said = ("--shape", "x=1,3,32,32", "--values", "ids=0,99")
    done = warm.mvdeploy("bench", *paths, *SHORT, *said, "-o", "out", cwd=folder)
    assert done.returncode == 0, done.stderr
    (saved,) = (folder / "out").iterdir()
    return load_run(saved), saved, done.stdout


def of(run: SavedRun, name: str) -> str:
    file = name if "." in name else f"{name}.onnx"
    return next(case.slug for case in run.cases if case.label == file)


def inputs(folder: Path, slug: str) -> list[np.ndarray]:
    artifact = next(case.artifact for case in load_run(folder).cases if case.slug == slug)
    assert artifact is not None
    return [np.load(path) for path in input_files(folder, slug, artifact).values()]


def test_every_file_is_measured(run: tuple[SavedRun, Path, str]) -> None:
    saved, folder, out = run
    assert [case.label for case in saved.cases] == [*NAMES, *PROGRAMS]
    for case in saved.cases:
        assert case.failure is None and case.measurement is not None, case.failure
        assert len(case.measurement.steady) == 8
        assert not any(f.code == "profile_failed" for f in case.measurement.findings)
    assert (folder / "report.html").is_file()
    assert "Latency by kind of operator" in out


def test_files_are_fed_in_their_own_form(run: tuple[SavedRun, Path, str]) -> None:
    saved, folder, _ = run
    (plain,), (bytes_,) = (inputs(folder, of(saved, name)) for name in ("plain", "uint8_nhwc"))
    assert (plain.dtype, plain.shape) == (np.float32, (1, 3, 32, 32))
    assert 0 <= plain.min() < 0.2 < 0.8 < plain.max() <= 1
    assert (bytes_.dtype, bytes_.shape) == (np.uint8, (1, 32, 32, 3))
    np.testing.assert_array_equal(bytes_, np.rint(255 * plain.transpose(0, 2, 3, 1)))
    ids, scale, picture = inputs(folder, of(saved, "tokens"))
    assert (ids.dtype, ids.shape) == (np.int64, (1, 5)) and ids.max() <= 99 and len({*ids[0]}) > 2
    assert scale.shape == () and 0 <= scale <= 1
    assert picture.shape == (1, 1, 16, 16) and picture.std() > 0.1


def test_time_is_divided_by_kind_and_by_the_modules_that_a_file_tells(
    run: tuple[SavedRun, Path, str],
) -> None:
    saved, folder, _ = run
    found = breakdowns(saved)
    for name in ("plain", "branches", *BY_TORCH):
        assert found[of(saved, name)].operators_ns > 0
    assert found[of(saved, "plain")].by_kind()[OperatorKind.CONV] > 0
    assert found[of(saved, "plain")].placed_share == 0
    assert found[of(saved, "noted")].placed_share > 0.99
    assert {"stem", "norm", "head"} <= found[of(saved, "named")].by_module().keys()
    # What runs in a branch is in the time of the branch, not beside it.
    assert [row.type for row in found[of(saved, "branches")].rows].count("Sigmoid") == 1
    shown = view(folder)
    assert shown.by_kind
    texts = {f.code: word(f.finding).sentence for f in shown.findings}
    read = [word(f.finding).sentence for f in shown.findings if f.code == "modules_read"]
    for source in ("the exporter's notes", "the names of its nodes", "the program's own record"):
        assert any(source in sentence for sentence in read)
    for code in ("unknown_network", "unknown_images", "unknown_modules", "seeded_inputs"):
        assert code in texts
    assert "'x' (N×3×height×width) as 1×3×32×32" in {
        word(f.finding).sentence.split("fed ")[-1].rstrip(".")
        for f in shown.findings
        if f.code == "free_dimensions"
    }
    report = (folder / "report.md").read_text()
    assert "modules read from" in report and "seeded values 0 to 99" in report


def test_outputs_of_files_are_compared(run: tuple[SavedRun, Path, str]) -> None:
    saved, folder, out = run
    pairs = {pair.b: pair for pair in saved.outputs}
    assert {pair.a for pair in saved.outputs} == {of(saved, "plain")}
    alike = pairs[of(saved, "initialisers_as_inputs")]
    assert all(one.identical for one in alike.outputs)
    outer = pairs[of(saved, "outer")].outputs[0]  # of weights twice as large
    assert outer.snr_db == pytest.approx(0, abs=0.1) and outer.same_largest == 1.0
    assert "different shapes" in pairs[of(saved, "branches")].problem
    assert "The outputs of initialisers_as_inputs.onnx are those of plain.onnx" in " ".join(
        out.split()
    )
    assert "Difference of the outputs" in (folder / "report.md").read_text()


def test_programs_of_torch_are_measured(run: tuple[SavedRun, Path, str]) -> None:
    saved, folder, _ = run
    found = breakdowns(saved)
    of_torch, of_executorch, of_ort = (found[of(saved, name)] for name in PROGRAMS)
    assert of_torch.placed_share > 0.99 and of_executorch.placed_share == 0
    assert of_executorch.by_kind()[OperatorKind.LAYERNORM] > 0
    assert of_ort.by_kind()[OperatorKind.CONV] > 0
    assert not [f for f in view(folder).findings if f.code == "unmatched_operators"]


def test_values_that_are_not_finite_may_be_right(run: tuple[SavedRun, Path, str]) -> None:
    saved, _, out = run
    case = next(case for case in saved.cases if case.label == "infinite.onnx")
    assert case.measurement is not None and case.measurement.steady
    assert "outputs_not_finite" in [finding.code for finding in case.measurement.findings]
    assert out.count("outputs_not_finite") == 1


def test_how_images_are_fed_can_be_said(warm: Server, others: Others, tmp_path: Path) -> None:
    path = others("plain.onnx")
    said = ("--mean", "0.5", "--std", "0.25", "--channel-order", "bgr")
    done = warm.mvdeploy("bench", str(path), *QUICK, *said, "-o", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (folder,) = (tmp_path / "out").iterdir()
    (image,) = inputs(folder, load_run(folder).run.cases[0])
    assert -2 <= image.min() < -1 and 1 < image.max() <= 2
    plain = files.opened(path).artifact.preprocessing
    from mvdeploy.models.preprocess import load_image, sample_photograph

    whole = load_image(sample_photograph(), plain)
    np.testing.assert_allclose(image, (whole[:, ::-1] - 0.5) / 0.25, atol=1e-5)
    assert "unknown_images" not in done.stdout


def test_a_file_and_its_quantised_copy_in_turns(
    warm: Server, others: Others, tmp_path: Path
) -> None:
    paths = [str(others(name)) for name in ("noted.onnx", "dynamic_int8.onnx")]
    quick = ("--max-time", "0.2", "--groups", "4", "--warmup", "2", "--no-breakdown")
    done = warm.mvdeploy("compare", *paths, *quick, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    said = " ".join(done.stdout.split())
    assert "On the same input, the outputs of dynamic_int8.onnx differ from those of noted" in said
    assert "ratio" in said and "dB); the largest value of each row is" in said


def test_a_manifest_is_kept_when_asked_for(warm: Server, others: Others, tmp_path: Path) -> None:
    path = tmp_path / "free_batch.onnx"
    shutil.copy(others("free_batch.onnx"), path)
    once = warm.mvdeploy("bench", path.name, *QUICK, "--save-manifest", cwd=tmp_path)
    assert once.returncode == 0, once.stderr
    artifact = formats.read(path)
    assert artifact.macs == MACS and not artifact.spec.model
    assert files.opened(path).artifact == artifact
    refused = warm.mvdeploy("verify", path.name, cwd=tmp_path)
    assert refused.returncode == 2 and "--against" in refused.stderr
    # The file is changed in place: what the manifest says holds no longer.
    onnx.save(convolution(("N", 3, 32, 32), weight=WEIGHT * 3), path)
    (finding,) = files.opened(path).findings
    assert finding.code == "manifest_of_another_file"
    kept = formats.manifest_path(path).read_bytes()
    denied = warm.mvdeploy("bench", path.name, *QUICK, "--save-manifest", cwd=tmp_path)
    assert denied.returncode == 2 and "is no manifest of free_batch.onnx" in denied.stderr
    assert formats.manifest_path(path).read_bytes() == kept


@pytest.mark.parametrize("text", ['{"tool": 1}', "[1]", "no JSON", '{"schema_version": 1}', None])
def test_what_another_tool_left_beside_a_file_is_no_manifest(
    others: Others, tmp_path: Path, text: str | None
) -> None:
    path = tmp_path / "plain.onnx"
    shutil.copy(others("plain.onnx"), path)
    beside = formats.manifest_path(path)
    if text is None:
        beside.mkdir()
    else:
        beside.write_text(text)
    opened = files.opened(path)
    assert opened.artifact.macs == MACS and not opened.findings
    with pytest.raises(UsageError, match="has no manifest"):
        formats.read(path)
    with pytest.raises(UsageError, match=r"is there, and is no manifest of plain\.onnx"):
        files.save_manifests([(path, opened.artifact)])
    assert beside.is_dir() or beside.read_text() == text


FACTORY = """
import torch
from torch import nn


class Kernel(nn.Module):
    def __init__(self, weight):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1, bias=False)
        self.conv.weight.data = weight

    def forward(self, x):
        return self.conv(x).mean((2, 3))


def make():
    return Kernel(torch.load({weights!r}))


def doubled():
    return Kernel(torch.load({weights!r}) * 1.01)


def fewer():
    return Kernel(torch.load({weights!r})[:3])
"""


@pytest.fixture
def factory(tmp_path: Path) -> Path:
    """A file with a network of the weights of the files by hand, and one of others."""
    import torch

    torch.save(torch.from_numpy(WEIGHT.copy()), tmp_path / "weights.pt")
    path = tmp_path / "mine.py"
    path.write_text(FACTORY.format(weights=str(tmp_path / "weights.pt")))
    return path


def scoped(path: Path) -> None:
    """The convolution with names of nodes as torch's exporter gives them."""
    made = convolution()
    for node, name in zip(made.graph.node, ("/conv/Conv", "/Pool", "/Flatten"), strict=True):
        node.name = name
    onnx.save(made, path)


def test_the_network_of_a_file_can_be_named(warm: Server, factory: Path, tmp_path: Path) -> None:
    scoped(tmp_path / "mine.onnx")
    size = ("--image-size", "32")
    told = ("bench", "mine.onnx", *size, "-o", "out", "--model")
    done = warm.mvdeploy(*told, f"{factory}:make", *SHORT, "--save-manifest", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (folder,) = (tmp_path / "out").iterdir()
    saved = load_run(folder)
    (case,) = saved.cases
    assert case.device_parity is not None and case.device_parity.passed
    assert breakdowns(saved)[case.slug].by_category()[Category.CONVOLUTION] > 0
    named = ("--model", f"{factory}:make")
    verified = warm.mvdeploy("verify", "mine.onnx", *named, cwd=tmp_path)
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert "agrees with PyTorch" in verified.stdout
    formats.manifest_path(tmp_path / "mine.onnx").unlink()
    by_name = warm.mvdeploy("verify", "mine.onnx", *named, cwd=tmp_path)
    assert by_name.returncode == 0, by_name.stderr
    wrong = warm.mvdeploy(*told, f"{factory}:doubled", *QUICK, cwd=tmp_path)
    assert wrong.returncode == 1
    assert "computes something else than the network" in wrong.stderr
    unfit = warm.mvdeploy(*told, f"{factory}:fewer", cwd=tmp_path)
    assert unfit.returncode == 2
    said = unfit.stderr.splitlines()[0]
    assert "mine.onnx returns outputs of the shapes 1×4, and" in said
    assert said.endswith("returns 1×3.")


def test_verify_against_a_network(warm: Server, others: Others, factory: Path) -> None:
    for path in (others("plain.onnx"), others("uint8_nhwc.onnx")):
        # The second takes 0 to 255, and does not divide: another network's outputs.
        done = warm.mvdeploy("verify", str(path), "--against", "mine.py:make", cwd=factory.parent)
        assert done.returncode == (path.stem != "plain"), done.stderr
        assert ("agrees" in done.stdout) and ("DOES NOT" in done.stdout) == (path.stem != "plain")


@pytest.mark.parametrize(
    ("name", "other", "status"),
    [
        ("plain.onnx", "initialisers_as_inputs.onnx", 0),
        ("half.onnx", "plain.onnx", 0),
        ("outer.onnx", "plain.onnx", 1),
        ("net.mlpackage", "net.pt2", 0),
        ("net.pte", "named.onnx", 0),
        ("qdq_int8.onnx", "noted.onnx", 0),
    ],
)
def test_verify_against_a_file(
    warm: Server, others: Others, tmp_path: Path, name: str, other: str, status: int
) -> None:
    paths = (str(others(name)), "--against", str(others(other)))
    done = warm.mvdeploy("verify", *paths, cwd=tmp_path)
    assert done.returncode == status, done.stdout + done.stderr
    assert ("DOES NOT compute what" in done.stdout) == bool(status)
    body = json.loads(warm.mvdeploy("verify", *paths, "--json", cwd=tmp_path).stdout)
    assert body["passed"] is not bool(status)
    assert list(body["inputs"]) == ["photograph", "noise", "ramp", "black", "white"]


def test_a_small_fault_is_seen(others: Others, warm: Server, tmp_path: Path) -> None:
    onnx.save(convolution(weight=WEIGHT * 1.001), tmp_path / "nearly.onnx")
    against = ("--against", str(others("plain.onnx")))
    done = warm.mvdeploy("verify", "nearly.onnx", *against, cwd=tmp_path)
    assert done.returncode == 1 and " 60.0 " in done.stdout


def test_values_that_a_file_does_not_take(warm: Server, tmp_path: Path) -> None:
    row = numpy_helper.from_array(np.ones((1, 2), np.float32), "row")
    nodes = [helper.make_node("Gather", ["row", "ids"], ["y"])]
    inputs, outputs = [value("ids", (1, 4), onnx.TensorProto.INT64)], [value("y", (1, 4, 2))]
    onnx.save(model(nodes, inputs, outputs, [row]), tmp_path / "short.onnx")
    both = ("verify", "short.onnx", "--against", "short.onnx")
    done = warm.mvdeploy(*both, cwd=tmp_path)
    assert done.returncode == 4
    # The engine's own lines on standard error say no more.
    assert "[E:onnxruntime" not in done.stderr
    assert "out of data bounds" in done.stderr and "with --values" in done.stderr
    assert warm.mvdeploy(*both, "--values", "ids=0,0", cwd=tmp_path).returncode == 0


def test_a_program_of_torch_that_fails_when_it_runs(others: Others, tmp_path: Path) -> None:
    """It is sound but for a stride of zero, which no reader looks at."""
    broken = tmp_path / "broken.pt2"
    with zipfile.ZipFile(others("net.pt2")) as old, zipfile.ZipFile(broken, "w") as new:
        for member in old.namelist():
            data = old.read(member)
            if member.endswith("models/model.json"):
                assert b'"as_ints": [2, 2]' in data
                data = data.replace(b'"as_ints": [2, 2]', b'"as_ints": [0, 0]')
            new.writestr(member, data)
    with pytest.raises(UsageError, match=r"cannot be run by PyTorch .*stride") as caught:
        files.opened(broken)
    assert caught.value.exit_code == 2


def test_describe_a_file(others: Others, tmp_path: Path) -> None:
    done = started("describe", str(others("tokens.onnx")), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert "input ids batchx5 int64 1x5, seeded values 0 to 1" in lines
    assert "input picture 1x1x16x16 float32 images, NCHW" in lines
    assert "output scaled batchx5x8 float32" in lines
    assert "Gather 1" in lines and "total: 3" in lines
    assert "Modules: not in the file." in lines


def test_describe_counts(warm: Server, others: Others, tmp_path: Path) -> None:
    path = str(others("free_size.onnx"))
    done = warm.mvdeploy("describe", path, "--shape", "x=2,3,32,32", cwd=tmp_path)
    assert f"MACs: {2 * MACS / 1e6:.3f} M" in done.stdout
    body = json.loads(
        warm.mvdeploy("describe", path, "--shape", "x=2,3,32,32", "--json", cwd=tmp_path).stdout
    )
    assert (body["macs"], body["format"]) == (2 * MACS, "onnx")


def strange(folder: Path) -> None:
    made = convolution(domains=[helper.make_opsetid("my.own", 1)])
    made.graph.node.append(helper.make_node("Fancy", ["y"], ["z"], domain="my.own"))
    onnx.save(made, folder / "strange.onnx")
    onnx.save(convolution(ir=99), folder / "newer.onnx")


@pytest.mark.parametrize(
    ("arguments", "status", "named"),
    [
        (("bench", "{free_size}"), 2, "leaves its dimension 'height' free"),
        (("bench", "{plain}", "--shape", "y=1,2"), 2, "has no input 'y'"),
        (("bench", "{plain}", "--values", "y=1,2"), 2, "has no input 'y'"),
        (("bench", "{plain}", "--shape", "x=1,2,x"), 2, "'x=1,2,x' is no shape"),
        (("bench", "{plain}", "--values", "x=2,1"), 2, "'x=2,1' is no range"),
        (("bench", "{plain}", "--model", "no_such"), 2, "no_such"),
        (("bench", "{plain}", "--weights", "w.pt"), 2, "only exported files"),
        (
            ("bench", "mobilevit_xxs", "--model", "mobilevit_xs"),
            2,
            "without a manifest, and none is given",
        ),
        (("bench", "mobilevit_xxs", "--shape", "x=1,2"), 2, "--shape is for files"),
        (("bench", "strange.onnx"), 2, "'my.own' (Fancy)"),
        (("bench", "newer.onnx"), 4, "cannot load newer.onnx (Unsupported model IR version: 99"),
        (("bench", "{net.mlpackage}"), 2, "runs the format 'coreml'"),
        (("verify", "{plain}"), 2, "has no manifest"),
        (("verify", "{plain}", "--against", "{branches}"), 2, "inputs of different shapes"),
        (("verify", "{plain}", "--against", "{noted}"), 2, "has the shapes (1, 5) and (1, 4)"),
        (("verify", "{plain}", "--shape", "x=1"), 2, "go with --against"),
        (("describe", "no.onnx"), 2, "There is no file no.onnx"),
        (("describe", "mobilevit_xxs", "--shape", "x=1"), 2, "are for files"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_sentence(
    warm: Server,
    others: Others,
    tmp_path: Path,
    arguments: tuple[str, ...],
    status: int,
    named: str,
) -> None:
    strange(tmp_path)

    def given(text: str) -> str:
        name = text[1:-1]
        if not text.startswith("{"):
            return text
        return str(others(name if "." in name else f"{name}.onnx"))

    done = warm.mvdeploy(*map(given, arguments), cwd=tmp_path)
    assert done.returncode == status, done.stderr
    assert named in done.stderr
    assert "Traceback" not in done.stderr


def test_a_device_is_sent_one_file(others: Others, tmp_path: Path) -> None:
    path = others("outer.onnx")
    artifact = formats.read_file(path)
    for kind, whole in (("host", False), ("ssh", True)):
        link: Any = SimpleNamespace(profile=SimpleNamespace(link=kind))
        sent, sha256 = sendable(path, artifact, link, tmp_path / "whole.onnx")
        assert (sent != path) is whole
        assert sha256 == formats.files.sha256(sent)
    (weight,) = onnx.load(sent, load_external_data=False).graph.initializer
    np.testing.assert_array_equal(numpy_helper.to_array(weight), WEIGHT * 2)


def test_a_file_of_an_app_is_not_measured_here(others: Others, tmp_path: Path) -> None:
    artifact = dataclasses.replace(formats.read_file(others("plain.onnx")), runs_on="a phone")
    with pytest.raises(UsageError, match="needs a phone, and cannot run here"):
        files.demand_runnable(tmp_path / "plain.onnx", artifact)
