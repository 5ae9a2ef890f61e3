"""Connections of ssh: what keeps one from being made, and how they end."""

from __future__ import annotations

import getpass
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mvdeploy
from mvdeploy import links, plugins
from mvdeploy.errors import DeviceUnavailable, UsageError
from mvdeploy.links.families.ssh import connection, messages
from mvdeploy.links.families.ssh.shell import SshShell
from tests.ssh.fixtures import nothing_left, server
from tests.ssh.server import LIMIT_S, await_true

__all__ = ["nothing_left", "server"]


def refused(address, **fields):
    """Return the error with which a shell does not open."""
    with pytest.raises(DeviceUnavailable) as caught:
        SshShell(address, "The board", **fields).open()
    assert re.fullmatch(r"[A-Z].*\.", caught.value.message)
    assert re.fullmatch(r"[A-Z].*\.", caught.value.remedy)
    return caught.value


# What keeps a shell from opening.


def test_a_host_of_the_configuration_will_do(server):
    with SshShell("board") as shell:
        assert (shell.call("echo here").out, shell.name) == ("here\n", "Device board")


def test_what_the_configuration_has_for_terminals_is_no_obstacle(server):
    config = server.folder / "ssh_config"
    config.write_text(
        "Host *\n SessionType none\n StdinNull yes\n RemoteCommand tmux\n RequestTTY force\n"
        " ForkAfterAuthentication yes\n BatchMode no\n EscapeChar x\n VisualHostKey yes\n"
        " IgnoreUnknown UseKeychain\n UseKeychain yes\n Tunnel point-to-point\n"
        f" ControlMaster auto\n ControlPersist yes\n ControlPath {server.folder}/%C\n"
        f" LocalForward 127.0.0.1:{server.port} 127.0.0.1:1\n ExitOnForwardFailure yes\n"
        " LogLevel QUIET\n PermitLocalCommand yes\n LocalCommand echo noise\n" + config.read_text()
    )
    with SshShell(server.address) as shell:
        assert shell.call("echo here").out == "here\n"


def test_the_time_that_the_configuration_gives_stands(server):
    config = server.folder / "ssh_config"
    config.write_text("ConnectTimeout 1\n" + config.read_text())
    with socket.create_server(("127.0.0.1", 0)) as mute:
        error = refused(f"127.0.0.1:{mute.getsockname()[1]}", connect_s=60)
    assert "does not answer in time" in error.message


@pytest.mark.parametrize(
    ("configured", "seconds"),
    [
        ({"connecttimeout": "none", "connectionattempts": "1"}, None),
        ({"connecttimeout": "30", "connectionattempts": "2"}, 60),
        ({}, None),
    ],
)
def test_seconds_of_the_configuration(configured, seconds):
    assert connection._patience_s(configured) == seconds


def test_a_configuration_that_ssh_refuses_is_told(server):
    config = server.folder / "ssh_config"
    config.write_text("NoSuchOption yes\n" + config.read_text())
    assert "ssh refuses its own configuration" in refused(server.address).message


def test_a_device_is_meant_by_its_name_in_the_configuration(server):
    profile = links.profile("board")
    assert (profile.link, profile.address) == ("ssh", "board")


@pytest.mark.parametrize("name", ["boart", "no.such.host", "-G", "board;x"])
def test_a_name_that_the_configuration_does_not_have_is_no_device(server, name):
    with pytest.raises(plugins.UnknownNameError, match="a host of your ssh configuration"):
        links.profile(name)


def test_an_unknown_host_key_is_not_accepted(server):
    (server.folder / "known_hosts").unlink()
    error = refused(server.address)
    assert "shows a host key that is not known here" in error.message
    assert f"'ssh -p {server.port} {getpass.getuser()}@127.0.0.1'" in error.remedy
    assert not (server.folder / "known_hosts").exists()


def test_a_changed_host_key_is_not_accepted(server):
    server.make_key("host_key")
    server.start()
    error = refused(server.address)
    assert "shows another host key than it used to" in error.message
    assert f'ssh-keygen -R "[127.0.0.1]:{server.port}"' in error.remedy


def test_a_user_without_a_key_is_told_how_to_install_it(server):
    (server.folder / "user_key.pub").write_text("")
    error = refused(server.address)
    assert "does not let this user log in without a password" in error.message
    assert "Permission denied (publickey)" in error.message
    assert "ssh-copy-id" in error.remedy


