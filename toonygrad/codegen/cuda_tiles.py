"""Elementwise kernels on a GPU whose operands are transposed: a block of threads has a tile of the result.

The block reads transposed operands along their own rows into shared memory, and uses them across: so all
memory is touched in long pieces, however its rows begin and end. cuda_generate.py asks `transposed` and
builds `ThreadTiles`.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence

from toonygrad import dtypes
from toonygrad.codegen.cuda import WARP
from toonygrad.codegen.cuda_loops import (
    GRID_SIDE,
    ThreadBuilder,
    ThreadNest,
    blocks,
    only_if,
    thread,
    unrolled,
)
from toonygrad.codegen.loops import (
    FAST,
    FEWEST_TILED,
    ZERO,
    assign,
    guard_conditions,
    loop,
    range_,
    rewritten,
    variable,
)
from toonygrad.codegen.lower import Body
from toonygrad.codegen.tiles import step_along
from toonygrad.uop.node import UOp, toposort
from toonygrad.uop.ops import Ops
from toonygrad.uop.shape import size_of

# The sides of a tile, the least in bytes, and the most shared memory; threads of a block across its rows; the
# longest step between neighbours along a row of memory, in elements; and the most operations of a thread's
# text. A sum with a transposed operand reaches 1.00 of a copy's speed so, 0.97 with half the side.
SIDE, SIDE_BYTES, MOST_SHARED, HIGH, MOST_STEP, MOST_OPERATIONS = 64, 128, 48 << 10, 16, 2, 1024


def transposed(body: Body) -> tuple[UOp, list[UOp]] | None:
    """The range beside the last along which most memory runs, and the ACCESSes to it; None where none does,
    or tiles were slim.
    """
    over = body.outer + body.inner
    if len(over) < 2 or body.extents[over[-1]] < FEWEST_TILED:
        return None
    column = over[-1]
    order = toposort(*(store.value for store in body.stores))
    reads = [node for node in order if node.op is Ops.ACCESS and all(a.op is Ops.RANGE for a in node.src)]
    across = [node for node in reads if abs(step_along(node, column)) > MOST_STEP]
    best: list[UOp] = []
    for row in reversed(over[:-1]):
        along = [node for node in across if 0 < abs(step_along(node, row)) <= MOST_STEP]
        if len(along) > len(best) and body.extents[row] >= FEWEST_TILED and _fits(body, row, along):
            best, found = along, row
    return (found, best) if best else None


def _side(along: Sequence[UOp]) -> int:
    return max(SIDE, SIDE_BYTES // max(node.dtype.itemsize for node in along))


def _fits(body: Body, row: UOp, along: Sequence[UOp]) -> bool:
    over, side = body.outer + body.inner, _side(along)
    deep = size_of([body.extents[a] for a in over[:-1] if a is not row])
    room = sum(_pitch(node, side) * side * node.dtype.itemsize for node in along) <= MOST_SHARED
    return room and deep <= GRID_SIDE and blocks(body.extents[row], side) <= GRID_SIDE


def _pitch(node: UOp, side: int) -> int:
    """Elements from row to row in shared memory: neighbours in a column then lie in different banks."""
    return side + max(1, 4 // node.dtype.itemsize)


class ThreadTiles(ThreadBuilder):
    """A tile of elements a block, some rows and columns of it a thread."""

    def nest(self, row: UOp, along: Sequence[UOp]) -> ThreadNest:
        """What the threads do."""
        body = self.body
        over = body.outer + body.inner
        column, others = over[-1], [a for a in over[:-1] if a is not row]
        self._side = side = _side(along)
        self._i, self._j = range_("i"), range_("j")
        x, y, whole = variable("x"), variable("y"), variable("whole", dtypes.bool_)
        columns = self.arguments.size("columns", body.extents[column])
        rows = self.arguments.size("rows", body.extents[row])
        down = thread("thread_y") + self._i * HIGH
        right = thread("thread_x") + self._j * WARP
        statements = [
            assign(x, thread("block_x") * side),
            assign(y, thread("block_y") * side),
            *self.decompose(thread("block_z"), others),
            assign(whole, (x + side <= columns) & (y + side <= rows)),
        ]
        self.atoms[column], self.atoms[row] = x + down, y + right
        read = []
        for node in along:
            pitch = _pitch(node, side)
            array = UOp.new(Ops.SHARED, (), (self.name("tile"), node.dtype, side * pitch))
            (element,) = self.concrete(node)
            read.append(UOp.new(Ops.STORE, (array, down * pitch + right, element)))
            self.results[node] = UOp.new(Ops.LOAD, (array, right * pitch + down))
        inside = (x + down < columns, y + right < rows)
        statements += [
            only_if(whole, [self._each(read)]),
            only_if(~whole, [self._each_inside(inside, read)]),
            UOp.new(Ops.BARRIER),
        ]
        self.atoms[column], self.atoms[row] = x + right, y + down
        inside = (y + down < rows, x + right < columns)
        statements += self._stored(whole, inside, [self.store(store) for store in body.stores])
        grid = (
            blocks(body.extents[column], side),
            blocks(body.extents[row], side),
            max(1, size_of([body.extents[a] for a in others])),
        )
        return self.made(statements, grid, (WARP, HIGH, 1))

    def _stored(self, whole: UOp, inside: tuple[UOp, UOp], stores: list[UOp]) -> list[UOp]:
        """Statements that compute and store, all of a thread's elements together where the tile is whole and
        no guard fails.
        """
        fast, single = rewritten(stores, FAST), self._each_inside(inside, self.guarded(stores))
        if len(toposort(*fast)) * (self._side // HIGH) * (self._side // WARP) > MOST_OPERATIONS:
            return [single]
        statements = []
        if conditions := guard_conditions(stores):
            check = assign(whole, functools.reduce(operator.and_, conditions, whole))
            statements.append(only_if(whole, [self._each([check])]))
        return [*statements, only_if(whole, [self._each(fast)]), only_if(~whole, [single])]

    def _each(self, statements: list[UOp]) -> UOp:
        """The statement that repeats others for each of a thread's elements, written out."""
        columns = unrolled(self._j, self._side // WARP, statements)
        return unrolled(self._i, self._side // HIGH, [columns])

    def _each_inside(self, inside: tuple[UOp, UOp], statements: list[UOp]) -> UOp:
        """The same as loops, for the elements that exist: where those down and those along do."""
        high, wide = (UOp.const(self._side // size, dtypes.INDEX) for size in (HIGH, WARP))
        columns = loop(self._j, ZERO, wide, [only_if(inside[1], statements)])
        return loop(self._i, ZERO, high, [only_if(inside[0], [columns])])
