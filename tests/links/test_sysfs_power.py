"""Which meter a system has, from trees of files such as kernels make."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mvdeploy.links import sysfs_power
from mvdeploy.links.power import FileMeter, Meter, ShellMeter, Unmetered
from mvdeploy.links.shell import Answer, Shell, answer_of, with_status
from mvdeploy.links.sysfs_power import BATTERY, HWMON, RAPL, Files

POWERCAP, SUPPLY = "sys/class/powercap", "sys/class/power_supply"


def tree(root: Path, files: dict[str, object]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    return root


def zone(place: str, name: str, energy: int = 5_000_000, wraps_at: int = 262_143_328_850):
    home = f"{POWERCAP}/{place}"
    return {
        f"{home}/name": name,
        f"{home}/energy_uj": energy,
        f"{home}/max_energy_range_uj": wraps_at,
    }


SERVER = {
    **zone("intel-rapl:0", "package-0", 11),
    **zone("intel-rapl:0:0", "core", 12),
    **zone("intel-rapl:0:1", "dram", 13, 65_712_999_613),
    **zone("intel-rapl:1", "package-1", 14),
    **zone("intel-rapl:1:0", "dram", 15),
    **zone("intel-rapl:2", "psys", 16),
    **zone("intel-rapl-mmio:0", "package-0", 17),
}
LAPTOP = {
    f"{SUPPLY}/AC/type": "Mains",
    f"{SUPPLY}/AC/online": 0,
    f"{SUPPLY}/mouse/type": "Battery",
    f"{SUPPLY}/mouse/scope": "Device",
    f"{SUPPLY}/mouse/power_now": 1,
    f"{SUPPLY}/BAT0/type": "Battery",
    f"{SUPPLY}/BAT0/status": "Discharging",
    f"{SUPPLY}/BAT0/power_now": 7_400_000,
}


def chip(number: int, name: str, **files: object) -> dict[str, object]:
    home = f"sys/class/hwmon/hwmon{number}"
    return {f"{home}/name": name, **{f"{home}/{key}": value for key, value in files.items()}}


def of(root: Path, sensor: str = ""):
    return sysfs_power.find(sysfs_power.local(root, *RAPL, *HWMON, *BATTERY), sensor).about


def test_packages_and_their_memory_are_added_up_and_nothing_is_counted_twice(tmp_path) -> None:
    meter = of(tree(tmp_path, SERVER | LAPTOP))
    names = ["intel-rapl:0", "intel-rapl:0:1", "intel-rapl:1", "intel-rapl:1:0"]
    assert [c.name for c in meter.channels] == [f"/{POWERCAP}/{n}/energy_uj" for n in names]
    assert [c.wraps_at for c in meter.channels][:2] == [262_143_328_850, 65_712_999_613]
    assert {c.quantity for c in meter.channels} == {"energy"} and not meter.battery
    assert meter.source == "RAPL (package-0, dram, package-1, dram)"
    assert meter.of == "the processor and its memory"


def test_a_counter_that_only_root_may_read_is_named_with_how_to_allow_it(tmp_path) -> None:
    readable = {name: t for name, t in SERVER.items() if not name.endswith("energy_uj")}
    files = sysfs_power.local(tree(tmp_path, readable), *RAPL)
    denied = frozenset({f"/{POWERCAP}/intel-rapl:0/energy_uj"})
    with pytest.raises(Unmetered, match="may be read by root only") as caught:
        sysfs_power.find(Files(files.texts, denied))
    assert "chmod a+r /sys/class/powercap/intel-rapl*/energy_uj" in caught.value.remedy


def test_files_that_may_not_be_read_are_told_apart(tmp_path, monkeypatch) -> None:
    root = tree(tmp_path, SERVER)
    read = Path.read_text

    def refuse(self: Path, *given, **named) -> str:
        if self.name == "energy_uj":
            raise PermissionError(13, "Permission denied")
        return read(self, *given, **named)

    monkeypatch.setattr(Path, "read_text", refuse)
    files = sysfs_power.local(root, *RAPL)
    assert f"/{POWERCAP}/intel-rapl:0/energy_uj" in files.denied
    assert files.texts[f"/{POWERCAP}/intel-rapl:0/name"] == "package-0"


def test_a_sensor_of_the_board_tells_its_power(tmp_path) -> None:
    ina226 = chip(2, "ina226", power1_input=3_250_000, curr1_input=650, in1_input=5000)
    (channel,) = of(tree(tmp_path, {**chip(0, "cpu_thermal", in1_input=4), **ina226})).channels
    assert channel.name.endswith("hwmon2/power1_input")
    assert (channel.quantity, channel.unit) == ("power", 1e-6)


def test_current_and_voltage_make_the_power_of_the_whole_board(tmp_path) -> None:
    rails = {
        "in1_label": "VDD_IN",
        "curr1_input": 1200,
        "in1_input": 5000,
        "in2_label": "VDD_CPU_GPU_CV",
        "curr2_input": 300,
        "in2_input": 5000,
    }
    meter = of(tree(tmp_path, chip(1, "ina3221", **rails)))
    assert meter.source == "sensor VDD_IN"
    assert [c.name.rpartition("/")[2] for c in meter.channels] == ["curr1_input", "in1_input"]
    assert [c.unit for c in meter.channels] == [1e-3, 1e-3]
    assert of(tmp_path, "VDD_CPU_GPU_CV").source == "sensor VDD_CPU_GPU_CV"
    with pytest.raises(Unmetered, match="no sensor VDD among"):
        of(tmp_path, "VDD")


def test_sensors_of_which_none_is_known_to_hold_the_others_are_not_guessed_at(tmp_path) -> None:
    two = {**chip(0, "ina219", power1_input=5), **chip(1, "ina219", power1_input=7)}
    with pytest.raises(Unmetered, match="ina219 hwmon0:1, ina219 hwmon1:1") as caught:
        of(tree(tmp_path, two))
    assert "power_sensor" in caught.value.remedy


def test_a_battery_tells_while_it_gives(tmp_path) -> None:
    root = tree(tmp_path, LAPTOP)
    meter = sysfs_power.of_this_machine(root)
    assert meter.about.battery and meter.fed() == ""
    assert [c.name for c in meter.about.channels] == [f"/{SUPPLY}/BAT0/power_now"]
    tree(tmp_path, {f"{SUPPLY}/BAT0/status": "Charging"})
    assert meter.fed() == "battery: charging"
    with pytest.raises(Unmetered, match="being fed \\(battery: charging\\)"):
        sysfs_power.of_this_machine(root)


@pytest.mark.parametrize(
    ("current", "voltage", "units", "assumed"),
    [
        (412_000, 3_912_000, (1e-6, 1e-6), False),
        (-412_000, 3_912_000, (1e-6, 1e-6), False),
        (-412, 3912, (1e-3, 1e-3), True),
        (412, 3_912_000, (1e-3, 1e-6), True),
    ],
)
def test_units_of_a_battery_are_told_by_size(current, voltage, units, assumed) -> None:
    meter = sysfs_power.of_battery(("a/i", "a/v"), current, voltage, 1.0)
    assert tuple(c.unit for c in meter.channels) == units
    assert bool(meter.assumed) is assumed
    watts = current * voltage * units[0] * units[1]
    assert abs(watts) == pytest.approx(0.412 * 3.912)


def test_a_battery_that_tells_nothing_is_no_meter() -> None:
    with pytest.raises(Unmetered, match="a current of 0"):
        sysfs_power.of_battery(("a/i", "a/v"), 0, 3_900_000, 1.0)


def test_a_system_without_any_says_so(tmp_path) -> None:
    with pytest.raises(Unmetered, match="no RAPL counter, INA sensor or battery"):
        sysfs_power.of_this_machine(tmp_path)


class LocalShell(Shell):
    """The shell of this machine, with a folder in the place of /sys."""

    name, folder = "board", "/tmp"

    def __init__(self, root: Path) -> None:
        self._root = root

    def _words(self, command: str) -> list[str]:
        return ["sh", "-c", with_status(command.replace("/sys/", f"{self._root}/sys/"))]

    def call(self, command: str, limit_s: float = 30.0) -> Answer:
        done = subprocess.run(self._words(command), capture_output=True, check=False)
        answer = answer_of(done.stdout.replace(f"{self._root}/".encode(), b"/"), done.stderr)
        assert answer is not None
        return answer

    def start(self, command: str, *, held: bool = False) -> subprocess.Popen[bytes]:
        # Names of channels are paths without the folder.
        words = self._words(f"{command} | sed -u 's:{self._root}/:/:'")
        pipe = subprocess.PIPE
        return subprocess.Popen(words, stdin=pipe if held else None, stdout=pipe)


def waits(condition: Callable[[], bool], limit_s: float = 20.0) -> bool:
    until = time.monotonic() + limit_s
    while not condition() and time.monotonic() < until:
        time.sleep(0.05)
    return condition()


def taken(meter: Meter) -> list[tuple[int, ...]]:
    return [reading.values for reading in meter.between(0.0, meter.now() + 60)]


def test_a_board_is_asked_through_its_shell_for_as_long_as_it_takes(tmp_path) -> None:
    root = tree(tmp_path, SERVER)
    meter = sysfs_power.of_board(LocalShell(root))
    assert isinstance(meter, ShellMeter) and len(meter.about.channels) == 4
    with meter:
        assert waits(lambda: len(taken(meter)) > 1)
        (root / POWERCAP / "intel-rapl:1/energy_uj").write_text("99\n")
        assert waits(lambda: taken(meter)[-1][2] == 99)
    assert taken(meter)[0] == (11, 13, 14, 15)
    times = [reading.at_s for reading in meter.between(0.0, 60.0)]
    assert times == sorted(times)
    assert waits(lambda: not readers(root)), "it is still read"


def readers(root: Path) -> list[str]:
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True)
    return [line for line in listed.stdout.splitlines() if f"{root}/sys" in line]


def test_files_of_this_machine_are_read_beside_what_else_is_done(tmp_path) -> None:
    root = tree(tmp_path, SERVER)
    meter = sysfs_power.of_this_machine(root)
    assert isinstance(meter, FileMeter)
    with meter:
        assert waits(lambda: len(taken(meter)) > 1)
        (root / POWERCAP / "intel-rapl:0/energy_uj").unlink()  # it is left out, no more
        gone = len(taken(meter)) + 1
        tree(root, {f"{POWERCAP}/intel-rapl:0/energy_uj": 77})
        assert waits(lambda: taken(meter)[-1][0] == 77)
    assert gone <= len(taken(meter))
    after = len(taken(meter))
    time.sleep(0.3)
    assert len(taken(meter)) == after


def test_what_arrives_late_is_put_where_the_device_says_that_it_was() -> None:
    meter = FileMeter(sysfs_power.of_battery(("i", "v"), 400_000, 4_000_000, 1.0), ())
    clock = [0.0]
    meter._clock = lambda: clock[0]
    meter.begin()
    # The device's clock is 1000 s ahead; the second reading is late by 0.8 s.
    for arrived, device in ((1.1, 1001.0), (2.9, 1002.0), (3.1, 1003.0)):
        clock[0] = arrived
        meter.take((1, 2), device)
    for wrong in ((1,), (1, 2, 3), (1, 10**30)):  # no readings of its channels
        meter.take(wrong, 9.0)
    assert [r.at_s for r in meter.between(0.0, 9.0)] == pytest.approx([1.1, 2.1, 3.1])
