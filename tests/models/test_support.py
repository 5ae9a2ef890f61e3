from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from benchmarks import support as program
from benchmarks.support import FORMATS, markdown, networks, ordered
from mvdeploy import models
from mvdeploy.models import support
from mvdeploy.models.support import AGREES, CANNOT, DIFFERS, Support
from tests.warm import ROOT, Server

ROWS = (
    Support("a", "onnx", AGREES, ratio="1.3"),
    Support("a", "executorch", AGREES, "1", "0", "52", "127", ratio="2"),
    Support("b detect", "onnx", CANNOT, cause="it has no roof."),
    Support("b detect", "executorch", AGREES, "4", "2"),
    Support("c", "executorch", DIFFERS, cause="It computes something else."),
    Support("d", "executorch", AGREES, "1", "0", "9", "8", "1.32", "1.30", "1.34", "2"),
)


def test_a_line_for_each_network_and_a_cell_for_each_format() -> None:
    assert list(support.table(ROWS)) == [
        ("network", "onnx", "executorch"),
        ("a", "agrees", "agrees, 1 / 0 (plain 52 / 127)"),
        ("b detect", "cannot: it has no roof.", "agrees, 4 / 2"),
        ("c", "not tried", "differs: It computes something else."),
        ("d", "not tried", "agrees, 1 / 0 (plain 9 / 8; 1.32×, 1.30–1.34)"),
    ]


def test_what_was_found_is_of_networks_that_there_are() -> None:
    found = support.found()
    assert len({(row.network, row.format) for row in found}) == len(found)
    own = {row.network.split()[0] for row in found if ":" not in row.network}
    assert own <= set(models.catalogue())
    for row in found:
        assert row.outcome in (AGREES, DIFFERS, CANNOT)
        assert bool(row.cause) == (row.outcome != AGREES)


def test_the_document_has_the_table() -> None:
    found = support.found()
    assert markdown(ordered(found)) in (ROOT / "docs" / "support.md").read_text(encoding="utf-8")
    tried = {(row.network, row.format) for row in found}
    whole = {(network, name) for network in networks() for name in FORMATS}
    assert tried <= whole
    assert {name for _, name in whole - tried} <= {"litert"}


def test_a_defect_of_mvdeploy_is_no_row(monkeypatch: pytest.MonkeyPatch) -> None:
    said = subprocess.CompletedProcess((), 70, "", "Error: mvdeploy itself failed (x).\n")
    monkeypatch.setattr(program, "_run", lambda *command: said)
    with pytest.raises(SystemExit, match="mobilevit_xxs onnx: mvdeploy itself failed"):
        program.tried("mobilevit_xxs", "onnx")


@pytest.mark.parametrize(("status", "outcome"), [(1, DIFFERS), (2, CANNOT), (4, CANNOT)])
def test_what_is_said_of_a_failure_is_the_cause(
    monkeypatch: pytest.MonkeyPatch, status: int, outcome: str
) -> None:
    said = subprocess.CompletedProcess((), status, "", "noise\nError: It is so.\nDo this.\n")
    monkeypatch.setattr(program, "_run", lambda *command: said)
    assert program.tried("a", "onnx") == Support("a", "onnx", outcome, cause="It is so.")


def test_delegates_of_a_litert_program_are_counted_and_no_plain_one_is_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    outside = [{"type": "TANH", "module": "a", "count": 2}]
    made = {"delegation": {"delegates": 3, "undelegated": outside}, "verified": {"ratio": 1.25}}
    said = [subprocess.CompletedProcess((), 0, json.dumps([made]), "")]
    monkeypatch.setattr(program, "_run", lambda *command: said.pop())
    assert program.tried("a", "litert") == Support("a", "litert", AGREES, "3", "2", ratio="1.2")


def test_a_row_takes_the_place_of_an_earlier_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    table = tmp_path / "support.csv"
    table.write_text("network,format,outcome\nvil_tiny,onnx,agrees\nvil_tiny,coreml,cannot\n")
    monkeypatch.setattr(program, "TABLE", table)
    program._add(Support("vil_tiny", "coreml", AGREES))
    program._add(Support("mobilevit_xs", "executorch", AGREES, "1", "0"))
    rows = [line.split(",")[:5] for line in table.read_text().splitlines()]
    assert rows[1:] == [
        ["mobilevit_xs", "executorch", "agrees", "1", "0"],
        ["vil_tiny", "onnx", "agrees", "", ""],
        ["vil_tiny", "coreml", "agrees", "", ""],
    ]


@pytest.mark.parametrize("flags", [(), ("--json",)])
def test_it_is_shown(warm: Server, tmp_path: Path, flags: tuple[str, ...]) -> None:
    done = warm.mvdeploy("models", "--support", *flags, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    if flags:
        assert json.loads(done.stdout) == [row._asdict() for row in support.found()]
    else:
        assert all(row.network in done.stdout for row in support.found())
        assert support.DELEGATES in " ".join(done.stdout.split())
