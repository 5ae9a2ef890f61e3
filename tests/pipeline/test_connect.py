from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from mvdeploy import devices, kits
from mvdeploy.cli.commands.bench import command
from mvdeploy.errors import DeviceUnavailable
from mvdeploy.kits import Kit, build
from mvdeploy.links import KitMissing, Link
from mvdeploy.links.remote import RemoteLink
from mvdeploy.models.preprocess import sample_photograph
from mvdeploy.pipeline import bench, connect
from mvdeploy.pipeline.evaluation.judging import Judge
from mvdeploy.pipeline.predict import predict
from mvdeploy.records import Level
from mvdeploy.records.codec import dumps


class Board(Link):
    """A link to a board that needs a kit; nothing is run on it."""

    def _unused(self, *_arguments: object) -> None:
        raise AssertionError

    fetch = identity = lock_key = run = scratch = state = upload = _unused

    def __init__(self, error: Exception | None) -> None:
        super().__init__(devices.get("pixel4"))
        self.error = error
        self.said: list[str] = []

    def open(self) -> None:
        error, self.error = self.error, None
        if error is not None:
            raise error
        self.on_sent("libengine.so", 0, 2_500_000)
        self.on_sent("libengine.so", 2_500_000, 2_500_000)
        self.said.append("open")

    def close(self) -> None:
        self.said.append("close")


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    found: list[str] = []

    def kit(architecture: str, on_step: connect.OnStep) -> tuple[Path, None]:
        found.append(architecture)
        on_step("fetch")
        return Path("kit"), None

    monkeypatch.setattr(build, "kit", kit)
    return found


def test_a_kit_that_is_missing_is_built(built: list[str]) -> None:
    link, steps = Board(KitMissing(devices.get("pixel4"), "aarch64")), []
    with connect.opened(link, steps.append):
        assert link.said == ["open"]
    assert link.said == ["open", "close"]
    assert built == ["aarch64"]
    assert steps == [
        "build the runner kit for aarch64",
        "fetch",
        "send libengine.so (2.5 MB)",
    ]


def test_nothing_is_built_for_a_device_that_has_its_kit(built: list[str]) -> None:
    with connect.opened(Board(None)) as link:
        assert link.profile.name == "pixel4"
    assert not built


class Phone(RemoteLink):
    """A phone that is sent a kit; nothing is run on it."""

    def _unused(self, *_arguments: object) -> None:
        raise AssertionError

    identity = state = _reach = _part = architecture = lock_key = _unused

    def open(self) -> None:
        if self._options.get("runner"):
            return
        found = kits.find("aarch64", self._options.get("kit"), needs=self.needs)
        assert found is not None
        _, self._kit = found

    def close(self) -> None:
        pass


def put_kit(build: str, **versions: str) -> None:
    place = kits.place("aarch64", build)
    place.mkdir(parents=True)
    kit = Kit("aarch64", build, versions, ("./run",), (), {}, kits.code_hash())
    (place / kits.FILE).write_text(dumps(kit), encoding="utf-8")


def test_the_kit_that_is_used_is_told_with_what_there_is_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    here = {name: kits.installed_version(name) for name in ("executorch", "onnxruntime")}
    put_kit(kits.GLIBC, **here)
    engines = ", ".join(f"{name} {version}" for name, version in here.items())

    def told(*needs: str, **options: str) -> list[str]:
        steps: list[str] = []
        with connect.opened(Phone(devices.get("pixel4"), options), steps.append, needs):
            return steps

    assert told() == [f"use the glibc build: {engines}"]
    put_kit(kits.ANDROID, onnxruntime="1.2.3")
    assert told() == [
        f"use the android build: onnxruntime 1.2.3 (here {here['onnxruntime']}); the glibc build "
        "is there too (--kit glibc)"
    ]
    other = "the android build is there too (--kit android), without executorch"
    assert told(kit="glibc") == [f"use the glibc build: {engines}; {other}"]
    assert told("onnxruntime", "executorch") == told(kit="glibc")
    assert told("onnxruntime", "onnxruntime") == told()
    assert told(runner="mine") == []


