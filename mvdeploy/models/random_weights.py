"""Seeded random weights that carry signal, for networks without a checkpoint.

With default initialisation the outputs of a deep network hardly depend on its input, so a broken
export still agrees with the reference. Here convolutions keep the variance (Kaiming), affine terms,
biases and tables are random, what scales a branch (layer scale, 1e-5 in many networks) lets it take
part, and BatchNorm statistics are those of a few forward passes on images as the network is fed
them: two images give clearly different outputs, and a mutated operator shows.

Such weights amplify noise, more with every layer: they tell a sound export from a broken one, not
what 8 bits cost. `calm` ones pass it on about as it is, as trained ones do: kernels that blur more
than they tell apart, and branches that add less to what they are added to.

A module class whose weights have to be small, as where it takes exponentials of its input, says so:
``gain = 0.3`` (`GAIN` otherwise).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mvdeploy import tasks
from mvdeploy.records import ModelSpec, Preprocessing
from mvdeploy.verify.threads import one_thread

_BATCHES, _BATCH, _SIZE = 3, 8, 128

_LARGE = 320
"""Pixels: the largest side of images for networks with heads."""

GAIN = 1.5
"""Standard deviation of what a linear layer makes of inputs with 1: logits of attention have to be
of order one, so that its softmax is not flat."""

_SCALES_A_BRANCH = 0.1
"""Constants up to this are layer scales, which training makes larger."""


def images_for(spec: ModelSpec, *, sized: bool, fixed: bool) -> tuple[tuple[int, int], int]:
    """Return size and batches of the images that a network's weights are calibrated on.

    Args:
        spec: of the network.
        sized: its weights may depend on the size of its images.
        fixed: they do.
    """
    task = tasks.get(spec.task)
    if hasattr(task, "NUM_CLASSES"):
        # Maps of few cells have other statistics on small images: large ones, and fewer of them.
        height, width = (min(side, _LARGE) for side in task.IMAGE_SIZE)
        return spec.image_size if fixed else (height, width), 1
    return spec.image_size if sized else (_SIZE, _SIZE), _BATCHES


def initialise(
    network: nn.Module,
    seed: int,
    image_size: tuple[int, int] = (_SIZE, _SIZE),
    fed: Preprocessing | None = None,
    batches: int = _BATCHES,
    *,
    calm: bool = False,
) -> None:
    """Set every parameter and BatchNorm statistic of a network, in place; leaves it in eval mode.

    The same seed gives the same weights on the same machine; torch's global generator is untouched.

    Args:
        network: takes (batch, 3, height, width).
        seed: any whole number.
        image_size: height and width, pixels, of the images that BatchNorm is calibrated on.
        fed: how images are fed to it; None for 0..1.
        batches: how many of eight of them.
        calm: see the module's docstring.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad(), torch.random.fork_rng(devices=()), one_thread():
        torch.manual_seed(seed)
        for module in network.modules():
            _randomise(module, generator)
        if calm:
            _calm(network)
        _calibrate(network, generator, image_size, fed, batches)
    network.eval()


def _randomise(module: nn.Module, generator: torch.Generator) -> None:
    gain = getattr(module, "gain", GAIN)
    match module:
        case nn.modules.batchnorm._NormBase() | nn.LayerNorm() | nn.GroupNorm() | nn.RMSNorm():
            _norm(module, generator)
        case nn.modules.conv._ConvNd() | nn.Linear():
            _weighted(module, gain, generator)
        case nn.PReLU():
            nn.init.uniform_(module.weight, 0.1, 0.4, generator=generator)
        case nn.Embedding():
            _normal(module.weight, 1, generator)
        case _:
            for own in module.parameters(recurse=False):
                _vary(own, gain, generator)


_BLUR, _DETAIL = 0.15, 1.0
"""Of a calm kernel: how much is a blur of the same energy, and how much stays as it was."""

_LESS = 0.5
"""What a branch adds in a calm network, as a multiple."""

_CLOSING = ("proj", "fc2", "out_proj", "o_proj", "project.norm", "project_conv.norm")
"""Ends of the names of what makes the result of a branch."""


