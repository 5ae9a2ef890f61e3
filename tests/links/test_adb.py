"""A link to a stand-in phone: the real adb, the real runner and engines for arm64, and faults."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

import mvdeploy
from mvdeploy import devices, links, models
from mvdeploy.errors import DeviceUnavailable, EngineError, UsageError
from mvdeploy.links import KitMissing, RunnerFailed, State
from mvdeploy.links.families.adb import AdbLink, android
from mvdeploy.links.lock import DeviceLock
from mvdeploy.pipeline.export import Builder
from mvdeploy.records import CoolDown, DeviceProfile, Job, JobModel, Level, Warmup
from tests.android import tables
from tests.android.fixtures import MakePhone, adb_server, make_phone, phone, shared_phone
from tests.android.kit import aarch64_kit
from tests.android.phone import Phone
from tests.android.server import AdbServer

__all__ = ["aarch64_kit", "adb_server", "make_phone", "phone", "shared_phone"]

LIMIT_S = 120.0
WAIT_S = 20.0
QUICK = CoolDown(limit_s=3.0, poll_s=1.0)
ENGINES = {"onnx": "onnxruntime", "executorch": "executorch"}


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A small network in every format that phones run."""
    folder = tmp_path_factory.mktemp("exports")
    builder = Builder(models.make_spec("yardstick"))
    paths = {"onnx": folder / "net.onnx", "executorch": folder / "net.pte"}
    for format_name, path in paths.items():
        builder.export(format_name, path)
    return paths


@pytest.fixture
def attached(phone: Phone, adb_server: AdbServer) -> Phone:
    """A stand-in Pixel 4 that adb knows."""
    adb_server.run("connect", phone.address)
    return phone


def profile_of(phone: Phone, **fields) -> DeviceProfile:
    fields = {"address": phone.address, "cool_down": QUICK, **fields}
    return dataclasses.replace(devices.get("pixel4"), **fields)


@pytest.fixture
def options(aarch64_kit: Path) -> dict[str, str]:
    return {"kit": str(aarch64_kit)}


@pytest.fixture
def link_to(options: dict[str, str]) -> Callable[..., AdbLink]:
    """Return a function that makes a link to a phone, with the kit for it."""

    def make(
        phone: Phone, sleep: Callable[[float], None] = lambda _: None, keep: str = "", **fields
    ) -> AdbLink:
        given = {**options, "keep_on_device": keep} if keep else options
        return AdbLink(profile_of(phone, **fields), given, sleep)

    return make


@pytest.fixture
def link(attached: Phone, link_to) -> Iterator[AdbLink]:
    with link_to(attached) as link:
        yield link


@pytest.fixture(scope="module")
def shared_link(shared_phone: Phone, aarch64_kit: Path) -> Iterator[AdbLink]:
    """An open link to a phone that tests only run jobs on."""
    with AdbLink(profile_of(shared_phone), {"kit": str(aarch64_kit)}, lambda _: None) as link:
        yield link


def job_for(link: AdbLink, path: Path, folder: Path, count: int = 3, **fields) -> Job:
    manifest = json.loads(path.with_name(f"{path.name}.json").read_text())
    name, shape = manifest["inputs"][0]["name"], manifest["inputs"][0]["shape"]
    tensor = folder / "image.npy"
    np.save(tensor, np.random.default_rng(0).random(shape, dtype=np.float32))
    places = link.upload((path, tensor))
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    engine = ENGINES[manifest["format"]]
    model = JobModel(engine, places[path], sha256, {name: places[tensor]}, **fields)
    return Job((model,), (0,) * count, threads=2, warmup=Warmup(iterations=1), cores=(4, 5, 6, 7))


def any_job() -> Job:
    """Return a job for a runner that is not to come so far as to look for its files."""
    model = JobModel("onnxruntime", "/nothing.onnx", "0" * 64, {"x": "/nothing.npy"})
    return Job((model,), (0,), threads=1, warmup=Warmup(iterations=1))


def codes_of(link: AdbLink) -> set[str]:
    return {finding.code for finding in link.findings()}


def runner_of(phone: Phone) -> psutil.Process:
    (first,) = psutil.Process(phone._process.pid).children()
    found = [p for p in first.children(recursive=True) if "./mvdeploy-runner" in p.cmdline()]
    return found[-1]


def running(phone: Phone) -> list[str]:
    """Return what runs on a phone, but for what shows that a run is there."""
    return [line for line in phone.processes() if line != "cat" and "/keeper" not in line]


def assert_nothing_runs(phone: Phone) -> None:
    gone(lambda: running(phone))


def gone(left: Callable[[], list[object]]) -> None:
    """What has been killed takes a moment to be gone."""
    until = time.monotonic() + WAIT_S
    while left() and time.monotonic() < until:
        time.sleep(0.05)
    assert left() == []


def assert_nothing_left(phone: Phone) -> None:
    assert_nothing_runs(phone)
    gone(phone.processes)
    assert list(phone.tmp.iterdir()) == []


# What works


@pytest.mark.slow
@pytest.mark.parametrize("format_name", ENGINES)
def test_a_job_is_done_on_the_phone(shared_link, exports, tmp_path, format_name: str) -> None:
    link = shared_link
    job = job_for(link, exports[format_name], tmp_path, profile_to=f"{link.scratch()}/profile")
    result = link.run(job, LIMIT_S)
    assert len(result.samples) == 3
    assert min(result.samples.wall_ns) > 0
    assert result.hello["cores"] == [4, 5, 6, 7]
    assert result.hello["build"] == "glibc" and result.hello["architecture"] == "aarch64"
    profile = result.models[0].profile
    assert profile is not None
    link.fetch(profile, tmp_path / "profile")
    assert (tmp_path / "profile").stat().st_size > 100


