"""``mvdeploy devices setup``: which kit is built, and that it is said."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from mvdeploy import files, kits
from mvdeploy.cli.commands.devices import command
from mvdeploy.engines import native
from mvdeploy.errors import MvdeployError, UsageError
from mvdeploy.kits import ANDROID, GLIBC, Kit, Source, build, zig
from mvdeploy.records.codec import dumps

Setup = Callable[..., Result]
AAR = ("--onnxruntime-aar", "onnxruntime-android-1.2.3.aar")


def put_kit(kind: str, **fields: object) -> tuple[Path, Kit]:
    """Lay a kit where it is looked for."""
    place = kits.place("aarch64", kind)
    place.mkdir(parents=True, exist_ok=True)
    (place / "run").write_bytes(b"runner" * 100_000)
    names = native() if kind == GLIBC else ("onnxruntime",)
    engines = {name: kits.installed_version(name) for name in names}
    sums = {"run": files.sha256(place / "run")}
    sources = (Source("onnxruntime.aar", "1.2.3", "ab" * 32),)
    kit = Kit("aarch64", kind, engines, ("./run",), ("run",), sums, kits.code_hash(), sources)
    kit = dataclasses.replace(kit, **fields)
    (place / kits.FILE).write_text(dumps(kit), encoding="utf-8")
    return place, kit


@pytest.fixture
def setup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Setup:
    """Return a function that runs the command where nothing can be built, with ziglang there."""
    for name in ("ANDROID_NDK_HOME", "ANDROID_NDK_ROOT", "ANDROID_NDK", "ANDROID_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("ANDROID_SDK_ROOT", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(zig, "installed", lambda: Path("ziglang"))

    def run(*words: str, device: str = "pixel4") -> Result:
        return CliRunner().invoke(command, ["setup", device, *words], standalone_mode=False)

    return run


def refused(result: Result) -> MvdeployError:
    assert isinstance(result.exception, MvdeployError), result.exception
    return result.exception


def test_the_kit_is_glibc_unless_something_is_said(setup: Setup) -> None:
    place, kit = put_kit(GLIBC)
    done = setup()
    assert done.exception is None
    assert done.stderr == "glibc build, as no engines for Android are given\n"
    first, second, third = done.stdout.splitlines()
    engines = ", ".join(f"{name} {version}" for name, version in kit.engines.items())
    assert first == str(place)
    assert second == f"  aarch64, glibc build, 0.6 MB: {engines}"
    assert third == "  from onnxruntime.aar 1.2.3 abababababababab"


def test_the_kit_that_is_asked_for(setup: Setup) -> None:
    glibc, android = put_kit(GLIBC), put_kit(ANDROID)
    for kind, (place, _) in ((GLIBC, glibc), (ANDROID, android)):
        done = setup("--build", kind)
        assert done.exception is None
        assert done.stderr == f"{kind} build, as --build says\n"
        assert done.stdout.startswith(f"{place}\n  aarch64, {kind} build")
        assert done.stdout.endswith(
            "  There are two kits for it: a run takes the android build if that has its engines, "
            "and the glibc build otherwise, or with --kit glibc.\n"
        )


def test_engines_for_android_ask_for_that_kit(
    setup: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, given = put_kit(ANDROID), []

    def kit(architecture: str, android: object, **_more: object) -> tuple[Path, Kit]:
        given.append((architecture, android))
        return made

    monkeypatch.setattr(build, "kit", kit)
    done = setup(*AAR)
    assert done.exception is None
    assert done.stderr == "android build, as --onnxruntime-aar gives engines for it\n"
    assert setup("--build", "android", "--onnxruntime-npm", "0.4.9").exception is None
    assert given == [
        ("aarch64", build.Android(None, {"onnxruntime_aar": AAR[1]})),
        ("aarch64", build.Android(None, {"onnxruntime_npm": "0.4.9"})),
    ]


def test_engines_of_other_versions_than_here_are_told(setup: Setup) -> None:
    put_kit(ANDROID, engines={"onnxruntime": "1.2.3"})
    done = setup("--build", "android")
    here = kits.installed_version("onnxruntime")
    assert done.stderr.splitlines()[1:] == [
        f"Warning: the kit has onnxruntime 1.2.3, and files are verified with {here} here. Results "
        "will say so."
    ]


def test_json_is_of_the_kit_alone(setup: Setup) -> None:
    put_kit(GLIBC)
    place, _ = put_kit(ANDROID, engines={"onnxruntime": "1.2.3"})
    body = json.loads(setup("--build", "android", "--json").stdout)
    assert (body["folder"], body["build"]) == (str(place), "android")
    assert body["engines"] == {"onnxruntime": "1.2.3"}


@pytest.mark.parametrize(
    ("words", "message", "remedy"),
    [
        (
            ("--build", "glibc", *AAR),
            "--build glibc asks for the others",
            "Leave --onnxruntime-aar",
        ),
        (("--build", "android"), "engines for Android, and none is given", "--onnxruntime-npm"),
        (
            ("--executorch-android", "x"),
            "The plug-in of executorch is C++, which takes an Android NDK",
            "leave --executorch-android out",
        ),
        (
            (*AAR, "--executorch-aar", "x"),
            "The plug-in of executorch is C++, which takes an Android NDK",
            "leave --executorch-aar out",
        ),
        (
            (*AAR, "--onnxruntime-npm", "1.2.3"),
            "--onnxruntime-aar and --onnxruntime-npm both give onnxruntime",
            "Give one of them",
        ),
        (("--onnxruntime-npm", "x.tgz"), "x.tgz is neither a file nor a version", "(.tgz)"),
    ],
)
def test_what_cannot_be_built(
    setup: Setup, words: tuple[str, ...], message: str, remedy: str
) -> None:
    put_kit(GLIBC)
    error = refused(setup(*words))
    assert message in error.message and remedy in error.remedy
    assert [path.name for path in kits.place("aarch64", GLIBC).parent.iterdir()] == [
        "aarch64-glibc"
    ]


@pytest.mark.parametrize("words", [("--build", "android"), AAR])
def test_a_board_gets_no_android_kit(setup: Setup, words: tuple[str, ...]) -> None:
    error = refused(setup(*words, device="raspberrypi5"))
    assert isinstance(error, UsageError)
    assert error.message == "Raspberry Pi 5 does not run the android build of a kit."
    assert error.remedy == f"Leave {words[0]} out."


@pytest.mark.parametrize("words", [("--build", "android"), AAR, ("--rebuild",)])
def test_what_says_how_to_build_is_for_the_setup(words: tuple[str, ...]) -> None:
    done = CliRunner().invoke(command, ["doctor", "host", *words], standalone_mode=False)
    error = refused(done)
    assert "--rebuild, --build, " in error.message and "mvdeploy devices setup" in error.remedy


def test_there_are_no_other_builds() -> None:
    done = CliRunner().invoke(command, ["setup", "pixel4", "--build", "bionic"])
    assert done.exit_code == 2 and "'android', 'glibc'" in done.output
