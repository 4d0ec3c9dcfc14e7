"""The searching and utility functions against NumPy."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy_reference import arrays, axes, check, samples

import toonygrad as xp
from toonygrad import dtypes


@given(arrays((dtypes.bool_, *dtypes.REAL_NUMERIC)), st.data())
def test_positions_of_extremes(x, data):
    axis = data.draw(st.none() if x.ndim == 0 else st.none() | st.integers(-x.ndim, x.ndim - 1))
    keepdims = data.draw(st.booleans())
    if data.draw(st.booleans()):
        x = np.sign(x).astype(x.dtype) if x.dtype.kind != "b" else x  # many equal ones: the first counts
    for ours, theirs in ((xp.argmax, np.argmax), (xp.argmin, np.argmin)):
        try:
            expected = theirs(x, axis=axis, keepdims=keepdims)
        except ValueError:
            with pytest.raises(ValueError, match=f"{ours.__name__}: no elements to choose from"):
                ours(xp.asarray(x), axis=axis, keepdims=keepdims)
        else:
            check(ours(xp.asarray(x), axis=axis, keepdims=keepdims), expected)


@pytest.mark.parametrize("dtype", dtypes.REAL_FLOATING, ids=str)
def test_the_first_nan_is_the_extreme(dtype):
    x = np.array([[1, np.nan, 3], [np.nan, np.inf, np.nan], [-np.inf, 0, np.inf]], dtype)
    for ours, theirs in ((xp.argmax, np.argmax), (xp.argmin, np.argmin)):
        for axis in (None, 0, 1):
            check(ours(xp.asarray(x), axis=axis), theirs(x, axis=axis))


@given(arrays(min_dims=1))
def test_nonzero(x):
    found = xp.nonzero(xp.asarray(x))
    assert type(found) is tuple
    for mine, theirs in zip(found, np.nonzero(x), strict=True):
        check(mine, theirs)


@given(arrays(), st.data())
def test_counts_and_tests_of_all(x, data):
    axis, keepdims = data.draw(axes(x.ndim)), data.draw(st.booleans())
    for ours, theirs in ((xp.all, np.all), (xp.any, np.any)):
        check(ours(xp.asarray(x), axis=axis, keepdims=keepdims), theirs(x, axis=axis, keepdims=keepdims))
    expected = np.sum(x != 0, axis=axis, keepdims=keepdims)
    check(xp.count_nonzero(xp.asarray(x), axis=axis, keepdims=keepdims), expected)


@pytest.mark.parametrize("dtype", dtypes.ALL, ids=str)
def test_nan_and_infinity_are_true(dtype):
    for one in samples(dtype):
        assert bool(xp.all(xp.asarray(one))) is bool(xp.any(xp.asarray(one))) is bool(one)


@given(arrays(min_dims=1), st.data())
def test_where(x, data):
    y = data.draw(arrays(x.dtype, shape=x.shape))
    condition = data.draw(arrays(dtypes.bool_, shape=x.shape[1:]))
    found = xp.where(xp.asarray(condition), xp.asarray(x), xp.asarray(y))
    check(found, np.where(condition, x, y))


def test_where_of_scalars():
    condition = xp.asarray([True, False])
    check(xp.where(condition, xp.asarray(np.float32(1.5)), 2), np.array([1.5, 2], np.float32))
    check(xp.where(condition, 0.0, xp.asarray([math.nan, math.inf])), np.array([0.0, math.inf]))
    for one, other in ((1, 2), (1.5, 0), (0, 1.5), (1j, 2), (True, False), (np.float32(1), 2)):
        check(xp.where(condition, one, other), np.where([True, False], one, other))
    with pytest.raises(TypeError, match=r"^where: no common data type for bool and a Python int"):
        xp.where(condition, True, 1)


@given(arrays(dtypes.NUMERIC, min_dims=1), st.data())
def test_diff(x, data):
    axis, n = data.draw(st.integers(-x.ndim, x.ndim - 1)), data.draw(st.integers(0, 4))
    x = np.trunc(x).astype(x.dtype) if x.dtype.kind == "f" else x  # differences are exact then
    front, back = (data.draw(st.none() | st.just(np.take(x, [], axis=axis)) | st.just(x)) for _ in range(2))
    parts = [part for part in (front, x, back) if part is not None]
    with np.errstate(over="ignore"):
        expected = np.diff(np.concatenate(parts, axis=axis), n=n, axis=axis)
    given_parts = {"prepend": front, "append": back}
    ours = {name: xp.asarray(part) for name, part in given_parts.items() if part is not None}
    check(xp.diff(xp.asarray(x), axis=axis, n=n, **ours), expected, 8)
