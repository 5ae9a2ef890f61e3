"""What runs have left on a device: whose it is, whether it is still in use, and how it goes."""

from __future__ import annotations

import dataclasses
import os
import posixpath
from collections.abc import Sequence

from mvdeploy.errors import DeviceUnavailable
from mvdeploy.links import session
from mvdeploy.links.kernel import BOOT
from mvdeploy.links.shell import Answer, Shell, last_line, quote

_YOUNG_S = 600.0
"""Seconds for which a run of another system is given the time to come back, once its connection
has broken."""

_OLD_S = 86_400.0
"""Seconds after which a run that does not say whose it is has ended."""

_REMOVE_S = 120.0

_LARGEST = 2.0**31 - 1
"""No number of a process, and no time in seconds that matters here, is larger."""

# A process that has ended and nobody has asked for is listed with a Z; the number of another may
# be used again, at another time. A runner is told by where it was started.
_LOOK = """
cd {home} 2>/dev/null || exit 0
here=$(pwd -P) now=$(date +%s)
lives() {{
    {{ IFS= read -r line <"/proc/$1/stat"; }} 2>/dev/null || return 1
    began=$2
    set -- ${{line##*\\) }}
    [ "$1" != Z ] && shift 19 && [ "$1" = "$began" ]
}}
runs() {{
    [ -n "$1" ] || return 1
    case "$(readlink "/proc/$1/cwd" 2>/dev/null)" in "$here"/*) return 0 ;; esac
    return 1
}}
echo "boot=$(cat {boot} 2>/dev/null)"
for run in run-*; do
    [ -d "$run" ] || continue
    printf 'run=%s\\n' "$run"
    since=$(stat -c %Y "$run" 2>/dev/null) && echo "age=$((now - since))"
    {{ cat "$run/owner"; echo; }} 2>/dev/null
    keeper= began= runner=
    {{ read -r keeper began <"$run/keeper"; }} 2>/dev/null
    [ -n "$began" ] && lives "$keeper" "$began" && echo kept=yes
    {{ read -r runner <"$run/pid"; }} 2>/dev/null
    runs "$runner" && echo "runner=$runner"
    [ -f "$run/mode" ] && echo "mode=$(cat "$run/mode" 2>/dev/null)"
done
true
"""

_SIZES = """
cd {home} 2>/dev/null || exit 0
for one in * .[!.]*; do
    [ -e "$one" ] || [ -h "$one" ] || continue
    size=$(du -sk -- "$one" 2>/dev/null) || size=
    printf '%s %s\\n' "${{size%%[!0-9]*}}." "$one"
done
true
"""

# What belongs to other runs, if there are any, stays.
_TIDY = """
failed=0 others={keep}
discard() {{ rm -rf -- "$1" || failed=1; }}
for one in {folder}/*; do
    case "{marked} ${{one##*/}}" in 'yes mode' | 'yes owner') ;; *) discard "$one" ;; esac
done
[ -n "{marked}" ] || discard {folder}
for one in {home}/run-*; do
    [ ! -d "$one" ] || [ "$one" = {folder} ] || others=yes
done
if [ -z "$others" ]; then
    for one in {home}/*; do
        [ "$one" = {folder} ] || discard "$one"
    done
    [ -n "{marked}" ] || discard {home}
fi
exit $failed
"""

# The first folder that this user may not take anything out of, and who may.
_CLOSED = """
find {ways} -type d 2>/dev/null | while IFS= read -r way; do
    [ -w "$way" ] && continue
    stat -c '%u %U %n' -- "$way"
    break
done
"""


@dataclasses.dataclass(frozen=True)
class LeftRun:
    """A run's folder on a device.

    Attributes:
        name: of the folder.
        age_s: seconds since something was last put into it or taken out of it; 0 when that is not
            known.
        kept: whether its keeper is there: its connection stands.
        runner: number of its program, if that runs; 0 for none.
        mode: the start of the system in which it has switched fixed-performance mode on, or may
            have: empty when that is not known, None when it has not.
        system: that it was started on; empty when it does not say.
        process: number of its process there.
        created: when that process was started, as `session.started` tells it.
        who: the process, for people.
    """

    name: str
    age_s: float = 0.0
    kept: bool = False
    runner: int = 0
    mode: str | None = None
    system: str = ""
    process: int = 0
    created: str = ""
    who: str = ""

    @property
    def in_use(self) -> bool:
        """Whether whoever has made it may still want it."""
        if session.is_open(self.name):
            return True
        if not self.system:
            # Earlier releases do not say whose it is.
            return bool(self.runner) or self.age_s < _OLD_S
        if self.system == session.system() and not session.is_hidden(self.process):
            # Some boards take hours to find out that a connection has broken.
            return self.process != os.getpid() and self._lives
        return self.kept or self.age_s < _YOUNG_S

    @property
    def _lives(self) -> bool:
        return bool(self.created) and session.started(self.process) == self.created

    @property
    def is_own(self) -> bool:
        """Whether it is this process's."""
        return session.is_open(self.name)


