"""Two stand-in phones on two workers, measured by one command with one report."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from mvdeploy.pipeline.report import load_fleet
from mvdeploy.records.run import load_run
from tests.android.fixtures import MakePhone, adb_server, make_phone
from tests.android.kit import aarch64_kit
from tests.android.server import AdbServer

__all__ = ["aarch64_kit", "adb_server", "make_phone"]

pytestmark = pytest.mark.slow

MVDEPLOY = (sys.executable, "-m", "mvdeploy")
SHORT = ("--iterations", "2", "--sessions", "1", "--warmup", "1", "--no-breakdown")


@contextmanager
def running(*words: str, cwd: Path) -> Iterator[str]:
    """Run a command that goes on; give the first line that it prints."""
    process = subprocess.Popen([*MVDEPLOY, *words], cwd=cwd, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process.stdout.readline()
    finally:
        process.terminate()
        process.communicate(timeout=60)


def test_two_phones_on_two_workers_have_one_report(
    adb_server: AdbServer,
    make_phone: MakePhone,
    aarch64_kit: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    pytest.importorskip("distributed")
    monkeypatch.setenv("MVDEPLOY_KIT", str(aarch64_kit))
    phones = [make_phone(), make_phone()]
    for phone in phones:
        adb_server.run("connect", phone.address)
    subprocess.run([*MVDEPLOY, "cluster", "keys", "keys"], cwd=tmp_path, check=True)
    with ExitStack() as stack:
        listen = ("cluster", "start", "--listen", "127.0.0.1:0", "--keys", "keys")
        said = stack.enter_context(running(*listen, cwd=tmp_path))
        address = said.split()[-1].rstrip(".")
        assert address.startswith("tls://127.0.0.1:")
        where = ("--cluster", address, "--keys", "keys")
        for phone in phones:
            offered = running("worker", *where, "--device", phone.address, cwd=tmp_path)
            assert f"pixel4 ({phone.address})" in stack.enter_context(offered)
        command = ["bench", "yardstick", "--format", "onnx", *SHORT, "--device", "pixel4"]
        done = subprocess.run(
            [*MVDEPLOY, *command, "--repeat-units", *where, "-o", "out"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "out" / "fleet-yardstick"
    saved = load_fleet(folder)
    addresses = {phone.address for phone in phones}
    assert {task.title for task in saved.tasks} == {f"pixel4 ({one})" for one in addresses}
    runs = [load_run(folder / "runs" / name) for name in saved.runs]
    assert {one.run.device.profile.address for one in runs} == addresses
    for one in runs:
        (case,) = one.cases
        assert case.failure is None and case.measurement is not None
        assert case.device_parity is not None and case.device_parity.passed
    page = (folder / "report.md").read_text(encoding="utf-8")
    assert all(f"Pixel 4, {one}" in page for one in addresses)
    for phone in phones:
        assert phone.processes() == [] and list(phone.tmp.iterdir()) == []
