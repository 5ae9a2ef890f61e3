"""``mvdeploy verify``."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mvdeploy import formats, models
from mvdeploy.cli import options
from mvdeploy.errors import UsageError
from mvdeploy.text_format import clean, count

if TYPE_CHECKING:
    from mvdeploy.pipeline.verify import MutationResult
    from mvdeploy.records import Artifact, FileInputs, OutputParity, Parity, ParityInput
    from mvdeploy.verify.differences import FileComparison


@click.command("verify")
@click.argument("artifact", type=click.Path(path_type=Path))
@click.option(
    "--input",
    "photograph",
    type=click.Path(path_type=Path),
    help="Photograph to compare on, among other inputs.",
)
@click.option(
    "--against",
    metavar="FILE|NAME",
    help="What to compare with instead: another file, or a network (also FILE.py:FACTORY).",
)
@click.option(
    "--weights",
    type=click.Path(path_type=Path),
    metavar="FILE|DIR",
    help="Where its checkpoint is, or that of a network after --against. [default: where it was, "
    "as seen from the file or at all]",
)
@click.option(
    "--model",
    metavar="NAME|FILE.py:FACTORY",
    help="What builds the network; Python code runs only if it is named here. [default: the "
    "library's network that the manifest names]",
)
@options.file_inputs
@click.option(
    "--modules",
    is_flag=True,
    help="Show every module, also when all agree; and look inside also where that takes another "
    "export, as of .pte files.",
)
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
    against: str | None,
    weights: Path | None,
    model: str | None,
    shapes: tuple[str, ...],
    values: tuple[str, ...],
    modules: bool,
    mutations: bool,
    as_json: bool,
) -> int:
    """Compare an exported file with the PyTorch network it came from, or with another file.

    The outputs are compared on several inputs, and the tensors between modules on the first. Errors
    are multiples of what rounding costs PyTorch itself. Exits with 1 when they are too large, and
    names the first module that departs.

    A file that others exported is compared with what --against names: its outputs alone.
    """
    from mvdeploy.cli.progress import steps

    if against is None and model is not None and not formats.has_manifest(artifact):
        against = model
    if against is not None:
        if mutations:
            raise UsageError(
                "--mutations breaks copies of files that mvdeploy exported, and checks these "
                "against their network.",
                "Leave out --against or --mutations.",
            )
        said = options.read_file_inputs(shapes, values)
        return _against(artifact, against, weights, photograph, said, as_json)
    if shapes or values:
        raise UsageError("--shape and --values go with --against.", "Leave them out, or add it.")
    from mvdeploy.pipeline.verify import Verifier

    with steps() as announce:
        verifier = Verifier(artifact, photograph, announce, weights=weights, model=model)
        if mutations:
            results = verifier.mutations()
        else:
            parity = verifier.check(modules=modules)
    if verifier.changed_code:
        cause = "" if mutations or parity.passed else ", which may be all that is wrong"
        click.echo(
            f"Warning: {clean(verifier.changed_code)} is not the code that was exported (its "
            f"sha256 differs){cause}.",
            err=True,
        )
    if mutations:
        click.echo(_mutation_json(results) if as_json else _mutation_table(results))
        return 0 if all(result.good or result.no_effect for result in results) else 1
    _print(parity, as_json, modules=modules, artifact=verifier.artifact)
    return 0 if parity.passed else 1


def _against(
    path: Path,
    against: str,
    weights: Path | None,
    photograph: Path | None,
    said: FileInputs,
    as_json: bool,
) -> int:
    """Compare a file with another or with a network; return the exit status."""
    from mvdeploy.cli.progress import steps
    from mvdeploy.pipeline.against import compare_files, compare_network

    other = options.file_argument(against)
    if other is None:
        network = models.make_spec(against, weights=weights)
        with steps() as announce:
            parity = compare_network(
                path, network, photograph=photograph, said=said, on_step=announce
            )
        _print(parity, as_json, modules=False)
        return 0 if parity.passed else 1
    if weights is not None:
        raise UsageError(
            "--weights is for a network, and --against names a file.", "Leave out --weights."
        )
    with steps() as announce:
        compared = compare_files(path, other, photograph=photograph, said=said, on_step=announce)
    click.echo(_comparison_json(compared) if as_json else _comparison(compared))
    return 0 if compared.passed else 1


def _comparison(compared: FileComparison) -> str:
    width = max(len(one.name) for each in compared.differences.values() for one in each)
    lines = [f"{'input':<12} {'output':<{width}} {'max abs':>9} {'SNR dB':>9}  largest value"]
    for name, outputs in compared.differences.items():
        for one in outputs:
            most = "-" if one.max_abs is None else f"{one.max_abs:.1e}"
            snr = "-" if one.snr_db is None else f"{one.snr_db:.1f}"
            same = "" if one.same_largest is None else f"{one.same_largest:.0%} the same"
            noise = "identical" if one.identical else snr
            lines.append(f"{name:<12} {one.name:<{width}} {most:>9} {noise:>9}  {same}".rstrip())
    verdict = "computes what" if compared.passed else "DOES NOT compute what"
    worst = min(compared.snr_db.values())
    found = "identical" if worst == math.inf else f"{worst:.1f} dB over all inputs"
    lines += [
        "",
        f"{compared.b} ({compared.engines[1]}) {verdict} {compared.a} ({compared.engines[0]}) "
        f"does: {found} (demanded: {compared.least_db:g} dB, for {compared.reason}).",
    ]
    return "\n".join(lines)


def _comparison_json(compared: FileComparison) -> str:
    from mvdeploy.records import codec

    snr = {name: db if math.isfinite(db) else None for name, db in compared.snr_db.items()}
    body = {
        "schema_version": codec.SCHEMA_VERSION,
        "a": compared.a,
        "b": compared.b,
        "engines": list(compared.engines),
        "passed": compared.passed,
        "demanded_snr_db": compared.least_db,
        "snr_db": snr,
        "inputs": {name: codec.encode(each) for name, each in compared.differences.items()},
    }
    return json.dumps(body, indent=1, ensure_ascii=False)


def _print(
    parity: Parity, as_json: bool, *, modules: bool, artifact: Artifact | None = None
) -> None:
    if as_json:
        from mvdeploy.records import codec

        click.echo(codec.dumps(parity, indent=1))
    else:
        _show(parity, modules, artifact)


def _show(parity: Parity, modules: bool, artifact: Artifact | None) -> None:
    from mvdeploy import tasks
    from mvdeploy.cli import parity_sentences as sentences

    columns = tasks.get(parity.task).COLUMNS
    titles = "  ".join(column.title for column in columns)
    numbers = f"{'max abs':>9} {'SNR dB':>8} {'rounding':>8} {'cosine':>10}"
    click.echo(f"{'input':<12} {numbers}  {titles}".rstrip())
    for parity_input in parity.inputs:
        answers = "  ".join(f"{c.text(parity_input):<{len(c.title)}}" for c in columns)
        click.echo(f"{_numbers(parity_input)}  {answers}".rstrip())
        # Of several outputs, the line above has the worst of each number.
        for output in parity_input.outputs if len(parity_input.outputs) > 1 else ():
            click.echo(_numbers(output, indent="  "))
    if parity.modules and (modules or not parity.passed):
        click.echo("")
        _show_modules(parity)
    verdict = "agrees with" if parity.passed else "DOES NOT agree with"
    click.echo(f"\nThe file {verdict} PyTorch by {parity.engine} (demanded: {parity.demand}).")
    cost = sentences.cost(parity, artifact) if artifact is not None else ()
    said = sentences.errors(parity), sentences.scope(parity), cost, sentences.findings(parity)
    for line in itertools.chain(*said):
        click.echo(line)


def _numbers(parity: ParityInput | OutputParity, indent: str = "") -> str:
    snr, rounding = (
        "exact" if db is None else f"{db:.1f}" for db in (parity.snr_db, parity.rounding_db)
    )
    return (
        f"{indent + parity.name:<12} {parity.max_abs:>9.1e} {snr:>8} {rounding:>8} "
        f"{parity.cosine:>10.7f}"
    )


def _show_modules(parity: Parity) -> None:
    width = max((len(m.module) for m in parity.modules), default=0)
    click.echo(f"{'module':<{width}} {'max abs':>9} {'SNR dB':>7} {'inputs':>7} {'x rounding':>10}")
    for module in parity.modules:
        numbers = (
            f"{module.max_abs:>9.1e}" if module.max_abs is not None else f"{'-':>9}",
            *(
                f"{db:>7.1f}" if db is not None else f"{'-':>7}"
                for db in (module.snr_db, module.input_snr_db)
            ),
            f"{module.ratio:>10.1f}" if module.ratio is not None else f"{'-':>10}",
        )
        mark = "  <- departs" if module.diverges else ""
        click.echo(f"{module.module:<{width}} {' '.join(numbers)}{mark}")


def _mutation_table(results: Sequence[MutationResult]) -> str:
    """Return a Markdown table, which also reads well on a terminal."""
    rows = [("mutation", "in module", "caught", "module named", "max abs", "SNR dB")]
    for result in results:
        caught = "yes" if result.caught else "no effect" if result.no_effect else "NO"
        if result.parity is None:
            rows.append((result.mutation, result.module, caught, "cannot be run", "-", "-"))
            continue
        worst = result.parity.worst
        snr = "exact" if worst.snr_db is None else f"{worst.snr_db:.1f}"
        named = "the same" if result.named == result.module else result.named or "none"
        if not result.parity.modules:
            named = "outputs only"
        if result.no_effect:
            named = "-"
        rows.append((result.mutation, result.module, caught, named, f"{worst.max_abs:.1e}", snr))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(c.ljust(w) for c, w in zip(r, widths, strict=True)) + " |" for r in rows
    ]
    lines.insert(1, "|" + "|".join("-" * (w + 2) for w in widths) + "|")
    good = sum(result.good for result in results)
    looked = any(r.parity is not None and r.parity.modules for r in results)
    how = "with the right module" if looked else "by their outputs"
    idle = sum(result.no_effect for result in results)
    lines += ["", f"{good} of {len(results) - idle} caught {how}."]
    if idle:
        lines.append(
            f"{count(idle, 'mutation')} without effect here: every output and inner tensor is the "
            "file's own, bit for bit. They are neither caught nor missed."
        )
    return "\n".join(lines)


def _mutation_json(results: Sequence[MutationResult]) -> str:
    rows = [
        {
            "mutation": r.mutation,
            "module": r.module,
            "caught": r.caught,
            "no_effect": r.no_effect,
            "module_named": r.named,
            "max_abs": None if r.parity is None else r.parity.worst.max_abs,
            "snr_db": None if r.parity is None else r.parity.worst.snr_db,
            "refused": r.refused,
        }
        for r in results
    ]
    return json.dumps(rows, indent=1)
