"""The wrapper of adb with the real adb program and server, against stand-in phones."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mvdeploy.errors import DeviceUnavailable, EngineError, UsageError
from mvdeploy.links.families.adb import messages
from mvdeploy.links.families.adb.messages import Attached
from mvdeploy.links.families.adb.program import find
from mvdeploy.links.families.adb.shell import Adb, AdbShell
from mvdeploy.links.shell import Shell, quote
from tests.android import tables
from tests.android.fixtures import MakePhone, adb_server, demand, make_phone, phone
from tests.android.phone import FEATURES, OTHER, TMP, Phone
from tests.android.server import AdbServer

__all__ = ["adb_server", "make_phone", "phone"]

BIG = 20_000_000
WAIT_S = 20.0

HOSTILE = (
    "with spaces.bin",
    "a'b\"c.bin",
    "semicolon; touch owned .bin",
    "$(touch owned).bin",
    "`touch owned`.bin",
    "&& touch owned",
    "-rf",
    "--help",
    "comma,511",
    "No space left on device",
    "line\nbreak",
    "ünï→code",
    "*",
)


@pytest.fixture
def adb(adb_server: AdbServer) -> Iterator[Adb]:
    with Adb() as adb:
        yield adb


@pytest.fixture
def shell(adb: Adb, phone: Phone) -> AdbShell:
    return AdbShell(adb, adb.connect(phone.address), "Pixel 4")


@pytest.fixture
def big(tmp_path: Path) -> Path:
    path = tmp_path / "big.bin"
    path.write_bytes(os.urandom(BIG))
    return path


def eventually(holds: Callable[[], object]) -> bool:
    until = time.monotonic() + WAIT_S
    while time.monotonic() < until:
        if holds():
            return True
        time.sleep(0.02)
    return False


def failure(error: pytest.ExceptionInfo[DeviceUnavailable]) -> str:
    """Return the message, once there is a remedy that is a sentence."""
    assert error.value.remedy[0].isupper() and error.value.remedy.endswith(".")
    assert error.value.message.endswith(".")
    return error.value.message


def leftovers() -> list[str]:
    """Return adb clients that this process has left."""
    return [child.name() for child in psutil.Process().children() if child.name() == "adb"]


# Commands


def test_it_is_a_shell(shell: AdbShell) -> None:
    as_shell: Shell = shell
    assert (as_shell.name, as_shell.folder) == ("Pixel 4", TMP)


@pytest.mark.parametrize("status", [0, 1, 3, 126, 255])
def test_exit_status(shell: AdbShell, status: int) -> None:
    assert shell.call(f"exit {status}").status == status


def test_status_of_commands_that_end_the_shell_or_the_line(shell: AdbShell) -> None:
    assert shell.call("exec false").status == 1
    assert shell.call("true # ; (").status == 0
    assert shell.call("kill -SEGV $(exec sh -c 'echo $PPID')").status == 139
    assert shell.call("no_such_program").status == 127


def test_output_and_errors_come_apart(shell: AdbShell) -> None:
    answer = shell.call("echo out; echo err >&2; printf more")
    assert (answer.out, answer.error) == ("out\nmore", "err\n")


def test_an_old_phone_gives_both_as_one_but_a_status(adb: Adb, make_phone: MakePhone) -> None:
    old = make_phone(features=("cmd",))
    answer = AdbShell(adb, adb.connect(old.address)).call("echo out; echo err >&2; exit 9")
    assert (answer.status, sorted(answer.out.split())) == (9, ["err", "out"])


def test_output_that_looks_like_the_last_line(shell: AdbShell) -> None:
    answer = shell.call("echo __RC=0; printf '\\n__RC=5\\n'; exit 7")
    assert (answer.status, answer.out) == (7, "__RC=0\n\n__RC=5\n")


def test_big_output(shell: AdbShell) -> None:
    answer = shell.call("seq 300000")
    assert answer.out.splitlines() == list(map(str, range(1, 300_001)))


def test_output_that_is_no_text(shell: AdbShell) -> None:
    assert shell.call("printf '\\377\\376x'").out == "\N{REPLACEMENT CHARACTER}" * 2 + "x"


def test_nothing_is_read_from_here(shell: AdbShell) -> None:
    assert shell.call("cat; echo end").out == "end\n"


def test_calls_side_by_side(shell: AdbShell) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda n: shell.call(f"seq {n}; exit {n}"), range(24)))
    assert [answer.status for answer in answers] == list(range(24))
    assert [len(answer.out.split()) for answer in answers] == list(range(24))


def test_a_started_command_is_read_while_it_runs(shell: AdbShell) -> None:
    command = f"echo first; until [ -e {TMP}/go ]; do sleep 0.05; done; exit 4"
    with shell.start(command) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"first\n"
        shell.call(f"touch {TMP}/go")
        assert process.stdout.read() == b"\n__RC=4\n"


def test_a_started_command_writes_its_errors_where_asked(shell: AdbShell) -> None:
    with tempfile.TemporaryFile() as errors, shell.start("echo e >&2; echo o", errors) as process:
        assert process.stdout is not None
        assert process.stdout.read() == b"o\n\n__RC=0\n"
        process.wait()
        errors.seek(0)
        assert errors.read() == b"e\n"


def test_time_limit(shell: AdbShell) -> None:
    with pytest.raises(DeviceUnavailable) as error:
        shell.call("sleep 60", limit_s=0.5)
    assert failure(error) == "Pixel 4 did not answer within 0.5 s while running a command."
    assert leftovers() == []
    assert shell.call("echo well").out == "well\n"


# Files


def test_push_and_pull_a_big_file(shell: AdbShell, big: Path, tmp_path: Path, phone: Phone) -> None:
    heard: list[tuple[int, int]] = []
    shell.push(big, f"{TMP}/a/b/big.bin", lambda *progress: heard.append(progress))
    assert (phone.tmp / "a/b/big.bin").read_bytes() == big.read_bytes()
    assert heard[-1] == (BIG, BIG)
    assert [done for done, _ in heard] == sorted(done for done, _ in heard)
    shell.pull(f"{TMP}/a/b/big.bin", tmp_path / "new" / "copy.bin")
    assert (tmp_path / "new" / "copy.bin").read_bytes() == big.read_bytes()
    assert os.listdir(tmp_path / "new") == ["copy.bin"]
    assert os.listdir(phone.tmp / "a/b") == ["big.bin"]


def test_progress_of_a_slow_push(
    shell: AdbShell, big: Path, phone: Phone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mvdeploy.links.families.adb.shell._POLL_S", 0.01)
    phone.fault(slow_push_s=0.005)  # for each 64 KB
    heard: list[int] = []
    shell.push(big, f"{TMP}/big.bin", lambda done, _: heard.append(done))
    assert heard == sorted(heard)
    assert len({done for done in heard if 0 < done < BIG}) > 2


def test_modes_and_old_copies(shell: AdbShell, tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text("#!/system/bin/sh\necho one\n")
    program.chmod(0o755)
    shell.push(program, f"{TMP}/program")
    assert shell.call(f"{TMP}/program").out == "one\n"
    program.write_text("#!/system/bin/sh\necho two\n")
    shell.push(program, f"{TMP}/program")
    assert shell.call(f"{TMP}/program").out == "two\n"


def test_an_empty_file(shell: AdbShell, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    shell.push(tmp_path / "empty", f"{TMP}/empty")
    shell.pull(f"{TMP}/empty", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b""


def test_hostile_names(shell: AdbShell, phone: Phone, tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    for name in HOSTILE:
        local = tmp_path / "here" / name
        local.write_text(name)
        shell.push(local, f"{TMP}/{name}/{name}")
        assert (phone.tmp / name / name).read_text() == name
        assert shell.call(f"cat -- {quote(f'{TMP}/{name}/{name}')}").out == name
        shell.pull(f"{TMP}/{name}/{name}", tmp_path / "back" / name)
        assert (tmp_path / "back" / name).read_text() == name
    assert sorted(os.listdir(phone.tmp)) == sorted(HOSTILE)
    assert not list(tmp_path.rglob("owned"))


def test_hostile_serials(adb: Adb, phone: Phone) -> None:
    adb.connect(phone.address)
    for serial in HOSTILE:
        with pytest.raises(DeviceUnavailable) as error:
            AdbShell(adb, serial).call("true")
        assert failure(error) == f"Device {serial} is not attached (adb: device not found)."
    assert phone.log == []


def test_hostile_addresses(adb: Adb) -> None:
    for address in ("; touch owned", "--help", "$(touch owned)", "nobody.invalid"):
        with pytest.raises(DeviceUnavailable) as error:
            adb.connect(address)
        assert failure(error).startswith(f"Device {address} cannot be reached over the network (")
    assert not Path("owned").exists()


def test_no_such_file(shell: AdbShell, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=f"Pixel 4 has no file {TMP}/nix"):
        shell.pull(f"{TMP}/nix", tmp_path / "nix")
    with pytest.raises(EngineError, match="has no file"):
        shell.pull(TMP, tmp_path / "nix")
    with pytest.raises(UsageError, match="There is no file"):
        shell.push(tmp_path / "nix", f"{TMP}/nix")
    assert not (tmp_path / "nix").exists()


def test_a_file_that_may_not_be_read(shell: AdbShell, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"does not give the file /proc/loadavg \(.*denied\)"):
        shell.pull("/proc/loadavg", tmp_path / "load")
    assert not list(tmp_path.glob("load*"))


@pytest.mark.parametrize("remote", ["/system/model.bin", "/system/new/model.bin"])
def test_a_folder_that_may_not_be_written(shell: AdbShell, tmp_path: Path, remote: str) -> None:
    (tmp_path / "model.bin").touch()
    with pytest.raises(DeviceUnavailable) as error:
        shell.push(tmp_path / "model.bin", remote)
    assert failure(error).startswith(f"Pixel 4 does not take a file as {remote} (")
    assert "Permission denied" in error.value.message


# Faults


def test_full_disk(shell: AdbShell, phone: Phone, big: Path) -> None:
    phone.fault(full_after=5_000_000)
    with pytest.raises(DeviceUnavailable) as error:
        shell.push(big, f"{TMP}/big.bin")
    assert failure(error) == "Pixel 4 has no room for big.bin (20.0 MB)."
    assert os.listdir(phone.tmp) == []


def test_cut_during_a_push(shell: AdbShell, phone: Phone, big: Path, adb: Adb) -> None:
    shell.push(big, f"{TMP}/big.bin")
    before = big.read_bytes()
    big.write_bytes(os.urandom(BIG))
    phone.fault(cut_push_after=5_000_000, stay_away=True)
    with pytest.raises(DeviceUnavailable) as error:
        shell.push(big, f"{TMP}/big.bin")
    assert failure(error) == "The connection to Pixel 4 broke while big.bin was being sent."
    assert (phone.tmp / "big.bin").read_bytes() == before
    phone.plug()
    adb.connect(phone.address)
    shell.push(big, f"{TMP}/big.bin")
    assert (phone.tmp / "big.bin").read_bytes() == big.read_bytes()
    assert os.listdir(phone.tmp) == ["big.bin"]


def test_cut_during_a_pull(shell: AdbShell, phone: Phone, big: Path, tmp_path: Path) -> None:
    shell.push(big, f"{TMP}/big.bin")
    phone.fault(cut_pull_after=5_000_000, stay_away=True)
    with pytest.raises(DeviceUnavailable) as error:
        shell.pull(f"{TMP}/big.bin", tmp_path / "new" / "copy")
    assert failure(error).startswith("The connection to Pixel 4 broke while")
    assert os.listdir(tmp_path / "new") == []


def test_cut_during_a_command(shell: AdbShell, phone: Phone) -> None:
    phone.fault(cut_shell_after=100_000, stay_away=True)
    with pytest.raises(DeviceUnavailable) as error:
        shell.call("while echo words; do :; done")
    assert failure(error) == "The connection to Pixel 4 broke while a command ran."
    assert eventually(lambda: phone.processes() == [])


def test_cut_of_a_started_command(shell: AdbShell, phone: Phone) -> None:
    phone.fault(cut_shell_after=len("first\n") + 1, stay_away=True)
    wait = f"until [ -e {TMP}/go ]; do sleep 0.05; done"
    with shell.start(f"echo first; {wait}; echo second; sleep 60") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"first\n"
        (phone.tmp / "go").touch()
        assert process.stdout.read() == b""
    # What the shell had started is not ended by this, as on a phone.
    assert eventually(lambda: "sleep 60" in phone.processes()), phone.processes()


def test_cut_after_a_time(shell: AdbShell, phone: Phone) -> None:
    phone.fault(cut_shell_ms_after=50, stay_away=True)
    with pytest.raises(DeviceUnavailable, match="broke while a command ran"):
        shell.call("sleep 60")


def test_a_phone_that_is_gone(shell: AdbShell, phone: Phone, tmp_path: Path, adb: Adb) -> None:
    (tmp_path / "file").touch()
    phone.unplug()
    assert eventually(lambda: adb.devices()[0].state == "offline")
    for use in (
        lambda: shell.call("true"),
        lambda: shell.push(tmp_path / "file", f"{TMP}/file"),
        lambda: shell.pull(f"{TMP}/file", tmp_path / "copy"),
    ):
        with pytest.raises(DeviceUnavailable) as error:
            use()
        assert failure(error) == "Pixel 4 does not answer (adb: offline)."


def test_a_phone_that_comes_back(shell: AdbShell, phone: Phone, adb: Adb) -> None:
    phone.unplug()
    assert eventually(lambda: adb.devices()[0].state == "offline")
    phone.plug()
    assert adb.connect(phone.address) == phone.serial
    assert shell.call("echo back").out == "back\n"


def test_unauthorized(adb: Adb, phone: Phone) -> None:
    phone.fault(unauthorized=True)
    with pytest.raises(DeviceUnavailable) as error:
        adb.connect(phone.address)
    expected = f"Device {phone.serial} does not trust this computer (adb: unauthorized)."
    assert failure(error) == expected
    assert "Allow USB debugging" in error.value.remedy


def test_unauthorized_while_attached(shell: AdbShell, adb: Adb, phone: Phone) -> None:
    phone.fault(unauthorized=True)
    phone.cut()
    assert eventually(lambda: adb.devices()[0].state == "unauthorized")
    with pytest.raises(DeviceUnavailable) as error:
        shell.call("true")
    assert failure(error) == "Pixel 4 does not trust this computer (adb: unauthorized)."
    with pytest.raises(DeviceUnavailable, match="does not trust this computer"):
        adb.ready()


def test_offline(adb: Adb, phone: Phone, monkeypatch: pytest.MonkeyPatch) -> None:
    phone.fault(offline=True)
    with monkeypatch.context() as patch, pytest.raises(DeviceUnavailable) as error:
        patch.setattr("mvdeploy.links.families.adb.shell._CONNECT_S", 0.5)
        adb.connect(phone.address)
    message = f"Device {phone.serial} did not answer within 0.5 s while connecting."
    assert failure(error) == message
    phone.fault()
    assert adb.connect(phone.address) == phone.serial


def test_swapped_for_another_phone(shell: AdbShell, adb: Adb, phone: Phone) -> None:
    serial = shell.call("getprop ro.serialno").out
    phone.fault(become=OTHER, cut_shell_after=1)
    with pytest.raises(DeviceUnavailable):
        shell.call("echo cut")
    adb.connect(phone.address)
    assert shell.call("getprop ro.serialno").out not in (serial, "")
    assert adb.ready(phone.serial).model == "Pixel_6"


def test_two_phones(adb: Adb, make_phone: MakePhone) -> None:
    first, second = make_phone(), make_phone()
    second.properties["ro.product.device"] = "coral"
    serials = [adb.connect(phone.address) for phone in (first, second)]
    with pytest.raises(DeviceUnavailable) as error:
        adb.ready()
    assert failure(error).startswith("More than one device is attached: ")
    assert all(serial in error.value.message for serial in serials)
    assert adb.ready(serials[1]).device == "coral"
    assert AdbShell(adb, serials[0]).call("getprop ro.product.device").out == "flame\n"


def test_no_phone(adb: Adb) -> None:
    assert adb.devices() == ()
    with pytest.raises(DeviceUnavailable) as error:
        adb.ready()
    assert failure(error) == "No phone is attached (adb: no devices/emulators found)."
    with pytest.raises(DeviceUnavailable) as error:
        adb.ready("99211FFAZ00STD")
    assert failure(error).startswith("Device 99211FFAZ00STD is not attached")


def test_nobody_at_the_address(adb: Adb) -> None:
    with pytest.raises(DeviceUnavailable) as error:
        adb.connect("127.0.0.1:1")
    assert "Connection refused" in failure(error)


def test_a_ready_phone(adb: Adb, phone: Phone) -> None:
    serial = adb.connect(phone.address)
    expected = Attached(serial, "device", model="Pixel_4", product="flame", device="flame")
    assert adb.ready() == adb.ready(serial) == expected
    assert adb.connect(phone.address) == serial


# The program and its server


def test_server_is_ended_if_it_was_not_there(adb_server: AdbServer, phone: Phone) -> None:
    with Adb() as adb:
        adb.connect(phone.address)
        assert adb_server.runs
    assert not adb_server.runs
    adb.close()


def test_server_is_left_if_it_was_there(adb_server: AdbServer, phone: Phone) -> None:
    adb_server.run("start-server")
    with Adb() as adb:
        adb.connect(phone.address)
    assert adb_server.runs
    assert phone.address not in adb_server.run("devices")


def test_a_connection_of_the_user_is_left(adb_server: AdbServer, phone: Phone) -> None:
    adb_server.run("start-server")
    adb_server.run("connect", phone.address)
    with Adb() as adb:
        adb.connect(phone.address)
    assert f"{phone.address}\tdevice" in adb_server.run("devices")


def test_server_serves_until_the_last_has_gone(adb_server: AdbServer, phone: Phone) -> None:
    first, second = Adb(), Adb()
    first.open()
    second.open()
    first.close()
    second.connect(phone.address)
    assert adb_server.runs
    second.close()
    assert not adb_server.runs


def test_no_adb(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("ADB", "ANDROID_HOME", "ANDROID_SDK_ROOT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("sys.path", [str(tmp_path)])
    with pytest.raises(DeviceUnavailable) as error:
        Adb()
    assert failure(error) == "There is no adb program on this machine."
    assert "apt install adb" in error.value.remedy


def make_program(path: Path, text: str = "#!/bin/sh\n") -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


def test_where_adb_is_looked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Each place goes before those that are set before it here."""
    for name in ("ADB", "ANDROID_HOME", "ANDROID_SDK_ROOT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr("sys.path", [str(tmp_path)])
    (tmp_path / "adbutils").mkdir()
    (tmp_path / "adbutils" / "__init__.py").write_text("raise ImportError('it was imported')")
    places = [("adbutils/binaries", None), ("sdk/platform-tools", "ANDROID_SDK_ROOT")]
    places += [("home/platform-tools", "ANDROID_HOME"), ("bin", None), ("named", "ADB")]
    for folder, name in places:
        program = make_program(tmp_path / folder / "adb")
        if name is not None:
            monkeypatch.setenv(name, program if name == "ADB" else str(Path(program).parents[1]))
        assert find(None) == program
    given = make_program(tmp_path / "given")
    assert find(given) == given


def test_an_adb_that_cannot_be_started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ADB", str(tmp_path / "nix"))
    with pytest.raises(DeviceUnavailable, match=r"The adb program that was named, .*nix, cannot"):
        Adb()


def test_a_program_that_is_no_adb(adb_server: AdbServer, tmp_path: Path) -> None:
    broken = make_program(tmp_path / "adb-broken", "#!/bin/sh\necho 'port in use' >&2\nexit 1\n")
    with pytest.raises(DeviceUnavailable) as error:
        Adb(broken).open()
    assert failure(error) == "The adb server cannot be started: port in use."
    nonsense = make_program(tmp_path / "adb-nonsense", "no program at all")
    with pytest.raises(DeviceUnavailable) as error:
        Adb(nonsense).open()
    assert "cannot be started (Exec format error)" in failure(error)


def test_an_adb_that_is_removed_meanwhile(adb: Adb, tmp_path: Path) -> None:
    adb.program = str(tmp_path / "gone")
    shell = AdbShell(adb, "any")
    for use in (lambda: shell.call("true"), lambda: shell.start("true"), adb.devices):
        with pytest.raises(DeviceUnavailable) as error:
            use()
        assert failure(error).endswith("gone cannot be started (No such file or directory).")


def test_a_server_of_another_version(adb_server: AdbServer, tmp_path: Path) -> None:
    adb_server.run("start-server")
    other = "#!/bin/sh\necho 'Android Debug Bridge version 1.0.32'\n"
    with pytest.raises(DeviceUnavailable) as error:
        Adb(make_program(tmp_path / "adb-old", other)).open()
    assert failure(error).startswith("An adb server of another version (41) is running")
    assert adb_server.runs


def test_something_else_at_the_port(adb_server: AdbServer) -> None:
    with socket.create_server(("127.0.0.1", adb_server.port)) as server:
        answering = threading.Thread(target=lambda: server.accept()[0].close())
        answering.start()
        with pytest.raises(DeviceUnavailable) as error:
            Adb().open()
        answering.join()
    assert f"port {adb_server.port} of this machine is not an adb server" in failure(error)


def test_a_port_that_is_none(adb_server: AdbServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", "telnet")
    with pytest.raises(DeviceUnavailable, match="'telnet', which is not a port"):
        Adb()


def test_variables_that_would_lead_astray(
    shell: AdbShell, monkeypatch: pytest.MonkeyPatch, adb: Adb
) -> None:
    monkeypatch.setenv("ANDROID_SERIAL", "another")
    monkeypatch.setenv("ADB_TRACE", "all")
    answer = shell.call("echo out; echo err >&2")
    assert (answer.out, answer.error) == ("out\n", "err\n")


# Texts

NAMES = st.text(st.characters(codec="ascii", exclude_categories=["C", "Z"]), min_size=1)
STATES = st.sampled_from(["device", "offline", "unauthorized", "recovery", "bootloader"])


@given(st.lists(st.builds(Attached, NAMES, STATES, NAMES, NAMES, NAMES), max_size=4))
def test_any_list_is_read(listed: list[Attached]) -> None:
    lines = (
        f"{one.serial:22} {one.state} usb:1-2 product:{one.product} model:{one.model} "
        f"device:{one.device} transport_id:3"
        for one in listed
    )
    text = "\n".join(["* daemon started successfully", "List of devices attached", *lines, "", ""])
    assert messages.parse_devices(text) == tuple(listed)


@given(st.text())
def test_any_text_has_an_explanation(text: str) -> None:
    messages.parse_devices(text)
    error = messages.explain(text, "Pixel 4")
    assert "Pixel 4" in error.message or messages.knows(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("adb: device unauthorized.\nThis adb server's", "Pixel 4 does not trust this computer"),
        ("error: device still authorizing", "Pixel 4 is still deciding"),
        ("error: device offline", "Pixel 4 does not answer (adb: offline)"),
        ("error: insufficient permissions for device: us", "Pixel 4 may not be opened by this"),
        ("adb: device 'a b' not found", "Pixel 4 is not attached"),
        ("adb: no devices/emulators found", "No phone is attached"),
        ("error: more than one device/emulator", "More than one device is attached"),
        ("error: closed\n", "adb cannot reach Pixel 4: closed."),
        ("", "adb cannot reach Pixel 4: it gave no reason."),
    ],
)
def test_texts_of_adb(text: str, message: str) -> None:
    assert messages.explain(text, "Pixel 4").message.startswith(message)


def test_a_phone_without_udev_rules() -> None:
    text = (
        "List of devices attached\n"
        "9921FFAZ no permissions (user in plugdev group; are your udev rules wrong?); see "
        "[http://developer.android.com/tools/device.html] usb:1-1 transport_id:1\n"
    )
    (found,) = messages.parse_devices(text)
    assert found == Attached("9921FFAZ", "no permissions")
    assert "udev" in messages.not_ready("It", found.state).remedy


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            "my device (2)          device product:model model:Foo device:foo transport_id:1",
            Attached("my device (2)", "device", "Foo", "model", "foo"),
        ),
        (
            "adb-1A2B-x (2)._adb-tls-connect._tcp device product:oriole model:Pixel_6",
            Attached("adb-1A2B-x (2)._adb-tls-connect._tcp", "device", "Pixel_6", "oriole"),
        ),
        ("????????????           no permissions; see [http://x.org] usb:3-2", None),
        ("my phone\tno permissions (missing udev rules?); see [http://x.org]", None),
    ],
)
def test_serials_with_spaces(line: str, expected: Attached | None) -> None:
    (found,) = messages.parse_devices(f"List of devices attached\r\n{line}\r\n\r\n")
    serial = line.split("\t")[0].split("   ")[0]
    assert found == (expected or Attached(serial, "no permissions"))


