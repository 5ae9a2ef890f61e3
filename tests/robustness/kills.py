"""End commands at any moment, or give them too small a disk, and look at what they leave."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import random
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from unittest import mock

import psutil

from mvdeploy.pipeline import kept_exports
from tests.robustness import outcomes
from tests.robustness.campaign import Row
from tests.robustness.workshop import SHORT
from tests.warm import Running, Server

SIGNALS = ("INT", "TERM", "HUP", "QUIT", "KILL")
ROUGH = ("QUIT", "KILL")
"""Those that leave a command no time: what it leaves, the next one removes."""

OF_LIBRARIES = {".ses"}
"""What libraries leave among temporary files, and can not be kept from it (ONNX Runtime 1.32)."""

TIMEOUT = 60.0
SIZES = (1 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20, 4 << 20)
"""Bytes of disks that are too small for something or other."""


@dataclasses.dataclass(frozen=True)
class Work:
    """A command that takes a while and writes files.

    Attributes:
        name: of it.
        files: of the workshop that it needs.
        command: the command line.
        again: what is run afterwards in the same place, and has to work.
        output: what it writes, in its folder.
    """

    name: str
    files: tuple[str, ...]
    command: tuple[str, ...]
    again: tuple[str, ...]
    output: str


def _export(kind: str, name: str) -> Work:
    command = ("export", "net.py:make", "--format", kind, "-o", f"out/{name}")
    return Work(f"export {kind}", ("net.py",), command, command, "out")


_BENCH = ("bench", "yard.onnx")
_MODELS = ("yard.onnx", "yard.onnx.json")
_CONVERT = ("convert", "timm/model.safetensors", "--to", "cvnets", "-o", "out/new.safetensors")
_REPORT = ("report", "run", "-o", "out")
WORKS = (
    Work(
        "bench",
        _MODELS,
        (*_BENCH, *SHORT, "-o", "out"),
        (*_BENCH, "--warmup", "1", "--iterations", "2", "--sessions", "1", "-o", "out"),
        "out",
    ),
    _export("onnx", "net.onnx"),
    _export("pytorch", "net.pt2"),
    _export("executorch", "net.pte"),
    _export("coreml", "net.mlpackage"),
    Work("report", ("run",), _REPORT, _REPORT, "out"),
    Work("convert", ("timm/model.safetensors",), _CONVERT, _CONVERT, "out"),
)


class Place:
    """A command with what it needs, run again and again.

    Args:
        work: the command.
        server: the warm process.
        workshop: folder of sound files.
        folder: where it works; emptied each time.
    """

    def __init__(self, work: Work, server: Server, workshop: Path, folder: Path) -> None:
        self._work, self._server, self._workshop = work, server, workshop
        self._folder, self._temporary = folder, folder.with_name(f"{folder.name}-temporary")
        begun = time.monotonic()
        with self._laid():
            done = self._run(work.command)
            if done.returncode:
                raise RuntimeError(done.stderr)
            self._whole = self._names()
        self._seconds = time.monotonic() - begun

    def killed(self, number: int, name: str) -> Row:
        """Send a signal at a random moment, to the command or to all that it started."""
        rng = random.Random(f"{self._work.name}:{name}:{number}")
        group = rng.random() < 0.5
        command = self._work.command
        with self._laid(), self._server.start(*command, cwd=self._folder) as running:
            _began(running.pid)
            time.sleep(rng.uniform(0, self._seconds))
            with contextlib.suppress(ProcessLookupError):
                (os.killpg if group else os.kill)(running.pid, _number(name))
            outcome = self._after_kill(running, name)
        return Row(f"killed: {self._work.name}", f"{name}-{number}", *outcome)

    def cramped(self, size: int, number: int, *, disk: bool) -> Row:
        """Run on a disk, or with a limit on files, of a size.

        Args:
            size: bytes; about so many.
            number: makes the size differ a little from another's.
            disk: mount one, which takes the right to; else no file may be larger than that.
        """
        most = int(size * random.Random(f"{self._work.name}:{size}:{number}").uniform(0.5, 2))
        limits = {} if disk else {"RLIMIT_FSIZE": most}
        with self._laid(), _disk(self._folder / "out", most) if disk else _folder():
            done = self._run(self._work.command, limits)
            outcome = outcomes.of_process(done)
            if not outcome.name:
                outcome = outcomes.Outcome("harmless")
            said = outcome.said
            if outcome.name == "refused" and done.returncode != 2:
                outcome = outcomes.Outcome("status", f"{done.returncode} {said}")
            elif outcome.name in outcomes.GOOD and (left := self._left(strict=True)):
                outcome = outcomes.Outcome("left", left)
        kind = "disk" if disk else "limit"
        return Row(f"{kind}: {self._work.name}", f"{size}-{number}", outcome.name, outcome.said)

    def _after_kill(self, running: Running, name: str) -> tuple[str, str]:
        try:
            done = running.wait(TIMEOUT)
        except TimeoutError:
            return "hang", ""
        said = outcomes.last_words(done.stderr)
        # Torch ends the process at once if a signal arrives where its C++ has called Python.
        aborted = done.returncode == -signal.SIGABRT and "terminate called" in done.stderr
        rough = name in ROUGH or aborted
        documented = [128 + _number(name), *([done.returncode] if aborted else [])]
        documented += [-_number(name)] if rough else []
        if "Traceback" in done.stderr:
            return "traceback", said
        if done.returncode not in (0, *documented):
            return "status", f"{done.returncode} {said}"
        if not rough and done.returncode and not outcomes.worded(done.stderr):
            return "unworded", said
        if alive := self._alive():
            return "left", f"alive: {alive}"
        if left := self._left(strict=not rough):
            return "left", left
        again = self._run(self._work.again)
        if again.returncode:
            return "left", f"the next run: {outcomes.last_words(again.stderr)}"
        if left := self._left(strict=True, temporary=not rough):
            return "left", f"after the next run: {left}"
        return ("refused" if done.returncode else "harmless"), said

    def _alive(self) -> str:
        """Return the processes that are left; some time is given to them to end.

        They are forks of the warm process, as those of other tests are, and in this place.
        """
        forks = psutil.Process(self._server.pid).children(recursive=True)
        _, alive = psutil.wait_procs([process for process in forks if self._is_here(process)], 10)
        return ", ".join(f"{process.name()} {process.pid}" for process in alive)

    def _is_here(self, process: psutil.Process) -> bool:
        with contextlib.suppress(psutil.Error):
            return Path(process.cwd()).is_relative_to(self._folder.resolve())
        return False

    def _left(self, *, strict: bool, temporary: bool = True) -> str:
        """Return what is wrong with what was left; empty if nothing is.

        Args:
            strict: there may be nothing but what the whole command leaves.
            temporary: nor anything in the folder of temporary files.
        """
        names = self._names()
        if strict and (other := names - self._whole):
            return f"{sorted(other)[0]} left"
        files = {file.name for file in self._temporary.iterdir()} - OF_LIBRARIES
        if strict and temporary and files:
            return f"{sorted(files)[0]} left among temporary files"
        for file in sorted(self._folder.joinpath(self._work.output).rglob("*")):
            if file.is_file() and _plain(file) in self._whole and (wrong := _broken(file)):
                return wrong
        return ""

    def _names(self) -> set[str]:
        files = self._folder.joinpath(self._work.output).rglob("*")
        return {_plain(file) for file in files if file.is_file()}

    def _run(
        self, command: tuple[str, ...], limits: Mapping[str, int] | None = None
    ) -> subprocess.CompletedProcess[str]:
        with self._server.start(*command, cwd=self._folder, limits=limits) as running:
            return running.wait(TIMEOUT)

    @contextlib.contextmanager
    def _laid(self) -> Iterator[None]:
        """Have the files in place, and a folder of its own for temporary ones."""
        for folder in (self._folder, self._temporary):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
        (self._folder / "out").mkdir()
        for name in self._work.files:
            source, target = self._workshop / name, self._folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            (shutil.copytree if source.is_dir() else shutil.copy)(source, target)
        try:
            runtime = self._folder.with_name(f"{self._folder.name}-runtime")
            runtime.mkdir(mode=0o700, exist_ok=True)
            own = {"TMPDIR": str(self._temporary), "XDG_RUNTIME_DIR": str(runtime)}
            own[kept_exports.SIZE] = "0"  # what is interrupted is the making
            with mock.patch.dict(os.environ, own):
                yield
        finally:
            for folder in (self._folder, self._temporary):
                shutil.rmtree(folder, ignore_errors=True)


def _began(pid: int) -> None:
    """Wait until a command hears signals: before that, Python ends as it always does."""
    deadline = time.monotonic() + TIMEOUT
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            status = Path(f"/proc/{pid}/status").read_text()
            heard = int(re.findall(r"^SigCgt:\s*(\w+)", status, re.MULTILINE)[0], 16)
            if heard & (1 << (signal.SIGTERM - 1)) or "zombie" in status:
                return
        if not Path("/proc/self").exists():
            time.sleep(0.3)
            return
        time.sleep(0.005)


def _number(name: str) -> int:
    return int(signal.Signals[f"SIG{name}"])


def _plain(file: Path) -> str:
    """Return a file's name, without dates and numbers that differ from run to run."""
    return re.sub(r"\d[\d_-]{5,}", "#", file.name)


def _broken(file: Path) -> str:
    """Say whether a file with a final name is not whole."""
    if file.suffix == ".json":
        try:
            json.loads(file.read_text(encoding="utf-8"))
        except ValueError as error:
            return f"{file.name} is half a file ({error})"
    if not file.stat().st_size:
        return f"{file.name} is empty"
    end = {".png": b"IEND\xaeB`\x82", ".html": b"</html>", ".pt2": b"PK\5\6"}.get(file.suffix)
    if end is not None and end not in file.read_bytes()[-64:]:
        return f"{file.name} is half a file"
    manifest = file.with_name(f"{file.name}.json")
    if manifest.exists():
        from mvdeploy import files

        if json.loads(manifest.read_text())["sha256"] != files.sha256(file):
            return f"{file.name} is another file than its manifest says"
    return ""


@contextlib.contextmanager
def _folder() -> Iterator[None]:
    yield


def may_mount() -> bool:
    """Say whether a disk of a size can be had here."""
    return os.getuid() == 0 and shutil.which("mount") is not None


@contextlib.contextmanager
def _disk(folder: Path, size: int) -> Iterator[None]:
    option = f"size={max(size, 4096)}"
    subprocess.run(["mount", "-t", "tmpfs", "-o", option, "tmpfs", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)
