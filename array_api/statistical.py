"""Sums, products, extremes, means and their running forms (the standard's chapter "Statistical functions").

Re-exported by toonygrad. Each records a reduction or a scan; counts, by which means divide, are arguments of
the kernels. Truth values count as 0 and 1.
"""

from __future__ import annotations

import math
from typing import Any

from toonygrad import dtypes, record
from toonygrad.array import Array, array_node, converted, from_node
from toonygrad.array_api.arguments import flag, real
from toonygrad.dtypes import DTypeLike
from toonygrad.errors import dtype_error
from toonygrad.placement import on_device, place_of
from toonygrad.uop.ops import Op, Ops

__all__ = ["cumulative_prod", "cumulative_sum", "max", "mean", "min", "prod", "std", "sum", "var"]

Axes = int | tuple[int, ...] | None

_NUMERIC = frozenset(dtypes.NUMERIC)


def sum(x: Array, /, *, axis: Axes = None, dtype: DTypeLike | None = None, keepdims: bool = False) -> Array:
    """Sums over axes; 0 over no elements.

    Parameters
    ----------
    x : Array
        Any shape, any data type.
    axis : int or tuple of int, optional
        None: all.
    dtype : optional
        In which type is added. None: that of `x`, but int64 and uint64 for narrower integers, int64 for truth
        values.
    keepdims : bool
        Whether summed axes stay, with size one.

    Returns
    -------
    Array
        Without the summed axes, or with size one in their place.

    Raises
    ------
    TypeError
        `dtype` is none of the standard's, or real for a complex `x`.
    IndexError, ValueError
        An axis is out of bounds, or named twice.

    Notes
    -----
    The standard's "Statistical functions", `sum`. float32 is added in a wider type.
    """
    return total("sum", Ops.ADD, x, axis, dtype, keepdims)


def prod(x: Array, /, *, axis: Axes = None, dtype: DTypeLike | None = None, keepdims: bool = False) -> Array:
    """Products over axes; 1 over no elements.

    Parameters
    ----------
    x : Array
        Any shape, any data type.
    axis : int or tuple of int, optional
        None: all.
    dtype : optional
        In which type is multiplied. None: that of `x`, but int64 and uint64 for narrower integers, int64 for
        truth values.
    keepdims : bool
        Whether multiplied axes stay, with size one.

    Returns
    -------
    Array
        Without the multiplied axes, or with size one in their place.

    Raises
    ------
    TypeError
        `dtype` is none of the standard's, or real for a complex `x`.
    IndexError, ValueError
        An axis is out of bounds, or named twice.

    Notes
    -----
    The standard's "Statistical functions", `prod`.
    """
    return total("prod", Ops.MUL, x, axis, dtype, keepdims)


def max(x: Array, /, *, axis: Axes = None, keepdims: bool = False) -> Array:
    """Greatest elements over axes; NaN where one is among them.

    Parameters
    ----------
    x : Array
        Any shape, of a real numeric data type or boolean.
    axis : int or tuple of int, optional
        None: all.
    keepdims : bool
        Whether the axes stay, with size one.

    Returns
    -------
    Array
        Of the data type of `x`, without the axes or with size one in their place.

    Raises
    ------
    TypeError
        `x` is complex.
    ValueError
        There are no elements to choose from, or an axis is named twice.
    IndexError
        An axis is out of bounds.

    Notes
    -----
    The standard's "Statistical functions", `max`.
    """
    return _extreme("max", Ops.MAXIMUM, Ops.OR, x, axis, keepdims)


def min(x: Array, /, *, axis: Axes = None, keepdims: bool = False) -> Array:
    """Least elements over axes; NaN where one is among them.

    Parameters
    ----------
    x : Array
        Any shape, of a real numeric data type or boolean.
    axis : int or tuple of int, optional
        None: all.
    keepdims : bool
        Whether the axes stay, with size one.

    Returns
    -------
    Array
        Of the data type of `x`, without the axes or with size one in their place.

    Raises
    ------
    TypeError
        `x` is complex.
    ValueError
        There are no elements to choose from, or an axis is named twice.
    IndexError
        An axis is out of bounds.

    Notes
    -----
    The standard's "Statistical functions", `min`.
    """
    return _extreme("min", Ops.MINIMUM, Ops.AND, x, axis, keepdims)


