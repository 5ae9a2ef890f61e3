"""Operators on single elements, and reductions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F  # noqa: N812

if TYPE_CHECKING:
    from mvdeploy.verify.mil.operators import Function


def _gelu(x: torch.Tensor, mode: str) -> torch.Tensor:
    if mode == "SIGMOID_APPROXIMATION":
        return x * torch.sigmoid(1.702 * x)
    return F.gelu(x, approximate={"EXACT": "none", "TANH_APPROXIMATION": "tanh"}[mode])


def _reduction(reduce: Function) -> Function:
    """Return a MIL reduction; without axes it is over all of them."""

    def run(
        x: torch.Tensor, axes: torch.Tensor | None = None, keep_dims: bool = False
    ) -> torch.Tensor:
        over = list(range(x.ndim)) if axes is None else axes.reshape(-1).tolist()
        result: torch.Tensor = reduce(x, over, keep_dims)
        return result

    return run


def _arg(reduce: Function) -> Function:
    def run(x: torch.Tensor, axis: int, keep_dims: bool, output_dtype: str = "int32") -> Any:
        return reduce(x, axis, keep_dims)

    return run


_UNARY: dict[str, Function] = {
    "abs": torch.abs,
    "ceil": torch.ceil,
    "erf": torch.erf,
    "exp": torch.exp,
    "exp2": torch.exp2,
    "floor": torch.floor,
    "identity": lambda x: x,
    "logical_not": torch.logical_not,
    "relu": torch.relu,
    "relu6": F.relu6,
    "round": torch.round,
    "sigmoid": torch.sigmoid,
    "sign": torch.sign,
    "silu": F.silu,
    "softplus": F.softplus,
    "softsign": F.softsign,
    "sqrt": torch.sqrt,
    "square": torch.square,
    "tanh": torch.tanh,
}

_BINARY: dict[str, Function] = {
    "add": torch.add,
    "equal": torch.eq,
    "floor_div": torch.floor_divide,
    "greater": torch.gt,
    "greater_equal": torch.ge,
    "less": torch.lt,
    "less_equal": torch.le,
    "maximum": torch.maximum,
    "minimum": torch.minimum,
    "mod": torch.remainder,
    "mul": torch.mul,
    "not_equal": torch.ne,
    "pow": torch.pow,
    "real_div": torch.true_divide,
    "sub": torch.sub,
}

_REDUCTIONS: dict[str, Function] = {
    "reduce_l1_norm": lambda x, axes, keep: x.abs().sum(axes, keep),
    "reduce_l2_norm": lambda x, axes, keep: x.square().sum(axes, keep).sqrt(),
    "reduce_log_sum_exp": torch.logsumexp,
    "reduce_max": torch.amax,
    "reduce_mean": torch.mean,
    "reduce_min": torch.amin,
    "reduce_sum": torch.sum,
    "reduce_sum_square": lambda x, axes, keep: x.square().sum(axes, keep),
}


def _unary(compute: Function) -> Function:
    return lambda x: compute(x)


def _binary(compute: Function) -> Function:
    return lambda x, y: compute(x, y)


OPERATORS: dict[str, Function] = {
    **{name: _unary(compute) for name, compute in _UNARY.items()},
    **{name: _binary(compute) for name, compute in _BINARY.items()},
    **{name: _reduction(compute) for name, compute in _REDUCTIONS.items()},
    "reduce_argmax": _arg(torch.argmax),
    "reduce_argmin": _arg(torch.argmin),
    # The caller rounds to the declared type, which is that of the cast.
    "cast": lambda x, dtype: x,
    "clamped_relu": lambda x, alpha, beta: torch.where(x >= 0, x, alpha * x).clamp(max=beta),
    "clip": lambda x, alpha, beta: x.clamp(alpha, beta),
    "elu": lambda x, alpha: F.elu(x, alpha),
    "gelu": _gelu,
    "inverse": lambda x, epsilon: 1 / (x + epsilon),
    "leaky_relu": lambda x, alpha: F.leaky_relu(x, alpha),
    "log": lambda x, epsilon: torch.log(x + epsilon),
    "prelu": lambda x, alpha: F.prelu(x, alpha),
    "rsqrt": lambda x, epsilon: torch.rsqrt(x + epsilon),
    "select": lambda cond, a, b: torch.where(cond, a, b),
    "sigmoid_hard": lambda x, alpha, beta: (alpha * x + beta).clamp(0, 1),
    "threshold": lambda x, alpha: x.clamp(min=alpha),
    "thresholded_relu": lambda x, alpha: torch.where(x >= alpha, x, torch.zeros_like(x)),
}
"""By MIL type."""