def test_what_the_phone_is_and_how_it_is(link, attached) -> None:
    attached.write(tables.WAKEFULNESS, "Awake\n")
    assert link.emulated
    assert link.identity()["machine"] == "Google Pixel 4"
    readings = link.state().readings
    assert readings["thermal_status"] == "none"
    assert len(readings["cpu_max_khz"]) == 8
    assert {f.code for f in link.findings()} == {"fixed_performance", "charging", "screen_on"}


def test_the_mode_of_fixed_performance_is_restored(link, attached) -> None:
    assert attached.fixed_performance_calls == ["true"]
    link.close()
    assert attached.fixed_performance_calls == ["true", "false"]


def test_a_phone_that_does_not_leave_that_mode_is_told_of(link, attached) -> None:
    attached.deny_fixed_performance()
    link.close()
    assert "mode_left_on" in {finding.code for finding in link.findings()}


def test_a_mode_that_is_not_answered_for_is_restored_too(attached, link_to, monkeypatch) -> None:
    attached.hang("cmd power")
    with link_to(attached) as link:
        assert "no_fixed_performance" in {finding.code for finding in link.findings()}
        attached.hang()
    assert attached.fixed_performance_calls == ["false"]
    assert "mode_left_on" not in {finding.code for finding in link.findings()}


def test_a_phone_that_is_lost_while_it_is_set_up_is_tidied_up(
    attached, monkeypatch, link_to
) -> None:
    asked: list[bool] = []

    def lost(shell, *, on: bool) -> bool:
        asked.append(on)
        if on:
            raise DeviceUnavailable("The answer is lost.", "Attach it again.")
        return True

    monkeypatch.setattr(android, "set_fixed_performance", lost)
    with pytest.raises(DeviceUnavailable, match="The answer is lost"):
        link_to(attached).open()
    assert asked == [True, False]
    assert_nothing_left(attached)


def test_a_phone_without_that_mode_is_measured_as_it_is(attached, link_to) -> None:
    attached.deny_fixed_performance()
    with link_to(attached) as link:
        assert "no_fixed_performance" in {f.code for f in link.findings()}
    with link_to(attached, fixed_performance=False) as link:
        assert not {f.code for f in link.findings()}
    assert attached.fixed_performance_calls == ["true"]


def test_the_mode_can_be_asked_for_and_left_out(attached, options) -> None:
    def mode(wish: str, **fields) -> tuple[object, int]:
        before = len(attached.fixed_performance_calls)
        with AdbLink(profile_of(attached, **fields), {**options, **WISHES[wish]}) as link:
            told = link.state().readings["fixed_performance"]
        return told, len(attached.fixed_performance_calls) - before

    assert mode("") == ("on", 2)
    assert mode("off") == ("off", 0)
    assert mode("", fixed_performance=False) == ("off", 0)
    assert mode("on", fixed_performance=False) == ("on", 2)
    attached.deny_fixed_performance()
    assert mode("on") == ("off", 1)


WISHES = {"": {}, "on": {"fixed_performance": "on"}, "off": {"fixed_performance": "off"}}


def test_the_screen_is_kept_as_the_profile_says(attached, link_to) -> None:
    attached.write(tables.WAKEFULNESS, "Awake\n")
    with link_to(attached, screen="off") as link:
        for _ in range(2):
            link._ready()
            assert link.state().readings["screen"] == "asleep"
        attached.write(tables.WAKEFULNESS, "Awake\n")  # somebody looks at it
        link._ready()
    assert attached.read(tables.KEYS).split() == ["Asleep", "Asleep", "Awake"]
    assert attached.read(tables.WAKEFULNESS) == "Awake\n"
    with link_to(attached, screen="on") as link:
        link._ready()
        link.state()
        assert "screen_on" not in codes_of(link)
    assert attached.read(tables.KEYS).split() == ["Asleep", "Asleep", "Awake"]


def test_a_screen_that_stays_off_is_told_of(attached, link_to) -> None:
    attached.write(tables.LOCKED, "")
    with link_to(attached, screen="on") as link:
        link._ready()
        (told,) = [one for one in link.findings() if one.code == "screen_not_set"]
        assert told.values == {"wanted": "on"}


def test_a_phone_in_the_network_may_fall_asleep(attached, link_to) -> None:
    def told() -> bool:
        with link_to(attached) as link:
            link.state()
            return "may_sleep" in codes_of(link)

    assert not told()  # it is plugged in
    battery = attached.read(tables.BATTERY)
    attached.write(tables.BATTERY, re.sub("powered: true", "powered: false", battery))
    assert told()
    attached.write(tables.WAKEFULNESS, "Awake\n")
    assert not told()


def test_a_mode_that_there_is_not() -> None:
    with pytest.raises(UsageError, match="mode cannot be 'maybe'") as caught:
        links.get(devices.get("pixel4"), {"fixed_performance": "maybe"})
    assert "MVDEPLOY_FIXED_PERFORMANCE" in caught.value.remedy


def test_a_mode_that_was_not_answered_for_is_not_known(attached, link_to) -> None:
    attached.hang("cmd power")
    with link_to(attached) as link:
        assert link.state().readings["fixed_performance"] == "unavailable"
        attached.hang()


