"""The statistical functions against NumPy: types, axes, empty arrays, NaN, the standard's type rules."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy_reference import arrays, axes, check, samples

import toonygrad as xp
from toonygrad import dtypes

NUMERIC = [dtype for dtype in dtypes.ALL if dtype != dtypes.bool_]
WIDE = {"b": np.int64, "i": np.int64, "u": np.uint64}


def close(result, expected, x):
    """Equal for integers; for floats off by little more than their elements' own rounding."""
    assert result.shape == expected.shape and result.dtype == expected.dtype
    if expected.dtype.kind in "biu":
        check(result, expected)
    else:
        scale = float(np.sum(np.abs(x.astype(np.complex128)))) if x.size else 1.0
        eps = float(np.finfo(expected.dtype).eps)
        slack = 16 * eps * max(scale, 1e-300)
        np.testing.assert_allclose(np.asarray(result), expected, rtol=16 * eps, atol=slack)


@given(arrays(), st.data())
def test_sum(x, data):
    axis, keepdims = data.draw(axes(x.ndim)), data.draw(st.booleans())
    dtype = WIDE.get(x.dtype.kind, x.dtype)
    exact = x.astype(dtype if x.dtype.kind in "biu" else dtypes.complex128)
    expected = np.sum(exact, axis=axis, keepdims=keepdims)
    with np.errstate(all="ignore"):
        expected = (expected if x.dtype.kind in "biuc" else expected.real).astype(dtype)
    close(xp.sum(xp.asarray(x), axis=axis, keepdims=keepdims), expected, x)


@given(arrays(min_side=1), st.data())
def test_prod(x, data):
    axis, keepdims = data.draw(axes(x.ndim)), data.draw(st.booleans())
    x = (x % 3 if x.dtype.kind in "iu" else x / 500).astype(x.dtype)
    with np.errstate(all="ignore"):
        expected = np.prod(x, axis=axis, keepdims=keepdims, dtype=WIDE.get(x.dtype.kind, x.dtype))
    check(xp.prod(xp.asarray(x), axis=axis, keepdims=keepdims), expected, 400)


@given(arrays((dtypes.bool_, *dtypes.REAL_NUMERIC)), st.data())
def test_extremes(x, data):
    axis, keepdims = data.draw(axes(x.ndim)), data.draw(st.booleans())
    for ours, theirs in ((xp.max, np.max), (xp.min, np.min)):
        try:
            expected = theirs(x, axis=axis, keepdims=keepdims)
        except ValueError:
            with pytest.raises(ValueError, match=f"{ours.__name__}: no elements to choose from"):
                ours(xp.asarray(x), axis=axis, keepdims=keepdims)
        else:
            check(ours(xp.asarray(x), axis=axis, keepdims=keepdims), expected)


@pytest.mark.parametrize("dtype", dtypes.REAL_FLOATING, ids=str)
def test_nan_and_infinity_in_extremes(dtype):
    x = xp.asarray(samples(dtype))
    assert math.isnan(float(xp.max(x))) and math.isnan(float(xp.min(x)))
    numbers = samples(dtype)[~np.isnan(samples(dtype))]
    assert float(xp.max(xp.asarray(numbers))) == math.inf
    assert float(xp.min(xp.asarray(numbers))) == -math.inf


