"""What Android phones tell: samples of their answers, and a stand-in phone at the real adb."""

from __future__ import annotations

import os
import string
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mvdeploy.links import gather as links_gather
from mvdeploy.links.families.adb import android
from mvdeploy.links.families.adb.android import (
    STATUSES,
    Heat,
    Sensor,
    condition,
    is_emulator,
    parse_heat,
    parse_properties,
)
from mvdeploy.links.families.adb.shell import Adb, AdbShell
from mvdeploy.links.kernel import KERNEL
from mvdeploy.records import UNAVAILABLE, Reading
from tests.android import tables
from tests.android.fixtures import adb_server, make_phone, phone
from tests.android.phone import OTHER, Phone
from tests.android.server import AdbServer
from tests.links.answers import (
    any_of,
    assert_saved_as_they_are,
    damaged,
    documented,
    lackable,
    unavailable,
)

__all__ = ["adb_server", "make_phone", "phone"]

HEAT = """\
IsStatusOverride: false
ThermalEventListeners:
	callbacks: 1
	killed: false
	broadcasts count: -1
ThermalStatusListeners:
	callbacks: 2
	killed: false
	broadcasts count: -1
Thermal Status: 2
Cached temperatures:
	Temperature{mValue=21.5, mType=3, mName=quiet-therm-adc, mStatus=0}
	Temperature{mValue=99.0, mType=0, mName=cpu0-gold-usr, mStatus=6}
HAL Ready: true
HAL connection:
	ThermalHAL 2.0 connected: yes
Current temperatures from HAL:
	Temperature{mValue=33.8, mType=0, mName=cpu0-gold-usr, mStatus=0}
	Temperature{mValue=-99.9, mType=0, mName=cpu1-gold-usr, mStatus=0}
	Temperature{mValue=32.4, mType=1, mName=gpuss-0-usr, mStatus=0}
	Temperature{mValue=29.0, mType=2, mName=battery, mStatus=0}
	Temperature{mValue=38.2, mType=3, mName=quiet-therm-adc, mStatus=1}
	Temperature{mValue=41.05, mType=3, mName=fps-therm-monitor, mStatus=2}
	Temperature{mValue=0.0, mType=3, mName=wifi therm, mStatus=0}
	Temperature{mValue=NaN, mType=3, mName=broken, mStatus=0}
	Temperature{mValue=-3.5, mType=4, mName=usbc-therm-adc, mStatus=0}
	Temperature{mValue=1.0, mType=-1, mName=battery_cycle, mStatus=0}
	Temperature{mValue=4.2, mType=6, mName=vbat, mStatus=0}
	Temperature{mValue=12.0, mType=7, mName=ibat, mStatus=0}
	Temperature{mValue=19.0, mType=8, mName=soc, mStatus=0}
	Temperature{mValue=40.5, mType=10, mName=TPU, mStatus=0}
Current cooling devices from HAL:
	CoolingDevice{mValue=0, mType=2, mName=thermal-cpufreq-0}
	Temperature{mValue=77.0, mType=3, mName=not there, mStatus=0}
Temperature static thresholds from HAL:
	TemperatureThreshold{mType=3, mName=quiet-therm-adc, mHotThrottlingThresholds=[NaN, 37.0, 43.0]}
"""

NOT_READY = """\
IsStatusOverride: false
Thermal Status: 0
Cached temperatures:
	Temperature{mValue=31.0, mType=3, mName=skin, mStatus=0}
HAL Ready: false
"""

BATTERY = """\
Current Battery Service state:
  AC powered: false
  USB powered: true
  Wireless powered: false
  Max charging current: 500000
  Charge counter: 2361000
  status: 2
  present: true
  level: 86
  scale: 100
  voltage: 4268
  temperature: 294
  technology: Li-ion
"""

ANSWERS = {"thermal": HEAT, "battery": BATTERY, "power": "  mWakefulness=Dozing\n"}

DENIED = (
    "",
    "Permission Denial: can't dump ThermalService from pid=12013, uid=2000 due to missing "
    "android.permission.DUMP permission\n",
    "Can't find service: thermalservice\n",
    "/system/bin/sh: dumpsys: inaccessible or not found\n",
)

