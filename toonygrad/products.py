"""What products record: powers by two and three, and products of matrices.

Array's operators and the standard's functions call it, on what record.py has.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from toonygrad import dtypes, record
from toonygrad.errors import dtype_error, shapes_error
from toonygrad.uop.node import UOp
from toonygrad.uop.ops import Ops
from toonygrad.uop.shape import broadcast_shapes


def few_factors(exponent: Any, base: np.dtype) -> int:
    """2 or 3 where a power by this number is products: right to the last bit or two, and ten to forty times
    cheaper than by logarithms. Else 0.
    """
    fits = type(exponent) is int or (type(exponent) is float and base in dtypes.FLOATING)
    few = fits and (exponent == 2 or (exponent == 3 and base not in dtypes.COMPLEX_FLOATING))
    return int(exponent) if few else 0


def cube(call: str, node: UOp) -> UOp:
    """x ** 3 of real numbers.

    Raises
    ------
    TypeError
        The data type isn't numeric.
    """
    record.check_takes(call, Ops.POW, node)
    return UOp.new(Ops.POW, (node, UOp.const(3, node.dtype)))


def matmul(call: str, left: UOp, right: UOp) -> UOp:
    """The matrix product, stacks of matrices broadcast: floats by BLAS, which nothing beats.

    Integers, which it doesn't have, and products with a vector, which memory limits, are reductions that fuse
    with what is around.

    Raises
    ------
    TypeError
        The operands aren't numeric.
    ValueError
        An operand is 0-d, or the inner sizes or the stacks don't agree.
    """
    left, right = record.promoted(call, left, right)
    if left.dtype not in dtypes.NUMERIC:
        raise dtype_error(call, "numeric", left.dtype, right.dtype)
    if not left.shape or not right.shape:
        raise ValueError(f"{call}: operands need at least one dimension, not {left.shape} and {right.shape}")
    a = record.reshape(left, (1, *left.shape)) if len(left.shape) == 1 else left
    b = record.reshape(right, (*right.shape, 1)) if len(right.shape) == 1 else right
    if a.shape[-1] != b.shape[-2]:
        raise ValueError(f"{call}: the inner sizes of {left.shape} and {right.shape} differ")
    try:
        stack = broadcast_shapes(a.shape[:-2], b.shape[:-2])
    except ValueError:
        raise shapes_error(call, (left.shape, right.shape)) from None
    shape = (*stack, a.shape[-2], b.shape[-1])
    a_vector, real = 1 in shape[-2:], left.dtype not in dtypes.COMPLEX_FLOATING
    if left.dtype in dtypes.FLOATING and not (a_vector and real):
        product = record.external("matmul", (), left.dtype, shape, a, b)
    else:
        product = _reduced(a, b)
    if len(left.shape) == 1:
        product = record.reshape(product, (*product.shape[:-2], product.shape[-1]))
    if len(right.shape) == 1:
        product = record.reshape(product, product.shape[:-1])
    return product


def _reduced(a: UOp, b: UOp) -> UOp:
    """The product of stacks of matrices as a reduction, along rows or across them, whichever has its results
    side by side."""
    if b.shape[-1] == 1:
        terms = UOp.new(Ops.MUL, (a, _transposed(b)))
        return record.reduce(terms, Ops.ADD, (len(terms.shape) - 1,), keepdims=True)
    if a.shape[-2] == 1:
        terms = UOp.new(Ops.MUL, (_transposed(a), b))
        return record.reduce(terms, Ops.ADD, (len(terms.shape) - 2,), keepdims=True)
    rows, columns = record.reshape(a, (*a.shape, 1)), record.reshape(b, (*b.shape[:-2], 1, *b.shape[-2:]))
    terms = UOp.new(Ops.MUL, (rows, columns))
    return record.reduce(terms, Ops.ADD, (len(terms.shape) - 2,))


def _transposed(x: UOp) -> UOp:
    last = len(x.shape) - 1
    return record.permute(x, (*range(last - 1), last, last - 1))
