"""Attention and rotary embedding of the standard domain (opset 23 and later)."""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor

from domino_onnx.bridge.blind import blind_rows
from domino_onnx.bridge.registry import Family
from domino_onnx.bridge.values import element_type

__all__ = ["attend", "join_heads", "op", "split_heads"]

op = Family()


def split_heads(x: Tensor, count: int) -> Tensor:
    """Make (N, T, heads * D) into (N, heads, T, D)."""
    return x.reshape(*x.shape[:2], count, -1).transpose(1, 2)


def join_heads(x: Tensor) -> Tensor:
    """Make (N, heads, T, D) into (N, T, heads * D)."""
    return x.transpose(1, 2).reshape(x.shape[0], x.shape[2], -1)


def attend(scores: Tensor, v: Tensor, precision: torch.dtype | None = None) -> tuple[Tensor, Tensor]:
    """Return softmax(scores) v and the softmax; a row that may look at nothing gives 0."""
    wide = scores if precision is None else scores.to(precision)
    weights = torch.softmax(wide, dim=-1)
    blind = blind_rows(wide, weights, -1)
    if blind is not None:  # 0 before the softmax too, or its gradient is NaN
        weights = torch.where(blind, 0.0, torch.softmax(wide.masked_fill(blind, 0.0), dim=-1))
    weights = weights.to(v.dtype)
    return weights @ v, weights


@op("Attention", since=23, outputs=4)
def attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None = None,
    past_key: Tensor | None = None,
    past_value: Tensor | None = None,
    lengths: Tensor | None = None,
    *,
    is_causal: int = 0,
    kv_num_heads: int = 0,
    left_window_size: int = -1,
    q_num_heads: int = 0,
    qk_matmul_output_mode: int = 0,
    right_window_size: int = -1,
    scale: float | None = None,
    softcap: float = 0.0,
    softmax_precision: int = 0,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Scaled dot-product attention of (N, heads, T, D) or (N, T, heads * D), with a cache of the past.

    Query heads share key heads evenly. `lengths` (opset 24) is how many keys of each sample are real; the
    windows (opset 25) are how far a query looks back and ahead.
    """
    flat = q.dim() == 3
    if flat:
        q, k, v = split_heads(q, q_num_heads), split_heads(k, kv_num_heads), split_heads(v, kv_num_heads)
    k = k if past_key is None else torch.cat((past_key, k), 2)
    v = v if past_value is None else torch.cat((past_value, v), 2)
    share = q.shape[1] // k.shape[1]
    keys, values = (k.repeat_interleave(share, 1), v.repeat_interleave(share, 1)) if share > 1 else (k, v)

    root = math.sqrt(1 / math.sqrt(q.shape[-1]) if scale is None else scale)
    products = (q * root) @ (keys * root).transpose(-1, -2)
    capped = softcap * torch.tanh(products / softcap) if softcap else products
    before = 0 if past_key is None else past_key.shape[2]
    first = before if lengths is None else (lengths - q.shape[2]).reshape(-1, 1, 1, 1)
    visible = _visible(products, first, left_window_size, 0 if is_causal else right_window_size, lengths)
    scores = _masked(capped, mask)
    scores = scores if visible is None else scores.masked_fill(~visible, -torch.inf)
    y, weights = attend(scores, values, element_type(softmax_precision) if softmax_precision else None)
    y = join_heads(y) if flat else y
    return y, k, v, (products, capped, scores, weights)[qk_matmul_output_mode]


def _visible(scores: Tensor, first: Tensor | int, left: int, right: int, lengths: Tensor | None) -> Tensor | None:
    """Return which keys a query may look at, the first one standing at key `first`; None if all.

    A negative window is unbounded.
    """
    rows, columns = (torch.arange(n, device=scores.device) for n in scores.shape[-2:])
    ahead = columns - (rows.unsqueeze(1) + first)
    limits = []
    if right >= 0:
        limits.append(ahead <= right)
    if left >= 0:
        limits.append(ahead >= -left)
    if lengths is not None:
        limits.append(columns < lengths.reshape(-1, 1, 1, 1))
    return functools.reduce(torch.logical_and, limits) if limits else None


def _masked(scores: Tensor, mask: Tensor | None) -> Tensor:
    """Apply a mask, of booleans or to be added, that may end before the keys do."""
    if mask is None:
        return scores
    short = scores.shape[-1] - mask.shape[-1]
    if mask.dtype == torch.bool:
        mask = torch.zeros_like(mask, dtype=scores.dtype).masked_fill(~mask, -torch.inf)
    if short > 0:
        mask = torch.nn.functional.pad(mask, (0, short), value=-torch.inf)
    return scores + mask


@op("RotaryEmbedding", since=23)
def rotary_embedding(
    x: Tensor,
    cos: Tensor,
    sin: Tensor,
    positions: Tensor | None = None,
    *,
    interleaved: int = 0,
    num_heads: int = 0,
    rotary_embedding_dim: int = 0,
) -> Tensor:
    """Rotate pairs of features by angles that grow with the position (RoPE: arXiv:2104.09864, eq. 34)."""
    heads = x if x.dim() == 4 else split_heads(x, num_heads)
    size = rotary_embedding_dim or heads.shape[-1]
    turned, rest = heads[..., :size], heads[..., size:]
    if positions is not None:
        cos, sin = cos[positions], sin[positions]
    cos, sin = cos.unsqueeze(1), sin.unsqueeze(1)
    a, b = (turned[..., 0::2], turned[..., 1::2]) if interleaved else turned.chunk(2, dim=-1)
    parts = (a * cos - b * sin, a * sin + b * cos)
    turned = torch.stack(parts, dim=-1).flatten(-2) if interleaved else torch.cat(parts, dim=-1)
    y = torch.cat((turned, rest), dim=-1)
    return y if x.dim() == 4 else join_heads(y)
