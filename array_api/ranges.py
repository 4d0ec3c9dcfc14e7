"""Arrays given by their elements' positions (from the standard's "Creation functions").

Re-exported by toonygrad beside creation.py. All of them are recorded over the positions themselves and take
no memory until they are asked for; starts, steps and diagonals are arguments of the kernels they end up in.
"""

from __future__ import annotations

import math
from typing import Any, Literal

from toonygrad import dtypes, record
from toonygrad.array import Array, array_node, from_node
from toonygrad.array_api.arguments import MOST_ELEMENTS, flag, real, size
from toonygrad.dtypes import DTypeLike
from toonygrad.placement import chosen, on_device
from toonygrad.uop.ops import Ops

__all__ = ["arange", "eye", "linspace", "meshgrid", "tril", "triu"]


def arange(
    start: int | float,
    /,
    stop: int | float | None = None,
    step: int | float = 1,
    *,
    dtype: DTypeLike | None = None,
    device: str | None = None,
) -> Array:
    """Evenly spaced numbers from `start` up to, not including, `stop`.

    Parameters
    ----------
    start : int or float
        The first element; where `stop` isn't given, the end, and the range begins at 0.
    stop : int or float, optional
    step : int or float
        The distance between neighbours, not 0.
    dtype : optional
        None: int64 if all three are integers, else float64.
    device : str, optional
        "cpu", "cuda" or "cuda:0" and so on. None: as `config` says.

    Returns
    -------
    Array
        One-dimensional, of ceil((stop - start) / step) elements, none if that is negative.

    Raises
    ------
    TypeError
        An argument is no real number, or the data type is boolean or none of the standard's.
    ValueError
        `step` is 0, the length isn't finite, or there is no such device.
    OverflowError
        An element doesn't fit the integer data type.

    Notes
    -----
    The standard's "Creation functions", `arange`.
    """
    call = "arange"
    place = chosen(call, device)
    first, end = (0, start) if stop is None else (start, stop)
    first, end, by = (_real(call, number) for number in (first, end, step))
    whole = all(isinstance(number, int) for number in (first, end, by))
    if dtype is None:
        target = dtypes.DEFAULT_INTEGER if whole else dtypes.DEFAULT_FLOAT
    else:
        target = record.data_type(call, dtype)
    if target == dtypes.bool_:
        raise TypeError(f"{call}: numeric data types are allowed, not {target}")
    if by == 0:
        raise ValueError(f"{call}: the step can't be 0")
    count = _length(first, end, by)
    if count is None or count > MOST_ELEMENTS:
        raise ValueError(f"{call}: from {first} to {end} by {by} has no finite length up to {MOST_ELEMENTS}")
    if count:
        for edge in (first, first + (count - 1) * by):
            record.number(call, edge, target)  # refuses what doesn't fit
    return from_node(on_device(record.arange(first, by, count, target), place))


def linspace(
    start: int | float | complex,
    stop: int | float | complex,
    /,
    num: int,
    *,
    dtype: DTypeLike | None = None,
    device: str | None = None,
    endpoint: bool = True,
) -> Array:
    """A number of evenly spaced values from `start` to `stop`.

    Parameters
    ----------
    start, stop : int, float or complex
        The ends of the interval. The first element is `start` exactly and, with `endpoint`, the last one
        `stop`.
    num : int
        How many, at least 0.
    dtype : optional
        None: complex128 if an end is complex, else float64. Values of integer types are rounded down.
    device : str, optional
        "cpu", "cuda" or "cuda:0" and so on. None: as `config` says.
    endpoint : bool
        If False, the interval is divided into `num` steps and `stop` isn't included.

    Returns
    -------
    Array
        One-dimensional, of `num` elements.

    Raises
    ------
    TypeError
        An argument is no number, or the data type is boolean, none of the standard's, or real where an end is
        complex.
    ValueError
        `num` is negative, or there is no such device.

    Notes
    -----
    The standard's "Creation functions", `linspace`.
    """
    call = "linspace"
    place = chosen(call, device)
    first, last = _end(call, "start", start), _end(call, "stop", stop)
    is_complex = isinstance(first, complex) or isinstance(last, complex)
    if dtype is None:
        target = dtypes.DEFAULT_COMPLEX if is_complex else dtypes.DEFAULT_FLOAT
    else:
        target = record.data_type(call, dtype)
    if target == dtypes.bool_:
        raise TypeError(f"{call}: numeric data types are allowed, not {target}")
    if is_complex and target not in dtypes.COMPLEX_FLOATING:
        raise TypeError(f"{call}: complex numbers can't be {target}")
    count, closed = size(call, "num", num), flag(call, "endpoint", endpoint)
    real_part = record.linspace(first.real, last.real, count, closed)
    if is_complex:
        imaginary = record.linspace(first.imag, last.imag, count, closed)
        result = record.apply(Ops.COMPLEX, real_part, imaginary)
    else:
        result = record.apply(Ops.FLOOR, real_part) if target in dtypes.INTEGERS else real_part
    return from_node(on_device(record.cast(result, target), place))


