"""Phones that are attached to this Mac, as ``xcrun devicectl`` tells of them."""

from __future__ import annotations

import dataclasses
import json
import subprocess
from collections.abc import Sequence
from typing import Any

from mvdeploy.engines.coreml import version_numbers
from mvdeploy.errors import DeviceUnavailable
from mvdeploy.files import writing
from mvdeploy.links.shell import last_line

LIST_S = 15.0
"""Seconds that a question to devicectl may take."""

_TUNNEL_S = 30.0
_CONNECTED = "connected"
_PHYSICAL = "physical"
_APP = "modelrunner"


@dataclasses.dataclass(frozen=True)
class Phone:
    """A phone that this Mac knows.

    Attributes:
        identifier: devicectl's own name for it.
        udid: its hardware's identifier.
        model: Apple's identifier of the model, such as ``iPhone13,2``.
        title: the name people know the model by, such as ``iPhone 12``.
        system: ``iOS 17.5.1``.
        version: numbers of that.
        build: of the system.
        architecture: such as ``arm64e``.
        connection: ``wired`` or how else it is attached.
        paired: whether it trusts this Mac.
        developer_mode: whether it runs developers' programs.
        connected: whether it can be used now.
        emulated: whether it says that it is no physical device.
    """

    identifier: str
    udid: str
    model: str
    title: str
    system: str
    version: tuple[int, ...]
    build: str
    architecture: str
    connection: str
    paired: bool
    developer_mode: bool
    connected: bool
    emulated: bool


class DevicectlFailed(DeviceUnavailable):
    """A question to devicectl has no answer."""


def phones() -> tuple[Phone, ...]:
    """Return the phones and tablets that this Mac knows, attached or not.

    Raises:
        DevicectlFailed: devicectl is not there, or gives no answer.
    """
    listed = ask(("list", "devices")).get("devices")
    entries = listed if isinstance(listed, list) else []
    known = [_phone(entry) for entry in entries if isinstance(entry, dict)]
    return tuple(phone for phone in known if phone.model.startswith(("iPhone", "iPad")))


def wake(phone: Phone) -> None:
    """Have devicectl connect to a phone: a phone at a cable is connected when first asked.

    Raises:
        DeviceUnavailable: it does not answer.
    """
    try:
        ask(("device", "info", "details", "-d", phone.identifier), _TUNNEL_S)
    except DevicectlFailed as error:
        raise DeviceUnavailable(
            f"{phone.title} is known to this Mac but does not answer: {error.message}",
            "Attach it by cable, unlock it, trust this Mac on it, and run again.",
        ) from error


def end_app(identifier: str) -> None:
    """End coremltools' app on a phone, if it runs.

    Raises:
        DevicectlFailed: the phone does not answer.
    """
    listed = ask(("device", "info", "processes", "-d", identifier)).get("runningProcesses")
    for process in listed if isinstance(listed, list) else []:
        if _APP in str(process.get("executable", "")).rpartition("/")[2].lower():
            number = str(process.get("processIdentifier"))
            ask(("device", "process", "terminate", "-d", identifier, "--pid", number))


def ask(words: Sequence[str], limit_s: float = LIST_S) -> dict[str, Any]:
    """Run a devicectl command and return its result.

    Raises:
        DevicectlFailed: it cannot be started, fails, or does not end in time.
    """
    with writing.temporary() as folder:
        answer = folder / "answer.json"
        command = ("xcrun", "devicectl", *words, "--json-output", str(answer))
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=limit_s, check=False
            )
            result = (
                json.loads(answer.read_text("utf-8")).get("result") if not done.returncode else 0
            )
        except subprocess.TimeoutExpired as error:
            raise _failed(words, f"it did not end within {limit_s:g} s") from error
        except OSError as error:
            raise _failed(words, f"{error.filename or 'xcrun'}: {error.strerror}") from error
        except (ValueError, AttributeError) as error:
            raise _failed(words, "its answer is no JSON object") from error
    if not isinstance(result, dict):
        raise _failed(words, last_line(done.stderr) or f"exit status {done.returncode}")
    return result


def _failed(words: Sequence[str], why: str) -> DevicectlFailed:
    return DevicectlFailed(
        f"xcrun devicectl {' '.join(words[:2])} gave no answer ({why.rstrip('.')}).",
        "Install Xcode 15 or newer, open it once, and select it with "
        "'sudo xcode-select --switch /Applications/Xcode.app'.",
    )


def _phone(entry: dict[str, Any]) -> Phone:
    device, hardware = _part(entry, "deviceProperties"), _part(entry, "hardwareProperties")
    connection = _part(entry, "connectionProperties")
    version = str(device.get("osVersionNumber", ""))
    # Xcode's own simulators say "virtual". What says nothing is from an older Xcode, which knows
    # physical devices only.
    reality = hardware.get("reality", _PHYSICAL)
    return Phone(
        identifier=str(entry.get("identifier", "")),
        udid=str(hardware.get("udid", "")),
        model=str(hardware.get("productType", "")),
        title=str(hardware.get("marketingName", "")),
        system=f"{hardware.get('platform', 'iOS')} {version}",
        version=version_numbers(version),
        build=str(device.get("osBuildUpdate", "")),
        architecture=str(_part(hardware, "cpuType").get("name", "")),
        connection=str(connection.get("transportType", "")),
        paired=connection.get("pairingState") == "paired",
        developer_mode=device.get("developerModeStatus") == "enabled",
        connected=connection.get("tunnelState") == _CONNECTED,
        emulated=reality != _PHYSICAL,
    )


def _part(entry: dict[str, Any], key: str) -> dict[str, Any]:
    part = entry.get(key)
    return part if isinstance(part, dict) else {}
