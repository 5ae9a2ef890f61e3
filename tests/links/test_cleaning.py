"""``mvdeploy devices clean``: everything of mvdeploy goes from a phone, or from a board."""

from __future__ import annotations

import contextlib
import json
import os
import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from mvdeploy import links
from mvdeploy.cli.commands import devices as devices_cli
from mvdeploy.errors import DeviceUnavailable, UsageError
from mvdeploy.links.families.adb.shell import Adb, AdbShell
from mvdeploy.links.lock import DeviceLock
from mvdeploy.links.session import Session
from tests.android.fixtures import adb_server, make_phone, phone
from tests.android.phone import TMP, Phone
from tests.android.server import AdbServer
from tests.ssh.fixtures import server
from tests.ssh.server import SshServer

__all__ = ["adb_server", "make_phone", "phone", "server"]

HOME = f"{TMP}/mvdeploy"
FILE_BYTES = 2_000_000


@pytest.fixture
def attached(phone: Phone, adb_server: AdbServer) -> Phone:
    """A stand-in Pixel 4 that adb knows."""
    adb_server.run("connect", phone.address)
    return phone


def fill(home: Path, mode: str | None = None) -> None:
    """Leave what runs leave: a kit, a model, and the folder of a run that has ended."""
    for name in ("kit-1", "files", "run-0a0b0c0d"):
        (home / name).mkdir(parents=True)
    (home / "kit-1" / "libengine.so").write_bytes(b"x" * FILE_BYTES)
    (home / "run-0a0b0c0d" / "owner").write_text(
        "system=another\nprocess=12 1\nwho=process 12 on another\n"
    )
    if mode is not None:
        (home / "run-0a0b0c0d" / "mode").write_text(mode)


def given_up(home: Path) -> None:
    """Have the run be one of so long ago that it does not come back."""
    os.utime(home / "run-0a0b0c0d", (0, 0))


def clean(phone: Phone, *words: str) -> Result:
    return CliRunner().invoke(devices_cli.command, ["clean", phone.address, *words])


def test_everything_is_removed_and_named(attached: Phone) -> None:
    home = attached.tmp / "mvdeploy"
    fill(home)
    given_up(home)
    (attached.tmp / "of others").touch()
    done = clean(attached)
    assert done.exit_code == 0, done.output
    first, *others = done.output.splitlines()
    assert re.fullmatch(rf"2\.\d MB removed from {HOME} on Pixel 4:", first)
    listed = {line.split()[0]: line.split()[1:] for line in others}
    assert listed.keys() == {"kit-1", "files", "run-0a0b0c0d"}
    assert listed["kit-1"] == ["2.0", "MB"]
    assert [path.name for path in attached.tmp.iterdir()] == ["of others"]
    assert attached.fixed_performance_calls == []
    done = clean(attached)
    assert done.exit_code == 0
    assert done.output == f"Nothing of mvdeploy is in {HOME} on Pixel 4.\n"


def test_a_mode_that_was_left_on_is_switched_off(attached: Phone) -> None:
    home = attached.tmp / "mvdeploy"
    fill(home, mode="")
    given_up(home)
    done = clean(attached, "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.output)
    assert told["folder"] == HOME and told["mode_restored"] is True
    assert told["removed"].keys() == {"kit-1", "files", "run-0a0b0c0d"}
    assert FILE_BYTES <= told["removed"]["kit-1"] <= FILE_BYTES + 100_000
    assert attached.fixed_performance_calls == ["false"]
    fill(home, mode="")
    given_up(home)
    assert "Fixed-performance mode, which a run had left on" in clean(attached).output


def test_a_mode_that_is_not_left_is_told_and_the_rest_is_removed(attached: Phone) -> None:
    home = attached.tmp / "mvdeploy"
    fill(home, mode="")
    given_up(home)
    attached.deny_fixed_performance()
    done = clean(attached)
    assert isinstance(done.exception, DeviceUnavailable)
    assert done.exception.exit_code == 3
    assert "did not leave its fixed-performance mode" in done.exception.message
    assert f"MB removed from {HOME}" in done.output
    assert not home.exists()


def test_a_run_that_is_going_on_is_left_alone(attached: Phone) -> None:
    fill(attached.tmp / "mvdeploy")
    with Adb() as adb:
        run = Session(AdbShell(adb, attached.address), HOME)
        run.begin()
        refused = clean(attached)
        assert isinstance(refused.exception, DeviceUnavailable)
        assert re.match(r"A run \(process \d+ on .+\) is going on", refused.exception.message)
        assert "--force" in refused.exception.remedy
        assert (attached.tmp / "mvdeploy" / run.name).is_dir()
        forced = clean(attached, "--force")
        assert forced.exit_code == 0, forced.output
        assert run.name in forced.output
        run.part()
    assert list(attached.tmp.iterdir()) == []


def test_a_phone_that_is_taken_is_left_alone(attached: Phone) -> None:
    home = attached.tmp / "mvdeploy"
    fill(home)
    given_up(home)
    lock = DeviceLock("It")
    lock.take(f"adb {attached.serial}")
    try:
        refused = clean(attached)
        assert isinstance(refused.exception, DeviceUnavailable)
        assert "Another run" in refused.exception.message
        assert home.exists()
        assert clean(attached, "--force").exit_code == 0
    finally:
        lock.release()
    assert not home.exists()


def test_files_of_another_user_are_told_with_what_removes_them(attached: Phone) -> None:
    home = attached.tmp / "mvdeploy"
    fill(home)
    given_up(home)
    (home / "kit-1").chmod(0o555)
    try:
        done = clean(attached)
    finally:
        (home / "kit-1").chmod(0o755)
    assert isinstance(done.exception, DeviceUnavailable)
    assert done.exception.message.startswith(f"{HOME}/kit-1 on Pixel 4 belongs to root")
    assert f"'rm -rf {HOME}/kit-1'" in done.exception.remedy
    assert "run-0a0b0c0d" in done.output and "kit-1" not in done.output
    assert [path.name for path in home.iterdir()] == ["kit-1"]


@pytest.mark.slow
def test_a_board_is_cleaned(server: SshServer) -> None:
    profile = links.profile(server.address)
    with contextlib.closing(server.open_shell()) as shell:
        home = Path(shell.folder) / "mvdeploy"
    (home.parent / "of others").touch()
    fill(home)
    given_up(home)
    cleaned = links.clean(profile)
    assert cleaned.folder == str(home)
    assert cleaned.sizes.keys() == {"kit-1", "files", "run-0a0b0c0d"}
    assert (cleaned.mode_restored, cleaned.problem) == (False, None)
    assert [path.name for path in home.parent.iterdir()] == ["of others"]


def test_this_machine_has_nothing_to_be_cleaned() -> None:
    with pytest.raises(UsageError, match="leaves nothing on"):
        links.clean(links.profile("host"))


def test_force_is_for_cleaning() -> None:
    done = CliRunner().invoke(devices_cli.command, ["doctor", "host", "--force"])
    assert isinstance(done.exception, UsageError)
    assert "devices clean DEVICE" in done.exception.remedy
    done = CliRunner().invoke(devices_cli.command, ["clean"])
    assert isinstance(done.exception, UsageError)
