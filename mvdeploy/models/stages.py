"""The stage table of a network: shapes, parameters, multiply-accumulates, patches, coverage."""

from __future__ import annotations

import dataclasses

from torch import Tensor, nn

from mvdeploy.models import macs
from mvdeploy.models.coverage import Coverage, Window, coverage, span
from mvdeploy.models.macs import Forward, Shape, contains
from mvdeploy.records import Finding, Level, ModelSpec, PatchSize

PUBLISHED = {
    "published": "MobileViT-XS has 74.8 % top-1 accuracy with 2,2,2 and 73.8 % with 8,4,2",
    "source": "MobileViT paper, §C, Figure 8",
}
"""What patches larger than the kernel cost; accuracy is quoted, never measured here."""


@dataclasses.dataclass(frozen=True)
class Unfolding:
    """How a stage's transformer sees its map.

    Attributes:
        patch: height and width, pixels of the map.
        tokens: N, patches of the map: what attention runs over.
        pixels: P, pixels of a patch: how many attentions run side by side.
        kernel: height and width of what the convolutions before it see, pixels.
        coverage: share of the map's pixels that can influence one pixel.
    """

    patch: PatchSize
    tokens: int
    pixels: int
    kernel: tuple[int, int]
    coverage: Coverage


@dataclasses.dataclass(frozen=True)
class Stage:
    """A row of the table.

    Attributes:
        name: dotted path of the module; ``(network)`` for what is in no other stage.
        output: shape of its result, with the batch; empty if there is none.
        parameters: trainable numbers; those shared with an earlier stage are counted there.
        macs: multiply-accumulates by the true rule.
        macs_cvnets: by the rule of the CVNets log.
        unfolding: None for a stage without patches.
    """

    name: str
    output: Shape
    parameters: int
    macs: int
    macs_cvnets: int
    unfolding: Unfolding | None = None


@dataclasses.dataclass(frozen=True)
class Totals:
    """Sums over all stages; see `Stage`."""

    parameters: int
    macs: int
    macs_cvnets: int


@dataclasses.dataclass(frozen=True)
class Description:
    """All that is known about a network without measuring it.

    Attributes:
        spec: which network.
        stages: in order.
        totals: their sums.
        coverage: of each stage that has patches, by name.
        findings: what to know about it.
    """

    spec: ModelSpec
    stages: tuple[Stage, ...]
    totals: Totals
    coverage: dict[str, Coverage]
    findings: tuple[Finding, ...]


def describe(network: nn.Module, spec: ModelSpec, *examples: Tensor) -> Description:
    """Run a network once and describe it.

    Args:
        network: stays as it is; its weights do not matter.
        spec: what it was built from.
        examples: its inputs in order with the batch, on the network's device.
    """
    true = macs.observe(network, *examples)
    stages = _stages(network, true)
    totals = Totals(
        parameters=sum(stage.parameters for stage in stages),
        macs=true.total,
        macs_cvnets=macs.by_cvnets(true).total,
    )
    covered = {s.name: s.unfolding.coverage for s in stages if s.unfolding}
    return Description(spec, stages, totals, covered, _findings(stages, true))


def _stages(network: nn.Module, true: Forward) -> tuple[Stage, ...]:
    cvnets = macs.by_cvnets(true)
    unfoldings = _unfoldings(network, true)
    counted: set[nn.Parameter] = set()
    stages = []
    for path in _paths(network, tuple(unfoldings)):
        own = set(network.get_submodule(path).parameters()) - counted
        counted |= own
        stages.append(
            Stage(
                name=path,
                output=next((c.output for c in reversed(true.calls) if c.module == path), ()),
                parameters=sum(p.numel() for p in own if p.requires_grad),
                macs=true.under(path),
                macs_cvnets=cvnets.under(path),
                unfolding=next((u for at, u in unfoldings.items() if contains(path, at)), None),
            )
        )
    rest = Stage(
        name="(network)",
        output=(),
        parameters=sum(
            p.numel() for p in network.parameters() if p.requires_grad and p not in counted
        ),
        macs=true.total - sum(stage.macs for stage in stages),
        macs_cvnets=cvnets.total - sum(stage.macs_cvnets for stage in stages),
    )
    shown = (s for s in (*stages, rest) if s.parameters or s.macs or s.unfolding)
    return tuple(shown)


def _paths(network: nn.Module, unfolding: tuple[str, ...], inside: str = "") -> list[str]:
    """Return the network's parts; one that holds several stages with patches in its own parts."""
    paths = []
    for name, _ in network.get_submodule(inside).named_children():
        path = f"{inside}.{name}" if inside else name
        several = sum(contains(path, at) for at in unfolding) > 1
        paths += _paths(network, unfolding, path) if several else [path]
    return paths


def _unfoldings(network: nn.Module, forward: Forward) -> dict[str, Unfolding]:
    """Return every place where a map (B, C, H, W) was unfolded into tokens (B·P, N, d)."""
    unfoldings = {}
    for i, call in enumerate(forward.calls):
        patch = getattr(network.get_submodule(call.module), "patch", None)
        if not isinstance(patch, PatchSize) or (len(call.input), len(call.output)) != (4, 3):
            continue
        block = call.module.rpartition(".")[0]
        # The latest call of the block, or of what is around it if it is a mere container.
        begin = max(j for j, c in enumerate(forward.calls[:i]) if contains(c.module, block))
        windows = _windows(network, [c.module for c in forward.calls[begin:i]])
        height, width = forward.calls[begin].input[-2:]
        unfoldings[call.module] = Unfolding(
            patch=patch,
            tokens=call.output[1],
            pixels=patch.height * patch.width,
            kernel=(span([h for h, _ in windows]), span([w for _, w in windows])),
            coverage=coverage((height, width), windows, patch),
        )
    return unfoldings


def _windows(network: nn.Module, paths: list[str]) -> list[tuple[Window, Window]]:
    """Return the windows of the convolutions among some modules, (height, width) of each."""
    modules = (network.get_submodule(path) for path in paths)
    return [(_window(m, 0), _window(m, 1)) for m in modules if isinstance(m, nn.Conv2d)]


def _window(conv: nn.Conv2d, axis: int) -> Window:
    kernel, stride, dilation = conv.kernel_size[axis], conv.stride[axis], conv.dilation[axis]
    if isinstance(conv.padding, str):
        total = dilation * (kernel - 1) if conv.padding == "same" else 0
        padding = (total // 2, total - total // 2)
    else:
        padding = (conv.padding[axis], conv.padding[axis])
    return Window(kernel, stride, padding, dilation)


def _findings(stages: tuple[Stage, ...], forward: Forward) -> tuple[Finding, ...]:
    findings = []
    for stage in stages:
        unfolding = stage.unfolding
        if unfolding is None or unfolding.coverage.min == 1:
            continue
        (high, wide), patch = unfolding.kernel, unfolding.patch
        larger = patch.height > high or patch.width > wide
        values: dict[str, str | int | float] = {
            "stage": stage.name,
            "patch": f"{patch.height}x{patch.width}",
            "kernel": f"{high}x{wide}",
            "mean": unfolding.coverage.mean,
            "min": unfolding.coverage.min,
        }
        if larger:
            values |= PUBLISHED
        code = "patch_exceeds_kernel" if larger else "edge_out_of_reach"
        findings.append(Finding(code, Level.WARNING if larger else Level.NOTE, values))
    if forward.uncounted:
        names = ", ".join(forward.uncounted)
        findings.append(Finding("uncounted_operators", Level.WARNING, {"operators": names}))
    return tuple(findings)
