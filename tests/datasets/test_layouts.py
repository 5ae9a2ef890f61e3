"""Layouts of data sets: what is read, and that nothing of it is dropped without a word."""

from __future__ import annotations

import collections
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mvdeploy import datasets
from mvdeploy.datasets import Data, Request, _class_map
from mvdeploy.errors import UsageError


def read(place: Path, task: str = "classify", classes: int = 5, **asked: Any) -> Data:
    return datasets.read(Request(place, classes, **asked), task)


def kinds(data: Data) -> dict[str, int]:
    return dict(collections.Counter(problem.kind for problem in data.problems))


def labelled(data: Data) -> dict[str, int]:
    return dict(zip(data.paths, data.truths, strict=True))


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


# Folders


def test_sorted_names_of_folders_are_the_classes(tmp_path: Path) -> None:
    touch(tmp_path / "b ü,c" / "1.jpg", tmp_path / "a" / "deep" / "2.PNG", tmp_path / "a" / "1.jpg")
    data = read(tmp_path)
    assert labelled(data) == {"a/1.jpg": 0, "a/deep/2.PNG": 0, "b ü,c/1.jpg": 1}
    assert data.titles == {0: "a", 1: "b ü,c"}
    assert not data.problems
    assert data.path(0) == tmp_path / "a/1.jpg"
    assert data.notes[0].startswith("There are 2 folders and 5 classes: the sorted folders were")
    assert not read(tmp_path, classes=2).notes
    assert not read(tmp_path, class_map={"a": 0, "b ü,c": 3}).notes


def test_what_is_in_the_way_is_named(tmp_path: Path) -> None:
    touch(tmp_path / "a" / "1.jpg", tmp_path / "a" / "notes.txt", tmp_path / "a" / ".DS_Store")
    touch(tmp_path / "README", tmp_path / "six" / "1.jpg", tmp_path / "six" / "2.jpg")
    (tmp_path / "empty").mkdir()
    for name in ("c", "d", "e"):
        touch(tmp_path / name / "1.jpg")
    data = read(tmp_path)
    assert labelled(data) == {"a/1.jpg": 0, "c/1.jpg": 1, "d/1.jpg": 2, "e/1.jpg": 3}
    assert kinds(data) == {"no_image": 2, "not_listed": 1, "empty_class": 1, "class_outside": 1}
    outside = next(one for one in data.problems if one.kind == "class_outside")
    assert (outside.what, outside.reason) == ("six/", "class 5 of 5; 2 images in it")


def test_links_that_lead_in_circles_end(tmp_path: Path) -> None:
    touch(tmp_path / "a" / "1.jpg")
    (tmp_path / "a" / "again").symlink_to(tmp_path)
    (tmp_path / "itself").symlink_to("itself")
    (tmp_path / "a" / "loop.jpg").symlink_to("loop.jpg")
    data = read(tmp_path)
    assert "a/1.jpg" in data.paths
    assert kinds(data) == {"unreadable": 1, "not_listed": 1}


def test_a_link_to_a_class_is_a_class(tmp_path: Path) -> None:
    touch(tmp_path / "elsewhere" / "1.jpg")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a").symlink_to(tmp_path / "elsewhere")
    assert labelled(read(tmp_path / "data")) == {"a/1.jpg": 0}


def test_a_folder_that_cannot_be_looked_into(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path / "a" / "1.jpg", tmp_path / "b" / "1.jpg")
    scan = os.scandir

    def refuse(place: Any) -> Any:
        if str(place).endswith("b"):
            raise PermissionError(13, "Permission denied", str(place))
        return scan(place)

    monkeypatch.setattr(os, "scandir", refuse)
    data = read(tmp_path)
    assert labelled(data) == {"a/1.jpg": 0}
    assert kinds(data) == {"unreadable": 1}
    monkeypatch.setattr(
        os, "scandir", lambda p: (_ for _ in ()).throw(PermissionError(13, "denied", str(p)))
    )
    with pytest.raises(UsageError, match=r"cannot be read \(denied\)"):
        read(tmp_path)


def test_a_class_map_says_which_folder_is_which_class(tmp_path: Path) -> None:
    touch(tmp_path / "cat" / "1.jpg", tmp_path / "dog" / "1.jpg", tmp_path / "emu" / "1.jpg")
    data = read(tmp_path, class_map={"dog": 0, "cat": 3, "cow": 1})
    assert labelled(data) == {"cat/1.jpg": 3, "dog/1.jpg": 0}
    (lost,) = data.problems
    assert datasets.sentence(lost) == (
        "emu/ has a label that is not known (the class map lacks the folder; 1 image in it)"
    )


