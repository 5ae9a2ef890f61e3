"""What remedies tell people to type has to work when it is typed."""

from __future__ import annotations

import dataclasses
import re
import shlex
from pathlib import Path

import click
import pytest

import mvdeploy
from mvdeploy import devices, links
from mvdeploy.cli import COMMANDS, cli
from mvdeploy.links import Attached, KitMissing
from mvdeploy.links.families import adb, ssh
from mvdeploy.links.families.adb import messages
from mvdeploy.records import DeviceProfile

SERIAL = "adb-R58M1234567-AbCdEf (2)._adb-tls-connect._tcp"
PACKAGE = Path(mvdeploy.__file__).parent


def command_in(text: str) -> list[str]:
    """Return the words of the command that a remedy names, as a shell has them."""
    found = re.search(r"'mvdeploy ([^']+)'", text)
    assert found is not None, text
    return shlex.split(found[1])


def parsed(words: list[str]) -> click.Context:
    """Have the command line read a command, without doing it."""
    command = cli.get_command(click.Context(cli), words[0])
    assert command is not None
    return command.make_context(words[0], list(words[1:]))


def resolved(remedy: str) -> DeviceProfile:
    """Return the device that the command in a remedy is for."""
    given = parsed(command_in(remedy)).params
    extra = given["devices_dir"]
    options = {name: given[f"link_options_{name}"] or "" for name in _names()}
    return links.profile(given["device"], extra, options)


def _names() -> set[str]:
    return {option.name for option in links.declared()}


@pytest.fixture
def phones(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Pixel 4 and a phone without a profile, as adb lists them."""
    pixel = {"ro.product.device": "flame", "ro.product.model": "Pixel 4"}
    other = {"ro.product.device": "caiman", "ro.product.model": "Pixel 9 Pro"}
    listed = (
        Attached("99211FFAZ00STD", "adb", "device", pixel),
        Attached(SERIAL, "adb", "device", {**other, "ro.product.cpu.abi": "arm64-v8a"}),
    )

    def generic(one: Attached, _options: links.Options) -> DeviceProfile:
        choice = links.native_choice()
        return devices.generic("adb", one.address, one.properties, {}, *choice)

    monkeypatch.setattr(adb, "attached", lambda _options: listed)
    monkeypatch.setattr(adb, "generic", generic)


@pytest.mark.parametrize("name", devices.profiles())
def test_a_profile_is_typed_by_its_name(name: str) -> None:
    profile = devices.get(name)
    assert links.typed(profile) == name
    assert resolved(KitMissing(profile, "aarch64").remedy) == profile


@pytest.mark.parametrize("serial", ["99211FFAZ00STD", SERIAL])
@pytest.mark.parametrize("remedy", [lambda p: KitMissing(p, "aarch64").remedy, links.mend])
def test_a_phone_that_was_named_by_its_serial(phones, serial, remedy) -> None:
    profile = links.profile(serial)
    assert resolved(remedy(profile)) == profile


def test_a_serial_with_capitals_is_no_host_of_the_ssh_configuration() -> None:
    assert ssh.named("99211FFAZ00STD") is None


def test_a_board_without_a_profile() -> None:
    profile = devices.generic("ssh", "pi@board.local:2222", {}, {}, *links.native_choice())
    words = command_in(KitMissing(profile, "aarch64").remedy)
    assert ssh.named(words[-1]) == Attached(profile.address, "ssh", "device")


def test_a_board_of_a_profile_at_an_address_that_was_given() -> None:
    profile = links.profile("raspberrypi5", options={"address": "pi@board.local"})
    assert resolved(KitMissing(profile, "aarch64").remedy) == profile


def test_a_profile_in_a_folder_of_its_own(tmp_path: Path) -> None:
    text = (PACKAGE.parent / "devices" / "pixel4.toml").read_text()
    (tmp_path / "mine.toml").write_text(re.sub('name = "pixel4"|aliases = .*', "", text))
    profile = dataclasses.replace(devices.get("pixel4"), name="mine")
    remedy = KitMissing(profile, "aarch64").remedy
    assert command_in(remedy)[-2:] == ["--devices-dir", "DIR"]
    parsed(command_in(remedy))


def test_a_device_without_a_kit_is_not_told_to_build_one() -> None:
    assert "devices setup" not in links.mend(devices.get("host"))
    assert "devices setup pixel4" in links.mend(devices.get("pixel4"))


def test_an_address_of_a_board_is_advised_as_one_that_is_taken_for_it() -> None:
    assert ssh.named(ssh._typed("board.invalid")) is not None
    assert ssh._typed("pi@board.invalid") == "pi@board.invalid"


def test_what_adb_is_told_is_for_one_phone() -> None:
    error = messages.foreign("Pixel 4", SERIAL, "/data/local/tmp/a b", "root", "denied")
    typed = [shlex.split(line) for line in re.findall("`([^`]+)`", error.remedy)]
    assert [words[:3] for words in typed] == [["adb", "-s", SERIAL]] * 4
    assert [words[3] for words in typed] == ["root", "shell", "unroot", "shell"]
    assert shlex.split(typed[1][4]) == ["rm", "-rf", "/data/local/tmp/a b"]


def test_every_command_that_is_named_anywhere_exists() -> None:
    named = set()
    for path in PACKAGE.rglob("*.py"):
        # Sentences are written in pieces.
        text = re.sub(r'"\s*\n\s*f?"', "", path.read_text())
        named |= set(re.findall(r"'mvdeploy ([a-z][^'\n]*)'", text))
    assert len(named) > 15
    for line in named:
        verb, *words = re.sub(r"\{[^}]*\}", "X", line).split()
        assert verb in COMMANDS, line
        command = cli.get_command(click.Context(cli), verb)
        if isinstance(command, click.Group) and words:
            command = command.get_command(click.Context(command), words.pop(0))
        assert command is not None, line
        known = {flag for parameter in command.params for flag in parameter.opts}
        assert {word for word in words if word.startswith("-")} <= known, line
        if verb == "devices" and words and not words[0].startswith("-"):
            assert words[0] in ("list", "doctor", "setup", "clean"), line
