"""``mvdeploy history`` from the command line, as docs/history.md shows it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from click.testing import CliRunner

from mvdeploy.cli.commands.history import command
from mvdeploy.errors import UsageError
from mvdeploy.history.store import Store
from tests.saved_history import name_of, save_runs
from tests.warm import Server

Mvdeploy = Callable[..., subprocess.CompletedProcess[str]]

QUICK = ("--threads", "1", "--iterations", "6", "--sessions", "2", "--warmup", "1")


@pytest.fixture(scope="module")
def stepped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty runs, slower by 5 % from the 13th."""
    root = tmp_path_factory.mktemp("stepped")
    save_runs(root / "runs", [5.0] * 12 + [5.25] * 8)
    path = root / "history.sqlite"
    history(path, "add", *map(str, sorted((root / "runs").iterdir())))
    return path


def history(store: Path, verb: str, *words: str) -> str:
    arguments = [verb, *words, "--store", str(store)]
    return CliRunner().invoke(command, arguments, catch_exceptions=False).stdout


def printed(store: Path, verb: str, *words: str) -> Any:
    return json.loads(history(store, verb, *words, "--json"))


def key(store: Path) -> str:
    return str(printed(store, "list")[0]["series"])


def copy(store: Path, place: Path) -> Path:
    place.write_bytes(store.read_bytes())
    return place


def test_a_step_of_five_percent_is_found_at_the_right_run(stepped: Path, tmp_path: Path) -> None:
    (trend,) = printed(stepped, "trend")
    assert [run["run"] for run in trend["runs"] if run["change"]] == [name_of(13)]
    assert trend["runs"][12]["change"]["low"] < 1.05 < trend["runs"][12]["change"]["high"]
    shown = history(stepped, "trend", key(stepped)[:6], "-o", str(tmp_path))
    assert f"slower since {name_of(13)}" in " ".join(shown.split())
    assert (tmp_path / "trend.html").is_file()


def test_none_is_found_in_twenty_equal_runs(tmp_path: Path) -> None:
    store = tmp_path / "h.sqlite"
    history(store, "add", *map(str, save_runs(tmp_path, [5.0] * 20)))
    (trend,) = printed(store, "trend")
    assert len(trend["runs"]) == 20 and trend["enough_runs"]
    assert not any(run["change"] for run in trend["runs"])
    assert "No change was found in 20 runs." in history(store, "trend")


def test_a_run_is_added_once(stepped: Path, tmp_path: Path) -> None:
    store = copy(stepped, tmp_path / "h.sqlite")
    said = history(store, "add", str(stepped.parent / "runs" / name_of(1)))
    assert said == f"History: 0 results of {name_of(1)} added, 1 there already, to {store}\n"


def test_series_and_runs_are_shown(stepped: Path) -> None:
    (one,) = printed(stepped, "list")
    assert (one["runs"], one["last_run"]) == (20, name_of(20))
    assert f"20 results in 1 series, in {stepped}" in history(stepped, "list")
    shown = history(stepped, "show", one["series"][:4])
    assert one["series"] in shown and name_of(7) in shown and "mobilevit_xxs" in shown
    (result,) = printed(stepped, "show", name_of(7))
    assert result["series"] == one["series"]
    assert f"{result['p50_ms']:.3f}" in history(stepped, "show", name_of(7))


def test_runs_and_series_are_compared(stepped: Path) -> None:
    said = history(stepped, "compare", name_of(1), name_of(20))
    assert "ratio of p50 1.0" in said and "measured at different times" in said
    (one,) = printed(stepped, "compare", name_of(1), name_of(20))
    assert one["a"].endswith(name_of(1)) and not one["paired"]
    same = printed(stepped, "compare", key(stepped), key(stepped))
    assert (same["ratio"], same["verdict"]) == (1.0, "no difference detected")
    with pytest.raises(UsageError, match="There is no run 'nope'"):
        history(stepped, "compare", name_of(1), "nope")
    with pytest.raises(UsageError, match="There is no series 'nope'"):
        history(stepped, "compare", "nope", key(stepped))


