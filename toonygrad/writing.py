"""Values written where a key leads: the last resort of `x[key] = value` and of in-place operators.

array.py comes here once nothing could be recorded instead. Memory of the host is written by NumPy, memory of
a GPU by a kernel that copies, or one that scatters where there are arrays in the key.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from toonygrad import indexing, record, views
from toonygrad.config import settings
from toonygrad.devices import DEVICE, use
from toonygrad.placement import brought, contiguous, copied, place_of
from toonygrad.realize import in_memory, realize_nodes
from toonygrad.runtime.buffer import Buffer
from toonygrad.runtime.compile import scalar_bits
from toonygrad.runtime.device import DeviceBuffer
from toonygrad.uop.node import UOp
from toonygrad.uop.ops import Ops
from toonygrad.uop.shape import Shape, contiguous_strides, size_of

# Checks that nobody has looked at; before there are more somebody does, so that a loop doesn't pile them up.
# Those of the same write again and again are one.
MOST_CHECKS = 16

# Python's numbers: one value wherever they are written.
SCALARS = (bool, int, float, complex)


def is_recorded(array: views.Handle, value: Any, mask: UOp) -> bool:
    """Whether to write by a mask is recorded, as a choice between one value and what is there.

    Elements must be nobody else's. Where both are in memory, and the array's needn't be copied, only what is
    chosen is written instead.
    """
    if array._view is not None or views.is_shared(array) or mask.shape != views.current(array).shape:
        return False
    single = isinstance(value, SCALARS) or getattr(value, "shape", None) in ((), (1,))
    return single and (in_memory(mask) is None or not views.is_alone(array))


def write_value(
    call: str,
    cell: views.Cell,
    steps: tuple[views.Step, ...],
    items: list[indexing.Item],
    shape: Shape,
    held: list[UOp],
) -> None:
    """Put the elements of a node where `items`, a parsed key, lead in a view of a cell.

    Parameters
    ----------
    call : what errors call it
    cell, steps : the view
    items : emptied, so that nobody holds arrays of the key
    shape : of the view
    held : the node, which is taken out: whoever holds one on the memory to be written makes it be copied

    Raises
    ------
    IndexError, ValueError
        An integer array out of bounds, a value that doesn't broadcast.
    MemoryError
        The elements are needed elsewhere as they are, and can't be copied.
    """
    written = realize_nodes([held.pop()])[0].arg
    if use.several and (device := place_of(views.current(cell))) != DEVICE:
        movement = indexing.movement(call, items, shape)
        if movement is not None:
            _write_on_device(call, cell, views.joined(steps, movement[0]), movement[1], written, device)
            return
        if settings.compile != "never" and _scattered(call, cell, steps, items, shape, written, device):
            return
    values = written.array
    memory = in_memory(views.current(cell))
    if memory is not None and memory.arg.device == DEVICE and np.may_share_memory(values, memory.arg.array):
        values = values.copy()
    del memory, written
    key = indexing.numpy_key(call, items, shape, lambda item: realize_nodes([item])[0].arg.array)
    items.clear()
    try:
        views.write(cell, steps, key, values)
    except (IndexError, ValueError) as error:
        raise type(error)(f"{call}: {error}") from None


def write_number(cell: views.Cell, path: tuple[views.Step, ...], number: UOp) -> bool:
    """Whether a kernel puts a SCALAR of a cell's type wherever movement leads in it, on a GPU.

    Raises
    ------
    MemoryError
        The elements are needed elsewhere as they are, and can't be copied.
    """
    if place_of(views.current(cell)) == DEVICE or number.dtype.kind == "c":
        return False
    from toonygrad.runtime.cuda_fill import fill_of

    buffer = views.writable(cell)
    key = buffer.layout, path
    known = _targets.get(key)
    if known is None:
        target = views.part(buffer, path)
        if not isinstance(target, DeviceBuffer):
            return False
        if not target.nbytes:
            return True
        if len(_targets) >= _MOST_TARGETS:
            _targets.clear()
        known = _targets[key] = target.address - buffer.address, fill_of(target.layout)
    offset, fill = known
    if fill is None:
        return False
    fill.run(buffer.address + offset, scalar_bits(number.dtype, number.arg))
    return True


# Where movement leads in memory of a layout: bytes from its first element, and what fills that part.
_MOST_TARGETS = 1024
_targets: dict[tuple[Any, tuple[views.Step, ...]], tuple[int, Any]] = {}


def write_all(
    call: str, cell: views.Cell, steps: tuple[views.Step, ...], written: Buffer | DeviceBuffer
) -> None:
    """Put as many elements as a view of a cell has into it."""
    if isinstance(written, Buffer):
        views.write(cell, steps, (), written.array)
    else:
        _write_on_device(call, cell, steps, written.shape, written, written.device)


def _write_on_device(
    call: str,
    cell: views.Cell,
    path: tuple[views.Step, ...],
    shape: Shape,
    written: Buffer | DeviceBuffer,
    device: str,
) -> None:
    from toonygrad.runtime.cuda_copies import copy_into

    values = _values(call, cell, views.spread(call, brought(written, device), shape))
    del written
    buffer = views.writable(cell)
    target = views.part(buffer, path)
    if isinstance(target, DeviceBuffer):
        copy_into(target, values)
    else:
        views.write(cell, path, (), values.array)


def _values(call: str, cell: views.Cell, node: UOp) -> DeviceBuffer:
    """The elements of movement of memory, which is another one than a cell's."""
    values = _apart(cell, node)
    values.raise_if_outside()
    return values


