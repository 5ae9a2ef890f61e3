"""Tables for LaTeX: what is written is read as it is meant, whatever stands in the cells."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from mvdeploy.analysis.several import several_view_of
from mvdeploy.analysis.view import view_of
from mvdeploy.report.renderers import latex
from mvdeploy.report.tables.table import Column, Table, text
from tests.saved_runs import HOSTILE, fleet, hostile, troubled, two_cases

TOKEN = re.compile(r"\\[A-Za-z]+\*?|\\.|[{}&%$#^_~\[\]]|[^\\{}&%$#^_~\[\]]+", re.DOTALL)


def cells_of(table: str) -> list[list[str]]:
    """Return the cells of a table as TeX reads them; fails where TeX would."""
    assert table.isascii()
    body = table.split("\n", 1)[1]  # the first line is a comment
    groups: list[str] = []
    depth, rows = 0, [[""]]
    inside = False
    for token in TOKEN.findall(body):
        if token == "{":
            depth += 1
        elif token == "}":
            depth -= 1
        assert depth >= 0
        if token in (r"\begin", r"\end"):
            groups.append(token)
        if token == r"\toprule":
            inside, rows, level = True, [[""]], depth
        elif token == r"\bottomrule":
            inside = False
        # Headings of several lines are tables in a table.
        nested = groups.count(r"\begin") - groups.count(r"\end") > 2
        if not inside or token == r"\toprule":
            continue
        if token == "&" and depth == level and not nested:
            rows[-1].append("")
        elif token == r"\\" and depth == level and not nested:
            rows.append([""])
        else:
            assert token not in ("%", "#"), "a comment or a parameter in a cell"
            rows[-1][-1] += token
    assert depth == 0 and groups.count(r"\begin") == groups.count(r"\end")
    return rows


def width(row: list[str]) -> int:
    """Return how many columns a row of cells takes."""
    return sum(2 if r"\multicolumn{2}" in cell else 1 for cell in row)


def columns(table: str) -> int:
    (spec,) = re.findall(r"\\begin\{tabular\}\{(.*)\}\n", table)
    return len(re.findall(r"[lr]|p\{", re.sub(r">\{[^}]*\}|@\{\}", "", spec)))


def demand_whole(table: str) -> None:
    rows = cells_of(table)[:-1]
    assert rows and {width(row) for row in rows} == {columns(table)}


@pytest.mark.parametrize("story", [two_cases, hostile, troubled, fleet], ids=lambda f: f.__name__)
def test_every_table_of_a_report_is_whole(story: Any, tmp_path: Path) -> None:
    made = story()
    paths = latex.render(view_of(made.saved, made.breakdowns), tmp_path)
    assert len({path.name.lower() for path in paths}) == len(paths) > 8
    *tables, page = paths
    for path in tables:
        demand_whole(path.read_text("utf-8"))
    for path in tables:
        assert f"\\input{{{path.name}}}" in page.read_text("utf-8")


def test_the_checks_of_this_file_find_what_is_wrong() -> None:
    good = latex.text(Table("T", (text("a"), Column("b")), (("x", "1"),)), "t")
    demand_whole(good)
    for wrong, right in (
        (" & ", " "),
        ("tab:t}", "tab:t"),
        ("x & 1", "50% & 1"),
        ("x & 1", "x & 1 & 2"),
    ):
        with pytest.raises(AssertionError):
            demand_whole(good.replace(wrong, right, 1))


def test_latencies_as_they_are_written() -> None:
    table = Table(
        "Latency, ms",
        (text("Case"), Column("p50"), Column("share")),
        (("a_b", "5.2", "61.2 %"), ("c", "13.216 *", "–"), ("sum", "1,040", "100.0 %")),
        note="± within this run",
        total=True,
    )
    written = latex.text(table, "latency-ms", "On a phone, 50 % charged")
    assert r"\caption[{Latency, ms}]{Latency, ms. On a phone, 50 \% charged.}" in written
    assert r"\label{tab:latency-ms}" in written and r"\ensuremath{\pm} within" in written
    lines = [line.strip() for line in written.splitlines()]
    start = lines.index(r"\toprule")
    assert lines[start - 1] == r"\begin{tabular}{lr@{}lr}"
    assert lines[start + 1 : start + 8] == [
        r"Case & \multicolumn{2}{r}{p50} & share \\",
        r"\midrule",
        r"a\_b & 5 & .2 & 61.2 \% \\",
        r"c & 13 & .216 {*} & {--} \\",
        r"\midrule",
        r"sum & 1,040 &  & 100.0 \% \\",
        r"\bottomrule",
    ]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (r"50% & a_b #1 {x} \x $y$ ~ ^", None),
        ("±×÷−–…≤→µ²°", None),
        ("--fail-on", "-{}-fail-on"),
        ("Größe, Čeština, ångström", r"Gr{\"{o}}{\ss{}}e"),
        ("中文", "{[}U+4E2D{]}{[}U+6587{]}"),
        ("[x] *y* <z> |`\"''", None),
        (HOSTILE, None),
    ],
)
def test_all_text_is_text(words: str, said: str | None) -> None:
    escaped = latex.escape(words)
    assert escaped.isascii()
    if said:
        assert said.replace(r"{\ss{}}", r"\ss{}") in escaped
    table = latex.text(Table(words, (text(words), Column(words)), ((words, words),), words), "t")
    demand_whole(table)
    (row,) = cells_of(table)[1:-1]
    assert row[1].strip() == escaped


def test_names_of_files_are_plain_and_each_once() -> None:
    names = latex._names(["Latency, ms", "Latency, ms", "All", "../../x", "中", "Größe"])
    assert names == ["latency-ms", "latency-ms-2", "all-2", "x", "table", "groe"]


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="there is no TeX here")
def test_tex_takes_them(tmp_path: Path) -> None:
    one, other = two_cases(), hostile()
    bad = view_of(other.saved, other.breakdowns)
    latex.render(bad, tmp_path / "run")
    both = several_view_of([view_of(one.saved, one.breakdowns), bad])
    latex.several(both, tmp_path / "several")
    for folder in ("run", "several"):
        done = subprocess.run(
            ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "all.tex"],
            cwd=tmp_path / folder / "tables",
            capture_output=True,
            timeout=300,
        )
        log = done.stdout.decode(errors="replace")
        if "booktabs.sty' not found" in log:
            pytest.skip("TeX has no booktabs here")
        assert done.returncode == 0, log[-2000:]
        assert (tmp_path / folder / "tables/all.pdf").stat().st_size > 10_000
