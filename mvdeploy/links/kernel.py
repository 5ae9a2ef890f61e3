"""What every Linux kernel tells, Android's too, read from the text of its files."""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from mvdeploy import engines
from mvdeploy.links.gather import reading
from mvdeploy.records import UNAVAILABLE, Reading

_CORES = 8192
"""More than any Linux kernel is built for."""

BOOT = "/proc/sys/kernel/random/boot_id"
"""A text that is this start of this system's own."""

_CPU = "/sys/devices/system/cpu"

KERNEL = {
    "cores": f"ls -d {_CPU}/cpu[0-9]*",
    "clocks": f"grep -H . {_CPU}/cpu[0-9]*/cpufreq/scaling_governor "
    + " ".join(
        f"{_CPU}/cpu[0-9]*/cpufreq/{name}"
        for name in ("scaling_cur_freq", "scaling_max_freq", "cpuinfo_max_freq")
    ),
    "load": "cat /proc/loadavg",
    "stat": "cat /proc/stat",
    "faults": "grep pgfault /proc/vmstat",
    "pressure": "cat /proc/pressure/cpu",
    "delays": "cat /proc/schedstat",
    "memory": "cat /proc/meminfo",
    "affinity": "cat /proc/self/status",
    "environment": "env",
}
"""Questions whose answers `kernel_state` reads."""


def kernel_state(answers: Mapping[str, str]) -> dict[str, Reading]:
    """Read what the kernel tells; see `mvdeploy.links` for names and units.

    Args:
        answers: those to `KERNEL`.
    """
    return {
        "loadavg_1": reading(lambda: float(answers["load"].split()[0])),
        "loadavg_5": reading(lambda: float(answers["load"].split()[1])),
        "loadavg_15": reading(lambda: float(answers["load"].split()[2])),
        "governor": each_core(answers["clocks"], "scaling_governor"),
        "cpu_khz": each_core(answers["clocks"], "scaling_cur_freq"),
        "cpu_max_khz": each_core(answers["clocks"], "scaling_max_freq"),
        "cpu_hardware_max_khz": each_core(answers["clocks"], "cpuinfo_max_freq"),
        "steal_ticks": reading(lambda: _ticks(answers["stat"])[7]),
        "idle_ticks": reading(lambda: _ticks(answers["stat"])[3]),
        # Guest time, which comes last, is contained in user and nice time.
        "total_ticks": reading(lambda: sum(_ticks(answers["stat"])[:8])),
        "context_switches": reading(lambda: int(field(answers["stat"], "ctxt"))),
        "psi_cpu_some_us": reading(lambda: pressure(answers["pressure"])),
        "run_delay_ns": reading(lambda: run_delay(answers["delays"])),
        "page_faults": reading(lambda: int(field(answers["faults"], "pgfault"))),
        "memory_available_bytes": kilobytes(answers["memory"], "MemAvailable"),
        "affinity": reading(lambda: numbers(field(answers["affinity"], "Cpus_allowed_list:"))),
        "environment": reading(lambda: _chosen(answers["environment"])),
        "background_process": UNAVAILABLE,
        "background_cpu_share": UNAVAILABLE,
    }


def _chosen(printed: str) -> Reading | None:
    variables = (line.partition("=") for line in printed.splitlines())
    return printed and environment({name: value for name, _, value in variables})


def environment(variables: Mapping[str, str]) -> Reading:
    """Return the environment variables that choose kernels or threads: ``none`` without any."""
    return engines.chosen_by_environment(variables) or "none"


def core_count(answers: Mapping[str, str]) -> Reading:
    """Return how many cores the kernel knows."""
    return reading(lambda: len(answers["cores"].split()) or None)


def each_core(clocks: str, file: str) -> Reading:
    """Return a file of cpufreq for each core, in the order of their numbers."""
    values = re.findall(rf"/cpu(\d+)/cpufreq/{file}:(.*)", clocks)
    return reading(lambda: tuple(value.strip() for _, value in sorted(values, key=_number)))


def highest_clocks(clocks: str) -> dict[int, int]:
    """Return the highest clock of each core that tells it, kHz, by the core's number."""
    values = re.findall(
        r"/cpu(\d{1,4})/cpufreq/cpuinfo_max_freq:(\d{1,9})\s*$", clocks, re.MULTILINE
    )
    return {int(core): int(khz) for core, khz in values}


def _number(pair: tuple[str, str]) -> int:
    return int(pair[0])


