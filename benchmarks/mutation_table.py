"""Which faults the check notices: the table of docs/verification.md.

    python benchmarks/mutation_table.py [--formats onnx coreml executorch] [--weights quiet loud]

Exports MobileViT-XXS at 96x96 with seeded weights whose classifier is scaled (quiet: 0.005, loud:
20, as the logits of an untrained and of a well trained network), puts every fault into copies, and
adds a row for each to mutation_table.csv beside this file. What stands there already is not done
again. ``--show`` prints the table as the document has it.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

TABLE = Path(__file__).with_name("mutation_table.csv")
FIELDS = ("format", "weights", "mutation", "module", "caught", "named", "snr_db", "ratio")
SCALES = {"quiet": 0.005, "default": 1.0, "loud": 20.0}
FORMATS = ("onnx", "coreml", "executorch")

NETWORK = """
from mvdeploy import models


def make():
    network = models.build(models.make_spec("mobilevit_xxs", image_size=(96, 96)))
    for values in network.classifier.fc.parameters():
        values.data *= {scale}
    return network


make.image_size, make.num_classes = (96, 96), 1000
"""


def main() -> None:
    """Fill the table, or print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--formats", nargs="+", default=FORMATS)
    parser.add_argument("--weights", nargs="+", default=tuple(SCALES))
    parser.add_argument("--show", action="store_true")
    chosen = parser.parse_args()
    if chosen.show:
        print(markdown(rows()))
        return
    known = {(row["format"], row["weights"]) for row in rows()}
    for weights in chosen.weights:
        for format_name in chosen.formats:
            if (format_name, weights) not in known:
                add(measure(format_name, weights))


def rows() -> list[dict[str, str]]:
    """Return what was measured."""
    if not TABLE.exists():
        return []
    with TABLE.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def add(found: Iterable[Sequence[str]]) -> None:
    """Add rows to the table."""
    new = not TABLE.exists()
    with TABLE.open("a", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        if new:
            writer.writerow(FIELDS)
        writer.writerows(found)


def measure(
    format_name: str, weights: str, chosen: Sequence[str] | None = None
) -> list[tuple[str, ...]]:
    """Break copies of an export and check each.

    Args:
        format_name: of the export.
        weights: one of `SCALES`.
        chosen: names of mutations; None for all.
    """
    from mvdeploy import formats, models
    from mvdeploy.pipeline.export import Builder
    from mvdeploy.pipeline.verify import Verifier

    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "net.py"
        source.write_text(NETWORK.format(scale=SCALES[weights]))
        path = Path(folder) / f"net{formats.suffix(format_name)}"
        spec = models.make_spec(f"{source}:make")
        Builder(spec).export(format_name, path, formats.Options(precision="fp32"))
        verifier = Verifier(
            path, on_step=lambda step: print(format_name, weights, step, flush=True)
        )
        found = []
        for result in verifier.mutations(chosen):
            parity = result.parity
            snr = parity.worst.snr_db if parity is not None else None
            ratio = parity.ratio if parity is not None else None
            numbers = ("" if n is None else f"{n:.3g}" for n in (snr, ratio))
            caught = "yes" if result.caught else "no"
            found.append(
                (
                    format_name,
                    weights,
                    result.mutation,
                    result.module,
                    caught,
                    result.named,
                    *numbers,
                )
            )
    return found


def markdown(measured: Sequence[dict[str, str]]) -> str:
    """Return the table of the document: a row for each fault and format.

    Each cell has how many copies were caught with the right module, and the highest SNR of the
    outputs, of the fault that they show least.
    """
    lines = [
        f"| format | fault | {' | '.join(SCALES)} |",
        f"|---|---|{'---|' * len(SCALES)}",
    ]
    keys = dict.fromkeys((row["format"], row["mutation"]) for row in measured)
    for format_name, mutation in sorted(keys, key=lambda key: FORMATS.index(key[0])):
        cells = []
        for weights in SCALES:
            key = (format_name, mutation, weights)
            own = [r for r in measured if (r["format"], r["mutation"], r["weights"]) == key]
            right = sum(r["caught"] == "yes" and r["named"] == r["module"] for r in own)
            faintest = max((float(r["snr_db"] or 0) for r in own), default=0.0)
            cells.append(f"{right} of {len(own)}, {faintest:.0f} dB" if own else "–")
        lines.append(f"| {format_name} | {mutation} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
