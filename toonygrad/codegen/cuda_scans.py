"""Running combinations on a GPU: the threads of a row take neighbouring pieces of it, tile after tile.

Within a tile each thread combines its piece, lanes of a warp hand on what they have by shuffles, warps
through shared memory, and the tile's total is carried to the next. Where rows are few, chunks of them run
side by side: one kernel takes the chunks' totals, the plan scans those, and another kernel stores from what
stands before each chunk. cuda_generate.py builds `ThreadScan`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from toonygrad import dtypes
from toonygrad.codegen.cuda import VECTOR_BYTES, WARP
from toonygrad.codegen.cuda_loops import (
    BLOCK,
    ThreadCarry,
    ThreadNest,
    blocks,
    only_if,
    power_of_two,
    thread,
    unrolled,
)
from toonygrad.codegen.cuda_reductions import ThreadReducing, Total
from toonygrad.codegen.loops import ZERO, assign, loop, quotient, range_, variable
from toonygrad.codegen.reductions import accumulator_dtype, identity
from toonygrad.uop.node import UOp, toposort
from toonygrad.uop.ops import Ops
from toonygrad.uop.shape import size_of

# Elements that a thread takes side by side.
PIECE = 4
# Where neighbouring rows are neighbours in memory, so many are enough to give each a single thread.
ROWS_ACROSS = 1 << 13
# Rows that fill a GPU without chunks; the elements of a chunk, which grows until chunks are at most so many
# that one block scans their totals soon; and the fewest chunks that are worth three launches.
ENOUGH_ROWS, CHUNK, MOST_CHUNKS, FEWEST_CHUNKS = 512, 1 << 12, 1 << 12, 8


@dataclass
class ThreadScan(ThreadReducing):
    """Threads along x share a row, rows lie along the grid's x and their chunks along its y.

    Attributes
    ----------
    vectors : whether memory may be read and written sixteen bytes at a time
    piece : elements that a thread takes side by side
    aligned : names of pointers to vectors
    """

    vectors: bool = True
    piece: int = PIECE
    aligned: dict[str, None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        order = toposort(*(store.value for store in self.body.stores))
        self._scans = [node for node in order if node.op is Ops.SCAN]
        self._over = self._scans[0].src[1:]
        self._rest = [a for a in (*self.body.outer, *self.body.inner) if a not in self._over]
        self._rows, self._length = (
            size_of([self.body.extents[a] for a in some]) for some in (self._rest, self._over)
        )
        self._totals = {
            node: variable(self.name("total"), accumulator_dtype(node.arg, node.dtype))
            for node in self._scans
        }
        self._inside = variable("inside", dtypes.bool_)
        self._row, self._chunk = variable("row"), thread("block_y")
        self._start, self._stop = variable("start"), variable("stop")

    def nest(self) -> ThreadNest:
        """What the threads do; where chunks are stored, with what takes their totals before."""
        size = self._chunk_size()
        if not size:
            return self._storing(0)
        chunks = -(-self._length // size)
        carries = [ThreadCarry(node.arg, x.dtype, self._rows, chunks) for node, x in self._totals.items()]
        totals = ThreadScan(self.body, vectors=self.vectors)._adding(size)
        return replace(self._storing(size), carries=tuple(carries), totals=totals)

    def _chunk_size(self) -> int:
        """Elements of a chunk; 0 where rows are not split. The GPU has no say, so that it changes no bit."""
        # The product of a chunk may leave the range of floats although no running product does.
        products = any(node.arg is Ops.MUL and node.dtype.kind == "f" for node in self._scans)
        few = self._rows < ENOUGH_ROWS and self._length >= FEWEST_CHUNKS * CHUNK
        if products or not few:
            return 0
        return CHUNK * power_of_two(-(-self._length // (CHUNK * MOST_CHUNKS)))

    def _storing(self, size: int) -> ThreadNest:
        """What stores all results, of chunks of `size` or of whole rows."""
        reads = self._reads([store.value for store in self.body.stores])
        placed, threads, high = self._placed(reads, size)
        totals = self._totals
        carries = {node: variable(self.name("carried"), total.dtype) for node, total in totals.items()}
        begins = [assign(carry, self._before(node, size)) for node, carry in carries.items()]
        running = {
            node: UOp.new(Ops.SCRATCH, (), (self.name("running"), total.dtype, self.piece))
            for node, total in totals.items()
        }
        starts = {node: variable(self.name("start"), total.dtype) for node, total in totals.items()}

        def each_tile(first: UOp, m: UOp, stop: UOp) -> list[UOp]:
            inner = [assign(total, identity(node.arg, total.dtype)) for node, total in totals.items()]
            stand, taken = self._stand_at(first + m), []
            for node, total in totals.items():
                (value,) = self.concrete(node.src[0])
                combined = total.alu(node.arg, value.cast(total.dtype))
                taken += [assign(total, combined), UOp.new(Ops.STORE, (running[node], m, total))]
            inner.append(unrolled(m, self.piece, [*stand, only_if(first + m < stop, self.guarded(taken))]))
            inner += self._handed_on(totals, carries, starts)
            for node, start in starts.items():
                value = start.alu(node.arg, UOp.new(Ops.LOAD, (running[node], m)))
                self.results[node] = value.cast(node.dtype)
            return [*inner, *self._stores(first, m, stop)]

        statements = [*placed, *begins, self._tiles(reads, size, each_tile)]
        grid = (blocks(self._rows, high), -(-self._length // size) if size else 1, 1)
        return self.made(statements, grid, (threads, high, 1), tuple(self.aligned))

    def _adding(self, size: int) -> ThreadNest:
        """What leaves the totals of chunks of `size`, without handing on anything within a chunk."""
        reads = self._reads([node.src[0] for node in self._scans])
        placed, threads, high = self._placed(reads, size)
        totals = [Total(node.arg, total, None) for node, total in self._totals.items()]

        def each_tile(first: UOp, m: UOp, stop: UOp) -> list[UOp]:
            stand = self._stand_at(first + m)
            values = self.concrete(*(node.src[0] for node in self._scans))
            added = [s for total, value in zip(totals, values, strict=True) for s in total.add(value)]
            return [unrolled(m, self.piece, [*stand, only_if(first + m < stop, self.guarded(added))])]

        statements = [*placed, *(start for total in totals for start in total.starts())]
        statements.append(self._tiles(reads, size, each_tile))
        statements += self.combined(totals)
        stores = [
            UOp.new(Ops.STORE, (*self._carried(node, self._chunk), total))
            for node, total in self._totals.items()
        ]
        statements.append(only_if(self._inside & thread("thread_x").eq(0), stores))
        grid = (blocks(self._rows, high), -(-self._length // size), 1)
        return self.made(statements, grid, (threads, high, 1), tuple(self.aligned))

    # -- rows and their chunks -------------------------------------------------------------------------------

    def _reads(self, values: Sequence[UOp]) -> list[UOp]:
        """What is read along the row."""
        over = set(self._over)
        return [node for node in toposort(*values) if node.op is Ops.ACCESS and over & set(node.src)]

    def _placed(self, reads: Sequence[UOp], size: int) -> tuple[list[UOp], int, int]:
        """Statements that say which part of which row is this thread's; how many threads have a row, and how
        many rows a block.
        """
        self.vectors = self._vectors(reads)
        threads = min(BLOCK, power_of_two(-(-self._length // self.piece)))
        if self._rows >= ROWS_ACROSS and self._rest and _across(reads, self._rest[-1]):
            threads = 1
        high = BLOCK // threads if self._rest and threads <= WARP else 1
        row, count = self._row, self.arguments.size("rows", self._rows)
        statements = [
            assign(row, thread("block_x") * thread("threads_y") + thread("thread_y")),
            assign(self._inside, row < count),
            assign(row, row.alu(Ops.MINIMUM, count - 1)),
            *self.decompose(row, self._rest),
        ]
        if size:
            length = self.arguments.size("chunk", size)
            end = (self._start + length).alu(Ops.MINIMUM, self._end())
            statements += [assign(self._start, self._chunk * length), assign(self._stop, end)]
        return statements, threads, high

    def _end(self) -> UOp:
        return self.arguments.size("length", self._length)

    def _carried(self, node: UOp, chunk: UOp) -> tuple[UOp, UOp]:
        """The pointer and the place of a chunk's total, in memory that the plan has."""
        pointer = self.arguments.carry(self._scans.index(node), self._totals[node].dtype)
        chunks = self.arguments.size("chunks", -(-self._length // self._chunk_size()))
        return pointer, self._row * chunks + chunk

    def _before(self, node: UOp, size: int) -> UOp:
        """What stands before a row, or before the chunk, when the totals hold all up to their chunk's end."""
        nothing = identity(node.arg, self._totals[node].dtype)
        if not size:
            return nothing
        earlier = UOp.new(Ops.LOAD, self._carried(node, (self._chunk - 1).alu(Ops.MAXIMUM, 0)))
        return (self._chunk > ZERO).where(earlier, nothing)

    # -- tiles -----------------------------------------------------------------------------------------------

    def _tiles(
        self,
        reads: Sequence[UOp],
        chunk: int,
        each_tile: Callable[[UOp, UOp, UOp], list[UOp]],
    ) -> UOp:
        """The loop over tiles, which reads a thread's piece of each.

        `each_tile` makes the rest of a pass from the piece's first element, the number of an element in it,
        and where elements end.
        """
        tile, m, first = range_("tile"), range_("m"), variable("first")
        start, stop = (self._start, self._stop) if chunk else (ZERO, self._end())
        size = thread("threads_x") * self.piece
        end = self._end()
        # Beyond the end the last piece is read, and not used.
        place = first if self.vectors else first + m
        place = place.alu(Ops.MINIMUM, end - (self.piece if self.vectors else 1))
        scratch = {
            node: UOp.new(Ops.SCRATCH, (), (self.name("read"), node.dtype, self.piece)) for node in reads
        }
        here = tile * size + thread("thread_x") * self.piece
        inner = [assign(first, start + here if chunk else here)]
        inner += self._loads(scratch, place, m)
        self.results.update({node: UOp.new(Ops.LOAD, (array, m)) for node, array in scratch.items()})
        inner += each_tile(first, m, stop)
        length = stop - start if chunk else stop
        return loop(tile, ZERO, quotient(length + (size - 1), size), inner)

    def _stores(self, first: UOp, m: UOp, stop: UOp) -> list[UOp]:
        """Statements that store a piece, in vectors where memory allows."""
        stores, vectors = [], []
        stand = self._stand_at(first + m)
        for store in self.body.stores:
            single = self.store(store)
            dtype = single.src[2].dtype
            if self.vectors and self._is_vector(store.index, dtype):
                packed = UOp.new(Ops.SCRATCH, (), (self.name("packed"), dtype, self.piece))
                stores.append(UOp.new(Ops.STORE, (packed, m, single.src[2])))
                self._stand_at(first)
                target, index, _ = self.store(store).src
                self._stand_at(first + m)
                vectors.append(UOp.new(Ops.STORE_VECTOR, (target, index, packed, ZERO)))
                self.aligned[target.arg[0]] = None
            else:
                stores.append(single)
        inside = only_if((first + m < stop) & self._inside, self.guarded(stores))
        # A piece of vectors ends where the row or the chunk does.
        whole = [only_if((first < stop) & self._inside, vectors)] if vectors else []
        return [unrolled(m, self.piece, [*stand, inside]), *whole]

    def _is_vector(self, index: UOp, dtype: np.dtype) -> bool:
        """Whether a piece of memory that is read or written is a vector."""
        steps = dict(zip(index.src, index.arg[-2], strict=True))
        others = [step for a, step in steps.items() if a is not self._over[0]]
        whole = steps.get(self._over[0]) == 1 and all(step % self.piece == 0 for step in others)
        return whole and dtype.itemsize * self.piece == VECTOR_BYTES and all(a.op is Ops.RANGE for a in steps)

    def _vectors(self, reads: Sequence[UOp]) -> bool:
        """Whether all memory along the row can be read in vectors; sets the piece to one."""
        if not self.vectors or len(self._over) != 1 or not reads:
            return False
        before = self.piece
        self.piece = width = VECTOR_BYTES // max(node.dtype.itemsize for node in reads)
        whole = width <= 2 * PIECE and self._length % width == 0
        if whole and all(self._is_vector(node, node.dtype) for node in reads):
            return True
        self.piece = before
        return False

    def _stand_at(self, place: UOp) -> list[UOp]:
        """Let expressions mean one place of the row; returns the statements that takes."""
        if len(self._over) > 1:
            return self.decompose(place, self._over)
        self.atoms[self._over[0]] = place
        return []

    def _loads(self, scratch: Mapping[UOp, UOp], place: UOp, m: UOp) -> list[UOp]:
        before = self._stand_at(place)
        loads = []
        for node, array in scratch.items():
            (element,) = self.concrete(node)
            if self.vectors:
                self.aligned[element.src[0].arg[0]] = None
                loads.append(UOp.new(Ops.LOAD_VECTOR, (array, ZERO, *element.src)))
            else:
                loads.append(UOp.new(Ops.STORE, (array, m, element)))
        return loads if self.vectors else [unrolled(m, self.piece, [*before, *loads])]

    def _handed_on(
        self, totals: Mapping[UOp, UOp], carries: Mapping[UOp, UOp], starts: Mapping[UOp, UOp]
    ) -> list[UOp]:
        """Statements after which `starts` hold what comes before each thread's piece, `carries` what comes
        before the next tile.
        """
        here, size = thread("thread_x"), UOp.const(WARP, dtypes.INDEX)
        lane, warp, each = variable("lane"), variable("warp"), range_("each")
        warps = quotient(thread("threads_x") + (WARP - 1), size)
        statements = [assign(lane, here.alu(Ops.MODULO, size)), assign(warp, quotient(here, size))]
        for distance in (1, 2, 4, 8, 16):
            exchanged = []
            for node, total in totals.items():
                other = variable(self.name("other"), total.dtype)
                exchanged += [
                    UOp.new(Ops.SHUFFLE, (other, total), ("shuffle_up", distance)),
                    assign(total, (lane >= distance).where(other.alu(node.arg, total), total)),
                ]
            statements.append(only_if(thread("threads_x") > distance, exchanged))
        own, before, joined = [], [], []
        for node, total in totals.items():
            above = variable(self.name("other"), total.dtype)
            shared = UOp.new(Ops.SHARED, (), (self.name("shared"), total.dtype, BLOCK))
            # One of these for each row of a block, behind one another.
            row = thread("thread_y") * warps
            part = UOp.new(Ops.LOAD, (shared, row + each))
            carry, start = carries[node], starts[node]
            ends = lane.eq((thread("threads_x") - 1).alu(Ops.MINIMUM, WARP - 1))
            statements += [
                UOp.new(Ops.SHUFFLE, (above, total), ("shuffle_up", 1)),
                only_if(ends, [UOp.new(Ops.STORE, (shared, row + warp, total))]),
            ]
            own.append(assign(start, carry))
            earlier = (each < warp).where(start.alu(node.arg, part), start)
            before += [assign(start, earlier), assign(carry, carry.alu(node.arg, part))]
            joined.append(assign(start, lane.eq(0).where(start, start.alu(node.arg, above))))
        barrier = UOp.new(Ops.BARRIER)
        return [*statements, barrier, *own, loop(each, ZERO, warps, before), *joined, barrier]


def _across(reads: Sequence[UOp], row: UOp) -> bool:
    """Whether what is read runs along neighbouring rows."""
    return any(dict(zip(node.src, node.arg[2], strict=True)).get(row) == 1 for node in reads)
