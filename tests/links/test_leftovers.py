"""Whose a run's folder on a device is, and whether it is still in use: a phone and a board."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mvdeploy
from mvdeploy.links import leftovers, session
from mvdeploy.links.families.adb.shell import Adb, AdbShell
from mvdeploy.links.leftovers import Left, LeftRun, look
from mvdeploy.links.session import Session
from mvdeploy.links.shell import Answer, ended
from tests.android.fixtures import adb_server, make_phone, phone
from tests.android.phone import TMP, Phone
from tests.android.server import AdbServer
from tests.ssh.fixtures import server
from tests.ssh.server import SshServer

__all__ = ["adb_server", "make_phone", "phone", "server"]

WAIT_S = 20.0
HOME = f"{TMP}/mvdeploy"

# A run that has a folder on a phone, until its input ends.
RUN = """
import sys
from mvdeploy.links import session
from mvdeploy.links.families.adb.shell import Adb, AdbShell
if sys.argv[2:]:
    session.system = lambda: sys.argv[2]
with Adb() as adb:
    one = session.Session(AdbShell(adb, sys.argv[1]), "/data/local/tmp/mvdeploy")
    one.begin()
    print(one.name, flush=True)
    sys.stdin.read()
"""

MakeRun = Callable[..., tuple[str, subprocess.Popen[bytes]]]


@pytest.fixture
def shell(phone: Phone, adb_server: AdbServer) -> Iterator[AdbShell]:
    adb_server.run("connect", phone.address)
    with Adb() as adb:
        yield AdbShell(adb, phone.address, "The phone")


@pytest.fixture
def make_run(shell: AdbShell) -> Iterator[MakeRun]:
    """Return a function that starts a run in a process of its own, on this system or another."""
    with contextlib.ExitStack() as stack:

        def make(*system: str) -> tuple[str, subprocess.Popen[bytes]]:
            process = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", RUN, shell.serial, *system],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    env={**os.environ, "PYTHONPATH": str(Path(mvdeploy.__file__).parents[1])},
                )
            )
            stack.callback(process.kill)
            assert process.stdout is not None
            return process.stdout.readline().decode().strip(), process

        yield make


def until(condition: Callable[[], object]) -> None:
    """Wait for what takes a moment, such as the end of what was killed."""
    limit = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.05)


def the_run(shell: AdbShell) -> LeftRun:
    (run,) = look(shell, HOME).runs
    return run


def age(phone: Phone, run: LeftRun, seconds: float) -> None:
    """Have nothing been put into a run's folder for so long."""
    then = time.time() - seconds
    os.utime(phone.tmp / "mvdeploy" / run.name, (then, then))


# Whose it is


def test_where_nothing_is_nothing_is_found(shell: AdbShell) -> None:
    assert look(shell, HOME).runs == ()
    assert leftovers.sizes(shell, HOME) == {}


def test_a_run_of_this_process_is_in_use_until_it_parts(shell: AdbShell, phone: Phone) -> None:
    one = Session(shell, HOME)
    one.begin()
    run = the_run(shell)
    assert (run.name, run.process, run.system) == (one.name, os.getpid(), session.system())
    assert run.who.startswith(f"process {os.getpid()} on ")
    assert run.kept and run.in_use and run.is_own and run.age_s < WAIT_S
    assert look(shell, HOME).others == ()
    one.part()
    assert phone.processes() == []
    run = the_run(shell)
    assert not run.kept and not run.in_use
    assert look(shell, HOME).gone == (run,)


def test_a_run_that_is_killed_is_over(shell: AdbShell, make_run: MakeRun) -> None:
    name, process = make_run()
    run = the_run(shell)
    assert run.name == name and run.kept and run.in_use and not run.is_own
    assert look(shell, HOME).others == (run,)
    process.kill()
    until(lambda: not run.in_use)  # also while nobody has taken note of its end
    process.wait()
    assert not run.in_use
    until(lambda: not the_run(shell).kept)


def test_a_run_whose_keeper_is_gone_is_in_use_while_its_process_lives(
    shell: AdbShell, make_run: MakeRun, phone: Phone
) -> None:
    _, process = make_run()
    (phone.tmp / "mvdeploy" / the_run(shell).name / "keeper").unlink()
    run = the_run(shell)
    assert not run.kept and run.in_use
    process.kill()
    process.wait()
    assert not run.in_use


