"""A phone that is not there, for the real adb: a daemon on a TCP port, and a folder as its files.

>>> with Phone(folder) as phone:
...     adb connect phone.address
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

from tests.android import tables

REPOSITORY = Path(__file__).parents[2]
TMP = "/data/local/tmp"
WAIT_S = 20.0

FEATURES = (
    "shell_v2",
    "cmd",
    "stat_v2",
    "ls_v2",
    "fixed_push_mkdir",
    "fixed_push_symlink_timestamp",
    "sendrecv_v2",
)

INNER = """
import importlib
import sys
sys.path.insert(0, sys.argv[1])
importlib.import_module(f"tests.android.{sys.argv[2]}").main(*sys.argv[3:])
"""

OTHER = {
    "ro.product.device": "oriole",
    "ro.product.model": "Pixel 6",
    "ro.product.name": "oriole",
    "ro.serialno": "1A051FDF6007JX",
    "ro.build.fingerprint": "google/oriole/oriole:13/TP1A.221105.002/9080065:user/release-keys",
    "ro.soc.manufacturer": "Google",
    "ro.soc.model": "GS101",
}
"""Properties that make another phone of it."""


class Properties(MutableMapping[str, str]):
    """What `getprop` answers; a change is seen by the next one who asks."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def __getitem__(self, name: str) -> str:
        return tables.read_properties(self._root)[name]

    def __setitem__(self, name: str, value: str) -> None:
        tables.write_properties(self._root, {**self, name: value})

    def __delitem__(self, name: str) -> None:
        rest = dict(self)
        del rest[name]
        tables.write_properties(self._root, rest)

    def __iter__(self) -> Iterator[str]:
        return iter(tables.read_properties(self._root))

    def __len__(self) -> int:
        return len(tables.read_properties(self._root))


