"""Fixtures: adb of its own, phones that are not there."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.android.phone import Phone
from tests.android.server import NOTHING_ELSE, UNWANTED, AdbServer

MakePhone = Callable[..., Phone]

PROGRAMS = ("adb", "ps", "qemu-aarch64-static", "taskset", "unshare")

# What `Phone` does first: a new user's namespaces, and the kernel's table of interpreters in them.
PROBE = """
set -e
mount -t proc proc /proc
mount -t binfmt_misc none /proc/sys/fs/binfmt_misc
"""


def demand(what: str, present: bool) -> None:
    """Skip a test for want of something, or fail it where nothing may be wanting."""
    if present:
        return
    if os.environ.get("MVDEPLOY_REQUIRE_ALL") == "1":
        pytest.fail(f"This test needs {what}.")
    pytest.skip(f"This test needs {what}.")


@functools.cache
def namespaces() -> bool:
    words = ["unshare", "--user", "--map-root-user", "--mount", "--pid", "--fork", "sh", "-c"]
    return subprocess.run([*words, PROBE], capture_output=True, check=False).returncode == 0


@pytest.fixture
def adb_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[AdbServer]:
    """The environment of the test leads every adb to a server of its own, not yet started."""
    with own_adb(tmp_path / "adb", monkeypatch) as server:
        yield server


@contextmanager
def own_adb(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[AdbServer]:
    demand("the program adb", shutil.which("adb") is not None)
    with AdbServer(folder) as server:
        for name in UNWANTED:
            monkeypatch.delenv(name, raising=False)
        for name in (
            "ANDROID_ADB_SERVER_PORT",
            "ANDROID_USER_HOME",
            "HOME",
            "TMPDIR",
            *NOTHING_ELSE,
        ):
            monkeypatch.setenv(name, server.environment[name])
        yield server


def demand_phones() -> None:
    """Skip a test that needs phones where there can be none, or fail it."""
    for program in PROGRAMS:
        demand(f"the program {program}", shutil.which(program) is not None)
    demand("namespaces for users, with binfmt_misc (Linux 6.7 or newer)", namespaces())


@pytest.fixture(scope="module")
def shared_phone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Phone]:
    """A phone that adb knows, for tests that leave it as it is and the environment alone."""
    demand_phones()
    folder = tmp_path_factory.mktemp("shared")
    with (
        pytest.MonkeyPatch.context() as patch,
        own_adb(folder / "adb", patch) as server,
        Phone(folder / "phone") as phone,
    ):
        server.run("connect", phone.address)
        yield phone


@pytest.fixture
def make_phone(tmp_path: Path) -> Iterator[MakePhone]:
    """Return a function that makes a phone, which nobody is connected to."""
    demand_phones()
    with ExitStack() as stack:
        made: list[Phone] = []

        def make(**options) -> Phone:
            folder = tmp_path / f"phone{len(made)}"
            made.append(stack.enter_context(Phone(folder, **options)))
            return made[-1]

        yield make


@pytest.fixture
def phone(make_phone: MakePhone) -> Phone:
    return make_phone()
