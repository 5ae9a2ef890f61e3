"""Whether a result of a damaged file is right: told from the files, not by what mvdeploy says."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.robustness import outcomes
from tests.warm import Server

LEAST_DB = 40.0
"""SNR that two files reach which compute the same, whatever their precision."""

MOST = 1e15
"""Magnitude that no weight of a network has."""

NEEDED = ("case.json",)
"""Files that others name, so that it is wrong to leave them out without a word."""

FREE = ("identity", "match", "readings", "sources", "values")
"""Entries whose own entries have names and values that are free."""

PLAUSIBLE = 1000.0
"""Factor by which a number may change and still be what was measured, for all that a file tells."""


@dataclasses.dataclass(frozen=True)
class Trial:
    """A command that read a damaged file and ended well.

    Attributes:
        sound: folder of the sound files, after the command.
        folder: of the damaged ones, after the command.
        victim: the damaged file, in both.
        kind: of the damage.
        before: how the command ended in the sound folder.
        ended: how it did here.
        absent: how it ends where the damaged file is not there; None if it does not end.
        server: runs what has to be looked at in a process of its own.
    """

    sound: Path
    folder: Path
    victim: str
    kind: str
    before: subprocess.CompletedProcess[str]
    ended: subprocess.CompletedProcess[str]
    absent: subprocess.CompletedProcess[str] | None
    server: Server

    @property
    def noticed(self) -> bool:
        """The command warned of something."""
        return outcomes.noticed(self.ended, self.before)


Judge = Callable[[Trial], str]

# What two runs of one command differ in, and what is another of every other file.
_OWN = re.compile(r'"(?:sha256|size_bytes)": [^\n]*|[0-9.]+ MB|^Made by.*', re.MULTILINE)


def _printed(ended: subprocess.CompletedProcess[str]) -> str:
    return _OWN.sub("", ended.stdout)


def by_text(trial: Trial) -> str:
    """Judge what is printed, of a file that has no sum: it is what it says."""
    if _printed(trial.ended) == _printed(trial.before):
        return "harmless"
    return "noticed" if trial.noticed else "another"


def by_document(trial: Trial, checked: bool = False, foreign: bool = False) -> str:
    """Judge what is printed of a JSON or TOML file: wrong if the file contradicts itself.

    One that may be missing may also be what is not taken for such a file.

    Args:
        trial: what came of it.
        checked: the file has a checksum, so that nothing in it can be another unnoticed.
        foreign: it is of other programs, which may have entries of any name.
    """
    judged = by_text(trial)
    if judged != "another":
        return judged
    if trial.absent is not None and trial.absent.returncode == 0:
        needed = Path(trial.victim).name in NEEDED
        if _printed(trial.ended) == _printed(trial.absent):
            return "silent" if needed else "another"
    if checked:
        return "silent"
    before, now = (_read(home / trial.victim) for home in (trial.sound, trial.folder))
    if foreign:
        now = _known(before, now)
    return "another" if now is not None and _plausible(before, now) else "silent"


def by_verdict(trial: Trial) -> str:
    """Judge 'agrees' of a sound model whose manifest, say, is damaged: it is right."""
    return "harmless" if trial.ended.returncode == 0 else "noticed"


def by_outputs(model: str, sound: str) -> Judge:
    """Return what judges 'computes the same' of a model: by running both files again.

    Args:
        model: the damaged file.
        sound: the sound one, in the sound folder.
    """

    def judge(trial: Trial) -> str:
        files = (str(trial.sound / sound), str(trial.folder / model))
        with trial.server.start(*files, cwd=trial.folder, call=f"{_TRUTH}:outputs") as running:
            done = running.wait(60)
        if done.returncode or float(done.stdout) < LEAST_DB:
            return "noticed" if trial.noticed else "silent"
        return "harmless"

    return judge


def by_weights(output: str, checked: bool) -> Judge:
    """Return what judges a network whose weights came from a damaged checkpoint.

    Args:
        output: the exported file, whose manifest has the fingerprint of the weights.
        checked: the file has sums, so that none of its numbers can be another unnoticed; unless it
            was packed again.
    """

    def judge(trial: Trial) -> str:
        before, now = (
            json.loads((home / f"{output}.json").read_text())["weights_fingerprint"]
            for home in (trial.sound, trial.folder)
        )
        if before == now:
            return "harmless"
        if trial.noticed:
            return "noticed"
        if checked and not trial.kind.startswith("member"):
            return "silent"
        files = (str(trial.folder / trial.victim),)
        with trial.server.start(*files, cwd=trial.folder, call=f"{_TRUTH}:largest") as running:
            done = running.wait(60)
        return "another" if not done.returncode and float(done.stdout) < MOST else "silent"

    return judge


def by_files(output: str, checked: bool = False) -> Judge:
    """Return what judges files that a command wrote."""

    def judge(trial: Trial) -> str:
        before, now = (_contents(home / output) for home in (trial.sound, trial.folder))
        if before == now:
            return "harmless"
        if trial.noticed:
            return "noticed"
        return "silent" if checked and not trial.kind.startswith("member") else "another"

    return judge


_TRUTH = "tests.robustness.truth"


def _contents(path: Path) -> dict[str, bytes]:
    if path.is_file():
        return {"": path.read_bytes()}
    files = (file for file in path.rglob("*") if file.is_file())
    return {file.relative_to(path).as_posix(): file.read_bytes() for file in files}


def _read(path: Path) -> Any:
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".toml":
            return tomllib.loads(text)
        return json.loads(text, object_pairs_hook=_unique)
    except (OSError, ValueError, RecursionError):
        return None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({key for key, _ in pairs}) < len(pairs):
        raise ValueError("a key is there twice")
    return dict(pairs)


def _known(before: Any, now: Any) -> Any:
    """Return a document without the entries that the sound one does not have."""
    if isinstance(before, dict) and isinstance(now, dict):
        return {key: _known(before[key], now[key]) for key in now.keys() & before.keys()}
    return now


def _plausible(before: Any, now: Any) -> bool:
    """Say whether a document may be another sound one, for all that one can tell."""
    return all(_alike(a, b) for a, b in _leaves(before, now))


def _leaves(before: Any, now: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(before, dict) and isinstance(now, dict) and now.keys() <= before.keys():
        for key in now:  # without an entry, its default holds
            if key not in FREE or not isinstance(now[key], dict):
                yield from _leaves(before[key], now[key])
    elif isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        for a, b in zip(before, now, strict=True):
            yield from _leaves(a, b)
    elif _are(str, before) and _are(str, now):
        return  # nothing tells how many there are
    elif _are(dict, before) and _are(dict, now) and all(value in before for value in now):
        return
    elif _are(int, before) and _are(int, now):
        yield from ((before[0], b) for b in now)
    else:
        yield before, now


def _are(kind: type, value: Any) -> bool:
    """Say whether a value is a list of names, say, or of samples."""
    return isinstance(value, list) and bool(value) and all(type(v) is kind for v in value)


def _alike(a: Any, b: Any) -> bool:
    if a == b:
        return type(a) is type(b)
    if isinstance(a, str) and isinstance(b, str):
        return True
    if isinstance(a, bool) or isinstance(b, bool):
        return isinstance(a, bool) and isinstance(b, bool)
    if not (isinstance(a, int | float) and isinstance(b, int | float)):
        return False
    return a == 0 or b == 0 or 1 / PLAUSIBLE <= b / a <= PLAUSIBLE