def test_a_mode_that_another_run_uses_stays_on(attached, link_to) -> None:
    other = attached.tmp / "mvdeploy" / "run-0a0b0c0d"
    other.mkdir(parents=True)
    (other / "owner").write_text("system=another\nprocess=1 1\nwho=process 1 on another\n")
    (other / "mode").touch()
    with link_to(attached):
        pass
    assert attached.fixed_performance_calls == ["true"]
    with link_to(attached, fixed_performance=False) as link:
        assert link.state().readings["fixed_performance"] == "unavailable"
    assert attached.fixed_performance_calls == ["true"]
    assert other.is_dir()


SETTASKPROFILE = """
echo "$2 $(readlink /proc/$1/cwd)" >>/data/local/tmp/profiles
"""


def test_the_runner_is_boosted(attached, options) -> None:
    attached.set_program("settaskprofile", SETTASKPROFILE)
    with AdbLink(profile_of(attached), {**options, "boost": "1"}, lambda _: None) as link:
        assert link.state().readings["task_profile"] == "MaxPerformance"
        assert {"boost"} == codes_of(link) & {"boost", "no_boost"}
        kit = link._kit_folder
        with pytest.raises(RunnerFailed):
            link.run(any_job(), LIMIT_S)
    called = (attached.tmp / "profiles").read_text().splitlines()
    assert f"MaxPerformance {kit}" in called
    assert all(line.startswith("MaxPerformance /") for line in called)
    with AdbLink(profile_of(attached), options, lambda _: None) as link:
        assert link.state().readings["task_profile"] == "none"
    assert (attached.tmp / "profiles").read_text().splitlines() == called


def test_what_is_there_is_not_sent_again(attached, exports, link_to) -> None:
    with link_to(attached, keep="1") as link:
        link.upload((exports["onnx"],))
    pushed = [line for line in attached.log if line.startswith("push")]
    assert any("libonnxruntime.so" in line for line in pushed)
    assert any(".onnx" in line for line in pushed)
    with link_to(attached, keep="1") as link:
        link.upload((exports["onnx"],))
    assert [line for line in attached.log if line.startswith("push")] == pushed
    with link_to(attached):
        pass
    assert_nothing_left(attached)


def test_what_arrived_damaged_is_sent_again(attached, link_to) -> None:
    with link_to(attached, keep="1"):
        pass
    (runner,) = attached.tmp.rglob("mvdeploy-runner")
    runner.chmod(0o755)
    runner.write_bytes(b"something else")
    with link_to(attached, keep="1") as link:
        assert json.loads(link.call_runner("--hello").out)["architecture"] == "aarch64"
    assert runner.stat().st_size > 1000


def test_the_checksums_of_an_older_phone_are_asked_for_elsewhere(attached, link_to) -> None:
    attached.set_program("sha256sum")
    attached.set_program("toybox", f'shift; exec {tables.real("sha256sum")} "$@"')
    with link_to(attached, keep="1") as link:
        assert "no_checksums" not in codes_of(link)
    pushed = [line for line in attached.log if line.startswith("push")]
    with link_to(attached, keep="1"):
        pass
    assert [line for line in attached.log if line.startswith("push")] == pushed


# What a phone is called

WIRELESS = "adb-R58M1234567-AbCdEf (2)._adb-tls-connect._tcp"

RENAMING = """#!/bin/sh
# adb as it is with a phone that was found by wireless debugging
for word; do
  shift
  [ "$word" = '{serial}' ] && word='{address}'
  set -- "$@" "$word"
done
case "$1" in
devices) '{adb}' "$@" | sed 's/{address} */{serial} /' ;;
*) exec '{adb}' "$@" ;;
esac
"""


@pytest.fixture
def wireless(attached: Phone, tmp_path: Path) -> str:
    """An adb that knows the phone by a serial with a space and brackets."""
    program = tmp_path / "renaming" / "adb"
    program.parent.mkdir()
    adb = shutil.which("adb")
    program.write_text(RENAMING.format(serial=WIRELESS, address=attached.address, adb=adb))
    program.chmod(0o755)
    return str(program)


def test_a_phone_of_wireless_debugging(attached, wireless, options) -> None:
    given = {**options, "adb": wireless}
    assert [one.address for one in links.attached(given)] == [WIRELESS]
    profile = links.profile(WIRELESS, options=given)
    assert (profile.name, profile.address) == ("pixel4", WIRELESS)
    with AdbLink(profile, given) as link:
        assert link.call_runner("--hello").status == 0
        assert link.lock_key() == f"adb {WIRELESS}"
        DeviceLock("It").take(link.lock_key())
        link.emulated = False
        assert link.lock_key() == f"adb {attached.properties['ro.serialno']}"
    assert_nothing_left(attached)
    checks = links.doctor(profile, given)
    assert {check.state for check in checks} == {State.MET}


def test_a_phone_of_wireless_debugging_without_a_profile(attached, wireless) -> None:
    attached.properties["ro.product.device"] = "caiman"
    attached.properties["ro.product.model"] = "Pixel 9 Pro"
    given = {"adb": wireless}
    profile = links.profile(WIRELESS, options=given)
    assert (profile.title, profile.address) == ("Google Pixel 9 Pro", WIRELESS)
    (typed,) = shlex.split(links.typed(profile))
    assert links.profile(typed, options=given) == profile


def test_a_serial_is_advised_as_it_can_be_typed(attached, wireless) -> None:
    with pytest.raises(DeviceUnavailable) as caught:
        AdbLink(devices.get("pixel6"), {"adb": wireless}).open()
    words = shlex.split(caught.value.remedy.rstrip("."))
    assert words[-2:] == ["--device", WIRELESS]


def test_a_serial_stands_for_the_phone(attached) -> None:
    profile = links.profile(attached.serial)
    assert (profile.name, profile.address) == ("pixel4", attached.serial)


