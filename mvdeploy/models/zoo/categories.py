"""Categories of other libraries' module classes, by class name.

Where a class does more than one thing, its own operators (those of no child) decide: MobileViT
blocks of other libraries unfold and fold in their own forward. Classes that are not here belong to
their nearest ancestor that is; what is left is shown as unattributed.
"""

from __future__ import annotations

from mvdeploy.records import Category

BY_CLASS: dict[str, Category] = {
    name: category
    for category, names in {
        Category.ATTENTION: (
            "Attention",
            "AttentionPoolLatent",
            "LinearSelfAttention",
            "MobileViTAttention",
            "MultiheadAttention",
            "WindowAttention",
            "DeiTAttention",
            "ViTAttention",
            "SwinAttention",
        ),
        Category.FFN: (
            "Mlp",
            "ConvMlp",
            "GluMlp",
            "MobileViTIntermediate",
            "MobileViTOutput",
            "DeiTIntermediate",
            "DeiTOutput",
            "ViTIntermediate",
            "ViTOutput",
            "SwinIntermediate",
            "SwinOutput",
        ),
        Category.CONVOLUTION: (
            "Conv2d",
            "BatchNorm2d",
            "BatchNormAct2d",
            "BottleneckBlock",
            "ConvNormAct",
            "InvertedResidual",
            "MobileViTConvLayer",
            "MobileViTInvertedResidual",
        ),
        Category.FOLD: ("MobileVitBlock", "MobileVitV2Block", "MobileViTLayer"),
        Category.PRE_AND_POST: (
            "AdaptiveAvgPool2d",
            "ClassifierHead",
            "DeiTEmbeddings",
            "Flatten",
            "PatchEmbed",
            "SelectAdaptivePool2d",
            "SwinEmbeddings",
            "ViTEmbeddings",
        ),
    }.items()
    for name in names
}

BY_CHILD: dict[tuple[str, str], Category] = {
    ("Block", "norm1"): Category.ATTENTION,
    ("Block", "norm2"): Category.FFN,
    ("SwinTransformerBlock", "norm1"): Category.ATTENTION,
    ("SwinTransformerBlock", "norm2"): Category.FFN,
    ("MobileViTTransformerLayer", "layernorm_before"): Category.ATTENTION,
    ("MobileViTTransformerLayer", "layernorm_after"): Category.FFN,
    ("DeiTLayer", "layernorm_before"): Category.ATTENTION,
    ("DeiTLayer", "layernorm_after"): Category.FFN,
    ("ViTLayer", "layernorm_before"): Category.ATTENTION,
    ("ViTLayer", "layernorm_after"): Category.FFN,
    ("SwinLayer", "layernorm_before"): Category.ATTENTION,
    ("SwinLayer", "layernorm_after"): Category.FFN,
}
"""(class of the parent, name of the child) → category: a LayerNorm serves what it precedes."""
