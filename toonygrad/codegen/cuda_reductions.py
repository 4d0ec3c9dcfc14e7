"""How threads accumulate, and how those that share a result combine what they have.

Within a warp that is by shuffles, between warps through shared memory. cuda_rows.py, cuda_columns.py and
cuda_few.py stand on this room.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from toonygrad import dtypes
from toonygrad.codegen.cuda import WARP
from toonygrad.codegen.cuda_loops import TEMPORARY, ThreadBuilder, ThreadNest, only_if, thread
from toonygrad.codegen.loops import assign, quotient, variable
from toonygrad.codegen.reductions import Reducing, accumulator_dtype, identity, joined, with_lost
from toonygrad.uop.node import UOp, substitute
from toonygrad.uop.ops import Op, Ops
from toonygrad.uop.shape import contiguous_strides, size_of


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
    """Totals of threads, and how the threads that share a row combine them.

    Attributes
    ----------
    splits : whether a reduction may come in chunks, which another kernel combines
    chunk_length : how far along the first reduced range a chunk reaches; 0 where it is whole
    """

    splits: bool = True
    chunk_length: int = 0

    def total(self, node: UOp) -> Total:
        """A total for a REDUCE."""
        dtype = self._accumulator(node)
        lost = variable(self.name("lost"), dtype) if self._compensated(node) else None
        return Total(node.arg, variable(self.name("total"), dtype), lost)

    def _accumulator(self, node: UOp) -> np.dtype:
        """The type to accumulate in: a sum of small integers has room in half the bits, which take a third of
        the instructions.
        """
        term = node.src[0]
        small = term.src[0].dtype if term.op is Ops.CAST else term.dtype
        if node.arg is Ops.ADD and node.dtype in dtypes.INTEGERS and small.itemsize <= 2:
            first, *rest = (self.body.extents[a] for a in node.src[1:])
            if size_of([self.chunk_length or first, *rest]) < 1 << (31 - 8 * small.itemsize):
                return dtypes.int32
        return accumulator_dtype(node.arg, node.dtype)

    def _compensated(self, node: UOp) -> bool:
        floats = node.arg is Ops.ADD and node.dtype == dtypes.float64
        return floats and node not in self.body.widened

    # -- chunks ----------------------------------------------------------------------------------------------

    def left(self, chunk: UOp, result: UOp, results: int) -> list[UOp]:
        """Statements that leave a chunk's totals for one of the results in temporary memory."""
        place = chunk * self.arguments.size("results", results) + result
        return [
            UOp.new(Ops.STORE, (self.arguments.pointer(True, TEMPORARY - k, 0, total.dtype), place, total))
            for k, total in enumerate(self.accumulated[node] for node in self.body.reduces)
        ]

    def in_chunks(self, nest: ThreadNest, chunks: int) -> ThreadNest:
        """`nest`, which leaves totals of chunks, with what remains to be computed from them."""
        body = self.body
        over = UOp.new(Ops.RANGE, (), ("chunk",))
        extents = [body.extents[a] for a in body.outer]
        steps = (size_of(extents), *contiguous_strides(tuple(extents)))
        temporaries, made, widened = [], {}, []
        for k, node in enumerate(body.reduces):
            dtype = self._accumulator(node)
            temporaries.append((dtype, chunks * size_of(extents)))
            total = UOp.new(Ops.ACCESS, (over, *body.outer), (TEMPORARY - k, dtype, steps, 0))
            if dtype != accumulator_dtype(node.arg, node.dtype):
                total = total.cast(node.dtype)
            total = UOp.new(Ops.REDUCE, (total, over), node.arg)
            if not self._compensated(node):
                widened.append(total)
            made[node] = total.cast(node.dtype)
        values = substitute((store.value for store in body.stores), made)
        rest = replace(
            body,
            stores=tuple(replace(s, value=value) for s, value in zip(body.stores, values, strict=True)),
            extents={**body.extents, over: chunks},
            widened=frozenset(widened),
        )
        return replace(nest, temporaries=tuple(temporaries), combining=rest)

    # -- threads ---------------------------------------------------------------------------------------------

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