def test_a_server_that_is_not_there_is_told(server):
    server.kill()
    error = refused(server.address)
    assert "no ssh server listens there" in error.message
    assert "openssh-server" in error.remedy


def test_a_host_that_nobody_knows_is_told(server):
    assert "has an unknown host name" in refused("me@no-such-host.invalid").message


def test_a_server_that_says_nothing_is_not_waited_for(server):
    with socket.create_server(("127.0.0.1", 0)) as mute:
        error = refused(f"127.0.0.1:{mute.getsockname()[1]}", connect_s=1)
    assert "does not answer in time" in error.message


def test_something_that_is_no_ssh_server_is_told(server):
    with socket.create_server(("127.0.0.1", 0)) as other:

        def answer():
            with other.accept()[0] as connection:
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        error = refused(f"127.0.0.1:{other.getsockname()[1]}")
        thread.join()
    assert "The board cannot be reached (ssh: " in error.message


def test_a_server_that_stops_in_the_login_is_not_waited_for(server, monkeypatch):
    monkeypatch.setattr(connection, "_LOGIN_S", 1.0)
    server.start("ForceCommand sleep 60")
    assert "did not answer within 1 s while logging in" in refused(server.address).message


@pytest.fixture
def program_of(tmp_path, monkeypatch):
    """Has a script stand for the ssh program."""

    def make(script):
        program = tmp_path / "ssh"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    return make


def test_an_ssh_that_says_no_more_and_does_not_end_is_not_waited_for(program_of):
    program_of('case "$*" in -G*) exit;; esac; exec sleep 60 >&-')
    assert "accepts the login but runs no command" in refused("me@board").message
    assert connection.is_configured("board") is False


def test_a_configuration_that_does_not_end_is_not_waited_for(program_of, monkeypatch):
    monkeypatch.setattr(connection, "_CONFIGURATION_S", 0.5)
    program_of("exec sleep 60")
    assert connection.is_configured("board") is False
    error = refused("me@board")
    assert "did not read its configuration within 0.5 s" in error.message
    assert "'ssh -G me@board'" in error.remedy


def test_the_way_to_a_device_that_stops_in_the_login_is_named(program_of, monkeypatch):
    monkeypatch.setattr(connection, "_LOGIN_S", 0.5)
    program_of("case \"$*\" in -G*) echo 'proxyjump gate'; exit;; esac; exec sleep 60")
    assert "by way of 'ProxyJump gate' of your ssh configuration" in refused("me@board").message


def test_a_login_without_a_shell_is_told(server):
    server.start("ForceCommand echo 'This account is closed.'; exit 1")
    error = refused(server.address)
    assert "runs no command (ssh: This account is closed)" in error.message
    assert "login shell" in error.remedy


@pytest.mark.parametrize("noise", ["echo Welcome!", "echo Welcome!; seq 5000; echo Welcome!; cat"])
def test_a_login_shell_that_writes_is_told(server, noise):
    server.start(f'ForceCommand {noise}; eval "$SSH_ORIGINAL_COMMAND"')
    error = refused(server.address)
    assert "writes text of its own before any command" in error.message
    assert "~/.bashrc" in error.remedy


def test_a_computer_without_ssh_is_told(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    error = refused("me@board")
    assert "no ssh program" in error.message
    assert "openssh-client" in error.remedy


def test_a_long_temporary_folder_is_no_obstacle(server, tmp_path, monkeypatch):
    folder = tmp_path / ("long" * 30)
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    with SshShell(server.address) as shell:
        assert shell.call("echo here").out == "here\n"
        assert list(folder.iterdir()) == []


def test_a_device_without_a_folder_is_refused(server):
    server.start(HOME="/proc/nowhere", TMPDIR="/proc/nowhere")
    error = refused(server.address)
    assert "no folder that programs can be put into and run from" in error.message
    assert "noexec" in error.remedy


# Closing.


def test_closing_ends_what_still_runs_here(server):
    shell = SshShell(server.address)
    shell.open()
    with shell.start("sleep 64") as process:
        shell.close()
        shell.close()
        assert process.stdout.read() == b""
    with pytest.raises(DeviceUnavailable, match="broke while no command ran"):
        shell.call("true")


SCRIPT = """
import sys, time
from mvdeploy.links.families.ssh.shell import SshShell
print("begun", flush=True)
with SshShell(sys.argv[1]) as shell:
    try:
        print("open", flush=True)
        time.sleep(60)
    except KeyboardInterrupt:
        shell.call(f"touch {shell.folder}/cleaned")
"""


@pytest.fixture
def begun(server):
    """A program, in a session of its own as on a terminal, that opens a shell."""
    root = Path(mvdeploy.__file__).parents[1]
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT, server.address],
        env={**os.environ, "PYTHONPATH": str(root), "TMPDIR": tempfile.gettempdir()},
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        assert process.stdout.readline() == b"begun\n"
        yield process
        process.kill()


