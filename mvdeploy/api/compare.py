"""`mvdeploy.compare`: which of two is faster, by how much, and how sure that is."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from mvdeploy.api import _asked, _html
from mvdeploy.api._calls import public, recorded
from mvdeploy.api._progress import Progress
from mvdeploy.api.bench import energy_fields, measured, plan_fields, request_of
from mvdeploy.api.result import Pair, Result
from mvdeploy.errors import UsageError
from mvdeploy.pipeline import compare as saved
from mvdeploy.pipeline import length, places, refusals
from mvdeploy.records import DeviceProfile, ModelSpec, Plan

if TYPE_CHECKING:
    from torch import Tensor, nn

    from mvdeploy.api.export import Exported

    Given: TypeAlias = str | os.PathLike[str] | nn.Module | ModelSpec | Exported | Result


@dataclasses.dataclass(frozen=True, repr=False)
class Comparison:
    """What can be said of two: `ratio`, `interval` and `verdict` of B relative to A.

    Attributes:
        pairs: the two cases, or all that two results have in common.
        result: the run in which they took turns; None for two results of earlier runs.
        warning: what its reader has to know; empty for cases that took turns.

    Example:
        >>> import mvdeploy
        >>> compared = mvdeploy.compare("run", "run")
        >>> [pair.verdict for pair in compared]
        ['no difference detected', 'no difference detected']
    """

    pairs: tuple[Pair, ...]
    result: Result | None = None
    warning: str = ""

    @property
    def ratio(self) -> float | None:
        """Time of B divided by time of A: below 1 when B is faster."""
        return self._only.ratio

    @property
    def interval(self) -> tuple[float, float] | None:
        """Low and high end of the ratio's interval."""
        return self._only.interval

    @property
    def level(self) -> float | None:
        """Confidence of the interval, such as 0.95."""
        return self._only.level

    @property
    def verdict(self) -> str:
        """What can be said of B: ``faster``, ``slower`` or ``no difference detected``."""
        return self._only.verdict

    @property
    def _only(self) -> Pair:
        if len(self.pairs) != 1:
            raise UsageError(
                f"The two results have {len(self.pairs)} cases in common, each with a ratio.",
                "Take one of pairs.",
            )
        return self.pairs[0]

    def __iter__(self) -> Iterator[Pair]:
        return iter(self.pairs)

    def __len__(self) -> int:
        return len(self.pairs)

    def __repr__(self) -> str:
        return f"<Comparison: {' '.join(pair.sentence for pair in self.pairs)}>"

    def _repr_html_(self) -> str:
        said = [*(pair.sentence for pair in self.pairs), self.warning]
        return _html.paragraphs(filter(None, said))


