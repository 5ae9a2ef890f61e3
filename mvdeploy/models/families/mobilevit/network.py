"""The MobileViT network.

Stages carry the names of CVNets and of the paper's tables: ``conv_1``, ``layer_1`` … ``layer_5``,
``conv_1x1_exp``, ``classifier``. Every class declares the category its time is counted under;
modules without one belong to the nearest that has.

Shapes: B images, C channels, H x W map, d token dimension, P pixels in a patch, N patches.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from mvdeploy.models.families.mobilevit.attention import MAKERS
from mvdeploy.records import Category, PatchSize

if TYPE_CHECKING:
    from mvdeploy.models.families.mobilevit import Variant
    from mvdeploy.models.families.mobilevit.channels_first import ChannelsFirstBlock

EXPANDED_MAX = 960  # width of conv_1x1_exp: four times the last stage, at most this


class ConvLayer(nn.Module):
    """Convolution, then BatchNorm and SiLU unless left out; padding keeps the map at stride 1."""

    category = Category.CONVOLUTION

    def __init__(
        self,
        cin: int,
        cout: int,
        kernel: int,
        *,
        stride: int = 1,
        groups: int = 1,
        norm: bool = True,
        act: bool = True,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            cin, cout, kernel, stride, padding=kernel // 2, groups=groups, bias=False
        )
        self.norm = nn.BatchNorm2d(cout) if norm else nn.Identity()
        self.act = nn.SiLU() if act else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.act(self.norm(self.conv(x)))
        return out


class InvertedResidual(nn.Module):
    """MobileNetV2 block: expand, depthwise 3x3, project; residual where the shapes allow."""

    category = Category.CONVOLUTION

    def __init__(self, cin: int, cout: int, *, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = make_divisible(cin * expansion, 8)
        self.expand = ConvLayer(cin, hidden, 1)
        self.depthwise = ConvLayer(hidden, hidden, 3, stride=stride, groups=hidden)
        self.project = ConvLayer(hidden, cout, 1, act=False)
        self.residual = stride == 1 and cin == cout

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.project(self.depthwise(self.expand(x)))
        return x + out if self.residual else out


class FeedForward(nn.Module):
    """Pre-norm two-layer perceptron with its residual: (B·P, N, d) → same; hidden width 2·d."""

    category = Category.FFN

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.fc1 = nn.Linear(dim, 2 * dim)
        self.act = nn.SiLU()
        self.fc2 = nn.Linear(2 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc2(self.act(self.fc1(self.norm(x))))
        return x + out


class OutputNorm(nn.LayerNorm):
    """The LayerNorm that closes the transformer; it serves the last FFN's output."""

    category = Category.FFN


class TransformerLayer(nn.Module):
    """Attention, then FFN."""

    def __init__(self, dim: int, attention: nn.Module) -> None:
        super().__init__()
        self.attention = attention
        self.ffn = FeedForward(dim)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.ffn(self.attention(x))
        return out