def _calm(network: nn.Module) -> None:
    """Make random weights pass noise on about as it is."""
    for path, module in network.named_modules():
        weight = getattr(module, "weight", None)
        if isinstance(module, nn.Linear):
            module.weight /= getattr(module, "gain", GAIN)
        elif isinstance(module, nn.Conv2d) and min(module.kernel_size) > 1:
            module.weight.copy_(_blurred(module.weight))
        if path.endswith(_CLOSING) and isinstance(weight, Tensor):
            weight *= _LESS


def _blurred(weight: Tensor) -> Tensor:
    """Return kernels that are a blur for the most part, with the energy that they had."""
    height, width = weight.shape[2:]
    blur = torch.outer(_bell(height), _bell(width))
    blur /= blur.norm()
    size = weight.flatten(2).norm(dim=-1)[..., None, None]
    if weight.shape[1] > 1:  # of many channels, in either direction
        size = size * weight.mean((2, 3), keepdim=True).sign()
    calm: Tensor = _BLUR * size * blur + _DETAIL * weight
    return calm


def _bell(count: int) -> Tensor:
    """Return binomial coefficients: 1, 2, 1 for 3."""
    row = torch.ones(1)
    for _ in range(count - 1):
        row = nn.functional.pad(row, (0, 1)) + nn.functional.pad(row, (1, 0))
    return row


def _norm(module: nn.Module, generator: torch.Generator) -> None:
    weight, bias = module.weight, getattr(module, "bias", None)
    if isinstance(weight, Tensor):
        nn.init.uniform_(weight, 0.5, 1.5, generator=generator)
    if isinstance(bias, Tensor):
        _normal(bias, 0.2, generator)


def _weighted(
    module: nn.modules.conv._ConvNd | nn.Linear, gain: float, generator: torch.Generator
) -> None:
    if isinstance(module, nn.Linear):
        _normal(module.weight, gain / module.in_features**0.5, generator)
    elif module.transposed:
        # A pixel of the result gets the share of the kernel that falls on the input's grid.
        inputs = module.in_channels / module.groups
        for side, stride in zip(module.kernel_size, module.stride, strict=True):
            inputs *= max(1, side / stride)
        _normal(module.weight, (2 / inputs) ** 0.5, generator)
    else:
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
    if module.bias is not None:
        _normal(module.bias, 0.1, generator)


def _normal(values: Tensor, std: float, generator: torch.Generator) -> None:
    nn.init.normal_(values, 0, std, generator=generator)


def _vary(values: Tensor, gain: float, generator: torch.Generator) -> None:
    """Set a parameter of a class of the network's own, of which only its first values tell the use.

    Those that are not trained are tables, and stay.
    """
    if not (values.requires_grad and values.is_floating_point() and values.numel()):
        return
    least, most = values.min().item(), values.max().item()
    if least == most != 0:
        scale = 1.0 if abs(most) <= _SCALES_A_BRANCH else most
        nn.init.uniform_(values, 0.5, 1.5, generator=generator)
        values *= scale
    elif values.ndim >= 2 and min(values.shape[-2:]) >= _MATRIX:
        _normal(values, gain / values.shape[-1] ** 0.5, generator)
    else:  # tokens, positions and biases
        _normal(values, 0.3, generator)


_MATRIX = 32
"""Rows and columns of what is multiplied with, rather than added: tables of biases have a column
for each head."""


def _calibrate(
    network: nn.Module,
    generator: torch.Generator,
    image_size: tuple[int, int],
    fed: Preprocessing | None,
    batches: int,
) -> None:
    """Give BatchNorm the statistics of varied images."""
    kinds = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
    norms = [m for m in network.modules() if isinstance(m, kinds) and m.track_running_stats]
    momenta = [m.momentum for m in norms]
    network.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain average over the passes
        norm.train()
    try:
        for _ in range(batches if norms else 0):
            network(_fed(_images(generator, image_size), fed))
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        network.eval()


def _fed(images: Tensor, rule: Preprocessing | None) -> Tensor:
    """Return images of 0..1 as a network is fed them."""
    if rule is None:
        return images
    mean, std = (torch.tensor(values)[:, None, None] for values in (rule.mean, rule.std))
    return (images * (255 * rule.scale) - mean) / std


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
