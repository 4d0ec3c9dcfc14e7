"""A kernel's loops: which run in parallel, which inside, and how a reduction accumulates. Every constant is named here.

Four shapes cover all kernels. Elementwise: rows share out among cores, the last range runs inside. Rows: each parallel
step computes the reductions along one row, then what consumes them. Columns: the reduction runs outside and a block of
columns inside, accumulating in a scratch array. Scans: like the latter two, storing at every step. A reduction with too
few rows or columns to share out runs in chunks of a fixed size whose results the plan combines: sizes alone decide, so
the bits don't depend on the number of threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from toonygrad import dtypes
from toonygrad.codegen.lower import Arguments, Body, Store
from toonygrad.uop.node import UOp, substitute, toposort
from toonygrad.uop.ops import Op, Ops
from toonygrad.uop.pattern import PatternMatcher, UPat
from toonygrad.uop.rewrite import graph_rewrite
from toonygrad.uop.shape import size_of

# Floats are summed in blocks of this many, reordered freely inside a block (vector lanes), exactly between blocks:
# 32 lanes leave 16 additions one after the other, fewer than NumPy's pairwise summation has.
SUM_BLOCK = 512
# Columns that one parallel step reduces together: rows are then read a page or two at a time (256 columns took 1.5 times
# as long), and their accumulators stay in the first-level cache.
COLUMN_BLOCK = 1024
# Elements of one chunk of a split reduction, and the parallel steps below which a reduction is split.
CHUNK = 1 << 16
FEWEST_STEPS = 64
# Where the domain has fewer rows than this, rows are cut into pieces of this many elements.
FEW_ROWS, ROW_PIECE = 64, 1 << 14
# Elements computed on the assumption that guards hold before that is checked.
GUARD_BLOCK = 1024
# Operations from which on a value is kept in the result's row and read back rather than computed again.
DRAFT_OPERATIONS = 12
# Scalar operations worth handing to another thread: some ten microseconds, several times the price of a launch.
GRAIN = 1 << 17


@dataclass(frozen=True)
class Partial:
    """An output computed in chunks: the kernel stores one value for each chunk, the plan combines them with `op`."""

    output: int
    op: Op
    chunks: int
    dtype: np.dtype


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
    """

    body: UOp
    arguments: Arguments
    extent: int
    grain: int
    partials: tuple[Partial, ...]


def variable(name: str, dtype: np.dtype = dtypes.INDEX) -> UOp:
    """A local of the kernel."""
    return UOp.new(Ops.VARIABLE, (), (name, dtype))


LO, HI = variable("lo"), variable("hi")
_ZERO = UOp.const(0, dtypes.INDEX)


def _range(name: str) -> UOp:
    return UOp.new(Ops.RANGE, (), name)


def _assign(target: UOp, value: UOp) -> UOp:
    return UOp.new(Ops.ASSIGN, (target, value))


def _loop(over: UOp, start: UOp, stop: UOp, statements: Iterable[UOp]) -> UOp:
    return UOp.new(Ops.LOOP, (over, start, stop, *statements))


def _quotient(x: UOp, y: UOp) -> UOp:
    return x.alu(Ops.QUOTIENT, y)


def _pieces(length: UOp, size: int) -> UOp:
    return _quotient(length + (size - 1), UOp.const(size, dtypes.INDEX))


def nest(body: Body) -> Nest:
    """The loop nest for a lowered kernel."""
    values = [store.value for store in body.stores]
    if any(node.op is Ops.SCAN for node in toposort(*values)):
        return _Scan(body).build()
    if not body.reduces:
        return _Elementwise(body).build()
    return (_Columns if _runs_along_columns(body) else _Rows)(body).build()


def _runs_along_columns(body: Body) -> bool:
    """Whether neighbouring elements in memory belong to neighbouring results rather than to one."""
    if not body.outer or body.inner or any(len(s.index.src) > len(body.outer) for s in body.stores):
        return False
    along = across = 0
    column = body.outer[-1]
    last = {node.src[-1] for node in body.reduces}
    for node in toposort(*(reduce.src[0] for reduce in body.reduces)):
        if node.op is Ops.ACCESS:
            for atom, coefficient in zip(node.src, node.arg[2], strict=True):
                unit = abs(coefficient) in (1, 2)
                across += unit and atom is column
                along += unit and atom in last
    return across > along


# -- accumulating -------------------------------------------------------------------------------------------------


def accumulator_dtype(op: Op, dtype: np.dtype) -> np.dtype:
    """The type in which a reduction accumulates: float32 sums and products in float64."""
    return dtypes.float64 if dtype == dtypes.float32 and op in (Ops.ADD, Ops.MUL) else dtype


