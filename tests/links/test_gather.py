"""Questions to a device's shell, and what Linux kernels answer."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mvdeploy.errors import DeviceUnavailable
from mvdeploy.links import gather as gather_module
from mvdeploy.links.families.host import readings
from mvdeploy.links.gather import bounded, gather, reading, was_killed
from mvdeploy.links.kernel import (
    KERNEL,
    core_count,
    each_core,
    field,
    highest_clocks,
    kernel_state,
    kilobytes,
    numbers,
)
from mvdeploy.links.shell import Answer, OnBytes, Shell, quote
from mvdeploy.records import UNAVAILABLE, Reading
from tests.android.fixtures import demand
from tests.links.answers import any_of, assert_saved_as_they_are, documented, unavailable

CPU = "/sys/devices/system/cpu"

TEXTS = st.text(st.characters(blacklist_characters="\0", blacklist_categories=("Cs",)))

CORES = (0, 1, 10, 2, 3)
"""Cores in the order in which a shell names their folders."""

FASTEST = {
    "scaling_cur_freq": 300_000,
    "scaling_max_freq": 1_785_600,
    "cpuinfo_max_freq": 2_841_600,
}
"""Clocks of core 0; each other one's is higher by its number, so that they can be told apart."""

CLOCKS = "".join(
    [
        f"{CPU}/cpu{core}/cpufreq/scaling_governor:{'powersave' if core else 'schedutil'}\n"
        for core in CORES
    ]
    + [
        f"{CPU}/cpu{core}/cpufreq/{name}:{khz + core}\n"
        for name, khz in FASTEST.items()
        for core in CORES
    ]
)

PHONE = {
    "cores": "".join(f"{CPU}/cpu{core}\n" for core in CORES),
    "clocks": CLOCKS,
    "load": "1.52 1.61 1.73 2/3214 12345\n",
    "stat": (
        "cpu  1093563 55401 864110 20493870 16873 145023 65017 12 7 3\n"
        "cpu0 1 2 3 4 5 6 7 8 9 10\nctxt 272918342\nbtime 1666000000\n"
    ),
    "faults": "pgfault 658704968\n",
    "pressure": (
        "some avg10=0.00 avg60=0.12 avg300=0.30 total=7348306731\n"
        "full avg10=0.00 avg60=0.00 avg300=0.00 total=5\n"
    ),
    "delays": (
        "version 15\ntimestamp 4299001112\n"
        "cpu0 0 0 0 0 0 0 111 1000 5\ndomain0 03 1 2 3 4 5 6 7 8 9\ncpu1 0 0 0 0 0 0 222 234 6\n"
    ),
    "memory": "MemTotal:        5622680 kB\nMemFree: 1 kB\nMemAvailable:    2731548 kB\n",
    "affinity": "Name:\tcat\nCpus_allowed:\tf1\nCpus_allowed_list:\t0,4-7\n",
    "environment": "HOME=/\nOMP_NUM_THREADS=2\nLD_PRELOAD=\nKMP_BLOCKTIME=0\n",
}
NOTHING = dict.fromkeys(KERNEL, "")


class Local:
    """This machine's own shell."""

    name, folder = "here", "/tmp"

    def call(self, command: str, limit_s: float = 30.0) -> Answer:
        words = ["sh", "-c", command]
        done = subprocess.run(
            words, stdin=subprocess.DEVNULL, capture_output=True, timeout=limit_s, check=False
        )
        return Answer(done.returncode, done.stdout.decode(), done.stderr.decode())

    def start(self, command: str) -> subprocess.Popen[bytes]:
        raise NotImplementedError

    def push(self, local: Path, remote: str, on_bytes: OnBytes | None = None) -> None:
        raise NotImplementedError

    def pull(self, remote: str, local: Path) -> None:
        raise NotImplementedError