def mean(x: Array, /, *, axis: Axes = None, keepdims: bool = False) -> Array:
    """Arithmetic means over axes; NaN over no elements.

    Parameters
    ----------
    x : Array
        Any shape, any data type; integers and truth values are averaged as float64.
    axis : int or tuple of int, optional
        None: all.
    keepdims : bool
        Whether the axes stay, with size one.

    Returns
    -------
    Array
        Without the axes, or with size one in their place.

    Raises
    ------
    TypeError
        `x` is no Array.
    IndexError, ValueError
        An axis is out of bounds, or named twice.

    Notes
    -----
    The standard's "Statistical functions", `mean`.
    """
    node = record.as_floating(array_node("mean", x))
    axes = record.several_axes("mean", axis, len(node.shape))
    return from_node(_mean(node, axes, flag("mean", "keepdims", keepdims)))


def var(x: Array, /, *, axis: Axes = None, correction: int | float = 0.0, keepdims: bool = False) -> Array:
    """Variances over axes, from the deviations from the means; NaN where the divisor isn't positive.

    Parameters
    ----------
    x : Array
        Any shape, of a real data type; integers and truth values are taken as float64.
    axis : int or tuple of int, optional
        None: all.
    correction : int or float
        Squares are divided by the number of elements less this.
    keepdims : bool
        Whether the axes stay, with size one.

    Returns
    -------
    Array
        Without the axes, or with size one in their place.

    Raises
    ------
    TypeError
        `x` is complex, or `correction` no real number.
    IndexError, ValueError
        An axis is out of bounds, or named twice.

    Notes
    -----
    The standard's "Statistical functions", `var`.
    """
    return from_node(_variance("var", x, axis, correction, keepdims))


def std(x: Array, /, *, axis: Axes = None, correction: int | float = 0.0, keepdims: bool = False) -> Array:
    """Standard deviations over axes: square roots of `var`.

    Parameters
    ----------
    x : Array
        Any shape, of a real data type; integers and truth values are taken as float64.
    axis : int or tuple of int, optional
        None: all.
    correction : int or float
        Squares are divided by the number of elements less this.
    keepdims : bool
        Whether the axes stay, with size one.

    Returns
    -------
    Array
        Without the axes, or with size one in their place.

    Raises
    ------
    TypeError
        `x` is complex, or `correction` no real number.
    IndexError, ValueError
        An axis is out of bounds, or named twice.

    Notes
    -----
    The standard's "Statistical functions", `std`.
    """
    return from_node(record.apply(Ops.SQRT, _variance("std", x, axis, correction, keepdims)))


def cumulative_sum(
    x: Array, /, *, axis: int | None = None, dtype: DTypeLike | None = None, include_initial: bool = False
) -> Array:
    """Running sums along an axis.

    Parameters
    ----------
    x : Array
        At least one dimension, any data type.
    axis : int, optional
        May be left out where `x` has one dimension.
    dtype : optional
        In which type is added. None: as of `sum`.
    include_initial : bool
        Whether 0 stands in front.

    Returns
    -------
    Array
        Of the shape of `x`, one longer along `axis` with `include_initial`.

    Raises
    ------
    TypeError
        `dtype` is none of the standard's, or real for a complex `x`.
    IndexError
        `axis` is out of bounds.
    ValueError
        `x` is 0-d, or `axis` missing where there are several.

    Notes
    -----
    The standard's "Statistical functions", `cumulative_sum`.
    """
    return _running("cumulative_sum", Ops.ADD, x, axis, dtype, include_initial)


def cumulative_prod(
    x: Array, /, *, axis: int | None = None, dtype: DTypeLike | None = None, include_initial: bool = False
) -> Array:
    """Running products along an axis.

    Parameters
    ----------
    x : Array
        At least one dimension, any data type.
    axis : int, optional
        May be left out where `x` has one dimension.
    dtype : optional
        In which type is multiplied. None: as of `prod`.
    include_initial : bool
        Whether 1 stands in front.

    Returns
    -------
    Array
        Of the shape of `x`, one longer along `axis` with `include_initial`.

    Raises
    ------
    TypeError
        `dtype` is none of the standard's, or real for a complex `x`.
    IndexError
        `axis` is out of bounds.
    ValueError
        `x` is 0-d, or `axis` missing where there are several.

    Notes
    -----
    The standard's "Statistical functions", `cumulative_prod`.
    """
    return _running("cumulative_prod", Ops.MUL, x, axis, dtype, include_initial)


