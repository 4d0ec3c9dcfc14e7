"""Reductions across rows: a block of neighbouring columns accumulates side by side, as memory has them.

generate.py asks `runs_along_columns` and builds `Columns`, on what reductions.py has.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from toonygrad.codegen.loops import (
    COLUMN_BLOCK,
    COLUMN_COPIES,
    COLUMN_LEAST,
    COLUMN_OPERATIONS,
    COLUMN_ROWS,
    FEWEST_STEPS,
    HI,
    LO,
    MOST_WIDE,
    ZERO,
    Builder,
    Nest,
    assign,
    evenly,
    loop,
    quotient,
    range_,
    variable,
)
from toonygrad.codegen.lower import Body
from toonygrad.codegen.reductions import Reducing, accumulator_dtype, combine, identity, largest, ranges_of
from toonygrad.uop.node import UOp, toposort
from toonygrad.uop.ops import Ops
from toonygrad.uop.shape import size_of


def runs_along_columns(body: Body) -> bool:
    """Whether neighbouring elements in memory belong to neighbouring results rather than to one."""
    if not body.outer or body.inner or any(len(s.index.src) > len(body.outer) for s in body.stores):
        return False
    along = across = 0
    column = body.outer[-1]
    last = {node.src[-1] for node in body.reduces}
    for node in toposort(*(reduce.src[0] for reduce in body.reduces)):
        if node.op is Ops.ACCESS:
            steps = {atom: abs(coefficient) for atom, coefficient in zip(node.src, node.arg[2], strict=True)}
            unit = 1 if 1 in steps.values() else 2  # complex numbers lie two apart
            # The vector that a matrix is multiplied by counts for little beside it.
            elements = size_of([body.extents.get(atom, 1) for atom in steps])
            for atom, step in steps.items():
                across += elements * (step == unit and atom is column)
                along += elements * (step == unit and atom in last)
    return across > along


def in_groups_of_rows(
    builder: Builder,
    each: UOp,
    bounds: tuple[UOp, UOp],
    lane: UOp,
    width: UOp,
    one_row: Callable[[UOp], Sequence[UOp]],
) -> list[UOp]:
    """Loops over rows `each` and their lanes, several rows at once: a lane's total then stays in a register.

    Parameters
    ----------
    one_row : the statements for a lane of the row that a node stands for
    """
    begin, end = bounds
    loops, singly = [], one_row(each)
    if not any(node.op is Ops.GUARDED for node in toposort(*singly)):
        # The guards of several rows aren't told apart, so this is for the others.
        long = sum(bool(node.src) for node in toposort(*singly)) > COLUMN_OPERATIONS
        together = COLUMN_ROWS // 2 if long else COLUMN_ROWS
        k, group, member = variable(each.arg), range_("group"), range_("member")
        groups = quotient(end - begin if begin is not ZERO else end, UOp.const(together, end.dtype))
        place = group * together + member
        here = assign(k, begin + place if begin is not ZERO else place)
        rows = loop(member, ZERO, UOp.const(together, end.dtype), [here, *one_row(k)])
        lanes = builder.by_pieces(lane, ZERO, width, [rows], lambda *parts: [loop(*parts)])
        loops = [loop(group, ZERO, groups, lanes)]
        begin = begin + groups * together if begin is not ZERO else groups * together
    return [*loops, loop(each, begin, end, builder.inner_loop(lane, ZERO, width, singly))]


class Columns(Reducing):
    """One parallel step, one block of neighbouring columns, accumulated side by side."""

    def build(self) -> Nest:
        body = self.body
        column, others = body.outer[-1], body.outer[:-1]
        columns, rows = body.extents[column], size_of([body.extents[a] for a in others])
        # Of many reductions the totals take a thread's stack, and the first-level cache.
        self._room = COLUMN_BLOCK if len(body.reduces) <= MOST_WIDE else COLUMN_LEAST
        wide = evenly(columns, self._room)
        length = self.chunked(rows * -(-columns // wide))
        if not length:
            wide = evenly(columns, min(wide, max(COLUMN_LEAST, columns * rows // FEWEST_STEPS)))
        blocks = -(-columns // wide)
        stages = self.stages()
        chunks = -(-body.extents[stages[0][0].src[1]] // length) if length else 0
        step, chunk, statements, position = self.steps(body.outer, chunks)
        lane = range_("lane")
        first, width = variable("first"), variable("width")
        self.atoms[column] = first + lane
        if others:
            row, count = variable("row"), self.arguments.size("blocks", blocks)
            statements.append(assign(row, quotient(position, count)))
            statements += self.decompose(row, others)
            position = position.alu(Ops.MODULO, count)
        end, most = self.arguments.size("columns", columns), self.arguments.size("block", wide)
        statements.append(assign(first, position * most))
        statements.append(assign(width, (end - first).alu(Ops.MINIMUM, most)))
        for stage in stages:
            statements += self._stage(stage, lane, width, chunk, length)
        if chunk is None:
            stores = [self.store(store) for store in body.stores]
        else:
            stores = [self.store_chunk(store, chunk, self.accumulated[store.value]) for store in body.stores]
        statements += self.inner_loop(lane, ZERO, width, stores)
        reduced = max(size_of([body.extents[a] for a in stage[0].src[1:]]) for stage in stages)
        return self.finish(
            [loop(step, LO, HI, statements)],
            rows * blocks * max(1, chunks),
            reduced * wide // max(1, chunks),
            self.partials(chunks) if chunks else (),
        )

    def _stage(
        self, stage: Sequence[UOp], lane: UOp, width: UOp, chunk: UOp | None, length: int
    ) -> list[UOp]:
        over = stage[0].src[1:]
        for a in over:
            self.atoms.setdefault(a, range_(self.name("k")))
        once = self._computed_once(stage, lane, width)
        last, each = over[-1], self.atoms[over[-1]]
        totals = {}
        for node in stage:
            dtype = accumulator_dtype(node.arg, node.dtype)
            scratch = UOp.new(Ops.SCRATCH, (), (self.name("totals"), dtype, self._room))
            totals[node] = UOp.new(Ops.LOAD, (scratch, lane))

        def added(k: UOp) -> list[UOp]:
            self.atoms[last] = k
            values = self.concrete(*(node.src[0] for node in stage))
            self.atoms[last] = each
            return [
                UOp.new(Ops.STORE, (*totals[node].src, combine(node.arg, totals[node], value)))
                for node, value in zip(stage, values, strict=True)
            ]

        assigned, start, stop = self.bounds(over[0], chunk, length)
        begin, end = (start, stop) if len(over) == 1 else (ZERO, self.extent(last))
        loops = in_groups_of_rows(self, each, (begin, end), lane, width, added)
        for a in reversed(over[1:-1]):
            loops = [loop(self.atoms[a], ZERO, self.extent(a), loops)]
        if len(over) > 1:
            loops = [loop(self.atoms[over[0]], start, stop, loops)]
        starts = [
            UOp.new(Ops.STORE, (*total.src, identity(node.arg, total.dtype)))
            for node, total in totals.items()
        ]
        self.accumulated.update(totals)
        self.results.update((node, total.cast(node.dtype)) for node, total in totals.items())
        return [*once, *assigned, loop(lane, ZERO, width, starts), *loops]

    def _computed_once(self, stage: Sequence[UOp], lane: UOp, width: UOp) -> list[UOp]:
        """Statements before a stage's loops: what it computes from the column alone."""
        column, over = self.body.outer[-1], stage[0].src[1:]
        roots = [node.src[0] for node in stage]
        ranges, order = ranges_of(toposort(*roots)), toposort(*roots, until=self.results)
        alone = {
            node
            for node in order
            if node.op not in (Ops.RANGE, Ops.AFFINE, Ops.PIECEWISE, Ops.ACCESS, Ops.REDUCE)
            and column in ranges[node]
            and not ranges[node].intersection(over)
        }
        statements = []
        for node in largest(order, alone, stage)[:COLUMN_COPIES]:
            scratch = UOp.new(Ops.SCRATCH, (), (self.name("column"), node.dtype, self._room))
            statements.append(UOp.new(Ops.STORE, (scratch, lane, *self.concrete(node))))
            self.results[node] = UOp.new(Ops.LOAD, (scratch, lane))
        return self.inner_loop(lane, ZERO, width, statements) if statements else []
