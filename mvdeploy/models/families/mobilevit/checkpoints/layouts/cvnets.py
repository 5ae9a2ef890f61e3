"""CVNets, tag v0.1: BGR; 32 pixels of margin around the crop, or the whole image for heads.

The LayerNorm that closes a transformer is the last member of ``global_rep``, whose index is the
number of transformer layers.
"""

from __future__ import annotations

from mvdeploy.models.families.mobilevit.checkpoints.names import Layout, Rule
from mvdeploy.records.spec import ImageRule

LAYOUT = Layout(
    channel_order="BGR",
    images=ImageRule(),
    images_of_heads=ImageRule(margin=0, fit="stretch"),
    encoder="encoder.",
    heads=(
        ("seg_head.", "a segmentation network"),
        ("ssd_heads.", "a detection network"),
        ("extra_layers.", "a detection network"),
        ("encoder.", "the backbone of a detection or segmentation network"),
    ),
    rules=(
        Rule("conv_1.block.conv", "conv_1.conv"),
        Rule("conv_1.block.norm", "conv_1.norm"),
        Rule("layer_{stage}.{block}.block.exp_1x1.block.conv", "layer_{stage}.{block}.expand.conv"),
        Rule("layer_{stage}.{block}.block.exp_1x1.block.norm", "layer_{stage}.{block}.expand.norm"),
        Rule(
            "layer_{stage}.{block}.block.conv_3x3.block.conv",
            "layer_{stage}.{block}.depthwise.conv",
        ),
        Rule(
            "layer_{stage}.{block}.block.conv_3x3.block.norm",
            "layer_{stage}.{block}.depthwise.norm",
        ),
        Rule(
            "layer_{stage}.{block}.block.red_1x1.block.conv", "layer_{stage}.{block}.project.conv"
        ),
        Rule(
            "layer_{stage}.{block}.block.red_1x1.block.norm", "layer_{stage}.{block}.project.norm"
        ),
        Rule("layer_{late}.1.local_rep.conv_3x3.block.conv", "layer_{late}.1.local.conv"),
        Rule("layer_{late}.1.local_rep.conv_3x3.block.norm", "layer_{late}.1.local.norm"),
        Rule("layer_{late}.1.local_rep.conv_1x1.block.conv", "layer_{late}.1.project_in.conv"),
        Rule(
            "layer_{late}.1.global_rep.{layer}.pre_norm_mha.0",
            "layer_{late}.1.transformer.{layer}.attention.norm",
        ),
        Rule(
            "layer_{late}.1.global_rep.{layer}.pre_norm_mha.1.qkv_proj",
            "layer_{late}.1.transformer.{layer}.attention.qkv",
        ),
        Rule(
            "layer_{late}.1.global_rep.{layer}.pre_norm_mha.1.out_proj",
            "layer_{late}.1.transformer.{layer}.attention.proj",
        ),
        Rule(
            "layer_{late}.1.global_rep.{layer}.pre_norm_ffn.0",
            "layer_{late}.1.transformer.{layer}.ffn.norm",
        ),
        Rule(
            "layer_{late}.1.global_rep.{layer}.pre_norm_ffn.1",
            "layer_{late}.1.transformer.{layer}.ffn.fc1",
        ),
        Rule(
            "layer_{late}.1.global_rep.{layer}.pre_norm_ffn.4",
            "layer_{late}.1.transformer.{layer}.ffn.fc2",
        ),
        Rule("layer_3.1.global_rep.2", "layer_3.1.norm"),
        Rule("layer_4.1.global_rep.4", "layer_4.1.norm"),
        Rule("layer_5.1.global_rep.3", "layer_5.1.norm"),
        Rule("layer_{late}.1.conv_proj.block.conv", "layer_{late}.1.project_out.conv"),
        Rule("layer_{late}.1.conv_proj.block.norm", "layer_{late}.1.project_out.norm"),
        Rule("layer_{late}.1.fusion.block.conv", "layer_{late}.1.fuse.conv"),
        Rule("layer_{late}.1.fusion.block.norm", "layer_{late}.1.fuse.norm"),
        Rule("conv_1x1_exp.block.conv", "conv_1x1_exp.conv"),
        Rule("conv_1x1_exp.block.norm", "conv_1x1_exp.norm"),
        Rule("classifier.fc", "classifier.fc"),
        # Heads have CVNets' names.
        Rule("extra_layers.{module}", "extra_layers.{module}"),
        Rule("ssd_heads.{module}", "ssd_heads.{module}"),
        Rule("seg_head.{module}", "seg_head.{module}"),
    ),
)
