"""ViL as a torch module.

In the first two stages a pixel attends to the nine windows around it and to a global token, which
attends to everything; in the others every token attends to all. A stage's map is height by width,
and its tokens are the global one, if there is one, and then the pixels row by row.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mvdeploy.records import Category

# Of each stage: side of a patch, whether pixels see windows only, whether there is a global token.
_STAGES = ((4, True, True), (2, True, True), (2, False, True), (2, False, False))
_WINDOW = 7
# As good as minus infinity before a softmax, and finite in half precision.
_NEVER = -1e4
_EXPANSION = 4
_EPSILON = 1e-6


class Embedding(nn.Module):
    """Patches become tokens, a global token goes before them, and positions are added.

    Args:
        inputs: channels of the map.
        channels: of a token.
        patch: side of a patch, pixels.
        size: height and width of the map of tokens.
        has_global: whether there is a global token.
        relative: positions are left to the attention.
    """

    category = Category.PRE_AND_POST

    def __init__(
        self,
        inputs: int,
        channels: int,
        patch: int,
        size: tuple[int, int],
        has_global: bool,
        relative: bool,
    ) -> None:
        super().__init__()
        self.has_global, self.relative, self.size = has_global, relative, size
        self.proj = nn.Conv2d(inputs, channels, patch, patch)
        self.norm_embed = nn.LayerNorm(channels, eps=_EPSILON)
        count = int(has_global)
        if has_global:
            self.cls_token = _small(1, 1, channels)
        if not relative:
            self.cls_pos_embed = _small(1, count, channels)
            self.x_pos_embed = _small(1, size[0], channels // 2)
            self.y_pos_embed = _small(1, size[1], channels // 2)

    def forward(self, x: Tensor) -> Tensor:
        """Give (batch, tokens, channels) for a map."""
        tokens: Tensor = self.norm_embed(self.proj(x).flatten(2).transpose(1, 2))
        if self.has_global:
            tokens = torch.cat((self.cls_token.expand(x.shape[0], -1, -1), tokens), dim=1)
        return tokens if self.relative else tokens + self._positions()

    def _positions(self) -> Tensor:
        height, width = self.size
        rows = self.x_pos_embed[:, :, None].expand(-1, -1, width, -1)
        columns = self.y_pos_embed[:, None].expand(-1, height, -1, -1)
        pixels = torch.cat((rows, columns), dim=3).flatten(1, 2)
        return torch.cat((self.cls_pos_embed, pixels), dim=1)


def _small(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(shape) * 0.02)


def _heads(x: Tensor, heads: int) -> Tensor:
    """Split (batch, tokens, channels) into (batch, heads, tokens, channels / heads)."""
    batch, tokens, channels = x.shape
    return x.reshape(batch, tokens, heads, channels // heads).transpose(1, 2)


def _parts(x: Tensor, count: int) -> list[Tensor]:
    """Cut (batch, tokens, channels) into parts of equally many channels."""
    channels = x.shape[2] // count
    return [x[:, :, i * channels : (i + 1) * channels] for i in range(count)]


def _attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> Tensor:
    """Return what queries see, heads joined: (batch, queries, channels)."""
    logits = torch.matmul(q * q.shape[-1] ** -0.5, k.transpose(2, 3))
    if bias is not None:
        logits = logits + bias
    return torch.matmul(logits.softmax(dim=-1), v).transpose(1, 2).flatten(2)


class Attention(nn.Module):
    """What attention to all and to windows share: biases of logits by relative positions.

    Args:
        heads: of the attention.
        has_global: whether the first token is a global one.
        index: (queries, keys), which row of the table a pair of pixels has; None without biases.
    """

    def __init__(self, heads: int, has_global: bool, index: Tensor | None) -> None:
        super().__init__()
        self.heads, self.has_global, self.relative = heads, has_global, index is not None
        if index is None:
            return
        self.local_relative_position_bias_table = _small(int(index.max()) + 1, heads)
        if has_global:
            self.g2l_relative_position_bias = _small(2, heads, 1)
            self.g2g_relative_position_bias = _small(heads, 1, 1)
        self.relative_position_index: Tensor
        self.register_buffer("relative_position_index", index)

    def pixel_bias(self) -> Tensor | None:
        """Return what is added for pixels as queries: (heads, queries, keys), global key first."""
        if not self.relative:
            return None
        bias = self.local_relative_position_bias_table[self.relative_position_index]
        bias = bias.permute(2, 0, 1)
        if not self.has_global:
            return bias
        to_global = self.g2l_relative_position_bias[1][:, None].expand(-1, bias.shape[1], -1)
        return torch.cat((to_global, bias), dim=2)

    def global_bias(self, pixels: int) -> Tensor:
        """Return what is added for the global token as query: (heads, 1, keys)."""
        from_global = self.g2l_relative_position_bias[0][:, :, None].expand(-1, -1, pixels)
        return torch.cat((self.g2g_relative_position_bias, from_global), dim=2)


class FullAttention(Attention):
    """Every token attends to all.

    Args:
        channels: of a token.
        heads: of the attention.
        size: height and width of the map.
        has_global: whether there is a global token.
        relative: whether logits have biases.
    """

    def __init__(
        self, channels: int, heads: int, size: tuple[int, int], has_global: bool, relative: bool
    ) -> None:
        places = _places(range(size[0]), range(size[1]))
        super().__init__(heads, has_global, _relative(places, places) if relative else None)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (_heads(part, self.heads) for part in _parts(self.qkv(x), 3))
        bias = self.pixel_bias()
        if bias is not None and self.has_global:
            bias = torch.cat((self.global_bias(x.shape[1] - 1), bias), dim=1)
        out: Tensor = self.proj(_attend(q, k, v, bias))
        return out


class WindowedAttention(Attention):
    """Pixels attend to the nine windows around them and the global token, which attends to all.

    The global token's layers share the weights of the pixels'; checkpoints have both names.

    Args:
        channels: of a token.
        heads: of the attention.
        size: height and width of the map.
        relative: whether logits have biases.
    """

    def __init__(self, channels: int, heads: int, size: tuple[int, int], relative: bool) -> None:
        super().__init__(heads, True, _window_index() if relative else None)
        self.size = size
        self.query = self.query_global = nn.Linear(channels, channels)
        self.kv = self.kv_global = nn.Linear(channels, 2 * channels)
        self.proj = self.proj_global = nn.Linear(channels, channels)
        seen = _around(self._padded(torch.ones(1, *size, 1)))  # windows, keys, 1
        never = (1 - seen).transpose(1, 2) * _NEVER
        # Of every window: nothing is added for the global token and what lies in the map.
        self.outside: Tensor
        self.register_buffer("outside", nn.functional.pad(never, (1, 0)), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat((self._of_global(x), self._of_pixels(x)), dim=1)

    def _of_global(self, x: Tensor) -> Tensor:
        """Return what the global token sees: (batch, 1, channels)."""
        q = _heads(self.query_global(x[:, :1]), self.heads)
        k, v = (_heads(part, self.heads) for part in _parts(self.kv_global(x), 2))
        bias = self.global_bias(x.shape[1] - 1) if self.relative else None
        out: Tensor = self.proj_global(_attend(q, k, v, bias))
        return out

    def _of_pixels(self, x: Tensor) -> Tensor:
        """Return what pixels see: (batch, pixels, channels)."""
        q, kv = self.query(x[:, 1:]), self.kv(x)
        batch, pixels, channels = q.shape
        height, width = self.size
        count = self.outside.shape[0]
        q = _windows(self._padded(q.reshape(batch, height, width, channels)))
        around = _around(self._padded(kv[:, 1:].reshape(batch, height, width, 2 * channels)))
        first = kv[:, :1].expand(-1, count, -1).reshape(batch * count, 1, 2 * channels)
        k, v = _parts(torch.cat((first, around), dim=1), 2)
        keys = self.outside.shape[2]
        bias = self.outside.reshape(1, count, keys).expand(batch, -1, -1)
        bias = bias.reshape(batch * count, 1, 1, keys)
        relative = self.pixel_bias()
        if relative is not None:
            bias = bias + relative
        seen = _attend(_heads(q, self.heads), _heads(k, self.heads), _heads(v, self.heads), bias)
        tall, wide = (side + -side % _WINDOW for side in self.size)
        joined = _joined(seen, tall, wide)[:, :height, :width]
        out: Tensor = self.proj(joined.reshape(batch, pixels, channels))
        return out

    def _padded(self, x: Tensor) -> Tensor:
        """Add zeros below and right of (batch, height, width, channels): windows divide it."""
        below, right = (-side % _WINDOW for side in self.size)
        return nn.functional.pad(x, (0, 0, 0, right, 0, below)) if below or right else x


def _windows(x: Tensor) -> Tensor:
    """Cut (batch, height, width, channels) into (batch · windows, pixels, channels)."""
    batch, height, width, channels = x.shape
    rows, columns = height // _WINDOW, width // _WINDOW
    x = x.reshape(batch * rows, _WINDOW, columns, _WINDOW * channels).transpose(1, 2)
    return x.reshape(batch * rows * columns, _WINDOW * _WINDOW, channels)


def _joined(x: Tensor, height: int, width: int) -> Tensor:
    """Put windows together: the inverse of `_windows`."""
    rows, columns = height // _WINDOW, width // _WINDOW
    channels = x.shape[2]
    x = x.reshape(-1, columns, _WINDOW, _WINDOW * channels).transpose(1, 2)
    return x.reshape(-1, rows * _WINDOW, width, channels)


def _around(x: Tensor) -> Tensor:
    """Return what pixels of each window see: it and the eight around it, zeros outside.

    (batch, height, width, channels) → (batch · windows, 9 · pixels, channels).
    """
    _, height, width, _ = x.shape
    padded = nn.functional.pad(x, (0, 0, _WINDOW, _WINDOW, _WINDOW, _WINDOW))
    starts = (0, _WINDOW, 2 * _WINDOW)
    shifted = [padded[:, i : i + height, j : j + width] for i in starts for j in starts]
    return torch.cat([_windows(part) for part in shifted], dim=1)


def _places(rows: range, columns: range) -> Tensor:
    """Return row and column of each pixel, row by row: (pixels, 2)."""
    return torch.tensor([(row, column) for row in rows for column in columns])


def _relative(queries: Tensor, keys: Tensor) -> Tensor:
    """Number the ways in which a key may lie to a query, row by row: (queries, keys)."""
    apart = queries[:, None] - keys[None]
    low, high = apart.amin(dim=(0, 1)), apart.amax(dim=(0, 1))
    apart = apart - low
    return apart[..., 0] * (high - low + 1)[1] + apart[..., 1]


def _window_index() -> Tensor:
    """Return the rows of the table for a window's pixels and the nine windows around it."""
    spans = [range(start, start + _WINDOW) for start in (-_WINDOW, 0, _WINDOW)]
    keys = torch.cat([_places(rows, columns) for rows in spans for columns in spans])
    return _relative(_places(spans[1], spans[1]), keys)


