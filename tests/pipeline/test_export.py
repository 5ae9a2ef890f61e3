from __future__ import annotations

import dataclasses
import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import mvdeploy
from mvdeploy import files, formats
from mvdeploy.engines import SessionRequest
from mvdeploy.errors import CheckFailed, EngineError, UsageError
from mvdeploy.formats import Options
from mvdeploy.pipeline.export import Builder, staged
from mvdeploy.pipeline.verify import Verifier
from mvdeploy.precisions import fp32
from mvdeploy.records import Artifact, codec


@pytest.fixture(scope="module")
def builder() -> Builder:
    """Of the smallest network: what is done with files is the same for all of them."""
    return Builder(mvdeploy.make_spec("yardstick"))


@pytest.fixture(scope="module")
def mobilevit() -> Builder:
    return Builder(mvdeploy.make_spec("mobilevit_xxs", image_size=(64, 64)))


@pytest.fixture
def old(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"the old file")
    formats.manifest_path(path).write_text("the old manifest")
    return path


def untouched(old: Path) -> bool:
    names = sorted(p.name for p in old.parent.iterdir())
    return (
        old.read_bytes() == b"the old file"
        and formats.manifest_path(old).read_text() == "the old manifest"
        and names == ["model.onnx", "model.onnx.json"]
    )


def test_exporting_again_gives_the_same_bytes_and_says_so(
    mobilevit: Builder, tmp_path: Path
) -> None:
    path = tmp_path / "model.onnx"
    first = mobilevit.export("onnx", path)
    again = Builder(first.artifact.spec).export("onnx", path)
    assert first.changes is None
    assert again.changes == ()
    assert again.artifact == first.artifact


def test_what_differs_from_the_file_before_is_named(builder: Builder, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    builder.export("onnx", path)
    other = mvdeploy.make_spec("yardstick", seed=7)
    assert Builder(other).export("onnx", path).changes == ("spec",)
    manifest = formats.manifest_path(path)
    known = codec.load(Artifact, manifest)
    codec.save(dataclasses.replace(known, versions={**known.versions, "torch": "1.0"}), manifest)
    changes = builder.export("onnx", path).changes
    assert changes is not None
    assert [c.split()[:2] for c in changes] == [["torch", "1.0"], ["spec"]]


def test_a_file_without_a_manifest_is_replaced_and_said_so(
    builder: Builder, tmp_path: Path
) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"something")
    assert builder.export("onnx", path).changes == ("the file before had no manifest of its own",)
    assert formats.read(path).format == "onnx"


