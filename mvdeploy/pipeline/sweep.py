"""A sweep: networks over sizes, patches and batches, in all ways, in blocks that are saved.

The smallest of the first network is in every block, so that the times of all can be brought to one
level. The folder of a sweep::

    sweep.json        the SweepRun: what was asked, and which runs are complete
    runs/<run>/       a block, as 'mvdeploy bench' saves a run
"""

from __future__ import annotations

import dataclasses
import datetime
import functools
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from mvdeploy import models
from mvdeploy.errors import UsageError
from mvdeploy.pipeline import bench, prepare
from mvdeploy.pipeline import blocks as many
from mvdeploy.pipeline.accuracies import Accuracies
from mvdeploy.pipeline.bench import OnStep, Request
from mvdeploy.pipeline.report import RUNS, SWEEP
from mvdeploy.records import Case, ModelSpec, Plan, codec
from mvdeploy.records.sweep import SweepCase, SweepRun, Unbuilt
from mvdeploy.text_format import count

_PARAMETERS = 10.0
"""Millions that a network is taken to have: blocks are divided before any is built."""

_EXPORT_S, _PROBE_S, _WARM_S, _INFERENCE_S = 6.0, 3.0, 0.8, 0.02
"""What an export with its verification, a first load, a warm session and an inference take, about:
for saying beforehand how long a sweep is."""


@dataclasses.dataclass(frozen=True)
class Planned:
    """A sweep that can begin.

    Attributes:
        request: what its runs have in common; it has no subjects.
        specs: networks by name, which is their slug with the batch.
        slugs: of the cases of each network, by name.
        reference: name of the network that is in every block.
        folder: of the sweep.
        saved: what is known of it.
    """

    request: Request
    specs: Mapping[str, ModelSpec]
    slugs: Mapping[str, tuple[str, ...]]
    reference: str
    folder: Path
    saved: SweepRun

    @property
    def whole(self) -> Request:
        """All that is asked for, as one run would have it."""
        return dataclasses.replace(self.request, subjects=tuple(self.specs.values()))


def plan(
    specs: Sequence[ModelSpec],
    request: Request,
    unbuilt: Sequence[Unbuilt] = (),
    *,
    accuracies: Accuracies | None = None,
    most: int | None = None,
    seed: int = 0,
    anew: bool = False,
) -> Planned:
    """Check what is asked for, and find what was measured under the same conditions.

    Args:
        specs: the networks in all sizes.
        request: what the runs have in common; its root is where the sweep's folder is, or goes.
        unbuilt: what cannot be built, which is told in the report.
        accuracies: of networks, as a file says; None without.
        most: cases; more are refused. None for any number.
        seed: of random weights.
        anew: measure everything again, in a folder of its own.

    Raises:
        UsageError: there are too many cases or none, or a format is not written in a precision.
    """
    if not specs:
        reason = unbuilt[0].reason if unbuilt else "no network is given."
        raise UsageError(
            f"None of the {count(len(unbuilt), 'network')} can be built: {reason}",
            "Give other sizes or patches.",
        )
    # All in one list: only so do cases say their size and batch everywhere alike.
    wanted = prepare.wanted(
        specs, request.choice, keep_float=request.keep_float, portable=request.portable
    )
    named = {_name(spec): spec for spec in specs}
    slugs = {
        name: tuple(one.case.slug for one in wanted if one.source == spec)
        for name, spec in named.items()
    }
    if most is not None and len(wanted) > most:
        raise UsageError(
            f"These are {len(wanted)} cases, and --max-cases is {most}.",
            f"Leave some sizes, patches or batches out, or give --max-cases {len(wanted)}.",
        )
    first = [name for name, spec in named.items() if spec.label == specs[0].label]
    reference = min(first, key=lambda name: _amount(named[name]))
    found = accuracies.of(specs) if accuracies else {}
    begun = SweepRun(
        title=bench.title_of(specs),
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        conditions={**many.conditions(request, seed), "networks": _kinds(specs)},
        reference=slugs[reference],
        cases=tuple(
            _case(one.case, one.source, request.plan, found.get(one.source))
            for one in wanted
            if isinstance(one.source, ModelSpec)
        ),
        unbuilt=tuple(unbuilt),
        accuracy=accuracies.column if accuracies else "",
    )
    folder = request.root / f"sweep-{begun.title}-{request.device.name}"
    goes_on = functools.partial(_goes_on, begun)
    folder, begun = many.place(begun, folder, SWEEP, goes_on, anew=anew)
    return Planned(request, named, slugs, reference, folder, begun)


