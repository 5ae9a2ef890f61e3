"""Which module costs how much, and what is proposed."""

from __future__ import annotations

from pathlib import Path

import pytest

from mvdeploy import formats, models
from mvdeploy.pipeline import calibration
from mvdeploy.pipeline.export import Builder, Exported
from mvdeploy.records import ModuleNoise, Sensitivity
from mvdeploy.report import sensitivity as shown

# torch 2.13 copies its own deprecated tree specifications.
pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Builder, Exported]:
    builder = Builder(models.make_spec("yardstick"), wish=calibration.Wish(4))
    path = tmp_path_factory.mktemp("whole") / "a.onnx"
    return builder, builder.export("onnx", path, formats.Options("int8"))


def test_all_modules_are_ranked_by_what_each_alone_costs(made: tuple[Builder, Exported]) -> None:
    builder, exported = made
    found = builder.sensitivity(exported, 10.0)
    assert found is not None
    shares = [row.share for row in found.modules]
    assert {row.module for row in found.modules} == {"conv_1x1", "conv_3x3", "classifier.linear"}
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) == pytest.approx(1)
    assert found.snr_db is not None
    assert all(row.snr_db is not None and row.snr_db >= found.snr_db - 3 for row in found.modules)
    assert found.reached
    assert not found.kept


def test_what_is_proposed_reaches_what_is_wanted(
    made: tuple[Builder, Exported], tmp_path: Path
) -> None:
    builder, exported = made
    first = builder.sensitivity(exported, 10.0)
    assert first is not None
    assert first.snr_db is not None
    wanted = first.snr_db + 2
    found = builder.sensitivity(exported, wanted)
    assert found is not None
    assert found.kept
    assert found.kept_db is not None
    assert found.kept_db >= wanted
    again = builder.export(
        "onnx", tmp_path / "kept.onnx", formats.Options("int8", keep_float=found.kept)
    )
    assert again.artifact.quantized is not None
    assert again.artifact.quantized.kept == found.kept
    assert again.emulation is not None
    assert not set(found.kept) & set(again.emulation.modules)


def test_what_cannot_be_reached_is_said(made: tuple[Builder, Exported]) -> None:
    builder, exported = made
    found = builder.sensitivity(exported, 500.0)
    assert found is not None
    # With all of them in float nothing is left to add noise.
    assert found.reached
    assert len(found.kept) == 3
    assert found.kept_db is None


def test_a_program_in_floats_has_none(made: tuple[Builder, Exported], tmp_path: Path) -> None:
    builder, _ = made
    plain = builder.export("onnx", tmp_path / "plain.onnx")
    assert builder.sensitivity(plain, 25.0) is None


ROWS = (ModuleNoise("a.b", 12.5, 0.7), ModuleNoise("", None, 0.3))


def test_it_is_written_as_a_table_and_a_figure(tmp_path: Path) -> None:
    found = Sensitivity(ROWS, 2, 11.0, 25.0, ("a.b",), 30.0)
    table, picture = shown.write(found, "net", tmp_path, "net-int8")
    assert table.read_text().splitlines() == [
        "module,share_of_noise,snr_db_alone,proposed_in_float",
        "a.b,0.700000,12.500,1",
        ",0.300000,,0",
    ]
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert shown.write(found, "net", tmp_path, "net-int8") == (table, picture)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (Sensitivity(ROWS, 2, 26.0, 25.0), "It reaches 25 dB as it is."),
        (Sensitivity(ROWS, 2, 11.0, 25.0, ("a.b",), 30.0), "--keep-float a.b"),
        (Sensitivity(ROWS, 2, 11.0, 25.0, (), 20.0, reached=False), "not reached"),
    ],
)
def test_the_proposal_is_a_sentence(found: Sensitivity, said: str) -> None:
    assert said in "\n".join(shown.sentences(found))
