"""PVT: a pyramid of four stages whose attentions reduce keys and values."""

from __future__ import annotations

from mvdeploy.models.families._classifiers import Classifiers, Variant

names, describe, defaults, check, preprocessing, build = Classifiers(
    network="mvdeploy.models.families.pvt.network:PVT",
    variants={"pvt_tiny": Variant("PVT-Tiny", {"depths": (2, 2, 2, 2)})},
    about="(Wang et al., 2021)",
    stride=32,
    sized=True,
)
