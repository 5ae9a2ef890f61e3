"""nn.Module → nn.Module, each step with a contract that is checked when it runs.

A pass is one file in this folder with:

``TOLERANCE``
    how far each output may move, relative to its largest value (or to 1), in float64.
``requires(network)``
    raises `UsageError` when the network is not in the state that the pass needs.
``rewrite(network, example)``
    `example` is the input, or a tuple of the inputs in order. Changes the network it is given (a
    copy) and returns ``(changed, left)``: a line for each change and for each place left alone,
    with the reason.
``ensures(network, example)``
    raises `CheckFailed` when something is left that the pass promises to remove.

A pass of `PREPARATION` also has

``concerns(network)``
    whether there is anything in a network that the pass is about; otherwise it is not run.

What prepares a network runs before everything else, so that it is measured, counted and compared in
the form in which it is used.

A formulation is a way to write a network: a list of passes. Weights and outputs stay the same; what
differs is which operators an exporter finds. A pass runs when its name stands in the formulation.
"""

from __future__ import annotations

import copy
from types import ModuleType
from typing import TYPE_CHECKING

from mvdeploy import plugins
from mvdeploy.errors import CheckFailed, MvdeployError
from mvdeploy.records import PassReport

if TYPE_CHECKING:
    from torch import Tensor, nn

    from mvdeploy.passes._modules import Examples
PREPARATION = (
    "plain_weights",  # first: what follows sees layers without hooks
    "inference_form",
)
"""Passes that every network goes through once it is built, where they concern it."""

PLAIN = "plain"
DELEGABLE = "delegable"
FOLDED = "folded"
CHANNELS_FIRST = "channels_first"

FORMULATIONS: dict[str, tuple[str, ...]] = {
    # As the network's class is written.
    PLAIN: (
        "fold_batchnorm",  # first: what follows sees convolutions with their final weights
    ),
    # Nothing but operators that delegates such as XNNPACK take.
    DELEGABLE: ("fold_batchnorm", "separate_attention"),
    # The same, with less to do behind each LayerNorm.
    FOLDED: ("fold_batchnorm", "separate_attention", "fold_layernorm"),
    # Four dimensions with channels second and 1x1 convolutions, as Apple's Neural Engine has it.
    CHANNELS_FIRST: ("fold_batchnorm", "channels_first"),
}
"""Passes of each formulation, in order."""

ORDER = FORMULATIONS[PLAIN]

_ROUNDINGS = 10
"""How many times as far as float32 itself moves an output a pass may, see `_check_outputs`."""


def check(formulation: str) -> None:
    """Refuse a formulation that does not exist.

    Raises:
        UsageError: there is none of this name.
    """
    if formulation not in FORMULATIONS:
        raise plugins.unknown("formulation", formulation, tuple(FORMULATIONS))


