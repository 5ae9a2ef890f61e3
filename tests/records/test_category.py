from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator

import pytest

from mvdeploy.records import Artifact, Category, ModelSpec, ModuleInfo, Preprocessing


def test_every_category_has_a_title_of_its_own() -> None:
    assert len({category.heading for category in Category.declared()}) == len(Category.declared())


def test_an_artifact_knows_the_category_of_a_module() -> None:
    artifact = Artifact(
        "a.onnx",
        "",
        0,
        "onnx",
        "fp32",
        ModelSpec("m", (), (1, 1)),
        passes=(),
        inputs=(),
        outputs=(),
        preprocessing=Preprocessing((1, 1), (1, 1)),
        versions={},
        operators=(),
        modules={"a": ModuleInfo("A", Category.FFN), "b": ModuleInfo("B", None)},
        parameters=0,
    )
    assert artifact.category("a") is Category.FFN
    assert artifact.category("b") is None
    assert artifact.category("c") is None


@pytest.fixture
def declared() -> Iterator[None]:
    """Takes back what a test declares."""
    before = dict(Category._known), dict(Category._titles)
    yield
    Category._known.clear()
    Category._titles.clear()
    Category._known.update(before[0])
    Category._titles.update(before[1])


def test_the_usual_five_are_always_there_and_come_first() -> None:
    usual = ("pre-and-post", "convolution", "fold", "attention", "ffn")
    assert Category.ordered(()) == usual
    assert Category.ordered(("box", "ffn", "neck", "box")) == (*usual, "box", "neck")


@pytest.mark.usefixtures("declared")
def test_a_network_declares_its_own() -> None:
    neck, head = Category.declare("neck", "Feature pyramid"), Category.declare("head", "Head")
    assert (neck, neck.heading, Category("neck")) == ("neck", "Feature pyramid", neck)
    assert Category.declare("neck", "Feature pyramid") is neck
    assert Category.declared()[-2:] == (neck, head)
    assert Category.ordered(("new", "head", "neck"))[5:] == ("neck", "head", "new")
    assert Category.ordered(())[5:] == ()


@pytest.mark.usefixtures("declared")
def test_what_cannot_be_declared() -> None:
    known = Category.declared()
    with pytest.raises(ValueError, match="the category 'ffn' has the title 'FFN'"):
        Category.declare("ffn", "Feed-forward")
    for text in ("", "Neck", "a neck", "-neck", "neck:", "40%"):
        with pytest.raises(ValueError, match="letters, digits and dashes"):
            Category.declare(text, "Neck")
    assert Category.declared() == known


def test_one_that_nobody_declared_is_named_by_its_id() -> None:
    assert Category("box-head").heading == "Box head"
    assert Category("").heading == ""


def test_a_copy_is_the_same_category() -> None:
    assert pickle.loads(pickle.dumps(Category.FFN)) is Category.FFN
    assert copy.deepcopy(Category("neck")) == Category("neck")
