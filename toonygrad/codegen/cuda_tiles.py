"""Elementwise kernels on a GPU whose operands are transposed: each thread has a small square of elements.

A transposed operand is then read in vectors along its own rows and used from registers, and results are
written in vectors along theirs: no memory is touched by single elements. cuda_generate.py asks `square_side`
and builds `Squares`.
"""

from __future__ import annotations

from toonygrad.codegen.cuda import VECTOR_BYTES
from toonygrad.codegen.cuda_loops import (
    GRID_SIDE,
    ThreadBuilder,
    ThreadNest,
    blocks,
    only_if,
    thread,
    unrolled,
)
from toonygrad.codegen.loops import ZERO, assign, range_, variable
from toonygrad.codegen.lower import Body
from toonygrad.uop.node import UOp, toposort
from toonygrad.uop.ops import Ops
from toonygrad.uop.shape import size_of

# Threads of a block along the result's rows and across them: a warp then writes pieces of 128 bytes and reads
# pieces of 64.
WIDE, HIGH = 8, 32
# The bytes of registers for what a thread reads.
MOST_BYTES = 256


def square_side(body: Body, row: UOp) -> int:
    """How many elements a vector has, where all memory can be read and written in vectors along `row` or the
    last range; else 0.
    """
    over = body.outer + body.inner
    column = over[-1]
    accesses = _accesses(body)
    sizes = {node.dtype.itemsize for node in accesses} | {store.value.dtype.itemsize for store in body.stores}
    side = VECTOR_BYTES // max(sizes)
    whole = len(sizes) == 1 and side <= 4 and body.extents[row] % side == 0 == body.extents[column] % side
    room = sum(node.dtype.itemsize for node in accesses) * side * side <= MOST_BYTES
    others = size_of([body.extents[a] for a in over if a is not row and a is not column])
    fits = max(others, blocks(body.extents[row], side * HIGH)) <= GRID_SIDE
    if not whole or not room or not fits or any(store.parts != 1 for store in body.stores):
        return 0
    straight = all(_along(store.index, side) is column for store in body.stores)
    return side if straight and all(_along(node, side) in (row, column) for node in accesses) else 0


def _accesses(body: Body) -> list[UOp]:
    """All memory that is read."""
    return [node for node in toposort(*(store.value for store in body.stores)) if node.op is Ops.ACCESS]


def _along(node: UOp, side: int) -> UOp | None:
    """The range that an ACCESS or AFFINE has neighbours along, if all others step by whole vectors."""
    steps = dict(zip(node.src, node.arg[-2], strict=True))
    unit = [a for a, step in steps.items() if step == 1]
    whole = all(step % side == 0 for a, step in steps.items() if a not in unit)
    return unit[0] if len(unit) == 1 and whole and all(a.op is Ops.RANGE for a in steps) else None


class Squares(ThreadBuilder):
    """A square of elements a thread, a side as long as a vector."""

    def nest(self, row: UOp, side: int) -> ThreadNest:
        """What the threads do."""
        body = self.body
        over = body.outer + body.inner
        column, others = over[-1], [a for a in over[:-1] if a is not row]
        x, y = variable("x"), variable("y")
        self.atoms[column], self.atoms[row] = x, y
        statements = [
            assign(x, (thread("block_x") * thread("threads_x") + thread("thread_x")) * side),
            assign(y, (thread("block_y") * thread("threads_y") + thread("thread_y")) * side),
            *self.decompose(thread("block_z"), others),
        ]
        inside = (x < self.extent(column)) & (y < self.extent(row))
        i, j = range_("i"), range_("j")
        aligned: dict[str, None] = {}
        loads = []
        for node in _accesses(body):
            along = _along(node, side)
            square = UOp.new(Ops.SCRATCH, (), (self.name("square"), node.dtype, side * side))
            self.atoms[column], self.atoms[row] = (x, y + j) if along is column else (x + j, y)
            (element,) = self.concrete(node)
            aligned[element.src[0].arg[0]] = None
            load = UOp.new(Ops.LOAD_VECTOR, (square, j * side, *element.src))
            loads.append(unrolled(j, side, [load]))
            place = j * side + i if along is column else i * side + j
            self.results[node] = UOp.new(Ops.LOAD, (square, place))
        self.atoms[column], self.atoms[row] = x + i, y + j
        elements = [self.store(store) for store in body.stores]
        self.atoms[column] = x
        computed, written = [], []
        for store, element in zip(body.stores, elements, strict=True):
            array = UOp.new(Ops.SCRATCH, (), (self.name("packed"), element.src[2].dtype, side))
            computed.append(UOp.new(Ops.STORE, (array, i, element.src[2])))
            target, index, _ = self.store(store).src
            written.append(UOp.new(Ops.STORE_VECTOR, (target, index, array, ZERO)))
            aligned[target.arg[0]] = None
        rows = unrolled(j, side, [unrolled(i, side, self.guarded(computed)), *written])
        statements.append(only_if(inside, [*loads, rows]))
        grid = (
            blocks(body.extents[column], side * WIDE),
            blocks(body.extents[row], side * HIGH),
            max(1, size_of([body.extents[a] for a in others])),
        )
        return self.made(statements, grid, (WIDE, HIGH, 1), tuple(aligned))
