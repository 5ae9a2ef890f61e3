"""What this machine tells of itself, on Linux in full, on other systems as far as psutil knows."""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from mvdeploy import started
from mvdeploy.links import kernel
from mvdeploy.links.gather import reading
from mvdeploy.records import UNAVAILABLE, DeviceState, Reading

_ROOT = Path("/")
_BACKGROUND_S = 0.25

# What reading a missing file, or asking psutil for what a system does not have, also ends in.
_NOT_THERE = (
    OSError,
    AttributeError,
    NotImplementedError,
    psutil.Error,
    subprocess.SubprocessError,
)


def identity(root: Path = _ROOT) -> dict[str, Reading]:
    """Return what this machine is; see `mvdeploy.links` for the names and units.

    Args:
        root: where ``proc`` and ``sys`` are.
    """
    return {
        "cpu": _ask(lambda: _cpu_model(root)),
        "cores_physical": _ask(lambda: psutil.cpu_count(logical=False)),
        "cores_logical": _ask(lambda: psutil.cpu_count(logical=True)),
        "architecture": platform.machine() or UNAVAILABLE,
        "memory_bytes": _ask(lambda: psutil.virtual_memory().total),
        "machine": _ask(lambda: _machine(root)),
        "os": _ask(_system),
        "kernel": f"{platform.system()} {platform.release()}",
        "hypervisor": _ask(lambda: kernel.hypervisor((root / "proc/cpuinfo").read_text())),
        "boost": _ask(lambda: _boost(root)),
        "python": platform.python_version(),
    }


def state(root: Path = _ROOT) -> DeviceState:
    """Return the condition this machine is in; see `mvdeploy.links` for the names and units.

    Takes about a quarter of a second, in which it watches what else runs.

    Args:
        root: where ``proc`` and ``sys`` are.
    """
    readings = {
        **_load(),
        **_clocks(root),
        **_counters(root),
        **_quota(root),
        **_condition(),
        "environment": kernel.environment(started.environment()),
        **_background(),
    }
    return DeviceState(datetime.datetime.now(datetime.UTC).isoformat(), readings)


def _ask(read: Callable[[], Reading | None]) -> Reading:
    return reading(read, _NOT_THERE)


def _cpu_model(root: Path) -> str:
    if sys.platform == "darwin":
        return _command("sysctl", "-n", "machdep.cpu.brand_string")
    return kernel.processor((root / "proc/cpuinfo").read_text()) or platform.processor()


def _command(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True, timeout=10, check=False)
    return done.stdout.strip()


def _machine(root: Path) -> str:
    if sys.platform == "darwin":
        return _command("sysctl", "-n", "hw.model")
    board = root / "proc/device-tree/model"
    product = root / "sys/class/dmi/id/product_name"
    return (board if board.exists() else product).read_text().strip("\0 \n")


def _system() -> str:
    if sys.platform == "darwin":
        return f"macOS {platform.mac_ver()[0]}"
    return platform.freedesktop_os_release()["PRETTY_NAME"]


def _boost(root: Path) -> str:
    cpu = root / "sys/devices/system/cpu"
    intel = cpu / "intel_pstate/no_turbo"
    if intel.exists():
        return "off" if intel.read_text().strip() == "1" else "on"
    return "on" if (cpu / "cpufreq/boost").read_text().strip() == "1" else "off"


def _load() -> dict[str, Reading]:
    return {
        "loadavg_1": _ask(lambda: psutil.getloadavg()[0]),
        "loadavg_5": _ask(lambda: psutil.getloadavg()[1]),
        "loadavg_15": _ask(lambda: psutil.getloadavg()[2]),
    }


def _clocks(root: Path) -> dict[str, Reading]:
    return {
        "governor": _ask(lambda: _each_cpu(root, "scaling_governor")),
        "cpu_khz": _ask(lambda: _each_cpu(root, "scaling_cur_freq") or _psutil_khz()),
        "cpu_max_khz": _ask(lambda: _each_cpu(root, "scaling_max_freq")),
        "cpu_hardware_max_khz": _ask(lambda: _each_cpu(root, "cpuinfo_max_freq")),
    }


def _each_cpu(root: Path, file: str) -> tuple[str, ...]:
    folders = (root / "sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq")
    ordered = sorted(folders, key=lambda folder: int(folder.parent.name.removeprefix("cpu")))
    return tuple((folder / file).read_text().strip() for folder in ordered)


def _psutil_khz() -> tuple[str, ...]:
    return tuple(str(round(f.current * 1000)) for f in psutil.cpu_freq(percpu=True) if f.current)


