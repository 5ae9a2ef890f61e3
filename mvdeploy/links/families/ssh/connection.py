"""One connection of the OpenSSH client, which carries any number of commands.

Logging in takes a tenth of a second and more, which each command would take again; over a
connection that stands, ssh takes a command in some milliseconds (``ControlMaster``).
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import os
import re
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, cast

from mvdeploy.errors import DeviceUnavailable, UsageError
from mvdeploy.links.families.ssh import messages
from mvdeploy.links.shell import reap

_READY = b"mvdeploy-ready\n"

_LOGIN_S = 20.0
"""Seconds for a login, from the connection to the first command, beside a `ConnectTimeout` of the
user's."""

_CONFIGURATION_S = 10.0
"""Seconds for ssh to read its configuration, which may start programs (``Match exec``)."""

_GRACE_S = 1.0
"""Seconds for ssh to end by itself."""

_NOTICE_S = 0.5

_NOISE_BYTES = 4096

_SOCKET_ROOM = 70
"""How long the path of a folder may be: that of a socket in it has 104 bytes at most, of which ssh
needs some for a temporary name."""

_NOT_FOR_COMMANDS = {
    "BatchMode": "yes",
    "ClearAllForwardings": "yes",
    "ControlPersist": "no",
    "EscapeChar": "none",
    "ExitOnForwardFailure": "no",
    "ForwardAgent": "no",
    "ForwardX11": "no",
    "LogLevel": "INFO",
    "PermitLocalCommand": "no",
    "RemoteCommand": "none",
    "ServerAliveCountMax": "3",
    "ServerAliveInterval": "10",
    "Tunnel": "no",
    "VisualHostKey": "no",
    # Not every version of ssh knows these.
    "ChannelTimeout": "none",
    "ForkAfterAuthentication": "no",
    "SessionType": "default",
    "StdinNull": "no",
}
"""What a user's configuration may say for terminals, and what commands need instead."""

_NOBODY = "mvdeploy-knows-no-such-host"

_PR_SET_PDEATHSIG = 1

_ADDRESS = re.compile(
    r"(?:(?P<user>[A-Za-z0-9_][A-Za-z0-9._+@-]*)@)?"
    r"(?P<host>[A-Za-z0-9_][A-Za-z0-9._-]*|\[[0-9A-Fa-f:.]+(?:%[A-Za-z0-9._-]+)?\])"
    r"(?::(?P<port>[0-9]{1,5}))?"
)


@dataclasses.dataclass(frozen=True)
class Destination:
    """Where ssh connects to.

    Attributes:
        host: a name, an address, or a host of the user's ssh configuration.
        user: who logs in; None for whom ssh chooses.
        port: of the ssh server; None for the one ssh chooses.
    """

    host: str
    user: str | None = None
    port: int | None = None

    @property
    def words(self) -> tuple[str, ...]:
        """The arguments that tell ssh, without the host."""
        user = () if self.user is None else ("-l", self.user)
        port = () if self.port is None else ("-p", str(self.port))
        return (*user, *port)

    @property
    def typed(self) -> str:
        """What a person types after ``ssh``."""
        port = "" if self.port is None else f"-p {self.port} "
        return f"{port}{self.user}@{self.host}" if self.user else f"{port}{self.host}"

    @property
    def known_as(self) -> str:
        """Under which name ssh knows its host key."""
        return self.host if self.port in (None, 22) else f"[{self.host}]:{self.port}"


def parse(address: str) -> Destination:
    """Read an address: ``[user@]host[:port]``; an IPv6 address stands in brackets.

    Only such letters are taken that neither ssh nor a command in its configuration can mistake.

    Raises:
        UsageError: it is no such address.
    """
    parts = _ADDRESS.fullmatch(address)
    port = int(parts["port"]) if parts and parts["port"] else None
    if parts is None or (port is not None and not 1 <= port <= 65535):
        raise UsageError(
            f"'{address}' is no address of a device that ssh reaches.",
            "Give it as 'user@host[:port]', or the name of a host of your ssh configuration; an "
            "IPv6 address stands in brackets.",
        )
    return Destination(parts["host"].strip("[]"), parts["user"], port)


def is_configured(name: str) -> bool:
    """Tell whether the user's ssh configuration says something of a host that has this name."""
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*", name) or shutil.which("ssh") is None:
        return False
    try:
        own, of_any = (_ask_configuration("ssh", Destination(host)) for host in (name, _NOBODY))
    except subprocess.TimeoutExpired:
        return False
    # ssh puts names of hosts into small letters, and serials of phones have capitals.
    of_name = of_any.stdout.replace(_NOBODY, name).casefold()
    return own.returncode == 0 and own.stdout.casefold() != of_name


