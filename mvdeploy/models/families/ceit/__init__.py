"""CeiT: a ViT with convolutions in its stem and its feed-forward networks."""

from __future__ import annotations

from mvdeploy.models.families._classifiers import Classifiers, Variant

names, describe, defaults, check, preprocessing, build = Classifiers(
    network="mvdeploy.models.families.ceit.network:CeiT",
    variants={"ceit_tiny": Variant("CeiT-T")},
    about="(Yuan et al., 2021)",
    stride=16,
    sized=True,
)
