"""Running combinations on a GPU: the threads of a row take neighbouring pieces of it, tile after tile.

Within a tile each thread combines its piece, lanes of a warp hand on what they have by shuffles, warps
through shared memory, and the tile's total is carried to the next. cuda_generate.py builds `ThreadScan`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from toonygrad import dtypes
from toonygrad.codegen.cuda import VECTOR_BYTES, WARP
from toonygrad.codegen.cuda_loops import (
    BLOCK,
    ThreadBuilder,
    ThreadNest,
    blocks,
    only_if,
    power_of_two,
    thread,
    unrolled,
)
from toonygrad.codegen.loops import ZERO, assign, loop, quotient, range_, variable
from toonygrad.codegen.reductions import accumulator_dtype, identity
from toonygrad.uop.node import UOp, toposort
from toonygrad.uop.ops import Ops
from toonygrad.uop.shape import size_of

# Elements that a thread takes side by side.
PIECE = 4
# Where neighbouring rows are neighbours in memory, so many are enough to give each a single thread.
ROWS_ACROSS = 1 << 13


@dataclass
class ThreadScan(ThreadBuilder):
    """Threads along x share a row, rows lie along y.

    Attributes
    ----------
    vectors : whether memory may be read sixteen bytes at a time
    piece : elements that a thread takes side by side
    aligned : names of pointers to vectors
    """

    vectors: bool = True
    piece: int = PIECE
    aligned: dict[str, None] = field(default_factory=dict)

    def nest(self) -> ThreadNest:
        """What the threads do."""
        body = self.body
        order = toposort(*(store.value for store in body.stores))
        scans = [node for node in order if node.op is Ops.SCAN]
        over = scans[0].src[1:]
        rest = [a for a in (*body.outer, *body.inner) if a not in over]
        rows, length = (size_of([body.extents[a] for a in some]) for some in (rest, over))
        reads = [node for node in order if node.op is Ops.ACCESS and set(over) & set(node.src)]
        vectors = self._vectors(reads, over)
        threads = min(BLOCK, power_of_two(-(-length // self.piece)))
        if rows >= ROWS_ACROSS and rest and _across(reads, rest[-1]):
            threads = 1
        high = BLOCK // threads if rest and threads <= WARP else 1

        row, inside = variable("row"), variable("inside", dtypes.bool_)
        count, end = self.arguments.size("rows", rows), self.arguments.size("length", length)
        statements = [
            assign(row, thread("block_x") * thread("threads_y") + thread("thread_y")),
            assign(inside, row < count),
            assign(row, row.alu(Ops.MINIMUM, count - 1)),
            *self.decompose(row, rest),
        ]
        totals = {
            node: variable(self.name("total"), accumulator_dtype(node.arg, node.dtype)) for node in scans
        }
        carries = {node: variable(self.name("carry"), total.dtype) for node, total in totals.items()}
        statements += [assign(carry, identity(node.arg, carry.dtype)) for node, carry in carries.items()]
        tile, m, first = range_("tile"), range_("m"), variable("first")
        size = thread("threads_x") * self.piece
        # Beyond the end the last piece is read, and not used.
        place = first.alu(Ops.MINIMUM, end - self.piece) if vectors else (first + m).alu(Ops.MINIMUM, end - 1)
        scratch = {
            node: UOp.new(Ops.SCRATCH, (), (self.name("read"), node.dtype, self.piece)) for node in reads
        }
        running = {
            node: UOp.new(Ops.SCRATCH, (), (self.name("running"), total.dtype, self.piece))
            for node, total in totals.items()
        }
        inner = [assign(first, tile * size + thread("thread_x") * self.piece)]
        inner += self._loads(scratch, vectors, place, m, over)
        inner += [assign(total, identity(node.arg, total.dtype)) for node, total in totals.items()]
        before = self._stand_at(first + m, over)
        self.results.update({node: UOp.new(Ops.LOAD, (array, m)) for node, array in scratch.items()})
        taken = []
        for node, total in totals.items():
            (value,) = self.concrete(node.src[0])
            combined = total.alu(node.arg, value.cast(total.dtype))
            taken += [assign(total, combined), UOp.new(Ops.STORE, (running[node], m, total))]
        within = first + m < end
        inner.append(unrolled(m, self.piece, [*before, only_if(within, self.guarded(taken))]))
        starts = {node: variable(self.name("start"), total.dtype) for node, total in totals.items()}
        inner += self._handed_on(totals, carries, starts)
        for node, start in starts.items():
            value = start.alu(node.arg, UOp.new(Ops.LOAD, (running[node], m)))
            self.results[node] = value.cast(node.dtype)
        stores = self.guarded([self.store(store) for store in body.stores])
        inner.append(unrolled(m, self.piece, [*before, only_if(within & inside, stores)]))
        statements.append(loop(tile, ZERO, quotient(end + (size - 1), size), inner))
        return self.made(statements, (blocks(rows, high), 1, 1), (threads, high, 1), (), tuple(self.aligned))

    def _vectors(self, reads: Sequence[UOp], over: Sequence[UOp]) -> bool:
        """Whether all memory along the row can be read in vectors; sets the piece to one."""
        if not self.vectors or len(over) != 1 or not reads:
            return False
        widths = {VECTOR_BYTES // node.dtype.itemsize for node in reads}
        width = min(widths)
        whole = len(widths) == 1 and width <= 2 * PIECE and self.body.extents[over[0]] % width == 0
        for node in reads:
            steps = dict(zip(node.src, node.arg[2], strict=True))
            others = [step for a, step in steps.items() if a is not over[0]]
            whole = whole and steps.get(over[0]) == 1 and all(step % width == 0 for step in others)
            whole = whole and all(a.op is Ops.RANGE for a in steps)
        if whole:
            self.piece = width
        return whole

    def _stand_at(self, place: UOp, over: Sequence[UOp]) -> list[UOp]:
        """Let expressions mean one place of the row; returns the statements that takes."""
        if len(over) > 1:
            return self.decompose(place, over)
        self.atoms[over[0]] = place
        return []

    def _loads(
        self, scratch: Mapping[UOp, UOp], vectors: bool, place: UOp, m: UOp, over: Sequence[UOp]
    ) -> list[UOp]:
        before = self._stand_at(place, over)
        loads = []
        for node, array in scratch.items():
            (element,) = self.concrete(node)
            if vectors:
                self.aligned[element.src[0].arg[0]] = None
                loads.append(UOp.new(Ops.LOAD_VECTOR, (array, ZERO, *element.src)))
            else:
                loads.append(UOp.new(Ops.STORE, (array, m, element)))
        return loads if vectors else [unrolled(m, self.piece, [*before, *loads])]

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
