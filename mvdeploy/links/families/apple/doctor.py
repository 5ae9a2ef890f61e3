"""What it takes to measure on a Mac or on a phone, and what of it is there.

Nothing here imports coremltools or talks to a phone for longer than devicectl takes.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from mvdeploy.engines.coreml import LEAST_IOS
from mvdeploy.links import Prerequisite, State
from mvdeploy.links.families.apple import phones as devicectl
from mvdeploy.links.families.apple.phones import DevicectlFailed, Phone
from mvdeploy.records import DeviceProfile

STAND_IN = "MVDEPLOY_STAND_IN"
"""Environment: the folder of a stand-in for coremltools' native parts. Its results are labelled
emulated."""

_COREMLTOOLS = (9, 10)
_MODEL = re.compile(r"(iphone|ipad)\d+,\d+", re.IGNORECASE)
_TEAM = re.compile(r"[A-Z0-9]{10}")


def models(profile: DeviceProfile) -> tuple[str, ...]:
    """Return the models of phones that a profile stands for; none when it is this Mac's.

    A phone's profile has Apple's identifier of the model among its aliases: ``iPhone13,2``.
    """
    return tuple(alias.casefold() for alias in profile.aliases if _MODEL.fullmatch(alias.strip()))


def stand_in() -> Path | None:
    """Return the folder of the stand-in for coremltools' native parts, if there is to be one."""
    given = os.environ.get(STAND_IN)
    return Path(given) if given else None


def checks(profile: DeviceProfile, team: str | None) -> Iterator[Prerequisite]:
    """Give every prerequisite with its state, in the order in which to meet them.

    Args:
        profile: of this Mac or of a phone.
        team: that signs the app on the phone.
    """
    mac = _mac()
    yield mac
    yield _coremltools()
    yield _of_a_mac(_native(), mac)
    if not models(profile):
        return
    yield _of_a_mac(_project(), mac)
    yield _of_a_mac(_xcode(), mac)
    yield _team(team)
    answers, phones = _devicectl()
    yield _of_a_mac(answers, mac)
    yield from _phone(profile, phones)


def attached(profile: DeviceProfile) -> Phone | None:
    """Return the phone of a profile's model that is attached, connected ones first.

    Raises:
        DevicectlFailed: devicectl gives no answer.
    """
    return _chosen(profile, devicectl.phones())


def _chosen(profile: DeviceProfile, phones: tuple[Phone, ...]) -> Phone | None:
    fitting = [phone for phone in phones if phone.model.casefold() in models(profile)]
    return min(fitting, key=lambda p: (not p.connected, not p.connection, p.udid), default=None)


def _check(name: str, good: object, found: str, remedy: str) -> Prerequisite:
    if good:
        return Prerequisite(name, State.MET, found)
    return Prerequisite(name, State.MISSING, found, remedy)


def _of_a_mac(check: Prerequisite, mac: Prerequisite) -> Prerequisite:
    """Return what only a Mac can have; elsewhere there is nothing to be done about it."""
    if mac.state is State.MET or check.state is State.MET:
        return check
    return Prerequisite(check.name, State.UNKNOWN, f"'{mac.name}' comes first")


def _mac() -> Prerequisite:
    here = stand_in()
    system = f"this system is {sys.platform}" if here is None else f"{STAND_IN} stands in for it"
    return _check(
        "macOS",
        sys.platform == "darwin" or here is not None,
        system,
        "Run mvdeploy on a Mac; on other systems, export and verify with --format coreml only.",
    )


def _coremltools() -> Prerequisite:
    low, high = _COREMLTOOLS
    try:
        version = importlib.metadata.version("coremltools")
    except importlib.metadata.PackageNotFoundError:
        version = "not installed"
    good = low <= int(version.split(".")[0]) < high if version[0].isdigit() else False
    remedy = f"Install it with 'pip install \"coremltools>={low},<{high}\"'."
    return _check("coremltools", good, version, remedy)


def _folder() -> Path | None:
    given = stand_in()
    if given is not None:
        return given
    spec = importlib.util.find_spec("coremltools")
    return Path(spec.origin).parent if spec is not None and spec.origin else None


def _native() -> Prerequisite:
    folder = _folder()
    is_there = folder is not None and any(folder.glob("libcoremlpython*"))
    return _check(
        "coremltools' native module",
        is_there,
        "there" if is_there else "libcoremlpython is not in coremltools' folder",
        "Install coremltools from PyPI on a Mac, for a version of Python that it has a wheel for.",
    )


