"""What a network computes, to hold its artifacts against: as exact as can be, and as rounded."""

from __future__ import annotations

import copy
import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt

from mvdeploy import precisions, tasks
from mvdeploy.errors import CheckFailed, MvdeployError
from mvdeploy.records import Artifact
from mvdeploy.verify import exact, images, localise
from mvdeploy.verify import plain_sums as sums
from mvdeploy.verify.emulated import Emulated
from mvdeploy.verify.inputs import Feed, Feeds

if TYPE_CHECKING:
    from torch import Tensor, nn

    from mvdeploy.quantization.emulation import Emulation

Array = npt.NDArray[Any]
Outputs = Mapping[str, Array]
"""Of one inference, by name."""

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Reference:
    """What a network computes, to hold an artifact against.

    Attributes:
        outputs: by input: in double precision where that can be.
        rounded: by input: as PyTorch computes them in the artifact's precision; None where nothing
            else is known than `outputs`.
        not_exact: why `outputs` are not in double precision; empty where they are.
        plain_sums: computes the outputs by input with sums that are added one number after another.
        summed: computes them as `rounded`, with products that are added up in the artifact's
            precision; None where that is not known.
    """

    outputs: Mapping[str, Outputs]
    rounded: Mapping[str, Outputs] | None
    not_exact: str = ""
    plain_sums: Callable[[], Mapping[str, Outputs]] = dict
    summed: Callable[[], Mapping[str, Outputs]] | None = None


