"""timm: RGB; 90 % of the resized image is left after the crop."""

from __future__ import annotations

from mvdeploy.models.families.mobilevit.checkpoints.names import Layout, Rule
from mvdeploy.records.spec import ImageRule

LAYOUT = Layout(
    channel_order="RGB",
    images=ImageRule(crop_share=0.9, margin=0, interpolation="bicubic", rounding="timm"),
    rules=(
        Rule("stem.conv", "conv_1.conv"),
        Rule("stem.bn", "conv_1.norm"),
        Rule("stages.{stage-1}.{block}.conv1_1x1.conv", "layer_{stage}.{block}.expand.conv"),
        Rule("stages.{stage-1}.{block}.conv1_1x1.bn", "layer_{stage}.{block}.expand.norm"),
        Rule("stages.{stage-1}.{block}.conv2_kxk.conv", "layer_{stage}.{block}.depthwise.conv"),
        Rule("stages.{stage-1}.{block}.conv2_kxk.bn", "layer_{stage}.{block}.depthwise.norm"),
        Rule("stages.{stage-1}.{block}.conv3_1x1.conv", "layer_{stage}.{block}.project.conv"),
        Rule("stages.{stage-1}.{block}.conv3_1x1.bn", "layer_{stage}.{block}.project.norm"),
        Rule("stages.{late-1}.1.conv_kxk.conv", "layer_{late}.1.local.conv"),
        Rule("stages.{late-1}.1.conv_kxk.bn", "layer_{late}.1.local.norm"),
        Rule("stages.{late-1}.1.conv_1x1", "layer_{late}.1.project_in.conv"),
        Rule(
            "stages.{late-1}.1.transformer.{layer}.norm1",
            "layer_{late}.1.transformer.{layer}.attention.norm",
        ),
        Rule(
            "stages.{late-1}.1.transformer.{layer}.attn.qkv",
            "layer_{late}.1.transformer.{layer}.attention.qkv",
        ),
        Rule(
            "stages.{late-1}.1.transformer.{layer}.attn.proj",
            "layer_{late}.1.transformer.{layer}.attention.proj",
        ),
        Rule(
            "stages.{late-1}.1.transformer.{layer}.norm2",
            "layer_{late}.1.transformer.{layer}.ffn.norm",
        ),
        Rule(
            "stages.{late-1}.1.transformer.{layer}.mlp.fc1",
            "layer_{late}.1.transformer.{layer}.ffn.fc1",
        ),
        Rule(
            "stages.{late-1}.1.transformer.{layer}.mlp.fc2",
            "layer_{late}.1.transformer.{layer}.ffn.fc2",
        ),
        Rule("stages.{late-1}.1.norm", "layer_{late}.1.norm"),
        Rule("stages.{late-1}.1.conv_proj.conv", "layer_{late}.1.project_out.conv"),
        Rule("stages.{late-1}.1.conv_proj.bn", "layer_{late}.1.project_out.norm"),
        Rule("stages.{late-1}.1.conv_fusion.conv", "layer_{late}.1.fuse.conv"),
        Rule("stages.{late-1}.1.conv_fusion.bn", "layer_{late}.1.fuse.norm"),
        Rule("final_conv.conv", "conv_1x1_exp.conv"),
        Rule("final_conv.bn", "conv_1x1_exp.norm"),
        Rule("head.fc", "classifier.fc"),
    ),
)
