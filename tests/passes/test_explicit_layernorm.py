from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from mvdeploy import passes
from mvdeploy.errors import CheckFailed
from mvdeploy.passes import explicit_layernorm
from mvdeploy.passes.explicit_layernorm import ExplicitLayerNorm

NAME = ("explicit_layernorm",)


class Fast(nn.LayerNorm):
    """A subclass with a forward of its own that computes the same, as timm's."""

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)


class Channels(nn.LayerNorm):
    """Normalises the channels of a map, as timm's LayerNorm2d."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Doubling(nn.LayerNorm):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


def hooked() -> nn.Module:
    norm = nn.LayerNorm(5)
    norm.register_forward_hook(lambda module, args, out: out.tanh())
    return norm


class Skipping(nn.Sequential):
    def forward(self, x: Tensor) -> Tensor:
        return x * 2


@given(
    dim=st.integers(1, 40),
    rows=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    affine=st.sampled_from([(True, True), (True, False), (False, False)]),
    eps=st.sampled_from([1e-6, 1e-5, 1e-2]),
    offset=st.floats(-10, 10),
    fast=st.booleans(),
)
def test_it_computes_what_a_layernorm_does(
    initialised, dim: int, rows: list[int], affine, eps: float, offset: float, fast: bool
) -> None:
    kind = Fast if fast else nn.LayerNorm
    norm = kind(dim, eps, elementwise_affine=affine[0], bias=affine[1])
    network = initialised(nn.Sequential(norm))
    x = torch.randn(*rows, dim, dtype=torch.double) + offset
    written, (report,) = passes.apply(network, x, NAME)
    assert report.changed == ("0",)
    assert isinstance(written.get_submodule("0"), ExplicitLayerNorm)
    torch.testing.assert_close(written(x), network(x), rtol=1e-7, atol=1e-7)
    names = [name for name, _ in norm.named_parameters()]
    assert [name for name, _ in written.get_submodule("0").named_parameters()] == names


STAYS: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "two dimensions": (lambda: nn.LayerNorm((6, 5)), "normalises 2 dimensions"),
    "channels": (lambda: Channels(3), "its class computes something else"),
    "a class that doubles": (lambda: Doubling(5), "its class computes something else"),
    "a hook": (hooked, "a hook or a parametrization"),
    "not run": (lambda: Skipping(nn.LayerNorm(5)), "did not run"),
}


@pytest.mark.parametrize("case", STAYS)
def test_what_is_no_plain_layernorm_stays_with_a_reason(initialised, images, case: str) -> None:
    make, reason = STAYS[case]
    network = initialised(nn.Sequential(make()))
    written, (report,) = passes.apply(network, images(), NAME)
    assert report.changed == ()
    assert len(report.left) == 1
    assert reason in report.left[0]
    assert torch.equal(written(x := images()), network(x))


def test_a_shared_layernorm_goes_from_all_its_places(initialised, images) -> None:
    norm = nn.LayerNorm(5)
    written, (report,) = passes.apply(
        initialised(nn.Sequential(norm, nn.Tanh(), norm)), images(), NAME
    )
    assert report.changed == ("0",)
    assert written.get_submodule("0") is written.get_submodule("2")
    assert isinstance(written.get_submodule("2"), ExplicitLayerNorm)


def test_a_declared_category_stays(initialised, images) -> None:
    class Own(nn.LayerNorm):
        category = "mine"

    written, _ = passes.apply(initialised(nn.Sequential(Own(5), nn.LayerNorm(5))), images(), NAME)
    assert written.get_submodule("0").category == "mine"
    assert not hasattr(written.get_submodule("1"), "category")


def test_a_replacement_that_does_not_happen_is_caught(
    initialised, images, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(explicit_layernorm, "rewrite", lambda network, example: ([], []))
    with pytest.raises(CheckFailed, match="LayerNorm '0' could be written out but was not"):
        passes.apply(initialised(nn.Sequential(nn.LayerNorm(5))), images(), NAME)


def test_a_wrong_replacement_is_caught(
    initialised, images, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = initialised(nn.Sequential(nn.LayerNorm(5, eps=0.1)))

    def forgets_eps(self: ExplicitLayerNorm, x: Tensor) -> Tensor:
        self.eps = 0.0
        return RIGHT(self, x)

    monkeypatch.setattr(ExplicitLayerNorm, "forward", forgets_eps)
    with pytest.raises(CheckFailed, match="The pass explicit_layernorm moved the outputs by"):
        passes.apply(network, images(), NAME)


RIGHT = ExplicitLayerNorm.forward