def _project() -> Prerequisite:
    folder = _folder()
    is_there = folder is not None and (folder / "modelrunner/ModelRunner.xcworkspace").is_dir()
    return _check(
        "ModelRunner project",
        is_there,
        "there" if is_there else "coremltools' folder has no modelrunner/ModelRunner.xcworkspace",
        "Install coremltools from PyPI on a Mac: only its wheels for macOS hold the app's project.",
    )


def _xcode() -> Prerequisite:
    name = "Xcode"
    remedy = (
        "Install Xcode 15 or newer from the App Store (the command line tools alone cannot build "
        "the app), open it once, and run 'sudo xcode-select --switch /Applications/Xcode.app'."
    )
    if shutil.which("xcodebuild") is None:
        return _check(name, False, "there is no xcodebuild", remedy)
    try:
        done = subprocess.run(
            ("xcodebuild", "-version"), capture_output=True, text=True, timeout=15, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return _check(name, False, f"xcodebuild does not answer ({error})", remedy)
    lines = (done.stdout if done.returncode == 0 else done.stderr).strip().splitlines()
    return _check(name, done.returncode == 0, lines[0] if lines else "xcodebuild fails", remedy)


def _team(team: str | None) -> Prerequisite:
    remedy = (
        "Give --team-id, or set MVDEPLOY_APPLE_TEAM: the ten characters of your team's id, in "
        "Xcode under Settings, Accounts, or in the membership details at developer.apple.com."
    )
    if not team:
        return _check("developer team", False, "none is given", remedy)
    # It becomes part of a command line.
    good = _TEAM.fullmatch(team)
    return _check("developer team", good, team if good else f"'{team}' is no team's id", remedy)


def _devicectl() -> tuple[Prerequisite, tuple[Phone, ...] | None]:
    name = "xcrun devicectl"
    if shutil.which("xcrun") is None:
        remedy = "Install Xcode 15 or newer from the App Store and open it once."
        return _check(name, False, "there is no xcrun", remedy), None
    try:
        phones = devicectl.phones()
    except DevicectlFailed as error:
        return _check(name, False, error.message, error.remedy), None
    return _check(name, True, "answers", ""), phones


def _phone(profile: DeviceProfile, phones: tuple[Phone, ...] | None) -> Iterator[Prerequisite]:
    phone = _chosen(profile, phones) if phones is not None else None
    yield _attached(profile, phones, phone)
    for name, check, remedy in _PHONE_CHECKS:
        if phone is None:
            yield Prerequisite(name, State.UNKNOWN, "no phone to ask")
        else:
            good, found = check(phone)
            yield _check(name, good, found, remedy)


def _attached(
    profile: DeviceProfile, phones: tuple[Phone, ...] | None, phone: Phone | None
) -> Prerequisite:
    wanted = f"{profile.title} ({', '.join(models(profile))})"
    remedy = f"Attach an {profile.title} by cable, unlock it, and trust this Mac on it."
    if phones is None:
        return Prerequisite("phone", State.UNKNOWN, "devicectl is not there to ask")
    if phone is None:
        known = ", ".join(sorted(f"{p.title} ({p.model})" for p in phones)) or "none"
        return _check("phone", False, f"no {wanted} is attached; known: {known}", remedy)
    return _check("phone", True, f"{phone.title} ({phone.model}), {phone.system}", "")


def _connected(phone: Phone) -> tuple[bool, str]:
    return phone.connected, phone.connection or "connected" if phone.connected else "not connected"


_PhoneCheck = Callable[[Phone], tuple[bool, str]]

_PHONE_CHECKS: tuple[tuple[str, _PhoneCheck, str], ...] = (
    (
        "paired",
        lambda p: (p.paired, "trusts this Mac" if p.paired else "does not trust this Mac"),
        "Unlock the phone, attach it by cable and tap Trust.",
    ),
    (
        "developer mode",
        lambda p: (p.developer_mode, "on" if p.developer_mode else "off"),
        "Switch it on in the phone's Settings under Privacy & Security, Developer Mode, and "
        "restart the phone.",
    ),
    (
        "iOS 17",
        lambda p: (p.version >= LEAST_IOS, p.system),
        "Update the phone: coremltools' app needs iOS 17 (and 17.4 for the compute plan).",
    ),
    ("connection", _connected, "Attach the phone by cable and unlock it."),
)
