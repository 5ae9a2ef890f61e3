"""Studies as files: every one can be read and built, and what is wrong with one is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from mvdeploy import devices, models, plugins, studies
from mvdeploy.errors import UsageError
from mvdeploy.pipeline.study import spec_of
from mvdeploy.records import Category, OperatorKind
from mvdeploy.records.study import Study

GOOD = """
title = "One"
paper = "A paper"
about = ""
reference = "a"
rows = [{ name = "a", model = "yardstick" }, { name = "b" }]
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's own folder of studies."""
    folder = tmp_path / "studies"
    folder.mkdir()
    monkeypatch.setenv(plugins.FOLDER, str(tmp_path))
    return folder


def by_name() -> dict[str, Study]:
    return {name: studies.get(name) for name in studies.names()}


def test_the_studies_of_the_papers_are_there() -> None:
    assert {name: len(study.measurable) for name, study in by_name().items()} == {
        "table6": 4,
        "table3": 4,
        "figure8": 21,
        "figure6": 11,
        "figure7": 20,
        "layers": 11,
        "operators": 9,
    }


def test_every_row_can_be_built() -> None:
    sizes = {}
    for name, study in by_name().items():
        for row in study.measurable:
            spec = spec_of(row, seed=0)
            sizes[name, row.name] = (spec.image_size[0], spec.num_classes, spec.task)
    assert sizes["table6", "3,3,3"] == (256, 1000, "classify")
    assert sizes["figure8", "S-B detection"] == (320, 81, "detect")
    assert sizes["figure8", "MobileNetv2 segmentation"] == (512, 21, "segment")
    assert sizes["figure7", "R7 CrossViT"] == (240, 1000, "classify")
    assert sizes["layers", "TinyViT-5M"] == (224, 1000, "classify")


def test_published_numbers_name_devices_and_parts_that_there_are() -> None:
    kinds = {"category": {str(c) for c in Category.declared()}, "kind": set(OperatorKind)}
    for study in by_name().values():
        assert all(one.device in ("", *devices.profiles()) for one in study.published)
        for part in study.parts:
            assert set(part.of) <= kinds[study.divided]


def test_accuracy_is_published_for_every_row_of_the_figures_that_compare_it() -> None:
    for name in ("table3", "table6", "figure6", "figure7"):
        study = studies.get(name)
        (accuracy,) = study.series("accuracy")
        assert set(accuracy.values) == {row.name for row in study.rows}


def test_the_published_layers_add_up() -> None:
    for row in ("DeiT-Base", "Swin-Base", "DeiT-Tiny", "T2T-ViT-7"):
        shares = [one.values[row] for one in studies.get("layers").series("share")]
        assert sum(shares) == pytest.approx(100, abs=0.011)


def test_an_unknown_study_is_told_with_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"no study 'tabel6'.*Did you mean 'table6'"):
        studies.get("tabel6")


def test_a_file_of_ones_own_is_a_study(own: Path) -> None:
    (own / "mine.toml").write_text(GOOD)
    assert "mine" in studies.names()
    assert [row.name for row in studies.get("mine").measurable] == ["a"]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("title = ", "is not valid TOML"),
        ("[" * 5000, "is not valid TOML"),
        (GOOD + "colour = 1", "colour"),
        (GOOD.replace('reference = "a"', 'reference = "b"'), "no row 'b' with a model"),
        (GOOD.replace('"b"', '"a"'), "the row 'a' twice"),
        (GOOD + 'divided = "kind"', "'divided' without 'parts'"),
        (
            GOOD + '[[published]]\nquantity = "latency"\ntitle = "t"\nunit = "ms"\n'
            'where = "w"\nsource = "s"\nvalues = { c = 1 }',
            "published numbers of 'c', which is no row",
        ),
        (
            GOOD + '[[published]]\nquantity = "share"\ntitle = "t"\nunit = "%"\npart = "p"\n'
            'where = "w"\nsource = "s"\nvalues = { a = 1 }',
            "published shares of 'p', which is no part",
        ),
        (
            GOOD + '[[published]]\nquantity = "speed"\ntitle = "t"\nunit = "ms"\n'
            'where = "w"\nsource = "s"\nvalues = {}',
            "quantity",
        ),
    ],
)
def test_what_is_wrong_with_a_file_is_named(own: Path, text: str, what: str) -> None:
    (own / "mine.toml").write_text(text)
    with pytest.raises(UsageError, match=r"mine\.toml") as refused:
        studies.get("mine")
    assert what in refused.value.message


def test_a_row_that_cannot_be_built_is_named(own: Path) -> None:
    (own / "mine.toml").write_text(GOOD.replace("yardstick", "yardstik"))
    (row,) = studies.get("mine").measurable
    with pytest.raises(UsageError, match=r"Row 'a': .*yardstik"):
        spec_of(row, seed=0)
    assert "yardstick" in models.catalogue()