@pytest.fixture
def program(begun):
    assert begun.stdout.readline() == b"open\n"
    return begun


def test_an_interrupted_program_can_still_clean_up(server, program):
    os.killpg(program.pid, signal.SIGINT)
    assert program.wait(LIMIT_S) == 0
    assert os.listdir(server.home / ".cache" / "mvdeploy") == ["cleaned"]


def test_a_program_that_is_killed_leaves_no_connection(server, program):
    killed(program)
    await_true(lambda: server.processes() == [], "the sessions end")


@pytest.fixture
def stopping(server):
    """Has the server stop in the login; its session does not mind that nothing comes any more."""
    server.start("ForceCommand exec sleep 65")


@pytest.mark.skipif(sys.platform != "linux", reason="no other system ends the children")
def test_a_program_that_is_killed_in_the_login_leaves_no_connection(stopping, server, begun):
    await_true(
        lambda: any("sleep" in process.name() for process in server.processes()), "the login"
    )
    killed(begun)


def killed(program):
    connections = psutil.Process(program.pid).children(recursive=True)
    assert connections
    program.kill()
    _, alive = psutil.wait_procs(connections, LIMIT_S)
    assert alive == []
    for left in Path(tempfile.gettempdir()).glob("mvdeploy-*"):
        (left / "log").unlink()
        left.rmdir()


# Addresses and texts.


@pytest.mark.parametrize(
    ("address", "host", "user", "port"),
    [
        ("board", "board", None, None),
        ("pi@board.local", "board.local", "pi", None),
        ("pi@192.168.0.2:2222", "192.168.0.2", "pi", 2222),
        ("me@firm.org@board:22", "board", "me@firm.org", 22),
        ("[::1]", "::1", None, None),
        ("pi@[fe80::1%eth0]:2222", "fe80::1%eth0", "pi", 2222),
        ("my_board-2", "my_board-2", None, None),
    ],
)
def test_addresses_are_read(address, host, user, port):
    found = connection.parse(address)
    assert (found.host, found.user, found.port) == (host, user, port)


@pytest.mark.parametrize(
    "address",
    [
        *("", " ", "-oProxyCommand=x", "pi@-oProxyCommand=x", "-l@board", "@board", "pi@"),
        *("a b", "board;x", "$(x)", "`x`", "board:", "board:0", "board:65536", "board:x", "::1"),
        *("pi@board/x", "board\n", "ssh://board", "a'b", 'a"b', "a|b@c", "[::1", "bo\0ard"),
    ],
)
def test_what_is_no_address_is_refused(address):
    with pytest.raises(UsageError, match="is no address"):
        SshShell(address)


@given(st.text(max_size=20) | st.from_regex(r"[-\w@:.\[\]%$;]{1,20}", fullmatch=True))
def test_no_address_can_be_an_option_or_a_command(address):
    try:
        found = connection.parse(address)
    except UsageError:
        return
    for text in filter(None, (found.host, found.user)):
        assert re.fullmatch(r"[A-Za-z0-9._+@:%-]+", text)
        assert not text.startswith("-")
    assert found.port is None or 1 <= found.port <= 65535


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ssh: connect to host x port 22: No route to host\r\n", "cannot be reached from here"),
        ("ssh: connect to host x port 22: Network is unreachable", "cannot be reached from here"),
        ("ssh: connect to host x port 22: Connection timed out", "does not answer in time"),
        ("Received disconnect: Too many authentication failures", "without a password"),
        ("/c: line 1: Bad configuration option: x\r\n/c: terminating, 1 bad", "own configuration"),
        ("Bad owner or permissions on /c", "own configuration"),
        ("A banner.\nconnection closed by 1.2.3.4 port 22.", r"\(ssh: connection closed by"),
        ("", r"The board cannot be reached\."),
    ],
)
def test_what_ssh_says_is_explained(text, words):
    error = messages.unreachable("The board", "pi@board", "board", text)
    assert re.search(words, error.message)
    assert error.exit_code == 3
    assert "{" not in error.remedy