class Phone:
    """A Pixel 4 that runs arm64 programs by qemu.

    It needs `unshare`, `qemu-aarch64-static`, and a Linux that lets its users make namespaces and
    mount binfmt_misc in them (6.7 or newer). What its processes do to the machine's own files is
    limited to what the user who runs the tests may do to /usr and /dev.

    Args:
        folder: new; the phone's files are in its ``root``.
        features: of its adbd.
        noexec: whether nothing can be run from /data/local/tmp.
        off: cores that nothing can run on.

    Attributes:
        address: for `adb connect`, and by which adb names it.
        root: its file system; ``root / "data/local/tmp"`` is what a test looks into.
        properties: what `getprop` answers.
    """

    def __init__(
        self,
        folder: Path,
        features: tuple[str, ...] = FEATURES,
        noexec: bool = False,
        off: tuple[int, ...] = (),
    ) -> None:
        self.root = folder / "root"
        tables.write(self.root)
        words = ["unshare", "--user", "--map-root-user", "--mount", "--pid", "--fork"]
        words += ["--kill-child"]
        words += [sys.executable, "-I", "-c", INNER, str(REPOSITORY), "system", str(self.root)]
        qemu = tables.real("qemu-aarch64-static")
        flags = ",".join((*["noexec"] * noexec, *(f"off{core}" for core in off)))
        self._start([*words, qemu, ",".join(features), flags], folder / "errors.txt")

    def _start(self, words: list[str], errors: Path) -> None:
        """Start its inner side, whose complaints go to a file."""
        self._errors = errors
        self.properties = Properties(self.root)
        with errors.open("w") as file:
            self._process = subprocess.Popen(
                words,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                cwd="/",
                text=True,
            )
        self.address = f"127.0.0.1:{self._answer()}"

    @property
    def serial(self) -> str:
        """What adb calls it."""
        return self.address

    @property
    def tmp(self) -> Path:
        """The folder that anybody may write to, as the machine sees it."""
        return self.root / TMP[1:]

    @property
    def log(self) -> list[str]:
        """What it was asked so far: ``shell …``, ``push PATH``, ``pull PATH``."""
        return [json.loads(line) for line in self.read(tables.LOG).splitlines()]

    def read(self, path: str) -> str:
        return (self.root / path[1:]).read_text()

    def write(self, path: str, text: str) -> None:
        """Change a file in place, also one in /proc or one that the phone may only read."""
        place = self.root / path[1:]
        mode = place.stat().st_mode if place.exists() else 0o644
        if place.exists():
            place.chmod(mode | 0o200)
        place.write_text(text)
        place.chmod(mode)

    # What the phone is like

    def heat(self, degrees: float, status: int = 0, cooling: float = 0.0) -> None:
        """Have all sensors say so.

        Args:
            degrees: Celsius.
            status: of each; 0 is none, 3 is severe.
            cooling: degrees that each reading takes off, down to 25.
        """
        rows = (line.split() for line in tables.SENSORS.splitlines())
        lines = (f"{name} {kind} {round(degrees * 1000)} {status}\n" for name, kind, *_ in rows)
        self.write(tables.COOLING, f"{round(cooling * 1000)}\n")
        self.write(tables.THERMAL, "".join(lines))

    def set_sensor(self, name: str, kind: int, degrees: float, status: int = 0) -> None:
        """Have one more sensor."""
        row = f"{name} {kind} {round(degrees * 1000)} {status}\n"
        self.write(tables.THERMAL, self.read(tables.THERMAL) + row)

    def override_status(self, status: int) -> None:
        """Have the thermal status set by hand."""
        self.write(tables.OVERRIDE, f"{status}\n")

    def set_clock(self, core: int, **khz: int) -> None:
        """Set files of a core's cluster, such as ``scaling_max_freq=1_800_000``."""
        for name, value in khz.items():
            self.write(f"/sys/devices/system/cpu/cpu{core}/cpufreq/{name}", f"{value}\n")

    def set_battery(self, level: int, powered: bool = True, by_hand: bool = False) -> None:
        text = tables.BATTERY_TEXT.replace("level: 86", f"level: {level}")
        if by_hand:
            head = "Current Battery Service state:\n"
            text = text.replace(head, f"{head}  (UPDATES STOPPED -- use 'reset' to restart)\n")
        if not powered:
            text = text.replace("USB powered: true", "USB powered: false")
        self.write(tables.BATTERY, text)

    def deny_fixed_performance(self) -> None:
        self.write(tables.FIXED_PERFORMANCE, "denied\n")

    @property
    def fixed_performance_calls(self) -> list[str]:
        """What that mode was set to so far, in order."""
        return self.read(tables.CALLS).split()

    def set_program(self, name: str, text: str = "") -> None:
        """Replace a program of /system/bin by a script; without one, remove it."""
        folder = self.root / "system/bin"
        mode = folder.stat().st_mode
        folder.chmod(0o755)
        (folder / name).unlink(missing_ok=True)
        if text:
            (folder / name).write_text(f"#!/system/bin/sh\n{text}\n")
            (folder / name).chmod(0o755)
        folder.chmod(mode)

    # What goes wrong

    def hang(self, *commands: str) -> None:
        """Have nothing but these programs, such as ``getprop`` or ``dumpsys battery``, hang."""
        self.write(tables.HANGING, "".join(f"<{command}>" for command in commands))

    def fault(self, **faults: Any) -> None:
        """Say what is to go wrong from now on, instead of what was to before.

        Args:
            faults: ``unauthorized``: the next host to connect is not trusted;
                ``offline``: the next host to connect gets no answer;
                ``cut_push_after``, ``cut_pull_after``, ``cut_shell_after``: the cable is pulled
                once so many bytes have passed, counted from now; ``cut_shell_ms_after``: or when a
                command has run so many milliseconds; each happens once;
                ``stay_away``: after a cut nobody can connect until `plug`;
                ``become``: after a cut it is a phone with these properties;
                ``slow_push_s``: each block of a pushed file takes so long;
                ``full_after``: there is no room for more bytes than that of pushed files;
                ``no_reverse``: tunnels from it to here are refused.
        """
        if "become" in faults:
            faults["become"] = {**self.properties, **faults["become"]}
        self._order(faults=faults)

    def listen(self, **abstract: int) -> None:
        """Have programs of this machine listen at its abstract sockets: port by name."""
        self._order(abstract=abstract)

    def cut(self) -> None:
        """Pull the cable, and put it in again at once."""
        self._order(cut=True)

    def unplug(self) -> None:
        self._order(cut=True, listen=False)

    def plug(self) -> None:
        self._order(listen=True)

    def processes(self) -> list[str]:
        """Return the command lines of what runs on it, without adbd."""
        shown = []
        # unshare, then the first process, then adbd; what has lost its parent is the first's.
        first = psutil.Process(self._process.pid).children()[0]
        # Numbers of processes begin anew at some time: it is the oldest, not the lowest.
        adbd = min(first.children(), key=lambda child: child.create_time())
        for process in first.children(recursive=True):
            try:
                if process != adbd and process.status() != psutil.STATUS_ZOMBIE:
                    shown.append(" ".join(process.cmdline()))
            except psutil.NoSuchProcess:
                continue
        return shown

    def stop(self) -> None:
        """End it with all its processes.

        Raises:
            RuntimeError: its daemon had failed.
        """
        with self._process as process:  # closes its ends; the daemon ends when its input does
            try:
                if process.stdin is not None:
                    process.stdin.close()
                process.wait(WAIT_S)
            finally:
                process.kill()
                for path in tables.CLOSED:
                    (self.root / path[1:]).chmod(0o755)
        if process.returncode != 0:
            raise RuntimeError(self._errors.read_text())

    def _order(self, **order: Any) -> None:
        if self._process.stdin is None:
            raise RuntimeError("the phone has no input")
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        self._answer()

    def _answer(self) -> str:
        if self._process.stdout is None:
            raise RuntimeError("the phone has no output")
        line = self._process.stdout.readline()
        if not line:
            self._process.wait(WAIT_S)
            raise RuntimeError(self._errors.read_text())
        return line.strip()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
