"""MobileNetV1 (Howard et al., 2017, arXiv 1704.04861) of three widths.

Layers: table 1 of the paper; width multipliers: table 6. The authors' code is TensorFlow
(tensorflow/models, slim/nets/mobilenet_v1.py): convolutions without bias, BatchNorm, ReLU6; images
in -1..1.
Tensors have timm's names, so that timm's MobileNetV1 checkpoints load. Images may have any size.
"""

from __future__ import annotations

import dataclasses

from mvdeploy.models.families._classifiers import BILINEAR, Classifiers, Variant

names, describe, defaults, check, preprocessing, build = Classifiers(
    network="mvdeploy.models.families.mobilenetv1.network:MobileNetV1",
    variants={
        "mobilenetv1_050": Variant("MobileNetV1 0.5", {"width": 0.5}),
        "mobilenetv1_075": Variant("MobileNetV1 0.75", {"width": 0.75}),
        "mobilenetv1_100": Variant("MobileNetV1 1.0", {"width": 1.0}),
    },
    images=dataclasses.replace(BILINEAR, mean=(0.5,) * 3, std=(0.5,) * 3),
    about="(Howard et al., 2017)",
)
