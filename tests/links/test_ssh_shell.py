"""The shell over ssh: the real client against a real server on this machine."""

from __future__ import annotations

import contextlib
import getpass
import os
import re
import signal
import threading
from pathlib import Path

import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mvdeploy.errors import DeviceUnavailable, EngineError, UsageError
from mvdeploy.links.families.ssh import shell as ssh_shell
from mvdeploy.links.families.ssh.shell import SshShell
from mvdeploy.links.shell import quote
from tests.ssh.fixtures import board, nothing_left, server, shell
from tests.ssh.server import LIMIT_S, await_true, need

__all__ = ["board", "nothing_left", "server", "shell"]

BIG = 20_000_000
HUGE = 400_000_000
"""Bytes that nothing can send before it is stopped."""

HOSTILE = [
    "with space",
    "quo'te",
    'quo"te',
    "a;touch owned",
    "$(touch owned)",
    "`touch owned`",
    "-rf",
    "--help",
    "a|touch owned",
    "a\nb",
    "*",
    "~",
    "{size}",
    "back\\slash",
    "ä€",
    "%h",
]


# Commands.


@pytest.mark.parametrize("status", [0, 1, 3, 126, 127, 254, 255])
def test_a_commands_status_comes_back(board, status):
    assert board.call(f"exit {status}").status == status


def test_a_signals_status_comes_back(board):
    assert board.call("sh -c 'kill -9 $$'").status == 137


def test_outputs_come_back_apart_and_as_they_are(board):
    answer = board.call("printf 'one\\n\\ntwo'; echo bad >&2")
    assert (answer.status, answer.out, answer.error) == (0, "one\n\ntwo", "bad\n")
    assert board.call("printf 'one\\n'").out == "one\n"
    assert board.call("true").out == ""
    assert board.call("printf '\\377x'").out == "\ufffdx"


def test_an_output_cannot_pass_for_the_status(board):
    answer = board.call("printf '\\n__RC=5\\n'; exit 6")
    assert (answer.status, answer.out) == (6, "\n__RC=5\n")


def test_a_large_output_comes_whole(board):
    answer = board.call(f"head -c {BIG} /dev/zero | tr '\\0' x; echo end >&2")
    assert answer.out == "x" * BIG
    assert answer.error == "end\n"


@pytest.mark.parametrize(
    "command", ["true # a comment", "true\ntrue\n", "(true)", "cat", "read x || true"]
)
def test_any_command_ends(board, command):
    assert board.call(command).status == 0


@pytest.mark.parametrize(
    "command",
    [
        "cat <<'.'\na 'b' \"c\" $d `e` \\f %g {h}\n.",
        "printf '%s\\n' \"a 'b' \\\"c\\\" \\$d \\`e\\` \\\\f %g {h}\"",
    ],
)
def test_commands_arrive_as_they_are(board, command):
    assert board.call(command).out == "a 'b' \"c\" $d `e` \\f %g {h}\n"


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None
)
@given(
    st.lists(
        st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20),
        max_size=4,
    )
)
def test_quoted_words_arrive_as_they_are(board, words):
    answer = board.call(f"printf '%s/' {quote('x', *words)}")
    assert answer.out == "/".join(["x", *words, ""])


def test_commands_run_side_by_side(board, tmp_path):
    # Each ends only when all have begun.
    count = 8
    script = (
        f"touch {tmp_path}/$0; until [ $(ls {tmp_path} | wc -l) -eq {count} ]; do sleep 0.05; done"
    )
    answers = {}

    def work(number):
        answers[number] = board.call(f"sh -c {quote(script)} {number}; echo {number}")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {n: answer.out for n, answer in answers.items()} == {n: f"{n}\n" for n in range(count)}


def test_a_command_takes_no_login(server, shell):
    for _ in range(3):
        shell.call("true")
    log = (server.folder / "sshd.log").read_text()
    assert log.count("Accepted publickey") == 1


