from __future__ import annotations

from pathlib import Path

import pytest

from mvdeploy.records.run import save_case, save_comparisons, save_run
from tests.saved_runs import Story, trouble, two

__all__ = ["trouble", "two"]


def save(story: Story, folder: Path) -> Path:
    save_run(story.saved.run, folder)
    for case in story.saved.cases:
        save_case(case, folder)
    if story.saved.comparisons:
        save_comparisons(story.saved.comparisons, folder)
    return folder


@pytest.fixture
def workspace(two: Story, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder but for a saved run, which examples call "run"."""
    monkeypatch.chdir(tmp_path)
    save(two, tmp_path / "run")
    return tmp_path


@pytest.fixture(scope="module")
def network():
    """A small network in training mode, and what it takes."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    layers = (nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU())
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))
    return nn.Sequential(*layers, *head).train(), torch.rand(1, 3, 32, 32)
