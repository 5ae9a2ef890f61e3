"""Terminals, pipes, disks and environments of all kinds: never a traceback, never a lost name."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mvdeploy.cli import progress
from mvdeploy.cli.commands.bench import command as bench
from mvdeploy.records.run import save_case, save_comparisons, save_run
from tests.saved_runs import two_cases

PLAIN = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
NO_HOME = """
import os, pwd, sys

def getpwuid(number):
    raise KeyError(f"getpwuid(): uid not found: {number}")

pwd.getpwuid = getpwuid  # as in a container that is started as any user
for name in ("HOME", "USER", "LOGNAME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
    os.environ.pop(name, None)
"""
MVDEPLOY = "from mvdeploy.cli import main; main()"
SHOW = """
from pathlib import Path
from mvdeploy.cli import streams
from mvdeploy.pipeline.report import view
from mvdeploy.report.renderers.terminal import show

streams.prepare()
show(view(Path(sys.argv[1])), streams.console())
"""


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run."""
    folder = tmp_path_factory.mktemp("saved") / "run"
    story = two_cases().saved
    save_run(story.run, folder)
    for case in story.cases:
        save_case(case, folder)
    save_comparisons(story.comparisons, folder)
    return folder


def run(
    *arguments: str | Path, code: str = MVDEPLOY, stdout: int = subprocess.PIPE, **environment: str
) -> subprocess.CompletedProcess[bytes]:
    """Run Python code that is given arguments, without a terminal."""
    return subprocess.run(
        [sys.executable, "-c", f"import sys\n{code}", *map(str, arguments)],
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.PIPE,
        timeout=100,
    )


@pytest.mark.parametrize(
    "environment",
    [
        PLAIN,
        {"PYTHONIOENCODING": "ascii", "CI": "true"},
        {"PYTHONIOENCODING": "latin-1", "NO_COLOR": "1"},
        {"PYTHONIOENCODING": "cp1252", "FORCE_COLOR": "1", "TERM": "xterm"},
        {"PYTHONIOENCODING": "utf-8", "TERM": "dumb"},
    ],
    ids=lambda environment: " ".join(f"{k}={v}" for k, v in environment.items()),
)
def test_a_terminal_that_lacks_a_letter(saved: Path, environment: dict[str, str]) -> None:
    done = run(saved, code=SHOW, COLUMNS="150", **environment)
    assert done.returncode == 0, done.stderr
    text = done.stdout.decode(environment.get("PYTHONIOENCODING", "ascii"))
    assert "A: mobilevit_xxs 2,2,2" in text and "can tell" not in text
    assert "+/-" in text or "±" in text
    assert ("\x1b[" in text) == ("FORCE_COLOR" in environment)


def test_an_error_that_names_what_the_terminal_lacks() -> None:
    done = run("bench", "größer→.onnx", PYTHONIOENCODING="latin-1")
    assert done.returncode == 2
    first = done.stderr.decode("latin-1").splitlines()[0]
    assert first == "Error: There is no file größer->.onnx."
    done = run("bench", b"\xff\xfe.onnx".decode(errors="surrogateescape"), **PLAIN)
    assert done.returncode == 2 and b"There is no file ??.onnx." in done.stderr


@pytest.mark.parametrize(
    ("end", "status", "said"),
    [
        (">/dev/full", 2, b"The output cannot be written (No space left on device)."),
        (">&-", 0, b""),
        ("| true", 0, b""),
    ],
)
def test_output_that_nobody_takes(end: str, status: int, said: bytes) -> None:
    line = f"'{sys.executable}' -m mvdeploy models {end}"
    done = subprocess.run(["sh", "-c", line], capture_output=True, timeout=60)
    assert done.returncode == status
    assert said in done.stderr and b"Traceback" not in done.stderr
    assert b"mvdeploy itself" not in done.stderr and b"ignored" not in done.stderr


def test_an_error_that_nobody_takes_keeps_its_status() -> None:
    line = f"'{sys.executable}' -m mvdeploy frobnicate 2>/dev/full"
    assert subprocess.run(["sh", "-c", line], timeout=60).returncode == 2


def test_no_home(tmp_path: Path) -> None:
    done = run("devices", code=NO_HOME + MVDEPLOY, TMPDIR=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert b"pixel4" in done.stdout and done.stderr == b""


@pytest.mark.parametrize(
    "environment",
    [
        {"MPLBACKEND": "module://matplotlib_inline.backend_inline"},
        {"HOME": "/proc/none", "XDG_CACHE_HOME": "", "XDG_CONFIG_HOME": "", "MPLBACKEND": "none"},
    ],
    ids=["notebook", "no home"],
)
def test_figures_need_no_display_and_no_home(
    saved: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    wanted = ("--format", "png", "-o", tmp_path / "new")
    done = run("report", saved, *wanted, **environment)
    assert done.returncode == 0 and done.stderr == b""
    assert (tmp_path / "new/figures/latency.png").read_bytes().startswith(b"\x89PNG")


def test_what_a_bench_leaves_on_the_machine(others: Callable[[str], Path], tmp_path: Path) -> None:
    """ONNX Runtime collects no telemetry, in the runner neither."""
    names = ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR", "TMPDIR")
    places = {name: tmp_path / name for name in names}
    for place in places.values():
        place.mkdir()
    few = ("--iterations", "5", "--warmup", "3", "--sessions", "1", "--no-breakdown")
    environment = {name: str(place) for name, place in places.items()}
    done = run("bench", others("plain.onnx"), *few, "-o", tmp_path / "runs", **environment)
    assert done.returncode == 0, done.stderr
    files = (path for place in places.values() for path in place.rglob("*") if path.is_file())
    left = {str(path.relative_to(tmp_path)) for path in files}
    assert {
        f for f in left if "mvdeploy/locks/" not in f and "/matplotlib/fontlist-" not in f
    } == set()


@pytest.mark.parametrize("place", ["file", "file/below", "/proc/none"])
def test_a_report_that_cannot_be_written(saved: Path, tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("in the way")
    done = run("report", saved, "--format", "json", "-o", tmp_path / place)
    first, second = done.stderr.decode().splitlines()
    assert done.returncode == 2 and done.stdout == b""
    file = tmp_path / place / "report.json"
    assert first.startswith(f"Error: {file} cannot be written (")
    assert second == "Give another place: 'mvdeploy report RUN -o DIR'."


def test_several_reports_get_a_folder_each(saved: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.symlink_to(saved)
    done = run("report", saved, other, "--each", "--format", "json", "-o", tmp_path / "all")
    assert done.returncode == 0, done.stderr
    found = sorted(file.relative_to(tmp_path).as_posix() for file in tmp_path.rglob("report.json"))
    assert found == ["all/other/report.json", "all/run/report.json"]


@pytest.mark.parametrize(("name", "moves"), [("xterm-256color", True), ("dumb", False)])
def test_a_terminal_without_a_cursor_gets_plain_lines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, moves: bool
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", name)
    with progress.steps(2) as announce:
        announce("build [it]")
    assert ("\x1b[" in capsys.readouterr().err) == moves
    if not moves:
        with progress.steps(2) as announce:
            announce("build [it]")
        assert capsys.readouterr().err == "build [it]\n"


def test_iterations_are_bounded_by_memory() -> None:
    (option,) = (option for option in bench.params if option.name == "iterations")
    assert option.type.max == 10_000_000  # type: ignore[attr-defined]
    code = "from mvdeploy.cli.commands import models\n" + (
        "def fail(**_): raise MemoryError\nmodels.command.callback = fail\n"
    )
    done = run("models", code=code + MVDEPLOY)
    assert done.returncode == 2
    assert done.stderr.startswith(b"Error: There is not enough memory for this.")


@pytest.mark.parametrize("classes", [10**12, 10**18])
def test_a_network_that_does_not_fit_into_memory(classes: int) -> None:
    done = run("describe", "mobilevit_xxs", "--num-classes", str(classes))
    assert done.returncode == 2
    assert done.stderr.startswith(b"Error: There is not enough memory for this.\nAsk for less")


def test_an_error_does_not_command_the_terminal() -> None:
    done = run("describe", "\x1b[31mred\u202e\nline", PYTHONIOENCODING="utf-8")
    assert done.returncode == 2
    assert done.stderr.decode().startswith("Error: There is no model 'red\ufffd\nline'.")


def test_the_environment_stays_as_it_is() -> None:
    """Engines inherit it, and results that were taken under another one are not compared."""
    main = "from mvdeploy.__main__ import main"
    done = run(
        "describe",
        "--device",
        "host",
        code=f"""
import atexit, os
before = dict(os.environ)
atexit.register(lambda: print("same" if os.environ == before else dict(os.environ)))
{main}; main()
""",
    )
    assert done.stdout.decode().splitlines()[-1] == "same"
