"""Other shapes and orders of the same elements (from the standard's "Manipulation functions").

Re-exported by toonygrad beside joining.py. All but `roll` are movement alone: index functions inside the
kernels that read them, never copies.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

from toonygrad import record
from toonygrad.array import Array, array_node, from_node, permuted, reshaped, shared, sliced
from toonygrad.array_api.arguments import copying, sequence
from toonygrad.errors import shapes_error

__all__ = [
    "broadcast_arrays",
    "broadcast_shapes",
    "broadcast_to",
    "expand_dims",
    "flip",
    "moveaxis",
    "permute_dims",
    "reshape",
    "roll",
    "squeeze",
]

Axes = int | Sequence[int]


def broadcast_arrays(*arrays: Array) -> tuple[Array, ...]:
    """Arrays expanded to their common shape.

    Parameters
    ----------
    *arrays : Array

    Returns
    -------
    tuple of Array
        Of the broadcast shape, each of its own data type.

    Raises
    ------
    TypeError
        An argument is no Array.
    ValueError
        The shapes don't broadcast.

    Notes
    -----
    The standard's "Manipulation functions", `broadcast_arrays`.
    """
    nodes = [array_node("broadcast_arrays", array) for array in arrays]
    shape = record.check_broadcast("broadcast_arrays", *nodes)
    return tuple(from_node(record.expand(node, shape)) for node in nodes)


def broadcast_shapes(*shapes: tuple[int, ...]) -> tuple[int, ...]:
    """The common shape to which shapes broadcast; () of none.

    Parameters
    ----------
    *shapes : tuple of int

    Raises
    ------
    TypeError
        A shape holds something other than integers.
    ValueError
        The shapes don't broadcast.

    Notes
    -----
    The standard's "Manipulation functions", `broadcast_shapes`.
    """
    call = "broadcast_shapes"
    return record.common_shape(call, *(record.shape_of(call, shape) for shape in shapes))


def broadcast_to(x: Array, /, shape: tuple[int, ...]) -> Array:
    """An array expanded to a shape.

    Parameters
    ----------
    x : Array
    shape : tuple of int

    Returns
    -------
    Array
        Of that shape.

    Raises
    ------
    TypeError
        `x` is no Array, or `shape` holds something other than integers.
    ValueError
        `x` doesn't broadcast to `shape`.

    Notes
    -----
    The standard's "Manipulation functions", `broadcast_to`.
    """
    call = "broadcast_to"
    node, wanted = array_node(call, x), record.shape_of(call, shape)
    if record.common_shape(call, node.shape, wanted) != wanted:
        raise shapes_error(call, (node.shape, wanted))
    return from_node(record.expand(node, wanted))


def expand_dims(x: Array, /, axis: Axes) -> Array:
    """Axes of size one inserted.

    Parameters
    ----------
    x : Array
    axis : int or sequence of int
        Where they stand in the result.

    Returns
    -------
    Array

    Raises
    ------
    TypeError
        `x` is no Array, or an axis no integer.
    IndexError, ValueError
        An axis is out of bounds for the result, or named twice.

    Notes
    -----
    The standard's "Manipulation functions", `expand_dims`.
    """
    node = array_node("expand_dims", x)
    axes = _each(axis)
    shape = list(node.shape)
    for place in record.several_axes("expand_dims", axes, len(node.shape) + len(axes)):
        shape.insert(place, 1)
    record.check_dimensions("expand_dims", len(shape))
    return shared(x, ((record.reshape, tuple(shape)),), tuple(shape))


def flip(x: Array, /, *, axis: Axes | None = None) -> Array:
    """Elements in reverse order along axes.

    Parameters
    ----------
    x : Array
    axis : int or sequence of int, optional
        None: all.

    Returns
    -------
    Array
        Of the shape of `x`.

    Raises
    ------
    TypeError
        `x` is no Array, or an axis no integer.
    IndexError, ValueError
        An axis is out of bounds, or named twice.

    Notes
    -----
    The standard's "Manipulation functions", `flip`.
    """
    node = array_node("flip", x)
    axes = record.several_axes("flip", axis, len(node.shape))
    parts = [
        (size - 1, -1, size) if k in axes and size else (0, 1, size) for k, size in enumerate(node.shape)
    ]
    return sliced(x, parts)


def moveaxis(x: Array, source: Axes, destination: Axes, /) -> Array:
    """Axes put in other places, the rest in order.

    Parameters
    ----------
    x : Array
    source, destination : int or sequence of int
        Which axes, and where each goes.

    Returns
    -------
    Array

    Raises
    ------
    TypeError
        `x` is no Array, or an axis no integer.
    IndexError
        An axis is out of bounds.
    ValueError
        An axis is named twice, or the numbers of axes differ.

    Notes
    -----
    The standard's "Manipulation functions", `moveaxis`.
    """
    call = "moveaxis"
    node = array_node(call, x)
    ndim = len(node.shape)
    moved, places = (
        [record.one_axis(call, axis, ndim) for axis in _each(side)] for side in (source, destination)
    )
    if len(moved) != len(places):
        raise ValueError(f"{call}: {len(moved)} axes for {len(places)} places")
    if len(set(moved)) != len(moved) or len(set(places)) != len(places):
        raise ValueError(f"{call}: an axis is named twice in {source} or {destination}")
    order = [axis for axis in range(ndim) if axis not in moved]
    for place, axis in sorted(zip(places, moved)):
        order.insert(place, axis)
    return permuted(x, order)


def permute_dims(x: Array, /, axes: tuple[int, ...]) -> Array:
    """Axes in another order.

    Parameters
    ----------
    x : Array
    axes : tuple of int
        Axis k of the result is axis axes[k] of `x`.

    Returns
    -------
    Array

    Raises
    ------
    TypeError
        `x` is no Array, or an axis no integer.
    IndexError
        An axis is out of bounds.
    ValueError
        `axes` isn't a permutation of all axes.

    Notes
    -----
    The standard's "Manipulation functions", `permute_dims`.
    """
    call = "permute_dims"
    node = array_node(call, x)
    order = [record.one_axis(call, axis, len(node.shape)) for axis in sequence(call, "axes", axes)]
    if sorted(order) != list(range(len(node.shape))):
        raise ValueError(f"{call}: {axes} doesn't name each of {len(node.shape)} axes once")
    return permuted(x, order)


def reshape(x: Array, /, shape: tuple[int, ...], *, copy: bool | None = None) -> Array:
    """The same elements in row-major order under another shape.

    Parameters
    ----------
    x : Array
    shape : tuple of int
        Of the same number of elements; one size may be -1 and follows from the others.
    copy : bool, optional
        Whether the result has elements of its own, so that writes into one aren't seen in the other. None:
        only where strides can't express the shape.

    Returns
    -------
    Array

    Raises
    ------
    TypeError
        `x` is no Array, or `shape` holds something other than integers.
    ValueError
        The sizes don't give the number of elements, or `copy` is False where strides can't express the shape.

    Notes
    -----
    The standard's "Manipulation functions", `reshape`.
    """
    node = array_node("reshape", x)
    sizes, copy = _completed(node.shape, shape), copying("reshape", copy)
    view = None if copy else reshaped(x, sizes)
    if view is not None:
        return view
    if copy is False:
        raise ValueError(f"reshape: {node.shape} can't be seen as {sizes} without a copy")
    return from_node(record.reshape(node, sizes))


def roll(x: Array, /, shift: Axes, *, axis: Axes | None = None) -> Array:
    """Elements moved along axes, what leaves at one end entering at the other.

    Parameters
    ----------
    x : Array
    shift : int or sequence of int
        By how many places towards larger indices; one for all axes, or one for each.
    axis : int or sequence of int, optional
        None: `x` is taken in row-major order as if flat.

    Returns
    -------
    Array
        Of the shape of `x`.

    Raises
    ------
    TypeError
        `x` is no Array, or a shift or an axis no integer.
    ValueError
        The numbers of shifts and axes differ.
    IndexError
        An axis is out of bounds.

    Notes
    -----
    The standard's "Manipulation functions", `roll`.
    """
    call = "roll"
    node = array_node(call, x)
    shifts = [record.integer(call, "shift", one) for one in _each(shift)]
    if axis is None:
        if len(shifts) != 1:
            raise ValueError(f"{call}: {len(shifts)} shifts need as many axes")
        return from_node(record.reshape(_rolled(record.flat(node), shifts[0], 0), node.shape))
    # An axis may be named twice: shifts add up.
    axes = [record.one_axis(call, one, len(node.shape)) for one in _each(axis)]
    if len(shifts) == 1:
        shifts = shifts * len(axes)
    if len(shifts) != len(axes):
        raise ValueError(f"{call}: {len(shifts)} shifts for {len(axes)} axes")
    for by, along in zip(shifts, axes):
        node = _rolled(node, by, along)
    return from_node(node)


def squeeze(x: Array, /, axis: Axes) -> Array:
    """Axes of size one removed.

    Parameters
    ----------
    x : Array
    axis : int or sequence of int

    Returns
    -------
    Array

    Raises
    ------
    TypeError
        `x` is no Array, or an axis no integer.
    ValueError
        An axis has another size, or is named twice.
    IndexError
        An axis is out of bounds.

    Notes
    -----
    The standard's "Manipulation functions", `squeeze`.
    """
    node = array_node("squeeze", x)
    axes = record.several_axes("squeeze", _each(axis), len(node.shape))
    for each in axes:
        if node.shape[each] != 1:
            raise ValueError(f"squeeze: axis {each} of the shape {node.shape} isn't of size one")
    shape = tuple(size for k, size in enumerate(node.shape) if k not in axes)
    return shared(x, ((record.reshape, shape),), shape)


def _each(value: Any) -> Sequence[Any]:
    """Several numbers, or the only one."""
    return value if isinstance(value, (tuple, list)) else (value,)


def _completed(old: tuple[int, ...], shape: Any) -> tuple[int, ...]:
    """`shape` with its -1 replaced by what the number of elements leaves."""
    call = "reshape"
    try:
        sizes = [operator.index(size) for size in _each(shape)]
    except TypeError:
        raise TypeError(f"{call}: a shape holds integers, not {shape!r}") from None
    count, known = math.prod(old), math.prod(size for size in sizes if size != -1)
    if sizes.count(-1) > 1 or any(size < -1 for size in sizes):
        raise ValueError(f"{call}: one size may be -1, no other negative, in {tuple(sizes)}")
    if -1 in sizes:
        if known == 0 or count % known:
            raise ValueError(f"{call}: {old} has no shape {tuple(sizes)}")
        sizes[sizes.index(-1)] = count // known
    elif known != count:
        raise ValueError(f"{call}: {old} has {count} elements, {tuple(sizes)} has {known}")
    return tuple(sizes)


def _rolled(node: record.Node, shift: int, axis: int) -> record.Node:
    size = node.shape[axis]
    by = shift % size if size else 0
    if not by:
        return node
    end = record.slice_axis(node, axis, size - by, 1, by)
    return record.concat([end, record.slice_axis(node, axis, 0, 1, size - by)], axis)
