"""Keys: integers, slices, None, Ellipsis, integer arrays and masks, as NumPy combines them.

Without arrays a key is movement alone; with some, reading is one GATHER after the movement, and writing is
left to NumPy. A mask's shape depends on its values, so a mask is computed when the key is read.
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from toonygrad import dtypes, record
from toonygrad.config import settings
from toonygrad.devices import DEVICE, use
from toonygrad.placement import beside, brought, buffer_node, check_together, contiguous, place_of
from toonygrad.realize import realize_nodes
from toonygrad.runtime import selection
from toonygrad.runtime.buffer import Buffer
from toonygrad.runtime.device import DeviceBuffer
from toonygrad.uop.node import UOp
from toonygrad.uop.ops import Ops
from toonygrad.uop.shape import Shape
from toonygrad.views import Step

# A key's item once understood: a new axis, an integer, a slice, or an integer or boolean array.
Item = None | int | slice | UOp


def parsed(call: str, key: Any, shape: Shape, as_node: Callable[[str, Any], UOp | None]) -> list[Item]:
    """The items of `key`, as the user wrote it, with slices for the axes that it or its Ellipsis leaves open.

    Parameters
    ----------
    as_node : the UOp of an array in the key, or None for anything else

    Raises
    ------
    IndexError
        Too many indices, or an object that is no index.
    """
    if type(key) is tuple and len(key) == len(shape):
        for each in key:
            if type(each) is not slice:
                break
        else:  # what neighbours in a stencil are read by
            return list(key)
    items: list[Item] = []
    open_at: int | None = None
    used = 0
    for given in key if isinstance(key, tuple) else (key,):
        if given is Ellipsis:
            if open_at is not None:
                raise IndexError(f"{call}: a key holds at most one Ellipsis")
            open_at = len(items)
            continue
        item = _item(call, given, as_node)
        items.append(item)
        if item is not None:
            used += len(item.shape) if isinstance(item, UOp) and item.dtype == dtypes.bool_ else 1
    if used > len(shape):
        raise IndexError(f"{call}: {used} indices for an array of {len(shape)} dimensions")
    at = len(items) if open_at is None else open_at
    return items[:at] + [slice(None)] * (len(shape) - used) + items[at:]


def check_key(node: UOp, items: Sequence[Item]) -> None:
    """ValueError, naming the user's call, if an array of a key is on another device than what it is for."""
    check_together(node, *(item for item in items if isinstance(item, UOp)))


def on_device(items: Sequence[Item], device: str) -> list[Item]:
    """The items of a key for an array on `device`: numbers alone, which fit all devices, in memory there."""
    return [
        brought(realize_nodes([item])[0].arg, device)
        if isinstance(item, UOp) and item.op is not Ops.CONST and place_of(item) != device
        else item
        for item in items
    ]


def movement(call: str, items: Sequence[Item], shape: Shape) -> tuple[tuple[Step, ...], Shape] | None:
    """The steps from an array of `shape` to what a key without arrays selects, and its shape; else None.

    Raises
    ------
    IndexError
        An integer is out of bounds, or a slice made of something else than integers.
    """
    slices: list[tuple[int, int, int]] = []
    result: list[int] = []
    same_axes = True
    for item in items:
        if isinstance(item, slice):
            part = _slice(call, item, shape[len(slices)])
            slices.append(part)
            result.append(part[2])
        elif item is None:
            result.append(1)
            same_axes = False
        elif isinstance(item, int):
            slices.append((_in_bounds(call, item, len(slices), shape[len(slices)]), 1, 1))
            same_axes = False
        else:
            return None
    if same_axes:
        sizes = tuple(result)
        whole = sizes == shape and slices == [(0, 1, size) for size in shape]
        return (() if whole else ((record.slice_axes, tuple(slices)),)), sizes
    record.check_dimensions(call, len(result))
    steps: list[Step] = []
    if any(part != (0, 1, size) for part, size in zip(slices, shape, strict=True)):
        steps.append((record.slice_axes, tuple(slices)))
    if len(result) != len(shape) or any(part[2] != size for part, size in zip(slices, result, strict=True)):
        steps.append((record.reshape, tuple(result)))
    return tuple(steps), tuple(result)


