"""Linear layers, one after the other: what an engine's profiler costs is measured with them."""

from __future__ import annotations

from mvdeploy.models.families._classifiers import Classifiers, Variant
from mvdeploy.records.spec import ImageRule

FOR_MEASURING = True
"""Nobody deploys it."""

LENGTHS = (24, 120)
"""Layers of the two networks; what one has more, and takes longer, leaves no doubt of the rest."""

names, describe, defaults, check, preprocessing, build = Classifiers(
    network="mvdeploy.models.families.linear_chain.network:LinearChain",
    variants={
        f"linear_chain_{length}": Variant(
            f"{length} small linear layers: what a profiler adds to an operator",
            {"length": length},
        )
        for length in LENGTHS
    },
    image_size=(8, 8),
    num_classes=16,
    images=ImageRule(margin=0),
)
