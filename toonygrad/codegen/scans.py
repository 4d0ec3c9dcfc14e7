"""Running combinations: along rows in blocks, across rows side by side, and long ones in chunks.

generate.py builds `Scan`, on the Builder of loops.py. Where too few rows or columns share out among cores,
each goes in chunks: the kernel runs once for the chunks' totals and once more, from what stands before each,
to store.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

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
    SCAN_OPERATIONS,
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
        """One parallel step, one row or a chunk of it."""
        (over,) = self._over
        rows, extent = size_of([self.body.extents[a] for a in self._rest]), self.body.extents[over]
        length = self._chunk(rows, extent, SCAN_CHUNK)
        chunks = -(-extent // length) if length else 1
        step, statements, position = self._steps(length)
        statements += self.decompose(position, self._rest)
        bounds = self._bounds(statements, length)
        totals, before = {}, {}
        for node in self._scans:
            dtype = self._dtypes[node]
            totals[node] = total = variable(self.name("total"), dtype)
            statements.append(assign(total, identity(node.arg, dtype)))
            if length:
                before[node] = variable(self.name("before"), dtype)
                statements.append(assign(before[node], self._carried(node, position, rows)))
        loops = self._in_blocks if self._is_long() else self._in_groups
        storing = loops(bounds, totals, before, stores=True)
        if length:
            adding = loops(bounds, totals, before, stores=False)
            statements.append(UOp.new(Ops.IF, (self._pass_stores(), *storing)))
            carry = [self._carry(node, position, rows, total) for node, total in totals.items()]
            statements.append(UOp.new(Ops.IF, (~self._pass_stores(), *adding, *carry)))
            onward = [self._carry(n, position, rows, before[n].alu(n.arg, t)) for n, t in totals.items()]
            statements.append(UOp.new(Ops.IF, (self._pass_carries(), *onward)))
        else:
            statements += storing
        return self._finished(step, statements, rows, chunks, length or extent, rows)

    def _is_long(self) -> bool:
        """Whether what is computed beside the scans is worth loops of its own, for vectors."""
        order = toposort(*(store.value for store in self.body.stores))
        return sum(bool(n.src) and n.op not in (Ops.ACCESS, Ops.AFFINE) for n in order) > SCAN_OPERATIONS

    def _result(self, node: UOp, before: Mapping[UOp, UOp], combined: UOp) -> None:
        whole = before[node].alu(node.arg, combined) if node in before else combined
        self.results[node] = whole.cast(node.dtype)

    def _in_groups(
        self, bounds: tuple[UOp, UOp], totals: Mapping[UOp, UOp], before: Mapping[UOp, UOp], stores: bool
    ) -> list[UOp]:
        """Loops that compute, combine and store element by element, sums of floats a few at a time."""
        start, stop = bounds
        (over,) = self._over
        each = self.atoms[over]

        def combined(k: UOp, sums: dict[UOp, UOp] | None) -> list[UOp]:
            """Statements for the element at `k`: without sums it joins the totals."""
            self.atoms[over] = k
            statements = []
            for node, total in totals.items():
                (value,) = self.concrete(node.src[0])
                value = value.cast(total.dtype)
                if sums is None:
                    statements.append(assign(total, total.alu(node.arg, value)))
                    self._result(node, before, total)
                else:
                    target = variable(self.name("sum"), total.dtype)
                    statements.append(assign(target, sums[node] + value if node in sums else value))
                    sums[node] = target
                    self._result(node, before, total + target)
            if stores:
                statements += [self.store(store) for store in self.body.stores]
            self.atoms[over] = each
            return statements

        if not self._sums_floats():
            return self.inner_loop(each, start, stop, combined(each, None))
        # Sums inside a group don't wait for the total, which then takes one addition where it took a few.
        group, groups, place = range_(self.name("group")), variable("groups"), variable("place")
        length = stop if start is ZERO else stop - start
        begin = group * SCAN_GROUP if start is ZERO else start + group * SCAN_GROUP
        sums: dict[UOp, UOp] = {}
        inside = [assign(place, begin), *combined(place, sums)]
        for k in range(1, SCAN_GROUP):
            inside += combined(place + k, sums)
        inside += [assign(total, total + sums[node]) for node, total in totals.items()]
        rest = groups * SCAN_GROUP if start is ZERO else start + groups * SCAN_GROUP
        return [
            assign(groups, quotient(length, UOp.const(SCAN_GROUP, dtypes.INDEX))),
            loop(group, ZERO, groups, inside),
            loop(each, rest, stop, combined(each, None)),
        ]

    def _sums_floats(self) -> bool:
        """Whether groups come first: integers wait for nothing, and products of a few floats may leave the
        range that all together stay in.
        """
        floats = all(d in dtypes.REAL_FLOATING for d in self._dtypes.values())
        return floats and all(node.arg is Ops.ADD for node in self._scans) and not self._nested()

    def _nested(self) -> bool:
        """Whether a scan combines what depends on another."""
        return any(node.op is Ops.SCAN for scan in self._scans for node in toposort(scan.src[0]))

    def _in_blocks(
        self, bounds: tuple[UOp, UOp], totals: Mapping[UOp, UOp], before: Mapping[UOp, UOp], stores: bool
    ) -> list[UOp]:
        """Loops in blocks: values into scratch memory, combined there, and stored.

        So all but the combining runs in vectors.
        """
        start, stop = bounds
        each = self.atoms[self._over[0]]
        block, first, last = range_(self.name("block")), variable("first"), variable("last")
        begin = block * SCAN_BLOCK if start is ZERO else start + block * SCAN_BLOCK
        inside = [assign(first, begin), assign(last, (first + SCAN_BLOCK).alu(Ops.MINIMUM, stop))]
        for node, total in totals.items():
            part = self._scratch("part", total.dtype, SCAN_BLOCK)
            (value,) = self.concrete(node.src[0])
            computed = UOp.new(Ops.STORE, (part, each - first, value.cast(total.dtype)))
            inside += self.inner_loop(each, first, last, [computed])
            inside += self._combined_in_place(node, part, total, last - first)
            self._result(node, before, UOp.new(Ops.LOAD, (part, each - first)))
        if stores:
            inside += self.inner_loop(each, first, last, [self.store(store) for store in self.body.stores])
        length = stop if start is ZERO else stop - start
        return [loop(block, ZERO, pieces(length, SCAN_BLOCK), inside)]

    def _combined_in_place(self, node: UOp, part: UOp, total: UOp, width: UOp) -> list[UOp]:
        """Loops by which a block's values in scratch memory become the running combinations."""

        def value(at: UOp) -> UOp:
            return UOp.new(Ops.LOAD, (part, at))

        def kept(at: UOp, combined: UOp) -> UOp:
            return UOp.new(Ops.STORE, (part, at, combined))

        place = range_(self.name("place"))
        one_by_one = [assign(total, total.alu(node.arg, value(place))), kept(place, total)]
        if not self._sums_floats():
            return [loop(place, ZERO, width, one_by_one)]
        group, groups = range_(self.name("group")), variable(self.name("groups"))
        start = group * SCAN_GROUP
        places = [start, *(start + k for k in range(1, SCAN_GROUP))]
        sums = [variable(self.name("sum"), total.dtype) for _ in places]
        inside = [assign(sums[0], value(places[0]))]
        inside += [assign(sums[k], sums[k - 1] + value(places[k])) for k in range(1, SCAN_GROUP)]
        inside += [kept(at, total + combined) for at, combined in zip(places, sums, strict=True)]
        inside.append(assign(total, total + sums[-1]))
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
        onward: list[UOp] = []
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
                onward.append(self._carry(node, at, results, total))
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
            return stores

        def all_rows(one_row: Callable[[UOp], list[UOp]]) -> list[UOp]:
            statements = one_row(each)
            if not any(node.op is Ops.GUARDED for node in toposort(*statements)):
                return in_groups_of_rows(self, each, bounds, lane, width, one_row)
            # Guards are looked at before a loop that writes scratch: a loop each, so that totals are there.
            loops = [part for one in statements for part in self.inner_loop(lane, ZERO, width, [one])]
            return [loop(each, *bounds, loops)]

        statements.append(loop(lane, ZERO, width, begins))
        bounds = (start, stop) if len(self._over) == 1 else (ZERO, self.extent(last))
        rows = all_rows(lambda k: [*combined(k), *stored(k)])
        for a in reversed(self._over[1:-1]):
            rows = [loop(self.atoms[a], ZERO, self.extent(a), rows)]
        if len(self._over) > 1:
            rows = [loop(self.atoms[self._over[0]], start, stop, rows)]
        if length:
            sums = all_rows(combined)
            statements.append(UOp.new(Ops.IF, (self._pass_stores(), *rows)))
            statements.append(
                UOp.new(Ops.IF, (~self._pass_stores(), *sums, loop(lane, ZERO, width, carries)))
            )
            statements.append(UOp.new(Ops.IF, (self._pass_carries(), loop(lane, ZERO, width, onward))))
        else:
            statements += rows
        return self._finished(step, statements, outer * blocks, chunks, (length or extent) * wide, results)

    # -- chunks ----------------------------------------------------------------------------------------------

    def _chunk(self, steps: int, extent: int, length: int) -> int:
        """The extent of a chunk, where the scans must be split and can be; else 0.

        The number of threads has no say, so that it changes no bit.
        """
        # The product of a chunk may leave the range of floats although no running product does.
        products = any(n.arg is Ops.MUL and n.dtype in dtypes.REAL_FLOATING for n in self._scans)
        if steps >= SCAN_STEPS or self._nested() or products or len(self._over) > 1:
            return 0
        return length if extent >= 2 * length else 0

    def _scratch(self, stem: str, dtype: np.dtype, room: int) -> UOp:
        return UOp.new(Ops.SCRATCH, (), (self.name(stem), dtype, room))

    def _pass_stores(self) -> UOp:
        """Whether the kernel stores in this pass over the chunks, rather than taking their totals."""
        return self.arguments.size("storing", 1) > ZERO

    def _pass_carries(self) -> UOp:
        """Whether one thread goes from chunk to chunk, each leaving to the next what stands before it."""
        return self.arguments.size("storing", 1) > UOp.const(1, dtypes.INDEX)

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
        """The STORE of a chunk's total, or all up to its end, in the place of what stands before the next."""
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