def identity(op: Op, dtype: np.dtype) -> UOp:
    """The value that a reduction starts with."""
    if op in (Ops.ADD, Ops.OR):
        return UOp.const(False if dtype == dtypes.bool_ else 0, dtype)
    if op in (Ops.MUL, Ops.AND):
        return UOp.const(True if dtype == dtypes.bool_ else 1, dtype)
    if dtype == dtypes.bool_:
        return UOp.const(op is Ops.MINIMUM, dtype)
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
    elif dtype == dtypes.bool_:
        op = {Ops.ADD: Ops.OR, Ops.MAXIMUM: Ops.OR, Ops.MUL: Ops.AND, Ops.MINIMUM: Ops.AND}.get(op, op)
    return accumulated.alu(op, value)


_FAST = PatternMatcher([(UPat(Ops.GUARDED, name="node"), lambda node: node.src[0])])
_SLOW = PatternMatcher([(UPat(Ops.GUARDED, name="node"), lambda node: node.src[1])])


# -- building -----------------------------------------------------------------------------------------------------


@dataclass
class _Builder:
    """What the four shapes share: ranges to variables, expressions to index arithmetic, inner loops with guards."""

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
        return self.arguments.size(f"n_{self.atoms[over].arg if self.atoms[over].op is Ops.RANGE else _name(self.atoms[over])}", self.body.extents[over])

    def concrete(self, *nodes: UOp) -> list[UOp]:
        """Expressions with finished reductions, ranges and memory in the kernel's terms."""
        order = (*self.body.outer, *self.body.inner, *(a for r in self.body.reduces for a in r.src[1:]))
        ready = substitute(nodes, self.results)
        return self.arguments.concrete(ready, self.atoms, self.body.sizes, order)

    def store(self, store: Store, value: UOp | None = None) -> UOp:
        """The statement for one store."""
        (value,) = self.concrete(store.value if value is None else value)
        rank = {a: k for k, a in enumerate((*self.body.outer, *self.body.inner))}
        pairs = sorted(zip(store.index.src, store.index.arg[0], strict=True), key=lambda p: rank.get(p[0], len(rank)))
        return self.arguments.store(store, [(self.atoms[a], c) for a, c in pairs], value)

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
            statements.append(_assign(target, position.alu(Ops.MODULO, extent)))
            position = _quotient(position, extent)
        return [*statements, _assign(variables[0], position)] if over else []

    def inner_loop(self, over: UOp, start: UOp, stop: UOp, statements: Sequence[UOp]) -> list[UOp]:
        """An innermost loop; with guards, in blocks that are computed again where a guard fails."""
        guards = [node for node in toposort(*statements) if node.op is Ops.GUARDED]
        if not guards:
            return [_loop(over, start, stop, statements)]
        rewrite: Callable[[Sequence[UOp], PatternMatcher], list[UOp]] = lambda nodes, rules: list(  # noqa: E731
            graph_rewrite(UOp.new(Ops.SINK, tuple(nodes)), rules, "guards").src
        )
        conditions = rewrite([guard.src[2] for guard in guards], _FAST)
        ordinary = variable(self.name("ordinary"), dtypes.bool_)
        condition = ordinary
        for one in conditions:
            condition = condition & one
        block = _range(self.name("block"))
        first, last = variable(self.name("first")), variable(self.name("last"))
        changed = list(dict.fromkeys(s.src[0] for s in statements if s.op is Ops.ASSIGN))
        saved = [variable(self.name("saved"), target.dtype) for target in changed]
        begin = start + block * GUARD_BLOCK if start is not _ZERO else block * GUARD_BLOCK
        length = stop - start if start is not _ZERO else stop
        inside = [
            _assign(first, begin),
            _assign(last, (first + GUARD_BLOCK).alu(Ops.MINIMUM, stop)),
            _assign(ordinary, UOp.const(True, dtypes.bool_)),
            *(_assign(copy, target) for copy, target in zip(saved, changed, strict=True)),
            _loop(over, first, last, [*rewrite(statements, _FAST), _assign(ordinary, condition)]),
            UOp.new(
                Ops.IF,
                (
                    ~ordinary,
                    *(_assign(target, copy) for copy, target in zip(saved, changed, strict=True)),
                    _loop(over, first, last, rewrite(statements, _SLOW)),
                ),
            ),
        ]
        return [_loop(block, _ZERO, _pieces(length, GUARD_BLOCK), inside)]

    def finish(self, statements: Sequence[UOp], extent: int, elements: int, partials: Sequence[Partial] = ()) -> Nest:
        """The nest from its statements; `elements` is what one parallel step computes."""
        operations = len(toposort(*(store.value for store in self.body.stores)))
        grain = max(1, GRAIN // max(1, elements * operations))
        return Nest(UOp.new(Ops.SINK, tuple(statements)), self.arguments, extent, grain, tuple(partials))

    def nested(self, over: Sequence[UOp], innermost: Sequence[UOp]) -> list[UOp]:
        """Loops over whole ranges, the last innermost."""
        statements = self.inner_loop(self.atoms[over[-1]], _ZERO, self.extent(over[-1]), innermost)
        for a in reversed(over[:-1]):
            statements = [_loop(self.atoms[a], _ZERO, self.extent(a), statements)]
        return statements


def _name(node: UOp) -> str:
    return node.arg[0]


class _Elementwise(_Builder):
    """Every element on its own."""

    def build(self) -> Nest:
        over = self.body.outer + self.body.inner
        extents = [self.body.extents[a] for a in over]
        if len(over) <= 1:
            here = _range("i0")
            self.atoms.update(dict.fromkeys(over, here))
            loops = self.inner_loop(here, LO, HI, [self.store(store) for store in self.body.stores])
            return self.finish(loops, size_of(extents), 1)
        rows, length = size_of(extents[:-1]), extents[-1]
        pieces = -(-length // ROW_PIECE) if rows < FEW_ROWS else 1
        width = -(-length // pieces)
        step = _range("step")
        per_row, size = self.arguments.size("pieces", pieces), self.arguments.size("width", width)
        row, first, last = variable("row"), variable("first_in_row"), variable("last_in_row")
        statements = [_assign(row, _quotient(step, per_row))]
        statements += self.decompose(row, over[:-1])
        self.atoms[over[-1]] = here = _range("j")
        end = self.extent(over[-1])
        statements += [
            _assign(first, step.alu(Ops.MODULO, per_row) * size),
            _assign(last, (first + size).alu(Ops.MINIMUM, end)),
            *self.inner_loop(here, first, last, [self.store(store) for store in self.body.stores]),
        ]
        return self.finish([_loop(step, LO, HI, statements)], rows * pieces, width)


class _Reducing(_Builder):
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
        """The extent of a chunk along the slowest reduced range, where one reduction must be split; else 0."""
        stages = self.stages()
        whole = all(s.value.op is Ops.REDUCE or len(s.index.src) > len(self.body.outer) for s in self.body.stores)
        if len(stages) != 1 or not whole or steps >= FEWEST_STEPS:
            return 0
        over = stages[0][0].src[1:]
        extents = [self.body.extents[a] for a in over]
        rows = size_of([self.body.extents[a] for a in self.body.outer])
        if size_of(extents) * rows < 2 * CHUNK:
            return 0
        length = -(-CHUNK // size_of(extents[1:]) // max(1, rows // max(1, steps)))
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
        results = size_of([self.body.extents[a] for a in self.body.outer]) * store.parts
        terms = [(self.atoms[a], c) for a, c in zip(store.index.src, store.index.arg[0], strict=True)]
        pointer = self.arguments.pointer(True, store.array, store.index.arg[1], value.dtype)
        index = self.arguments.flat(True, store.array, terms)
        if results == 1:
            return UOp.new(Ops.STORE, (pointer, chunk, value))
        return UOp.new(Ops.STORE, (pointer, chunk * self.arguments.size("results", results) + index, value))

    def bounds(self, over: UOp, chunk: UOp | None, length: int) -> tuple[list[UOp], UOp, UOp]:
        """Start and stop of a reduced range: the whole, or one chunk of it."""
        if chunk is None:
            return [], _ZERO, self.extent(over)
        start, stop = variable("chunk_start"), variable("chunk_stop")
        size = self.arguments.size("chunk", length)
        end = (start + size).alu(Ops.MINIMUM, self.extent(over))
        return [_assign(start, chunk * size), _assign(stop, end)], start, stop

    def steps(self, over: Sequence[UOp], chunks: int) -> tuple[UOp, UOp | None, list[UOp], UOp]:
        """The parallel loop's variable, the chunk it stands for, assignments, and the position among the results."""
        step = _range("step")
        if not chunks:
            return step, None, [], step
        if not over:
            return step, step, [], step
        count = self.arguments.size("chunks", chunks)
        chunk, position = variable("piece"), variable("result")
        assigned = [_assign(chunk, step.alu(Ops.MODULO, count)), _assign(position, _quotient(step, count))]
        return step, chunk, assigned, position


class _Rows(_Reducing):
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
                self.atoms.setdefault(a, _range(self.name("k")))
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
            inner = [a for a in (*body.inner, *store.index.src) if a in store.index.src and a not in body.outer]
            inner = list(dict.fromkeys(inner))
            for a in inner:
                self.atoms.setdefault(a, _range(self.name("j")))
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
            [_loop(step, LO, HI, statements)],
            rows * max(1, chunks),
            per_row // max(1, chunks),
            self.partials(chunks) if chunks else (),
        )

    def _over_stage(self, store: Store, stages: Sequence[Sequence[UOp]]) -> Store:
        """A store along the row in terms of the range that a stage runs over, so that equal expressions are equal."""
        mine = [a for a in store.index.src if a not in self.body.outer]
        mine.sort(key=lambda a: -_coefficient(store, a))
        for over in (stage[0].src[1:] for stage in stages):
            if mine != list(over) and [self.body.extents[a] for a in mine] == [self.body.extents[a] for a in over]:
                index, value = substitute((store.index, store.value), dict(zip(mine, over, strict=True)))
                return replace(store, index=index, value=value)
        return store

    def _drafts(self, waiting: Sequence[Store], stages: Sequence[Sequence[UOp]]) -> list[Store]:
        """What a stage computes and a later store needs again, and is dear: kept in the row of the result meanwhile.

        Softmax's exponentials are the example: summed, then divided by the sum.
        """
        last = stages[-1]
        computed = [node for node in toposort(*(reduce.src[0] for reduce in last)) if node.src]
        drafts = []
        for store in waiting:
            if set(store.index.src) - set(self.body.outer) != set(last[0].src[1:]) or store.parts != 1:
                continue
            needed = set(toposort(store.value))
            shared = [node for node in computed if node in needed and node.dtype == store.value.dtype]
            if shared and store.value not in shared and _operations(shared[-1]) > DRAFT_OPERATIONS:
                drafts.append(replace(store, value=shared[-1]))
        return drafts

    def _known(self, store: Store) -> bool:
        return all(node in self.results for node in toposort(store.value) if node.op is Ops.REDUCE)

    def _stage(
        self, stage: Sequence[UOp], over: Sequence[UOp], stores: Sequence[Store], chunk: UOp | None, length: int
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
            before.append(_assign(total, identity(node.arg, dtype)))
            result = total
            if node.arg is Ops.ADD and node.dtype in dtypes.REAL_FLOATING:
                part = variable(self.name("part"), node.dtype)
                block_start.append(_assign(part, identity(Ops.ADD, node.dtype)))
                inside.append(_assign(part, combine(Ops.ADD, part, value)))
                if node.dtype == dtypes.float32:
                    block_end.append(_assign(total, total + part.cast(dtypes.float64)))
                else:
                    lost = variable(self.name("lost"), dtype)
                    before.append(_assign(lost, identity(Ops.ADD, dtype)))
                    # What rounding loses when a block joins the total (Neumaier 1974), added back at the end.
                    grown = total + part
                    larger = abs(part) <= abs(total)
                    rest = larger.where((total - grown) + part, (part - grown) + total)
                    block_end += [_assign(lost, lost + rest), _assign(total, grown)]
                    exact = variable(self.name("sum"), dtype)
                    # Infinities leave NaN in what was lost, and are right in the total.
                    finite = abs(lost) < UOp.const(np.inf, dtype)
                    after.append(_assign(exact, finite.where(total + lost, total)))
                    result = exact
            else:
                inside.append(_assign(total, combine(node.arg, total, value)))
            self.accumulated[node] = result
            self.results[node] = result.cast(node.dtype)
        inside += [self.store(store) for store in stores]
        assigned, start, stop = self.bounds(over[0], chunk, length)
        if len(over) > 1:
            start_of_last, stop_of_last = _ZERO, self.extent(over[-1])
        else:
            start_of_last, stop_of_last = start, stop
        last = self.atoms[over[-1]]
        if block_end:
            loops = self._in_blocks(last, start_of_last, stop_of_last, block_start, inside, block_end)
        else:
            loops = self.inner_loop(last, start_of_last, stop_of_last, inside)
        for a in reversed(over[1:-1]):
            loops = [_loop(self.atoms[a], _ZERO, self.extent(a), loops)]
        if len(over) > 1:
            loops = [_loop(self.atoms[over[0]], start, stop, loops)]
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
        block = _range(self.name("block"))
        first, last = variable(self.name("first")), variable(self.name("last"))
        size = SUM_BLOCK
        begin = block * size if start is _ZERO else start + block * size
        length = stop if start is _ZERO else stop - start
        statements = [
            _assign(first, begin),
            _assign(last, (first + size).alu(Ops.MINIMUM, stop)),
            *block_start,
            *self.inner_loop(over, first, last, inside),
            *block_end,
        ]
        return [_loop(block, _ZERO, _pieces(length, size), statements)]


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


class _Columns(_Reducing):
    """One parallel step, one block of neighbouring columns, accumulated side by side."""

    def build(self) -> Nest:
        body = self.body
        column, others = body.outer[-1], body.outer[:-1]
        columns = body.extents[column]
        blocks = -(-columns // COLUMN_BLOCK)
        rows = size_of([body.extents[a] for a in others])
        length = self.chunked(rows * blocks)
        stages = self.stages()
        chunks = -(-body.extents[stages[0][0].src[1]] // length) if length else 0
        step, chunk, statements, position = self.steps(body.outer, chunks)
        lane = _range("lane")
        first, width = variable("first"), variable("width")
        self.atoms[column] = first + lane
        if others:
            row, count = variable("row"), self.arguments.size("blocks", blocks)
            statements.append(_assign(row, _quotient(position, count)))
            statements += self.decompose(row, others)
            position = position.alu(Ops.MODULO, count)
        end = self.arguments.size("columns", columns)
        statements.append(_assign(first, position * COLUMN_BLOCK))
        statements.append(_assign(width, (end - first).alu(Ops.MINIMUM, COLUMN_BLOCK)))
        for stage in stages:
            over = stage[0].src[1:]
            for a in over:
                self.atoms.setdefault(a, _range(self.name("k")))
            starts, inside = [], []
            for node, value in zip(stage, self.concrete(*(n.src[0] for n in stage)), strict=True):
                dtype = accumulator_dtype(node.arg, node.dtype)
                scratch = UOp.new(Ops.SCRATCH, (), (self.name("totals"), dtype, COLUMN_BLOCK))
                total = UOp.new(Ops.LOAD, (scratch, lane))
                starts.append(UOp.new(Ops.STORE, (scratch, lane, identity(node.arg, dtype))))
                inside.append(UOp.new(Ops.STORE, (scratch, lane, combine(node.arg, total, value))))
                self.accumulated[node] = total
            assigned, start, stop = self.bounds(over[0], chunk, length)
            loops = self.inner_loop(lane, _ZERO, width, inside)
            for a in reversed(over[1:]):
                loops = [_loop(self.atoms[a], _ZERO, self.extent(a), loops)]
            loops = [_loop(self.atoms[over[0]], start, stop, loops)]
            statements += [*assigned, _loop(lane, _ZERO, width, starts), *loops]
            self.results.update((node, self.accumulated[node].cast(node.dtype)) for node in stage)
        if chunk is None:
            stores = [self.store(store) for store in body.stores]
        else:
            stores = [self.store_chunk(store, chunk, self.accumulated[store.value]) for store in body.stores]
        statements += self.inner_loop(lane, _ZERO, width, stores)
        reduced = max(size_of([body.extents[a] for a in stage[0].src[1:]]) for stage in stages)
        return self.finish(
            [_loop(step, LO, HI, statements)],
            rows * blocks * max(1, chunks),
            reduced * min(columns, COLUMN_BLOCK) // max(1, chunks),
            self.partials(chunks) if chunks else (),
        )


class _Scan(_Builder):
    """Running combinations: rows share out among cores, each goes along its axis storing as it goes."""

    def build(self) -> Nest:
        body = self.body
        scans = [node for node in toposort(*(s.value for s in body.stores)) if node.op is Ops.SCAN]
        over = scans[0].src[1:]
        rest = [a for a in (*body.outer, *body.inner) if a not in over]
        step = _range("step")
        statements = self.decompose(step, rest)
        inside, before = [], []
        for a in over:
            self.atoms[a] = _range(self.name("k"))
        for node in scans:
            dtype = accumulator_dtype(node.arg, node.dtype)
            total = variable(self.name("total"), dtype)
            (value,) = self.concrete(node.src[0])
            before.append(_assign(total, identity(node.arg, dtype)))
            inside.append(_assign(total, total.alu(node.arg, value.cast(dtype))))
            self.results[node] = total.cast(node.dtype)
        inside += [self.store(store) for store in body.stores]
        statements += before + self.nested(over, inside)
        length = size_of([body.extents[a] for a in over])
        return self.finish([_loop(step, LO, HI, statements)], size_of([body.extents[a] for a in rest]), length)
