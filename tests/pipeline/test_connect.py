from __future__ import annotations

from pathlib import Path

import pytest

from mvdeploy import devices
from mvdeploy.errors import DeviceUnavailable
from mvdeploy.kits import build
from mvdeploy.links import KitMissing, Link
from mvdeploy.pipeline import connect


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
