"""Elements picked by arrays of positions (the standard's chapter "Indexing functions").

Re-exported by toonygrad. Both functions record one gather; an index out of bounds is found when the elements
are computed.
"""

from __future__ import annotations

from collections.abc import Sequence

from toonygrad import dtypes, record
from toonygrad.array import Array, array_node, from_node
from toonygrad.errors import dtype_error

__all__ = ["take", "take_along_axis"]


def take(x: Array, indices: Array, /, *, axis: int | None = None) -> Array:
    """Slices of an array at the given positions along an axis.

    Parameters
    ----------
    x : Array
        At least one dimension, any data type.
    indices : Array
        Positions, of an integer type; negative ones count from the end. One-dimensional in the standard; the
        axes of any other number stand in the result where `axis` was.
    axis : int, optional
        May be left out where `x` has one dimension.

    Returns
    -------
    Array
        The shape of `x` with the shape of `indices` in place of `axis`.

    Raises
    ------
    IndexError
        `axis` or a position is out of bounds; positions are looked at when the elements are computed.
    TypeError
        `indices` isn't an integer array.
    ValueError
        `axis` is missing and `x` hasn't one dimension.

    Notes
    -----
    The standard's "Indexing functions", `take`.
    """
    node, index = array_node("take", x), _positions("take", indices)
    if axis is None:
        if len(node.shape) != 1:
            raise ValueError(f"take: an array of shape {node.shape} needs an axis")
        axis = 0
    along = record.one_axis("take", axis, len(node.shape))
    return from_node(record.gather(node, [index], (along,), along, "take"))


def take_along_axis(x: Array, indices: Array, /, *, axis: int = -1) -> Array:
    """For each position of `indices` the element of `x` at that place along an axis, the other axes in step.

    Parameters
    ----------
    x : Array
        At least one dimension, any data type.
    indices : Array
        Positions along `axis`, of an integer type and with as many dimensions as `x`, which broadcast but for
        `axis`. Negative ones count from the end.
    axis : int

    Returns
    -------
    Array
        The broadcast shape of the two, with the size of `indices` along `axis`.

    Raises
    ------
    IndexError
        `axis` or a position is out of bounds; positions are looked at when the elements are computed.
    TypeError
        `indices` isn't an integer array.
    ValueError
        The numbers of dimensions differ, or the shapes don't broadcast.

    Notes
    -----
    The standard's "Indexing functions", `take_along_axis`.
    """
    call = "take_along_axis"
    node, index = array_node(call, x), _positions(call, indices)
    ndim = len(node.shape)
    along = record.one_axis(call, axis, ndim)
    if len(index.shape) != ndim:
        raise ValueError(f"{call}: {node.shape} and {index.shape} have different numbers of dimensions")
    shape = list(record.common_shape(call, *(_with(one.shape, along, 1) for one in (node, index))))
    whole = record.expand(node, _with(shape, along, node.shape[along]))
    shape[along] = index.shape[along]
    # Positions along `axis` from the indices, along each other axis the element's own.
    picks = [record.iota(_with([1] * ndim, each, size), each) for each, size in enumerate(shape)]
    picks[along] = index
    return from_node(record.gather(whole, picks, tuple(range(ndim)), 0, call))


def _positions(call: str, indices: Array) -> record.Node:
    node = array_node(call, indices)
    if node.dtype not in dtypes.INTEGERS:
        raise dtype_error(call, "integral", node.dtype)
    return node


def _with(shape: Sequence[int], axis: int, size: int) -> tuple[int, ...]:
    return (*shape[:axis], size, *shape[axis + 1 :])
