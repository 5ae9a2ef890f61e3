from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch

from mvdeploy import models, passes
from mvdeploy.pipeline.verify import Verifier
from mvdeploy.precisions import fp32
from mvdeploy.verify import inputs
from mvdeploy.verify.mutations import program as broken
from mvdeploy.verify.mutations.program import broken_programs, names

# torch 2.13 copies its own deprecated tree specifications.
pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")


@pytest.fixture(scope="module")
def program() -> torch.export.ExportedProgram:
    spec = models.make_spec("mobilevit_xxs", image_size=(64, 96))
    example = torch.rand(1, 3, 64, 96)
    network, _ = passes.apply(models.build(spec), example, passes.FORMULATIONS["delegable"])
    return torch.export.export(network, (example,))


@pytest.mark.parametrize("name", names())
def test_every_mutation_moves_the_outputs_beyond_the_limit(
    program: torch.export.ExportedProgram, name: str
) -> None:
    """On one of the inputs that parity is checked on; the program itself stays as it is."""
    images = [torch.from_numpy(i) for i in inputs.synthetic((1, 3, 64, 96)).values()]
    before = run(program, images)
    found = list(broken_programs(program, (name,)))
    assert 1 <= len(found) <= 3
    for _, module, mutant in found:
        assert module
        after = run(mutant, images)
        moved = [float((a - b).abs().max()) for a, b in zip(after, before, strict=True)]
        assert max(moved) > (fp32.PRECISION.max_abs or 0), (module, moved)
    assert all(map(torch.equal, before, run(program, images)))


def run(program: torch.export.ExportedProgram, images: list[torch.Tensor]) -> list[torch.Tensor]:
    with torch.inference_mode():
        return [program.module()(image) for image in images]


def test_mutations_are_made_at_several_places(program: torch.export.ExportedProgram) -> None:
    found = [(name, module) for name, module, _ in itertools.islice(broken_programs(program), 12)]
    assert len({module for _, module in found}) > 6


@pytest.mark.slow
def test_files_made_from_broken_programs_are_caught(
    exported: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is lowered anew from a broken program, and run by the engine.

    The fault is the smallest; a program in which nothing is broken is not accused.
    """
    fault = "LayerNorm eps × 10000"
    chosen = {
        fault: broken._MUTATIONS[fault],
        "nothing": (lambda editor, node: None, broken._is_unfold),
    }
    monkeypatch.setattr(broken, "_MUTATIONS", chosen)
    bad, unbroken = Verifier(exported("executorch").path).mutations()
    assert bad.mutation == fault
    assert bad.caught and bad.good and not bad.named and bad.parity.modules == ()
    assert not unbroken.caught and not unbroken.good
    assert {r.parity.engine.split()[0] for r in (bad, unbroken)} == {"executorch"}