@dataclasses.dataclass(frozen=True)
class Left:
    """What is on a device.

    Attributes:
        boot: what tells this start of its system from others; empty when it does not say.
        runs: the folders of runs.
    """

    boot: str
    runs: tuple[LeftRun, ...]

    @property
    def gone(self) -> tuple[LeftRun, ...]:
        """Those that nobody wants any more."""
        return tuple(run for run in self.runs if not run.in_use)

    @property
    def others(self) -> tuple[LeftRun, ...]:
        """Those that others use."""
        return tuple(run for run in self.runs if run.in_use and not run.is_own)

    @property
    def mode_is_abandoned(self) -> bool:
        """Whether a run that has ended left fixed-performance mode on, which nobody else uses."""
        return any(map(self.has_mode, self.gone)) and not any(map(self.has_mode, self.others))

    def has_mode(self, run: LeftRun) -> bool:
        """Say whether a run's fixed-performance mode may still be on: a restart ends it."""
        return run.mode is not None and (not run.mode or not self.boot or run.mode == self.boot)


def look(shell: Shell, home: str) -> Left:
    """See which runs have a folder on a device.

    Args:
        shell: of the device.
        home: the folder that all runs share.

    Raises:
        DeviceUnavailable: the device is gone.
    """
    text = shell.call(_LOOK.format(home=quote(home), boot=BOOT)).out
    boot, runs = "", list[dict[str, str]]()
    for line in text.splitlines():
        name, sign, value = line.partition("=")
        if not sign:
            continue
        if name == "run":
            runs.append({})
        if runs:
            runs[-1][name] = value.strip()
        elif name == "boot":
            boot = value.strip()
    return Left(boot, tuple(_read(run) for run in runs if run["run"].startswith("run-")))


def _read(said: dict[str, str]) -> LeftRun:
    number, _, created = said.get("process", "").partition(" ")
    return LeftRun(
        name=said["run"],
        age_s=_number(said.get("age", "")),
        kept=said.get("kept") == "yes",
        runner=_whole(said.get("runner", "")),
        mode=said.get("mode"),
        system=said.get("system", ""),
        process=_whole(number),
        created=created.strip(),
        who=said.get("who", ""),
    )


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        return 0.0
    return min(value, _LARGEST) if value > 0 else 0.0  # also for what is no number


def _whole(text: str) -> int:
    return int(_number(text))


def remove(shell: Shell, home: str, runs: Sequence[LeftRun]) -> int | DeviceUnavailable:
    """Remove folders of runs, and end the programs that they have left.

    Returns:
        the bytes that they took, or the error for what belongs to another user.

    Raises:
        DeviceUnavailable: the device is gone.
    """
    size = sum(sizes(shell, home).get(run.name, 0) for run in runs)
    end_programs(shell, runs)
    error = discard(shell, [posixpath.join(home, run.name) for run in runs])
    return size if error is None else error


def end_programs(shell: Shell, runs: Sequence[LeftRun]) -> None:
    """End the programs of runs.

    Raises:
        DeviceUnavailable: the device is gone.
    """
    if numbers := [str(run.runner) for run in runs if run.runner]:
        shell.call(f"kill -9 {quote(*numbers)} 2>/dev/null")


def sizes(shell: Shell, home: str) -> dict[str, int]:
    """Return what lies in the folder that all runs share, and the bytes that each takes.

    Raises:
        DeviceUnavailable: the device is gone.
    """
    lines = shell.call(_SIZES.format(home=quote(home)), _REMOVE_S).out.splitlines()
    pairs = (line.partition(". ") for line in lines)
    return {name: int(kib) * 1024 if kib.isdecimal() else 0 for kib, _, name in pairs if name}


def discard(shell: Shell, paths: Sequence[str]) -> DeviceUnavailable | None:
    """Remove folders, and return the error for what could not be removed.

    Raises:
        DeviceUnavailable: the device is gone.
    """
    answer = shell.call(f"rm -rf -- {quote(*paths)}", _REMOVE_S)
    return _not_removed(shell, paths, answer) if answer.status != 0 else None


def tidy(
    shell: Shell, home: str, folder: str, *, marked: bool, keep: bool
) -> DeviceUnavailable | None:
    """Remove a run's folder, and with the last one all else, but for what is to stay.

    Args:
        shell: of the device.
        home: the folder that all runs share.
        folder: of the run, in which nothing runs any more.
        marked: it stays, with the mark that a mode was left on.
        keep: what was sent stays.

    Returns:
        the error for what could not be removed.

    Raises:
        DeviceUnavailable: the device is gone.
    """
    script = _TIDY.format(
        home=quote(home),
        folder=quote(folder),
        marked="yes" if marked else "",
        keep="yes" if keep else "",
    )
    answer = shell.call(script, _REMOVE_S)
    return _not_removed(shell, [folder, home], answer) if answer.status != 0 else None


def _not_removed(shell: Shell, paths: Sequence[str], answer: Answer) -> DeviceUnavailable:
    """Word the error for what could not be removed."""
    reason = last_line(answer.error or answer.out) or f"exit status {answer.status}"
    # What is left of them lies in a folder of its own, or in the one around them.
    ways = [*paths, posixpath.dirname(paths[0])]
    listed = shell.call(_CLOSED.format(ways=quote(*ways))).out
    number, user, where = (*listed.strip("\n").split(" ", 2), "", "", "")[:3]
    if where:
        known = user not in ("", "UNKNOWN")
        owner = "root" if number == "0" else user if known else f"user {number}"
        return shell.foreign(where, owner, reason)
    return DeviceUnavailable(
        f"{paths[0]} on {shell.name} could not be removed ({reason}).",
        "See whether its storage is mounted read-only; restarting the device may help.",
    )
