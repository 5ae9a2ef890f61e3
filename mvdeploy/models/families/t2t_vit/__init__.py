"""T2T-ViT: tokens made by attention over overlapping patches, then a narrow ViT."""

from __future__ import annotations

import dataclasses

from mvdeploy.models.families._classifiers import IMAGENET, Classifiers, Variant

names, describe, defaults, check, preprocessing, build = Classifiers(
    network="mvdeploy.models.families.t2t_vit.network:T2TViT",
    variants={
        "t2t_vit_7": Variant("T2T-ViT-7", {"depth": 7}),
        "t2t_vit_12": Variant("T2T-ViT-12", {"depth": 12}),
    },
    about="(Yuan et al., 2021)",
    images=dataclasses.replace(IMAGENET, crop_share=0.9),
    stride=16,
    sized=True,
)
