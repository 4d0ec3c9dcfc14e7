"""Membership and distinct elements, against NumPy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy_reference import arrays, check, samples

import toonygrad as xp
from toonygrad import dtypes

MODES = pytest.mark.parametrize("mode", ["never", "always"])


@given(arrays(), st.booleans(), st.data())
def test_isin(x, invert, data):
    among = data.draw(arrays(x.dtype) | st.just(x.reshape(-1)[:1]))
    expected = np.isin(x, among, invert=invert)
    check(xp.isin(xp.asarray(x), xp.asarray(among), invert=invert), expected)


@MODES
@pytest.mark.parametrize("dtype", dtypes.ALL, ids=str)
def test_isin_among_few_and_many(dtype, mode):
    x, among = samples(dtype), samples(dtype)[::2]
    expected = (x[:, None] == among).any(axis=1)
    with xp.config(compile=mode):
        check(xp.isin(xp.asarray(x), xp.asarray(among)), expected)
        # More than are compared one by one.
        check(xp.isin(xp.asarray(x), xp.asarray(np.tile(among, (10, 1)))), expected)
        check(xp.isin(xp.asarray(x), xp.asarray(np.tile(among, 10)), invert=True), ~expected)


@MODES
def test_isin_of_scalars(mode):
    x = np.arange(200).reshape(2, 100)
    with xp.config(compile=mode):
        check(xp.isin(xp.asarray(x), 3), x == 3)
        check(xp.isin(xp.asarray(x), 3, invert=True), x != 3)
        check(xp.isin(3, xp.asarray(x)), np.array(True))
        check(xp.isin(-3, xp.asarray(x)), np.array(False))
        check(xp.isin(3.5, xp.asarray(x)), np.array(False))
        check(xp.isin(xp.asarray(3), xp.asarray(x)), np.array(True))
        check(xp.isin(xp.asarray(x), xp.asarray(3)), x == 3)


def test_isin_among_nothing_and_for_nothing():
    nothing = xp.asarray([], dtype=xp.int64)
    check(xp.isin(xp.asarray([1, 2]), nothing), np.array([False, False]))
    check(xp.isin(xp.asarray([1, 2]), nothing, invert=True), np.array([True, True]))
    check(xp.isin(xp.zeros((0, 2)), xp.arange(100)), np.zeros((0, 2), bool))


def test_isin_promotes():
    check(xp.isin(xp.asarray([1, 2]), xp.asarray([1.0, 2.5])), np.array([True, False]))
    check(xp.isin(xp.asarray([1, 2], dtype=xp.int8), xp.arange(2, 1000)), np.array([False, True]))


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda x: xp.isin(x, True), TypeError, "no common data type for int64 and a Python bool"),
        (lambda x: xp.isin(1, 2), TypeError, "at least one operand must be an array"),
        (lambda x: xp.isin(x, [1]), TypeError, "takes an Array, not list"),
        (lambda x: xp.isin(np.ones(2), x), TypeError, "takes an Array, not ndarray"),
        (lambda x: xp.isin(x, xp.asarray([True])), TypeError, "no common data type for int64 and bool"),
        (lambda x: xp.isin(x, 2**70), OverflowError, "the Python number .* is out of bounds for int64"),
    ],
)
def test_bad_arguments_of_isin(call, error, words):
    with pytest.raises(error, match=f"^isin: {words}"):
        call(xp.asarray([1, 2]))


# -- distinct elements -----------------------------------------------------------------------------


def unique(x, **keywords):
    return np.unique(x, equal_nan=False, **keywords)


@given(arrays(), st.booleans())
def test_unique(x, few):
    if few and x.dtype.kind != "b":
        x = np.sign(x).astype(x.dtype)
    values, indices, inverse, counts = unique(x, return_index=True, return_inverse=True, return_counts=True)
    inverse = inverse.reshape(x.shape)
    given_x = xp.asarray(x)
    check(xp.unique_values(given_x), values)
    everything = xp.unique_all(given_x)
    for found, expected in zip(everything, (values, indices, inverse, counts), strict=True):
        check(found, expected)
    assert everything._fields == ("values", "indices", "inverse_indices", "counts")
    with_counts = xp.unique_counts(given_x)
    check(with_counts.values, values)
    check(with_counts.counts, counts)
    assert with_counts._fields == ("values", "counts")
    with_inverse = xp.unique_inverse(given_x)
    check(with_inverse.values, values)
    check(with_inverse.inverse_indices, inverse)
    assert with_inverse._fields == ("values", "inverse_indices")


@pytest.mark.parametrize("dtype", dtypes.FLOATING, ids=str)
def test_nans_are_distinct_and_zeros_are_not(dtype):
    x = xp.asarray(np.array([np.nan, 0.0, -0.0, 1.0, np.nan, 1.0], dtype))
    everything = xp.unique_all(x)
    check(everything.values, np.array([0, 1, np.nan, np.nan], dtype))
    check(everything.indices, np.array([1, 3, 0, 4]))
    check(everything.counts, np.array([2, 2, 1, 1]))
    check(everything.inverse_indices, np.array([2, 0, 0, 1, 3, 1]))


@pytest.mark.parametrize("distinct", [1, 50, 10**9])
@pytest.mark.parametrize("dtype", [dtypes.int16, dtypes.int64, dtypes.float32, dtypes.complex64], ids=str)
def test_sets_of_many(dtype, distinct):
    """As many as are sorted and sought on all cores."""
    x = np.random.default_rng(3).integers(0, distinct, (200, 150)).astype(dtype)
    expected = unique(x, return_index=True, return_inverse=True, return_counts=True)
    expected = (*expected[:2], expected[2].reshape(x.shape), expected[3])
    given_x = xp.asarray(x)
    for found, wanted in zip(xp.unique_all(given_x), expected, strict=True):
        check(found, wanted)
    check(xp.unique_values(given_x), expected[0])
    check(xp.unique_counts(given_x).counts, expected[3])
    check(xp.unique_inverse(given_x).inverse_indices, expected[2])
    among = x[:, :120] + dtype.type(1)
    check(xp.isin(given_x, xp.asarray(among)), np.isin(x, among))


@MODES
def test_unique_of_what_is_pending(mode):
    with xp.config(compile=mode):
        x = xp.arange(6) % 3
        check(xp.unique_counts(x * 2).values + 1, np.array([1, 3, 5]))


@pytest.mark.parametrize("name", ["unique_all", "unique_counts", "unique_inverse", "unique_values"])
def test_unique_refuses_what_is_no_array(name):
    with pytest.raises(TypeError, match=f"^{name}: takes an Array, not list"):
        getattr(xp, name)([1, 2])
