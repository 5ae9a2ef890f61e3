"""Whether seeded weights make faults of any network show: the second table of docs/verification.md.

    python -m benchmarks.network_mutations [--shard 0/2] [--networks NAME ...]

Every network of ``benchmarks/support.py`` is run in PyTorch with its seeded weights on what an
export is checked on, and so are copies with one fault each, at the first, the middle and the last
place where it fits: an attention's output halved, one of the two operands of an addition left out,
the epsilon of a norm × 100. Their errors are judged as those of an export in fp32 are. Adds a row
for each to network_mutations.csv beside this file; networks that stand there already are not done
again, and two shards may run at the same time. ``--show`` prints the table as the document has it.
"""

from __future__ import annotations

import argparse
import csv
import fcntl
import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks import support
from mvdeploy import models, passes, precisions, tasks
from mvdeploy.models.preprocess import load_images, sample_photograph
from mvdeploy.records import Category, ModelSpec
from mvdeploy.records.parity import ratio
from mvdeploy.verify import exact, inputs

TABLE = Path(__file__).with_name("network_mutations.csv")
FIELDS = ("network", "mutation", "place", "caught", "snr_db", "ratio")
ATTENTION, RESIDUAL, NORM = "attention halved", "residual dropped", "norm eps × 100"
SAME = 1e-12
"""Of outputs that are the same in double precision, relative to them."""
NO_EFFECT = "no effect"
"""Of what cannot change them: image tokens of many a last block, for example."""
MUTATIONS = (ATTENTION, RESIDUAL, NORM)
LIMIT = precisions.get("fp32").max_ratio

Outputs = dict[str, Tensor]
Break = Callable[[], AbstractContextManager[Any]]
"""Makes what breaks a network while it is entered, for one inference."""

Fault = tuple[str, str, Break]
"""A mutation, its place, and what breaks the network."""

aten = torch.ops.aten
PRODUCTS = (
    *(aten.addmm, aten.mm, aten.bmm, aten.baddbmm, aten.convolution, aten.conv2d, aten.linear),
    *(aten.matmul, aten.einsum),
    *(aten._scaled_dot_product_flash_attention_for_cpu, aten.scaled_dot_product_attention),
)


