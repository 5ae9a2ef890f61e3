"""A browser on this machine: which there is, how it is started, and that nothing of it is left."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from mvdeploy import started
from mvdeploy.errors import DeviceUnavailable
from mvdeploy.files import writing
from mvdeploy.links.browsing.devtools import Pipe
from mvdeploy.links.shell import reap

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_ON_A_MAC = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
)

_FLAGS = (
    *("--headless=new", "--remote-debugging-pipe", "--no-first-run", "--no-default-browser-check"),
    # Nothing of the browser's own may compute, or ask for anything, meanwhile.
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--disable-extensions", "--disable-default-apps", "--disable-quic", "--mute-audio"),
    *(
        "--disable-breakpad",
        "--disable-domain-reliability",
        "--no-pings",
        "--metrics-recording-only",
    ),
    "--disable-features=Translate,OptimizationHints,MediaRouter,DialMediaRouteProvider",
)

_OF_PROVIDERS = {
    # Without a window, and on Linux at all, WebGPU is not offered otherwise.
    "webgpu": ("--enable-unsafe-webgpu",),
    "webnn": ("--enable-features=WebMachineLearningNeuralNetwork",),
}

_LAUNCH = """
import os, sys
read, write, cores = map(int, sys.argv[1:3] + [len(sys.argv[3])])
spare = [os.dup2(read, 64), os.dup2(write, 65)]
os.dup2(64, 3)
os.dup2(65, 4)
for number in spare:
    os.close(number)
if cores:
    os.sched_setaffinity(0, map(int, sys.argv[3].split(",")))
os.execv(sys.argv[4], sys.argv[4:])
"""
"""Gives the browser its pipes as the descriptors 3 and 4, and binds it to cores."""

_LOGGED = re.compile(
    r"\[[\d:/.]+:(?:(?:VERBOSE\d*|INFO|WARNING):|ERROR:\S*(?:dbus|gpu|/gl|vaapi|gcm|crashpad))"
)
"""What browsers write of what they can do without, such as a session's bus."""

_SHORT = Path("/tmp")
_LONGEST = 50
"""Bytes of a folder's path; a browser's socket in it has some 45 more, and 103 are the most."""

_END_S = 5.0
_TAIL = 65536


def find(given: str | None) -> str:
    """Return the path of the browser.

    Args:
        given: with ``--browser``; None to look for one.

    Raises:
        DeviceUnavailable: there is none.
    """
    if given:
        path = shutil.which(given)
        if path is None:
            raise DeviceUnavailable(
                f"There is no program {given} to be the browser.",
                "Give the file of Chrome, Chromium, Edge or Brave with --browser.",
            )
        return path
    for name in _NAMES:
        if path := shutil.which(name):
            return path
    for path in _ON_A_MAC if sys.platform == "darwin" else ():
        if Path(path).is_file():
            return path
    raise DeviceUnavailable(
        "There is no Chrome or Chromium on this machine.",
        "Install one, or give the file of Edge or Brave with --browser FILE.",
    )


def is_root() -> bool:
    """Say whether this is root, as whom a browser starts without a sandbox only."""
    return hasattr(os, "geteuid") and os.geteuid() == 0


def flags_for(providers: Iterable[str]) -> tuple[str, ...]:
    """Return what a browser is started with for what engines compute with."""
    known = (_OF_PROVIDERS.get(provider, ()) for provider in dict.fromkeys(providers))
    return tuple(itertools.chain(*known))


class Browser:
    """A browser that runs.

    Attributes:
        number: of its process.
        pipe: to its DevTools.
    """

    def __init__(self, process: subprocess.Popen[bytes], pipe: Pipe, output: Path) -> None:
        self._process, self._output = process, output
        self.number, self.pipe = process.pid, pipe

    def runs(self) -> bool:
        """Say whether it has not ended; one that just ends is given time for it."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(0.5)
        return self._process.poll() is None

    def said(self) -> str:
        """Return the end of what it wrote to its standard error."""
        with contextlib.suppress(OSError):
            return self._output.read_bytes()[-_TAIL:].decode(errors="replace")
        return ""

    def end(self) -> None:
        """End it with all its processes."""
        self.pipe.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_S)  # it removes locks and temporary files of its own
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        reap(self._process)


@contextlib.contextmanager
def running(program: str, cores: Sequence[int] = (), more: Sequence[str] = ()) -> Iterator[Browser]:
    """Give a browser with a profile of its own, and leave neither in the end.

    Args:
        program: its path.
        cores: numbers of the cores that it may run on; empty for all.
        more: further flags.

    Raises:
        DeviceUnavailable: it cannot be started.
        NotWritten: there is no room for its profile.
    """
    with writing.temporary() as folder, _short(folder) as own:
        browser = _start(program, folder, own, cores, more)
        try:
            yield browser
        finally:
            browser.end()
            _remove(folder / "profile")


@contextlib.contextmanager
def _short(folder: Path) -> Iterator[Path]:
    """Give a folder in which a browser can make a socket, whose path may not be long."""
    if len(os.fsencode(folder)) <= _LONGEST:
        yield folder
        return
    with writing.folder(_SHORT, "mvdeploy") as made:
        yield made


def _start(
    program: str, folder: Path, temporary: Path, cores: Sequence[int], more: Sequence[str]
) -> Browser:
    (profile := folder / "profile").mkdir()
    flags = (*_FLAGS, f"--user-data-dir={profile}", *more)
    if is_root():
        flags += ("--no-sandbox",)  # with one it does not start
    its_read, our_write = os.pipe()
    our_read, its_write = os.pipe()
    output = folder / "stderr"
    words = (sys.executable, "-I", "-S", "-c", _LAUNCH, str(its_read), str(its_write))
    listed = ",".join(map(str, cores))
    # Of the system's temporary folder, and with its configuration, it may leave files.
    own = {name: str(folder) for name in ("XDG_CONFIG_HOME", "XDG_CACHE_HOME")}
    own["TMPDIR"] = str(temporary)
    pipe = Pipe(our_read, our_write)
    try:
        with output.open("wb") as errors:
            process = subprocess.Popen(
                (*words, listed, program, *flags, "about:blank"),
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
                pass_fds=(its_read, its_write),
                start_new_session=True,
                env={**started.environment(), **own},
            )
    except OSError as error:
        pipe.close()
        raise DeviceUnavailable(
            f"The browser {program} could not be started ({error.strerror}).",
            "Give another with --browser.",
        ) from error
    finally:
        os.close(its_read)
        os.close(its_write)
    return Browser(process, pipe, output)


def _remove(folder: Path) -> None:
    """Remove a profile; processes that are just ending may still write to it."""
    for _ in range(20):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(0.05)


def why(said: str) -> tuple[str, str]:
    """Return why a browser has ended at its start, by what it wrote, and what to do."""
    if "sandbox" in said.lower():
        return (
            "it has no sandbox here",
            "Let programs make user namespaces, as in "
            "'sysctl kernel.unprivileged_userns_clone=1', or have the browser installed by the "
            "system's package manager.",
        )
    if "No space left" in said:
        return "there is no space left for its profile", writing.TEMPORARY
    if "shared librar" in said:
        return "it lacks a library", "Install the browser by the system's package manager."
    lines = [line.strip() for line in said.splitlines() if line.strip() and not _LOGGED.match(line)]
    last = re.sub(r"^\[[^\]]*\] *", "", lines[-1]) if lines else "it does not say why"
    return last[:200].rstrip("."), "Start it by hand to see why, or give another with --browser."
