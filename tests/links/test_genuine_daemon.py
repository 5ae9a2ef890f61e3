"""A phone with the genuine adbd, mksh and toybox: what works there, and faults where these count.

The daemon is one for all tests, and what is sent to it stays there until the last of them: every
test leaves the phone as it was.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import re
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
from click.testing import CliRunner

from mvdeploy import devices, links
from mvdeploy.cli.commands import bench as bench_cli
from mvdeploy.errors import DeviceUnavailable, EngineError
from mvdeploy.links import RunnerFailed, State
from mvdeploy.links import gather as links_gather
from mvdeploy.links.families.adb import AdbLink
from mvdeploy.links.families.adb.shell import AdbShell
from mvdeploy.links.shell import quote
from mvdeploy.pipeline import report
from mvdeploy.records import UNAVAILABLE, CoolDown, DeviceProfile, Job, JobModel, Level, Warmup
from mvdeploy.records.run import load_run
from tests.android import packages, tables
from tests.android.fixtures import demand, demand_phones
from tests.android.genuine import (
    GenuinePhone,
    android_programs,
    genuine_phone,
    genuine_server,
)
from tests.android.genuine_system import NOEXEC, SMALL
from tests.android.kit import yardsticks
from tests.android.phone import REPOSITORY, Phone
from tests.android.server import AdbServer
from tests.runners.native_kit import host_kit

__all__ = ["android_programs", "genuine_phone", "genuine_server", "host_kit", "yardsticks"]

LIMIT_S = 60.0
WAIT_S = 20.0
QUICK = CoolDown(limit_s=3.0, poll_s=1.0)
ENGINES = {"onnx": "onnxruntime", "executorch": "executorch"}
TMP = "/data/local/tmp"


def profile_of(phone: GenuinePhone) -> DeviceProfile:
    return dataclasses.replace(
        devices.get("pixel4"),
        address=phone.address,
        cool_down=QUICK,
        cores=phone.cores[:1],
        clusters=(),
    )


@pytest.fixture
def link_to(genuine_phone: GenuinePhone, host_kit: Path) -> Callable[..., AdbLink]:
    """Return a function that makes a link to the phone, which leaves the kit there."""

    def make(sleep: Callable[[float], None] = lambda _: None, **options: str) -> AdbLink:
        given = {"kit": str(host_kit), "keep_on_device": "1", **options}
        return AdbLink(profile_of(genuine_phone), given, sleep)

    return make


@pytest.fixture
def link(link_to: Callable[..., AdbLink]) -> Iterator[AdbLink]:
    with link_to() as link:
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
    warmup = Warmup(iterations=1)
    return Job((model,), (0,) * count, threads=1, warmup=warmup, cores=link.profile.cores)


def any_job() -> Job:
    """Return a job for a runner that is not to come so far as to look for its files."""
    model = JobModel("onnxruntime", "/nothing.onnx", "0" * 64, {"x": "/nothing.npy"})
    return Job((model,), (0,), threads=1, warmup=Warmup(iterations=1))


def codes_of(link: AdbLink) -> set[str]:
    return {finding.code for finding in link.findings()}


def runners(phone: GenuinePhone) -> list[psutil.Process]:
    found = []
    for process in phone.running():
        with contextlib.suppress(psutil.NoSuchProcess):
            if "./mvdeploy-runner" in process.cmdline():
                found.append(process)
    return found


def assert_runner_is_gone(phone: GenuinePhone) -> None:
    assert eventually(lambda: not runners(phone))


def assert_nothing_runs(phone: GenuinePhone) -> None:
    assert eventually(lambda: not phone.processes()), phone.processes()


def eventually(holds: Callable[[], bool]) -> bool:
    until = time.monotonic() + WAIT_S
    while not holds():
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True


def forget(phone: GenuinePhone) -> None:
    """Remove all that was sent, also what a run that was cut has left."""
    shutil.rmtree(phone.tmp / "mvdeploy", ignore_errors=True)


def connect_again(server: AdbServer, phone: GenuinePhone) -> None:
    server.run("disconnect", phone.address)
    assert eventually(lambda: "connected to" in server.run("connect", phone.address))


# What works


def test_genuine_shell_and_programs(link: AdbLink, genuine_phone: GenuinePhone) -> None:
    shell = link.shell
    assert "MIRBSD KSH" in shell.call("echo $KSH_VERSION").out
    assert shell.call("readlink /bin/sha256sum").out.endswith("/toybox\n")
    assert "uid=2000(shell)" in shell.call("id").out
    assert shell.call("cat /proc/net/dev").out.count(":") == 1  # a network of a loopback alone
    answer = shell.call("echo out; echo err >&2; printf more; exit 7")
    assert (answer.status, answer.out, answer.error) == (7, "out\nmore", "err\n")
    assert shell.call("kill -SEGV $(exec sh -c 'echo $PPID')").status == 139


@pytest.mark.slow
def test_genuine_doctor(link_to, host_kit, genuine_phone: GenuinePhone) -> None:
    given = {"kit": str(host_kit), "keep_on_device": "1"}
    checks = links.doctor(profile_of(genuine_phone), given)
    assert {check.state for check in checks} == {State.MET}, checks
    storage = next(check for check in checks if check.name == "storage")
    assert re.fullmatch(rf"{TMP}, \d+\.\d GB free", storage.found)


@pytest.mark.slow
def test_genuine_run_as_it_is_typed(
    genuine_phone: GenuinePhone, yardsticks, host_kit, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setenv("MVDEPLOY_KIT", str(host_kit))
    arguments = [*map(str, yardsticks.values()), "--device", genuine_phone.address]
    few = ["--iterations", "4", "--sessions", "2", "--warmup", "1", "--threads", "1"]
    cores = ["--cores", str(genuine_phone.cores[0])]
    words = [*arguments, *few, *cores, "-o", str(tmp_path / "out")]
    done = CliRunner().invoke(bench_cli.command, words)
    assert done.exit_code == 0, done.output
    (folder,) = (tmp_path / "out").iterdir()
    saved = load_run(folder)
    assert {case.engine for case in saved.cases} == set(ENGINES.values())
    for case in saved.cases:
        assert case.failure is None and case.measurement is not None
        assert case.measurement.conditions["cores"] == (str(genuine_phone.cores[0]),)
        assert len(case.measurement.steady) == 4
        assert case.measurement.before.readings["thermal_status"] == "none"
        assert report.breakdowns(saved)[case.slug].attributed_share >= 0.95
    assert genuine_phone.processes() == [] and list(genuine_phone.tmp.iterdir()) == []
    assert genuine_phone.fixed_performance_calls[-2:] == ["true", "false"]


def test_genuine_condition(link: AdbLink, genuine_phone: GenuinePhone) -> None:
    readings = link.state().readings
    assert (readings["thermal_status"], readings["skin_c"]) == ("none", 30.2)
    assert (readings["battery_percent"], readings["screen"]) == (86, "asleep")
    assert readings["cpu_max_khz"] == ("2841600",) * (genuine_phone.cores[-1] + 1)
    assert readings["loadavg_1"] == UNAVAILABLE  # the phone denies it
    assert readings["memory_available_bytes"] == 2731548 * 1024
    assert isinstance(readings["context_switches"], int)
    assert set(map(str, genuine_phone.cores)) == set(readings["affinity"])
    assert link.identity()["machine"] == "Google Pixel 4"


def test_genuine_names_of_files(link: AdbLink, tmp_path: Path) -> None:
    shell, folder = link.shell, f"{TMP}/names"
    for name in ("with spaces", "a'b\"c", "$(touch owned)", "-rf", "line\nbreak", "ünï→code", "*"):
        local = tmp_path / "here"
        local.write_text(name)
        shell.push(local, f"{folder}/{name}/{name}")
        assert shell.call(f"cat -- {quote(f'{folder}/{name}/{name}')}").out == name
        shell.pull(f"{folder}/{name}/{name}", tmp_path / "back")
        assert (tmp_path / "back").read_text() == name
    assert shell.call(f"ls {folder} | wc -l").out.strip() == "8"  # one has two lines
    shell.call(f"rm -rf -- {folder}")
    assert not list(tmp_path.rglob("owned"))


@pytest.mark.parametrize("format_name", ENGINES)
def test_genuine_job_with_a_profile(link, yardsticks, tmp_path: Path, format_name: str) -> None:
    job = job_for(link, yardsticks[format_name], tmp_path, profile_to=f"{link.scratch()}/profile")
    result = link.run(job, LIMIT_S)
    assert len(result.samples) == 3
    assert result.hello["cores"] == list(link.profile.cores)
    link.fetch(result.models[0].profile, tmp_path / "profile")
    assert (tmp_path / "profile").stat().st_size > 100


def test_genuine_files_are_not_sent_again(link_to, genuine_phone: GenuinePhone) -> None:
    with link_to():
        pass
    files = {path: path.stat().st_ino for path in genuine_phone.tmp.rglob("kit-*/*")}
    (runner,) = genuine_phone.tmp.rglob("mvdeploy-runner")
    runner.write_bytes(b"something else")
    with link_to() as link:
        assert link.call_runner("--hello").status == 0
    changed = {path for path, before in files.items() if path.stat().st_ino != before}
    assert changed == {runner}


OWN = """#!/system/bin/sh
echo "$@" >arguments
taskset -p $$ >>arguments
for word in "$@"; do
  case "$word" in --num_executions=*) count=${word#*=} ;; esac
done
i=1
while [ $i -le $count ]; do
  echo "I 00:00:00 executorch:executor_runner.cpp:2] Iteration $i of $count: 2.$i ms" >&2
  i=$((i + 1))
done
cp arguments /data/local/tmp/arguments
"""


def test_genuine_runner_of_the_user(
    genuine_phone: GenuinePhone, link_to, yardsticks, tmp_path: Path
) -> None:
    program = tmp_path / "executor runner"
    program.write_text(OWN)
    with link_to(runner=str(program)) as link:
        result = link.run(job_for(link, yardsticks["executorch"], tmp_path), LIMIT_S)
    assert result.samples.wall_ns == (2_300_000, 2_400_000, 2_500_000)
    told = (genuine_phone.tmp / "arguments").read_text()
    (genuine_phone.tmp / "arguments").unlink()
    mask = 1 << genuine_phone.cores[0]
    assert re.search(rf"affinity mask: {mask:x}$", told, re.MULTILINE), told


# Is the stand-in, which the other tests of phones use, like it?

COMMANDS = (
    "umask; pwd; id -u; id -un",
    "env | sed 's/=.*//' | grep -v -e ADBD_PORT -e LD_LIBRARY_PATH -e QEMU_CPU | sort",
    "no_such_program",
    "./no_such_program; echo $?",
    "/data; echo $?",
    "cat /nowhere /proc/loadavg",
    "exec 1>&-; exit 5",
    "exit 300",
    "kill -9 $$",
    "kill -SEGV $$",
    "sleep 0.2 & echo at once",
    "cat; echo end",
    "echo 'a",
    "(",
    "printf '%s\\n' 'a\\tb'; echo 'a\\tb'",
    "seq 100000 | tail -c 20",
    "seq 3 | wc -c; wc -c </dev/null",
    "echo x | sha256sum; sha256sum -- /nowhere",
    "timeout -s KILL 0.2 sleep 5; echo $?",
    "taskset; taskset 0 true 2>/dev/null; echo $?",
    "cd /data/local/tmp/alike && stat -c '%s %a %Y %n' -- */* && stat -c '%a %n' -- .",
    "ls -d /data/local/run-*",
    "grep -H . /sys/devices/system/cpu/cpu0/cpufreq/scaling_governor",
    "[ -w /system ]; echo $?; touch /system/x; mkdir -p -- /system/x/y; mv -f -- /nowhere /x",
    "getprop ro.product.model; dumpsys battery; dumpsys power; dumpsys nothing; settings get a b",
    "dumpsys thermalservice; cmd power set-fixed-performance-mode-enabled false",
)


def test_genuine_and_stand_in_answer_alike(
    genuine_phone: GenuinePhone, genuine_server: AdbServer, tmp_path: Path
) -> None:
    demand_phones()
    for program in ("mksh", "toybox"):
        demand(f"the program {program}", shutil.which(program) is not None)
    file = tmp_path / "file"
    file.write_text("text")
    os.utime(file, (10**9, 10**9))
    with Phone(tmp_path / "phone") as stand_in:
        genuine_server.run("connect", stand_in.address)
        try:
            genuine = _answers(genuine_server, genuine_phone, file)
            differ = set(genuine.items()) ^ set(_answers(genuine_server, stand_in, file).items())
        finally:
            genuine_server.run("disconnect", stand_in.address)
            shutil.rmtree(genuine_phone.tmp / "alike")
    assert genuine["umask; pwd; id -u; id -un"] == (0, "000\n/\n2000\nshell\n")
    assert differ == set()


def _answers(server: AdbServer, phone: Phone, file: Path) -> dict[str, tuple[int, str]]:
    """Return exit status and words of each of the commands, and of adb when it sends a file."""

    def ask(*words: str) -> tuple[int, str]:
        done = subprocess.run(
            ["adb", "-s", phone.address, *words],
            env=server.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        said = re.sub(r"\d+\.\d MB/s \(.*\)", "", done.stdout + done.stderr)
        # Debian's adbd starts its shell by another name of the same file.
        return done.returncode, said.replace("/system/bin/sh", "/bin/sh")

    places = (f"{TMP}/alike/folder/file", "/system/file", "/system/new/file")
    sent = {place: ask("push", str(file), place) for place in places}
    return sent | {command: ask("shell", command) for command in COMMANDS}


# What goes wrong. docs/devices.md lists these.


def test_genuine_fault_runner_segfault(genuine_phone, link, yardsticks, tmp_path) -> None:
    def on_event(event: dict) -> None:
        if event["event"] == "warmup":
            runners(genuine_phone)[-1].send_signal(signal.SIGSEGV)

    with pytest.raises(RunnerFailed, match="killed by SIGSEGV while running inference"):
        link.run(job_for(link, yardsticks["onnx"], tmp_path, count=100_000), LIMIT_S, on_event)
    assert_runner_is_gone(genuine_phone)


def test_genuine_fault_runner_hang(genuine_phone, link, yardsticks, tmp_path) -> None:
    def on_event(event: dict) -> None:
        if event["event"] == "loaded":
            runners(genuine_phone)[-1].suspend()

    with pytest.raises(RunnerFailed, match="did not finish within 2 s"):
        link.run(job_for(link, yardsticks["onnx"], tmp_path, count=100_000), 2.0, on_event)
    assert_runner_is_gone(genuine_phone)


def test_genuine_fault_core_off(genuine_phone, host_kit, yardsticks, tmp_path) -> None:
    there, absent = genuine_phone.cores[0], genuine_phone.cores[-1] + 1
    profile = dataclasses.replace(profile_of(genuine_phone), cores=(there, absent))
    with AdbLink(profile, {"kit": str(host_kit), "keep_on_device": "1"}) as link:
        result = link.run(job_for(link, yardsticks["onnx"], tmp_path), LIMIT_S)
        assert result.hello["cores"] == [there]
        assert "cores_refused" in codes_of(link)


def test_genuine_fault_full_disk(genuine_phone, host_kit, monkeypatch) -> None:
    monkeypatch.setattr(AdbShell, "folder", SMALL)
    link = AdbLink(profile_of(genuine_phone), {"kit": str(host_kit)})
    with pytest.raises(DeviceUnavailable, match="has no room for") as caught:
        link.open()
    assert "Free space" in caught.value.remedy
    (storage,) = (
        check
        for check in links.doctor(profile_of(genuine_phone), {"kit": str(host_kit)})
        if check.state is State.MISSING
    )
    assert (storage.name, storage.found) == ("storage", f"{SMALL} has 8 MB left")
    link.reach()
    assert link.shell.call(f"ls -a {SMALL}").out.split() == [".", ".."]
    link.close()


def test_genuine_fault_programs_not_run(genuine_phone, host_kit, monkeypatch) -> None:
    monkeypatch.setattr(AdbShell, "folder", NOEXEC)
    profile, given = profile_of(genuine_phone), {"kit": str(host_kit)}
    with AdbLink(profile, given) as link, pytest.raises(DeviceUnavailable) as caught:
        link.run(any_job(), LIMIT_S)
    assert f"does not let the runner in {NOEXEC}/mvdeploy/kit-" in caught.value.message
    assert "exit status 126: " in caught.value.message
    assert "ermission denied" in caught.value.message
    assert "noexec" in caught.value.remedy
    (check,) = (p for p in links.doctor(profile, given) if p.state is State.MISSING)
    assert check.name == "programs run"
    assert "does not let" in check.found and "noexec" in check.remedy
    assert list((genuine_phone.root / NOEXEC[1:]).iterdir()) == []


@pytest.mark.parametrize(
    ("lost", "says"), [("ld-linux-*", "not found"), ("libc.so.6", "libc.so.6: cannot")]
)
def test_genuine_fault_no_loader(link, genuine_phone, lost: str, says: str) -> None:
    (path,) = genuine_phone.tmp.rglob(lost)
    path.unlink()
    with pytest.raises(DeviceUnavailable) as caught:
        link.run(any_job(), LIMIT_S)
    assert "lacks the loader or a library of the runner in" in caught.value.message
    assert "exit status 127: " in caught.value.message and says in caught.value.message


def test_genuine_fault_no_checksums(genuine_phone, link_to) -> None:
    try:
        genuine_phone.set_program("sha256sum")
        with link_to() as link:
            assert "no_checksums" not in codes_of(link)  # toybox has it
        genuine_phone.set_program("toybox")
        with link_to() as link:
            assert "no_checksums" in codes_of(link)
            assert link.call_runner("--hello").status == 0
        genuine_phone.set_program("wc", "echo '  12'")
        with pytest.raises(DeviceUnavailable, match="did not arrive whole"):
            link_to().open()
    finally:
        genuine_phone.restore_programs()


@pytest.mark.parametrize("below", ["", "files", "kit"])
def test_genuine_fault_folder_of_root(genuine_phone, link_to, below: str) -> None:
    forget(genuine_phone)
    with link_to():
        pass
    (kit,) = genuine_phone.tmp.glob("mvdeploy/kit-*")
    folder = {"": kit.parent, "files": kit.parent / "files", "kit": kit}[below]
    if not folder.exists():
        folder.mkdir()
        os.chown(folder, kit.stat().st_uid, kit.stat().st_gid)
    (kit / "mvdeploy-runner").unlink()
    # What the daemon makes may be written to by anyone, as on Android; what others make need not.
    owner = folder.stat().st_uid
    if owner == os.geteuid():
        pytest.skip("Only root has files that are not adbd's.")
    os.chown(folder, 0, 0)
    folder.chmod(0o755)
    try:
        with pytest.raises(DeviceUnavailable) as caught, link_to() as link:
            link.upload((Path(__file__),))
    finally:
        os.chown(folder, owner, owner)
        folder.chmod(0o777)
    there = f"{TMP}/{folder.relative_to(genuine_phone.tmp)}"
    assert caught.value.message.startswith(f"{there} on Pixel 4 belongs to root, and adb's user")


def test_genuine_fault_hot_phone(genuine_phone, link_to) -> None:
    before = genuine_phone.read(tables.THERMAL)
    genuine_phone.heat(45.0, status=3)
    waits: list[float] = []
    with link_to(waits.append) as link:
        link._ready()
    genuine_phone.write(tables.THERMAL, before)
    (hot,) = (f for f in link.findings() if f.code == "hot")
    assert waits == [1.0, 1.0, 1.0]
    assert hot.values == {"status": "severe", "skin": "45 °C", "waited_s": 3.0}


def test_genuine_fault_set_by_hand(genuine_phone, link_to) -> None:
    genuine_phone.override_status(4)
    genuine_phone.set_battery(100, powered=False, by_hand=True)
    with link_to() as link:
        link._ready()
        readings = link.state().readings
    genuine_phone.write(tables.OVERRIDE, "")
    genuine_phone.set_battery(86)
    found = {finding.code: finding.level for finding in link.findings()}
    assert found["heat_by_hand"] is found["battery_by_hand"] is Level.WARNING
    assert readings["thermal_status"] == readings["battery_percent"] == UNAVAILABLE


def test_genuine_fault_hanging_service(genuine_phone, link_to, monkeypatch) -> None:
    monkeypatch.setattr(links_gather, "EACH_S", 1.0)
    with link_to() as link:
        genuine_phone.hang("dumpsys thermalservice")
        readings = link.state().readings
        genuine_phone.hang()
    assert readings["thermal_status"] == UNAVAILABLE
    assert readings["battery_percent"] == 86
    assert_nothing_runs(genuine_phone)


def test_genuine_fault_another_phone(link, genuine_phone) -> None:
    was = genuine_phone.properties["ro.serialno"]
    genuine_phone.properties["ro.serialno"] = "OTHER"
    with pytest.raises(DeviceUnavailable, match="Another phone answers"):
        link._ready()
    genuine_phone.properties["ro.serialno"] = was


def test_genuine_fault_cut_during_push(genuine_phone, genuine_server, link_to) -> None:
    forget(genuine_phone)
    genuine_phone.fault(cut_after=3_000_000)
    with pytest.raises(DeviceUnavailable):
        link_to().open()
    assert_nothing_runs(genuine_phone)
    connect_again(genuine_server, genuine_phone)
    with link_to() as link:  # what was left is taken up
        assert link.call_runner("--hello").status == 0
    assert not list(genuine_phone.tmp.rglob("*.part"))


@pytest.mark.parametrize("how", ["cable", "daemon"])
def test_genuine_fault_lost_during_run(
    genuine_phone, genuine_server, link_to, yardsticks, tmp_path, how: str
) -> None:
    link = link_to()
    with link:
        job = job_for(link, yardsticks["onnx"], tmp_path, count=100_000)

        def on_event(event: dict) -> None:
            if event["event"] == "warmup":
                genuine_phone.unplug()
                if how == "daemon":
                    genuine_phone.kill_daemon()

        with pytest.raises(
            DeviceUnavailable, match=r"lost|not attached|gone|no longer|does not answer"
        ):
            link.run(job, LIMIT_S, on_event)
    assert "left_behind" in codes_of(link)
    genuine_phone.plug()
    forget(genuine_phone)
    connect_again(genuine_server, genuine_phone)
    with link_to() as link:
        assert len(link.run(job_for(link, yardsticks["onnx"], tmp_path), LIMIT_S).samples) == 3
    assert_nothing_runs(genuine_phone)


def test_genuine_interrupted_run_leaves_no_runner(
    genuine_phone, link, yardsticks, tmp_path
) -> None:
    def on_event(event: dict) -> None:
        if event["event"] == "warmup":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        link.run(job_for(link, yardsticks["onnx"], tmp_path, count=100_000), LIMIT_S, on_event)
    assert_runner_is_gone(genuine_phone)


def test_genuine_file_that_is_not_there(link) -> None:
    with pytest.raises(EngineError, match="has no file"):
        link.fetch(f"{TMP}/nothing", Path("nothing"))


def test_genuine_phone_is_left_as_it_was_found(genuine_phone, host_kit) -> None:
    with AdbLink(profile_of(genuine_phone), {"kit": str(host_kit)}):
        pass
    assert_nothing_runs(genuine_phone)
    assert list(genuine_phone.tmp.iterdir()) == []


KILLED = """
import sys
from pathlib import Path
import psutil
from tests.android.genuine import GenuinePhone
phone = GenuinePhone(Path(sys.argv[1]), Path(sys.argv[2]))
print(*(one.pid for one in psutil.Process().children(recursive=True)), flush=True)
sys.stdin.read()
"""


def test_nothing_is_left_of_a_phone_whose_tests_are_killed(
    genuine_phone: GenuinePhone, android_programs: Path, tmp_path: Path
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path / "phone"), str(android_programs)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    ) as process:
        assert process.stdout is not None
        numbers = list(map(int, process.stdout.readline().split()))
        process.kill()
    assert len(numbers) == 4  # what waits for the phone, its first process, the relay, adbd
    assert eventually(lambda: not any(map(psutil.pid_exists, numbers)))


def test_packages_that_cannot_be_had(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(packages, "SUITE", "none")
    with pytest.raises(packages.NotToBeHad, match="apt-get"):
        packages.unpacked(tmp_path / "android")
    assert not (tmp_path / "android" / "none").exists()


def test_every_genuine_fault_is_in_the_table_and_the_other_way_round() -> None:
    document = (Path(__file__).parents[2] / "docs" / "devices.md").read_text()
    listed = set(re.findall(r"`(test_genuine_fault_\w+)`", document))
    assert listed == {name for name in globals() if name.startswith("test_genuine_fault_")}
