"""A phone with the genuine adbd, Android's shell and toybox; what it tells of itself is made up.

Where the stand-in phone has a daemon of its own and borrows the machine's programs, all of that is
here as on Android. Programs are the machine's own kind, and its cores are the machine's.

>>> with GenuinePhone(folder, unpacked) as phone:
...     adb connect phone.address
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests import shared
from tests.android import packages, tables
from tests.android.fixtures import demand, own_adb
from tests.android.genuine_system import NOEXEC, SMALL
from tests.android.phone import INNER, REPOSITORY, Phone
from tests.android.server import AdbServer

ABIS = {"x86_64": "x86_64", "aarch64": "arm64-v8a"}

USERS = """\
root:x:0:0::/:/bin/sh
shell:x:2000:2000::/:/bin/sh
"""
GROUPS = """\
root:x:0:
shell:x:2000:
"""

# Namespaces as `genuine_system` makes them.
PROBE = ("unshare", "--user", "--map-root-user", "--mount", "--net", "--pid", "--fork", "mount")
PROBE += ("-t", "proc", "proc", "/proc")


class GenuinePhone(Phone):
    """A phone that the genuine adbd serves.

    Args:
        folder: new; the phone's files are in its ``root``.
        unpacked: folder of the packages' files.

    Attributes:
        cores: that its programs may run on; the machine's.
    """

    def __init__(self, folder: Path, unpacked: Path) -> None:
        self.root = folder / "root"
        self.cores = tuple(sorted(os.sched_getaffinity(0)))
        tables.write_state(self.root)
        (self.root / "proc/stat").unlink()  # the kernel's own
        everywhere = range(self.cores[-1] + 1)
        tables.write_cores(self.root, [(everywhere, 300_000, 2_841_600, 825_600, "")])
        libraries = self._lay_out(unpacked / "usr")
        words = [sys.executable, "-I", "-c", INNER, str(REPOSITORY), "genuine_system"]
        words += [str(self.root), str(unpacked / "usr"), libraries]
        self._start(words, folder / "errors.txt")
        self.properties["ro.product.cpu.abi"] = ABIS[platform.machine()]

    def _lay_out(self, usr: Path) -> str:
        """Have the packages' programs where Android has them; return where libraries are."""
        for name in ("system/usr", "system/etc", NOEXEC[1:], SMALL[1:]):
            (self.root / name).mkdir(parents=True)
        for name in ("bin", "etc"):
            (self.root / name).symlink_to(f"/system/{name}")
        (self.root / "system/etc/passwd").write_text(USERS)
        (self.root / "system/etc/group").write_text(GROUPS)
        programs = self.root / "system/bin"
        (programs / "adbd").symlink_to("/system/usr/lib/android-sdk/platform-tools/adbd")
        (programs / "sh").symlink_to("/system/usr/bin/mksh")
        # Programs find their loader where the machine has it, and nothing else there.
        (loader,) = usr.glob("lib/*-linux-gnu/ld-linux-*.so.?")
        place = "lib64" if platform.machine() == "x86_64" else "lib"
        (self.root / place).mkdir()
        libraries = f"/system/usr/lib/{loader.parent.name}"
        (self.root / place / loader.name).symlink_to(f"{libraries}/{loader.name}")
        for name in toybox_commands(usr, loader):
            (programs / name).symlink_to("/system/usr/bin/toybox")
        tables.write_scripts(programs, tables.SERVICES)
        return f"{libraries}:{libraries}/android"

    def fault(self, **faults: Any) -> None:
        """Say what is to go wrong from now on.

        Args:
            faults: ``cut_after``: the cable is pulled once the host has sent so many more bytes.
        """
        self._order(**faults)

    def kill_daemon(self) -> None:
        """Kill adbd; it is started again, as Android does."""
        self._order(kill=True)

    def set_program(self, name: str, text: str = "") -> None:
        """Replace a program of /system/bin by a script; without one, remove it."""
        self._put_away(name)
        super().set_program(name, text)

    def restore_programs(self) -> None:
        """Have the programs again that were replaced or removed."""
        folder = self.root / "system/bin"
        mode = folder.stat().st_mode
        folder.chmod(0o755)
        for path in self._away.iterdir():
            path.replace(folder / path.name)
        folder.chmod(mode)

    @property
    def _away(self) -> Path:
        return self.root.parent / "away"

    def _put_away(self, name: str) -> None:
        self._away.mkdir(exist_ok=True)
        target = os.readlink(self.root / "system/bin" / name)
        (self._away / name).symlink_to(target)

    def processes(self) -> list[str]:
        """Return the command lines of what runs on it, without adbd."""
        shown = []
        for process in self.running():
            try:
                if process.status() != psutil.STATUS_ZOMBIE:
                    shown.append(" ".join(process.cmdline()))
            except psutil.NoSuchProcess:
                continue
        return shown

    def running(self) -> list[psutil.Process]:
        """Return what runs on it, without adbd."""
        (first,) = psutil.Process(self._process.pid).children()
        relay = min(first.children(), key=lambda child: child.create_time())
        own = {relay, *relay.children()}
        return [process for process in first.children(recursive=True) if process not in own]


def toybox_commands(usr: Path, loader: Path) -> list[str]:
    """Return toybox and the programs that it is."""
    words = [loader, "--library-path", loader.parent, usr / "bin/toybox"]
    listed = subprocess.check_output(words, text=True, stdin=subprocess.DEVNULL)
    return ["toybox", *listed.split()]


@pytest.fixture(scope="session")
def android_programs(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The folder of the genuine adbd, shell and programs, kept from run to run."""
    cache = getattr(request.config, "cache", None)
    folder = cache.mkdir("android") if cache else shared.folder(tmp_path_factory) / "android"
    try:
        return packages.unpacked(folder)
    except packages.NotToBeHad as error:
        pytest.skip(f"The packages of {packages.SUITE} cannot be had: {error}.")


@pytest.fixture(scope="module")
def genuine_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AdbServer]:
    """The environment of the module's tests leads every adb to a server of its own."""
    folder = tmp_path_factory.mktemp("adb")
    with pytest.MonkeyPatch.context() as patch, own_adb(folder / "adb", patch) as server:
        yield server


@pytest.fixture(scope="module")
def genuine_phone(
    android_programs: Path, genuine_server: AdbServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GenuinePhone]:
    """A phone with the genuine adbd, that adb knows."""
    demand(f"a processor of {' or '.join(ABIS)}", platform.machine() in ABIS)
    demand("namespaces for users", _namespaces())
    with GenuinePhone(tmp_path_factory.mktemp("genuine") / "phone", android_programs) as phone:
        genuine_server.run("connect", phone.address)
        yield phone


def _namespaces() -> bool:
    return subprocess.run(PROBE, capture_output=True, check=False).returncode == 0
