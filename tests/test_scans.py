"""Running sums and products along rows, across them, in blocks and in chunks, and what consumes them."""

from typing import Any

import numpy as np
import pytest

import toonygrad as xp
from toonygrad.codegen.loops import (
    COLUMN_BLOCK,
    SCAN_BLOCK,
    SCAN_CHUNK,
    SCAN_COLUMNS,
    SCAN_NARROWEST,
    SCAN_WAVE,
)

# Rows shorter than a block and longer, columns too few to lie side by side and in several blocks, and enough
# of either to be cut in chunks, the last of them short.
SHAPES = [
    (5,),
    (33,),
    (SCAN_BLOCK + 3,),
    (2 * SCAN_CHUNK - 1,),
    (2 * SCAN_CHUNK + 5,),
    (3, 2 * SCAN_CHUNK + 1),
    (40, 700),
    (700, 40),
    (3000, SCAN_NARROWEST - 1),
    (3000, SCAN_NARROWEST),
    (1100, 4 * SCAN_COLUMNS + 1),
    (9, 5, 130),
    (130, 9, 5),
    (3, 2 * COLUMN_BLOCK + 7),
]
DTYPES = ["float64", "float32", "int64", "int8", "uint16", "complex128", "bool"]


@pytest.fixture(autouse=True)
def compiled():
    with xp.config(compile="always"):
        yield


def numbers(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    generator = np.random.default_rng(0)
    values = generator.integers(0, 5, shape)
    if dtype == "complex128":
        return values + 1j * generator.integers(0, 5, shape)
    return values.astype(dtype)


def function(array: xp.Array) -> str:
    (kernel,) = xp.explain(array).kernels
    return kernel.function


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_running_sums_and_products(shape: tuple[int, ...], dtype: str) -> None:
    a = numbers(shape, dtype)
    x = xp.asarray(a)
    for axis in range(len(shape)):
        # Sums of small whole numbers: every order of adding gives the same.
        np.testing.assert_array_equal(np.asarray(xp.cumulative_sum(x, axis=axis)), np.cumsum(a, axis=axis))
        if a.dtype.kind in "iu":
            found = np.asarray(xp.cumulative_prod(x + 1, axis=axis))
            np.testing.assert_array_equal(found, np.cumprod(a + 1, axis=axis, dtype=found.dtype))
        elif a.dtype.kind == "f":
            near_one = np.cos(a * 0.1)
            found = np.asarray(xp.cumulative_prod(xp.asarray(near_one), axis=axis))
            expected = np.cumprod(near_one, axis=axis, dtype=np.float64)
            np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-40)