def test_several_phones_of_which_none_is_ready() -> None:
    phones = (Attached("a b", "offline"), Attached("c", "no permissions"))
    error = messages.none_ready(phones)
    assert "a b (offline), c (no permissions)" in error.message
    assert re.fullmatch(r"a b: .*reconnect offline.* c: .*udev rules.*", error.remedy)


def test_each_state_of_a_phone_has_a_remedy_of_its_own() -> None:
    # Those that adb prints (connection_state_name of its transport.cpp).
    states = (
        *("bootloader", "host", "recovery", "sideload", "unauthorized", "authorizing", "offline"),
        *("connecting", "rescue", "detached", "no permissions"),
    )
    errors = [messages.not_ready("It", state) for state in (*states, "a new one")]
    assert len({error.remedy for error in errors}) == len(errors)
    for error in errors:
        assert re.fullmatch(r"It .* \(adb: .*\)\.", error.message)
        assert re.fullmatch(r"[A-Z].*\.", error.remedy)


# The stand-in itself: what other tests take for granted of it


def read_thermal(shell: AdbShell) -> tuple[str, set[str], set[str]]:
    """Return the status, and the values of the block of now and of the stale one."""
    head, current = shell.call("dumpsys thermalservice").out.split("Current temperatures from HAL:")
    status = head.split("Thermal Status: ")[1].splitlines()[0]
    values = [
        {word.split("=")[1].rstrip(",") for word in block.split() if "mValue" in word}
        for block in (current.split("Current cooling")[0], head)
    ]
    return status, values[0], values[1]


