"""Coverage against the gradients of a real block, pixel by pixel."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn

from mvdeploy.models.coverage import Window, axis_reach, coverage, span
from mvdeploy.models.families.mobilevit.attention import Attention
from mvdeploy.models.families.mobilevit.network import MobileViTBlock
from mvdeploy.records import PatchSize
from mvdeploy.records.spec import parse_patches

Reach = npt.NDArray[np.bool_]


def influence(block: MobileViTBlock, size: tuple[int, int]) -> Reach:
    """Return (height out, width out, height in, width in): nonzero gradients of the transformer."""
    x = torch.rand(1, 4, *size, dtype=torch.double, requires_grad=True)
    tokens = block.unfold(block.project_in(block.local(x)))
    out = block.fold(block.norm(block.transformer(tokens)), *size)
    mixed = (out * torch.randn(out.shape[1], 1, 1, dtype=torch.double)).sum((0, 1))
    rows = []
    for pixel in mixed.flatten():
        (gradient,) = torch.autograd.grad(pixel, x, retain_graph=True)
        felt = gradient.abs().sum((0, 1))
        # Interpolation weights that are 0 in theory come out as 1e-16.
        rows.append((felt > 1e-11 * felt.max()).numpy())
    return np.stack(rows).reshape(*size, *size)


def make_block(patch: str, kernel: int = 3) -> MobileViTBlock:
    torch.manual_seed(0)
    block = MobileViTBlock(4, 8, parse_patches(patch)[0], [Attention(8)])
    if kernel != 3:
        block.local.conv = nn.Conv2d(4, 4, kernel, padding=kernel // 2)
    for layer in block.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.normal_(layer.weight, std=0.5)
    return block.double().eval()


@pytest.mark.parametrize(
    ("patch", "size", "kernel"),
    [
        ("2", (8, 8), 3),
        ("2", (7, 6), 3),
        ("3", (9, 9), 3),
        ("3", (8, 7), 3),
        ("4", (8, 8), 3),
        ("4", (7, 10), 3),
        ("8", (16, 8), 3),
        ("8", (11, 16), 3),
        ("4x2", (8, 6), 3),
        ("4x2", (6, 7), 3),
        ("2x8", (4, 9), 3),
        ("4", (8, 8), 1),
        ("4", (9, 8), 5),
    ],
)
def test_coverage_is_where_gradients_are_not_zero(
    patch: str, size: tuple[int, int], kernel: int
) -> None:
    block = make_block(patch, kernel)
    felt = influence(block, size)
    window = Window(kernel, padding=(kernel // 2,) * 2)
    rows = axis_reach(size[0], [window], block.unfold.patch.height)
    columns = axis_reach(size[1], [window], block.unfold.patch.width)
    expected = rows[:, None, :, None] & columns[None, :, None, :]
    assert np.array_equal(felt, expected)
    shares = felt.mean(axis=(2, 3))
    found = coverage(size, [(window, window)], block.unfold.patch)
    assert found.min == pytest.approx(shares.min())
    assert found.mean == pytest.approx(shares.mean())


SAME = Window(3, padding=(1, 1))


@pytest.mark.parametrize(
    ("side", "patch", "lines"),
    [
        # Lines of the map that reach a pixel, for each place in a patch. A place at the patch's
        # edge has its window end at the map's border once.
        (32, 8, [11, 12, 12, 12, 12, 12, 12, 11]),
        (16, 4, [11, 12, 12, 11]),
        (8, 4, [5, 6, 6, 5]),
        (18, 3, [17, 18, 17]),
        (8, 2, [8, 8]),
    ],
)
def test_by_hand(side: int, patch: int, lines: list[int]) -> None:
    reach = axis_reach(side, [SAME], patch)
    assert reach.sum(axis=1).tolist() == lines * (side // patch)
    found = coverage((side, side), [(SAME, SAME)], PatchSize(patch, patch))
    assert found.min == pytest.approx((min(lines) / side) ** 2)
    assert found.mean == pytest.approx((sum(lines) / len(lines) / side) ** 2)


def test_without_a_convolution_a_pixel_sees_its_own_place_only() -> None:
    assert coverage((16, 16), [], PatchSize(4, 2)).mean == 1 / 8


def test_a_patch_of_one_pixel_sees_all() -> None:
    found = coverage((5, 7), [], PatchSize(1, 1))
    assert (found.min, found.mean) == (1, 1)


@given(st.integers(1, 24), st.integers(1, 9), st.integers(0, 2))
def test_convolutions_only_widen(side: int, patch: int, more: int) -> None:
    patch = min(patch, side)
    narrow = axis_reach(side, [SAME] * more, patch)
    wide = axis_reach(side, [SAME] * (more + 1), patch)
    assert (wide | narrow == wide).all()
    assert narrow.diagonal().all()


@given(
    st.integers(8, 20),
    st.lists(
        st.builds(
            Window,
            kernel=st.integers(1, 3),
            stride=st.integers(1, 2),
            padding=st.integers(0, 2).map(lambda p: (p, p)),
            dilation=st.integers(1, 2),
        ),
        max_size=2,
    ),
)
@settings(max_examples=50)
def test_any_chain_of_convolutions_is_followed(length: int, windows: list[Window]) -> None:
    x = torch.eye(length, dtype=torch.double)[:, None]  # an impulse at every pixel
    for w in windows:
        assume(x.shape[-1] + 2 * w.padding[0] >= w.field)
        ones = torch.ones(1, 1, w.kernel, dtype=torch.double)
        x = F.conv1d(x, ones, stride=w.stride, padding=w.padding[0], dilation=w.dilation)
    # In one patch as large as the map, attention has a single token and mixes nothing.
    reach = axis_reach(length, windows, x.shape[-1])
    assert np.array_equal(reach, (x[:, 0].T > 0).numpy())


def test_span_is_the_receptive_field_of_the_chain() -> None:
    assert span([]) == 1
    assert span([SAME]) == 3
    assert span([SAME, Window(1), SAME]) == 5
    assert span([Window(3, dilation=2)]) == 5
    assert span([Window(3, stride=2), Window(3)]) == 7
