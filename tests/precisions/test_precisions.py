from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any

import onnx
import pytest

from mvdeploy import models, precisions
from mvdeploy.errors import UsageError
from mvdeploy.pipeline.export import Builder
from mvdeploy.precisions import fp32


@pytest.mark.parametrize("name", precisions.names())
def test_every_precision_says_what_it_demands(name: str) -> None:
    precision = precisions.get(name)
    assert precision.name == name
    assert precision.label and precision.title
    assert 0 < precision.min_snr_db < precision.sure_db


def test_an_unknown_precision_is_refused_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="There is no precision 'fp61'") as caught:
        precisions.get("fp61")
    assert "Did you mean 'fp16'?" in caught.value.remedy


def test_a_planted_precision_is_offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "coarse.py").write_text(
        "from mvdeploy.precisions import Precision\n"
        "PRECISION = Precision('coarse', 'coarse', 'coarse numbers', sure_db=9, min_snr_db=10)\n"
    )
    monkeypatch.setattr(precisions, "__path__", [*precisions.__path__, str(tmp_path)])
    assert "coarse" in precisions.names()
    assert precisions.get("coarse").min_snr_db == 10


def test_thresholds_are_known_without_torch() -> None:
    code = (
        "import sys; from mvdeploy import precisions, tasks\n"
        "for room in (precisions, tasks): [room.get(name) for name in room.names()]\n"
        "sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


def test_the_stage_of_a_precision_rewrites_what_is_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def rewrite(graph: Any, format_name: str, calibration: Any) -> Any:
        seen.append((format_name, calibration))
        graph.producer_name = "rewritten"
        return graph

    stage = dataclasses.replace(fp32.PRECISION, rewrite=rewrite)
    monkeypatch.setattr(fp32, "PRECISION", stage)
    done = Builder(models.make_spec("yardstick")).export("onnx", tmp_path / "a.onnx")
    ((format_name, calibration),) = seen
    assert format_name == "onnx"
    shapes = {tuple(tensor.shape) for feed in calibration.feeds() for tensor in feed}
    assert shapes == {(1, 3, 56, 56)}
    assert onnx.load(done.path).producer_name == "rewritten"
