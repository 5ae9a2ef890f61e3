"""Synthetic sweeps: networks whose times are power laws, in blocks on a machine that wavers."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from mvdeploy.analysis.sweep import SweepView, sweep_view_of
from mvdeploy.analysis.view import View, view_of
from mvdeploy.records import Case, Failure, Plan, SavedRun
from mvdeploy.records.sweep import SweepCase, SweepRun, Unbuilt
from tests.saved_runs import artifact, breakdown, measurement, run

SIZES = (64, 96, 128, 192)


@dataclasses.dataclass(frozen=True)
class Network:
    """A network of a sweep.

    Attributes:
        label: of it.
        ms: its time at 64 px.
        exponent: by which that grows with the pixels.
        parameters: how many.
        accuracy: at 64 px; 5 more at each further size.
    """

    label: str = "net 2,2,2"
    ms: float = 2.0
    exponent: float = 1.0
    parameters: int = 1_000_000
    accuracy: float | None = None


def cases(
    networks: Sequence[Network],
    sizes: Sequence[int] = SIZES,
    threads: Sequence[int] = (1,),
    batches: Sequence[int] = (1,),
) -> list[tuple[SweepCase, Network]]:
    return [
        (
            SweepCase(
                slug=f"{net.label.replace(' ', '-').replace(',', '-')}-{size}-b{batch}-{n}t",
                network=net.label,
                image_size=(size, size),
                batch=batch,
                tokens=(size // 16) ** 2,
                format="onnx",
                engine="onnxruntime",
                precision="fp32",
                threads=n,
                accuracy=None if net.accuracy is None else net.accuracy + 5 * sizes.index(size),
            ),
            net,
        )
        for n in threads
        for net in networks
        for size in sizes
        for batch in batches
    ]


def milliseconds(case: SweepCase, network: Network) -> float:
    return network.ms * case.batch * (case.pixels / 64**2) ** network.exponent


def run_view(
    name: str, chosen: Sequence[tuple[SweepCase, Network]], speed: float = 1.0, sessions: int = 4
) -> View:
    """A block in which all takes `speed` times as long."""
    saved = [_saved(case, net, speed, sessions, i) for i, (case, net) in enumerate(chosen)]
    threads = tuple(dict.fromkeys(case.threads for case, _ in chosen))
    plan = Plan(session_time_s=1.25, threads=threads[0], sweep=threads[1:])
    made = SavedRun(run(tuple(case.slug for case in saved), name=name, plan=plan), tuple(saved))
    times = {case.slug: milliseconds(case, net) * speed for case, net in chosen}
    breakdowns = {
        slug: breakdown(ms, attention=math.sqrt(ms), operators=60) for slug, ms in times.items()
    }
    return view_of(made, breakdowns)


def _saved(case: SweepCase, network: Network, speed: float, sessions: int, seed: int) -> Case:
    spec = dataclasses.replace(
        artifact((2, 2, 2)).spec, image_size=case.image_size, batch=case.batch
    )
    held = dataclasses.replace(
        artifact((2, 2, 2)),
        spec=spec,
        parameters=network.parameters,
        macs=10 * case.pixels * case.batch,
    )
    taken = measurement(seed, milliseconds(case, network) * speed, 40, sessions)
    conditions = {**taken.conditions, "threads": case.threads}
    return Case(
        case.slug,
        network.label,
        "onnxruntime",
        held,
        measurement=dataclasses.replace(taken, conditions=conditions),
        format="onnx",
        precision="fp32",
        threads=case.threads if case.threads > 1 else None,
    )


def sweep_view(
    networks: Sequence[Network],
    speeds: Sequence[float] = (1.0,),
    sizes: Sequence[int] = SIZES,
    threads: Sequence[int] = (1,),
    batches: Sequence[int] = (1,),
    *,
    failed: int | None = None,
    sessions: int = 4,
    accuracy: str = "",
    unbuilt: tuple[Unbuilt, ...] = (),
) -> SweepView:
    """A sweep whose cases are dealt out to blocks, each with the reference in front.

    Args:
        networks: of it.
        speeds: of each block: factor on all times.
        sizes: of all networks.
        threads: numbers of them.
        batches: likewise.
        failed: number of a case that failed.
        sessions: of each case.
        accuracy: title of the column.
        unbuilt: what could not be built.
    """
    all_cases = cases(networks, sizes, threads, batches)
    per_way = len(all_cases) // len(threads)
    reference = [all_cases[i * per_way] for i in range(len(threads))]
    others = [pair for pair in all_cases if pair not in reference]
    runs = []
    for number, speed in enumerate(speeds):
        block = [*reference, *others[number :: len(speeds)]]
        runs.append(run_view(f"run-{number}", block, speed, sessions))
    if failed is not None:
        runs = [_failing(view, all_cases[failed][0].slug) for view in runs]
    saved = SweepRun(
        title="nets",
        created="2026-03-04T10:00:00+00:00",
        conditions={"mvdeploy": "0.1.0", "device": "host", "plan": "{}", "left out": ""},
        reference=tuple(case.slug for case, _ in reference),
        cases=tuple(case for case, _ in all_cases),
        unbuilt=unbuilt,
        accuracy=accuracy,
        runs=tuple(view.run.name for view in runs),
    )
    return sweep_view_of(saved, runs)


def _failing(view: View, slug: str) -> View:
    """The same run, in which a case failed."""
    return dataclasses.replace(
        view,
        cases=tuple(
            dataclasses.replace(
                case,
                timing=None,
                verdict=None,
                breakdown=None,
                reason="No kernel for that.",
                case=dataclasses.replace(
                    case.case, measurement=None, failure=Failure("No kernel for that.", "", 4)
                ),
            )
            if case.slug == slug
            else case
            for case in view.cases
        ),
    )
