"""A kernel's loops: which run in parallel, which inside, in what pieces. Every constant is named here.

Elementwise is here: rows share out among cores, the last range runs inside. The other shapes stand on the
Builder of this file: tiles.py, rows.py, columns.py, scans.py, contractions.py. `Nest` is what they make.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from toonygrad import dtypes
from toonygrad.codegen.lower import Arguments, Body, Store
from toonygrad.uop.node import UOp, substitute, toposort
from toonygrad.uop.ops import Op, Ops
from toonygrad.uop.pattern import PatternMatcher, UPat
from toonygrad.uop.rewrite import graph_rewrite
from toonygrad.uop.shape import size_of

# Floats are summed in blocks of this many, reordered freely inside a block (vector lanes), exactly between
# blocks: 32 lanes leave 16 additions one after the other, fewer than NumPy's pairwise summation has.
SUM_BLOCK = 512
# Up to this many there is only one block, and no total beside it: rows of three then take half as long.
SHORT_SUM = 32
# Columns that one parallel step reduces together, rows that it adds at once, and the fewest columns where
# rows can't be shared out instead. Memory is read in long pieces (1024 columns of float64 took 1.5 times as
# long as 4096), accumulators are touched once for eight rows (four took 1.15 times as long, one 1.8).
COLUMN_BLOCK, COLUMN_ROWS, COLUMN_LEAST = 4096, 8, 1024
# Of rows with more operations half as many: LLVM wouldn't unroll, and so vectorise, much more.
COLUMN_OPERATIONS = 32
# Scratch memory is taken for as many values of a column, computed before the loop over rows, and with more
# reductions blocks are no longer than the least.
COLUMN_COPIES, MOST_WIDE = 4, 4
# Elements of one chunk of a split reduction, and the parallel steps below which a reduction is split.
CHUNK = 1 << 16
FEWEST_STEPS = 64
# Rows of a chunk that is reduced across rows, since it leaves a whole row of results; fewer of a short array,
# which makes the fewest chunks.
CHUNK_ROWS, FEWEST_CHUNKS = 64, 8
# Where the domain has fewer rows than this, rows are cut into pieces of this many elements.
FEW_ROWS, ROW_PIECE = 64, 1 << 14
# The sides of a tile, where the array is as long: the most whose copies of transposed operands take no more
# bytes. Memory is read and written some lines at a time (with sides of 32 it took 1.4 times as long as with
# 128 for float32), and the copies stay in the second-level cache and on any thread's stack.
TILE_SIDES, TILE_BYTES = (256, 128, 64, 32, 16), 1 << 17
# Elements between the rows of a copy: without them neighbours in a column share few places of the cache.
TILE_GAP = 16
# Along shorter sides lines are used up in time without tiles (a side of 16: as fast, of 3: 0.7 times).
FEWEST_TILED = 16
# A contraction's tile: rows that accumulate together, using what is loaded for a column; the most rows, and
# bytes of a row, whose totals then stay in the first-level cache; and summands in a block.
CONTRACTION_TOGETHER, CONTRACTION_ROWS, CONTRACTION_BYTES, CONTRACTION_DEPTH = 4, 32, 1024, 32
# The most scratch arrays of a tile, the fewest results that make tiles to share out, the fewest columns that
# fill vectors.
CONTRACTION_COPIES, CONTRACTION_RESULTS, CONTRACTION_COLUMNS = 8, 4096, 16
# Scans along rows add floats in groups first: a total after each element took 1.7 times as long, for it waits
# for the one before. With more operations than these beside them they run in blocks of so many elements,
# which stay in the first-level cache, so that the operations run in vectors; few take longer so.
SCAN_GROUP, SCAN_OPERATIONS, SCAN_BLOCK = 4, 8, 512
# The fewest columns that one parallel step scans together where there are more (256 took 1.5 times as long
# as 2000, chunks of rows 1.6 times), and the fewest that are scanned side by side at all: with three, loops
# of three would run for each row.
SCAN_COLUMNS, SCAN_NARROWEST = 256, 16
# Rows or blocks of columns below which they run in chunks of as many elements; and the elements that are read
# for totals before they are read again, from the last-level cache, to be stored.
SCAN_STEPS, SCAN_CHUNK, SCAN_WAVE = 8, 1 << 14, 1 << 20
# Elements computed on the assumption that guards hold before that is checked.
GUARD_BLOCK = 1024
# Operations from which on a value is kept in the result's row and read back rather than computed again.
DRAFT_OPERATIONS = 12
# Scalar operations worth handing to another thread: some ten microseconds, several times the price of a
# launch.
GRAIN = 1 << 17


@dataclass(frozen=True)
class Partial:
    """An output computed in chunks: the kernel stores a value for each, the plan combines them with `op`."""

    output: int
    op: Op
    chunks: int
    dtype: np.dtype


@dataclass(frozen=True)
class Carried:
    """Scans that run in chunks, twice: for the chunks' totals, and to store from what stands before each.

    Attributes
    ----------
    kinds : operation, type and start of each scan's totals
    chunks : of each scan
    results : how many scans lie side by side
    wave : chunks that run at once, before they run again
    """

    kinds: tuple[tuple[Op, np.dtype, int | float], ...]
    chunks: int
    results: int
    wave: int


@dataclass(frozen=True)
class Nest:
    """A kernel's loop nest.

    Attributes
    ----------
    body : SINK of statements, with LO and HI for the piece of the parallel range
    arguments : what the kernel takes
    extent : parallel steps for this shape
    grain : parallel steps worth a thread
    partials : outputs that come in chunks
    carried : how scans run that come in chunks
    """

    body: UOp
    arguments: Arguments
    extent: int
    grain: int
    partials: tuple[Partial, ...]
    carried: Carried | None = None


def variable(name: str, dtype: np.dtype = dtypes.INDEX) -> UOp:
    """A local of the kernel."""
    return UOp.new(Ops.VARIABLE, (), (name, dtype))


LO, HI = variable("lo"), variable("hi")
ZERO = UOp.const(0, dtypes.INDEX)


def range_(name: str) -> UOp:
    """A loop's variable."""
    return UOp.new(Ops.RANGE, (), name)


