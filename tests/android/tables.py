"""What a Pixel 4 with Android 13 answers: files of /proc and /sys, and tables for its programs.

The figures are those of public specifications and of other people's logs; what depends on the
moment (clocks, heat, charge) is made up. The properties say that it is an emulator, as it is one.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

STATE = "/data/system"
"""Folder of the tables on the phone."""

LOG = f"{STATE}/commands.log"
PROPERTIES = f"{STATE}/properties"
THERMAL, COOLING = f"{STATE}/thermal", f"{STATE}/cooling"
BATTERY, WAKEFULNESS = f"{STATE}/battery", f"{STATE}/wakefulness"
KEYS, LOCKED = f"{STATE}/keys", f"{STATE}/locked"
FIXED_PERFORMANCE, CALLS = f"{STATE}/fixed_performance", f"{STATE}/fixed_performance.calls"
FREE = f"{STATE}/free_kib"
CURRENT = f"{STATE}/current"
OVERRIDE, HANGING = f"{STATE}/override", f"{STATE}/hanging"

CLOSED = ("/", "/dev", "/system", "/system/bin")
"""Folders in which nothing can be made."""

FLAME = {
    "dalvik.vm.isa.arm64.variant": "cortex-a76",
    "ro.boot.hardware": "flame",
    "ro.boot.qemu": "1",
    "ro.build.display.id": "TP1A.221005.002.B2",
    "ro.build.fingerprint": "google/flame/flame:13/TP1A.221005.002.B2/9382335:user/release-keys",
    "ro.build.id": "TP1A.221005.002.B2",
    "ro.build.type": "user",
    "ro.build.version.release": "13",
    "ro.build.version.sdk": "33",
    "ro.build.version.security_patch": "2022-10-05",
    "ro.hardware": "flame",
    "ro.kernel.qemu": "1",
    "ro.product.board": "flame",
    "ro.product.brand": "google",
    "ro.product.cpu.abi": "arm64-v8a",
    "ro.product.cpu.abilist": "arm64-v8a,armeabi-v7a,armeabi",
    "ro.product.device": "flame",
    "ro.product.manufacturer": "Google",
    "ro.product.model": "Pixel 4",
    "ro.product.name": "flame",
    "ro.serialno": "99211FFAZ00STD",
    "ro.soc.manufacturer": "Qualcomm",
    "ro.soc.model": "SM8150",
    "sys.boot_completed": "1",
}

Cluster = tuple[range, int, int, int, str]

CLUSTERS: tuple[Cluster, ...] = (
    # cores, lowest and highest clock in kHz, clock now, what the processor says it is
    (range(4), 300_000, 1_785_600, 576_000, "0x805"),
    (range(4, 7), 710_400, 2_419_200, 710_400, "0x804"),
    (range(7, 8), 825_600, 2_841_600, 825_600, "0x804"),
)

# name, type, thousandths of a degree, status
SENSORS = """\
cpu0-silver-usr 0 33100 0
cpu1-silver-usr 0 33400 0
cpu2-silver-usr 0 33100 0
cpu3-silver-usr 0 33400 0
cpu0-gold-usr 0 33800 0
cpu1-gold-usr 0 34100 0
cpu2-gold-usr 0 33800 0
cpu3-gold-usr 0 34500 0
gpuss-0-usr 1 32400 0
battery 2 29000 0
fps-therm-monitor 3 30200 0
usbc-therm-adc 4 28700 0
"""

BATTERY_TEXT = """\
Current Battery Service state:
  AC powered: false
  USB powered: true
  Wireless powered: false
  Max charging current: 500000
  Max charging voltage: 5000000
  Charge counter: 2361000
  status: 2
  health: 2
  present: true
  level: 86
  scale: 100
  voltage: 4268
  temperature: 290
  technology: Li-ion
