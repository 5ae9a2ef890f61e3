"""Fixtures: an ssh server, and shells that it serves."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

import psutil
import pytest

from tests.ssh.server import SshServer


@pytest.fixture(autouse=True)
def nothing_left(monkeypatch):
    """See that a test leaves neither processes nor temporary folders."""
    before = set(psutil.Process().children(recursive=True))
    folder = Path(tempfile.mkdtemp(prefix="mv"))
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield
    assert set(psutil.Process().children(recursive=True)) - before == set()
    assert list(folder.iterdir()) == []
    folder.rmdir()


@contextlib.contextmanager
def running_server(folder):
    """A server whose host key is known to the ``ssh`` that is found meanwhile."""
    with SshServer(folder) as server, pytest.MonkeyPatch.context() as environment:
        server.know_host()
        environment.setenv("PATH", f"{server.programs}:{os.environ['PATH']}")
        yield server


@pytest.fixture(scope="module")
def board(tmp_path_factory):
    """An open shell that no test may harm."""
    folder = tmp_path_factory.mktemp("board")
    with running_server(folder) as server, contextlib.closing(server.open_shell()) as shell:
        yield shell


@pytest.fixture
def server(tmp_path):
    """A server that the test may harm."""
    with running_server(tmp_path / "ssh") as server:
        yield server


@pytest.fixture
def shell(server):
    with contextlib.closing(server.open_shell("The board")) as shell:
        yield shell
