"""Movement operations as index functions over ranges: the swizzle that makes views free.

An Index is an affine function of loop ranges (and of opaque integers, as a gathered position is one). Reading
an array through a movement operation means reading its source at a transformed index; nothing is copied.
fusion.py builds kernels with these; a reshape whose index isn't affine says so, and fusion stores its source
instead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from toonygrad.uop.node import UOp
from toonygrad.uop.ops import Ops
from toonygrad.uop.shape import Shape, contiguous_strides


class Index(NamedTuple):
    """offset + the sum of coefficient * atom, an atom being a RANGE or an opaque integer node."""

    terms: tuple[tuple[UOp, int], ...] = ()
    offset: int = 0

    def __add__(self, other: Index) -> Index:  # type: ignore[override]
        coefficients = dict(self.terms)
        for atom, coefficient in other.terms:
            coefficients[atom] = coefficients.get(atom, 0) + coefficient
        return Index(_ordered(coefficients), self.offset + other.offset)

    def scaled(self, factor: int) -> Index:
        """This index times a number."""
        terms = tuple((atom, c * factor) for atom, c in self.terms) if factor else ()
        return Index(terms, self.offset * factor)

    def shifted(self, offset: int) -> Index:
        """This index plus a number."""
        return Index(self.terms, self.offset + offset)

    @property
    def atoms(self) -> tuple[UOp, ...]:
        """What the index depends on."""
        return tuple(atom for atom, _ in self.terms)


ZERO = Index()


def atom(node: UOp) -> Index:
    """The index that is the value of one node."""
    return Index(((node, 1),))


def _ordered(coefficients: Mapping[UOp, int]) -> tuple[tuple[UOp, int], ...]:
    # Equal indices are equal tuples, and the same in every process: the order reaches a kernel's source.
    return tuple(sorted(((a, c) for a, c in coefficients.items() if c), key=_by_name))


def _by_name(term: tuple[UOp, int]) -> tuple:
    node = term[0]
    if node.op is Ops.PIECEWISE:
        index, *sizes = node.src
        atoms = tuple(_by_name((atom, 1)) for atom in (index.src if index.op is Ops.AFFINE else (index,)))
        return 2, tuple(size.arg for size in sizes), atoms, index.arg
    return (0, *node.arg) if node.op is Ops.RANGE else (1, node.arg)


class NotAffine(Exception):
    """An index would need a division in the loop."""


class NeedsSplit(Exception):
    """An index becomes affine once a range runs as two, the inner one of `width`."""

    def __init__(self, range_: UOp, width: int) -> None:
        super().__init__(range_, width)
        self.range, self.width = range_, width


def linear(indices: Sequence[Index], strides: Sequence[int]) -> Index:
    """The sum of indices times strides."""
    total = ZERO
    for index, stride in zip(indices, strides, strict=True):
        total = total + index.scaled(stride)
    return total


def divide(index: Index, divisor: int, extents: Mapping[UOp, int]) -> tuple[Index, Index]:
    """Quotient and remainder of `index`, which is never negative, by a number.

    Parameters
    ----------
    extents : for each atom that isn't PIECEWISE, the number it stays below

    Raises
    ------
    NeedsSplit, NotAffine
        The result is no affine function of these ranges; of split ones, or of none.
    """
    whole: dict[UOp, int] = {}
    part: dict[UOp, int] = {}
    least = most = index.offset % divisor
    for node, coefficient in index.terms:
        quotient, remainder = divmod(coefficient, divisor)
        if remainder == 0:
            whole[node] = quotient
            continue
        if node.op is Ops.PIECEWISE:
            raise NotAffine
        reach = coefficient * (extents[node] - 1)
        if abs(reach) >= divisor:
            width = divisor // abs(coefficient)
            if node.op is Ops.RANGE and divisor % abs(coefficient) == 0 and extents[node] % width == 0:
                raise NeedsSplit(node, width)
            raise NotAffine
        part[node] = coefficient
        least, most = least + min(reach, 0), most + max(reach, 0)
    if least < 0 or most >= divisor:
        raise NotAffine
    return Index(_ordered(whole), index.offset // divisor), Index(_ordered(part), index.offset % divisor)


def reshaped(
    indices: Sequence[Index], shape: Shape, source: Shape, extents: Mapping[UOp, int]
) -> tuple[Index, ...]:
    """Where in an array of shape `source` the element at `indices` of its reshape to `shape` stands.

    Raises
    ------
    NeedsSplit, NotAffine
        As of `divide`.
    """
    if 0 in shape:
        return (ZERO,) * len(source)  # of no element
    result: list[Index] = []
    for outer, inner in _factor_groups(shape, source):
        strides = contiguous_strides([shape[axis] for axis in outer])
        position = linear([indices[axis] for axis in outer], strides)
        sizes = [source[axis] for axis in inner]
        parts: list[Index] = []
        for size, stride in zip(sizes, contiguous_strides(sizes), strict=True):
            if size == 1:
                parts.append(ZERO)
            elif stride == 1:
                parts.append(position)
            else:
                quotient, position = divide(position, stride, extents)
                parts.append(quotient)
        result += parts
    return tuple(result)


def _factor_groups(shape: Shape, source: Shape) -> list[tuple[list[int], list[int]]]:
    """The axes of two shapes of one size in the smallest groups of equal products, in order."""
    groups: list[tuple[list[int], list[int]]] = []
    left = right = 0
    while left < len(shape) or right < len(source):
        ours, theirs = ([left], []) if left < len(shape) else ([], [right])
        product, other = (shape[left], 1) if ours else (1, source[right])
        left, right = left + len(ours), right + len(theirs)
        while product != other:
            if product < other:
                product *= shape[left]
                ours.append(left)
                left += 1
            else:
                other *= source[right]
                theirs.append(right)
                right += 1
        groups.append((ours, theirs))
    return groups


def broadcast(indices: Sequence[Index], shape: Shape) -> tuple[Index, ...]:
    """The index into an array of `shape` that broadcasts to where `indices` stand."""
    front = len(indices) - len(shape)
    return tuple(ZERO if size == 1 else index for size, index in zip(shape, indices[front:], strict=True))


def moved(node: UOp, indices: tuple[Index, ...], extents: Mapping[UOp, int]) -> tuple[Index, ...]:
    """Where in the source of the movement operation `node` its element at `indices` stands.

    Raises
    ------
    NeedsSplit, NotAffine
        As of `divide`, for a reshape.
    """
    source = node.src[0].shape
    if node.op is Ops.PERMUTE:
        result = [ZERO] * len(source)
        for axis, index in zip(node.arg, indices, strict=True):
            result[axis] = index
        return tuple(result)
    if node.op is Ops.SLICE:
        return tuple(
            index.scaled(step).shifted(start)
            for index, (start, step, _) in zip(indices, node.arg, strict=True)
        )
    if node.op is Ops.EXPAND:
        return broadcast(indices, source)
    return reshaped(indices, node.shape, source, extents)


def viewed(node: UOp, shape: Shape, strides: Shape) -> tuple[int, Shape] | None:
    """Offset and strides that show a movement operation's result on an array of `shape` and `strides` itself.

    None where a reshape can't be had without a copy.
    """
    if node.op is Ops.PERMUTE:
        return 0, tuple(strides[axis] for axis in node.arg)
    if node.op is Ops.SLICE:
        offset = sum(start * stride for (start, _, _), stride in zip(node.arg, strides, strict=True))
        return offset, tuple(step * stride for (_, step, _), stride in zip(node.arg, strides, strict=True))
    if node.op is Ops.EXPAND:
        front = len(node.shape) - len(shape)
        kept = [0 if size == 1 else stride for size, stride in zip(shape, strides, strict=True)]
        return 0, (*[0] * front, *kept)
    if 0 in shape:
        return 0, contiguous_strides(node.shape)
    result: list[int] = []
    for ours, theirs in _factor_groups(node.shape, shape):
        real = [axis for axis in theirs if shape[axis] != 1]
        for outer, inner in pairwise(real):
            if strides[outer] != strides[inner] * shape[inner]:
                return None
        step = strides[real[-1]] if real else 0
        result += [stride * step for stride in contiguous_strides([node.shape[axis] for axis in ours])]
    return 0, tuple(result)
