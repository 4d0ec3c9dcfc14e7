"""Sorting, positions of sorted elements and searching among them, against NumPy."""

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy_reference import arrays, check, same_bits, samples

import toonygrad as xp
from toonygrad import dtypes

REAL = (dtypes.bool_, *dtypes.REAL_NUMERIC)
MODES = pytest.mark.parametrize("mode", ["never", "always"])


def flipped(x, axis, **keywords):
    """Positions in descending order, equal elements as they stood."""
    last = x.shape[axis] - 1
    return last - np.flip(np.argsort(np.flip(x, axis), axis=axis, **keywords), axis)


def with_equals(data, x):
    """Sometimes with many equal elements."""
    return np.sign(x).astype(x.dtype) if x.dtype.kind != "b" and data.draw(st.booleans()) else x


@given(arrays(REAL, min_dims=1), st.booleans(), st.data())
def test_stable_orders(x, descending, data):
    x = with_equals(data, x)
    axis = data.draw(st.integers(-x.ndim, x.ndim - 1))
    order = flipped(x, axis, kind="stable") if descending else np.argsort(x, axis=axis, kind="stable")
    check(xp.argsort(xp.asarray(x), axis=axis, descending=descending), order)
    expected = np.take_along_axis(x, order, axis)
    same_bits(xp.sort(xp.asarray(x), axis=axis, descending=descending), expected)


@given(arrays(REAL, min_dims=1), st.booleans(), st.data())
def test_orders_that_need_not_be_stable(x, descending, data):
    x = with_equals(data, x)
    axis = data.draw(st.integers(-x.ndim, x.ndim - 1))
    expected = np.sort(x, axis=axis)
    if descending:
        expected = np.flip(expected, axis)
    given_x = xp.asarray(x)
    check(xp.sort(given_x, axis=axis, descending=descending, stable=False), expected)
    order = xp.argsort(given_x, axis=axis, descending=descending, stable=False)
    check(xp.take_along_axis(given_x, order, axis=axis), expected)


@MODES
@pytest.mark.parametrize("dtype", REAL, ids=str)
def test_nan_zeros_and_limits(dtype, mode):
    x = np.stack([samples(dtype), samples(dtype)[::-1]])
    with xp.config(compile=mode):
        given_x = xp.asarray(x)
        same_bits(xp.sort(given_x), np.take_along_axis(x, np.argsort(x, kind="stable"), -1))
        same_bits(xp.sort(given_x, descending=True), np.take_along_axis(x, flipped(x, -1, kind="stable"), -1))
        check(xp.argsort(given_x, axis=0), np.argsort(x, axis=0, kind="stable"))


def test_the_last_axis_is_sorted_in_ascending_order_by_default():
    x = xp.asarray([[3, 1, 2], [9, 8, 7]])
    check(xp.sort(x), np.array([[1, 2, 3], [7, 8, 9]]))
    check(xp.argsort(x), np.array([[1, 2, 0], [2, 1, 0]]))


@MODES
def test_neighbours_fuse(mode):
    x = np.random.default_rng(1).normal(size=(50, 200))
    with xp.config(compile=mode):
        before = xp.counters()
        result = xp.sum(xp.sort(xp.asarray(x) * 2.0 + 1.0, axis=0)[10:20] - 1.0, axis=0)
        check(result, np.sum(np.sort(x * 2 + 1, axis=0)[10:20] - 1, axis=0), 8, slack=8)
        assert (xp.counters() - before).kernels_launched == (2 if mode == "always" else 0)


def test_sorting_keeps_the_argument():
    x = xp.asarray([3.0, 1.0, 2.0])
    check(xp.sort(x), np.array([1.0, 2.0, 3.0]))
    check(x, np.array([3.0, 1.0, 2.0]))


# -- searching -------------------------------------------------------------------------------------


@given(
    arrays(REAL, shape=hnp.array_shapes(min_dims=1, max_dims=1, min_side=0, max_side=9)),
    st.sampled_from(["left", "right"]),
    st.data(),
)
def test_searchsorted(x, side, data):
    values = data.draw(arrays(x.dtype) | st.just(x))
    order = np.argsort(x, kind="stable")
    expected = np.searchsorted(x[order], values, side=side)
    ordered, wanted = xp.asarray(x[order]), xp.asarray(values)
    check(xp.searchsorted(ordered, wanted, side=side), expected)
    kind = data.draw(st.sampled_from(dtypes.INTEGERS))
    sorter = xp.asarray(order.astype(kind))
    check(xp.searchsorted(xp.asarray(x), wanted, side=side, sorter=sorter), expected)


