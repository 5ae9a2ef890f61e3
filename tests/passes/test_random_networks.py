"""Folding on random networks with chains, branches and shared modules."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from mvdeploy import passes


@dataclasses.dataclass(frozen=True)
class Step:
    """One step of a network: what it does, to which earlier values, with which module."""

    kind: str
    sources: tuple[int, ...]
    module: int = -1


class Program(nn.Module):
    """Runs steps over values of four channels; all values that nothing reads are the result."""

    def __init__(self, steps: list[Step], modules: list[nn.Module]) -> None:
        super().__init__()
        self.steps, self.parts = steps, nn.ModuleList(modules)

    def forward(self, x: Tensor) -> Tensor:
        values = [x]
        for step in self.steps:
            taken = [values[i] for i in step.sources]
            if step.kind == "relu":
                values.append(taken[0].relu())
            elif step.kind == "add":
                values.append(taken[0] + taken[1])
            else:
                values.append(self.parts[step.module](taken[0]))
        read = {i for step in self.steps for i in step.sources}
        return torch.cat([v for i, v in enumerate(values) if i not in read], 1)

    def foldable(self) -> set[str]:
        """What can be folded, from the plan alone."""
        runs = [step.module for step in self.steps if step.module >= 0]
        reads = [i for step in self.steps for i in step.sources]
        gone: dict[int, int] = {}
        for step in self.steps:
            if step.kind != "norm" or runs.count(step.module) > 1 or step.sources[0] == 0:
                continue
            source = self.steps[step.sources[0] - 1]
            # Behind a normalisation that goes, the next one finds the convolution.
            maker = gone.get(source.module, source.module if source.kind == "conv" else -1)
            norm = self.parts[step.module]
            if (
                maker >= 0
                and runs.count(maker) == 1
                and reads.count(step.sources[0]) == 1
                and norm.running_mean is not None
            ):
                gone[step.module] = maker
        return {f"parts.{norm} into parts.{layer}" for norm, layer in gone.items()}


@st.composite
def programs(draw: st.DrawFn) -> Program:
    steps: list[Step] = []
    modules: list[nn.Module] = []
    kinds = ["conv", "norm", "conv+norm", "conv+norm", "relu", "add", "again"]
    for _ in range(draw(st.integers(1, 7))):
        kind = draw(st.sampled_from(kinds))
        # Mostly the latest value, sometimes an earlier one: chains with branches.
        latest = len(steps)
        source = draw(st.just(latest) | st.just(latest) | st.integers(0, latest))
        if kind == "add":
            steps.append(Step("add", (source, draw(st.integers(0, latest)))))
        elif kind == "relu":
            steps.append(Step("relu", (source,)))
        elif kind == "again" and modules:
            index = draw(st.integers(0, len(modules) - 1))
            same = "conv" if isinstance(modules[index], nn.Conv2d) else "norm"
            steps.append(Step(same, (source,), index))
        for part in kind.split("+") if "conv" in kind or kind == "norm" else []:
            if part == "conv":
                groups = draw(st.sampled_from([1, 2, 4]))
                bias = draw(st.booleans())
                modules.append(nn.Conv2d(4, 4, 3, padding=1, groups=groups, bias=bias))
            else:
                affine, track = draw(st.booleans()), draw(st.sampled_from([True, True, False]))
                modules.append(nn.BatchNorm2d(4, affine=affine, track_running_stats=track))
            steps.append(Step(part, (source,), len(modules) - 1))
            source = len(steps)
    return Program(steps, modules)


@settings(max_examples=150)
@given(program=programs(), seed=st.integers(0, 1000))
def test_random_networks_fold_exactly_where_they_can(
    initialised, fold, images, program: Program, seed: int
) -> None:
    _, report = fold(initialised(program, seed), images(2, 4, 5, 4))
    assert set(report.changed) == program.foldable()


@settings(max_examples=25)
@given(program=programs(), seed=st.integers(0, 1000))
def test_single_precision_is_enough(initialised, images, program: Program, seed: int) -> None:
    example = images(2, 4, 5, 4).float()
    initialised(program, seed)
    folded, (report,) = passes.apply(program.float(), example)
    with torch.no_grad():
        before, after = program(example), folded(example)
        exact = program.double()(example.double()) - folded.double()(example.double())
    largest = max(1.0, float(before.abs().max()))
    assert (before - after).abs().max() <= 1e-5 * largest
    assert report.max_abs_difference == pytest.approx(float(exact.abs().max()))