@public
def compare(
    a: Given,
    b: Given | None = None,
    *,
    device: str | DeviceProfile = "host",
    format: str | Sequence[str] | None = None,
    precision: str | Sequence[str] | None = None,
    engine: str | Sequence[str] | None = None,
    threads: int | None = None,
    example: Tensor | Sequence[Tensor] | None = None,
    patches: Any = None,
    image_size: int | tuple[int, int] | None = None,
    weights: str | os.PathLike[str] | None = None,
    weights_key: str | None = None,
    seed: int = 0,
    max_time: float = Plan.max_time_s,
    target: float | None = None,
    groups: int = Plan.groups,
    warmup: int | None = None,
    cores: Sequence[int] | None = None,
    breakdown: bool = True,
    energy: bool = False,
    energy_time: float | None = None,
    force: bool = False,
    portable: bool = False,
    without_pass: str | Sequence[str] = (),
    keep_float: str | Sequence[str] = (),
    photograph: str | os.PathLike[str] | None = None,
    model: str | nn.Module | ModelSpec | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
    values: Mapping[str, tuple[float, float]] | None = None,
    engine_options: Mapping[str, Any] | None = None,
    link_options: Mapping[str, Any] | None = None,
    time_limit: float | None = None,
    path: str | os.PathLike[str] = "reports",
    cache: bool = True,
    progress: Progress = None,
) -> Comparison:
    """Say which of two is faster, by how much, and how sure that is; `a` is the reference.

    Networks and files take turns, inference by inference. Two results of earlier runs are compared
    as they are, which says less; keywords are not for them.

    Args:
        a: a network or a file, as `mvdeploy.bench` takes it; or a result: a `Result`, the folder
            of a run, or a saved baseline.
        b: the other; None where one network has two `patches`, formats, precisions or engines.
        device: see `mvdeploy.bench`, as are those not listed here.
        format: of networks, one or two.
        precision: of networks, one or two.
        engine: one or two.
        threads: of inference.
        example: what an ``nn.Module`` takes; it is that of both.
        patches: patch sizes of networks, one configuration or a list of two.
        image_size: pixels: one number, or height and width.
        weights: a checkpoint.
        weights_key: which of its copies.
        seed: of random weights and of the order.
        max_time: seconds of turns at most.
        target: stop when the ratio is known to ± this, percent; None for 1 by CPU time, 3 by wall
            time.
        groups: sessions at least, 4 or more.
        warmup: warm-up inferences of each session; None until the time is steady.
        cores: CPU numbers to run on.
        breakdown: whether every operator is timed.
        energy: measure also the energy of an inference, where something meters it.
        energy_time: seconds of each block that gives the energy; None for what the meter needs.
        force: measure also a precision that an engine emulates.
        portable: export networks for any engine.
        without_pass: passes that networks do not go through.
        keep_float: modules that stay in float in programs of whole numbers.
        photograph: what is fed.
        model: the network that files without a manifest came from.
        shapes: of inputs of files that leave dimensions free, by name.
        values: least and largest value of inputs of files that are no images, by name.
        engine_options: what engines' sessions are opened with, by name.
        link_options: how the device is reached, by name.
        time_limit: seconds after which one runner counts as hung.
        path: folder in which the run gets a folder of its own.
        cache: take exports that were kept, and keep those that are made.
        progress: True for a bar, or a function that is told of every step.

    Raises:
        UsageError: these are not two, or cannot be compared.
        MvdeployError: as `mvdeploy.bench`.

    Example:
        >>> import mvdeploy
        >>> compared = mvdeploy.compare("yardstick", "yardstick", max_time=1, groups=4, warmup=2)
        >>> compared.verdict in ("faster", "slower", "no difference detected")
        True
    """
    given = dict(locals())
    results = [_result(one) for one in (a, b)]
    if any(results):
        return _results(given, results)
    profile, link = _asked.device(device, link_options)
    common = plan_fields(threads, cores, seed, time_limit, warmup, breakdown, profile)
    common |= energy_fields(energy, energy_time)
    if not isinstance(groups, int) or groups < 4:
        raise UsageError(f"groups is {groups!r}.", "Give 4 or more: fewer make false alarms.")
    if not max_time > 0 or (target is not None and not 0 < target <= 100):
        raise UsageError(
            "max_time and target are a time and a share above 0.", "Give seconds, and percent."
        )
    if warmup is None:
        common["warmup"] = length.TURNS_WARMUP
    plan = length.turns(
        common,
        max_time_s=float(max_time),
        target=None if target is None else target / 100,
        groups=groups,
    )
    networks = [a] if b is None else [a, b]
    command = recorded(compare, given)
    # Networks that this program holds live as long as `held` does.
    request, held = request_of(networks, given, plan, profile, link, command)
    refusals.demand_two(request)
    result = measured(request, progress)
    del held
    if not result.comparisons:
        result.check()
    return Comparison(result.comparisons, result)


def _result(given: Any) -> Path | None:
    """Return where a saved result lies; None for what is none."""
    if isinstance(given, Result):
        return given.path
    if isinstance(given, str | os.PathLike) and places.is_result(Path(given)):
        return Path(given)
    return None


def _results(given: Mapping[str, Any], results: Sequence[Path | None]) -> Comparison:
    first, second = results
    if first is None or second is None:
        raise UsageError(
            "A result is compared with one other result.",
            "Give two results, or two networks or files.",
        )
    _a, _b, *needless = recorded(compare, given)[1:]
    if needless:
        raise UsageError(
            f"Results are compared as they were measured, and {needless[0]} says how to measure.",
            "Leave it out, or give networks or files.",
        )
    return Comparison(
        tuple(
            Pair(
                a=one.a,
                b=one.b,
                ratio=one.estimate.ratio,
                interval=(one.estimate.low, one.estimate.high),
                level=one.estimate.level,
                verdict=one.estimate.verdict,
                clock="wall",
                paired=False,
                sentence=one.sentence,
            )
            for one in saved.compare_results(first, second)
        ),
        warning=saved.WARNING,
    )
