"""Matrix products."""

from __future__ import annotations

import torch
from torch import Tensor

from domino_onnx.bridge.registry import Family

__all__ = ["op"]

op = Family()


@op("MatMul")
def matmul(a: Tensor, b: Tensor) -> Tensor:
    """Multiply as numpy.matmul does."""
    return torch.matmul(a, b)


@op("Gemm", since=7)
def gemm(
    a: Tensor,
    b: Tensor,
    c: Tensor | None = None,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    transA: int = 0,
    transB: int = 0,
) -> Tensor:
    """Return alpha A B + beta C, either factor transposed; C broadcasts and may be missing."""
    left, right = a.T if transA else a, b.T if transB else b
    if c is not None and alpha == 1 and beta == 1 and c.dim() <= 1 and a.is_floating_point():
        return torch.addmm(c, left, right)
    product = left @ right
    product = product if alpha == 1 else (alpha * product).to(product.dtype)
    return product if c is None else product + (c if beta == 1 else (beta * c).to(c.dtype))


@op("Einsum", since=12)
def einsum(*operands: Tensor, equation: str) -> Tensor:
    """Sum products by Einstein's convention."""
    return torch.einsum(equation.replace(" ", ""), *operands)


@op("Det", since=11)
def determinant(x: Tensor) -> Tensor:
    """Return the determinants of square matrices."""
    determinants: Tensor = torch.linalg.det(x)
    return determinants