def test_a_stream_is_read_while_its_command_runs(board, tmp_path):
    go = tmp_path / "go"
    with (tmp_path / "error").open("w+b") as error:
        process = board.start(
            f"echo one; until [ -e {go} ]; do sleep 0.05; done; echo two; echo bad >&2; exit 9",
            error,
        )
        with process:
            assert process.stdout.readline() == b"one\n"
            go.touch()
            assert process.stdout.read() == b"two\n\n__RC=9\n"
        error.seek(0)
        assert error.read() == b"bad\n"


def test_a_stream_without_a_place_for_errors_drops_them(board):
    with board.start("echo bad >&2; echo good") as process:
        assert process.stdout.read() == b"good\n\n__RC=0\n"


# Files.


def test_a_large_file_goes_there_and_back(board, tmp_path):
    local, back = tmp_path / "local", tmp_path / "new folder" / "back"
    local.write_bytes(os.urandom(BIG))
    remote, progress = f"{board.folder}/large/file", []
    board.push(local, remote, lambda sent, size: progress.append((sent, size)))
    assert progress == sorted(progress)
    assert {size for _, size in progress} == {BIG}
    assert progress[-1] == (BIG, BIG)
    board.pull(remote, back)
    assert back.read_bytes() == local.read_bytes() == Path(remote).read_bytes()
    assert os.listdir(back.parent) == ["back"]
    assert os.listdir(Path(remote).parent) == ["file"]


def test_an_empty_file_goes_there_and_back(board, tmp_path):
    local, back, progress = tmp_path / "local", tmp_path / "back", []
    local.touch()
    board.push(local, f"{board.folder}/empty", lambda *now: progress.append(now))
    board.pull(f"{board.folder}/empty", back)
    assert back.read_bytes() == b""
    assert progress[-1] == (0, 0)


@pytest.mark.parametrize(("mode", "there"), [(0o755, 0o755), (0o600, 0o600), (0o400, 0o600)])
def test_programs_stay_programs(board, tmp_path, mode, there):
    local = tmp_path / "local"
    local.write_text("#!/bin/sh\nexit 3\n")
    local.chmod(mode)
    remote = f"{board.folder}/program"
    board.push(local, remote)
    assert Path(remote).stat().st_mode & 0o777 == there
    assert board.call(quote(remote)).status == (3 if mode & 0o100 else 126)


def test_a_file_takes_the_place_of_an_older_one(board, tmp_path):
    local, remote = tmp_path / "local", f"{board.folder}/file"
    for text in ("longer text", "text"):
        local.write_text(text)
        board.push(local, remote)
        assert Path(remote).read_text() == text
        board.pull(remote, tmp_path / "back")
        assert (tmp_path / "back").read_text() == text


@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_runs_a_command(board, tmp_path, name):
    local, back = tmp_path / name, tmp_path / "back" / name
    local.write_text(name)
    remote = f"{board.folder}/hostile {name}/{name}"
    board.push(local, remote)
    assert Path(remote).read_text() == name
    board.pull(remote, back)
    assert back.read_text() == name
    for folder in (Path.cwd(), Path.home(), tmp_path, Path(board.folder), Path(remote).parent):
        assert not (folder / "owned").exists()


def test_a_path_is_never_an_option(board):
    assert [ssh_shell._path(path) for path in ("-rf", "a b", "/-rf")] == [
        "./-rf",
        "'./a b'",
        "/-rf",
    ]
    with pytest.raises(EngineError, match="has no file --help"):
        board.pull("--help", Path("never"))


def test_a_file_that_is_not_here_is_not_sent(board, tmp_path):
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(UsageError, match="There is no file"):
            board.push(path, f"{board.folder}/x")


