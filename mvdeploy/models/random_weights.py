"""Seeded random weights that carry signal, for networks without a checkpoint.

With default initialisation the outputs of a deep network hardly depend on its input, so a broken
export still agrees with the reference. Here convolutions keep the variance (Kaiming), affine terms
and biases are random, and BatchNorm statistics are those of a few forward passes: two images give
clearly different outputs, and a mutated operator shows.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

_BATCHES, _BATCH, _SIZE = 3, 8, 128


def initialise(network: nn.Module, seed: int, image_size: tuple[int, int] = (_SIZE, _SIZE)) -> None:
    """Set every parameter and BatchNorm statistic of a network, in place; leaves it in eval mode.

    The same seed gives the same weights on the same machine; torch's global generator is untouched.

    Args:
        network: takes (batch, 3, height, width) in 0..1.
        seed: any whole number.
        image_size: height and width, pixels, of the images that BatchNorm is calibrated on.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad(), torch.random.fork_rng(devices=()), _one_thread():
        torch.manual_seed(seed)
        for module in network.modules():
            _randomise(module, generator)
        _calibrate(network, generator, image_size)
    network.eval()


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute on one thread: how a sum is split over threads decides its last digits."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _randomise(module: nn.Module, generator: torch.Generator) -> None:
    match module:
        case nn.Conv2d():
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
        case nn.Linear():
            # Attention and FFN need logits of order one, so that softmax is not flat.
            nn.init.normal_(module.weight, 0, 1.5 / module.in_features**0.5, generator=generator)
        case nn.BatchNorm2d() | nn.LayerNorm():
            nn.init.uniform_(module.weight, 0.5, 1.5, generator=generator)
            nn.init.normal_(module.bias, 0, 0.2, generator=generator)
            return
        case _:
            return
    if module.bias is not None:
        nn.init.normal_(module.bias, 0, 0.1, generator=generator)


def _calibrate(network: nn.Module, generator: torch.Generator, image_size: tuple[int, int]) -> None:
    """Give BatchNorm the statistics of varied images."""
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    momenta = [m.momentum for m in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain average over the passes
    network.train()
    try:
        for _ in range(_BATCHES):
            network(_images(generator, image_size))
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        network.eval()


def _images(generator: torch.Generator, image_size: tuple[int, int]) -> Tensor:
    """Noise at four scales, each image with its own weight of the scales, brightness and contrast.

    Photographs, flat images and noise all lie within this range; outside of it the activations
    would run away from their statistics.
    """
    total = torch.zeros(_BATCH, 3, *image_size)
    for cells in ((1, 1), (4, 4), (16, 16), image_size):
        noise = torch.rand(_BATCH, 3, *cells, generator=generator) - 0.5
        grown = nn.functional.interpolate(noise, image_size, mode="bilinear", align_corners=False)
        total += grown * 2 * torch.rand(_BATCH, 1, 1, 1, generator=generator)
    return (total + 0.5).clamp(0, 1)
