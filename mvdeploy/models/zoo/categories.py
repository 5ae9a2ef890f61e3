"""Categories of module classes that declare none, by the names of classes and of their children.

What a layer serves it belongs to. Four tables say so, each beating the next:

``BY_CHILD``
    a child by its name and the class around it.
``BY_CLASS``
    a class, whose children belong to it unless they have an entry of their own.
``OWN``
    a class that has only its own operators (those of no child): MobileViT blocks of other libraries
    unfold and fold in their own forward.
``OTHERWISE``
    layers that serve whatever they are in: they count only where nothing around them has a
    category. `HEADS` are the names of a network's last layers, which no class tells.

Names may have wildcards; the first that fits holds. Of a class its bases are tried too, so that
subclasses count as what they are made from. What has no category in the end (a transformer block,
its LayerNorms) is placed by data flow: see `mvdeploy.formats._serving`.
"""

from __future__ import annotations

import fnmatch
from typing import NamedTuple

from mvdeploy.records import Category

_Table = dict[str, Category]


def _table(names: dict[Category, str]) -> _Table:
    return {name: category for category, text in names.items() for name in text.split()}


BY_CHILD: dict[tuple[str, str], Category] = {
    # torch.nn's own; its residual additions and activation are placed by data flow.
    ("Transformer*coderLayer", "*_attn"): Category.ATTENTION,
    ("Transformer*coderLayer", "linear?"): Category.FFN,
    ("TransformerEncoderLayer", "*1"): Category.ATTENTION,
    ("TransformerDecoderLayer", "*[12]"): Category.ATTENTION,
    ("Transformer*coderLayer", "*"): Category.FFN,
    ("TransformerEncoder", "norm"): Category.PRE_AND_POST,
    ("TransformerDecoder", "norm"): Category.PRE_AND_POST,
    # timm's
    ("ConvBlock", "mlp"): Category.CONVOLUTION,
    ("EdgeNeXt", "stem"): Category.PRE_AND_POST,
    ("EdgeNeXtStage", "downsample"): Category.PRE_AND_POST,
    ("MetaBlock2d", "token_mixer"): Category.CONVOLUTION,
    ("MobileVit*Block", "norm"): Category.FFN,  # it closes the last layer of the transformer
    ("MobileViT*Layer", "layernorm"): Category.FFN,
    ("MultiScaleBlock", "*projs"): Category.ATTENTION,  # into the width of the other branch
    ("SwiftFormer", "stem"): Category.PRE_AND_POST,
    ("Transformer", "pool"): Category.PRE_AND_POST,
}

BY_CLASS: _Table = _table(
    {
        Category.ATTENTION: """
            Attention2d Attention2dDownsample *AttentionDownsample *AttentionSubsample
            AttentionPoolLatent *Attention *Attn *MHSA GPSA LiteMLA PosEmbedRel
        """,
        Category.FFN: """
            *Mlp *MLP *FFN *FeedForward *FeedForwardNetwork *Intermediate ConvMlpWithNorm
            LevitMLPLayer MlpWithDepthwiseConv BeitOutput CvtOutput DeiTOutput MobileViTOutput
            PoolFormerOutput SwinOutput ViTOutput
        """,
        Category.CONVOLUTION: """
            BasicBlock Bottleneck BottleneckBlock ConvBlock ConvBnAct ConvEncoder
            Conv2dNormActivation DSConv *DenseBlock *DenseLayer *DenseTransition
            DepthwiseSeparableConv EdgeResidual
            EfficientNetBlock *InvertedResidual *LocalRepresentation *MBConv MobileOneBlock
            RegNet?Layer RepConditionalPosEnc RepMixer RepVggDw ReparamLargeKernelConv
            ResNet*Layer SEModule SelfAttnBlock SqueezeExcit* SwiftFormerConvEncoder
        """,
        Category.PRE_AND_POST: """
            *ClassifierHead LevitClassificationLayer NormLinear RepVitClassifier
            ConvEmbedding *Embeddings OverlapPatchEmbed *PatchEmbed *PatchEmbedding
            Stem4 Stem16 RepVitStem *Downsample *PatchMerging
        """,
    }
)

OWN: _Table = _table(
    {Category.FOLD: "MobileVitBlock MobileVitV2Block MobileViTLayer MobileViTV2Layer"}
)

OTHERWISE: _Table = _table(
    {
        Category.CONVOLUTION: "_ConvNd _BatchNorm FrozenBatchNorm* ConvNorm* *ConvLayer",
        Category.PRE_AND_POST: "_AdaptiveAvgPoolNd *AdaptivePool2d Flatten Embedding",
    }
)

HEADS = ("head", "head_dist", "dist_head", "classifier", "fc")


class Placed(NamedTuple):
    """The category of a module, and the one that its children have around them."""

    category: Category | None
    around: Category | None


def place(
    path: str, bases: tuple[str, ...], outer: tuple[str, ...], around: Category | None
) -> Placed:
    """Return the category of a module.

    Args:
        path: dotted path.
        bases: names of its class and of the bases of that.
        outer: the same of the module around it; empty for the network itself.
        around: the category of what is around it.
    """
    child = path.rpartition(".")[2]
    for (parent, name), category in BY_CHILD.items():
        if fnmatch.fnmatchcase(child, name) and _find({parent: category}, outer):
            return Placed(category, category)
    own = _find(BY_CLASS, bases)
    if own is not None:
        return Placed(own, own)
    if (own := _find(OWN, bases)) is not None:
        return Placed(own, around)
    if around is None:
        around = _find(OTHERWISE, bases)
    parts = path.split(".")
    if around is None and parts[-1] in HEADS and not any(map(str.isdigit, parts)):
        around = Category.PRE_AND_POST
    return Placed(around, around)


def _find(table: _Table, bases: tuple[str, ...]) -> Category | None:
    for name in bases:
        for pattern, category in table.items():
            if fnmatch.fnmatchcase(name, pattern):
                return category
    return None
