"""Running combinations: along rows in blocks, across rows side by side, and long ones in chunks.

generate.py builds `Scan`, on the Builder of loops.py. Where too few rows or columns share out among cores,
each goes in chunks: the kernel runs once for the chunks' totals and once more, from what stands before each,
to store.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from toonygrad import dtypes
from toonygrad.codegen.columns import in_groups_of_rows
from toonygrad.codegen.loops import (
    CHUNK_ROWS,
    COLUMN_BLOCK,
    COLUMN_LEAST,
    HI,
    LO,
    MOST_WIDE,
    SCAN_BLOCK,
    SCAN_CHUNK,
    SCAN_COLUMNS,
    SCAN_GROUP,
    SCAN_NARROWEST,
    SCAN_STEPS,
    SCAN_WAVE,
    SHORT_SUM,
    ZERO,
    Builder,
    Carried,
    Nest,
    assign,
    evenly,
    loop,
    pieces,
    quotient,
    range_,
    variable,
)
from toonygrad.codegen.lower import Body
from toonygrad.codegen.reductions import accumulator_dtype, identity
from toonygrad.uop.node import UOp, toposort
from toonygrad.uop.ops import Ops
from toonygrad.uop.shape import size_of


class Scan(Builder):
    """Running combinations, each row or column storing as it goes."""

    def build(self) -> Nest:
        body = self.body
        self._scans = [node for node in toposort(*(s.value for s in body.stores)) if node.op is Ops.SCAN]
        self._over = self._scans[0].src[1:]
        self._rest = [a for a in (*body.outer, *body.inner) if a not in self._over]
        self._dtypes = {node: accumulator_dtype(node.arg, node.dtype) for node in self._scans}
        for a in self._over:
            self.atoms[a] = range_(self.name("k"))
        if _runs_along_columns(body, self._over, self._rest):
            return self._columns()
        if len(self._over) == 1 and body.extents[self._over[0]] > SHORT_SUM:
            return self._rows()
        return self._short_rows()

    # -- rows ------------------------------------------------------------------------------------------------

    def _short_rows(self) -> Nest:
        """One parallel step, one row, which goes on element by element."""
        step = range_("step")
        statements = self.decompose(step, self._rest)
        inside: list[UOp] = []
        for node in self._scans:
            total = variable(self.name("total"), self._dtypes[node])
            (value,) = self.concrete(node.src[0])
            statements.append(assign(total, identity(node.arg, total.dtype)))
            inside.append(assign(total, total.alu(node.arg, value.cast(total.dtype))))
            self.results[node] = total.cast(node.dtype)
        inside += [self.store(store) for store in self.body.stores]
        statements += self.nested(self._over, inside)
        extents = self.body.extents
        rows, length = (size_of([extents[a] for a in part]) for part in (self._rest, self._over))
        return self.finish([loop(step, LO, HI, statements)], rows, length)

    def _rows(self) -> Nest:
        """One parallel step, one row or a chunk of it, in blocks.

        A block's values are computed into scratch memory, combined there one after the other, and stored: so
        that all but the combining runs in vectors.
        """
        (over,) = self._over
        rows, extent = size_of([self.body.extents[a] for a in self._rest]), self.body.extents[over]
        length = self._chunk(rows, extent, SCAN_CHUNK)
        chunks = -(-extent // length) if length else 1
        step, statements, position = self._steps(length)
        statements += self.decompose(position, self._rest)
        start, stop = self._bounds(statements, length)
        block, first, last = range_(self.name("block")), variable("first"), variable("last")
        begin = block * SCAN_BLOCK if start is ZERO else start + block * SCAN_BLOCK
        inside = [assign(first, begin), assign(last, (first + SCAN_BLOCK).alu(Ops.MINIMUM, stop))]
        place = self.atoms[over] - first
        totals, before = {}, {}
        for node in self._scans:
            dtype = self._dtypes[node]
            totals[node] = total = variable(self.name("total"), dtype)
            statements.append(assign(total, identity(node.arg, dtype)))
            part = self._scratch("part", dtype, SCAN_BLOCK)
            (value,) = self.concrete(node.src[0])
            computed = UOp.new(Ops.STORE, (part, place, value.cast(dtype)))
            inside += self.inner_loop(self.atoms[over], first, last, [computed])
            inside += self._combined(node, part, total, last - first)
            result = UOp.new(Ops.LOAD, (part, place))
            if length:
                before[node] = variable(self.name("before"), dtype)
                statements.append(assign(before[node], self._carried(node, position, rows)))
                result = before[node].alu(node.arg, result)
            self.results[node] = result.cast(node.dtype)
        stores = [self.store(store) for store in self.body.stores]
        storing = self.inner_loop(self.atoms[over], first, last, stores)
        inside += [UOp.new(Ops.IF, (self._storing(), *storing))] if length else storing
        extent_here = stop if start is ZERO else stop - start
        statements.append(loop(block, ZERO, pieces(extent_here, SCAN_BLOCK), inside))
        if length:
            carries = [self._carry(node, position, rows, total) for node, total in totals.items()]
            statements.append(UOp.new(Ops.IF, (~self._storing(), *carries)))
        return self._finished(step, statements, rows, chunks, length or extent, rows)

    def _combined(self, node: UOp, part: UOp, total: UOp, width: UOp) -> list[UOp]:
        """Statements by which a block's values in scratch become the running combinations."""
        place = range_(self.name("place"))
        grown = total.alu(node.arg, UOp.new(Ops.LOAD, (part, place)))
        one_by_one = [assign(total, grown), UOp.new(Ops.STORE, (part, place, total))]
        if node.arg is not Ops.ADD or total.dtype not in dtypes.REAL_FLOATING:
            # Integers wait for nothing, and products of a few floats may leave the range that all together
            # stay in.
            return [loop(place, ZERO, width, one_by_one)]
        # Sums inside a group don't wait for the total, which then takes one addition where it took a few.
        group, groups = range_(self.name("group")), variable(self.name("groups"))
        start = group * SCAN_GROUP
        places = [start, *(start + k for k in range(1, SCAN_GROUP))]
        sums = [variable(self.name("sum"), total.dtype) for _ in places]
        inside: list[UOp] = []
        for k, (target, at) in enumerate(zip(sums, places, strict=True)):
            value = UOp.new(Ops.LOAD, (part, at))
            inside.append(assign(target, sums[k - 1] + value if k else value))
        for at, before in zip(places[:-1], sums[:-1], strict=True):
            inside.append(UOp.new(Ops.STORE, (part, at, total + before)))
        inside += [assign(total, total + sums[-1]), UOp.new(Ops.STORE, (part, places[-1], total))]
        return [
            assign(groups, quotient(width, UOp.const(SCAN_GROUP, dtypes.INDEX))),
            loop(group, ZERO, groups, inside),
            loop(place, groups * SCAN_GROUP, width, one_by_one),
        ]

    # -- columns ---------------------------------------------------------------------------------------------

    def _columns(self) -> Nest:
        """One parallel step, one block of neighbouring columns or a chunk of its rows, side by side."""
        body = self.body
        column, others = self._rest[-1], self._rest[:-1]
        columns, outer = body.extents[column], size_of([body.extents[a] for a in others])
        room = COLUMN_BLOCK if len(self._scans) <= MOST_WIDE else COLUMN_LEAST
        wide = evenly(columns, min(room, max(SCAN_COLUMNS, columns * outer // SCAN_STEPS)))
        blocks = -(-columns // wide)
        extent = size_of([body.extents[a] for a in self._over])
        length = self._chunk(outer * blocks, extent, max(CHUNK_ROWS, SCAN_CHUNK // wide))
        chunks = -(-extent // length) if length else 1
        step, statements, position = self._steps(length)
        lane, first, width = range_("lane"), variable("first"), variable("width")
        self.atoms[column] = first + lane
        block = position
        if others:
            row, count = variable("row"), self.arguments.size("blocks", blocks)
            statements += [assign(row, quotient(position, count)), *self.decompose(row, others)]
            block = position.alu(Ops.MODULO, count)
        end, most = self.arguments.size("columns", columns), self.arguments.size("block", wide)
        statements.append(assign(first, block * most))
        statements.append(assign(width, (end - first).alu(Ops.MINIMUM, most)))
        start, stop = self._bounds(statements, length)
        results = outer * columns
        at = first + lane if not others else row * end + (first + lane)
        begins: list[UOp] = []
        carries: list[UOp] = []
        totals: dict[UOp, UOp] = {}
        for node in self._scans:
            dtype = self._dtypes[node]
            totals[node] = total = UOp.new(Ops.LOAD, (self._scratch("totals", dtype, room), lane))
            begins.append(UOp.new(Ops.STORE, (*total.src, identity(node.arg, dtype))))
            if length:
                before = UOp.new(Ops.LOAD, (self._scratch("before", dtype, room), lane))
                begins.append(UOp.new(Ops.STORE, (*before.src, self._carried(node, at, results))))
                carries.append(self._carry(node, at, results, total))
                total = before.alu(node.arg, total)
            self.results[node] = total.cast(node.dtype)
        last, each = self._over[-1], self.atoms[self._over[-1]]

        def combined(k: UOp) -> list[UOp]:
            self.atoms[last] = k
            values = self.concrete(*(node.src[0] for node in self._scans))
            self.atoms[last] = each
            return [
                UOp.new(Ops.STORE, (*total.src, total.alu(node.arg, value.cast(total.dtype))))
                for (node, total), value in zip(totals.items(), values, strict=True)
            ]

        def stored(k: UOp) -> list[UOp]:
            self.atoms[last] = k
            stores = [self.store(store) for store in body.stores]
            self.atoms[last] = each
            return [*combined(k), *stores]

        statements.append(loop(lane, ZERO, width, begins))
        bounds = (start, stop) if len(self._over) == 1 else (ZERO, self.extent(last))
        rows = in_groups_of_rows(self, each, bounds, lane, width, stored)
        for a in reversed(self._over[1:-1]):
            rows = [loop(self.atoms[a], ZERO, self.extent(a), rows)]
        if len(self._over) > 1:
            rows = [loop(self.atoms[self._over[0]], start, stop, rows)]
        if length:
            sums = in_groups_of_rows(self, each, bounds, lane, width, combined)
            statements.append(UOp.new(Ops.IF, (self._storing(), *rows)))
            statements.append(UOp.new(Ops.IF, (~self._storing(), *sums, loop(lane, ZERO, width, carries))))
        else:
            statements += rows
        return self._finished(step, statements, outer * blocks, chunks, (length or extent) * wide, results)

    # -- chunks ----------------------------------------------------------------------------------------------

    def _chunk(self, steps: int, extent: int, length: int) -> int:
        """The extent of a chunk, where the scans must be split and can be; else 0.

        The number of threads has no say, so that it changes no bit.
        """
        inside = [source for node in self._scans for source in toposort(node.src[0])]
        nested = any(node.op is Ops.SCAN for node in inside)
        # The product of a chunk may leave the range of floats although no running product does.
        products = any(n.arg is Ops.MUL and n.dtype in dtypes.REAL_FLOATING for n in self._scans)
        if steps >= SCAN_STEPS or nested or products or len(self._over) > 1:
            return 0
        return length if extent >= 2 * length else 0

    def _scratch(self, stem: str, dtype: np.dtype, room: int) -> UOp:
        return UOp.new(Ops.SCRATCH, (), (self.name(stem), dtype, room))

    def _storing(self) -> UOp:
        return self.arguments.size("storing", 1) > ZERO

    def _steps(self, length: int) -> tuple[UOp, list[UOp], UOp]:
        """The parallel loop's variable, assignments, and the place of the row or block of columns."""
        step = range_("step")
        if not length:
            return step, [], step
        position, count = variable("result"), self.arguments.size("chunks", 1)
        self._piece = variable("piece")
        here = self.arguments.size("first_chunk", 0) + step.alu(Ops.MODULO, count)
        return step, [assign(self._piece, here), assign(position, quotient(step, count))], position

    def _bounds(self, statements: list[UOp], length: int) -> tuple[UOp, UOp]:
        """Start and stop of the slowest scanned range: the whole, or one chunk of it."""
        end = self.extent(self._over[0])
        if not length:
            return ZERO, end
        start, stop = variable("chunk_start"), variable("chunk_stop")
        size = self.arguments.size("chunk", length)
        statements.append(assign(start, self._piece * size))
        statements.append(assign(stop, (start + size).alu(Ops.MINIMUM, end)))
        return start, stop

    def _carry_place(self, node: UOp, chunk: UOp, at: UOp, results: int) -> tuple[UOp, UOp]:
        pointer = self.arguments.carry(self._scans.index(node), self._dtypes[node])
        return pointer, chunk if results == 1 else chunk * self.arguments.size("results", results) + at

    def _carried(self, node: UOp, at: UOp, results: int) -> UOp:
        """What stands before a chunk, combined."""
        return UOp.new(Ops.LOAD, self._carry_place(node, self._piece, at, results))

    def _carry(self, node: UOp, at: UOp, results: int, total: UOp) -> UOp:
        """The STORE of a chunk's total, in the place of what stands before the next."""
        return UOp.new(Ops.STORE, (*self._carry_place(node, self._piece + 1, at, results), total))

    def _finished(
        self, step: UOp, statements: Sequence[UOp], steps: int, chunks: int, elements: int, results: int
    ) -> Nest:
        carried = None
        if chunks > 1:
            wave = max(-(-SCAN_WAVE // (steps * elements)), -(-SCAN_STEPS // steps))
            starts = [identity(node.arg, self._dtypes[node]) for node in self._scans]
            kinds = tuple((node.arg, start.dtype, start.arg) for node, start in zip(self._scans, starts))
            carried = Carried(kinds, chunks, results, wave)
        return self.finish([loop(step, LO, HI, statements)], steps * chunks, elements, carried=carried)


def _runs_along_columns(body: Body, over: Sequence[UOp], rest: Sequence[UOp]) -> bool:
    """Whether neighbouring elements in memory belong to neighbouring scans rather than to one."""
    if not rest or body.extents[rest[-1]] < SCAN_NARROWEST:
        return False
    along = across = 0
    uses = [(store.index.src, store.index.arg[0]) for store in body.stores]
    for node in toposort(*(store.value for store in body.stores)):
        if node.op is Ops.ACCESS:
            uses.append((node.src, node.arg[2]))
    for atoms, coefficients in uses:
        steps = {atom: abs(coefficient) for atom, coefficient in zip(atoms, coefficients, strict=True)}
        unit = 1 if 1 in steps.values() else 2  # complex numbers lie two apart
        across += steps.get(rest[-1]) == unit
        along += steps.get(over[-1]) == unit
    return across > 0 and across >= along
