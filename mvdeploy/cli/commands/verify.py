"""``mvdeploy verify``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mvdeploy.cli import options

if TYPE_CHECKING:
    from mvdeploy.pipeline.verify import MutationResult
    from mvdeploy.records import OutputParity, Parity, ParityInput


@click.command("verify")
@click.argument("artifact", type=click.Path(path_type=Path))
@click.option(
    "--input",
    "photograph",
    type=click.Path(path_type=Path),
    help="Photograph to compare on, among other inputs.",
)
@click.option(
    "--weights",
    type=click.Path(path_type=Path),
    metavar="FILE|DIR",
    help="Where its checkpoint is. [default: where it was, as seen from the file or at all]",
)
@click.option(
    "--model",
    metavar="NAME|FILE.py:FACTORY",
    help="What builds the network. [default: what the manifest says, found likewise]",
)
@click.option("--modules", is_flag=True, help="Show every module, also when all agree.")
@click.option(
    "--mutations",
    is_flag=True,
    help="Break copies of the file on purpose, and show whether the check notices.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@options.debug
def command(
    artifact: Path,
    photograph: Path | None,
    weights: Path | None,
    model: str | None,
    modules: bool,
    mutations: bool,
    as_json: bool,
) -> int:
    """Compare an exported file with the PyTorch network it came from.

    The outputs are compared on several inputs, and the tensors between modules on the first. Exits
    with 1 when they differ, and names the first module that departs.
    """
    from mvdeploy.cli.progress import steps
    from mvdeploy.pipeline.verify import Verifier

    with steps() as announce:
        verifier = Verifier(artifact, photograph, announce, weights=weights, model=model)
        if mutations:
            results = verifier.mutations()
        else:
            parity = verifier.check()
    if mutations:
        click.echo(_mutation_json(results) if as_json else _mutation_table(results))
        return 0 if all(result.good for result in results) else 1
    if as_json:
        from mvdeploy.records import codec

        click.echo(codec.dumps(parity, indent=1))
    else:
        _show(parity, modules)
    return 0 if parity.passed else 1


def _show(parity: Parity, modules: bool) -> None:
    from mvdeploy import tasks

    columns = tasks.get(parity.task).COLUMNS
    titles = "  ".join(column.title for column in columns)
    click.echo(f"{'input':<12} {'max abs':>9} {'SNR dB':>8} {'cosine':>10}  {titles}".rstrip())
    for parity_input in parity.inputs:
        answers = "  ".join(f"{c.text(parity_input):<{len(c.title)}}" for c in columns)
        click.echo(f"{_numbers(parity_input)}  {answers}".rstrip())
        # Of several outputs, the line above has the worst of each number.
        for output in parity_input.outputs if len(parity_input.outputs) > 1 else ():
            click.echo(_numbers(output, indent="  "))
    if modules or not parity.passed:
        click.echo("")
        _show_modules(parity)
    verdict = "agrees with" if parity.passed else "DOES NOT agree with"
    click.echo(f"\nThe file {verdict} PyTorch by {parity.engine} (demanded: {parity.demand}).")
    first = parity.first_diverging
    if first is not None:
        click.echo(f"The first module that departs is {first.module} (tensor {first.tensor}).")


def _numbers(parity: ParityInput | OutputParity, indent: str = "") -> str:
    snr = "exact" if parity.snr_db is None else f"{parity.snr_db:.1f}"
    return f"{indent + parity.name:<12} {parity.max_abs:>9.1e} {snr:>8} {parity.cosine:>10.7f}"


def _show_modules(parity: Parity) -> None:
    width = max((len(m.module) for m in parity.modules), default=0)
    click.echo(f"{'module':<{width}} {'max abs':>9} {'SNR dB':>7} {'inputs':>7}")
    for module in parity.modules:
        numbers = (
            f"{module.max_abs:>9.1e}" if module.max_abs is not None else f"{'-':>9}",
            *(
                f"{db:>7.1f}" if db is not None else f"{'-':>7}"
                for db in (module.snr_db, module.input_snr_db)
            ),
        )
        mark = "  <- departs" if module.diverges else ""
        click.echo(f"{module.module:<{width}} {' '.join(numbers)}{mark}")


def _mutation_table(results: Sequence[MutationResult]) -> str:
    """Return a Markdown table, which also reads well on a terminal."""
    rows = [("mutation", "in module", "caught", "module named", "max abs", "SNR dB")]
    for result in results:
        worst = result.parity.worst
        snr = "exact" if worst.snr_db is None else f"{worst.snr_db:.1f}"
        caught = "yes" if result.caught else "NO"
        named = "the same" if result.named == result.module else result.named or "none"
        if not result.parity.modules:
            named = "outputs only"
        rows.append((result.mutation, result.module, caught, named, f"{worst.max_abs:.1e}", snr))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(c.ljust(w) for c, w in zip(r, widths, strict=True)) + " |" for r in rows
    ]
    lines.insert(1, "|" + "|".join("-" * (w + 2) for w in widths) + "|")
    good = sum(result.good for result in results)
    how = "with the right module" if any(r.parity.modules for r in results) else "by their outputs"
    return "\n".join([*lines, "", f"{good} of {len(results)} caught {how}."])


def _mutation_json(results: Sequence[MutationResult]) -> str:
    rows = [
        {
            "mutation": r.mutation,
            "module": r.module,
            "caught": r.caught,
            "module_named": r.named,
            "max_abs": r.parity.worst.max_abs,
            "snr_db": r.parity.worst.snr_db,
        }
        for r in results
    ]
    return json.dumps(rows, indent=1)
