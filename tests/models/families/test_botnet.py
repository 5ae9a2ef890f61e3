from __future__ import annotations

import pytest
import torch

from mvdeploy import models
from mvdeploy.errors import UsageError
from mvdeploy.models import random_weights, zoo
from mvdeploy.models.families import botnet
from mvdeploy.models.families.botnet.network import BoTNet, RelativeAttention
from mvdeploy.records import Category
from tests.models.families.measured import measure


@pytest.mark.parametrize(
    ("name", "parameters", "macs"),
    [("botnet_50", 20_852_008, 4021), ("botnet_s1_50", 20_859_176, 5410)],
)
def test_published_counts(name: str, parameters: int, macs: int) -> None:
    found = measure(botnet, name)
    assert (found.parameters, round(found.macs)) == (parameters, macs)


def test_shares_and_names() -> None:
    found = measure(botnet, "botnet_50")
    assert found.shares[Category.ATTENTION] == pytest.approx(7, abs=1.5)
    assert found.shares[Category.CONVOLUTION] == pytest.approx(93, abs=1.5)
    assert len(found.names) == 332
    assert {
        "layer1.0.downsample.1.running_mean",
        "layer3.5.conv2.weight",
        "layer4.0.conv2.q_proj.weight",
        "layer4.2.conv2.rel_emb_w",
        "layer4.2.bn2.num_batches_tracked",
        "fc.weight",
    } <= set(found.names)


def test_it_is_resnet_50_up_to_the_attention() -> None:
    theirs = zoo.load("torchvision.models").resnet50(num_classes=2).eval()
    random_weights.initialise(theirs, seed=1, image_size=(64, 64))
    ours = BoTNet(last_stride=2, image_size=(64, 96), num_classes=2).eval()
    shared = {k: v for k, v in theirs.state_dict().items() if not k.startswith("layer4")}
    missing, _ = ours.load_state_dict(shared, strict=False)
    assert all(name.startswith("layer4") for name in missing)
    ours.layer4, theirs.layer4 = torch.nn.Identity(), torch.nn.Identity()
    ours.fc, theirs.fc = torch.nn.Identity(), torch.nn.Identity()
    image = torch.rand(1, 3, 64, 96)
    with torch.inference_mode():
        torch.testing.assert_close(ours(image), theirs(image), rtol=1e-4, atol=1e-4)


def test_logits_are_of_content_and_of_both_positions() -> None:
    """Pair by pair, as the paper's figure 4 has it."""
    torch.manual_seed(0)
    attention = RelativeAttention(16, (2, 3)).double()
    x = torch.rand(2, 16, 2, 3, dtype=torch.float64)
    q, k, v = (
        project(x).reshape(2, 4, 4, 6)  # batch, heads, head width, pixels
        for project in (attention.q_proj, attention.k_proj, attention.v_proj)
    )
    places = [(i, j) for i in range(2) for j in range(3)]
    expected = torch.zeros(2, 4, 4, 6, dtype=torch.float64)
    for query, (i, j) in enumerate(places):
        logits = torch.stack(
            [
                q[..., query]
                .mul(k[..., key] + attention.rel_emb_h[p - i + 1] + attention.rel_emb_w[r - j + 2])
                .sum(-1)
                for key, (p, r) in enumerate(places)
            ],
            dim=-1,
        )
        weights = (logits / 4**0.5).softmax(-1)
        expected[..., query] = torch.einsum("bhk,bhck->bhc", weights, v)
    torch.testing.assert_close(attention(x), expected.reshape(2, 16, 2, 3))


def test_tables_have_the_size_of_the_map() -> None:
    spec = models.make_spec("botnet_50", image_size=(64, 96), num_classes=5)
    network = botnet.build(spec).eval()
    shapes = {name: tuple(held.shape) for name, held in network.state_dict().items()}
    assert shapes["layer4.0.conv2.rel_emb_h"] == (7, 128)
    assert shapes["layer4.0.conv2.rel_emb_w"] == (11, 128)
    assert shapes["layer4.1.conv2.rel_emb_h"] == (3, 128)
    with torch.inference_mode():
        assert network(torch.rand(2, 3, 64, 96)).shape == (2, 5)
    with pytest.raises(UsageError, match="multiples of 32"):
        models.make_spec("botnet_50", image_size=(72, 96))
