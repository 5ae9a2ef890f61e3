from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

import pytest

from mvdeploy import devices, links
from mvdeploy.errors import DeviceUnavailable
from mvdeploy.links import Prerequisite, State
from mvdeploy.links.families.apple import AppleLink, phones
from mvdeploy.links.families.apple.doctor import attached, models
from mvdeploy.records import DeviceProfile
from tests.apple import programs
from tests.apple.stand_in import TEAM, StandIn

NAMES = (
    "macOS",
    "coremltools",
    "coremltools' native module",
    "ModelRunner project",
    "Xcode",
    "developer team",
    "xcrun devicectl",
    "phone",
    "paired",
    "developer mode",
    "iOS 17",
    "connection",
)
PHONE = devices.get("iphone12")


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A system without anything of Apple's."""
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.setenv("PATH", str(empty))
    monkeypatch.setattr("sys.platform", "linux")
    for name in ("MVDEPLOY_STAND_IN", "MVDEPLOY_APPLE_TEAM"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def mac(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    made = StandIn(tmp_path / "mac")
    for name, value in made.environment.items():
        monkeypatch.setenv(name, value)
    return made


@pytest.fixture
def make_link(mac: StandIn):
    def make(name: str = "iphone12", team_id: str = TEAM) -> AppleLink:
        return AppleLink(devices.get(name), {"team_id": team_id})

    return make


def by_name(found: tuple[Prerequisite, ...]) -> dict[str, Prerequisite]:
    return {check.name: check for check in found}


def test_every_prerequisite_of_a_phone_is_listed_in_the_order_to_meet_them(mac: StandIn) -> None:
    found = links.doctor(PHONE)
    assert tuple(check.name for check in found) == NAMES
    assert {check.state for check in found} == {State.MET}
    assert {check.remedy for check in found} == {""}
    assert by_name(found)["Xcode"].found == "Xcode 16.2"
    assert by_name(found)["phone"].found == "mvdeploy stand-in iPhone 12 (iPhone13,2), iOS 17.5.1"


def test_a_mac_needs_no_phone(mac: StandIn) -> None:
    assert tuple(check.name for check in links.doctor(devices.get("mac"))) == NAMES[:3]
    assert mac.commands() == []


def test_without_a_mac_nothing_is_said_of_what_only_a_mac_has(bare: None) -> None:
    found = by_name(links.doctor(PHONE))
    assert tuple(found) == NAMES
    missing = {"macOS", "developer team"}
    assert {name for name, check in found.items() if check.state is State.MISSING} == missing
    assert found["Xcode"].found == "'macOS' comes first"
    assert {name for name, check in found.items() if check.state is State.MET} == {"coremltools"}
    for check in found.values():
        assert check.found and bool(check.remedy) == (check.state is State.MISSING)


def test_it_takes_no_time_to_say_what_is_missing(bare: None) -> None:
    start = time.monotonic()
    with pytest.raises(DeviceUnavailable) as caught:
        AppleLink(PHONE).open()
    assert time.monotonic() - start < 5
    assert caught.value.exit_code == 3
    assert caught.value.message.startswith("iPhone 12 cannot be used: macOS: this system is linux")


@pytest.mark.parametrize(
    ("state", "name", "found"),
    [
        ({"paired": "unpaired"}, "paired", "does not trust this Mac"),
        ({"developer_mode": "disabled"}, "developer mode", "off"),
        ({"ios": "16.7"}, "iOS 17", "iOS 16.7"),
        ({"ios": "16"}, "iOS 17", "iOS 16"),
        ({"ios": ""}, "iOS 17", "iOS "),
        ({"tunnel": "disconnected"}, "connection", "not connected"),
    ],
)
def test_what_is_wrong_with_a_phone(mac: StandIn, state, name: str, found: str) -> None:
    mac.set(**state)
    checks = by_name(links.doctor(PHONE))
    assert [n for n, check in checks.items() if check.state is not State.MET] == [name]
    assert checks[name].found == found and checks[name].remedy


def test_without_a_phone_its_state_is_unknown(mac: StandIn) -> None:
    mac.set(tunnel="absent")
    checks = by_name(links.doctor(PHONE))
    assert checks["phone"].state is State.MISSING and "known: none" in checks["phone"].found
    assert {checks[name].state for name in NAMES[8:]} == {State.UNKNOWN}


@pytest.mark.parametrize("ios", ["17", "17.0", "17.5.1", "18.2", "26.0"])
def test_systems_that_will_do(mac: StandIn, ios: str) -> None:
    mac.set(ios=ios)
    assert by_name(links.doctor(PHONE))["iOS 17"].state is State.MET


@pytest.mark.parametrize("team", ["", "abcde12345", "ABCDE1234", "ABCDE12345;ls"])
def test_teams_that_will_not_do(mac: StandIn, monkeypatch, team: str) -> None:
    monkeypatch.setenv("MVDEPLOY_APPLE_TEAM", team)
    check = by_name(links.doctor(PHONE))["developer team"]
    assert check.state is State.MISSING and "developer.apple.com" in check.remedy
    checks = by_name(links.doctor(PHONE, {"team_id": TEAM}))
    assert checks["developer team"].state is State.MET


def test_the_command_line_tools_alone_will_not_do(mac: StandIn) -> None:
    text = "xcode-select: error: tool 'xcodebuild' requires Xcode"
    (mac.programs / "xcodebuild").write_text(f'#!/bin/sh\necho "{text}" >&2\nexit 1\n')
    check = by_name(links.doctor(PHONE))["Xcode"]
    assert check.state is State.MISSING and check.found == text
    assert "App Store" in check.remedy


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo 'xcrun: error: unable to find utility' >&2; exit 72", "unable to find utility"),
        ("exit 3", "exit status 3"),
        ("exit 0", "No such file"),
        ('echo "[1" > "$5"', "no JSON object"),
        ('echo "[]" > "$5"', "no JSON object"),
        ('echo "{}" > "$5"', "exit status 0"),
        ("sleep 20", "did not end within 0.5 s"),
    ],
)
def test_a_devicectl_that_gives_no_answer(mac: StandIn, monkeypatch, script, reason) -> None:
    (mac.programs / "xcrun").write_text(f"#!/bin/sh\n{script}\n")
    monkeypatch.setattr(phones.ask, "__defaults__", (0.5,))
    checks = by_name(links.doctor(PHONE))
    assert checks["xcrun devicectl"].state is State.MISSING
    assert reason in checks["xcrun devicectl"].found
    assert checks["phone"].state is State.UNKNOWN


