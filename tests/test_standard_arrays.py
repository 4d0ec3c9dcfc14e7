"""What moves, picks and orders elements against NumPy, with arguments drawn by hypothesis.extra.array_api.

The chapters manipulation, indexing, searching, sets and sorting; test_standard.py sees that none is missing.
"""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from standard_cases import (
    Call,
    Case,
    Draw,
    along_axes,
    along_axis,
    arrays,
    axes_of,
    axis_of,
    broadcastable,
    call,
    in_numpy,
    same,
    several,
    shapes,
    some,
    tame,
    unit,
    wild,
    xps,
)

import toonygrad as xp

# -- manipulation ----------------------------------------------------------------------------------


@st.composite
def broadcast(draw: Draw) -> Call:
    given = draw(broadcastable(draw(st.integers(1, 3))))
    return Call(tuple(draw(arrays("any", shape)) for shape in given.input_shapes), {})


@st.composite
def widened(draw: Draw) -> Call:
    given = draw(broadcastable(2, max_dims=4))
    return Call((draw(arrays("any", given.input_shapes[0])), given.result_shape), {})


@st.composite
def joined(draw: Draw, new_axis: bool) -> Call:
    count = draw(st.integers(1, 3))
    parts = draw(several("any", count, shape=shapes(0 if new_axis else 1)))
    ndim = parts[0].ndim + new_axis
    axis = st.integers(-ndim, ndim - 1)
    options = some(draw, axis=axis if new_axis else axis | st.none())
    if not new_axis and options.get("axis", 0) is not None:
        along = options.get("axis", 0)
        key = [slice(None)] * ndim
        key[along] = slice(draw(st.integers(0, 3)))
        parts[0] = parts[0][tuple(key)]
    return Call((draw(st.sampled_from((parts, tuple(parts)))),), options)


@st.composite
def with_new_axes(draw: Draw) -> Call:
    x = draw(arrays("any"))
    count = draw(st.integers(1, 2))
    axes = draw(xps.valid_tuple_axes(x.ndim + count, min_size=count, max_size=count))
    return Call((x, axes[0] if count == 1 and draw(st.booleans()) else axes), {})


# What has axes of size one is made by inserting them.
_SQUEEZED = with_new_axes().map(lambda call: Call((xp.expand_dims(*call.args), call.args[1]), {}))


@st.composite
def moved(draw: Draw) -> Call:
    x = draw(arrays("any", shapes(1)))
    sources = draw(xps.valid_tuple_axes(x.ndim, min_size=1))
    places = draw(xps.valid_tuple_axes(x.ndim, min_size=len(sources), max_size=len(sources)))
    alone = len(sources) == 1 and draw(st.booleans())
    return Call((x, *((sources[0], places[0]) if alone else (sources, places))), {})


@st.composite
def permuted(draw: Draw) -> Call:
    x = draw(arrays("any", shapes(max_dims=4)))
    return Call((x, tuple(draw(st.permutations(range(x.ndim))))), {})


@st.composite
def repeated(draw: Draw) -> Call:
    x = draw(arrays("any"))
    axis = draw(st.none() | axis_of(x)) if x.ndim else None
    size = x.size if axis is None else x.shape[axis]
    counts = st.integers(0, 3)
    return Call((x, draw(counts | xps.arrays("int64", (size,), elements=counts))), {"axis": axis})


@st.composite
def reshaped(draw: Draw) -> Call:
    """Axes of the sizes' factors in any order, one of them perhaps left open."""
    x = draw(arrays("any"))
    factors = [factor for size in x.shape for factor in ((2, 2) if size == 4 else (size,))]
    shape = draw(st.permutations([*factors, 1]))
    if x.size and draw(st.booleans()):
        shape[draw(st.integers(0, len(shape) - 1))] = -1
    return Call((x, tuple(shape)), some(draw, copy=st.sampled_from((None, True))))


@st.composite
def rolled(draw: Draw) -> Call:
    x = draw(arrays("any"))
    axes = draw(axes_of(x).filter(lambda axes: axes != ()))  # which NumPy doesn't take
    shift = st.integers(-9, 9)
    several = isinstance(axes, tuple) and axes and draw(st.booleans())
    shifts = draw(st.tuples(*[shift] * len(axes))) if several else draw(shift)
    return Call((x, shifts), {"axis": axes})


_FLIPPED = along_axes("any").map(lambda call: Call(call.args, {"axis": call.kwargs.get("axis")}))
_TILED = call(arrays("any", shapes(max_dims=2)), st.lists(st.integers(0, 3), max_size=3).map(tuple))
_BROADCAST_SHAPES = broadcastable(3).map(lambda given: Call(given.input_shapes, {}))
MANIPULATION = {
    "broadcast_arrays": Case(broadcast(), np.broadcast_arrays),
    "broadcast_shapes": Case(_BROADCAST_SHAPES, np.broadcast_shapes),
    "broadcast_to": Case(widened(), np.broadcast_to),
    "concat": Case(joined(new_axis=False), np.concat),
    "expand_dims": Case(with_new_axes(), np.expand_dims),
    "flip": Case(_FLIPPED, np.flip),
    "moveaxis": Case(moved(), np.moveaxis),
    "permute_dims": Case(permuted(), np.permute_dims),
    "repeat": Case(repeated(), np.repeat),
    "reshape": Case(reshaped(), np.reshape),
    "roll": Case(rolled(), np.roll),
    "squeeze": Case(_SQUEEZED, np.squeeze),
    "stack": Case(joined(new_axis=True), np.stack),
    "tile": Case(_TILED, np.tile),
    "unstack": Case(along_axis("any"), np.unstack),
}

