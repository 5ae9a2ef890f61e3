from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from mvdeploy import passes
from mvdeploy.errors import CheckFailed, UsageError
from mvdeploy.passes import fold_batchnorm
from mvdeploy.records import PassReport

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


CONV = {
    "plain": lambda: nn.Conv2d(3, 4, 3),
    "without bias": lambda: nn.Conv2d(3, 4, 3, bias=False),
    "strided": lambda: nn.Conv2d(3, 4, 3, stride=2, padding=1, dilation=2),
    "padded with the edge": lambda: nn.Conv2d(3, 4, 3, padding=1, padding_mode="replicate"),
    "depthwise": lambda: nn.Conv2d(3, 3, 3, groups=3),
    "depthwise without bias": lambda: nn.Conv2d(3, 6, 3, groups=3, bias=False),
    "grouped": lambda: nn.Conv2d(3, 6, 1, groups=3),
}
NORM: dict[str, Callable[[int], nn.Module]] = {
    "plain": lambda n: nn.BatchNorm2d(n),
    "without affine": lambda n: nn.BatchNorm2d(n, affine=False),
    "large eps": lambda n: nn.BatchNorm2d(n, eps=0.5),
}


@pytest.mark.parametrize("conv", CONV)
@pytest.mark.parametrize("norm", NORM)
def test_folds_into_every_kind_of_convolution(
    initialised, fold, images, conv: str, norm: str
) -> None:
    layer = CONV[conv]()
    network = initialised(nn.Sequential(layer, NORM[norm](layer.out_channels), nn.SiLU()))
    folded, report = fold(network, images())
    assert report.changed == ("1 into 0",)
    assert isinstance(folded.get_submodule("1"), nn.Identity)
    assert folded.get_submodule("0").bias is not None


TRANSPOSED = {
    "plain": lambda: nn.ConvTranspose2d(3, 4, 3),
    "without bias": lambda: nn.ConvTranspose2d(3, 4, 3, 2, 1, 1, bias=False),
    "grouped": lambda: nn.ConvTranspose2d(6, 4, 3, groups=2),
    "depthwise": lambda: nn.ConvTranspose2d(4, 4, 3, groups=4),
}


@pytest.mark.parametrize("conv", TRANSPOSED)
def test_folds_into_transposed_convolutions(initialised, fold, images, conv: str) -> None:
    layer = TRANSPOSED[conv]()
    network = initialised(nn.Sequential(layer, nn.BatchNorm2d(4), nn.SiLU()))
    _, report = fold(network, images(2, layer.in_channels, 6, 5))
    assert report.changed == ("1 into 0",)


@pytest.mark.parametrize("between", [nn.Dropout2d(0.5), nn.Dropout(0.5), nn.Identity()])
def test_folds_through_what_does_nothing_in_inference(
    initialised, fold, images, between: nn.Module
) -> None:
    _, report = fold(initialised(nn.Sequential(c(), between, b())), images())
    assert report.changed == ("2 into 0",)


def test_folds_a_synchronised_batchnorm(initialised, fold, images) -> None:
    network = initialised(nn.SyncBatchNorm.convert_sync_batchnorm(nn.Sequential(c(), b())))
    assert isinstance(network.get_submodule("1"), nn.SyncBatchNorm)
    _, (report,) = passes.apply(network, images())
    assert report.changed == ("1 into 0",)


