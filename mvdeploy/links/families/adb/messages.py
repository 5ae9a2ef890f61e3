"""What adb's texts and states mean, for the person at the terminal."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Sequence

from mvdeploy.errors import DeviceUnavailable
from mvdeploy.links import shell

_AGAIN = "Plug it in again, and see what `adb devices` says of it."
_UDEV = (
    "Install the udev rules for Android (Debian: apt install android-sdk-platform-tools-common), "
    "join the group plugdev, and plug it in again."
)
_ATTACH = (
    "Attach a phone by USB with Developer options > USB debugging switched on, and look at what "
    "`adb devices` says of it."
)

_STATES = {
    "unauthorized": (
        "does not trust this computer",
        "Unlock it, accept “Allow USB debugging?” for this computer, and run again.",
    ),
    "authorizing": (
        "is still deciding whether to trust this computer",
        "Unlock it, wait until it asks “Allow USB debugging?”, accept that, and run again.",
    ),
    "offline": (
        "does not answer",
        "Unlock it and plug it in again, or switch USB debugging off and on there; over a network, "
        "or with an emulator, run `adb reconnect offline`.",
    ),
    "connecting": (
        "does not answer yet",
        "Wait some seconds and run again; plug it in again if that does not help.",
    ),
    "no permissions": ("may not be opened by this user", _UDEV),
    "bootloader": (
        "is in its bootloader",
        "Start Android on it: choose START there with the volume and power keys, or `fastboot "
        "reboot`.",
    ),
    "recovery": (
        "is in recovery mode",
        "Start Android on it: choose “Reboot system now” there, or `adb reboot`.",
    ),
    "rescue": ("is in rescue mode", "Start Android on it with `adb reboot`."),
    "sideload": (
        "is waiting for an update to be sideloaded",
        "Send the update (`adb sideload FILE`) or cancel it there, and then choose “Reboot system "
        "now”.",
    ),
    "host": (
        "answers as a host, as computers do, and not as a device",
        "In its USB settings, let the connected device control USB; see that nothing else, such as "
        "another computer's adb server, is at the other end.",
    ),
    "detached": (
        "has been detached from this adb server",
        "Take it back with `adb -s SERIAL attach`, and run again.",
    ),
}
"""State of `adb devices` → what is said of the phone, what to do."""

_TEXTS = (
    (r"device unauthorized|failed to authenticate", "unauthorized"),
    (r"device still authorizing", "authorizing"),
    (r"device offline", "offline"),
    (r"device still connecting", "connecting"),
    (r"insufficient permissions|device no permissions", "no permissions"),
)
"""Start of what adb says → the state that it means."""

_SAYS = r"^(?:adb|error|adb: error): (?:{})|^(?:{})"


@dataclasses.dataclass(frozen=True)
class Attached:
    """A device as adb lists it; what adb cannot know before it trusts this computer is empty.

    Attributes:
        serial: by which adb is told which one is meant.
        state: ``device`` when it is ready; ``unauthorized``, ``offline``, and others.
        model: such as ``Pixel_4``; adb puts a ``_`` for each character that is no letter or digit.
        product: such as ``flame``, as is ``device``.
    """

    serial: str
    state: str
    model: str = ""
    product: str = ""
    device: str = ""


# A serial may hold spaces, and words that are states: only fields follow the state.
_LINE = re.compile(r"^(\S.*?)\s+(?:(no permissions)\b.*?|([a-z]+))((?:\s+[a-z_]+:\S+)*)$")
_FIELD = re.compile(r"(?<!\S)(model|product|device):(\S+)")


def parse_devices(text: str) -> tuple[Attached, ...]:
    """Read what ``adb devices -l`` prints."""
    _, _, listed = text.partition("List of devices attached")
    lines = (_LINE.match(line.strip()) for line in listed.splitlines())
    return tuple(
        Attached(line[1], line[2] or line[3], **dict(_FIELD.findall(line[4])))
        for line in lines
        if line
    )


def not_ready(name: str, state: str) -> DeviceUnavailable:
    """Word the error for a device in a state other than ``device``."""
    says, remedy = _STATES.get(state, ("cannot be used", _AGAIN))
    return DeviceUnavailable(f"{name} {says} (adb: {state}).", remedy)


def none_ready(phones: Sequence[Attached]) -> DeviceUnavailable:
    """Word the error for several devices of which none can be used."""
    remedies = [f"{one.serial}: {not_ready(one.serial, one.state).remedy}" for one in phones]
    return DeviceUnavailable(
        f"None of the attached devices can be used as it is: {listed(phones)}.", " ".join(remedies)
    )


def listed(phones: Iterable[Attached]) -> str:
    """Return serials with their states."""
    return ", ".join(f"{phone.serial} ({phone.state})" for phone in phones)


def explain(text: str, name: str) -> DeviceUnavailable:
    """Word the error for what adb said when it could not do something.

    Args:
        text: all that it said.
        name: what the device is called.
    """
    for pattern, state in _TEXTS:
        if _says(pattern, text):
            return not_ready(name, state)
    if _says(r"no devices/emulators found", text):
        return none_attached()
    if _says(r"device '[^\0]*' not found", text):
        return absent(name)
    if _says(r"more than one device", text):
        return several()
    return DeviceUnavailable(
        f"adb cannot reach {name}: {last_line(text) or 'it gave no reason'}.",
        "See what `adb devices` says of it; `adb kill-server` makes adb start afresh.",
    )


def knows(text: str) -> bool:
    """Tell whether `explain` finds a cause in a text."""
    others = r"no devices/emulators found|device '[^\0]*' not found|more than one device"
    return any(_says(pattern, text) for pattern in (others, *(one for one, _ in _TEXTS)))


def none_attached() -> DeviceUnavailable:
    """Word the error for an empty list of devices."""
    return DeviceUnavailable("No phone is attached (adb: no devices/emulators found).", _ATTACH)


def absent(name: str) -> DeviceUnavailable:
    """Word the error for a device that adb does not list."""
    return DeviceUnavailable(f"{name} is not attached (adb: device not found).", _ATTACH)


def unreachable(address: str, text: str) -> DeviceUnavailable:
    """Word the error for a failed ``adb connect``."""
    if knows(text):
        return explain(text, f"Device {address}")
    return DeviceUnavailable(
        f"Device {address} cannot be reached over the network (adb: {last_line(text)}).",
        "Check the address, and that the phone listens: `adb tcpip 5555` while it is on a cable.",
    )


def several(serials: str = "") -> DeviceUnavailable:
    """Word the error for a choice that adb cannot make."""
    which = f": {serials}" if serials else ""
    return DeviceUnavailable(
        f"More than one device is attached{which} (adb: more than one device/emulator).",
        "Say which one is meant with --device SERIAL, as `adb devices` lists it.",
    )


def foreign(name: str, serial: str, where: str, owner: str, reason: str) -> DeviceUnavailable:
    """Word the error for what another user has left where adb's user has to write.

    Args:
        name: what the device is called.
        serial: of it.
        where: what was left.
        owner: whose it is.
        reason: what the device said.
    """
    remove = f"rm -rf {shell.quote(where)}"
    by_su = f"on a phone with su, `{line(serial, 'shell', f'su 0 {remove}')}`"
    if owner == "root":
        words = (line(serial, *one) for one in (("root",), ("shell", remove), ("unroot",)))
        remedy = f"Remove it as root: {', '.join(f'`{one}`' for one in words)}; or, {by_su}."
    else:
        remedy = f"Remove it as {owner}; {by_su}."
    return DeviceUnavailable(
        f"{where} on {name} belongs to {owner}, and adb's user may not write there ({reason}).",
        remedy,
    )


def line(serial: str, *words: str) -> str:
    """Return a call of adb for one device, as it is typed."""
    return shell.quote("adb", "-s", serial, *words)


def lost(name: str, doing: str) -> DeviceUnavailable:
    """Word the error for a connection that broke in the middle of something."""
    return DeviceUnavailable(
        f"The connection to {name} broke while {doing}.",
        "Check the cable, see that `adb devices` lists the phone as “device”, and run again.",
    )


def silent(name: str, doing: str, limit_s: float) -> DeviceUnavailable:
    """Word the error for a device that took too long."""
    return DeviceUnavailable(
        f"{name} did not answer within {limit_s:g} s while {doing}.",
        "Check the cable and that the phone still reacts, and run again.",
    )


def last_line(text: str) -> str:
    """Return the last line that says something, without adb's own prefixes and a full stop."""
    return re.sub(r"^(adb: )?(error: )?", "", shell.last_line(text))


def _says(pattern: str, text: str) -> bool:
    return re.search(_SAYS.format(pattern, pattern), text, re.MULTILINE) is not None