def remaining(planned: Planned) -> tuple[str, ...]:
    """Return the names of the networks that are still to be measured."""
    done = many.measured(planned.folder, planned.saved.runs)
    return tuple(name for name, slugs in planned.slugs.items() if not done.issuperset(slugs))


def blocks(planned: Planned, room: int | None = None) -> list[tuple[str, ...]]:
    """Divide what is still to be measured; see `mvdeploy.pipeline.blocks.divide`."""
    ways = len(planned.slugs[planned.reference])
    sizes = {name: many.size(_PARAMETERS, ways) * s.batch for name, s in planned.specs.items()}
    return many.divide(remaining(planned), planned.reference, sizes, room)


def step_count(planned: Planned) -> int:
    """Return how many steps `run` will announce at least, for a progress bar."""
    return sum(bench.step_count(_request(planned, block)) for block in blocks(planned))


def seconds(planned: Planned) -> float:
    """Return how long it will take, about: from what is asked for, and usual times for the rest."""
    plan, ways = planned.request.plan, len(planned.slugs[planned.reference])
    found = blocks(planned)
    exports = len(remaining(planned)) * len(
        {(case.format, case.precision) for case in planned.saved.cases}
    )
    return exports * _EXPORT_S + sum(_of_block(plan, len(block), ways) for block in found)


def _of_block(plan: Plan, networks: int, ways: int) -> float:
    cases, pairs = networks * ways, (networks - 1) * ways
    sessions = max(plan.sessions, plan.groups) if pairs else plan.sessions
    own = sessions * cases * _WARM_S + cases * _PROBE_S
    own += 2 * cases * plan.profile_iterations * _INFERENCE_S
    if plan.iterations is not None:
        return own + 2 * cases * plan.iterations * _INFERENCE_S
    return own + cases * plan.session_time_s * plan.sessions + pairs * plan.pair_time_s * sessions


def run(planned: Planned, on_step: OnStep = lambda _: None) -> SweepRun:
    """Measure what is still to be measured; what is complete is saved block by block.

    Raises:
        UsageError: see `bench.run`.
        NotWritten: the disk is full; what was measured before is saved.
        DeviceUnavailable: the device does not answer any more; what was measured before is saved.
    """
    file, request = planned.folder / SWEEP, functools.partial(_request, planned)
    return many.run(planned.saved, file, blocks(planned), request, on_step)


def _request(planned: Planned, block: Sequence[str]) -> Request:
    subjects = tuple(planned.specs[name] for name in block)
    return dataclasses.replace(planned.request, subjects=subjects, root=planned.folder / RUNS)


def _name(spec: ModelSpec) -> str:
    return f"{spec.slug}-b{spec.batch}" if spec.batch > 1 else spec.slug


def _kinds(specs: Sequence[ModelSpec]) -> str:
    """Return what decides the networks beside their sizes (weights, classes, …), as a digest."""
    kinds = {
        codec.dumps(
            dataclasses.replace(
                spec, patches=(), image_size=(1, 1), batch=1, own_inputs=(), own_outputs=()
            )
        )
        for spec in specs
    }
    return hashlib.sha256("\n".join(sorted(kinds)).encode()).hexdigest()[:16]


def _amount(spec: ModelSpec) -> tuple[int, int]:
    height, width = spec.image_size
    return height * width, spec.batch


def _case(case: Case, spec: ModelSpec, plan: Plan, accuracy: float | None) -> SweepCase:
    return SweepCase(
        slug=case.slug,
        network=spec.label,
        image_size=spec.image_size,
        batch=spec.batch,
        tokens=sum(models.tokens(spec)),
        format=case.format,
        engine=case.engine,
        precision=case.precision,
        threads=case.threads or plan.threads,
        accuracy=accuracy,
    )


def _goes_on(begun: SweepRun, found: SweepRun) -> bool:
    """Say whether the same slugs are of the same networks: others have other weights or tasks."""
    if found.title != begun.title:
        return False
    known = {case.slug: dataclasses.replace(case, accuracy=None) for case in found.cases}
    asked = {case.slug: dataclasses.replace(case, accuracy=None) for case in begun.cases}
    return all(known[slug] == case for slug, case in asked.items() if slug in known)
