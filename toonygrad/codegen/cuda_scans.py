"""Running combinations on a GPU: what all forms share, and the one for rows that are neighbours in memory.

There each thread has a row, which it goes through one element after the other. Where rows are few, chunks of
them run side by side: one kernel takes the chunks' totals, the plan scans those, and another kernel stores
from what stands before each chunk. cuda_generate.py asks `across`; cuda_lookback.py has the other form.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from toonygrad import dtypes
from toonygrad.codegen.cuda_loops import (
    BLOCK,
    GRID_SIDE,
    ThreadCarry,
    ThreadNest,
    blocks,
    only_if,
    power_of_two,
    thread,
    unrolled,
)
from toonygrad.codegen.cuda_reductions import ThreadReducing
from toonygrad.codegen.loops import ZERO, assign, loop, quotient, range_, variable
from toonygrad.codegen.lower import Body
from toonygrad.codegen.reductions import accumulator_dtype, identity
from toonygrad.uop.node import UOp, toposort
from toonygrad.uop.ops import Ops
from toonygrad.uop.shape import size_of

# Neighbouring rows from which on each has a thread; the elements that one reads at once; the threads that
# fill a GPU, and the least elements of a chunk.
ROWS_ACROSS, TOGETHER, ENOUGH_THREADS, LEAST_CHUNK = 32, 8, 1 << 18, 64


@dataclass
class ThreadScanning(ThreadReducing):
    """Scans of one kernel, all over the same ranges."""

    def __post_init__(self) -> None:
        order = toposort(*(store.value for store in self.body.stores))
        self.scans = [node for node in order if node.op is Ops.SCAN]
        self.over = self.scans[0].src[1:]
        self.rest = [a for a in (*self.body.outer, *self.body.inner) if a not in self.over]
        self.rows, self.length = (
            size_of([self.body.extents[a] for a in some]) for some in (self.rest, self.over)
        )
        self.dtypes = {node: accumulator_dtype(node.arg, node.dtype) for node in self.scans}

    @property
    def in_parts(self) -> bool:
        """Whether a row may be combined in parts: a product of floats may leave their range in a part
        although no running product does.
        """
        return all(node.arg is not Ops.MUL or node.dtype.kind != "f" for node in self.scans)

    def reads(self, values: Sequence[UOp]) -> list[UOp]:
        """What is read along the row."""
        over = set(self.over)
        return [node for node in toposort(*values) if node.op is Ops.ACCESS and over & set(node.src)]

    def totals(self) -> dict[UOp, UOp]:
        """A local for each scan."""
        return {node: variable(self.name("total"), dtype) for node, dtype in self.dtypes.items()}

    def stand_at(self, place: UOp) -> list[UOp]:
        """Let expressions mean one place of the row; returns the statements that takes."""
        if len(self.over) > 1:
            return self.decompose(place, self.over)
        self.atoms[self.over[0]] = place
        return []


def across(body: Body) -> bool:
    """Whether what a kernel with scans reads runs along neighbouring rows, of which there are some."""
    scanning = ThreadScanning(body)
    if not scanning.rest or body.extents[scanning.rest[-1]] < ROWS_ACROSS:
        return False
    reads = scanning.reads([store.value for store in body.stores])
    return any(dict(zip(node.src, node.arg[2], strict=True)).get(scanning.rest[-1]) == 1 for node in reads)


class ThreadScan(ThreadScanning):
    """A row, or a chunk of one, for each thread."""

    def nest(self) -> ThreadNest:
        """What the threads do; where chunks are stored, with what takes their totals before."""
        size = self._chunk()
        if not size:
            return self._made(0, storing=True)
        carries = [
            ThreadCarry(node.arg, self.dtypes[node], self.rows, self._chunks(size)) for node in self.scans
        ]
        totals = ThreadScan(self.body)._made(size, storing=False)
        return replace(self._made(size, storing=True), carries=tuple(carries), totals=totals)

    def _chunk(self) -> int:
        """Elements of a chunk; 0 where rows are not split. The GPU has no say, so that it changes no bit."""
        wanted = ENOUGH_THREADS // self.rows
        if not self.in_parts or wanted < 2 or self.length < 2 * LEAST_CHUNK:
            return 0
        least = max(LEAST_CHUNK, -(-self.length // min(wanted, GRID_SIDE)))
        return power_of_two(least)

    def _chunks(self, size: int) -> int:
        return -(-self.length // size) if size else 1

    def _made(self, size: int, storing: bool) -> ThreadNest:
        """What stores all results, or the totals, of chunks of `size` or of whole rows."""
        row, start, stop = variable("row"), variable("start"), variable("stop")
        end = self.arguments.size("length", self.length)
        placed: list[UOp] = []
        first, last = ZERO, end
        if size:
            chunk = self.arguments.size("chunk", size)
            first, last = thread("block_y") * chunk, (start + chunk).alu(Ops.MINIMUM, end)
        placed = [assign(start, first), assign(stop, last), *self.decompose(row, self.rest)]
        totals = self.totals()
        chunks = self.arguments.size("chunks", self._chunks(size))
        here = row * chunks + thread("block_y")
        for node, total in totals.items():
            nothing = identity(node.arg, total.dtype)
            before = nothing
            if size and storing:
                pointer = self._carry(node)
                earlier = UOp.new(Ops.LOAD, (pointer, (here - 1).alu(Ops.MAXIMUM, 0)))
                before = (thread("block_y") > ZERO).where(earlier, nothing)
            placed.append(assign(total, before))
            self.results[node] = total.cast(node.dtype)
        placed += self._along(totals, start, stop, storing)
        if not storing:
            placed += [UOp.new(Ops.STORE, (self._carry(node), here, total)) for node, total in totals.items()]
        wide = min(BLOCK, max(32, power_of_two(self.rows)))
        statements = [
            assign(row, thread("block_x") * thread("threads_x") + thread("thread_x")),
            only_if(row < self.arguments.size("rows", self.rows), placed),
        ]
        return self.made(statements, (blocks(self.rows, wide), self._chunks(size), 1), (wide, 1, 1))

    def _carry(self, node: UOp) -> UOp:
        """The pointer to chunks' totals, in memory that the plan has."""
        return self.arguments.carry(self.scans.index(node), self.dtypes[node])

    def _along(self, totals: dict[UOp, UOp], start: UOp, stop: UOp, storing: bool) -> list[UOp]:
        """The loops over elements: some of them read at once, then one after the other."""
        values = [store.value for store in self.body.stores] if storing else [n.src[0] for n in self.scans]
        group, m, rest = range_("group"), range_("m"), range_("rest")
        groups = quotient(stop - start, UOp.const(TOGETHER, dtypes.INDEX))
        here = start + group * TOGETHER + m
        stand = self.stand_at(here)
        scratch, loads = {}, []
        for node in self.reads(values):
            array = UOp.new(Ops.SCRATCH, (), (self.name("read"), node.dtype, TOGETHER))
            loads.append(UOp.new(Ops.STORE, (array, m, *self.concrete(node))))
            scratch[node] = UOp.new(Ops.LOAD, (array, m))
        known = dict(self.results)
        self.results.update(scratch)
        together = unrolled(m, TOGETHER, [*stand, *self._step(totals, storing)])
        self.results = known
        single = [*self.stand_at(rest), *self._step(totals, storing)]
        return [
            loop(group, ZERO, groups, [unrolled(m, TOGETHER, [*stand, *loads]), together]),
            loop(rest, start + groups * TOGETHER, stop, single),
        ]

    def _step(self, totals: dict[UOp, UOp], storing: bool) -> list[UOp]:
        """Statements for one element."""
        taken = []
        for node, total in totals.items():
            (value,) = self.concrete(node.src[0])
            taken.append(assign(total, total.alu(node.arg, value.cast(total.dtype))))
        stores = [self.store(store) for store in self.body.stores] if storing else []
        return self.guarded([*taken, *stores])
