"""Views and writing: arrays that share another's elements, and memory that may be written in place.

A cell is an array that holds a node of its own; a view is a cell and the movement from its elements to the
view's. What is recorded is immutable, so a write changes which memory a cell stands for, or that memory
itself where nobody else needs what it held. array.py makes views and writes through them with what is here.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any, Protocol
from weakref import ref

import numpy as np

from toonygrad import placement, record
from toonygrad.errors import shapes_error
from toonygrad.realize import in_memory, realize_nodes
from toonygrad.runtime.buffer import Buffer, SharedBuffer, pool
from toonygrad.runtime.device import DeviceBuffer
from toonygrad.schedule.ranges import viewed
from toonygrad.uop.node import UOp
from toonygrad.uop.ops import Ops
from toonygrad.uop.shape import Shape, contiguous_strides, size_of

# Parts of more elements are worth a kernel that writes them where they belong.
LARGE = 4096

# A movement: one of record's functions, and the argument it takes beside the node.
Step = tuple[Callable[[UOp, Any], UOp], Any]


class Cell(Protocol):
    """An array with a node of its own."""

    _uop: UOp


def current(cell: Cell) -> UOp:
    """The node a cell holds: the memory itself once it has been computed."""
    node = cell._uop
    if node.realized is not None:
        node = cell._uop = node.realized
    return node


def moved(node: UOp, steps: tuple[Step, ...]) -> UOp:
    """`node` through movements."""
    for function, argument in steps:
        node = function(node, argument)
    return node


def joined(first: tuple[Step, ...], second: tuple[Step, ...]) -> tuple[Step, ...]:
    """The steps of `first` and then of `second`, with neighbours of one kind made one."""
    steps = list(first)
    for function, argument in second:
        if not steps or steps[-1][0] is not function:
            steps.append((function, argument))
            continue
        before = steps.pop()[1]
        if function is record.permute:
            argument = tuple(before[axis] for axis in argument)
        elif function is record.slice_axes:
            argument = tuple(
                (start + step * then, step * by, size)
                for (start, step, _), (then, by, size) in zip(before, argument, strict=True)
            )
        steps.append((function, argument))
    return tuple(steps)


def strided(cell: Cell, steps: tuple[Step, ...]) -> bool:
    """Whether strides can express movement of a cell's memory, which will be row-major if it isn't there."""
    node = current(cell)
    memory = in_memory(node)
    shape = node.shape
    strides = contiguous_strides(shape) if memory is None else memory.arg.layout[2]
    for movement in _movements(steps, node.dtype, shape):
        found = viewed(movement, shape, strides)
        if found is None:
            return False
        shape, strides = movement.shape, found[1]
    return True


def _movements(steps: tuple[Step, ...], dtype: np.dtype, shape: Shape) -> list[UOp]:
    """The movement operations of `steps` on an array, the one next to it first."""
    movements = []
    result = moved(UOp.new(Ops.ARGUMENT, (), (0, dtype, shape, None)), steps)
    while result.src:
        movements.append(result)
        (result,) = result.src
    return movements[::-1]


def part(buffer: Buffer | DeviceBuffer, steps: tuple[Step, ...]) -> Buffer | DeviceBuffer | None:
    """What movement shows of memory; None where strides can't express it."""
    if isinstance(buffer, DeviceBuffer):
        return buffer.moved(_movements(steps, buffer.dtype, buffer.shape))
    array = seen(buffer.array, steps)
    return None if array is None else Buffer(array)


def seen(memory: np.ndarray, steps: tuple[Step, ...]) -> np.ndarray | None:
    """What movement shows of memory, as a NumPy view; None where strides can't express it."""
    for function, argument in steps:
        if function is record.slice_axes:
            key: tuple[Any, ...] = (
                *[_slice(*part) for part in argument],
                ...,
            )  # without ... a scalar may result
            memory = memory[key]
        elif function is record.permute:
            memory = memory.transpose(argument)
        else:
            try:
                memory = np.reshape(memory, argument, copy=False)
            except ValueError:
                return None
    return memory