def gathered(call: str, node: UOp, items: Sequence[Item]) -> UOp:
    """`node` at a key with arrays in it.

    Raises
    ------
    IndexError
        As of `movement`, or a mask of another shape.
    """
    if use.several:
        check_key(node, items)
        items = on_device(items, place_of(node))
    mask = mask_of_all(items, node.shape, place_of(node))
    if mask is not None and mask.shape:
        chosen, given = (each.arg for each in realize_nodes([mask, node]))
        if isinstance(given, Buffer):
            return UOp.new(Ops.BUFFER, (), selection.selected(chosen.array, given.array))
        if settings.compile != "never":
            from toonygrad.runtime import cuda_selection

            return buffer_node(cuda_selection.selected(contiguous(chosen), contiguous(given)))
        del chosen, given
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
            indices.extend(_truth(item))
            places.append(place)
            shape.append(1)
            continue
        size = node.shape[len(slices)]
        if isinstance(item, slice):
            slices.append(_slice(call, item, size))
            shape.append(slices[-1][2])
        else:  # an integer beside arrays counts as a 0-d array
            for index in _indices(call, item, len(slices), node.shape):
                extent = node.shape[len(slices)]
                axes.append(len(shape))
                indices.append(index)
                places.append(place)
                slices.append((0, 1, extent))
                shape.append(extent)
    result = record.reshape(record.slice_axes(node, slices), tuple(shape), call)
    # NumPy's rule: arrays side by side leave their shape in place, arrays apart put it in front.
    side_by_side = all(after - before <= 1 for before, after in itertools.pairwise(places))
    return record.gather(result, indices, tuple(axes), axes[0] if side_by_side else 0, call)


class Places(NamedTuple):
    """Where a key with arrays leads: places along some axes of a part of an array, and all of the others.

    Attributes
    ----------
    parts : the part, as `record.slice_axes` takes it
    indexed : its axes that the arrays of the key lead along
    names : the same, as `gathered` counts axes
    indices : for each of them a node of integers; they broadcast
    found : the shape they broadcast to
    shape : that reading has
    position : at which axis of that the arrays' axes begin
    distinct : whether no place comes twice
    """

    parts: list[tuple[int, int, int]]
    indexed: list[int]
    names: list[int]
    indices: list[UOp]
    found: Shape
    shape: Shape
    position: int
    distinct: bool


def places_of(call: str, items: Sequence[Item], shape: Shape) -> Places:
    """Where a key with arrays leads in an array of `shape`.

    Raises
    ------
    IndexError
        As of `gathered`. Integers out of bounds are found by who follows them.
    """
    parts: list[tuple[int, int, int]] = []
    kept: list[int] = []  # sizes of the axes that no array leads along
    result = Places(parts, [], [], [], (), (), 0, False)
    places: list[int] = []  # where arrays and integers stand in the key
    truths: list[UOp] = []
    position = axis = 0
    for place, item in enumerate(items):
        if item is None:
            kept.append(1)
        elif isinstance(item, slice):
            parts.append(_slice(call, item, shape[len(parts)]))
            kept.append(parts[-1][2])
        else:
            position = position if places else len(kept)
            places.append(place)
            if isinstance(item, int):
                parts.append((_in_bounds(call, item, len(parts), shape[len(parts)]), 1, 1))
            elif item.dtype == dtypes.bool_ and not item.shape:
                truths.extend(_truth(item))
            else:
                found = _indices(call, item, len(parts), shape)
                for _ in found:
                    result.indexed.append(len(parts))
                    result.names.append(axis)
                    parts.append((0, 1, shape[len(parts)]))
                    axis += 1
                result.indices.extend(found)
                continue
        axis += 1
    if any(after - before > 1 for before, after in itertools.pairwise(places)):
        position = 0
    common = record.check_broadcast(call, *result.indices, *truths)
    record.check_dimensions(call, len(common) + len(kept))
    masks = [item for item in items if isinstance(item, UOp)]
    distinct = len(masks) == 1 and masks[0].dtype == dtypes.bool_
    whole = (*kept[:position], *common, *kept[position:])
    return result._replace(found=common, shape=whole, position=position, distinct=distinct)


def numpy_key(
    call: str, items: Sequence[Item], shape: Shape, value_of: Callable[[UOp], np.ndarray]
) -> tuple[Any, ...]:
    """The key for NumPy, which writes: checked but for integer arrays out of bounds.

    Raises
    ------
    IndexError
        As of `gathered`.
    """
    key: list[Any] = []
    axis = 0
    for item in items:
        if item is None:
            key.append(item)
            continue
        if isinstance(item, slice):
            _slice(call, item, shape[axis])
            key.append(item)
        elif isinstance(item, int):
            key.append(_in_bounds(call, item, axis, shape[axis]))
        else:
            _check_mask(call, item, axis, shape)
            value = value_of(item)
            # What int64 can't hold would be an index from the end, or of no kind NumPy takes.
            key.append(np.minimum(value, _LARGEST).astype(dtypes.INDEX) if value.dtype.kind == "u" else value)
            axis += len(item.shape) - 1 if item.dtype == dtypes.bool_ else 0
        axis += 1
    return tuple(key)


