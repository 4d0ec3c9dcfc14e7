"""Values written where a key leads: the last resort of `x[key] = value` and of in-place operators.

array.py comes here once nothing could be recorded instead. Memory of the host is written by NumPy, memory of
a GPU by a kernel that copies, and with arrays in the key by way of the host.
"""

from __future__ import annotations

import numpy as np

from toonygrad import indexing, views
from toonygrad.devices import DEVICE, use
from toonygrad.placement import brought, copied, place_of
from toonygrad.realize import in_memory, realize_nodes
from toonygrad.runtime.buffer import Buffer
from toonygrad.runtime.device import DeviceBuffer
from toonygrad.uop.node import UOp
from toonygrad.uop.shape import Shape


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

    source = in_memory(views.spread(call, brought(written, device), shape))
    assert source is not None
    values: DeviceBuffer = source.arg
    del written, source
    memory = in_memory(views.current(cell))
    if memory is not None and memory.arg.memory is values.memory:
        values = copied(values)
    del memory
    values.raise_if_outside()
    buffer = views.writable(cell)
    target = views.part(buffer, path)
    if isinstance(target, DeviceBuffer):
        copy_into(target, values)
    else:
        views.write(cell, path, (), values.array)
