"""The commands of docs/tutorials, each in a new process, as they stand there.

A page is worked through from its beginning, in an empty folder: a block of code behind "`NAME`:" is
written to that file, and every line of a block of commands is run by a shell. So that this takes
seconds, networks are smaller, and fewer inferences are measured, than the page says.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mvdeploy import kits
from mvdeploy.records.run import load_run
from tests.android.fixtures import adb_server, make_phone, phone
from tests.android.kit import aarch64_kit
from tests.android.phone import Phone
from tests.android.server import AdbServer

__all__ = ["aarch64_kit", "adb_server", "make_phone", "phone"]

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
PAGES = ROOT / "docs" / "tutorials"
BLOCK = re.compile(r"(?:^`([^`\n]+)`:\n\n)?^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
MEASURING = re.compile(r"^(?:\w+=\S+ )*mvdeploy (bench|compare|study (?!list))")
STATUS = re.compile(r"# exit status (\d+)")
FEW = {
    "bench": "--iterations 6 --warmup 2 --sessions 2",
    "compare": "--max-time 4 --groups 4 --warmup 2 --no-breakdown",
    "study ": "--iterations 6 --warmup 2 --sessions 2",
}


def blocks(page: str) -> Iterator[tuple[str, str, str]]:
    """Yield the file that a block is (or ""), its language and its text."""
    for found in BLOCK.finditer((PAGES / page).read_text(encoding="utf-8")):
        yield found[1] or "", found[2], found[3]


class Reader:
    """Does what a page says, in a folder.

    Args:
        folder: empty.
        smaller: what the page says → what is typed instead.
    """

    def __init__(self, folder: Path, smaller: dict[str, str]) -> None:
        self.folder, self.smaller = folder / "work", smaller
        self.said: dict[str, str] = {}
        program = folder / "bin" / "mvdeploy"
        for place in (self.folder, program.parent):
            place.mkdir()
        python = f'exec "{sys.executable}"'
        program.write_text(f'#!/bin/sh\n{python} -m mvdeploy "$@"\n')
        program.with_name("python").write_text(f'#!/bin/sh\n{python} "$@"\n')
        for path in program.parent.iterdir():
            path.chmod(0o755)
        path = f"{program.parent}{os.pathsep}{os.environ['PATH']}"
        self.environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}
        # What one command has exported, the next one takes.
        self.environment |= {"MVDEPLOY_CACHE": str(folder / "kept"), "MVDEPLOY_CACHE_SIZE": "1GB"}

    def read(self, page: str) -> None:
        for file, language, text in blocks(page):
            if file:
                place = self.folder / file
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_text(self.small(text), encoding="utf-8")
            elif language == "sh":
                for line in text.splitlines():
                    self.run(line)

    def small(self, text: str) -> str:
        for word, less in self.smaller.items():
            text = text.replace(word, less)
        return text

    def run(self, line: str) -> None:
        expected = STATUS.search(line)
        typed = self.small(line.partition("  #")[0].strip())
        if measuring := MEASURING.match(typed):
            typed = f"{typed} {FEW[measuring[1]]}"
        if "reports/RUN" in typed:
            typed = typed.replace("reports/RUN", str(max(self.runs)))
        done = subprocess.run(
            ["bash", "-c", typed],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        status = int(expected[1]) if expected else 0
        assert done.returncode == status, f"{typed}\n{done.stdout}\n{done.stderr}"
        self.said[line.partition("  #")[0].strip()] = done.stdout

    @property
    def runs(self) -> list[Path]:
        return [path.parent.relative_to(self.folder) for path in self.folder.rglob("run.json")]

    def printed(self, words: str) -> str:
        """Return what the only command with these words in it printed."""
        (said,) = (text for line, text in self.said.items() if words in line)
        return said


def test_deploy_my_network(tmp_path: Path) -> None:
    reader = Reader(tmp_path, {})
    reader.read("deploy-my-network.md")
    assert "The file agrees with PyTorch" in reader.printed("verify")
    answer, own = reader.printed("predict"), reader.printed("use.py").split()
    assert own[:2] == ["class", own[1]] and f"class {own[1]} " in answer.splitlines()[3]
    (run,) = reader.runs
    assert {case.engine for case in load_run(reader.folder / run).cases} == {
        "onnxruntime",
        "executorch",
    }


def test_choose_an_engine(tmp_path: Path) -> None:
    reader = Reader(tmp_path, {"mobilevit_xxs": "yardstick"})
    reader.read("choose-an-engine.md")
    saved = [load_run(reader.folder / run) for run in reader.runs]
    engines = {case.engine for run in saved for case in run.cases if case.failure is None}
    assert engines >= {"onnxruntime", "executorch", "pytorch"}
    assert {case.precision for run in saved for case in run.cases} >= {"fp32", "int8"}


def test_publish_a_table(tmp_path: Path) -> None:
    reader = Reader(tmp_path, {", parameters": ', image_size = "64", parameters'})
    reader.read("publish-a-table.md")
    assert "\nours " in reader.printed("plugins mvdeploy study list")
    (study,) = reader.folder.glob("reports/study-ours-*")
    assert {"report.md", "report.html", "study.csv"} <= {path.name for path in study.iterdir()}
    assert "published" in (study / "study.csv").read_text()


def test_gate_a_pull_request(tmp_path: Path) -> None:
    smaller = {
        "xxs -o main.onnx": "xxs --image-size 96 --model-arg depths=1,1,1 -o main.onnx",
        "xs -o branch.onnx": "s --image-size 96 -o branch.onnx",
        # A machine that has much to do besides fails no test.
        "p99:200ms": "p99:100000ms",
        "memory:500MB": "memory:5000MB",
        "p50:10%": "p50:10000%",
    }
    reader = Reader(tmp_path, smaller)
    reader.read("gate-a-pull-request.md")
    assert (reader.folder / "gates.xml").read_text().startswith("<?xml")
    assert (reader.folder / "base.json").is_file()


def test_measure_a_phone(
    phone: Phone,
    adb_server: AdbServer,
    aarch64_kit: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On the stand-in; its kit is there already."""
    adb_server.run("connect", phone.address)
    cache = next(folder for folder in aarch64_kit.parents if folder.name == "cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    assert kits.place("aarch64", "glibc") == aarch64_kit
    reader = Reader(tmp_path, {"mobilevit_xxs": "yardstick"})
    reader.read("measure-a-phone.md")
    assert "Pixel 4" in reader.said["mvdeploy devices"]
    (run,) = reader.runs
    saved = load_run(reader.folder / run)
    assert saved.run.device.emulated
    assert all(case.failure is None for case in saved.cases)
    assert list(phone.tmp.iterdir()) == []
