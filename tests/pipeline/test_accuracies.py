"""Tables of accuracies, which people write by hand."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mvdeploy import models
from mvdeploy.errors import UsageError
from mvdeploy.pipeline import accuracies
from mvdeploy.records import ModelSpec
from mvdeploy.records.spec import parse_patches

COLUMN = "top-1"


def spec(patches: str = "2,2,2", size: int = 64, name: str = "mobilevit_xxs") -> ModelSpec:
    return models.make_spec(name, patches=parse_patches(patches), image_size=(size, size))


SPECS = (spec(), spec(size=96), spec("4,2,2"), models.make_spec("yardstick"))


def read(folder: Path, text: str | bytes) -> accuracies.Accuracies:
    path = folder / "a.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return accuracies.read(path, COLUMN)


def test_the_line_that_says_most_holds(tmp_path: Path) -> None:
    table = read(
        tmp_path,
        "\ufeffnote,model,patches,image_size,top-1\r\n"
        "x,mobilevit_xxs,,,60\r\n"
        '"a, b",mobilevit_xxs,,96,65.5\r\n'
        ',mobilevit_xxs,"4, 2,2",,55\r\n'
        "\r\n",
    )
    assert list(table.of(SPECS).values()) == [60, 65.5, 55]  # the yardstick has none
    assert table.of(SPECS)[SPECS[1]] == 65.5


def test_networks_may_be_named_as_reports_do(tmp_path: Path) -> None:
    table = read(tmp_path, 'model,top-1\n"mobilevit_xxs 4,2,2",55\nyardstick,1e1\n')
    assert table.of(SPECS) == {SPECS[2]: 55, SPECS[3]: 10}


HOSTILE = {
    "": "is empty",
    "\n\n": "is empty",
    "model,top-1\n": "has a header and nothing else",
    "name,top-1\na,1\n": "has no column 'model'; it has: name, top-1",
    "model,top1\nyardstick,1\n": "has no column 'top-1'; it has: model, top1",
    "model;top-1\nyardstick;1\n": "has no column 'model'; it has: model;top-1",
    "model,top-1,top-1\nyardstick,1,2\n": "has the column 'top-1' twice",
    "model,top-1\nyardstick,78.4 %\n": "line 2, has '78.4 %' in the column 'top-1'",
    "model,top-1\nyardstick,\n": "line 2, has '' in the column",
    "model,top-1\nyardstick,nan\n": "which is no number",
    "model,top-1\nyardstick,inf\n": "which is no number",
    "model,top-1\nyardstick,1\n\n,2\n": "line 4, names no model",
    "model,top-1\nmobilevit_xxs 4,2,2,55\n": "line 2, has 4 cells, and the header 2",
    "model,top-1\nyardstick\n": "line 2, has 1 cells, and the header 2",
    "model,top-1\nyardstick,1\nyardstick,2\n": "line 3, is of the same network as line 2",
    "model,patches,top-1\nmobilevit_xxs,x,2\n": "line 2, is wrong: 'x' is no list of patch sizes",
    "model,image_size,top-1\nyardstick,big,2\n": "line 2, is wrong: 'big' is no image size",
    'model,top-1\n"yardstick,1\n': "cannot be read as a table of accuracies",
}


@pytest.mark.parametrize("text", HOSTILE)
def test_what_means_nothing_is_one_sentence(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError) as error:
        read(tmp_path, text)
    assert HOSTILE[text] in error.value.message and error.value.remedy
    assert "\n" not in error.value.message


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("model,top-1\nyardstik,1\n", r"line 2, names 'yardstik', .* \(mobilevit_xxs, yardstick\)"),
        ("model,image_size,top-1\nyardstick,512,1\n", "no accuracy of any network in a size"),
        (
            'model,patches,image_size,top-1\nmobilevit_xxs,"2,2,2",,1\nmobilevit_xxs,,96,2\n',
            "line 2, and line 3 both say the accuracy of mobilevit_xxs 2,2,2 at 96x96",
        ),
        (f"model,top-1\n{'x' * 5000},1\n", "names 'xxx.*…"),
        ("model,top-1\n\x1b[31mred,1\n", "names '\ufffd"),
    ],
)
def test_what_fits_no_network_is_one_sentence(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said) as error:
        read(tmp_path, text).of(SPECS)
    assert len(error.value.message) < 400 and "\x1b" not in error.value.message


def test_what_is_no_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="There is no file"):
        accuracies.read(tmp_path / "none.csv", COLUMN)
    with pytest.raises(UsageError, match="it is a folder"):
        accuracies.read(tmp_path, COLUMN)
    with pytest.raises(UsageError, match="cannot be read as a table"):
        read(tmp_path, b"\xff\xfe\x00m")
    with pytest.raises(UsageError, match="says which network a line is of"):
        accuracies.read(_file(tmp_path), "model")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match="it is a pipe"):
        accuracies.read(tmp_path / "pipe", COLUMN)


def _file(folder: Path) -> Path:
    path = folder / "b.csv"
    path.write_text("model,top-1\nyardstick,1\n")
    return path