def test_a_trend_goes_across_what_is_named(tmp_path: Path) -> None:
    store = tmp_path / "h.sqlite"
    for number in (1, 2):
        folder = tmp_path / str(number)
        (run,) = save_runs(folder, [5.0], seed=number)
        saved = json.loads((run / "run.json").read_text())
        saved["device"]["identity"]["kernel"] = f"6.{number}"
        saved["created"] = f"2026-03-0{number}T10:00:00+00:00"
        del saved["checksum"]
        (run / "run.json").write_text(json.dumps(saved))
        history(store, "add", str(run))
    assert len(printed(store, "list")) == 2
    (trend,) = printed(store, "trend", "--across", "kernel")
    assert [run["changed"] for run in trend["runs"]] == [{"kernel": "6.1"}, {"kernel": "6.2"}]
    assert len(printed(store, "trend")) == 2
    with pytest.raises(UsageError, match=r"no condition 'kernal'.*Did you mean 'kernel'"):
        history(store, "trend", "--across", "kernal")


def test_the_table_for_other_programs(stepped: Path, tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    assert history(stepped, "export", "-o", str(path)) == f"{path}: 20 results\n"
    table = pd.read_csv(path)
    (trend,) = printed(stepped, "trend")
    assert list(table.run) == [name_of(day) for day in range(1, 21)]
    assert list(table.p50_ns / 1e6) == pytest.approx([run["p50_ms"] for run in trend["runs"]])
    assert list(table.index[table.change.notna()]) == [12]
    assert set(table.engine) == {"onnxruntime"} and set(table.threads) == {1}
    with pytest.raises(UsageError, match="ends in none of"):
        history(stepped, "export", "-o", "table.txt")


def test_parquet_takes_a_package(
    stepped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pyarrow, which is not installed.*-o FILE\.csv"):
        history(stepped, "export", "-o", str(tmp_path / "table.parquet"))
    assert list(tmp_path.iterdir()) == []


def test_parquet_has_the_same_types_whatever_is_known(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    schemas = []
    for name, levels in (("few", [5.0]), ("stepped", [5.0] * 12 + [5.25] * 8)):
        save_runs(tmp_path / name, levels)
        store, path = tmp_path / f"{name}.sqlite", tmp_path / f"{name}.parquet"
        history(store, "add", *map(str, sorted((tmp_path / name).iterdir())))
        said = history(store, "export", "-o", str(path))
        assert said.startswith(f"{path}: {len(levels)} result")
        schemas.append(parquet.read_schema(path).remove_metadata())
    few, stepped = schemas
    kinds = {name: str(few.field(name).type).removeprefix("large_") for name in few.names}
    assert kinds == {n: str(stepped.field(n).type).removeprefix("large_") for n in stepped.names}
    assert kinds["change"] == kinds["p50_ns"] == "double" and kinds["kernel"] == "string"
    table, csv = pd.read_parquet(path), tmp_path / "table.csv"
    history(store, "export", "-o", str(csv))
    assert list(table.index[table.change.notna()]) == [12]
    assert list(table.p50_ns) == list(pd.read_csv(csv).p50_ns)


@pytest.mark.parametrize(
    ("levels", "status"),
    [([5.0] * 12 + [5.25] * 8, 1), ([5.0] * 8 + [5.25] * 12, 0), ([5.25] * 12 + [5.0] * 8, 0)],
    ids=["slower", "slower-long-ago", "faster"],
)
def test_a_gate_on_what_became_slower_lately(
    warm: Server, tmp_path: Path, levels: list[float], status: int
) -> None:
    save_runs(tmp_path / "runs", levels)
    store = tmp_path / "h.sqlite"
    history(store, "add", *map(str, sorted((tmp_path / "runs").iterdir())))
    gate = ("history", "trend", "--fail-on-slower", "10", "--store", str(store))
    done = warm.mvdeploy(*gate, cwd=tmp_path)
    assert done.returncode == status, done.stderr
    assert ("became slower within its last 10 runs" in done.stderr) == bool(status)
    as_json = warm.mvdeploy(*gate, "--json", cwd=tmp_path)
    assert as_json.returncode == status and len(json.loads(as_json.stdout)[0]["runs"]) == 20
    refused = warm.mvdeploy("history", "trend", "--fail-on-slower", "2", cwd=tmp_path)
    assert refused.returncode == 2 and "2 is not in the range x>=3" in refused.stderr


def test_pruning_needs_to_be_told_what(stepped: Path, tmp_path: Path) -> None:
    store = copy(stepped, tmp_path / "h.sqlite")
    with pytest.raises(UsageError, match="Nothing says which"):
        history(store, "prune")
    assert history(store, "prune", "--keep", "5", "--dry-run") == "Would remove 15 results.\n"
    assert len(printed(store, "trend")[0]["runs"]) == 20
    assert history(store, "prune", "--before", "2026-03-03") == "Removed 2 results.\n"
    assert history(store, "prune", key(store), "--keep", "5") == "Removed 13 results.\n"
    assert printed(store, "trend")[0]["runs"][0]["run"] == name_of(16)


def test_an_empty_history_says_how_to_fill_it(tmp_path: Path) -> None:
    store = tmp_path / "none.sqlite"
    for words in (["trend"], ["show", "abcd"], ["export", "-o", str(tmp_path / "a.csv")]):
        with pytest.raises(UsageError, match=r"nothing in the history .* yet.*history add RUN"):
            history(store, *words)
    assert history(store, "list") == f"0 results in 0 series, in {store}\n"
    assert list(tmp_path.iterdir()) == []


def test_keys_that_fit_several_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mvdeploy.pipeline import history as room

    with pytest.raises(UsageError, match="2 series begin with 'abcd'"):
        room._key("abcd", ["abcd1", "abcd2"])
    assert room._key("ABCD1", ["abcd1", "abcd2"]) == "abcd1"
    with pytest.raises(UsageError, match="no series 'abc'"):  # too short to mean one
        room._key("abc", ["abcd1"])


def test_the_commands_of_the_document(typed: Mvdeploy, mvdeploy: Mvdeploy, tmp_path: Path) -> None:
    """In new processes, the first as a user starts it; measured on this machine."""
    store = ("--store", "h.sqlite")

    def done(*words: str) -> str:
        ended = mvdeploy(*words)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    for start in (typed, mvdeploy):
        ended = start("bench", "yardstick", *QUICK, "--no-breakdown", "--json", "--record", *store)
        assert ended.returncode == 0, ended.stderr
        assert json.loads(ended.stdout)["cases"]
        assert "History: 1 result of" in ended.stderr
    first, second = sorted(path.name for path in (tmp_path / "reports").iterdir())
    said = done("history", "add", f"reports/{first}", f"reports/{second}", *store)
    assert said.count("0 results of") == 2 and said.count("1 there already") == 2
    (one,) = json.loads(done("history", "list", "--json", *store))
    assert one["runs"] == 2  # measured alike: one series
    name = one["series"][:8]
    assert first in done("history", "show", name, *store)
    assert name in done("history", "show", first, *store)
    assert "2 runs are too few" in " ".join(done("history", "trend", *store).split())
    assert "trend.html" in done("history", "trend", name, "-o", "page", *store)
    done("history", "trend", "--across", "engine_version", "--across", "kernel", *store)
    done("history", "compare", first, second, *store)
    done("history", "compare", name, name, *store)
    assert "history.csv: 2 results" in done("history", "export", "-o", "history.csv", *store)
    assert done("history", "prune", "--keep", "1", *store) == "Removed 1 result.\n"


def test_what_cannot_be_recorded_is_known_before_anything_is_measured(mvdeploy: Mvdeploy) -> None:
    words = ("bench", "yardstick", *QUICK, "--no-breakdown")
    done = mvdeploy(*words, "--record", "--store", "/dev/null/h.sqlite")
    assert done.returncode == 2
    assert "/dev/null" in done.stderr and "cannot be written" in done.stderr
    done = mvdeploy(*words, "--store", "h.sqlite")
    assert done.returncode == 2 and "Add --record." in done.stderr


def test_a_history_that_fails_at_the_end_takes_nothing_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from mvdeploy.cli import history_options
    from mvdeploy.pipeline.report import view

    (run,) = save_runs(tmp_path, [5.0])
    store = Store(tmp_path / "h.sqlite")
    store.path.write_text("no history " * 100)
    assert history_options.record(view(run), run, store) == 2
    said = capsys.readouterr().err
    assert "is no history" in said and f"'mvdeploy history add {run}' adds it later" in said
