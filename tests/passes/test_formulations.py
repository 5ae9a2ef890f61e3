"""Formulations: other operators, the same weights and outputs."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

from mvdeploy import models, passes, plugins
from mvdeploy.errors import CheckFailed, UsageError
from mvdeploy.passes import fold_batchnorm
from mvdeploy.records import Category
from mvdeploy.records.spec import parse_patches


def test_every_pass_is_in_a_formulation_and_exists() -> None:
    named = set(itertools.chain(passes.PREPARATION, *passes.FORMULATIONS.values()))
    assert named == set(plugins.names("mvdeploy.passes"))
    assert passes.FORMULATIONS["plain"] == passes.ORDER == ("fold_batchnorm",)


def test_an_unknown_formulation_is_refused() -> None:
    with pytest.raises(UsageError, match="no formulation 'delegabel'"):
        passes.check("delegabel")
    passes.check("delegable")


@pytest.mark.parametrize("patches", ["2,2,2", "4x2,2,2", "3,3,3"])
def test_the_delegable_network_computes_the_same(patches: str) -> None:
    spec = models.make_spec("mobilevit_xxs", patches=parse_patches(patches), image_size=(96, 128))
    network = models.build(spec)
    example = torch.rand(2, 3, 96, 128)
    rewritten, reports = passes.apply(network, example, passes.FORMULATIONS["delegable"])
    changed = {report.name: len(report.changed) for report in reports}
    assert changed == {"fold_batchnorm": 32, "separate_attention": 9}
    assert not any(report.left for report in reports)
    other = torch.rand(1, 3, 96, 128, generator=torch.Generator().manual_seed(0)).double()
    with torch.inference_mode():
        before, after = network.double()(other), rewritten.double()(other)
    assert float(before.abs().max()) > 0.1
    torch.testing.assert_close(after, before, rtol=0, atol=1e-5)


def test_rounding_is_not_taken_for_a_change() -> None:
    """In float32 the order of sums alone moves the outputs by as much as is allowed."""
    spec = models.make_spec("mobilevit_xxs", image_size=(96, 128))
    network = models.build(spec)
    example = torch.rand(2, 3, 96, 128, generator=torch.Generator().manual_seed(0))
    _, reports = passes.apply(network, example, passes.FORMULATIONS["delegable"])
    assert 0 < sum(report.max_abs_difference for report in reports) < 4e-6


class Fixed(nn.Module):
    """Insists on float32, as a constant in the code of a network makes it."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x) @ torch.ones(5, 2)


def test_a_network_that_runs_in_float32_only_is_checked_too() -> None:
    network, example = Fixed().eval(), torch.rand(1, 3, 4, 5)
    folded, (report,) = passes.apply(network, example)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    assert report.max_abs_difference < 1e-5


def test_the_operators_are_those_that_delegates_take() -> None:
    spec = models.make_spec("mobilevit_xxs", image_size=(64, 64))
    network, _ = passes.apply(
        models.build(spec), torch.rand(1, 3, 64, 64), passes.FORMULATIONS["delegable"]
    )
    program = torch.export.export(network, (torch.rand(1, 3, 64, 64),))
    made = {str(n.target).split(".")[1] for n in program.graph.nodes if n.op == "call_function"}
    assert made.isdisjoint({"matmul", "split", "unbind", "batch_norm"})
    assert {"bmm", "layer_norm", "softmax"} <= made


