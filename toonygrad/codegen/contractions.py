"""Reductions of broadcast operands, in tiles: pairwise distances, matrix products of integers.

What the results of a column share (`w` in sum((u[:, None] - w[None]) ** 2, axis=2)) is copied once for a tile
of results, neighbouring columns side by side; then a few rows accumulate together, columns in the lanes of
vectors. generate.py asks `shared_values` and builds a `Contraction`, on what reductions.py and tiles.py have.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from toonygrad import dtypes
from toonygrad.codegen.loops import (
    CONTRACTION_BYTES,
    CONTRACTION_COLUMNS,
    CONTRACTION_COPIES,
    CONTRACTION_DEPTH,
    CONTRACTION_RESULTS,
    CONTRACTION_ROWS,
    CONTRACTION_TOGETHER,
    FEWEST_STEPS,
    HI,
    LO,
    TILE_GAP,
    ZERO,
    Nest,
    assign,
    evenly,
    loop,
    pieces,
    quotient,
    range_,
    variable,
)
from toonygrad.codegen.lower import Body
from toonygrad.codegen.reductions import (
    Reducing,
    accumulator_dtype,
    combine,
    identity,
    joined,
    largest,
    ranges_of,
    with_lost,
)
from toonygrad.codegen.tiles import Side, copy_transposed, step_along
from toonygrad.uop.node import UOp, toposort
from toonygrad.uop.ops import Ops
from toonygrad.uop.shape import size_of


class Shared(NamedTuple):
    """What the results of a column share.

    Attributes
    ----------
    row : the range of the results that it doesn't depend on
    values : what is computed from it alone, for each column and each place that is reduced
    """

    row: UOp
    values: tuple[UOp, ...]


def shared_values(body: Body) -> Shared | None:
    """What makes a kernel a contraction; None where it is none, or too small for tiles."""
    reduces, outer = body.reduces, body.outer
    if not reduces or any(set(store.index.src) - set(outer) for store in body.stores):
        return None
    below = toposort(*(node.src[0] for node in reduces))
    over = reduces[0].src[1:]
    # Copies of a tile are of memory that runs on, and of indices that no loop checks again.
    if any(node.op in (Ops.REDUCE, Ops.CHECKED, Ops.PIECEWISE) for node in below):
        return None
    if any(reduce.src[1:] != over for reduce in reduces):
        return None
    extents = [body.extents[a] for a in outer]
    if size_of(extents) < CONTRACTION_RESULTS or extents[-1] < CONTRACTION_COLUMNS:
        return None
    ranges, column = ranges_of(below), outer[-1]
    for row in reversed(outer[:-1]):
        own = [node for node in below if node.op is Ops.ACCESS and {row, column} <= ranges[node]]
        alone = {
            node
            for node in below
            if node.op not in (Ops.RANGE, Ops.AFFINE)
            and column in ranges[node]
            and row not in ranges[node]
            and ranges[node].intersection(over)
        }
        values = largest(below, alone, reduces)
        reads = [node for node in toposort(*values) if node.op is Ops.ACCESS]
        copies = len({*values, *reads}) + 2 * len(reduces)
        if reads and copies <= CONTRACTION_COPIES and all(abs(step_along(a, column)) == 1 for a in own):
            return Shared(row, values)
    return None


def _sides(rows: int, columns: int, lanes: int, others: int) -> tuple[int, int]:
    """Height and width of a tile of results: as large as useful, smaller where there are few to share out."""
    high, wide = evenly(rows, CONTRACTION_ROWS), min(lanes, _rounded_up(evenly(columns, lanes), 16))

    def few() -> bool:
        return others * -(-rows // high) * -(-columns // wide) < FEWEST_STEPS

    while few() and high > 2 * CONTRACTION_TOGETHER:
        high = _rounded_up(-(-high // 2), CONTRACTION_TOGETHER)
    while few() and wide > 64:
        wide = _rounded_up(-(-wide // 2), 16)
    return high, wide


def _rounded_up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple


def _at(array: UOp, place: UOp) -> UOp:
    return UOp.new(Ops.LOAD, (array, place))


def _store(array: UOp, place: UOp, value: UOp) -> UOp:
    return UOp.new(Ops.STORE, (array, place, value))


class Contraction(Reducing):
    """One parallel step, one tile: some rows of results by as many columns as accumulate in cache."""

    def build(self, shared: Shared) -> Nest:
        body = self.body
        column, over = body.outer[-1], body.reduces[0].src[1:]
        widest = max(node.dtype.itemsize for node in (*shared.values, *body.reduces))
        lanes = CONTRACTION_BYTES // max(4, widest)
        others = [a for a in body.outer[:-1] if a is not shared.row]
        count = size_of([body.extents[a] for a in others])
        high, wide = _sides(body.extents[shared.row], body.extents[column], lanes, count)
        down, across = -(-body.extents[shared.row] // high), -(-body.extents[column] // wide)

        step, row, lane = range_("step"), range_("row"), range_("lane")
        first_row, last_row = variable("first_row"), variable("last_row")
        rows = Side(shared.row, row - first_row, first_row, last_row, last_row - first_row)
        columns = Side(column, lane, variable("first_column"), variable("last_column"), variable("width"))
        height, most = self.arguments.size("height", high), self.arguments.size("columns", wide)
        per_column = self.arguments.size("pieces", down)
        tile, outer = variable("tile"), variable("outer")
        statements = [assign(tile, quotient(step, per_column))]
        place = tile
        if others:
            per_matrix = self.arguments.size("blocks", across)
            statements += [assign(outer, quotient(tile, per_matrix)), *self.decompose(outer, others)]
            place = tile.alu(Ops.MODULO, per_matrix)
        self.atoms |= {shared.row: row, column: columns.first + lane}
        end = self.arguments.size("n_column", body.extents[column])
        statements += [
            assign(first_row, step.alu(Ops.MODULO, per_column) * height),
            assign(last_row, (first_row + height).alu(Ops.MINIMUM, self.extent(shared.row))),
            assign(columns.first, place * most),
            assign(columns.last, (columns.first + most).alu(Ops.MINIMUM, end)),
            assign(columns.extent, columns.last - columns.first),
            *self._accumulated(shared, rows, columns, lanes),
        ]
        stores = self.inner_loop(lane, ZERO, columns.extent, [self.store(store) for store in body.stores])
        statements.append(loop(row, first_row, last_row, stores))
        elements = high * wide * size_of([body.extents[a] for a in over])
        return self.finish([loop(step, LO, HI, statements)], count * down * across, elements)

    def _accumulated(self, shared: Shared, rows: Side, columns: Side, lanes: int) -> list[UOp]:
        """The statements that accumulate the reductions of a tile's results, in scratch."""
        *slow, last = self.body.reduces[0].src[1:]
        for a in (*slow, last):
            self.atoms[a] = range_(self.name("k"))
        k, stop = self.atoms[last], self.extent(last)
        first = variable("first")
        depth = Side(last, k - first, first, variable("last"), variable("depth"))
        copies = self._copies(shared.values, depth, columns, lanes)

        here = variable("member_row")
        row, self.atoms[shared.row] = self.atoms[shared.row], here
        values = self.concrete(*(node.src[0] for node in self.body.reduces))
        self.atoms[shared.row] = row
        # A guard speaks for all lanes of one row.
        guarded = any(node.op is Ops.GUARDED for node in toposort(*values))
        together = 1 if guarded else CONTRACTION_TOGETHER
        group, member, place = range_("group"), range_("member"), range_("place")
        base = group * (together * lanes)
        lane = columns.inside if guarded else member * lanes + columns.inside

        # The sums of the only block are the totals.
        in_blocks = bool(slow) or self.body.extents[last] > CONTRACTION_DEPTH
        start: list[UOp] = []
        block_start: list[UOp] = []
        inside: list[UOp] = []
        block_end: list[UOp] = []
        for node, value in zip(self.body.reduces, values, strict=True):
            summed = node.arg is Ops.ADD and node.dtype in dtypes.REAL_FLOATING
            dtype = accumulator_dtype(node.arg, node.dtype) if in_blocks or not summed else node.dtype
            totals = self._scratch("totals", dtype, CONTRACTION_ROWS * lanes)
            start.append(_store(totals, place, identity(node.arg, dtype)))
            result = _at(totals, rows.inside * lanes + columns.inside)
            if summed and in_blocks:
                part = self._scratch("part", node.dtype, together * lanes)
                block_start.append(_store(part, place, identity(Ops.ADD, node.dtype)))
                inside.append(_store(part, lane, combine(Ops.ADD, _at(part, lane), value)))
                grown, rest = joined(_at(totals, base + place), _at(part, place).cast(dtype))
                if node.dtype == dtypes.float64:
                    lost = self._scratch("lost", dtype, CONTRACTION_ROWS * lanes)
                    start.append(_store(lost, place, identity(Ops.ADD, dtype)))
                    block_end.append(_store(lost, base + place, _at(lost, base + place) + rest))
                    result = with_lost(result, _at(lost, rows.inside * lanes + columns.inside))
                block_end.append(_store(totals, base + place, grown))
            else:
                at = base + lane
                inside.append(_store(totals, at, combine(node.arg, _at(totals, at), value)))
            self.results[node] = result.cast(node.dtype)

        top = rows.first + group * together
        if guarded:
            row_start, groups = [assign(here, top)], rows.extent
        else:
            last_row = rows.last - 1
            inside = [assign(here, (top + member).alu(Ops.MINIMUM, last_row)), *inside]
            inside = [loop(member, ZERO, UOp.const(together, dtypes.INDEX), inside)]
            row_start, groups = [], pieces(rows.extent, together)
        each = UOp.const(together * lanes, dtypes.INDEX)
        statements = [
            *row_start,
            *([loop(place, ZERO, each, block_start)] if block_start else []),
            loop(k, depth.first, depth.last, self.inner_loop(columns.inside, ZERO, columns.extent, inside)),
            *([loop(place, ZERO, each, block_end)] if block_end else []),
        ]
        block = range_("block")
        end = (first + CONTRACTION_DEPTH).alu(Ops.MINIMUM, stop)
        statements = [
            assign(first, block * CONTRACTION_DEPTH),
            assign(depth.last, end),
            assign(depth.extent, depth.last - first),
            *copies,
            loop(group, ZERO, groups, statements),
        ]
        statements = [loop(block, ZERO, pieces(stop, CONTRACTION_DEPTH), statements)]
        for a in reversed(slow):
            statements = [loop(self.atoms[a], ZERO, self.extent(a), statements)]
        everywhere = UOp.const(CONTRACTION_ROWS * lanes, dtypes.INDEX)
        return [loop(place, ZERO, everywhere, start), *statements]

    def _copies(self, values: Sequence[UOp], depth: Side, columns: Side, lanes: int) -> list[UOp]:
        """The statements that compute what a column shares, for a tile's columns side by side."""
        apart = UOp.const(lanes + TILE_GAP, dtypes.INDEX)
        elements = CONTRACTION_DEPTH * (lanes + TILE_GAP)
        statements = [
            copy_transposed(self, node, depth, columns, apart, elements)
            for node in toposort(*values)
            if node.op is Ops.ACCESS
            and abs(step_along(node, depth.over)) == 1 < abs(step_along(node, columns.over))
        ]
        place = depth.inside * apart + columns.inside
        for value in values:
            if value not in self.results:
                scratch = self._scratch("tile", value.dtype, elements)
                inside = self.inner_loop(
                    columns.inside, ZERO, columns.extent, [_store(scratch, place, *self.concrete(value))]
                )
                statements.append(loop(self.atoms[depth.over], depth.first, depth.last, inside))
                self.results[value] = _at(scratch, place)
        return statements

    def _scratch(self, stem: str, dtype: np.dtype, elements: int) -> UOp:
        return UOp.new(Ops.SCRATCH, (), (self.name(stem), dtype, elements))
