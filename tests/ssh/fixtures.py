"""Fixtures: an ssh server, and shells that it serves."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import psutil
import pytest

from mvdeploy.links.families.ssh.shell import SshShell
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


@pytest.fixture(scope="module")
def board(tmp_path_factory):
    """An open shell that no test may harm."""
    with SshServer(tmp_path_factory.mktemp("board")) as server, pytest.MonkeyPatch.context() as env:
        server.know_host()
        env.setenv("PATH", f"{server.programs}:{os.environ['PATH']}")
        with SshShell(server.address) as shell:
            yield shell


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A server whose host key is known, and which the test may harm."""
    with SshServer(tmp_path / "ssh") as server:
        server.know_host()
        monkeypatch.setenv("PATH", f"{server.programs}:{os.environ['PATH']}")
        yield server


@pytest.fixture
def shell(server):
    with SshShell(server.address, "The board") as shell:
        yield shell
