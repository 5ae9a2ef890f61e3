"""A fixed small network that runs beside others as a yardstick of the machine (``--anchor``)."""

from __future__ import annotations

from mvdeploy.models.families._classifiers import Classifiers, Variant
from mvdeploy.records.spec import ImageRule

FOR_MEASURING = True
"""Nobody deploys it."""

names, describe, defaults, check, preprocessing, build = Classifiers(
    network="mvdeploy.models.families.yardstick.network:Yardstick",
    variants={
        "yardstick": Variant("a convolution of fixed size: a yardstick for a machine's speed")
    },
    image_size=(56, 56),
    num_classes=10,
    images=ImageRule(margin=0),
)