"""

FEATURES = (
    "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop"
)

MEMINFO = """\
MemTotal:        5622680 kB
MemFree:          214036 kB
MemAvailable:    2731548 kB
Buffers:            5212 kB
Cached:          2486364 kB
SwapTotal:       2097148 kB
SwapFree:        1893372 kB
"""

STAT = """\
cpu  1093563 55401 864110 20493870 16873 145023 65017 0 0 0
ctxt 272918342
btime 1666000000
processes 142018
procs_running 1
procs_blocked 0
"""

VERSION = (
    "Linux version 4.14.276-g75ae1cd1dcd4-ab8931400 (build-user@build-host) (Android clang version "
    "12.0.7) #1 SMP PREEMPT Tue Aug 9 06:57:52 UTC 2022\n"
)

TOYBOX = """
base64 basename cat chmod cmp cp cut date dd dirname du echo env expr find grep gzip head ln
ls md5sum mkdir mktemp mv nice nohup nproc od paste printf pwd readlink realpath rm rmdir sed
seq setsid sha1sum sha256sum sleep sort split stat sync tail tar tee test timeout touch tr true
false uniq wc which xargs
"""
"""Programs of Android's toybox; what the machine's has not, or all without one, are its own."""

# What is to hang, by its first word or by that and the next, does.
HANG = f"""
case "$(cat {HANGING})" in *"<@me>"* | *"<@me $1>"*) exec sleep 600 ;; esac
"""

GETPROP = f"""
[ $# -eq 0 ] && exec sed '' {PROPERTIES}
while read -r name value; do
  [ "$name" = "[$1]:" ] && value="${{value#[}}" && echo "${{value%]}}" && exit
done <{PROPERTIES}
echo "${{2-}}"
"""

# Each reading of a phone that cools down finds it cooler. There is no awk on older phones.
DUMPSYS = f"""
case "$1" in
thermalservice)
  override=$(cat {OVERRIDE}) by=$(cat {COOLING}) highest=0 number=0
  : >{THERMAL}.stale >{THERMAL}.now >{THERMAL}.next
  while read -r name kind milli status; do
    number=$((number + 1))
    [ "$status" -le "$highest" ] || highest=$status
    rest="mType=$kind, mName=$name, mStatus="
    tenths=$((215 + number))
    echo "\tTemperature{{mValue=$((tenths / 10)).$((tenths % 10)), ${{rest}}0}}" \
      >>{THERMAL}.stale
    echo "\tTemperature{{mValue=$((milli / 1000)).$((milli % 1000 / 100)), $rest$status}}" \
      >>{THERMAL}.now
    milli=$((milli - by))
    [ "$milli" -ge 25000 ] || milli=25000
    [ "$by" -gt 0 ] && [ "$milli" -lt 39000 ] && status=0
    echo "$name $kind $milli $status" >>{THERMAL}.next
  done <{THERMAL}
  cat <<END
IsStatusOverride: $([ -s {OVERRIDE} ] && echo true || echo false)
ThermalEventListeners:
	callbacks: 1
	killed: false
	broadcasts count: -1
ThermalStatusListeners:
	callbacks: 2
	killed: false
	broadcasts count: -1
Thermal Status: ${{override:-$highest}}
Cached temperatures:
$(cat {THERMAL}.stale)
HAL Ready: true
HAL connection:
	ThermalHAL 2.0 connected: yes
Current temperatures from HAL:
$(cat {THERMAL}.now)
Current cooling devices from HAL:
	CoolingDevice{{mValue=0, mType=2, mName=thermal-cpufreq-0}}
END
  mv {THERMAL}.next {THERMAL}
  rm {THERMAL}.stale {THERMAL}.now ;;
battery) cat {BATTERY} ;;
power)
  echo 'POWER MANAGER (dumpsys power)'
  echo
  echo "  mWakefulness=$(cat {WAKEFULNESS})"
  echo '  mIsPowered=true' ;;
*) echo "Can't find service: $1" ;;
esac
"""

CMD = f"""
case "$1 $2" in
'power set-fixed-performance-mode-enabled')
  echo "$3" >>{CALLS}
  if [ "$(cat {FIXED_PERFORMANCE})" = denied ]; then
    echo 'Failed to set FIXED_PERFORMANCE mode' >&2
    echo 'This is likely because Power HAL AIDL is not implemented on this device' >&2
    exit 255
  fi
  echo "$3" >{FIXED_PERFORMANCE} ;;