GETPROP = """\
[ro.product.model]: [Pixel 4]
[ro.soc.model]: []
[persist.odd]: [a]: [b]]
[ro.with.spaces]: [ two  words ]
[ro.many.lines]: [first
second [x]
third]
[ro.serialno]: [99211FFAZ00STD]
not a property
"""


@pytest.fixture
def shell(adb_server: AdbServer, phone: Phone) -> Iterator[AdbShell]:
    with Adb() as adb:
        yield AdbShell(adb, adb.connect(phone.address), "Pixel 4")


# Heat


def test_sensors_are_read_as_they_are_now() -> None:
    assert parse_heat(HEAT) == Heat(
        2,
        (
            Sensor("cpu0-gold-usr", 0, 33.8),
            Sensor("gpuss-0-usr", 1, 32.4),
            Sensor("battery", 2, 29.0),
            Sensor("quiet-therm-adc", 3, 38.2, 1),
            Sensor("fps-therm-monitor", 3, 41.05, 2),
            Sensor("usbc-therm-adc", 4, -3.5),
            Sensor("TPU", 10, 40.5),
        ),
    )


def test_the_hottest_part_of_the_skin_counts() -> None:
    assert parse_heat(HEAT).skin_c == 41.05
    assert parse_heat(HEAT.replace("mType=3", "mType=0")).skin_c is None


def test_old_temperatures_are_none() -> None:
    assert parse_heat(NOT_READY) == Heat(0, ())


@pytest.mark.parametrize("answer", DENIED)
def test_a_phone_that_does_not_tell_its_heat(answer: str) -> None:
    assert parse_heat(answer) == Heat(None, ())


@pytest.mark.parametrize(
    ("line", "status"),
    [
        *((f"Thermal Status: {number}", number) for number in range(7)),
        ("  Thermal Status: 3  ", 3),
        ("Thermal Status: 9", 6),
        ("Thermal Status: -1", None),
        ("Thermal Status: 12", None),
        ("Thermal Status: ", None),
        ("Old Thermal Status: 3", None),
        ("ThermalStatus: 3", None),
    ],
)
def test_thermal_status(line: str, status: int | None) -> None:
    heat = parse_heat(f"IsStatusOverride: false\n{line}\nHAL Ready: false\n")
    assert heat.status == status
    status_now = condition(ANSWERS | {"thermal": line})["thermal_status"]
    assert status_now == (UNAVAILABLE if status is None else STATUSES[status])


@pytest.mark.parametrize("value", ["", "-", ".", "1.2.3", "--5", "1e3", "٣.x", "9" * 5000])
def test_what_is_no_temperature(value: str) -> None:
    line = f"Temperature{{mValue={value}, mType=3, mName=skin, mStatus=0}}"
    assert parse_heat(f"Current temperatures from HAL:\n\t{line}\n") == Heat(None, ())


@settings(max_examples=300)
@given(damaged(HEAT) | st.text())
def test_any_text_gives_heat(text: str) -> None:
    heat = parse_heat(text)
    assert heat.status is None or heat.status in range(len(STATUSES))
    assert all(-40 <= sensor.degrees <= 125 for sensor in heat.sensors)
    assert heat.skin_c is None or heat.skin_c <= 90
    assert not (heat.by_hand and heat.status is not None)


@given(
    st.lists(
        st.tuples(
            st.text(string.ascii_letters + string.digits + "-_ ", min_size=1).map(str.strip),
            st.integers(-2, 30),
            st.integers(-3000, 10**7).filter(lambda n: n not in (0, -999)).map(lambda n: n / 10)
            | st.integers(-450, 1300).filter(bool).map(lambda n: n / 10),
            st.integers(0, 6),
        )
    )
)
def test_any_sensors_are_read(sensors: list[tuple[str, int, float, int]]) -> None:
    lines = [
        f"\tTemperature{{mValue={degrees}, mType={kind}, mName={name}, mStatus={status}}}\n"
        for name, kind, degrees, status in sensors
    ]
    heat = parse_heat("Current temperatures from HAL:\n" + "".join(lines))
    kinds = {*range(6), *range(9, 31)}
    told = [Sensor(*sensor) for sensor in sensors if sensor[1] in kinds]
    highest = [90 if sensor.kind == 3 else 125 for sensor in told]
    possible = [-40 <= sensor.degrees <= limit for sensor, limit in zip(told, highest, strict=True)]
    assert heat.sensors == tuple(s for s, can_be in zip(told, possible, strict=True) if can_be)
    assert set(heat.impossible) == set(told) - set(heat.sensors)
    assert len(heat.impossible) + len(heat.sensors) == len(told)