# Class maps


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"a b": 2, "c": 0}', {"a b": 2, "c": 0}),
        ("a b 2\nc 0\n", {"a b": 2, "c": 0}),
        ("\ufeffa,2\r\nc,0\r\n", {"a": 2, "c": 0}),
        ("a\t2\n\n# a comment\nc\t0", {"a": 2, "c": 0}),
        ("dog\ncat", {"dog": 0, "cat": 1}),
        (
            "n01440764 tench, Tinca tinca\nn01443537 goldfish 2",
            {"n01440764": 0, "n01443537": 1},
        ),
    ],
)
def test_forms_of_class_maps(tmp_path: Path, text: str, expected: dict[str, int]) -> None:
    (tmp_path / "map").write_bytes(text.encode())
    assert _class_map.read(tmp_path / "map")[0] == expected


def test_a_class_map_names_classes(tmp_path: Path) -> None:
    (tmp_path / "map").write_text("n01440764 tench, Tinca tinca\nn01443537 goldfish\n")
    assert _class_map.read(tmp_path / "map")[1] == {0: "tench, Tinca tinca", 1: "goldfish"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\xff\xfe\x00", "cannot be read as a class map"),
        (b"{", "is not valid JSON"),
        (b"[1]", "it is no such object"),
        (b'{"a": 1.5}', "the class of 'a' is no whole number"),
        (b'{"a": true}', "the class of 'a' is no whole number"),
        (b"a 1\nb", "none in the line 'b'"),
        (b"a 1\na 2", "gives two classes to 'a': 1 and 2"),
    ],
)
def test_what_is_no_class_map(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "map").write_bytes(content)
    with pytest.raises(UsageError, match=message):
        _class_map.read(tmp_path / "map")


def test_there_is_no_class_map(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="There is no class map"):
        _class_map.read(tmp_path / "map")


WORDS = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Z")), min_size=1)


@given(st.dictionaries(WORDS.filter(lambda w: w[0] not in "#{[,\ufeff"), st.integers(0, 10**6)))
def test_any_numbered_map_is_read_again(
    tmp_path_factory: pytest.TempPathFactory, numbers: dict[str, int]
) -> None:
    path = tmp_path_factory.getbasetemp() / "numbered"
    path.write_text("".join(f"{name}\t{number}\n" for name, number in numbers.items()), "utf-8")
    if numbers:
        kept = {name.rstrip(",") or name: number for name, number in numbers.items()}
        if len(kept) == len(numbers):
            assert _class_map.read(path)[0] == kept


@given(st.binary(max_size=80))
def test_any_bytes_are_a_class_map_or_a_usage_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "bytes"
    path.write_bytes(content)
    try:
        numbers, _ = _class_map.read(path)
    except UsageError:
        return
    assert numbers and all(number >= 0 for number in numbers.values())


# Lists of labels


def test_imagenets_validation_set(tmp_path: Path) -> None:
    names = [f"ILSVRC2012_val_{n:08}.JPEG" for n in range(1, 6)]
    touch(*(tmp_path / name for name in names), tmp_path / "my holiday.jpg")
    lines = [f"{names[0]} 4", f"{names[1]} 0", f"{names[2]} 5", f"{names[3]} tench", "gone.JPEG 1"]
    (tmp_path / "val.txt").write_text("\r\n".join([*lines, "my holiday.jpg 2", f"{names[1]} 3"]))
    for place in (tmp_path, tmp_path / "val.txt"):
        data = read(place)
        assert labelled(data) == {names[0]: 4, names[1]: 0, "my holiday.jpg": 2}
        assert kinds(data) == {
            "class_outside": 1,
            "unknown_label": 1,
            "missing": 1,
            "repeated": 1,
            "not_listed": 1,
        }


def test_which_list(tmp_path: Path) -> None:
    touch(tmp_path / "a.jpg")
    (tmp_path / "val.txt").write_text("a.jpg 1")
    (tmp_path / "readme.txt").write_text("hello")
    with pytest.raises(UsageError, match=r"has 2 text files \(readme.txt, val.txt\)"):
        read(tmp_path)
    assert labelled(read(tmp_path / "val.txt")) == {"a.jpg": 1}
    (tmp_path / "val.txt").write_text("490\n361\n")
    with pytest.raises(UsageError, match="no line with an image and its class"):
        read(tmp_path / "val.txt")


