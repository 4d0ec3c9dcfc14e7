"""The loops of reductions and scans: how a row, a block of columns or a running combination accumulates.

Rows: each parallel step computes the reductions along one row, then what consumes them. Columns: the
reduction runs outside and a block of columns inside. A reduction with too few rows or columns to share out
runs in chunks of a fixed size whose results the plan combines: sizes alone decide, so the bits don't depend
on the number of threads.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from dataclasses import replace

import numpy as np

from toonygrad import dtypes
from toonygrad.codegen.loops import (
    CHUNK,
    CHUNK_ROWS,
    COLUMN_BLOCK,
    COLUMN_COPIES,
    COLUMN_LEAST,
    COLUMN_ROWS,
    DRAFT_OPERATIONS,
    FEWEST_CHUNKS,
    FEWEST_STEPS,
    HI,
    LO,
    SUM_BLOCK,
    ZERO,
    Builder,
    Nest,
    Partial,
    assign,
    evenly,
    loop,
    pieces,
    quotient,
    range_,
    variable,
)
from toonygrad.codegen.lower import Body, Store
from toonygrad.uop.node import UOp, substitute, toposort
from toonygrad.uop.ops import Op, Ops
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
            for atom, step in steps.items():
                across += step == unit and atom is column
                along += step == unit and atom in last
    return across > along


def ranges_of(order: Iterable[UOp]) -> dict[UOp, frozenset[UOp]]:
    """For each node, of which all sources stand before it, the ranges that its value depends on."""
    found: dict[UOp, frozenset[UOp]] = {}
    for node in order:
        own = frozenset((node,)) if node.op is Ops.RANGE else frozenset()
        found[node] = own.union(*(found[source] for source in node.src))
        if node.op is Ops.REDUCE:
            found[node] = found[node].difference(node.src[1:])
    return found


def largest(order: Iterable[UOp], among: Set[UOp], roots: Iterable[UOp]) -> tuple[UOp, ...]:
    """Those of `among` that one of `roots`, or a node of `order` outside of it, is computed from."""
    order = list(order)
    needed = {source for node in (*roots, *order) if node not in among for source in node.src}
    return tuple(node for node in order if node in among and node in needed)


# -- accumulating --------------------------------------------------------------------------------------------


def accumulator_dtype(op: Op, dtype: np.dtype) -> np.dtype:
    """The type in which a reduction accumulates: float32 sums and products in float64."""
    return dtypes.float64 if dtype == dtypes.float32 and op in (Ops.ADD, Ops.MUL) else dtype


def identity(op: Op, dtype: np.dtype) -> UOp:
    """The value that a reduction starts with."""
    if op in (Ops.ADD, Ops.OR):
        return UOp.const(0, dtype)
    if op in (Ops.MUL, Ops.AND):
        return UOp.const(1, dtype)
    if dtype in dtypes.REAL_FLOATING:
        return UOp.const(-np.inf if op is Ops.MAXIMUM else np.inf, dtype)
    limits = np.iinfo(dtype)
    return UOp.const(int(limits.min if op is Ops.MAXIMUM else limits.max), dtype)


def combine(op: Op, accumulated: UOp, value: UOp) -> UOp:
    """One step of a reduction, in the accumulator's type, which floats may reorder."""
    dtype = accumulated.dtype
    value = value.cast(dtype)
    if dtype in dtypes.REAL_FLOATING:
        op = {Ops.ADD: Ops.REASSOCIATING_ADD, Ops.MUL: Ops.REASSOCIATING_MUL}.get(op, op)
    return accumulated.alu(op, value)


def joined(total: UOp, part: UOp) -> tuple[UOp, UOp]:
    """A block's sum added to a total, and what rounding loses by that (Neumaier 1974)."""
    grown = total + part
    larger = abs(part) <= abs(total)
    return grown, larger.where((total - grown) + part, (part - grown) + total)


def with_lost(total: UOp, lost: UOp) -> UOp:
    """A total with all that rounding has lost, added back at the end."""
    # Infinities leave NaN in what was lost, and are right in the total.
    return (abs(lost) < UOp.const(np.inf, lost.dtype)).where(total + lost, total)


