"""The manipulation functions against NumPy, and that movement moves nothing."""

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy_reference import arrays, axes, check

import toonygrad as xp
from toonygrad import dtypes
from toonygrad.array import node_of
from toonygrad.uop.node import toposort
from toonygrad.uop.ops import LEAVES, MOVEMENT


@given(hnp.mutually_broadcastable_shapes(num_shapes=3, max_dims=4, max_side=4))
def test_broadcasting(shapes):
    parts = [np.arange(np.prod(shape, dtype=int)).reshape(shape) for shape in shapes.input_shapes]
    found = xp.broadcast_arrays(*(xp.asarray(part) for part in parts))
    assert type(found) is tuple
    for mine, theirs in zip(found, np.broadcast_arrays(*parts), strict=True):
        check(mine, theirs)
    assert xp.broadcast_shapes(*shapes.input_shapes) == shapes.result_shape
    check(
        xp.broadcast_to(xp.asarray(parts[0]), shapes.result_shape),
        np.broadcast_to(parts[0], shapes.result_shape),
    )


def test_broadcasting_nothing():
    assert xp.broadcast_shapes() == ()
    assert xp.broadcast_arrays() == ()


@given(arrays(min_dims=1), st.data())
def test_joining(x, data):
    axis = data.draw(st.integers(-x.ndim, x.ndim - 1))
    others = []
    for _ in range(data.draw(st.integers(0, 3))):
        shape = list(x.shape)
        shape[axis] = data.draw(st.integers(0, 3))
        others.append(data.draw(arrays(x.dtype, shape=tuple(shape))))
    parts = [x, *others]
    ours = [xp.asarray(part) for part in parts]
    check(xp.concat(ours, axis=axis), np.concatenate(parts, axis=axis))
    check(xp.concat(tuple(ours), axis=None), np.concatenate(parts, axis=None))
    same = [x, x[::-1], x]
    place = data.draw(st.integers(-x.ndim - 1, x.ndim))
    check(xp.stack([xp.asarray(part) for part in same], axis=place), np.stack(same, axis=place))


@given(arrays(min_dims=1), st.data())
def test_unstack_undoes_stack(x, data):
    axis = data.draw(st.integers(-x.ndim, x.ndim - 1))
    parts = xp.unstack(xp.asarray(x), axis=axis)
    assert type(parts) is tuple
    for mine, theirs in zip(parts, np.moveaxis(x, axis, 0), strict=True):
        check(mine, theirs)
    if parts:
        check(xp.stack(parts, axis=axis), x)


def test_joining_promotes():
    types = (xp.int8, xp.float32, xp.uint16)
    parts = [xp.asarray([1.5], dtype=dtype) for dtype in types]
    check(xp.concat(parts), np.array([1, 1.5, 1], np.float32))
    check(xp.stack([xp.asarray(1), xp.asarray(2.5)]), np.array([1.0, 2.5]))


@given(arrays(), st.data())
def test_axes_inserted_and_removed(x, data):
    count = data.draw(st.integers(0, 3))
    ndim = x.ndim + count
    one = st.integers(-ndim, ndim - 1) if ndim else st.nothing()
    places = data.draw(st.lists(one, min_size=count, max_size=count, unique_by=lambda axis: axis % ndim))
    wide = np.expand_dims(x, tuple(places))
    check(xp.expand_dims(xp.asarray(x), axis=tuple(places)), wide)
    check(xp.expand_dims(xp.asarray(x), axis=places), wide)
    check(xp.squeeze(xp.asarray(wide), axis=tuple(places)), x)
    check(xp.squeeze(xp.asarray(wide), axis=places), x)
    check(xp.expand_dims(xp.asarray(x), axis=-1), x[..., None])
    check(xp.squeeze(xp.asarray(x[None]), axis=0), x)