class FrozenBatchNorm2d(nn.Module):
    """A BatchNorm whose numbers are buffers, as libraries for detection have it."""

    def __init__(self, features: int, eps: float = 1e-5, extra: float = 0.0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        for name in ("weight", "bias", "running_mean", "running_var"):
            self.register_buffer(name, torch.rand(features, generator=generator) + 0.5)
        self.eps, self.extra = eps, extra

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = self.weight.reshape(1, -1, 1, 1), self.bias.reshape(1, -1, 1, 1)
        mean, variance = self.running_mean.reshape(1, -1, 1, 1), self.running_var
        scale = weight * (variance.reshape(1, -1, 1, 1) + self.eps).rsqrt()
        return x * scale + (bias - mean * scale) + self.extra


def test_folds_a_frozen_batchnorm(initialised, images) -> None:
    network = initialised(nn.Sequential(c(), FrozenBatchNorm2d(3, eps=0.1)))
    _, (report,) = passes.apply(network, images())
    assert report.changed == ("1 into 0",)
    network = initialised(nn.Sequential(c(), FrozenBatchNorm2d(3, extra=0.1)))
    _, (report,) = passes.apply(network, images())
    assert (report.changed, len(report.left)) == ((), 1)
    assert "its class or a hook" in report.left[0]


class Acting(nn.BatchNorm2d):
    """A BatchNorm with its activation inside, as timm has it."""

    def __init__(self, features: int, extra: float = 0.0) -> None:
        super().__init__(features)
        self.drop, self.act, self.extra = nn.Identity(), nn.ReLU(inplace=True), extra

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.act(self.drop(super().forward(x))) + self.extra
        return result


def test_what_a_batchnorm_holds_stays_where_it_is(initialised, fold, images) -> None:
    folded, report = fold(initialised(nn.Sequential(c(), Acting(3))), images())
    assert report.changed == ("1 into 0",)
    assert isinstance(folded.get_submodule("1.act"), nn.ReLU)
    _, report = fold(initialised(nn.Sequential(c(), Acting(3, extra=0.1))), images())
    assert report.changed == ()


def test_folds_through_a_view_of_rows(initialised, fold, images) -> None:
    """LeViT has BatchNorm1d over all tokens of all images."""
    rows = Net(
        lambda m, x: m.n(m.l(x).flatten(0, 1)).reshape(2, 6, 7),
        l=nn.Linear(5, 7),
        n=nn.BatchNorm1d(7),
    )
    _, report = fold(initialised(rows), images(2, 6, 5))
    assert report.changed == ("n into l",)
    used = Net(
        lambda m, x: m.n((y := m.l(x)).flatten(0, 1)) + y[0, 0],
        l=nn.Linear(5, 7),
        n=nn.BatchNorm1d(7),
    )
    _, report = fold(initialised(used), images(2, 6, 5))
    assert "is used elsewhere too" in report.left[0]


def test_a_network_may_amplify_what_float32_rounds(initialised, images) -> None:
    """The sine of a large number changes with its last digit in float32."""
    network = Net(lambda m, x: (m.n(m.a(x)) * 1e6).sin(), a=c(), n=b())
    network = initialised(network).float()
    _, (report,) = passes.apply(network, images().float())
    assert report.changed == ("n into a",)
    assert report.max_abs_difference > 1e-3


@pytest.mark.parametrize(
    ("layers", "shape"),
    [
        ([nn.Linear(5, 7), nn.BatchNorm1d(7)], (4, 5)),
        ([nn.Linear(5, 7, bias=False), nn.BatchNorm1d(7)], (4, 5)),
        ([nn.Conv1d(5, 7, 3), nn.BatchNorm1d(7)], (2, 5, 8)),
        ([nn.Conv3d(2, 3, 3), nn.BatchNorm3d(3)], (2, 2, 4, 4, 4)),
    ],
)
def test_folds_in_other_dimensions(
    initialised, fold, images, layers: list[nn.Module], shape: tuple[int, ...]
) -> None:
    _, report = fold(initialised(nn.Sequential(*layers)), images(*shape))
    assert report.changed == ("1 into 0",)


class Net(nn.Module):
    """A network with a forward of its own."""

    def __init__(self, forward: Callable[[Net, Tensor], Tensor], **modules: nn.Module) -> None:
        super().__init__()
        self._forward = forward
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, x: Tensor) -> Tensor:
        return self._forward(self, x)


def c(cin: int = 3, cout: int = 3) -> nn.Module:
    return nn.Conv2d(cin, cout, 3, padding=1)


def b(n: int = 3, **options: object) -> nn.Module:
    return nn.BatchNorm2d(n, **options)  # type: ignore[arg-type]