class Yardstick:
    """What a network computes on some inputs: what any number of its artifacts are held against.

    Args:
        artifact: a manifest; others differ in the file only.
        network: before any pass, in eval mode.
        feeds: what the network is fed, by name; two at least. The first is looked at closely.
        rewritten: the network after the passes; None to leave out the inside.
        emulation: the file's program in whole numbers as PyTorch runs it; None where it has none.
    """

    def __init__(
        self,
        artifact: Artifact,
        network: nn.Module,
        feeds: Feeds,
        rewritten: nn.Module | None = None,
        emulation: Emulation | None = None,
    ) -> None:
        if images.takes_images(artifact):
            feeds = {name: images.rounded(artifact, feed) for name, feed in feeds.items()}
        self.artifact, self.feeds, self.rewritten = artifact, feeds, rewritten
        self._network = network
        self.emulated = Emulated(artifact, emulation) if emulation is not None else None
        self._summed: dict[str, localise.Capture] = {}
        self._captures: dict[str, tuple[localise.Capture, localise.Capture | None]] = {}

    @functools.cached_property
    def reference(self) -> Reference:
        """The outputs."""
        return _reference(self.artifact, self._network, self.feeds, self.rewritten, self.emulated)

    @functools.cached_property
    def single(self) -> Yardstick | None:
        """What a file is held against as it is, where an engine computes it more coarsely."""
        if not precisions.judging(self.artifact).by_engine:
            return None
        artifact = dataclasses.replace(self.artifact, precision="fp32")
        return Yardstick(artifact, self._network, self.feeds, self.rewritten)

    def captures(self, name: str) -> tuple[localise.Capture, localise.Capture | None]:
        """Return the tensors between modules on an input, as exact as can be.

        Returns:
            In double precision and in single; or in single and None.
        """
        if name not in self._captures:
            self._captures[name] = self._captured(self.feeds[name])
        return self._captures[name]

    def _captured(self, feed: Feed) -> tuple[localise.Capture, localise.Capture | None]:
        import torch

        usual = localise.Capture(self._exported, *map(torch.from_numpy, feed.values()))
        if self._doubled is None:
            return usual, None
        try:
            with exact.doubles():
                wide = map(torch.from_numpy, exact.widened(feed).values())
                return localise.Capture(self._doubled, *wide), usual
        except Exception:  # see `Reference.not_exact`
            return usual, None

    @property
    def _inside(self) -> nn.Module:
        """The rewritten network.

        Raises:
            ValueError: the inside is left out.
        """
        if self.rewritten is None:
            raise ValueError("the inside is left out, because no rewritten network was given")
        return self.rewritten

    @functools.cached_property
    def _exported(self) -> nn.Module:
        """The rewritten network with the weights that the file holds."""
        rewritten = self._inside
        precision = precisions.judging(self.artifact)
        if not precision.compresses:
            return rewritten
        copied = copy.deepcopy(rewritten).train().eval()  # without what it keeps of others
        axes = precisions.channel_axes(copied)
        for name, parameter in copied.named_parameters():
            if parameter.is_floating_point():
                parameter.data = precision.stored(parameter.data, axes[name]).float()
        return copied

    def rounding(self, name: str, *, summing: bool = False) -> localise.Capture | None:
        """Return the tensors between modules, every result rounded as the artifact's.

        With `summing` products are added up in the artifact's precision too. None where errors are
        judged by double precision.
        """
        import torch

        precision = precisions.judging(self.artifact)
        rounding = precision.summing if summing else precision.rounding
        if rounding is None or self.rewritten is None:
            return None
        with rounding(self.rewritten) as rounded:
            return localise.Capture(rounded, *map(torch.from_numpy, self.feeds[name].values()))

    @functools.cached_property
    def _doubled(self) -> nn.Module | None:
        """The rewritten network in double precision; None where errors are not judged by it."""
        if precisions.judging(self.artifact).max_ratio is None or self.rewritten is None:
            return None
        return exact.doubled(self.rewritten)

    def plain_sums(self, name: str) -> localise.Capture:
        """Return the tensors between modules with sums added one number after another."""
        import torch

        if name not in self._summed:
            fed = map(torch.from_numpy, self.feeds[name].values())
            with sums.plain_sums():
                self._summed[name] = localise.Capture(self._inside, *fed)
        return self._summed[name]

    def alone(
        self, path: str, given: Array, *, plain_sums: bool = False
    ) -> tuple[Array, Sequence[Array]]:
        """Return what a module makes of a tensor, in double precision and in single.

        With `plain_sums` also with sums that are added one number after another.
        """
        import torch

        doubled = self._doubled
        if doubled is None:
            raise ValueError("errors of this precision are not judged by float64")
        tensor = torch.from_numpy(np.array(given))
        module = self._inside.get_submodule(path)
        with torch.inference_mode():
            rounded = [module(tensor.clone()).numpy()]
            if plain_sums:
                with sums.plain_sums():
                    rounded.append(module(tensor.clone()).numpy())
        wide = exact.run(doubled.get_submodule(path), tensor.double())
        return wide.numpy(), rounded


def reference(
    artifact: Artifact,
    network: nn.Module,
    inputs: Outputs,
    name: str,
    emulation: Emulation | None = None,
) -> Reference:
    """Return what a network returns for one inference of its artifact.

    Args:
        artifact: the manifest.
        network: before any pass, in eval mode.
        inputs: the artifact's input tensors by name, as the artifact is fed.
        name: of the input.
        emulation: see `Yardstick`.
    """
    emulated = Emulated(artifact, emulation) if emulation is not None else None
    feeds = {name: images.unfed(artifact, inputs)}
    return _reference(artifact, network, feeds, emulated=emulated)


def with_plain_sums(
    artifact: Artifact, network: nn.Module, inputs: Outputs, name: str
) -> dict[str, dict[str, Array]]:
    """Return what a network returns with sums that are added one number after another.

    Args:
        artifact: the manifest.
        network: before any pass, in eval mode.
        inputs: the artifact's input tensors by name, as the artifact is fed.
        name: of the input.
    """
    with sums.plain_sums():
        return plain(artifact, network, {name: images.unfed(artifact, inputs)})


def plain(artifact: Artifact, network: nn.Module, feeds: Feeds) -> dict[str, dict[str, Array]]:
    """Return what a network returns in single precision, by input and output.

    Args:
        artifact: whose outputs are named.
        network: before any pass, in eval mode.
        feeds: what it is fed, by name.
    """
    naming = _naming(artifact, network)
    return {name: _run(naming, feed) for name, feed in feeds.items()}