def test_a_status_that_was_set_by_hand_is_not_believed() -> None:
    heat = parse_heat(HEAT.replace("IsStatusOverride: false", "IsStatusOverride: true"))
    assert (heat.status, heat.by_hand) == (None, True)
    assert heat.sensors == parse_heat(HEAT).sensors
    assert not parse_heat(HEAT).by_hand


@pytest.mark.parametrize(
    ("value", "kind", "is_possible"),
    [
        *(("125.0", 0, True), ("125.1", 0, False), ("-40.0", 4, True), ("-40.1", 4, False)),
        *(("90.0", 3, True), ("90.1", 3, False), ("99999", 3, False), ("-273.0", 3, False)),
    ],
)
def test_temperatures_that_cannot_be_count_for_nothing(
    value: str, kind: int, is_possible: bool
) -> None:
    line = f"Temperature{{mValue={value}, mType={kind}, mName=stuck, mStatus=0}}"
    heat = parse_heat(f"Current temperatures from HAL:\n\t{line}\n")
    sensor = (Sensor("stuck", kind, float(value)),)
    assert (heat.sensors, heat.impossible) == ((sensor, ()) if is_possible else ((), sensor))


@pytest.mark.parametrize(
    ("status", "stuck", "others", "believed"),
    [
        (0, 0, 0, 0),
        (0, 6, 0, 0),
        (6, 6, 0, None),
        (3, 6, 0, None),
        (3, 3, 3, 3),
        (3, 6, 2, None),
        (3, 2, 0, 3),
    ],
)
def test_a_status_that_only_an_impossible_temperature_accounts_for_is_not_believed(
    status: int, stuck: int, others: int, believed: int | None
) -> None:
    text = (
        f"Thermal Status: {status}\nCurrent temperatures from HAL:\n"
        f"\tTemperature{{mValue=850.0, mType=3, mName=stuck, mStatus={stuck}}}\n"
        f"\tTemperature{{mValue=31.0, mType=3, mName=skin, mStatus={others}}}\n"
    )
    heat = parse_heat(text)
    assert (heat.status, heat.skin_c) == (believed, 31.0)


# Battery and screen


def test_condition() -> None:
    assert condition(ANSWERS) == {
        "thermal_status": "moderate",
        "temperatures_c": (
            "cpu0-gold-usr=33.8",
            "gpuss-0-usr=32.4",
            "battery=29",
            "quiet-therm-adc=38.2",
            "fps-therm-monitor=41.05",
            "usbc-therm-adc=-3.5",
            "TPU=40.5",
        ),
        "skin_c": 41.05,
        "battery_percent": 86,
        "battery_c": 29.4,
        "battery_plugged": "yes",
        "screen": "dozing",
    }


def test_a_battery_that_feeds_the_phone() -> None:
    text = BATTERY.replace("USB powered: true", "USB powered: false")
    assert condition(ANSWERS | {"battery": text})["battery_plugged"] == "no"


@pytest.mark.parametrize("source", ["AC", "Wireless", "Dock"])
def test_every_way_to_feed_it_counts(source: str) -> None:
    text = BATTERY.replace("USB powered: true", f"USB powered: false\n  {source} powered: true")
    assert condition(ANSWERS | {"battery": text})["battery_plugged"] == "yes"


def test_a_battery_that_was_set_by_hand_is_not_believed() -> None:
    stopped = "  (UPDATES STOPPED -- use 'reset' to restart)\n  AC powered"
    text = BATTERY.replace("  AC powered", stopped)
    assert android.battery_by_hand(text) and not android.battery_by_hand(BATTERY)
    readings = condition(ANSWERS | {"battery": text})
    assert unavailable(readings) == {"battery_percent", "battery_c", "battery_plugged"}


