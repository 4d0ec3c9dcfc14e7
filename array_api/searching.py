"""Where elements are, and choosing between them (the standard's chapter "Searching functions").

Re-exported by toonygrad. `nonzero` computes, because its results' shape depends on values; the others record.
"""

from __future__ import annotations

from typing import Literal

from toonygrad import dtypes, record
from toonygrad.array import Array, array_node, from_node, operand
from toonygrad.array_api.arguments import flag
from toonygrad.errors import dtype_error
from toonygrad.indexing import true_positions
from toonygrad.uop.ops import Op, Ops

__all__ = ["argmax", "argmin", "count_nonzero", "nonzero", "searchsorted", "where"]

Scalar = bool | int | float | complex


def argmax(x: Array, /, *, axis: int | None = None, keepdims: bool = False) -> Array:
    """Positions of the greatest elements along an axis.

    Of several equal ones it is the first, and where there is a NaN that of the first NaN.

    Parameters
    ----------
    x : Array
        Any shape, of a real numeric data type or boolean.
    axis : int, optional
        None: the position in row-major order of all elements.
    keepdims : bool
        Whether the axis (all axes, for None) stays, with size one.

    Returns
    -------
    Array
        int64.

    Raises
    ------
    TypeError
        `x` is complex.
    ValueError
        There are no elements to choose from.
    IndexError
        `axis` is out of bounds.

    Notes
    -----
    The standard's "Searching functions", `argmax`.
    """
    return _position_of_extreme("argmax", Ops.MAXIMUM, Ops.OR, x, axis, keepdims)


def argmin(x: Array, /, *, axis: int | None = None, keepdims: bool = False) -> Array:
    """Positions of the least elements along an axis.

    Of several equal ones it is the first, and where there is a NaN that of the first NaN.

    Parameters
    ----------
    x : Array
        Any shape, of a real numeric data type or boolean.
    axis : int, optional
        None: the position in row-major order of all elements.
    keepdims : bool
        Whether the axis (all axes, for None) stays, with size one.

    Returns
    -------
    Array
        int64.

    Raises
    ------
    TypeError
        `x` is complex.
    ValueError
        There are no elements to choose from.
    IndexError
        `axis` is out of bounds.

    Notes
    -----
    The standard's "Searching functions", `argmin`.
    """
    return _position_of_extreme("argmin", Ops.MINIMUM, Ops.AND, x, axis, keepdims)


