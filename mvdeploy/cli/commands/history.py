"""``mvdeploy history``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mvdeploy.cli import completion, history_options, numbers, options, streams
from mvdeploy.errors import UsageError
from mvdeploy.stats import changes
from mvdeploy.text_format import count

if TYPE_CHECKING:
    from mvdeploy.analysis.trends import Trend

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group("history")
@options.debug
def command() -> None:
    """Keep results of many runs in one file, and find when a latency changed.

    Results are one series where everything is the same that makes them alike: network and weights,
    format, precision, engine with version and options, threads, device, system and environment. A
    KEY is what 'mvdeploy history list' calls a series; its beginning is enough.
    """


@command.command("add")
@click.argument(
    "runs",
    nargs=-1,
    required=True,
    type=click.Path(path_type=Path),
    metavar="RUN...",
    shell_complete=completion.runs,
)
@history_options.store
@options.debug
def add(runs: tuple[Path, ...], store: Path | None) -> None:
    """Add runs: RUN is a folder that 'mvdeploy bench' wrote. What is there already stays."""
    from mvdeploy.pipeline import history

    kept = history_options.opened(store)
    for folder in runs:
        history_options.tell(history.add_saved(kept, folder), kept)


@command.command("list")
@history_options.store
@as_json
@options.debug
def listed(store: Path | None, as_json: bool) -> None:
    """List all series, the one that was measured last first."""
    from mvdeploy.pipeline import history
    from mvdeploy.report.history import tables

    kept = history_options.opened(store)
    found = history.listed(kept)
    if as_json:
        values = [
            {
                "series": one.key,
                "label": last.case.label,
                "runs": one.count,
                "first": one.first,
                "last": one.last,
                "last_run": last.run,
                "p50_ms": tables.median(last) / 1e6,
                "alike": _plain(last.alike),
            }
            for one, last in found
        ]
        click.echo(json.dumps(values, indent=1))
        return
    if found:
        _print(tables.series(found))
    results = sum(one.count for one, _ in found)
    click.echo(f"{count(results, 'result')} in {len(found)} series, in {kept.path}")


@command.command("show")
@click.argument("name", metavar="KEY|RUN")
@history_options.store
@as_json
@options.debug
def show(name: str, store: Path | None, as_json: bool) -> None:
    """Show what the results of a series have in common, or the results of a run."""
    from mvdeploy.history.store import key_of
    from mvdeploy.pipeline import history
    from mvdeploy.report import history as page
    from mvdeploy.report.history import tables

    kept = history_options.opened(store)
    entries = [(key_of(entry), entry) for entry in kept.of_run(name)]
    if not entries:
        (key,) = history.keys(kept, (name,))
        trend = history.trend(kept, key)
        if as_json:
            click.echo(json.dumps(page.as_json(trend), indent=1))
            return
        click.echo(f"{tables.series_title(trend.points[-1].entry)} ({key})")
        _print(tables.alike(trend))
        _print(tables.runs(trend))
        return
    if as_json:
        values = [
            {
                "series": key,
                "run": entry.run,
                "created": entry.created,
                "mvdeploy": entry.mvdeploy,
                "label": entry.case.label,
                "p50_ms": tables.median(entry) / 1e6,
                "alike": _plain(entry.alike),
            }
            for key, entry in entries
        ]
        click.echo(json.dumps(values, indent=1))
        return
    _print(tables.results(entries))


@command.command("trend")
@click.argument("keys", nargs=-1, metavar="[KEY]...")
@click.option(
    "--across",
    multiple=True,
    metavar="CONDITION",
    help="What may differ within a trend, such as engine_version, kernel or weights, as 'history "
    "list --json' calls it. Repeat it for several.",
)
@click.option(
    "--least",
    type=numbers.Number(0, 1000),
    default=1.0,
    show_default=True,
    metavar="PERCENT",
    help="Smallest change of the level that is told.",
)
@click.option(
    "--fail-on-slower",
    type=click.IntRange(changes.SHORTEST),
    metavar="RUNS",
    help="End with status 1 when a series became slower within its last RUNS runs, "
    f"{changes.SHORTEST} at least, as a change is told after so many.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Write a page with a figure to DIR; of several series, each to a folder in it.",
)
@history_options.store
@as_json
@options.debug
def trend(
    keys: tuple[str, ...],
    across: tuple[str, ...],
    least: float,
    fail_on_slower: int | None,
    output: Path | None,
    store: Path | None,
    as_json: bool,
) -> int:
    """Show how series went over time, with a mark where the latency changed.

    Each run is one observation, and the spread between runs is the noise: it takes 12 runs at
    least, 3 of them after a change.
    """
    from mvdeploy.pipeline import history
    from mvdeploy.report import history as page
    from mvdeploy.report.history import tables

    kept = history_options.opened(store)
    trends: dict[str, Trend] = {}
    for key in history.keys(kept, keys):
        found = history.trend(kept, key, across, least / 100)
        trends.setdefault(found.key, found)
    if as_json:
        click.echo(json.dumps([page.as_json(found) for found in trends.values()], indent=1))
    for key, found in trends.items():
        if not as_json:
            page.show(found, streams.console())
        if output is not None:
            for path in page.write(found, output / key[:8] if len(trends) > 1 else output):
                click.echo(path, err=as_json)
    if fail_on_slower is None:
        return 0
    slower = [key for key, found in trends.items() if found.slower_within(fail_on_slower)]
    for key in slower:
        said = tables.series_title(trends[key].points[-1].entry)
        runs = count(fail_on_slower, "run")
        click.echo(f"{said} ({key[:8]}) became slower within its last {runs}.", err=True)
    return int(bool(slower))


@command.command("compare")
@click.argument("a", metavar="KEY|RUN")
@click.argument("b", metavar="KEY|RUN")
@history_options.store
@as_json
@options.debug
def compare(a: str, b: str, store: Path | None, as_json: bool) -> None:
    """Compare two series by their runs since the last change, or two runs; A is the reference."""
    from mvdeploy.analysis.trends import SeriesComparison
    from mvdeploy.pipeline import history
    from mvdeploy.report.history import tables

    found = history.compare(history_options.opened(store), a, b)
    if isinstance(found, SeriesComparison):
        said = tables.comparison(found)
        estimate, differing = found.estimate, found.differing.items()
        values: Any = {
            "a": found.a.key,
            "b": found.b.key,
            "verdict": estimate.verdict,
            "ratio": estimate.ratio,
            "low": estimate.low,
            "high": estimate.high,
            "differ_in": {name: _plain({"a": x, "b": y}) for name, (x, y) in differing},
            "summary": list(said),
        }
    else:
        said = (*(one.sentence for one in found), found[0].warning)
        values = [one.as_json() for one in found]
    click.echo(json.dumps(values, indent=1) if as_json else "\n".join(said))


@command.command("prune")
@click.argument("keys", nargs=-1, metavar="[KEY]...")
@click.option("--keep", type=click.IntRange(0), metavar="N", help="Results of each that stay.")
@click.option(
    "--before",
    type=click.DateTime(["%Y-%m-%d"]),
    metavar="YYYY-MM-DD",
    help="Remove only what was measured before that day (UTC).",
)
@click.option("--dry-run", is_flag=True, help="Only say how many would be removed.")
@history_options.store
@options.debug
def prune(
    keys: tuple[str, ...], keep: int | None, before: Any, dry_run: bool, store: Path | None
) -> None:
    """Remove old results of the named series, or of all, for good."""
    from mvdeploy.pipeline import history

    if keep is None and before is None:
        raise UsageError(
            "Nothing says which results to remove.",
            "Give --keep N, so that the last N of each series stay, or --before YYYY-MM-DD.",
        )
    kept = history_options.opened(store)
    day = None if before is None else f"{before:%Y-%m-%d}"
    number = kept.prune(history.keys(kept, keys), keep=keep, before=day, pretend=dry_run)
    click.echo(f"{'Would remove' if dry_run else 'Removed'} {count(number, 'result')}.")


@command.command("export")
@click.argument("keys", nargs=-1, metavar="[KEY]...")
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="FILE.csv, or FILE.parquet, which takes the package pyarrow.",
)
@history_options.store
@options.debug
def export(keys: tuple[str, ...], output: Path, store: Path | None) -> None:
    """Write the results of the named series, or of all, as a table: one in a row."""
    from mvdeploy.pipeline import history

    kept = history_options.opened(store)
    number = history.export(kept, output, keys)
    click.echo(f"{output}: {count(number, 'result')}")


def _print(table: Any) -> None:
    from mvdeploy.report.renderers.terminal import fitting

    console = streams.console()
    console.print(fitting(table, console.width), highlight=False)


def _plain(values: Any) -> dict[str, Any]:
    return {name: list(v) if isinstance(v, tuple) else v for name, v in values.items()}
