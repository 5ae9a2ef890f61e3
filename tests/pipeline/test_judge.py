"""What a device computed is fetched and judged; what cannot be is said."""

from __future__ import annotations

import copy
import dataclasses
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mvdeploy import devices
from mvdeploy.errors import EngineError, UsageError
from mvdeploy.models.preprocess import load_image, sample_photograph
from mvdeploy.pipeline.judge import Judge
from mvdeploy.records import Case, Finding
from mvdeploy.verify.inputs import feeds
from mvdeploy.verify.known_reference import KnownReference, known_of
from mvdeploy.verify.reference import Yardstick
from tests.conftest import Export, MakeExport, MakeNetwork


@dataclasses.dataclass
class Run:
    """A run of one case, and the device that has its outputs."""

    folder: Path
    known: Case
    findings: list[Finding] = dataclasses.field(default_factory=list)

    def case(self, slug: str) -> Case:
        return self.known

    def update(self, slug: str, **known: Any) -> None:
        self.known = dataclasses.replace(self.known, **known)

    def found(self, finding: Finding) -> None:
        self.findings.append(finding)

    profile = devices.get("pixel4")

    def fetch(self, remote: str, local: Path) -> None:
        local.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(remote, local)


@pytest.fixture(scope="module")
def small(exported: MakeExport) -> Export:
    return exported()


@pytest.fixture
def judged(small: Export, tmp_path: Path) -> Callable[..., Run]:
    """Return a function that judges one output file, and returns the run."""
    import torch

    image = load_image(sample_photograph(), small.artifact.preprocessing)
    (tmp_path / "inputs").mkdir()
    np.save(tmp_path / "inputs" / "a.npy", image)
    with torch.inference_mode():
        right = small.network(torch.from_numpy(image)).numpy()

    def judge(
        write: Callable[[Path, np.ndarray], object],
        network: Callable[..., object] = lambda *_: small.network,
        known: Callable[..., KnownReference | None] = lambda *_: None,
    ) -> Run:
        write(tmp_path / "logits.npy", right)
        files: Mapping[str, str] = {"logits": str(tmp_path / "logits.npy")}
        result = SimpleNamespace(models=[SimpleNamespace(output_files=files)], hello={})
        run = Run(tmp_path, Case("a", "A", "onnxruntime", small.artifact))
        Judge(run, run, network, lambda *_: None, known)("a", result)
        return run

    return judge


def test_what_is_right_passes_and_what_is_off_does_not(judged: Callable[..., Run]) -> None:
    right = judged(np.save).known.device_parity
    assert right is not None and right.passed
    wrong = judged(lambda path, logits: np.save(path, logits * 1.01)).known.device_parity
    assert wrong is not None and not wrong.passed


@pytest.fixture(scope="module")
def known(small: Export, tmp_path_factory: pytest.TempPathFactory) -> KnownReference:
    """What the network returns for the photograph, as it is kept."""
    rule = small.artifact.preprocessing
    image = {"image": load_image(sample_photograph(), rule)}
    found = known_of(
        Yardstick(small.artifact, small.network, feeds(small.spec.inputs, rule, image))
    )
    path = tmp_path_factory.mktemp("known") / "known.npz"
    found.save(path)
    return KnownReference.load(path)


def test_what_is_known_of_the_network_takes_its_place(
    judged: Callable[..., Run], small: Export, known: KnownReference
) -> None:
    def never(*_: object) -> object:
        raise AssertionError("it is built")

    right = judged(np.save, never, lambda *_: known).known.device_parity
    assert right is not None and right.passed
    assert right == judged(np.save).known.device_parity


def test_what_is_wrong_is_looked_into_with_the_network(
    judged: Callable[..., Run], small: Export, known: KnownReference
) -> None:
    built: list[object] = []

    def build(*_: object) -> object:
        built.append(_)
        return small.network

    def off(path: Path, logits: np.ndarray) -> None:
        np.save(path, logits * 1.01)

    wrong = judged(off, build, lambda *_: known).known.device_parity
    assert wrong is not None and not wrong.passed and len(built) == 1
    assert wrong == judged(off).known.device_parity


def test_what_is_known_for_another_input_is_not_taken(
    judged: Callable[..., Run], known: KnownReference
) -> None:
    other = dataclasses.replace(known, inputs="0" * 64, outputs={"logits": np.zeros(1)})
    right = judged(np.save, known=lambda *_: other).known.device_parity
    assert right is not None and right.passed


@pytest.mark.parametrize("keep", [0, 40, 140])
def test_a_damaged_file_is_an_error_of_the_case(judged: Callable[..., Run], keep: int) -> None:
    def damaged(path: Path, logits: np.ndarray) -> None:
        np.save(path, logits)
        path.write_bytes(path.read_bytes()[:keep])

    with pytest.raises(EngineError, match="The output 'logits' of a came back damaged"):
        judged(damaged)


def test_another_shape_is_an_error_of_the_case(judged: Callable[..., Run]) -> None:
    with pytest.raises(EngineError, match="shape"):
        judged(lambda path, logits: np.save(path, logits[:, :3]))


def test_a_network_that_cannot_be_built_again_is_told(judged: Callable[..., Run]) -> None:
    def gone(*_: object) -> object:
        raise UsageError("The checkpoint is gone.", "Bring it back.")

    run = judged(np.save, gone)
    assert run.known.device_parity is None
    assert [finding.code for finding in run.findings] == ["device_not_judged"]
    assert run.findings[0].values == {"case": "A", "reason": "The checkpoint is gone."}


def test_a_network_with_other_weights_judges_nothing(
    judged: Callable[..., Run], built: MakeNetwork
) -> None:
    other = copy.deepcopy(built())
    other.get_parameter("classifier.fc.bias").data += 1
    run = judged(np.save, lambda *_: other)
    assert run.known.device_parity is None
    assert [finding.code for finding in run.findings] == ["device_not_judged"]
    assert "other weights than the one exported" in str(run.findings[0].values["reason"])