def test_a_phone_without_a_profile_is_described_by_what_it_says(attached, options) -> None:
    attached.properties["ro.product.device"] = "caiman"
    attached.properties["ro.product.model"] = "Pixel 9 Pro"
    profile = links.profile(attached.serial)
    assert profile.title == "Google Pixel 9 Pro"
    assert profile.cores == (4, 5, 6, 7)
    with AdbLink(profile, options) as link:
        assert link.identity()["machine"] == "Google Pixel 9 Pro"


def test_a_phone_is_locked_by_its_serial_number(attached, link_to) -> None:
    reached: list[str] = []
    link = link_to(attached)
    link.on_reached = reached.append
    with link:
        assert reached == [link.lock_key()] == [f"adb {attached.serial}"]
        link.emulated = False  # a real one has its own number, at a cable and in the network
        assert link.lock_key() == f"adb {attached.properties['ro.serialno']}"


def test_a_phone_that_is_taken_is_not_touched(attached, link_to) -> None:
    def refuse(_key: str) -> None:
        raise DeviceUnavailable("Another run measures on it.", "Wait.")

    link = link_to(attached)
    link.on_reached = refuse
    with pytest.raises(DeviceUnavailable, match="Another run"):
        link.open()
    assert not any(line.startswith("push") for line in attached.log)
    assert attached.fixed_performance_calls == []
    assert_nothing_left(attached)


def test_a_serial_that_is_not_there(attached) -> None:
    with pytest.raises(UsageError, match=r"There is no device '127\.0\.0\.1:1'"):
        links.profile("127.0.0.1:1")


def test_a_serial_of_a_phone_that_is_not_ready(phone, adb_server) -> None:
    phone.fault(unauthorized=True)
    adb_server.run("connect", phone.address)
    with pytest.raises(DeviceUnavailable, match="does not trust this computer"):
        links.profile(phone.address)


def test_another_phone_is_not_taken_for_the_one_asked_for(attached, link_to) -> None:
    attached.properties["ro.product.device"] = "oriole"
    with pytest.raises(DeviceUnavailable, match="None of the attached phones is a Pixel 4"):
        link_to(attached, address="").open()


def test_a_phone_that_cannot_be_asked_may_be_the_one(
    attached, make_phone: MakePhone, adb_server, link_to
) -> None:
    attached.properties["ro.product.device"] = "oriole"
    other = make_phone()
    other.fault(unauthorized=True)
    adb_server.run("connect", other.address)
    with pytest.raises(DeviceUnavailable, match=r"\(unauthorized\) cannot be asked") as caught:
        link_to(attached, address="").open()
    assert "Allow USB debugging" in caught.value.remedy
    assert f"--device {attached.address}" in caught.value.remedy


def test_a_phone_of_another_architecture(attached, link_to) -> None:
    attached.properties["ro.product.cpu.abi"] = "armeabi-v7a"
    with pytest.raises(DeviceUnavailable, match="runs programs for armeabi-v7a"):
        link_to(attached).open()


