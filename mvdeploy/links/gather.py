"""What a device behind a shell tells of itself: many questions in one call, each may be denied."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Mapping

from mvdeploy.links.shell import Shell
from mvdeploy.records import UNAVAILABLE, Reading

_NOT_THERE = (ValueError, LookupError, OverflowError)
"""What reading an empty or a foreign answer ends in."""

_LARGEST = 2**64
"""No counter of a kernel reaches it."""

_CORES = 8192
"""More than any Linux kernel is built for."""


def gather(shell: Shell, questions: Mapping[str, str], limit_s: float = 30.0) -> dict[str, str]:
    """Run commands one after the other in one call.

    Args:
        shell: of the device.
        questions: command by name.
        limit_s: seconds for all of them.

    Returns:
        what each wrote to its standard output, by name: as far as it came, and nothing where it
        was denied.

    Raises:
        DeviceUnavailable: the device is gone.
    """
    mark = f"@{secrets.token_hex(4)}"
    lines = [
        f"printf '\\n%s\\n' '{mark} {name}'\n{{ {words}\n}} 2>/dev/null"
        for name, words in questions.items()
    ]
    out = shell.call("\n".join([*lines, "true"]), limit_s).out
    answers = dict.fromkeys(questions, "")
    # An answer need not end with a line's end: the mark brings one along.
    for part in re.split(rf"(?:^|\n){mark} ", out)[1:]:
        name, _, text = part.partition("\n")
        answers[name.strip()] = text
    return answers


def reading(read: Callable[[], Reading | None]) -> Reading:
    """Return what `read` finds in an answer, or that it is unavailable.

    A number that nothing can have counted or measured is unavailable too.
    """
    try:
        value = read()
    except _NOT_THERE:
        return UNAVAILABLE
    if isinstance(value, int | float):
        return value if abs(value) < _LARGEST else UNAVAILABLE  # also for what is no number
    return value or UNAVAILABLE


# What every Linux kernel tells, Android's too.

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
}
"""Questions whose answers `kernel_state` reads."""


def kernel_state(told: Mapping[str, str]) -> dict[str, Reading]:
    """Read what the kernel tells; see `mvdeploy.links` for names and units.

    Args:
        told: the answers to `KERNEL`.
    """
    return {
        "loadavg_1": reading(lambda: float(told["load"].split()[0])),
        "loadavg_5": reading(lambda: float(told["load"].split()[1])),
        "loadavg_15": reading(lambda: float(told["load"].split()[2])),
        "governor": each_core(told["clocks"], "scaling_governor"),
        "cpu_khz": each_core(told["clocks"], "scaling_cur_freq"),
        "cpu_max_khz": each_core(told["clocks"], "scaling_max_freq"),
        "cpu_hardware_max_khz": each_core(told["clocks"], "cpuinfo_max_freq"),
        "steal_ticks": reading(lambda: _ticks(told["stat"])[7]),
        "idle_ticks": reading(lambda: _ticks(told["stat"])[3]),
        # Guest time, which comes last, is contained in user and nice time.
        "total_ticks": reading(lambda: sum(_ticks(told["stat"])[:8])),
        "context_switches": reading(lambda: int(field(told["stat"], "ctxt"))),
        "psi_cpu_some_us": reading(lambda: _pressure(told["pressure"])),
        "run_delay_ns": reading(lambda: _run_delay(told["delays"])),
        "page_faults": reading(lambda: int(field(told["faults"], "pgfault"))),
        "memory_available_bytes": kilobytes(told["memory"], "MemAvailable"),
        "affinity": reading(lambda: numbers(field(told["affinity"], "Cpus_allowed_list:"))),
        "background_process": UNAVAILABLE,
        "background_cpu_share": UNAVAILABLE,
    }


def core_count(told: Mapping[str, str]) -> Reading:
    """Return how many cores the kernel knows."""
    return reading(lambda: len(told["cores"].split()) or None)


def each_core(clocks: str, file: str) -> Reading:
    """Return a file of cpufreq for each core, in the order of their numbers."""
    found = re.findall(rf"/cpu(\d+)/cpufreq/{file}:(.*)", clocks)
    return reading(lambda: tuple(value.strip() for _, value in sorted(found, key=_number)))


def highest_clocks(clocks: str) -> dict[int, int]:
    """Return the highest clock of each core that tells it, kHz, by the core's number."""
    found = re.findall(
        r"/cpu(\d{1,4})/cpufreq/cpuinfo_max_freq:(\d{1,9})\s*$", clocks, re.MULTILINE
    )
    return {int(core): int(khz) for core, khz in found}


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
    found: list[str] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        cores = range(int(first), int(last if dash else first) + 1)
        if not cores or cores[0] < 0 or cores[-1] >= _CORES:
            raise ValueError(f"{part} are no cores")
        found += map(str, cores)
    return tuple(found)


def _ticks(stat: str) -> list[int]:
    found = [int(word) for word in field(stat, "cpu").split()]
    if len(found) < 8:
        raise LookupError("steal")
    return found


def _pressure(text: str) -> int:
    return int(re.findall(r"^some .*total=(\d+)", text, re.MULTILINE)[0])


def _run_delay(text: str) -> int:
    rows = [line.split() for line in text.splitlines() if re.match(r"cpu\d", line)]
    if not rows:
        raise LookupError("no processors")
    return sum(int(row[8]) for row in rows)
