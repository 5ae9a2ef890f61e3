from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from mvdeploy import passes
from mvdeploy.errors import CheckFailed, UsageError
from mvdeploy.models import zoo
from mvdeploy.passes import inference_form


class Two(nn.Module):
    """A sum of two linear layers; `form` gives it in inference."""

    def __init__(self, wrong: float = 0.0) -> None:
        super().__init__()
        self.a, self.b, self.wrong = nn.Linear(4, 4), nn.Linear(4, 4), wrong

    def forward(self, x: Tensor, *, factor: float = 1.0) -> Tensor:
        return factor * (self.a(x) + self.b(x))

    def one(self) -> nn.Module:
        one = nn.Linear(4, 4)
        one.weight.data = self.a.weight + self.b.weight
        one.bias.data = self.a.bias + self.b.bias + self.wrong
        return one


class Returning(Two):
    def fuse(self) -> nn.Module:
        return self.one()


class Changing(Two):
    """Changes in place, and can be asked again."""

    def forward(self, x: Tensor) -> Tensor:
        return self.c(x) if hasattr(self, "c") else super().forward(x)

    def reparameterize(self) -> None:
        if not hasattr(self, "c"):
            self.c = self.one()
            del self.a, self.b


class Deploying(Changing):
    reparameterize = None  # type: ignore[assignment]

    def switch_to_deploy(self) -> None:
        Changing.reparameterize(self)


class Around(nn.Module):
    """Fuses what it holds by itself, or cannot."""

    def __init__(self, able: bool) -> None:
        super().__init__()
        self.able, self.inner = able, Returning()

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x)

    def fuse(self) -> nn.Module:
        if not self.able:
            raise ValueError("not this kind\nnor others")
        return self.inner.fuse()


class Other(Two):
    """Has methods of these names that mean something else."""

    def fuse(self, x: Tensor) -> Tensor:
        return self.a(x)


class Text(Two):
    def fuse(self) -> str:
        return "fused"


TAKEN = {
    "returns": (lambda: nn.Sequential(Returning()), ["0 (Returning): 40 numbers, now 20"]),
    "changes": (lambda: nn.Sequential(Changing()), ["0 (Changing): 40 numbers, now 20"]),
    "deploys": (lambda: nn.Sequential(Deploying()), ["0 (Deploying): 40 numbers, now 20"]),
    "holds": (lambda: nn.Sequential(Around(able=True)), ["0 (Around): 40 numbers, now 20"]),
    "inside": (
        lambda: nn.Sequential(nn.Sequential(Around(able=False), nn.ReLU()), Changing()),
        ["1 (Changing): 40 numbers, now 20", "0.0.inner (Returning): 40 numbers, now 20"],
    ),
}


def network(make: Callable[[], nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return make().double().eval()


@pytest.mark.parametrize("kind", TAKEN)
def test_modules_are_taken_in_their_form_for_inference(kind: str, images) -> None:
    make, lines = TAKEN[kind]
    given = network(make)
    before, x = copy.deepcopy(given.state_dict()), images(2, 4)
    written, (report,) = passes.prepare(given, x)
    assert list(report.changed) == lines
    assert report.max_abs_difference < 1e-6
    assert given.state_dict().keys() == before.keys()
    again, reports = passes.prepare(written, x)
    assert [line for report in reports for line in report.changed] == []
    torch.testing.assert_close(again(x), given(x), rtol=0, atol=1e-6)


LEFT = {
    "fails": (
        lambda: nn.Sequential(Around(able=False)),
        "0: its fuse() does not give a module that runs: not this kind",
    ),
    "wrong": (lambda: nn.Sequential(Returning(wrong=0.01)), "0: its fuse() moves its outputs by"),
    "text": (lambda: nn.Sequential(Text()), "0: its fuse() returns a str"),
}


@pytest.mark.parametrize("kind", LEFT)
def test_what_cannot_be_taken_is_left_with_the_reason(kind: str, images) -> None:
    make, reason = LEFT[kind]
    _, (report,) = passes.prepare(network(make), images(2, 4))
    assert any(line.startswith(reason) for line in report.left)


def test_what_did_not_run_is_left(images) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.unused = Returning(), Returning()

        def forward(self, x: Tensor) -> Tensor:
            return self.used(x, factor=3.0) if x.dim() == 1 else self.used.a(x)

    _, (report,) = passes.prepare(network(Net), images(2, 4))
    assert report.left == ("used: it did not run", "unused: it did not run")
    # A linear layer takes no factor.
    _, (report,) = passes.prepare(network(Net), images(4))
    assert "used: its fuse() does not give a module that runs" in report.left[0]


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.Sequential(Two()),
        lambda: nn.Sequential(Other()),
        lambda: Returning(),  # the network itself has no place to be exchanged in
    ],
)
def test_networks_without_another_form_are_not_concerned(make, images) -> None:
    given = network(make)
    assert not inference_form.concerns(given)
    assert passes.prepare(given, images(2, 4)) == (given, ())


class ConvNorm(nn.Sequential):
    def fuse(self) -> nn.Module:
        raise AssertionError("is the other pass's")


def test_a_layer_with_its_batchnorm_is_left_to_the_pass_that_folds(images) -> None:
    pair = ConvNorm(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    assert passes.prepare(network(lambda: nn.Sequential(pair)), images())[1] == ()


def test_of_timm_networks_the_branches_go() -> None:
    timm = zoo.load("timm")
    given = timm.create_model("mobileone_s0", num_classes=5).eval()
    example = torch.rand(1, 3, 32, 32)
    written, (report,) = passes.prepare(given, example)
    assert (len(report.changed), report.left) == (43, ())
    assert sum(isinstance(m, nn.BatchNorm2d) for m in written.modules()) == 0
    assert report.changed[0] == "stem (MobileOneBlock): 1,632 numbers, now 1,344"
    wanted = timm.utils.reparameterize_model(given)(example)
    torch.testing.assert_close(written(example), wanted, rtol=1e-4, atol=1e-4)
    assert passes.prepare(given, example, ("inference_form",)) == (given, ())


def test_a_pass_to_leave_out_has_to_exist() -> None:
    assert passes.known(("inference_form",)) == ("inference_form",)
    with pytest.raises(UsageError, match="There is no pass 'inference'"):
        passes.known(("inference",))


def test_a_pass_that_fails_names_the_flag(images, monkeypatch: pytest.MonkeyPatch) -> None:
    given = network(lambda: nn.Sequential(Returning()))

    def breaks(module: nn.Module, example: Tensor) -> tuple[list[str], list[str]]:
        module[0] = nn.Linear(7, 7)  # type: ignore[operator]
        return ["0"], []

    monkeypatch.setattr(inference_form, "rewrite", breaks)
    with pytest.raises(CheckFailed, match="The pass inference_form made a network that does not"):
        passes.prepare(given, images(2, 4))
    monkeypatch.setattr(inference_form, "rewrite", lambda *_: F.relu("x"))
    with pytest.raises(CheckFailed) as caught:
        passes.prepare(given, images(2, 4))
    assert "Leave it out with --without-pass inference_form" in caught.value.remedy
