"""Elementwise kernels on a GPU: each thread has a patch of elements, and reads and writes memory in vectors.

A patch is as wide as a vector and some rows high. What is read at several places around an element, as in a
stencil, is read once for the patch, into registers. Threads at the ends of rows, whose patch isn't whole, go
element by element. cuda_generate.py asks `patch` and builds `Patches`.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import gcd

from toonygrad import dtypes
from toonygrad.codegen.cuda import VECTOR_BYTES
from toonygrad.codegen.cuda_loops import (
    BLOCK,
    GRID_SIDE,
    Sides,
    ThreadBuilder,
    ThreadNest,
    blocks,
    only_if,
    power_of_two,
    thread,
    times,
    unrolled,
)
from toonygrad.codegen.cuda_windows import Stretch, Window, reads, settled, sharing, windows, writes
from toonygrad.codegen.loops import FAST, ZERO, assign, guard_conditions, loop, range_, rewritten, variable
from toonygrad.codegen.lower import Body
from toonygrad.uop.node import UOp, toposort
from toonygrad.uop.ops import Ops
from toonygrad.uop.shape import size_of

# Rows of a patch of vectors where what is read for one serves another, and of a patch of single elements; the
# most operations that a thread's text may have; and the vectors of a row below which threads take single
# elements. Of a copy's speed one vector a thread reaches 1.00, one element 0.79 and four 1.00; a stencil 0.94
# with vectors, 0.98 with two rows of them, 0.89 with four rows of single elements.
HIGH, HIGH_SINGLE, MOST_OPERATIONS, SHORTEST = 2, 4, 1024, 4
# Elements of one row that a thread has where memory is read at places that are computed: as many reads wait
# for memory side by side.
GATHERED = 8
# Blocks of a stencil that are to fit a multiprocessor.
RESIDENT: int | None = 4


@dataclass(frozen=True)
class Patch:
    """The elements of a thread.

    Attributes
    ----------
    width, height : columns and rows; without rows, so many pieces of the same length
    first : how far before a multiple of `width` a patch's first column is
    like : the window whose rows each begin elsewhere in a vector, and patches with them
    windows : what is read and written along rows
    values, stretches : what is stored where shifts are as for most elements, and which those are
    """

    width: int
    height: int
    first: int
    like: Window | None
    windows: tuple[Window, ...]
    values: list[UOp]
    stretches: list[Stretch]

    def place(self, window: Window) -> tuple[int, int]:
        """How far a patch's first element is from where vectors may begin, and the longest such vectors."""
        length = window.length(self.width)
        terms, first = dict(window.terms), window.first - window.step * self.first
        if self.like is not None:
            if window.step != self.like.step:
                return 0, 1
            for node, coefficient in self.like.terms:
                terms[node] = terms.get(node, 0) - coefficient
            first -= self.like.first
        length = gcd(length, *terms.values())
        return first % length, length

    def accesses(self, window: Window) -> int:
        """How many loads or stores a thread has of a window."""
        rows = range(window.downs[0], window.downs[-1] + self.height)
        needed = (window.needed(row, self.width, self.height) for row in rows)
        return sum(1 for elements in needed for _ in window.pieces(elements, *self.place(window)))

    def in_vectors(self, output: bool) -> bool:
        """Whether all results, or else at least something that is read, comes in vectors."""
        some = [window for window in self.windows if window.output is output]
        singles = [len(window.places) * self.width * self.height for window in some]
        fewer = [self.accesses(window) < single for window, single in zip(some, singles, strict=True)]
        return all(fewer) if output else any(fewer) or not some

    def in_whole_vectors(self) -> bool:
        """Whether all results come in vectors as long as can be."""
        outputs = (window for window in self.windows if window.output)
        return all(self.place(window)[1] == window.length(self.width) for window in outputs)


