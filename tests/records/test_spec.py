from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mvdeploy.errors import UsageError
from mvdeploy.records import ModelSpec, PatchSize
from mvdeploy.records.spec import parse_image_size, parse_patches

sizes = st.integers(1, 2000)
patches = st.builds(PatchSize, sizes, sizes)
# What people mistype, and digits that are none of ours.
typed = st.text(alphabet="0123456789x,.-+ eE²٣１\n_", max_size=8) | st.text(max_size=20)


@given(st.lists(patches, min_size=1, max_size=5).map(tuple))
def test_patches_are_read_as_they_are_written(sizes: tuple[PatchSize, ...]) -> None:
    assert parse_patches(ModelSpec("m", sizes, (1, 1)).patches_text) == sizes


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2,2,2", [(2, 2), (2, 2), (2, 2)]),
        ("8,4,2", [(8, 8), (4, 4), (2, 2)]),
        ("4x2, 2 ,1x3", [(4, 2), (2, 2), (1, 3)]),
        ("7", [(7, 7)]),
    ],
)
def test_patches(text: str, expected: list[tuple[int, int]]) -> None:
    assert [(p.height, p.width) for p in parse_patches(text)] == expected


@pytest.mark.parametrize(
    "text", ["", ",", "2,", "0,2,2", "2x0", "-2", "2.0", "2x", "x2", "2x2x2", "²", "a", "9" * 5000]
)
def test_what_is_no_list_of_patches_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is no list of patch sizes"):
        parse_patches(text)


@given(typed)
def test_any_text_is_patches_or_a_usage_error(text: str) -> None:
    try:
        found = parse_patches(text)
    except UsageError:
        return
    assert found and all(p.height > 0 and p.width > 0 for p in found)
    assert parse_patches(",".join(map(str, found))) == found


@given(sizes, sizes, st.sampled_from(["{},{}", "{}x{}", " {} , {} "]))
def test_image_sizes_are_read_as_they_are_written(height: int, width: int, form: str) -> None:
    assert parse_image_size(form.format(height, width)) == (height, width)
    assert parse_image_size(str(height)) == (height, height)


@pytest.mark.parametrize(
    "text", ["", "0", "-1", "1,0", "1,2,3", "256x", "x256", "2.5", "²", "a", "9" * 5000]
)
def test_what_is_no_image_size_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is no image size"):
        parse_image_size(text)


@given(typed)
def test_any_text_is_an_image_size_or_a_usage_error(text: str) -> None:
    try:
        height, width = parse_image_size(text)
    except UsageError:
        return
    assert height > 0 and width > 0
    assert parse_image_size(f"{height},{width}") == (height, width)


def test_a_spec_has_names_for_tables_and_files() -> None:
    spec = ModelSpec("mobilevit_xs", parse_patches("4x2,2,2"), (256, 320))
    assert spec.label == "mobilevit_xs 4x2,2,2"
    assert spec.slug == "mobilevit_xs-p4x2-2-2-256x320"
    assert ModelSpec("timm:vit/../x y", (), (224, 224)).slug == "timm-vit-..-x-y-224"


@given(patches, patches, st.tuples(sizes, sizes), st.tuples(sizes, sizes))
def test_different_networks_have_different_slugs(
    a: PatchSize, b: PatchSize, one: tuple[int, int], other: tuple[int, int]
) -> None:
    same = ModelSpec("m", (a,), one).slug == ModelSpec("m", (b,), other).slug
    assert same == ((a, one) == (b, other))