def main() -> None:
    """Fill the table, or print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shard", default="0/1", help="which part of how many, as in 0/2")
    parser.add_argument("--networks", nargs="+", default=support.networks())
    parser.add_argument("--show", action="store_true")
    chosen = parser.parse_args()
    if chosen.show:
        print(markdown(rows()))
        return
    shard, shards = map(int, chosen.shard.split("/"))
    known = {row["network"] for row in rows()}
    for number, network in enumerate(chosen.networks):
        if number % shards == shard and network not in known:
            print(network, flush=True)
            add(measure(network))


def rows() -> list[dict[str, str]]:
    """Return what was measured, in the order of the networks."""
    if not TABLE.exists():
        return []
    with TABLE.open(encoding="utf-8", newline="") as file:
        found = list(csv.DictReader(file))
    order = {name: number for number, name in enumerate(support.networks())}
    return sorted(found, key=lambda row: order.get(row["network"], len(order)))


def add(found: Sequence[Sequence[str]]) -> None:
    """Add rows to the table, which another process writes to as well."""
    with TABLE.open("a", encoding="utf-8", newline="") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        writer = csv.writer(file, lineterminator="\n")
        if not os.fstat(file.fileno()).st_size:
            writer.writerow(FIELDS)
        writer.writerows(found)


def measure(name: str) -> list[tuple[str, ...]]:
    """Break copies of a network and judge each."""
    model, *task = name.split()
    spec = models.make_spec(model, task=task[0] if task else None)
    rule = models.preprocessing(spec)
    feeds = inputs.feeds(spec.inputs, rule, load_images(sample_photograph(), spec.inputs, rule))
    images = [next(iter(feed.values())) for feed in feeds.values()]
    network, _ = passes.prepare(models.build(spec), (torch.from_numpy(images[0]),), ())
    doubled = exact.doubled(network)
    with exact.doubles():
        wanted = [_run(doubled, spec, image.astype(np.float64)) for image in images]
    rounding = _errors(wanted, [_run(network, spec, image) for image in images])
    found = []
    for mutation, place, broken in _faults(network, torch.from_numpy(images[0])):
        errors = _errors(wanted, [_run(network, spec, image, broken) for image in images])
        times = max(ratio(errors[output], rounding[output]) for output in errors)
        snr = -20 * math.log10(max(*errors.values(), 1e-15))
        caught = "yes" if LIMIT is not None and times > LIMIT else "no"
        if caught == "no" and mutation != NORM:  # which always has some
            with exact.doubles():
                wide = [_run(doubled, spec, image.astype(np.float64), broken) for image in images]
            caught = NO_EFFECT if max(_errors(wanted, wide).values()) < SAME else caught
        found.append((name, mutation, place, caught, f"{snr:.3g}", f"{times:.3g}"))
    return found


def _run(network: nn.Module, spec: ModelSpec, image: Any, broken: Break = nullcontext) -> Outputs:
    given = torch.from_numpy(image)
    with torch.inference_mode():
        with broken():
            returned = network(given)
        named = tasks.get(spec.task).named(returned)
        return {name: out.double() for name, out in named.items()}


def _errors(wanted: Sequence[Outputs], got: Sequence[Outputs]) -> dict[str, float]:
    """Return the root mean square of the differences, relative to the output, over all inputs."""
    found = {}
    for name in wanted[0]:
        error = sum(
            float(((w[name] - g[name]) ** 2).sum()) for w, g in zip(wanted, got, strict=True)
        )
        power = sum(float((w[name] ** 2).sum()) for w in wanted)
        found[name] = math.inf if math.isnan(error) else (error / power) ** 0.5
    return found


def _faults(network: nn.Module, image: Tensor) -> Iterator[Fault]:
    watching = _Watching(network)
    with torch.inference_mode(), watching:
        network(image)
    for path, number in _spread(sorted(watching.last.items(), key=lambda item: item[1])):
        yield ATTENTION, path, lambda n=number: _Changing(n, None)
    for path, number in _spread(watching.additions):
        yield RESIDUAL, path, lambda n=number: _Changing(None, n)
    norms = [(path, m) for path, m in network.named_modules() if isinstance(_eps(m), float)]
    for path, module in _spread(norms):
        yield NORM, path, lambda m=module: _scaled_epsilon(m)


def _spread(places: Sequence[Any]) -> list[Any]:
    """Return the first, the middle and the last."""
    return [places[i] for i in sorted({0, len(places) // 2, len(places) - 1})] if places else []


def _eps(module: nn.Module) -> Any:
    return getattr(module, "eps", None)


@contextmanager
def _scaled_epsilon(module: nn.Module) -> Iterator[None]:
    before = _eps(module)
    module.eps = before * 100
    try:
        yield
    finally:
        module.eps = before


class _Watching(TorchDispatchMode):
    """Finds products and additions, by the number of the operator.

    Attributes:
        last: the last product of each attention, by its path.
        additions: module and number of those of two computed tensors of one shape.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.last: dict[str, int] = {}
        self.additions: list[tuple[str, int]] = []
        self._number = -1
        self._within: list[str] = []
        self._fixed = {t.data_ptr() for t in (*network.parameters(), *network.buffers())}
        table = models.module_table(network)
        for path, module in network.named_modules():
            if path:
                module.register_forward_pre_hook(lambda *_, p=path: self._within.append(p))
                module.register_forward_hook(lambda *_: self._within.pop() and None)
        self._attentions = {
            path: next(
                ".".join(parts[:n])
                for n in range(1, len(parts) + 1)
                if table[".".join(parts[:n])].category is Category.ATTENTION
            )
            for path, info in table.items()
            if (parts := path.split(".")) and path and info.category is Category.ATTENTION
        }

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self._number += 1
        path = self._within[-1] if self._within else ""
        if func.overloadpacket in PRODUCTS and path in self._attentions:
            self.last[self._attentions[path]] = self._number
        if func.overloadpacket in (aten.add, aten.add_) and _is_sum(args, self._fixed):
            self.additions.append((path, self._number))
        return out


def _is_sum(args: Sequence[Any], fixed: set[int]) -> bool:
    return (
        all(isinstance(one, Tensor) and one.ndim > 2 for one in args[:2])
        and args[0].shape == args[1].shape
        and not any(one.data_ptr() in fixed for one in args[:2])
    )


class _Changing(TorchDispatchMode):
    """Halves the result of one operator, or lets an addition return its second operand."""

    def __init__(self, halved: int | None, dropped: int | None) -> None:
        super().__init__()
        self._halved, self._dropped, self._number = halved, dropped, -1

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self._number += 1
        if self._number == self._dropped:
            in_place = func.overloadpacket is aten.add_
            return args[0].copy_(args[1]) if in_place else args[1].clone()
        out = func(*args, **(kwargs or {}))
        if self._number != self._halved:
            return out
        if isinstance(out, tuple):
            return (out[0] * 0.5, *out[1:])
        return out * 0.5


def markdown(measured: Sequence[dict[str, str]]) -> str:
    """Return the table of the document: a row for each network.

    Each cell has how many of the faults the outputs show, and the SNR of the faintest of these.
    """
    lines = [f"| network | {' | '.join(MUTATIONS)} |", f"|---|{'---|' * len(MUTATIONS)}"]
    for network in dict.fromkeys(row["network"] for row in measured):
        cells = []
        for mutation in MUTATIONS:
            own = [
                row
                for row in measured
                if (row["network"], row["mutation"]) == (network, mutation)
                and row["caught"] != NO_EFFECT
            ]
            shown = [float(row["snr_db"]) for row in own if row["caught"] == "yes"]
            faintest = f", {max(shown):.0f} dB" if shown else ""
            cells.append(f"{len(shown)} of {len(own)}{faintest}" if own else "–")
        lines.append(f"| {network} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
