"""Membership and distinct elements (the standard's chapter "Set functions").

Re-exported by toonygrad. `isin` records; the `unique_` functions compute, because their results' shapes
depend on values.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from toonygrad import dtypes, record
from toonygrad.array import Array, array_node, from_node, node_of, operand, realize, realized
from toonygrad.array_api.arguments import flag
from toonygrad.array_api.creation import zeros
from toonygrad.devices import DEVICE
from toonygrad.indexing import true_positions
from toonygrad.placement import beside, on_device, place_of
from toonygrad.uop.ops import Ops

__all__ = ["isin", "unique_all", "unique_counts", "unique_inverse", "unique_values"]


class UniqueAll(NamedTuple):
    """What `unique_all` answers."""

    values: Array
    indices: Array
    inverse_indices: Array
    counts: Array


class UniqueCounts(NamedTuple):
    """What `unique_counts` answers."""

    values: Array
    counts: Array


class UniqueInverse(NamedTuple):
    """What `unique_inverse` answers."""

    values: Array
    inverse_indices: Array


# Up to so many elements are compared one by one, fused with what surrounds them: 1,000,000 float64 among 64
# take 2.3 ms, by sorting and searching 4.2; among 128 it's 3.7 and 4.7, but where kernels aren't compiled
# every comparison is stored.
MOST_COMPARED = 64


def isin(x1: Array | int, x2: Array | int, /, *, invert: bool = False) -> Array:
    """Whether each element of one array equals some element of another.

    NaN equals nothing; zeros are equal whatever their signs.

    Parameters
    ----------
    x1, x2 : Array or Python scalar
        Of any shapes and of data types with a common one; at least one is an Array.
    invert : bool
        Whether to ask which elements equal none.

    Returns
    -------
    Array
        Boolean, of the shape of `x1`; 0-d where that is a scalar.

    Raises
    ------
    TypeError
        There is no common data type, or both are scalars.
    OverflowError
        A Python integer doesn't fit the type of the Array beside it.

    Notes
    -----
    The standard's "Set functions", `isin`.
    """
    call = "isin"
    wanted, among = record.promoted(call, operand(call, x1), operand(call, x2))
    if not among.shape:
        found = record.apply(Ops.EQ, wanted, among)
    elif not wanted.shape or math.prod(among.shape) <= MOST_COMPARED:
        column = record.insert_axes(wanted, [len(wanted.shape)]) if wanted.shape else wanted
        equal = record.apply(Ops.EQ, column, record.flat(among))
        found = record.reduce(equal, Ops.OR, (len(wanted.shape),))
    else:
        size = math.prod(among.shape)
        ordered = record.external("sort", (0, False, False), among.dtype, (size,), record.flat(among))
        place = record.external("searchsorted", ("left",), dtypes.INDEX, wanted.shape, ordered, wanted)
        inside = record.apply(Ops.MINIMUM, place, record.number(call, size - 1, dtypes.INDEX))
        found = wanted.eq(record.gather(ordered, [inside], (0,), 0, call))
    return from_node(record.apply(Ops.NOT, found) if flag(call, "invert", invert) else found)


def unique_all(x: Array, /) -> UniqueAll:
    """Distinct elements, where each first stands, where each element is among them, and how often.

    Computes `x`. NaNs differ from each other; signed zeros don't.

    Parameters
    ----------
    x : Array
        Any shape, any data type; counts as flat, in row-major order.

    Returns
    -------
    values : Array
        One-dimensional, of the data type of `x`, ascending.
    indices : Array
        int64, of the shape of `values`: positions in the flat `x`.
    inverse_indices : Array
        int64, of the shape of `x`: positions in `values`.
    counts : Array
        int64, of the shape of `values`.

    Raises
    ------
    TypeError
        `x` is no Array.

    Notes
    -----
    The standard's "Set functions", `unique_all`.
    """
    there = _starts_there("unique_all", x, True)
    if there is not None:
        sequence, place, starts = there
        chosen = record.gather(place, [starts], (0,), 0, "unique_all")
        found = record.gather(sequence, [starts], (0,), 0, "unique_all")
        both = _inverse_there(x, sequence, place), _counts_there(place, starts)
        return UniqueAll(from_node(chosen), from_node(found), *both)
    order, ordered = _order("unique_all", x)
    first = _first_of_equal(ordered)
    inverse = _inverse(x, order, first)
    return UniqueAll(_made(x, ordered[first]), _made(x, order[first]), inverse, _counts(x, first))


def unique_counts(x: Array, /) -> UniqueCounts:
    """Distinct elements, and how often each occurs. Computes `x`.

    NaNs differ from each other; signed zeros don't.

    Parameters
    ----------
    x : Array
        Any shape, any data type.

    Returns
    -------
    values : Array
        One-dimensional, of the data type of `x`, ascending.
    counts : Array
        int64, of the shape of `values`.

    Raises
    ------
    TypeError
        `x` is no Array.

    Notes
    -----
    The standard's "Set functions", `unique_counts`.
    """
    there = _starts_there("unique_counts", x, False)
    if there is not None:
        _, place, starts = there
        chosen = record.gather(place, [starts], (0,), 0, "unique_counts")
        return UniqueCounts(from_node(chosen), _counts_there(place, starts))
    ordered = _ordered("unique_counts", x)
    first = _first_of_equal(ordered)
    return UniqueCounts(_made(x, ordered[first]), _counts(x, first))


def unique_inverse(x: Array, /) -> UniqueInverse:
    """Distinct elements, and where each element is among them. Computes `x`.

    NaNs differ from each other; signed zeros don't.

    Parameters
    ----------
    x : Array
        Any shape, any data type.

    Returns
    -------
    values : Array
        One-dimensional, of the data type of `x`, ascending.
    inverse_indices : Array
        int64, of the shape of `x`: positions in `values`.

    Raises
    ------
    TypeError
        `x` is no Array.

    Notes
    -----
    The standard's "Set functions", `unique_inverse`.
    """
    there = _starts_there("unique_inverse", x, True)
    if there is not None:
        sequence, place, starts = there
        chosen = record.gather(place, [starts], (0,), 0, "unique_inverse")
        return UniqueInverse(from_node(chosen), _inverse_there(x, sequence, place))
    order, ordered = _order("unique_inverse", x)
    first = _first_of_equal(ordered)
    return UniqueInverse(_made(x, ordered[first]), _inverse(x, order, first))


def unique_values(x: Array, /) -> Array:
    """Distinct elements. Computes `x`.

    NaNs differ from each other; signed zeros don't.

    Parameters
    ----------
    x : Array
        Any shape, any data type.

    Returns
    -------
    Array
        One-dimensional, of the data type of `x`, ascending.

    Raises
    ------
    TypeError
        `x` is no Array.

    Notes
    -----
    The standard's "Set functions", `unique_values`.
    """
    there = _starts_there("unique_values", x, False)
    if there is not None:
        _, place, starts = there
        return from_node(record.gather(place, [starts], (0,), 0, "unique_values"))
    ordered = _ordered("unique_values", x)
    return _made(x, ordered[_first_of_equal(ordered)])


def _ordered(call: str, x: Array) -> np.ndarray:
    """All elements in order, equal ones as they stand."""
    node = record.flat(array_node(call, x))
    if node.dtype in dtypes.COMPLEX_FLOATING:
        return np.sort(_elements(node), kind="stable")
    return _elements(record.external("sort", (0, False, True), node.dtype, node.shape, node))


def _made(x: Array, found: np.ndarray) -> Array:
    """What was found on the CPU as an array where `x` is."""
    return from_node(beside(found, node_of(x)))


def _order(call: str, x: Array) -> tuple[np.ndarray, np.ndarray]:
    """Positions in the order of the elements, and the elements in it; equal ones as they stand."""
    node = record.flat(array_node(call, x))
    if node.dtype in dtypes.COMPLEX_FLOATING:
        order = from_node(beside(np.argsort(_elements(node), kind="stable"), node))
    else:
        order = from_node(record.external("argsort", (0, False, True), dtypes.INDEX, node.shape, node))
    positions = realized(order).array
    return positions, _elements(record.gather(node, [array_node(call, order)], (0,), 0, call))


def _elements(node: record.Node) -> np.ndarray:
    return realized(from_node(node)).array


def _first_of_equal(ordered: np.ndarray) -> np.ndarray:
    """Which elements differ from the one before."""
    differs = np.ones(ordered.shape, bool)
    np.not_equal(ordered[1:], ordered[:-1], out=differs[1:])
    return differs


def _counts(x: Array, first: np.ndarray) -> Array:
    """How many elements equal each of the distinct ones."""
    return _made(x, np.diff(np.flatnonzero(first), append=first.size))


def _inverse(x: Array, order: np.ndarray, first: np.ndarray) -> Array:
    """For each element which of the distinct ones it is."""
    number = np.cumsum(first)
    number -= 1
    inverse = np.empty_like(order)
    inverse[order] = number
    return _made(x, inverse.reshape(x.shape))


# -- on a GPU ------------------------------------------------------------------------------------------------


def _starts_there(
    call: str, x: Array, with_order: bool
) -> tuple[record.Node, record.Node, record.Node] | None:
    """Positions in the order of the elements (where asked for), the elements in it, and the first of each.

    None where there is nothing to look at on a GPU.
    """
    node = order = record.flat(array_node(call, x))
    if place_of(node) == DEVICE or not node.shape[0]:
        return None
    if node.dtype in dtypes.COMPLEX_FLOATING:
        order = beside(np.argsort(_elements(node), kind="stable"), node)
    elif with_order:
        order = record.external("argsort", (0, False, True), dtypes.INDEX, node.shape, node)
    if order is node:
        ordered = record.external("sort", (0, False, True), node.dtype, node.shape, node)
    else:
        ordered = record.gather(node, [order], (0,), 0, call)
    # Several results stand on it.
    realize(from_node(order), from_node(ordered))
    (starts,) = true_positions(_first_there(ordered))
    return order, ordered, starts


def _first_there(ordered: record.Node) -> record.Node:
    """Which elements differ from the one before."""
    (size,) = ordered.shape
    before = record.slice_axis(ordered, 0, 0, 1, size - 1)
    differs = record.apply(Ops.NE, record.slice_axis(ordered, 0, 1, 1, size - 1), before)
    first = record.filled((1,), record.number("unique", True, dtypes.bool_))
    return on_device(record.concat([first, differs], 0), place_of(ordered))


def _counts_there(ordered: record.Node, starts: record.Node) -> Array:
    """How many elements equal each of the distinct ones."""
    end = record.filled((1,), record.number("unique", ordered.shape[0], dtypes.INDEX))
    ends = record.concat([record.slice_axis(starts, 0, 1, 1, starts.shape[0] - 1), end], 0)
    return from_node(on_device(ends, place_of(starts)) - starts)


def _inverse_there(x: Array, order: record.Node, ordered: record.Node) -> Array:
    """For each element which of the distinct ones it is."""
    number = record.scan(record.cast(_first_there(ordered), dtypes.INDEX), Ops.ADD, 0)
    inverse = from_node(number - record.number("unique", 1, dtypes.INDEX))
    result = zeros(x.size, dtype=dtypes.INDEX, device=x.device)
    result[from_node(order)] = inverse
    return from_node(record.reshape(node_of(result), x.shape))
