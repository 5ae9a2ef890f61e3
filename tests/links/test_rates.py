"""What this machine multiplies per second, measured once and kept."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from mvdeploy import devices, links
from mvdeploy.errors import EngineError
from mvdeploy.links.families.host import rates
from mvdeploy.records import Rate
from mvdeploy.records.codec import RecordError, decode
from mvdeploy.runners import process
from mvdeploy.runners import rates as program


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("mvdeploy.files.user_folder", lambda kind: tmp_path / kind)
    return tmp_path


def answers(monkeypatch: pytest.MonkeyPatch, rates_of: dict[int, list[dict[str, Any]]]) -> None:
    def run(command: Any, **_: Any) -> Any:
        lines = (json.dumps(rate) for rate in rates_of[int(command[-1])])
        return subprocess.CompletedProcess(command, 0, "\n".join(lines), "")

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(rates, "_cores", lambda: 2)
    monkeypatch.setattr(rates, "machine", lambda: {"cpu": "a", "torch": "1"})


def rate(numbers: str, threads: int, per_s: float, by: str = "torch.mm") -> dict[str, Any]:
    return {
        "numbers": numbers,
        "threads": threads,
        "macs_per_s": per_s,
        "low": 0.9 * per_s,
        "high": 1.1 * per_s,
        "by": by,
        "instructions": "avx512",
    }


def test_the_best_library_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    answers(
        monkeypatch,
        {
            1: [rate("fp32", 1, 5e10), rate("fp32", 1, 6e10, "other"), rate("int8", 1, 3e11)],
            2: [rate("fp32", 2, 9e10)],
        },
    )
    found = rates.measure()
    best = found.of("fp32", 1)
    assert best is not None and (best.macs_per_s, best.by) == (6e10, "other")
    assert found.of("bf16", 1) is None
    assert rates.kept() == found
    assert rates.identity() == {
        "macs_per_s_fp32_1": 6e10,
        "macs_per_s_int8_1": 3e11,
        "macs_per_s_fp32_2": 9e10,
    }


def test_another_release_or_processor_has_no_rates_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, {1: [rate("fp32", 1, 5e10)], 2: []})
    rates.measure()
    monkeypatch.setattr(rates, "machine", lambda: {"cpu": "a", "torch": "2"})
    assert rates.kept() is None
    assert rates.identity() == {}


def test_a_damaged_file_counts_as_none(monkeypatch: pytest.MonkeyPatch, own_folder: Path) -> None:
    answers(monkeypatch, {1: [rate("fp32", 1, 5e10)], 2: []})
    rates.measure()
    (path,) = (own_folder / "data" / "rates").iterdir()
    path.write_text(path.read_text().replace("50000000000", "70000000000"))
    assert rates.kept() is None


def test_a_library_that_fails_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(command: Any, **_: Any) -> Any:
        raise subprocess.CalledProcessError(1, command, "", "Traceback\nImportError: no torch")

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(EngineError, match="ImportError: no torch") as caught:
        rates.measure()
    assert "torch and onnxruntime" in caught.value.remedy
    assert rates.kept() is None


@pytest.mark.parametrize("line", ["nonsense", '{"numbers": "fp32"}', '"text"'])
def test_what_is_no_rate_is_an_error(monkeypatch: pytest.MonkeyPatch, line: str) -> None:
    done = subprocess.CompletedProcess((), 0, line, "")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: done)
    with pytest.raises(EngineError, match="could not be measured"):
        rates.measure()


def test_a_rate_lies_in_its_interval() -> None:
    broken = {**rate("fp32", 1, 5e10), "low": 6e10}
    with pytest.raises(RecordError, match="outside of its own interval"):
        decode(Rate, broken, "a rate")


def test_the_machine_tells_its_rates_once_they_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    link = links.get(devices.get("host"))
    assert not any(name.startswith("macs_per_s") for name in link.identity())
    answers(monkeypatch, {1: [rate("fp32", 1, 5e10)], 2: []})
    rates.measure()
    assert link.identity()["macs_per_s_fp32_1"] == 5e10


def test_the_program_measures_every_type_of_numbers(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(program, "SIZES", (64,))
    monkeypatch.setattr(process, "die_with_parent", lambda: None)
    program.main(["1"])
    found = [decode(Rate, json.loads(line), "") for line in capsys.readouterr().out.splitlines()]
    assert {r.numbers for r in found} == {"fp32", "bf16", "fp16", "int8"}
    assert {r.by.split()[0] for r in found} == {"torch.mm", "torch._int_mm", "ONNX"}
    assert all(r.threads == 1 and r.instructions for r in found)
