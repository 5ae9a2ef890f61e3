"""ShuffleNetV2 (Ma et al., ECCV 2018, arXiv 1807.11164), as torchvision has it.

Widths and repeats: table 5 of the paper. Tensors have torchvision's names
(torchvision/models/shufflenetv2.py): the authors' network is the same one, and torchvision's
checkpoints load. Images may have any size.
"""

from __future__ import annotations

from mvdeploy.models.families._classifiers import BILINEAR, Classifiers, Variant

names, describe, defaults, check, preprocessing, build = Classifiers(
    network="mvdeploy.models.families.shufflenetv2.network:ShuffleNetV2",
    variants={
        "shufflenetv2_100": Variant("ShuffleNetV2 1.0x", {"widths": (116, 232, 464)}),
        "shufflenetv2_150": Variant("ShuffleNetV2 1.5x", {"widths": (176, 352, 704)}),
    },
    images=BILINEAR,
    about="(Ma et al., 2018)",
)
