from __future__ import annotations

import dataclasses
import itertools
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import platformdirs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mvdeploy import devices, links
from mvdeploy.errors import UsageError
from mvdeploy.records import DeviceProfile, codec
from mvdeploy.records.device import Cluster, CoolDown

NATIVE = links.native_choice()
DOCUMENT = Path(__file__).parents[1] / "docs" / "devices.md"

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
        (at,) = [
            i
            for i, line in enumerate(lines)
            if line.removeprefix("# ").startswith(f"{field.name} = ")
        ]
        assert lines[at - 1].startswith("# ")


def test_the_shipped_example_shows_the_defaults():
    said, plain = devices.get("host"), DeviceProfile("host", "", "host", ())
    told = {"name", "title", "link", "engines", "aliases", "notes"}
    for field in {field.name for field in dataclasses.fields(DeviceProfile)} - told:
        assert getattr(said, field) == getattr(plain, field), field


def table(heading):
    """Rows of the first table below a heading of the document, as lists of cells."""
    after = DOCUMENT.read_text().split(f"\n## {heading}\n")[1]
    lines = itertools.dropwhile(lambda line: not line.startswith("|"), after.splitlines())
    rows = list(itertools.takewhile(lambda line: line.startswith("|"), lines))
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows[2:]]


def test_the_document_explains_every_key():
    keys = [row[0].strip("`") for row in table("Keys")]
    nested = {"clusters": Cluster, "cool_down": CoolDown}
    inner = [f"{key}.{f.name}" for key, kind in nested.items() for f in dataclasses.fields(kind)]
    assert sorted(keys) == sorted([f.name for f in dataclasses.fields(DeviceProfile)] + inner)
    assert all(len(row[-1]) > 10 for row in table("Keys"))


def test_the_document_lists_every_shipped_device():
    rows = {row[0].strip("`"): row for row in table("Shipped profiles")}
    assert set(rows) == set(devices.profiles())
    for name, profile in devices.profiles().items():
        _, title, link, engines, soc, cores = rows[name]
        assert (title, link) == (profile.title, profile.link)
        assert engines == ", ".join(profile.engines)
        assert soc == (profile.soc or "–")
        assert cores == (", ".join(map(str, profile.cores)) or "all")


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


def test_the_keys_of_a_phone_are_read(extra):
    write(
        extra,
        "mine",
        match='{ "ro.product.device" = ["a", "b"] }',
        soc='"S 1"',
        clusters='[{ name = "little", cores = [0, 1], max_khz = 1_000_000 },'
        ' { name = "big", cores = [3], max_khz = 2_000_000 }]',
        gpu='"G"',
        bandwidth_gb_s="34",
        cores="[3, 1]",
        cool_down="{ skin_c = 33 }",
        address='"me@board:2222"',
        architecture='"aarch64"',
        fixed_performance="false",
    )
    assert devices.get("mine", [extra]) == DeviceProfile(
        name="mine",
        title="My device",
        link="host",
        engines=("onnxruntime",),
        match={"ro.product.device": ("a", "b")},
        soc="S 1",
        clusters=(Cluster("little", (0, 1), 1_000_000), Cluster("big", (3,), 2_000_000)),
        gpu="G",
        bandwidth_gb_s=34.0,
        cores=(3, 1),
        cool_down=CoolDown(skin_c=33.0),
        address="me@board:2222",
        architecture="aarch64",
        fixed_performance=False,
    )


def test_a_byte_order_mark_is_read_over(extra):
    path = write(extra, "mine")
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert devices.get("mine", [extra]).title == "My device"