def test_heat_of_the_phone(shell: AdbShell, phone: Phone) -> None:
    phone.heat(45.0, status=3)
    for _ in range(3):
        assert read_thermal(shell)[:2] == ("3", {"45.0"})
    assert "45.0" not in read_thermal(shell)[2]
    phone.heat(45.0, status=3, cooling=4.0)
    seen = [read_thermal(shell)[:2] for _ in range(4)]
    assert seen == [("3", {"45.0"}), ("3", {"41.0"}), ("0", {"37.0"}), ("0", {"33.0"})]


def test_tables_of_the_phone(shell: AdbShell, phone: Phone) -> None:
    assert shell.call("getprop ro.product.model").out == "Pixel 4\n"
    assert "[ro.kernel.qemu]: [1]\n" in shell.call("getprop").out
    phone.properties["ro.product.model"] = "it's [odd]; `id`"
    assert shell.call("getprop ro.product.model").out == "it's [odd]; `id`\n"
    assert shell.call("getprop no.such").out == "\n"
    phone.set_battery(12, powered=False)
    assert "level: 12" in shell.call("dumpsys battery").out
    assert "USB powered: true" not in shell.call("dumpsys battery").out
    assert "mWakefulness=Asleep" in shell.call("dumpsys power").out
    assert shell.call("uname -m; id -u; nproc").out.split() == ["aarch64", "2000", "8"]
    assert shell.call("ps -p 1 -o PID,PPID").out.split()[-2:] == ["1", "0"]