@pytest.mark.parametrize(
    ("remote", "reason"), [("taken", "a folder has that name"), ("file/x", "File exists|directory")]
)
def test_a_file_that_cannot_be_there_is_refused(board, tmp_path, remote, reason):
    local, folder = tmp_path / "local", Path(board.folder) / "odd"
    local.write_text("x")
    (folder / "taken").mkdir(parents=True, exist_ok=True)
    (folder / "file").write_text("old")
    with pytest.raises(DeviceUnavailable, match=f"does not take a file as .*({reason})") as caught:
        board.push(local, f"{folder}/{remote}")
    assert board.folder in caught.value.remedy
    assert sorted(os.listdir(folder)) == ["file", "taken"]
    assert (folder / "file").read_text() == "old"


def test_a_full_disk_is_progress(board, tmp_path):
    local, folder = tmp_path / "local.onnx", Path(board.folder) / "full"
    local.write_bytes(bytes(3_000_000))
    folder.mkdir()
    (folder / "file").write_text("old")
    # The device that is always full stands in for the disk.
    (folder / f"file.{os.getpid()}.part").symlink_to("/dev/full")
    with pytest.raises(DeviceUnavailable) as caught:
        board.push(local, f"{folder}/file")
    assert caught.value.message.endswith("has no room for local.onnx (3.0 MB).")
    assert board.folder in caught.value.remedy
    assert os.listdir(folder) == ["file"]
    assert (folder / "file").read_text() == "old"


@pytest.mark.parametrize(
    ("remote", "words"),
    [
        ("{folder}/none", "has no file"),
        ("{folder}", "has no file"),
        ("/proc/self/mem", "does not give the file .*error"),
        # Each reader sees its own command there, so that it is never as long as it was.
        ("/proc/self/cmdline", "changed the file"),
    ],
)
def test_a_file_that_does_not_come_leaves_the_old_one(board, tmp_path, remote, words):
    local = tmp_path / "local"
    local.write_text("old")
    with pytest.raises(EngineError, match=words):
        board.pull(remote.format(folder=board.folder), local)
    assert os.listdir(tmp_path) == ["local"]
    assert local.read_text() == "old"


# The folder.


def test_the_folder_is_the_users_own(server, shell):
    assert shell.folder == f"{server.home}/.cache/mvdeploy"
    assert Path(shell.folder).stat().st_mode & 0o777 == 0o700
    assert os.listdir(shell.folder) == []


def test_the_folder_is_where_the_device_has_its_caches(server, tmp_path):
    place = tmp_path / "my cache; touch owned"
    server.start(XDG_CACHE_HOME=str(place))
    with SshShell(server.address) as shell:
        assert shell.folder == f"{place}/mvdeploy"


def _as_root():
    need(os.getuid() == 0, "root's rights")


def unwritable(server):
    server.start(HOME="/proc/nowhere", TMPDIR=str(server.folder))


def a_link(server):
    (server.home / "elsewhere").mkdir()
    (server.home / ".cache").mkdir()
    (server.home / ".cache" / "mvdeploy").symlink_to(server.home / "elsewhere")
    server.start(TMPDIR=str(server.folder))


def of_another(server):
    _as_root()
    (server.home / ".cache" / "mvdeploy").mkdir(parents=True)
    os.chown(server.home / ".cache" / "mvdeploy", 12345, 12345)
    server.start(TMPDIR=str(server.folder))


def not_executable(server):
    _as_root()
    mount = f"mount -t tmpfs -o noexec none {quote(str(server.home))}"
    server.start(before=mount, TMPDIR=str(server.folder))


@pytest.mark.parametrize("spoil", [unwritable, a_link, of_another, not_executable])
def test_another_folder_is_taken_where_the_first_will_not_do(server, spoil):
    spoil(server)
    with SshShell(server.address) as shell:
        assert shell.folder == f"{server.folder}/mvdeploy-{getpass.getuser()}"
        assert shell.call(f"ls -A {quote(shell.folder)}").out == ""


# The connection breaks.


