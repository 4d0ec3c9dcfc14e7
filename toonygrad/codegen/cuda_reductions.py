"""How threads accumulate, and how those that share a result combine what they have.

Within a warp that is by shuffles, between warps through shared memory. cuda_rows.py and cuda_columns.py stand
on this room.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from toonygrad import dtypes
from toonygrad.codegen.cuda import WARP
from toonygrad.codegen.cuda_loops import ThreadBuilder, only_if, thread
from toonygrad.codegen.loops import assign, quotient, variable
from toonygrad.codegen.reductions import Reducing, accumulator_dtype, identity, joined, with_lost
from toonygrad.uop.node import UOp
from toonygrad.uop.ops import Op, Ops


def put(target: UOp, value: UOp) -> UOp:
    """The statement that gives a local, or an element of an array, a value."""
    return assign(target, value) if target.op is Ops.VARIABLE else UOp.new(Ops.STORE, (*target.src, value))


@dataclass
class Total:
    """What a thread accumulates of one reduction: the value, and of float64 sums what rounding has lost."""

    op: Op
    value: UOp
    lost: UOp | None

    @property
    def parts(self) -> list[UOp]:
        return [self.value] if self.lost is None else [self.value, self.lost]

    def starts(self) -> list[UOp]:
        """The statements before the first value."""
        starts = [put(self.value, identity(self.op, self.value.dtype))]
        return starts if self.lost is None else [*starts, put(self.lost, identity(Ops.ADD, self.lost.dtype))]

    def add(self, value: UOp, lost: UOp | None = None) -> list[UOp]:
        """The statements that take in a value, and what another thread has lost."""
        if self.lost is None:
            return [put(self.value, self.value.alu(self.op, value.cast(self.value.dtype)))]
        grown, rest = joined(self.value, value)
        before = self.lost if lost is None else self.lost + lost
        return [put(self.lost, before + rest), put(self.value, grown)]

    @property
    def result(self) -> UOp:
        return self.value if self.lost is None else with_lost(self.value, self.lost)


@dataclass
class ThreadReducing(Reducing, ThreadBuilder):
    """Totals of threads, and how the threads that share a row combine them."""

    def total(self, node: UOp) -> Total:
        """A total for a REDUCE."""
        dtype = accumulator_dtype(node.arg, node.dtype)
        compensated = node.arg is Ops.ADD and dtype == dtypes.float64 == node.dtype
        compensated = compensated and node not in self.body.widened
        lost = variable(self.name("lost"), dtype) if compensated else None
        return Total(node.arg, variable(self.name("total"), dtype), lost)

    def by_shuffles(self, totals: Sequence[Total], lanes: UOp | None) -> list[UOp]:
        """Statements after which each lane has the total of its group of `lanes`, or of the warp."""
        statements = []
        distance = WARP // 2
        while distance:
            exchanged: list[UOp] = []
            for total in totals:
                others = [variable(self.name("other"), part.dtype) for part in total.parts]
                exchanged += [
                    UOp.new(Ops.SHUFFLE, (other, part), ("shuffle_xor", distance))
                    for other, part in zip(others, total.parts, strict=True)
                ]
                exchanged += total.add(*others)
            statements += exchanged if lanes is None else [only_if(lanes > distance, exchanged)]
            distance //= 2
        return statements

    def by_shared_memory(self, totals: Sequence[Total]) -> list[UOp]:
        """Statements after which all warps of a block, each with its own total, have the block's."""
        here = thread("thread_x")
        lane, warp = variable(self.name("lane")), variable(self.name("warp"))
        size = UOp.const(WARP, dtypes.INDEX)
        statements = [assign(lane, here.alu(Ops.MODULO, size)), assign(warp, quotient(here, size))]
        arrays = {
            part: UOp.new(Ops.SHARED, (), (self.name("shared"), part.dtype, WARP))
            for total in totals
            for part in total.parts
        }
        stores = [UOp.new(Ops.STORE, (array, warp, part)) for part, array in arrays.items()]
        statements += [only_if(lane.eq(0), stores), UOp.new(Ops.BARRIER)]
        loads = [assign(part, UOp.new(Ops.LOAD, (array, lane))) for part, array in arrays.items()]
        statements += [start for total in totals for start in total.starts()]
        statements.append(only_if(lane < quotient(thread("threads_x"), size), loads))
        return [*statements, *self.by_shuffles(totals, None)]

    def combined(self, totals: Sequence[Total]) -> list[UOp]:
        """Statements after which every thread of a row has the row's totals."""
        threads = thread("threads_x")
        across = only_if(threads > WARP, self.by_shared_memory(totals))
        return [*self.by_shuffles(totals, threads), across]
