"""Which build of a kit a device is sent, and that the doctor says so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from mvdeploy import devices, kits, links
from mvdeploy.errors import UsageError
from mvdeploy.kits import ANDROID, GLIBC, Kit
from mvdeploy.links import KitMissing
from mvdeploy.links.families.adb import AdbLink
from mvdeploy.links.families.ssh import SshLink
from mvdeploy.links.remote import RemoteLink
from mvdeploy.links.remote_doctor import _Visit
from mvdeploy.records.codec import dumps

MakeLink = Callable[..., RemoteLink]


@pytest.fixture
def put_kit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Kit]:
    """Return a function that lays a kit where it is looked for."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def put(build: str) -> Kit:
        place = kits.place("aarch64", build)
        place.mkdir(parents=True)
        version = kits.installed_version("onnxruntime") if build == GLIBC else "1.2.3"
        engines = {"onnxruntime": version}
        kit = Kit("aarch64", build, engines, ("./run",), (), {}, kits.code_hash())
        (place / kits.FILE).write_text(dumps(kit), encoding="utf-8")
        return kit

    return put


@pytest.fixture
def link_to(monkeypatch: pytest.MonkeyPatch) -> MakeLink:
    """Return a function that makes a link to an arm64 device, where nothing is sent."""
    monkeypatch.setattr(RemoteLink, "_begin", lambda _self: None)
    nowhere = SimpleNamespace(send=lambda _files: None, make_executable=lambda *_: None)
    monkeypatch.setattr(RemoteLink, "_stored", nowhere)
    monkeypatch.setattr(RemoteLink, "_kit_folder", "kit")

    def make(device: str, **options: str) -> RemoteLink:
        kind = SshLink if device == "raspberrypi5" else AdbLink
        monkeypatch.setattr(kind, "architecture", lambda _self: "aarch64")
        return kind(devices.get(device), options)

    return make


def sent(link: RemoteLink) -> str:
    link.send_kit()
    return link.kit.build


@pytest.mark.parametrize("device", ["pixel4", "raspberrypi5"])
def test_what_devices_run(device: str) -> None:
    runs = (ANDROID, GLIBC) if device == "pixel4" else (GLIBC,)
    assert links.builds(devices.get(device)) == runs


def test_a_phone_is_sent_the_android_build_and_a_board_never(
    put_kit: Callable[[str], Kit], link_to: MakeLink
) -> None:
    put_kit(ANDROID)
    assert sent(link_to("pixel4")) == ANDROID
    with pytest.raises(KitMissing):
        link_to("raspberrypi5").send_kit()
    put_kit(GLIBC)
    assert sent(link_to("pixel4")) == ANDROID
    assert sent(link_to("pixel4", kit="glibc")) == GLIBC
    assert sent(link_to("raspberrypi5")) == GLIBC
    needing = link_to("pixel4")
    needing.needs = ("executorch",)
    assert sent(needing) == ANDROID  # no kit has it
    with pytest.raises(UsageError, match="does not run the android build"):
        link_to("raspberrypi5", kit="android").send_kit()


def test_the_doctor_says_which_kit_is_used(
    put_kit: Callable[[str], Kit], link_to: MakeLink
) -> None:
    put_kit(ANDROID)
    put_kit(GLIBC)
    here = kits.installed_version("onnxruntime")
    assert _Visit(link_to("pixel4"))._kit() == (
        f"android build: onnxruntime 1.2.3 (here {here}); the glibc build is there too "
        "(--kit glibc)"
    )
    assert _Visit(link_to("raspberrypi5"))._kit() == f"glibc build: onnxruntime {here}"


@pytest.mark.parametrize(
    ("there", "words"),
    [
        ((), "setup pixel4 --rebuild'"),
        ((GLIBC,), "setup pixel4 --rebuild'"),
        ((GLIBC, ANDROID), "setup pixel4 --build android --rebuild'"),
    ],
)
def test_the_kit_that_is_used_is_the_one_to_build_anew(
    put_kit: Callable[[str], Kit], there: tuple[str, ...], words: str
) -> None:
    for build in there:
        put_kit(build)
    assert links.mend(devices.get("pixel4")).endswith(f"'mvdeploy devices {words}.")
    assert "--build" not in links.mend(devices.get("raspberrypi5"))
