"""A place of its own for the real adb: port, keys, temporary files."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

# What would lead adb elsewhere.
UNWANTED = (
    "MVDEPLOY_ADB",
    "ADB",
    "ADB_SERVER_SOCKET",
    "ANDROID_ADB_SERVER_ADDRESS",
    "ANDROID_SERIAL",
    "ADB_TRACE",
)
# No phones in the network; nor, where adb can be told so, those at a cable.
NOTHING_ELSE = {"ADB_MDNS": "0", "ADB_USB": "0"}
LIMIT_S = 30.0
POLL_S = 0.05


class AdbServer:
    """The environment for adb's clients, whose server has ended at the end.

    The server itself is started by the first client that needs one.

    Args:
        folder: new.

    Attributes:
        environment: for a client; replaces that of the tests.
        port: of the server.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        kept = {name: value for name, value in os.environ.items() if name not in UNWANTED}
        self.environment = {
            **kept,
            "ANDROID_ADB_SERVER_PORT": str(self.port),
            "ANDROID_USER_HOME": str(folder),
            "HOME": str(folder),
            "TMPDIR": str(folder),
            **NOTHING_ELSE,
        }

    def run(self, *words: str) -> str:
        """Run adb, and return what it said."""
        with subprocess.Popen(
            ["adb", *words],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            # Its server would hold a pipe open.
            stdout=subprocess.DEVNULL if words == ("start-server",) else subprocess.PIPE,
            stderr=subprocess.DEVNULL if words == ("start-server",) else subprocess.STDOUT,
            text=True,
        ) as process:
            out, _ = process.communicate(timeout=LIMIT_S)
        return out or ""

    def connect_in_vain(self, address: str, state: str) -> None:
        """Have adb connect, without waiting for it, until it lists the phone in a state.

        It may give up before it is listed; then it is asked again.
        """
        until = time.monotonic() + LIMIT_S
        while time.monotonic() < until:
            with subprocess.Popen(
                ["adb", "connect", address],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            ) as process:
                try:
                    while process.poll() is None:
                        if f"{address}\t{state}" in self.run("devices"):
                            return
                        time.sleep(POLL_S)
                finally:
                    process.kill()
        raise RuntimeError(f"The phone was never {state}.")

    @property
    def runs(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self) -> None:
        """End the server; one that is being started is ended as well.

        Raises:
            RuntimeError: it does not end.
        """
        until = time.monotonic() + LIMIT_S
        while self.runs:
            self.run("kill-server")
            if time.monotonic() > until:
                raise RuntimeError("The adb server has not ended.")
            time.sleep(POLL_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