def test_without_a_kit_it_is_said_how_to_get_one(attached, monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(KitMissing) as caught:
        AdbLink(profile_of(attached)).open()
    # It was chosen by its address: there may be others of that name.
    assert f"mvdeploy devices setup {attached.address}'" in caught.value.remedy


# What goes wrong. docs/devices.md lists these.


def test_fault_no_phone(adb_server) -> None:
    with pytest.raises(DeviceUnavailable, match="No phone is attached") as caught:
        AdbLink(devices.get("pixel4")).open()
    assert caught.value.exit_code == 3


def test_fault_unauthorized(phone, adb_server, link_to) -> None:
    phone.fault(unauthorized=True)
    adb_server.run("connect", phone.address)
    with pytest.raises(DeviceUnavailable, match="does not trust this computer") as caught:
        link_to(phone, address="").open()
    assert "Allow USB debugging" in caught.value.remedy


def test_fault_offline(phone, adb_server, link_to) -> None:
    phone.fault(offline=True)
    adb_server.connect_in_vain(phone.address, "offline")
    with pytest.raises(DeviceUnavailable, match="offline"):
        link_to(phone, address="").open()


def test_fault_two_devices(attached, make_phone: MakePhone, adb_server, link_to) -> None:
    other = make_phone()
    adb_server.run("connect", other.address)
    with pytest.raises(DeviceUnavailable, match="More than one Pixel 4 is attached") as caught:
        link_to(attached, address="").open()
    assert "--device" in caught.value.remedy
    with link_to(other) as link:
        assert link.shell.serial == other.address


def test_fault_cut_during_push(attached, link_to) -> None:
    attached.fault(cut_push_after=3_000_000)
    with pytest.raises(DeviceUnavailable):
        link_to(attached).open()
    assert_nothing_runs(attached)
    attached.fault()
    with link_to(attached) as link:  # what was left is taken up, and removed in the end
        assert link.call_runner("--hello").status == 0
    assert_nothing_left(attached)


@pytest.mark.slow
def test_fault_cut_during_run(attached, exports, tmp_path, link_to) -> None:
    link = link_to(attached)
    with link:
        job = job_for(link, exports["onnx"], tmp_path, count=2000)

        def on_event(event: dict) -> None:
            if event["event"] == "warmup":
                attached.fault(stay_away=True)
                attached.cut()

        with pytest.raises(
            DeviceUnavailable, match=r"lost|not attached|gone|no longer|does not answer"
        ):
            link.run(job, LIMIT_S, on_event)
    (left,) = (f for f in link.findings() if f.code == "left_behind")
    assert left.level is Level.WARNING
    assert "/data/local/tmp/mvdeploy" in str(left.values["folder"])


def test_fault_full_disk(attached, link_to) -> None:
    attached.fault(full_after=5_000_000)
    with pytest.raises(DeviceUnavailable, match="has no room for") as caught:
        link_to(attached).open()
    assert "Free space" in caught.value.remedy
    assert_nothing_left(attached)


@pytest.mark.slow
def test_fault_mode_left_on(attached, exports, tmp_path, link_to, adb_server) -> None:
    link = link_to(attached)
    with link:
        attached.unplug()
    assert {"left_behind", "mode_not_restored"} <= codes_of(link)
    assert attached.fixed_performance_calls == ["true"]
    attached.plug()
    adb_server.run("disconnect", attached.address)
    adb_server.run("connect", attached.address)
    with link_to(attached, fixed_performance=False) as link:
        assert {"mode_restored", "leftovers_removed"} <= codes_of(link)
    assert attached.fixed_performance_calls == ["true", "false"]
    assert_nothing_left(attached)


def test_a_mode_that_ended_with_a_restart_is_nobodys(attached, link_to) -> None:
    """Only what mvdeploy has switched on is switched off."""
    old = attached.tmp / "mvdeploy" / "run-0a0b0c0d"
    old.mkdir(parents=True)
    (old / "mode").write_text("an earlier start\n")
    os.utime(old, (0, 0))
    with link_to(attached, fixed_performance=False) as link:
        assert codes_of(link) == {"leftovers_removed"}
    assert attached.fixed_performance_calls == []


def restart(phone: Phone) -> None:
    """Have the mode marked by an earlier start than this one."""
    (mark,) = phone.tmp.glob("mvdeploy/run-*/mode")
    mark.write_text("an earlier start\n")


def test_a_mode_that_a_restart_has_ended_is_set_again_once(attached, link_to) -> None:
    with link_to(attached) as link:
        link.again()  # only the cable was out
        assert attached.fixed_performance_calls == ["true"]
        restart(attached)
        attached.properties["sys.boot_completed"] = "0"
        for _ in range(2):
            with pytest.raises(DeviceUnavailable, match="has not finished starting"):
                link.again()
        assert attached.fixed_performance_calls == ["true"]
        attached.properties["sys.boot_completed"] = "1"
        link.again()
        link.again()
        assert attached.fixed_performance_calls == ["true", "true"]
        assert link.state().readings["fixed_performance"] == "on"
        assert "mode_lost" not in codes_of(link)
    assert attached.fixed_performance_calls == ["true", "true", "false"]
    assert_nothing_left(attached)


def test_a_mode_that_is_lost_with_a_restart_is_told(attached, link_to) -> None:
    with link_to(attached) as link:
        restart(attached)
        attached.deny_fixed_performance()
        link.again()
        assert "mode_lost" in codes_of(link)
        assert link.state().readings["fixed_performance"] == "off"
        assert not [*attached.tmp.glob("mvdeploy/run-*/mode")]


def test_a_mode_that_is_not_left_is_tried_again(attached, link_to) -> None:
    with link_to(attached) as link:
        attached.hang("cmd power")
    assert "mode_left_on" in codes_of(link)
    (left,) = attached.tmp.glob("mvdeploy/*")
    assert sorted(path.name for path in left.iterdir()) == ["mode", "owner"]
    with link_to(attached, fixed_performance=False) as link:
        assert "mode_left_on" in codes_of(link)
        attached.hang()
    assert left.is_dir()
    with link_to(attached, fixed_performance=False) as link:
        assert "mode_restored" in codes_of(link)
    assert attached.fixed_performance_calls == ["true", "false"]
    assert_nothing_left(attached)


# A run that measures, in a process of its own, until its input ends.
RUN = """
import dataclasses, sys
from mvdeploy import devices
from mvdeploy.links.families.adb import AdbLink
profile = dataclasses.replace(devices.get("pixel4"), address=sys.argv[1])
with AdbLink(profile, {"kit": sys.argv[2], "keep_on_device": "1"}):
    print("open", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def other(attached: Phone, aarch64_kit: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A run on the phone in a process of its own."""
    with subprocess.Popen(
        [sys.executable, "-c", RUN, attached.address, str(aarch64_kit)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(mvdeploy.__file__).parents[1])},
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"open\n"
        yield process
        process.kill()


@pytest.fixture
def killed(attached: Phone, other: subprocess.Popen[bytes]) -> None:
    """A run on the phone that was killed."""
    other.kill()
    other.wait()
    assert_nothing_runs(attached)
    until = time.monotonic() + WAIT_S
    while attached.processes() and time.monotonic() < until:
        time.sleep(0.05)


def test_fault_run_killed(attached, killed, link_to) -> None:
    assert len(list(attached.tmp.glob("mvdeploy/run-*"))) == 1
    with link_to(attached, fixed_performance=False) as link:
        found = {finding.code: finding for finding in link.findings()}
        (own,) = attached.tmp.glob("mvdeploy/run-*")
        assert own.name == Path(link.scratch()).name
    assert found["leftovers_removed"].level is found["mode_restored"].level is Level.NOTE
    assert found["leftovers_removed"].values["runs"] == 1
    assert attached.fixed_performance_calls == ["true", "false"]
    assert_nothing_left(attached)


def test_a_run_beside_another_leaves_what_is_its(attached, other, link_to) -> None:
    (its,) = attached.tmp.glob("mvdeploy/run-*")
    with link_to(attached) as link:
        (shared,) = (f for f in link.findings() if f.code == "shared_device")
        assert str(shared.values["who"]).startswith(f"process {other.pid} on ")
        assert "leftovers_removed" not in codes_of(link)
    assert its.is_dir()
    assert list(attached.tmp.glob("mvdeploy/kit-*/mvdeploy-runner"))
    assert attached.fixed_performance_calls == ["true", "true"]  # the other has it on
    assert other.stdin is not None
    other.stdin.close()
    assert other.wait(WAIT_S) == 0
    assert attached.fixed_performance_calls == ["true", "true", "false"]


def test_the_doctor_puts_right_what_a_killed_run_has_left(attached, killed, options) -> None:
    checks = {check.name: check for check in links.doctor(profile_of(attached), options)}
    assert "MB of runs that have ended were removed" in checks["device"].found
    assert "fixed-performance mode, left on by one, was switched off" in checks["device"].found
    assert {check.state for check in checks.values()} == {State.MET}
    assert attached.fixed_performance_calls == ["true", "false"]
    assert_nothing_left(attached)


def test_fault_files_of_root_in_the_end(attached, link_to, options) -> None:
    link = link_to(attached)
    with link:
        (kit,) = attached.tmp.glob("mvdeploy/kit-*")
        kit.chmod(0o555)
    try:
        (found,) = (f for f in link.findings() if f.code == "not_removed")
        checks = links.doctor(profile_of(attached), options)
    finally:
        kit.chmod(0o755)
    assert found.level is Level.WARNING
    there = f"/data/local/tmp/mvdeploy/{kit.name}"
    assert str(found.values["reason"]).startswith(f"{there} on Pixel 4 belongs to root")
    assert (checks[-1].name, checks[-1].state) == ("left as it was", State.MISSING)
    assert f"{there} on Pixel 4 belongs to root" in checks[-1].found
    assert checks[-1].remedy.startswith(f"Use 'mvdeploy devices clean {attached.address}'")


def test_fault_no_boost(attached, options) -> None:
    with AdbLink(profile_of(attached), {**options, "boost": "1"}, lambda _: None) as link:
        (none,) = (f for f in link.findings() if f.code == "no_boost")
        assert link.state().readings["task_profile"] == "none"
        assert link.call_runner("--hello").status == 0
    assert none.level is Level.WARNING
    assert none.values["reason"] == "the system has no program settaskprofile"
    attached.set_program("settaskprofile", "echo 'Failed to set task profile' >&2; exit 255")
    with AdbLink(profile_of(attached), {**options, "boost": "1"}, lambda _: None) as link:
        (none,) = (f for f in link.findings() if f.code == "no_boost")
    assert none.values["reason"] == "settaskprofile says: Failed to set task profile"


@pytest.mark.slow
def test_fault_runner_segfault(shared_link, shared_phone, exports, tmp_path) -> None:
    link, attached = shared_link, shared_phone

    def on_event(event: dict) -> None:
        if event["event"] == "warmup":
            runner_of(attached).send_signal(signal.SIGSEGV)

    with pytest.raises(RunnerFailed, match="killed by SIGSEGV while running inference"):
        link.run(job_for(link, exports["onnx"], tmp_path, count=2000), LIMIT_S, on_event)
    assert_nothing_runs(attached)
    assert len(link.run(job_for(link, exports["onnx"], tmp_path), LIMIT_S).samples) == 3


@pytest.mark.slow
def test_fault_runner_hang(shared_link, shared_phone, exports, tmp_path) -> None:
    link, attached = shared_link, shared_phone

    def on_event(event: dict) -> None:
        if event["event"] == "loaded":
            runner_of(attached).suspend()

    with pytest.raises(RunnerFailed, match="did not finish within 5 s"):
        link.run(job_for(link, exports["onnx"], tmp_path, count=2000), 5.0, on_event)
    assert_nothing_runs(attached)


@pytest.mark.slow
def test_fault_core_off(
    make_phone: MakePhone, adb_server: AdbServer, link_to, exports, tmp_path
) -> None:
    phone = make_phone(off=(7,))
    adb_server.run("connect", phone.address)
    with link_to(phone) as link:
        for _ in range(2):
            result = link.run(job_for(link, exports["onnx"], tmp_path), LIMIT_S)
            assert result.hello["cores"] == [4, 5, 6]
        (moved,) = [one for one in link.findings() if one.code == "cores_refused"]
        assert moved.values["cores"] == "4, 5, 6, 7"
        assert moved.values["used"] == "4, 5, 6"
        asked = dataclasses.replace(job_for(link, exports["onnx"], tmp_path), cores=(6, 7))
        with pytest.raises(RunnerFailed, match="cannot be bound to the cores 6, 7"):
            link.run(asked, LIMIT_S)


def test_fault_programs_not_run(make_phone: MakePhone, adb_server, options, link_to) -> None:
    phone = make_phone(noexec=True)
    adb_server.run("connect", phone.address)
    with link_to(phone) as link, pytest.raises(DeviceUnavailable) as caught:
        link.run(any_job(), LIMIT_S)
    assert "does not let the runner in /data/local/tmp/mvdeploy/kit-" in caught.value.message
    assert "exit status 126: " in caught.value.message
    assert "Permission denied" in caught.value.message
    assert "noexec" in caught.value.remedy
    (check,) = (p for p in links.doctor(profile_of(phone), options) if p.state is State.MISSING)
    assert check.name == "programs run"
    assert "does not let" in check.found and "noexec" in check.remedy
    assert_nothing_left(phone)


@pytest.mark.parametrize(
    ("lost", "says"), [("ld-linux-aarch64.so.1", "not found"), ("libc.so.6", "libc.so.6: cannot")]
)
def test_fault_no_loader(link, attached, lost: str, says: str) -> None:
    (path,) = attached.tmp.rglob(lost)
    path.unlink()
    with pytest.raises(DeviceUnavailable) as caught:
        link.run(any_job(), LIMIT_S)
    assert "lacks the loader or a library of the runner in" in caught.value.message
    assert "exit status 127: " in caught.value.message and says in caught.value.message
    # The kit was given: one that is built would not be used.
    assert "--rebuild', and leave --kit out" in caught.value.remedy


def test_fault_no_checksums(attached, link_to) -> None:
    for name in ("sha256sum", "toybox"):
        attached.set_program(name)
    with link_to(attached, keep="1") as link:
        assert "no_checksums" in codes_of(link)
    first = [line for line in attached.log if line.startswith("push")]
    with link_to(attached) as link:
        assert link.call_runner("--hello").status == 0
    assert [line for line in attached.log if line.startswith("push")] == first * 2
    attached.set_program("wc", "echo 12")
    with pytest.raises(DeviceUnavailable, match="did not arrive whole"):
        link_to(attached).open()


@pytest.mark.parametrize("below", ["", "files", "kit"])
def test_fault_folder_of_root(attached, link_to, below: str) -> None:
    with link_to(attached, keep="1"):
        pass
    (kit,) = attached.tmp.glob("mvdeploy/kit-*")
    folder = {"": kit.parent, "files": kit.parent / "files", "kit": kit}[below]
    folder.mkdir(exist_ok=True)
    (folder / "kept").touch()
    (kit / "mvdeploy-runner").unlink()
    folder.chmod(0o555)
    try:
        with pytest.raises(DeviceUnavailable) as caught, link_to(attached) as link:
            link.upload((Path(__file__),))
    finally:
        folder.chmod(0o755)
    there = f"/data/local/tmp/{folder.relative_to(attached.tmp)}"
    assert caught.value.message.startswith(f"{there} on Pixel 4 belongs to root, and adb's user")
    assert f"`adb -s {attached.serial} shell 'rm -rf {there}'`" in caught.value.remedy
    assert caught.value.exit_code == 3


def test_fault_hot_phone(attached, exports, tmp_path, link_to) -> None:
    attached.heat(45.0, status=3)
    waits: list[float] = []
    with link_to(attached, waits.append) as link:
        link._ready()
        (hot,) = (f for f in link.findings() if f.code == "hot")
    assert waits == [1.0, 1.0, 1.0]
    assert hot.level is Level.ERROR
    assert hot.values == {"status": "severe", "skin": "45 °C", "waited_s": 3.0}


def test_a_phone_that_cools_down_is_waited_for(attached, link_to) -> None:
    attached.heat(45.0, status=1, cooling=5.0)
    waits: list[float] = []
    with link_to(attached, waits.append) as link:
        link._ready()
        codes = {f.code for f in link.findings()}
    assert waits and "cooled_down" in codes and "hot" not in codes


def test_fault_hanging_service(attached, link_to) -> None:
    attached.hang("dumpsys thermalservice", "dumpsys battery")
    waits: list[float] = []
    with link_to(attached, waits.append) as link:
        link._ready()
        readings = link.state().readings
    assert waits == []
    assert readings["thermal_status"] == readings["battery_percent"] == "unavailable"
    assert readings["screen"] == "asleep"


def test_fault_set_by_hand(attached, link_to) -> None:
    attached.override_status(4)
    attached.set_battery(100, powered=False, by_hand=True)
    waits: list[float] = []
    with link_to(attached, waits.append) as link:
        link._ready()
        readings = link.state().readings
    found = {finding.code: finding.level for finding in link.findings()}
    assert waits == [] and "hot" not in found
    assert found["heat_by_hand"] is found["battery_by_hand"] is Level.WARNING
    for name in ("thermal_status", "battery_percent", "battery_plugged", "battery_c"):
        assert readings[name] == "unavailable", name
    assert readings["skin_c"] == 30.2


def test_fault_impossible_temperature(attached, link_to) -> None:
    attached.set_sensor("stuck-therm", android.SKIN, 850.0, status=6)
    attached.set_sensor("soc", 8, 99.0)
    waits: list[float] = []
    with link_to(attached, waits.append) as link:
        link._ready()
        (impossible,) = (f for f in link.findings() if f.code == "impossible_heat")
        readings = link.state().readings
    assert waits == []
    assert impossible.level is Level.WARNING
    assert impossible.values == {"sensors": "stuck-therm=850 °C"}
    assert readings["skin_c"] == 30.2
    assert not {"soc=99", "stuck-therm=850"} & {*readings["temperatures_c"]}


def test_fault_another_phone(link, attached, adb_server) -> None:
    attached.fault(become={"ro.serialno": "OTHER", "ro.product.model": "Pixel 4a"})
    attached.cut()
    adb_server.run("disconnect", attached.address)
    adb_server.run("connect", attached.address)
    with pytest.raises(DeviceUnavailable, match="Another phone answers"):
        link._ready()


@pytest.mark.slow
def test_an_interrupted_run_leaves_nothing(link, attached, exports, tmp_path) -> None:
    def on_event(event: dict) -> None:
        if event["event"] == "warmup":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        link.run(job_for(link, exports["onnx"], tmp_path, count=2000), LIMIT_S, on_event)
    assert_nothing_runs(attached)
    link.close()
    assert_nothing_left(attached)


@pytest.mark.slow
def test_a_damaged_model_is_refused_by_the_runner(shared_link, exports, tmp_path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(exports["onnx"].read_bytes()[:-100])
    shutil.copyfile(f"{exports['onnx']}.json", f"{broken}.json")
    with pytest.raises(RunnerFailed, match="could not load"):
        shared_link.run(job_for(shared_link, broken, tmp_path), LIMIT_S)


def test_a_file_that_is_not_there(shared_link) -> None:
    with pytest.raises(EngineError, match="has no file"):
        shared_link.fetch("/data/local/tmp/nothing", Path("nothing"))


# A program of the user's

OWN = """#!/system/bin/sh
echo "$@" >>/data/local/tmp/arguments
: >model.etdump || exit 9
for word in "$@"; do
  case "$word" in
    --num_executions=*) count=${word#*=} ;;
    --etdump_path=*) echo profile >"${word#*=}" ;;
  esac
done
echo "I 00:00:00 executorch:executor_runner.cpp:1] Model loaded in 1.500000 ms." >&2
i=1
while [ $i -le $count ]; do
  echo "I 00:00:00 executorch:executor_runner.cpp:2] Iteration $i of $count: 2.$i ms" >&2
  i=$((i + 1))
done
"""


@pytest.fixture
def own(shared_phone: Phone, tmp_path: Path) -> Callable[[str], AdbLink]:
    """Return a function that makes a link with a program of the user's."""

    def make(text: str) -> AdbLink:
        program = tmp_path / "executor runner"
        program.write_text(text)
        return AdbLink(profile_of(shared_phone), {"runner": str(program)}, lambda _: None)

    return make


def test_a_runner_of_the_user_is_used(own, shared_phone, exports, tmp_path) -> None:
    with own(OWN) as link:
        folder = link.scratch()
        job = job_for(link, exports["executorch"], tmp_path, profile_to=f"{link.scratch()}/profile")
        result = link.run(job, LIMIT_S)
        assert result.hello["runner"] == "executor_runner"
        assert result.models[0].load_ns == 1_500_000
        assert result.models[0].first.wall_ns == (2_100_000,)
        assert result.models[0].warmup.wall_ns == (2_200_000,)
        assert result.samples.wall_ns == (2_300_000, 2_400_000, 2_500_000)
        link.fetch(result.models[0].profile or "", tmp_path / "profile")
        assert "own_runner" in {finding.code for finding in link.findings()}
    arguments = (shared_phone.tmp / "arguments").read_text().split()
    assert "--num_executions=5" in arguments and "--cpu_threads=2" in arguments
    assert_nothing_runs(shared_phone)
    assert not (shared_phone.root / folder[1:]).exists()


def test_fault_lines_lost_in_the_log(own, shared_phone, exports, tmp_path) -> None:
    """Eight of ten times are kept: it is run again for fewer at a time."""
    log = shared_phone.tmp / "logged"
    with own(OWN.replace(">&2", ">>/data/local/tmp/logged")) as link:
        job = job_for(link, exports["executorch"], tmp_path)
        job = dataclasses.replace(job, order=(0,) * 8)
        result = link.run(job, LIMIT_S)
        (lost,) = [one for one in link.findings() if one.code == "runner_times_lost"]
        assert dict(lost.values) == {"total": 10, "told": 8, "runs": 2}
    log.unlink()
    assert result.samples.wall_ns == tuple(2_000_000 + 100_000 * n for n in (3, 4, 5, 6) * 2)
    assert result.models[0].load_ns == 1_500_000  # of the last run


def test_a_runner_of_the_user_runs_no_other_engine(own, exports, tmp_path) -> None:
    with own(OWN) as link, pytest.raises(EngineError, match="runs ExecuTorch, not onnxruntime"):
        link.run(job_for(link, exports["onnx"], tmp_path), LIMIT_S)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("#!/system/bin/sh\necho 'E method load failed' >&2; exit 3", "exit status 3: E method"),
        ("#!/system/bin/sh\nkill -SEGV $$", "exit status -11"),
        ("#!/system/bin/sh\necho fine", "told 0 times for 5 inferences"),
        ("#!/system/bin/sh\nexec sleep 60", "did not finish within 3 s"),
    ],
)
def test_a_runner_of_the_user_that_fails(
    own, shared_phone, exports, tmp_path, text, reason
) -> None:
    with own(text) as link, pytest.raises(EngineError, match=reason):
        folder = link.scratch()
        link.run(job_for(link, exports["executorch"], tmp_path), 3.0)
    assert_nothing_runs(shared_phone)
    assert not (shared_phone.root / folder[1:]).exists()


