"""Concatenations whose parts are slices of one array, as roll makes them, as functions of an index.

Element i of such a CONCAT is element step * i + shift of its source, with another shift in each piece of the
axis. trace.py asks `pieces_of` what a CONCAT is made of, and `composed` for the index into the source;
realize.py asks whether it `is_rearranged`, and so cheap to make again. An array in which a block is replaced
is such a function of two sources: realize.py has it made `in_parts`, and fusion.py asks for its `block_of`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from toonygrad.schedule.ranges import Index
from toonygrad.uop.node import UOp
from toonygrad.uop.ops import Ops

# A loop runs once for each piece of what it reads: with more, the parts are written side by side.
MOST_PIECES = 8

Slice = tuple[int, int, int]


class Pieces(NamedTuple):
    """A CONCAT of slices that differ only in where they start along an axis.

    Attributes
    ----------
    source : what all parts are slices of
    axis : along which they are joined
    slices : on each axis of the source the start and step of the parts; that axis has its start in `shifts`
    starts : where each part begins, and where the last ends
    shifts : for each part what is added to step * index
    """

    source: UOp
    axis: int
    slices: tuple[tuple[int, int], ...]
    starts: tuple[int, ...]
    shifts: tuple[int, ...]


class Piecewise(NamedTuple):
    """An integer that depends on an index by pieces: `shifts[k]` where k of the `cuts` are no larger."""

    base: Index
    cuts: tuple[int, ...]
    shifts: tuple[int, ...]

    def at(self, place: int) -> int:
        """The value where the index is `place`."""
        return self.shifts[sum(cut <= place for cut in self.cuts)]


def pieces_of(node: UOp) -> Pieces | None:
    """What `node` is made of, if it is a CONCAT of slices that differ only in where they start."""
    if node.op is not Ops.CONCAT or len(node.src) > MOST_PIECES:
        return None
    axis = node.arg
    first, *others = chains = [list(_chain(part)) for part in node.src]
    source = next((one for one in first if all(one in chain for chain in others)), None)
    if source is None:
        return None
    parts = [_slice_of(chain[: chain.index(source)], source) for chain in chains]
    off = {(*part[:axis], *part[axis + 1 :]) for part in parts}
    steps = {step for _, step, size in (part[axis] for part in parts) if size > 1}
    if len(off) > 1 or len(steps) > 1:
        return None
    step = steps.pop() if steps else 1
    starts, shifts = [0], []
    for part in parts:
        begin, _, size = part[axis]
        shifts.append(begin - step * starts[-1])
        starts.append(starts[-1] + size)
    slices = tuple((0, step) if k == axis else parts[0][k][:2] for k in range(len(parts[0])))
    return Pieces(source, axis, slices, tuple(starts), tuple(shifts))


class Block(NamedTuple):
    """A CONCAT of slices of one array at their own places, and of one part that is something else.

    Attributes
    ----------
    around : the array
    value : the other part
    starts : the place of its first element
    """

    around: UOp
    value: UOp
    starts: tuple[int, ...]

    def nearest(self, axis: int) -> Pieces:
        """The value along an axis, and before and behind it elements of its own that exist."""
        start, count, size = self.starts[axis], self.value.shape[axis], self.around.shape[axis]
        pieces = [(0, 0), (start, -start), (start + count, count - size)]
        kept = [each for each, end in zip(pieces, (start, start + count, size), strict=True) if each[0] < end]
        starts, shifts = zip(*kept, strict=True)
        return Pieces(self.value, axis, ((0, 1),) * len(self.starts), (*starts, size), shifts)


def in_parts(around: UOp, value: UOp, starts: tuple[int, ...]) -> UOp:
    """What REPLACE means: CONCATs of a block and of slices of what it is replaced in."""
    shape = around.shape
    for axis in reversed(range(len(shape))):
        # What lies before and behind the value along this axis, within the block along the axes before.
        within = [(first, 1, count) for first, count in zip(starts[:axis], value.shape)]
        behind = [(0, 1, size) for size in shape[axis + 1 :]]
        start, end, size = starts[axis], starts[axis] + value.shape[axis], shape[axis]
        parts = [value]
        if start:
            parts.insert(0, UOp.new(Ops.SLICE, (around,), (*within, (0, 1, start), *behind)))
        if end < size:
            parts.append(UOp.new(Ops.SLICE, (around,), (*within, (end, 1, size - end), *behind)))
        value = UOp.new(Ops.CONCAT, tuple(parts), axis) if len(parts) > 1 else value
    return value


def block_of(node: UOp, parts: Sequence[tuple[UOp, tuple[int, ...]]]) -> Block | None:
    """The block that is replaced in a CONCAT of `parts`, given with their places; None where there is none.

    Elements of the value must stand wherever `Block.nearest` takes them from.
    """
    found: Block | None = None
    chains = [list(_chain(part)) for part, _ in parts]
    # Of two parts one is cut from the array.
    around = {one: None for chain in chains[:2] for one in chain if one.shape == node.shape}
    for array in around:
        others = [
            (part, start)
            for (part, start), chain in zip(parts, chains, strict=True)
            if array not in chain
            or _slice_of(chain[: chain.index(array)], array)
            != tuple((first, 1, size) for first, size in zip(start, part.shape, strict=True))
        ]
        if len(others) == 1:
            found = Block(array, *others[0])
    if found is None:
        return None
    sizes = zip(found.starts, found.value.shape, node.shape, strict=True)
    return found if all(max(start, size - count - start) <= count for start, count, size in sizes) else None


def is_rearranged(node: UOp) -> bool:
    """Whether `node` is a CONCAT of slices of one node, as `pieces_of` takes them: quickly, and nearly."""
    if node.op is not Ops.CONCAT:
        return False
    return len({part.src[0] if part.op is Ops.SLICE else part for part in node.src}) == 1


def _chain(node: UOp) -> Iterator[UOp]:
    """`node` and what it is a slice of."""
    yield node
    while node.op is Ops.SLICE:
        node = node.src[0]
        yield node


def _slice_of(chain: list[UOp], source: UOp) -> tuple[Slice, ...]:
    """The slices of `chain`, the last taken of `source`, as one."""
    sizes = chain[0].shape if chain else source.shape
    result = [(0, 1, size) for size in sizes]
    for node in chain:
        result = [
            (start + step * before, step * by, size)
            for (before, by, size), (start, step, _) in zip(result, node.arg, strict=True)
        ]
    return tuple((start, step if size > 1 else 1, size) for start, step, size in result)


def composed(
    pieces: Pieces, index: Index, extents: Mapping[UOp, int], known: Mapping[UOp, Piecewise]
) -> tuple[Index, Piecewise | None] | None:
    """Where in the source the element at `index` of a CONCAT's axis stands: the sum of both parts.

    None where that is no function by pieces of one index.

    Parameters
    ----------
    extents : for each atom, the number it stays below
    known : the atoms among those of `index` that are piecewise themselves
    """
    nested = [(known[atom], c) for atom, c in index.terms if atom in known]
    plain = Index(tuple(term for term in index.terms if term[0] not in known))
    base = nested[0][0].base if nested else _base(plain)
    factor = _factor(plain, base)
    if factor is None or any(inner.base != base for inner, _ in nested):
        return None
    least = sum(min(0, c * (extents[atom] - 1)) for atom, c in base.terms)
    stop = 1 + sum(max(0, c * (extents[atom] - 1)) for atom, c in base.terms)
    cuts = {cut for inner, _ in nested for cut in inner.cuts if least < cut < stop}
    step = pieces.slices[pieces.axis][1]
    found: list[tuple[int, int]] = []
    for begin, end in pairwise([least, *sorted(cuts), stop]):
        shift = index.offset + sum(c * inner.at(begin) for inner, c in nested)
        for (low, high), added in zip(pairwise(pieces.starts), pieces.shifts, strict=True):
            first, last = _between(low - shift, high - shift, factor)
            if max(first, begin) < min(last, end):
                found.append((max(first, begin), step * shift + added))
    if not found:
        return base.scaled(factor * step), None  # of no element
    found.sort()
    changes = [found[0], *(one for before, one in pairwise(found) if before[1] != one[1])]
    affine = base.scaled(factor * step)
    if len(changes) == 1:
        return affine.shifted(changes[0][1]), None
    starts, shifts = zip(*changes, strict=True)
    return affine, Piecewise(base, starts[1:], shifts)


def _base(plain: Index) -> Index:
    """What an index is a multiple of: its only atom, or itself."""
    return Index(((plain.terms[0][0], 1),)) if len(plain.terms) == 1 else plain


def _factor(plain: Index, base: Index) -> int | None:
    """The number that makes `base` the index `plain`."""
    if not plain.terms:
        return 0 if base.terms else 1
    factor = plain.terms[0][1] // base.terms[0][1] if base.terms else 0
    return factor if base.scaled(factor).terms == plain.terms else None


def _between(low: int, high: int, factor: int) -> tuple[int, int]:
    """The first x with low <= factor * x < high, and the first behind the last."""
    if factor == 0:
        return (-(1 << 62), 1 << 62) if low <= 0 < high else (0, 0)
    if factor > 0:
        return -(-low // factor), -(-high // factor)
    return high // factor + 1, low // factor + 1