class Reducing(Builder):
    """What rows and columns share: stages of reductions, and splitting one into chunks."""

    def stages(self) -> list[list[UOp]]:
        """The reductions by the loops they share: over the same ranges, with nothing needing another."""
        level: dict[UOp, int] = {}
        groups: dict[tuple[int, tuple[UOp, ...]], list[UOp]] = {}
        for node in toposort(*(store.value for store in self.body.stores)):
            below = max((level[s] for s in node.src), default=0)
            level[node] = below + 1 if node.op is Ops.REDUCE else below
            if node.op is Ops.REDUCE:
                groups.setdefault((level[node], node.src[1:]), []).append(node)
        return [groups[key] for key in sorted(groups, key=lambda key: key[0])]

    def chunked(self, steps: int) -> int:
        """The extent of a chunk along the slowest reduced range, where a reduction must be split; else 0."""
        stages = self.stages()
        outer = len(self.body.outer)
        whole = all(s.value.op is Ops.REDUCE or len(s.index.src) > outer for s in self.body.stores)
        if len(stages) != 1 or not whole or steps >= FEWEST_STEPS:
            return 0
        over = stages[0][0].src[1:]
        extents = [self.body.extents[a] for a in over]
        rows = size_of([self.body.extents[a] for a in self.body.outer])
        if size_of(extents) * rows < 2 * CHUNK:
            return 0
        length = -(-CHUNK // size_of(extents[1:]) // max(1, rows // max(1, steps)))
        if rows > steps:
            length = max(length, min(CHUNK_ROWS, -(-extents[0] // FEWEST_CHUNKS)))
        return max(1, length) if extents[0] >= 2 * max(1, length) else 0

    def partials(self, chunks: int) -> list[Partial]:
        """The outputs that come in chunks."""
        found: dict[int, Partial] = {}
        for store in self.body.stores:
            if store.value.op is Ops.REDUCE:
                dtype = accumulator_dtype(store.value.arg, store.value.dtype)
                if store.parts == 2:
                    dtype = dtypes.COMPLEX_OF[dtype]
                found[store.array] = Partial(store.array, store.value.arg, chunks, dtype)
        return list(found.values())

    def store_chunk(self, store: Store, chunk: UOp, value: UOp) -> UOp:
        """The STORE of a chunk's value, each chunk's results behind those of the one before."""
        results = size_of([self.body.extents[a] for a in self.body.outer])
        terms = [(self.atoms[a], c) for a, c in zip(store.index.src, store.index.arg[0], strict=True)]
        pointer = self.arguments.pointer(True, store.array, store.index.arg[1], value.dtype)
        start = chunk if results == 1 else chunk * self.arguments.size("results", results)
        if store.parts > 1:
            start = start * store.parts
        index = self.arguments.flat(True, store.array, terms)
        return UOp.new(Ops.STORE, (pointer, start + index if self.body.outer else start, value))

    def bounds(self, over: UOp, chunk: UOp | None, length: int) -> tuple[list[UOp], UOp, UOp]:
        """Start and stop of a reduced range: the whole, or one chunk of it."""
        if chunk is None:
            return [], ZERO, self.extent(over)
        start, stop = variable("chunk_start"), variable("chunk_stop")
        size = self.arguments.size("chunk", length)
        end = (start + size).alu(Ops.MINIMUM, self.extent(over))
        return [assign(start, chunk * size), assign(stop, end)], start, stop

    def steps(self, over: Sequence[UOp], chunks: int) -> tuple[UOp, UOp | None, list[UOp], UOp]:
        """The parallel loop's variable, the chunk it stands for, assignments, and the place of the result."""
        step = range_("step")
        if not chunks:
            return step, None, [], step
        if not over:
            return step, step, [], step
        count = self.arguments.size("chunks", chunks)
        chunk, position = variable("piece"), variable("result")
        assigned = [assign(chunk, step.alu(Ops.MODULO, count)), assign(position, quotient(step, count))]
        return step, chunk, assigned, position


class Rows(Reducing):
    """One parallel step, one row: its reductions, then what consumes them."""

    def build(self) -> Nest:
        body = self.body
        outer = [body.extents[a] for a in body.outer]
        rows = size_of(outer)
        length = self.chunked(rows)
        stages = self.stages()
        first = stages[0][0].src[1]
        chunks = -(-body.extents[first] // length) if length else 0
        step, chunk, statements, position = self.steps(body.outer, chunks)
        statements += self.decompose(position, body.outer)
        waiting = [self._over_stage(s, stages) for s in body.stores if set(s.index.src) - set(body.outer)]
        drafts = self._drafts(waiting, stages)
        for stage in stages:
            over = stage[0].src[1:]
            for a in over:
                self.atoms.setdefault(a, range_(self.name("k")))
            # A store over the very range of this stage shares its loop, if its value is known by then.
            here = [s for s in waiting if set(s.index.src) - set(body.outer) == set(over) and self._known(s)]
            waiting = [store for store in waiting if store not in here]
            here += [draft for draft in drafts if draft.value in toposort(*stage)]
            drafts = [draft for draft in drafts if draft not in here]
            statements += self._stage(stage, over, here, chunk, length)
            for store in here:
                # Later loops over the row read it back, from cache, instead of computing it again.
                place = self.store(store).src[:2]
                self.results[store.value] = UOp.new(Ops.LOAD, place)
        for store in waiting:
            for a in (*body.inner, *store.index.src):
                if a in store.index.src and a not in body.outer and a not in self.atoms:
                    self.atoms[a] = range_(self.name("j"))
        together: dict[frozenset[UOp], list[Store]] = {}
        for store in waiting:
            together.setdefault(frozenset(store.index.src) - set(body.outer), []).append(store)
        for ranges, stores in together.items():
            order = sorted(ranges, key=lambda a: -_coefficient(stores[0], a))
            statements += self.nested(order, [self.store(store) for store in stores])
        for store in body.stores:
            if set(store.index.src) <= set(body.outer):
                if chunk is None:
                    statements.append(self.store(store))
                else:
                    statements.append(self.store_chunk(store, chunk, self.accumulated[store.value]))
        per_row = max(size_of([body.extents[a] for a in stage[0].src[1:]]) for stage in stages)
        return self.finish(
            [loop(step, LO, HI, statements)],
            rows * max(1, chunks),
            per_row // max(1, chunks),
            self.partials(chunks) if chunks else (),
        )

    def _over_stage(self, store: Store, stages: Sequence[Sequence[UOp]]) -> Store:
        """A store along the row over the ranges of a stage, so that equal expressions are the same node."""
        extents = self.body.extents
        mine = [a for a in store.index.src if a not in self.body.outer]
        mine.sort(key=lambda a: -_coefficient(store, a))
        for over in (stage[0].src[1:] for stage in stages):
            if mine != list(over) and [extents[a] for a in mine] == [extents[a] for a in over]:
                index, value = substitute((store.index, store.value), dict(zip(mine, over, strict=True)))
                return replace(store, index=index, value=value)
        return store

    def _drafts(self, waiting: Sequence[Store], stages: Sequence[Sequence[UOp]]) -> list[Store]:
        """What a stage computes, a later store needs again and is dear: kept in the result's row meanwhile.

        Softmax's exponentials are the example: summed, then divided by the sum.
        """
        last = stages[-1]
        computed = [node for node in toposort(*(reduce.src[0] for reduce in last)) if node.src]
        drafts = []
        for store in waiting:
            if set(store.index.src) - set(self.body.outer) != set(last[0].src[1:]) or store.parts != 1:
                continue
            needed = set(toposort(store.value))
            if not needed & set(last):
                continue  # stored in a stage's own loop: a draft would overwrite the result
            shared = [node for node in computed if node in needed and node.dtype == store.value.dtype]
            if shared and store.value not in shared and _operations(shared[-1]) > DRAFT_OPERATIONS:
                drafts.append(replace(store, value=shared[-1]))
        return drafts

    def _known(self, store: Store) -> bool:
        return all(node in self.results for node in toposort(store.value) if node.op is Ops.REDUCE)

    def _stage(
        self,
        stage: Sequence[UOp],
        over: Sequence[UOp],
        stores: Sequence[Store],
        chunk: UOp | None,
        length: int,
    ) -> list[UOp]:
        values = self.concrete(*(node.src[0] for node in stage))
        before: list[UOp] = []
        block_start: list[UOp] = []
        inside: list[UOp] = []
        block_end: list[UOp] = []
        after: list[UOp] = []
        for node, value in zip(stage, values, strict=True):
            dtype = accumulator_dtype(node.arg, node.dtype)
            total = variable(self.name("total"), dtype)
            before.append(assign(total, identity(node.arg, dtype)))
            result = total
            if node.arg is Ops.ADD and node.dtype in dtypes.REAL_FLOATING:
                part = variable(self.name("part"), node.dtype)
                block_start.append(assign(part, identity(Ops.ADD, node.dtype)))
                inside.append(assign(part, combine(Ops.ADD, part, value)))
                if node.dtype == dtypes.float32:
                    block_end.append(assign(total, total + part.cast(dtypes.float64)))
                else:
                    lost = variable(self.name("lost"), dtype)
                    before.append(assign(lost, identity(Ops.ADD, dtype)))
                    grown, rest = joined(total, part)
                    block_end += [assign(lost, lost + rest), assign(total, grown)]
                    exact = variable(self.name("sum"), dtype)
                    after.append(assign(exact, with_lost(total, lost)))
                    result = exact
            else:
                inside.append(assign(total, combine(node.arg, total, value)))
            self.accumulated[node] = result
            self.results[node] = result.cast(node.dtype)
        inside += [self.store(store) for store in stores]
        assigned, start, stop = self.bounds(over[0], chunk, length)
        if len(over) > 1:
            start_of_last, stop_of_last = ZERO, self.extent(over[-1])
        else:
            start_of_last, stop_of_last = start, stop
        last = self.atoms[over[-1]]
        if block_end:
            loops = self._in_blocks(last, start_of_last, stop_of_last, block_start, inside, block_end)
        else:
            loops = self.inner_loop(last, start_of_last, stop_of_last, inside)
        for a in reversed(over[1:-1]):
            loops = [loop(self.atoms[a], ZERO, self.extent(a), loops)]
        if len(over) > 1:
            loops = [loop(self.atoms[over[0]], start, stop, loops)]
        return [*assigned, *before, *loops, *after]

    def _in_blocks(
        self,
        over: UOp,
        start: UOp,
        stop: UOp,
        block_start: Sequence[UOp],
        inside: Sequence[UOp],
        block_end: Sequence[UOp],
    ) -> list[UOp]:
        block = range_(self.name("block"))
        first, last = variable(self.name("first")), variable(self.name("last"))
        size = SUM_BLOCK
        begin = block * size if start is ZERO else start + block * size
        length = stop if start is ZERO else stop - start
        statements = [
            assign(first, begin),
            assign(last, (first + size).alu(Ops.MINIMUM, stop)),
            *block_start,
            *self.inner_loop(over, first, last, inside),
            *block_end,
        ]
        return [loop(block, ZERO, pieces(length, size), statements)]


def _operations(node: UOp) -> int:
    """How many operations one element of `node` takes, reductions along the row apart."""
    count, stack, seen = 0, [node], {node}
    while stack:
        top = stack.pop()
        if top.op in (Ops.REDUCE, Ops.ACCESS, Ops.AFFINE):
            continue
        count += bool(top.src)
        fresh = [s for s in top.src if s not in seen]
        seen.update(fresh)
        stack += fresh
    return count


def _coefficient(store: Store, a: UOp) -> int:
    return dict(zip(store.index.src, store.index.arg[0], strict=True))[a]


class Columns(Reducing):
    """One parallel step, one block of neighbouring columns, accumulated side by side."""

    def build(self) -> Nest:
        body = self.body
        column, others = body.outer[-1], body.outer[:-1]
        columns, rows = body.extents[column], size_of([body.extents[a] for a in others])
        wide = evenly(columns, COLUMN_BLOCK)
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
            scratch = UOp.new(Ops.SCRATCH, (), (self.name("totals"), dtype, COLUMN_BLOCK))
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
        loops, one_row = [], added(each)
        if not any(node.op is Ops.GUARDED for node in toposort(*one_row)):
            # The guards of several rows aren't told apart, so this is for the others.
            k, group, member = variable(each.arg), range_("group"), range_("member")
            groups = quotient(end - begin if begin is not ZERO else end, UOp.const(COLUMN_ROWS, end.dtype))
            place = group * COLUMN_ROWS + member
            here = assign(k, begin + place if begin is not ZERO else place)
            rows = loop(member, ZERO, UOp.const(COLUMN_ROWS, end.dtype), [here, *added(k)])
            loops = [loop(group, ZERO, groups, [loop(lane, ZERO, width, [rows])])]
            begin = begin + groups * COLUMN_ROWS if begin is not ZERO else groups * COLUMN_ROWS
        loops.append(loop(each, begin, end, self.inner_loop(lane, ZERO, width, one_row)))
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
            if node.op not in (Ops.RANGE, Ops.AFFINE, Ops.ACCESS, Ops.REDUCE)
            and column in ranges[node]
            and not ranges[node].intersection(over)
        }
        statements = []
        for node in largest(order, alone, stage)[:COLUMN_COPIES]:
            scratch = UOp.new(Ops.SCRATCH, (), (self.name("column"), node.dtype, COLUMN_BLOCK))
            statements.append(UOp.new(Ops.STORE, (scratch, lane, *self.concrete(node))))
            self.results[node] = UOp.new(Ops.LOAD, (scratch, lane))
        return self.inner_loop(lane, ZERO, width, statements) if statements else []


class Scan(Builder):
    """Running combinations: rows share out among cores, each goes along its axis storing as it goes."""

    def build(self) -> Nest:
        body = self.body
        scans = [node for node in toposort(*(s.value for s in body.stores)) if node.op is Ops.SCAN]
        over = scans[0].src[1:]
        rest = [a for a in (*body.outer, *body.inner) if a not in over]
        step = range_("step")
        statements = self.decompose(step, rest)
        inside, before = [], []
        for a in over:
            self.atoms[a] = range_(self.name("k"))
        for node in scans:
            dtype = accumulator_dtype(node.arg, node.dtype)
            total = variable(self.name("total"), dtype)
            (value,) = self.concrete(node.src[0])
            before.append(assign(total, identity(node.arg, dtype)))
            inside.append(assign(total, total.alu(node.arg, value.cast(dtype))))
            self.results[node] = total.cast(node.dtype)
        inside += [self.store(store) for store in body.stores]
        statements += before + self.nested(over, inside)
        length = size_of([body.extents[a] for a in over])
        return self.finish([loop(step, LO, HI, statements)], size_of([body.extents[a] for a in rest]), length)