def test_a_run_of_another_system_is_in_use_while_its_connection_stands(
    shell: AdbShell, make_run: MakeRun, phone: Phone
) -> None:
    _, process = make_run("another system")
    age(phone, the_run(shell), 10 * leftovers._YOUNG_S)
    run = the_run(shell)
    assert run.system == "another system" and run.age_s > leftovers._YOUNG_S
    assert run.kept and run.in_use
    process.kill()
    until(lambda: not the_run(shell).kept)
    # Its process cannot be seen from here.
    assert not the_run(shell).in_use


def test_a_run_of_another_system_is_given_time_to_come_back(
    shell: AdbShell, make_run: MakeRun
) -> None:
    _, process = make_run("another system")
    process.kill()
    until(lambda: not the_run(shell).kept)
    assert the_run(shell).in_use


def test_a_keeper_ends_with_the_connection_and_comes_back(
    shell: AdbShell, phone: Phone, adb_server: AdbServer
) -> None:
    one = Session(shell, HOME)
    one.begin()
    phone.cut()
    until(lambda: phone.processes() == [])
    adb_server.run("disconnect", phone.address)
    adb_server.run("connect", phone.address)
    assert not the_run(shell).kept
    assert the_run(shell).in_use  # it is this process's
    one.begin()
    assert the_run(shell).kept
    one.part()


def test_the_number_of_a_keeper_that_another_process_has_is_none(
    shell: AdbShell, phone: Phone
) -> None:
    one = Session(shell, HOME)
    one.begin()
    keeper = phone.tmp / "mvdeploy" / one.name / "keeper"
    number, started = keeper.read_text().split()
    keeper.write_text(f"{number} {int(started) - 1}\n")
    assert not the_run(shell).kept
    keeper.write_text(f"{number} {started}\n")
    assert the_run(shell).kept
    one.part()


def test_a_run_of_an_earlier_release_is_given_a_day(shell: AdbShell, phone: Phone) -> None:
    (phone.tmp / "mvdeploy" / "run-0a0b0c0d").mkdir(parents=True)
    run = the_run(shell)
    assert run.in_use and not run.system
    age(phone, run, 2 * leftovers._OLD_S)
    assert not the_run(shell).in_use


def test_a_run_whose_runner_runs_is_in_use(shell: AdbShell, phone: Phone) -> None:
    (phone.tmp / "mvdeploy" / "run-0a0b0c0d").mkdir(parents=True)
    inner = f"cd {HOME}/run-0a0b0c0d && echo $$ >pid && echo here && exec sleep 600"
    with ended(shell.start(f"sh -c '{inner}'")) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"here\n"
        age(phone, the_run(shell), 2 * leftovers._OLD_S)
        run = the_run(shell)
        assert run.runner and run.in_use
        # Whoever removes it ends what runs in it.
        removed = leftovers.remove(shell, HOME, [run])
        assert isinstance(removed, int) and removed > 0
        process.wait(WAIT_S)  # it was ended
    assert phone.processes() == []
    assert look(shell, HOME).runs == ()


def test_a_program_elsewhere_is_no_runner(shell: AdbShell, phone: Phone) -> None:
    """Numbers of processes begin anew when a phone is started."""
    folder = phone.tmp / "mvdeploy" / "run-0a0b0c0d"
    folder.mkdir(parents=True)
    with ended(shell.start("sh -c 'echo $$; exec cat'", held=True)) as process:
        assert process.stdout is not None and process.stdin is not None
        (folder / "pid").write_bytes(process.stdout.readline())
        age(phone, the_run(shell), 2 * leftovers._OLD_S)
        run = the_run(shell)
        assert run.runner == 0 and not run.in_use
        leftovers.remove(shell, HOME, [run])
        assert "cat" in phone.processes()
        process.stdin.close()
        process.wait(WAIT_S)


def test_a_folder_that_is_no_runs_is_left_alone(shell: AdbShell, phone: Phone) -> None:
    for name in ("kit-1", "files"):
        (phone.tmp / "mvdeploy" / name).mkdir(parents=True)
    (phone.tmp / "mvdeploy" / "run-file").touch()
    assert look(shell, HOME).runs == ()


def test_when_a_process_was_started() -> None:
    own = session.started(os.getpid())
    assert own and session.started(os.getpid()) == own
    assert session.started(2**22 + 1) == ""
    assert not session.is_hidden(os.getpid()) and not session.is_hidden(2**22 + 1)
    assert not session.is_hidden(2**80)