def known(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return names of passes, checked.

    Raises:
        UsageError: there is no such pass.
    """
    for name in names:
        plugins.load(__name__, name, "pass")
    return names


def prepare(
    network: nn.Module, example: Examples, left_out: tuple[str, ...] = ()
) -> tuple[nn.Module, tuple[PassReport, ...]]:
    """Run the passes of `PREPARATION` that concern a network; see `apply`.

    Args:
        network: as it was built, in eval mode.
        example: what to check outputs with: the input, or a tuple of the inputs in order.
        left_out: passes not to run.
    """
    steps = ((name, plugins.load(__name__, name, "pass")) for name in PREPARATION)
    names = tuple(name for name, step in steps if name not in left_out and step.concerns(network))
    if not names:
        return network, ()
    prepared, reports = apply(network, example, names)
    return prepared, tuple(report for report in reports if report.changed or report.left)


def apply(
    network: nn.Module, example: Examples, names: tuple[str, ...] = ORDER
) -> tuple[nn.Module, tuple[PassReport, ...]]:
    """Run passes in order, each on a copy; the network that is given stays as it is.

    Args:
        network: in eval mode; returns a tensor, or tuples and dicts of them.
        example: what to check outputs with: the input, or a tuple of the inputs in order.
        names: which passes: one of the `FORMULATIONS`, or any of them.

    Raises:
        UsageError: a requirement is not met.
        CheckFailed: a pass did not keep its promise.
    """
    reports = []
    for name in names:
        network, report = _run(name, network, example)
        reports.append(report)
    return network, tuple(reports)


def _run(name: str, network: nn.Module, example: Examples) -> tuple[nn.Module, PassReport]:
    step = plugins.load(__name__, name, "pass")
    step.requires(network)
    result = copy.deepcopy(network)
    try:
        changed, left = step.rewrite(result, example)
        step.ensures(result, example)
        after = _outputs(result, example)
    except MvdeployError:
        raise
    except Exception as error:
        reason = str(error).partition("\n")[0].rstrip(".") or type(error).__name__
        raise CheckFailed(
            f"The pass {name} made a network that does not run: {reason}.", _remedy(name)
        ) from error
    difference = _check_outputs(step, name, network, example, after)
    return result, PassReport(name, tuple(changed), tuple(left), difference)


def _remedy(name: str) -> str:
    return f"Leave it out with --without-pass {name}, and report the network that shows it."


def _check_outputs(
    step: ModuleType,
    name: str,
    network: nn.Module,
    example: Examples,
    after: dict[str, Tensor],
) -> float:
    """Return how far the outputs of a network moved at most.

    New weights are rounded to float32, and a network may amplify that: where an output moved by
    more than the pass allows, it may move by a multiple of what float32 itself costs.

    Raises:
        CheckFailed: there are others now, or one moved by more.
    """
    from mvdeploy.passes._modules import as_tuple

    largest = 0.0
    before = _outputs(network, example)
    if before.keys() != after.keys():
        raise CheckFailed(
            f"The pass {name} made other outputs of {_listed(before)}: {_listed(after)}.",
            _remedy(name),
        )
    for output, expected in before.items():
        difference = float((expected - after[output]).abs().max())
        allowed = step.TOLERANCE * max(1.0, float(expected.abs().max()))
        # Written so that a NaN fails too.
        if not difference <= allowed:
            rounded = _results(network, as_tuple(example))[output]
            allowed = max(allowed, _ROUNDINGS * float((expected - rounded).abs().max()))
        if not difference <= allowed:
            which = f" (result{output})" if len(before) > 1 else ""
            raise CheckFailed(
                f"The pass {name} moved the outputs{which} by {difference:.2g}; {allowed:.2g} is "
                "allowed.",
                _remedy(name),
            )
        largest = max(largest, difference)
    return largest


def _doubled(tensor: Tensor) -> Tensor:
    return tensor.double() if tensor.is_floating_point() else tensor


def _listed(outputs: dict[str, Tensor]) -> str:
    return ", ".join(f"result{place}" for place in outputs)


def _outputs(network: nn.Module, example: Examples) -> dict[str, Tensor]:
    """What the network computes in float64, by the place in what it returns, such as ``['boxes']``.

    In float32 another order of the same sums moves the outputs of a deep network by as much as a
    pass is allowed to; in float64 only what the pass did to the function and its weights shows.
    A network that insists on float32, as one with constants in its code may, is run as it is.
    """
    from mvdeploy.passes._modules import as_tuple

    try:
        inputs = tuple(map(_doubled, as_tuple(example)))
        return _results(copy.deepcopy(network).double(), inputs)
    except Exception:
        return _results(network, as_tuple(example))


def _results(network: nn.Module, inputs: tuple[Tensor, ...]) -> dict[str, Tensor]:
    """What the network computes in its own precision, as float64."""
    import torch
    from torch.utils import _pytree as pytree

    with torch.inference_mode():
        leaves, _ = pytree.tree_flatten_with_path(network(*inputs))
    return {
        pytree.keystr(place): leaf.double()
        for place, leaf in leaves
        if isinstance(leaf, torch.Tensor)
    }
