"""ESPNetv2 (Mehta et al., CVPR 2019, arXiv 1811.11431) of three widths.

Layers, widths and dilations: imagenet/Model.py of the authors' code,
sacmehta/ESPNetv2@b78e323; tensors have its names. Images may have any size.
"""

from __future__ import annotations

from mvdeploy.models.families._classifiers import BILINEAR, Classifiers, Variant

names, describe, defaults, check, preprocessing, build = Classifiers(
    network="mvdeploy.models.families.espnetv2.network:ESPNetv2",
    variants={
        "espnetv2_100": Variant("ESPNetv2 s=1.0", {"width": 64, "last": 1024}),
        "espnetv2_150": Variant("ESPNetv2 s=1.5", {"width": 96, "last": 1024}),
        "espnetv2_200": Variant("ESPNetv2 s=2.0", {"width": 128, "last": 1280}),
    },
    images=BILINEAR,
    about="(Mehta et al., 2019)",
)
