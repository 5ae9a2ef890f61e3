"""EdgeViT: attention over a sparse grid between local aggregation and local propagation."""

from __future__ import annotations

from mvdeploy.models.families._classifiers import Classifiers, Variant

names, describe, defaults, check, preprocessing, build = Classifiers(
    network="mvdeploy.models.families.edgevit.network:EdgeViT",
    variants={
        "edgevit_xxs": Variant(
            "EdgeViT-XXS",
            {"dims": (36, 72, 144, 288), "depths": (1, 1, 3, 2), "head_dim": 36},
        ),
        "edgevit_xs": Variant(
            "EdgeViT-XS",
            {"dims": (48, 96, 240, 384), "depths": (1, 1, 3, 1), "head_dim": 48},
        ),
        "edgevit_s": Variant(
            "EdgeViT-S",
            {"dims": (48, 96, 240, 384), "depths": (1, 2, 5, 3), "head_dim": 48},
        ),
    },
    about="(Pan et al., 2022)",
    stride=32,
)