def true_positions(node: UOp) -> list[UOp]:
    """Positions of the elements of `node` that aren't zero, which it computes.

    In row-major order: int64, one node for each of its axes. Of several axes they are recorded from the
    positions among all elements.
    """
    shape = node.shape
    (node,) = realize_nodes([record.cast(node, dtypes.bool_)])
    if isinstance(node.arg, DeviceBuffer) and settings.compile != "never":
        from toonygrad.runtime import cuda_selection

        place = buffer_node(cuda_selection.true_positions(contiguous(node.arg)))
    else:
        place = beside(selection.true_positions(node.arg.array).array, node)
    found: list[UOp] = []
    for size in reversed(shape[1:]):
        extent = UOp.scalar(max(size, 1), dtypes.INDEX)
        outer = place.alu(Ops.FLOORDIV, extent)
        found.append(place - outer * extent)
        place = outer
    return [place, *reversed(found)]


def repeated_positions(counts: UOp) -> UOp:
    """Each position in a one-dimensional node as often as its int64 element says, which it computes."""
    if place_of(counts) == DEVICE or settings.compile == "never":
        (counts,) = realize_nodes([counts])
        times = counts.arg.array
        return beside(np.repeat(np.arange(times.size, dtype=dtypes.INDEX), times), counts)
    from toonygrad.runtime import cuda_selection

    (ends,) = realize_nodes([record.scan(counts, Ops.ADD, 0)])
    return buffer_node(cuda_selection.repeated_positions(ends.arg))


def mask_of_all(items: Sequence[Item], shape: Shape, device: str) -> UOp | None:
    """The mask that is the whole key of an array of `shape`, and chooses from all its elements."""
    item = items[0] if len(items) == 1 else None
    if isinstance(item, UOp) and item.dtype == dtypes.bool_ and item.shape == shape:
        (mask,) = on_device(items, device) if use.several else items
        assert isinstance(mask, UOp)
        return mask
    return None


_LARGEST = np.uint64(np.iinfo(dtypes.INDEX).max)


def _item(call: str, given: Any, as_node: Callable[[str, Any], UOp | None]) -> Item:
    if type(given) is int or given is None or isinstance(given, slice):
        return given
    node = as_node(call, given)
    if node is not None:
        if node.dtype != dtypes.bool_ and node.dtype not in dtypes.INTEGERS:
            raise IndexError(f"{call}: arrays as indices are of integer or boolean type, not {node.dtype}")
        return node
    if isinstance(given, (bool, np.bool_)):
        return UOp.const(bool(given), dtypes.bool_)
    try:
        return operator.index(given)
    except TypeError:
        kinds = "integers, slices, None, Ellipsis and arrays"
        raise IndexError(f"{call}: {kinds} are indices, not {type(given).__name__}") from None


def _indices(call: str, item: Item, axis: int, shape: Shape) -> list[UOp]:
    if isinstance(item, int):
        return [UOp.scalar(_in_bounds(call, item, axis, shape[axis]), dtypes.INDEX)]
    assert isinstance(item, UOp)
    _check_mask(call, item, axis, shape)
    return [item] if item.dtype != dtypes.bool_ else true_positions(item)


def _truth(item: UOp) -> list[UOp]:
    """The position 0 of a 0-d mask that holds, none of one that doesn't."""
    if item.op is Ops.CONST:
        return [record.iota((int(item.arg),), 0)]
    return true_positions(record.reshape(item, (1,)))


def _check_mask(call: str, item: UOp, axis: int, shape: Shape) -> None:
    if item.dtype == dtypes.bool_:
        covered = shape[axis : axis + len(item.shape)]
        if any(extent not in (0, size) for extent, size in zip(item.shape, covered)):
            raise IndexError(f"{call}: a mask of shape {item.shape} doesn't fit axes of sizes {covered}")


def _in_bounds(call: str, index: int, axis: int, size: int) -> int:
    if not -size <= index < size:
        raise IndexError(f"{call}: index {index} is out of bounds for axis {axis} with size {size}")
    return index % size


def _slice(call: str, item: slice, size: int) -> tuple[int, int, int]:
    try:
        start, stop, step = item.indices(size)
    except (TypeError, ValueError) as error:
        wanted = "slices take integers or None" if isinstance(error, TypeError) else str(error)
        raise IndexError(f"{call}: {wanted}, not {item}") from None
    count = len(range(start, stop, step))
    return (start if count else 0, step, count)