# Tables


def test_a_table(tmp_path: Path) -> None:
    touch(tmp_path / "x" / "a, b.jpg", tmp_path / "ü.jpg", tmp_path / "c.jpg")
    lines = ("label,Path,note", '3,"x/a, b.jpg",1', "0,ü.jpg,", "", "cat,c.jpg,", "1,ü.jpg", "2")
    text = "\ufeff" + "\r\n".join(lines)
    (tmp_path / "a.csv").write_text(text, "utf-8", newline="")
    data = read(tmp_path / "a.csv")
    assert labelled(data) == {"x/a, b.jpg": 3, "ü.jpg": 0}
    assert kinds(data) == {"unknown_label": 1, "repeated": 1, "truth": 1}
    mapped = read(tmp_path / "a.csv", class_map={"cat": 4})
    assert labelled(mapped)["c.jpg"] == 4


@pytest.mark.parametrize(
    "path", ["../secret.jpg", "/etc/passwd", "x/../../secret.jpg", "C:/a.jpg", "..\\secret.jpg", ""]
)
def test_a_table_does_not_lead_outside(tmp_path: Path, path: str) -> None:
    touch(tmp_path / "secret.jpg", tmp_path / "data" / "a.jpg")
    (tmp_path / "data" / "a.csv").write_text(f"path,label\n{path},1\na.jpg,1\n")
    data = read(tmp_path / "data" / "a.csv")
    assert labelled(data) == {"a.jpg": 1}
    assert kinds(data) == {"outside": 1}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,label\n", r"has no column 'path' \(it has image, label\)"),
        ("path\na.jpg\n", "has no column 'label'"),
        ("", r"has no column 'path' \(it has none\)"),
        ("path,label\n", r"has no image that can be used \(0 problems\)"),
        ("path,label\ngone.jpg,1\n", "the first of them that gone.jpg is named, but not there"),
        ('path,label\n"' + "x" * 200_000 + '",1\n', "cannot be read as CSV"),
    ],
)
def test_what_is_no_table(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(UsageError, match=message):
        read(tmp_path / "a.csv")


def test_a_table_in_another_encoding(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("path,label\nü.jpg,1\n".encode("latin-1"))
    with pytest.raises(UsageError, match="is no text in UTF-8"):
        read(tmp_path / "a.csv")


@given(st.text(max_size=200))
def test_any_text_is_a_table_or_a_usage_error(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_bytes(f"path,label\n{text}".encode("utf-8", "surrogatepass"))
    with pytest.raises(UsageError):
        read(path)


# PASCAL VOC and COCO


def voc(root: Path) -> Path:
    touch(*(root / "JPEGImages" / f"{n}.jpg" for n in "abc"))
    touch(*(root / "SegmentationClass" / f"{n}.png" for n in "ab"))
    (root / "ImageSets" / "Segmentation").mkdir(parents=True)
    (root / "ImageSets" / "Segmentation" / "val.txt").write_text("a\nc\n../x\n\n")
    (root / "ImageSets" / "Segmentation" / "train.txt").write_text("b\n")
    return root


def test_pascal_voc(tmp_path: Path) -> None:
    data = read(voc(tmp_path), "segment", 21)
    assert (list(data.paths), list(data.truths)) == (
        ["JPEGImages/a.jpg"],
        ["SegmentationClass/a.png"],
    )
    assert kinds(data) == {"missing": 1, "outside": 1}
    assert data.titles[15] == "person"
    assert list(read(tmp_path, "segment", 21, split="train").paths) == ["JPEGImages/b.jpg"]
    with pytest.raises(UsageError, match=r"has no list .*/test.txt \(it has train, val\)"):
        read(tmp_path, "segment", 21, split="test")


def coco(root: Path, **changed: Any) -> Path:
    touch(root / "val2017" / "1.jpg", root / "val2017" / "2.jpg")
    image = {"height": 10, "width": 20}
    said = {
        "images": [
            {"id": 7, "file_name": "1.jpg", **image},
            {"id": 9, "file_name": "2.jpg", **image},
            {"id": 10, "file_name": "gone.jpg", **image},
            {"id": 11, "file_name": "../out.jpg", **image},
        ],
        "annotations": [{"image_id": 7, "category_id": 90, "bbox": [1, 2, 3, 4]}],
        "categories": [{"id": 90, "name": "toothbrush"}, {"id": 3, "name": "car"}],
        **changed,
    }
    (root / "annotations").mkdir(exist_ok=True)
    (root / "annotations" / "instances_val2017.json").write_text(json.dumps(said))
    return root


def test_categories_become_classes_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for place in (coco(tmp_path), tmp_path / "annotations" / "instances_val2017.json"):
        data = read(place, "detect", 3)
        assert data.source["classes"] == {3: 1, 90: 2}
        assert data.titles == {1: "car", 2: "toothbrush"}
        assert dict(zip(data.paths, data.truths, strict=True)) == {"1.jpg": 7, "2.jpg": 9}
        assert kinds(data) == {"missing": 1, "outside": 1}


def test_of_a_network_with_more_classes_the_numbers_are_the_categories(tmp_path: Path) -> None:
    data = read(coco(tmp_path), "detect", 91)
    assert data.source["classes"] == {3: 3, 90: 90}
    assert "were taken for those of the classes" in data.notes[0]
    with pytest.raises(UsageError, match="has 2 categories, and the network 80 classes"):
        read(tmp_path, "detect", 81)


@pytest.mark.parametrize(
    "changed",
    [
        {"images": 3},
        {"images": [{}]},
        {"annotations": [{"image_id": 7, "category_id": 3, "bbox": [1, 2]}]},
        {"annotations": [{"image_id": 7, "category_id": 3, "bbox": "abcd"}]},
        {"categories": [[]]},
    ],
)
def test_what_is_no_file_of_instances(tmp_path: Path, changed: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="is no file of COCO's instances"):
        read(coco(tmp_path, **changed), "detect", 3)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@given(st.sampled_from(["images", "annotations", "categories"]), JSON)
def test_any_annotations_are_read_or_a_usage_error(
    tmp_path_factory: pytest.TempPathFactory, part: str, value: Any
) -> None:
    root = tmp_path_factory.mktemp("coco")
    try:
        data = read(coco(root, **{part: value}), "detect", 3)
    except UsageError:
        return
    assert len(data)


# Which layout


def test_data_for_another_task_is_told(tmp_path: Path) -> None:
    voc(tmp_path)
    with pytest.raises(UsageError, match="it looks like data for the task 'segment'"):
        read(tmp_path)
    with pytest.raises(UsageError, match="no layout of data sets for the task 'tensors'"):
        read(tmp_path, "tensors")
    with pytest.raises(UsageError, match="There is no data set"):
        read(tmp_path / "none")
    touch(tmp_path / "a.bin")
    with pytest.raises(UsageError, match="is no data set for the task 'classify'"):
        read(tmp_path / "a.bin")


# Some of the images


def of_classes(*counts: int) -> Data:
    truths = [number for number, count in enumerate(counts) for _ in range(count)]
    return Data("x", Path(), [f"{n}.jpg" for n in range(len(truths))], truths)


@given(st.lists(st.integers(0, 20), min_size=1, max_size=12), st.integers(1, 60), st.integers(0, 3))
def test_a_limit_is_spread_over_the_classes(counts: list[int], limit: int, seed: int) -> None:
    data = of_classes(*counts)
    some = datasets.limited(data, limit, seed)
    assert len(some) == min(limit, len(data))
    assert len({*some.paths}) == len(some)
    assert list(some.paths) == sorted(some.paths, key=lambda p: int(p[:-4]))
    assert labelled(some).items() <= labelled(data).items()
    assert some.paths == datasets.limited(data, limit, seed).paths
    kept = collections.Counter(some.truths)
    most = max(kept.values(), default=0)
    for number, count in enumerate(counts):
        assert kept[number] >= min(count, most - 1)


def test_other_seeds_choose_other_images() -> None:
    data = of_classes(*[100] * 5)
    chosen = {tuple(datasets.limited(data, 20, seed).paths) for seed in range(3)}
    assert len(chosen) == 3


def test_a_data_set_is_known_by_its_images_truths_and_sizes(tmp_path: Path) -> None:
    touch(tmp_path / "a" / "1.jpg", tmp_path / "b" / "1.jpg")
    known = {datasets.fingerprint(read(tmp_path))}
    known.add(datasets.fingerprint(datasets.limited(read(tmp_path), 1)))
    known.add(datasets.fingerprint(read(tmp_path, class_map={"a": 1, "b": 0})))
    (tmp_path / "a" / "1.jpg").write_bytes(b"xy")
    known.add(datasets.fingerprint(read(tmp_path)))
    assert len(known) == 4
    assert datasets.fingerprint(read(tmp_path)) in known
