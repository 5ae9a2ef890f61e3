"""What is added to a history stays, whoever else writes, dies or has damaged it."""

from __future__ import annotations

import dataclasses
import os
import signal
import sqlite3
import subprocess
import sys
import traceback
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from mvdeploy.errors import UsageError
from mvdeploy.files.writing import NotWritten
from mvdeploy.history import store as room
from mvdeploy.history.store import Store, key_of
from mvdeploy.records import BaselineCase, codec
from mvdeploy.records.history import HistoryEntry

ADD = """
import sys
from pathlib import Path
from mvdeploy.history.store import Store
from mvdeploy.records import codec
from mvdeploy.records.history import HistoryEntry
import dataclasses

entry = codec.load(HistoryEntry, Path(sys.argv[2]))
for number in range(int(sys.argv[4])):
    run = f"{sys.argv[3]}-{number}"
    assert Store(Path(sys.argv[1])).add([dataclasses.replace(entry, run=run)]) == 1
"""
HOLD = """
import sys
from pathlib import Path
from mvdeploy.history import store

history = store.Store(Path(sys.argv[1]))
with history._open() as connection, store._changing(connection):
    connection.execute("DELETE FROM result")
    connection.execute("INSERT INTO series (key) VALUES ('half')")
    print("there", flush=True)
    sys.stdin.read()
"""


def entry(run: str = "run", network: str = "net", ms: int = 5, **changes: str) -> HistoryEntry:
    times = tuple(ms * 1_000_000 + i for i in range(20))
    conditions = {"device": "host", "threads": 1, "environment": ("A=1", "B=2")}
    case = BaselineCase("case", "net fp32", conditions, (times,), (5,), (7,), {}, 9)
    made = HistoryEntry(run, "2026-03-04T10:00:00+00:00", "0.1.0", "ab", {"network": network}, case)
    return dataclasses.replace(made, **changes)


@pytest.fixture
def history(tmp_path: Path) -> Store:
    return Store(tmp_path / "deep" / "history.sqlite")


def runs(history: Store) -> list[str]:
    return [e.run for one in history.series() for e in history.of_series(one.key)]


def test_nothing_is_made_by_looking(history: Store) -> None:
    assert history.series() == history.of_run("run") == history.of_series("key") == ()
    assert history.prune(["key"], keep=0) == 0
    assert not history.path.parent.exists()


def test_what_is_added_is_found_again_once(history: Store) -> None:
    first, other, later = entry(), entry(network="b"), entry("next", created="2026-03-05")
    assert history.add([first, other]) == 2
    assert history.add([first, other, later]) == 1
    assert history.of_run("run") == (first, other)
    assert history.of_series(key_of(first)) == (first, later)
    assert history.of_series(key_of(first), last=1) == (later,)
    assert [(one.key, one.count) for one in history.series()] == [
        (key_of(first), 2),
        (key_of(other), 1),
    ]


def test_a_condition_more_or_less_is_another_series() -> None:
    one = entry()
    for name, value in (("threads", 2), ("environment", ("A=1",)), ("new", "x")):
        conditions = {**one.case.conditions, name: value}
        other = dataclasses.replace(one, case=dataclasses.replace(one.case, conditions=conditions))
        assert key_of(other) != key_of(one)
    reordered = dict(reversed(one.case.conditions.items()))
    same = dataclasses.replace(one, case=dataclasses.replace(one.case, conditions=reordered))
    assert key_of(same) == key_of(one)


def test_series_are_in_the_order_of_time_not_of_adding(history: Store) -> None:
    for day in (3, 1, 2):
        history.add([entry(str(day), created=f"2026-03-0{day}T00:00:00+00:00")])
    assert runs(history) == ["1", "2", "3"]


def test_several_processes_may_add_at_once(history: Store, tmp_path: Path) -> None:
    codec.save(entry(), tmp_path / "entry.json")
    arguments = [str(history.path), str(tmp_path / "entry.json")]
    processes = [
        subprocess.Popen([sys.executable, "-c", ADD, *arguments, str(number), "6"])
        for number in range(4)
    ]
    assert [process.wait(60) for process in processes] == [0] * 4
    assert sorted(runs(history)) == sorted(f"{a}-{b}" for a in range(4) for b in range(6))