def test_clocks_of_the_phone(shell: AdbShell, phone: Phone) -> None:
    clocks = "cat /sys/devices/system/cpu/cpu*/cpufreq/scaling_max_freq"
    assert shell.call(clocks).out.split() == ["1785600"] * 4 + ["2419200"] * 3 + ["2841600"]
    phone.set_clock(7, scaling_max_freq=1_800_000)
    assert shell.call(clocks).out.split()[6:] == ["2419200", "1800000"]
    governor = "/sys/devices/system/cpu/cpu7/cpufreq/scaling_governor"
    denied = shell.call(f"echo performance >{governor}")
    assert denied.status != 0
    assert "Permission denied" in denied.error
    assert shell.call(f"cat {governor}").out == "schedutil\n"


def test_proc_of_the_phone(shell: AdbShell, phone: Phone) -> None:
    assert "Permission denied" in shell.call("cat /proc/loadavg").error
    assert "4.14.276" in shell.call("cat /proc/version").out
    phone.write("/proc/meminfo", "MemAvailable: 5 kB\n")
    assert shell.call("cat /proc/meminfo").out == "MemAvailable: 5 kB\n"
    assert "Cpus_allowed_list" in shell.call("cat /proc/$$/status").out


def test_fixed_performance_of_the_phone(shell: AdbShell, phone: Phone) -> None:
    command = "cmd power set-fixed-performance-mode-enabled"
    assert shell.call(f"{command} true").status == 0
    assert shell.call(f"{command} false").status == 0
    phone.deny_fixed_performance()
    assert shell.call(f"{command} true").status == 255
    assert phone.fixed_performance_calls == ["true", "false", "true"]


