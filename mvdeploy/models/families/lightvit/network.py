"""LightViT as a torch module.

Tao Huang, Lang Huang, Shan You, Fei Wang, Chen Qian and Chang Xu: "LightViT: Towards Light-Weight
Convolution-Free Vision Transformers", 2022, arXiv 2207.05557. The authors' classifier is
``lib/models/lightvit.py`` of hunto/image_classification_sota (at f35ab2b), which all sizes are
from; hunto/LightViT has the detector, with other numbers of tokens. The README of
hunto/LightViT gives 9.4, 19.2 and 35.2 M parameters and 0.7, 1.7 and 3.9 G FLOPs for T, S and B.

Tokens are (B, T + H·W, C): the T learned ones first, then those of the image.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mvdeploy.models.families import _vit
from mvdeploy.models.families._vit import Grid
from mvdeploy.records import Category

RATIOS = (8, 4, 4)
HEAD_DIM = 32
WINDOW = 7
NECK_DIM = 1280


class ConvStem(nn.Module):
    """Convolutions to an eighth of the image: (B, 3, H, W) → (B, H/8·W/8, dim)."""

    category = Category.PRE_AND_POST

    def __init__(self, dim: int) -> None:
        super().__init__()
        half = dim // 2
        layers: list[nn.Module] = []
        for inputs, stride, groups in (3, 2, 1), *((half, stride, half) for stride in (1, 1, 2)):
            layers += [
                nn.Conv2d(inputs, half, 3, stride, padding=1, groups=groups, bias=False),
                nn.BatchNorm2d(half),
                nn.GELU(),
            ]
        self.stem = nn.Sequential(*layers)
        self.proj = nn.Conv2d(half, dim, 3, stride=2, padding=1)
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.norm(_vit.to_tokens(self.proj(self.stem(x))))
        return out


def windows(x: Tensor, grid: Grid) -> Tensor:
    """Cut a map of tokens (B, H·W, C) into windows: (B · windows, 49, C), row by row."""
    (_, width), channels = grid, x.shape[-1]
    rows = x.reshape(-1, WINDOW, width // WINDOW, WINDOW * channels).transpose(1, 2)
    return rows.reshape(-1, WINDOW * WINDOW, channels)


def whole(x: Tensor, grid: Grid) -> Tensor:
    """Put `windows` together again: (B · windows, 49, C) → (B, H·W, C)."""
    (height, width), channels = grid, x.shape[-1]
    rows = x.reshape(-1, width // WINDOW, WINDOW, WINDOW * channels).transpose(1, 2)
    return rows.reshape(-1, height * width, channels)


class LightAttention(nn.Module):
    """Attention in windows, beside it a detour over the learned tokens, and its residual.

    Learned tokens attend to those of the image; these attend to the result.
    """

    category = Category.ATTENTION
    relative_position_index: Tensor

    def __init__(self, dim: int, tokens: int) -> None:
        super().__init__()
        self.tokens, self.heads = tokens, dim // HEAD_DIM
        self.qkv = nn.Linear(dim, 3 * dim)
        self.kv_global = nn.Linear(dim, 2 * dim)
        self.proj = nn.Linear(dim, dim)
        self.relative_position_bias_table = _vit.learned((2 * WINDOW - 1) ** 2, self.heads)
        self.register_buffer("relative_position_index", _relative_places())

    def forward(self, x: Tensor, shortcut: Tensor, grid: Grid) -> Tensor:
        qkv, heads = self.qkv(x), self.heads
        image = qkv[:, self.tokens :]
        q, k, v = _vit.thirds(image)

        local = _vit.attend(*_vit.thirds(windows(image, grid)), heads, self.bias())
        gathered = _vit.attend(_vit.thirds(qkv[:, : self.tokens])[0], k, v, heads)
        spread = self.kv_global(gathered)
        dim = spread.shape[-1] // 2
        spread = _vit.attend(q, spread[..., :dim], spread[..., dim:], heads)

        out: Tensor = self.proj(torch.cat((gathered, whole(local, grid) + spread), dim=1))
        return shortcut + out

    def bias(self) -> Tensor:
        """Return what each pair of places in a window adds to the logits: (heads, 49, 49)."""
        places = WINDOW * WINDOW
        rows = self.relative_position_bias_table[self.relative_position_index]
        return rows.reshape(places, places, self.heads).permute(2, 0, 1)


def _relative_places() -> Tensor:
    """Return the row of the table for each pair of places in a window: (49 · 49,)."""
    side = torch.arange(WINDOW)
    y, x = (c.flatten() for c in torch.meshgrid(side, side, indexing="ij"))
    dy, dx = (c[:, None] - c[None, :] + WINDOW - 1 for c in (y, x))
    return (dy * (2 * WINDOW - 1) + dx).flatten()


class BiDimensionalAttention(nn.Module):
    """Scale every channel, and every token, by a share that all tokens have a say in.

    It stands within the perceptron. The paper calls it attention, and it counts as such.
    """

    category = Category.ATTENTION

    def __init__(self, dim: int) -> None:
        super().__init__()
        reduced = dim // 4
        self.norm = nn.LayerNorm(dim)
        self.global_reduce = nn.Linear(dim, reduced)
        self.local_reduce = nn.Linear(dim, reduced)
        self.act_fn = nn.GELU()
        self.channel_select = nn.Linear(reduced, dim)
        self.spatial_select = nn.Linear(2 * reduced, 1)

    def forward(self, x: Tensor) -> Tensor:
        normed = self.norm(x)
        everywhere = self.act_fn(self.global_reduce(normed.mean(dim=1, keepdim=True)))
        here = self.act_fn(self.local_reduce(normed))
        channels = torch.sigmoid(self.channel_select(everywhere))
        both = torch.cat((here, everywhere.expand(-1, x.shape[1], -1)), dim=-1)
        return x * (channels * torch.sigmoid(self.spatial_select(both)))


class AttentiveMlp(nn.Module):
    """A perceptron, attention over channels and tokens in it, and their residual."""

    category = Category.FFN

    def __init__(self, dim: int, ratio: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, ratio * dim)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(ratio * dim, dim)
        self.attn = BiDimensionalAttention(dim)

    def forward(self, x: Tensor, shortcut: Tensor) -> Tensor:
        out: Tensor = self.attn(self.fc2(self.act(self.fc1(x))))
        return shortcut + out


class Block(nn.Module):
    """Attention, then the perceptron."""

    def __init__(self, dim: int, ratio: int, tokens: int) -> None:
        super().__init__()
        self.norm1 = _vit.AttentionNorm(dim, eps=1e-6)
        self.attn = LightAttention(dim, tokens)
        self.norm2 = _vit.FeedForwardNorm(dim, eps=1e-6)
        self.mlp = AttentiveMlp(dim, ratio)

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        x = self.attn(self.norm1(x), x, grid)
        out: Tensor = self.mlp(self.norm2(x), x)
        return out


class ResidualMerge(nn.Module):
    """Merge 2x2 tokens of the image into one, with what is largest in them as a shortcut.

    The rows and columns it is told are those after merging, as the blocks behind it are.
    """

    category = Category.PRE_AND_POST

    def __init__(self, dim: int, out_dim: int, tokens: int) -> None:
        super().__init__()
        self.tokens = tokens
        self.norm = nn.LayerNorm(4 * dim)
        self.reduction = nn.Linear(4 * dim, out_dim, bias=False)
        self.norm2 = nn.LayerNorm(dim)
        self.proj = nn.Linear(dim, out_dim, bias=False)
        self.res_proj = nn.Linear(dim, out_dim, bias=False)

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        learned = self.proj(self.norm2(x[:, : self.tokens]))
        batch, _, dim = x.shape
        image = x[:, self.tokens :].reshape(batch, 2 * grid[0], 2 * grid[1], dim)
        # Top left, bottom left, top right, bottom right, as the weights of `reduction` have them.
        corners = [image[:, y::2, x::2].reshape(batch, -1, dim) for x in (0, 1) for y in (0, 1)]
        largest = torch.maximum(
            torch.maximum(corners[0], corners[1]), torch.maximum(corners[2], corners[3])
        )
        merged = self.reduction(self.norm(torch.cat(corners, dim=-1)))
        return torch.cat((learned, merged + self.res_proj(largest)), dim=1)


class Stages(nn.ModuleList):
    """All stages; from the second on each halves the map before its blocks."""

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        for i, stage in enumerate(self):
            x = stage(x, (grid[0] // 2**i, grid[1] // 2**i))
        return x


class LightViT(nn.Module):
    """(B, 3, H, W) → (B, classes); H and W are multiples of 224.

    Args:
        dims: width of the tokens in each of the three stages.
        depths: blocks of each stage.
        tokens: learned ones.
        num_classes: outputs of the classifier.
    """

    category = Category.PRE_AND_POST

    def __init__(
        self,
        dims: tuple[int, int, int],
        depths: tuple[int, int, int],
        tokens: int,
        num_classes: int,
    ) -> None:
        super().__init__()
        self.patch_embed = ConvStem(dims[0])
        self.global_token = _vit.learned(1, tokens, dims[0])
        stages = []
        for i, (dim, depth, ratio) in enumerate(zip(dims, depths, RATIOS, strict=True)):
            merging = [ResidualMerge(dims[i - 1], dim, tokens)] if i else []
            blocks = [Block(dim, ratio, tokens) for _ in range(depth)]
            stages.append(_vit.Stack([*merging, *blocks]))
        self.stages = Stages(stages)
        self.norm = nn.LayerNorm(dims[-1], eps=1e-6)
        self.neck = nn.Sequential(nn.Linear(dims[-1], NECK_DIM), nn.LayerNorm(NECK_DIM), nn.GELU())
        self.head = nn.Linear(NECK_DIM, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        grid = (x.shape[2] // 8, x.shape[3] // 8)
        x = self.stages(_vit.prepend(self.global_token, self.patch_embed(x)), grid)
        out: Tensor = self.head(self.neck(self.norm(x)).mean(dim=1))
        return out