def test_the_phone_that_is_connected_is_taken(mac: StandIn, monkeypatch) -> None:
    far = programs.entry({**programs.NEW, "tunnel": "unavailable"})
    far["hardwareProperties"]["udid"] = "00000000-0"
    near = programs.entry(programs.NEW)
    watch = programs.entry({**programs.NEW, "model": "Watch6,1"})
    odd = {"identifier": 1, "hardwareProperties": None}
    answer = {"devices": [watch, far, odd, near]}
    monkeypatch.setattr(phones, "ask", lambda words, limit_s=0: answer)
    assert [phone.udid for phone in phones.phones()] == ["00000000-0", programs.UDID]
    assert attached(PHONE).udid == programs.UDID
    assert attached(devices.get("iphone15")) is None


@pytest.mark.parametrize(
    ("reality", "emulated"), [("physical", False), ("virtual", True), ("mvdeploy stand-in", True)]
)
def test_only_a_physical_phone_is_real(mac: StandIn, reality: str, emulated: bool) -> None:
    mac.set(reality=reality)
    assert attached(PHONE).emulated is emulated


def test_an_app_that_still_runs_is_ended(mac: StandIn) -> None:
    with subprocess.Popen(["sleep", "60"]) as app:
        (mac.phone / "app.pid").write_text(str(app.pid))
        phones.end_app(programs.IDENTIFIER)
        assert app.wait(10) == -signal.SIGKILL
    phones.end_app(programs.IDENTIFIER)
    assert sum("process terminate" in word for word in mac.commands()) == 1


@pytest.mark.parametrize(
    ("aliases", "found"),
    [
        ((), ()),
        (("my mac", "MacBookPro18,3"), ()),
        (("iPhone13,2",), ("iphone13,2",)),
        (("work phone", "iPad14,1", "iphone 12"), ("ipad14,1",)),
    ],
)
def test_a_profile_of_a_phone_names_its_model(aliases, found) -> None:
    assert models(DeviceProfile("x", "X", "apple", ("coreml",), aliases)) == found


# What is missing when a link is opened.


def test_a_phone_that_sleeps_is_woken(make_link, mac) -> None:
    mac.set({"wakes": True}, tunnel="disconnected")
    with make_link() as link:
        assert link.identity()["machine"]
    assert sum("device info details" in word for word in mac.commands()) == 1


@pytest.mark.parametrize(
    ("state", "message", "remedy"),
    [
        ({"tunnel": "absent"}, r"no iPhone 12 \(iphone13,2\) is attached; known: none", "by cable"),
        ({"model": "iPhone16,1"}, r"known: mvdeploy stand-in iPhone 12 \(iPhone16,1\)", "Attach"),
        ({"ios": "16.7.8"}, r"iOS 17: iOS 16\.7\.8\.", "Update the phone"),
        ({"paired": "unpaired"}, "does not trust this Mac", "tap Trust"),
        ({"developer_mode": "disabled"}, "developer mode: off", "Developer Mode"),
    ],
)
def test_what_is_missing_is_said_when_the_link_is_opened(
    make_link, mac, state, message, remedy
) -> None:
    mac.set(**state)
    with pytest.raises(DeviceUnavailable, match=message) as caught:
        make_link().open()
    assert remedy in caught.value.remedy and caught.value.exit_code == 3


def test_a_phone_that_does_not_wake_is_unavailable(make_link, mac) -> None:
    mac.set(tunnel="disconnected")
    with pytest.raises(DeviceUnavailable, match=r"does not answer.*not found") as caught:
        make_link().open()
    assert caught.value.remedy.startswith("Attach it by cable")


def test_without_a_team_nothing_is_built(make_link) -> None:
    with pytest.raises(DeviceUnavailable, match="developer team: none is given"):
        make_link(team_id="").open()
    make_link().open()
    with pytest.raises(DeviceUnavailable, match="'x; rm -r' is no team's id"):
        make_link(team_id="x; rm -r").open()


def test_on_another_system_the_first_thing_missing_is_a_mac(make_link, monkeypatch) -> None:
    monkeypatch.delenv("MVDEPLOY_STAND_IN")
    monkeypatch.setattr("sys.platform", "linux")
    for name in ("mac", "iphone12"):
        with pytest.raises(DeviceUnavailable, match="macOS: this system is linux") as caught:
            make_link(name).open()
        assert "Run mvdeploy on a Mac" in caught.value.remedy
