"""Index functions against NumPy: where movements read, as loops compute it and as views show it."""

import itertools
import math
from typing import Any

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toonygrad import dtypes, record
from toonygrad.runtime.interpreter import operation
from toonygrad.schedule import ranges
from toonygrad.schedule.ranges import Index, NeedsSplit, NotAffine
from toonygrad.schedule.trace import range_named
from toonygrad.uop.node import UOp
from toonygrad.uop.ops import Ops
from toonygrad.uop.shape import contiguous_strides

ROW, COLUMN = range_named("domain", 0), range_named("domain", 1)


def argument(shape: tuple[int, ...], strides: tuple[int, ...] | None = None) -> UOp:
    return UOp.new(Ops.ARGUMENT, (), (0, dtypes.int64, shape, strides or contiguous_strides(shape)))


def axes_of(shape: tuple[int, ...]) -> tuple[tuple[Index, ...], dict[UOp, int]]:
    """A range for each axis, and how far it runs."""
    names = [range_named("domain", axis) for axis in range(len(shape))]
    return tuple(map(ranges.atom, names)), dict(zip(names, shape))


def value(index: Index, at: dict[UOp, int]) -> int:
    return index.offset + sum(c * at[a] for a, c in index.terms)


@st.composite
def moved_nodes(draw: Any, source: UOp) -> UOp:
    shape = source.shape
    kind = draw(st.sampled_from(["permute", "slice", "expand", "reshape"]))
    if kind == "permute":
        return UOp.new(Ops.PERMUTE, (source,), tuple(draw(st.permutations(range(len(shape))))))
    if kind == "slice":
        parts = []
        for size in shape:
            start, stop, step = draw(st.slices(size)).indices(size)
            parts.append((start, step, len(range(start, stop, step))))
        return UOp.new(Ops.SLICE, (source,), tuple(p if p[2] else (0, 1, 1) for p in parts))
    if kind == "expand":
        wide = [draw(st.sampled_from([1, 3])) if size == 1 else size for size in shape]
        return UOp.new(Ops.EXPAND, (source,), (*draw(st.sampled_from([(), (2,)])), *wide))
    left, sizes = math.prod(shape), []
    while left > 1:
        sizes.append(draw(st.sampled_from([k for k in range(2, left + 1) if left % k == 0])))
        left //= sizes[-1]
    return UOp.new(Ops.RESHAPE, (source,), tuple([*sizes, 1] if draw(st.booleans()) else sizes))


SHAPES = hnp.array_shapes(min_dims=1, max_dims=4, max_side=6)


