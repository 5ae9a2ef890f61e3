"""LocalViT: a ViT whose feed-forward networks are inverted residuals of MobileNets."""

from __future__ import annotations

from mvdeploy.models.families._classifiers import Classifiers, Variant

names, describe, defaults, check, preprocessing, build = Classifiers(
    network="mvdeploy.models.families.localvit.network:LocalViT",
    variants={
        "localvit_tiny": Variant("LocalViT-T, ReLU6", {"ratio": 6}),
        "localvit_tiny_se": Variant(
            "LocalViT-T, h-swish and squeeze-and-excitation", {"ratio": 4, "reduction": 192}
        ),
    },
    about="(Li et al., 2021)",
    stride=16,
    sized=True,
)
