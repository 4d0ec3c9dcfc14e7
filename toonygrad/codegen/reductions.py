"""What rows, columns, scans and contractions share: how a value accumulates, stages, and splitting in chunks.

A reduction with too few rows or columns to share out runs in chunks of a fixed size whose results the plan
combines: sizes alone decide, so the bits don't depend on the number of threads.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set

import numpy as np

from toonygrad import dtypes
from toonygrad.codegen.loops import (
    CHUNK,
    CHUNK_ROWS,
    FEWEST_CHUNKS,
    FEWEST_STEPS,
    ZERO,
    Builder,
    Partial,
    assign,
    quotient,
    range_,
    variable,
)
from toonygrad.codegen.lower import Store
from toonygrad.uop.node import UOp, toposort
from toonygrad.uop.ops import Op, Ops
from toonygrad.uop.shape import size_of


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