class Doubling(nn.Conv2d):
    """A convolution that computes more than its weights say."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x).tanh()


class Activating(nn.BatchNorm2d):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).relu()


def hooked() -> nn.Module:
    conv = c()
    conv.register_forward_hook(lambda module, args, out: out.tanh())
    return conv


STAYS = {
    "before the convolution": (nn.Sequential(b(), c()), "no convolution"),
    "after an activation": (nn.Sequential(c(), nn.ReLU(), b()), "no convolution"),
    "after an activation in place": (
        nn.Sequential(c(), nn.ReLU(inplace=True), b()),
        "relu_ changes its input in place",
    ),
    "after pooling": (nn.Sequential(c(), nn.MaxPool2d(2), b()), "no convolution"),
    "no statistics": (nn.Sequential(c(), b(track_running_stats=False)), "no running statistics"),
    "shared normalisation": (
        Net(lambda m, x: m.n(m.a(x)) + m.n(m.b(x)), a=c(), b=c(), n=b()),
        "it runs more than once",
    ),
    "shared normalisation, called by name": (
        Net(lambda m, x: m.n(m.a(x)) + m.n(input=m.b(x)), a=c(), b=c(), n=b()),
        "it runs more than once",
    ),
    "shared convolution": (
        Net(lambda m, x: m.n(m.a(x)) + m.a(x + 1), a=c(), n=b()),
        "the layer before it is shared",
    ),
    "output used twice": (Net(lambda m, x: (y := m.a(x)) + m.n(y), a=c(), n=b()), "used elsewhere"),
    "output used twice, as a view": (
        Net(lambda m, x: m.n(y := m.a(x)) + y.flatten(2).mean(), a=c(), n=b()),
        "used elsewhere",
    ),
    "output used before": (
        Net(lambda m, x: (y := m.a(x)).mean() + m.n(y), a=c(), n=b()),
        "used elsewhere",
    ),
    "output of the network": (
        Net(lambda m, x: (y := m.a(x), m.n(y))[0], a=c(), n=b()),
        "used elsewhere",
    ),
    "output written to": (
        Net(lambda m, x: m.n(m.a(x).mul_(3)), a=c(), n=b()),
        "mul_ changes its input in place",
    ),
    "never runs": (Net(lambda m, x: m.a(x), a=c(), n=b()), "did not run"),
    "another axis": (
        Net(lambda m, x: m.n(m.a(x)), a=nn.Linear(5, 4), n=nn.BatchNorm1d(6)),
        "another axis",
    ),
    "weights shared by hand": (
        Net(lambda m, x: m.n(m.a(x)) + F.conv2d(x, m.a.weight, padding=1), a=c(), n=b()),
        "the weight of the layer before it is read elsewhere too",
    ),
    "a bias that is read": (
        Net(lambda m, x: m.n(m.a(x)) + m.a.bias.sum(), a=c(), n=b()),
        "the bias of the layer before it is read elsewhere too",
    ),
    "a scale that is read": (
        Net(lambda m, x: m.n(m.a(x)) * m.n.weight.view(1, -1, 1, 1), a=c(), n=b()),
        "its weight is read elsewhere too",
    ),
    "a mean that is read": (
        Net(lambda m, x: m.n(m.a(x)) - m.n.running_mean.mean(), a=c(), n=b()),
        "its running_mean is read elsewhere too",
    ),
    "a convolution of another kind": (
        nn.Sequential(Doubling(3, 3, 3), b()),
        "computes more than its class does",
    ),
    "a normalisation of another kind": (nn.Sequential(c(), Activating(3)), "its class"),
    "a hook on the convolution": (
        nn.Sequential(hooked(), b()),
        "computes more than its class does",
    ),
    "weights that are computed": (
        nn.Sequential(parametrizations.weight_norm(c()), b()),
        "or computes its weights",
    ),
}


@pytest.mark.parametrize("case", STAYS)
def test_a_batchnorm_that_cannot_go_stays_with_a_reason(
    initialised, fold, images, case: str
) -> None:
    made, reason = STAYS[case]
    example = images(2, 6, 5) if case == "another axis" else images()
    network = initialised(copy.deepcopy(made))
    _, report = fold(network, example)
    assert report.changed == ()
    assert reason in report.left[0]


def test_two_convolutions_that_share_a_weight_fold_apart(initialised, fold, images) -> None:
    network = initialised(Net(lambda m, x: m.n(m.a(x)) + m.o(m.b(x)), a=c(), b=c(), n=b(), o=b()))
    network.b.weight = network.a.weight  # type: ignore[union-attr]
    _, report = fold(network, images())
    assert report.changed == ("n into a", "o into b")


def test_a_batchnorm_with_two_names_goes_from_both(initialised, fold, images) -> None:
    norm = b()
    network = initialised(Net(lambda m, x: m.all(x), n=norm, all=nn.Sequential(c(), norm)))
    folded, report = fold(network, images())
    assert report.changed == ("n into all.0",)
    assert isinstance(folded.get_submodule("all.1"), nn.Identity)


def test_a_row_of_batchnorms_goes_as_a_whole(initialised, fold, images) -> None:
    network = initialised(nn.Sequential(c(), b(), nn.Identity(), b(), b()))
    _, report = fold(network, images())
    assert report.changed == ("1 into 0", "3 into 0", "4 into 0")


@pytest.mark.parametrize("part", ["all", "norm"])
def test_training_mode_is_refused(initialised, images, part: str) -> None:
    network = initialised(nn.Sequential(nn.Sequential(c(), b())))
    network.train() if part == "all" else network.get_submodule("0.1").train()
    with pytest.raises(UsageError, match=r"training mode \('0\.1'\)"):
        passes.apply(network, images())


def test_training_mode_without_a_batchnorm_is_refused(images) -> None:
    with pytest.raises(UsageError, match=r"training mode\."):
        passes.apply(nn.Sequential(c()).double().train(), images())


def test_a_network_without_batchnorm_stays_as_it_is(initialised, fold, images) -> None:
    _, report = fold(initialised(nn.Sequential(c())), images())
    assert report == PassReport("fold_batchnorm")


# The real network, and folds that are wrong


def test_every_batchnorm_of_mobilevit_goes(built) -> None:
    network = built()
    count = sum(isinstance(m, NORMS) for m in network.modules())
    folded, (report,) = passes.apply(network, torch.rand(1, 3, 64, 64))
    assert (len(report.changed), report.left) == (count, ())
    assert count == 32
    assert not any(isinstance(m, NORMS) for m in folded.modules())
    assert any(isinstance(m, NORMS) for m in network.modules())
    assert 0 < report.max_abs_difference < 1e-4


def without_eps(layer: nn.Module, norm: nn.Module) -> None:
    norm.eps = 0.0  # type: ignore[assignment]
    RIGHT(layer, norm)  # type: ignore[arg-type]


def without_mean(layer: nn.Module, norm: nn.Module) -> None:
    norm.running_mean.zero_()  # type: ignore[union-attr, operator]
    RIGHT(layer, norm)  # type: ignore[arg-type]


def without_root(layer: nn.Module, norm: nn.Module) -> None:
    norm.running_var.square_()  # type: ignore[union-attr, operator]
    RIGHT(layer, norm)  # type: ignore[arg-type]


def with_nan(layer: nn.Module, norm: nn.Module) -> None:
    RIGHT(layer, norm)  # type: ignore[arg-type]
    with torch.no_grad():
        layer.bias[0] = torch.nan  # type: ignore[index]


RIGHT = fold_batchnorm._fold


@pytest.mark.parametrize("wrong", [without_eps, without_mean, without_root, with_nan])
def test_a_wrong_fold_is_caught(
    built, monkeypatch: pytest.MonkeyPatch, wrong: Callable[[nn.Module, nn.Module], None]
) -> None:
    network, example = copy.deepcopy(built()), torch.rand(1, 3, 64, 64)
    for module in network.modules():
        if isinstance(module, NORMS):
            module.eps = 1e-3
    passes.apply(network, example)
    monkeypatch.setattr(fold_batchnorm, "_fold", wrong)
    by_nan = "The pass fold_batchnorm moved the outputs by nan"
    message = by_nan if wrong is with_nan else "folded into '.*' computes something else"
    with pytest.raises(CheckFailed, match=message):
        passes.apply(network, example)
    # The outputs show it as well.
    monkeypatch.setattr(fold_batchnorm, "_fold_checked", lambda pair: wrong(pair.layer, pair.norm))
    with pytest.raises(CheckFailed, match="The pass fold_batchnorm moved the outputs by"):
        passes.apply(network, example)


def test_a_fold_that_does_not_happen_is_caught(
    initialised, images, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fold_batchnorm, "rewrite", lambda network, example: ([], []))
    with pytest.raises(CheckFailed, match="BatchNorm '1' could be folded but was not"):
        passes.apply(initialised(nn.Sequential(c(), b())), images())


def test_a_network_that_gives_nan_passes_no_check(initialised, images) -> None:
    network = initialised(nn.Sequential(c(), b()))
    network.get_submodule("0").bias.data[0] = torch.nan  # type: ignore[union-attr, index]
    with pytest.raises(CheckFailed, match="by nan"):
        passes.apply(network, images())


def test_an_unknown_pass_is_refused(images) -> None:
    with pytest.raises(UsageError, match="There is no pass 'fold_softmax'"):
        passes.apply(nn.Identity().eval(), images(), ("fold_softmax",))


def test_passes_run_in_the_order_that_is_asked_for(initialised, images) -> None:
    network = initialised(nn.Sequential(c(), b()))
    _, reports = passes.apply(network, images(), ("fold_batchnorm", "fold_batchnorm"))
    assert [len(report.changed) for report in reports] == [1, 0]


class Padded(nn.Conv2d):
    """Pads its input first, as timm's Conv2dSame."""

    def forward(self, x: Tensor) -> Tensor:
        return self._conv_forward(nn.functional.pad(x, (0, 1, 0, 1)), self.weight, self.bias)


class Offset(nn.Conv2d):
    """Adds what is no multiple of its weights."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + 1.0


@pytest.mark.parametrize(("kind", "folds"), [(Padded, True), (Offset, False)])
def test_a_subclass_takes_a_norm_where_its_outputs_scale_with_its_weights(
    kind: type[nn.Conv2d], folds: bool
) -> None:
    network = nn.Sequential(kind(3, 4, 3, bias=False), nn.BatchNorm2d(4)).eval()
    nn.init.normal_(network[1].running_mean, generator=torch.Generator().manual_seed(0))
    image = torch.rand(1, 3, 8, 8)
    folded, (report,) = passes.apply(network, image, ("fold_batchnorm",))
    assert bool(report.changed) is folds
    assert torch.allclose(network(image), folded(image), atol=1e-5)
