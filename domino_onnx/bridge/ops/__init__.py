"""The operators, one family a file, joined into one read-only table."""

from domino_onnx.bridge.ops import (
    activation,
    attention,
    classes,
    constant,
    contrib,
    contrib_attention,
    control,
    convolution,
    elementwise,
    grid,
    index,
    logic,
    matmul,
    normalization,
    pool,
    quantize,
    recurrent,
    reduce,
    resize,
    shape,
)
from domino_onnx.bridge.registry import Table, merge

__all__ = ["OPERATORS"]

OPERATORS: Table = merge(
    (
        activation.op,
        attention.op,
        classes.op,
        constant.op,
        contrib.op,
        contrib.standard,
        contrib_attention.op,
        control.op,
        convolution.op,
        elementwise.op,
        grid.op,
        index.op,
        logic.op,
        matmul.op,
        normalization.op,
        pool.op,
        quantize.op,
        recurrent.op,
        reduce.op,
        resize.op,
        shape.op,
    )
)
