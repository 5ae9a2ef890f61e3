"""Several devices of this machine by one command, as it is typed."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from mvdeploy.pipeline.report import load_fleet
from mvdeploy.records.run import load_run

HOST = Path(__file__).parents[2] / "devices" / "host.toml"

SHORT = ("--iterations", "4", "--sessions", "1", "--warmup", "1", "--no-breakdown")
NETWORK = ("yardstick", "--format", "pytorch", *SHORT, "-o", "out")
BOTH = (*NETWORK, "--device", "host", "--device", "second", "--devices-dir", "devices")


@pytest.fixture
def second(tmp_path: Path) -> Path:
    """A profile of another device, which is this machine as well."""
    text = HOST.read_text(encoding="utf-8").replace('name = "host"', 'name = "second"')
    text = re.sub(r"^aliases.*$", "aliases = []", text, flags=re.MULTILINE)
    path = tmp_path / "devices" / "second.toml"
    path.parent.mkdir()
    path.write_text(re.sub(r"^title.*$", 'title = "the second"', text, flags=re.MULTILINE))
    return path


def fleet(tmp_path: Path, name: str = "fleet-yardstick") -> Path:
    return tmp_path / "out" / name


@pytest.mark.slow
def test_two_devices_have_a_run_each_and_one_report(typed, tmp_path: Path, second: Path) -> None:
    done = typed("bench", *BOTH)
    assert done.returncode == 0, done.stderr
    assert "this machine" in done.stdout and "the second" in done.stdout
    assert done.stdout.rstrip().endswith("Report: out/fleet-yardstick/report.html")
    assert re.search(r"^host: session 1$", done.stderr, re.MULTILINE)
    assert re.search(r"^second: session 1$", done.stderr, re.MULTILINE)
    saved = load_fleet(fleet(tmp_path))
    assert saved.complete and [task.title for task in saved.tasks] == ["host", "second"]
    for run in saved.runs:
        (case,) = load_run(fleet(tmp_path) / "runs" / run).cases
        assert case.measurement is not None and len(case.measurement.steady) == 4
    page = (fleet(tmp_path) / "report.html").read_text(encoding="utf-8")
    assert "this machine" in page and "the second" in page
    (fleet(tmp_path) / "report.md").unlink()
    rendered = typed("report", "out/fleet-yardstick", "--format", "markdown")
    assert rendered.stdout.splitlines()[0] == "out/fleet-yardstick/report.md"
    assert "the second" in (fleet(tmp_path) / "report.md").read_text(encoding="utf-8")
    # What is complete is left as it is, and the same command measures anew.
    again = typed("bench", *BOTH, "--json")
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)
    assert load_fleet(fleet(tmp_path)) == saved
    assert load_fleet(fleet(tmp_path, "fleet-yardstick-2")).complete


@pytest.mark.slow
def test_a_device_that_fails_takes_no_other_with_it_and_is_what_is_missing(
    mvdeploy, tmp_path: Path, second: Path
) -> None:
    gone = second.read_text().replace('link = "host"', 'link = "ssh"')
    second.write_text(gone.replace('address = ""', 'address = "nobody@127.0.0.1:1"'))
    done = mvdeploy("bench", *BOTH)
    assert done.returncode == 3, done.stderr
    assert "Error: second (nobody@127.0.0.1:1): " in done.stderr
    before = load_fleet(fleet(tmp_path))
    assert [task.done for task in before.tasks] == [True, False]
    assert (fleet(tmp_path) / "report.html").is_file()
    again = mvdeploy("bench", *BOTH)
    assert again.returncode == 3
    assert "1 of 2 are there already in out/fleet-yardstick." in again.stderr
    assert "host: session" not in again.stderr
    assert load_fleet(fleet(tmp_path)) == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--junit", "x.xml"), "--junit is for one run"),
        (("--save-baseline", "x.json"), "--save-baseline is for one run"),
        (("--save-manifest",), "--save-manifest is for one run"),
        (("--address", "me@board"), "--address is that of one device"),
        (("--device", "nowhere"), "There is no device 'nowhere'"),
    ],
)
def test_what_several_devices_cannot_have(
    mvdeploy, second: Path, arguments: tuple[str, ...], words: str, tmp_path: Path
) -> None:
    done = mvdeploy("bench", *BOTH, *arguments)
    assert done.returncode == 2
    assert words in done.stderr
    assert not (tmp_path / "out").exists()