@given(arrays(), st.data())
def test_flip_and_roll(x, data):
    axis = data.draw(axes(x.ndim))
    check(xp.flip(xp.asarray(x), axis=axis), np.flip(x, axis))
    if isinstance(axis, tuple):
        check(xp.flip(xp.asarray(x), axis=list(axis)), np.flip(x, axis))
    shifts = st.integers(-7, 7)
    shift = data.draw(shifts)
    check(xp.roll(xp.asarray(x), shift, axis=axis), x if axis == () else np.roll(x, shift, axis))
    if isinstance(axis, tuple):
        shift = data.draw(st.tuples(*[shifts] * len(axis)))
        if shift:
            check(xp.roll(xp.asarray(x), shift, axis=axis), np.roll(x, shift, axis))
            check(xp.roll(xp.asarray(x), list(shift), axis=list(axis)), np.roll(x, shift, axis))
    if x.ndim:
        check(xp.roll(xp.asarray(x), (1, 2), axis=(0, 0)), np.roll(x, (1, 2), (0, 0)))


@given(arrays(), st.data())
def test_orders_of_axes(x, data):
    order = data.draw(st.permutations(range(x.ndim)))
    signed = tuple(axis - x.ndim * data.draw(st.booleans()) for axis in order)
    check(xp.permute_dims(xp.asarray(x), signed), np.transpose(x, order))
    count = data.draw(st.integers(0, x.ndim))
    source, destination = tuple(signed[:count]), tuple(data.draw(st.permutations(range(x.ndim)))[:count])
    moved = np.moveaxis(x, source, destination)
    check(xp.moveaxis(xp.asarray(x), source, destination), moved)
    check(xp.moveaxis(xp.asarray(x), list(source), list(destination)), moved)
    if x.ndim >= 2:
        check(xp.moveaxis(xp.asarray(x), 0, -1), np.moveaxis(x, 0, -1))
        check(xp.matrix_transpose(xp.asarray(x)), np.swapaxes(x, -1, -2))


@given(arrays(), st.data())
def test_reshape(x, data):
    shape = data.draw(st.permutations(x.shape))
    check(xp.reshape(xp.asarray(x), tuple(shape)), x.reshape(shape))
    if x.ndim > 1:
        check(xp.reshape(xp.asarray(x).mT, (x.size,)), x.mT.ravel())
    if x.size:
        check(xp.reshape(xp.asarray(x), (-1,)), x.ravel())
        open_shape = (*shape, -1) if data.draw(st.booleans()) else (-1, *shape)
        check(xp.reshape(xp.asarray(x), open_shape, copy=True), x.reshape(open_shape))


@given(arrays(), st.data())
def test_repeat(x, data):
    axis = data.draw(st.none() if x.ndim == 0 else st.none() | st.integers(-x.ndim, x.ndim - 1))
    count = data.draw(st.integers(0, 3))
    check(xp.repeat(xp.asarray(x), count, axis=axis), np.repeat(x, count, axis))
    size = x.size if axis is None else x.shape[axis]
    dtype = data.draw(st.sampled_from(dtypes.INTEGERS))
    shape = data.draw(st.sampled_from([(size,), (1,)]))
    counts = data.draw(hnp.arrays(dtype, shape, elements=st.integers(0, 3)))
    expected = np.repeat(x, counts.astype(np.int64) if len(counts) == size else int(counts[0]), axis)
    check(xp.repeat(xp.asarray(x), xp.asarray(counts), axis=axis), expected)


@given(arrays(), st.lists(st.integers(0, 3), max_size=5))
def test_tile(x, counts):
    check(xp.tile(xp.asarray(x), tuple(counts)), np.tile(x, counts))


def test_movement_is_nothing_but_movement():
    x = xp.asarray(np.arange(24.0).reshape(2, 3, 4))
    y = xp.flip(xp.permute_dims(x, (2, 0, 1)), axis=1)[1:, None]
    y = xp.broadcast_to(xp.moveaxis(y, 0, -1), (5, 1, 2, 3, 3))
    y = xp.tile(xp.squeeze(y, axis=1), (2, 1, 1, 1))
    y = xp.repeat(xp.unstack(y)[0], 3, axis=0)
    operations = {node.op for node in toposort(node_of(xp.reshape(y, (6, 9))))}
    assert operations <= MOVEMENT | LEAVES
    assert xp.reshape(y, (6, 9)).shape == (6, 9)
    with pytest.raises(ValueError):
        xp.reshape(y, (5, 9))