def count_nonzero(x: Array, /, *, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Array:
    """How many elements over axes aren't zero.

    Parameters
    ----------
    x : Array
        Any shape, any data type.
    axis : int or tuple of int, optional
        None: all.
    keepdims : bool
        Whether the axes stay, with size one.

    Returns
    -------
    Array
        int64.

    Raises
    ------
    TypeError
        `x` is no Array.
    IndexError, ValueError
        An axis is out of bounds, or named twice.

    Notes
    -----
    The standard's "Searching functions", `count_nonzero`.
    """
    node = array_node("count_nonzero", x)
    counted = record.cast(record.cast(node, dtypes.bool_), dtypes.INDEX)
    axes = record.several_axes("count_nonzero", axis, len(node.shape))
    return from_node(record.reduce(counted, Ops.ADD, axes, flag("count_nonzero", "keepdims", keepdims)))


def nonzero(x: Array, /) -> tuple[Array, ...]:
    """Positions of the elements that aren't zero, in row-major order. Computes `x`.

    Parameters
    ----------
    x : Array
        At least one dimension, any data type.

    Returns
    -------
    tuple of Array
        For each axis one int64 array with the positions along it.

    Raises
    ------
    TypeError
        `x` is no Array.
    ValueError
        `x` is 0-d.

    Notes
    -----
    The standard's "Searching functions", `nonzero`.
    """
    node = array_node("nonzero", x)
    if not node.shape:
        raise ValueError("nonzero: needs at least one dimension, not the shape ()")
    return tuple(from_node(positions) for positions in true_positions(node))


def searchsorted(
    x1: Array,
    x2: Array | int | float,
    /,
    *,
    side: Literal["left", "right"] = "left",
    sorter: Array | None = None,
) -> Array:
    """Where values belong in a sorted array: before which of its elements, so that it stays sorted.

    NaN counts as the greatest, and signed zeros are equal, as `sort` has it.

    Parameters
    ----------
    x1 : Array
        One-dimensional, ascending, of a real numeric data type or boolean.
    x2 : Array or Python scalar
        Any shape, of a data type with one in common with `x1`.
    side : {"left", "right"}
        Whether before the first, or behind the last of elements that are equal.
    sorter : Array, optional
        Integers, of the shape of `x1`: positions that bring it into ascending order, as `argsort` gives them.

    Returns
    -------
    Array
        int64, of the shape of `x2`.

    Raises
    ------
    TypeError
        A data type is complex, that of `sorter` not integral, or there is no common one.
    ValueError
        `x1` isn't one-dimensional, `sorter` of another shape, or `side` neither.
    OverflowError
        A Python integer doesn't fit the type of `x1`.
    IndexError
        A position in `sorter` is out of bounds, found when the elements are computed.

    Notes
    -----
    The standard's "Searching functions", `searchsorted`.
    """
    call = "searchsorted"
    ordered, values = record.promoted(call, array_node(call, x1), operand(call, x2))
    if ordered.dtype in dtypes.COMPLEX_FLOATING:
        raise dtype_error(call, "real numeric", ordered.dtype)
    if len(ordered.shape) != 1:
        raise ValueError(f"{call}: x1 has one dimension, not the shape {ordered.shape}")
    if side not in ("left", "right"):
        raise ValueError(f"{call}: side is 'left' or 'right', not {side!r}")
    if sorter is not None:
        order = array_node(call, sorter)
        if order.dtype not in dtypes.INTEGERS:
            raise dtype_error(call, "integral", order.dtype)
        if order.shape != ordered.shape:
            raise ValueError(f"{call}: a sorter of shape {order.shape} for x1 of shape {ordered.shape}")
        ordered = record.gather(ordered, [order], (0,), 0, call)
    return from_node(record.external(call, (side,), dtypes.INDEX, values.shape, ordered, values))


def where(condition: Array, x1: Array | Scalar, x2: Array | Scalar, /) -> Array:
    """Elements of `x1` where the condition holds, else of `x2`.

    Parameters
    ----------
    condition : Array
        Boolean.
    x1, x2 : Array or Python scalar
        Of any data types with a common one, of shapes that broadcast with each other and the condition's; two
        scalars have the default data type of the higher kind.

    Returns
    -------
    Array
        Of the broadcast shape and the common data type.

    Raises
    ------
    TypeError
        The condition isn't boolean, or `x1` and `x2` have no common data type.
    ValueError
        The shapes don't broadcast.
    OverflowError
        A Python integer doesn't fit the type of the Array beside it.

    Notes
    -----
    The standard's "Searching functions", `where`.
    """
    call = "where"
    chosen, first, second = array_node(call, condition), operand(call, x1), operand(call, x2)
    if not isinstance(first, record.Node) and not isinstance(second, record.Node):
        number = record.python_number(call, first)
        first = record.number(call, number, dtypes.default_dtype(number))
    return from_node(record.where(call, chosen, first, second))


def _position_of_extreme(
    call: str, op: Op, op_of_truths: Op, x: Array, axis: int | None, keepdims: bool
) -> Array:
    """The least position at which an element equals the extreme, or is NaN as the extreme then is."""
    node = array_node(call, x)
    if node.dtype in dtypes.COMPLEX_FLOATING:
        raise dtype_error(call, "real numeric", node.dtype)
    if axis is None:
        axes = tuple(range(len(node.shape)))
        place = record.reshape(record.iota((record.count_over(node, axes),), 0), node.shape)
    else:
        axes = (record.one_axis(call, axis, len(node.shape)),)
        place = record.iota(node.shape, axes[0])
    record.check_not_empty(call, node, axes)
    is_extreme = node.eq(
        record.reduce(node, op_of_truths if node.dtype == dtypes.bool_ else op, axes, keepdims=True)
    )
    if node.dtype in dtypes.REAL_FLOATING:
        is_extreme = is_extreme | node.ne(node)
    nowhere = record.number(call, record.count_over(node, axes), dtypes.INDEX)
    found = is_extreme.where(place, nowhere)
    return from_node(record.reduce(found, Ops.MINIMUM, axes, flag(call, "keepdims", keepdims)))
