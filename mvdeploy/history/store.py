"""The file of a history: an SQLite database with a write-ahead log.

What is added is added in one transaction: several processes may add at once, and one that is killed
leaves all or nothing of what it added. A file that is not exactly what this module makes is refused
before anything of it is changed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import sqlite3
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from mvdeploy import files
from mvdeploy.errors import UsageError
from mvdeploy.files.writing import NotWritten
from mvdeploy.records import codec
from mvdeploy.records.history import HistoryEntry

FILE = "MVDEPLOY_HISTORY"
"""Environment: where the history is kept."""

SCHEMA_VERSION = 1
"""Version of the tables. What the rows hold has that of `mvdeploy.records.codec`."""

_APPLICATION = 0x6D764859
"""``application_id`` of the file: ``mvHY``."""

_TABLES = {
    "series": "CREATE TABLE series (id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE)",
    "result": (
        "CREATE TABLE result (id INTEGER PRIMARY KEY, series INTEGER NOT NULL REFERENCES series, "
        "run TEXT NOT NULL, created TEXT NOT NULL, digest TEXT NOT NULL UNIQUE, entry BLOB NOT "
        "NULL)"
    ),
    "result_series": "CREATE INDEX result_series ON result (series, created, id)",
    "result_run": "CREATE INDEX result_run ON result (run)",
}
_MAGIC = b"SQLite format 3\0"
_WAIT_S = 30.0
"""Seconds that another process may take with what it adds."""

_LARGEST = 512 * 10**6
"""Bytes of one entry."""

_OTHER = "Give another file with --store, or move this one away."
_ROOM = f"Make room there, or give a file in another folder with --store or {FILE}."
_CODES = {
    sqlite3.SQLITE_NOTADB: ("is no history: it is not an SQLite file", _OTHER),
    sqlite3.SQLITE_CORRUPT: (
        "is damaged",
        "Take a copy that is whole, or add the runs to another file: 'mvdeploy history add RUN... "
        "--store FILE'.",
    ),
    sqlite3.SQLITE_BUSY: ("is in use by another process", "Try again when that has ended."),
    sqlite3.SQLITE_LOCKED: ("is in use by another process", "Try again when that has ended."),
    sqlite3.SQLITE_READONLY: (
        "cannot be written",
        "Copy it to a folder that can be written to, and give that with --store.",
    ),
    sqlite3.SQLITE_CANTOPEN: (
        "cannot be opened, as files are made beside it",
        "Copy it to a folder that can be written to, and give that with --store.",
    ),
}

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Series:
    """Results that may be compared.

    Attributes:
        key: what they are known by, a sha256 over all that they have in common.
        count: number of results.
        first: when the first of them was measured, ISO 8601.
        last: when the last was.
    """

    key: str
    count: int
    first: str
    last: str


def usual_file() -> Path:
    """Return where the history is kept where nothing else is said.

    Raises:
        PermissionError: no home folder is known, and what stands in for it is another user's.
    """
    own = os.environ.get(FILE)
    return Path(own).absolute() if own else files.user_folder("data") / "history.sqlite"


def key_of(entry: HistoryEntry) -> str:
    """Return what the series of a result is known by."""
    return _digest(entry.alike)


class Store:
    """A history.

    Args:
        path: it need not be there; None for the usual one.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or usual_file()

    def prepare(self) -> None:
        """Make the file if it is not there, so that it is known that it can be written.

        Raises:
            UsageError: it cannot be, or what is there is no history.
        """
        with self._open(make=True) as connection, _changing(connection):
            pass

    def add(self, entries: Sequence[HistoryEntry]) -> int:
        """Add results; return how many were not there yet.

        Raises:
            UsageError: the file is no history, or cannot be written; nothing was added then.
        """
        rows = [_row(entry) for entry in entries]
        with self._open(make=True) as connection, _changing(connection):
            before = connection.total_changes
            for key, *_ in rows:
                connection.execute("INSERT OR IGNORE INTO series (key) VALUES (?)", (key,))
            made = connection.total_changes - before
            connection.executemany(
                "INSERT OR IGNORE INTO result (series, run, created, digest, entry) "
                "VALUES ((SELECT id FROM series WHERE key = ?), ?, ?, ?, ?)",
                rows,
            )
            return connection.total_changes - before - made

    def series(self) -> tuple[Series, ...]:
        """Return all series, the one that was measured last first.

        Raises:
            UsageError: the file is no history, or cannot be read.
        """
        query = (
            "SELECT key, count(*), min(created), max(created) FROM result "
            "JOIN series ON series.id = result.series GROUP BY series.id "
            "ORDER BY max(created) DESC, key"
        )
        return tuple(Series(*row) for row in self._ask(query))

    def of_series(self, key: str, last: int | None = None) -> tuple[HistoryEntry, ...]:
        """Return the results of a series in the order of time; the `last` so many.

        Raises:
            UsageError: see `series`; or a result is damaged.
        """
        query = (
            "SELECT entry FROM result WHERE series = (SELECT id FROM series WHERE key = ?) "
            "ORDER BY created DESC, id DESC LIMIT ?"
        )
        rows = self._ask(query, (key, -1 if last is None else last))
        return tuple(self._entry(row[0]) for row in reversed(rows))

    def of_run(self, run: str) -> tuple[HistoryEntry, ...]:
        """Return the results of a run.

        Raises:
            UsageError: see `of_series`.
        """
        rows = self._ask("SELECT entry FROM result WHERE run = ? ORDER BY id", (run,))
        return tuple(self._entry(row[0]) for row in rows)

    def prune(
        self,
        keys: Sequence[str],
        *,
        keep: int | None = None,
        before: str | None = None,
        pretend: bool = False,
    ) -> int:
        """Remove results for good; return how many.

        Args:
            keys: of the series that lose them.
            keep: how many of each stay, the last ones; None for no matter how many.
            before: only what was measured before that moment, ISO 8601; None for whenever.
            pretend: only count them.

        Raises:
            UsageError: see `add`.
        """
        if not self.path.exists():
            return 0
        with self._open() as connection, _changing(connection):
            chosen: list[tuple[int]] = []
            for key in keys:
                chosen += connection.execute(
                    "SELECT id FROM (SELECT id, created, row_number() OVER "
                    "(ORDER BY created DESC, id DESC) AS place FROM result "
                    "WHERE series = (SELECT id FROM series WHERE key = ?)) "
                    "WHERE place > ? AND (? IS NULL OR created < ?)",
                    (key, keep or 0, before, before),
                )
            if not pretend:
                connection.executemany("DELETE FROM result WHERE id = ?", chosen)
                connection.execute("DELETE FROM series WHERE id NOT IN (SELECT series FROM result)")
        if chosen and not pretend:
            # Another process may be reading: the room is used again then.
            with self._open() as connection, contextlib.suppress(sqlite3.OperationalError):
                connection.execute("VACUUM")
        return len(chosen)

    def _ask(self, query: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        if not self.path.exists():
            return []
        with self._open() as connection:
            return connection.execute(query, values).fetchall()

    def _entry(self, content: object) -> HistoryEntry:
        source = f"An entry of {self.path}"
        try:
            if not isinstance(content, bytes):
                raise zlib.error("it is no bytes")
            unpacked = zlib.decompressobj()
            text = unpacked.decompress(content, _LARGEST).decode(errors="surrogatepass")
            if not unpacked.eof:
                raise zlib.error("it does not end")
        except (zlib.error, UnicodeDecodeError) as error:
            message, remedy = _CODES[sqlite3.SQLITE_CORRUPT]
            raise UsageError(f"{source} {message} ({error}).", remedy) from error
        return codec.loads(HistoryEntry, text, source)

    @contextlib.contextmanager
    def _open(self, make: bool = False) -> Iterator[sqlite3.Connection]:
        """Give a connection to what was found to be a history."""
        with self._worded():
            self._demand_file()
            if make:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(self.path, timeout=_WAIT_S, isolation_level=None)
            try:
                connection.execute("PRAGMA trusted_schema = OFF")
                connection.execute("PRAGMA synchronous = FULL")
                connection.execute("PRAGMA foreign_keys = ON")
                self._check(connection)
                yield connection
            finally:
                connection.close()

    def _demand_file(self) -> None:
        """Refuse what SQLite would wait for, or would take for empty, as it does short files.

        Raises:
            UsageError: it is there, and neither empty nor the beginning of an SQLite file.
        """
        if not self.path.exists():
            return
        if not self.path.is_file():
            what = "a folder" if self.path.is_dir() else "no regular file"
            raise UsageError(f"{self.path} is {what}.", "Give a file with --store.")
        begins = b""
        with contextlib.suppress(OSError), self.path.open("rb") as opened:  # SQLite says why not
            begins = opened.read(len(_MAGIC))
        if begins and begins != _MAGIC:
            message, remedy = _CODES[sqlite3.SQLITE_NOTADB]
            raise UsageError(f"{self.path} {message}.", remedy)

    def _check(self, connection: sqlite3.Connection) -> None:
        """Refuse what is no history of this version; make one of an empty file.

        Raises:
            UsageError: it is none.
        """
        if _found(connection) == (0, 0, {}):
            # What is read is read again, as another process may be at the same.
            _patiently(lambda: connection.execute("PRAGMA journal_mode = WAL"))
            with _changing(connection):
                if _found(connection) == (0, 0, {}):
                    for statement in _TABLES.values():
                        connection.execute(statement)
                    connection.execute(f"PRAGMA application_id = {_APPLICATION}")
                    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        application, version, tables = _found(connection)
        if application != _APPLICATION:
            raise UsageError(f"{self.path} is the SQLite file of another program.", _OTHER)
        if version != SCHEMA_VERSION:
            whose = "an earlier" if version < SCHEMA_VERSION else "a later"
            raise UsageError(
                f"{self.path} is of {whose} mvdeploy (its tables have version {version}; this one "
                f"knows {SCHEMA_VERSION}), and was left as it is.",
                "Use the release that wrote it, or add the runs to another file: 'mvdeploy history "
                "add RUN... --store FILE'.",
            )
        if tables != _TABLES:
            raise UsageError(f"{self.path} has other tables than mvdeploy makes.", _OTHER)

    @contextlib.contextmanager
    def _worded(self) -> Iterator[None]:
        """Turn what SQLite or the system says into a sentence and what to do."""
        try:
            yield
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
                raise NotWritten(f"{self.path} cannot be written ({error}).", _ROOM) from error
            message, remedy = _CODES.get(code, ("cannot be used", _OTHER))
            raise UsageError(f"{self.path} {message} ({error}).", remedy) from error
        except OSError as error:
            raise NotWritten(
                f"{self.path} cannot be written ({error.strerror or error}).", _ROOM
            ) from error


@contextlib.contextmanager
def _changing(connection: sqlite3.Connection) -> Iterator[None]:
    """Change all or nothing; other processes wait."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _patiently(step: Callable[[], T]) -> T:
    """Do what SQLite itself does not wait for, until another process has ended with it."""
    end = time.monotonic() + _WAIT_S
    while True:
        try:
            return step()
        except sqlite3.OperationalError as error:
            busy = error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
            if not busy or time.monotonic() > end:
                raise
            time.sleep(0.02)


def _found(connection: sqlite3.Connection) -> tuple[int, int, dict[str, str]]:
    """Return whose file it is, the version of its tables, and how these were made."""
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    made = "SELECT name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_autoindex_%'"
    return application, version, dict(connection.execute(made).fetchall())


def _row(entry: HistoryEntry) -> tuple[str, str, str, str, bytes]:
    packed = zlib.compress(codec.sealed(entry).encode(errors="surrogatepass"))
    return key_of(entry), entry.run, entry.created, _digest(codec.encode(entry)), packed


def _digest(values: object) -> str:
    text = json.dumps(codec.encode(values), sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()