@pytest.mark.filterwarnings("ignore:Mean of empty slice")
@given(arrays(), st.data())
def test_mean(x, data):
    axis, keepdims = data.draw(axes(x.ndim)), data.draw(st.booleans())
    dtype = x.dtype if x.dtype.kind in "fc" else dtypes.float64
    with np.errstate(all="ignore"):
        expected = np.mean(x.astype(np.complex128), axis=axis, keepdims=keepdims)
        expected = np.asarray(expected if dtype.kind == "c" else expected.real).astype(dtype)
    if not np.isnan(expected).any():
        close(xp.mean(xp.asarray(x), axis=axis, keepdims=keepdims), expected, x)
    else:
        assert np.isnan(np.asarray(xp.mean(xp.asarray(x), axis=axis, keepdims=keepdims))).all() or x.size


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@given(arrays((dtypes.bool_, *dtypes.REAL_NUMERIC)), st.data())
def test_variance(x, data):
    axis, keepdims = data.draw(axes(x.ndim)), data.draw(st.booleans())
    correction = data.draw(st.sampled_from([0, 1, 0.5, -1, 3]))
    dtype = x.dtype if x.dtype.kind == "f" else dtypes.float64
    if x.dtype.kind in "iu" and x.dtype.itemsize == 8:
        x = (x // 2**40).astype(x.dtype)  # float64 holds these exactly
    wide = x.astype(np.longdouble)
    reduced = range(x.ndim) if axis is None else np.atleast_1d(axis).astype(int)
    count = math.prod(x.shape[k] for k in reduced)
    squares = np.sum((wide - np.mean(wide, axis=axis, keepdims=True)) ** 2, axis=axis, keepdims=keepdims)
    expected = np.asarray(squares / (count - correction) if count > correction else squares * np.nan)
    for function, value in ((xp.var, expected), (xp.std, np.sqrt(expected))):
        found = function(xp.asarray(x), axis=axis, correction=correction, keepdims=keepdims)
        assert (found.dtype, found.shape) == (dtype, expected.shape)
        scale = float(np.max(np.abs(wide))) if x.size else 0.0
        eps = float(np.finfo(dtype).eps)
        slack = 64 * eps * scale * (scale if function is xp.var else 1)
        np.testing.assert_allclose(np.asarray(found), value.astype(dtype), rtol=64 * eps, atol=slack)


def test_variance_survives_a_large_mean():
    x = np.array([1e9 + k for k in range(8)])
    assert float(xp.var(xp.asarray(x))) == 5.25


@given(arrays(min_dims=1), st.data())
def test_running_totals(x, data):
    axis, initial = data.draw(st.integers(-x.ndim, x.ndim - 1)), data.draw(st.booleans())
    dtype = WIDE.get(x.dtype.kind, x.dtype)
    for ours, theirs, start in ((xp.cumulative_sum, np.cumsum, 0), (xp.cumulative_prod, np.cumprod, 1)):
        values = x
        if start == 1:  # a product must stay in range
            values = (x % 3 if x.dtype.kind in "iu" else x / 500 if x.dtype.kind in "fc" else x).astype(
                x.dtype
            )
        with np.errstate(all="ignore"):
            wide = np.complex128 if x.dtype.kind == "c" else np.float64 if x.dtype.kind == "f" else dtype
            expected = theirs(values.astype(wide), axis=axis).astype(dtype)
        if initial:
            shape = list(x.shape)
            shape[axis] = 1
            front = np.full(shape, start, dtype)
            expected = np.concatenate([front, expected], axis=axis)
        found = ours(xp.asarray(values), axis=axis, include_initial=initial)
        close(found, expected, values)
        if x.ndim == 1:
            close(ours(xp.asarray(values), include_initial=initial), expected, values)


@pytest.mark.parametrize("name", ["sum", "prod", "cumulative_sum", "cumulative_prod"])
@pytest.mark.parametrize("dtype", dtypes.ALL, ids=str)
def test_types_of_totals(name, dtype):
    function = getattr(xp, name)
    x = xp.ones(3, dtype=dtype)
    assert function(x).dtype == WIDE.get(dtype.kind, dtype)
    for target in dtypes.NUMERIC:
        if dtype.kind == "c" and target.kind != "c":
            with pytest.raises(TypeError, match=f"{name}: {dtype} can't be {target}"):
                function(x, dtype=target)
        else:
            assert function(x, dtype=target).dtype == target
    with pytest.raises(TypeError, match=f"{name}: numeric"):
        function(x, dtype=xp.bool)


def test_small_integers_do_not_overflow():
    x = xp.full(300, 100, dtype=xp.int8)
    assert int(xp.sum(x)) == 30_000
    assert float(xp.mean(x)) == 100.0
    assert int(xp.cumulative_sum(x)[-1]) == 30_000
    check(xp.sum(x, dtype=xp.int8), np.array(30_000 % 256, np.int8))


@pytest.mark.parametrize("dtype", NUMERIC, ids=str)
def test_totals_over_nothing(dtype):
    x = xp.zeros((0, 2), dtype=dtype)
    check(xp.sum(x, axis=0), np.zeros(2, WIDE.get(dtype.kind, dtype)))
    check(xp.prod(x, axis=0), np.ones(2, WIDE.get(dtype.kind, dtype)))
    assert np.isnan(np.asarray(xp.mean(x, axis=0))).all()
    if dtype.kind == "c":
        assert np.isnan(np.asarray(xp.mean(x)).real) and np.isnan(np.asarray(xp.mean(x)).imag)


def test_parts_of_complex_means_are_independent():
    found = complex(xp.mean(xp.asarray([complex(math.nan, 1.0), complex(1.0, 3.0)])))
    assert math.isnan(found.real) and found.imag == 2.0