'battery get')
  [ "$3 $4" = '-f current_now' ] && cat {CURRENT} 2>/dev/null && exit
  echo 'Unknown get option: current_now'; exit 255 ;;
*) echo "cmd: Can't find service: $1" >&2; exit 20 ;;
esac
"""

INPUT = f"""
case "$1 $2" in
'keyevent KEYCODE_WAKEUP') new=Awake ;;
'keyevent KEYCODE_SLEEP') new=Asleep ;;
*) echo "Error: Unknown command: $1" >&2; exit 255 ;;
esac
[ -e {LOCKED} ] || echo "$new" >{WAKEFULNESS}
echo "$new" >>{KEYS}
"""

# The words of this script are the command's, and bits of the mask are checked as Linux does.
TASKSET = """
case "$1" in -*) exec @taskset "$@" ;; esac
mask=$((0x$1))
if [ $((mask & 0xff)) -eq 0 ]; then
  echo "taskset: failed to set affinity: Invalid argument" >&2
  exit 1
fi
exec @taskset "$@"
"""

# toybox names its columns in capitals.
PS = """
for word; do
  shift
  [ "${before-}" = -o ] && word=$(echo "$word" | tr A-Z a-z | sed 's/cmdline/args/; s/name/comm/')
  before=$word
  set -- "$@" "$word"
done
exec @ps "$@"
"""

UNAME = """
case "${1-}" in
-m) echo aarch64 ;;
-r) echo 4.14.276-g75ae1cd1dcd4-ab8931400 ;;
-a) echo 'Linux localhost 4.14.276-g75ae1cd1dcd4-ab8931400 #1 SMP PREEMPT aarch64' ;;
*) echo Linux ;;
esac
"""

ID = """
case "${1-}" in
-u | -g) echo 2000 ;;
-un | -gn) echo shell ;;
*) echo 'uid=2000(shell) gid=2000(shell) groups=2000(shell),3003(inet)' ;;
esac
"""

DF = f"""
total=113632236 free=$(cat {FREE})
echo 'Filesystem     1K-blocks     Used Available Use% Mounted on'
echo "/dev/block/dm-5 $total $((total - free)) $free $(((total - free) * 100 / total))% /data"
"""

LOGGED = "/data/local/tmp/logged"

SERVICES = {
    "getprop": GETPROP,
    "dumpsys": DUMPSYS,
    "cmd": CMD,
    "input": INPUT,
    "getenforce": "echo Enforcing",
    # What a program logged in the file beside, of which the ring buffer keeps the last lines.
    "logcat": f"tail -n 8 {LOGGED} 2>/dev/null; exit 0",
    "settings": "echo null",
}
"""Programs that are Android's own."""

DISGUISES = {"uname": UNAME, "df": DF, "id": ID}
"""Programs that would tell of the machine."""

ADAPTED = {"taskset": TASKSET, "ps": PS}
"""Programs of the machine's that stand in for toybox's where it has no toybox."""


def write(root: Path) -> None:
    """Make the file system of a phone in a folder."""
    write_state(root)
    _write_programs(root / "system/bin")
    write_cores(root, CLUSTERS)
    (root / "proc/cpuinfo").write_text("".join(map(_cpuinfo, range(8))) + "Hardware\t: SM8150\n")


def write_state(root: Path) -> None:
    """Make what tells the condition that a phone is in: tables, and files of /proc."""
    for name in ("data/local/tmp", "data/system", "system/bin", "proc", "sys", "dev", "mnt"):
        (root / name).mkdir(parents=True)
    write_properties(root, FLAME)
    for path, text in (
        (THERMAL, SENSORS),
        (COOLING, "0\n"),
        (BATTERY, BATTERY_TEXT),
        (WAKEFULNESS, "Asleep\n"),
        (FIXED_PERFORMANCE, "false\n"),
        (CALLS, ""),
        (FREE, "48500000\n"),
        (OVERRIDE, ""),
        (HANGING, ""),
        (LOG, ""),
        ("/proc/meminfo", MEMINFO),
        ("/proc/stat", STAT),
        ("/proc/version", VERSION),
        ("/proc/loadavg", ""),
    ):
        (root / path[1:]).write_text(text)
    (root / "proc/loadavg").chmod(0)