def _ask_configuration(program: str, destination: Destination) -> subprocess.CompletedProcess[str]:
    """Have ssh print the configuration that holds for a destination, without contacting it."""
    # With a command, as it will be started; one of the configuration would be in its way.
    words = (program, "-G", "-T", "-o", "RemoteCommand=none", *destination.words)
    return subprocess.run(
        [*words, "--", destination.host, "true"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=_CONFIGURATION_S,
        check=False,
    )


class Connection:
    """A connection that is logged in, over which commands are started.

    Args:
        destination: where to.
        name: what messages call the device.
        connect_s: seconds for the device to answer, where the user's configuration does not say.
    """

    def __init__(self, destination: Destination, name: str, connect_s: float = 5.0) -> None:
        self._destination = destination
        self._name = name
        self._connect_s = connect_s
        self._program = ""
        self._folder: Path | None = None
        self._master: subprocess.Popen[bytes] | None = None

    def open(self) -> None:
        """Log in.

        Raises:
            DeviceUnavailable: there is no ssh program, or it does not get through (and why).
        """
        program = shutil.which("ssh")
        if program is None:
            raise messages.no_program()
        self._program = program
        configured = self._configuration()
        self._folder = _short_folder()
        try:
            with (self._folder / "log").open("wb") as log:
                self._master = self._start_master(log, configured)
            self._wait_until_ready(self._master, configured)
        except BaseException:
            self.close()
            raise

    def start(
        self,
        command: str,
        stdin: int | IO[bytes] = subprocess.DEVNULL,
        stdout: int | IO[bytes] = subprocess.DEVNULL,
        stderr: int | IO[bytes] = subprocess.DEVNULL,
    ) -> subprocess.Popen[bytes]:
        """Start a command in the device's ``sh``; the login shell may be another.

        The process ends with the command's status, or with 255 when the connection has broken.

        Args:
            command: a line for the shell.
            stdin: as that of `subprocess.Popen`.
            stdout: likewise.
            stderr: likewise.

        Raises:
            DeviceUnavailable: the connection has broken.
        """
        if self._master is None or self._master.poll() is not None:
            raise self.lost("no command ran")
        words = [self._program, "-F", "none", "-T", "-S", self._socket]
        # Without a connection that stands, ssh would silently make one of its own.
        words += _options(ControlMaster="no", ProxyCommand="false", LogLevel="ERROR")
        return subprocess.Popen(
            [*words, "--", self._destination.host, _in_sh(command)],
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            bufsize=0,
            start_new_session=True,
        )

    def lost(self, doing: str, output: str = "") -> DeviceUnavailable:
        """Word the error for a connection that broke.

        Args:
            doing: what was going on.
            output: what ssh wrote of the command that was carried.
        """
        if self._master is not None:
            # A process that carried a command may notice before the one that holds the connection.
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._master.wait(_NOTICE_S)
                return messages.lost(self._name, doing, self._log())
        # That ssh did not get through by itself either is of its options' making.
        lines = (line for line in output.splitlines() if "UNKNOWN port" not in line)
        return messages.lost(self._name, doing, "\n".join(lines))

    def close(self) -> None:
        """Log out, and end what is still carried. May be called again."""
        master, self._master = self._master, None
        try:
            if master is not None:
                _end(master)
        finally:
            folder, self._folder = self._folder, None
            if folder is not None:
                shutil.rmtree(folder, ignore_errors=True)

    @property
    def _socket(self) -> str:
        return str(cast(Path, self._folder) / "s")

    def _log(self) -> str:
        if self._folder is None:
            return ""
        return (self._folder / "log").read_bytes().decode(errors="replace")

    def _configuration(self) -> dict[str, str]:
        """Return the user's ssh configuration for the device, names in small letters."""
        try:
            asked = _ask_configuration(self._program, self._destination)
        except subprocess.TimeoutExpired as late:
            raise messages.slow_configuration(self._destination.typed, _CONFIGURATION_S) from late
        if asked.returncode != 0:
            to = self._destination
            raise messages.unreachable(self._name, to.typed, to.known_as, asked.stderr)
        pairs = (line.partition(" ") for line in asked.stdout.splitlines())
        return {name: value for name, _, value in pairs}

    def _start_master(self, log: IO[bytes], configured: dict[str, str]) -> subprocess.Popen[bytes]:
        options = {k: v for k, v in _NOT_FOR_COMMANDS.items() if _is_known(k, configured)}
        if _patience_s(configured) is None:
            options["ConnectTimeout"] = f"{max(1, round(self._connect_s))}"
        words = [self._program, "-M", "-T", "-S", self._socket, *_options(**options)]
        # It lasts as long as its input is open, so that it ends with this process in any case.
        command = _in_sh(f"printf '{_READY.decode().strip()}\\n'; exec cat > /dev/null")
        return subprocess.Popen(
            [*words, *self._destination.words, "--", self._destination.host, command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            bufsize=0,
            # Ctrl-C at the terminal is for this process, which has yet to clean up over there.
            start_new_session=True,
            preexec_fn=_end_with_this_process(),
        )

    def _wait_until_ready(
        self, master: subprocess.Popen[bytes], configured: dict[str, str]
    ) -> None:
        limit_s = _LOGIN_S + (_patience_s(configured) or 0.0)
        heard, ended = _hear(cast(IO[bytes], master.stdout), time.monotonic() + limit_s)
        output = heard.decode(errors="replace")
        if heard == _READY:
            return
        if heard.endswith(_READY) or len(heard) > _NOISE_BYTES:
            raise messages.noisy(self._name, output.removesuffix(_READY.decode()))
        to = self._destination
        if not ended:
            raise messages.no_login(self._name, to.typed, limit_s, _way(configured))
        # A process that has closed its output need not have ended.
        with contextlib.suppress(subprocess.TimeoutExpired):
            master.wait(_GRACE_S)
        if master.returncode == 255:
            raise messages.unreachable(self._name, to.typed, to.known_as, self._log())
        raise messages.no_session(self._name, to.typed, output or self._log())


_OF_LATE = ("ChannelTimeout", "ForkAfterAuthentication", "SessionType", "StdinNull")
"""Options that older versions of ssh refuse, and newer ones list."""


def _is_known(option: str, configured: dict[str, str]) -> bool:
    return option not in _OF_LATE or option.lower() in configured


def _patience_s(configured: dict[str, str]) -> float | None:
    """Return the seconds that the user's configuration gives a device to answer; None for none."""
    seconds, attempts = (configured.get(k, "") for k in ("connecttimeout", "connectionattempts"))
    if not seconds.isdecimal():
        return None
    return float(seconds) * (int(attempts) if attempts.isdecimal() else 1)


def _way(configured: dict[str, str]) -> str:
    """Return what of the user's configuration leads to the device by a detour; empty for none."""
    ways = (f"{k} {configured.get(k.lower(), 'none')}" for k in ("ProxyJump", "ProxyCommand"))
    return next((way for way in ways if not way.endswith(" none")), "")


def _end_with_this_process() -> Callable[[], object] | None:
    """Return what a child is to do first, to be ended when this process dies; None elsewhere."""
    if sys.platform != "linux":
        return None
    # Between fork and exec only the call itself is safe.
    prctl = ctypes.CDLL(None).prctl
    return lambda: prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)


def _options(**options: str) -> list[str]:
    return [word for name, value in options.items() for word in ("-o", f"{name}={value}")]


def _in_sh(command: str) -> str:
    """Return a line with which a login shell (sh, bash, zsh, fish) has ``sh`` run a command."""
    return "exec sh -c '" + command.replace("'", "'\\''") + "'"


def _hear(stdout: IO[bytes], until: float) -> tuple[bytes, bool]:
    """Read until the connection is ready or makes noise; return that, and whether it has ended."""
    heard = b""
    with selectors.DefaultSelector() as selector:
        selector.register(stdout, selectors.EVENT_READ)
        while not heard.endswith(_READY) and len(heard) <= _NOISE_BYTES:
            if not selector.select(max(0.0, until - time.monotonic())):
                return heard, False
            data = os.read(stdout.fileno(), _NOISE_BYTES)
            if not data:
                return heard, True
            heard += data
    return heard, False


def _end(process: subprocess.Popen[bytes]) -> None:
    cast(IO[bytes], process.stdin).close()
    for end in (process.terminate, process.kill):
        try:
            process.wait(_GRACE_S)
            break
        except subprocess.TimeoutExpired:
            end()
    reap(process)
    cast(IO[bytes], process.stdout).close()


def _short_folder() -> Path:
    usual = tempfile.gettempdir()
    place = usual if len(os.fsencode(usual)) <= _SOCKET_ROOM else "/tmp"
    return Path(tempfile.mkdtemp(prefix="mvdeploy-", dir=place))
