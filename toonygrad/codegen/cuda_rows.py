"""Reductions along rows on a GPU and what consumes them: some threads share a row, some rows a block.

A row that they can hold in registers is read once, whatever is computed of it (softmax, layer norm); longer
ones are read again for each reduction. cuda_generate.py builds `ThreadRows`, on cuda_reductions.py and
what the CPU's rows.py knows of stages and stores.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from toonygrad import dtypes
from toonygrad.codegen.cuda import MOST_THREADS, VECTOR_BYTES, WARP
from toonygrad.codegen.cuda_loops import (
    BLOCK,
    ThreadNest,
    blocks,
    only_if,
    power_of_two,
    thread,
    times,
    unrolled,
)
from toonygrad.codegen.cuda_reductions import ThreadReducing, Total
from toonygrad.codegen.loops import ZERO, assign, loop, quotient, range_, variable
from toonygrad.codegen.lower import Store
from toonygrad.codegen.rows import Rows, searches
from toonygrad.uop.node import UOp, toposort
from toonygrad.uop.ops import Ops
from toonygrad.uop.shape import size_of

# Elements of a row that a thread holds and the most threads that hold it, the first that has room: blocks of
# 256 threads, of which several share a multiprocessor, wait less for one another. The same where elements
# come singly, which takes more registers for places; and the bytes of registers for all that is held.
HELD, HELD_SINGLY, HELD_BYTES = ((16, 256), (32, 512), (16, 512)), ((16, 512), (32, 512)), 256
# And of rows so short, points in space and colours, that one thread has them.
HELD_ALONE = ((4, 1),)
# Of longer rows a thread reads so many pieces before it works on them.
AHEAD = 4
# Elements of one chunk of a split reduction, and the rows that fill a GPU without splitting.
CHUNK, MOST_CHUNKS, ENOUGH_ROWS = 1 << 15, 1 << 15, 256
# Where neighbouring rows are neighbours in memory, so many are enough to give each a single thread.
ROWS_ACROSS = 1 << 13
# A last range shorter than this is walked together with those before it, at the price of a division for each
# element.
SHORT = 32


@dataclass
class Work:
    """What is done at each element of a row.

    Attributes
    ----------
    totals : reductions to what accumulates them
    stores : results along the row
    kept : values to hold in registers for later walks
    """

    totals: Mapping[UOp, Total] = field(default_factory=dict)
    stores: Sequence[Store] = ()
    kept: Sequence[UOp] = ()

    @property
    def roots(self) -> list[UOp]:
        """All it computes."""
        return [*(node.src[0] for node in self.totals), *(store.value for store in self.stores)]


@dataclass
class ThreadRows(ThreadReducing, Rows):
    """Threads along x share a row, rows lie along y.

    Attributes
    ----------
    vectors : whether memory may be read and written sixteen bytes at a time
    width : elements that a thread takes side by side
    threads : that share a row
    holds : elements of a row that each thread has in registers; 0 where rows are walked again for each use
    held : memory, and values computed from it, to the registers
    row, inside : which row, and whether there is such a one; without rows ZERO and None
    aligned : names of pointers to vectors
    """

    vectors: bool = True
    width: int = 1
    threads: int = 1
    holds: int = 0
    held: dict[UOp, UOp] = field(default_factory=dict)
    row: UOp = ZERO
    inside: UOp | None = None
    aligned: dict[str, None] = field(default_factory=dict)

    @property
    def seeks(self) -> bool:
        """Whether places of extremes are looked for along rows."""
        return bool(searches(self.stages()))

    def nest(self) -> ThreadNest:
        """What the threads do."""
        body = self.body
        rows = size_of([body.extents[a] for a in body.outer])
        stages = self.stages()
        waiting = [self._over_stage(s, stages) for s in body.stores if self._along(s.index)]
        drafts = [draft.value for draft in self._drafts(waiting, stages)]
        self._choose(stages, waiting, len(drafts), rows)
        first = stages[0][0].src[1]
        chunks = blocks(body.extents[first], self.chunk_length) if self.chunk_length else 0
        if rows == 1:
            # As many, some of them empty, as one kernel combines by vectors, whatever the type.
            chunks = -(-chunks // VECTOR_BYTES) * VECTOR_BYTES
        # Warps of several rows would need shared memory for each.
        high = BLOCK // self.threads if body.outer and self.threads <= WARP else 1
        statements = self._row(rows, bool(chunks))
        chunk, bounds = None, None
        if chunks:
            chunk, start, stop = variable("part"), variable("start"), variable("stop")
            size = self.arguments.size("chunk", self.chunk_length)
            count = self._count(first)
            begin, end = (place.alu(Ops.MINIMUM, count) for place in (chunk * size, start + size))
            statements += [assign(chunk, thread("block_x")), assign(start, begin), assign(stop, end)]
            bounds = (start, stop)
        # What a row holds is looked through for an extreme's place by those threads that have met it.
        sought = searches(stages) if self.holds else {}
        own: dict[UOp, UOp] = {}
        for stage in stages:
            over = stage[0].src[1:]
            here = [s for s in waiting if self._along(s.index) == set(over) and self._known(s)]
            waiting = [store for store in waiting if store not in here]
            computed = toposort(*stage)
            kept = [value for value in drafts if value in computed and value not in self.held and self.holds]
            totals = {node: self.total(node) for node in stage}
            statements += [start for total in totals.values() for start in total.starts()]
            walk = self._walk(over, bounds, Work(totals, here, kept))
            (extreme,) = [sought.get(node) for node in stage] if len(stage) == 1 else [None]
            statements += walk if extreme is None else [self._if_found(own[extreme], extreme, walk)]
            own |= {node: variable(self.name("own"), node.dtype) for node in stage if node in sought.values()}
            statements += [assign(own[node], totals[node].value) for node in stage if node in own]
            statements += self._finished(totals)
        together: dict[tuple[UOp, ...], list[Store]] = {}
        for store in waiting:
            steps = _steps(store.index)
            ranges = sorted(self._along(store.index), key=lambda a: -abs(steps[a]))
            together.setdefault(tuple(ranges), []).append(store)
        for over, stores in together.items():
            statements += self._walk(over, None, Work(stores=stores))
        statements += self._results(chunk, rows)
        grid = (chunks, blocks(rows, high), 1) if chunks else (blocks(rows, high), 1, 1)
        nest = self.made(statements, grid, (self.threads, high, 1), tuple(self.aligned))
        return self.in_chunks(nest, chunks) if chunks else nest

    def _along(self, index: UOp) -> set[UOp]:
        """The ranges of an index that run along the row."""
        return set(index.src).difference(self.body.outer)

    # -- choices ---------------------------------------------------------------------------------------------

    def _choose(
        self, stages: Sequence[Sequence[UOp]], waiting: Sequence[Store], drafts: int, rows: int
    ) -> None:
        """Set chunk_length, width, holds and threads."""
        extents = self.body.extents
        walks = [stage[0].src[1:] for stage in stages]
        walks += [tuple(self._along(store.index)) for store in waiting]
        lengths = {size_of([extents[a] for a in over]) for over in walks}
        longest = max(lengths)
        single = len(lengths) == 1 and longest > 0 and all(len(over) == 1 for over in walks)
        first = [extents[a] for a in stages[0][0].src[1:]]
        alone = len(stages) == 1 and not waiting
        if self.splits and alone and rows < ENOUGH_ROWS and size_of(first) >= 2 * CHUNK:
            self.chunk_length = max(1, CHUNK // size_of(first[1:]), -(-first[0] // MOST_CHUNKS))
        work = Work({node: self.total(node) for stage in stages for node in stage}, waiting)
        self.counter.clear()
        reads = self._reads(work, None)
        if not self.chunk_length and rows >= ROWS_ACROSS and self._across(reads):
            return
        itemsize = max((node.dtype.itemsize for node in reads), default=8)
        width = VECTOR_BYTES // itemsize
        vectors = any(self._is_vector(node, node.dtype.itemsize, width) for node in reads)
        if self.vectors and single and longest % width == 0 and vectors:
            self.width = width
        if single and reads and not self.chunk_length:
            for held, most in (*HELD_ALONE, *(HELD if self.width > 1 else HELD_SINGLY)):
                room = held * itemsize * (len(reads) + drafts) <= HELD_BYTES
                if not self.holds and room and longest <= held * most:
                    self.holds = held
        each = self.holds or AHEAD * self.width
        threads = -(-longest // each)
        # A part of a warp, whose lanes are halved again and again, or whole warps.
        threads = power_of_two(threads) if threads <= WARP else -(-threads // WARP) * WARP
        self.threads = min(MOST_THREADS if self.holds else BLOCK, threads)

    def _reads(self, work: Work, last: UOp | None) -> list[UOp]:
        """The memory along a row, or along one range, that `work` is computed from, but what is gathered."""
        return [
            node
            for node in toposort(*work.roots, until=self.results)
            if node.op is Ops.ACCESS
            and (last in node.src if last is not None else self._along(node))
            and all(a.op is Ops.RANGE for a in node.src)
        ]

    def _across(self, reads: Sequence[UOp]) -> bool:
        """Whether more of what is read runs along neighbouring rows than along a row."""
        column = self.body.outer[-1]
        steps = [_steps(node) for node in reads]
        along = sum(
            abs(step) == 1 for terms in steps for a, step in terms.items() if a not in self.body.outer
        )
        return sum(abs(terms.get(column, 0)) == 1 for terms in steps) > along

    def _is_vector(self, node: UOp, itemsize: int, width: int) -> bool:
        """Whether an ACCESS or AFFINE moves along memory, and rows begin at multiples of a vector."""
        along, steps = self._along(node), _steps(node)
        return (
            itemsize * width == VECTOR_BYTES
            and len(along) == 1
            and all(step == 1 if a in along else step % width == 0 for a, step in steps.items())
        )

    # -- a thread's row, and its results ---------------------------------------------------------------------

    def _row(self, rows: int, chunks: bool) -> list[UOp]:
        """Statements that find the row; threads beyond the last stay with it, for shuffles need all."""
        if not self.body.outer:
            return []
        row, inside, count = (
            variable("row"),
            variable("inside", dtypes.bool_),
            self.arguments.size("rows", rows),
        )
        block = thread("block_y" if chunks else "block_x")
        self.row, self.inside = row, inside
        return [
            assign(row, block * thread("threads_y") + thread("thread_y")),
            assign(inside, row < count),
            assign(row, row.alu(Ops.MINIMUM, count - 1)),
            *self.decompose(row, self.body.outer),
        ]

    def _finished(self, totals: Mapping[UOp, Total]) -> list[UOp]:
        """Statements after a walk: all threads of a row get its totals."""
        statements = self.combined(list(totals.values()))
        for node, total in totals.items():
            result = variable(self.name("result"), total.value.dtype)
            statements.append(assign(result, total.result))
            self.accumulated[node] = result
            self.results[node] = result.cast(node.dtype)
        return statements

    def _if_found(self, own: UOp, extreme: UOp, statements: Sequence[UOp]) -> UOp:
        """The statement that a thread runs others by whose `own` extreme is the row's."""
        found = own.eq(self.results[extreme])
        # NaN is the row's where any thread has one.
        return only_if(found | own.ne(own) if own.dtype in dtypes.REAL_FLOATING else found, statements)

    def _results(self, chunk: UOp | None, rows: int) -> list[UOp]:
        """Statements by which one thread stores what a row, or a chunk of one, has one of."""
        if chunk is None:
            stores = [self.store(store) for store in self.body.stores if not self._along(store.index)]
        else:
            stores = self.left(chunk, self.row, rows)
        here = thread("thread_x").eq(0)
        return (
            [only_if(here if self.inside is None else here & self.inside, self.guarded(stores))]
            if stores
            else []
        )

    # -- walking along a row ---------------------------------------------------------------------------------

    def _count(self, over: UOp) -> UOp:
        number = list(self.body.extents).index(over)
        return self.arguments.size(f"n{number}", self.body.extents[over])

    def _walk(self, over: Sequence[UOp], bounds: tuple[UOp, UOp] | None, work: Work) -> list[UOp]:
        """Statements by which a thread does its part of the work on a row."""
        last = over[-1]
        if self.holds:
            return self._in_registers(last, work)
        if len(over) > 1 and bounds is None and self.body.extents[last] < SHORT:
            length = self.arguments.size(self.name("length"), size_of([self.body.extents[a] for a in over]))
            return self._one_by_one(ZERO, length, lambda k: self.decompose(k, over), work, {})
        outer = {a: range_(self.name("k")) for a in over[:-1]}
        self.atoms.update(outer)
        start, stop = bounds if bounds is not None and len(over) == 1 else (ZERO, self._count(last))
        statements = self._in_pieces(last, start, stop, work)
        for a in reversed(over[:-1]):
            begin, end = bounds if bounds is not None and a is over[0] else (ZERO, self._count(a))
            statements = [loop(outer[a], begin, end, statements)]
        return statements

    def _in_pieces(self, last: UOp, start: UOp, stop: UOp, work: Work) -> list[UOp]:
        """Neighbouring threads take neighbouring pieces of `width` elements, AHEAD of them read before any is
        used; then the rest one by one.
        """

        def placed(k: UOp) -> list[UOp]:
            self.atoms[last] = k
            return []

        reads = self._reads(work, last)
        size = sum(node.dtype.itemsize for node in reads) * self.width
        if not reads or size * AHEAD > HELD_BYTES:
            return self._one_by_one(start, stop, placed, work, {})
        apart = times(thread("threads_x"), self.width)
        group = apart * AHEAD
        trip, u = range_(self.name("trip")), range_(self.name("u"))
        base, place, full = (
            variable(self.name("base")),
            variable(self.name("place")),
            variable(self.name("full")),
        )
        ahead = self._scratches("ahead", reads, AHEAD)
        loads = [
            s for node in reads for s in self._load(node, ahead[node], times(u, self.width), place, last)
        ]
        move = assign(place, base + u * apart)
        inside = [
            assign(base, start + trip * group + times(thread("thread_x"), self.width)),
            unrolled(u, AHEAD, [move, *loads]),
            unrolled(u, AHEAD, [move, *self._piece(place, times(u, self.width), placed, work, ahead)]),
        ]
        one = self._scratches("piece", reads, 1) if self.width > 1 else {}
        rest = self._one_by_one(start + full * group, stop, placed, work, one, last)
        return [assign(full, quotient(stop - start, group)), loop(trip, ZERO, full, inside), *rest]

    def _one_by_one(
        self,
        start: UOp,
        stop: UOp,
        placed: Callable[[UOp], list[UOp]],
        work: Work,
        scratch: Mapping[UOp, UOp],
        last: UOp | None = None,
    ) -> list[UOp]:
        """Neighbouring threads take neighbouring pieces, each read as it is used."""
        width = 1 if last is None else self.width
        apart = times(thread("threads_x"), width)
        begin, first, trip = (
            variable(self.name("begin")),
            variable(self.name("first")),
            range_(self.name("trip")),
        )
        trips = quotient(stop - begin + (apart - 1), apart)
        loads = (
            [s for node in scratch for s in self._load(node, scratch[node], ZERO, first, last)]
            if last
            else []
        )
        inside = [*loads, *self._piece(first, ZERO, placed, work, scratch)]
        move = assign(first, begin + trip * apart + times(thread("thread_x"), width))
        return [assign(begin, start), loop(trip, ZERO, trips, [move, only_if(first < stop, inside)])]

    def _in_registers(self, last: UOp, work: Work) -> list[UOp]:
        """Every thread holds its part of the row: what one walk reads is there for all later ones."""

        def placed(k: UOp) -> list[UOp]:
            self.atoms[last] = k
            return []

        count, extent = self.holds // self.width, self._count(last)
        first = variable(self.name("first"))
        fresh = [node for node in self._reads(work, last) if node not in self.held]
        # What comes in beside a row that is held, as a layer norm's weights do, comes in two parts: fewer
        # registers let two blocks share a multiprocessor, one of which reads while the other computes.
        parts = 2 if fresh and self.held and count % 2 == 0 else 1
        self.held.update(self._scratches("held", fresh, count))
        for value in work.kept:
            self.held[value] = UOp.new(Ops.SCRATCH, (), (self.name("kept"), value.dtype, self.holds))
        statements = []
        for part in range(parts):
            u = range_(self.name("u"))
            step = u + part * (count // parts) if part else u
            mine, end = step * thread("threads_x") + thread("thread_x"), extent
            place = times(step, self.width)
            if self.width == 1:
                # In half as many registers, of which places of single elements take the most.
                short = dtypes.int32
                mine = step.cast(short) * thread("threads_x").cast(short) + thread("thread_x").cast(short)
                end = extent.cast(short)
            mine = times(mine, self.width)
            if fresh:
                loads = [s for node in fresh for s in self._load(node, self.held[node], place, first, last)]
                # Beyond the row's end its last piece is read, and not used: a branch would hold back others.
                read = mine.alu(Ops.MINIMUM, end - self.width).cast(dtypes.INDEX)
                move = assign(first, read)
                statements.append(unrolled(u, count // parts, [move, *loads]))
            done = self._piece(first, place, placed, work, self.held)
            done = [assign(first, mine.cast(dtypes.INDEX)), only_if(mine < end, done)]
            statements.append(unrolled(u, count // parts, done))
        return statements

    def _scratches(self, stem: str, reads: Sequence[UOp], count: int) -> dict[UOp, UOp]:
        size = count * self.width
        return {node: UOp.new(Ops.SCRATCH, (), (self.name(stem), node.dtype, size)) for node in reads}

    def _load(self, node: UOp, scratch: UOp, place: UOp, first: UOp, last: UOp) -> list[UOp]:
        """Statements that bring `width` elements of an ACCESS, from `first` on, into scratch."""
        (element,) = self._element(node, last, first)
        if self._is_vector(node, node.dtype.itemsize, self.width) and self.width > 1:
            self.aligned[element.src[0].arg[0]] = None
            return [UOp.new(Ops.LOAD_VECTOR, (scratch, place, *element.src))]
        if self.width == 1:
            return [UOp.new(Ops.STORE, (scratch, place, element))]
        e = range_(self.name("m"))
        (element,) = self._element(node, last, first + e)
        return [unrolled(e, self.width, [UOp.new(Ops.STORE, (scratch, place + e, element))])]

    def _element(self, node: UOp, last: UOp, place: UOp) -> list[UOp]:
        atoms = {**self.atoms, last: place}
        order = (*self.body.outer, *self.body.inner, *(a for r in self.body.reduces for a in r.src[1:]))
        return self.arguments.concrete([node], atoms, self.body.sizes, order)

    def _piece(
        self,
        first: UOp,
        place: UOp,
        placed: Callable[[UOp], list[UOp]],
        work: Work,
        scratch: Mapping[UOp, UOp],
    ) -> list[UOp]:
        """Statements for a piece from element `first` on, which `scratch` holds from `place` on."""
        # Without scratch elements come one at a time.
        width = self.width if scratch else 1
        e = range_(self.name("m"))
        k, at = (first, place) if width == 1 else (first + e, place + e)
        results = dict(self.results)
        self.results.update({n: UOp.new(Ops.LOAD, (a, at)) for n, a in scratch.items() if n not in work.kept})
        statements = placed(k)
        inside: list[UOp] = []
        for value in work.kept:
            inside.append(UOp.new(Ops.STORE, (self.held[value], at, *self.concrete(value))))
            self.results[value] = UOp.new(Ops.LOAD, (self.held[value], at))
        values = self.concrete(*(node.src[0] for node in work.totals))
        for total, value in zip(work.totals.values(), values, strict=True):
            inside += total.add(value)
        vectors: list[UOp] = []
        stores: list[UOp] = []
        for store in work.stores:
            target, index, value = self.store(store).src
            if width > 1 and self._is_vector(store.index, value.dtype.itemsize, width):
                array = UOp.new(Ops.SCRATCH, (), (self.name("packed"), value.dtype, width))
                inside.append(UOp.new(Ops.STORE, (array, e, value)))
                placed(first)
                vectors.append(UOp.new(Ops.STORE_VECTOR, (target, self.store(store).src[1], array, ZERO)))
                placed(k)
                self.aligned[target.arg[0]] = None
            else:
                stores.append(UOp.new(Ops.STORE, (target, index, value)))
        self.results = results
        inside += self._if_inside(stores)
        statements += self.guarded(inside)
        if width > 1:
            statements = [unrolled(e, width, statements)]
        return [*statements, *self._if_inside(vectors)]

    def _if_inside(self, stores: Sequence[UOp]) -> list[UOp]:
        return [only_if(self.inside, stores)] if stores and self.inside is not None else list(stores)


def _steps(node: UOp) -> dict[UOp, int]:
    return dict(zip(node.src, node.arg[-2], strict=True))
