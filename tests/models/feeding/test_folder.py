"""Which file of a folder is believed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mvdeploy.errors import UsageError
from mvdeploy.models.feeding import folder, image_processors, timm_config

VIT = {"image_processor_type": "ViTImageProcessor"}
DEIT = {"image_processor_type": "DeiTImageProcessor"}
TIMM = {"input_size": [3, 96, 96]}
HERE = Path("x.json")


def write(path: Path, **files: Any) -> None:
    for name, content in files.items():
        (path / f"{name}.json").write_text(json.dumps(content))


def test_nothing_is_said(tmp_path: Path) -> None:
    assert folder.read(tmp_path) is None
    write(tmp_path, config={"model_type": "vit"}, processor_config={"tokenizer": {}})
    assert folder.read(tmp_path) is None


def test_the_combined_file_goes_first_and_timms_last(tmp_path: Path) -> None:
    write(tmp_path, config={"pretrained_cfg": TIMM})
    assert folder.read(tmp_path) == (timm_config.read(TIMM, HERE), "config.json")
    write(tmp_path, preprocessor_config=VIT, processor_config={"tokenizer": {}})
    expected = image_processors.read(VIT, HERE)
    assert folder.read(tmp_path) == (expected, "preprocessor_config.json")
    write(tmp_path, processor_config={"image_processor": DEIT})
    expected = image_processors.read(DEIT, HERE)
    assert folder.read(tmp_path) == (expected, "processor_config.json")


def test_a_processor_without_a_type_is_that_of_the_network(tmp_path: Path) -> None:
    write(tmp_path, config={"model_type": "swin"}, preprocessor_config={"size": 192})
    assert folder.read(tmp_path) == (
        image_processors.read(VIT | {"size": 192}, HERE),
        "preprocessor_config.json",
    )
    write(tmp_path, config={})
    with pytest.raises(UsageError, match=r"preprocessor_config\.json cannot .* it has no type"):
        folder.read(tmp_path)


def test_a_byte_order_mark_is_left_out(tmp_path: Path) -> None:
    write(tmp_path, preprocessor_config=VIT)
    plain = folder.read(tmp_path)
    file = tmp_path / "preprocessor_config.json"
    file.write_text(file.read_text(), encoding="utf-8-sig")
    assert folder.read(tmp_path) == plain
