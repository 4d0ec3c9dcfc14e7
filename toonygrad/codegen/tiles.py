"""Elementwise loops in tiles, where memory runs along another axis than the result: transposed operands.

A row of the result then takes one element of each of many cache lines. A tile has as many rows as use such a
line up, and reads it through a transposed copy in scratch memory. generate.py asks `tiled_range` and builds
`Tiles`, on the Builder of loops.py.
"""

from __future__ import annotations

from toonygrad.codegen.loops import (
    HI,
    LO,
    TILE_BYTES,
    TILE_GAP,
    TILE_SIDES,
    Builder,
    Nest,
    assign,
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
    """The range beside the last along which most memory runs; None where none runs along another."""
    count = {row: len(_transposed(body, row)) for row in (body.outer + body.inner)[:-1]}
    best = max(count, key=lambda row: count[row], default=None)
    return best if best is not None and count[best] else None


def _transposed(body: Body, row: UOp) -> list[UOp]:
    """The ACCESSes whose neighbours along `row`, not along the last range, are neighbours in memory."""
    column = (body.outer + body.inner)[-1]
    return [
        node
        for node in toposort(*(store.value for store in body.stores))
        if node.op is Ops.ACCESS
        and all(a.op is Ops.RANGE for a in node.src)
        and abs(_step(node, row)) == 1 < abs(_step(node, column))
    ]


def _step(node: UOp, a: UOp) -> int:
    return dict(zip(node.src, node.arg[2], strict=True)).get(a, 0)


def _tile(rows: int, columns: int, itemsizes: int) -> tuple[int, int, int]:
    """Height and width of a tile, and the elements of each operand's copy; their item sizes
    sum to `itemsizes`.
    """
    side = next((s for s in TILE_SIDES if s * s * itemsizes <= TILE_BYTES), TILE_SIDES[-1])
    elements = side * (side + TILE_GAP)
    # Where one side can't be as long the other is longer.
    wide = _evenly(columns, max(side, elements // min(rows, side) - TILE_GAP))
    return _evenly(rows, elements // (wide + TILE_GAP)), wide, elements


def _evenly(extent: int, most: int) -> int:
    """The length of as few pieces of `extent` as have at most `most`, and are about equal."""
    return -(-extent // -(-extent // most))


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
        apart = width + TILE_GAP
        for node in packed:
            forward = _step(node, row) > 0
            corner = {row: first_row if forward else last_row - 1, column: first_column}
            (first,) = self.arguments.concrete([node], {**self.atoms, **corner}, body.sizes, over)
            scratch = UOp.new(Ops.SCRATCH, (), (self.name("tile"), node.dtype, elements))
            stride = self.arguments.stride(False, node.arg[0], _step(node, column))
            extents = (last_row - first_row, last_column - first_column)
            statements.append(UOp.new(Ops.TRANSPOSE, (scratch, apart, *first.src, stride, *extents)))
            here = self.atoms[row] - first_row if forward else last_row - 1 - self.atoms[row]
            at = here * apart + (self.atoms[column] - first_column)
            self.results[node] = UOp.new(Ops.LOAD, (scratch, at))
        stores = [self.store(store) for store in body.stores]
        inside = self.inner_loop(self.atoms[column], first_column, last_column, stores)
        statements.append(loop(self.atoms[row], first_row, last_row, inside))
        steps = size_of([body.extents[a] for a in others]) * down * across
        return self.finish([loop(step, LO, HI, statements)], steps, high * wide)
