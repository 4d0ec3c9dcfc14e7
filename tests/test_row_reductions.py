"""Reductions along rows: sums of few numbers, and argmax, which looks through one block of a row alone."""

from typing import Any

import numpy as np
import pytest

import toonygrad as xp

# Around blocks of 512.
LENGTHS = (2, 7, 511, 512, 513, 1024, 1025, 5000)


@pytest.fixture(autouse=True)
def compiled():
    with xp.config(compile="always"):
        yield


def searched(a: np.ndarray) -> None:
    """argmax and argmin of `a` along rows against NumPy's, alone and beside the extreme itself."""
    x = xp.asarray(a)
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(np.asarray(xp.argmax(x, axis=1)), np.argmax(a, axis=1))
        np.testing.assert_array_equal(np.asarray(xp.argmin(x, axis=1)), np.argmin(a, axis=1))
        place, extreme = xp.argmax(x, axis=1), xp.max(x, axis=1)
        xp.realize(place, extreme)
        np.testing.assert_array_equal(np.asarray(place), np.argmax(a, axis=1))
        np.testing.assert_array_equal(np.asarray(extreme), np.max(a, axis=1))


@pytest.mark.parametrize("dtype", ["int8", "uint16", "int64", "float32", "float64"])
def test_ties_are_decided_for_the_first(dtype: Any) -> None:
    for length in LENGTHS:
        searched(np.random.default_rng(length).integers(0, 4, (9, length)).astype(dtype))
        searched(np.random.default_rng(length).integers(0, 100, (9, length)).astype(dtype))


@pytest.mark.parametrize("dtype", ["int32", "float32", "float64"])
def test_rows_of_one_number_that_is_the_least_or_the_largest(dtype: Any) -> None:
    limits = np.iinfo(dtype) if dtype.startswith("int") else None
    for value in (limits.min, limits.max) if limits else (-np.inf, np.inf):
        for length in LENGTHS:
            searched(np.full((3, length), value, dtype))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_first_nan_is_the_extreme(dtype: Any) -> None:
    for length in LENGTHS:
        a = np.random.default_rng(length).normal(size=(8, length)).astype(dtype)
        for row, places in enumerate(
            [(0,), (length - 1,), (length // 2, length - 1), (1, 0), (), (min(600, length - 1),)]
        ):
            a[row, list(places)] = np.nan
        a[6], a[7] = np.nan, np.inf
        searched(a)


def test_zeros_of_both_signs_are_equal_and_the_extreme_has_its_sign() -> None:
    a = np.full((2, 1500), -0.0)
    a[0, 700], a[1, 3] = 0.0, 0.0
    x = xp.asarray(a)
    place, extreme = xp.argmax(x, axis=1), xp.max(x, axis=1)
    xp.realize(place, extreme)
    assert np.asarray(place).tolist() == [0, 0]
    assert not np.signbit(np.asarray(extreme)).any()


def test_what_is_searched_may_be_computed() -> None:
    a = np.random.default_rng(1).normal(size=(20, 3000)) * 100
    a[4, 2500] = 1e300  # beyond what the fast form of the cosine is good for
    x = xp.asarray(a)
    found = xp.argmax(xp.abs(x) - 3 * x[:, :1], axis=1)
    np.testing.assert_array_equal(np.asarray(found), np.argmax(np.abs(a) - 3 * a[:, :1], axis=1))
    cosine = np.asarray(xp.cos(x))
    np.testing.assert_array_equal(np.asarray(xp.argmin(xp.cos(x), axis=1)), np.argmin(cosine, axis=1))


def test_only_one_block_is_looked_through() -> None:
    (kernel,) = xp.explain(xp.argmax(xp.asarray(np.zeros((20, 3000))), axis=1)).kernels
    assert "range(place0, minimum(place0 + 512, n_k0))" in kernel.function


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sums_of_few_numbers_have_one_block(dtype: Any) -> None:
    random = np.random.default_rng(2)
    for length in (2, 3, 8, 31, 32, 33, 40):
        a = random.normal(size=(300, length)).astype(dtype)
        a[0], a[1, 0], a[2, 1], a[3, 0], a[3, 1] = -0.0, np.inf, np.nan, np.inf, -np.inf
        found = xp.sum(xp.asarray(a) * 3, axis=1)
        assert ("block" in xp.explain(found).kernels[0].function) == (length > 32)
        with np.errstate(invalid="ignore"):
            expected = np.sum(a.astype("float64") * 3, axis=1)
        np.testing.assert_allclose(np.asarray(found), expected, rtol=1e-4 if dtype == "float32" else 1e-12)
