"""Reductions along rows and what consumes them: each parallel step takes one row.

generate.py builds `Rows`, on what reductions.py has.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from toonygrad import dtypes
from toonygrad.codegen.loops import (
    DRAFT_OPERATIONS,
    HI,
    LO,
    SHORT_SUM,
    SUM_BLOCK,
    ZERO,
    Nest,
    assign,
    loop,
    pieces,
    range_,
    variable,
)
from toonygrad.codegen.lower import Store
from toonygrad.codegen.reductions import (
    Reducing,
    accumulator_dtype,
    combine,
    identity,
    joined,
    ranges_of,
    with_lost,
)
from toonygrad.uop.node import UOp, substitute, toposort
from toonygrad.uop.ops import Ops
from toonygrad.uop.shape import size_of


class Rows(Reducing):
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
        # Searches for extremes, and for each extreme the first block of its row that has it.
        long = body.extents[stages[-1][0].src[-1]] > SUM_BLOCK
        self._sought = searches(stages) if long and not chunks else {}
        self._places: dict[UOp, UOp] = {}
        for stage in stages:
            over = stage[0].src[1:]
            for a in over:
                self.atoms.setdefault(a, range_(self.name("k")))
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
            for a in (*body.inner, *store.index.src):
                if a in store.index.src and a not in body.outer and a not in self.atoms:
                    self.atoms[a] = range_(self.name("j"))
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
            [loop(step, LO, HI, statements)],
            rows * max(1, chunks),
            per_row // max(1, chunks),
            self.partials(chunks) if chunks else (),
        )

    def _over_stage(self, store: Store, stages: Sequence[Sequence[UOp]]) -> Store:
        """A store along the row over the ranges of a stage, so that equal expressions are the same node."""
        extents = self.body.extents
        mine = [a for a in store.index.src if a not in self.body.outer]
        mine.sort(key=lambda a: -_coefficient(store, a))
        for over in (stage[0].src[1:] for stage in stages):
            if mine != list(over) and [extents[a] for a in mine] == [extents[a] for a in over]:
                index, value = substitute((store.index, store.value), dict(zip(mine, over, strict=True)))
                return replace(store, index=index, value=value)
        return store

    def _drafts(self, waiting: Sequence[Store], stages: Sequence[Sequence[UOp]]) -> list[Store]:
        """What a stage computes, a later store needs again and is dear: kept in the result's row meanwhile.

        Softmax's exponentials are the example: summed, then divided by the sum.
        """
        last = stages[-1]
        computed = [node for node in toposort(*(reduce.src[0] for reduce in last)) if node.src]
        drafts = []
        for store in waiting:
            if set(store.index.src) - set(self.body.outer) != set(last[0].src[1:]) or store.parts != 1:
                continue
            needed = set(toposort(store.value))
            if not needed & set(last):
                continue  # stored in a stage's own loop: a draft would overwrite the result
            shared = [node for node in computed if node in needed and node.dtype == store.value.dtype]
            if shared and store.value not in shared and _operations(shared[-1]) > DRAFT_OPERATIONS:
                drafts.append(replace(store, value=shared[-1]))
        return drafts

    def _known(self, store: Store) -> bool:
        return all(node in self.results for node in toposort(store.value) if node.op is Ops.REDUCE)

    def _stage(
        self,
        stage: Sequence[UOp],
        over: Sequence[UOp],
        stores: Sequence[Store],
        chunk: UOp | None,
        length: int,
    ) -> list[UOp]:
        values = self.concrete(*(node.src[0] for node in stage))
        sought = [node for node in stage if node in self._sought.values()]
        # A sum so short is one block, which a total joins without loss.
        short = chunk is None and len(over) == 1 and self.body.extents[over[0]] <= SHORT_SUM
        sums = [node for node in stage if node.arg is Ops.ADD and node.dtype in dtypes.REAL_FLOATING]
        summed = [] if short else sums
        first = variable(self.name("first")) if sought or summed else ZERO
        before: list[UOp] = []
        block_start: list[UOp] = []
        inside: list[UOp] = []
        block_end: list[UOp] = []
        after: list[UOp] = []
        for node, value in zip(stage, values, strict=True):
            dtype = node.dtype if short and node in sums else accumulator_dtype(node.arg, node.dtype)
            total = variable(self.name("total"), dtype)
            before.append(assign(total, identity(node.arg, dtype)))
            result = total
            if node in sought:
                part, place = variable(self.name("part"), dtype), variable(self.name("place"))
                before.append(assign(place, ZERO))
                block_start.append(assign(part, identity(node.arg, dtype)))
                inside.append(assign(part, combine(node.arg, part, value)))
                beyond = total < part if node.arg is Ops.MAXIMUM else part < total
                if dtype in dtypes.REAL_FLOATING:
                    beyond = beyond | (part.ne(part) & total.eq(total))
                block_end += [
                    assign(place, beyond.where(first, place)),
                    assign(total, combine(node.arg, total, part)),
                ]
                self._places[node] = place
            elif node in summed:
                part = variable(self.name("part"), node.dtype)
                block_start.append(assign(part, identity(Ops.ADD, node.dtype)))
                inside.append(assign(part, combine(Ops.ADD, part, value)))
                if node.dtype == dtypes.float32:
                    block_end.append(assign(total, total + part.cast(dtypes.float64)))
                else:
                    lost = variable(self.name("lost"), dtype)
                    before.append(assign(lost, identity(Ops.ADD, dtype)))
                    grown, rest = joined(total, part)
                    block_end += [assign(lost, lost + rest), assign(total, grown)]
                    exact = variable(self.name("sum"), dtype)
                    after.append(assign(exact, with_lost(total, lost)))
                    result = exact
            else:
                inside.append(assign(total, combine(node.arg, total, value)))
            self.accumulated[node] = result
            self.results[node] = result.cast(node.dtype)
        inside += [self.store(store) for store in stores]
        last = over[-1]
        assigned, start, stop = self.bounds(over[0], chunk, length)
        begin, end = (start, stop) if len(over) == 1 else (ZERO, self.extent(last))
        if stage[0] in self._sought:
            # The first of its kind stands in the first block that has it.
            begin = self._places[self._sought[stage[0]]]
            end = (begin + SUM_BLOCK).alu(Ops.MINIMUM, end)
        if block_end:
            loops = self._in_blocks(self.atoms[last], (begin, end), first, block_start, inside, block_end)
        else:
            loops = self.inner_loop(self.atoms[last], begin, end, inside)
        for a in reversed(over[1:-1]):
            loops = [loop(self.atoms[a], ZERO, self.extent(a), loops)]
        if len(over) > 1:
            loops = [loop(self.atoms[over[0]], start, stop, loops)]
        return [*assigned, *before, *loops, *after]

    def _in_blocks(
        self,
        over: UOp,
        bounds: tuple[UOp, UOp],
        first: UOp,
        block_start: Sequence[UOp],
        inside: Sequence[UOp],
        block_end: Sequence[UOp],
    ) -> list[UOp]:
        """A loop in blocks, of which `first` is where each begins."""
        start, stop = bounds
        block, last = range_(self.name("block")), variable(self.name("last"))
        size = SUM_BLOCK
        begin = block * size if start is ZERO else start + block * size
        length = stop if start is ZERO else stop - start
        statements = [
            assign(first, begin),
            assign(last, (first + size).alu(Ops.MINIMUM, stop)),
            *block_start,
            *self.inner_loop(over, first, last, inside),
            *block_end,
        ]
        return [loop(block, ZERO, pieces(length, size), statements)]


def searches(stages: Sequence[Sequence[UOp]]) -> dict[UOp, UOp]:
    """For each REDUCE that looks for the first place of a row's extreme, as argmax does, the REDUCE of that.

    Its form is the minimum of where(value == extreme, place, length), NaN being equal to NaN.
    """
    found = {}
    for stage in stages:
        if len(stage) != 1 or stage[0].arg is not Ops.MINIMUM or len(stage[0].src) != 2:
            continue
        place, over = stage[0], stage[0].src[1]
        choice = place.src[0]
        if choice.op is not Ops.WHERE or choice.src[1] is not UOp.new(Ops.AFFINE, (over,), ((1,), 0)):
            continue
        condition, _, other = choice.src
        equal = [node for node in (condition, *condition.src) if node.op is Ops.EQ]
        for extreme in {source for node in equal for source in node.src if source.op is Ops.REDUCE}:
            value = extreme.src[0]
            same = value.eq(extreme)
            forms = (same, same | value.ne(value)) if value.dtype in dtypes.REAL_FLOATING else (same,)
            if (
                extreme.arg in (Ops.MAXIMUM, Ops.MINIMUM)
                and extreme.src[1:] == place.src[1:]
                and condition in forms
                and over not in ranges_of(toposort(other))[other]
            ):
                found[place] = extreme
    return found


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
