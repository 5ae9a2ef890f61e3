"""Damage files, run a command on each, and say what came of it."""

from __future__ import annotations

import dataclasses
import itertools
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.robustness import damages, forms, outcomes
from tests.robustness.judges import Trial
from tests.robustness.readers import Reader
from tests.warm import Server

LIMITS = {"RLIMIT_CPU": 20, "RLIMIT_FSIZE": 1 << 28, "RLIMIT_CORE": 0, "RLIMIT_AS": 12 << 30}
TIMEOUT = 40.0
"""Seconds until a command counts as hung."""


@dataclasses.dataclass(frozen=True)
class Row:
    """What came of one damage.

    Attributes:
        reader: name of a reader.
        damage: what was done to which file.
        outcome: one of `outcomes.OUTCOMES`.
        said: the first line of what was said of it.
    """

    reader: str
    damage: str
    outcome: str
    said: str = ""


class Subject:
    """A reader with its sound files.

    Args:
        reader: the reader.
        server: the warm process.
        workshop: folder of sound files.
        folder: where copies go; all are removed but the sound one.
    """

    def __init__(self, reader: Reader, server: Server, workshop: Path, folder: Path) -> None:
        self._reader, self._server = reader, server
        self._pristine = folder / "pristine"
        self._sound = folder / "sound"
        self._copy = folder / "copy"
        reader.lay(workshop, self._pristine)
        damages.copy(self._pristine, self._sound)
        self._victims = reader.damaged(self._pristine)
        self._without: dict[str, subprocess.CompletedProcess[str] | None] = {}
        before = self._run(self._sound)
        if before is None or before.returncode:
            raise RuntimeError(f"{reader.name}: {before}")
        self._before = before

    def names(self) -> Iterator[str]:
        """Give the names of its damages, without an end: those of its files in turns."""
        each = [damages.damages(self._pristine / victim, victim) for victim in self._victims]
        return itertools.chain.from_iterable(zip(*each, strict=False))

    def row(self, damage: str) -> Row:
        """Damage a copy, run the command, and say what came of it."""
        victim, _, kind = damage.rpartition(":")
        damages.copy(self._pristine, self._copy)
        try:
            try:
                self._damage(victim, kind)
                self._reader.reseal(self._copy)
            except OSError as error:  # no such damage on this disk
                return Row(self._reader.name, damage, "harmless", f"not made: {error.strerror}")
            outcome = self._outcome(victim, kind)
        finally:
            shutil.rmtree(self._copy)
        return Row(self._reader.name, damage, outcome.name, outcome.said)

    def _damage(self, victim: str, kind: str) -> None:
        what = (str(self._copy / victim), kind, self._reader.name)
        if not kind.startswith("field"):
            damages.apply(Path(what[0]), *what[1:])
            return
        call = f"{damages.__name__}:main"
        with self._server.start(*what, cwd=self._copy, call=call) as running:
            done = running.wait(TIMEOUT)
        if done.returncode:
            raise RuntimeError(done.stderr)

    def _outcome(self, victim: str, kind: str) -> outcomes.Outcome:
        ended = self._run(self._copy)
        if (self._copy / damages.MARKER).exists():
            return outcomes.Outcome("executed")
        outside = [self._copy / name for name in forms.OUTSIDE]
        if written := [path for path in outside if path.exists()]:
            written[0].unlink()
            return outcomes.Outcome("left", f"{written[0]} written")
        outcome = outcomes.of_process(ended)
        if outcome.name or ended is None:
            return outcome
        absent = self._absent(victim)
        sound = (self._sound, self._copy, victim, kind, self._before)
        trial = Trial(*sound, ended, absent, self._server)
        return outcomes.Outcome(self._reader.judge(trial), outcome.said)

    def _absent(self, victim: str) -> subprocess.CompletedProcess[str] | None:
        """Return how the command ends where a file is not there."""
        if victim not in self._without:
            folder = self._copy.with_name("without")
            damages.copy(self._pristine, folder)
            (folder / victim).unlink()
            self._without[victim] = self._run(folder)
            shutil.rmtree(folder)
        return self._without[victim]

    def _run(self, folder: Path) -> subprocess.CompletedProcess[str] | None:
        with self._server.start(*self._reader.command, cwd=folder, limits=LIMITS) as running:
            try:
                return running.wait(TIMEOUT)
            except TimeoutError:
                return None