# The doctor


def test_the_doctor_goes_through_all_of_it(attached, options) -> None:
    checks = links.doctor(profile_of(attached), options)
    assert [check.name for check in checks] == [
        *("adb", "adb server", "device", "architecture", "storage"),
        *("runner kit", "programs run", "engines load", "clocks"),
    ]
    assert {check.state for check in checks} == {State.MET}
    assert not any(check.remedy for check in checks)
    assert_nothing_left(attached)


def test_the_doctor_stops_at_what_is_missing(adb_server) -> None:
    checks = links.doctor(devices.get("pixel4"))
    states = [check.state for check in checks]
    assert states == [State.MET, State.MET, State.MISSING] + [State.UNKNOWN] * 6
    assert [bool(check.remedy) for check in checks] == [s is State.MISSING for s in states]


def test_a_phone_that_denies_its_clocks_is_still_measured(attached, options) -> None:
    for path in (attached.root / "sys").rglob("scaling_max_freq"):
        path.unlink()
    (clocks,) = (p for p in links.doctor(profile_of(attached), options) if p.name == "clocks")
    assert clocks.state is State.UNKNOWN


def test_every_fault_is_in_the_table_and_the_other_way_round() -> None:
    document = (Path(__file__).parents[2] / "docs" / "devices.md").read_text()
    listed = set(re.findall(r"`(test_fault_\w+)`", document))
    assert listed == {name for name in globals() if name.startswith("test_fault_")}