def test_a_process_of_which_nothing_can_be_told_is_not_taken_for_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As those of other users are where /proc hides them."""
    run = LeftRun("run-1", system=session.system(), process=4711, created="1", kept=True)
    assert not run.in_use

    def refuse(_number: int, _signal: int) -> None:
        raise PermissionError

    monkeypatch.setattr(session, "started", lambda _number: "")
    monkeypatch.setattr(os, "kill", refuse)
    assert run.in_use
    assert not LeftRun("run-1", age_s=1e6, system=session.system(), process=4711).in_use


# The mode


def test_a_mode_is_one_of_this_start_of_the_system() -> None:
    on = LeftRun("run-1", mode="now")
    assert Left("now", (on,)).has_mode(on)
    assert not Left("later", (on,)).has_mode(on)
    assert Left("", (on,)).has_mode(on)  # who does not know asks
    assert Left("now", (LeftRun("run-1", mode=""),)).has_mode(LeftRun("run-1", mode=""))
    assert not Left("now", ()).has_mode(LeftRun("run-1"))


def test_a_mode_that_another_run_uses_is_not_abandoned() -> None:
    gone = LeftRun("run-1", age_s=1e9, mode="now")
    other = LeftRun("run-2", system="another", kept=True, mode="now")
    assert Left("now", (gone,)).mode_is_abandoned
    assert not Left("now", (gone, other)).mode_is_abandoned
    assert Left("now", (gone, LeftRun("run-2", system="another", kept=True))).mode_is_abandoned


def test_a_mode_is_marked_on_the_phone(shell: AdbShell) -> None:
    one = Session(shell, HOME)
    one.begin()
    assert the_run(shell).mode is None
    one.mark_mode(on=True)
    left = look(shell, HOME)
    assert left.runs[0].mode == left.boot != ""
    one.mark_mode(on=False)
    assert the_run(shell).mode is None
    one.part()


# What is not what it should be


class Telling:
    """A shell that answers with a text."""

    name, folder = "It", "/tmp"

    def __init__(self, text: str) -> None:
        self.text = text

    def call(self, _command: str, _limit_s: float = 30.0) -> Answer:
        return Answer(0, self.text, "")


VALUES = st.sampled_from(["", "9" * 400, "nan", "inf", "-1", "٣", "1e999", "yes", "12 nan", "0 0"])
LINES = st.sampled_from(
    ["run=run-1", "run=x", "boot=", "age=", "kept=", "runner=", "mode=", "process=", "who=", "?"]
)


@settings(max_examples=300)
@given(st.lists(st.tuples(LINES, VALUES)))
def test_any_answer_is_read(lines: list[tuple[str, str]]) -> None:
    text = "\n".join(f"{name}{value}" for name, value in lines)
    left = look(Telling(text), HOME)  # type: ignore[arg-type]
    for run in left.runs:
        assert run.name.startswith("run-")
        assert run.in_use in (True, False)
        assert left.has_mode(run) in (True, False)


@settings(max_examples=100)
@given(st.text())
def test_any_text_gives_sizes(text: str) -> None:
    assert all(size >= 0 for size in leftovers.sizes(Telling(text), HOME).values())  # type: ignore[arg-type]


def test_what_cannot_be_removed_is_told_with_its_owner(shell: AdbShell, phone: Phone) -> None:
    folder = phone.tmp / "mvdeploy" / "kit-1"
    folder.mkdir(parents=True)
    (folder / "file").touch()
    folder.chmod(0o555)
    try:
        error = leftovers.discard(shell, [HOME])
    finally:
        folder.chmod(0o755)
    assert error is not None
    assert error.message.startswith(f"{HOME}/kit-1 on The phone belongs to root")
    assert f"'rm -rf {HOME}/kit-1'" in error.remedy
    assert leftovers.discard(shell, [HOME]) is None
    assert list(phone.tmp.iterdir()) == []


# A board


@pytest.mark.slow
def test_a_board_tells_the_same(server: SshServer) -> None:
    with contextlib.closing(server.open_shell("The board")) as shell:
        home = f"{shell.folder}/mvdeploy"
        one = Session(shell, home)
        one.begin()
        (run,) = look(shell, home).runs
        assert run.kept and run.in_use and run.age_s < WAIT_S
        one.mark_mode(on=True)
        assert leftovers.sizes(shell, home)[one.name] > 0
        one.part()
        left = look(shell, home)
        assert not left.runs[0].kept and not left.runs[0].in_use
        assert left.boot and left.has_mode(left.runs[0])
        assert leftovers.tidy(shell, home, one.folder, marked=True, keep=False) is None
        assert sorted(path.name for path in Path(one.folder).iterdir()) == ["mode", "owner"]
        assert leftovers.tidy(shell, home, one.folder, marked=False, keep=True) is None
        assert list(Path(home).iterdir()) == []
        assert leftovers.tidy(shell, home, one.folder, marked=False, keep=False) is None
        assert not Path(home).exists()