class Unfold(nn.Module):
    """(B, d, H, W) → (B·P, N, d): attention then mixes pixels at the same place of each patch.

    Pixel (i, j) becomes token (i div ph)·nw + (j div pw) of row (i mod ph)·pw + (j mod pw). A map
    that is no multiple of the patch is resized up to one first, as the reference does.
    """

    category = Category.FOLD

    def __init__(self, patch: PatchSize) -> None:
        super().__init__()
        self.patch = patch

    def forward(self, x: Tensor) -> Tensor:
        ph, pw = self.patch.height, self.patch.width
        height, width = x.shape[-2:]
        nh, nw = -(-height // ph), -(-width // pw)
        if (nh * ph, nw * pw) != (height, width):
            x = F.interpolate(x, (nh * ph, nw * pw), mode="bilinear", align_corners=False)
        return self.to_tokens(x, nh, nw)

    def to_tokens(self, x: Tensor, nh: int, nw: int) -> Tensor:
        """Unfold a map of nh x nw whole patches."""
        ph, pw = self.patch.height, self.patch.width
        batch, dim = x.shape[:2]
        # Channels go last first: engines move whole pixels from there on.
        x = x.permute(0, 2, 3, 1).reshape(batch, nh, ph, nw, pw, dim).permute(0, 2, 4, 1, 3, 5)
        return x.reshape(batch * ph * pw, nh * nw, dim)


class Fold(nn.Module):
    """The inverse of `Unfold`: (B·P, N, d) → (B, d, H, W), resized back to H x W if need be."""

    category = Category.FOLD

    def __init__(self, patch: PatchSize) -> None:
        super().__init__()
        self.patch = patch

    def forward(self, x: Tensor, height: int, width: int) -> Tensor:
        ph, pw = self.patch.height, self.patch.width
        nh, nw = -(-height // ph), -(-width // pw)
        x = self.to_map(x, nh, nw)
        if (nh * ph, nw * pw) != (height, width):
            x = F.interpolate(x, (height, width), mode="bilinear", align_corners=False)
        return x

    def to_map(self, x: Tensor, nh: int, nw: int) -> Tensor:
        """Fold tokens to a map of nh x nw whole patches."""
        ph, pw = self.patch.height, self.patch.width
        dim = x.shape[-1]
        x = x.reshape(-1, ph, pw, nh, nw, dim).permute(0, 3, 1, 4, 2, 5)
        return x.reshape(-1, nh * ph, nw * pw, dim).permute(0, 3, 1, 2)


class PatchBlock(nn.Module):
    """Local convolutions, a transformer over unfolded patches, and fusion with the input.

    Its own operator, the concatenation, feeds the fusing convolution and counts as such. How tokens
    are laid out is a matter between `unfold` and `fold` and the modules that run between them.
    """

    category = Category.CONVOLUTION

    local: ConvLayer
    project_in: ConvLayer
    unfold: Unfold
    transformer: nn.Sequential
    norm: nn.Module
    fold: Fold
    project_out: ConvLayer
    fuse: ConvLayer

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        tokens = self.unfold(self.project_in(self.local(x)))
        tokens = self.norm(self.transformer(tokens))
        mixed = self.project_out(self.fold(tokens, height, width))
        out: Tensor = self.fuse(torch.cat((x, mixed), dim=1))
        return out


class MobileViTBlock(PatchBlock):
    """`PatchBlock` of tokens (B·P, N, d)."""

    norm: nn.LayerNorm

    def __init__(
        self, channels: int, dim: int, patch: PatchSize, attentions: Iterable[nn.Module]
    ) -> None:
        super().__init__()
        self.local = ConvLayer(channels, channels, 3)
        self.project_in = ConvLayer(channels, dim, 1, norm=False, act=False)
        self.unfold = Unfold(patch)
        self.transformer = nn.Sequential(*(TransformerLayer(dim, one) for one in attentions))
        self.norm = OutputNorm(dim)
        self.fold = Fold(patch)
        self.project_out = ConvLayer(dim, channels, 1)
        self.fuse = ConvLayer(2 * channels, channels, 3)

    def channels_first(self) -> ChannelsFirstBlock:
        """Return the same block with tokens (B·P, d, 1, N)."""
        from mvdeploy.models.families.mobilevit.channels_first import ChannelsFirstBlock

        return ChannelsFirstBlock(self)


class Classifier(nn.Module):
    """Mean over the map, then a linear layer: (B, C, H, W) → (B, classes)."""

    category = Category.PRE_AND_POST

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        self.dropout = nn.Dropout(0.1)
        self.fc = nn.Linear(channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc(self.dropout(x.mean((2, 3))))
        return out


class Encoder(nn.Module):
    """(B, 3, H, W) in 0..1 → the maps of layer_4 and layer_5.

    Args:
        variant: the sizes.
        patches: of layer_3, layer_4 and layer_5.
        output_stride: of layer_5: 32, or 16 where its first block keeps the size of the map.
        attention: one of `MAKERS`.
        tokens: in a row of layer_3, layer_4 and layer_5, for which attention may have weights.
    """

    category = Category.PRE_AND_POST

    def __init__(
        self,
        variant: Variant,
        patches: Sequence[PatchSize],
        output_stride: int = 32,
        attention: str = "softmax",
        tokens: Sequence[int] = (0, 0, 0),
    ) -> None:
        super().__init__()
        make = MAKERS[attention]
        c1, c2, c3, c4, c5, c6 = variant.channels
        blocks = (
            MobileViTBlock(channels, dim, patch, (make(dim, count) for _ in range(depth)))
            for channels, dim, patch, count, depth in zip(
                variant.channels[3:], variant.dims, patches, tokens, variant.depths, strict=True
            )
        )
        t = variant.expansion
        self.conv_1 = ConvLayer(3, c1, 3, stride=2)
        self.layer_1 = nn.Sequential(InvertedResidual(c1, c2, stride=1, expansion=t))
        self.layer_2 = nn.Sequential(
            InvertedResidual(c2, c3, stride=2, expansion=t),
            InvertedResidual(c3, c3, stride=1, expansion=t),
            InvertedResidual(c3, c3, stride=1, expansion=t),
        )
        self.layer_3 = nn.Sequential(InvertedResidual(c3, c4, stride=2, expansion=t), next(blocks))
        self.layer_4 = nn.Sequential(InvertedResidual(c4, c5, stride=2, expansion=t), next(blocks))
        self.layer_5 = nn.Sequential(
            InvertedResidual(c5, c6, stride=output_stride // 16, expansion=t),
            next(blocks),
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.layer_2(self.layer_1(self.conv_1(x)))
        fine: Tensor = self.layer_4(self.layer_3(x))
        return fine, self.layer_5(fine)

    def set_patches(self, patches: Sequence[PatchSize]) -> None:
        """Change the patch sizes of layer_3, layer_4 and layer_5."""
        blocks = [m for m in self.modules() if isinstance(m, PatchBlock)]
        for block, patch in zip(blocks, patches, strict=True):
            block.unfold.patch = block.fold.patch = patch


class MobileViT(Encoder):
    """(B, 3, H, W) in 0..1 → (B, classes)."""

    def __init__(
        self,
        variant: Variant,
        patches: Sequence[PatchSize],
        num_classes: int = 1000,
        attention: str = "softmax",
        tokens: Sequence[int] = (0, 0, 0),
    ) -> None:
        super().__init__(variant, patches, attention=attention, tokens=tokens)
        last = variant.channels[-1]
        expanded = min(4 * last, EXPANDED_MAX)
        self.conv_1x1_exp = ConvLayer(last, expanded, 1)
        self.classifier = Classifier(expanded, num_classes)

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        _, coarse = super().forward(x)
        out: Tensor = self.classifier(self.conv_1x1_exp(coarse))
        return out


def make_divisible(value: int, divisor: int) -> int:
    """Round to a multiple of `divisor`, but never down by more than a tenth (MobileNet's rule)."""
    rounded = max(divisor, (value + divisor // 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * value else rounded