def patch(body: Body, vectors: bool) -> Patch | None:
    """What threads best have; None where it is a single element.

    Parameters
    ----------
    vectors : whether memory may be read and written in vectors at all
    """
    over = body.outer + body.inner
    if not over:
        return None
    column, row = over[-1], over[-2] if len(over) > 1 else None
    values, stretches = settled(body, row, column)
    found = tuple(windows([*reads(values), *writes(body.stores)], row, column))
    single = Patch(1, 1, 0, None, found, values, stretches)
    room = max(1, MOST_OPERATIONS // len(toposort(*rewritten(values, FAST))))
    shared = sharing(found)
    if row is None and _gathers(values, column):
        return replace(single, height=min(GATHERED, room))
    if vectors and sum(len(window.places) for window in found if window.output) == len(body.stores):
        largest = max(window.dtype.itemsize * abs(window.step) for window in found)
        width = VECTOR_BYTES // min(VECTOR_BYTES, power_of_two(largest))
        while width > 1:
            if width <= room and body.extents[column] >= SHORTEST * width:
                height = _height(body, row, min(HIGH if shared else 1, room // width))
                best = _best(replace(single, width=width, height=height))
                if best is not None:
                    return best
            width //= 2
    height = _height(body, row, min(HIGH_SINGLE, room))
    return replace(single, height=height) if height > 1 else None


def _gathers(values: Sequence[UOp], column: UOp) -> bool:
    """Whether memory is read where an index leads that is computed."""
    known = (Ops.RANGE, Ops.PIECEWISE)
    atoms = (a for use in reads(values) for a, _ in use.terms if a.op not in known)
    return any(column in toposort(atom) for atom in atoms)


def _height(body: Body, row: UOp | None, most: int) -> int:
    return most if row is None or body.extents[row] >= most else 1


def _best(patch: Patch) -> Patch | None:
    """Of patches that begin elsewhere the one with the fewest accesses, if results come in vectors."""
    starts = {
        (window.first + along) % patch.width
        for window in patch.windows
        for _, along in window.places.values()
        if abs(window.step) == 1
    }
    candidates = [replace(patch, first=first) for first in sorted({0, *starts})]
    candidates = [each for each in candidates if each.in_vectors(True)]
    if not sharing(patch.windows):
        # Nothing is lost if each row begins elsewhere.
        whole = [each for each in candidates if each.in_whole_vectors()]
        outputs = [window for window in patch.windows if window.output and window.step == 1]
        moving = [replace(patch, height=1, like=window) for window in outputs]
        moving = [each for each in moving if each.in_vectors(True) and each.in_vectors(False)]
        candidates = whole or moving or candidates
    return min(candidates, key=lambda each: sum(map(each.accesses, each.windows)), default=None)


def _wide(patches: int) -> int:
    """How many threads of a block lie along a row: as many as leave few without a patch."""
    most = min(BLOCK, power_of_two(patches))
    sizes = [most // part for part in (1, 2, 4, 8) if most // part >= 32 and patches < 4 * BLOCK] or [most]
    return min(sizes, key=lambda size: blocks(patches, size) * size)


class Patches(ThreadBuilder):
    """A patch of elements a thread."""

    def nest(self, patch: Patch) -> ThreadNest:
        """What the threads do."""
        over = self.body.outer + self.body.inner
        self._patch, self._column = patch, over[-1]
        self._row = over[-2] if len(over) > 1 else None
        self._x, self._y = variable("x"), variable("y")
        self._hop = times(thread("threads_x"), patch.width)
        sizes = self.body.extents
        self._columns = self.arguments.size("columns", sizes[self._column])
        self._count = ZERO if self._row is None else self.arguments.size("rows", sizes[self._row])
        self._aligned: dict[str, None] = {}
        placed, inside, grid, block = self._placed(over[:-1])
        whole = variable("whole", dtypes.bool_)
        statements = [
            *placed,
            assign(whole, self._is_whole()),
            only_if(whole, self._together(whole)),
            only_if(inside & ~whole, self._partly()),
        ]
        resident = RESIDENT if self._row is not None and sharing(patch.windows) else None
        return self.made(statements, grid, block, tuple(self._aligned), resident)

    # -- which patch this thread's is ------------------------------------------------------------------------

    def _placed(self, others: Sequence[UOp]) -> tuple[list[UOp], UOp, Sides, Sides]:
        """Statements that say which patch is this thread's, whether it has elements, grid and block."""
        patch, x = self._patch, self._x
        reach = self.body.extents[self._column] + (patch.first if patch.like is None else patch.width - 1)
        wide = min(BLOCK, power_of_two(-(-reach // patch.width)))
        number = thread("block_x") * thread("threads_x")
        if self._row is None:
            wide = max(32, wide)
            start = times(times(number, patch.height) + thread("thread_x"), patch.width)
            statements = [assign(x, start - patch.first if patch.first else start)]
            grid = (blocks(reach, wide * patch.width * patch.height), 1, 1)
            return statements, x < self._columns, grid, (wide, 1, 1)
        wide = _wide(-(-reach // patch.width))
        high = BLOCK // wide
        statements, inside, sides = self._rows_placed(others, high)
        start = times(number + thread("thread_x"), patch.width)
        if patch.like is not None:
            like = patch.like
            place = self.arguments.flat(True, like.array, [(self.atoms[a], c) for a, c in like.terms])
            start = start - (place + like.first % patch.width).alu(Ops.MODULO, patch.width)
        elif patch.first:
            start = start - patch.first
        statements.append(assign(x, start))
        grid = (blocks(reach, wide * patch.width), *sides)
        return statements, inside & (x < self._columns), grid, (wide, high, 1)

    def _rows_placed(self, others: Sequence[UOp], high: int) -> tuple[list[UOp], UOp, tuple[int, int]]:
        """The same for rows, `high` patches of them in a block: statements, whether there is one, blocks."""
        *outer, row = others
        tall, deep = self._patch.height, size_of([self.body.extents[a] for a in outer])
        count = blocks(self.body.extents[row], tall * high)
        if outer and (count > GRID_SIDE or deep > GRID_SIDE):
            # They don't fit along two sides of a grid: rows one after the other.
            self._patch = replace(self._patch, height=1)
            statements, inside, sides = self.on_grid(others, high)
            statements.append(assign(self._y, self.atoms[row]))
            self.atoms[row] = self._y
            return statements, inside, sides
        if outer:
            statements = self.decompose(thread("block_z"), outer)
            number, sides = thread("block_y"), (count, deep)
        else:
            statements, layers = [], blocks(count, GRID_SIDE)
            number = thread("block_z") * thread("blocks_y") + thread("block_y")
            sides = (blocks(count, layers), layers)
        self.atoms[row] = self._y
        start = times(number * thread("threads_y") + thread("thread_y"), tall)
        return [*statements, assign(self._y, start)], self._y < self._count, sides

    def _is_whole(self) -> UOp:
        """Whether all elements of the patch exist."""
        patch, x, y = self._patch, self._x, self._y
        last = x + patch.width
        if self._row is None and patch.height > 1:
            last = last + self._hop * (patch.height - 1)
        whole = last <= self._columns
        if patch.first or patch.like is not None:
            whole = whole & (x >= 0)
        if self._row is not None:
            whole = whole & (y + patch.height <= self._count)
        for over, begin, end in patch.stretches:
            start, after = (x, last) if over is self._column else (y, y + patch.height)
            if over not in (self._row, self._column):
                start, after = self.atoms[over], self.atoms[over] + 1
            if begin is not None:
                (cut,) = self.concrete(begin)
                whole = whole & (start >= cut)
            if end is not None:
                (cut,) = self.concrete(end)
                whole = whole & (after <= cut)
        return whole

    def _stand_at(self, i: UOp, j: UOp) -> None:
        """Let expressions mean row `i`, or piece `i` of the only row, and column `j` of the patch."""
        x = self._x if j is ZERO else self._x + j
        if self._row is not None:
            self.atoms[self._row] = self._y if i is ZERO else self._y + i
        elif i is not ZERO:
            x = x + self._hop * i
        self.atoms[self._column] = x

    # -- all elements together -------------------------------------------------------------------------------

    def _together(self, whole: UOp) -> list[UOp]:
        """Statements for a whole patch; where a guard fails it counts as none, and nothing is stored."""
        height, width = self._patch.height, self._patch.width
        i, j = (range_("i") if height > 1 else ZERO), (range_("j") if width > 1 else ZERO)

        def each(statements: list[UOp]) -> list[UOp]:
            inner = [unrolled(j, width, statements)] if width > 1 else statements
            return [unrolled(i, height, inner)] if height > 1 else inner

        loads: list[UOp] = []
        stored: dict[object, _Held] = {}
        for window in self._patch.windows:
            held = _Held(self, self._patch, window)
            if window.output:
                stored.update(dict.fromkeys(window.places, held))
                continue
            loads += held.loads()
            for node, (down, along) in window.places.items():
                assert isinstance(node, UOp)
                self.results[node] = UOp.new(Ops.LOAD, held.element(i, down, along, j))
        self._stand_at(i, j)
        computed, stores = [], []
        for store, settled_value in zip(self.body.stores, self._patch.values, strict=True):
            if store in stored:
                held = stored[store]
                (value,) = self.concrete(settled_value)
                place = held.element(i, 0, held.window.places[store][1], j)
                computed.append(UOp.new(Ops.STORE, (*place, value)))
            else:
                computed.append(self.store(store, settled_value))
        self.results.clear()
        for held in dict.fromkeys(stored.values()):
            stores += held.stores()
        conditions = guard_conditions(computed)
        if not conditions:
            return [*loads, *each(computed), *stores]
        check = each([assign(whole, functools.reduce(operator.and_, conditions, whole))])
        fast = each(rewritten(computed, FAST))
        return [*loads, *check, only_if(whole, [*fast, *stores])]

    # -- those that exist ------------------------------------------------------------------------------------

    def _partly(self) -> list[UOp]:
        """Statements for a patch that isn't whole."""
        values = [store.value for store in self.body.stores]
        elements = self._patch.width * self._patch.height
        short = len(toposort(*values)) * elements <= MOST_OPERATIONS
        if self._row is None or not short or guard_conditions(values):
            return [self._one_by_one()]
        return self._clamped()

    def _clamped(self) -> list[UOp]:
        """Statements that compute all elements of a row, in the place of those that don't exist others, and
        store some.

        Every row has such patches, and one element after the other waits for memory each time.
        """
        width, height = self._patch.width, self._patch.height
        i, j = range_("i"), range_("j")
        self._stand_at(i, j)
        x, y = self.atoms[self._column], self.atoms[self._row] if self._row is not None else ZERO
        inside = (x >= 0) & (x < self._columns) & (y < self._count)
        singles = [self.store(store) for store in self.body.stores]
        self.atoms[self._column] = x.alu(Ops.MINIMUM, self._columns - 1).alu(Ops.MAXIMUM, 0)
        if self._row is not None:
            self.atoms[self._row] = y.alu(Ops.MINIMUM, self._count - 1)
        computed, stores = [], []
        for store, single in zip(self.body.stores, singles, strict=True):
            (value,) = self.concrete(store.value)
            element = (UOp.new(Ops.SCRATCH, (), (self.name("some"), value.dtype, width)), j)
            computed.append(UOp.new(Ops.STORE, (*element, value)))
            stores.append(UOp.new(Ops.STORE, (*single.src[:2], UOp.new(Ops.LOAD, element))))
        rows = [unrolled(j, width, computed), unrolled(j, width, [only_if(inside, stores)])]
        return [loop(i, ZERO, UOp.const(height, dtypes.INDEX), rows)]

    def _one_by_one(self) -> UOp:
        """The statement that goes through those elements of a patch that exist."""
        i, j = range_("i"), range_("j")
        self._stand_at(i, j)
        x = self.atoms[self._column]
        stores = self.guarded([self.store(store) for store in self.body.stores])
        width, height = (UOp.const(n, dtypes.INDEX) for n in (self._patch.width, self._patch.height))
        columns = loop(j, ZERO, width, [only_if((x >= 0) & (x < self._columns), stores)])
        if self._row is not None:
            # What a row alone needs is read before its loop.
            columns = only_if(self.atoms[self._row] < self._count, [columns])
        return loop(i, ZERO, height, [columns])


class _Held:
    """What a thread holds of a window, in registers."""

    def __init__(self, builder: Patches, patch: Patch, window: Window) -> None:
        self.window, self._builder, self._patch = window, builder, patch
        self._shift, self._length = patch.place(window)
        reach = window.step * (patch.width - 1)
        alongs = [along for _, along in window.places.values()]
        first, last = min(alongs) + min(0, reach), max(alongs) + max(0, reach)
        # As far from the begin of a vector as in memory.
        self._before = self._shift - (first + self._shift) // self._length * self._length
        self._pitch = -(-(last + self._before + 1) // self._length) * self._length
        self._rows = range(window.downs[0], window.downs[-1] + patch.height)
        name = builder.name("packed" if window.output else "window")
        self._array = UOp.new(Ops.SCRATCH, (), (name, window.dtype, len(self._rows) * self._pitch))

    def element(self, i: UOp, down: int, along: int, j: UOp) -> tuple[UOp, UOp]:
        """Array and place of an element so far from row `i` and column `j`."""
        first = (down - self._rows[0]) * self._pitch + along + self._before
        terms = [times(k, step) for k, step in ((i, self._pitch), (j, self.window.step)) if k is not ZERO]
        if first or not terms:
            terms.append(UOp.const(first, dtypes.INDEX))
        return self._array, functools.reduce(operator.add, terms)

    def _pieces(self) -> Iterator[tuple[UOp, UOp, UOp, int]]:
        """For each load or store the place in the array, pointer and place in memory, and the length."""
        window, builder = self.window, self._builder
        rest = window.first % (VECTOR_BYTES // window.dtype.itemsize)
        pointer = builder.arguments.pointer(window.output, window.array, window.first - rest, window.dtype)
        for row in self._rows:
            elements = window.needed(row, self._patch.width, self._patch.height)
            builder._stand_at(UOp.const(row, dtypes.INDEX) if row else ZERO, ZERO)
            ranges = [a for a, _ in window.terms]
            plain = all(a.op is Ops.RANGE for a in ranges)
            atoms = [builder.atoms[a] for a in ranges] if plain else builder.concrete(*ranges)
            atoms.append(builder.atoms[builder._column])
            steps = [*(c for _, c in window.terms), window.step]
            start = builder.arguments.flat(window.output, window.array, zip(atoms, steps, strict=True))
            for along, length in window.pieces(elements, self._shift, self._length):
                if length > 1:
                    builder._aligned[pointer.arg[0]] = None
                place = (row - self._rows[0]) * self._pitch + along + self._before
                index = start + (rest + along) if rest + along else start
                yield UOp.const(place, dtypes.INDEX), pointer, index, length

    def loads(self) -> list[UOp]:
        """Statements that read it."""
        statements = []
        for place, pointer, index, length in self._pieces():
            if length == 1:
                element = UOp.new(Ops.LOAD, (pointer, index))
                statements.append(UOp.new(Ops.STORE, (self._array, place, element)))
            else:
                whole = self._elements(length)
                statements.append(UOp.new(Ops.LOAD_VECTOR, (self._array, place, pointer, index), whole))
        return statements

    def stores(self) -> list[UOp]:
        """Statements that write it."""
        statements = []
        for place, pointer, index, length in self._pieces():
            if length == 1:
                element = UOp.new(Ops.LOAD, (self._array, place))
                statements.append(UOp.new(Ops.STORE, (pointer, index, element)))
            else:
                whole = self._elements(length)
                statements.append(UOp.new(Ops.STORE_VECTOR, (pointer, index, self._array, place), whole))
        return statements

    def _elements(self, length: int) -> int | None:
        return None if length * self.window.dtype.itemsize == VECTOR_BYTES else length