def field(text: str, key: str) -> str:
    """Return what follows a word at the start of a line.

    Raises:
        LookupError: there is no such line.
    """
    for line in text.splitlines():
        if line.startswith((f"{key} ", f"{key}\t")):
            return line[len(key) :].strip()
    raise LookupError(key)


def kilobytes(text: str, key: str) -> Reading:
    """Return a size that the kernel tells in kB, in bytes."""
    return reading(lambda: int(field(text, f"{key}:").split()[0]) * 1024)


def numbers(text: str) -> tuple[str, ...]:
    """Return the numbers of a list of cores such as ``0-3,7``.

    Raises:
        ValueError: it is none.
    """
    listed: list[str] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        cores = range(int(first), int(last if dash else first) + 1)
        if not cores or cores[0] < 0 or cores[-1] >= _CORES:
            raise ValueError(f"{part} are no cores")
        listed += map(str, cores)
    return tuple(listed)


def _ticks(stat: str) -> list[int]:
    ticks = [int(word) for word in field(stat, "cpu").split()]
    if len(ticks) < 8:
        raise LookupError("steal")
    return ticks


def pressure(text: str) -> int:
    """Return microseconds in which some task waited, from a file of /proc/pressure."""
    return int(re.findall(r"^some .*total=(\d+)", text, re.MULTILINE)[0])


def run_delay(text: str) -> int:
    """Return nanoseconds that tasks waited for a core, summed over cores, from /proc/schedstat."""
    rows = [line.split() for line in text.splitlines() if re.match(r"cpu\d", line)]
    if not rows:
        raise LookupError("no processors")
    return sum(int(row[8]) for row in rows)


def processor(cpuinfo: str) -> str | None:
    """Return the model of the first processor of /proc/cpuinfo.

    On arm64 there is no name, only the numbers of the maker and the part.
    """
    fields = _first_values(cpuinfo)
    if "model name" in fields:
        return fields["model name"]
    if {"CPU implementer", "CPU part"} <= fields.keys():
        return f"implementer {fields['CPU implementer']}, part {fields['CPU part']}"
    return None


def hypervisor(cpuinfo: str) -> str | None:
    """Return ``yes`` when the processor says that it is a virtual one; None on other than x86."""
    flags = _first_values(cpuinfo).get("flags")
    return flags and ("yes" if "hypervisor" in flags.split() else "no")


def _first_values(cpuinfo: str) -> dict[str, str]:
    pairs = (line.partition(":") for line in reversed(cpuinfo.splitlines()))
    return {key.strip(): value.strip() for key, _, value in pairs if value}


@dataclasses.dataclass(frozen=True, order=True)
class Quota:
    """The CPU time that a control group allows; quotas are ordered by how much that is.

    Attributes:
        cores: cores' worth of time.
        held_us: counter: microseconds for which it held the group's threads.
        periods: counter: its periods in which the group had something to do.
        stopped: counter: those of them in which the time was used up.
    """

    cores: float
    held_us: int
    periods: int
    stopped: int


def cpu_quota(root: Path) -> Quota | None:
    """Return what the control groups of this process allow: that of the group that allows least.

    Args:
        root: where ``proc`` and ``sys`` are.

    Returns:
        None without a limit.

    Raises:
        OSError: the system has no control groups.
    """
    limits = []
    for line in (root / "proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        mount = root / "sys/fs/cgroup" / (controllers and "cpu")
        # In a container the path may be that outside of it: then the top is its own group.
        inner = PurePosixPath(path.lstrip("/"))
        for folder in (mount / inner, *(mount / above for above in inner.parents)):
            with contextlib.suppress(OSError, ValueError, LookupError):
                limits.append(_group_quota(folder))
    return min((limit for limit in limits if limit is not None), default=None)


def _group_quota(folder: Path) -> Quota | None:
    """Return what one control group allows, of either version of them."""
    if (folder / "cpu.max").exists():
        quota, period = (folder / "cpu.max").read_text().split()
        counter, unit_ns = "throttled_usec", 1000
    else:
        quota, period = (
            (folder / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period")
        )
        counter, unit_ns = "throttled_time", 1
    if quota == "max" or int(quota) <= 0:
        return None
    counters = (folder / "cpu.stat").read_text()
    held, *periods = (int(field(counters, k)) for k in (counter, "nr_periods", "nr_throttled"))
    return Quota(round(int(quota) / int(period), 3), held * unit_ns // 1000, *periods)
