"""What tells the power that a device takes: how a link reads it, while other things run there."""

from __future__ import annotations

import abc
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from mvdeploy.errors import MvdeployError
from mvdeploy.links.shell import Shell, quote, reap
from mvdeploy.records.energy import PowerMeter, PowerReading

UPTIME = "/proc/uptime"
"""Tells the time of a reading by the clock of the device, in seconds."""

_END_S = 2.0
"""Seconds for a program that reads a meter to end when its input does."""

_LONGEST_S = 3600
"""A program that reads a meter, and is not told to end, ends by itself after this."""

_LARGEST = 2**62
"""No counter of a kernel reaches it."""

Values = tuple[int, ...]


class Unmetered(MvdeployError):
    """Nothing tells the power that a device takes, or not now: says why, and what to do."""


class Meter(abc.ABC):
    """Reads a meter at its interval from `start` to `stop`; a context manager.

    Args:
        about: what it is.
        clock: seconds.

    Attributes:
        about: what it is.
    """

    def __init__(self, about: PowerMeter, clock: Callable[[], float] = time.monotonic) -> None:
        self.about = about
        self._clock = clock
        self._zero = 0.0
        # When a reading arrived here, and what the device's own clock said.
        self._taken: list[tuple[float, float | None, Values]] = []

    @abc.abstractmethod
    def start(self) -> None:
        """Begin to read.

        Raises:
            DeviceUnavailable: the device is gone.
        """

    @abc.abstractmethod
    def stop(self) -> None:
        """Read no more."""

    def fed(self) -> str:
        """Return by what the device is fed, such as ``USB``; empty when that does not matter.

        Raises:
            DeviceUnavailable: the device is gone.
        """
        return ""

    def now(self) -> float:
        """Return seconds since it was started."""
        return self._clock() - self._zero

    def begin(self) -> None:
        """Let time count from now on."""
        self._zero = self._clock()
        self._taken.clear()

    def take(self, values: Values, device_s: float | None = None) -> None:
        """Keep a reading that has just arrived, unless it is none that its channels can give.

        Args:
            values: one for each channel.
            device_s: seconds by the clock of the device, when it was taken.
        """
        possible = all(abs(value) < _LARGEST for value in values)
        if device_s is not None and not abs(device_s) < _LARGEST:  # nor is it a number
            device_s = None
        if possible and len(values) == len(self.about.channels):
            self._taken.append((self.now(), device_s, values))

    def between(self, began_s: float, ended_s: float) -> tuple[PowerReading, ...]:
        """Return the readings of a stretch of time, in order.

        What comes from afar comes late, and some of it later: where the device tells the time, the
        quickest arrival says how its clock stands to this one.

        Args:
            began_s: seconds since it was started.
            ended_s: the same.
        """
        taken = list(self._taken)
        offsets = [arrived - device for arrived, device, _ in taken if device is not None]
        offset = min(offsets, default=0.0)
        readings = [
            PowerReading(round(arrived if device is None else device + offset, 4), values)
            for arrived, device, values in taken
        ]
        inside = (r for r in readings if began_s <= r.at_s <= ended_s)
        return tuple(sorted(inside, key=lambda reading: reading.at_s))

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


class FileMeter(Meter):
    """A meter in files of this machine.

    Args:
        about: what it is.
        paths: the file of each channel.
        supply: says by what the machine is fed.
    """

    def __init__(
        self,
        about: PowerMeter,
        paths: Sequence[Path],
        supply: Callable[[], str] = lambda: "",
    ) -> None:
        super().__init__(about)
        self._paths = tuple(paths)
        self._supply = supply
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to read, beside whatever else is done."""
        self._ending.clear()
        self.begin()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Read no more."""
        self._ending.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def fed(self) -> str:
        """Return by what the machine is fed; see `Meter.fed`."""
        return self._supply()

    def _read(self) -> None:
        while not self._ending.is_set():
            try:
                self.take(tuple(int(path.read_text()) for path in self._paths))
            except (OSError, ValueError):
                continue  # it may answer the next time; too few readings are told of
            finally:
                self._ending.wait(self.about.interval_s)


class ShellMeter(Meter):
    """A meter that a device's shell reads, in one command that runs beside everything else.

    It runs in the same way while the device is at rest, so that what it takes itself is in both.

    Args:
        about: what it is.
        shell: of the device.
        command: prints ``name:number`` for each channel, by its name, each on a line; and it may
            print the device's time, as ``/proc/uptime:seconds``.
        supply: says by what the device is fed.
    """

    def __init__(
        self,
        about: PowerMeter,
        shell: Shell,
        command: str,
        supply: Callable[[], str] = lambda: "",
    ) -> None:
        super().__init__(about)
        self._shell, self._command, self._supply = shell, command, supply
        self._thread: threading.Thread | None = None
        self._ended: Callable[[], None] = lambda: None

    def start(self) -> None:
        """Begin to read; see `Meter.start`."""
        self.begin()
        interval = f"{self.about.interval_s:g}"
        times = round(_LONGEST_S / self.about.interval_s)
        # Some programs sleep for whole seconds only.
        loop = (
            f"n=0; while {self._command}; echo .; do n=$((n + 1)); [ $n -lt {times} ] || exit; "
            f"sleep {interval} 2>/dev/null || sleep 1; done"
        )
        script = f"{{ {loop}; }} 2>/dev/null & loop=$!; cat >/dev/null; kill $loop 2>/dev/null"
        process = self._shell.start(f"sh -c {quote(script)}", held=True)

        def end() -> None:
            if process.stdin is not None:
                process.stdin.close()
            if self._thread is not None:
                self._thread.join(_END_S)
            process.kill()
            reap(process)
            if self._thread is not None:
                self._thread.join()
            if process.stdout is not None:
                process.stdout.close()

        self._ended = end
        self._thread = threading.Thread(target=self._listen, args=[process.stdout], daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Read no more; the device's program ends with its input."""
        ended, self._ended = self._ended, lambda: None
        ended()
        self._thread = None

    def fed(self) -> str:
        """Return by what the device is fed; see `Meter.fed`."""
        return self._supply()

    def _listen(self, stream: IO[bytes]) -> None:
        told: dict[str, str] = {}
        for line in stream:
            text = line.decode(errors="replace").strip()
            if text != ".":
                name, _, value = text.rpartition(":")
                told[name] = value
                continue
            self._keep(told)
            told = {}

    def _keep(self, told: dict[str, str]) -> None:
        try:
            values = tuple(int(told[channel.name]) for channel in self.about.channels)
            device_s = float(told[UPTIME].split()[0]) if UPTIME in told else None
        except (LookupError, ValueError):
            return
        self.take(values, device_s)
