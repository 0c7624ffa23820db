"""The attention operators of ONNX Runtime's own domain."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from domino_onnx.bridge.ops.attention import attend, join_heads, split_heads
from domino_onnx.bridge.registry import Family

__all__ = ["op"]

op = Family("com.microsoft")


@op("Attention", outputs=2, fixed={"do_rotary": 0, "past_present_share_buffer": 0})
def attention(
    x: Tensor,
    w: Tensor,
    bias: Tensor | None = None,
    mask: Tensor | None = None,
    past: Tensor | None = None,
    attention_bias: Tensor | None = None,
    *,
    mask_filter_value: float = -10000.0,
    num_heads: int,
    qkv_hidden_sizes: tuple[int, ...] | None = None,
    scale: float = 0.0,
    unidirectional: int = 0,
) -> tuple[Tensor, Tensor]:
    """Self-attention of (N, T, I) with query, key and value projected by one weight (I, sum of sizes).

    Also returns the keys and values (2, N, heads, T, D), those of `past` first.
    """
    projected = x @ w if bias is None else x @ w + bias
    sizes = list(qkv_hidden_sizes) if qkv_hidden_sizes else [w.shape[1] // 3] * 3
    q, k, v = (split_heads(part, num_heads) for part in torch.split(projected, sizes, dim=-1))
    if past is not None:
        k, v = torch.cat((past[0], k), 2), torch.cat((past[1], v), 2)
    y = _attended(q, k, v, mask, attention_bias, scale, mask_filter_value, causal=bool(unidirectional))
    same = k.shape == v.shape
    return y, torch.stack((k, v)) if same else k


@op("MultiHeadAttention", outputs=3)
def multi_head_attention(
    query: Tensor,
    key: Tensor | None = None,
    value: Tensor | None = None,
    bias: Tensor | None = None,
    mask: Tensor | None = None,
    attention_bias: Tensor | None = None,
    past_key: Tensor | None = None,
    past_value: Tensor | None = None,
    *,
    mask_filter_value: float = -10000.0,
    num_heads: int,
    scale: float = 0.0,
    unidirectional: int = 0,
) -> tuple[Tensor, Tensor, Tensor]:
    """Attention of projected (N, T, heads * D); a key and value may be (N, heads, T, D) already.

    Also returns keys and values, those of the past first.
    """
    if key is None or value is None:
        raise ValueError("packed inputs are not supported")
    q_bias, k_bias, v_bias = _split_bias(bias, query, value)
    q = split_heads(query + q_bias, num_heads)
    k = key if key.dim() == 4 else split_heads(key + k_bias, num_heads)
    v = value if value.dim() == 4 else split_heads(value + v_bias, num_heads)
    if past_key is not None and past_value is not None:
        k, v = torch.cat((past_key, k), 2), torch.cat((past_value, v), 2)
    y = _attended(q, k, v, mask, attention_bias, scale, mask_filter_value, causal=bool(unidirectional))
    return y, k, v


def _split_bias(bias: Tensor | None, query: Tensor, value: Tensor) -> tuple[Tensor, ...]:
    """Return the biases of query, key and value, zeros if there is none."""
    if bias is None:
        return (query.new_zeros(()),) * 3
    width = query.shape[-1]
    last = value.shape[-1] if value.dim() == 3 else bias.shape[0] - 2 * width
    return torch.split(bias, [width, width, last])


def _attended(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None,
    attention_bias: Tensor | None,
    scale: float,
    masked: float,
    *,
    causal: bool,
) -> Tensor:
    scores = (q @ k.transpose(-1, -2)) * (scale or 1 / math.sqrt(q.shape[-1]))
    if mask is not None:
        scores = torch.where(_visible(mask, k), scores, scores + masked)
    if causal:
        rows, columns = scores.shape[-2:]
        allowed = torch.ones(rows, columns, dtype=torch.bool, device=q.device).tril(columns - rows)
        scores = scores.masked_fill(~allowed, -torch.inf)
    scores = scores if attention_bias is None else scores + attention_bias
    return join_heads(attend(scores, v)[0])


def _visible(mask: Tensor, k: Tensor) -> Tensor:
    """Return which keys count, for (N, heads, T, keys): `mask` holds lengths (N,) or zeros and ones."""
    if mask.dim() == 1:
        if mask.shape[0] != k.shape[0]:
            raise ValueError("a mask of starts and ends is not supported")
        places = torch.arange(k.shape[2], device=k.device)
        return (places < mask.unsqueeze(1))[:, None, None, :]
    if mask.dim() == 2:
        return mask[:, None, None, :] != 0
    return (mask.unsqueeze(1) if mask.dim() == 3 else mask) != 0