def _slice(start: int, step: int, size: int) -> slice:
    stop = start + step * size
    return slice(start, None if stop < 0 else stop, step)


class Handle(Cell, Protocol):
    """An array: a cell, or a view of one."""

    _view: View | None


def settle(array: Handle, node: UOp) -> None:
    """Let an array stand for the memory of its node, which is computed, if that has some of its own."""
    if node.realized is not None:
        if array._view is None:
            array._uop = node.realized
        else:
            array._view.keep(node.realized)


class View:
    """Part of a cell's elements, or all of them in another order.

    Its node is made from the cell's when somebody asks, and not kept: a node on the cell's memory would look
    like somebody who needs what is in there now.
    """

    __slots__ = ("_memory", "_node", "_of", "cell", "shape", "steps")

    def __init__(self, cell: Cell, steps: tuple[Step, ...], shape: Shape) -> None:
        self.cell = cell
        self.steps = steps
        self.shape = shape
        self._memory: UOp | None = None
        self._of: Callable[[], UOp | None] = _nothing
        self._node: Callable[[], UOp | None] = _nothing

    @property
    def node(self) -> UOp:
        """What the view shows now."""
        source = current(self.cell)
        if self._of() is source:
            if self._memory is not None:
                return self._memory
            node = self._node()
            if node is not None:
                return node if node.realized is None else node.realized
        return self._made(source)

    def keep(self, memory: UOp) -> None:
        """Remember what was computed while the cell wasn't: there is no other memory with these elements."""
        if current(self.cell).op is not Ops.BUFFER:
            self._memory = memory

    def _made(self, source: UOp) -> UOp:
        own = source.op is Ops.BUFFER and not source.arg.shared
        # A small part stands for itself: x[0], x[1], ... are then one structure with other memory, not a
        # structure each. Large parts are read through the whole, as the neighbours in a stencil are.
        small = own and 2 * size_of(self.shape) < size_of(source.shape)
        memory = part(source.arg, self.steps) if small else None
        if memory is None:
            node = moved(source, self.steps)
        else:
            node = UOp.known(Ops.BUFFER, (), memory, source.dtype, self.shape)
        self._memory = None
        self._of, self._node = ref(source), ref(node)
        return node


def _nothing() -> None:
    """A reference that leads nowhere."""


# -- writing ---------------------------------------------------------------------------------------


def write(cell: Cell, steps: tuple[Step, ...], key: tuple[Any, ...], value: Any) -> None:
    """Put `value` where NumPy's `key` leads in a view of a cell, which is computed first.

    Parameters
    ----------
    value : scalar, or an array that nobody else writes

    Raises
    ------
    IndexError, ValueError
        NumPy's, of a key out of bounds and of a value that doesn't broadcast.
    MemoryError
        The elements are needed elsewhere as they are, and can't be copied.
    """
    buffer = writable(cell)
    if isinstance(buffer, Buffer):
        _put(buffer.array, steps, key, value)
    else:
        from toonygrad.runtime.cuda_copies import write_on_host

        write_on_host(buffer, lambda elements: _put(elements, steps, key, value))


def _put(memory: np.ndarray, steps: tuple[Step, ...], key: tuple[Any, ...], value: Any) -> None:
    target = seen(memory, steps)
    if target is not None:
        target[key] = value
        return
    # A reshape of memory that isn't laid out for it: the elements are found by their positions.
    positions = seen(np.arange(memory.size).reshape(memory.shape), steps)
    assert positions is not None
    memory[np.unravel_index(positions[key], memory.shape)] = value


def large_block(cell: Cell, steps: tuple[Step, ...]) -> Sequence[tuple[int, int, int]] | None:
    """The part of a cell that movement leads to if it is a block, large, and half of the cell or more.

    Such a part is better computed into other memory, with what surrounds it, than by itself and copied.
    """
    if len(steps) != 1 or steps[0][0] is not record.slice_axes or is_shared(cell):
        return None
    parts = steps[0][1]
    size, part = size_of(current(cell).shape), size_of([count for _, _, count in parts])
    if part <= LARGE or 2 * part < size or any(step != 1 for _, step, _ in parts):
        return None
    return parts