# Where a sum or product of integers doesn't fit its elements' type, by the standard's rule.
_WIDE = {
    dtypes.bool_: dtypes.int64,
    **dict.fromkeys(dtypes.SIGNED, dtypes.int64),
    **dict.fromkeys(dtypes.UNSIGNED, dtypes.uint64),
}


_KEPT = _NUMERIC - _WIDE.keys() | {dtypes.int64, dtypes.uint64}


def _widened(call: str, x: Array, dtype: DTypeLike | None) -> record.Node:
    node = array_node(call, x)
    if dtype is None and node.dtype in _KEPT:
        return node
    target = _WIDE.get(node.dtype, node.dtype) if dtype is None else record.data_type(call, dtype)
    if target not in _NUMERIC:
        raise dtype_error(call, "numeric", target)
    return converted(call, node, target)


def total(call: str, op: Op, x: Array, axis: Axes, dtype: DTypeLike | None, keepdims: bool) -> Array:
    """`op` over axes in the type that the standard says, or in `dtype`; errors name the call."""
    node = _widened(call, x, dtype)
    axes = record.several_axes(call, axis, len(node.shape))
    return from_node(record.reduce(node, op, axes, flag(call, "keepdims", keepdims)))


def _extreme(call: str, op: Op, op_of_truths: Op, x: Array, axis: Axes, keepdims: bool) -> Array:
    node = array_node(call, x)
    if node.dtype in dtypes.COMPLEX_FLOATING:
        raise dtype_error(call, "real numeric", node.dtype)
    axes = record.several_axes(call, axis, len(node.shape))
    record.check_not_empty(call, node, axes)
    chosen = op_of_truths if node.dtype == dtypes.bool_ else op
    return from_node(record.reduce(node, chosen, axes, flag(call, "keepdims", keepdims)))


def _mean(node: record.Node, axes: tuple[int, ...], keepdims: bool) -> record.Node:
    total = record.reduce(node, Ops.ADD, axes, keepdims)
    count = record.count_over(node, axes)
    if node.dtype not in dtypes.COMPLEX_FLOATING:
        return total / record.number("mean", count, node.dtype)
    # Each part for itself: a NaN or an infinity in one must not spoil the other.
    real, imaginary = (part / record.number("mean", count, part.dtype) for part in record.parts(total))
    return record.apply(Ops.COMPLEX, real, imaginary)


def _variance(call: str, x: Array, axis: Axes, correction: Any, keepdims: bool) -> record.Node:
    node = array_node(call, x)
    if node.dtype in dtypes.COMPLEX_FLOATING:
        raise dtype_error(call, "real numeric", node.dtype)
    less = real(call, "correction", correction)
    node = record.as_floating(node)
    axes = record.several_axes(call, axis, len(node.shape))
    divisor = record.count_over(node, axes) - less
    deviation = node - _mean(node, axes, keepdims=True)
    squares = record.reduce(deviation * deviation, Ops.ADD, axes, flag(call, "keepdims", keepdims))
    return squares / record.number(call, divisor if divisor > 0 else math.nan, node.dtype)


def _running(call: str, op: Op, x: Array, axis: Any, dtype: DTypeLike | None, include_initial: bool) -> Array:
    node = _widened(call, x, dtype)
    ndim = len(node.shape)
    if axis is None:
        if ndim != 1:
            raise ValueError(f"{call}: an array of shape {node.shape} needs an axis")
        axis = 0
    along = record.one_axis(call, axis, ndim)
    result = record.scan(node, op, along)
    if flag(call, "include_initial", include_initial):
        shape = (*node.shape[:along], 1, *node.shape[along + 1 :])
        first = record.filled(shape, record.constant(0 if op is Ops.ADD else 1, node.dtype))
        initial = on_device(first, place_of(node))
        result = record.concat([initial, result], along)
    return from_node(result)