def meshgrid(*arrays: Array, indexing: Literal["xy", "ij"] = "xy") -> tuple[Array, ...]:
    """Coordinates of a grid's points from the coordinates along each axis.

    Parameters
    ----------
    *arrays : Array
        One-dimensional (or 0-d), of any data types.
    indexing : {"xy", "ij"}
        "ij": array k varies along axis k. "xy": the first two axes are exchanged.

    Returns
    -------
    tuple of Array
        One for each argument, all of the shape of the grid.

    Raises
    ------
    TypeError
        An argument is no Array.
    ValueError
        An array has more than one dimension, there are more arrays than dimensions can be, or `indexing` is
        another.

    Notes
    -----
    The standard's "Creation functions", `meshgrid`.
    """
    call = "meshgrid"
    nodes = [array_node(call, array) for array in arrays]
    if indexing not in ("xy", "ij"):
        raise ValueError(f"{call}: indexing is 'xy' or 'ij', not {indexing!r}")
    if any(len(node.shape) > 1 for node in nodes):
        raise ValueError(f"{call}: takes one-dimensional arrays, not shapes {[node.shape for node in nodes]}")
    record.check_dimensions(call, len(nodes))
    axes = list(range(len(nodes)))
    if indexing == "xy" and len(nodes) > 1:
        axes[:2] = 1, 0
    spread = [
        record.reshape(
            node, tuple(node.shape[0] if node.shape and k == axis else 1 for k in range(len(nodes)))
        )
        for node, axis in zip(nodes, axes)
    ]
    shape = record.check_broadcast(call, *spread)
    return tuple(from_node(record.expand(node, shape)) for node in spread)


def eye(
    n_rows: int,
    n_cols: int | None = None,
    /,
    *,
    k: int = 0,
    dtype: DTypeLike | None = None,
    device: str | None = None,
) -> Array:
    """A matrix of zeros with ones along a diagonal.

    Parameters
    ----------
    n_rows : int
    n_cols : int, optional
        None: as many as rows.
    k : int
        Which diagonal: 0 the main one, positive ones above it, negative ones below.
    dtype : optional
        None: float64.
    device : str, optional
        "cpu", "cuda" or "cuda:0" and so on. None: as `config` says.

    Returns
    -------
    Array
        Of shape (n_rows, n_cols).

    Raises
    ------
    TypeError
        A size or `k` isn't an integer, or the data type is none of the standard's.
    ValueError
        A size is negative, or there is no such device.

    Notes
    -----
    The standard's "Creation functions", `eye`.
    """
    call = "eye"
    place = chosen(call, device)
    target = dtypes.DEFAULT_FLOAT if dtype is None else record.data_type(call, dtype)
    rows = size(call, "n_rows", n_rows)
    shape = (rows, rows if n_cols is None else size(call, "n_cols", n_cols))
    columns, diagonal = _columns_and_diagonal(call, shape, k)
    return from_node(on_device(record.cast(columns.eq(diagonal), target), place))


def tril(x: Array, /, *, k: int = 0) -> Array:
    """The lower triangles of a stack of matrices, zeros above.

    Parameters
    ----------
    x : Array
        Of shape (..., M, N), any data type.
    k : int
        The last diagonal that is kept: 0 the main one, positive ones above it, negative ones below.

    Returns
    -------
    Array
        Of the shape and data type of `x`.

    Raises
    ------
    TypeError
        `x` is no Array, or `k` no integer.
    ValueError
        `x` has fewer than two dimensions.

    Notes
    -----
    The standard's "Creation functions", `tril`.
    """
    node = _matrices("tril", x)
    columns, diagonal = _columns_and_diagonal("tril", node.shape[-2:], k)
    return from_node((columns <= diagonal).where(node, 0))


def triu(x: Array, /, *, k: int = 0) -> Array:
    """The upper triangles of a stack of matrices, zeros below.

    Parameters
    ----------
    x : Array
        Of shape (..., M, N), any data type.
    k : int
        The first diagonal that is kept: 0 the main one, positive ones above it, negative ones below.

    Returns
    -------
    Array
        Of the shape and data type of `x`.

    Raises
    ------
    TypeError
        `x` is no Array, or `k` no integer.
    ValueError
        `x` has fewer than two dimensions.

    Notes
    -----
    The standard's "Creation functions", `triu`.
    """
    node = _matrices("triu", x)
    columns, diagonal = _columns_and_diagonal("triu", node.shape[-2:], k)
    return from_node((columns >= diagonal).where(node, 0))


def _matrices(call: str, x: Array) -> record.Node:
    node = array_node(call, x)
    if len(node.shape) < 2:
        raise ValueError(f"{call}: needs at least two dimensions, not the shape {node.shape}")
    return node


def _columns_and_diagonal(call: str, shape: tuple[int, ...], k: Any) -> tuple[record.Node, record.Node]:
    """For a matrix, each element's column, and the column in which diagonal `k` crosses its row."""
    # As far outside as needed is as good as farther, and never overflows.
    offset = max(-shape[0], min(shape[1], record.integer(call, "k", k)))
    diagonal = record.iota(shape, 0) + record.number(call, offset, dtypes.INDEX)
    return record.iota(shape, 1), diagonal


def _length(first: int | float, end: int | float, by: int | float) -> int | None:
    """How many steps there are from `first` up to, not including, `end`; None where they don't end."""
    if isinstance(first, int) and isinstance(end, int) and isinstance(by, int):
        return max(-((first - end) // by), 0)
    try:
        return max(math.ceil((end - first) / by), 0)
    except (OverflowError, ValueError):  # integers past the floats, infinity, NaN
        return None


def _end(call: str, name: str, value: Any) -> float | complex:
    number = record.python_number(call, value)
    return number if isinstance(number, complex) else real(call, name, number)


def _real(call: str, value: Any) -> Any:
    number = record.python_number(call, value)
    if isinstance(number, complex):
        raise TypeError(f"{call}: takes real numbers, not {number}")
    return int(number) if isinstance(number, bool) else number
