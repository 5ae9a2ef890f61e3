"""Whole numbers that are wrong are caught in every format, and the module is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from mvdeploy import formats, models
from mvdeploy.pipeline import calibration
from mvdeploy.pipeline.export import Builder
from mvdeploy.pipeline.verify import Verifier
from mvdeploy.verify.mutations import whole_numbers

# torch 2.13 copies its own deprecated tree specifications.
pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")

OF_WEIGHTS = tuple(whole_numbers._OF_WEIGHTS)
EXPECTED = {"int8": whole_numbers.names(), "int8-dynamic": OF_WEIGHTS}
EXPECTED["int8-fast"] = EXPECTED["int8"]


def _verifier(
    format_name: str, precision: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Verifier:
    monkeypatch.setattr(calibration, "ANSWERS", 2)
    path = folder / f"a{formats.suffix(format_name)}"
    builder = Builder(models.make_spec("yardstick"), wish=calibration.Wish(4))
    builder.export(format_name, path, formats.Options(precision))
    return Verifier(path)


@pytest.mark.parametrize("precision", EXPECTED)
def test_wrong_whole_numbers_in_onnx(
    precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    verifier = _verifier("onnx", precision, tmp_path, monkeypatch)
    results = verifier.mutations(whole_numbers.names())
    assert tuple(r.mutation for r in results) == EXPECTED[precision]
    for result in results:
        assert result.good, result


@pytest.mark.slow
def test_wrong_whole_numbers_in_executorch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    precision = "int8-fast"
    verifier = _verifier("executorch", precision, tmp_path, monkeypatch)
    results = verifier.mutations(EXPECTED[precision][-2:])
    assert len(results) == 2
    for result in results:
        assert result.good, result


@pytest.mark.slow
def test_wrong_whole_numbers_in_core_ml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    verifier = _verifier("coreml", "int8-fast", tmp_path, monkeypatch)
    results = verifier.mutations(whole_numbers.names())
    assert tuple(r.mutation for r in results) == EXPECTED["int8-fast"]
    for result in results:
        assert result.good, result


def test_what_is_traced_is_broken_in_programs_of_whole_numbers_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    verifier = _verifier("onnx", "int8", tmp_path, monkeypatch)
    (lost,) = verifier.mutations({"bias dropped"})
    assert lost.good
