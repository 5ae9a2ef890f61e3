"""Names of the classes, from whatever an editor or a library leaves them in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mvdeploy.errors import UsageError
from mvdeploy.formats.coreml import labels
from mvdeploy.records import TensorInfo

NAMES = ("tench", "großer Hund", "鳥", "half\x85line\u2028separator")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("last", [0, 1, 3])
def test_text_files(tmp_path: Path, encoding: str, ending: str, last: int) -> None:
    text = ending.join(NAMES) + ending * last
    (tmp_path / "labels.txt").write_bytes(text.encode(encoding))
    assert labels.read(str(tmp_path / "labels.txt")) == NAMES


@pytest.mark.parametrize(
    "content",
    [
        ["cat", "dog"],
        {"0": "cat", "1": "dog"},
        {"id2label": {"1": "dog", "0": "cat"}, "model_type": "vit"},
        {"label_names": ["cat", "dog"]},
        {"architecture": "x", "pretrained_cfg": {"label_names": ["cat", "dog"]}},
    ],
    ids=str,
)
def test_json_files(tmp_path: Path, content: Any) -> None:
    (tmp_path / "config.json").write_text(json.dumps(content))
    assert labels.read(str(tmp_path / "config.json")) == ("cat", "dog")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", "cat\ngroßer Hund\n".encode("latin-1"), "not in UTF-8 .line 2 has bytes"),
        ("a.txt", "cat\ndog".encode("utf-16-le"), "not in UTF-8 .it has zero bytes"),
        ("a.txt", b"cat\ndog\ncat", "has the label 'cat' twice"),
        ("a.txt", b"cat\n \ndog", r"has an empty line \(2\)"),
        ("a.txt", b"\xef\xbb\xbf\r\n", "is empty"),
        ("a.json", b"{", "is not valid JSON"),
        ("a.json", b'{"0": "cat", "2": "dog"}', "holds no list of labels"),
        ("a.json", b'{"id2label": {"0": 1}}', "holds no list of labels"),
        ("a.json", b"[]", "is empty"),
    ],
)
def test_what_are_no_labels(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=message) as caught:
        labels.read(str(tmp_path / name))
    assert caught.value.message.endswith(".")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot be read from .*No such file"):
        labels.read(str(tmp_path / "none.txt"))


def output(*shape: int) -> TensorInfo:
    return TensorInfo("logits", shape, "float32")


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ((output(1, 3),), "There are 2 labels, but the network has 3 classes"),
        ((output(1, 2, 8, 8),), "Labels are for classifiers, but the network returns logits"),
        ((output(1, 2), output(1, 2)), "Labels are for classifiers"),
    ],
)
def test_labels_are_those_of_the_network(outputs: tuple[TensorInfo, ...], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        labels.check(("cat", "dog"), outputs)
    labels.check(("cat", "dog", "bird"), (output(1, 3),))
