from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import platformdirs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mvdeploy import devices
from mvdeploy.errors import UsageError
from mvdeploy.records import DeviceProfile

GOOD = {
    "name": '"mine"',
    "title": '"My device"',
    "link": '"host"',
    "engines": '["onnxruntime"]',
}


@pytest.fixture(autouse=True)
def user(tmp_path, monkeypatch):
    """The folder for the user's own profiles, which is there but empty."""
    monkeypatch.setattr(platformdirs, "user_config_path", lambda name: tmp_path / "config" / name)
    folder = tmp_path / "config" / "mvdeploy" / "devices"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def extra(tmp_path):
    folder = tmp_path / "extra"
    folder.mkdir()
    return folder


def write(folder, stem, **keys):
    """Write a profile; a key that is None is left out."""
    values = {**GOOD, "name": f'"{stem}"', **keys}
    lines = [f"{key} = {value}" for key, value in values.items() if value is not None]
    path = folder / f"{stem}.toml"
    path.write_text("\n".join(lines))
    return path


def test_the_machine_itself_is_shipped():
    assert devices.get("host") == devices.profiles()["host"]
    assert devices.get("host").link == "host"
    assert devices.get("host").engines == ("onnxruntime", "executorch", "pytorch")
    assert devices.get("host").threads == 1


def test_every_shipped_profile_is_good():
    assert devices.problems() == ()
    shipped = devices.folders()[-1]
    assert {path.stem for path in shipped.glob("*.toml")} == set(devices.profiles())


def test_the_shipped_example_explains_every_key():
    lines = (devices.folders()[-1] / "host.toml").read_text().splitlines()
    for field in dataclasses.fields(DeviceProfile):
        (at,) = [i for i, line in enumerate(lines) if line.startswith(f"{field.name} = ")]
        assert lines[at - 1].startswith("# ")


@pytest.mark.parametrize("name", ["localhost", "LOCALHOST", " Local ", "Host"])
def test_a_device_is_found_by_alias_in_any_case(name):
    assert devices.get(name).name == "host"


def test_an_unknown_device_is_answered_with_the_nearest():
    with pytest.raises(UsageError, match=r"no device 'hots'.*Did you mean 'host'"):
        devices.get("hots")


def test_a_missing_user_folder_is_no_problem(user):
    user.rmdir()
    assert "host" in devices.profiles()


def test_a_missing_folder_that_was_given_is_an_error(tmp_path):
    for ask in (devices.profiles, devices.problems, lambda extra: devices.get("host", extra)):
        with pytest.raises(UsageError, match=r"nowhere cannot be listed"):
            ask([tmp_path / "nowhere"])


def test_folders_that_are_given_come_before_the_users_and_those_before_the_shipped(user, extra):
    write(user, "host", title='"user"')
    assert devices.get("host").title == "user"
    write(extra, "host", title='"extra"')
    assert devices.get("host", [extra]).title == "extra"
    assert devices.profiles([extra])["host"].title == "extra"
    assert devices.get("host").title == "user"
    assert devices.problems([extra]) == ()


def test_all_keys_are_read(extra):
    write(extra, "mine", aliases='["m", "Mine 2"]', threads="4", notes='"Has a fan."')
    assert devices.get("mine 2", [extra]) == DeviceProfile(
        name="mine",
        title="My device",
        link="host",
        engines=("onnxruntime",),
        aliases=("m", "Mine 2"),
        threads=4,
        notes="Has a fan.",
    )


def test_a_byte_order_mark_is_read_over(extra):
    path = write(extra, "mine")
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert devices.get("mine", [extra]).title == "My device"


BROKEN = [
    ({"colour": '"red"'}, "colour"),
    ({"title": None}, "title"),
    ({"title": '" "'}, "title"),
    ({"title": "3"}, "title"),
    ({"name": '"other"'}, "name"),
    ({"link": '"../adb"'}, "link"),
    ({"link": '""'}, "link"),
    ({"link": "1.5"}, "link"),
    ({"engines": "[]"}, "engines"),
    ({"engines": '"onnxruntime"'}, "engines"),
    ({"engines": '[""]'}, "engines"),
    ({"engines": "[1]"}, "engines"),
    ({"engines": None}, "engines"),
    ({"aliases": '[" "]'}, "aliases"),
    ({"aliases": '"m"'}, "aliases"),
    ({"threads": "0"}, "threads"),
    ({"threads": "-1"}, "threads"),
    ({"threads": "true"}, "threads"),
    ({"threads": "1.0"}, "threads"),
    ({"threads": '"1"'}, "threads"),
    ({"notes": "1979-05-27"}, "notes"),
    ({"title": '"open'}, "TOML"),
    ({"title": '"\\ud800"'}, "TOML"),
]