@pytest.mark.parametrize(
    ("tenths", "degrees"),
    [(-400, -40.0), (-401, UNAVAILABLE), (1250, 125.0), (1251, UNAVAILABLE), (0, 0.0)],
)
def test_a_battery_has_a_temperature_that_can_be(tenths: int, degrees: Reading) -> None:
    text = BATTERY.replace("temperature: 294", f"temperature: {tenths}")
    assert condition(ANSWERS | {"battery": text})["battery_c"] == degrees


def test_values_are_of_their_own_line() -> None:
    readings = condition(
        {"thermal": "", "battery": "  level:\n  86\n", "power": "mWakefulness=\nAwake"}
    )
    assert unavailable(readings) == readings.keys()


@pytest.mark.parametrize("answer", DENIED)
def test_what_is_denied_is_unavailable(answer: str) -> None:
    readings = condition(dict.fromkeys(ANSWERS, answer))
    assert unavailable(readings) == readings.keys()


@settings(max_examples=300)
@given(any_of(ANSWERS))
def test_any_answers_give_a_condition(answers: dict[str, str]) -> None:
    assert_saved_as_they_are(condition(answers))


# Properties


def test_properties_are_read_by_name() -> None:
    assert parse_properties(GETPROP) == {
        "ro.product.model": "Pixel 4",
        "ro.soc.model": "",
        "persist.odd": "a]: [b]",
        "ro.with.spaces": " two  words ",
        "ro.many.lines": "first",
        "ro.serialno": "99211FFAZ00STD",
    }


def test_lines_may_end_as_on_old_phones() -> None:
    assert parse_properties("[a]: [1]\r\n[b]: [2]\r\n") == {"a": "1", "b": "2"}


@given(damaged(GETPROP) | st.text())
def test_any_text_gives_properties(text: str) -> None:
    assert all(parse_properties(text))


@pytest.mark.parametrize(
    ("properties", "emulator"),
    [
        ({}, False),
        ({"ro.hardware": "flame", "ro.kernel.qemu": "0"}, False),
        ({"ro.kernel.qemu": "1"}, True),
        ({"ro.boot.qemu": "1"}, True),
        *(({"ro.hardware": name}, True) for name in ("ranchu", "goldfish", "cutf_cvm", "vbox86")),
    ],
)
def test_emulators(properties: dict[str, str], emulator: bool) -> None:
    assert is_emulator(properties) == emulator


# A phone at adb


def test_what_a_phone_is(shell: AdbShell) -> None:
    assert android.identity(shell) == {
        "cpu": "Qualcomm SM8150",
        "cores_physical": 8,
        "cores_logical": 8,
        "architecture": "arm64-v8a",
        "memory_bytes": 5622680 * 1024,
        "machine": "Google Pixel 4",
        "os": "Android 13",
        "build": tables.FLAME["ro.build.fingerprint"],
        "kernel": "Linux 4.14.276-g75ae1cd1dcd4-ab8931400",
        "hypervisor": "yes",
        "boost": UNAVAILABLE,
        "python": "none",
    }
    assert android.properties(shell) == tables.FLAME


def test_what_another_phone_is(shell: AdbShell, phone: Phone) -> None:
    phone.properties.update(OTHER)
    phone.properties.update({"ro.kernel.qemu": "0", "ro.boot.qemu": "0", "ro.soc.manufacturer": ""})
    identity = android.identity(shell)
    assert (identity["machine"], identity["cpu"]) == ("Google Pixel 6", "GS101")
    assert identity["hypervisor"] == "no"
    assert identity["build"] == OTHER["ro.build.fingerprint"]


def test_a_phone_that_tells_nothing_of_itself(shell: AdbShell, phone: Phone) -> None:
    phone.write(tables.PROPERTIES, "")
    identity = android.identity(shell)
    properties = {"cpu", "architecture", "machine", "os", "build", "hypervisor", "boost"}
    assert unavailable(identity) == properties
    assert android.properties(shell) == {}


