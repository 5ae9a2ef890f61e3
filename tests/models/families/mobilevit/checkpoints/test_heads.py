"""Checkpoints of networks that detect and segment: their task is found, and they load."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mvdeploy import models
from mvdeploy.errors import UsageError
from mvdeploy.models.families.mobilevit.checkpoints import detect
from mvdeploy.records.spec import ImageRule

XXS = "mobilevit_xxs"
CLASSES = 6
TASKS = ("detect", "segment")
LAYOUTS = ("cvnets", "mvdeploy")


@pytest.fixture(scope="module")
def networks() -> dict[str, Any]:
    def made(task: str) -> Any:
        spec = models.make_spec(XXS, task=task, num_classes=CLASSES)
        torch.manual_seed(1)
        return models._family(XXS).build(spec).eval()

    return {task: made(task) for task in TASKS}


def saved(network: Any, layout: str, path: Path) -> Path:
    """Write a checkpoint as the authors' code does: the encoder's names under ``encoder.``."""
    state: dict[str, Tensor] = network.state_dict()
    names = detect.load_layout("cvnets")
    if layout == "cvnets":
        prefix = "encoder."
        state = {
            (
                f"{prefix}{names.theirs(name.removeprefix(prefix))[0]}"
                if name.startswith(prefix)
                else name
            ): tensor
            for name, tensor in state.items()
        }
        assert "encoder.conv_1.block.conv.weight" in state
    torch.save(state, path)
    return path


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("said", [True, False], ids=["said", "found"])
def test_the_task_is_found_and_the_weights_load(
    networks: dict[str, Any], tmp_path: Path, layout: str, task: str, said: bool
) -> None:
    path = saved(networks[task], layout, tmp_path / "net.pt")
    spec = models.make_spec(XXS, weights=path, task=task if said else None)
    assert (spec.task, spec.num_classes) == (task, CLASSES)
    assert spec.weights is not None
    assert spec.weights.layout == layout
    assert spec.weights.channel_order == ("BGR" if layout == "cvnets" else "RGB")
    assert spec.weights.images == ImageRule(margin=0, fit="stretch")
    found = models.build(spec).state_dict()
    wanted = networks[task].state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in wanted.items())


def test_of_another_task_than_is_asked_for(networks: dict[str, Any], tmp_path: Path) -> None:
    path = saved(networks["segment"], "cvnets", tmp_path / "net.pt")
    for task, label in (("detect", "mobilevit_xxs --task detect"), ("classify", XXS)):
        with pytest.raises(UsageError, match=f"of mobilevit_xxs --task segment, not of {label}\\."):
            models.make_spec(XXS, weights=path, task=task)


def test_of_another_size(networks: dict[str, Any], tmp_path: Path) -> None:
    path = saved(networks["detect"], "cvnets", tmp_path / "net.pt")
    with pytest.raises(UsageError, match="is a checkpoint of mobilevit_xxs --task detect, not of"):
        models.make_spec("mobilevit_xs", weights=path, task="detect")


def test_a_head_that_lacks_a_tensor_does_not_load(networks: dict[str, Any], tmp_path: Path) -> None:
    path = saved(networks["detect"], "cvnets", tmp_path / "net.pt")
    state = torch.load(path, weights_only=True)
    del state["ssd_heads.2.loc_cls_layer.pw_conv.block.conv.bias"]
    torch.save(state, path)
    with pytest.raises(UsageError, match="1 missing"):
        models.make_spec(XXS, weights=path, task="detect")