def _apart(cell: views.Cell, node: UOp) -> DeviceBuffer:
    """As `_values`, perhaps of an index that was out of bounds."""
    source = in_memory(node)
    assert source is not None
    values: DeviceBuffer = source.arg
    memory = in_memory(views.current(cell))
    if memory is not None and memory.arg.memory is values.memory:
        values.raise_if_outside()
        values = copied(values)
    return values


def _scattered(
    call: str,
    cell: views.Cell,
    path: tuple[views.Step, ...],
    items: list[indexing.Item],
    shape: Shape,
    written: Buffer | DeviceBuffer,
    device: str,
) -> bool:
    """Whether a kernel has put elements where a key with arrays leads in a view of a cell on a GPU."""
    if path and not views.strided(cell, path):
        return False
    from toonygrad.runtime import cuda_scatter, cuda_selection

    mask = indexing.mask_of_all(items, shape, device)
    if mask is not None and mask.shape:
        chosen = contiguous(realize_nodes([mask])[0].arg)
        chosen.raise_if_outside()
        items.clear()
        del mask
        if size_of(written.layout[1]) == 1:
            values = _laid_out(call, cell, written, chosen.shape, range(0), device)
            cuda_scatter.fill(_target(cell, path), chosen, values)
        else:
            truths = cuda_selection.true_positions(chosen)
            spread = views.spread(call, brought(written, device), truths.shape)
            cuda_scatter.scatter_truths(_target(cell, path), truths, contiguous(_values(call, cell, spread)))
        return True
    found = indexing.places_of(call, indexing.on_device(items, device), shape)
    items.clear()
    if not found.indices:  # truths alone
        if size_of(found.found):
            _write_part(call, cell, path, found, written, device)
        return True
    if any(part != (0, 1, size) for part, size in zip(found.parts, shape, strict=True)):
        path = (*path, (record.slice_axes, found.parts))
    own = range(found.position, found.position + len(found.found))
    values = _laid_out(call, cell, written, found.shape, own, device)
    del written
    if not size_of(found.found):
        return True
    indices = [_index(node, found.found) for node in found.indices]
    target = _target(cell, path)
    buffer = views.current(cell).arg
    if len(buffer.checks) >= MOST_CHECKS:
        buffer.raise_if_outside()
    where = (found.indexed, found.names, indices)
    buffer.checks = cuda_scatter.scatter(call, target, *where, values, found.distinct, buffer.checks)
    # A new node, so that views of before don't go on showing memory without the check.
    cell._uop = UOp.known(Ops.BUFFER, (), buffer, buffer.dtype, buffer.shape)
    return True


def _write_part(
    call: str,
    cell: views.Cell,
    path: tuple[views.Step, ...],
    found: indexing.Places,
    written: Buffer | DeviceBuffer,
    device: str,
) -> None:
    """Write all of the part that a key leads to."""
    from toonygrad.runtime.cuda_copies import copy_into

    given = contiguous(_values(call, cell, views.spread(call, brought(written, device), found.shape)))
    target = _target(cell, (*path, (record.slice_axes, found.parts)))
    strides = tuple(step * target.dtype.itemsize for step in contiguous_strides(target.shape))
    copy_into(target, given.view(0, target.shape, strides))


def _index(node: UOp, shape: Shape) -> DeviceBuffer:
    """The elements of an array of indices, broadcast to `shape`, one behind the other."""
    node = record.expand(node, shape)
    memory = in_memory(node) or realize_nodes([node])[0]
    memory.arg.raise_if_outside()
    whole = contiguous(memory.arg)
    return whole if len(shape) == 1 else whole.view(0, (size_of(shape),), (whole.dtype.itemsize,))


def _laid_out(
    call: str,
    cell: views.Cell,
    written: Buffer | DeviceBuffer,
    shape: Shape,
    own: range,
    device: str,
) -> Any:
    """What is written to elements of `shape` as a kernel takes it; `own` are the axes of the places in it."""
    from toonygrad.runtime.cuda_scatter import Values

    if isinstance(written, Buffer) and size_of(written.layout[1]) == 1:
        return Values.single(written.array)
    node = brought(written, device)
    if own.start or node.shape != shape:
        order = (*own, *(axis for axis in range(len(shape)) if axis not in own))
        node = record.permute(views.spread(call, node, shape), order)
    given, width = _apart(cell, node), len(own)
    steps = [stride if size > 1 else 0 for size, stride in zip(given.shape, given.strides, strict=True)]
    if not any(steps):
        return Values(given)
    if any(steps[:width]):
        return Values(contiguous(given), step=size_of(given.shape[width:]), inner=1)
    return Values(contiguous(given.view(0, given.shape[width:], given.strides[width:])), inner=1)


def _target(cell: views.Cell, path: tuple[views.Step, ...]) -> DeviceBuffer:
    """The part of a cell's memory that a path leads to, which is the cell's alone from now on."""
    buffer = views.writable(cell)
    target = views.part(buffer, path) if path else buffer
    assert isinstance(target, DeviceBuffer)
    return target