def kill_when(server, text):
    """Kill a server as soon as it runs a command with a text in it."""

    def runs():
        return any(text in " ".join(command_line(process)) for process in server.processes())

    def work():
        await_true(runs, f"{text} runs")
        server.kill()

    thread = threading.Thread(target=work)
    thread.start()
    return thread


def command_line(process):
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []


def test_a_server_that_dies_while_a_command_runs_is_progress(server, shell):
    thread = kill_when(server, "sleep 61")
    with pytest.raises(DeviceUnavailable) as caught:
        shell.call("echo half; sleep 61", LIMIT_S)
    thread.join()
    assert re.match("The connection to The board broke while a command ran", caught.value.message)
    with pytest.raises(DeviceUnavailable, match="The connection to The board broke while no comm"):
        shell.call("true")
    with pytest.raises(DeviceUnavailable, match="broke"):
        shell.start("true")


def test_a_stream_that_is_cut_has_no_status(server, shell):
    with shell.start("echo half; sleep 62") as process:
        assert process.stdout.readline() == b"half\n"
        server.kill()
        assert process.stdout.read() == b""
    assert process.returncode == 255


def test_a_connection_that_broke_can_be_made_again(server, shell):
    server.kill()
    with pytest.raises(DeviceUnavailable):
        shell.call("true")
    shell.close()
    server.start()
    shell.open()
    assert shell.call("echo again").out == "again\n"


def huge(path):
    """Make a file that takes no room here."""
    with path.open("wb") as file:
        file.truncate(HUGE)
    return path


def test_a_server_that_dies_while_a_file_is_sent_is_progress(server, shell, tmp_path):
    remote = f"{shell.folder}/file"
    Path(remote).write_text("old")

    def cut(sent, size):
        for process in server.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                if process.name() == "sshd":
                    process.kill()

    with pytest.raises(DeviceUnavailable, match="board broke while local was being sent"):
        shell.push(huge(tmp_path / "local"), remote, cut)
    # What runs over there sees that the file is not whole, and removes it.
    await_true(lambda: os.listdir(shell.folder) == ["file"], "the piece is removed")
    assert Path(remote).read_text() == "old"


def test_a_server_that_dies_while_a_file_comes_is_progress(server, shell, tmp_path):
    remote, folder = huge(Path(shell.folder) / "file"), tmp_path / "back"
    thread = kill_when(server, f"cat {remote}")
    with pytest.raises(DeviceUnavailable, match="file was being copied from it"):
        shell.pull(str(remote), folder / "file")
    thread.join()
    assert os.listdir(folder) == []


def test_a_transfer_that_stands_still_is_ended(server, shell, tmp_path, monkeypatch):
    monkeypatch.setattr(ssh_shell, "_STALL_S", 0.5)

    def freeze(sent, size):
        server.signal_all(signal.SIGSTOP)

    with pytest.raises(DeviceUnavailable, match=r"within 0\.5 s while receiving local"):
        shell.push(huge(tmp_path / "local"), f"{shell.folder}/file", freeze)


def test_what_breaks_off_a_transfer_leaves_nothing(server, shell, tmp_path):
    def interrupt(sent, size):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        shell.push(huge(tmp_path / "local"), f"{shell.folder}/file", interrupt)
    await_true(lambda: os.listdir(shell.folder) == [], "the piece is removed")
    assert shell.call("echo here").out == "here\n"


def test_a_command_that_takes_too_long_is_not_waited_for(server, shell):
    with pytest.raises(DeviceUnavailable, match=r"within 0\.5 s while running a command"):
        shell.call("sleep 63", 0.5)
    assert shell.call("echo here").out == "here\n"


def test_a_device_that_stands_still_is_not_waited_for(server, shell):
    server.signal_all(signal.SIGSTOP)
    with pytest.raises(DeviceUnavailable, match=r"within 0\.5 s while running a command"):
        shell.call("true", 0.5)