def test_a_failed_parity_leaves_the_old_file(
    builder: Builder, old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = dataclasses.replace(fp32.PRECISION, max_ratio=0.0)
    monkeypatch.setattr(fp32, "PRECISION", wanted)
    with pytest.raises(CheckFailed, match="does not compute"):
        builder.export("onnx", old)
    assert untouched(old)


def test_a_failed_exporter_leaves_the_old_file(
    builder: Builder, old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("no such operator")

    monkeypatch.setattr(torch.onnx, "export", fail)
    with pytest.raises(EngineError, match="no such operator"):
        builder.export("onnx", old)
    assert untouched(old)


def test_a_full_disk_leaves_the_old_file(
    builder: Builder, old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(UsageError, match=r"No space left on device\): it takes [\d,]+ bytes, and"):
        builder.export("onnx", old)
    assert untouched(old)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP, signal.SIGKILL])
def test_a_killed_export_leaves_the_old_file(old: Path, number: signal.Signals) -> None:
    command = [sys.executable, "-m", "mvdeploy", "export", "mobilevit_xxs", "--image-size", "64"]
    process = subprocess.Popen([*command, "-o", str(old)], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if "export to onnx" in line:
            break
    process.send_signal(number)
    process.communicate(timeout=60)
    assert old.read_bytes() == b"the old file"
    assert formats.manifest_path(old).read_text() == "the old manifest"
    if number == signal.SIGKILL:
        with staged(old) as part:  # the next export removes what is left
            for file in (part, formats.manifest_path(part)):
                file.write_text("new")
        assert {p.name for p in old.parent.iterdir()} == {old.name, f"{old.name}.json"}
    else:
        assert process.returncode == 128 + number
        assert untouched(old)


def test_staging_cleans_up_whatever_happens(old: Path) -> None:
    with pytest.raises(KeyboardInterrupt), staged(old) as part:
        part.write_bytes(b"half")
        raise KeyboardInterrupt
    assert untouched(old)


@pytest.mark.parametrize("name", ["onnx", "pytorch"])
def test_a_dynamic_batch_takes_any_number_of_images(
    mobilevit: Builder, tmp_path: Path, name: str
) -> None:
    import numpy as np

    from mvdeploy import engines

    path = tmp_path / f"model{formats.suffix(name)}"
    artifact = mobilevit.export(name, path, Options(dynamic_batch=True)).artifact
    assert artifact.inputs[0].shape == ("batch", 3, 64, 64)
    engine = engines.get(engines.for_format(name, ("onnxruntime", "pytorch")))
    images = np.random.default_rng(0).random((3, 3, 64, 64), dtype=np.float32)
    session = engine.open_session(SessionRequest(path, {"image": images}, outputs=("logits",)))
    session.infer()
    together = session.outputs()["logits"]
    session.feed({"image": images[1:2]})
    session.infer()
    np.testing.assert_allclose(session.outputs()["logits"], together[1:2], atol=1e-5)


BATCHES = """
import torch
from torch import nn


class Part(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.conv, self.head, self.kind = nn.Conv2d(3, 8, 3), nn.Linear(8, 5), kind

    def forward(self, x):
        y = self.conv(x)
        if self.kind == "reshaped":
            y = y.reshape(1, 8, -1)
        elif self.kind == "viewed":
            y = y.view(1, 8, 196)
        elif self.kind == "branching" and len(x) == 2:
            y = 2 * y
        return self.head(y.flatten(2).mean(-1))


def make(kind):
    torch.manual_seed(0)
    return nn.Sequential(nn.ReLU(), Part(kind))


reshaped = lambda: make("reshaped")
viewed = lambda: make("viewed")
branching = lambda: make("branching")
free = lambda: make("free")
for factory in (reshaped, viewed, branching, free):
    factory.image_size = (16, 16)
"""


@pytest.mark.parametrize(
    ("kind", "batch", "said"),
    [
        ("reshaped", None, "fixes the number of images in the forward of 1 (Part): with 2 images"),
        ("viewed", None, "fixes the number of images in the forward of 1 (Part): with 2 images it"),
        ("viewed", 3, "fixes the number of images in the forward of 1 (Part): with 3 images it"),
        ("branching", None, "decides by the number of images in the forward of 1 (Part), so that"),
    ],
)
@pytest.mark.parametrize("format_name", ["onnx", "pytorch"])
def test_a_network_that_fixes_its_batch_is_refused_with_the_module(
    tmp_path: Path, format_name: str, kind: str, batch: int | None, said: str
) -> None:
    (tmp_path / "nets.py").write_text(BATCHES)
    spec = mvdeploy.make_spec(f"{tmp_path / 'nets.py'}:{kind}")
    build = Builder(dataclasses.replace(spec, batch=batch or 1))
    path = tmp_path / f"net{formats.suffix(format_name)}"
    with pytest.raises(UsageError) as raised:
        build.export(format_name, path, Options(dynamic_batch=batch is None))
    assert said in raised.value.message and not path.exists()


def test_a_file_that_mixes_the_images_of_a_batch_fails(tmp_path: Path) -> None:
    import numpy as np
    import onnx
    from onnx import helper, numpy_helper

    (tmp_path / "nets.py").write_text(BATCHES)
    path = tmp_path / "net.onnx"
    build = Builder(mvdeploy.make_spec(f"{tmp_path / 'nets.py'}:free"))
    good = build.export("onnx", path, Options(dynamic_batch=True))
    assert [one.name for one in good.parity.inputs][-2:] == ["2 images", "3 images"]
    model = onnx.load(str(path))
    (output,) = (o for node in model.graph.node for o in node.output if o == "logits")
    for node in model.graph.node:
        node.output[:] = ["apart" if name == output else name for name in node.output]
    model.graph.initializer.append(numpy_helper.from_array(np.array([0]), "rows"))
    model.graph.node.extend(
        [
            helper.make_node("ReduceMean", ["apart", "rows"], ["of_all"], "of_all", keepdims=1),
            helper.make_node("Sub", ["apart", "apart"], ["nothing"], "nothing"),
            helper.make_node("Add", ["of_all", "nothing"], ["logits"], "add"),
        ]
    )
    onnx.save(model, path)
    formats.save_manifest(dataclasses.replace(good.artifact, sha256=files.sha256(path)), path)
    parity = Verifier(path).check()
    assert not parity.passed
    wrong = {one.name for one in parity.inputs if one.max_abs > 1e-4}
    assert wrong == {"2 images", "3 images"}


def test_an_opset_is_kept_and_an_impossible_one_refused(builder: Builder, tmp_path: Path) -> None:
    import onnx

    path = tmp_path / "model.onnx"
    builder.export("onnx", path, formats.options("onnx", {"opset": 18}))
    assert onnx.load(str(path)).opset_import[0].version == 18
    with pytest.raises(UsageError, match="opset 3"):
        builder.export("onnx", path, formats.options("onnx", {"opset": 3}))
    with pytest.raises(UsageError, match="no --opset"):
        formats.options("pytorch", {"opset": 18})
