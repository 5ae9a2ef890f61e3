from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from mvdeploy import devices
from mvdeploy.errors import DeviceUnavailable
from mvdeploy.kits import build
from mvdeploy.links import KitMissing, Link
from mvdeploy.pipeline import connect
from mvdeploy.records import Level


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
