"""Attention in three dimensions: ``bmm(softmax(bmm(q·s, kᵀ) + mask), v)``.

Where torch writes ``scaled_dot_product_attention`` out itself, it guards against rows that are
masked as a whole by comparisons (``eq``, ``any``, ``where``) that no delegate takes, though nothing
may be masked at all.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Any:
    """Compute attention of (…, N, d) queries over (…, M, d) keys and (…, M, e) values."""
    lead = query.shape[:-2]
    # A mask of booleans may mask whole rows.
    masks = attn_mask is None or attn_mask.is_floating_point()
    if is_causal or enable_gqa or dropout_p or not masks or not lead:
        return NotImplemented
    if key.shape[:-2] == value.shape[:-2] == (*lead[:-1], 1) and attn_mask is None:
        # Heads that share their keys are more rows of one query.
        query_of_all = query.reshape(*lead[:-1], 1, -1, query.shape[-1])
    elif key.shape[:-2] == value.shape[:-2] == lead:
        query_of_all = query
    else:
        return NotImplemented
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    q, k, v = (t.reshape(-1, *t.shape[-2:]) for t in (query_of_all * scale, key, value))
    logits = torch.bmm(q, k.transpose(1, 2))
    if attn_mask is not None:
        logits = (logits.reshape(*lead, *logits.shape[-2:]) + attn_mask).reshape(logits.shape)
    mixed = torch.bmm(torch.softmax(logits, dim=-1), v)
    return mixed.reshape(*query.shape[:-1], value.shape[-1])


OPERATORS = {torch.ops.aten.scaled_dot_product_attention.default: attention}
