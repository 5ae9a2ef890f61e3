"""How networks are exported for being measured: as the engine runs them fastest, or for any."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from mvdeploy import devices, engines, formats, models
from mvdeploy.pipeline import prepare
from mvdeploy.pipeline.ways import Choice
from mvdeploy.records import ModelSpec

HOST = devices.get("host")


def options(format_name: str, precision: str | None = None, **given: bool) -> formats.Options:
    spec = models.make_spec("mobilevit_xxs")
    choice = Choice(HOST, (format_name,), (precision,), force=True)
    (wanted,) = prepare.wanted((spec,), choice, **given)
    return wanted.options


@pytest.mark.parametrize("precision", [None, "fp16", "int8", "int8-fast"])
def test_programs_are_written_for_the_engine_that_runs_them(precision: str | None) -> None:
    assert options("onnx", precision).own.operators == "onnxruntime"
    assert options("onnx", precision, portable=True).own.operators is None


def test_an_engine_that_prefers_nothing_takes_what_there_is() -> None:
    assert engines.preferred("pytorch", "pytorch", "fp32") == {}
    assert engines.preferred("onnxruntime", "another", "fp32") == {}
    assert options("executorch") == options("executorch", portable=True)


@pytest.mark.parametrize("engine", engines.names())
def test_what_an_engine_prefers_the_format_has(engine: str) -> None:
    for format_name in engines.get(engine).FORMATS:
        for precision in formats.precisions_of(format_name):
            chosen = engines.preferred(engine, format_name, precision)
            options = formats.options(format_name, chosen, precision=precision)
            formats.check_options(format_name, options)


def test_cases_of_one_name_are_fed_each_from_its_own_files(tmp_path: Path) -> None:
    """Two cases of one file are called a and a-2."""
    two = SimpleNamespace(inputs=(SimpleNamespace(name="image"), SimpleNamespace(name="extra")))
    paths = [
        path
        for slug in ("a", "a-2")
        for path in prepare.input_files(tmp_path, slug, two).values()  # type: ignore[arg-type]
    ]
    assert len(set(paths)) == 4


def test_sizes_and_batches_are_said_where_networks_differ_in_them() -> None:
    spec, small = (models.make_spec("yardstick", image_size=(n, n)) for n in (32, 16))
    choice = Choice(HOST, ("onnx",))

    def said(*specs: ModelSpec) -> list[tuple[str, str]]:
        cases = [wanted.case for wanted in prepare.wanted(specs, choice)]
        return [(case.slug, case.sized) for case in cases]

    assert said(spec) == [("yardstick-32-onnx", "yardstick")]
    assert said(spec, small) == [
        ("yardstick-32-onnx", "yardstick 32 px"),
        ("yardstick-16-onnx", "yardstick 16 px"),
    ]
    assert said(spec, spec.with_batch(2)) == [
        ("yardstick-32-onnx", "yardstick batch 1"),
        ("yardstick-32-b2-onnx", "yardstick batch 2"),
    ]
    assert said(spec.with_batch(2)) == [("yardstick-32-b2-onnx", "yardstick batch 2")]
