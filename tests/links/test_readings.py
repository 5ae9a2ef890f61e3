from __future__ import annotations

import datetime
import math
import os
import sys
import types

import psutil
import pytest

from mvdeploy import engines, links
from mvdeploy.links.families.host import readings as host_readings
from mvdeploy.records import UNAVAILABLE, Device, DeviceState
from mvdeploy.records.codec import decode, encode

CPUINFO = """processor : 0
model name : First Core
flags : fpu sse {flag}

processor : 1
model name : Second Core
flags : fpu sse {flag}
"""


def write(root, path, text):
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


@pytest.fixture
def linux(tmp_path, monkeypatch):
    """A folder that stands for the root of a Linux system."""
    monkeypatch.setattr(sys, "platform", "linux")
    write(tmp_path, "proc/cpuinfo", CPUINFO.format(flag="hypervisor"))
    return tmp_path


def test_the_readings_of_this_machine_are_records(profile):
    identity, state = host_readings.identity(), host_readings.state()
    device = Device(profile, identity)
    assert decode(Device, encode(device)) == device
    assert decode(DeviceState, encode(state)) == state
    assert identity["cores_logical"] == psutil.cpu_count()
    taken = datetime.datetime.fromisoformat(state.taken_at)
    assert taken.utcoffset() == datetime.timedelta(0)
    for value in (*identity.values(), *state.readings.values()):
        assert not (isinstance(value, float) and math.isnan(value))


def test_every_reading_is_documented():
    for name in (*host_readings.identity(), *host_readings.state().readings):
        shared = {"cores_logical": "cores_physical", "kernel": "os", "loadavg_15": "_15"}
        assert f"``{shared.get(name, name)}``" in links.__doc__ or name == "loadavg_5"


@pytest.mark.skipif(sys.platform != "linux", reason="reads the real /proc")
def test_counters_of_this_machine_grow():
    before, after = host_readings.state().readings, host_readings.state().readings
    assert after["total_ticks"] > before["total_ticks"]
    assert after["context_switches"] >= before["context_switches"]
    assert 0 <= after["idle_ticks"] <= after["total_ticks"]
    assert after["affinity"] == tuple(map(str, sorted(os.sched_getaffinity(0))))


@pytest.mark.parametrize("error", [OSError, AttributeError, NotImplementedError, psutil.Error])
def test_what_cannot_be_read_is_unavailable(tmp_path, monkeypatch, error):
    def refuse(*args, **kwargs):
        raise error

    monkeypatch.setattr(sys, "platform", "linux")
    for name in (
        *("cpu_count", "virtual_memory", "getloadavg", "cpu_freq", "cpu_times", "cpu_stats"),
        *("Process", "process_iter", "sensors_battery", "sensors_temperatures"),
    ):
        monkeypatch.setattr(psutil, name, refuse, raising=False)
    readings = host_readings.state(tmp_path).readings
    assert {readings[name] for name in readings if name != "environment"} == {UNAVAILABLE}
    identity = host_readings.identity(tmp_path)
    assert identity["cpu"] == identity["memory_bytes"] == identity["boost"] == UNAVAILABLE


def test_functions_that_psutil_does_not_have_are_unavailable(tmp_path, monkeypatch):
    for name in ("sensors_battery", "sensors_temperatures"):
        monkeypatch.delattr(psutil, name, raising=False)
    readings = host_readings.state(tmp_path).readings
    assert readings["battery_percent"] == readings["battery_plugged"] == UNAVAILABLE
    assert readings["temperatures_c"] == UNAVAILABLE


