"""What ssh's texts mean, for the person at the terminal."""

from __future__ import annotations

import re

from mvdeploy.errors import DeviceUnavailable
from mvdeploy.links.shell import last_line, quote
from mvdeploy.text_format import clean

_NETWORK = "Check that it is switched on and in this network, and that 'ssh {to} true' succeeds."

_CAUSES = (
    (
        r"Could not resolve hostname",
        "has an unknown host name",
        "Check the address: 'user@host[:port]', or a host of your ssh configuration.",
    ),
    (
        r"Connection refused",
        "refuses the connection: no ssh server listens there",
        "Start one there (Debian: apt install openssh-server), or check the port.",
    ),
    (
        r"timed out|Timeout, server .* not responding",
        "does not answer in time",
        _NETWORK,
    ),
    (r"No route to host|Network is unreachable", "cannot be reached from here", _NETWORK),
    (
        r"REMOTE HOST IDENTIFICATION HAS CHANGED|key .* has changed and you have requested strict",
        "shows another host key than it used to",
        "If it was installed anew, forget the old key with 'ssh-keygen -R \"{known_as}\"'; "
        "otherwise something else answers in its place.",
    ),
    (
        r"Host key verification failed|host key is known for",
        "shows a host key that is not known here",
        "Run 'ssh {to}' once by hand, compare the key's fingerprint, and accept it.",
    ),
    (
        r"Permission denied \(|Too many authentication failures|Permission denied, please",
        "does not let this user log in without a password",
        "Check the user's name, and install your key there with 'ssh-copy-id {to}'; a key with a "
        "passphrase has to be in ssh-agent.",
    ),
    (
        r"Bad configuration option|Bad owner or permissions on|terminating, \d+ bad configuration",
        "cannot be contacted: ssh refuses its own configuration",
        "Correct what 'ssh {to}' complains of.",
    ),
)
"""Part of what ssh says → what is said of the device, what to do."""

_OTHERWISE = "See what 'ssh {to} true' says by hand."


def unreachable(name: str, to: str, known_as: str, text: str) -> DeviceUnavailable:
    """Word the error for a connection that did not come about.

    Args:
        name: what the device is called.
        to: how ssh is told where it is, for the remedy.
        known_as: under which name ssh knows its host key.
        text: all that ssh said.
    """
    for pattern, says, remedy in _CAUSES:
        if re.search(pattern, text):
            return DeviceUnavailable(
                f"{name} {says}{_quoted(text)}.", remedy.format(to=to, known_as=known_as)
            )
    return DeviceUnavailable(f"{name} cannot be reached{_quoted(text)}.", _OTHERWISE.format(to=to))


def noisy(name: str, noise: str) -> DeviceUnavailable:
    """Word the error for a login shell that writes where only commands should."""
    return DeviceUnavailable(
        f"The login shell of {name} writes text of its own before any command "
        f"('{last_line(noise)}').",
        "Have its start-up files (such as ~/.bashrc) write to terminals only: 'if [ -t 1 ]'.",
    )


def no_session(name: str, to: str, output: str) -> DeviceUnavailable:
    """Word the error for a login that is accepted, and leads to no shell."""
    return DeviceUnavailable(
        f"{name} accepts the login but runs no command{_quoted(output)}.",
        f"Give the user a login shell there; 'ssh {to} true' has to succeed.",
    )


def lost(name: str, doing: str, text: str) -> DeviceUnavailable:
    """Word the error for a connection that broke in the middle of something."""
    return DeviceUnavailable(
        f"The connection to {name} broke while {doing}{_quoted(text)}.",
        "Check its power and the network, and run again.",
    )


def silent(name: str, doing: str, limit_s: float) -> DeviceUnavailable:
    """Word the error for a device that took too long."""
    return DeviceUnavailable(
        f"{name} did not answer within {limit_s:g} s while {doing}.",
        "Check the network and that the device still reacts, and run again.",
    )


def no_login(name: str, to: str, limit_s: float, way: str) -> DeviceUnavailable:
    """Word the error for a login that leads nowhere.

    Args:
        name: what the device is called.
        to: how ssh is told where it is.
        limit_s: seconds that were waited.
        way: the detour that the configuration makes; empty for none.
    """
    detour = f" by way of '{clean(way)}' of your ssh configuration" if way else ""
    return DeviceUnavailable(
        f"{name} did not answer within {limit_s:g} s while logging in{detour}.",
        f"See how far 'ssh -v {to} true' comes.",
    )


def slow_configuration(to: str, limit_s: float) -> DeviceUnavailable:
    """Word the error for a configuration that ssh does not get through."""
    return DeviceUnavailable(
        f"The ssh program did not read its configuration within {limit_s:g} s.",
        f"See what 'ssh -G {to}' waits for: a 'Match exec' of it starts programs.",
    )


def no_program() -> DeviceUnavailable:
    """Word the error for a computer without ssh."""
    return DeviceUnavailable(
        "There is no ssh program on this computer.",
        "Install the OpenSSH client (Debian: apt install openssh-client), or correct PATH.",
    )


def no_folder(name: str, output: str) -> DeviceUnavailable:
    """Word the error for a device without a place for programs."""
    return DeviceUnavailable(
        f"{name} has no folder that programs can be put into and run from{_quoted(output)}.",
        "Give the user a home folder there that may be written to and is not mounted noexec, or "
        "set XDG_CACHE_HOME there to a folder that is not.",
    )


def full(name: str, file: str, size: int, folder: str) -> DeviceUnavailable:
    """Word the error for a file that does not fit."""
    return DeviceUnavailable(
        f"{name} has no room for {file} ({size / 1e6:.1f} MB).",
        f"Free space on it, and look into {folder} for what may be removed.",
    )


def denied(name: str, remote: str, reason: str, folder: str) -> DeviceUnavailable:
    """Word the error for a file that the device does not take."""
    return DeviceUnavailable(
        f"{name} does not take a file as {remote} ({reason}).",
        f"Remove what stands in its way in {folder} there: it may belong to another user.",
    )


def foreign(name: str, where: str, owner: str, reason: str) -> DeviceUnavailable:
    """Word the error for what another user has left, and who logs in may not change.

    Args:
        name: what the device is called.
        where: what was left.
        owner: whose it is.
        reason: what the device said.
    """
    return DeviceUnavailable(
        f"{where} on {name} belongs to {owner}, and the user who logs in may not write there "
        f"({reason}).",
        f"Remove it there as {owner}: `sudo rm -rf {quote(where)}`.",
    )


def _quoted(text: str) -> str:
    line = last_line(text)
    return f" (ssh: {line})" if line else ""