class Gone(Local):
    def call(self, command: str, limit_s: float = 30.0) -> Answer:
        raise DeviceUnavailable("The phone is gone.", "Attach it.")


LOCAL: Shell = Local()


@pytest.fixture
def here() -> Shell:
    demand("Linux", sys.platform == "linux")
    return LOCAL


# Many questions in one call


def test_answers_come_apart() -> None:
    questions = {
        "one": "echo 1",
        "lines": "printf 'a\\n\\nb\\n'",
        "silent": "true",
        "denied": "cat /nowhere",
        "unknown": "no_such_program",
        "half": "echo half; echo lost >&2; false",
        "commented": "echo last # and more",
    }
    assert gather(LOCAL, questions) == {
        "one": "1\n",
        "lines": "a\n\nb\n",
        "silent": "",
        "denied": "",
        "unknown": "",
        "half": "half\n",
        "commented": "last\n",
    }


def test_an_answer_without_a_lines_end_leaves_the_next_alone() -> None:
    # A Raspberry Pi's model is such an answer.
    answers = gather(LOCAL, {"model": "printf 'Raspberry Pi 5\\0'", "architecture": "echo aarch64"})
    assert answers == {"model": "Raspberry Pi 5\0", "architecture": "aarch64\n"}


@settings(max_examples=25)
@given(st.lists(TEXTS, min_size=1, max_size=4))
def test_any_answers_come_apart(texts: list[str]) -> None:
    questions = {f"q{i}": f"printf %s {quote(text)}" for i, text in enumerate(texts)}
    assert list(gather(LOCAL, questions).values()) == texts


def test_a_question_that_ends_the_shell_ends_the_answers() -> None:
    answers = gather(LOCAL, {"before": "echo 1", "end": "true; exit 3", "after": "echo 2"})
    assert answers == {"before": "1\n", "end": "", "after": ""}


QUESTIONS = {
    "before": "echo 1",
    "hangs": "sleep 30",
    "begins": "sh -c 'echo half; exec sleep 30'",
    "filtered": "sleep 30 | grep x",
    "after": "echo 2",
}


def test_an_answer_that_does_not_come_is_empty_and_the_others_stay(monkeypatch) -> None:
    monkeypatch.setattr(gather_module, "EACH_S", 0.5)
    assert gather(LOCAL, QUESTIONS, 20.0) == {
        **dict.fromkeys(QUESTIONS, ""),
        "before": "1\n",
        "after": "2\n",
    }


OLD = """#!/bin/sh
[ "$1 $2" = "-s KILL" ] || exit 125
real=$(PATH=/usr/bin:/bin command -v timeout)
"$real" "$@"
status=$?
[ $status = 137 ] && exit 9
exit $status
"""
OTHER = "#!/bin/sh\n[ $1 = -t ] || exit 127\n"


@pytest.mark.parametrize("program", [None, OTHER], ids=["none", "other words"])
def test_without_timeout_there_are_no_bounds(tmp_path: Path, monkeypatch, program) -> None:
    for name in ("echo", "sleep", "sh", "true"):
        (tmp_path / name).symlink_to(str(shutil.which(name)))
    if program is not None:
        (tmp_path / "timeout").write_text(program)
        (tmp_path / "timeout").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(gather_module, "EACH_S", 0.2)
    questions = {"slow": "sh -c 'sleep 0.5; echo 1'", "after": "echo 2"}
    assert gather(LOCAL, questions) == {"slow": "1\n", "after": "2\n"}
    assert not was_killed(LOCAL.call(bounded("sleep 0.5", 0.1)))


def test_a_command_that_does_not_end_is_killed() -> None:
    assert was_killed(LOCAL.call(bounded("sleep 30", 0.2)))
    assert LOCAL.call(bounded("sh -c 'echo 1; exit 3'")) == Answer(3, "1\n", "")


