"""Memory that an elementwise kernel reads or writes along its rows, and which of it vectors can hold.

A window is one array as a thread sees it: the places around an element that are read, some rows down and some
elements along. cuda_patches.py chooses a patch of elements for each thread with these, and writes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import gcd
from typing import NamedTuple

import numpy as np

from toonygrad import dtypes
from toonygrad.codegen.cuda import VECTOR_BYTES
from toonygrad.codegen.lower import Body, Store
from toonygrad.uop.node import UOp, substitute, toposort
from toonygrad.uop.ops import Ops
from toonygrad.uop.rewrite import graph_rewrite
from toonygrad.uop.simplify import SIMPLIFY

# How far from one another places are that one window holds, down and along; rows that are shorter than so
# many elements are no rows to it; and the longest step from element to element.
MOST_DOWN, MOST_ALONG, SHORTEST_ROW, MOST_STEP = 4, 16, 64, 4


class Use(NamedTuple):
    """One read or write: an ACCESS or a Store, and where in memory it is.

    Attributes
    ----------
    what : UOp or Store
    output : bool
    array : int
        As in `Arguments.pointer`.
    dtype : numpy.dtype
    terms : tuple of (UOp, int)
        What its place depends on, and the elements between steps of that.
    first : int
        The place where all of them are zero.
    """

    what: UOp | Store
    output: bool
    array: int
    dtype: np.dtype
    terms: tuple[tuple[UOp, int], ...]
    first: int


def reads(values: Iterable[UOp]) -> list[Use]:
    """Every ACCESS that values are computed from."""
    uses = []
    for node in toposort(*values):
        if node.op is Ops.ACCESS:
            place, dtype, coefficients, offset = node.arg
            array, part = place if isinstance(place, tuple) else (place, 0)
            terms = tuple(zip(node.src, coefficients, strict=True))
            uses.append(Use(node, False, array, dtype, terms, offset + part))
    return uses


def writes(stores: Iterable[Store]) -> list[Use]:
    """Every store."""
    uses = []
    for store in stores:
        coefficients, offset = store.index.arg
        terms = tuple(zip(store.index.src, coefficients, strict=True))
        uses.append(Use(store, True, store.array, store.value.dtype, terms, offset))
    return uses


@dataclass(frozen=True)
class Window:
    """Uses of one array that lie beside one another.

    Attributes
    ----------
    output, array, dtype : as of a Use
    terms : those of all its uses but for the column
    step : elements from column to column
    first : the place of the first of them, from which the others are counted
    places : of each use, how many rows down and elements along it is
    """

    output: bool
    array: int
    dtype: np.dtype
    terms: tuple[tuple[UOp, int], ...]
    step: int
    first: int
    places: dict[UOp | Store, tuple[int, int]]

    @property
    def downs(self) -> list[int]:
        """The rows that are read for an element."""
        return sorted({down for down, _ in self.places.values()})

    def length(self, width: int) -> int:
        """How many elements a vector has, where each thread has `width` columns."""
        return gcd(self.step * width, VECTOR_BYTES // self.dtype.itemsize)

    def needed(self, row: int, width: int, height: int) -> list[int]:
        """The elements along which are read, in a row counted from the patch's first."""
        found = {
            along + self.step * column
            for down, along in self.places.values()
            if 0 <= row - down < height
            for column in range(width)
        }
        return sorted(found)

    def pieces(self, elements: Sequence[int], shift: int, length: int) -> Iterator[tuple[int, int]]:
        """First element and length of the loads or stores that cover elements.

        They are vectors where more than half of one is needed and no memory is read but between the first and
        the last, or where all of it is to be written.

        Parameters
        ----------
        elements : sorted
        shift : how far element 0 is from where a vector may begin
        length : of the longest vectors
        """
        while length > 1 and elements:
            blocks: dict[int, list[int]] = {}
            for element in elements:
                blocks.setdefault((element + shift) // length, []).append(element)
            left = []
            for number, inside in blocks.items():
                begin = number * length - shift
                within = elements[0] <= begin and begin + length - 1 <= elements[-1]
                if within and (len(inside) == length or (len(inside) > length // 2 and not self.output)):
                    yield begin, length
                else:
                    left += inside
            elements, length = left, length // 2
        yield from ((element, 1) for element in elements)


def windows(uses: Iterable[Use], row: UOp | None, column: UOp) -> list[Window]:
    """The windows of those uses whose place moves with the column, and with nothing else that does."""
    alike: dict[tuple, list[Use]] = {}
    for use in uses:
        terms = dict(use.terms)
        step = terms.pop(column, 0)
        if 0 < abs(step) <= MOST_STEP and column not in toposort(*terms):
            key = (use.output, use.array, use.dtype, tuple(terms.items()), step)
            alike.setdefault(key, []).append(use)
    found: list[Window] = []
    for (output, array, dtype, terms, step), some in alike.items():
        pitch = dict(terms).get(row, 0) if row is not None else 0
        pitch = pitch if abs(pitch) >= SHORTEST_ROW else 0
        for use in sorted(some, key=lambda use: use.first):
            for window in found:
                if (window.output, window.array, window.dtype, window.terms, window.step) != (
                    *(output, array, dtype, terms, step),
                ):
                    continue
                distance = use.first - window.first
                down = round(distance / pitch) if pitch and not output else 0
                along = distance - down * pitch
                if abs(down) <= MOST_DOWN and abs(along) <= MOST_ALONG:
                    window.places[use.what] = (down, along)
                    break
            else:
                found.append(Window(output, array, dtype, terms, step, use.first, {use.what: (0, 0)}))
    return found


def sharing(found: Iterable[Window]) -> bool:
    """Whether an element is read for several rows."""
    return any(len(window.downs) > 1 for window in found)


class Stretch(NamedTuple):
    """The values of a range for which something holds: from `begin` on, up to `end`, where it has these."""

    over: UOp
    begin: UOp | None
    end: UOp | None


def settled(body: Body, row: UOp | None, column: UOp) -> tuple[list[UOp], list[Stretch]]:
    """What is stored, with shifts that depend on a row or column, or on whether a block is replaced there, as
    they are for most; and where they are so. Shifts by far stay, but for those of blocks.
    """
    values = [store.value for store in body.stores]
    replaced: dict[UOp, UOp] = {}
    stretches: dict[Stretch, None] = {}
    order = toposort(*values)
    for node in order:
        # Whether an element is within a block that is replaced.
        if node.op is Ops.EQ and node.src[0].op is Ops.PIECEWISE and node.src[1] in node.src[0].src:
            found = _longest(body, node.src[0])
            if found is not None:
                stretches[found[0]] = None
                replaced[node] = UOp.const(found[1] == _known(body, node.src[1]), dtypes.bool_)
    for node in order:
        if node.op is not Ops.ACCESS or all(a.op is not Ops.PIECEWISE for a in node.src):
            continue
        place, dtype, coefficients, offset = node.arg
        terms = dict(zip(node.src, coefficients, strict=True))
        for atom in node.src:
            found = _longest(body, atom) if atom.op is Ops.PIECEWISE else None
            if found is None:
                continue
            stretch, shift = found
            near = {row: MOST_DOWN, column: MOST_ALONG}.get(stretch.over, -1)
            if stretch in stretches or abs(shift) <= near:
                offset += terms.pop(atom) * shift
                stretches[stretch] = None
        if len(terms) < len(node.src):
            replaced[node] = UOp.new(Ops.ACCESS, tuple(terms), (place, dtype, tuple(terms.values()), offset))
    known = UOp.new(Ops.SINK, tuple(substitute(values, replaced)))
    return list(graph_rewrite(known, SIMPLIFY, "settled").src), list(stretches)


def _longest(body: Body, node: UOp) -> tuple[Stretch, int] | None:
    """Of a PIECEWISE over one range the longest piece, and the shift there."""
    index, *rest = node.src
    if index.op is not Ops.AFFINE or [a.op for a in index.src] != [Ops.RANGE] or index.arg != ((1,), 0):
        return None
    count = len(rest) // 2
    numbers = [_known(body, size) for size in rest]
    over = index.src[0]
    extent = body.extents[over]
    ends = [0, *(min(max(cut, 0), extent) for cut in numbers[:count]), extent]
    best = max(range(count + 1), key=lambda k: ends[k + 1] - ends[k])
    cuts = (None, *rest[:count], None)
    return Stretch(over, cuts[best], cuts[best + 1]), numbers[count + best]


def _known(body: Body, size: UOp) -> int:
    return size.arg if size.op is Ops.CONST else body.sizes[size.arg[1]]