def test_a_writer_that_is_killed_leaves_what_was_there(history: Store) -> None:
    history.add([entry("before")])
    command = [sys.executable, "-c", HOLD, str(history.path)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe) as holding:
        try:
            assert holding.stdout is not None and holding.stdout.readline() == b"there\n"
            assert runs(history) == ["before"]  # who reads does not wait, and sees nothing of it
        finally:
            holding.send_signal(signal.SIGKILL)
    assert runs(history) == ["before"]
    assert history.add([entry("after")]) == 1
    assert runs(history) == ["before", "after"]


def test_one_that_holds_it_for_too_long_is_told(
    history: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    history.add([entry("before")])
    monkeypatch.setattr(room, "_WAIT_S", 0.05)
    with sqlite3.connect(history.path, isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(UsageError, match=r"in use by another process.*Try again") as caught:
            history.add([entry("other")])
        other.execute("ROLLBACK")
    other.close()
    assert caught.value.exit_code == 2
    assert runs(history) == ["before"]


def sql(*statements: str) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        with sqlite3.connect(path) as connection:
            for statement in statements:
                connection.execute(statement)
        connection.close()

    return change


def overwrite(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[4096:8192] = b"\xaa" * 4096
    path.write_bytes(content)


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "a note": (lambda path: path.write_text("n"), "is no history: it is not an SQLite"),
    "text": (lambda path: path.write_text("a,b\n" * 200), "is no history: it is not an SQLite"),
    "another": (sql("PRAGMA application_id = 7"), "SQLite file of another program"),
    "earlier": (sql("PRAGMA user_version = 0"), "an earlier mvdeploy.*left as it is"),
    "later": (sql("PRAGMA user_version = 2"), "a later mvdeploy.*left as it is"),
    "column": (sql("ALTER TABLE result ADD COLUMN more"), "has other tables"),
    "trigger": (
        sql("CREATE TRIGGER t AFTER INSERT ON series BEGIN DELETE FROM result; END"),
        "has other tables",
    ),
    "pages": (overwrite, "is damaged"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_history_is_refused_and_left_alone(history: Store, name: str) -> None:
    change, message = BAD[name]
    history.add([entry(str(i)) for i in range(30)])
    change(history.path)
    before = history.path.read_bytes()
    for use in (lambda: history.add([entry("new")]), lambda: runs(history), history.prepare):
        with pytest.raises(UsageError, match=message) as caught:
            use()
            history.series()
            runs(history)
        assert "--store" in caught.value.remedy
    assert history.path.read_bytes() == before
    assert sorted(path.name for path in history.path.parent.iterdir()) == ["history.sqlite"]


def test_a_pipe_is_not_waited_for(history: Store) -> None:
    history.path.parent.mkdir()
    os.mkfifo(history.path)
    with pytest.raises(UsageError, match="is no regular file"):
        history.prepare()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no zlib", "An entry of .* is damaged"),
        (zlib.compress(b"{}" * 9)[:-6], "An entry of .* is damaged"),
        (zlib.compress(b'{"schema_version": 1}'), "An entry of .* holds a record of kind 'None'"),
        ("text", "An entry of .* is damaged"),
    ],
)
def test_a_damaged_entry_is_named(history: Store, content: object, message: str) -> None:
    history.add([entry()])
    with sqlite3.connect(history.path) as connection:
        connection.execute("UPDATE result SET entry = ?", (content,))
    connection.close()
    with pytest.raises(UsageError, match=message):
        history.of_run("run")


def test_an_entry_that_is_larger_than_any_is_not_unpacked(
    history: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    history.add([entry()])
    monkeypatch.setattr(room, "_LARGEST", 50)
    with pytest.raises(UsageError, match="it does not end"):
        history.of_run("run")


def test_a_changed_digit_is_seen(history: Store) -> None:
    history.add([entry()])
    changed = codec.sealed(entry()).replace("5000003", "9000003")
    with sqlite3.connect(history.path) as connection:
        connection.execute("UPDATE result SET entry = ?", (zlib.compress(changed.encode()),))
    connection.close()
    with pytest.raises(UsageError, match="An entry of"):
        history.of_run("run")


def test_an_empty_file_becomes_a_history(history: Store) -> None:
    history.path.parent.mkdir()
    history.path.touch()  # as one leaves that is killed while it makes it
    assert history.add([entry()]) == 1
    assert runs(history) == ["run"]


def test_a_place_that_cannot_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotWritten, match=r"cannot be written .*MVDEPLOY_HISTORY"):
        Store(tmp_path / "file" / "history.sqlite").prepare()
    with pytest.raises(UsageError, match="is a folder"):
        Store(tmp_path).series()


def test_a_folder_that_may_not_be_written_to_is_told(history: Store, tmp_path: Path) -> None:
    history.add([entry()])

    def refused() -> str:
        said = []
        for use in (history.series, lambda: history.add([entry("b")])):
            with pytest.raises(UsageError) as caught:
                use()
            said.append(str(caught.value))
        return "\n".join(said)

    for path in (history.path.parent, *tmp_path.parents):
        if path.stat().st_uid == os.geteuid() and path.name.startswith(("pytest-", "popen-")):
            path.chmod(0o755)
    history.path.chmod(0o444)
    tmp_path.chmod(0o755)
    history.path.parent.chmod(0o555)
    try:
        said = as_nobody(refused)
    finally:
        history.path.parent.chmod(0o755)
    assert said.count("with --store") == 2
    assert str(history.path) in said
    assert runs(history) == ["run"]


def as_nobody(ask: Callable[[], str]) -> str:
    """Return what a function says in a process without the rights of root."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        try:
            if os.geteuid() == 0:
                os.setuid(65534)
            said = ask()
        except BaseException:
            said = traceback.format_exc()
        os.write(write, said.encode())
        os._exit(0)
    os.close(write)
    os.waitpid(child, 0)
    with os.fdopen(read) as file:
        return file.read()


def test_a_full_disk_loses_nothing(history: Store) -> None:
    history.add([entry("before")])
    code = (
        "import resource, signal, sys; from pathlib import Path\n"
        "from tests.history.test_store import Store, entry, NotWritten\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))\n"
        "try: Store(Path(sys.argv[1])).add([entry(str(i)) for i in range(3000)])\n"
        "except NotWritten as error: print(error.message)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(history.path)],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=Path(__file__).parents[2],
    )
    assert f"{history.path} cannot be written" in done.stdout, done.stderr
    assert runs(history) == ["before"]


def test_pruning_keeps_the_last(history: Store) -> None:
    days = [entry(str(day), created=f"2026-03-{day:02d}T00:00:00+00:00") for day in range(1, 11)]
    other = entry("other", "b")
    history.add([*days, other])
    keys = [one.key for one in history.series()]
    assert history.prune(keys, keep=7, pretend=True) == 3
    assert len(runs(history)) == 11
    assert history.prune(keys, keep=7) == 3
    assert history.prune(keys, keep=2, before="2026-03-06") == 2
    assert runs(history) == ["6", "7", "8", "9", "10", "other"]
    assert history.prune([keys[1]], before="2026-03-06") == 1
    assert runs(history) == ["6", "7", "8", "9", "10"]


def test_a_series_without_results_is_gone(history: Store) -> None:
    history.add([entry(), entry(network="b")])
    assert history.prune([key_of(entry())], keep=0) == 1
    assert [one.key for one in history.series()] == [key_of(entry(network="b"))]
    assert history.add([entry()]) == 1


def test_the_place_is_the_users_own_or_what_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MVDEPLOY_HISTORY", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert Store().path.name == "history.sqlite"
    monkeypatch.setenv("MVDEPLOY_HISTORY", str(tmp_path / "own.sqlite"))
    assert Store().path == tmp_path / "own.sqlite"
