"""The name maps against the libraries' own names, and the torch-free shapes against the network."""

from __future__ import annotations

import functools
import re
from typing import Any

import pytest

from mvdeploy.models.families import mobilevit
from mvdeploy.models.families.mobilevit import checkpoints
from mvdeploy.models.families.mobilevit.checkpoints import detect, names

LAYOUTS = ("cvnets", "timm", "transformers")


def test_the_folder_is_the_registry() -> None:
    assert checkpoints.layout_names() == ("cvnets", "mvdeploy", "timm", "transformers")


@pytest.mark.parametrize("model", mobilevit.names())
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_tensor_has_the_librarys_name_and_shape(
    table: dict[str, Any], layout: str, model: str
) -> None:
    column = table["layouts"].index(layout)
    expected = {}
    for row in table["tensors"]:
        shape = tuple(row["shapes"][model])
        theirs = row["names"][column]
        if isinstance(theirs, list):
            shape = (shape[0] // len(theirs), *shape[1:])
        expected |= dict.fromkeys(theirs if isinstance(theirs, list) else [theirs], shape)
    networks = detect.wanted({model: functools.partial(mobilevit.tensors, model)})
    found = next(network for network in networks if network.layout == layout)
    assert found.expected(1000) == expected


def test_our_own_names_stay(built: Any) -> None:
    ours = mobilevit.tensors("mobilevit_xxs", 1000)
    layout = detect.load_layout("mvdeploy")
    assert {name: layout.theirs(name) for name in ours} == {name: (name,) for name in ours}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_query_key_and_value_keep_their_order(table: dict[str, Any], layout: str) -> None:
    found = detect.load_layout(layout)
    column = table["layouts"].index(layout)
    ours = mobilevit.tensors("mobilevit_xxs", 1000)
    for name, row in zip(ours, table["tensors"], strict=True):
        theirs = row["names"][column]
        assert list(found.theirs(name)) == (theirs if isinstance(theirs, list) else [theirs])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_no_name_falls_under_two_rules(layout: str) -> None:
    rules = detect.load_layout(layout).rules
    for name in mobilevit.tensors("mobilevit_s", 1000):
        module = name.rpartition(".")[0]
        assert sum(bool(names._pattern(rule.ours).fullmatch(module)) for rule in rules) == 1


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_rule_is_needed(layout: str) -> None:
    modules = {
        name.rpartition(".")[0]
        for task in mobilevit.TASKS
        for name in mobilevit.tensors("mobilevit_s", 1000, task)
    }
    for rule in detect.load_layout(layout).rules:
        assert any(names._pattern(rule.ours).fullmatch(module) for module in modules), rule


@pytest.mark.parametrize("name", ["", "weight", "conv_1", "layer_9.0.expand.conv.weight"])
def test_a_name_without_a_rule_is_a_key_error(name: str) -> None:
    with pytest.raises(KeyError, match=re.escape(repr(name))):
        detect.load_layout("timm").theirs(name)


@pytest.mark.parametrize("classes", [1, 1000])
@pytest.mark.parametrize("model", mobilevit.names())
def test_shapes_are_those_of_the_network(built: Any, model: str, classes: int) -> None:
    network = built(model, classes).state_dict()
    shapes = mobilevit.tensors(model, classes)
    assert list(shapes.items()) == [(name, tuple(t.shape)) for name, t in network.items()]
