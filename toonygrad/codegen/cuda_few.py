"""Reductions to few results side by side that share work, on a GPU: a thread computes all of them.

Forces between bodies are the example: their three components have one distance, which is not to be computed
for each, nor stored for all pairs. cuda_generate.py asks `side_by_side` and builds `ThreadFew`, on
cuda_reductions.py.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from toonygrad import dtypes
from toonygrad.codegen.cuda import WARP
from toonygrad.codegen.cuda_loops import TEMPORARY, ThreadNest, blocks, only_if, thread, times, unrolled
from toonygrad.codegen.cuda_reductions import ThreadReducing, Total
from toonygrad.codegen.loops import (
    FAST,
    SLOW,
    ZERO,
    assign,
    guard_conditions,
    loop,
    quotient,
    range_,
    rewritten,
    variable,
)
from toonygrad.codegen.lower import Body
from toonygrad.codegen.reductions import accumulator_dtype, largest, ranges_of
from toonygrad.schedule.trace import FEW_RESULTS
from toonygrad.uop.node import UOp, toposort
from toonygrad.uop.ops import Ops
from toonygrad.uop.shape import contiguous_strides, size_of

# Most threads of a block, elements that each works on together, and at least altogether. Rows of results
# that it has, since what is read along a row serves all of them.
THREADS, TOGETHER, LEAST, ROWS = 128, 4, 4, 2
# Totals that a thread has at most: each takes two registers or four, and a place in shared memory.
MOST_TOTALS = 32
# Blocks that fill a GPU without chunks, and elements of a chunk at least.
ENOUGH_BLOCKS, CHUNK = 528, 4096


def side_by_side(body: Body) -> UOp | None:
    """The range whose few results have something to share that is computed; None where nothing is."""
    over = {node.src[1:] for node in body.reduces}
    if len(over) != 1 or body.inner or any(set(s.index.src) - set(body.outer) for s in body.stores):
        return None
    (reduced,) = over
    if len(reduced) > 1 and body.extents[reduced[-1]] < THREADS:
        return None
    most = min(FEW_RESULTS, MOST_TOTALS // len(body.reduces))
    few = [a for a in body.outer if 1 < body.extents[a] <= most]
    order = toposort(*(node.src[0] for node in body.reduces))
    ranges = ranges_of(order)
    if any(node.op is Ops.REDUCE for node in order):
        return None
    shares = {a: len(_shared(order, ranges, a, reduced)) for a in few}
    return max((a for a in few if shares[a]), key=shares.__getitem__, default=None)


def _shared(
    order: Sequence[UOp], ranges: dict[UOp, frozenset[UOp]], few: UOp, over: Sequence[UOp]
) -> set[UOp]:
    """What is computed along the reduced ranges, and alike for all values of `few`."""
    places = (Ops.RANGE, Ops.AFFINE, Ops.PIECEWISE, Ops.ACCESS)
    return {
        node
        for node in order
        if node.op not in places and few not in ranges[node] and not ranges[node].isdisjoint(over)
    }


@dataclass
class ThreadFew(ThreadReducing):
    """Threads along x share out what is reduced; each has all results along `few`, of some rows.

    Attributes
    ----------
    few : the range of results side by side
    rows : how many neighbouring results of the range before it a thread has
    row : that range, of which each block has `rows` values
    first : the first of them
    arrays : reductions to what holds a total for each of the thread's results
    """

    few: UOp = ZERO
    rows: int = 1
    row: UOp | None = None
    first: UOp = field(default_factory=lambda: variable("first"))
    arrays: dict[UOp, list[UOp]] = field(default_factory=dict)

    def nest(self) -> ThreadNest:
        """What the threads do."""
        body = self.body
        extents, over = body.extents, body.reduces[0].src[1:]
        others = [a for a in body.outer if a is not self.few]
        count = size_of([extents[a] for a in others])
        tiled = extents[self.few] * len(body.reduces) * ROWS <= MOST_TOTALS
        if others and tiled and count >= 2 * ENOUGH_BLOCKS and self._is_tiled(others[-1]):
            self.row, self.rows = others[-1], ROWS
        statements = self._placed(others)
        many = (
            count if self.row is None else count // extents[self.row] * blocks(extents[self.row], self.rows)
        )
        threads = min(THREADS, WARP * blocks(extents[over[-1]], WARP * LEAST))
        length = self._chunk_length(over, many)
        chunks = blocks(extents[over[0]], length) if length else 0
        chunk, bounds = None, (ZERO, self._count(over[0]))
        if chunks:
            chunk, start, stop = variable("part"), variable("start"), variable("stop")
            size = self.arguments.size("chunk", length)
            last = (start + size).alu(Ops.MINIMUM, bounds[1])
            statements += [assign(chunk, thread("block_y")), assign(start, chunk * size), assign(stop, last)]
            bounds = (start, stop)
        statements += self._walk(over, bounds)
        statements += self._results(chunk)
        nest = self.made(statements, (many, max(1, chunks), 1), (threads, 1, 1))
        return self.in_chunks(nest, chunks) if chunks else nest

    # -- choices ---------------------------------------------------------------------------------------------

    def _is_tiled(self, row: UOp) -> bool:
        """Whether rows read the same memory along what is reduced."""
        (over,) = {node.src[1:] for node in self.body.reduces}
        order = toposort(*(node.src[0] for node in self.body.reduces))
        reads = [n for n in order if n.op is Ops.ACCESS and not set(over).isdisjoint(n.src)]
        return any(row not in node.src for node in reads)

    def _chunk_length(self, over: Sequence[UOp], many: int) -> int:
        """How far along the slowest reduced range a chunk reaches; 0 where it isn't split."""
        extents = [self.body.extents[a] for a in over]
        if not self.splits or many >= ENOUGH_BLOCKS or size_of(extents) < 2 * CHUNK:
            return 0
        fewest = blocks(CHUNK, size_of(extents[1:]))
        length = max(fewest, blocks(extents[0], ENOUGH_BLOCKS // many))
        return length if length < extents[0] else 0

    # -- which results ---------------------------------------------------------------------------------------

    def _placed(self, others: Sequence[UOp]) -> list[UOp]:
        """Statements that find a block's results."""
        if self.row is None:
            return self.decompose(thread("block_x"), others)
        tiles = self.arguments.size("tiles", blocks(self.body.extents[self.row], self.rows))
        tile, rest = thread("block_x"), others[:-1]
        statements = []
        if rest:
            before = variable("before")
            statements += [assign(before, quotient(tile, tiles)), *self.decompose(before, rest)]
            tile = tile.alu(Ops.MODULO, tiles)
        return [*statements, assign(self.first, times(tile, self.rows))]

    def _stand_at(self, row: UOp, result: UOp) -> None:
        """Let expressions mean one of the thread's results; rows beyond the last stay with it."""
        self.atoms[self.few] = result
        if self.row is not None:
            self.atoms[self.row] = (self.first + row).alu(Ops.MINIMUM, self._count(self.row) - 1)

    def _count(self, over: UOp) -> UOp:
        number = list(self.body.extents).index(over)
        return self.arguments.size(f"n{number}", self.body.extents[over])

    # -- accumulating ----------------------------------------------------------------------------------------

    def _scratch(self, stem: str, total: Total) -> list[UOp]:
        size = self.rows * self.body.extents[self.few]
        return [UOp.new(Ops.SCRATCH, (), (self.name(stem), part.dtype, size)) for part in total.parts]

    def _total(self, node: UOp, arrays: Sequence[UOp], place: UOp) -> Total:
        value, *lost = (UOp.new(Ops.LOAD, (array, place)) for array in arrays)
        return Total(node.arg, value, lost[0] if lost else None)

    def _places(self) -> tuple[UOp, UOp, UOp]:
        """Variables of loops over a thread's results, and the place of such a result."""
        row, result = range_(self.name("r")), range_(self.name("m"))
        return row, result, row * self.body.extents[self.few] + result

    def _for_each(self, row: UOp, result: UOp, statements: Sequence[UOp]) -> list[UOp]:
        """The loops that go through all results of a thread, if there is anything to do."""
        inside = unrolled(result, self.body.extents[self.few], statements)
        return [unrolled(row, self.rows, [inside])] if statements else []

    def _walk(self, over: Sequence[UOp], bounds: tuple[UOp, UOp]) -> list[UOp]:
        """Statements by which a thread accumulates its part of all results."""
        row, result, place = self._places()
        for node in self.body.reduces:
            self.arrays[node] = self._scratch("total", self.total(node))
        starts = [s for n, arrays in self.arrays.items() for s in self._total(n, arrays, place).starts()]
        outer = {a: range_(self.name("k")) for a in over[:-1]}
        self.atoms.update(outer)
        start, stop = bounds if len(over) == 1 else (ZERO, self._count(over[-1]))
        statements = self._along(over[-1], start, stop)
        for a in reversed(over[:-1]):
            begin, end = bounds if a is over[0] else (ZERO, self._count(a))
            statements = [loop(outer[a], begin, end, statements)]
        return [*self._for_each(row, result, starts), *statements]

    def _along(self, last: UOp, start: UOp, stop: UOp) -> list[UOp]:
        """Statements for one range: some elements together, then the rest one by one."""
        apart, k, begin = thread("threads_x"), variable("k"), variable("begin")
        self.atoms[last] = k
        trip, full, base, group = range_("trip"), variable("full"), variable("base"), apart * TOGETHER
        rest = range_("rest")
        one = [assign(k, begin + rest * apart), *self._added(self.arrays, self.guarded)]
        trips = quotient((stop - begin + (apart - 1)).alu(Ops.MAXIMUM, 0), apart)
        return [
            assign(begin, start + thread("thread_x")),
            assign(full, quotient(stop - start, group)),
            loop(trip, ZERO, full, [assign(base, begin + trip * group), *self._together(base, k)]),
            assign(begin, begin + full * group),
            loop(rest, ZERO, trips, one),
        ]

    def _together(self, base: UOp, k: UOp) -> list[UOp]:
        """Statements that take in some elements: float32 is added up in float32, and where a guard fails for
        any of them, all are computed once more.
        """
        u, again, ordinary = range_("u"), range_("again"), variable(self.name("ordinary"), dtypes.bool_)
        parts = {node: self._scratch("part", self._part(node)) for node in self.body.reduces}
        row, result, place = self._places()
        part = {node: self._total(node, arrays, place) for node, arrays in parts.items()}
        starts = self._for_each(row, result, [start for each in part.values() for start in each.starts()])
        ends = [
            end
            for node, each in part.items()
            for end in self._total(node, self.arrays[node], place).add(each.value)
        ]
        ends = self._for_each(row, result, ends)
        guarded = False

        def checked(statements: Sequence[UOp]) -> list[UOp]:
            nonlocal guarded
            conditions = guard_conditions(statements)
            if not conditions:
                return list(statements)
            guarded = True
            check = assign(ordinary, functools.reduce(operator.and_, conditions, ordinary))
            return [*rewritten(statements, FAST), check]

        def slowly(statements: Sequence[UOp]) -> list[UOp]:
            return rewritten(statements, SLOW)

        fast = [assign(k, base + u * thread("threads_x")), *self._added(parts, checked)]
        fast = [*starts, unrolled(u, TOGETHER, fast)]
        if not guarded:
            return [*fast, *ends]
        slow = [assign(k, base + again * thread("threads_x")), *self._added(parts, slowly)]
        slow = [*starts, loop(again, ZERO, UOp.const(TOGETHER, dtypes.INDEX), slow), *ends]
        true = UOp.const(True, dtypes.bool_)
        return [assign(ordinary, true), *fast, only_if(ordinary, ends), only_if(~ordinary, slow)]

    def _part(self, node: UOp) -> Total:
        """What some elements are accumulated in."""
        summed = node.arg is Ops.ADD and node.dtype == dtypes.float32
        dtype = node.dtype if summed else accumulator_dtype(node.arg, node.dtype)
        return Total(node.arg, variable("part", dtype), None)

    def _added(
        self, arrays: Mapping[UOp, Sequence[UOp]], way: Callable[[Sequence[UOp]], list[UOp]]
    ) -> list[UOp]:
        """Statements that take in an element, what the results share first; `way` says how guards are met."""
        row, result, place = self._places()
        self._stand_at(row, result)
        roots = [node.src[0] for node in self.body.reduces]
        order = toposort(*roots)
        ranges = ranges_of(order)
        shared = largest(order, _shared(order, ranges, self.few, self.body.reduces[0].src[1:]), roots)
        held = [variable(self.name("alike"), node.dtype) for node in shared]
        before = way([assign(*pair) for pair in zip(held, self.concrete(*shared), strict=True)])
        if any(statement.op is Ops.IF for statement in before):
            # A local has a value whatever holds.
            before = [*(assign(each, UOp.const(0, each.dtype)) for each in held), *before]
        results = dict(self.results)
        self.results.update(zip(shared, held, strict=True))
        added = [
            statement
            for node, value in zip(self.body.reduces, self.concrete(*roots), strict=True)
            for statement in self._total(node, arrays[node], place).add(value)
        ]
        self.results = results
        inside = unrolled(result, self.body.extents[self.few], way(added))
        return [unrolled(row, self.rows, [*before, inside])]

    # -- results ---------------------------------------------------------------------------------------------

    def _results(self, chunk: UOp | None) -> list[UOp]:
        """Statements by which threads combine what they have, and one of them stores it."""
        body, few = self.body, self.body.extents[self.few]
        totals = {(node, n): self.total(node) for node in body.reduces for n in range(self.rows * few)}
        statements = [
            assign(part, UOp.new(Ops.LOAD, (array, UOp.const(n, dtypes.INDEX))))
            for (node, n), total in totals.items()
            for part, array in zip(total.parts, self.arrays[node], strict=True)
        ]
        statements += self.combined(list(totals.values()))
        for row in range(self.rows):
            stores = []
            for result in range(few):
                self._stand_at(UOp.const(row, dtypes.INDEX), UOp.const(result, dtypes.INDEX))
                for node in body.reduces:
                    self.accumulated[node] = totals[node, row * few + result].result
                    self.results[node] = self.accumulated[node].cast(node.dtype)
                if chunk is None:
                    stores += [self.store(store) for store in body.stores]
                else:
                    extents = [body.extents[a] for a in body.outer]
                    terms = zip(body.outer, contiguous_strides(extents), strict=True)
                    place = self.arguments.flat(True, TEMPORARY, [(self.atoms[a], step) for a, step in terms])
                    stores += self.left(chunk, place, size_of(extents))
            mine = thread("thread_x").eq(0)
            if self.row is not None:
                mine = mine & (self.first + row < self._count(self.row))
            statements.append(only_if(mine, self.guarded(stores)))
        return statements