# -- indexing, searching, sets and sorting ---------------------------------------------------------


@st.composite
def taken(draw: Draw) -> Call:
    """Positions along an axis that has elements."""
    x = draw(arrays("any", shapes(1, 1)))
    axis = draw(axis_of(x))
    size = x.shape[axis]
    index = draw(st.sampled_from(("int8", "int64", "uint16")))
    least = 0 if index == "uint16" else -size
    indices = draw(xps.arrays(index, shapes(1, max_dims=1), elements=st.integers(least, size - 1)))
    return Call((x, indices), {} if x.ndim == 1 and draw(st.booleans()) else {"axis": axis})


@st.composite
def taken_along(draw: Draw) -> Call:
    x = draw(arrays("any", shapes(1, 1)))
    axis = draw(axis_of(x))
    shape = list(x.shape)
    shape[axis] = draw(st.integers(0, 4))
    places = st.integers(-x.shape[axis], x.shape[axis] - 1)
    return Call((x, draw(xps.arrays("int64", tuple(shape), elements=places))), {"axis": axis})


@st.composite
def searched(draw: Draw) -> Call:
    """In order as it is, or by a sorter."""
    first, second = draw(several("real numeric", 2, shape=shapes(1, max_dims=1)))
    options = some(draw, side=st.sampled_from(("left", "right")))
    if draw(st.booleans()):
        return Call((first, second), {**options, "sorter": xp.argsort(first)})
    number = st.just(second) | wild(second.dtype) if first.dtype == second.dtype else st.just(second)
    return Call((xp.sort(first), draw(number)), options)


@st.composite
def chosen(draw: Draw) -> Call:
    a, b = draw(several("any", 2))
    condition = draw(
        xps.arrays("bool", draw(xps.broadcastable_shapes(np.broadcast_shapes(a.shape, b.shape))))
    )
    return Call((condition, a, draw(st.just(b) | wild(a.dtype))), {})


@st.composite
def members(draw: Draw) -> Call:
    a, b = draw(st.sampled_from((wild, unit)).flatmap(lambda elements: several("any", 2, elements)))
    return Call((a, draw(st.just(b) | unit(a.dtype))), some(draw, invert=st.booleans()))


def sort(x: np.ndarray, axis: int = -1, descending: bool = False, stable: bool = True) -> np.ndarray:
    ordered = np.sort(x, axis=axis)
    return np.flip(ordered, axis) if descending else ordered


def argsort(x: np.ndarray, axis: int = -1, descending: bool = False) -> np.ndarray:
    if not descending:
        return np.argsort(x, axis=axis, stable=True)
    backwards = np.argsort(np.flip(x, axis), axis=axis, stable=True)
    return x.shape[axis] - 1 - np.flip(backwards, axis)


def unique(*parts: str) -> Case:
    keywords = {f"return_{part}": True for part in parts}
    repeated = arrays("any", elements=lambda dtype: unit(dtype) | tame(dtype))

    def reference(x: np.ndarray) -> Any:
        return np.unique(x, equal_nan=False, **keywords)

    return Case(call(arrays("any") | repeated), reference)


_EXTREME = along_axis("real or boolean", min_dims=0, min_side=1, keepdims=st.booleans())
SEARCHING = {
    "argmax": Case(_EXTREME, np.argmax),
    "argmin": Case(_EXTREME, np.argmin),
    "argsort": Case(along_axis("real or boolean", descending=st.booleans()), argsort),
    "count_nonzero": Case(along_axes("any"), np.count_nonzero),
    "isin": Case(members(), np.isin),
    "nonzero": Case(call(arrays("any", shapes(1))), np.nonzero),
    "searchsorted": Case(searched(), np.searchsorted),
    "sort": Case(along_axis("real or boolean", descending=st.booleans(), stable=st.booleans()), sort),
    "take": Case(taken(), np.take),
    "take_along_axis": Case(taken_along(), np.take_along_axis),
    "unique_all": unique("index", "inverse", "counts"),
    "unique_counts": unique("counts"),
    "unique_inverse": unique("inverse"),
    "unique_values": unique(),
    "where": Case(chosen(), np.where),
}

# -- the tests -------------------------------------------------------------------------------------

ARRAYS = MANIPULATION | SEARCHING


@settings(max_examples=60)
@given(x=arrays("any"), data=st.data())
def test_keys_are_like_numpys(x, data):
    mine, theirs = xp.asarray(x, copy=True), np.array(x)
    key = data.draw(xps.indices(x.shape, allow_newaxis=True))
    same(mine[key], theirs[key])
    shape = theirs[key].shape[data.draw(st.integers(0, theirs[key].ndim)) :]
    value = data.draw(xps.arrays(x.dtype, shape) | wild(x.dtype))
    mine[key] = value
    theirs[key] = in_numpy(value)
    same(mine, theirs)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", ARRAYS)
@settings(max_examples=20)
@given(data=st.data())
def test_like_numpy(name, data):
    ARRAYS[name].compare(getattr(xp, name), data.draw(ARRAYS[name].arguments))
