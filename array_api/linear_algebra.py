"""Products of vectors and matrices (the standard's chapter "Linear algebra functions").

Re-exported by toonygrad. Float matrix products are a library's; `vecdot` is a reduction that fuses with what
surrounds it.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

from toonygrad import dtypes, products, record
from toonygrad.array import Array, array_node, from_node, permuted
from toonygrad.errors import dtype_error
from toonygrad.uop.ops import Ops

__all__ = ["matmul", "matrix_transpose", "tensordot", "vecdot"]


def matmul(x1: Array, x2: Array, /) -> Array:
    """Matrix products of stacks of matrices.

    Parameters
    ----------
    x1 : Array
        Of shape (..., M, K), or (K,), which counts as (1, K) and loses its row again. Numeric.
    x2 : Array
        Of shape (..., K, N), or (K,), which counts as (K, 1) and loses its column again. Numeric. The stacks
        broadcast.

    Returns
    -------
    Array
        Of shape (..., M, N) and the common data type.

    Raises
    ------
    TypeError
        A data type isn't numeric, or there is no common one.
    ValueError
        An operand is 0-d, the inner sizes differ, or the stacks don't broadcast.

    Notes
    -----
    The standard's "Linear algebra functions", `matmul`.
    """
    return from_node(products.matmul("matmul", array_node("matmul", x1), array_node("matmul", x2)))


def matrix_transpose(x: Array, /) -> Array:
    """Each matrix of a stack transposed.

    Parameters
    ----------
    x : Array
        Of shape (..., M, N), any data type.

    Returns
    -------
    Array
        Of shape (..., N, M).

    Raises
    ------
    TypeError
        `x` is no Array.
    ValueError
        `x` has fewer than two dimensions.

    Notes
    -----
    The standard's "Linear algebra functions", `matrix_transpose`.
    """
    node = array_node("matrix_transpose", x)
    last = len(node.shape) - 1
    if last < 1:
        raise ValueError(f"matrix_transpose: needs at least two dimensions, not the shape {node.shape}")
    return permuted(x, (*range(last - 1), last, last - 1))


def tensordot(x1: Array, x2: Array, /, *, axes: int | tuple[Sequence[int], Sequence[int]] = 2) -> Array:
    """Sums of products over axes of two arrays.

    Parameters
    ----------
    x1, x2 : Array
        Any shapes, numeric.
    axes : int or pair of sequences of int
        The axes of `x1` and those of `x2` that are summed over, in step; an integer n: the last n and the
        first n.

    Returns
    -------
    Array
        With the other axes of `x1`, then those of `x2`, and the common data type.

    Raises
    ------
    TypeError
        A data type isn't numeric, or there is no common one; `axes` is neither.
    ValueError
        Sizes of axes to be summed over differ, their numbers differ, one is named twice, or the result would
        have too many dimensions.
    IndexError
        An axis is out of bounds.

    Notes
    -----
    The standard's "Linear algebra functions", `tensordot`.
    """
    call = "tensordot"
    left, right = record.promoted(call, array_node(call, x1), array_node(call, x2))
    if left.dtype == dtypes.bool_:
        raise dtype_error(call, "numeric", left.dtype)
    left_axes, right_axes = _contracted(axes, len(left.shape), len(right.shape))
    if [left.shape[axis] for axis in left_axes] != [right.shape[axis] for axis in right_axes]:
        raise ValueError(
            f"{call}: axes {left_axes} of {left.shape} and {right_axes} of {right.shape} differ in size"
        )
    left_kept = [axis for axis in range(len(left.shape)) if axis not in left_axes]
    right_kept = [axis for axis in range(len(right.shape)) if axis not in right_axes]
    left_shape = [left.shape[axis] for axis in left_kept]
    right_shape = [right.shape[axis] for axis in right_kept]
    record.check_dimensions(call, len(left_shape) + len(right_shape))
    if not left_axes:
        spread = record.reshape(left, (*left.shape, *(1 for _ in right.shape)))
        return from_node(record.apply(Ops.MUL, spread, right))
    inner = math.prod(left.shape[axis] for axis in left_axes)
    rows = record.reshape(record.permute(left, [*left_kept, *left_axes]), (math.prod(left_shape), inner))
    columns = record.reshape(
        record.permute(right, [*right_axes, *right_kept]), (inner, math.prod(right_shape))
    )
    return from_node(record.reshape(products.matmul(call, rows, columns), (*left_shape, *right_shape)))


def vecdot(x1: Array, x2: Array, /, *, axis: int = -1) -> Array:
    """Dot products of vectors along an axis, the first ones conjugated.

    Parameters
    ----------
    x1, x2 : Array
        Numeric, of the same size along `axis`; the other axes broadcast.
    axis : int
        Counted from the last, so negative.

    Returns
    -------
    Array
        Of the broadcast shape without `axis`, and the common data type.

    Raises
    ------
    TypeError
        A data type isn't numeric, or there is no common one.
    ValueError
        `axis` isn't negative, the sizes along it differ, or the other axes don't broadcast.
    IndexError
        `axis` is out of bounds for one of the two.

    Notes
    -----
    The standard's "Linear algebra functions", `vecdot`.
    """
    call = "vecdot"
    left, right = record.promoted(call, array_node(call, x1), array_node(call, x2))
    if left.dtype == dtypes.bool_:
        raise dtype_error(call, "numeric", left.dtype)
    for node in (left, right):
        record.one_axis(call, axis, len(node.shape))
    along = operator.index(axis)
    if along >= 0:
        raise ValueError(f"{call}: the axis counts from the last one and is negative, not {along}")
    if left.shape[along] != right.shape[along]:
        raise ValueError(f"{call}: {left.shape} and {right.shape} differ in size along axis {along}")
    shape = record.check_broadcast(call, left, right)
    product = record.elementwise(call, Ops.CONJ, left) * right
    return from_node(record.reduce(product, Ops.ADD, (len(shape) + along,)))


def _contracted(axes: Any, left_ndim: int, right_ndim: int) -> tuple[list[int], list[int]]:
    call = "tensordot"
    if isinstance(axes, Sequence):
        if len(axes) != 2 or not all(isinstance(side, Sequence) for side in axes):
            raise TypeError(f"{call}: axes are a number or two sequences of numbers, not {axes!r}")
        left = [record.one_axis(call, axis, left_ndim) for axis in axes[0]]
        right = [record.one_axis(call, axis, right_ndim) for axis in axes[1]]
        if len(left) != len(right):
            raise ValueError(f"{call}: {len(left)} axes of the one array and {len(right)} of the other")
        if len(set(left)) != len(left) or len(set(right)) != len(right):
            raise ValueError(f"{call}: axes {axes} name an axis twice")
        return left, right
    try:
        count = operator.index(axes)
    except TypeError:
        raise TypeError(f"{call}: axes are a number or two sequences of numbers, not {axes!r}") from None
    if not 0 <= count <= min(left_ndim, right_ndim):
        raise ValueError(f"{call}: {count} axes of arrays with {left_ndim} and {right_ndim} dimensions")
    return list(range(left_ndim - count, left_ndim)), list(range(count))
