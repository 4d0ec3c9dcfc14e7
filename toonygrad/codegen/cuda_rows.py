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
from toonygrad.codegen.reductions import identity
from toonygrad.codegen.rows import Rows
from toonygrad.uop.node import UOp, toposort
from toonygrad.uop.ops import Ops
from toonygrad.uop.shape import size_of

# Elements of a row that a thread holds and the most threads that hold it, the first that has room: blocks of
# 256 threads, of which several share a multiprocessor, wait less for one another. And the bytes of registers.
HELD, HELD_BYTES = ((16, 256), (32, 512), (16, 512)), 256
# Of longer rows a thread reads so many pieces before it works on them.
AHEAD = 4
# Elements of one chunk of a split reduction, and the rows that fill a GPU without splitting.
CHUNK, MOST_CHUNKS, ENOUGH_ROWS = 1 << 15, 1 << 15, 256
# Where neighbouring rows are neighbours in memory, so many are enough to give each a single thread.
ROWS_ACROSS = 1 << 13
# Rows as long are held as vectors though they don't begin or end at multiples of one.
RAGGED = 64
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
    ragged : whether rows begin and end between multiples of a vector; threads then hold whole vectors all the
        same, the first and the last of a row in part
    residues, skew : where rows begin beyond a multiple, by step of the range; of this row
    chunk_length : how far along the first reduced range a chunk reaches; 0 where rows are whole
    row, inside : which row, and whether there is such a one; without rows ZERO and None
    aligned : names of pointers to vectors
    """

    vectors: bool = True
    width: int = 1
    threads: int = 1
    holds: int = 0
    held: dict[UOp, UOp] = field(default_factory=dict)
    ragged: bool = False
    residues: dict[UOp, int] = field(default_factory=dict)
    skew: UOp = ZERO
    chunk_length: int = 0
    row: UOp = ZERO
    inside: UOp | None = None
    aligned: dict[str, None] = field(default_factory=dict)

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
        # Warps of several rows would need shared memory for each.
        high = BLOCK // self.threads if body.outer and self.threads <= WARP else 1
        statements = self._row(rows, bool(chunks))
        chunk, bounds = None, None
        if chunks:
            chunk, start, stop = variable("part"), variable("start"), variable("stop")
            size = self.arguments.size("chunk", self.chunk_length)
            end = (start + size).alu(Ops.MINIMUM, self._count(first))
            statements += [assign(chunk, thread("block_x")), assign(start, chunk * size), assign(stop, end)]
            bounds = (start, stop)
        for stage in stages:
            over = stage[0].src[1:]
            here = [s for s in waiting if self._along(s.index) == set(over) and self._known(s)]
            waiting = [store for store in waiting if store not in here]
            computed = toposort(*stage)
            kept = [value for value in drafts if value in computed and value not in self.held and self.holds]
            totals = {node: self.total(node) for node in stage}
            statements += [start for total in totals.values() for start in total.starts()]
            statements += self._walk(over, bounds, Work(totals, here, kept))
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
        elif self.vectors and single and longest >= RAGGED and not self.chunk_length:
            self._find_residues(reads, width)
        extent = longest + (width - 1 if self.ragged else 0)
        if single and reads and not self.chunk_length:
            for held, most in HELD:
                room = held * itemsize * (len(reads) + drafts) <= HELD_BYTES
                if not self.holds and room and extent <= held * most:
                    self.holds = held
        if self.ragged and not self.holds:
            self.ragged, self.residues, self.width = False, {}, 1
        each = self.holds or AHEAD * self.width
        threads = -(-extent // each)
        # A part of a warp, whose lanes are halved again and again, or whole warps.
        threads = power_of_two(threads) if threads <= WARP else -(-threads // WARP) * WARP
        self.threads = min(MOST_THREADS if self.holds else BLOCK, threads)

    def _find_residues(self, reads: Sequence[UOp], width: int) -> None:
        """Let threads hold vectors of rows that begin or end between multiples, if any memory lies so."""
        for node in reads:
            along, steps = self._along(node), _steps(node)
            if node.dtype.itemsize * width == VECTOR_BYTES and [steps[a] for a in along] == [1]:
                self.residues = {a: steps[a] % width for a in self.body.outer if steps.get(a, 0) % width}
                self.ragged, self.width = True, width
                return

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
        """Whether an ACCESS or AFFINE moves along memory, and rows begin at multiples of a vector, or as far
        beyond as all do.
        """
        along, steps = self._along(node), _steps(node)
        return (
            itemsize * width == VECTOR_BYTES
            and len(along) == 1
            and all(steps[a] == 1 for a in along)
            and all(steps.get(a, 0) % width == self.residues.get(a, 0) for a in self.body.outer)
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
            *self._row_skew(),
        ]

    def _row_skew(self) -> list[UOp]:
        """Statements that find where this row begins beyond a multiple of a vector."""
        if not self.ragged:
            return []
        beyond = None
        for number, a in enumerate(self.body.outer):
            term = self.atoms[a] * self.arguments.size(f"r{number}", self.residues.get(a, 0))
            beyond = term if beyond is None else beyond + term
        assert beyond is not None
        self.skew = variable("skew")
        return [assign(self.skew, beyond.alu(Ops.MODULO, self.width))]

    def _finished(self, totals: Mapping[UOp, Total]) -> list[UOp]:
        """Statements after a walk: all threads of a row get its totals."""
        statements = self.combined(list(totals.values()))
        for node, total in totals.items():
            result = variable(self.name("result"), total.value.dtype)
            statements.append(assign(result, total.result))
            self.accumulated[node] = result
            self.results[node] = result.cast(node.dtype)
        return statements

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
            mine = times(step * thread("threads_x") + thread("thread_x"), self.width)
            place = times(step, self.width)
            if self.skew is not ZERO:
                mine = mine - self.skew
            if fresh:
                loads = [s for node in fresh for s in self._load(node, self.held[node], place, first, last)]
                # Beyond the row's end its last piece is read, and not used: a branch would hold back others.
                move = assign(first, mine if self.ragged else mine.alu(Ops.MINIMUM, extent - self.width))
                statements.append(unrolled(u, count // parts, [move, *loads]))
            done = self._piece(first, place, placed, work, self.held, extent if self.ragged else None)
            done = [assign(first, mine), only_if(first < extent, done)]
            statements.append(unrolled(u, count // parts, done))
        return statements

    def _scratches(self, stem: str, reads: Sequence[UOp], count: int) -> dict[UOp, UOp]:
        size = count * self.width
        return {node: UOp.new(Ops.SCRATCH, (), (self.name(stem), node.dtype, size)) for node in reads}

    def _load(self, node: UOp, scratch: UOp, place: UOp, first: UOp, last: UOp) -> list[UOp]:
        """Statements that bring `width` elements of an ACCESS, from `first` on, into scratch."""
        (element,) = self._element(node, last, first)
        if self.width == 1:
            return [UOp.new(Ops.STORE, (scratch, place, element))]
        vector: list[UOp] = []
        if self._is_vector(node, node.dtype.itemsize, self.width):
            self.aligned[element.src[0].arg[0]] = None
            vector = [UOp.new(Ops.LOAD_VECTOR, (scratch, place, *element.src))]
            if not self.ragged:
                return vector
        e = range_(self.name("m"))
        k = first + e
        if self.ragged:
            # What stands beside the row is not read; others of the row take its place, and are not used.
            extent = self._count(last)
            k = k.alu(Ops.MAXIMUM, 0).alu(Ops.MINIMUM, extent - 1)
        (element,) = self._element(node, last, k)
        single = [unrolled(e, self.width, [UOp.new(Ops.STORE, (scratch, place + e, element))])]
        if not vector:
            return single
        whole = variable(self.name("whole"), dtypes.bool_)
        near = first.cast(dtypes.int32)
        return [
            assign(whole, (near >= 0) & (near + self.width <= extent.cast(dtypes.int32))),
            only_if(whole, vector),
            only_if(~whole, single),
        ]

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
        extent: UOp | None = None,
    ) -> list[UOp]:
        """Statements for a piece from element `first` on, which `scratch` holds from `place` on.

        With `extent` a row has so many elements, and a piece may begin before or end behind them.
        """
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
        there = None
        if extent is not None:
            # In half as many registers: rows that are held are short.
            near = k.cast(dtypes.int32)
            there = (near >= 0) & (near < extent.cast(dtypes.int32))
        for total, value in zip(work.totals.values(), values, strict=True):
            if there is not None:
                dtype = total.value.dtype
                value = there.where(value.cast(dtype), identity(total.op, dtype))
            inside += total.add(value)
        vectors: list[UOp] = []
        stores: list[UOp] = []
        parts: list[UOp] = []
        for store in work.stores:
            target, index, value = self.store(store).src
            if width > 1 and self._is_vector(store.index, value.dtype.itemsize, width):
                array = UOp.new(Ops.SCRATCH, (), (self.name("packed"), value.dtype, width))
                inside.append(UOp.new(Ops.STORE, (array, e, value)))
                parts.append(UOp.new(Ops.STORE, (target, index, UOp.new(Ops.LOAD, (array, e)))))
                placed(first)
                vectors.append(UOp.new(Ops.STORE_VECTOR, (target, self.store(store).src[1], array, ZERO)))
                placed(k)
                self.aligned[target.arg[0]] = None
            else:
                stores.append(UOp.new(Ops.STORE, (target, index, value)))
        self.results = results
        stores = self._if_inside(stores)
        inside += stores if there is None or not stores else [only_if(there, stores)]
        statements += self.guarded(inside)
        if width > 1:
            statements = [unrolled(e, width, statements)]
        vectors = self._if_inside(vectors)
        if extent is not None and vectors:
            assert there is not None
            whole = variable(self.name("whole"), dtypes.bool_)
            near = first.cast(dtypes.int32)
            statements.append(assign(whole, (near >= 0) & (near + width <= extent.cast(dtypes.int32))))
            part = unrolled(e, width, [only_if(there, self._if_inside(parts))])
            vectors = [only_if(whole, vectors), only_if(~whole, [part])]
        return [*statements, *vectors]

    def _if_inside(self, stores: Sequence[UOp]) -> list[UOp]:
        return [only_if(self.inside, stores)] if stores and self.inside is not None else list(stores)


def _steps(node: UOp) -> dict[UOp, int]:
    return dict(zip(node.src, node.arg[-2], strict=True))