def test_properties_are_data(shell: AdbShell, phone: Phone) -> None:
    model = "$(touch /data/local/tmp/owned) `id`'\"; \\"
    phone.properties["ro.product.model"] = model
    assert android.identity(shell)["machine"] == f"Google {model}"
    assert list(phone.tmp.iterdir()) == []


def test_the_condition_of_a_phone(shell: AdbShell) -> None:
    readings = android.look(shell).state.readings
    assert_saved_as_they_are(readings)
    assert readings["thermal_status"] == "none"
    assert readings["skin_c"] == 30.2
    assert len(readings["temperatures_c"]) == 12
    assert "cpu3-gold-usr=34.5" in readings["temperatures_c"]
    assert (readings["battery_percent"], readings["battery_c"]) == (86, 29.0)
    assert (readings["battery_plugged"], readings["screen"]) == ("yes", "asleep")
    assert readings["loadavg_1"] == UNAVAILABLE  # the phone denies it
    assert readings["governor"] == ("schedutil",) * 8
    assert readings["cpu_khz"] == ("576000",) * 4 + ("710400",) * 3 + ("825600",)
    assert readings["cpu_max_khz"] == ("1785600",) * 4 + ("2419200",) * 3 + ("2841600",)
    assert readings["cpu_hardware_max_khz"] == readings["cpu_max_khz"]
    assert (readings["steal_ticks"], readings["idle_ticks"]) == (0, 20493870)
    assert readings["memory_available_bytes"] == 2731548 * 1024


def test_how_what_is_measured_is_run(shell: AdbShell, phone: Phone) -> None:
    readings = android.look(shell).state.readings
    assert (readings["fixed_performance"], readings["task_profile"]) == ("off", "none")
    groups = readings["scheduling_groups"]
    assert isinstance(groups, tuple) and groups[0].startswith("cpuset=/")
    phone.set_program("settaskprofile", 'echo "$2 $1" >>/data/local/tmp/profiles')
    readings = android.look(shell, android.Way("on", boosted=True)).state.readings
    assert (readings["fixed_performance"], readings["task_profile"]) == ("on", "MaxPerformance")
    # What the process was started with is what is told of its groups.
    assert (phone.tmp / "profiles").read_text().startswith("MaxPerformance ")
    assert readings["scheduling_groups"] == groups


CGROUP = """\
cpuset=/foreground
5:schedtune:/top-app
4:memory:/apps/uid_2000
3:cpuset:/
2:cpu,cpuacct:/top-app
1:freezer:/
0::/uid_2000/pid_4711
"""


def test_the_groups_of_a_process() -> None:
    found = android.scheduling_groups(CGROUP)
    assert found == ("cpuset=/", "cpu=/top-app", "schedtune=/top-app")
    assert android.scheduling_groups("cpuset=/background\n0::/uid_2000/pid_1") == (
        "cpuset=/background",
    )
    assert android.scheduling_groups("cpuset=\n") == ()


@settings(max_examples=200)
@given(damaged(CGROUP) | st.text())
def test_any_text_gives_groups(text: str) -> None:
    found = links_gather.reading(lambda: android.scheduling_groups(text))
    assert_saved_as_they_are({"scheduling_groups": found})


def test_a_boost_is_refused_for_a_reason(shell: AdbShell, phone: Phone) -> None:
    assert android.refusal_of_boost(shell) == "the system has no program settaskprofile"
    phone.set_program("settaskprofile", "exit 0")
    assert android.refusal_of_boost(shell) == ""
    phone.set_program("settaskprofile", "exit 3")
    assert android.refusal_of_boost(shell) == "settaskprofile says: exit status 3"


def test_a_hot_phone(shell: AdbShell, phone: Phone) -> None:
    phone.heat(47.5, status=3, cooling=5)
    phone.set_clock(7, scaling_max_freq=1_804_800)
    phone.set_battery(15, powered=False)
    phone.write(tables.WAKEFULNESS, "Awake\n")
    readings = android.look(shell).state.readings
    assert (readings["thermal_status"], readings["skin_c"]) == ("severe", 47.5)
    assert readings["cpu_max_khz"][7] == "1804800"
    assert readings["cpu_hardware_max_khz"][7] == "2841600"
    assert (readings["battery_percent"], readings["battery_plugged"]) == (15, "no")
    assert readings["screen"] == "awake"
    found = [android.heat(shell) for _ in range(2)]
    assert [heat.skin_c for heat in found] == [42.5, 37.5]
    assert [heat.status for heat in found] == [3, 0]


