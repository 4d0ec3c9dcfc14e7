"""Elementwise loops in tiles, where memory runs along another axis than the result: transposed operands.

A row of the result then takes one element of each of many cache lines. A tile has as many rows as use such a
line up, and reads it through a transposed copy in scratch memory. generate.py asks `tiled_range` and builds
`Tiles`, on the Builder of loops.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from toonygrad.codegen.loops import (
    FEWEST_TILED,
    HI,
    LO,
    TILE_BYTES,
    TILE_GAP,
    TILE_SIDES,
    Builder,
    Nest,
    assign,
    evenly,
    loop,
    quotient,
    range_,
    variable,
)
from toonygrad.codegen.lower import Body
from toonygrad.uop.node import UOp, toposort
from toonygrad.uop.ops import Ops
from toonygrad.uop.shape import size_of


def tiled_range(body: Body) -> UOp | None:
    """The range beside the last along which most memory runs; None where none does, or tiles were slim."""
    over = body.outer + body.inner
    long = [a for a in over if body.extents[a] >= FEWEST_TILED]
    if not long or long[-1] is not over[-1]:
        return None
    count = {row: len(_transposed(body, row)) for row in long[:-1]}
    best = max(count, key=lambda row: count[row], default=None)
    return best if best is not None and count[best] else None


def _transposed(body: Body, row: UOp) -> list[UOp]:
    """The ACCESSes whose neighbours along `row`, not along the last range, are neighbours in memory."""
    column = (body.outer + body.inner)[-1]
    return [
        node
        for node in toposort(*(store.value for store in body.stores))
        if node.op is Ops.ACCESS
        and all(a.op is Ops.RANGE or _shifts_along(a) for a in node.src)
        and abs(step_along(node, row)) == 1 < abs(step_along(node, column))
    ]


def _shifts_along(atom: UOp) -> bool:
    """Whether an atom is a shift by pieces of one range, so that a tile can be cut where they meet."""
    return atom.op is Ops.PIECEWISE and [a.op for a in atom.src[0].src] == [Ops.RANGE]


def step_along(node: UOp, a: UOp) -> int:
    """How far in memory an ACCESS moves with each step of a range."""
    return dict(zip(node.src, node.arg[2], strict=True)).get(a, 0)


class Side(NamedTuple):
    """One side of a tile.

    Attributes
    ----------
    over : the range
    inside : how far from the tile's edge a loop over the tile stands
    first, last : the values it takes in this tile, `last` excluded
    extent : how many they are
    """

    over: UOp
    inside: UOp
    first: UOp
    last: UOp
    extent: UOp


def copy_transposed(builder: Builder, node: UOp, rows: Side, columns: Side, apart: UOp, elements: int) -> UOp:
    """The statement that copies a tile of an ACCESS into scratch, where it is read from then on.

    Parameters
    ----------
    rows : the side along which memory runs, which is the copy's slow one
    apart, elements : of the copy, how far its rows lie apart and how many elements it has room for
    """
    forward = step_along(node, rows.over) > 0
    corner = {rows.over: rows.first if forward else rows.last - 1, columns.over: columns.first}
    body = builder.body
    over = body.outer + body.inner
    (first,) = builder.arguments.concrete([node], {**builder.atoms, **corner}, body.sizes, over)
    scratch = UOp.new(Ops.SCRATCH, (), (builder.name("tile"), node.dtype, elements))
    stride = builder.arguments.stride(False, node.arg[0], step_along(node, columns.over))
    row = rows.inside if forward else rows.extent - 1 - rows.inside
    builder.results[node] = UOp.new(Ops.LOAD, (scratch, row * apart + columns.inside))
    return UOp.new(Ops.TRANSPOSE, (scratch, apart, *first.src, stride, rows.extent, columns.extent))


def _tile(rows: int, columns: int, itemsizes: int) -> tuple[int, int, int]:
    """Height and width of a tile, and the elements of each operand's copy; their item sizes
    sum to `itemsizes`.
    """
    side = next((s for s in TILE_SIDES if s * s * itemsizes <= TILE_BYTES), TILE_SIDES[-1])
    elements = side * (side + TILE_GAP)
    # Where one side can't be as long the other is longer.
    wide = evenly(columns, max(side, elements // min(rows, side) - TILE_GAP))
    return evenly(rows, elements // (wide + TILE_GAP)), wide, elements


class Tiles(Builder):
    """Every element on its own, in tiles of `row` and the last range."""

    def build(self, row: UOp) -> Nest:
        body = self.body
        over = body.outer + body.inner
        column, others = over[-1], [a for a in over[:-1] if a is not row]
        packed = _transposed(body, row)
        rows, columns = body.extents[row], body.extents[column]
        high, wide, elements = _tile(rows, columns, sum(node.dtype.itemsize for node in packed))
        down, across = -(-rows // high), -(-columns // wide)
        step, tile = range_("step"), variable("tile")
        self.atoms[row], self.atoms[column] = range_("row"), range_("column")
        first_row, last_row = variable("first_row"), variable("last_row")
        first_column, last_column = variable("first_column"), variable("last_column")
        height, width = self.arguments.size("height", high), self.arguments.size("width", wide)
        per_row = self.arguments.size("blocks", across)
        statements = [assign(tile, quotient(step, per_row))]
        place = tile
        if others:
            outer, per_column = variable("outer"), self.arguments.size("pieces", down)
            statements += [assign(outer, quotient(tile, per_column)), *self.decompose(outer, others)]
            place = tile.alu(Ops.MODULO, per_column)
        statements += [
            assign(first_row, place * height),
            assign(last_row, (first_row + height).alu(Ops.MINIMUM, self.extent(row))),
            assign(first_column, step.alu(Ops.MODULO, per_row) * width),
            assign(last_column, (first_column + width).alu(Ops.MINIMUM, self.extent(column))),
        ]
        shifts = self.concrete(*(a for node in packed for a in node.src if a.op is Ops.PIECEWISE))

        def in_rows(each: UOp, above: UOp, below: UOp, _: Sequence[UOp]) -> list[UOp]:
            side = Side(row, each - above, above, below, below - above)

            def in_columns(each: UOp, left: UOp, right: UOp, _: Sequence[UOp]) -> list[UOp]:
                other = Side(column, each - left, left, right, right - left)
                return self._tile(packed, side, other, width, elements)

            return self.by_pieces(self.atoms[column], first_column, last_column, shifts, in_columns)

        statements += self.by_pieces(self.atoms[row], first_row, last_row, shifts, in_rows)
        steps = size_of([body.extents[a] for a in others]) * down * across
        return self.finish([loop(step, LO, HI, statements)], steps, high * wide)

    def _tile(self, packed: Sequence[UOp], rows: Side, columns: Side, width: UOp, elements: int) -> list[UOp]:
        copies = [copy_transposed(self, node, rows, columns, width + TILE_GAP, elements) for node in packed]
        stores = [self.store(store) for store in self.body.stores]
        inside = self.inner_loop(self.atoms[columns.over], columns.first, columns.last, stores)
        return [*copies, loop(self.atoms[rows.over], rows.first, rows.last, inside)]
