"""What is written in place of an operator computes the same, in float64."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from mvdeploy import plugins, rewritings
from mvdeploy.quiet import quiet

ATEN = torch.ops.aten
SAME = 1e-12


def table() -> dict[Any, Callable[..., Any]]:
    kinds: dict[Any, list[Callable[..., Any]]] = {}
    for name in rewritings.names():
        file = plugins.load(rewritings.__name__, name, "rewriting")
        for op, rewritten in file.OPERATORS.items():
            kinds.setdefault(op, []).append(rewritten)
    return {op: functools.partial(rewritings.first, each) for op, each in kinds.items()}


def tensor(*shape: int) -> Tensor:
    return torch.randn(
        shape, dtype=torch.float64, generator=torch.Generator().manual_seed(len(shape))
    )


Q, K = (2, 3, 5, 4), (2, 3, 7, 4)
CALLS: list[tuple[Any, tuple[Any, ...], dict[str, Any]]] = [
    (ATEN.slice.Tensor, (tensor(2, 3, 8, 6), 2, 0, 2**63 - 1, 4), {}),
    (ATEN.slice.Tensor, (tensor(2, 3, 8, 6), -1, 1, 2**63 - 1, 2), {}),
    (ATEN.slice.Tensor, (tensor(9, 2), 0, 3, 8, 3), {}),
    (
        ATEN.slice.Tensor,
        (
            tensor(
                10,
            ),
            0,
            -6,
            -2,
            2,
        ),
        {},
    ),
    (ATEN.scaled_dot_product_attention.default, (tensor(*Q), tensor(*K), tensor(*K)), {}),
    (
        ATEN.scaled_dot_product_attention.default,
        (tensor(*Q), tensor(*K), tensor(2, 3, 7, 6), tensor(1, 3, 5, 7)),
        {"scale": 0.7},
    ),
    (
        ATEN.scaled_dot_product_attention.default,
        (tensor(2, 5, 4), tensor(2, 7, 4), tensor(2, 7, 4)),
        {},
    ),
    (
        ATEN.scaled_dot_product_attention.default,
        (tensor(*Q), tensor(2, 1, 7, 4), tensor(2, 1, 7, 6)),
        {"scale": 0.7},
    ),
    (ATEN.matmul.default, (tensor(2, 3, 5, 4), tensor(2, 3, 4, 6)), {}),
    (ATEN.matmul.default, (tensor(3, 5, 4), tensor(3, 4, 6)), {}),
    (ATEN.cat.default, ([tensor(2, 3)], 1), {}),
    (ATEN.matmul.default, (tensor(2, 3, 5, 4), tensor(4, 6)), {}),
    (ATEN.softmax.int, (tensor(2, 3, 5, 4), -1), {}),
    (ATEN.softmax.int, (tensor(2, 3, 5, 4), 1), {}),
    (ATEN.softmax.int, (tensor(2, 3, 5), 1), {}),
    (ATEN._softmax.default, (tensor(2, 3, 5, 4), 3, False), {}),
    (ATEN.layer_norm.default, (tensor(2, 5, 8), (8,), tensor(8), tensor(8), 1e-3), {}),
    (ATEN.layer_norm.default, (tensor(2, 5, 8), (5, 8)), {}),
    (ATEN.layer_norm.default, (tensor(2, 64, 64), (64, 64)), {}),
    (ATEN.group_norm.default, (tensor(2, 6, 4, 5), 3, tensor(6), tensor(6), 1e-3), {}),
    (ATEN.group_norm.default, (tensor(2, 6, 7), 1), {}),
    (ATEN.mean.dim, (tensor(2, 3, 4, 5), (2, 3)), {}),
    (ATEN.mean.dim, (tensor(2, 3, 4, 5), (-1, -2)), {}),
    (ATEN.mean.dim, (tensor(2, 3, 4, 5), (1,), True), {}),
    (ATEN.mean.dim, (tensor(2, 3, 5), (1,)), {}),
    (ATEN.mean.dim, (tensor(2, 3, 5), None), {}),
    (ATEN.mean.dim, (tensor(2, 3, 5), (0, 2), True), {}),
    (ATEN.sum.dim_IntList, (tensor(2, 3, 4, 5), (-2,)), {}),
    (ATEN.sum.dim_IntList, (tensor(2, 3, 5), (2,), True), {}),
    (ATEN.select.int, (tensor(2, 3, 5), 1, -1), {}),
    (ATEN.unbind.int, (tensor(2, 3, 5), 1), {}),
    (ATEN.split_with_sizes.default, (tensor(2, 7), (3, 4), -1), {}),
    (ATEN.split.Tensor, (tensor(2, 7), 3, 1), {}),
    (ATEN.chunk.default, (tensor(7, 2), 3), {}),
    (ATEN.unsqueeze.default, (tensor(2, 3), -1), {}),
    (ATEN.unsqueeze.default, (tensor(2, 3), 1), {}),
    (ATEN.squeeze.dim, (tensor(2, 1, 3), 1), {}),
    (ATEN.squeeze.dim, (tensor(2, 1, 3), 0), {}),
    (ATEN.squeeze.dims, (tensor(1, 2, 1, 3), (0, -2)), {}),
    (ATEN.expand.default, (tensor(1, 2, 3), (4, -1, 3)), {}),
    (ATEN.expand.default, (tensor(2, 3), (2, 3)), {}),
    (ATEN.expand.default, (tensor(1, 3), (4, 5, 3)), {}),
    (ATEN.roll.default, (tensor(2, 5, 6), (-2, 3), (1, 2)), {}),
    (ATEN.roll.default, (tensor(2, 5), (10,), (1,)), {}),
    (ATEN.pow.Tensor_Scalar, (tensor(2, 3), 2), {}),
    (ATEN.linalg_vector_norm.default, (tensor(2, 3, 4), 2, (-1,), True), {}),
    (ATEN.linalg_vector_norm.default, (tensor(2, 3),), {}),
    (ATEN.norm.ScalarOpt_dim, (tensor(2, 3), 2, (1,)), {}),
    (ATEN.im2col.default, (tensor(2, 3, 9, 8), (3, 3), (1, 1), (1, 1), (2, 2)), {}),
    (ATEN.im2col.default, (tensor(1, 2, 9, 8), (2, 3), (2, 1), (0, 1), (1, 2)), {}),
    (ATEN.avg_pool2d.default, (tensor(2, 3, 9, 8), (3, 3), (2, 2), (1, 1)), {}),
    (ATEN.avg_pool2d.default, (tensor(2, 3, 9, 8), (3,), (2,), (1,), False, False), {}),
    (ATEN.upsample_bicubic2d.vec, (tensor(2, 3, 5, 6), (8, 4), False, None), {}),
    (ATEN.upsample_bicubic2d.vec, (tensor(1, 3, 5, 6), None, False, (1.5, 0.7)), {}),
    (ATEN.hardsigmoid.default, (4 * tensor(2, 9),), {}),
    (ATEN.silu.default, (4 * tensor(2, 9),), {}),
    (ATEN.alias.default, (tensor(2, 3),), {}),
    (ATEN.to.dtype, (tensor(2, 3), torch.float64), {}),
    (ATEN._to_copy.default, (tensor(2, 3),), {"dtype": torch.float64}),
    *((op, (tensor(2, 3), 3), {}) for op in (ATEN.add.Tensor, ATEN.sub.Tensor)),
    *((op, (tensor(2, 3), 3), {}) for op in (ATEN.mul.Tensor, ATEN.div.Tensor)),
    *((op, (tensor(2, 3), 1e-8), {}) for op in (ATEN.add.Tensor, ATEN.sub.Tensor)),
]


@pytest.mark.parametrize(("op", "args", "kind"), CALLS, ids=lambda v: str(v) if callable(v) else "")
def test_it_computes_the_same(op: Any, args: tuple[Any, ...], kind: dict[str, Any]) -> None:
    made = table()[op](*args, **kind)
    assert made is not NotImplemented
    wanted = tree_leaves(op(*args, **kind))
    found = tree_leaves(made)
    assert [tuple(t.shape) for t in found] == [tuple(t.shape) for t in wanted]
    for one, other in zip(found, wanted, strict=True):
        assert (one - other).abs().max() <= SAME * max(1, other.abs().max())


def test_every_operator_has_an_example() -> None:
    assert {op for op, _, _ in CALLS} == set(table())


LEFT: Iterator[tuple[Any, tuple[Any, ...], dict[str, Any]]] = iter(
    (
        (ATEN.scaled_dot_product_attention.default, (tensor(*Q),) * 3, {"is_causal": True}),
        (
            ATEN.scaled_dot_product_attention.default,
            (*(tensor(*Q),) * 3, torch.ones(5, 5, dtype=torch.bool)),
            {},
        ),
        (
            ATEN.scaled_dot_product_attention.default,
            (tensor(*Q), tensor(2, 1, 7, 4), tensor(2, 1, 7, 4), tensor(5, 7)),
            {},
        ),
        (
            ATEN.scaled_dot_product_attention.default,
            (tensor(*Q), tensor(2, 1, 7, 4), tensor(2, 1, 7, 4)),
            {"is_causal": True},
        ),
        (ATEN.cat.default, ([tensor(2, 3), tensor(2, 3)], 1), {}),
        (ATEN.matmul.default, (tensor(2, 3), tensor(3, 4)), {}),
        (ATEN.matmul.default, (tensor(2, 1, 5, 4), tensor(2, 3, 4, 5)), {}),
        (ATEN.softmax.int, (tensor(2, 3, 4), -1), {}),
        (ATEN.mean.dim, (tensor(2, 3, 4, 5), (2, 3), True), {}),
        (ATEN.pow.Tensor_Scalar, (tensor(2, 3), 3), {}),
        (ATEN.linalg_vector_norm.default, (tensor(2, 3), 1), {}),
        (ATEN.avg_pool2d.default, (tensor(1, 1, 4, 4), (2, 2)), {}),
        (ATEN.avg_pool2d.default, (tensor(1, 1, 5, 5), (2, 2), (2, 2), (1, 1), True), {}),
        (ATEN.to.dtype, (tensor(2), torch.float32), {}),
        (ATEN._to_copy.default, (tensor(2),), {"dtype": torch.float32}),
        (ATEN.upsample_bicubic2d.vec, (tensor(1, 1, 4, 4), (8, 8), True, None), {}),
        (ATEN.roll.default, (tensor(2), (1,)), {}),
        (ATEN.mul.Tensor, (tensor(2), tensor(2)), {}),
        (ATEN.mul.Tensor, (torch.ones(2, dtype=torch.int64), 3), {}),
    )
)


@pytest.mark.parametrize(
    ("op", "args", "kind"), list(LEFT), ids=lambda v: str(v) if callable(v) else ""
)
def test_other_calls_are_left(op: Any, args: tuple[Any, ...], kind: dict[str, Any]) -> None:
    assert table()[op](*args, **kind) is NotImplemented


@given(st.lists(st.integers(1, 4), min_size=2, max_size=5), st.data())
@settings(max_examples=60, deadline=None)
def test_means_over_any_dimensions(shape: list[int], data: st.DataObject) -> None:
    x = tensor(*shape)
    dims = data.draw(
        st.lists(
            st.sampled_from(range(-x.ndim, x.ndim)), min_size=1, unique_by=lambda d: d % len(shape)
        )
    )
    keep = data.draw(st.booleans())
    for op in (ATEN.mean.dim, ATEN.sum.dim_IntList):
        made = table()[op](x, dims, keep)
        if made is NotImplemented:
            continue
        wanted = op(x, dims, keep)
        assert made.shape == wanted.shape
        assert torch.allclose(made, wanted, rtol=1e-12, atol=1e-12)


class Small(nn.Module):
    """Attention as libraries write it."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        normed = self.norm(x)
        mixed, _ = self.attention(normed, normed, normed, need_weights=False)
        q, k = (x + mixed).chunk(2, dim=-1)
        out: Tensor = torch.softmax(torch.nn.functional.normalize(q, dim=-1) * k, 1).mean(1)
        return out


def test_a_program_keeps_its_outputs_and_its_modules() -> None:
    network, x = Small().double().eval(), tensor(1, 6, 8)
    with quiet():  # torch warns of itself
        program = torch.export.export(network, (x,))
        written = rewritings.apply(program, rewritings.names())
    assert torch.allclose(written.module()(x), network(x), rtol=1e-12, atol=1e-12)
    calls = [node for node in written.graph.nodes if node.op == "call_function"]
    assert not {node.target for node in calls} & {
        ATEN.layer_norm.default,
        ATEN.scaled_dot_product_attention.default,
        ATEN.chunk.default,
    }
    places = {
        list(n.meta["nn_module_stack"].values())[-1][0]
        for n in calls
        if n.target is ATEN.bmm.default
    }
    assert places == {"attention"}
    assert rewritings.apply(program, ()) is program
