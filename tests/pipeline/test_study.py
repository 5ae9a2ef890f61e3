"""Studies as they run: in blocks, saved as they come, going on where they stopped."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mvdeploy import devices, plugins, studies
from mvdeploy.errors import DeviceUnavailable, EngineError, MvdeployError, UsageError
from mvdeploy.pipeline import bench, store, study
from mvdeploy.pipeline.bench import Request
from mvdeploy.pipeline.report import STUDY, study_view
from mvdeploy.pipeline.study import Planned
from mvdeploy.records import Device, Plan
from mvdeploy.records.run import load_run
from mvdeploy.records.study import Study, StudyRow
from tests.saved_runs import measurement
from tests.warm import Server

PLANTED = Path(__file__).parents[1] / "planted"
QUICK = (
    "--format",
    "onnx",
    "--threads",
    "1",
    "--iterations",
    "8",
    "--sessions",
    "2",
    "--warmup",
    "3",
)
ROWS = {"A": "2,2,2", "B": "8,4,2", "C": "4,4,4", "D": "1,1,1", "again": "8,4,2"}

Mvdeploy = Callable[..., subprocess.CompletedProcess[str]]


def some_study(**changes: object) -> Study:
    rows = tuple(StudyRow(name, "mobilevit_xxs", patches) for name, patches in ROWS.items())
    usual = Study("Patches", "A paper", "", "B", rows)
    return dataclasses.replace(usual, **changes)  # type: ignore[arg-type]


def request(root: Path, **changes: object) -> Request:
    usual = Request((), ("onnx",), devices.get("host"), Plan(iterations=4, sessions=1), root)
    return dataclasses.replace(usual, **changes)  # type: ignore[arg-type]


def plan(root: Path, wanted: Study | None = None, **changes: object) -> Planned:
    return study.plan("patches", wanted or some_study(), request(root, **changes))


@pytest.fixture
def benched(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """What is measured, run by run, instead of measuring it."""
    labels: list[tuple[str, ...]] = []

    def run(request: Request, on_step: bench.OnStep = lambda _: None) -> store.Store:
        labels.append(tuple(case.label for case in request.cases))
        made = _saved(request)
        if wrong := FAILURES.get(len(labels)):
            if not isinstance(wrong, MvdeployError):
                raise wrong
            made.failed(request.cases[-1].slug, wrong)
        return made

    monkeypatch.setattr(bench, "run", run)
    FAILURES.clear()
    return labels


FAILURES: dict[int, BaseException] = {}
"""By number of the run: what ends it, or its last case."""


def _saved(request: Request) -> store.Store:
    device = Device(request.device, {}, False)
    how = {"device": device, "plan": request.plan, "command": (), "image": "none"}
    made = store.create(request.root, "block", request.cases, **how)  # type: ignore[arg-type]
    for number, case in enumerate(request.cases):
        made.measured(case.slug, measurement(number, 5.0, 4, 1))
    return made


def test_every_block_has_the_reference_first_and_fits_into_memory(tmp_path: Path) -> None:
    planned = plan(tmp_path)
    sizes = [len(block) for block in study.blocks(planned, room=10**12)]
    assert study.blocks(planned, room=10**12) == [("B", "A", "C", "D")] and sizes == [4]
    each = 40 * 10_000_000 + 200_000_000
    assert study.blocks(planned, room=3 * each) == [("B", "A", "C"), ("B", "D")]
    assert study.blocks(planned, room=0) == [("B", "A"), ("B", "C"), ("B", "D")]


def test_two_formats_take_twice_the_memory(tmp_path: Path) -> None:
    planned = plan(tmp_path, formats=("onnx", "pytorch"))
    each = 40 * 10_000_000 + 200_000_000
    assert study.blocks(planned, room=4 * each) == [("B", "A"), ("B", "C"), ("B", "D")]
    assert [way.format for way in planned.saved.ways] == ["onnx", "pytorch"]


def test_a_block_is_not_so_large_that_turns_take_for_ever(tmp_path: Path) -> None:
    rows = tuple(StudyRow(str(n), "mobilevit_xxs", image_size=str(64 * n)) for n in range(1, 12))
    planned = plan(tmp_path, some_study(rows=rows, reference="3"))
    assert [len(block) for block in study.blocks(planned, room=10**12)] == [6, 6]


def test_a_study_goes_on_where_it_stopped(
    tmp_path: Path, benched: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study, "_TOGETHER", 2)
    FAILURES[2] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        study.run(plan(tmp_path))
    assert len(benched) == 2
    again = plan(tmp_path)
    assert study.remaining(again) == ("C", "D")
    study.run(again)
    assert benched == [
        ("mobilevit_xxs 8,4,2", "mobilevit_xxs 2,2,2"),
        *[("mobilevit_xxs 8,4,2", "mobilevit_xxs 4,4,4")] * 2,
        ("mobilevit_xxs 8,4,2", "mobilevit_xxs 1,1,1"),
    ]
    done = plan(tmp_path)
    assert study.remaining(done) == () and study.blocks(done) == []
    assert study.step_count(done) == 0
    study.run(done)
    assert len(benched) == 4
    view = study_view(done.folder)
    assert all(entry.ns for entry in view.entries)
    assert len(view.runs) == 3  # the one that was interrupted is not among them


def test_other_conditions_have_a_folder_of_their_own(
    tmp_path: Path, benched: list[tuple[str, ...]]
) -> None:
    study.run(plan(tmp_path))
    other = plan(tmp_path, plan=Plan(iterations=4, sessions=1, threads=2))
    assert other.folder.name == "study-patches-host-2"
    assert study.remaining(other) == ("B", "A", "C", "D")
    anew = study.plan("patches", some_study(), request(tmp_path), anew=True)
    assert anew.folder.name == "study-patches-host-2" and not anew.saved.runs


def test_a_new_row_is_measured_and_the_others_are_not(
    tmp_path: Path, benched: list[tuple[str, ...]]
) -> None:
    study.run(plan(tmp_path))
    rows = (*some_study().rows, StudyRow("new", "mobilevit_xxs", "3,3,3"))
    study.run(plan(tmp_path, some_study(rows=rows)))
    assert benched[1:] == [("mobilevit_xxs 8,4,2", "mobilevit_xxs 3,3,3")]
    assert len(study_view(tmp_path / "study-patches-host").study.rows) == 6


def test_a_case_that_failed_is_a_row_that_says_so_and_stays(
    tmp_path: Path, benched: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study, "_TOGETHER", 2)
    FAILURES[1] = EngineError("No kernel for that.", "Take another format.")
    study.run(plan(tmp_path))
    assert len(benched) == 3
    assert study.remaining(plan(tmp_path)) == ()


def test_a_device_that_is_gone_ends_it_and_its_cases_are_measured_again(
    tmp_path: Path, benched: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study, "_TOGETHER", 2)
    FAILURES[2] = DeviceUnavailable("The cable is out.", "Put it in.")
    with pytest.raises(DeviceUnavailable, match=r"Put it in\. The same command goes on"):
        study.run(plan(tmp_path))
    assert study.remaining(plan(tmp_path)) == ("C", "D")


def test_what_cannot_begin_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no file"):
        study.run(plan(tmp_path, photograph=tmp_path / "none.jpg"))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_read_is_told(
    tmp_path: Path, benched: list[tuple[str, ...]]
) -> None:
    planned = plan(tmp_path)
    study.run(planned)
    file = planned.folder / STUDY
    file.write_text(file.read_text().replace("Patches", "Matches"))
    with pytest.raises(UsageError, match=r"study\.json is not as it was saved"):
        plan(tmp_path)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a study of one's own beside the planted one, of which one row cannot run."""
    folder = tmp_path_factory.mktemp("study")
    shutil.copytree(PLANTED / "studies", folder / "own" / "studies")
    (folder / "net.py").write_text(
        "import torch\n"
        "class Net(torch.nn.Module):\n"
        "    def forward(self, image):\n"
        "        scale = 2 if image.sum().item() > 1 else 3\n"
        "        return scale * image.flatten(1)[:, :10]\n"
        "def make():\n"
        "    return Net()\n"
    )
    (folder / "own" / "studies" / "breaks.toml").write_text(
        'title = "One that cannot"\npaper = "None"\nabout = ""\nreference = "yardstick"\n'
        'rows = [{ name = "breaks", model = "net.py:make" },'
        '{ name = "yardstick", model = "yardstick" }]\n'
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(plugins.FOLDER, str(folder / "own"))
        yield folder


@pytest.mark.slow
def test_a_study_ends_in_a_report_and_is_not_measured_twice(home: Path, warm: Server) -> None:
    command = ("study", "tiny", *QUICK, "-o", "out")
    done = warm.mvdeploy(*command, cwd=home)
    assert done.returncode == 0, done.stderr
    assert re.search(r"FFN\W+\(measured\)", done.stdout) and "(published)" in done.stdout
    folder = home / "out" / "study-tiny-host"
    assert {path.name for path in folder.iterdir()} == {
        *("study.json", "runs", "report.md", "report.html", "study.csv", "figures")
    }
    runs = sorted((folder / "runs").iterdir())
    assert len(runs) == 1
    again = warm.mvdeploy(*command, "--json", cwd=home)
    assert again.returncode == 0, again.stderr
    assert sorted((folder / "runs").iterdir()) == runs
    read = json.loads(again.stdout)
    measured = [v for v in read["values"] if v["kind"] == "measured" and v["quantity"] == "ratio"]
    assert [one["row"] for one in measured] == ["A", "B", "A, trained longer", "yardstick"]
    compared = load_run(runs[0]).comparisons
    a, b, yardstick = load_run(runs[0]).run.cases
    assert {(pair.a, pair.b) for pair in compared} == {(a, b), (a, yardstick)}
    rendered = warm.mvdeploy("report", str(folder), "--json", cwd=home)
    assert json.loads(rendered.stdout) == read
    refused = warm.mvdeploy("report", str(folder), "--format", "csv", cwd=home)
    assert refused.returncode == 2 and "is a study" in refused.stderr


@pytest.mark.slow
def test_a_network_that_cannot_be_exported_is_a_row_that_says_so(home: Path, warm: Server) -> None:
    done = warm.mvdeploy("study", "breaks", *QUICK, "-o", "out", cwd=home)
    assert done.returncode in (2, 4), done.stdout
    assert "breaks: " in done.stdout and "Error: net.py:make" in done.stderr
    (report,) = home.glob("out/study-breaks-host/report.md")
    assert "yardstick" in report.read_text()


def test_studies_are_listed(home: Path, warm: Server) -> None:
    listed = warm.mvdeploy("study", "list", cwd=home)
    assert listed.returncode == 0
    assert [line.split()[0] for line in listed.stdout.splitlines()] == list(studies.names())
    assert json.loads(warm.mvdeploy("study", "list", "--json", cwd=home).stdout)["table6"]["rows"]
    unknown = warm.mvdeploy("study", "tabel6", cwd=home)
    assert unknown.returncode == 2 and "Did you mean 'table6'?" in unknown.stderr