class AttentionBlock(nn.Module):
    """LayerNorm and attention, added."""

    category = Category.ATTENTION

    def __init__(self, channels: int, attention: Attention) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels, eps=_EPSILON)
        self.attn = attention

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.attn(self.norm(x))
        return out


class Mlp(nn.Module):
    """Two linear layers with GELU between."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, _EXPANSION * channels)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(_EXPANSION * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc2(self.act(self.fc1(x)))
        return out


class MlpBlock(nn.Module):
    """LayerNorm and MLP, added."""

    category = Category.FFN

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels, eps=_EPSILON)
        self.mlp = Mlp(channels)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.mlp(self.norm(x))
        return out


class ViL(nn.Module):
    """Four stages, each with an embedding of its own; then the mean over tokens.

    Args:
        stages: of each: channels, heads and blocks.
        relative: positions are biases of the attention's logits; otherwise they are embedded.
        image_size: height and width, pixels; multiples of 32.
        num_classes: outputs of the classifier.
    """

    category = Category.PRE_AND_POST

    def __init__(
        self,
        stages: tuple[tuple[int, int, int], ...],
        relative: bool,
        image_size: tuple[int, int],
        num_classes: int,
    ) -> None:
        super().__init__()
        inputs, (height, width) = 3, image_size
        self.sizes, layers = [], []
        for (channels, heads, blocks), (patch, windowed, has_global) in zip(
            stages, _STAGES, strict=True
        ):
            height, width = size = (height // patch, width // patch)
            self.sizes.append(size)
            layer: list[nn.Module] = [
                Embedding(inputs, channels, patch, size, has_global, relative)
            ]
            for _ in range(blocks):
                attention = (
                    WindowedAttention(channels, heads, size, relative)
                    if windowed
                    else FullAttention(channels, heads, size, has_global, relative)
                )
                layer += [AttentionBlock(channels, attention), MlpBlock(channels)]
            layers.append(nn.Sequential(*layer))
            inputs = channels
        self.layer1, self.layer2, self.layer3, self.layer4 = layers
        self.norm = nn.LayerNorm(inputs, eps=_EPSILON)
        self.head = nn.Linear(inputs, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        for layer, size in zip((self.layer1, self.layer2, self.layer3), self.sizes, strict=False):
            # The map again, without the global token.
            x = layer(x)[:, 1:].transpose(1, 2).reshape(x.shape[0], -1, *size)
        out: Tensor = self.head(self.norm(self.layer4(x)).mean(dim=1))
        return out
