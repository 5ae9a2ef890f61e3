"""``mvdeploy study``."""

from __future__ import annotations

import json
from typing import Any

import click

from mvdeploy import studies
from mvdeploy.cli import (
    bench_options,
    completion,
    fleet_options,
    length_options,
    measuring,
    options,
    streams,
)

_OF_FILES = {"shapes": (), "values": (), "model": None, **dict.fromkeys(options.FEEDING)}
_NO_DEMANDS = {"fail_on": (), "require_reliable": False}


@click.command("study")
@click.argument(
    "name",
    metavar="NAME|list",
    shell_complete=completion.of_names(lambda: (*studies.names(), "list")),
)
@bench_options.where
@fleet_options.of_blocks
@bench_options.conditions
@length_options.options
@click.option(
    "--seed",
    type=int,
    default=0,
    show_default=True,
    help="Seed of the weights and of the measuring order.",
)
@click.option("--anew", is_flag=True, help="Measure everything again, in a folder of its own.")
@bench_options.output
def command(name: str, anew: bool, **given: Any) -> int:
    """Measure the networks of a paper's table, and set the published numbers beside.

    'mvdeploy study list' shows the studies. A study is saved in DIR/study-NAME-DEVICE; one that was
    stopped goes on where it stopped when the same command is given again.
    """
    if name == "list":
        _list(given["as_json"])
        return 0
    study = studies.get(name)
    elsewhere = fleet_options.elsewhere(given)
    asked = bench_options.read({**_OF_FILES, **_NO_DEMANDS, **given})
    request = elsewhere.of(asked.request((), length_options.plan(given, asked.common, anchor=True)))
    from mvdeploy.cli.progress import steps
    from mvdeploy.pipeline import study as pipeline
    from mvdeploy.pipeline.report import study_view
    from mvdeploy.report import study as report
    from mvdeploy.report.study.values import json_text

    planned = pipeline.plan(name, study, request, given["seed"], anew)
    with steps(pipeline.step_count(planned) + 1) as announce:
        pipeline.run(planned, announce, elsewhere.measure)
        announce("write the report")
        view = study_view(planned.folder)
        report.write(view, planned.folder)
    if given["as_json"]:
        click.echo(json_text(view))
    else:
        report.show(view, streams.console())
        click.echo(f"\nReport: {planned.folder / 'report.html'}")
    cases = list(
        {entry.case.slug: entry.case.case for entry in view.entries if entry.case}.values()
    )
    return max(measuring.failures(cases), measuring.wrong_outputs(cases))


def _list(as_json: bool) -> None:
    found = {name: studies.get(name) for name in studies.names()}
    if as_json:
        listed = {
            name: {"title": one.title, "paper": one.paper, "rows": [row.name for row in one.rows]}
            for name, one in found.items()
        }
        click.echo(json.dumps(listed, indent=1))
        return
    width = max(map(len, found))
    for name, one in found.items():
        click.echo(f"{name:<{width}}  {one.title} ({len(one.rows)} rows; {one.paper})")