def assign(target: UOp, value: UOp) -> UOp:
    """The statement that gives a local a value."""
    return UOp.new(Ops.ASSIGN, (target, value))


def loop(over: UOp, start: UOp, stop: UOp, statements: Iterable[UOp]) -> UOp:
    """The statement that repeats others."""
    return UOp.new(Ops.LOOP, (over, start, stop, *statements))


def quotient(x: UOp, y: UOp) -> UOp:
    """x / y, neither of them negative, y not zero."""
    return x.alu(Ops.QUOTIENT, y)


def pieces(length: UOp, size: int) -> UOp:
    """How many pieces of `size` cover `length`."""
    return quotient(length + (size - 1), UOp.const(size, dtypes.INDEX))


def evenly(extent: int, most: int) -> int:
    """The length of as few pieces of `extent` as have at most `most`, and are about equal."""
    return -(-extent // -(-extent // most))


FAST = PatternMatcher([(UPat(Ops.GUARDED, name="node"), lambda node: node.src[0])])
SLOW = PatternMatcher([(UPat(Ops.GUARDED, name="node"), lambda node: node.src[1])])


def rewritten(nodes: Sequence[UOp], rules: PatternMatcher) -> list[UOp]:
    """`nodes` with every GUARDED in one of its forms."""
    return list(graph_rewrite(UOp.new(Ops.SINK, tuple(nodes)), rules, "guards").src)


def guard_conditions(statements: Sequence[UOp]) -> list[UOp]:
    """What must hold for the fast form of all that `statements` compute."""
    guards = [node for node in toposort(*statements) if node.op is Ops.GUARDED]
    return list(dict.fromkeys(rewritten([guard.src[2] for guard in guards], FAST)))


def _rest(index: UOp, over: UOp) -> UOp | None:
    """What `index` adds to `over`; None where it isn't `over` plus something that doesn't depend on it."""
    rest = ZERO
    while index.op is Ops.ADD:
        left, right = index.src
        if over in toposort(left):
            left, right = right, left
        rest = left if rest is ZERO else rest + left
        index = right
    return rest if index is over and over not in toposort(rest) else None


# -- building ------------------------------------------------------------------------------------------------


@dataclass
class Builder:
    """What all shapes share: ranges to variables, indices to arithmetic, inner loops with guards.

    Attributes
    ----------
    body, arguments : what the kernel computes, and what it takes
    atoms : what each of the body's ranges is written as
    results : reductions and scans to what holds their value where they are read
    accumulated : reductions to their accumulators, of another type and in chunks
    counter : for each stem of a name how many there are
    """

    body: Body
    arguments: Arguments = field(default_factory=Arguments)
    atoms: dict[UOp, UOp] = field(default_factory=dict)
    results: dict[UOp, UOp] = field(default_factory=dict)
    accumulated: dict[UOp, UOp] = field(default_factory=dict)
    counter: dict[str, int] = field(default_factory=dict)

    def name(self, stem: str) -> str:
        """A name not yet used: stem0, stem1, ..."""
        number = self.counter.get(stem, 0)
        self.counter[stem] = number + 1
        return f"{stem}{number}"

    def extent(self, over: UOp) -> UOp:
        """The argument that holds how many values a range takes; equal ranges share it."""
        atom = self.atoms[over]
        name = atom.arg if atom.op is Ops.RANGE else atom.arg[0]
        return self.arguments.size(f"n_{name}", self.body.extents[over])

    def concrete(self, *nodes: UOp) -> list[UOp]:
        """Expressions with finished reductions, ranges and memory in the kernel's terms."""
        order = (*self.body.outer, *self.body.inner, *(a for r in self.body.reduces for a in r.src[1:]))
        ready = substitute(nodes, self.results)
        return self.arguments.concrete(ready, self.atoms, self.body.sizes, order)

    def store(self, store: Store, value: UOp | None = None) -> UOp:
        """The statement for one store."""
        (value,) = self.concrete(store.value if value is None else value)
        rank = {a: k for k, a in enumerate((*self.body.outer, *self.body.inner))}
        pairs = zip(store.index.src, store.index.arg[0], strict=True)
        slowest_first = sorted(pairs, key=lambda pair: rank.get(pair[0], len(rank)))
        return self.arguments.store(store, [(self.atoms[a], c) for a, c in slowest_first], value)

    def decompose(self, position: UOp, over: Sequence[UOp]) -> list[UOp]:
        """Assignments that split a position among ranges, the last running fastest."""
        if len(over) == 1:
            self.atoms[over[0]] = position
            return []
        statements = []
        variables = [variable(self.name("i")) for _ in over]
        for target, a in zip(variables, over, strict=True):
            self.atoms[a] = target
        for a, target in reversed(list(zip(over, variables, strict=True))[1:]):
            extent = self.extent(a)
            statements.append(assign(target, position.alu(Ops.MODULO, extent)))
            position = quotient(position, extent)
        return [*statements, assign(variables[0], position)] if over else []

    def inner_loop(self, over: UOp, start: UOp, stop: UOp, statements: Sequence[UOp]) -> list[UOp]:
        """An innermost loop: by pieces of what it reads, and by blocks where guards may fail."""
        return self.by_pieces(over, start, stop, statements, self._guarded)

    def by_pieces(
        self,
        over: UOp,
        start: UOp,
        stop: UOp,
        statements: Sequence[UOp],
        inside: Callable[[UOp, UOp, UOp, Sequence[UOp]], list[UOp]],
    ) -> list[UOp]:
        """The loops that `inside` makes, once for each piece in which no shift depends on `over`.

        Shifts are locals then, and what is read at shifted places is read with the stride it has.
        """
        order = toposort(*statements)
        changed = {node.src[0] for node in order if node.op in (Ops.LOOP, Ops.ASSIGN, Ops.STORE)}
        before = {
            node: rest
            for node in order
            if node.op is Ops.PIECEWISE
            and (rest := _rest(node.src[0], over)) is not None
            and changed.isdisjoint(toposort(rest))
        }
        cuts = {
            cut - rest if rest is not ZERO else cut: None
            for node, rest in before.items()
            for cut in node.src[1 : len(node.src) // 2]
        }
        if not cuts:
            return inside(over, start, stop, statements)
        first, last = variable(self.name("from")), variable(self.name("to"))
        end = stop
        for cut in cuts:
            end = end.alu(Ops.MINIMUM, (first < cut).where(cut, stop))
        shifts = {node: variable(self.name("shift")) for node in before}
        each = [assign(first, last), assign(last, end)]
        for node, rest in before.items():
            place = first + rest if rest is not ZERO else first
            each.append(assign(shifts[node], UOp.new(Ops.PIECEWISE, (place, *node.src[1:]))))
        each += inside(over, first, last, substitute(statements, dict(shifts)))
        count = UOp.const(len(cuts) + 1, dtypes.INDEX)
        return [assign(last, start), loop(range_(self.name("piece")), ZERO, count, each)]

    def _guarded(self, over: UOp, start: UOp, stop: UOp, statements: Sequence[UOp]) -> list[UOp]:
        """A loop; with guards, in blocks that are computed again where a guard fails."""
        conditions = guard_conditions(statements)
        if not conditions:
            return [loop(over, start, stop, statements)]
        ordinary = variable(self.name("ordinary"), dtypes.bool_)
        condition = ordinary
        for one in conditions:
            condition = condition & one
        block = range_(self.name("block"))
        first, last = variable(self.name("first")), variable(self.name("last"))
        begin = start + block * GUARD_BLOCK if start is not ZERO else block * GUARD_BLOCK
        length = stop - start if start is not ZERO else stop
        inside = [
            assign(first, begin),
            assign(last, (first + GUARD_BLOCK).alu(Ops.MINIMUM, stop)),
            assign(ordinary, UOp.const(True, dtypes.bool_)),
        ]
        fast, slow = rewritten(statements, FAST), loop(over, first, last, rewritten(statements, SLOW))
        check = assign(ordinary, condition)
        if any(s.op is Ops.STORE and s.src[0].op is Ops.SCRATCH for s in statements):
            # What accumulates in an array can't be taken back, so this looks before it computes.
            inside += [
                loop(over, first, last, [check]),
                UOp.new(Ops.IF, (ordinary, loop(over, first, last, fast))),
                UOp.new(Ops.IF, (~ordinary, slow)),
            ]
        else:
            changed = list(dict.fromkeys(s.src[0] for s in statements if s.op is Ops.ASSIGN))
            saved = [variable(self.name("saved"), target.dtype) for target in changed]
            inside += [
                *(assign(copy, target) for copy, target in zip(saved, changed, strict=True)),
                loop(over, first, last, [*fast, check]),
                UOp.new(Ops.IF, (~ordinary, *map(assign, changed, saved), slow)),
            ]
        return [loop(block, ZERO, pieces(length, GUARD_BLOCK), inside)]

    def finish(
        self,
        statements: Sequence[UOp],
        extent: int,
        elements: int,
        partials: Sequence[Partial] = (),
        carried: Carried | None = None,
    ) -> Nest:
        """The nest from its statements; `elements` is what one parallel step computes."""
        operations = len(toposort(*(store.value for store in self.body.stores)))
        grain = max(1, GRAIN // max(1, elements * operations))
        body = UOp.new(Ops.SINK, tuple(statements))
        return Nest(body, self.arguments, extent, grain, tuple(partials), carried)

    def nested(self, over: Sequence[UOp], innermost: Sequence[UOp]) -> list[UOp]:
        """Loops over whole ranges, the last innermost."""
        statements = self.inner_loop(self.atoms[over[-1]], ZERO, self.extent(over[-1]), innermost)
        for a in reversed(over[:-1]):
            statements = [loop(self.atoms[a], ZERO, self.extent(a), statements)]
        return statements


class Elementwise(Builder):
    """Every element on its own."""

    def build(self) -> Nest:
        over = self.body.outer + self.body.inner
        extents = [self.body.extents[a] for a in over]
        if len(over) <= 1:
            here = range_("i0")
            self.atoms.update(dict.fromkeys(over, here))
            loops = self.inner_loop(here, LO, HI, [self.store(store) for store in self.body.stores])
            return self.finish(loops, size_of(extents), 1)
        rows, length = size_of(extents[:-1]), extents[-1]
        pieces = max(1, -(-length // ROW_PIECE)) if rows < FEW_ROWS else 1
        width = -(-length // pieces)
        step = range_("step")
        per_row, size = self.arguments.size("pieces", pieces), self.arguments.size("width", width)
        row, first, last = variable("row"), variable("first_in_row"), variable("last_in_row")
        statements = [assign(row, quotient(step, per_row))]
        statements += self.decompose(row, over[:-1])
        self.atoms[over[-1]] = here = range_("j")
        end = self.extent(over[-1])
        statements += [
            assign(first, step.alu(Ops.MODULO, per_row) * size),
            assign(last, (first + size).alu(Ops.MINIMUM, end)),
            *self.inner_loop(here, first, last, [self.store(store) for store in self.body.stores]),
        ]
        return self.finish([loop(step, LO, HI, statements)], rows * pieces, width)
