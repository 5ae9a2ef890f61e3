"""DeiT-Ti+: DeiT-Ti with one more head, as the ConViT paper compares it."""

from __future__ import annotations

from mvdeploy.models.families._classifiers import Classifiers, Variant

names, describe, defaults, check, preprocessing, build = Classifiers(
    network="mvdeploy.models.families.deit_plus.network:DeiT",
    variants={"deit_tiny_plus": Variant("DeiT-Ti+")},
    about="(Touvron et al., 2021; d'Ascoli et al., 2021)",
    stride=16,
    sized=True,
)
