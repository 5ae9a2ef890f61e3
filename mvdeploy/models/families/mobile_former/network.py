"""Mobile-Former as a torch module.

Two streams run side by side: a map, and a few tokens that are the same for every image at first.
In each block the tokens read the map and each other, the map's activations follow the first token,
and the map reads the tokens.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mvdeploy.records import Category

_MAP_HEADS = 2
_TOKEN_HEADS = 4
_FEED_FORWARD = 2
_HEAD_EXPANSION = 6


def _heads(tokens: Tensor, heads: int) -> Tensor:
    """Split (batch, tokens, channels) into (batch, heads, tokens, channels / heads)."""
    batch, count, channels = tokens.shape
    return tokens.reshape(batch, count, heads, channels // heads).transpose(1, 2)


def _attend(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Return what queries see of the values; all are (batch, heads, rows, width)."""
    logits = torch.matmul(queries, keys.transpose(2, 3)) * queries.shape[-1] ** -0.5
    return torch.matmul(logits.softmax(dim=-1), values)


def _joined(x: Tensor) -> Tensor:
    """Join heads: the inverse of `_heads`."""
    return x.transpose(1, 2).flatten(2)


class Tokens(nn.Embedding):
    """The tokens that every image begins with."""

    category = Category.PRE_AND_POST

    def forward(self, image: Tensor) -> Tensor:
        """Give (batch, tokens, channels) for images."""
        return self.weight[None].expand(image.shape[0], -1, -1)


class GentleLinear(nn.Linear):
    """A layer between tokens and map, where both decide what becomes of the other."""

    gain = 0.3
    """Of random weights: with larger ones a block amplifies rounding, and there are twelve."""


class TokensReadMap(nn.Module):
    """Attention of the tokens to the map, which is key and value as it is.

    Args:
        channels: of the map.
        width: channels of a token.
    """

    category = Category.ATTENTION

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.alpha = nn.Sequential(nn.Linear(width, channels), nn.Hardsigmoid())
        self.q = GentleLinear(width, channels)
        self.proj = nn.Linear(channels, width)
        self.layer_norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, tokens: Tensor) -> Tensor:
        """Give the tokens, of the same shape."""
        batch, channels, height, width = x.shape
        pixels = x.reshape(batch, _MAP_HEADS, channels // _MAP_HEADS, height * width)
        pixels = pixels.transpose(2, 3)
        seen = _joined(_attend(_heads(self.q(tokens), _MAP_HEADS), pixels, pixels))
        out: Tensor = self.layer_norm(tokens + self.proj(seen * (2 * self.alpha(tokens))))
        return out


class FeedForward(nn.Sequential):
    """Two linear layers on each token, added to it."""

    category = Category.FFN

    def __init__(self, width: int) -> None:
        hidden = _FEED_FORWARD * width
        super().__init__(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))

    def forward(self, tokens: Tensor) -> Tensor:
        out: Tensor = tokens + super().forward(tokens)  # type: ignore[no-untyped-call]
        return out


class FeedForwardNorm(nn.LayerNorm):
    """The norm after the feed-forward layers."""

    category = Category.FFN


class TokenBlock(nn.Module):
    """Attention of the tokens to each other, which are key and value as they are, and an FFN."""

    category = Category.ATTENTION

    def __init__(self, width: int) -> None:
        super().__init__()
        self.ffn = FeedForward(width)
        self.ffn_norm = FeedForwardNorm(width)
        self.q = nn.Linear(width, width)
        self.channel_mlp = nn.Linear(width, width)
        self.layer_norm = nn.LayerNorm(width)

    def forward(self, tokens: Tensor) -> Tensor:
        own = _heads(tokens, _TOKEN_HEADS)
        seen = _joined(_attend(_heads(self.q(tokens), _TOKEN_HEADS), own, own))
        tokens = self.layer_norm(tokens + self.channel_mlp(seen))
        out: Tensor = self.ffn_norm(self.ffn(tokens))
        return out


