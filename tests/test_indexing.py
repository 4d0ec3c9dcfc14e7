"""Reading by keys, and the standard's indexing functions, against NumPy."""

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy_reference import arrays, check

import toonygrad as xp
from toonygrad import dtypes


def numbered(shape):
    return np.arange(np.prod(shape, dtype=int)).reshape(shape)


def shapes(**bounds):
    return hnp.array_shapes(**{"min_dims": 1, "max_dims": 4, "min_side": 0, "max_side": 5, **bounds})


@given(shapes(min_dims=0), st.data())
def test_basic_keys(shape, data):
    key = data.draw(hnp.basic_indices(shape, allow_newaxis=True))
    x = numbered(shape)
    check(xp.asarray(x)[key], x[key])


@given(shapes(min_side=1), st.data())
def test_integer_arrays(shape, data):
    """One array for each of the first axes, of shapes that broadcast, some of them integers."""
    count = data.draw(st.integers(1, len(shape)))
    patterns = data.draw(hnp.mutually_broadcastable_shapes(num_shapes=count, max_dims=3, max_side=3))
    key = []
    for size, pattern in zip(shape, patterns.input_shapes):
        index = data.draw(hnp.arrays(np.int64, pattern, elements=st.integers(-size, size - 1)))
        key.append(int(index) if pattern == () and data.draw(st.booleans()) else index)
    x = numbered(shape)
    check(xp.asarray(x)[tuple(key)], x[tuple(key)])
    ours = tuple(index if isinstance(index, int) else xp.asarray(index) for index in key)
    check(xp.asarray(x)[ours], x[tuple(key)])


@given(shapes(min_side=1, min_dims=2), st.data())
def test_arrays_among_slices(shape, data):
    """NumPy's rule for where the arrays' axes stand: in place if side by side, else in front."""
    key, indices = [], 0
    for size in shape:
        kind = data.draw(st.sampled_from(["slice", "integer", "array", "new"]))
        if kind == "new":
            key.append(None)
        if kind in ("slice", "new"):
            key.append(data.draw(st.slices(size)))
        elif kind == "integer":
            key.append(data.draw(st.integers(-size, size - 1)))
        else:
            key.append(np.array(data.draw(st.lists(st.integers(-size, size - 1), min_size=2, max_size=2))))
            indices += 1
    assume(indices)
    if data.draw(st.booleans()):
        key[data.draw(st.integers(0, len(key) - 1)) :] = [...]
    x = numbered(shape)
    check(xp.asarray(x)[tuple(key)], x[tuple(key)])


@given(shapes(), st.data())
def test_masks(shape, data):
    covered = data.draw(st.integers(1, len(shape)))
    mask = data.draw(hnp.arrays(bool, shape[:covered]))
    x = numbered(shape)
    check(xp.asarray(x)[xp.asarray(mask)], x[mask])
    check(xp.asarray(x)[mask], x[mask])
    if covered < len(shape):
        check(xp.asarray(x)[xp.asarray(mask), ..., ::-1], x[mask][..., ::-1])


def test_masks_of_no_dimensions():
    x = numbered((2, 3))
    for truth in (True, False):
        for mask in (truth, np.bool_(truth), xp.asarray(truth)):
            check(xp.asarray(x)[mask], x[truth])
            check(xp.asarray(x)[..., mask], x[..., truth])
    check(xp.asarray(5)[True], np.array([5]))


def test_other_keys():
    x = numbered((3, 4))
    y = xp.asarray(x)
    check(y[[0, 2]], x[[0, 2]])
    check(y[[]], x[[]])
    check(y[[True, False, True]], x[[True, False, True]])
    check(y[xp.asarray(1)], x[1])
    check(y[np.int8(-1), xp.asarray(2)], x[-1, 2])
    check(y[()], x)
    check(y[...], x)
    check(xp.asarray(7)[()], np.array(7))
    check(y[xp.asarray(np.array([0, 2], np.uint64))], x[[0, 2]])
    check(y[xp.asarray(np.array([-1], np.int8))], x[[-1]])
    empty = xp.asarray(np.zeros(0, bool))
    check(y[empty], x[:0])  # the standard: a mask's axis may have size zero


def test_reading_records_and_masks_compute():
    x = xp.asarray(numbered((3, 4)))
    before = xp.counters()
    y = x[1:, None, ::-1]
    y = y[xp.asarray([0, 1]), ..., 2]
    assert xp.counters() == before
    x[x > 5]
    assert xp.counters() != before
    assert y.shape == (2, 1)


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ((0, 0, 0), "3 indices for an array of 2 dimensions"),
        (3, "index 3 is out of bounds for axis 0 with size 3"),
        ((0, -5), "index -5 is out of bounds for axis 1 with size 4"),
        ((..., ...), "at most one Ellipsis"),
        (1.0, "not float"),
        ("name", "not str"),
        (slice(1.0, None), "slices take integers"),
        (np.array([1.0]), "not float64"),
        (np.zeros((2, 4), bool), "mask of shape"),
        (np.zeros((3, 4, 1), bool), "3 indices for an array of 2 dimensions"),
        (({},), "not dict"),
    ],
)
def test_bad_keys(key, words):
    with pytest.raises(IndexError, match=f"__getitem__: .*{words}"):
        xp.asarray(numbered((3, 4)))[key]