def test_nothing_is_built_for_a_device_that_does_not_answer(built: list[str]) -> None:
    link = Board(DeviceUnavailable("It is not there.", "Attach it."))
    with pytest.raises(DeviceUnavailable, match="It is not there"), connect.opened(link):
        pytest.fail("it is not open")
    assert not built


def test_a_link_is_closed_when_something_fails_meanwhile(built: list[str]) -> None:
    link = Board(None)
    with pytest.raises(ZeroDivisionError), connect.opened(link):
        raise ZeroDivisionError
    assert link.said == ["open", "close"]


class Left(Board):
    """A link that leaves something behind."""

    def open(self) -> None:
        self.found("mode_restored", Level.NOTE, device="Pixel 4")
        super().open()

    def close(self) -> None:
        super().close()
        self.found("left_behind", Level.WARNING, device="Pixel 4", folder="/f", reason="Gone.")
        self.found("mode_not_restored", Level.WARNING, device="Pixel 4")


def test_what_is_left_is_told_of_a_run_that_has_come_to_nothing() -> None:
    steps: list[str] = []
    with pytest.raises(DeviceUnavailable) as caught, connect.opened(Left(None), steps.append):
        raise DeviceUnavailable("It is gone.", "Attach it.")
    assert caught.value.message == "It is gone."
    assert caught.value.remedy.startswith("Attach it. Files were left on Pixel 4 in /f")
    assert "before its fixed-performance mode could be switched off" in caught.value.remedy
    assert "'mvdeploy devices clean DEVICE'" in caught.value.remedy
    # What was put right is told when it is.
    assert any(step.startswith("Pixel 4 was still in the fixed-perf") for step in steps)


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError, None])
def test_what_is_left_is_told_however_a_run_ends(error: type[BaseException] | None) -> None:
    steps: list[str] = []
    expected = pytest.raises(error) if error else contextlib.nullcontext()
    with expected, connect.opened(Left(None), steps.append):
        if error is not None:
            raise error
    assert any(step.startswith("Files were left on Pixel 4 in /f") for step in steps)
    assert any("'mvdeploy devices clean DEVICE'" in step for step in steps)


def test_what_is_left_while_it_is_opened_is_told() -> None:
    link = Left(DeviceUnavailable("It is gone.", "Attach it."))
    with pytest.raises(DeviceUnavailable) as caught, connect.opened(link):
        pytest.fail("it is not open")
    assert "Files were left on Pixel 4" in caught.value.remedy


# What runs ask for


class AskedError(Exception):
    """A device was to be opened."""


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """The engines that links were asked for; none is opened."""
    found: list[tuple[str, ...]] = []

    def instead(_link: Link, _on_step: connect.OnStep, needs: Iterable[str] = ()) -> None:
        found.append(tuple(needs))
        raise AskedError

    monkeypatch.setattr(connect, "opened", instead)
    monkeypatch.setattr(bench, "opened", instead)
    return found


def test_a_run_asks_for_the_engines_of_its_cases(asked: list[tuple[str, ...]]) -> None:
    words = ["mobilevit_xxs", "--device", "pixel4", "--format", "onnx", "--format", "executorch"]
    done = CliRunner().invoke(command, words, standalone_mode=False)
    assert isinstance(done.exception, AskedError), done.exception
    assert [sorted(set(engines)) for engines in asked] == [["executorch", "onnxruntime"]]


def test_a_prediction_asks_for_its_engine(exported, asked: list[tuple[str, ...]]) -> None:
    with pytest.raises(AskedError):
        predict(exported("onnx").path, sample_photograph(), devices.get("pixel4"))
    assert asked == [("onnxruntime",)]


def test_an_evaluation_asks_for_the_engines_of_its_files(
    exported, asked: list[tuple[str, ...]]
) -> None:
    files = [exported(name) for name in ("onnx", "executorch")]
    subjects = [SimpleNamespace(artifact=file.artifact) for file in files]
    subjects.append(SimpleNamespace(artifact=None))
    judge = Judge.__new__(Judge)
    judge._running, judge._subjects, judge._on_step = [], subjects, print
    judge._request = SimpleNamespace(threads=1, device=devices.get("pixel4"), link_options={})
    with pytest.raises(AskedError), contextlib.ExitStack() as stack:
        judge.start(stack)
    assert asked == [("onnxruntime", "executorch")]
