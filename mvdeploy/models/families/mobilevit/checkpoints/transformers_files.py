"""What config.json of a folder as transformers saves it says of the network."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mvdeploy.errors import UsageError
from mvdeploy.models.checkpoints.files import Shape
from mvdeploy.models.feeding.folder import CONFIG

_FIXED: dict[str, object] = {
    "num_channels": 3,
    "num_attention_heads": 4,
    "mlp_ratio": 2.0,
    "hidden_act": "silu",
    "conv_kernel_size": 3,
    "output_stride": 32,
    "layer_norm_eps": 1e-5,
}
"""What the weights' shapes do not tell, and mvdeploy's network has."""


_SEGMENTS: dict[str, object] = {
    **_FIXED,
    "output_stride": 16,
    "aspp_out_channels": 256,
    "atrous_rates": [6, 12, 18],
}
"""The same of the network that segments."""

_TRANSFORMERS: dict[str, object] = {"output_stride": 32}
"""What transformers takes where config.json says nothing, and that is no value of ours."""


def check_config(config: Mapping[str, Any], folder: Path, *, segments: bool = False) -> None:
    """Refuse a network that mvdeploy's is not.

    Args:
        config: what the file says.
        folder: where it is.
        segments: it is the network that segments.

    Raises:
        UsageError: another model, or one whose settings differ where weights do not show it.
    """
    kind = config.get("model_type", "mobilevit")
    if kind != "mobilevit":
        raise UsageError(f"{folder} holds a model of type '{kind}'.", "Give a MobileViT.")
    for key, value in (_SEGMENTS if segments else _FIXED).items():
        own = config.get(key, _TRANSFORMERS.get(key, value))
        if own != value:
            raise UsageError(
                f"{folder / CONFIG} has {key} {own!r}, but mvdeploy's MobileViT has {value!r}.",
                "Give a checkpoint of the published architecture.",
            )


def patch_size(config: Mapping[str, Any], folder: Path) -> int:
    """Return the side of the patches that the network was made with, the same in all stages.

    Raises:
        UsageError: it is no positive whole number.
    """
    side = config.get("patch_size", 2)
    if type(side) is not int or not 0 < side < 10**6:
        raise UsageError(
            f"{folder / CONFIG} cannot be followed: 'patch_size' is {side!r}.",
            "Give a checkpoint of the published architecture.",
        )
    return side


def write_config(shapes: Mapping[str, Shape]) -> dict[str, Any]:
    """Return the config.json of a network, from the shapes of its tensors under our names."""
    widths = [shapes["conv_1.conv.weight"][0]]
    widths += [shapes[f"layer_{stage}.0.project.conv.weight"][0] for stage in range(1, 6)]
    widths += [shapes["conv_1x1_exp.conv.weight"][0]]
    hidden, cin = shapes["layer_1.0.expand.conv.weight"][:2]
    labels = [f"LABEL_{index}" for index in range(shapes["classifier.fc.weight"][0])]
    return {
        "architectures": ["MobileViTForImageClassification"],
        "model_type": "mobilevit",
        **_FIXED,
        "expand_ratio": hidden / cin,
        "hidden_sizes": [shapes[f"layer_{stage}.1.norm.weight"][0] for stage in (3, 4, 5)],
        "neck_hidden_sizes": widths,
        "patch_size": 2,
        "image_size": 256,
        "qkv_bias": True,
        "id2label": {str(index): label for index, label in enumerate(labels)},
        "label2id": {label: index for index, label in enumerate(labels)},
    }
