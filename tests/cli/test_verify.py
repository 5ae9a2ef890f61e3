from __future__ import annotations

import functools
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from mvdeploy import files, formats
from mvdeploy.cli import parity_sentences
from mvdeploy.records.parity import PrecisionLoss
from mvdeploy.verify.mutations import Subject
from mvdeploy.verify.mutations.onnx import mutants
from tests.saved_runs import without_checksum

Mvdeploy = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def verify(mvdeploy: Mvdeploy) -> Mvdeploy:
    return functools.partial(mvdeploy, "verify")


@pytest.fixture
def good(exported, tmp_path: Path) -> Path:
    path = exported().path
    for file in (path, formats.manifest_path(path)):
        shutil.copy(file, tmp_path)
    return tmp_path / path.name


def test_a_good_file(typed: Mvdeploy, good: Path) -> None:
    done = typed("verify", good.name)
    assert done.returncode == 0, done.stderr
    assert "agrees with PyTorch" in done.stdout
    assert "photograph" in done.stdout


def test_a_broken_file_exits_1_and_names_the_module(
    typed: Mvdeploy, verify: Mvdeploy, good: Path, exported
) -> None:
    source = exported()
    feed = {"image": np.zeros((1, 3, 96, 96), np.float32)}
    subject = Subject(
        source.path, source.artifact, source.network, source.network, feed, lambda *_: None
    )
    broken = next(m for m in mutants(subject) if m.name == "softmax axis")
    module = broken.module
    broken.write(good)
    manifest = formats.manifest_path(good)
    known = without_checksum(manifest)
    manifest.write_text(json.dumps({**known, "sha256": files.sha256(good)}))
    done = typed("verify", good.name)
    assert done.returncode == 1
    assert "DOES NOT agree" in done.stdout
    assert f"The first module that departs is {module} " in done.stdout
    assert "<- departs" in done.stdout
    body = json.loads(verify(good.name, "--json").stdout)
    assert body["passed"] is False
    assert next(m["module"] for m in body["modules"] if m["diverges"]) == module


def test_a_file_that_is_not_the_manifests_is_refused(verify: Mvdeploy, good: Path) -> None:
    data = bytearray(good.read_bytes())
    data[len(data) // 2] ^= 1
    good.write_bytes(data)
    done = verify(good.name)
    assert done.returncode == 2
    assert "sha256" in done.stderr


def test_a_manifest_of_another_schema_is_refused_by_name(verify: Mvdeploy, good: Path) -> None:
    manifest = formats.manifest_path(good)
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "schema_version": 99}))
    done = verify(good.name)
    assert done.returncode == 2
    assert "schema version 99" in done.stderr


def test_what_the_network_itself_computes_has_a_name() -> None:
    """Operators of its own forward are in no module of it."""
    loss = PrecisionLoss("", "aten.mean.dim", "white", 16.0)
    parity = SimpleNamespace(differing=(), first_diverging=None, losses=(loss,))
    (said,) = parity_sentences.findings(parity)  # type: ignore[arg-type]
    assert said == (
        "Loses digits on 'white': the network itself (aten.mean.dim, error 16 times larger)."
    )
