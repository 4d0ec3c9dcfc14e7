"""What one thread of a GPU does: elementwise kernels, and what all shapes of kernels share.

Elements, or the rows that reductions combine, lie on a grid of blocks of threads; its numbers are the
launch's, not the text's. cuda_rows.py, cuda_columns.py and others stand on the ThreadBuilder of this file;
cuda_generate.py builds them. `ThreadNest` is what they make.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from toonygrad import dtypes
from toonygrad.codegen.loops import (
    FAST,
    SLOW,
    ZERO,
    Builder,
    assign,
    guard_conditions,
    rewritten,
    variable,
)
from toonygrad.codegen.lower import Arguments, Body
from toonygrad.uop.node import UOp
from toonygrad.uop.ops import Op, Ops
from toonygrad.uop.shape import size_of

# Threads of a block where nothing asks for more.
BLOCK = 256
# What a grid can hold along its second and its third side.
GRID_SIDE = 65535

Sides = tuple[int, int, int]
Temporary = tuple[np.dtype, int]
# Temporary number n stands among a kernel's arrays as this less n, of `before` among its outputs.
TEMPORARY = -2


@dataclass(frozen=True)
class ThreadCarry:
    """What a kernel takes at chunks of rows: the totals, combined by `op`, of the chunks up to each."""

    op: Op
    dtype: np.dtype
    rows: int
    chunks: int


@dataclass(frozen=True)
class ThreadNest:
    """What the threads of a kernel do.

    Attributes
    ----------
    body : SINK of statements
    arguments : what the kernel takes
    grid, block : for this shape, how many blocks along each side, and how many threads of a block
    aligned : names of pointers whose address must be a multiple of VECTOR_BYTES
    carries : for each scan what stands before its chunks, where rows run in chunks
    totals : then, what leaves each chunk's own totals where the carries will be
    words : for each scan how many words blocks publish what they have in, zero before a launch
    temporaries : type and size of what a kernel of chunks leaves for the one that combines them
    before : what leaves that, where this combines it
    combining : where this leaves it, what then remains to be computed
    """

    body: UOp
    arguments: Arguments
    grid: Sides
    block: Sides
    aligned: tuple[str, ...] = ()
    carries: tuple[ThreadCarry, ...] = ()
    totals: ThreadNest | None = None
    words: tuple[int, ...] = ()
    temporaries: tuple[Temporary, ...] = ()
    before: ThreadNest | None = None
    combining: Body | None = None


def thread(word: str) -> UOp:
    """A number that the hardware has: which thread this is, how many there are."""
    return UOp.new(Ops.THREAD, (), word)


def only_if(condition: UOp, statements: Sequence[UOp]) -> UOp:
    """The statement that others run under a condition."""
    return UOp.new(Ops.IF, (condition, *statements))


def unrolled(over: UOp, count: int, statements: Sequence[UOp]) -> UOp:
    """The statement that repeats others `count` times, written one after the other."""
    return UOp.new(Ops.LOOP, (over, ZERO, UOp.const(count, dtypes.INDEX), *statements), "unrolled")


def times(x: UOp, number: int) -> UOp:
    """x * number, an index."""
    return x if number == 1 else x * number


def power_of_two(least: int) -> int:
    """The smallest power of two not below."""
    return 1 << max(0, least - 1).bit_length()


def blocks(length: int, size: int) -> int:
    """How many blocks of `size` cover `length`, at least one."""
    return max(1, -(-length // size))


class ThreadBuilder(Builder):
    """What kernels of all shapes share: guards, and ranges that lie on the grid."""

    def guarded(self, statements: Sequence[UOp]) -> list[UOp]:
        """Statements in their fast form where all guards hold for this thread, else in the slow one."""
        conditions = guard_conditions(statements)
        if not conditions:
            return list(statements)
        ordinary = variable(self.name("ordinary"), dtypes.bool_)
        return [
            assign(ordinary, functools.reduce(operator.and_, conditions)),
            only_if(ordinary, rewritten(statements, FAST)),
            only_if(~ordinary, rewritten(statements, SLOW)),
        ]

    def on_grid(self, over: Sequence[UOp], rows_each: int) -> tuple[list[UOp], UOp, tuple[int, int]]:
        """Place ranges on the grid's second and third side, `rows_each` of the last of them in a block.

        Returns the statements, the condition that this thread's values lie inside, and blocks along the two
        sides.
        """
        extents = [self.body.extents[a] for a in over]
        within = thread("block_y") * thread("threads_y") + thread("thread_y")
        row = variable(self.name("row"))
        if len(over) == 2 and extents[0] <= GRID_SIDE and blocks(extents[1], rows_each) <= GRID_SIDE:
            slow = variable(self.name("slow"))
            self.atoms[over[0]], self.atoms[over[1]] = slow, row
            statements = [assign(slow, thread("block_z")), assign(row, within)]
            return statements, row < self.extent(over[1]), (blocks(extents[1], rows_each), max(1, extents[0]))
        count = blocks(size_of(extents), rows_each)
        deep = blocks(count, GRID_SIDE)
        layer = thread("block_z") * thread("blocks_y") + thread("block_y")
        total = self.arguments.size("rows", size_of(extents))
        statements = [assign(row, layer * thread("threads_y") + thread("thread_y"))]
        inside = row < total
        statements += self.decompose(row, over)
        return statements, inside, (blocks(count, deep), deep)

    def made(
        self,
        statements: Sequence[UOp],
        grid: Sides,
        block: Sides,
        aligned: tuple[str, ...] = (),
        resident: int | None = None,
    ) -> ThreadNest:
        """The nest from its statements; `resident` blocks of BLOCK threads are to fit a multiprocessor."""
        body = UOp.new(Ops.SINK, tuple(statements), resident)
        return ThreadNest(body, self.arguments, grid, block, aligned)


class Elementwise(ThreadBuilder):
    """One element a thread."""

    def build(self) -> ThreadNest:
        over = self.body.outer + self.body.inner
        if not over:
            return self.made(
                self.guarded([self.store(store) for store in self.body.stores]), (1, 1, 1), (1, 1, 1)
            )
        column, others = over[-1], over[:-1]
        length = self.body.extents[column]
        wide = min(BLOCK, power_of_two(length))
        here = variable(self.name("i"))
        self.atoms[column] = here
        statements = [assign(here, thread("block_x") * thread("threads_x") + thread("thread_x"))]
        inside = here < self.extent(column)
        high, sides = 1, (1, 1)
        if others:
            high = BLOCK // wide
            placed, row_inside, sides = self.on_grid(others, high)
            statements += placed
            inside = inside & row_inside
        stores = self.guarded([self.store(store) for store in self.body.stores])
        statements.append(only_if(inside, stores))
        # A block of one row needs whole warps.
        wide = wide if others else max(32, wide)
        return self.made(statements, (blocks(length, wide), *sides), (wide, high, 1))