def spread(call: str, node: UOp, shape: Shape) -> UOp:
    """A value to be written, in every place of `shape`; axes of size one in front may be too many.

    Raises
    ------
    ValueError
        It doesn't broadcast to `shape`.
    """
    extra = max(len(node.shape) - len(shape), 0)
    if size_of(node.shape[:extra]) == 1:
        node = record.reshape(node, node.shape[extra:])
    if record.common_shape(call, node.shape, shape) != shape:
        raise shapes_error(call, (node.shape, shape))
    return record.expand(node, shape)


def compute_into(cell: Cell, block: Sequence[tuple[int, int, int]], value: UOp) -> None:
    """Compute a value right where it is written."""
    around = current(cell)
    starts = tuple([start for start, _, _ in block])
    node = UOp.known(Ops.REPLACE, (around, value), starts, around.dtype, around.shape)
    del around
    (cell._uop,) = realize_nodes([node])


def is_shared(cell: Cell) -> bool:
    """Whether a cell stands for memory that others see as well, and are to see written."""
    node = current(cell)
    return node.op is Ops.BUFFER and node.arg.shared and node.arg.writeable


def writable(cell: Cell) -> Buffer | DeviceBuffer:
    """The memory of a cell, computed if need be, and its own where somebody else needs what is in there."""
    node = current(cell)
    if node.op is not Ops.BUFFER:
        realize_nodes([node])
        node = current(cell)
    if node.op is Ops.BUFFER:
        buffer = node.arg
        del node
        if is_shared(cell):
            if _references(cell) != _ALONE:
                # Others go on seeing the memory, so it is those who recorded from it that get a copy.
                cell._uop = _shared(buffer)
                buffer.move(_copied(buffer))
            return cell._uop.arg
        if buffer.writeable and is_alone(cell):
            return buffer
    memory = in_memory(cell._uop)  # movement of other memory
    assert memory is not None
    own = _copied(memory.arg)
    cell._uop = UOp.known(Ops.BUFFER, (), own, *own.layout[:2])
    return own


def share(cell: Cell) -> None:
    """Let others write the memory of a cell from now on, and see what is written to the cell.

    Who recorded from it or was handed it before keeps the elements. Memory that nobody may write stays as
    it is.
    """
    node = current(cell)
    fixed = node.op is Ops.BUFFER and node.arg.shared and not is_shared(cell)
    del node  # so that nobody else but the cell is seen to hold it
    if fixed:
        return
    memory = writable(cell)
    if not is_shared(cell):
        cell._uop = _shared(memory)


def _shared(buffer: Buffer | DeviceBuffer) -> UOp:
    """The same memory as that which others see."""
    same = SharedBuffer(buffer.array) if isinstance(buffer, Buffer) else placement.shared(buffer)
    return UOp.known(Ops.BUFFER, (), same, *same.layout[:2])


def _copied(buffer: Buffer | DeviceBuffer) -> Any:
    """The same elements in memory of their own, on the CPU in the same order."""
    if isinstance(buffer, DeviceBuffer):
        return placement.copied(buffer)
    array = buffer.array
    order = sorted(range(array.ndim), key=lambda axis: -abs(array.strides[axis]))
    own = pool.allocate(array.shape, array.dtype, order)
    np.copyto(own.array, array)
    return own


def is_alone(cell: Cell) -> bool:
    """Whether a cell is computed, and its memory seen by no recorded node, no other array, nobody outside."""
    return current(cell).op is Ops.BUFFER and _references(cell) == _ALONE and not cell._uop.arg.is_seen


def _references(cell: Cell) -> int:
    node = cell._uop
    return sys.getrefcount(node)


class _Alone:
    """A cell of whose node nobody else knows, to count the references that such a node has."""

    def __init__(self) -> None:
        self._uop = UOp.new(Ops.BUFFER, (), Buffer(np.empty(0)))


_ALONE = _references(_Alone())
