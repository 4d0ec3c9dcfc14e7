"""Arrays joined, split and repeated (from the standard's "Manipulation functions").

Re-exported by toonygrad beside manipulation.py. Splitting, tiling and repeating by one number are movement
alone; joining is one operation; repeating by an array computes the numbers, because they decide the shape.
"""

from __future__ import annotations

from typing import Any

from toonygrad import dtypes, record
from toonygrad.array import Array, array_node, from_node, realized, shared
from toonygrad.array_api.arguments import sequence
from toonygrad.errors import dtype_error
from toonygrad.indexing import repeated_positions
from toonygrad.uop.ops import Ops

__all__ = ["concat", "repeat", "stack", "tile", "unstack"]


def concat(arrays: tuple[Array, ...] | list[Array], /, *, axis: int | None = 0) -> Array:
    """Arrays one behind the other along an axis.

    Parameters
    ----------
    arrays : tuple or list of Array
        At least one; of the same shape but for `axis`.
    axis : int, optional
        None: the arrays are flattened first.

    Returns
    -------
    Array
        Of the common data type.

    Raises
    ------
    TypeError
        An element is no Array, or there is no common data type.
    ValueError
        There are no arrays, they are 0-d, or shapes don't fit.
    IndexError
        `axis` is out of bounds.

    Notes
    -----
    The standard's "Manipulation functions", `concat`.
    """
    nodes = _several("concat", arrays)
    if axis is None:
        nodes = [record.flat(node) for node in nodes]
        axis = 0
    if not all(node.shape for node in nodes):
        raise ValueError(
            "concat: 0-d arrays can't be joined; stack makes an axis for them, axis=None flattens them"
        )
    return from_node(record.join("concat", nodes, record.one_axis("concat", axis, len(nodes[0].shape))))


def stack(arrays: tuple[Array, ...] | list[Array], /, *, axis: int = 0) -> Array:
    """Arrays side by side along a new axis.

    Parameters
    ----------
    arrays : tuple or list of Array
        At least one, all of one shape.
    axis : int
        Where the new axis stands in the result.

    Returns
    -------
    Array
        Of the common data type.

    Raises
    ------
    TypeError
        An element is no Array, or there is no common data type.
    ValueError
        There are no arrays, or shapes differ.
    IndexError
        `axis` is out of bounds.

    Notes
    -----
    The standard's "Manipulation functions", `stack`.
    """
    nodes = _several("stack", arrays)
    shape = nodes[0].shape
    for node in nodes:
        if node.shape != shape:
            raise ValueError(f"stack: shapes {shape} and {node.shape} differ")
    along = record.one_axis("stack", axis, len(shape) + 1)
    return from_node(
        record.join("stack", [record.insert_axes(node, [along], "stack") for node in nodes], along)
    )


def unstack(x: Array, /, *, axis: int = 0) -> tuple[Array, ...]:
    """The slices along an axis.

    Parameters
    ----------
    x : Array
        At least one dimension.
    axis : int

    Returns
    -------
    tuple of Array
        Each without the axis.

    Raises
    ------
    TypeError
        `x` is no Array, or `axis` no integer.
    IndexError
        `axis` is out of bounds.

    Notes
    -----
    The standard's "Manipulation functions", `unstack`.
    """
    node = array_node("unstack", x)
    along = record.one_axis("unstack", axis, len(node.shape))
    shape = (*node.shape[:along], *node.shape[along + 1 :])
    whole = [(0, 1, size) for size in node.shape]
    drop = (record.reshape, shape)
    return tuple(
        shared(x, ((record.slice_axes, (*whole[:along], (k, 1, 1), *whole[along + 1 :])), drop), shape)
        for k in range(node.shape[along])
    )


def repeat(x: Array, repeats: int | Array, /, *, axis: int | None = None) -> Array:
    """Each element (or slice along an axis) a number of times in a row.

    Parameters
    ----------
    x : Array
    repeats : int or Array
        How often: one number for all, or for each its own, which has to be computed for the shape of the
        result.
    axis : int, optional
        None: `x` is flattened first.

    Returns
    -------
    Array

    Raises
    ------
    TypeError
        `x` is no Array, or `repeats` isn't of an integer type.
    ValueError
        A number is negative, or `repeats` fits neither one element nor the axis.
    IndexError
        `axis` is out of bounds.

    Notes
    -----
    The standard's "Manipulation functions", `repeat`.
    """
    call = "repeat"
    node = array_node(call, x)
    if axis is None:
        node, axis = record.flat(node), 0
    along = record.one_axis(call, axis, len(node.shape))
    if isinstance(repeats, Array):
        return from_node(_repeat_each(node, repeats, along))
    count = record.integer(call, "repeats", repeats)
    if count < 0:
        raise ValueError(f"{call}: can't repeat {count} times")
    shape = node.shape
    spread = record.expand(
        record.insert_axes(node, [along + 1]), (*shape[: along + 1], count, *shape[along + 1 :])
    )
    return from_node(record.reshape(spread, (*shape[:along], shape[along] * count, *shape[along + 1 :])))


def tile(x: Array, repetitions: tuple[int, ...], /) -> Array:
    """An array side by side with itself along its axes.

    Parameters
    ----------
    x : Array
    repetitions : tuple of int
        How often along each axis, the last for the last; missing ones are 1, and `x` gets axes of size one
        for more.

    Returns
    -------
    Array

    Raises
    ------
    TypeError
        `x` is no Array, or a number no integer.
    ValueError
        A number is negative.

    Notes
    -----
    The standard's "Manipulation functions", `tile`.
    """
    node = array_node("tile", x)
    counts = record.shape_of("tile", repetitions)
    ndim = max(len(counts), len(node.shape))
    counts = (1,) * (ndim - len(counts)) + counts
    shape = (1,) * (ndim - len(node.shape)) + node.shape
    single = tuple(size for extent in shape for size in (1, extent))
    spread = tuple(size for count, extent in zip(counts, shape) for size in (count, extent))
    tiled = tuple(count * extent for count, extent in zip(counts, shape))
    return from_node(record.reshape(record.expand(record.reshape(node, single), spread), tiled))


def _several(call: str, arrays: Any) -> list[record.Node]:
    nodes = [array_node(call, array) for array in sequence(call, "arrays", arrays)]
    if not nodes:
        raise ValueError(f"{call}: takes at least one Array")
    return nodes


def _repeat_each(node: record.Node, repeats: Array, axis: int) -> record.Node:
    call = "repeat"
    size = node.shape[axis]
    if repeats.dtype not in dtypes.INTEGERS:
        raise dtype_error(call, "integral", repeats.dtype)
    if repeats.shape not in ((), (1,), (size,)):
        raise ValueError(f"{call}: repeats of shape {repeats.shape} don't fit an axis of size {size}")
    counts = record.cast(record.expand(array_node(call, repeats), (size,)), dtypes.INDEX)
    least = realized(from_node(record.reduce(counts, Ops.MINIMUM, (0,)))).array if size else 0
    if least < 0:
        raise ValueError(f"{call}: can't repeat {least} times")
    return record.gather(node, [repeated_positions(counts)], (axis,), axis, call)
