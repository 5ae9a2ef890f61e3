"""The link to a Linux board (arm64 or x86-64) through the OpenSSH client."""

from __future__ import annotations

import dataclasses
import os

from mvdeploy import devices
from mvdeploy.errors import DeviceUnavailable, UsageError
from mvdeploy.links import Attached, LinkOption, Prerequisite, remote_doctor
from mvdeploy.links.families.ssh import linux
from mvdeploy.links.families.ssh.shell import SshShell
from mvdeploy.links.gather import highest_clocks
from mvdeploy.links.remote import RemoteLink
from mvdeploy.links.shell import Shell
from mvdeploy.records import DeviceProfile, DeviceState, Reading

ADDRESS = "MVDEPLOY_SSH_ADDRESS"
"""Environment: where the board is, when its profile does not say."""

OPTIONS = (LinkOption("--address", ADDRESS, "ssh: where the board is.", "USER@HOST[:PORT]"),)

_ENGINES = ("onnxruntime", "executorch")
_FORMATS = ("onnx", "executorch")
_ARCHITECTURES = {"aarch64": "aarch64", "arm64": "aarch64", "x86_64": "x86_64"}

RUNNER = "native"
"""Which program does its jobs; engines say which of them can run them."""


def connect(profile: DeviceProfile) -> SshLink:
    """Return the link to a Linux board."""
    return SshLink(profile)


def named(text: str) -> Attached | None:
    """Return the board that a text such as ``pi@board.local`` is the address of."""
    return Attached(text, "ssh", "device") if "@" in text else None


def generic(one: Attached) -> DeviceProfile:
    """Return a profile for a board, from what it answers."""
    shell = SshShell(one.address)
    with shell:
        told = linux.answers(shell)
    found, clocks = linux.properties(told), highest_clocks(told["clocks"])
    profile = devices.generic("ssh", one.address, found, clocks, _ENGINES, _FORMATS)
    # An address says by itself which board is meant.
    return dataclasses.replace(profile, match={})


def doctor(profile: DeviceProfile) -> tuple[Prerequisite, ...]:
    """Go through what it takes to measure on a Linux board."""
    return remote_doctor.checks(SshLink(profile), ())


class SshLink(RemoteLink):
    """A link to one Linux board.

    Args:
        profile: of the board; its address says where it is.
    """

    def __init__(self, profile: DeviceProfile) -> None:
        super().__init__(profile)
        self._ssh: SshShell | None = None
        self._told: dict[str, str] = {}

    def _reach(self) -> Shell:
        address = os.environ.get(ADDRESS) or self.profile.address
        if not address:
            raise UsageError(
                f"The profile of {self.profile.title} does not say where it is.",
                f"Give --address USER@HOST, or set {ADDRESS}, or 'address' in the profile.",
            )
        self._ssh = SshShell(address, self.profile.title)
        self._ssh.open()
        self._told = linux.answers(self._ssh)
        if not devices.fits(self.profile, linux.properties(self._told)):
            machine = linux.identity(self._told)["machine"]
            raise DeviceUnavailable(
                f"The board at {address} is no {self.profile.title} (it says: {machine}).",
                f"Give its address with --device {address} to measure on it as what it is.",
            )
        return self._ssh

    def architecture(self) -> str:
        """Return what the board's programs have to be built for; see `RemoteLink`."""
        machine = str(linux.identity(self._told)["architecture"])
        if machine not in _ARCHITECTURES:
            raise DeviceUnavailable(
                f"{self.shell.name} runs programs for {machine}, which there is no runner for.",
                f"Use a board with one of {', '.join(sorted(set(_ARCHITECTURES.values())))}.",
            )
        return _ARCHITECTURES[machine]

    def identity(self) -> dict[str, Reading]:
        """Return what the board is."""
        return linux.identity(self._told)

    def state(self) -> DeviceState:
        """Return the condition the board is in now."""
        return linux.state(self.shell)

    def _part(self) -> None:
        shell, self._ssh = self._ssh, None
        if shell is not None:
            shell.close()
