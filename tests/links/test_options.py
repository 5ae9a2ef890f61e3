"""Options of links: from what was given and the environment to the link and the profile."""

from __future__ import annotations

import pytest

from mvdeploy import devices, links
from mvdeploy.links.families.adb import AdbLink

VARIABLES = {option.name: option.variable for option in links.declared()}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in VARIABLES.values():
        monkeypatch.delenv(variable, raising=False)


def test_each_option_is_declared_once_with_a_variable_of_its_own() -> None:
    assert {"adb", "address", "kit", "runner", "keep_on_device", "team_id"} < VARIABLES.keys()
    assert len(set(VARIABLES.values())) == len(VARIABLES) == len(links.declared())
    assert all(variable.startswith("MVDEPLOY_") for variable in VARIABLES.values())


def test_what_was_given_goes_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MVDEPLOY_KIT", "/from/the/shell")
    monkeypatch.setenv("MVDEPLOY_KEEP_ON_DEVICE", "")
    assert links.resolve({}) == {"kit": "/from/the/shell"}
    assert links.resolve({"kit": ""}) == {"kit": "/from/the/shell"}
    assert links.resolve({"kit": "/given", "adb": "/adb"}) == {"kit": "/given", "adb": "/adb"}


def test_a_link_is_given_what_the_environment_says_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MVDEPLOY_KIT", "/from/the/shell")
    monkeypatch.setenv("MVDEPLOY_APPLE_TEAM", "ABCDE12345")  # is for another link
    link = links.get(devices.get("pixel4"))
    monkeypatch.setenv("MVDEPLOY_KIT", "/changed")
    assert isinstance(link, AdbLink)
    assert link._options == {"kit": "/from/the/shell"}


def test_an_address_becomes_that_of_the_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    assert links.profile("raspberrypi5").address == ""
    monkeypatch.setenv("MVDEPLOY_SSH_ADDRESS", "pi@shell")
    assert links.profile("raspberrypi5").address == "pi@shell"
    given = {"address": "pi@given"}
    assert links.profile("raspberrypi5", options=given).address == "pi@given"
    # It is no phone's and not this machine's.
    assert links.profile("pixel4", options=given).address == ""
    assert links.profile("host", options=given).address == ""
