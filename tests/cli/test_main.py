from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys
import tomllib
from pathlib import Path

import click
import pytest

from mvdeploy.cli import COMMANDS, commands

HEAVY = [
    "torch",
    "onnx",
    "onnxscript",
    "onnxruntime",
    "executorch",
    "coremltools",
    "scipy",
    "pandas",
    "matplotlib",
    "numpy",
    "rich",
    "jinja2",
    "PIL",
    "psutil",
]


def loaded_by(*arguments: str) -> tuple[int, set[str]]:
    """Return the exit status of a command and the heavy modules it had loaded at its end."""
    code = (
        "import sys; sys.argv = ['mvdeploy', *sys.argv[1:]]\n"
        "from mvdeploy.cli import main\n"
        "try: main()\n"
        "except SystemExit as end:\n"
        f"    heavy = [m for m in {HEAVY!r} if m in sys.modules]\n"
        "    print('LOADED', end.code, *heavy)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=60
    )
    words = done.stdout.splitlines()[-1].split()
    assert words[0] == "LOADED", done
    return int(words[1]), set(words[2:])


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["--help"], 0),
        (["--version"], 0),
        (["bench", "--help"], 0),
        (["export", "--help"], 0),
        (["models"], 0),
        (["report", "."], 2),
        (["frobnicate"], 2),
        (["bench", "--bogus"], 2),
        (["bench", "mobilvit_s"], 2),
        (["bench", "--patches", "64,2,2"], 2),
        (["bench", "--device", "nokia3310"], 2),
        (["export", "--format", "onx"], 2),
        (["export", "--bogus"], 2),
        (["export", "--formulation", "plane"], 2),
        (["export", "--format", "executorch", "--backend", "xnnpak"], 2),
        (["export", "--format", "executorch", "--batch", "dynamic"], 2),
        (["export", "--patches", "0,2,2"], 2),
    ],
)
def test_help_and_usage_errors_load_nothing_heavy(arguments: list[str], status: int) -> None:
    assert loaded_by(*arguments) == (status, set())


def test_the_check_above_sees_heavy_modules() -> None:
    status, heavy = loaded_by("bench", "--input", __file__)
    assert status == 2
    assert "PIL" in heavy


def test_every_command_has_a_file_and_every_file_a_command() -> None:
    files = {info.name for info in pkgutil.iter_modules(commands.__path__)}
    assert files == set(COMMANDS)
    for name in COMMANDS:
        command = importlib.import_module(f"mvdeploy.cli.commands.{name}").command
        assert isinstance(command, click.Command)
        assert command.help
        assert "--debug" in {o for p in command.params for o in p.opts}


POSIX = ("fcntl", "grp", "posix", "pwd", "resource", "termios")


@pytest.mark.parametrize("arguments", [[], ["--help"], ["bench", "model.onnx"]])
def test_windows_is_told_the_way_at_the_start(arguments: list[str]) -> None:
    code = (
        "import runpy, sys; sys.argv[0] = 'mvdeploy'; sys.platform = 'win32'\n"
        f"sys.modules.update(dict.fromkeys({POSIX!r}))\n"
        "runpy.run_module('mvdeploy', run_name='__main__')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (2, "")
    first, remedy = done.stderr.splitlines()
    assert first == "Error: mvdeploy runs on Linux and macOS, and this is Windows."
    assert "WSL" in remedy


def test_the_program_starts_where_the_system_is_looked_at() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert project["scripts"] == {"mvdeploy": "mvdeploy.__main__:main"}
    systems = {name for name in project["classifiers"] if name.startswith("Operating System")}
    assert systems == {"Operating System :: POSIX :: Linux", "Operating System :: MacOS"}
