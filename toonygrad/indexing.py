"""Reading by a key: integers, slices, None, Ellipsis, integer arrays and masks, as NumPy combines them.

A key is split into a basic part, which is movement alone, and an advanced part, which is one GATHER. A mask's
shape depends on its values, so a mask is computed when the key is read; the caller hands in how.
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from toonygrad import dtypes, record
from toonygrad.uop.node import UOp
from toonygrad.uop.shape import Shape

CALL = "__getitem__"

# A key's item once understood: a new axis, an integer, a slice, or an integer or boolean array.
Item = None | int | slice | UOp


def read(
    node: UOp, key: Any, as_node: Callable[[Any], UOp | None], positions_of: Callable[[UOp], list[UOp]]
) -> UOp:
    """`node[key]`.

    Parameters
    ----------
    node : the array read
    key : as the user wrote it
    as_node : the UOp of an array in the key, or None for anything else
    positions_of : for a mask, the positions of its true elements, one int64 UOp for each of its axes

    Raises
    ------
    IndexError
        Too many indices, an integer out of bounds, a mask of another shape, or an object that is no index.
    """
    items = _filled(key, node.shape, as_node)
    has_arrays = any(isinstance(item, UOp) for item in items)
    slices: list[tuple[int, int, int]] = []
    shape: list[int] = []  # after basic indexing
    axes: list[int] = []  # of the basic result that arrays index, and with what
    indices: list[UOp] = []
    places: list[int] = []  # where in the key they stand
    for place, item in enumerate(items):
        if item is None:
            shape.append(1)
            continue
        if isinstance(item, UOp) and item.dtype == dtypes.bool_ and not item.shape:
            # A 0-d mask is a new axis of size one, kept or dropped.
            axes.append(len(shape))
            indices.extend(positions_of(record.reshape(item, (1,))))
            places.append(place)
            shape.append(1)
            continue
        size = node.shape[len(slices)]
        if isinstance(item, slice):
            slices.append(_slice(item, size))
            shape.append(slices[-1][2])
        elif isinstance(item, int) and not has_arrays:
            slices.append((_in_bounds(item, len(slices), size), 1, 1))
        else:  # an integer beside arrays counts as a 0-d array
            for index in _indices(item, len(slices), node.shape, positions_of):
                extent = node.shape[len(slices)]
                axes.append(len(shape))
                indices.append(index)
                places.append(place)
                slices.append((0, 1, extent))
                shape.append(extent)
    result = record.reshape(record.slice_axes(node, slices), tuple(shape))
    if not indices:
        return result
    # NumPy's rule: arrays side by side leave their shape in place, arrays apart put it in front.
    side_by_side = all(after - before <= 1 for before, after in itertools.pairwise(places))
    return record.gather(result, indices, tuple(axes), axes[0] if side_by_side else 0, CALL)


def _filled(key: Any, shape: Shape, as_node: Callable[[Any], UOp | None]) -> list[Item]:
    """The key's items, with slices for the axes that it or its Ellipsis leaves open."""
    items: list[Item] = []
    open_at: int | None = None
    used = 0
    for given in key if isinstance(key, tuple) else (key,):
        if given is Ellipsis:
            if open_at is not None:
                raise IndexError(f"{CALL}: a key holds at most one Ellipsis")
            open_at = len(items)
            continue
        item = _item(given, as_node)
        items.append(item)
        if item is not None:
            used += len(item.shape) if isinstance(item, UOp) and item.dtype == dtypes.bool_ else 1
    if used > len(shape):
        raise IndexError(f"{CALL}: {used} indices for an array of {len(shape)} dimensions")
    at = len(items) if open_at is None else open_at
    return items[:at] + [slice(None)] * (len(shape) - used) + items[at:]


def _item(given: Any, as_node: Callable[[Any], UOp | None]) -> Item:
    if given is None or isinstance(given, slice):
        return given
    node = as_node(given)
    if node is not None:
        if node.dtype != dtypes.bool_ and node.dtype not in dtypes.INTEGERS:
            raise IndexError(f"{CALL}: arrays as indices are of integer or boolean type, not {node.dtype}")
        return node
    if isinstance(given, (bool, np.bool_)):
        return UOp.const(bool(given), dtypes.bool_)
    try:
        return operator.index(given)
    except TypeError:
        kinds = "integers, slices, None, Ellipsis and arrays"
        raise IndexError(f"{CALL}: {kinds} are indices, not {type(given).__name__}") from None


def _indices(item: Item, axis: int, shape: Shape, positions_of: Callable[[UOp], list[UOp]]) -> list[UOp]:
    if isinstance(item, int):
        return [UOp.scalar(_in_bounds(item, axis, shape[axis]), dtypes.INDEX)]
    assert isinstance(item, UOp)
    if item.dtype != dtypes.bool_:
        return [item]
    covered = shape[axis : axis + len(item.shape)]
    if any(extent not in (0, size) for extent, size in zip(item.shape, covered)):
        raise IndexError(f"{CALL}: a mask of shape {item.shape} doesn't fit axes of sizes {covered}")
    return positions_of(item)


def _in_bounds(index: int, axis: int, size: int) -> int:
    if not -size <= index < size:
        raise IndexError(f"{CALL}: index {index} is out of bounds for axis {axis} with size {size}")
    return index % size


def _slice(item: slice, size: int) -> tuple[int, int, int]:
    try:
        start, stop, step = item.indices(size)
    except TypeError:
        raise IndexError(f"{CALL}: slices take integers or None, not {item}") from None
    count = len(range(start, stop, step))
    return (start if count else 0, step, count)