@pytest.mark.parametrize(("keys", "words"), BROKEN)
def test_a_broken_profile_is_an_error_with_file_and_key(extra, keys, words):
    path = write(extra, "mine", **keys)
    with pytest.raises(UsageError) as caught:
        devices.get("mine", [extra])
    assert str(path) in caught.value.message
    assert words in str(caught.value)
    assert caught.value.remedy
    assert [str(problem) for problem in devices.problems([extra])] == [str(caught.value)]


@pytest.mark.parametrize("content", [b"\xff\xfe", b"a = " + b"[" * 100_000, b"[link]\n"])
def test_a_file_that_is_no_profile_at_all_is_an_error(extra, content):
    (extra / "mine.toml").write_bytes(content)
    with pytest.raises(UsageError, match=r"mine\.toml"):
        devices.get("mine", [extra])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_content_is_a_profile_or_a_usage_error(extra, content):
    (extra / "mine.toml").write_bytes(content)
    with pytest.raises(UsageError):
        devices.get("mine", [extra])
    assert "host" in devices.profiles([extra])


@pytest.mark.parametrize("stem", ["My Phone", "Mine", "-x", "ä"])
def test_names_are_such_as_can_be_typed(extra, stem):
    write(extra, stem)
    with pytest.raises(UsageError, match="'name'"):
        devices.get(stem, [extra])


def test_a_broken_profile_does_not_stand_in_the_way_of_others(user):
    write(user, "broken", threads="0")
    write(user, "fine")
    assert devices.get("fine").name == "fine"
    assert devices.get("local").name == "host"
    assert set(devices.profiles()) >= {"fine", "host"}
    assert "broken" not in devices.profiles()
    assert len(devices.problems()) == 1


def test_a_broken_profile_is_not_replaced_by_a_shipped_one_of_its_name(user):
    write(user, "host", threads="0")
    with pytest.raises(UsageError, match="'threads'"):
        devices.get("HOST")
    assert "host" not in devices.profiles()


@pytest.mark.skipif(os.name != "posix", reason="makes a symbolic link")
def test_a_link_to_nowhere_is_a_problem_of_that_device_alone(user):
    (user / "lost.toml").symlink_to(user / "nowhere")
    with pytest.raises(UsageError, match=r"lost\.toml cannot be read"):
        devices.get("lost")
    assert "host" in devices.profiles()


def test_other_files_in_the_folders_are_not_looked_at(user):
    (user / "notes.txt").write_text("not a profile")
    (user / ".mine.toml").write_text("an editor's")
    (user / "folder.toml").mkdir()
    assert devices.problems() == ()


def test_an_alias_of_two_devices_is_refused_when_it_is_used(extra):
    one = write(extra, "one", aliases='["Twin"]')
    two = write(extra, "two", aliases='["twin"]')
    with pytest.raises(UsageError, match="alias 'twin'") as caught:
        devices.get("TWIN", [extra])
    assert str(one) in caught.value.message
    assert str(two) in caught.value.message
    assert devices.get("one", [extra]).name == "one"
    (problem,) = devices.problems([extra])
    assert str(problem) == str(caught.value)


def test_a_name_counts_more_than_an_alias_but_the_clash_is_told(extra):
    thief = write(extra, "thief", aliases='["host"]')
    assert devices.get("host", [extra]).name == "host"
    (problem,) = devices.problems([extra])
    assert problem.message.startswith(f"{thief}: the alias 'host'")


def test_a_device_may_repeat_its_own_name_as_an_alias(extra):
    write(extra, "mine", aliases='["Mine", "mine"]')
    assert devices.problems([extra]) == ()


def test_devices_are_listed_without_heavy_imports():
    script = (
        "import sys, mvdeploy.devices as d; d.profiles(); "
        "print(*{'numpy', 'torch', 'onnx', 'scipy', 'psutil', 'pandas'} & set(sys.modules))"
    )
    env = {**os.environ, "PYTHONPATH": str(Path(devices.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", script], env=env, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == ""