def test_weights_are_shared_not_made_anew() -> None:
    spec = models.make_spec("mobilevit_xxs", image_size=(64, 64))
    network = models.build(spec)
    rewritten, _ = passes.apply(
        network, torch.rand(1, 3, 64, 64), passes.FORMULATIONS["delegable"][1:]
    )
    before, after = network.state_dict(), rewritten.state_dict()
    same = {name for name in before if name in after and torch.equal(before[name], after[name])}
    gone = {name for name in before if name not in after}
    assert all(".qkv." in name for name in gone)
    assert same == before.keys() - gone
    assert {name.split(".")[-2] for name in after.keys() - before.keys()} == {"q", "k", "v"}
    for path in {name.rsplit(".", 2)[0] for name in gone}:
        dim = after[f"{path}.q.weight"].shape[0]
        packed = [after[f"{path}.{part}.weight"] for part in "qkv"]
        packed[0] = packed[0] * (dim // 4) ** 0.5
        torch.testing.assert_close(torch.cat(packed), before[f"{path}.qkv.weight"])


def test_the_module_table_covers_what_was_added() -> None:
    spec = models.make_spec("mobilevit_xxs", image_size=(64, 64))
    network = models.build(spec)
    built = models.module_table(network)
    rewritten, _ = passes.apply(network, torch.rand(1, 3, 64, 64), passes.FORMULATIONS["delegable"])
    whole = models.with_added(built, rewritten)
    assert {path for path, _ in rewritten.named_modules()} <= whole.keys()
    assert {path: whole[path] for path in built} == built
    q = whole["layer_3.1.transformer.0.attention.q"]
    assert (q.class_name, q.category, q.declared) == ("Linear", Category.ATTENTION, True)
    # What stands in for a module declares what that one declared.
    assert models.module_table(rewritten)["layer_3.1.norm"].category is Category.FFN
    plain, _ = passes.apply(network, torch.rand(1, 3, 64, 64))
    assert models.with_added(built, plain) == built


def test_a_wrong_separation_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    from mvdeploy.models.families.mobilevit import attention as module

    spec = models.make_spec("mobilevit_xxs", image_size=(64, 64))
    network, example = models.build(spec), torch.rand(1, 3, 64, 64)
    right = module._scaled_linear

    def unscaled(weight: torch.Tensor, bias: torch.Tensor, scale: float) -> nn.Linear:
        return right(weight, bias, 1.0)

    monkeypatch.setattr(module, "_scaled_linear", unscaled)
    with pytest.raises(CheckFailed, match="The pass separate_attention moved the outputs by"):
        passes.apply(network, example, ("separate_attention",))


def test_a_promise_that_is_not_kept_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    from mvdeploy.passes import separate_attention

    monkeypatch.setattr(separate_attention, "rewrite", lambda network, example: ([], []))
    network = models.build(models.make_spec("mobilevit_xxs", image_size=(64, 64)))
    with pytest.raises(CheckFailed, match="could be separated but was not"):
        passes.apply(network, torch.rand(1, 3, 64, 64), ("separate_attention",))


class Two(nn.Module):
    """Returns a dict of a tensor and a tuple, the second of which no pass may touch."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)

    def forward(self, x: torch.Tensor) -> dict[str, object]:
        out = self.norm(self.conv(x))
        return {"scores": out, "rest": (x.mean(), x.argmax(dim=1))}


def test_every_output_of_a_network_is_checked() -> None:
    network, example = Two().eval(), torch.rand(1, 3, 4, 4)
    rewritten, (report,) = passes.apply(network, example)
    assert report.changed == ("norm into conv",)
    assert set(rewritten(example)) == {"scores", "rest"}


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (lambda x: {"scores": x, "rest": (x.mean() + 1, x)}, r"\(result\['rest'\]\[0\]\) by 1;"),
        (lambda x: {"scores": x}, r"made other outputs of result\['scores'\], result"),
        (lambda x: {"scores": x * torch.nan, "rest": (x.mean(), x)}, r"\['scores'\]\) by nan"),
    ],
)
def test_the_output_that_a_pass_moved_is_named(
    result, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Plain(nn.Module):
        def forward(self, x: torch.Tensor) -> object:
            return {"scores": x, "rest": (x.mean(), x)}

    def rewrite(network: nn.Module, example: torch.Tensor) -> tuple[list[str], list[str]]:
        network.forward = result  # type: ignore[assignment]
        return [], []

    monkeypatch.setattr(fold_batchnorm, "rewrite", rewrite)
    with pytest.raises(CheckFailed, match=message):
        passes.apply(Plain().eval(), torch.ones(1, 3, 2, 2))