def _reference(
    artifact: Artifact,
    network: nn.Module,
    feeds: Feeds,
    rewritten: nn.Module | None = None,
    emulated: Emulated | None = None,
) -> Reference:
    naming = _naming(artifact, network)
    usual = plain(artifact, network, feeds)
    own = None
    precision = precisions.judging(artifact)
    if emulated is not None:
        own = {name: emulated.outputs(feed) for name, feed in feeds.items()}
    elif precision.rounding is not None:
        exported = rewritten if precision.compresses else None
        rounding = precision.rounding(naming if exported is None else _naming(artifact, exported))
        with rounding as rounded:
            own = {name: _run(rounded, feed) for name, feed in feeds.items()}
    summed = functools.partial(_summed, precision, naming, feeds) if precision.summing else None
    try:
        exact_network = exact.doubled(naming)
        with exact.doubles():
            outputs = {n: _run(exact_network, exact.widened(feed)) for n, feed in feeds.items()}
    except MvdeployError:
        raise
    except Exception as error:  # whatever an operator says that has no such kernel
        why = str(error).partition("\n")[0] or type(error).__name__
        return Reference(usual, own, why, summed=summed)

    @functools.cache
    def plain_sums() -> Mapping[str, Outputs]:
        with sums.plain_sums():
            return {name: _run(naming, feed) for name, feed in feeds.items()}

    return Reference(outputs, own or usual, plain_sums=plain_sums, summed=summed)


def with_sums(artifact: Artifact, network: nn.Module, inputs: Outputs, name: str) -> Feeds:
    """Return what a network returns whose products are added up in the artifact's precision.

    Args:
        artifact: the manifest.
        network: before any pass, in eval mode.
        inputs: the artifact's input tensors by name, as the artifact is fed.
        name: of the input.
    """
    feeds = {name: images.unfed(artifact, inputs)}
    return _summed(precisions.judging(artifact), _naming(artifact, network), feeds)


def _summed(precision: precisions.Precision, naming: nn.Module, feeds: Feeds) -> Feeds:
    if precision.summing is None:
        raise ValueError(f"{precision.name} has no sums of its own")
    with precision.summing(naming) as summing:
        return {name: _run(summing, feed) for name, feed in feeds.items()}


def _naming(artifact: Artifact, network: nn.Module) -> nn.Module:
    """Return a network whose forward returns the artifact's outputs by name."""
    from torch import nn

    task = tasks.get(artifact.spec.task)

    class Naming(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, *inputs: Tensor) -> dict[str, Tensor]:
            outputs = task.named(self.network(*inputs))
            names = compared(artifact)
            if artifact.read_from and len(outputs) == len(names):
                return dict(zip(names, outputs.values(), strict=True))  # named by another tool
            if not outputs.keys() >= set(names):
                outputs |= tasks.postprocess(task, outputs, artifact.spec)
            return {name: existing(name, outputs, "The network") for name in names}

    return Naming().eval()


def compared(artifact: Artifact) -> tuple[str, ...]:
    """Return the outputs that are compared: those of numbers."""
    return tuple(output.name for output in artifact.outputs if output.dtype != "string")


def _run(network: nn.Module, feed: Feed) -> dict[str, Array]:
    """Run a network that names its outputs."""
    import torch

    with torch.inference_mode():
        outputs = network(*map(torch.from_numpy, feed.values()))
        return {name: out.numpy() for name, out in outputs.items()}


def existing(name: str, outputs: Mapping[str, T], owner: str) -> T:
    """Return an output by name.

    Raises:
        CheckFailed: its owner, as an error calls it, has none of this name.
    """
    if name not in outputs:
        raise CheckFailed(
            f"{owner} has no output '{name}' (it has {', '.join(outputs)}).",
            "Export the model again.",
        )
    return outputs[name]
