"""BoTNet-50 (Srinivas et al., CVPR 2021, arXiv 2101.11605): ResNet-50 that attends at its end.

The three last 3x3 convolutions are attention over the map: table 1 of the paper and the authors'
TensorFlow code (gist aravindsrinivas/56359b79f0ce4449bcb04ab4b56a57a2): 4 heads, relative positions
along both axes, average pooling for stride 2, ReLU in the shortcut. S1 is the paper's variant
without that stride. The paper has 20.8 M parameters. Of the authors no checkpoint is known in
PyTorch; names are torchvision's of ResNet-50, and within the attention those of the authors.

Tables of relative positions have the size of the map: weights depend on the image size, whose
sides are multiples of 32.
"""

from __future__ import annotations

from mvdeploy.models.families._classifiers import BILINEAR, Classifiers, Variant

names, describe, defaults, check, preprocessing, build = Classifiers(
    network="mvdeploy.models.families.botnet.network:BoTNet",
    variants={
        "botnet_50": Variant("BoTNet-50", {"last_stride": 2}),
        "botnet_s1_50": Variant("BoTNet-S1-50", {"last_stride": 1}),
    },
    images=BILINEAR,
    about="(Srinivas et al., 2021)",
    stride=32,
    sized=True,
)
