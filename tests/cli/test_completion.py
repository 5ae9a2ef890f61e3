"""What a shell completes: asked as a shell asks, and in shells that are there."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mvdeploy import devices, formats, studies
from tests.cli.test_main import HEAVY
from tests.warm import ROOT

Mvdeploy = Callable[..., subprocess.CompletedProcess[str]]


def ask(line: str, cwd: Path, shell: str = "bash") -> list[str]:
    """Return what the last word of a line may be, from a new process."""
    words = line.split(" ")
    done = subprocess.run(
        [sys.executable, "-m", "mvdeploy"],
        cwd=cwd,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "_MVDEPLOY_COMPLETE": f"{shell}_complete",
            "COMP_WORDS": line,
            "COMP_CWORD": str(len(words) - 1),
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stderr == ""
    return [said.removeprefix("plain,") for said in done.stdout.split()]


def test_names_are_completed(tmp_path: Path) -> None:
    assert ask("mvdeploy comp", tmp_path) == ["compare", "completion"]
    assert ask("mvdeploy bench mobilevit_x", tmp_path) == ["mobilevit_xxs", "mobilevit_xs"]
    assert ask("mvdeploy bench --device pixel", tmp_path) == [
        "pixel4",
        "pixel4-chrome",
        "pixel6",
        "pixel8",
    ]
    assert ask("mvdeploy devices doctor ", tmp_path) == [
        name
        for profile in devices.profiles().values()
        for name in (profile.name, *profile.aliases)
        if " " not in name
    ]
    assert ask("mvdeploy bench net.onnx --format ", tmp_path) == list(formats.names())
    assert ask("mvdeploy export --format exe", tmp_path) == ["executorch"]
    assert ask("mvdeploy bench --engine on", tmp_path) == ["onnxruntime", "onnxruntime-web"]
    assert ask("mvdeploy bench --precision int8-f", tmp_path) == ["int8-fast", "int8-fused"]
    assert ask("mvdeploy study ", tmp_path) == [*studies.names(), "list"]
    assert ask("mvdeploy cache c", tmp_path) == ["clear"]
    assert "--patches" in ask("mvdeploy bench --pat", tmp_path)


def test_files_and_runs_are_completed(tmp_path: Path) -> None:
    for name in ("motor.onnx", "motor.txt", "motor two.onnx"):
        (tmp_path / name).touch()
    assert ask("mvdeploy compare mot", tmp_path) == ["motor.onnx"]
    assert ask("mvdeploy bench other/n", tmp_path) == ["file,other/n"]  # any file; the shell's turn
    for name in ("20260101-a", "20260102-b", "notes"):
        (tmp_path / "reports" / name).mkdir(parents=True)
    for name in ("20260101-a", "20260102-b"):
        (tmp_path / "reports" / name / "run.json").touch()
    newest_first = ["reports/20260102-b", "reports/20260101-a"]
    assert ask("mvdeploy report ", tmp_path) == newest_first
    assert ask("mvdeploy history add reports/2026", tmp_path) == newest_first
    assert ask("mvdeploy report reports/n", tmp_path) == ["dir,reports/n"]


@pytest.mark.parametrize(
    "line", ["mvdeploy frobnicate ", "mvdeploy bench --devices-dir nowhere -d "]
)
def test_what_is_wrong_prints_nothing(line: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("MVDEPLOY_PLUGINS", str(tmp_path / "gone"))
    assert ask(line, tmp_path) == []


def test_nothing_heavy_is_imported(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom mvdeploy.cli import main\n"
        "try: main()\n"
        f"except SystemExit: print('LOADED', *(m for m in {HEAVY!r} if m in sys.modules))\n"
    )
    asked = {
        "_MVDEPLOY_COMPLETE": "bash_complete",
        "COMP_WORDS": "mvdeploy bench ",
        "COMP_CWORD": "2",
    }
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, **asked, "COMP_CWORD": "2"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    *completed, loaded = done.stdout.splitlines()
    assert "plain,mobilevit_xxs" in completed
    assert loaded == "LOADED"


@pytest.fixture
def path_with_it(tmp_path: Path) -> str:
    """A path on which ``mvdeploy`` is this one."""
    program = tmp_path / "bin" / "mvdeploy"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" -m mvdeploy "$@"\n')
    program.chmod(0o755)
    return f"{program.parent}{os.pathsep}{os.environ['PATH']}"


def test_the_tab_key_in_a_real_bash(path_with_it: str, tmp_path: Path) -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(tmp_path)
        os.execvpe(
            "bash",
            ["bash", "--norc", "--noprofile", "-i"],
            {"PATH": path_with_it, "TERM": "dumb", "HOME": str(tmp_path), "PS1": "> "},
        )
    seen = ""

    def until(words: str) -> None:
        nonlocal seen
        end = time.monotonic() + 60
        while words not in seen and time.monotonic() < end:
            if select.select([terminal], [], [], 1)[0]:
                seen += os.read(terminal, 4096).decode()
        assert words in seen, seen

    try:
        os.write(terminal, b'eval "$(mvdeploy completion bash)"; echo all "set"\n')
        until("\nall set")
        os.write(terminal, b"echo mvdeploy; mvdeploy export mobilevit_xx\t")
        until("mvdeploy export mobilevit_xxs ")
        os.write(terminal, b"--dev\x15mvdeploy bench --device pixel4 --engine exec\t")
        until("--engine executorch ")
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
        os.close(terminal)


@pytest.mark.parametrize(("shell", "checks"), [("bash", "-n"), ("zsh", "-n"), ("fish", "-n")])
def test_the_script_is_one_of_the_shell(
    typed: Mvdeploy, tmp_path: Path, shell: str, checks: str
) -> None:
    done = typed("completion", shell)
    assert done.returncode == 0, done.stderr
    assert "_MVDEPLOY_COMPLETE" in done.stdout and "mvdeploy" in done.stdout
    script = tmp_path / "script"
    script.write_text(done.stdout)
    if shutil.which(shell):
        subprocess.run([shell, checks, str(script)], check=True, timeout=60)


def test_another_shell_is_refused(mvdeploy: Mvdeploy) -> None:
    done = mvdeploy("completion", "tcsh")
    assert done.returncode == 2
    assert "'bash', 'zsh', 'fish'" in done.stderr
