"""BoTNet-50 as a torch module."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mvdeploy.models.families._convnet_head import Classifier, Pool
from mvdeploy.records import Category

_HEADS = 4
_EXPANSION = 4
_STEM = 64
# Width within the blocks, blocks and stride of the stages; the last one attends.
_STAGES = ((64, 3, 1), (128, 4, 2), (256, 6, 2))
_LAST_WIDTH, _LAST_BLOCKS = 512, 3


class RelativeAttention(nn.Module):
    """Attention of all places of a map to all, with relative positions along each axis.

    Args:
        channels: of the map.
        size: height and width of the map.
    """

    category = Category.ATTENTION

    def __init__(self, channels: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.head_width = channels // _HEADS
        self.q_proj = nn.Conv2d(channels, channels, 1, bias=False)
        self.k_proj = nn.Conv2d(channels, channels, 1, bias=False)
        self.v_proj = nn.Conv2d(channels, channels, 1, bias=False)
        self.rel_emb_h, self.rel_emb_w = (
            nn.Parameter(torch.randn(2 * length - 1, self.head_width) * self.head_width**-0.5)
            for length in size
        )
        self.index_h: Tensor
        self.index_w: Tensor
        for name, length in zip(("index_h", "index_w"), size, strict=True):
            places = torch.arange(length)
            # Row of the table for a query (first) and a key (second).
            index = places[None, :] - places[:, None] + length - 1
            self.register_buffer(name, index, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Give a map of the same shape, (batch, channels, height, width)."""
        batch, channels, height, width = x.shape
        rows, pixels = batch * _HEADS, height * width
        # (rows, pixels, head width), a row for each image and head
        q, k, v = (
            project(x).reshape(rows, self.head_width, pixels).transpose(1, 2)
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        q = q * self.head_width**-0.5
        logits = torch.bmm(q, k.transpose(1, 2)).reshape(rows, pixels, height, width)
        q = q.reshape(rows, height, width, self.head_width)
        along_h = _along(q, self.rel_emb_h[self.index_h], 1)
        along_w = _along(q, self.rel_emb_w[self.index_w], 2)
        logits = logits + along_h.reshape(rows, pixels, height, 1)
        logits = logits + along_w.reshape(rows, pixels, 1, width)
        weights = logits.reshape(rows, pixels, pixels).softmax(dim=-1)
        mixed = torch.bmm(weights, v).transpose(1, 2)
        return mixed.reshape(batch, channels, height, width)


def _along(q: Tensor, table: Tensor, axis: int) -> Tensor:
    """Return logits of positions along an axis of the map: one product for each of its places.

    Args:
        q: (rows, height, width, head width).
        table: (places of queries, places of keys, head width).
        axis: of the places in `q`: 1 or 2.

    Returns:
        (rows, height, width, places of keys).
    """
    by_place = q.transpose(0, axis)
    logits = torch.bmm(by_place.flatten(1, 2), table.transpose(1, 2))
    return logits.reshape(*by_place.shape[:3], -1).transpose(0, axis)


class Bottleneck(nn.Module):
    """1x1, then 3x3 or attention, then 1x1, added to the input or its 1x1 convolution.

    Args:
        inputs: channels of the input.
        width: channels within.
        stride: of the 3x3, or of the pooling after the attention.
        size: height and width of the input, if the block attends; None if it has a 3x3.
    """

    def __init__(
        self, inputs: int, width: int, stride: int, size: tuple[int, int] | None = None
    ) -> None:
        super().__init__()
        outputs = width * _EXPANSION
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2: nn.Module
        self.pool: nn.Module = nn.Identity()
        if size is None:
            self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        else:
            self.conv2 = RelativeAttention(width, size)
            if stride > 1:
                self.pool = nn.AvgPool2d(stride)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU()
        self.downsample: nn.Module = nn.Identity()
        if stride > 1 or inputs != outputs:
            shortcut = [nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)]
            self.downsample = nn.Sequential(*shortcut, *([] if size is None else [nn.ReLU()]))

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.pool(self.conv2(y))))
        y = self.bn3(self.conv3(y))
        out: Tensor = self.relu(y + self.downsample(x))
        return out


class BoTNet(nn.Module):
    """ResNet-50 with attention in its last stage.

    Args:
        last_stride: of the stage that attends.
        image_size: height and width, pixels; multiples of 32.
        num_classes: outputs of the classifier.
    """

    category = Category.CONVOLUTION

    def __init__(self, last_stride: int, image_size: tuple[int, int], num_classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, _STEM, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(_STEM)
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        stages = []
        inputs = _STEM
        for width, blocks, stride in _STAGES:
            outputs = width * _EXPANSION
            rest = [Bottleneck(outputs, width, 1) for _ in range(blocks - 1)]
            stages.append(nn.Sequential(Bottleneck(inputs, width, stride), *rest))
            inputs = outputs
        self.layer1, self.layer2, self.layer3 = stages
        self.layer4 = _attending(inputs, last_stride, image_size)
        self.pool = Pool()
        self.fc = Classifier(_LAST_WIDTH * _EXPANSION, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        out: Tensor = self.fc(self.pool(x))
        return out


def _attending(inputs: int, stride: int, image_size: tuple[int, int]) -> nn.Sequential:
    """Return the last stage."""
    height, width = (side // 16 for side in image_size)
    after = (height // stride, width // stride)
    outputs = _LAST_WIDTH * _EXPANSION
    rest = [Bottleneck(outputs, _LAST_WIDTH, 1, after) for _ in range(_LAST_BLOCKS - 1)]
    return nn.Sequential(Bottleneck(inputs, _LAST_WIDTH, stride, (height, width)), *rest)