@MODES
def test_searchsorted_for_scalars(mode):
    with xp.config(compile=mode):
        x = xp.asarray([1, 3, 3, 5])
        check(xp.searchsorted(x, 3), np.array(1))
        check(xp.searchsorted(x, 3, side="right"), np.array(3))
        check(xp.searchsorted(x, 3.5), np.array(3))
        check(xp.searchsorted(x, xp.asarray(6)), np.array(4))
        check(xp.searchsorted(xp.asarray([0.5, 1.5], dtype=xp.float32), 1), np.array(1))
        check(xp.searchsorted(xp.asarray([], dtype=xp.float64), 1), np.array(0))


def test_searchsorted_promotes():
    check(xp.searchsorted(xp.asarray([1, 2, 3]), xp.asarray([1.5, 2.5])), np.array([1, 2]))
    check(xp.searchsorted(xp.asarray([1, 2], dtype=xp.int8), xp.asarray([300, -300])), np.array([2, 0]))


def test_where_nan_and_zeros_belong_agrees_with_sort():
    x = xp.sort(xp.asarray([np.nan, 0.0, -0.0, 1.0, np.nan]))
    check(xp.searchsorted(x, xp.asarray([np.nan, -0.0, 0.0])), np.array([3, 0, 0]))
    check(xp.searchsorted(x, xp.asarray([np.nan, -0.0, 0.0]), side="right"), np.array([5, 2, 2]))


# -- bad input -------------------------------------------------------------------------------------

FLOATS = xp.asarray([1.0, 2.0])
COMPLEX = xp.asarray([1j, 2.0])


@pytest.mark.parametrize("name", ["sort", "argsort"])
def test_bad_arguments_of_sorting(name):
    function = getattr(xp, name)
    with pytest.raises(TypeError, match=f"^{name}: real numeric .*not complex128"):
        function(COMPLEX)
    with pytest.raises(TypeError, match=f"^{name}: takes an Array, not list"):
        function([1.0])
    with pytest.raises(TypeError, match=f"^{name}: axis must be an integer, not float"):
        function(FLOATS, axis=0.5)
    with pytest.raises(IndexError, match=f"^{name}: axis 1 is out of bounds for an array of 1 dimension"):
        function(FLOATS, axis=1)
    with pytest.raises(IndexError, match=f"^{name}: axis -1 is out of bounds for an array of 0 dimensions"):
        function(xp.asarray(1.0))


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: xp.searchsorted(COMPLEX, COMPLEX), TypeError, "real numeric .*not complex128"),
        (lambda: xp.searchsorted(FLOATS, 1j), TypeError, "real numeric .*not complex128"),
        (lambda: xp.searchsorted(FLOATS, True), TypeError, "no common data type for float64 and a Python bo"),
        (lambda: xp.searchsorted(FLOATS, [1.0]), TypeError, "takes an Array, not list"),
        (lambda: xp.searchsorted(2.0, FLOATS), TypeError, "takes an Array, not float"),
        (lambda: xp.searchsorted(FLOATS[None], 1.0), ValueError, r"x1 has one dimension, not .*\(1, 2\)"),
        (lambda: xp.searchsorted(FLOATS, 1.0, side="middle"), ValueError, "side is .*not 'middle'"),
        (lambda: xp.searchsorted(FLOATS, 1.0, sorter=FLOATS), TypeError, "integral .*not float64"),
        (
            lambda: xp.searchsorted(FLOATS, 1.0, sorter=xp.asarray([0])),
            ValueError,
            r"a sorter of shape \(1,\) for x1 of shape \(2,\)",
        ),
        (
            lambda: xp.searchsorted(FLOATS, 1.0, sorter=xp.asarray([0, 2])).block_until_ready(),
            IndexError,
            "index 2 is out of bounds for axis 0 with size 2",
        ),
        (
            lambda: xp.searchsorted(xp.asarray([1], dtype=xp.int8), 300),
            OverflowError,
            "the Python number 300 is out of bounds for int8",
        ),
    ],
)
def test_bad_arguments_of_searchsorted(call, error, words):
    with pytest.raises(error, match=f"^searchsorted: {words}"):
        call()