LITTLE = '{ name = "little", cores = [0, 1], max_khz = 1000000 }'
CLUSTERS = [
    ('{ name = " ", cores = [0], max_khz = 1000000 }', 0, "name"),
    ('{ name = "x", cores = [], max_khz = 1000000 }', 0, "cores"),
    ('{ name = "x", cores = [2, 2], max_khz = 1000000 }', 0, "cores"),
    ('{ name = "x", cores = [-1], max_khz = 1000000 }', 0, "cores"),
    ('{ name = "x", cores = [1024], max_khz = 1000000 }', 0, "cores"),
    ('{ name = "x", cores = [true], max_khz = 1000000 }', 0, "cores"),
    ('{ name = "x", cores = [0], max_khz = 0 }', 0, "max_khz"),
    ('{ name = "x", cores = [0], max_khz = -1000000 }', 0, "max_khz"),
    ('{ name = "x", cores = [0], max_khz = 2841 }', 0, "max_khz"),
    ('{ name = "x", cores = [0], max_khz = 2841600000 }', 0, "max_khz"),
    ('{ name = "x", cores = [0], max_khz = 1e6 }', 0, "max_khz"),
    (LITTLE + ', { name = "x", cores = [1, 2], max_khz = 2000000 }', 1, "cores"),
]
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
    ({"threads": "1025"}, "threads"),
    ({"threads": "0x" + "f" * 5000}, "number"),
    ({"title": "0x" + "f" * 5000}, "number"),
    ({"match": '{ "" = ["a"] }'}, "match"),
    ({"match": '{ "ro product" = ["a"] }'}, "match"),
    ({"match": '{ "$(reboot)" = ["a"] }'}, "match"),
    ({"match": '{ "ro.a" = [] }'}, "match.ro.a"),
    ({"match": '{ "ro.a" = [" "] }'}, "match.ro.a"),
    ({"match": '{ "ro.a" = "a" }'}, "match.ro.a"),
    ({"match": '{ "ro.a" = ["a", "*"] }'}, "match.ro.a"),
    ({"match": '{ ro.a = ["a"] }'}, "match.ro"),
    ({"soc": "855"}, "soc"),
    ({"gpu": "640"}, "gpu"),
    ({"clusters": "[{}]"}, "clusters[0]"),
    ({"clusters": "{}"}, "clusters"),
    ({"clusters": '[{ name = "x", cores = [0], max_khz = 1000000, mask = "1" }]'}, "mask"),
    *(({"clusters": f"[{cluster}]"}, f"clusters[{at}].{key}") for cluster, at, key in CLUSTERS),
    ({"cores": "[1, 1]"}, "cores"),
    ({"cores": "[-1]"}, "cores"),
    ({"cores": "[1024]"}, "cores"),
    ({"cores": '"0"'}, "cores"),
    ({"cores": "[4]", "clusters": f"[{LITTLE}]"}, "'cores'"),
    ({"bandwidth_gb_s": "0"}, "bandwidth_gb_s"),
    ({"bandwidth_gb_s": "-1.5"}, "bandwidth_gb_s"),
    ({"bandwidth_gb_s": "34e9"}, "bandwidth_gb_s"),
    ({"bandwidth_gb_s": "inf"}, "bandwidth_gb_s"),
    ({"bandwidth_gb_s": "nan"}, "bandwidth_gb_s"),
    ({"cool_down": "{ thermal_status = 7 }"}, "cool_down.thermal_status"),
    ({"cool_down": "{ thermal_status = -1 }"}, "cool_down.thermal_status"),
    ({"cool_down": '{ thermal_status = "none" }'}, "cool_down.thermal_status"),
    ({"cool_down": "{ skin_c = 0 }"}, "cool_down.skin_c"),
    ({"cool_down": "{ skin_c = 310.0 }"}, "cool_down.skin_c"),
    ({"cool_down": "{ skin_c = nan }"}, "cool_down.skin_c"),
    ({"cool_down": "{ limit_s = -1 }"}, "cool_down.limit_s"),
    ({"cool_down": "{ poll_s = 0 }"}, "cool_down.poll_s"),
    ({"cool_down": "{ degrees = 30 }"}, "degrees"),
    ({"cool_down": "36"}, "cool_down"),
    ({"address": '"-oProxyCommand=reboot"'}, "address"),
    ({"address": '"me@board "'}, "address"),
    ({"address": '"board\\n"'}, "address"),
    ({"address": '"board\\u0007"'}, "address"),
    ({"address": '" "'}, "address"),
    ({"architecture": '"arm64"'}, "architecture"),
    ({"architecture": "64"}, "architecture"),
    ({"fixed_performance": "1"}, "fixed_performance"),
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
    with pytest.raises(UsageError, match=r"threads should be at least 1"):
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


# Files with any content.

