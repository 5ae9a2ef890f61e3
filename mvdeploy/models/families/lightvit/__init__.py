"""LightViT: attention in windows, and learned tokens that gather and spread what is global."""

from __future__ import annotations

from mvdeploy.models.families._classifiers import Classifiers, Variant

names, describe, defaults, check, preprocessing, build = Classifiers(
    network="mvdeploy.models.families.lightvit.network:LightViT",
    variants={
        "lightvit_tiny": Variant(
            "LightViT-T", {"dims": (64, 128, 256), "depths": (2, 6, 6), "tokens": 8}
        ),
        "lightvit_small": Variant(
            "LightViT-S", {"dims": (96, 192, 384), "depths": (2, 6, 6), "tokens": 16}
        ),
        "lightvit_base": Variant(
            "LightViT-B", {"dims": (128, 256, 512), "depths": (3, 8, 6), "tokens": 24}
        ),
    },
    about="(Huang et al., 2022)",
    # Windows of 7 divide the maps of all three stages, the last of which is an image of 32nds.
    stride=7 * 32,
)