def test_the_phone_cannot_reach_the_machine(shell: AdbShell) -> None:
    assert shell.call("rm -f /usr/bin/env").status != 0
    assert shell.call("touch /x /system/x /dev/x /usr/x").error.count("touch: ") == 4
    assert shell.call("ls /home /root /etc /tmp").out == ""
    assert shell.call("[ -w /proc/sys/kernel/core_pattern ]").status == 1


AFFINITY = r"""
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdio.h>

static void show(void) {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set)) perror("sched_getaffinity");
  for (int core = 0; core < 64; core++)
    if (CPU_ISSET(core, &set)) printf("%d ", core);
  puts("");
}

static void *run(void *nothing) { show(); return nothing; }

int main(void) {
  cpu_set_t set;
  pthread_t thread;
  show();
  CPU_ZERO(&set);
  CPU_SET(40, &set);
  printf("%d\n", sched_setaffinity(0, sizeof set, &set));
  CPU_SET(7, &set);
  printf("%d\n", sched_setaffinity(0, sizeof set, &set));
  pthread_create(&thread, NULL, run, NULL);
  pthread_join(thread, NULL);
  return 0;
}
"""


@pytest.fixture(scope="module")
def arm64(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a program for arm64, its loader and its library, as a kit has them."""
    compiler = "aarch64-linux-gnu-gcc"
    demand(f"the program {compiler}", shutil.which(compiler) is not None)
    folder = tmp_path_factory.mktemp("arm64")
    subprocess.run(
        [compiler, "-x", "c", "-", "-o", str(folder / "affinity")],
        input=AFFINITY,
        text=True,
        check=True,
    )
    for name in ("ld-linux-aarch64.so.1", "libc.so.6"):
        found = subprocess.check_output([compiler, f"-print-file-name={name}"], text=True)
        shutil.copy(found.strip(), folder / name)
    return folder


def test_arm64_programs_and_their_cores(shell: AdbShell, arm64: Path) -> None:
    for file in arm64.iterdir():
        file.chmod(0o755)
        shell.push(file, f"{TMP}/kit/{file.name}")
    program = "./ld-linux-aarch64.so.1 --library-path . ./affinity"
    answer = shell.call(f"cd {TMP}/kit && exec taskset 70 {program}")
    assert answer.out.splitlines() == ["4 5 6 ", "-1", "0", "7 "], answer
    answer = shell.call(f"cd {TMP}/kit && {program}")
    assert answer.out.splitlines()[0] == "0 1 2 3 4 5 6 7 "
    assert shell.call("taskset 100 true").status != 0


def test_nothing_is_left_of_a_phone(tmp_path: Path, adb: Adb, make_phone: MakePhone) -> None:
    phone = make_phone()
    shell = AdbShell(adb, adb.connect(phone.address))
    shell.call("setsid nohup sleep 4711 >/dev/null 2>&1 &")
    # toybox runs its own programs in the process that was to start them, whose words stay.
    assert eventually(lambda: [one[-10:] for one in phone.processes()] == ["sleep 4711"])
    phone.stop()
    running = (one.info["cmdline"] or [] for one in psutil.process_iter(["cmdline"]))
    assert ["sleep", "4711"] not in [words[-2:] for words in running]
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", int(phone.address.split(":")[1]))) != 0


def test_the_shell_and_the_programs_of_the_phone(shell: AdbShell) -> None:
    for program in ("mksh", "toybox"):
        demand(f"the program {program}", shutil.which(program) is not None)
    assert "MIRBSD KSH" in shell.call("echo $KSH_VERSION").out
    assert shell.call("toybox --version").out.startswith("toybox ")
    programs = "cat chmod grep ls mkdir mv ps rm sha256sum stat tail taskset timeout wc"
    for program in programs.split():
        where = shell.call(f'readlink "$(command -v {program})"').out.strip()
        assert where.endswith("/toybox"), program
    assert shell.call("awk 1").status == shell.call("bash -c :").status == 127


def test_features_and_log_of_the_phone(shell: AdbShell, phone: Phone, adb: Adb) -> None:
    features = adb.ask("-s", phone.serial, "features").out.decode().split()
    assert {"shell_v2", "stat_v2", "fixed_push_mkdir"} <= set(features) <= set(FEATURES)
    shell.call("echo 'a  b'")
    assert phone.log == ["shell (echo 'a  b'\n); printf '\\n__RC=%d\\n' $?"]
    assert tables.read_properties(phone.root) == dict(phone.properties)