@given(SHAPES, st.data())
def test_a_movement_reads_where_numpy_does(shape: tuple[int, ...], data: st.DataObject) -> None:
    node = data.draw(moved_nodes(argument(shape)))
    numbers = np.arange(math.prod(shape)).reshape(shape)
    expected = operation(node)(numbers)
    indices, extents = axes_of(node.shape)
    splits: dict[UOp, tuple[UOp, UOp, int]] = {}
    while True:
        try:
            found = ranges.moved(node, indices, extents)
            break
        except NeedsSplit as need:
            # As the scheduler does: the range runs as two, the inner one of the width asked for.
            outer, inner = (range_named(*need.range.arg, k) for k in (0, 1))
            splits[need.range] = outer, inner, need.width
            extents |= {outer: extents[need.range] // need.width, inner: need.width}
            both = ranges.atom(outer).scaled(need.width) + ranges.atom(inner)
            indices = tuple(_substituted(index, need.range, both) for index in indices)
        except NotAffine:
            assert node.op is Ops.RESHAPE
            return
    for place in itertools.product(*map(range, node.shape)):
        at = {range_named("domain", axis): k for axis, k in enumerate(place)}
        for split, (outer, inner, width) in splits.items():
            at[outer], at[inner] = divmod(at[split], width)
        assert numbers[tuple(value(index, at) for index in found)] == expected[place]


def _substituted(index: Index, gone: UOp, by: Index) -> Index:
    terms = dict(index.terms)
    factor = terms.pop(gone, 0)
    return Index(tuple(terms.items()), index.offset) + by.scaled(factor)


@given(SHAPES, st.data())
def test_a_view_shows_what_numpy_shows(shape: tuple[int, ...], data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(len(shape))))
    memory = np.arange(2 * math.prod(shape))[::2].reshape([shape[axis] for axis in order])
    array = memory.transpose(np.argsort(order))
    strides = tuple(stride // array.itemsize for stride in array.strides)
    node = data.draw(moved_nodes(argument(shape, strides)))
    expected = operation(node)(array)
    view = ranges.viewed(node, array.shape, strides)
    if view is None:
        assert node.op is Ops.RESHAPE and not np.shares_memory(expected, array)
        return
    offset, seen = view
    flat = np.arange(2 * math.prod(shape))
    for place in itertools.product(*map(range, node.shape)):
        assert flat[offset + sum(k * stride for k, stride in zip(place, seen))] == expected[place]


@given(
    st.integers(1, 40), st.lists(st.tuples(st.integers(-30, 60), st.integers(1, 9)), max_size=3), st.data()
)
def test_quotient_and_remainder(divisor: int, terms: list[tuple[int, int]], data: st.DataObject) -> None:
    names = [range_named("domain", k) for k in range(len(terms))]
    extents = {name: extent for name, (_, extent) in zip(names, terms)}
    index = Index((), -sum(min(0, c * (extent - 1)) for c, extent in terms)).shifted(
        data.draw(st.integers(0, 20))
    )
    for name, (coefficient, _) in zip(names, terms):
        index = index + ranges.atom(name).scaled(coefficient)
    try:
        quotient, remainder = ranges.divide(index, divisor, extents)
    except NeedsSplit as need:
        assert extents[need.range] % need.width == 0 and need.width > 1
        return
    except NotAffine:
        return
    for place in itertools.product(*(range(extent) for _, extent in terms)):
        at = dict(zip(names, place))
        assert (value(quotient, at), value(remainder, at)) == divmod(value(index, at), divisor)


def test_index_arithmetic() -> None:
    i, j = ranges.atom(ROW), ranges.atom(COLUMN)
    assert (i + j).terms == (j + i).terms == ((ROW, 1), (COLUMN, 1))
    assert (i.scaled(3) + i.scaled(-3)) == ranges.ZERO
    assert i.scaled(0) == ranges.ZERO
    assert (i + j.scaled(2)).shifted(5).scaled(2) == Index(((ROW, 2), (COLUMN, 4)), 10)
    assert (i + j).atoms == (ROW, COLUMN)
    assert ranges.linear([i, j], (4, 1)) == Index(((ROW, 4), (COLUMN, 1)))


def test_the_order_of_terms_is_the_same_in_every_process() -> None:
    names = [range_named("domain", 3), range_named("reduce", (4, 5), 0), range_named("domain", 1, 0)]
    names += [range_named("domain", 0), range_named("domain", 1, 1), range_named("reduce", (4,), 0)]
    total = ranges.ZERO
    for name in names:
        total = total + ranges.atom(name)
    assert total.atoms == tuple(sorted(names, key=lambda name: name.arg))


@pytest.mark.parametrize(
    "shape, source, expected",
    [
        ((6, 4), (2, 3, 4), NeedsSplit),  # the first axis runs as 2 times 3
        ((2, 3, 4), (6, 4), ((("domain", 0), ("domain", 1)), (("domain", 2),))),
        ((4, 6), (6, 4), NotAffine),
        ((24,), (2, 3, 4), NeedsSplit),
        ((1, 5, 1), (5,), ((("domain", 1),),)),
        ((5,), (1, 5, 1), ((), (("domain", 0),), ())),
        ((0, 3), (2, 0), ((), ())),
    ],
)
def test_reshapes(shape: tuple[int, ...], source: tuple[int, ...], expected: Any) -> None:
    indices, extents = axes_of(shape)
    if isinstance(expected, type):
        with pytest.raises(expected):
            ranges.reshaped(indices, shape, source, extents)
        return
    found = ranges.reshaped(indices, shape, source, extents)
    assert tuple(tuple(a.arg for a in index.atoms) for index in found) == expected


def test_reshapes_of_steps_and_reversed_axes() -> None:
    """What slices leave: coefficients that aren't one, and negative ones."""
    x = argument((4, 6))
    reversed_rows = UOp.new(Ops.SLICE, (x,), ((3, -1, 4), (0, 1, 6)))
    flat = record.reshape(UOp.new(Ops.SLICE, (x,), ((0, 2, 2), (0, 1, 6))), (12,))
    indices, extents = axes_of(flat.shape)
    with pytest.raises(NeedsSplit) as need:
        ranges.moved(flat, indices, extents)
    assert need.value.width == 6
    indices, extents = axes_of((4, 6))
    assert ranges.moved(reversed_rows, indices, extents) == (Index(((ROW, -1),), 3), ranges.atom(COLUMN))
