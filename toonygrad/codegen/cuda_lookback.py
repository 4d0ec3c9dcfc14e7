"""Running combinations along rows on a GPU, in one pass: threads take neighbouring vectors, tile after tile.

Within a tile lanes of a warp hand on what they have by shuffles, warps through shared memory, and the tile's
total is carried to the next. Where rows are few, tiles run side by side, one a block. Each publishes its
total, the last of every group the group's, and so on for groups of groups; what stands before a tile is put
together of those, always in the same way, so that no bit depends on which block came first. cuda_generate.py
builds `ThreadLookback`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from toonygrad import dtypes
from toonygrad.codegen.cuda import VECTOR_BYTES, WARP
from toonygrad.codegen.cuda_loops import (
    BLOCK,
    ThreadNest,
    blocks,
    only_if,
    power_of_two,
    thread,
    unrolled,
)
from toonygrad.codegen.cuda_scans import ThreadScanning
from toonygrad.codegen.loops import ZERO, assign, loop, quotient, range_, variable
from toonygrad.codegen.lower import Store
from toonygrad.codegen.reductions import identity
from toonygrad.uop.node import UOp
from toonygrad.uop.ops import Ops

# The longest vector, in elements; vectors of a thread; the most shared memory that a tile is kept in.
WIDE, VECTORS, MOST_SHARED = 4, 8, 40 << 10
# Blocks that are to run at once, since tiles wait for memory and for one another some microseconds: of a
# copy's speed 64 M elements reach 0.52 with two of them, 0.76 with four.
RESIDENT = 4
# Rows that fill a GPU without tiles side by side, and the fewest tiles that are worth the waiting.
ENOUGH_ROWS, FEWEST_TILES = 512, 2
# Tiles of a group, and groups of a group of those: lanes that wait for them together.
GROUP = WARP


@dataclass
class ThreadLookback(ThreadScanning):
    """Threads along x share a row, rows lie along the grid's x; with tiles side by side those of a row lie
    there one after the other.

    Attributes
    ----------
    vectors : whether memory may be read and written in vectors
    aligned : names of pointers to vectors
    """

    vectors: bool = True
    aligned: dict[str, None] = field(default_factory=dict)

    def nest(self) -> ThreadNest:
        """What the threads do."""
        self._read = self.reads([store.value for store in self.body.stores])
        self._choose()
        row, count = variable("row"), self.arguments.size("rows", self.rows)
        self._inside, self._row = variable("inside", dtypes.bool_), row
        self._lane, self._warp = variable("lane"), variable("warp")
        self._number = thread("thread_y") * thread("threads_x") + thread("thread_x")
        self._end = self.arguments.size("length", self.length)
        size = UOp.const(WARP, dtypes.INDEX)
        here = thread("thread_x")
        statements = [
            assign(self._lane, here.alu(Ops.MODULO, size)),
            assign(self._warp, quotient(here, size)),
        ]
        tiles = -(-self.length // self._tile)
        if self.side_by_side:
            chunks, self._chunk = self.arguments.size("chunks", tiles), variable("chunk")
            statements += [
                assign(row, quotient(thread("block_x"), chunks)),
                assign(self._chunk, thread("block_x") - row * chunks),
                *self.decompose(row, self.rest),
                *self._tiled(self._chunk * self._tile, None),
            ]
            grid = (self.rows * tiles, 1, 1)
            return replace(
                self.made(statements, grid, (BLOCK, 1, 1), tuple(self.aligned), RESIDENT),
                words=tuple(self._words(dtype) for dtype in self.dtypes.values()),
            )
        high = BLOCK // self._threads if self.rest else 1
        statements += [
            assign(row, thread("block_x") * thread("threads_y") + thread("thread_y")),
            assign(self._inside, row < count),
            assign(row, row.alu(Ops.MINIMUM, count - 1)),
            *self.decompose(row, self.rest),
        ]
        carried = {node: variable(self.name("carried"), dtype) for node, dtype in self.dtypes.items()}
        statements += [assign(carry, identity(node.arg, carry.dtype)) for node, carry in carried.items()]
        tile = range_("tile")
        step = thread("threads_x") * (self._vectors * self._width)
        count = quotient(self._end + (step - 1), step)
        statements.append(loop(tile, ZERO, count, self._tiled(tile * step, carried)))
        grid = (blocks(self.rows, high), 1, 1)
        return self.made(statements, grid, (self._threads, high, 1), tuple(self.aligned), RESIDENT)

    # -- sizes -----------------------------------------------------------------------------------------------

    def _choose(self) -> None:
        """The width of a thread's vectors, how many it has, and the threads of a row: of the shape alone."""
        largest = max((node.dtype.itemsize for node in self._read), default=4)
        self._width = min(WIDE, VECTOR_BYTES // largest)
        self._whole = (
            self.vectors
            and len(self.over) == 1
            and bool(self._read)
            and all(self._is_vector(node) for node in self._read)
        )
        kept = sum(node.dtype.itemsize for node in self._read) * self._width * BLOCK
        self._vectors = VECTORS
        while self._vectors > 1 and kept * self._vectors > MOST_SHARED:
            self._vectors //= 2
        self._threads = BLOCK
        self._tile = BLOCK * self._vectors * self._width
        few = self.rows < ENOUGH_ROWS and self.length >= FEWEST_TILES * self._tile
        self.side_by_side = few and self.in_parts
        if not self.side_by_side:
            # As few vectors a thread as leave a row to one warp, or to fewer of its lanes.
            lanes = -(-self.length // self._width)
            self._vectors = min(self._vectors, VECTORS // 2, power_of_two(-(-lanes // WARP)))
            threads = -(-lanes // self._vectors)
            least = power_of_two(threads)
            self._threads = min(BLOCK, least)
            self._tile = self._threads * self._vectors * self._width

    def _is_vector(self, node: UOp) -> bool:
        """Whether the elements of a vector, in memory that is read or written, lie there as one."""
        steps = dict(zip(node.src, node.arg[-2], strict=True))
        others = [step for a, step in steps.items() if a is not self.over[0]]
        whole = steps.get(self.over[0]) == 1 and all(step % self._width == 0 for step in others)
        return whole and all(a.op is Ops.RANGE for a in steps)

    def _levels(self) -> tuple[int, int, int]:
        """How many tiles a row has, groups of them, and groups of those."""
        tiles = -(-self.length // self._tile)
        groups = -(-tiles // GROUP)
        return tiles, groups, -(-groups // GROUP)

    def _words(self, dtype: np.dtype) -> int:
        return self.rows * sum(self._levels()) * max(1, dtype.itemsize // 4)

    # -- a tile ----------------------------------------------------------------------------------------------

    def _tiled(self, base: UOp, carried: Mapping[UOp, UOp] | None) -> list[UOp]:
        """Statements for the tile from `base` on. What stands before it is in `carried`, which then holds
        what stands before the next; or else it is put together of what other blocks publish.
        """
        self._first, self._full = variable("first"), variable("full", dtypes.bool_)
        width, count = self._width, self._vectors
        warps = self._warp * (WARP * count * width)
        lane = self._lane if count > 1 else thread("thread_x")
        here = base + warps + lane * width if count > 1 else base + lane * width
        after = base + warps + WARP * count * width if count > 1 else self._first + width
        q = range_("q")
        place = self._first + q * (WARP * width) if count > 1 else self._first
        statements = [assign(self._first, here), assign(self._full, after <= self._end)]
        reads = self._kept()
        statements += self._loaded(q, place, reads)
        totals = {
            node: UOp.new(Ops.SCRATCH, (), (self.name("total"), dtype, count))
            for node, dtype in self.dtypes.items()
        }
        statements += self._added(q, place, reads, totals)
        statements += self._scanned(q, totals)
        starts, sums, handed = self._across_warps(q, totals)
        statements += handed
        if carried is None:
            statements += self._awaited(starts, sums)
        else:
            for node, carry in carried.items():
                before = carry.alu(node.arg, starts[node])
                statements += [assign(starts[node], before), assign(carry, carry.alu(node.arg, sums[node]))]
        if count > 1:
            # A shuffle by no lane: LLVM then computes places anew, and doesn't keep them in registers.
            anew = variable("anew")
            statements.append(UOp.new(Ops.SHUFFLE, (anew, self._first), ("shuffle_xor", 0)))
            place = anew + q * (WARP * width)
        statements += self._stored(q, place, reads, totals, starts)
        return statements if carried is None else [*statements, UOp.new(Ops.BARRIER)]

    def _kept(self) -> dict[UOp, tuple[UOp, UOp]]:
        """For each read the vectors that a thread holds, and where the block keeps all of them meanwhile."""
        size = self._vectors * self._width
        return {
            node: (
                UOp.new(Ops.SCRATCH, (), (self.name("read"), node.dtype, size)),
                UOp.new(Ops.SHARED, (), (self.name("kept"), node.dtype, size * BLOCK)),
            )
            for node in self._read
        }

    def _each(self, q: UOp, statements: list[UOp]) -> list[UOp]:
        return [unrolled(q, self._vectors, statements)] if self._vectors > 1 else statements

    def _at(self, q: UOp) -> UOp:
        """Where vector `q` of a thread is kept."""
        number = self._number * self._width
        return q * (BLOCK * self._width) + number if self._vectors > 1 else number

    def _held(self, q: UOp) -> UOp:
        return q * self._width if self._vectors > 1 else ZERO

    def _elements(self, node: UOp) -> int | None:
        return None if self._width * node.dtype.itemsize == VECTOR_BYTES else self._width

    def _loaded(self, q: UOp, place: UOp, reads: Mapping[UOp, tuple[UOp, UOp]]) -> list[UOp]:
        """Statements that read a thread's vectors, and keep them."""
        m = range_("m")
        full, kept, single, again = [], [], [], []
        for node, (array, shared) in reads.items():
            held, at, length = self._held(q), self._at(q), self._elements(node)
            if self._whole:
                self.atoms[self.over[0]] = place
                (element,) = self.concrete(node)
                self.aligned[element.src[0].arg[0]] = None
                full.append(UOp.new(Ops.LOAD_VECTOR, (array, held, *element.src), length))
            kept.append(UOp.new(Ops.STORE_VECTOR, (shared, at, array, held), length))
            again.append(UOp.new(Ops.LOAD_VECTOR, (array, held, shared, at), length))
        stand = self._stand_inside(place + m)
        for node, (array, shared) in reads.items():
            (element,) = self.concrete(node)
            single.append(UOp.new(Ops.STORE, (shared, self._at(q) + m, element)))
            if not self._whole:
                full.append(UOp.new(Ops.STORE, (array, self._held(q) + m, element)))
        if not reads:
            return []
        if not self._whole:
            full = [unrolled(m, self._width, [*stand, *full])]
        width, count = (UOp.const(n, dtypes.INDEX) for n in (self._width, self._vectors))
        elements = loop(m, ZERO, width, [*stand, *single])
        rest = [loop(q, ZERO, count, [elements])] if self._vectors > 1 else [elements]
        return [
            only_if(self._full, [*self._each(q, full), *self._each(q, kept)]),
            only_if(~self._full, [*rest, *self._each(q, again)]),
        ]

    def _added(
        self, q: UOp, place: UOp, reads: Mapping[UOp, tuple[UOp, UOp]], totals: Mapping[UOp, UOp]
    ) -> list[UOp]:
        """Statements that leave the total of each of a thread's vectors."""
        m, number = range_("m"), q if self._vectors > 1 else ZERO
        self._let_reads(reads, self._held(q) + m)
        stand = self._stand_inside(place + m)
        starts, taken, ends = [], [], []
        for node, total in totals.items():
            some = variable(self.name("sum"), total.dtype)
            nothing = identity(node.arg, total.dtype)
            (value,) = self.concrete(node.src[0])
            # In one way for all tiles: LLVM would join two ways, with as many values as that takes registers.
            value = (place + m < self._end).where(value.cast(total.dtype), nothing)
            starts.append(assign(some, nothing))
            taken.append(assign(some, some.alu(node.arg, value)))
            ends.append(UOp.new(Ops.STORE, (total, number, some)))
        inner = unrolled(m, self._width, [*stand, *self.guarded(taken)])
        return self._each(q, [*starts, inner, *ends])

    def _stand_inside(self, place: UOp) -> list[UOp]:
        """Let expressions mean a place of the row, or its last one where that is beyond."""
        inside = variable(self.name("place"))
        return [assign(inside, place.alu(Ops.MINIMUM, self._end - 1)), *self.stand_at(inside)]

    def _let_reads(self, reads: Mapping[UOp, tuple[UOp, UOp]], place: UOp) -> None:
        self.results.update({node: UOp.new(Ops.LOAD, (array, place)) for node, (array, _) in reads.items()})

    def _scanned(self, q: UOp, totals: Mapping[UOp, UOp]) -> list[UOp]:
        """Statements after which each total holds those of the lanes before, too."""
        statements, number = [], q if self._vectors > 1 else ZERO
        for distance in (1, 2, 4, 8, 16):
            exchanged = []
            for node, total in totals.items():
                other, own = variable(self.name("other"), total.dtype), UOp.new(Ops.LOAD, (total, number))
                combined = (self._lane >= distance).where(other.alu(node.arg, own), own)
                exchanged += [
                    UOp.new(Ops.SHUFFLE, (other, own), ("shuffle_up", distance)),
                    UOp.new(Ops.STORE, (total, number, combined)),
                ]
            if self._vectors > 1:
                statements += self._each(q, exchanged)
            else:
                statements.append(only_if(thread("threads_x") > distance, exchanged))
        return statements

    def _across_warps(
        self, q: UOp, totals: Mapping[UOp, UOp]
    ) -> tuple[dict[UOp, UOp], dict[UOp, UOp], list[UOp]]:
        """What stands before each warp in its tile, the tile's totals, and the statements that takes."""
        warps = quotient(thread("threads_x") + (WARP - 1), UOp.const(WARP, dtypes.INDEX))
        row, each = thread("thread_y") * warps, range_("each")
        last = (thread("threads_x") - 1).alu(Ops.MINIMUM, WARP - 1)
        starts, sums, own, before = {}, {}, [], []
        statements = []
        for node, total in totals.items():
            run, dtype = variable(self.name("run"), total.dtype), total.dtype
            shared = UOp.new(Ops.SHARED, (), (self.name("part"), dtype, BLOCK))
            if self._vectors > 1:
                statements.append(assign(run, identity(node.arg, dtype)))
                statements += self._each(q, self._last_of_warp(node, total, run, q))
            else:
                statements.append(assign(run, UOp.new(Ops.LOAD, (total, ZERO))))
            ends = UOp.new(Ops.STORE, (shared, row + self._warp, run))
            statements.append(only_if(self._lane.eq(last), [ends]))
            starts[node], sums[node] = (variable(self.name(stem), dtype) for stem in ("start", "all"))
            nothing = identity(node.arg, dtype)
            own += [assign(starts[node], nothing), assign(sums[node], nothing)]
            part = UOp.new(Ops.LOAD, (shared, row + each))
            earlier = (each < self._warp).where(starts[node].alu(node.arg, part), starts[node])
            before += [
                assign(starts[node], earlier),
                assign(sums[node], sums[node].alu(node.arg, part)),
            ]
        return starts, sums, [*statements, UOp.new(Ops.BARRIER), *own, loop(each, ZERO, warps, before)]

    def _last_of_warp(self, node: UOp, total: UOp, run: UOp, q: UOp) -> list[UOp]:
        """Statements that add the last lane's total of vector `q` to a running one."""
        other = variable(self.name("other"), total.dtype)
        return [
            UOp.new(Ops.SHUFFLE, (other, UOp.new(Ops.LOAD, (total, q))), ("shuffle_from", WARP - 1)),
            assign(run, run.alu(node.arg, other)),
        ]

    def _stored(
        self,
        q: UOp,
        place: UOp,
        reads: Mapping[UOp, tuple[UOp, UOp]],
        totals: Mapping[UOp, UOp],
        starts: Mapping[UOp, UOp],
    ) -> list[UOp]:
        """Statements that go through a thread's vectors again, from what stands before each, and store."""
        m, number = range_("m"), q if self._vectors > 1 else ZERO
        begins, ends, taken, runnings = [], [], [], {}
        for node, total in totals.items():
            start, above = starts[node], variable(self.name("above"), total.dtype)
            running = variable(self.name("running"), total.dtype)
            begins += [
                UOp.new(Ops.SHUFFLE, (above, UOp.new(Ops.LOAD, (total, number))), ("shuffle_up", 1)),
                assign(running, self._lane.eq(0).where(start, start.alu(node.arg, above))),
            ]
            if self._vectors > 1:
                ends += self._last_of_warp(node, total, start, q)
            runnings[node], self.results[node] = running, running.cast(node.dtype)
        # Not from the registers of before: with as many taken fewer blocks would run at once.
        again = {
            node: UOp.new(Ops.SCRATCH, (), (self.name("again"), node.dtype, self._width)) for node in reads
        }
        for node, (_, shared) in reads.items():
            length = self._elements(node)
            begins.append(UOp.new(Ops.LOAD_VECTOR, (again[node], ZERO, shared, self._at(q)), length))
            self.results[node] = UOp.new(Ops.LOAD, (again[node], m))
        stand = self._stand_inside(place + m)
        for node, running in runnings.items():
            (value,) = self.concrete(node.src[0])
            taken.append(assign(running, running.alu(node.arg, value.cast(running.dtype))))
        together, single = [], []
        for store in self.body.stores:
            (value,) = self.concrete(store.value)
            array = UOp.new(Ops.SCRATCH, (), (self.name("packed"), value.dtype, self._width))
            taken.append(UOp.new(Ops.STORE, (array, m, value)))
            element, elements = self._stores(store, place + m, UOp.new(Ops.LOAD, (array, m)))
            single += elements
            if not (self._whole and store.parts == 1 and self._is_vector(store.index)):
                together.append(unrolled(m, self._width, elements))
                continue
            self.aligned[element.src[0].arg[0]] = None
            length = min(self._width, VECTOR_BYTES // value.dtype.itemsize)
            several = None if length * value.dtype.itemsize == VECTOR_BYTES else length
            for part in range(0, self._width, length):
                target, index, _ = self._stores(store, place + part if part else place, value)[0].src
                held = UOp.const(part, dtypes.INDEX)
                together.append(UOp.new(Ops.STORE_VECTOR, (target, index, array, held), several))
        some = unrolled(m, self._width, [only_if(place + m < self._end, single)])
        full, rest = self._full, ~self._full
        if not self.side_by_side:
            full, rest = full & self._inside, rest & self._inside
        inner = unrolled(m, self._width, [*stand, *self.guarded(taken)])
        return self._each(q, [*begins, *ends, inner, only_if(full, together), only_if(rest, [some])])

    def _stores(self, store: Store, place: UOp, value: UOp) -> tuple[UOp, list[UOp]]:
        """The statement that stores a value at a place of the row, and that with those it takes before."""
        stand = self.stand_at(place)
        pointer = self.store(store, value)
        return pointer, [*stand, pointer]

    # -- other tiles -----------------------------------------------------------------------------------------

    def _awaited(self, starts: Mapping[UOp, UOp], sums: Mapping[UOp, UOp]) -> list[UOp]:
        """Statements that publish this tile's totals and put those of all before it into `starts`."""
        tiles, groups, _ = self._levels()
        chunk, row, lane = self._chunk, self._row, self._lane
        size = UOp.const(GROUP, dtypes.INDEX)
        group, above = variable("group"), variable("above")
        in_group, in_above = chunk.alu(Ops.MODULO, size), group.alu(Ops.MODULO, size)
        own = row * self.arguments.size("entries", sum(self._levels()))
        next_level = own + self.arguments.size("chunks", tiles)
        last_level = next_level + self.arguments.size("groups", groups)
        statements = [assign(group, quotient(chunk, size)), assign(above, quotient(group, size))]
        levels, first, second, third, joined = {}, [], [], [], []
        leader = lane.eq(0)
        for number, (node, total) in enumerate(sums.items()):
            words = self.arguments.carry(number, dtypes.uint64)
            levels[node] = shared = UOp.new(Ops.SHARED, (), (self.name("level"), total.dtype, 4))

            def before(
                place: UOp, there: UOp, node: UOp = node, total: UOp = total, words: UOp = words
            ) -> tuple[UOp, list[UOp]]:
                """A warp's combination of entries, lane by lane, of the lanes that have one there."""
                part = variable(self.name("part"), total.dtype)
                statements = [
                    assign(part, identity(node.arg, total.dtype)),
                    only_if(there, [UOp.new(Ops.AWAIT, (part, words, place + lane))]),
                ]
                distance = WARP // 2
                while distance:
                    other = variable(self.name("other"), total.dtype)
                    statements += [
                        UOp.new(Ops.SHUFFLE, (other, part), ("shuffle_xor", distance)),
                        assign(part, part.alu(node.arg, other)),
                    ]
                    distance //= 2
                return part, statements

            def publish(place: UOp, value: UOp, words: UOp = words) -> UOp:
                return only_if(leader, [UOp.new(Ops.PUBLISH, (words, place, value))])

            def level(k: int, value: UOp, shared: UOp = shared) -> UOp:
                place = UOp.const(k, dtypes.INDEX)
                return only_if(leader, [UOp.new(Ops.STORE, (shared, place, value))])

            part, awaited = before(own + (chunk - in_group), lane < in_group)
            first += [publish(own + chunk, total), *awaited, level(0, part)]
            grown = part.alu(node.arg, total)
            higher, higher_awaited = before(next_level + (group - in_above), lane < in_above)
            whole_above = [*higher_awaited, publish(last_level + above, higher.alu(node.arg, grown))]
            first.append(
                only_if(
                    in_group.eq(GROUP - 1),
                    [publish(next_level + group, grown), only_if(in_above.eq(GROUP - 1), whole_above)],
                )
            )
            part, awaited = before(next_level + (group - in_above), lane < in_above)
            second += [*awaited, level(1, part)]
            some, run = range_("some"), variable(self.name("run"), total.dtype)
            place = last_level + some * WARP
            part, awaited = before(place, some * WARP + lane < above)
            rounds = quotient(above + (WARP - 1), UOp.const(WARP, dtypes.INDEX))
            third += [
                assign(run, identity(node.arg, total.dtype)),
                loop(some, ZERO, rounds, [*awaited, assign(run, run.alu(node.arg, part))]),
                level(2, run),
            ]
            zero, one, two = (UOp.new(Ops.LOAD, (shared, UOp.const(k, dtypes.INDEX))) for k in range(3))
            earlier = two.alu(node.arg, one).alu(node.arg, zero)
            joined.append(assign(starts[node], earlier.alu(node.arg, starts[node])))
        statements += [only_if(self._warp.eq(k), some) for k, some in enumerate((first, second, third))]
        return [*statements, UOp.new(Ops.BARRIER), *joined]