toml_values = st.recursive(
    st.text(max_size=8).map(json.dumps)
    | st.integers().map(str)
    | st.floats().map(lambda x: str(x) if math.isfinite(x) else str(x)[:3])
    | st.sampled_from(["true", "false", "1979-05-27", "0x" + "f" * 5000, "[4, 5]", '"aarch64"']),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda values: f"[{', '.join(values)}]")
        | st.dictionaries(
            st.sampled_from(["name", "cores", "max_khz", "skin_c", "poll_s", "ro.x"]),
            inner,
            max_size=3,
        ).map(lambda d: f"{{ {', '.join(f'{json.dumps(k)} = {v}' for k, v in d.items())} }}")
    ),
    max_leaves=5,
)
fields = st.sampled_from([field.name for field in dataclasses.fields(DeviceProfile)])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
@given(st.dictionaries(fields, toml_values, max_size=4))
def test_any_keys_and_values_give_a_profile_or_a_usage_error(extra, keys):
    path = write(extra, "mine", **keys)
    try:
        profile = devices.get("mine", [extra])
    except UsageError as error:
        assert str(path) in error.message
    else:
        assert profile.name == "mine"
        assert codec.loads(DeviceProfile, codec.dumps(profile), "x") == profile


# Recognising devices.

PIXEL = {
    "ro.product.manufacturer": "Google",
    "ro.product.model": "Pixel 4",
    "ro.product.device": "flame",
    "ro.product.cpu.abi": "arm64-v8a",
}


def recognised(**properties):
    said = {name.replace("_", "."): value for name, value in properties.items()}
    found = devices.match(said, devices.profiles().values())
    return found.name if found else None


@pytest.mark.parametrize(
    ("name", "properties"),
    [
        ("pixel4", {"ro_product_device": "flame", "ro_product_model": "Pixel 4"}),
        ("pixel4", {"ro_product_device": " FLAME\n"}),
        ("pixel6", {"ro_product_device": "oriole"}),
        ("pixel8", {"ro_product_device": "shiba"}),
        ("galaxy-s23", {"ro_product_device": "dm1q"}),
        ("galaxy-s24", {"ro_product_device": "e1q", "ro_soc_model": "SM8650"}),
        ("galaxy-s24-exynos", {"ro_product_device": "e1s", "ro_soc_model": "s5e9945"}),
        ("raspberrypi5", {"ro_product_model": "Raspberry Pi 5 Model B Rev 1.1"}),
        (None, {"ro_product_model": "Raspberry Pi 4 Model B Rev 1.1"}),
        (None, {"ro_product_device": "e1q", "ro_soc_model": "s5e9945"}),
        (None, {"ro_product_device": "e1q"}),
        (None, {"ro_product_device": "coral"}),
        (None, {"ro_product_device": ""}),
        (None, {}),
    ],
)
def test_phones_are_recognised_by_what_they_answer(name, properties):
    assert recognised(**properties) == name


def test_the_profile_that_asks_for_most_is_taken():
    plain = DeviceProfile("a", "A", "adb", ("e",), match={"x": ("1", "2")})
    exact = DeviceProfile("b", "B", "adb", ("e",), match={"x": ("1",), "y": ("1",)})
    twin = dataclasses.replace(exact, name="c")
    anything = DeviceProfile("d", "D", "adb", ("e",))
    known = (anything, plain, twin, exact)
    assert devices.match({"x": "1", "y": "1"}, known) is exact
    assert devices.match({"x": "1", "y": "1"}, known[::-1]) is exact
    assert devices.match({"x": "2", "y": "1"}, known) is plain
    assert devices.match({"x": "3"}, known) is None
    assert devices.fits(anything, {}) and not devices.fits(plain, {})


@pytest.mark.parametrize(
    ("said", "wanted", "fits"),
    [
        ("Pi 5 B", "pi 5*", True),
        ("pi 5", "Pi 5*", True),
        ("Pi 4", "Pi 5*", False),
        ("Pi 5 B", "Pi 5", False),
        ("Pi 5 B", "*5 B", False),
        ("Pi*", "Pi*", True),
        ("", "Pi*", False),
    ],
)
def test_a_star_stands_for_any_end(said, wanted, fits):
    profile = DeviceProfile("a", "A", "ssh", ("e",), match={"x": (wanted,)})
    assert devices.fits(profile, {"x": said}) is fits


def test_shipped_profiles_recognise_no_device_together():
    phones = [p for p in devices.profiles().values() if p.match]
    assert len(phones) >= 6
    for phone in phones:
        device = {name: values[0] for name, values in phone.match.items()}
        fitting = [p.name for p in phones if devices.fits(p, device) and p.link == phone.link]
        assert fitting == [phone.name]
        # A phone that is named by its serial is measured as itself, not as its browser.
        known = devices.match(device, phones)
        assert known is not None and known.link != "adb_browser"


