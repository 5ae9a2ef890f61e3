"""The engine LiteRT from the command line, as docs/litert.md has it."""

from __future__ import annotations

from pathlib import Path

import pytest

from mvdeploy.files import sha256
from tests.cli.conftest import Mvdeploy

PROFILE = """\
name = "desk"
title = "This machine"
link = "host"
engines = ["litert"]
"""


@pytest.mark.slow
def test_a_program_is_measured(mvdeploy: Mvdeploy, exported, tmp_path: Path) -> None:
    small = exported("litert")
    before = sha256(small.path)
    (tmp_path / "desk.toml").write_text(PROFILE)
    words = ("--device", "desk", "--devices-dir", str(tmp_path), "--output", str(tmp_path))
    quick = ("--sessions", "1", "--warmup", "3", "--iterations", "5")
    done = mvdeploy("bench", str(small.path), *words, *quick, "--kernel-mode", "delegate")
    assert done.returncode in (0, 1), done.stderr  # 1: other programs disturbed it
    said = " ".join(done.stdout.split())
    assert "LiteRT: 100.00 % attributed" in said
    (run,) = (path.parent for path in tmp_path.glob("*/report.html"))
    (case,) = run.glob("cases/*/case.json")
    for option in ("num_threads=1", "kernel_mode=delegate", "force_fp16=off"):
        assert f'"{option}"' in case.read_text()
    assert sha256(small.path) == before


def test_an_archive_that_is_none_is_refused(mvdeploy: Mvdeploy, tmp_path: Path) -> None:
    (tmp_path / "litert-2.3.0.aar").write_bytes(b"no archive")
    words = ("--litert-aar", "litert-2.3.0.aar")
    done = mvdeploy("devices", "setup", "pixel8", *words)
    assert done.returncode == 2
    assert "litert-2.3.0.aar is no archive of LiteRT for Android" in done.stderr


def test_a_kernel_mode_that_there_is_not_is_refused(mvdeploy: Mvdeploy) -> None:
    done = mvdeploy("bench", "--kernel-mode", "fast")
    assert done.returncode == 2
    assert "delegate" in done.stderr and "builtin" in done.stderr
