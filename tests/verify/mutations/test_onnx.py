"""Exports broken on purpose: each fault is caught, and the module named is the right one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

from mvdeploy.errors import UsageError
from mvdeploy.pipeline.verify import MutationResult, Verifier
from mvdeploy.verify.mutations import Subject
from mvdeploy.verify.mutations.onnx import module_of, mutants


@pytest.fixture(scope="module")
def results(exported) -> tuple[MutationResult, ...]:
    return Verifier(exported().path).mutations()


@pytest.fixture(scope="module")
def results_of_own_operators(exported) -> tuple[MutationResult, ...]:
    """Of a file with operators of ONNX Runtime's own, one attention in each block."""
    return Verifier(exported(patches="2,2,2", operators="onnxruntime").path).mutations()


def test_every_mutation_of_own_operators_is_caught(
    results_of_own_operators: tuple[MutationResult, ...],
) -> None:
    made = {result.mutation for result in results_of_own_operators}
    assert {"attention scale × 1.1", "q and v swapped", "bias dropped", "weight × 1.01"} <= made
    attention = [r for r in results_of_own_operators if r.mutation == "attention scale × 1.1"]
    assert len({r.module for r in attention}) == 3
    assert [(r.mutation, r.module) for r in results_of_own_operators if not r.caught] == []
    wrong = [(r.mutation, r.module, r.named) for r in results_of_own_operators]
    assert [each for each in wrong if each[1] != each[2]] == []


def test_every_kind_of_mutation_is_made(results: tuple[MutationResult, ...]) -> None:
    places = {}
    for result in results:
        places.setdefault(result.mutation, []).append(result.module)
    assert set(places) == {
        "bias dropped",
        "weight × 1.01",
        "softmax axis",
        "SiLU → ReLU",
        "attention scale × 1.1",
        "q and v swapped",
        "LayerNorm eps × 100",
        "unfold: height and width exchanged",
        "BatchNorm folded with eps 1e-3",
    }
    assert all(len(set(modules)) == 3 for modules in places.values())


def test_every_mutation_is_caught(results: tuple[MutationResult, ...]) -> None:
    assert [(r.mutation, r.module) for r in results if not r.caught] == []


def test_the_right_module_is_named(results: tuple[MutationResult, ...]) -> None:
    assert [(r.mutation, r.module, r.named) for r in results if r.named != r.module] == []


def test_only_modules_from_the_mutation_on_differ(results: tuple[MutationResult, ...]) -> None:
    for result in results:
        before = []
        for module in result.parity.modules:
            if module.diverges:
                break
            before.append(module)
        assert all(m.snr_db is not None and m.snr_db > 95 for m in before), result.mutation


def test_a_mutant_leaves_the_model_as_it_was(
    exported, tmp_path: Path, subject: Callable[[Path], Subject]
) -> None:
    given = subject(exported().path)
    before = onnx.load(given.path).SerializeToString()
    written = tmp_path / "broken.onnx"
    for mutant in mutants(given):
        mutant.write(written)
        assert onnx.load(written).SerializeToString() != before
        assert mutant.module in given.artifact.modules
    model = onnx.load(given.path)
    assert model.SerializeToString() == before
    assert module_of(model.graph.node[0]) == "conv_1.conv"


def test_the_unbroken_file_passes_with_every_module_compared(exported) -> None:
    export = exported()
    parity = Verifier(export.path).check()
    assert parity.passed
    assert parity.first_diverging is None
    made = {op.module for op in export.artifact.operators}
    assert {module.module for module in parity.modules} == made
    assert min(m.snr_db or 0 for m in parity.modules) > 95


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "patches"),
    [("mobilevit_xxs", "2,2,2"), ("mobilevit_xs", "8,4,2")],
)
def test_no_module_is_accused_without_reason(exported, model: str, patches: str) -> None:
    """Rounding alone must not look like a fault; docs/support.md has the full size."""
    parity = exported("onnx", model=model, patches=patches, size="128").parity
    assert parity.modules
    assert parity.first_diverging is None


def test_a_wrong_photograph_is_refused(exported, tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("no picture")
    with pytest.raises(UsageError, match=r"notes\.txt"):
        Verifier(exported().path, text)