@pytest.mark.parametrize("name", ["pixel4", "pixel6", "pixel8", "galaxy-s23", "galaxy-s24"])
def test_a_phone_runs_on_its_fast_cores(name):
    profile = devices.get(name)
    little, *big = profile.clusters
    assert profile.cores == tuple(core for cluster in big for core in cluster.cores)
    assert profile.threads == len(profile.cores)
    assert not set(profile.cores) & set(little.cores)
    assert profile.architecture == "aarch64"
    assert profile.engines == ("executorch", "onnxruntime")


def test_the_masks_of_a_pixel_4_are_those_of_taskset():
    pixel = devices.get("flame")
    assert [cluster.mask for cluster in pixel.clusters] == ["f", "70", "80"]
    assert devices.get("Pixel 4") == pixel


# Devices without a profile.


def clocks(profile):
    return {core: cluster.max_khz for cluster in profile.clusters for core in cluster.cores}


def test_a_phone_without_a_profile_is_described_by_what_it_answers():
    pixel = devices.get("pixel4")
    found = devices.generic("adb", "99131FFAZ000AB", PIXEL, clocks(pixel), *NATIVE)
    assert found == DeviceProfile(
        name="pixel-4",
        title="Google Pixel 4",
        link="adb",
        engines=("executorch", "litert", "onnxruntime"),
        formats=("executorch", "litert", "onnx"),
        threads=4,
        notes="No profile: from what the device answers.",
        match={"ro.product.device": ("flame",), "ro.product.model": ("Pixel 4",)},
        clusters=(
            Cluster("1.79 GHz", (0, 1, 2, 3), 1785600),
            Cluster("2.42 GHz", (4, 5, 6), 2419200),
            Cluster("2.84 GHz", (7,), 2841600),
        ),
        cores=(4, 5, 6, 7),
        address="99131FFAZ000AB",
        architecture="aarch64",
    )
    assert devices.fits(found, PIXEL)


def test_the_fast_cores_are_found_from_the_clocks_alone():
    phones = [p for p in devices.profiles().values() if p.link in {"adb", "ssh"}]
    assert len(phones) >= 7
    for phone in phones:
        assert devices.generic("adb", "x", {}, clocks(phone), *NATIVE).cores == phone.cores


def test_a_device_that_answers_nothing_has_a_profile_nevertheless():
    found = devices.generic("ssh", "me@board", {}, {}, ("onnxruntime",), ("onnx",))
    assert (found.name, found.title) == ("me-board", "device me@board")
    assert (found.cores, found.clusters, found.threads) == ((), (), 1)
    assert (found.match, found.architecture) == ({}, "")
    assert found.engines == ("onnxruntime",)


def test_a_makers_name_is_not_said_twice():
    said = {"ro.product.manufacturer": "Nothing", "ro.product.model": "nothing Phone"}
    assert devices.generic("adb", "x", said, {}, *NATIVE).title == "nothing Phone"


@pytest.mark.parametrize("address", ["-oProxyCommand=x", " a", "a  b", "a\n"])
def test_an_address_that_could_be_an_option_is_refused(address):
    with pytest.raises(UsageError, match="'address'"):
        devices.generic("ssh", address, {}, {}, *NATIVE)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(st.sampled_from([*PIXEL, "ro.soc.model"]), st.text(max_size=100)),
    st.dictionaries(
        st.integers(-2, 2000),
        st.integers(-1, 20_000_000) | st.sampled_from([1_800_000, 2_400_000, 3_000_000]),
    ),
)
def test_whatever_a_device_answers_makes_a_profile_that_can_be_saved(extra, properties, khz):
    found = devices.generic("adb", "SERIAL", properties, khz, *NATIVE)
    assert codec.loads(DeviceProfile, codec.dumps(found), "x") == found
    inside = {core: clock for core, clock in khz.items() if core in clocks(found)}
    assert clocks(found) == inside
    assert all(0 <= core < 1024 for core in inside)
    fastest = max(inside.values(), default=0)
    assert {core for core, clock in inside.items() if clock == fastest} <= set(found.cores)
    assert set(found.cores) <= set(inside)
    said = {name: value for name, value in properties.items() if name in found.match}
    assert found.match.keys() == said.keys()
    assert devices.fits(found, {name: values[0] for name, values in found.match.items()})
    assert found.name == devices.generic("adb", "SERIAL", properties, khz, *NATIVE).name
    assert found.title.isprintable() and found.title
