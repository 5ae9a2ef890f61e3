"""The block over patches with channels first: tokens (B·P, d, 1, N), no tensor of five dimensions.

Apple's Neural Engine works on images of four dimensions with channels second. Written so, a linear
layer is a 1x1 convolution, heads are a reshape, and tokens are moved twice for each block. The form
is that of Apple's ml-ane-transformers.

Weights are those of the block that is replaced, reshaped. What scales and shifts channels just
before such a convolution is multiplied into it, as BatchNorm is: the affine part of every LayerNorm
and the scale of the queries. Module paths and categories stay.

Shapes: B images, d token dimension, H x W map, P pixels in a patch, N = nh x nw patches.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from mvdeploy.models.families.mobilevit.attention import (
    HEADS,
    Attention,
    LinformerAttention,
    SeparableAttention,
    TokenLinear,
)
from mvdeploy.models.families.mobilevit.network import (
    ConvLayer,
    FeedForward,
    Fold,
    MobileViTBlock,
    PatchBlock,
    Unfold,
)
from mvdeploy.records import Category


class ChannelNorm(nn.Module):
    """LayerNorm over the channels without its affine part: (B·P, d, 1, N) → same.

    The operators and their order are those that coremltools' pass fuse_layernorm_or_instancenorm
    makes one ``layer_norm`` of.
    """

    def __init__(self, norm: nn.LayerNorm) -> None:
        super().__init__()
        self.eps = norm.eps
        category = getattr(norm, "category", None)
        if category is not None:
            self.category = category  # time is counted as that of the module it replaces

    def forward(self, x: Tensor) -> Tensor:
        centred = x - x.mean(1, keepdim=True)
        variance = (centred * centred).mean(1, keepdim=True)
        return centred * torch.rsqrt(variance + self.eps)


class ChannelsFirstAttention(nn.Module):
    """`Attention` of tokens (B·P, d, 1, N); heads are groups of channels."""

    category = Category.ATTENTION

    def __init__(self, plain: Attention) -> None:
        super().__init__()
        dim = plain.proj.in_features
        self.norm = ChannelNorm(plain.norm)
        self.qkv = _pointwise(plain.qkv, plain.norm, _query_scale(dim))
        self.proj = _pointwise(plain.proj)

    def forward(self, x: Tensor) -> Tensor:
        rows, dim, _, tokens = x.shape
        # Heads before the split: one reshape instead of three.
        heads = self.qkv(self.norm(x)).reshape(rows, 3 * HEADS, dim // HEADS, tokens)
        q, k, v = heads.split(HEADS, dim=1)
        weights = torch.softmax(q.transpose(2, 3) @ k, dim=-1)
        mixed = v @ weights.transpose(2, 3)
        out: Tensor = self.proj(mixed.reshape(rows, dim, 1, tokens))
        return x + out


class _TokenProduct(nn.Module):
    """`TokenLinear` as a product: a linear layer on the last axis has no place on the engine."""

    def __init__(self, plain: TokenLinear) -> None:
        super().__init__()
        self.weight = plain.weight

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight.mT


class ChannelsFirstLinformer(nn.Module):
    """`LinformerAttention` of tokens (B·P, d, 1, N)."""

    category = Category.ATTENTION

    def __init__(self, plain: LinformerAttention) -> None:
        super().__init__()
        self.norm = ChannelNorm(plain.norm)
        self.qkv = _pointwise(plain.qkv, plain.norm, _query_scale(plain.proj.in_features))
        self.project_keys = _TokenProduct(plain.project_keys)
        self.project_values = _TokenProduct(plain.project_values)
        self.proj = _pointwise(plain.proj)

    def forward(self, x: Tensor) -> Tensor:
        rows, dim, _, tokens = x.shape
        heads = self.qkv(self.norm(x)).reshape(rows, 3 * HEADS, dim // HEADS, tokens)
        q, k, v = heads.split(HEADS, dim=1)
        weights = torch.softmax(q.transpose(2, 3) @ self.project_keys(k), dim=-1)
        mixed = self.project_values(v) @ weights.transpose(2, 3)
        out: Tensor = self.proj(mixed.reshape(rows, dim, 1, tokens))
        return x + out


class ChannelsFirstSeparable(nn.Module):
    """`SeparableAttention` of tokens (B·P, d, 1, N)."""

    category = Category.ATTENTION

    def __init__(self, plain: SeparableAttention) -> None:
        super().__init__()
        self.norm = ChannelNorm(plain.norm)
        self.qkv = _pointwise(plain.qkv, plain.norm)
        self.proj = _pointwise(plain.proj)

    def forward(self, x: Tensor) -> Tensor:
        dim = x.shape[1]
        q, k, v = self.qkv(self.norm(x)).split((1, dim, dim), dim=1)
        context = (torch.softmax(q, dim=-1) * k).sum(-1, keepdim=True)
        out: Tensor = self.proj(torch.relu(v) * context)
        return x + out


class ChannelsFirstFeedForward(nn.Module):
    """`FeedForward` of tokens (B·P, d, 1, N)."""

    category = Category.FFN

    def __init__(self, plain: FeedForward) -> None:
        super().__init__()
        self.norm = ChannelNorm(plain.norm)
        self.fc1 = _pointwise(plain.fc1, plain.norm)
        self.act = plain.act
        self.fc2 = _pointwise(plain.fc2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc2(self.act(self.fc1(self.norm(x))))
        return x + out


class ChannelsFirstUnfold(Unfold):
    """(B, d, H, W) → (B·P, d, 1, N), rows and tokens in the order of `Unfold`."""

    def to_tokens(self, x: Tensor, nh: int, nw: int) -> Tensor:
        """Unfold a map of nh x nw whole patches."""
        ph, pw = self.patch.height, self.patch.width
        batch, dim = x.shape[:2]
        pixels, tokens = ph * pw, nh * nw
        if ph != pw:
            x = x.reshape(batch * dim * nh, ph, nw, pw).transpose(2, 3)
            x = x.reshape(batch, dim * nh, pixels, nw).transpose(1, 2)
            return x.reshape(batch * pixels, dim, 1, tokens)
        x = F.pixel_unshuffle(x, ph)
        if batch == 1:  # four dimensions hold all there is: one reshape less
            return x.reshape(dim, pixels, 1, tokens).transpose(0, 1)
        x = x.reshape(batch, dim, pixels, tokens).transpose(1, 2)
        return x.reshape(batch * pixels, dim, 1, tokens)


class ChannelsFirstFold(Fold):
    """The inverse of `ChannelsFirstUnfold`: (B·P, d, 1, N) → (B, d, H, W)."""

    def to_map(self, x: Tensor, nh: int, nw: int) -> Tensor:
        """Fold tokens to a map of nh x nw whole patches."""
        ph, pw = self.patch.height, self.patch.width
        dim, pixels = x.shape[1], ph * pw
        batch = x.shape[0] // pixels
        if ph != pw:
            x = x.reshape(batch, pixels, dim * nh, nw).transpose(1, 2)
            x = x.reshape(batch * dim * nh, ph, pw, nw).transpose(2, 3)
            return x.reshape(batch, dim, nh * ph, nw * pw)
        if batch == 1:
            x = x.transpose(0, 1)
        else:
            x = x.reshape(batch, pixels, dim, nh * nw).transpose(1, 2)
        return F.pixel_shuffle(x.reshape(batch, dim * pixels, nh, nw), ph)


class ChannelsFirstBlock(PatchBlock):
    """`MobileViTBlock` of tokens (B·P, d, 1, N)."""

    def __init__(self, plain: MobileViTBlock) -> None:
        super().__init__()
        self.local, self.project_in, self.fuse = plain.local, plain.project_in, plain.fuse
        self.unfold = ChannelsFirstUnfold(plain.unfold.patch)
        self.transformer = nn.Sequential(*map(_layer, plain.transformer))
        self.norm = ChannelNorm(plain.norm)
        self.fold = ChannelsFirstFold(plain.fold.patch)
        self.project_out = _after(plain.norm, plain.project_out)


_ATTENTIONS: tuple[tuple[type[nn.Module], Callable[..., nn.Module]], ...] = (
    (Attention, ChannelsFirstAttention),
    (LinformerAttention, ChannelsFirstLinformer),
    (SeparableAttention, ChannelsFirstSeparable),
)


def _layer(plain: nn.Module) -> nn.Sequential:
    """Return a `TransformerLayer` with its parts under the names they had."""
    attention, ffn = plain.attention, plain.ffn
    written = next((f(attention) for kind, f in _ATTENTIONS if isinstance(attention, kind)), None)
    if written is None or not isinstance(ffn, FeedForward):
        raise TypeError(f"expected attention and FFN, not {attention} and {ffn}")
    parts = {"attention": written, "ffn": ChannelsFirstFeedForward(ffn)}
    return nn.Sequential(OrderedDict(parts))


def _after(norm: nn.LayerNorm, layer: ConvLayer) -> ConvLayer:
    """Return a 1x1 `ConvLayer` that does what `norm` does to channels first.

    The fold and its resize in between treat channels alike and keep constants, so they commute with
    a scale and a shift of each channel.
    """
    layer = copy.deepcopy(layer)
    layer.conv = _pointwise(layer.conv, norm)
    return layer


def _query_scale(dim: int) -> Tensor:
    """Return the factor of every output of the packed projection (3·dim): 1/sqrt(d) for queries."""
    scale = torch.ones(3 * dim, dtype=torch.double)
    scale[:dim] = (dim // HEADS) ** -0.5
    return scale


def _pointwise(
    layer: nn.Linear | nn.Conv2d, norm: nn.LayerNorm | None = None, scale: Tensor | None = None
) -> nn.Conv2d:
    """Return a 1x1 convolution with a layer's weights.

    Args:
        layer: linear, or a 1x1 convolution, of (outputs, inputs).
        norm: before the layer; its scale and shift of the inputs are multiplied in.
        scale: of the outputs.
    """
    weight = layer.weight.detach().double().flatten(1)
    bias = weight.new_zeros(len(weight)) if layer.bias is None else layer.bias.detach().double()
    if norm is not None:
        bias = bias + weight @ norm.bias.detach().double()
        weight = weight * norm.weight.detach().double()
    if scale is not None:
        scale = scale.to(weight.device)
        weight, bias = weight * scale[:, None], bias * scale
    outputs, inputs = weight.shape
    conv = nn.Conv2d(inputs, outputs, 1, device="meta")
    conv.weight = nn.Parameter(weight[:, :, None, None].to(layer.weight.dtype))
    conv.bias = nn.Parameter(bias.to(layer.weight.dtype))
    return conv
