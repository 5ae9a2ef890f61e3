"""Runner kits: what a folder has to be to count as one."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mvdeploy import engines, files, kits
from mvdeploy.errors import UsageError
from mvdeploy.kits import ANDROID, FILE, GLIBC, Kit, Source
from mvdeploy.records.codec import dumps

REMEDY = "Build it again with 'mvdeploy devices setup DEVICE --rebuild'."
CONTENTS = {"runner": b"\x7fELF runner", "libonnxruntime.so": b"engine", "ld.so": b""}

MakeKit = Callable[..., Kit]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "kit"


@pytest.fixture
def make_kit(folder: Path) -> MakeKit:
    """Return a function that writes a kit to a folder."""

    def make(into: Path = folder, **fields: object) -> Kit:
        into.mkdir(parents=True, exist_ok=True)
        for name, data in CONTENTS.items():
            (into / name).write_bytes(data)
        kit = Kit(
            architecture="aarch64",
            build=GLIBC,
            engines={name: kits.installed_version(name) for name in engines.native()},
            command=("./ld.so", "./runner"),
            programs=("ld.so", "runner"),
            sums={name: files.sha256(into / name) for name in CONTENTS},
            code=kits.code_hash(),
            sources=(Source("onnxruntime", "1.2", "ab"), Source("libc6", "2.36")),
            compiler="gcc 12",
        )
        kit = dataclasses.replace(kit, **fields)
        (into / FILE).write_text(dumps(kit), encoding="utf-8")
        return kit

    return make


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def refused(folder: Path) -> str:
    with pytest.raises(UsageError) as error:
        kits.load(folder)
    assert error.value.remedy == REMEDY
    assert str(folder) in error.value.message
    return error.value.message


# Reading


def test_a_kit_is_read_as_it_was_written(make_kit: MakeKit, folder: Path) -> None:
    kit = make_kit()
    assert kits.load(folder) == kit


def test_there_is_none(folder: Path) -> None:
    assert "There is no runner kit" in refused(folder)
    folder.mkdir()
    assert "There is no runner kit" in refused(folder)
    (folder / FILE).mkdir()
    assert "There is no runner kit" in refused(folder)


@pytest.mark.parametrize("name", CONTENTS)
def test_a_file_that_is_not_there_or_not_the_same(
    make_kit: MakeKit, folder: Path, name: str
) -> None:
    make_kit()
    (folder / name).write_bytes(CONTENTS[name] + b"!")
    assert f"is damaged: '{name}'" in refused(folder)
    (folder / name).unlink()
    assert f"is damaged: '{name}'" in refused(folder)
    (folder / name).mkdir()
    assert f"is damaged: '{name}'" in refused(folder)


@pytest.mark.parametrize(
    "name",
    ["../outside", "sub/inside", "..", ".", "", "x" * 300, "nul\0", "\ud800", "./runner", "a\nb"],
)
def test_names_that_no_file_of_a_kit_has(make_kit: MakeKit, folder: Path, name: str) -> None:
    folder.mkdir()
    for path in (folder.parent / "outside", folder / "sub" / "inside"):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(CONTENTS["ld.so"])
    sums = {name: files.sha256(folder.parent / "outside")}
    text = json.dumps(json.loads(dumps(make_kit())) | {"sums": sums, "programs": []})
    (folder / FILE).write_text(text, encoding="utf-8")
    message = refused(folder)
    assert message.endswith(f"is damaged: {name!r}.")
    assert message.isprintable()


def test_a_file_elsewhere_is_no_part_of_a_kit(make_kit: MakeKit, folder: Path) -> None:
    outside = folder.parent / "outside"
    outside.write_bytes(b"secret")
    make_kit(sums={str(outside): files.sha256(outside)}, programs=())
    assert "is damaged" in refused(folder)


@pytest.mark.parametrize("name", ["../../etc", "/system/bin/sh", "other", ""])
def test_only_files_of_the_kit_are_executed(make_kit: MakeKit, folder: Path, name: str) -> None:
    make_kit(programs=("runner", name))
    assert refused(folder).endswith(f"is damaged: {name!r}.")


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\xff\xfe",
        b"null",
        b"[]",
        b"{}",
        b'{"schema_version": 1}',
        b'{"schema_version": 1, "record": "Plan"}',
        b'{"schema_version": 1, "record": "Kit"}',
        b'{"schema_version": 99, "record": "Kit"}',
        b"[" * 100_000,
    ],
)
def test_what_is_no_kit(folder: Path, text: bytes) -> None:
    folder.mkdir()
    (folder / FILE).write_bytes(text)
    assert "cannot be read" in refused(folder)


@pytest.mark.parametrize(
    "change",
    [
        {"surprise": 1},
        {"sums": ["runner"]},
        {"sums": {"runner": 5}},
        {"programs": "runner"},
        {"engines": None},
        {"architecture": 64},
        {"sources": [{"name": "x"}]},
    ],
)
def test_fields_that_are_foreign_or_of_another_kind(
    make_kit: MakeKit, folder: Path, change: dict[str, object]
) -> None:
    text = dumps(make_kit())
    (folder / FILE).write_text(json.dumps(json.loads(text) | change))
    assert next(iter(change)) in refused(folder)


def test_a_field_is_missing(make_kit: MakeKit, folder: Path) -> None:
    data = json.loads(dumps(make_kit()))
    for name in ("architecture", "build", "engines", "command", "programs", "sums", "code"):
        (folder / FILE).write_text(json.dumps({key: data[key] for key in data if key != name}))
        assert f"lacks the field '{name}'" in refused(folder)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_damaged_file_is_read_as_it_was_or_refused(
    make_kit: MakeKit, folder: Path, data: st.DataObject
) -> None:
    kit = make_kit()
    text = (folder / FILE).read_bytes()
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    (folder / FILE).write_bytes(text[:start] + data.draw(st.binary(max_size=8)) + text[end:])
    try:
        found = kits.load(folder)
    except UsageError as error:
        assert error.remedy == REMEDY
    else:
        assert found.sums.items() <= kit.sums.items()
        assert set(found.programs) <= found.sums.keys()


# What a kit is called, and whether it is up to date


def test_the_identifier_is_of_names_and_contents(make_kit: MakeKit) -> None:
    kit = make_kit()
    backwards = dataclasses.replace(kit, sums=dict(reversed(kit.sums.items())), compiler="other")
    assert backwards.identifier == kit.identifier
    assert len(kit.identifier) == 16 and int(kit.identifier, 16) >= 0
    others = [
        {**kit.sums, "runner": "0" * 64},
        {**kit.sums, "more": "0" * 64},
        {(name + "2" if name == "runner" else name): sha for name, sha in kit.sums.items()},
        {},
    ]
    found = {dataclasses.replace(kit, sums=sums).identifier for sums in others}
    assert len(found | {kit.identifier}) == 5


def test_what_would_be_built_now_is_current(make_kit: MakeKit) -> None:
    kit = make_kit()
    assert kit.is_current
    assert not dataclasses.replace(kit, code="0" * 64).is_current
    assert not dataclasses.replace(kit, engines={**kit.engines, "executorch": "0.1"}).is_current
    assert not dataclasses.replace(kit, engines={**kit.engines, "no-such-engine": "1"}).is_current


def test_engines_for_android_have_versions_of_their_own(make_kit: MakeKit) -> None:
    kit = dataclasses.replace(make_kit(), build=ANDROID, engines={"onnxruntime": "1.2.3"})
    assert kit.is_current
    assert not dataclasses.replace(kit, code="").is_current


def test_versions_of_engines() -> None:
    assert kits.installed_version("onnxruntime") == importlib.metadata.version("onnxruntime")
    assert kits.installed_version("no-such-engine") == ""


def test_the_code_of_the_runner_is_there() -> None:
    assert (kits.code() / "CMakeLists.txt").is_file()
    assert kits.code_hash() == files.sha256(kits.code())


# Finding


def test_no_kit_was_built(cache: Path) -> None:
    assert kits.find("aarch64") is None
    assert not cache.exists()


def test_the_kit_that_was_built_is_found(cache: Path, make_kit: MakeKit) -> None:
    place = kits.place("aarch64", GLIBC)
    assert place.is_relative_to(cache)
    kit = make_kit(place)
    assert kits.find("aarch64") == (place, kit)
    assert kits.find("x86_64") is None


def test_an_old_one_does_not_count(cache: Path, make_kit: MakeKit) -> None:
    make_kit(kits.place("aarch64", GLIBC), code="0" * 64)
    assert kits.find("aarch64") is None


def test_a_damaged_one_is_not_passed_over(cache: Path, make_kit: MakeKit) -> None:
    place = kits.place("aarch64", GLIBC)
    make_kit(place)
    (place / "runner").unlink()
    with pytest.raises(UsageError, match="damaged"):
        kits.find("aarch64")


def test_one_that_is_given_goes_before(cache: Path, make_kit: MakeKit, folder: Path) -> None:
    make_kit(kits.place("aarch64", GLIBC))
    given_kit = make_kit(folder, code="of one's own", compiler="other")
    # As it is, whatever would be built now.
    assert kits.find("aarch64", folder) == (folder, given_kit)


def test_a_kit_for_other_devices(cache: Path, make_kit: MakeKit, folder: Path) -> None:
    make_kit()
    with pytest.raises(UsageError) as error:
        kits.find("x86_64", folder)
    assert "is for aarch64, and the device is x86_64" in error.value.message
    assert "--kit" in error.value.remedy


@pytest.mark.parametrize("name", ["nowhere", os.devnull, "x" * 300])
def test_what_is_given_is_no_kit(cache: Path, make_kit: MakeKit, tmp_path: Path, name: str) -> None:
    make_kit(kits.place("aarch64", GLIBC))
    with pytest.raises(UsageError, match="There is no runner kit"):
        kits.find("aarch64", tmp_path / name)


# Several builds side by side


OTHER = "1.2.3"


@pytest.fixture
def make_both(cache: Path, make_kit: MakeKit) -> Callable[..., dict[str, tuple[Path, Kit]]]:
    """Return a function that puts kits of both builds where they are looked for."""

    def make(**android: object) -> dict[str, tuple[Path, Kit]]:
        fields: dict[str, dict[str, object]] = {
            GLIBC: {},
            ANDROID: {"build": ANDROID, "engines": {"onnxruntime": OTHER}, **android},
        }
        places = {build: kits.place("aarch64", build) for build in fields}
        return {build: (place, make_kit(place, **fields[build])) for build, place in places.items()}

    return make


BOARD = (GLIBC,)


def test_an_android_kit_goes_first_where_it_runs(make_both: Callable) -> None:
    both = make_both()
    assert both[GLIBC][0] != both[ANDROID][0]
    assert kits.find("aarch64") == both[ANDROID]
    assert kits.find("aarch64", None, BOARD) == both[GLIBC]
    assert kits.used("aarch64") == ANDROID
    assert kits.used("aarch64", BOARD) == GLIBC
    assert kits.used("x86_64") == ""


def test_a_kit_that_lacks_an_engine_of_the_run_is_passed_over(make_both: Callable) -> None:
    both = make_both()
    assert kits.find("aarch64", needs=["onnxruntime"]) == both[ANDROID]
    for needs in (["executorch"], ["onnxruntime", "executorch"]):
        assert kits.find("aarch64", needs=needs) == both[GLIBC]
        assert kits.find("aarch64", ANDROID, needs=needs) == both[ANDROID]
    # Nothing that could be built has it.
    assert kits.find("aarch64", needs=["another"]) == both[ANDROID]
    shutil.rmtree(both[GLIBC][0])
    assert kits.find("aarch64", needs=["executorch"]) is None
    assert kits.find("aarch64", needs=["onnxruntime"]) == both[ANDROID]


def test_an_old_kit_that_a_run_would_not_take_is_in_nobodys_way(make_both: Callable) -> None:
    both = make_both(code="0" * 64)
    assert kits.find("aarch64", needs=["executorch"]) == both[GLIBC]
    with pytest.raises(UsageError, match="another release"):
        kits.find("aarch64", needs=["onnxruntime"])


@pytest.mark.parametrize("build", kits.BUILDS)
def test_a_build_is_chosen_by_its_name(make_both: Callable, build: str) -> None:
    both = make_both()
    assert kits.find("aarch64", build) == both[build]


def test_a_build_that_is_not_there(cache: Path) -> None:
    assert kits.find("aarch64", GLIBC) is None  # it can be built
    with pytest.raises(UsageError) as error:
        kits.find("aarch64", ANDROID)
    assert error.value.message == "There is no android kit for aarch64."
    assert "'mvdeploy devices setup DEVICE --build android'" in error.value.remedy


def test_a_board_has_no_android(make_both: Callable) -> None:
    both = make_both()
    for chosen in (ANDROID, both[ANDROID][0]):
        with pytest.raises(UsageError) as error:
            kits.find("aarch64", chosen, BOARD)
        assert error.value.message == "The device does not run the android build of a kit."
        assert "of the glibc build with --kit" in error.value.remedy


@pytest.mark.parametrize("given", [None, "", ANDROID])
def test_an_old_android_kit_is_not_replaced_by_another_in_silence(
    make_both: Callable, given: str | None
) -> None:
    both = make_both(code="0" * 64)
    with pytest.raises(UsageError) as error:
        kits.find("aarch64", given)
    assert "The android kit for aarch64 was built by another release" in error.value.message
    assert "'mvdeploy devices setup DEVICE --build android --rebuild'" in error.value.remedy
    assert "'--kit glibc'" in error.value.remedy
    assert kits.find("aarch64", GLIBC) == both[GLIBC]
    assert kits.find("aarch64", None, BOARD) == both[GLIBC]


@pytest.mark.parametrize("build", ["bionic", GLIBC])
def test_a_kit_of_before_there_were_several(cache: Path, make_kit: MakeKit, build: str) -> None:
    earlier = kits.earlier_place("aarch64")
    make_kit(earlier, build=build)
    found = kits.find("aarch64", earlier)  # as it is, when it is given
    assert found is not None and found[1].build == (GLIBC if build == GLIBC else ANDROID)
    if build == GLIBC:  # that is built anew
        assert kits.find("aarch64") is None
        return
    with pytest.raises(UsageError, match="built by another release"):
        kits.find("aarch64")
    assert kits.find("aarch64", GLIBC) is None
    kit = make_kit(kits.place("aarch64", ANDROID), build=ANDROID)
    assert kits.find("aarch64") == (kits.place("aarch64", ANDROID), kit)


def test_a_damaged_android_kit_says_what_is_left(make_both: Callable) -> None:
    place, _ = make_both()[ANDROID]
    (place / "runner").unlink()
    with pytest.raises(UsageError) as error:
        kits.find("aarch64")
    assert "damaged" in error.value.message
    assert (
        "--build android --rebuild'" in error.value.remedy and "'--kit glibc'" in error.value.remedy
    )


def test_what_a_kit_is_said_to_be(make_both: Callable) -> None:
    both = make_both()
    here = kits.installed_version("onnxruntime")
    _, android = both[ANDROID]
    assert kits.other_versions(android) == {"onnxruntime": (OTHER, here)}
    said = f"android build: onnxruntime {OTHER} (here {here})"
    assert kits.described(android) == f"{said}; the glibc build is there too (--kit glibc)"
    assert kits.described(android, (ANDROID,)) == said
    _, glibc = both[GLIBC]
    assert kits.other_versions(glibc) == {}
    assert kits.described(glibc, BOARD).startswith("glibc build: ")
    assert (
        "there too" not in kits.described(glibc, BOARD) and "here" not in kits.described(glibc)[:60]
    )
    without = ", ".join(name for name in engines.native() if name != "onnxruntime")
    there = f"; the android build is there too (--kit android), without {without}"
    assert kits.described(glibc).endswith(there)
    (both[ANDROID][0] / "runner").unlink()
    assert kits.described(glibc).endswith("there too (--kit android)")


def test_another_build_of_one_release_is_no_other_version(make_both: Callable) -> None:
    here = kits.installed_version("onnxruntime")
    _, android = make_both(engines={"onnxruntime": f"{here}+android", "no-such-engine": "1"})[
        ANDROID
    ]
    assert kits.other_versions(android) == {}


def test_an_empty_name_is_none(cache: Path, make_kit: MakeKit) -> None:
    kit = make_kit(kits.place("aarch64", GLIBC))
    assert kits.find("aarch64", "") == (kits.place("aarch64", GLIBC), kit)


# What the documentation says


def test_the_tests_that_tables_of_faults_name_are_there() -> None:
    root = Path(__file__).parents[2]
    text = (root / "docs" / "devices.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(test_\w+)`", text))
    assert len(named) > 30
    there = "\n".join(
        path.read_text(encoding="utf-8") for path in (root / "tests").rglob("test_*.py")
    )
    assert named <= set(re.findall(r"^def (test_\w+)\(", there, re.M))