def test_the_highest_clocks_of_a_phone(shell: AdbShell, phone: Phone) -> None:
    phone.set_clock(7, scaling_max_freq=1_804_800)  # what it may do now does not matter
    little, big = dict.fromkeys(range(4), 1_785_600), dict.fromkeys(range(4, 7), 2_419_200)
    assert android.highest_clocks(shell) == little | big | {7: 2_841_600}


def test_fixed_performance(shell: AdbShell, phone: Phone) -> None:
    assert android.set_fixed_performance(shell, on=True)
    assert phone.read(tables.FIXED_PERFORMANCE) == "true\n"
    assert android.set_fixed_performance(shell, on=False)
    assert phone.read(tables.FIXED_PERFORMANCE) == "false\n"
    assert phone.fixed_performance_calls == ["true", "false"]


def test_a_phone_without_fixed_performance(shell: AdbShell, phone: Phone) -> None:
    phone.deny_fixed_performance()
    assert not android.set_fixed_performance(shell, on=True)
    assert not android.set_fixed_performance(shell, on=False)


# Answers that do not come


@pytest.mark.parametrize(
    ("command", "missing"),
    [
        ("dumpsys thermalservice", {"thermal_status", "temperatures_c", "skin_c"}),
        ("dumpsys battery", {"battery_percent", "battery_c", "battery_plugged"}),
        ("dumpsys power", {"screen"}),
    ],
)
def test_an_answer_that_does_not_come_is_unavailable_and_the_others_stay(
    shell: AdbShell, phone: Phone, monkeypatch, command: str, missing: set[str]
) -> None:
    monkeypatch.setattr(links_gather, "EACH_S", 1.0)
    before = unavailable(android.look(shell).state.readings)
    phone.hang(command)
    assert unavailable(android.look(shell).state.readings) == before | missing
    assert phone.processes() == []


def test_a_file_that_is_not_answered_for_leaves_the_others(
    shell: AdbShell, phone: Phone, monkeypatch
) -> None:
    monkeypatch.setattr(links_gather, "EACH_S", 1.0)
    before = unavailable(android.look(shell).state.readings)
    clock = phone.root / "sys/devices/system/cpu/cpufreq/policy4/scaling_cur_freq"
    clock.unlink()
    os.mkfifo(clock)
    clocks = {"governor", "cpu_khz", "cpu_max_khz", "cpu_hardware_max_khz"}
    assert unavailable(android.look(shell).state.readings) == before | clocks


def test_a_phone_whose_properties_do_not_come(shell: AdbShell, phone: Phone, monkeypatch) -> None:
    monkeypatch.setattr(links_gather, "EACH_S", 1.0)
    phone.hang("getprop")
    identity = android.identity(shell)
    assert identity["cores_logical"] == 8
    assert {"machine", "build"} <= unavailable(identity)


def test_a_heat_that_does_not_come_is_not_told(shell: AdbShell, phone: Phone, monkeypatch) -> None:
    monkeypatch.setattr(links_gather, "EACH_S", 1.0)
    phone.heat(60.0, status=4)
    phone.hang("dumpsys thermalservice")
    assert android.heat(shell) == Heat(None, ())


def test_fixed_performance_that_does_not_answer(shell: AdbShell, phone: Phone) -> None:
    phone.hang("cmd")
    assert android.set_fixed_performance(shell, on=True) is None
    phone.hang()
    assert android.set_fixed_performance(shell, on=True) is True


# What is documented


def test_every_reading_is_documented_and_given(shell: AdbShell) -> None:
    names = documented("Link.state")
    given_names = android.look(shell).state.readings.keys()
    assert given_names <= names.keys()
    assert names.keys() - lackable(names, "may lack it", "host only") <= given_names
    names = documented("Link.identity")
    assert android.identity(shell).keys() == names.keys() - lackable(names, "host only")


def test_the_questions_have_names_of_their_own() -> None:
    assert not KERNEL.keys() & android._CONDITION.keys()