def test_arrays_of_indices_out_of_bounds():
    x = xp.asarray(numbered((3, 4)))
    for bad in (3, -4, 10**12, -(10**12)):
        with pytest.raises(
            IndexError, match=r"__getitem__: .*index.* is out of bounds for axis 0 with size 3"
        ):
            np.asarray(x[xp.asarray([0, bad])])
        with pytest.raises(IndexError, match=r"take: .*axis 1 with size 4"):
            np.asarray(xp.take(x, xp.asarray([bad if abs(bad) > 5 else bad * 2]), axis=1))
    with pytest.raises(IndexError, match="out of bounds"):
        np.asarray(x[xp.asarray(np.array([2**63], np.uint64))])
    with pytest.raises(IndexError, match="size 0"):
        xp.asarray(numbered((0, 4)))[xp.asarray([0])]
    with pytest.raises(ValueError, match=r"__getitem__: shapes \(2,\) and \(3,\)"):
        x[xp.asarray([0, 1]), xp.asarray([0, 1, 2])]
    check(x, numbered((3, 4)))  # nothing is lost


@pytest.mark.parametrize("place", [0, 7, 70_000, -1])
@pytest.mark.parametrize("bad", [100_000, -100_001, 2**62, -(2**63)])
def test_one_index_of_many_out_of_bounds(place, bad):
    x = np.random.default_rng(1).normal(size=100_000)
    indices = np.random.default_rng(2).integers(-100_000, 100_000, 100_000)
    given_x = xp.asarray(x)
    check(xp.take(given_x, xp.asarray(indices)) * 2 + 1, x[indices] * 2 + 1)
    indices[place] = bad
    with pytest.raises(IndexError, match="take: an index is out of bounds for axis 0 with size 100000"):
        np.asarray(xp.take(given_x, xp.asarray(indices)) * 2 + 1)
    with pytest.raises(IndexError, match="take: an index is out of bounds for axis 0 with size 100000"):
        np.asarray(xp.sum(xp.sin(xp.take(given_x, xp.asarray(indices)))))


def test_each_call_knows_its_own_indices():
    """Two gathers in one kernel, with one of them out of bounds."""
    x = np.arange(20_000.0)
    rows, columns = np.arange(20_000), np.arange(20_000)
    columns[12_345] = 7
    given_x, table = xp.asarray(x), xp.asarray(np.ones((20_000, 3)))
    with pytest.raises(IndexError, match=r"__getitem__: .*axis 1 with size 3"):
        np.asarray(xp.take(given_x, xp.asarray(rows)) + table[xp.asarray(rows), xp.asarray(columns)])
    with pytest.raises(IndexError, match=r"take: .*axis 0 with size 20000"):
        np.asarray(xp.take(given_x, xp.asarray(rows + 1)) + table[xp.asarray(rows), xp.asarray(columns % 3)])


# -- take and take_along_axis -----------------------------------------------------------------------


@given(shapes(min_side=1), st.data())
def test_take(shape, data):
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    size = shape[axis]
    dtype = data.draw(st.sampled_from(dtypes.SIGNED))
    indices = data.draw(hnp.arrays(dtype, st.integers(0, 6), elements=st.integers(-size, size - 1)))
    x = numbered(shape)
    check(xp.take(xp.asarray(x), xp.asarray(indices), axis=axis), np.take(x, indices, axis=axis))
    if len(shape) == 1:
        check(xp.take(xp.asarray(x), xp.asarray(indices)), np.take(x, indices))


@given(arrays(min_dims=1, min_side=1), st.data())
def test_take_along_axis(x, data):
    axis = data.draw(st.integers(-x.ndim, x.ndim - 1))
    shape = list(x.shape)
    shape[axis] = data.draw(st.integers(0, 4))
    indices = data.draw(
        hnp.arrays(np.int64, tuple(shape), elements=st.integers(-x.shape[axis], x.shape[axis] - 1))
    )
    expected = np.take_along_axis(x, indices, axis=axis)
    check(xp.take_along_axis(xp.asarray(x), xp.asarray(indices), axis=axis), expected)
    # Axes of size one broadcast, on either side.
    first = tuple(slice(0, 1) if k != axis % x.ndim else slice(None) for k in range(x.ndim))
    for a, b in ((x[first], indices), (x, indices[first])):
        check(
            xp.take_along_axis(xp.asarray(a), xp.asarray(b), axis=axis),
            np.take_along_axis(*(np.broadcast_to(c, c.shape) for c in (a, b)), axis=axis),
        )


@pytest.mark.parametrize("mode", ["always", "never"])
@pytest.mark.parametrize("dtype", [xp.bool, xp.int8, xp.float64, xp.complex64])
@pytest.mark.parametrize("make", [xp.zeros, xp.ones], ids=["zeros", "ones"])
def test_indices_into_constants_are_checked(make, dtype, mode):
    with xp.config(compile=mode):
        x = make((2, 3), dtype=dtype)
        assert np.array_equal(np.asarray(xp.take(x, xp.asarray([1, -2]), axis=0)), np.asarray(x))
        for index in (2, -3):
            with pytest.raises(IndexError, match="take"):
                xp.take(x, xp.asarray([0, index]), axis=0).block_until_ready()
        repeated = xp.broadcast_to(xp.asarray([[1.0, 2.0]]), (3, 2))
        with pytest.raises(IndexError, match="take"):
            xp.take(repeated, xp.asarray([3]), axis=0).block_until_ready()