@pytest.mark.parametrize("shape", [(3, 70000), (70000, 3), (70000, 20), (500, 600)], ids=str)
def test_consumers_and_producers_share_the_kernel(shape: tuple[int, ...]) -> None:
    a = np.random.default_rng(1).normal(size=shape)
    a[1, 1] = 1e300  # beyond what the fast form of a sine is good for
    x = xp.asarray(a)
    for axis in (0, 1):
        running = xp.cumulative_sum(xp.sin(x), axis=axis)
        found = xp.cos(running) + x
        assert function(found).count("out") > 1
        expected = np.cos(np.cumsum(np.sin(a), axis=axis)) + a
        np.testing.assert_allclose(np.asarray(found), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("shape", [(40, 600), (600, 40), (20, 40000), (40000, 20)], ids=str)
def test_running_sums_that_leave_what_a_fast_form_is_good_for(shape: tuple[int, ...]) -> None:
    a = np.random.default_rng(8).integers(0, 9, shape).astype(np.float64)
    a[7, 11], a[15, 3] = 2.0**300, 2.0**100
    for axis in (0, 1):
        running = np.cumsum(a, axis=axis)
        found = xp.cos(xp.cumulative_sum(xp.asarray(a), axis=axis))
        np.testing.assert_allclose(np.asarray(found), np.cos(running), rtol=1e-9, atol=1e-9)
        found = xp.cumulative_sum(xp.cos(xp.cumulative_sum(xp.asarray(a), axis=axis)), axis=axis)
        expected = np.cumsum(np.cos(running), axis=axis)
        np.testing.assert_allclose(np.asarray(found), expected, rtol=1e-9, atol=1e-9)


def test_scans_of_one_array_share_a_kernel() -> None:
    a = np.random.default_rng(2).integers(0, 9, (2, 50000)).astype(np.float64)
    x = xp.asarray(a)
    found = [xp.cumulative_sum(x, axis=1), xp.cumulative_sum(x * 2, axis=1)]
    assert len(xp.explain(*found).kernels) == 1
    for one, other in zip(found, [np.cumsum(a, 1), np.cumsum(a * 2, 1)], strict=True):
        np.testing.assert_array_equal(np.asarray(one), other)


def test_scan_of_a_scan() -> None:
    a = np.random.default_rng(3).integers(0, 9, (3, 2 * SCAN_CHUNK)).astype(np.float64)
    for axis in (0, 1):
        found = xp.cumulative_sum(xp.cumulative_sum(xp.asarray(a), axis=axis), axis=axis)
        np.testing.assert_array_equal(np.asarray(found), np.cumsum(np.cumsum(a, axis), axis))


def test_views_and_axes_that_are_split() -> None:
    a = np.random.default_rng(4).integers(0, 9, (60, 50, 40)).astype(np.float64)
    x = xp.asarray(a)
    found = xp.cumulative_sum(xp.permute_dims(x, (2, 0, 1))[::-1, 3:], axis=1)
    np.testing.assert_array_equal(np.asarray(found), np.cumsum(a.transpose(2, 0, 1)[::-1, 3:], axis=1))
    found = xp.cumulative_sum(xp.reshape(x[:, ::2], (30, 50, 40)), axis=0)
    np.testing.assert_array_equal(np.asarray(found), np.cumsum(a[:, ::2].reshape(30, 50, 40), axis=0))
    found = xp.cumulative_sum(xp.reshape(x[:, ::2], (1500, 40)), axis=0)
    np.testing.assert_array_equal(np.asarray(found), np.cumsum(a[:, ::2].reshape(1500, 40), axis=0))
    found = xp.cumulative_sum(xp.reshape(xp.broadcast_to(x[:1], (60, 50, 40)), (-1,)))
    np.testing.assert_array_equal(np.asarray(found), np.cumsum(np.broadcast_to(a[:1], a.shape)))


def test_threads_change_no_bit() -> None:
    generator = np.random.default_rng(5)
    for shape in [(300001,), (4, 70001), (30001, 37), (300, 2000), (5, 3000, 50), (2 * SCAN_WAVE + 9,)]:
        for dtype in (np.float64, np.float32):
            a = generator.normal(size=shape).astype(dtype)
            for axis in range(len(shape)):
                results = set()
                for threads in (1, 2, 5):
                    with xp.config(num_threads=threads):
                        x = xp.asarray(a)
                        plain = np.asarray(xp.cumulative_sum(x, axis=axis))
                        long = np.asarray(xp.cumulative_sum(xp.exp(x * 0.5), axis=axis))
                        results.add(plain.tobytes() + long.tobytes())
                assert len(results) == 1, (shape, dtype, axis)


def test_launches_of_chunks() -> None:
    """Twice for each wave; once where one thread takes the chunks in order, which may be one of two."""
    x = xp.asarray(np.ones(4 * SCAN_WAVE))
    rows = xp.asarray(np.ones((2, 2 * SCAN_WAVE)))
    for threads, array, launches in [(1, x, 1), (2, x, 1), (3, x, 8), (1, rows, 1), (2, rows, 8)]:
        with xp.config(num_threads=threads):
            before = xp.counters()
            xp.realize(xp.cumulative_sum(array, axis=array.ndim - 1))
            assert (xp.counters() - before).kernels_launched == launches


def test_long_sums_lose_no_more_than_one_after_the_other() -> None:
    a = np.random.default_rng(6).normal(size=1_000_000)
    exact = np.cumsum(a.astype(np.longdouble))
    found = np.asarray(xp.cumulative_sum(xp.asarray(a)))
    assert np.abs(found - exact).max() <= np.abs(np.cumsum(a) - exact).max()


def test_running_sums_of_what_is_not_negative_never_fall() -> None:
    a = np.random.default_rng(7).random(200_000)
    for x in (a, a.astype(np.float32), a.reshape(-1, 20)):
        assert (np.diff(np.asarray(xp.cumulative_sum(xp.asarray(x), axis=0)), axis=0) >= 0).all()


def test_products_whose_parts_leave_the_range_of_floats() -> None:
    a = np.full(4 * SCAN_CHUNK, 1.0)
    a[::2], a[1::2] = 1e-200, 1e200
    np.testing.assert_allclose(
        np.asarray(xp.cumulative_prod(xp.asarray(a))), np.cumprod(a), rtol=1e-6, atol=0
    )
    a = np.concatenate([np.full(SCAN_CHUNK, 10.0), np.full(SCAN_CHUNK, 0.1)])
    assert np.asarray(xp.cumulative_prod(xp.asarray(a)))[-1] == np.inf


def test_infinities_and_nans() -> None:
    a = np.zeros((3, 2 * SCAN_CHUNK))
    a[0, 700], a[1, 700], a[1, 40000 % a.shape[1]], a[2, 5] = np.inf, np.inf, -np.inf, np.nan
    for values in (a, a.T.copy()):
        axis = values.shape.index(max(values.shape))
        with np.errstate(invalid="ignore"):
            expected = np.cumsum(values, axis=axis)
        np.testing.assert_array_equal(np.asarray(xp.cumulative_sum(xp.asarray(values), axis=axis)), expected)


def test_few_long_scans_run_in_chunks_and_many_do_not() -> None:
    long = function(xp.cumulative_sum(xp.asarray(np.ones(8 * SCAN_CHUNK))))
    assert "storing" in long
    assert "carry0" in long
    many = function(xp.cumulative_sum(xp.asarray(np.ones((300, 3000))), axis=1))
    assert "storing" not in many
    sides = function(xp.cumulative_sum(xp.asarray(np.ones((300, 3000))), axis=0))
    assert "for lane in" in sides
    assert "storing" not in sides


def test_an_index_out_of_bounds_in_a_scan() -> None:
    x = xp.asarray(np.ones(3 * SCAN_CHUNK))
    places = np.arange(3 * SCAN_CHUNK)
    places[-1] = 3 * SCAN_CHUNK
    with pytest.raises(IndexError, match="out of bounds for axis 0"):
        xp.realize(xp.cumulative_sum(xp.take(x, xp.asarray(places))))