def test_on_a_mac_the_system_is_asked(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    answers = {"machdep.cpu.brand_string": "Apple M2", "hw.model": "Mac14,2"}
    monkeypatch.setattr(host_readings, "_command", lambda *words: answers[words[-1]])
    identity = host_readings.identity(tmp_path)
    assert (identity["cpu"], identity["machine"]) == ("Apple M2", "Mac14,2")
    assert identity["hypervisor"] == UNAVAILABLE


def test_a_program_that_is_missing_makes_its_reading_unavailable(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert host_readings.identity(tmp_path)["cpu"] == UNAVAILABLE


def test_the_first_core_names_the_processor(linux):
    identity = host_readings.identity(linux)
    assert identity["cpu"] == "First Core"
    assert identity["hypervisor"] == "yes"


def test_a_real_machine_has_no_hypervisor_flag(linux):
    write(linux, "proc/cpuinfo", CPUINFO.format(flag="avx"))
    assert host_readings.identity(linux)["hypervisor"] == "no"


def test_an_arm_processor_is_told_by_its_numbers(linux):
    write(linux, "proc/cpuinfo", "Features : fp\nCPU implementer : 0x41\nCPU part : 0xd0b\n")
    write(linux, "proc/device-tree/model", "Raspberry Pi 5\0")
    identity = host_readings.identity(linux)
    assert identity["cpu"] == "implementer 0x41, part 0xd0b"
    assert identity["machine"] == "Raspberry Pi 5"
    assert identity["hypervisor"] == UNAVAILABLE


@pytest.mark.parametrize(
    ("file", "text", "boost"),
    [
        ("cpufreq/boost", "1\n", "on"),
        ("cpufreq/boost", "0\n", "off"),
        ("intel_pstate/no_turbo", "1\n", "off"),
        ("intel_pstate/no_turbo", "0\n", "on"),
    ],
)
def test_boost_is_read_either_way(linux, file, text, boost):
    write(linux, f"sys/devices/system/cpu/{file}", text)
    assert host_readings.identity(linux)["boost"] == boost


def test_clocks_are_listed_by_core_number(linux):
    for core in (0, 2, 10):
        folder = f"sys/devices/system/cpu/cpu{core}/cpufreq"
        write(linux, f"{folder}/scaling_governor", f"governor{core}\n")
        for file in ("scaling_cur_freq", "scaling_max_freq", "cpuinfo_max_freq"):
            write(linux, f"{folder}/{file}", f"{core}000\n")
    readings = host_readings.state(linux).readings
    assert readings["governor"] == ("governor0", "governor2", "governor10")
    assert readings["cpu_khz"] == readings["cpu_hardware_max_khz"] == ("0000", "2000", "10000")


def test_kernel_counters_are_read(linux):
    write(
        linux,
        "proc/schedstat",
        "version 16\ntimestamp 1\n"
        "cpu0 0 0 0 0 0 0 500 70 9\ndomain0 MC 3 1 2 3 4 5 6 7 8\ncpu1 0 0 0 0 0 0 500 5 9\n",
    )
    write(
        linux,
        "proc/pressure/cpu",
        "some avg10=0.05 avg60=0.07 avg300=0.08 total=11781270\n"
        "full avg10=0.00 avg60=0.00 avg300=0.00 total=3\n",
    )
    write(linux, "proc/vmstat", "nr_free_pages 5\npgfault 42\npgmajfault 1\n")
    readings = host_readings.state(linux).readings
    assert readings["run_delay_ns"] == 75
    assert readings["psi_cpu_some_us"] == 11781270
    assert readings["page_faults"] == 42


@pytest.mark.parametrize("text", ["", "nonsense", "cpu0 1 2", "cpu0 0 0 0 0 0 0 0 x 0"])
def test_a_kernel_that_writes_something_else_makes_a_reading_unavailable(linux, text):
    for file in ("schedstat", "pressure/cpu", "vmstat"):
        write(linux, f"proc/{file}", text)
    readings = host_readings.state(linux).readings
    assert readings["psi_cpu_some_us"] == readings["page_faults"] == UNAVAILABLE
    assert readings["run_delay_ns"] == UNAVAILABLE


class FakeProcess:
    def __init__(self, pid, name, seconds):
        self.pid = pid
        times = None if seconds is None else types.SimpleNamespace(user=seconds, system=0.0)
        self.info = {"name": name, "cpu_times": times}

    def __hash__(self):
        return self.pid

    def __eq__(self, other):
        return self.pid == other.pid


def watch(monkeypatch, before, after):
    rounds = [
        [FakeProcess(pid, name, seconds) for pid, name, seconds in processes]
        for processes in (before, after)
    ]
    monkeypatch.setattr(psutil, "process_iter", lambda attrs: rounds.pop(0))
    return host_readings._background()


def test_the_busiest_other_process_is_named(monkeypatch):
    readings = watch(
        monkeypatch,
        [(os.getpid(), "us", 0.0), (1, "idle", 50.0), (2, "busy", 1.0), (3, "hidden", None)],
        [(os.getpid(), "us", 9.0), (1, "idle", 50.0), (2, "busy", 1.1), (4, "new", 9.0)],
    )
    assert readings["background_process"] == "busy"
    assert 0 < readings["background_cpu_share"] <= 0.1 / host_readings._BACKGROUND_S


def test_a_quiet_machine_has_no_background(monkeypatch):
    readings = watch(monkeypatch, [(1, "idle", 5.0)], [(1, "idle", 5.0)])
    assert readings.pop("busy_cores") >= 0
    assert readings == {"background_process": "none", "background_cpu_share": 0.0}


def test_busy_cores_are_those_that_computed_meanwhile(monkeypatch):
    seconds = iter([100.0, 100.0 + 1.5 * host_readings._BACKGROUND_S])
    monkeypatch.setattr(host_readings, "_busy_seconds", lambda: next(seconds))
    monkeypatch.setattr(host_readings, "_busiest", lambda seconds: ("none", 0.0))
    clock = iter([10.0, 10.0 + host_readings._BACKGROUND_S])
    fake = types.SimpleNamespace(monotonic=lambda: next(clock))
    monkeypatch.setattr(host_readings, "time", fake)
    assert host_readings._background()["busy_cores"] == 1.5


def test_cores_that_are_not_told_of_are_unavailable(monkeypatch):
    def refuse(*_):
        raise PermissionError("no")

    monkeypatch.setattr(psutil, "cpu_times", refuse)
    assert watch(monkeypatch, [], [])["busy_cores"] == UNAVAILABLE


V1, V2 = "sys/fs/cgroup/cpu/docker/a", "sys/fs/cgroup/user.slice"


@pytest.mark.parametrize(
    ("groups", "files", "quota"),
    [
        ("0::/", {}, ("none", *[UNAVAILABLE] * 3)),
        ("0::/user.slice", {f"{V2}/cpu.max": "max 100000"}, ("none", *[UNAVAILABLE] * 3)),
        (
            "0::/user.slice/b",
            {
                f"{V2}/cpu.max": "150000 100000",
                f"{V2}/cpu.stat": "nr_periods 5\nnr_throttled 2\nthrottled_usec 7",
            },
            (1.5, 7, 5, 2),
        ),
        (
            "4:memory:/\n1:cpu,cpuacct:/docker/a",
            {
                f"{V1}/cpu.cfs_quota_us": "50000",
                f"{V1}/cpu.cfs_period_us": "100000",
                f"{V1}/cpu.stat": "nr_periods 4\nnr_throttled 3\nthrottled_time 9000",
            },
            (0.5, 9, 4, 3),
        ),
        (
            # As seen from within a container, whose group is the top there.
            "1:cpu:/docker/b",
            {
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
            },
            ("none", *[UNAVAILABLE] * 3),
        ),
        ("garbage", {}, (UNAVAILABLE,) * 4),
    ],
)
def test_the_quota_of_a_container(linux, groups, files, quota):
    write(linux, "proc/self/cgroup", f"{groups}\n")
    for path, text in files.items():
        write(linux, path, f"{text}\n")
    readings = host_readings.state(linux).readings
    names = ("cores", "held_us", "periods", "stopped")
    assert tuple(readings[f"cpu_quota_{name}"] for name in names) == quota


def test_environment_variables_that_choose_kernels_or_threads(linux, monkeypatch):
    for name in os.environ:
        if engines.chosen_by_environment({name: "x"}):
            monkeypatch.delenv(name)
    monkeypatch.setenv("ORT_DISABLE_TELEMETRY", "1")
    assert host_readings.state(linux).readings["environment"] == "none"
    for name in ("OMP_NUM_THREADS", "ATEN_CPU_CAPABILITY", "ORT_QMOE", "LD_PRELOAD_X"):
        monkeypatch.setenv(name, "x=1")
    assert host_readings.state(linux).readings["environment"] == (
        "ATEN_CPU_CAPABILITY=x=1",
        "OMP_NUM_THREADS=x=1",
        "ORT_QMOE=x=1",
    )