def test_an_old_toybox_says_otherwise_that_it_has_killed(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "timeout").write_text(OLD)
    (tmp_path / "timeout").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(gather_module, "EACH_S", 0.5)
    assert gather(LOCAL, QUESTIONS)["begins"] == ""
    assert was_killed(LOCAL.call(bounded("sleep 30", 0.2)))


HASTY = """#!/bin/sh
real=$(PATH=/usr/bin:/bin command -v timeout)
"$real" "$@"
status=$?
[ $status = 137 ] || exit 127
exit $status
"""


def test_a_toybox_that_loses_the_status_of_what_ends_at_once(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "timeout").write_text(HASTY)
    (tmp_path / "timeout").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(gather_module, "EACH_S", 0.5)
    answers = gather(LOCAL, QUESTIONS)
    assert (answers["before"], answers["hangs"], answers["after"]) == ("1\n", "", "2\n")
    assert was_killed(LOCAL.call(bounded("sleep 30", 0.2)))


def test_no_questions_have_no_answers() -> None:
    assert gather(LOCAL, {}) == {}


def test_a_device_that_is_gone_is_no_reading() -> None:
    with pytest.raises(DeviceUnavailable):
        gather(Gone(), KERNEL)


# Single readings


@pytest.mark.parametrize(
    ("value", "read"),
    [
        *((value, value) for value in (0, 0.0, -5, "x", ("1",), 2**64 - 1)),
        *((value, UNAVAILABLE) for value in (None, "", (), 2**64, float("nan"), float("-inf"))),
    ],
)
def test_what_a_reading_is(value: Reading | None, read: Reading) -> None:
    assert reading(lambda: value) == read


@pytest.mark.parametrize("error", [ValueError, KeyError, IndexError, LookupError, OverflowError])
def test_a_foreign_answer_is_unavailable(error: type[Exception]) -> None:
    def fail() -> Reading:
        raise error

    assert reading(fail) == UNAVAILABLE


@pytest.mark.parametrize("error", [TypeError, AttributeError, DeviceUnavailable("Gone.", "Look.")])
def test_an_error_of_ours_is_not_taken_for_a_foreign_answer(error: Exception) -> None:
    def fail() -> Reading:
        raise error

    with pytest.raises(Exception) as caught:
        reading(fail)
    assert caught.type is (error if isinstance(error, type) else type(error))


@pytest.mark.parametrize(
    ("text", "cores"),
    [
        ("0-3,7", ("0", "1", "2", "3", "7")),
        ("5", ("5",)),
        (" 0 , 2-2\n", ("0", "2")),
        ("8190-8191", ("8190", "8191")),
    ],
)
def test_lists_of_cores(text: str, cores: tuple[str, ...]) -> None:
    assert numbers(text) == cores


@pytest.mark.parametrize(
    "text", ["", "a", "-1", "1-", "3-0", "0,3-1", "0-1-2", "1,,2", "0-99999", "8192"]
)
def test_no_lists_of_cores(text: str) -> None:
    with pytest.raises(ValueError):
        numbers(text)


def test_fields_are_whole_words_at_the_start_of_a_line() -> None:
    text = "cpu0 1\ncpu\t7 8\n cpu 9\nctxt 5\n"
    assert (field(text, "cpu"), field(text, "ctxt")) == ("7 8", "5")
    for key in ("cp", "9", "missing"):
        with pytest.raises(LookupError):
            field(text, key)


@pytest.mark.parametrize("text", ["", "MemTotal:\n", "MemTotal: many kB\n", "MemTotal 5 kB\n"])
def test_no_size(text: str) -> None:
    assert kilobytes(text, "MemTotal") == UNAVAILABLE


# What a kernel tells