class MapReadsTokens(nn.Module):
    """Attention of the map's pixels to the tokens, added to the map.

    Args:
        channels: of the map.
        width: channels of a token.
    """

    category = Category.ATTENTION

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.k = GentleLinear(width, channels)
        self.proj = GentleLinear(width, channels)

    def forward(self, x: Tensor, tokens: Tensor) -> Tensor:
        """Give the map, of the same shape."""
        batch, channels, height, width = x.shape
        pixels = x.reshape(batch, _MAP_HEADS, channels // _MAP_HEADS, height * width)
        keys, values = (_heads(linear(tokens), _MAP_HEADS) for linear in (self.k, self.proj))
        seen = _attend(pixels.transpose(2, 3), keys, values)
        return x + seen.transpose(2, 3).reshape(batch, channels, height, width)


class Slopes(nn.Module):
    """What the first token makes of a dynamic ReLU: two factors for each channel.

    Args:
        width: channels of a token.
        channels: of the map.
    """

    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        self.hyper = nn.Sequential(
            GentleLinear(width, width // 4),
            nn.ReLU(),
            GentleLinear(width // 4, 2 * channels),
            nn.Hardsigmoid(),
        )

    def forward(self, x: Tensor, tokens: Tensor) -> Tensor:
        """Give the larger of the map times the one factor, 0..2, and times the other, -1..1."""
        channels = x.shape[1]
        shares = self.hyper(tokens[:, :1]).transpose(1, 2)[..., None]  # batch, factors, 1, 1
        first = 2 * shares[:, :channels]
        second = 2 * shares[:, channels:] - 1
        return torch.maximum(x * first, x * second)


def _pointwise(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs))


def _depthwise(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    """Return a 3x3 convolution in which each channel makes ``outputs / inputs`` of its own."""
    convolution = nn.Conv2d(inputs, outputs, 3, stride, 1, groups=inputs, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs))


class Block(nn.Module):
    """What the two kinds of blocks share: tokens, and how they and the map read each other.

    Args:
        inputs: channels of the map.
        outputs: channels of the block's map.
        width: channels of a token.
    """

    category = Category.CONVOLUTION

    def __init__(self, inputs: int, outputs: int, width: int) -> None:
        super().__init__()
        self.residual = False
        self.local_global = TokensReadMap(inputs, width)
        self.global_block = TokenBlock(width)
        self.global_local = MapReadsTokens(outputs, width)

    def forward(self, x: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Give map and tokens."""
        tokens = self.global_block(self.local_global(x, tokens))
        y = self.convolve(x, tokens)
        if self.residual:
            y = y + x
        return self.global_local(y, tokens), tokens

    def convolve(self, x: Tensor, tokens: Tensor) -> Tensor:
        """Give the block's map before it reads the tokens."""
        raise NotImplementedError


class OneDepthwise(Block):
    """1x1, 3x3 depthwise, 1x1; the authors' DnaBlock."""

    def __init__(self, inputs: int, outputs: int, expansion: int, width: int) -> None:
        super().__init__(inputs, outputs, width)
        hidden = inputs * expansion
        self.residual = inputs == outputs
        self.conv1 = _pointwise(inputs, hidden)
        self.hyper1 = Slopes(width, hidden)
        self.conv2 = _depthwise(hidden, hidden, 1)
        self.hyper2 = Slopes(width, hidden)
        self.conv3 = _pointwise(hidden, outputs)

    def convolve(self, x: Tensor, tokens: Tensor) -> Tensor:
        x = self.hyper1(self.conv1(x), tokens)
        x = self.hyper2(self.conv2(x), tokens)
        out: Tensor = self.conv3(x)
        return out


class TwoDepthwise(Block):
    """3x3 depthwise with stride 2 and 1x1, then 3x3 depthwise and 1x1, added; their DnaBlock3."""

    def __init__(self, inputs: int, outputs: int, expansions: tuple[int, int], width: int) -> None:
        super().__init__(inputs, outputs, width)
        first, second = inputs * expansions[0], outputs * expansions[1]
        self.conv1 = _depthwise(inputs, first, 2)
        self.hyper1 = Slopes(width, first)
        self.conv2 = _pointwise(first, outputs)
        self.conv3 = _depthwise(outputs, second, 1)
        self.hyper3 = Slopes(width, second)
        self.conv4 = _pointwise(second, outputs)

    def convolve(self, x: Tensor, tokens: Tensor) -> Tensor:
        x = self.conv2(self.hyper1(self.conv1(x), tokens))
        out: Tensor = x + self.conv4(self.hyper3(self.conv3(x), tokens))
        return out


class FirstBlock(nn.Module):
    """3x3 depthwise to twice the channels and 1x1, added to the input; without tokens."""

    category = Category.CONVOLUTION

    def __init__(self, channels: int) -> None:
        super().__init__()
        # The authors' place 3 is a shuffle of channels, which these networks leave out.
        self.conv = nn.Sequential(
            *_depthwise(channels, 2 * channels, 1),
            nn.ReLU6(),
            nn.Identity(),
            *_pointwise(2 * channels, channels),
        )

    def forward(self, x: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        return x + self.conv(x), tokens


class Blocks(nn.ModuleList):
    """Blocks one after another."""

    def forward(self, x: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        for block in self:
            x, tokens = block(x, tokens)
        return x, tokens


class Head(nn.Module):
    """1x1 convolution and mean of the map, beside the first token; then two linear layers.

    Args:
        channels: of the map.
        width: channels of a token.
        last: channels before the last layer.
        num_classes: outputs.
    """

    category = Category.PRE_AND_POST

    def __init__(self, channels: int, width: int, last: int, num_classes: int) -> None:
        super().__init__()
        hidden = _HEAD_EXPANSION * channels
        self.conv = nn.Sequential(nn.Identity(), *_pointwise(channels, hidden))
        self.act = nn.ReLU6()
        self.swish = nn.Hardswish()
        self.fc = nn.Sequential(
            nn.Linear(hidden + width, last), nn.BatchNorm1d(last), nn.Hardswish()
        )
        self.classifier = nn.Sequential(nn.Dropout(0.0), nn.Linear(last, num_classes))

    def forward(self, x: Tensor, tokens: Tensor) -> Tensor:
        pooled = self.swish(self.act(self.conv(x)).mean(dim=(2, 3)))
        first = tokens[:, :1].flatten(1)
        out: Tensor = self.classifier(self.fc(torch.cat((pooled, first), dim=1)))
        return out


class MobileFormer(nn.Module):
    """A MobileNet and a few tokens, which read each other in every block.

    Args:
        rows: of each block: expansions, one for each depthwise convolution, and channels.
        stem: channels of the first convolution and block.
        tokens: how many there are, and their channels.
        last: channels before the classifier.
        num_classes: outputs of the classifier.
    """

    category = Category.CONVOLUTION

    def __init__(
        self,
        rows: Sequence[tuple[tuple[int, ...], int]],
        stem: int,
        tokens: tuple[int, int],
        last: int,
        num_classes: int,
    ) -> None:
        super().__init__()
        _, width = tokens
        self.tokens = Tokens(*tokens)
        self.stem = nn.Sequential(
            nn.Conv2d(3, stem, 3, 2, 1, bias=False), nn.BatchNorm2d(stem), nn.ReLU6()
        )
        blocks: list[nn.Module] = [FirstBlock(stem)]
        channels = stem
        for expansions, outputs in rows:
            if len(expansions) == 2:
                blocks.append(TwoDepthwise(channels, outputs, expansions, width))
            else:
                blocks.append(OneDepthwise(channels, outputs, expansions[0], width))
            channels = outputs
        self.features = Blocks(blocks)
        self.local_global = TokensReadMap(channels, width)
        self.classifier = Head(channels, width, last, num_classes)

    def forward(self, image: Tensor) -> Tensor:
        x, tokens = self.features(self.stem(image), self.tokens(image))
        out: Tensor = self.classifier(x, self.local_global(x, tokens))
        return out
