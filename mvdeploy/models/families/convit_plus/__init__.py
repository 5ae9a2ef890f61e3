"""ConViT-Ti+: a ViT whose first attentions start from the places of a convolution."""

from __future__ import annotations

from mvdeploy.models.families._classifiers import Classifiers, Variant

names, describe, defaults, check, preprocessing, build = Classifiers(
    network="mvdeploy.models.families.convit_plus.network:ConViT",
    variants={"convit_tiny_plus": Variant("ConViT-Ti+")},
    about="(d'Ascoli et al., 2021)",
    stride=16,
    sized=True,
)