def read_properties(root: Path) -> dict[str, str]:
    text = (root / PROPERTIES[1:]).read_text()
    return dict(re.findall(r"^\[(.*?)\]: \[(.*)\]$", text, re.MULTILINE))


def write_properties(root: Path, properties: dict[str, str]) -> None:
    path = root / PROPERTIES[1:]
    part = path.with_suffix(".part")
    part.write_text("".join(f"[{name}]: [{properties[name]}]\n" for name in sorted(properties)))
    part.replace(path)


def real(program: str) -> str:
    """Return where a program of the machine really is.

    Raises:
        FileNotFoundError: there is none.
    """
    found = shutil.which(program)
    if found is None:
        raise FileNotFoundError(f"The stand-in phone needs the program {program}.")
    return os.path.realpath(found)


def write_scripts(folder: Path, scripts: Mapping[str, str]) -> None:
    """Write programs; ``@name`` in one is the machine's program of that name."""
    for name, text in scripts.items():
        hang = HANG.replace("@me", name)
        script = hang + re.sub(r"@(\w+)", lambda found: real(found[1]), text)
        (folder / name).write_text(f"#!/system/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)


def _write_programs(folder: Path) -> None:
    (folder / "sh").symlink_to(real("mksh" if shutil.which("mksh") else "sh"))
    offered = toybox_commands()
    for name in (*TOYBOX.split(), *ADAPTED, *["toybox"] * bool(offered)):
        if name in offered or name not in ADAPTED:
            (folder / name).symlink_to(real("toybox" if name in offered else name))
    scripts = {name: text for name, text in ADAPTED.items() if name not in offered}
    write_scripts(folder, SERVICES | DISGUISES | scripts)


@functools.cache
def toybox_commands() -> frozenset[str]:
    """Return the names of the machine's toybox and of its commands; none if it has none."""
    if shutil.which("toybox") is None:
        return frozenset()
    listed = subprocess.check_output(["toybox"], text=True, stdin=subprocess.DEVNULL)
    return frozenset({"toybox", *listed.split()})


def write_cores(root: Path, clusters: Sequence[Cluster]) -> None:
    """Make what a phone tells of its cores in /sys."""
    folder = root / "sys/devices/system/cpu"
    folder.mkdir(parents=True)
    last = clusters[-1][0][-1]
    for name in ("possible", "present", "online"):
        (folder / name).write_text(f"0-{last}\n")
    (folder / "kernel_max").write_text(f"{last}\n")
    for cores, low, high, now, _ in clusters:
        policy = folder / "cpufreq" / f"policy{cores[0]}"
        policy.mkdir(parents=True)
        texts = {
            "affected_cpus": " ".join(map(str, cores)),
            "cpuinfo_max_freq": high,
            "cpuinfo_min_freq": low,
            "scaling_cur_freq": now,
            "scaling_governor": "schedutil",
            "scaling_max_freq": high,
            "scaling_min_freq": low,
        }
        for name, value in texts.items():
            (policy / name).write_text(f"{value}\n")
            (policy / name).chmod(0o444)
        for core in cores:
            (folder / f"cpu{core}").mkdir()
            (folder / f"cpu{core}" / "cpufreq").symlink_to(f"../cpufreq/policy{cores[0]}")


def _cpuinfo(core: int) -> str:
    part = next(part for cores, *_, part in CLUSTERS if core in cores)
    return (
        f"processor\t: {core}\nBogoMIPS\t: 38.40\nFeatures\t: {FEATURES}\n"
        "CPU implementer\t: 0x51\nCPU architecture: 8\nCPU variant\t: 0xe\n"
        f"CPU part\t: {part}\nCPU revision\t: 14\n\n"
    )
