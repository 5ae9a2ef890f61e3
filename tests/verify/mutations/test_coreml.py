"""Packages broken on purpose: each fault is caught, and the module named is the right one."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from mvdeploy import files, formats, models
from mvdeploy.models.preprocess import sample_photograph
from mvdeploy.pipeline.export import Builder
from mvdeploy.pipeline.verify import MutationResult, Verifier
from mvdeploy.verify.mutations import Subject
from mvdeploy.verify.mutations.coreml import mutants
from tests.verify.mutations import small

MakeSubject = Callable[[Path], Subject]


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """In single precision, in which everything that is broken shows."""
    path = tmp_path_factory.mktemp("package") / "small.mlpackage"
    spec = models.make_spec(f"{Path(small.__file__)}:make")
    Builder(spec, sample_photograph()).export("coreml", path, formats.Options("fp32"))
    return path


@pytest.fixture(scope="module")
def results(package: Path) -> tuple[MutationResult, ...]:
    return Verifier(package).mutations()


def test_every_kind_of_mutation_is_made(results: tuple[MutationResult, ...]) -> None:
    assert list(dict.fromkeys(r.mutation for r in results)) == [
        "convolution bias dropped",
        "linear bias dropped",
        "weight × 1.01",
        "softmax axis",
        "SiLU → ReLU",
        "attention scale × 1.1",
        "LayerNorm eps × 100",
    ]
    assert len(results) == 21


def test_every_mutation_is_caught(results: tuple[MutationResult, ...]) -> None:
    assert [(r.mutation, r.module) for r in results if not r.caught] == []


def test_the_right_module_is_named(results: tuple[MutationResult, ...]) -> None:
    assert [(r.mutation, r.module, r.named) for r in results if r.named != r.module] == []


def test_the_package_stays_as_it_is(package: Path, tmp_path: Path, subject: MakeSubject) -> None:
    artifact = formats.read(package)
    before = files.sha256(package)
    broken = tmp_path / "broken.mlpackage"
    for mutant in mutants(subject(package)):
        assert mutant.module in artifact.modules
        mutant.write(broken)
        assert files.sha256(broken) != before
    assert formats.read(package) == artifact


def test_what_rounding_hides_is_left_out(package: Path, subject: MakeSubject) -> None:
    hidden = "LayerNorm eps × 100"
    single = subject(package)
    half = dataclasses.replace(
        single, artifact=dataclasses.replace(single.artifact, precision="fp16")
    )
    assert hidden in {mutant.name for mutant in mutants(single)}
    assert hidden not in {mutant.name for mutant in mutants(half)}


# Weights in fewer bits

COMPRESSED = ("compressed weight × 1.01", "compressed weight: scales or values exchanged")


@pytest.fixture(scope="module")
def compressed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("package") / "small.mlpackage"
    spec = models.make_spec(f"{Path(small.__file__)}:make")
    made = Builder(spec, sample_photograph()).export("coreml", path, formats.Options("palette4"))
    assert made.parity is not None and made.parity.weights == "network"
    return path


def test_faults_show_behind_the_noise_of_compression(compressed: Path) -> None:
    """All that shows in half precision: what the weights are is known to the bit."""
    faults = {*COMPRESSED, "softmax axis", "convolution bias dropped"}
    results = Verifier(compressed).mutations(faults)
    assert {r.mutation for r in results} == faults
    assert [(r.mutation, r.module) for r in results if not r.caught] == []
    assert [(r.module, r.named) for r in results if r.caught and r.named != r.module] == []
