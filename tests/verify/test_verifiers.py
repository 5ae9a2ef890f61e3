from __future__ import annotations

from pathlib import Path

import pytest

from mvdeploy import engines, formats
from mvdeploy.errors import UsageError
from mvdeploy.verify import verifiers
from mvdeploy.verify.mutations import program


@pytest.mark.parametrize(
    ("format_name", "verifier"),
    [
        ("coreml", "mil"),
        ("executorch", "executorch"),
        ("onnx", "onnxruntime"),
        ("pytorch", "pytorch"),
    ],
)
def test_what_each_format_is_verified_with(format_name: str, verifier: str) -> None:
    assert formats.verifier(format_name) == verifier
    assert format_name in verifiers.get(verifier).FORMATS
    assert verifiers.title(verifier).startswith(
        "MIL interpreter" if verifier == "mil" else f"{verifier} "
    )


def test_a_planted_engine_verifies_a_format_that_no_other_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tin.py").write_text("FORMATS = ('tinned',)\ndef version(): return '7'\n")
    monkeypatch.setattr(engines, "__path__", [*engines.__path__, str(tmp_path)])
    assert verifiers.choose("tinned", None) == "tin"
    assert verifiers.title("tin") == "tin 7"


def test_what_does_not_exist_is_refused() -> None:
    with pytest.raises(UsageError, match="runs the format 'tinned'"):
        verifiers.choose("tinned", None)
    with pytest.raises(UsageError, match="There is no engine 'mill'"):
        verifiers.get("mill")
    with pytest.raises(UsageError, match="There is no format"):
        formats.verifier("oonx")


def test_a_format_that_names_no_driver_is_made_anew_from_broken_programs() -> None:
    assert formats.mutants("pytorch") is program.mutants
    assert formats.mutants("onnx").__module__ == "mvdeploy.verify.mutations.onnx"
    assert formats.mutants("coreml").__module__ == "mvdeploy.verify.mutations.coreml"
