"""Reductions across rows on a GPU: neighbouring threads have neighbouring columns, as memory has them.

Where columns alone don't fill a block its second side shares out the rows, and where blocks are few the rows
run in chunks. cuda_generate.py builds `ThreadColumns`, on cuda_reductions.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from toonygrad import dtypes
from toonygrad.codegen.cuda import VECTOR_BYTES, WARP
from toonygrad.codegen.cuda_loops import (
    GRID_SIDE,
    ThreadNest,
    blocks,
    only_if,
    thread,
    times,
    unrolled,
)
from toonygrad.codegen.cuda_reductions import ThreadReducing, Total
from toonygrad.codegen.loops import ZERO, assign, loop, quotient, range_, variable
from toonygrad.codegen.lower import Body
from toonygrad.codegen.reductions import accumulator_dtype
from toonygrad.codegen.tiles import step_along
from toonygrad.uop.node import UOp, toposort
from toonygrad.uop.ops import Ops
from toonygrad.uop.shape import size_of

# Threads of a block, rows that each reads before it works on them, and the bytes of registers for those and
# the elements that are worth their code.
THREADS, AHEAD, AHEAD_BYTES, AHEAD_ELEMENTS = 128, 8, 256, 128
# Of single columns side by side more rows, for as many bytes.
AHEAD_SINGLY = 32
# Threads that share a row at least, where rows can't be split and columns are few: 128 bytes of float32.
NARROWEST = 8
# Blocks that fill a GPU without chunks, and as many as there are, or some times as many, with them; the least
# rows of a chunk for each of a block's threads that share a column; the fewest rows that are split; the most
# chunks.
ENOUGH_BLOCKS, BLOCKS, CHUNK_ROWS, FEWEST_ROWS, MOST_CHUNKS = 512, 512, 64, 1024, 512
# Which part of the blocks that run at once must be there; so many across are few.
SHARED_OUT, FEW_ACROSS = 0.9, 16


def fits(body: Body) -> bool:
    """Whether all results but the columns have room along one side of the grid."""
    return size_of([body.extents[a] for a in body.outer[:-1]]) <= GRID_SIDE


@dataclass
class ThreadColumns(ThreadReducing):
    """Threads along x have `width` columns each, threads along y share these columns' rows.

    Attributes
    ----------
    vectors : whether memory may be read sixteen bytes at a time
    width, ahead : columns of a thread, and rows that it reads before it works on them
    first : the first of a thread's columns
    arrays : reductions that are finished, to what holds a total for each of the thread's columns
    aligned : names of pointers to vectors
    """

    vectors: bool = True
    width: int = 1
    ahead: int = AHEAD
    first: UOp = field(default_factory=lambda: variable("first"))
    arrays: dict[UOp, list[UOp]] = field(default_factory=dict)
    aligned: dict[str, None] = field(default_factory=dict)

    def nest(self) -> ThreadNest:
        """What the threads do."""
        body, over = self.body, self.body.reduces[0].src[1:]
        column, others = body.outer[-1], body.outer[:-1]
        columns, count = body.extents[column], size_of([body.extents[a] for a in others])
        stages = self.stages()
        reads = self._reads(body.reduces)
        width = VECTOR_BYTES // max((node.dtype.itemsize for node in reads), default=VECTOR_BYTES)
        # Threads of a block leave them in shared memory too, of which a kernel has 48 KiB.
        each = [accumulator_dtype(n.arg, n.dtype).itemsize << self._compensated(n) for n in body.reduces]
        many = width * sum(each) > AHEAD_BYTES
        if columns % width or many or not any(self._is_vector(node, width) for node in reads):
            width = 1
        across, wide, high = self._block(columns // width, THREADS)
        # Chunks are the same with vectors and without: who combines them relies on that.
        length = self.chunk_length = self._chunk_length(stages, across * count, high)
        chunks = blocks(body.extents[over[0]], length) if length else 0
        self.width = width if self.vectors else 1
        most = THREADS
        across, wide, high = self._block(columns // self.width, most)
        while not chunks and across * count < ENOUGH_BLOCKS and wide > NARROWEST:
            most //= 2
            across, wide, high = self._block(columns // self.width, most)
        if self.width == 1 and wide >= WARP * 2:
            self.ahead = AHEAD_SINGLY
        inside, end = variable("inside", dtypes.bool_), self.arguments.size("columns", columns)
        place = times(thread("block_x") * thread("threads_x") + thread("thread_x"), self.width)
        statements = [
            assign(self.first, place),
            assign(inside, self.first < end),
            assign(self.first, self.first.alu(Ops.MINIMUM, end - self.width)),
            *self.decompose(thread("block_y"), others),
        ]
        chunk, bounds = None, None
        if chunks:
            chunk, start, stop = variable("part"), variable("start"), variable("stop")
            size = self.arguments.size("chunk", length)
            last = (start + size).alu(Ops.MINIMUM, self._count(over[0]))
            statements += [assign(chunk, thread("block_z")), assign(start, chunk * size), assign(stop, last)]
            bounds = (start, stop)
        for stage in stages:
            statements += self._stage(stage, bounds)
        e = range_(self.name("m"))
        self._stand_at(e)
        if chunk is None:
            stores = [self.store(store) for store in body.stores]
        else:
            result = thread("block_y") * end + self.atoms[column]
            stores = self.left(chunk, result, columns * count)
        results = [unrolled(e, self.width, self.guarded(stores))]
        statements.append(only_if(inside & thread("thread_y").eq(0), results))
        grid = (across, max(1, count), max(1, chunks))
        nest = self.made(statements, grid, (wide, high, 1), tuple(self.aligned))
        return self.in_chunks(nest, chunks) if chunks else nest

    def _block(self, vectors: int, most: int) -> tuple[int, int, int]:
        """Blocks across, and a block's two sides, with at most `most` threads along columns."""
        across = blocks(vectors, most)
        # A last block with few columns takes as long as others: with few blocks all get as many.
        wide = blocks(vectors, across) if across <= FEW_ACROSS else most
        # Each thread has rows to read before it works on any.
        rows = blocks(self.body.extents[self.body.reduces[0].src[-1]], AHEAD)
        return across, wide, min(max(1, THREADS // wide), rows)

    def _chunk_length(self, stages: Sequence[Sequence[UOp]], many: int, high: int) -> int:
        """How far along the slowest reduced range a chunk reaches; 0 where rows are not split."""
        extents = [self.body.extents[a] for a in stages[0][0].src[1:]]
        rows = size_of(extents)
        if not self.splits or len(stages) > 1 or many >= ENOUGH_BLOCKS or rows < FEWEST_ROWS:
            return 0
        # As many chunks as fill a GPU some times, but none is shorter than it takes to start.
        fewest = max(1, CHUNK_ROWS * high // size_of(extents[1:]))
        # All run at once, or twice as many: the more a part of them would wait, the longer the rest idles.
        most = next((n for n in (1, 2, 3) if n * BLOCKS // many * many >= SHARED_OUT * n * BLOCKS), 4)
        chunks = min(MOST_CHUNKS, most * BLOCKS // many)
        length = max(fewest, blocks(extents[0], chunks))
        return length if length < extents[0] else 0

    def _count(self, over: UOp) -> UOp:
        number = list(self.body.extents).index(over)
        return self.arguments.size(f"n{number}", self.body.extents[over])

    def _reads(self, stage: Sequence[UOp]) -> list[UOp]:
        """The memory that is read at each row, but what is gathered."""
        return [
            node
            for node in toposort(*(reduce.src[0] for reduce in stage), until=self.results)
            if node.op is Ops.ACCESS
            and stage[0].src[-1] in node.src
            and all(a.op is Ops.RANGE for a in node.src)
        ]

    def _is_vector(self, node: UOp, width: int) -> bool:
        steps = dict(zip(node.src, node.arg[2], strict=True))
        whole = all(step % width == 0 for a, step in steps.items() if a is not self.body.outer[-1])
        return (
            step_along(node, self.body.outer[-1]) == 1
            and node.dtype.itemsize * width == VECTOR_BYTES
            and whole
        )

    # -- a thread's columns ----------------------------------------------------------------------------------

    def _stand_at(self, e: UOp) -> None:
        """Let expressions mean one of the thread's columns."""
        self.atoms[self.body.outer[-1]] = self.first if self.width == 1 else self.first + e
        for node, arrays in self.arrays.items():
            value = self._total(node, arrays, e).result
            self.accumulated[node] = value
            self.results[node] = value.cast(node.dtype)

    def _total(self, node: UOp, arrays: Sequence[UOp], e: UOp) -> Total:
        value, *lost = (UOp.new(Ops.LOAD, (array, e)) for array in arrays)
        return Total(node.arg, value, lost[0] if lost else None)

    def _stage(self, stage: Sequence[UOp], bounds: tuple[UOp, UOp] | None) -> list[UOp]:
        over = stage[0].src[1:]
        arrays = {}
        for node in stage:
            parts = self.total(node).parts
            arrays[node] = [UOp.new(Ops.SCRATCH, (), (part.arg[0], part.dtype, self.width)) for part in parts]
        e = range_(self.name("m"))
        starts = [start for node in stage for start in self._total(node, arrays[node], e).starts()]
        outer = {a: range_(self.name("k")) for a in over[:-1]}
        self.atoms.update(outer)
        start, stop = bounds if bounds is not None and len(over) == 1 else (ZERO, self._count(over[-1]))
        statements = self._down(stage, arrays, start, stop)
        for a in reversed(over[:-1]):
            begin, end = bounds if bounds is not None and a is over[0] else (ZERO, self._count(a))
            statements = [loop(outer[a], begin, end, statements)]
        statements = [unrolled(e, self.width, starts), *statements]
        statements.append(only_if(thread("threads_y") > 1, self._shared_out(stage, arrays)))
        self.arrays.update(arrays)
        return statements

    def _down(
        self, stage: Sequence[UOp], arrays: Mapping[UOp, Sequence[UOp]], start: UOp, stop: UOp
    ) -> list[UOp]:
        """Statements that add up a thread's share of the rows: AHEAD of them read before any is used,
        then the rest one by one.
        """
        last = stage[0].src[-1]
        reads = self._reads(stage)
        each = self.width * sum(node.dtype.itemsize for node in reads)
        room = min(AHEAD_BYTES // max(1, each), AHEAD_ELEMENTS // self.width) if reads else 0
        ahead = next((n for n in (self.ahead, AHEAD, AHEAD // 2, AHEAD // 4) if n <= room), 0)
        apart, k = thread("threads_y"), variable(self.name("k"))
        begin = start + thread("thread_y")
        statements = []
        if ahead:
            trip, u, base, full = (
                range_(self.name("trip")),
                range_(self.name("u")),
                variable(self.name("base")),
                variable(self.name("full")),
            )
            group = apart * ahead
            scratch = self._scratches("ahead", reads, ahead)
            move = assign(k, base + u * apart)
            loads = self._loads(scratch, times(u, self.width), last, k)
            added = self._added(stage, arrays, scratch, times(u, self.width), last, k)
            inside = [
                assign(base, start + trip * group + thread("thread_y")),
                unrolled(u, ahead, [move, *loads]),
                unrolled(u, ahead, [move, *added]),
            ]
            statements += [assign(full, quotient(stop - start, group)), loop(trip, ZERO, full, inside)]
            begin = begin + full * group
        first, rest = variable(self.name("begin")), range_(self.name("trip"))
        scratch = self._scratches("one", reads, 1)
        inside = [
            assign(k, first + rest * apart),
            *self._loads(scratch, ZERO, last, k),
            *self._added(stage, arrays, scratch, ZERO, last, k),
        ]
        # None where this thread's first row lies beyond.
        trips = quotient((stop - first + (apart - 1)).alu(Ops.MAXIMUM, 0), apart)
        return [*statements, assign(first, begin), loop(rest, ZERO, trips, inside)]

    def _scratches(self, stem: str, reads: Sequence[UOp], count: int) -> dict[UOp, UOp]:
        size = count * self.width
        return {node: UOp.new(Ops.SCRATCH, (), (self.name(stem), node.dtype, size)) for node in reads}

    def _loads(self, scratch: Mapping[UOp, UOp], place: UOp, last: UOp, k: UOp) -> list[UOp]:
        """Statements that bring a row's elements into scratch."""
        statements = []
        self.atoms[last] = k
        for node, array in scratch.items():
            e = range_(self.name("m"))
            if self.width > 1 and self._is_vector(node, self.width):
                self._stand_at(ZERO)
                (element,) = self.concrete(node)
                self.aligned[element.src[0].arg[0]] = None
                statements.append(UOp.new(Ops.LOAD_VECTOR, (array, place, *element.src)))
            else:
                self._stand_at(e)
                (element,) = self.concrete(node)
                store = UOp.new(Ops.STORE, (array, place + e, element))
                statements.append(unrolled(e, self.width, [store]))
        return statements

    def _added(
        self,
        stage: Sequence[UOp],
        arrays: Mapping[UOp, Sequence[UOp]],
        scratch: Mapping[UOp, UOp],
        place: UOp,
        last: UOp,
        k: UOp,
    ) -> list[UOp]:
        """Statements that take in a row."""
        e = range_(self.name("m"))
        self._stand_at(e)
        self.atoms[last] = k
        results = dict(self.results)
        self.results.update({n: UOp.new(Ops.LOAD, (array, place + e)) for n, array in scratch.items()})
        values = self.concrete(*(node.src[0] for node in stage))
        added = [
            statement
            for node, value in zip(stage, values, strict=True)
            for statement in self._total(node, arrays[node], e).add(value)
        ]
        self.results = results
        return [unrolled(e, self.width, self.guarded(added))]

    def _shared_out(self, stage: Sequence[UOp], arrays: Mapping[UOp, Sequence[UOp]]) -> list[UOp]:
        """Statements after which all threads that share columns have their totals."""
        e, j = range_(self.name("m")), range_(self.name("j"))
        size = THREADS * self.width
        row = thread("threads_x") * self.width
        mine = times(thread("thread_x"), self.width) + e
        own, read = [], []
        for node in stage:
            total = self._total(node, arrays[node], e)
            places = [
                UOp.new(Ops.SHARED, (), (self.name("shared"), part.dtype, size)) for part in total.parts
            ]
            own += [
                UOp.new(Ops.STORE, (place, thread("thread_y") * row + mine, part))
                for place, part in zip(places, total.parts, strict=True)
            ]
            own += total.starts()
            others = [UOp.new(Ops.LOAD, (place, j * row + mine)) for place in places]
            read += total.add(*others)
        inside = [loop(j, ZERO, thread("threads_y"), read)]
        return [unrolled(e, self.width, own), UOp.new(Ops.BARRIER), unrolled(e, self.width, inside)]
