"""Where networks without categories of their own have them from."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mvdeploy import models
from mvdeploy.models.zoo import load
from mvdeploy.records import Category

A, C, F = Category.ATTENTION, Category.CONVOLUTION, Category.FFN
FOLD, P = Category.FOLD, Category.PRE_AND_POST


def table(network: nn.Module) -> dict[str, Category | None]:
    return {path: info.category for path, info in models.module_table(network).items()}


TIMM: dict[str, dict[str, Category | None]] = {
    "mobilevitv2_050": {
        "stem.conv": C,
        "stages.2.1": FOLD,
        "stages.2.1.conv_kxk.bn.act": C,
        "stages.2.1.conv_proj.conv": C,
        "stages.2.1.norm": F,
        "stages.2.1.transformer.0": None,
        "stages.2.1.transformer.0.norm1": None,  # data flow tells
        "stages.2.1.transformer.0.attn.qkv_proj": A,
        "stages.2.1.transformer.0.mlp.fc1": F,
        "head.fc": P,
    },
    "edgenext_xx_small": {
        "stem.0": P,
        "stages.0.blocks.0.conv_dw": C,
        "stages.0.blocks.0.mlp.fc1": C,
        "stages.1.downsample.1": P,
        "stages.1.blocks.1.convs.0": C,
        "stages.1.blocks.1.xca.qkv": A,
        "stages.1.blocks.1.mlp.fc1": F,
        "head.norm": P,
    },
    "efficientformer_l1": {
        "stem.conv1": P,
        "stages.0.blocks.0.token_mixer.pool": C,
        "stages.0.blocks.0.mlp.norm1": F,
        "stages.1.downsample.conv": P,
        "stages.3.blocks.4.token_mixer.qkv": A,
        "head_dist": P,
    },
    "efficientvit_b0": {
        "stages.2.blocks.1.context_module": None,
        "stages.2.blocks.1.context_module.main.qkv.conv": A,
        "stages.2.blocks.1.local_module.main.depth_conv.conv": C,
        "head.in_conv.conv": P,
    },
    "pit_ti_224": {"patch_embed.conv": P, "transformers.1.pool.fc": P, "head": P},
    "pvt_v2_b0": {
        "patch_embed.proj": P,
        "stages.0.blocks.0.attn.sr": A,
        "stages.0.blocks.0.mlp.dwconv": F,
    },
    "swiftformer_xs": {
        "stem.0": P,
        "stages.1.downsample.proj": P,
        "stages.0.blocks.0.dwconv": C,
        "stages.0.blocks.2.local_representation.dwconv": C,
        "stages.0.blocks.2.attn.to_query": A,
        "stages.0.blocks.2.linear.fc1": F,
    },
    "resnet10t": {"conv1.0": C, "layer2.0.downsample.1": C, "fc": P},
    "botnet26t_256": {
        "stages.3.1.self_attn.pos_embed": A,
        "stages.3.1.conv1_1x1.bn": C,
    },
}


@pytest.mark.parametrize("name", TIMM)
def test_networks_of_timm(name: str) -> None:
    with torch.device("meta"):
        found = table(load("timm").create_model(name))
    assert {path: found[path] for path in TIMM[name]} == TIMM[name]


TRANSFORMERS: dict[str, dict[str, Category | None]] = {
    "deit": {
        "deit.embeddings.patch_embeddings.projection": P,
        "deit.layers.0.attention.q_proj": A,
        "deit.layers.0.mlp.fc1": F,
        "classifier": P,
    },
    "swin": {"swin.encoder.layers.0.downsample.reduction": P},
    "pvt": {
        "pvt.encoder.block.0.0.attention.self.sequence_reduction": A,
        "pvt.encoder.block.0.0.attention.output.dense": A,
        "pvt.encoder.block.0.0.mlp.dense1": F,
    },
    "mobilevit": {
        "mobilevit.encoder.layer.2": FOLD,
        "mobilevit.encoder.layer.2.conv_kxk.convolution": C,
        "mobilevit.encoder.layer.2.layernorm": F,
        "mobilevit.encoder.layer.2.transformer.layer.0.attention.output.dense": A,
        "mobilevit.encoder.layer.2.transformer.layer.0.output.dense": F,
    },
    "mobilevitv2": {
        "mobilevitv2.encoder.layer.2.transformer.layer.0.attention.qkv_proj.convolution": A,
        "mobilevitv2.encoder.layer.2.transformer.layer.0.ffn.conv1.convolution": F,
    },
    "levit": {
        "levit.patch_embeddings.embedding_layer_1.convolution": P,
        "levit.encoder.stages.0.layers.0.module.projection.linear": A,
        "levit.encoder.stages.0.layers.1.module.linear_up.linear": F,
    },
    "efficientnet": {
        "efficientnet.encoder.blocks.0.squeeze_excite.squeeze": C,
        "classifier": P,
    },
    "resnet": {"resnet.encoder.stages.0.layers.0.layer.0.convolution": C, "classifier.1": P},
    "mobilenet_v2": {"mobilenet_v2.layer.0.conv_3x3.convolution": C},
}


@pytest.mark.parametrize("kind", TRANSFORMERS)
def test_networks_of_transformers(kind: str) -> None:
    auto = load("transformers.models.auto.modeling_auto")
    config = load("transformers.models.auto.configuration_auto").AutoConfig.for_model(kind)
    classes = auto.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES[kind]
    if isinstance(classes, tuple | list):
        config.architectures = [classes[0]]
    with torch.device("meta"):
        found = table(auto.AutoModelForImageClassification.from_config(config))
    assert {path: found[path] for path in TRANSFORMERS[kind]} == TRANSFORMERS[kind]


def test_layers_of_torch() -> None:
    found = table(nn.Sequential(nn.Transformer(8, 2, 1, 1, 16, batch_first=True)))
    layer = "0.encoder.layers.0"
    assert {
        p.removeprefix(f"{layer}."): c for p, c in found.items() if p.startswith(f"{layer}.")
    } == {
        **dict.fromkeys(("self_attn", "self_attn.out_proj", "norm1", "dropout1"), A),
        **dict.fromkeys(("linear1", "dropout", "linear2", "norm2", "dropout2"), F),
    }
    layer = "0.decoder.layers.0"
    parts = {p.removeprefix(f"{layer}."): c for p, c in found.items() if p.startswith(f"{layer}.")}
    assert (parts["multihead_attn"], parts["norm2"], parts["norm3"], parts["linear1"]) == (
        A,
        A,
        F,
        F,
    )
    assert (found["0"], found["0.encoder.norm"]) == (None, P)


class Mine(nn.TransformerEncoderLayer):
    pass


class Mixer(nn.Module):
    category = A

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.mlp = nn.Conv2d(3, 3, 1), Mlp()


class Mlp(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.pool = nn.Conv2d(3, 3, 1), nn.AdaptiveAvgPool2d(1)


def test_names_count_where_nothing_is_declared() -> None:
    network = nn.Sequential(Mixer(), Mlp(), Mine(8, 2), nn.Conv2d(3, 3, 1), nn.Linear(3, 3))
    found = models.module_table(network)
    assert {path: (found[path].category, found[path].declared) for path in found if path} == {
        **dict.fromkeys(("0", "0.conv", "0.mlp", "0.mlp.conv", "0.mlp.pool"), (A, True)),
        **dict.fromkeys(("1", "1.conv", "1.pool"), (F, False)),
        "2": (None, True),
        **{
            f"2.{child}": (
                A if child in ("self_attn", "self_attn.out_proj", "norm1", "dropout1") else F,
                False,
            )
            for child, _ in Mine(8, 2).named_modules()
            if child
        },
        "3": (C, False),
        "4": (None, True),
    }
