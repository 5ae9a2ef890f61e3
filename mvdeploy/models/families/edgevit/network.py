"""EdgeViT as a torch module.

Junting Pan, Adrian Bulat, Fuwen Tan, Xiatian Zhu, Lukasz Dudziak, Hongsheng Li, Georgios
Tzimiropoulos and Brais Martinez: "EdgeViTs: Competing Light-weight CNNs on Mobile Devices with
Vision Transformers", ECCV 2022, arXiv 2205.03436. The authors' code is saic-fi/edgevit (at
df3d070): widths, depths, heads and sampling rates from ``src/edgevit.py``. The published
counts are 4.1, 6.7 and 11.1 M parameters for XXS, XS and S; the authors' code of S has 13.1 M, and
so do others who count it.
"""

from __future__ import annotations

from torch import Tensor, nn

from mvdeploy.models.families import _vit
from mvdeploy.models.families._vit import Grid
from mvdeploy.records import Category

RATIO = 4
RATES = (4, 2, 2, 1)
"""Of each stage: every so many rows and columns, one pixel attends."""


class FeedForwardBatchNorm(nn.BatchNorm2d):
    """The BatchNorm before a feed-forward network."""

    category = Category.FFN


class ConvMlp(nn.Module):
    """`_vit.Mlp` of maps (B, C, H, W), by 1x1 convolutions."""

    category = Category.FFN

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(dim, RATIO * dim, 1)
        self.act = nn.GELU()
        self.fc2 = nn.Conv2d(RATIO * dim, dim, 1)

    def forward(self, x: Tensor, shortcut: Tensor) -> Tensor:
        out: Tensor = self.fc2(self.act(self.fc1(x)))
        return shortcut + out


def depthwise(dim: int, kernel: int) -> nn.Conv2d:
    """Return a convolution of each channel by itself, which keeps the size."""
    return nn.Conv2d(dim, dim, kernel, padding=kernel // 2, groups=dim)


class LocalAggregation(nn.Module):
    """Depthwise convolutions that gather what is around each pixel, and a perceptron: maps."""

    category = Category.CONVOLUTION

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.pos_embed = depthwise(dim, 3)
        self.norm1 = nn.BatchNorm2d(dim)
        self.conv1 = nn.Conv2d(dim, dim, 1)
        self.conv2 = nn.Conv2d(dim, dim, 1)
        self.attn = depthwise(dim, 5)
        self.norm2 = FeedForwardBatchNorm(dim)
        self.mlp = ConvMlp(dim)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.pos_embed(x)
        x = x + self.conv2(self.attn(self.conv1(self.norm1(x))))
        out: Tensor = self.mlp(self.norm2(x), x)
        return out


class SparseAttention(nn.Module):
    """Attention among the pixels of a sparse grid, spread over their neighbours; its residual.

    Tokens (B, H·W, C) of a map whose sides are multiples of the rate.
    """

    category = Category.ATTENTION

    def __init__(self, dim: int, heads: int, rate: int) -> None:
        super().__init__()
        self.heads, self.rate = heads, rate
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        if rate > 1:
            self.LocalProp = nn.ConvTranspose2d(dim, dim, rate, stride=rate, groups=dim)
            self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor, shortcut: Tensor, grid: Grid) -> Tensor:
        if self.rate > 1:
            x = _vit.to_tokens(_vit.to_map(x, grid)[:, :, :: self.rate, :: self.rate])
        x = _vit.attend(*_vit.thirds(self.qkv(x)), self.heads)
        if self.rate > 1:
            sparse = _vit.to_map(x, (grid[0] // self.rate, grid[1] // self.rate))
            x = self.norm(_vit.to_tokens(self.LocalProp(sparse)))
        out: Tensor = self.proj(x)
        return shortcut + out


class SelfAttention(nn.Module):
    """A depthwise convolution that tells positions, sparse attention and a perceptron: maps.

    What it computes itself is the convolution's residual.
    """

    category = Category.CONVOLUTION

    def __init__(self, dim: int, heads: int, rate: int) -> None:
        super().__init__()
        self.pos_embed = depthwise(dim, 3)
        self.norm1 = _vit.AttentionNorm(dim, eps=1e-6)
        self.attn = SparseAttention(dim, heads, rate)
        self.norm2 = _vit.FeedForwardNorm(dim, eps=1e-6)
        self.mlp = _vit.Mlp(dim, RATIO)

    def forward(self, x: Tensor) -> Tensor:
        grid = (x.shape[2], x.shape[3])
        x = _vit.to_tokens(x + self.pos_embed(x))
        x = self.attn(self.norm1(x), x, grid)
        return _vit.to_map(self.mlp(self.norm2(x), x), grid)


class LocalGlobalLocal(nn.Module):
    """Local aggregation, except in the last stage, then sparse attention."""

    def __init__(self, dim: int, heads: int, rate: int) -> None:
        super().__init__()
        self.LocalAgg = LocalAggregation(dim) if rate > 1 else nn.Identity()
        self.SelfAttn = SelfAttention(dim, heads, rate)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.SelfAttn(self.LocalAgg(x))
        return out


class PatchEmbed(_vit.NormedPatchEmbed):
    """`_vit.NormedPatchEmbed` that gives a map: (B, C, H, W) → (B, dim, H/patch, W/patch)."""

    def forward(self, x: Tensor) -> Tensor:
        patch = self.proj.stride[0]
        return _vit.to_map(super().forward(x), (x.shape[2] // patch, x.shape[3] // patch))


class EdgeViT(nn.Module):
    """(B, 3, H, W) → (B, classes); H and W are multiples of 32.

    Args:
        dims: channels of the four stages.
        depths: blocks of each stage.
        head_dim: channels of a head.
        num_classes: outputs of the classifier.
    """

    category = Category.PRE_AND_POST

    def __init__(
        self,
        dims: tuple[int, int, int, int],
        depths: tuple[int, int, int, int],
        head_dim: int,
        num_classes: int,
    ) -> None:
        super().__init__()
        stages = (
            nn.Sequential(*(LocalGlobalLocal(dim, dim // head_dim, rate) for _ in range(depth)))
            for dim, depth, rate in zip(dims, depths, RATES, strict=True)
        )
        self.patch_embed1, self.blocks1 = PatchEmbed(4, dims[0]), next(stages)
        self.patch_embed2, self.blocks2 = PatchEmbed(2, dims[1], dims[0]), next(stages)
        self.patch_embed3, self.blocks3 = PatchEmbed(2, dims[2], dims[1]), next(stages)
        self.patch_embed4, self.blocks4 = PatchEmbed(2, dims[3], dims[2]), next(stages)
        self.norm = nn.BatchNorm2d(dims[3])
        self.head = nn.Linear(dims[3], num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks1(self.patch_embed1(x))
        x = self.blocks2(self.patch_embed2(x))
        x = self.blocks3(self.patch_embed3(x))
        x = self.blocks4(self.patch_embed4(x))
        out: Tensor = self.head(self.norm(x).mean(dim=(2, 3)))
        return out