def _counters(root: Path) -> dict[str, Reading]:
    return {
        "steal_ticks": _ask(lambda: _ticks("steal")),
        "idle_ticks": _ask(lambda: _ticks("idle")),
        "total_ticks": _ask(lambda: _ticks(None)),
        "context_switches": _ask(lambda: psutil.cpu_stats().ctx_switches),
        "psi_cpu_some_us": _ask(lambda: kernel.pressure((root / "proc/pressure/cpu").read_text())),
        "run_delay_ns": _ask(lambda: kernel.run_delay((root / "proc/schedstat").read_text())),
        "page_faults": _ask(
            lambda: int(kernel.field((root / "proc/vmstat").read_text(), "pgfault"))
        ),
    }


_QUOTA = {
    "cpu_quota_cores": "cores",
    "cpu_quota_held_us": "held_us",
    "cpu_quota_periods": "periods",
    "cpu_quota_stopped": "stopped",
}


def _quota(root: Path) -> dict[str, Reading]:
    try:
        quota = kernel.cpu_quota(root)
    except (*_NOT_THERE, ValueError):
        return dict.fromkeys(_QUOTA, UNAVAILABLE)
    if quota is None:
        return {**dict.fromkeys(_QUOTA, UNAVAILABLE), "cpu_quota_cores": "none"}
    return {name: getattr(quota, field) for name, field in _QUOTA.items()}


def _ticks(kind: str | None) -> int:
    times = psutil.cpu_times()._asdict()
    # Guest time is already contained in user and nice time.
    seconds = times[kind] if kind else sum(v for k, v in times.items() if "guest" not in k)
    return int(seconds * os.sysconf("SC_CLK_TCK") + 0.5)


def _condition() -> dict[str, Reading]:
    return {
        "temperatures_c": _ask(_temperatures),
        **_battery(),
        "memory_available_bytes": _ask(lambda: psutil.virtual_memory().available),
        "affinity": _ask(lambda: tuple(map(str, psutil.Process().cpu_affinity() or ()))),
    }


def _battery() -> dict[str, Reading]:
    try:
        battery = psutil.sensors_battery()
    except _NOT_THERE:
        battery = None
    plugged = battery and battery.power_plugged
    return {
        "battery_percent": battery.percent if battery else UNAVAILABLE,
        "battery_plugged": UNAVAILABLE if plugged is None else "yes" if plugged else "no",
    }


def _temperatures() -> tuple[str, ...]:
    return tuple(
        f"{' '.join(filter(None, (chip, sensor.label)))}={sensor.current:g}"
        for chip, sensors in sorted(psutil.sensors_temperatures().items())
        for sensor in sensors
    )


def _background() -> dict[str, Reading]:
    before = _ask(_busy_seconds)
    start = time.monotonic()
    try:
        name, share = _busiest(_BACKGROUND_S)
    except _NOT_THERE:
        name, share = UNAVAILABLE, UNAVAILABLE
    busy: Reading = UNAVAILABLE
    after = _ask(_busy_seconds)
    if isinstance(before, float) and isinstance(after, float):
        busy = round(max(0.0, after - before) / (time.monotonic() - start), 2)
    return {"background_process": name, "background_cpu_share": share, "busy_cores": busy}


def _busy_seconds() -> float:
    """Return the seconds that all cores together have computed since the system's start."""
    times = psutil.cpu_times()._asdict()
    # Guest time is contained in user time; waiting for a disk leaves the core to others.
    idle = ("idle", "iowait", "guest", "guest_nice")
    return float(sum(seconds for kind, seconds in times.items() if kind not in idle))


def _busiest(seconds: float) -> tuple[Reading, Reading]:
    """Watch all other processes; return the busiest one and its share of one core."""
    before = _cpu_seconds()
    start = time.monotonic()
    time.sleep(seconds)
    after = _cpu_seconds()
    took = time.monotonic() - start
    rises = {process: time_s - before.get(process, time_s) for process, time_s in after.items()}
    if not any(rises.values()):
        return "none", 0.0
    busiest = max(rises, key=lambda process: rises[process])
    return busiest.info["name"] or UNAVAILABLE, round(rises[busiest] / took, 3)


def _cpu_seconds() -> dict[psutil.Process, float]:
    own = os.getpid()
    return {
        process: times.user + times.system
        for process in psutil.process_iter(["name", "cpu_times"])
        if process.pid != own and (times := process.info["cpu_times"])
    }
