"""transformers: BGR; 32 pixels of margin around the crop, as in the published checkpoints."""

from __future__ import annotations

from mvdeploy.models.families.mobilevit.checkpoints.names import Layout, Rule
from mvdeploy.records.spec import ImageRule

_STAGE = "mobilevit.encoder.layer"
_LAYER = "mobilevit.encoder.layer.{late-1}.transformer.layer.{layer}"
_HEAD, _OURS = "segmentation_head.aspp", "seg_head.aspp.aspp_layer"
_POOLED = _OURS + ".convs.4.aspp_pool.conv_1x1.block"

LAYOUT = Layout(
    channel_order="BGR",
    images=ImageRule(rounding="transformers"),
    has_settings=True,
    encoder="",
    heads=(("segmentation_head.", "a segmentation network"),),
    rules=(
        Rule("mobilevit.conv_stem.convolution", "conv_1.conv"),
        Rule("mobilevit.conv_stem.normalization", "conv_1.norm"),
        Rule(
            _STAGE + ".{early-1}.layer.{block}.expand_1x1.convolution",
            "layer_{early}.{block}.expand.conv",
        ),
        Rule(
            _STAGE + ".{early-1}.layer.{block}.expand_1x1.normalization",
            "layer_{early}.{block}.expand.norm",
        ),
        Rule(
            _STAGE + ".{early-1}.layer.{block}.conv_3x3.convolution",
            "layer_{early}.{block}.depthwise.conv",
        ),
        Rule(
            _STAGE + ".{early-1}.layer.{block}.conv_3x3.normalization",
            "layer_{early}.{block}.depthwise.norm",
        ),
        Rule(
            _STAGE + ".{early-1}.layer.{block}.reduce_1x1.convolution",
            "layer_{early}.{block}.project.conv",
        ),
        Rule(
            _STAGE + ".{early-1}.layer.{block}.reduce_1x1.normalization",
            "layer_{early}.{block}.project.norm",
        ),
        Rule(
            _STAGE + ".{late-1}.downsampling_layer.expand_1x1.convolution",
            "layer_{late}.0.expand.conv",
        ),
        Rule(
            _STAGE + ".{late-1}.downsampling_layer.expand_1x1.normalization",
            "layer_{late}.0.expand.norm",
        ),
        Rule(
            _STAGE + ".{late-1}.downsampling_layer.conv_3x3.convolution",
            "layer_{late}.0.depthwise.conv",
        ),
        Rule(
            _STAGE + ".{late-1}.downsampling_layer.conv_3x3.normalization",
            "layer_{late}.0.depthwise.norm",
        ),
        Rule(
            _STAGE + ".{late-1}.downsampling_layer.reduce_1x1.convolution",
            "layer_{late}.0.project.conv",
        ),
        Rule(
            _STAGE + ".{late-1}.downsampling_layer.reduce_1x1.normalization",
            "layer_{late}.0.project.norm",
        ),
        Rule(_STAGE + ".{late-1}.conv_kxk.convolution", "layer_{late}.1.local.conv"),
        Rule(_STAGE + ".{late-1}.conv_kxk.normalization", "layer_{late}.1.local.norm"),
        Rule(_STAGE + ".{late-1}.conv_1x1.convolution", "layer_{late}.1.project_in.conv"),
        Rule(_LAYER + ".layernorm_before", "layer_{late}.1.transformer.{layer}.attention.norm"),
        Rule(
            (
                _LAYER + ".attention.attention.query",
                _LAYER + ".attention.attention.key",
                _LAYER + ".attention.attention.value",
            ),
            "layer_{late}.1.transformer.{layer}.attention.qkv",
        ),
        Rule(
            _LAYER + ".attention.output.dense", "layer_{late}.1.transformer.{layer}.attention.proj"
        ),
        Rule(_LAYER + ".layernorm_after", "layer_{late}.1.transformer.{layer}.ffn.norm"),
        Rule(_LAYER + ".intermediate.dense", "layer_{late}.1.transformer.{layer}.ffn.fc1"),
        Rule(_LAYER + ".output.dense", "layer_{late}.1.transformer.{layer}.ffn.fc2"),
        Rule(_STAGE + ".{late-1}.layernorm", "layer_{late}.1.norm"),
        Rule(_STAGE + ".{late-1}.conv_projection.convolution", "layer_{late}.1.project_out.conv"),
        Rule(_STAGE + ".{late-1}.conv_projection.normalization", "layer_{late}.1.project_out.norm"),
        Rule(_STAGE + ".{late-1}.fusion.convolution", "layer_{late}.1.fuse.conv"),
        Rule(_STAGE + ".{late-1}.fusion.normalization", "layer_{late}.1.fuse.norm"),
        Rule("mobilevit.conv_1x1_exp.convolution", "conv_1x1_exp.conv"),
        Rule("mobilevit.conv_1x1_exp.normalization", "conv_1x1_exp.norm"),
        Rule("classifier", "classifier.fc"),
        Rule(
            _HEAD + ".convs.4.conv_1x1.convolution",
            _POOLED + ".conv",
        ),
        Rule(
            _HEAD + ".convs.4.conv_1x1.normalization",
            _POOLED + ".norm",
        ),
        Rule(_HEAD + ".convs.{layer}.convolution", _OURS + ".convs.{layer}.block.conv"),
        Rule(_HEAD + ".convs.{layer}.normalization", _OURS + ".convs.{layer}.block.norm"),
        Rule(_HEAD + ".project.convolution", _OURS + ".project.block.conv"),
        Rule(_HEAD + ".project.normalization", _OURS + ".project.block.norm"),
        Rule("segmentation_head.classifier.convolution", "seg_head.classifier.block.conv"),
    ),
)
