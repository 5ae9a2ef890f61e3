"""A real ssh server on the loopback interface, with keys and a client configuration of its own."""

from __future__ import annotations

import contextlib
import getpass
import os
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

import psutil
import pytest

from mvdeploy.errors import DeviceUnavailable
from mvdeploy.links.families.ssh.shell import SshShell

LIMIT_S = 30.0

# What a privileged sshd wants to be there.
RUN = Path("/run/sshd")

SERVER = """
ListenAddress 127.0.0.1
Port {port}
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/user_key.pub
PidFile none
UsePAM no
StrictModes no
PermitRootLogin yes
PasswordAuthentication no
KbdInteractiveAuthentication no
UseDNS no
SetEnv {environment}
{more}
"""

CLIENT = """
Host board
    HostName 127.0.0.1
    Port {port}
    User {user}
Host *
    IdentityFile {folder}/user_key
    IdentitiesOnly yes
    IdentityAgent none
    UserKnownHostsFile {folder}/known_hosts
    GlobalKnownHostsFile none
    UpdateHostKeys no
"""


def demand(program: str) -> str:
    """Return the path of a program; skip the test without it, or fail where nothing may lack."""
    found = shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    need(found is not None, f"the program {program}")
    return str(found)


def need(there: bool, what: str) -> None:
    """Skip the test for want of something, or fail it where nothing may lack."""
    if there:
        return
    if os.environ.get("MVDEPLOY_REQUIRE_ALL") == "1":
        pytest.fail(f"This test needs {what}.")
    pytest.skip(f"This test needs {what}.")


def await_true(condition: Callable[[], object], what: str) -> None:
    until = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < until, f"never: {what}"
        time.sleep(0.02)


class SshServer:
    """An sshd that the user of this process can log into. A context manager.

    Args:
        folder: for keys and configuration, and the home of who logs in.

    Attributes:
        home: the home folder over there.
        port: of the server.
        address: with user and port.
        programs: a folder with an ``ssh`` that uses the configuration of this server, for PATH.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.programs = folder / "bin"
        self.port = 0
        self._sshd, self._keygen = demand("sshd"), demand("ssh-keygen")
        self._ssh = demand("ssh")
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        for folder in (self.folder, self.home, self.programs):
            folder.mkdir(parents=True, exist_ok=True)
        for name in ("host_key", "user_key"):
            self.make_key(name)
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.kill()

    @property
    def _log(self) -> Path:
        return self.folder / "sshd.log"

    @property
    def address(self) -> str:
        return f"{getpass.getuser()}@127.0.0.1:{self.port}"

    def make_key(self, name: str) -> None:
        """Make a key pair anew."""
        for path in (self.folder / name, self.folder / f"{name}.pub"):
            path.unlink(missing_ok=True)
        words = [self._keygen, "-q", "-t", "ed25519", "-N", "", "-f", str(self.folder / name)]
        subprocess.run(words, check=True)

    def know_host(self) -> None:
        """Let the client know the server's present host key."""
        key = (self.folder / "host_key.pub").read_text()
        (self.folder / "known_hosts").write_text(f"[127.0.0.1]:{self.port} {key}")

    def start(self, more: str = "", before: str = "", **environment: str) -> None:
        """Start the server anew.

        Args:
            more: lines for its configuration.
            before: commands to run first, in a mount namespace that only the server shares.
            environment: of the sessions, beside HOME.
        """
        self.kill()
        if os.getuid() == 0:
            RUN.mkdir(exist_ok=True)
        self.port = self.port or _free_port()
        variables = {"HOME": str(self.home), **environment}
        config = self.folder / "sshd_config"
        config.write_text(
            SERVER.format(
                port=self.port,
                folder=self.folder,
                environment=" ".join(f'"{name}={value}"' for name, value in variables.items()),
                more=more,
            )
        )
        self._configure_client()
        words = [self._sshd, "-D", "-e", "-f", str(config)]
        if before:
            words = [demand("unshare"), "-m", "sh", "-ec", f'{before}; exec "$@"', "sh", *words]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(words, stderr=log, start_new_session=True)
        await_true(self._listens, "sshd listens")

    def open_shell(self, name: str | None = None) -> SshShell:
        """Return an open shell; one that cannot be opened says what the server wrote."""
        shell = SshShell(self.address, name)
        try:
            shell.open()
        except DeviceUnavailable as error:
            ended = None if self._process is None else self._process.poll()
            error.add_note(f"sshd (exit status {ended}) wrote:\n{self._log.read_text()}")
            raise
        return shell

    def processes(self) -> list[psutil.Process]:
        """Return what the server has started: its sessions and what runs in them."""
        if self._process is None:
            return []
        return psutil.Process(self._process.pid).children(recursive=True)

    def signal_all(self, number: signal.Signals) -> None:
        """Send a signal to the sessions and to what runs in them."""
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(number)

    def kill(self) -> None:
        """Kill the server, its sessions and what runs in them."""
        if self._process is not None:
            # A session that it began between the two would outlive it, and for a moment hold on to
            # the port that it listened at.
            self._process.send_signal(signal.SIGSTOP)
            running = self.processes()
            self._process.kill()
            self._process.wait()
            for process in running:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            psutil.wait_procs(running, LIMIT_S)
            self._process = None

    def _configure_client(self) -> None:
        config = self.folder / "ssh_config"
        config.write_text(CLIENT.format(port=self.port, folder=self.folder, user=getpass.getuser()))
        # ssh finds its configuration by the password file, not by HOME. The last -F counts.
        program = self.programs / "ssh"
        program.write_text(f"#!/bin/sh\nexec '{self._ssh}' -F '{config}' \"$@\"\n")
        program.chmod(0o755)

    def _listens(self) -> bool:
        """Whether this very server listens: one that is about to end may still answer at the port.

        It is not connected to: that would be a session more, which begins whenever it comes to it.
        """
        assert self._process is not None
        log = self._log.read_text()
        assert self._process.poll() is None, log
        return f"Server listening on 127.0.0.1 port {self.port}." in log


def _free_port() -> int:
    """Return a port that nobody is given who asks for any, while the server is started anew."""
    while True:
        port = random.randrange(10_000, 30_000)
        with contextlib.suppress(OSError), socket.socket() as found:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            found.bind(("127.0.0.1", port))
            return port
