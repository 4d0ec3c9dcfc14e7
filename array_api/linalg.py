"""Norms, powers and ranks of matrices, and products of vectors (the standard's extension "linalg").

toonygrad.linalg re-exports these, the functions that the extension shares with the standard's core and the
factorizations. All are expressions, some over singular values or inverses, which are a library's.
"""

from __future__ import annotations

import math
import operator
from typing import Any, Literal

from toonygrad import dtypes, products, record
from toonygrad.array import Array, array_node, from_node
from toonygrad.array_api.arguments import flag, real
from toonygrad.array_api.factorizations import (
    cholesky,
    det,
    eig,
    eigh,
    eigvals,
    eigvalsh,
    inv,
    inverse,
    pinv,
    qr,
    singular_values,
    slogdet,
    solve,
    svd,
    svdvals,
    tolerance,
)
from toonygrad.array_api.linear_algebra import matmul, matrix_transpose, tensordot, vecdot
from toonygrad.array_api.matrices import matrices, real_part, square_matrices
from toonygrad.array_api.statistical import total
from toonygrad.dtypes import DTypeLike
from toonygrad.errors import dtype_error
from toonygrad.placement import on_device, place_of
from toonygrad.uop.ops import Ops

__all__ = [
    "cholesky",
    "cross",
    "det",
    "diagonal",
    "eig",
    "eigh",
    "eigvals",
    "eigvalsh",
    "inv",
    "matmul",
    "matrix_norm",
    "matrix_power",
    "matrix_rank",
    "matrix_transpose",
    "outer",
    "pinv",
    "qr",
    "slogdet",
    "solve",
    "svd",
    "svdvals",
    "tensordot",
    "trace",
    "vecdot",
    "vector_norm",
]


