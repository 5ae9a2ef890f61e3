from __future__ import annotations

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
