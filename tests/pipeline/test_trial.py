"""Files that end the process that runs them are refused by every command that would run them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from mvdeploy import formats
from mvdeploy.errors import EngineError
from mvdeploy.formats.litert import schema
from mvdeploy.pipeline import trial
from mvdeploy.pipeline.files import load_runnable
from mvdeploy.records import codec
from tests.conftest import MakeExport
from tests.engines.litert_programs import Program, program
from tests.warm import Server

__all__ = ["program"]

REFUSED = "harmed.tflite: its process was killed by SIGABRT"


@pytest.fixture
def harmed(program: Callable[[str], Program], tmp_path: Path) -> Path:
    """A program that is sound for LiteRT's own check, and gives a tensor that has no memory."""
    model = schema.unpacked(program("small").path.read_bytes())
    graph = model.subgraphs[0]
    weight = next(i for op in graph.operators for i in op.inputs if i not in graph.inputs)
    model.signatureDefs[0].outputs[0].tensorIndex = weight
    path = tmp_path / "harmed.tflite"
    path.write_bytes(schema.packed(model))
    return path


COMMANDS = {
    "verify": ("--against", "harmed.tflite"),
    "predict": (),
    "eval": ("--without-pytorch", "--data", "labels.csv", "-o", "out.csv"),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_it_is_refused_in_a_sentence(warm: Server, harmed: Path, command: str) -> None:
    (harmed.parent / "labels.csv").write_text("path,label\npicture.png,0\n")
    Image.new("RGB", (20, 20)).save(harmed.with_name("picture.png"))
    done = warm.mvdeploy(command, harmed.name, *COMMANDS[command], cwd=harmed.parent)
    assert done.returncode == EngineError.exit_code, done.stderr
    assert REFUSED in done.stderr
    assert done.stderr.count("Error: ") == 1 and "Traceback" not in done.stderr
    assert not (harmed.parent / "out.csv").exists()


def test_it_is_refused_with_a_manifest_too(harmed: Path) -> None:
    """A manifest with the right sum says nothing of whether a file can be run."""
    artifact = formats.read_file(harmed)
    with pytest.raises(EngineError, match=REFUSED):
        trial.demand_survived(harmed, artifact)
    named = dataclasses.replace(artifact, spec=dataclasses.replace(artifact.spec, model="net"))
    codec.save(named, harmed.with_name("harmed.tflite.json"))
    with pytest.raises(EngineError, match=REFUSED):
        load_runnable(harmed)


def test_what_the_engine_refuses_itself_is_told_there(harmed: Path) -> None:
    artifact = formats.read_file(harmed)
    harmed.write_bytes(harmed.read_bytes()[:-200])
    trial.demand_survived(harmed, artifact)


def test_engines_that_return_from_all_files_are_not_asked(
    exported: MakeExport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "_run", lambda *_: pytest.fail("it was run"))
    made = exported("onnx")
    trial.demand_survived(made.path, made.artifact)