def test_what_a_phones_kernel_tells() -> None:
    assert kernel_state(PHONE) == {
        "loadavg_1": 1.52,
        "loadavg_5": 1.61,
        "loadavg_15": 1.73,
        "governor": ("schedutil", "powersave", "powersave", "powersave", "powersave"),
        "cpu_khz": ("300000", "300001", "300002", "300003", "300010"),
        "cpu_max_khz": ("1785600", "1785601", "1785602", "1785603", "1785610"),
        "cpu_hardware_max_khz": ("2841600", "2841601", "2841602", "2841603", "2841610"),
        "steal_ticks": 12,
        "idle_ticks": 20493870,
        "total_ticks": 1093563 + 55401 + 864110 + 20493870 + 16873 + 145023 + 65017 + 12,
        "context_switches": 272918342,
        "psi_cpu_some_us": 7348306731,
        "run_delay_ns": 1234,
        "page_faults": 658704968,
        "memory_available_bytes": 2731548 * 1024,
        "affinity": ("0", "4", "5", "6", "7"),
        "environment": ("KMP_BLOCKTIME=0", "OMP_NUM_THREADS=2"),
        "background_process": UNAVAILABLE,
        "background_cpu_share": UNAVAILABLE,
    }
    assert core_count(PHONE) == 5


def test_the_highest_clock_of_each_core() -> None:
    assert highest_clocks(CLOCKS) == {core: 2_841_600 + core for core in CORES}
    assert highest_clocks("") == {}


def test_a_core_without_clocks_is_left_out() -> None:
    some = "".join(line for line in CLOCKS.splitlines(True) if "cpu2/" not in line)
    assert each_core(some, "scaling_cur_freq") == ("300000", "300001", "300003", "300010")
    assert 2 not in highest_clocks(some)


def test_what_is_denied_is_unavailable() -> None:
    state = kernel_state(NOTHING)
    assert unavailable(state) == state.keys()
    assert core_count(NOTHING) == UNAVAILABLE


def test_an_old_kernel_counts_less() -> None:
    answers = PHONE | {"stat": "cpu 1 2 3 4 5 6 7\nctxt 9\n", "pressure": "full total=5\n"}
    state = kernel_state(answers | {"delays": "version 15\n"})
    for name in ("steal_ticks", "idle_ticks", "total_ticks", "psi_cpu_some_us", "run_delay_ns"):
        assert state[name] == UNAVAILABLE, name
    assert state["context_switches"] == 9


@settings(max_examples=300)
@given(any_of(PHONE))
def test_any_answers_give_readings(answers: dict[str, str]) -> None:
    assert_saved_as_they_are(kernel_state(answers) | {"cores": core_count(answers)})
    assert all(0 < khz < 10**9 or khz == 0 for khz in highest_clocks(answers["clocks"]).values())


def test_every_reading_is_documented() -> None:
    assert kernel_state(NOTHING).keys() <= documented("Link.state").keys()


# This machine


def test_this_machines_own_kernel(here: Shell) -> None:
    answers = gather(here, KERNEL)
    state = kernel_state(answers)
    assert_saved_as_they_are(state)
    assert core_count(answers) == len(list(Path(CPU).glob("cpu[0-9]*")))
    assert state["affinity"] == tuple(map(str, sorted(os.sched_getaffinity(0))))
    assert unavailable(state) & {"loadavg_1", "loadavg_15", "idle_ticks", "total_ticks"} == set()
    total = re.findall(r"^MemTotal:\s+(\d+)", answers["memory"], re.MULTILINE)[0]
    assert 0 < state["memory_available_bytes"] < int(total) * 1024


@pytest.mark.parametrize(
    "name",
    [
        *("total_ticks", "steal_ticks", "context_switches", "page_faults"),
        *("psi_cpu_some_us", "run_delay_ns"),
    ],
)
def test_counters_are_those_that_are_read_on_the_spot(here: Shell, name: str) -> None:
    before = readings.state().readings[name]
    found = kernel_state(gather(here, KERNEL))[name]
    after = readings.state().readings[name]
    if UNAVAILABLE in (before, found, after):
        assert before == found == after
    else:
        assert before <= found <= after