def cross(x1: Array, x2: Array, /, *, axis: int = -1) -> Array:
    """Cross products of vectors of three elements.

    Parameters
    ----------
    x1, x2 : Array
        Numeric, of size three along `axis`; the other axes broadcast.
    axis : int
        Counted from the last, so negative.

    Returns
    -------
    Array
        Of the broadcast shape and the common data type.

    Raises
    ------
    TypeError
        A data type isn't numeric, or there is no common one.
    ValueError
        `axis` isn't negative, a size along it isn't three, or the other axes don't broadcast.
    IndexError
        `axis` is out of bounds for one of the two.

    Notes
    -----
    The standard's "linalg" extension, `cross`.
    """
    call = "cross"
    left, right = record.promoted(call, array_node(call, x1), array_node(call, x2))
    if left.dtype == dtypes.bool_:
        raise dtype_error(call, "numeric", left.dtype)
    for node in (left, right):
        record.one_axis(call, axis, len(node.shape))
    along = operator.index(axis)
    if along >= 0:
        raise ValueError(f"{call}: the axis counts from the last one and is negative, not {along}")
    if left.shape[along] != 3 or right.shape[along] != 3:
        raise ValueError(f"{call}: {left.shape} and {right.shape} aren't both of size 3 along axis {along}")
    shape = record.check_broadcast(call, left, right)
    a, b = (
        [record.slice_axis(node, len(node.shape) + along, place, 1, 1) for place in range(3)]
        for node in (left, right)
    )
    parts = [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
    return from_node(record.concat(parts, len(shape) + along))


def diagonal(x: Array, /, *, offset: int = 0) -> Array:
    """Diagonals of matrices.

    Parameters
    ----------
    x : Array
        Of shape (..., M, N), any data type.
    offset : int
        Which one: 0 is the main diagonal, positive ones lie above it.

    Returns
    -------
    Array
        Of shape (..., K) with the diagonal's length K, and the data type of `x`.

    Raises
    ------
    TypeError
        `x` is no Array, or `offset` no integer.
    ValueError
        `x` has fewer than two dimensions.

    Notes
    -----
    The standard's "linalg" extension, `diagonal`.
    """
    return from_node(_diagonal("diagonal", x, offset))


def matrix_norm(
    x: Array,
    /,
    *,
    keepdims: bool = False,
    ord: int | float | Literal["fro", "nuc"] | None = "fro",
) -> Array:
    """Norms of matrices; 0 of those without elements.

    Parameters
    ----------
    x : Array
        Of shape (..., M, N), numeric; integers are taken as float64.
    keepdims : bool
        Whether the last two axes stay, with size one.
    ord : {"fro", "nuc", 1, -1, 2, -2, inf, -inf}
        The root of the sum of squares, which None means too; the sum of the singular values; the greatest and
        the least sum of absolute values in a column; the greatest and the least singular value; the greatest
        and the least sum of absolute values in a row.

    Returns
    -------
    Array
        Of shape (...), real floating.

    Raises
    ------
    TypeError
        `x` isn't numeric, or `ord` neither text nor a number.
    ValueError
        `x` has fewer than two dimensions, there is no such norm, or no elements to choose the least from.
    numpy.linalg.LinAlgError
        Singular values can't be found, which shows when the elements are computed.

    Notes
    -----
    The standard's "linalg" extension, `matrix_norm`.
    """
    call = "matrix_norm"
    node = matrices(call, x)
    last, keepdims = len(node.shape) - 1, flag(call, "keepdims", keepdims)
    kind = "fro" if ord is None else ord if isinstance(ord, str) else real(call, "ord", ord)
    if kind == "fro":
        return from_node(_norm(call, node, (last - 1, last), 2, keepdims))
    if kind in (1, -1, math.inf, -math.inf):
        summed = last - 1 if kind in (1, -1) else last
        values = record.reduce(record.apply(Ops.ABS, node), Ops.ADD, (summed,))
    elif kind in (2, -2, "nuc"):
        values = singular_values(call, node)
    else:
        raise ValueError(f"{call}: there is no norm {ord!r}")
    if kind == "nuc":
        result = record.reduce(values, Ops.ADD, (last - 1,))
    else:
        result = _extreme(call, values, (last - 1,), kind > 0)
    return from_node(record.insert_axes(result, (last - 1, last)) if keepdims else result)


def matrix_power(x: Array, n: int, /) -> Array:
    """Matrices multiplied by themselves.

    Parameters
    ----------
    x : Array
        Of shape (..., M, M), numeric; integers are taken as float64.
    n : int
        How often: 0 gives the identity, negative numbers powers of the inverse.

    Returns
    -------
    Array
        Of the shape of `x`, floating.

    Raises
    ------
    TypeError
        `x` isn't numeric, or `n` no integer.
    ValueError
        `x` isn't made of square matrices.
    numpy.linalg.LinAlgError
        `n` is negative and a matrix singular, found when the elements are computed.

    Notes
    -----
    The standard's "linalg" extension, `matrix_power`. Products of squares: their number grows as log2 of `n`.
    """
    call = "matrix_power"
    square = square_matrices(call, x)
    times = record.integer(call, "n", n)
    if times == 0:
        size = square.shape[-2:]
        identity = record.iota(size, 0).eq(record.iota(size, 1))
        return from_node(record.expand(record.cast(identity, square.dtype), square.shape))
    if times < 0:
        square, times = inverse(call, square), -times
    power = None
    while True:
        if times & 1:
            power = square if power is None else products.matmul(call, power, square)
        times >>= 1
        if not times:
            assert power is not None
            return from_node(power)
        square = products.matmul(call, square, square)


def matrix_rank(x: Array, /, *, rtol: float | Array | None = None) -> Array:
    """How many singular values of matrices aren't zero.

    Parameters
    ----------
    x : Array
        Of shape (..., M, N), numeric; integers are taken as float64.
    rtol : float or Array, optional
        Singular values up to this part of the greatest one count as zero; an Array, of a real floating data
        type, broadcasts to the stack's shape (...). None: max(M, N) times the data type's precision.

    Returns
    -------
    Array
        Of shape (...), int64.

    Raises
    ------
    TypeError
        `x` isn't numeric, or `rtol` not real.
    ValueError
        `x` has fewer than two dimensions, or `rtol` doesn't broadcast.
    numpy.linalg.LinAlgError
        Singular values can't be found, which shows when the elements are computed.

    Notes
    -----
    The standard's "linalg" extension, `matrix_rank`.
    """
    call = "matrix_rank"
    node = matrices(call, x)
    limit = tolerance(call, node, rtol)
    values = singular_values(call, node)
    last = len(values.shape) - 1
    if not values.shape[last]:
        zeros = record.filled(values.shape[:-1], record.constant(0, dtypes.int64))
        return from_node(on_device(zeros, place_of(values)))
    greatest = record.slice_axis(values, last, 0, 1, 1)
    if isinstance(limit, float):
        least = greatest * record.number(call, limit, values.dtype)
    else:
        column = record.insert_axes(limit, [len(limit.shape)])
        least = record.elementwise(call, Ops.MUL, greatest, column)
    counted = record.cast(record.elementwise(call, Ops.LT, least, values), dtypes.int64)
    return from_node(record.reduce(counted, Ops.ADD, (last,)))


def outer(x1: Array, x2: Array, /) -> Array:
    """Products of every element of one vector and every element of another.

    Parameters
    ----------
    x1, x2 : Array
        Of shapes (N,) and (M,), numeric.

    Returns
    -------
    Array
        Of shape (N, M) and the common data type.

    Raises
    ------
    TypeError
        A data type isn't numeric, or there is no common one.
    ValueError
        An array doesn't have one dimension.

    Notes
    -----
    The standard's "linalg" extension, `outer`.
    """
    call = "outer"
    left, right = record.promoted(call, array_node(call, x1), array_node(call, x2))
    if left.dtype == dtypes.bool_:
        raise dtype_error(call, "numeric", left.dtype)
    if len(left.shape) != 1 or len(right.shape) != 1:
        raise ValueError(f"{call}: takes vectors, not the shapes {left.shape} and {right.shape}")
    return from_node(record.apply(Ops.MUL, record.insert_axes(left, [1]), right))


def trace(x: Array, /, *, offset: int = 0, dtype: DTypeLike | None = None) -> Array:
    """Sums of diagonals of matrices; 0 where one has no elements.

    Parameters
    ----------
    x : Array
        Of shape (..., M, N), numeric.
    offset : int
        Which diagonal: 0 is the main one, positive ones lie above it.
    dtype : optional
        In which type is added. None: as of `sum`.

    Returns
    -------
    Array
        Of shape (...).

    Raises
    ------
    TypeError
        `x` isn't numeric, `offset` no integer, or `dtype` none of the standard's, or real for a complex `x`.
    ValueError
        `x` has fewer than two dimensions.

    Notes
    -----
    The standard's "linalg" extension, `trace`.
    """
    call = "trace"
    node = _diagonal(call, x, offset)
    if node.dtype == dtypes.bool_:
        raise dtype_error(call, "numeric", node.dtype)
    return total(call, Ops.ADD, from_node(node), -1, dtype, False)


def vector_norm(
    x: Array,
    /,
    *,
    axis: int | tuple[int, ...] | None = None,
    keepdims: bool = False,
    ord: int | float = 2,
) -> Array:
    """Norms of vectors; 0 of those without elements, where `ord` is positive.

    Parameters
    ----------
    x : Array
        Any shape, numeric; integers are taken as float64.
    axis : int or tuple of int, optional
        Over which axes the vectors extend. None: all.
    keepdims : bool
        Whether the axes stay, with size one.
    ord : int or float
        For p: the sum of absolute values to the power p, to the power 1 / p; inf and -inf: the greatest and
        the least absolute value; 0: how many elements aren't zero.

    Returns
    -------
    Array
        Without the axes, or with size one in their place; real floating.

    Raises
    ------
    TypeError
        `x` isn't numeric, or `ord` no real number.
    ValueError
        There are no elements to choose the least from, or an axis is named twice.
    IndexError
        An axis is out of bounds.

    Notes
    -----
    The standard's "linalg" extension, `vector_norm`. Powers are taken and added in float64.
    """
    call = "vector_norm"
    node = array_node(call, x)
    if node.dtype == dtypes.bool_:
        raise dtype_error(call, "numeric", node.dtype)
    power, keepdims = real(call, "ord", ord), flag(call, "keepdims", keepdims)
    axes = record.several_axes(call, axis, len(node.shape))
    return from_node(_norm(call, record.as_floating(node), axes, power, keepdims))


def _diagonal(call: str, x: Array, offset: Any) -> record.Node:
    node = array_node(call, x)
    if len(node.shape) < 2:
        raise ValueError(f"{call}: needs at least two dimensions, not the shape {node.shape}")
    by = record.integer(call, "offset", offset)
    *stack, rows, columns = node.shape
    row, column = max(-by, 0), max(by, 0)
    size = max(min(rows - row, columns - column), 0)
    lines = record.reshape(node, (*stack, rows * columns))
    # From one element of a diagonal to the next it is a row and a column.
    start, step = (row * columns + column, columns + 1) if size else (0, 1)
    return record.slice_axis(lines, len(stack), start, step, size)


def _norm(call: str, node: record.Node, axes: tuple[int, ...], power: float, keepdims: bool) -> record.Node:
    """The norm over axes of a floating node, real."""
    real = real_part(node.dtype)
    if power == 0:
        counted = record.cast(record.cast(node, dtypes.bool_), dtypes.int64)
        return record.cast(record.reduce(counted, Ops.ADD, axes, keepdims), real)
    if power == 2:
        # float64 holds every square of a float32.
        parts = record.parts(node) if node.dtype in dtypes.COMPLEX_FLOATING else (node,)
        first, *second = (wide * wide for wide in (record.cast(part, dtypes.float64) for part in parts))
        squares = first + second[0] if second else first
        root = record.apply(Ops.SQRT, record.reduce(squares, Ops.ADD, axes, keepdims))
        return record.cast(root, real)
    size = record.apply(Ops.ABS, node)
    if power in (math.inf, -math.inf):
        return _extreme(call, size, axes, power > 0, keepdims)
    if power == 1:
        return record.reduce(size, Ops.ADD, axes, keepdims)
    powers = record.elementwise(call, Ops.POW, record.cast(size, dtypes.float64), power)
    summed = record.reduce(powers, Ops.ADD, axes, keepdims)
    return record.cast(record.elementwise(call, Ops.POW, summed, 1 / power), real)


def _extreme(
    call: str, sizes: record.Node, axes: tuple[int, ...], greatest: bool, keepdims: bool = False
) -> record.Node:
    """The greatest or least of numbers not below zero: the greatest of none is 0, the least an error."""
    if greatest and not record.count_over(sizes, axes):
        return record.reduce(sizes, Ops.ADD, axes, keepdims)
    record.check_not_empty(call, sizes, axes)
    return record.reduce(sizes, Ops.MAXIMUM if greatest else Ops.MINIMUM, axes, keepdims)
