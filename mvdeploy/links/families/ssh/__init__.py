"""The link to a Linux board (arm64 or x86-64) through the OpenSSH client."""

from __future__ import annotations

import dataclasses
import getpass
from typing import cast

from mvdeploy import devices, kits
from mvdeploy.errors import DeviceUnavailable, UsageError
from mvdeploy.links import (
    NO_OPTIONS,
    Attached,
    Cleaned,
    Options,
    Prerequisite,
    cleaning,
    native_choice,
    remote,
    remote_doctor,
    sysfs_power,
)
from mvdeploy.links.families.ssh import connection, linux
from mvdeploy.links.families.ssh.shell import SshShell
from mvdeploy.links.kernel import highest_clocks
from mvdeploy.links.power import Meter
from mvdeploy.links.remote import RemoteLink
from mvdeploy.links.shell import Shell
from mvdeploy.plugins import Option
from mvdeploy.records import DeviceProfile, DeviceState, Reading

RUNNER = "native"
"""Which program does its jobs; engines say which of them can run them."""

BUILDS = (kits.GLIBC,)
"""Android's own C library is on no board."""

OPTIONS = (
    Option(
        "address",
        "--address",
        "ssh: where the board is.",
        "USER@HOST[:PORT]",
        variable="MVDEPLOY_SSH_ADDRESS",
    ),
    *remote.OPTIONS,
)

_ARCHITECTURES = {"aarch64": "aarch64", "arm64": "aarch64", "x86_64": "x86_64"}


def connect(profile: DeviceProfile, options: Options = NO_OPTIONS) -> SshLink:
    """Return the link to a Linux board."""
    return SshLink(profile, options)


def named(text: str) -> Attached | None:
    """Return the board that a text is the address of.

    That is one such as ``pi@board.local``, or the name of a host in the user's ssh configuration.
    """
    is_address = "@" in text or connection.is_configured(text)
    return Attached(text, "ssh", "device") if is_address else None


def generic(one: Attached, _options: Options = NO_OPTIONS) -> DeviceProfile:
    """Return a profile for a board, from what it answers."""
    with SshShell(one.address) as shell:
        answers = linux.ask(shell)
    properties, clocks = linux.properties(answers), highest_clocks(answers["clocks"])
    profile = devices.generic("ssh", one.address, properties, clocks, *native_choice())
    # An address says by itself which board is meant.
    return dataclasses.replace(profile, match={})


def _typed(address: str) -> str:
    """Return an address as `named` takes it for one."""
    return address if named(address) else f"{getpass.getuser()}@{address}"


def doctor(profile: DeviceProfile, options: Options = NO_OPTIONS) -> tuple[Prerequisite, ...]:
    """Go through what it takes to measure on a Linux board."""
    return remote_doctor.checks(SshLink(profile, options))


def clean(profile: DeviceProfile, options: Options, force: bool) -> Cleaned:
    """Remove everything of mvdeploy from a Linux board."""
    return cleaning.clean(SshLink(profile, options), force)


class SshLink(RemoteLink):
    """A link to one Linux board.

    Args:
        profile: of the board; its address says where it is.
        options: of links; an address among them counts when the profile has none.
    """

    def __init__(self, profile: DeviceProfile, options: Options = NO_OPTIONS) -> None:
        super().__init__(profile, options)
        self._ssh: SshShell | None = None
        self._answers: dict[str, str] = {}

    def _reach(self) -> Shell:
        address = self.profile.address or self._options.get("address")
        if not address:
            raise UsageError(
                f"The profile of {self.profile.title} does not say where it is.",
                "Give --address USER@HOST, or 'address' in the profile, or set "
                "MVDEPLOY_SSH_ADDRESS.",
            )
        self._ssh = SshShell(address, self.profile.title)
        self._ssh.open()
        self._answers = linux.ask(self._ssh)
        if not devices.fits(self.profile, linux.properties(self._answers)):
            machine = linux.identity(self._answers)["machine"]
            raise DeviceUnavailable(
                f"The board at {address} is no {self.profile.title} (it says: {machine}).",
                f"Give its address with --device {_typed(address)} to measure on it as what it is.",
            )
        return self._ssh

    def lock_key(self) -> str:
        """Return what this start of the board's system is known by; see `Link.lock_key`.

        It is the same whatever way leads there, also from the board itself.
        """
        boot = self._answers["boot"].strip()
        return f"system {boot}" if boot else f"ssh {cast(SshShell, self._ssh).address}"

    def architecture(self) -> str:
        """Return what the board's programs have to be built for; see `RemoteLink`."""
        machine = str(linux.identity(self._answers)["architecture"])
        if machine not in _ARCHITECTURES:
            raise DeviceUnavailable(
                f"{self.shell.name} runs programs for {machine}, which there is no runner for.",
                f"Use a board with one of {', '.join(sorted(set(_ARCHITECTURES.values())))}.",
            )
        return _ARCHITECTURES[machine]

    def identity(self) -> dict[str, Reading]:
        """Return what the board is."""
        return linux.identity(self._answers)

    def state(self) -> DeviceState:
        """Return the condition the board is in now."""
        return linux.state(self.shell)

    def meter(self) -> Meter:
        """Return the counters or the sensor of the board's power; see `Link.meter`."""
        return sysfs_power.of_board(self.shell, self.profile.power_sensor)

    def _rejoin(self) -> None:
        if self._ssh is not None:
            self._ssh.close()
            self._ssh.open()

    def _part(self) -> None:
        shell, self._ssh = self._ssh, None
        if shell is not None:
            shell.close()
