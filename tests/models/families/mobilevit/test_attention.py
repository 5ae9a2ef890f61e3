"""MobileViT with other attention: counts, what it computes written out, and what is refused."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from mvdeploy import models
from mvdeploy.errors import UsageError
from mvdeploy.models.families.mobilevit import attention as forms
from mvdeploy.models.macs import count
from mvdeploy.passes import channels_first
from mvdeploy.records import ModelSpec
from mvdeploy.records.spec import parse_patches
from tests.warm import Server, started

OTHERS = ("linformer", "separable")


def spec(attention: str, model: str = "mobilevit_xxs", **asked: object) -> ModelSpec:
    return models.make_spec(model, arguments=(("attention", attention),), **asked)  # type: ignore


def tokens(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("model", "parameters"),
    [("mobilevit_xxs", 1_210_593), ("mobilevit_xs", 2_179_617), ("mobilevit_s", 5_216_913)],
)
def test_separable_has_the_parameters_that_were_counted(model: str, parameters: int) -> None:
    assert models.parameter_count(models.build(spec("separable", model))) == parameters


def test_linformer_adds_two_weights_for_each_token_and_projected_token() -> None:
    network = models.build(spec("linformer"))
    added = sum(layers * 2 * n * (n // 4) for layers, n in ((2, 256), (4, 64), (3, 16)))
    assert models.parameter_count(network) == 1_272_024 + added


def test_softmax_is_the_network_without_the_option() -> None:
    assert spec("softmax") == models.make_spec("mobilevit_xxs")


def test_linformer_with_projections_that_pass_all_on_is_softmax() -> None:
    plain = forms.Attention(16)
    linformer = forms.LinformerAttention(16, 10)
    for name in ("norm", "qkv", "proj"):
        setattr(linformer, name, getattr(plain, name))
    for name in ("project_keys", "project_values"):
        layer = nn.Linear(10, 10, bias=False)
        nn.init.eye_(layer.weight)
        setattr(linformer, name, layer)
    x = tokens(3, 10, 16)
    torch.testing.assert_close(linformer(x), plain(x))


def test_linformer_is_its_equation() -> None:
    layer = forms.LinformerAttention(8, 12)
    x = tokens(2, 12, 8)
    q, k, v = layer.qkv(layer.norm(x)).chunk(3, -1)
    heads = []
    for head in range(forms.HEADS):
        part = slice(2 * head, 2 * head + 2)
        keys = layer.project_keys.weight @ k[..., part]
        values = layer.project_values.weight @ v[..., part]
        assert keys.shape == (2, 3, 2)
        heads.append(torch.softmax(q[..., part] @ keys.mT / 2**0.5, -1) @ values)
    torch.testing.assert_close(layer(x), x + layer.proj(torch.cat(heads, -1)))


def test_separable_is_its_equation() -> None:
    layer = forms.SeparableAttention(8)
    x = tokens(2, 5, 8)
    mixed = layer.qkv(layer.norm(x))
    scores, k, v = torch.softmax(mixed[..., :1], 1), mixed[..., 1:9], mixed[..., 9:]
    context = torch.einsum("bns,bnd->bsd", scores, k)
    torch.testing.assert_close(layer(x), x + layer.proj(v.clamp_min(0) * context))


@pytest.mark.parametrize("attention", OTHERS)
def test_channels_first_computes_the_same(attention: str) -> None:
    network = models.build(spec(attention, image_size=(64, 64)))
    image = tokens(2, 3, 64, 64)
    with torch.no_grad():
        before = network(image)
        changed, _ = channels_first.rewrite(network, image)
        assert len(changed) == 3
        torch.testing.assert_close(network(image), before, rtol=1e-4, atol=1e-4)


def test_separable_multiplies_as_much_at_every_patch() -> None:
    image = tokens(1, 3, 256, 256)
    a, b = (
        count(models.build(spec("separable", patches=parse_patches(patches))), image)
        for patches in ("2,2,2", "8,4,2")
    )
    assert a == b == pytest.approx(314.1e6, abs=0.05e6)


@pytest.mark.parametrize("task", ["classify", "detect", "segment"])
def test_linformer_is_made_for_the_tokens_of_its_task(task: str) -> None:
    made = spec("linformer", task=task)
    network = models.build(made)
    sizes = [m.project_keys.in_features for m in network.modules() if hasattr(m, "project_keys")]
    expected = {"classify": (256, 64, 16), "detect": (400, 100, 25), "segment": (1024, 256, 256)}
    assert [sizes[0], sizes[2], sizes[6]] == list(expected[task])
    with torch.no_grad():
        network(tokens(1, 3, *made.image_size))


def test_weights_of_linformer_fit_one_size_and_those_of_separable_all(tmp_path: Path) -> None:
    for attention in OTHERS:
        saved = tmp_path / f"{attention}.pt"
        network = models.build(spec(attention, image_size=(128, 128)))
        torch.save(network.state_dict(), saved)
        same = models.build(spec(attention, image_size=(128, 128), weights=saved))
        assert models.fingerprint(same) == models.fingerprint(network)
    models.build(spec("separable", image_size=(192, 192), weights=tmp_path / "separable.pt"))
    with pytest.raises(UsageError, match="project_keys"):
        spec("linformer", image_size=(192, 192), weights=tmp_path / "linformer.pt")
    with pytest.raises(UsageError):
        models.make_spec("mobilevit_xxs", weights=tmp_path / "separable.pt")


@pytest.mark.parametrize("attention", OTHERS)
def test_halved_attention_shows(attention: str) -> None:
    made = dataclasses.replace(spec(attention), image_size=(128, 128))
    network, image = models.build(made), torch.rand(2, 3, 128, 128)
    with torch.no_grad():
        before = network(image)
        for module in network.modules():
            if isinstance(module, (forms.LinformerAttention, forms.SeparableAttention)):
                module.proj.weight *= 0.5
                break
        error = (network(image) - before).norm() / before.norm()
    assert error > 1e-2


@pytest.mark.parametrize(
    "arguments",
    [
        (("attention", "none"),),
        (("depth", "3"),),
        (("attention", ""),),
        *((("depths", text),) for text in ("1,1", "0,1,1", "1,1,1,1", "a", "1, 1,1", "-1,1,1")),
    ],
)
def test_other_keywords_are_refused(arguments: tuple[tuple[str, str], ...]) -> None:
    with pytest.raises(UsageError):
        models.make_spec("mobilevit_xxs", arguments=arguments)


def test_networks_without_keywords_refuse_it() -> None:
    with pytest.raises(UsageError, match="takes no keywords"):
        models.make_spec("mobilenetv2", arguments=(("attention", "separable"),))


@pytest.mark.parametrize(
    ("attention", "format_name"), [("separable", "executorch"), ("linformer", "coreml")]
)
def test_it_is_exported_as_typed(
    warm: Server, tmp_path: Path, attention: str, format_name: str
) -> None:
    typed = ("mobilevit_xxs", "--attention", attention, "--image-size", "64")
    done = warm.mvdeploy("export", *typed, "--format", format_name, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (made,) = json.loads(done.stdout)
    assert made["spec"]["arguments"] == [["attention", attention]]
    if format_name == "executorch":
        assert (made["delegation"]["delegates"], made["delegation"]["undelegated"]) == (1, [])


def test_several_are_described_in_a_fresh_process(tmp_path: Path) -> None:
    both = ("--attention", "softmax", "--attention", "separable")
    done = started("describe", "mobilevit_xxs", *both, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    counts = [one["totals"]["parameters"] for one in json.loads(done.stdout)]
    assert counts == [1_272_024, 1_210_593]
    wrong = started("describe", "mobilevit_xxs", "--attention", "soft", cwd=tmp_path)
    assert wrong.returncode == 2
    assert "Choose one of: softmax, linformer, separable." in wrong.stderr
