"""A lock for each device, so that no two runs measure on one at the same time.

It is the system's lock of a file, so that it is free when the process that holds it ends, however
that may be. A user's processes see each other; those of other users have locks of their own.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from mvdeploy import files
from mvdeploy.errors import DeviceUnavailable

if TYPE_CHECKING:
    from filelock import BaseFileLock


class DeviceLock:
    """Keeps other processes off one device, from `take` to `release`.

    Args:
        title: what messages call the device.
    """

    def __init__(self, title: str) -> None:
        self._title = title
        self._key = ""
        self._lock: BaseFileLock | None = None

    def take(self, key: str) -> None:
        """Have the device for this process, unless it has it already.

        Args:
            key: tells the device from all others: `Link.lock_key`.

        Raises:
            DeviceUnavailable: another process has it, or it cannot be told.
        """
        if self._lock is not None and key == self._key:
            return
        import filelock

        self.release()
        path = _path(key)
        holder = path.with_suffix(".pid")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = filelock.FileLock(path, timeout=0, thread_local=False)
            lock.acquire()
            holder.write_text(str(os.getpid()))
        except filelock.Timeout as error:
            raise _held(self._title, _process(holder)) from error
        except OSError as error:
            raise DeviceUnavailable(
                f"It cannot be told whether another run measures on {self._title}: {path.parent} "
                f"may not be written to ({error.strerror}).",
                "Set XDG_RUNTIME_DIR to a folder of your own, and run again.",
            ) from error
        self._key, self._lock = key, lock

    def release(self) -> None:
        """Let others have the device. May be called again."""
        lock, self._lock = self._lock, None
        if lock is not None:
            lock.release()


def _path(key: str) -> Path:
    folder = files.user_folder("runtime") / "locks"
    readable = re.sub(r"[^A-Za-z0-9.-]+", "-", key)[:40]
    return folder / f"{readable}-{hashlib.sha256(key.encode()).hexdigest()[:12]}.lock"


def _process(holder: Path) -> str:
    with contextlib.suppress(OSError):
        return holder.read_text().strip()
    return ""


def _held(title: str, process: str) -> DeviceUnavailable:
    if not process:
        return DeviceUnavailable(
            f"Another run measures on {title}.", "Wait until it has ended, and run again."
        )
    end = f", or end it with 'kill {process}'" if process != str(os.getpid()) else ""
    return DeviceUnavailable(
        f"Another run (process {process}) measures on {title}.",
        f"Wait until it has ended{end}, and run again.",
    )
