"""Reductions across rows: few rows and many, columns in one block and in several, what is computed once."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import toonygrad as xp

# Rows around four at once, columns around a block, and enough of both to be cut in chunks.
SHAPES = [
    (2, 9),
    (3, 70),
    (4, 1025),
    (5, 4096),
    (9, 4097),
    (63, 300),
    (64, 9001),
    (70, 3),
    (131, 4100),
    (2000, 130),
]


@pytest.fixture(autouse=True)
def compiled():
    with xp.config(compile="always"):
        yield


def numbers(shape: tuple[int, ...], dtype: Any, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 9, shape).astype(dtype)


def functions(*arrays: xp.Array) -> list[str]:
    return [kernel.function for kernel in xp.explain(*arrays).kernels]


# Of x (rows, columns); sums are of small whole numbers, so that every order of adding gives the same.
REDUCED: dict[str, Callable[..., Any]] = {
    "sum": lambda xp, x: xp.sum(x, axis=0),
    "largest": lambda xp, x: xp.max(x * 2, axis=0),
    "any": lambda xp, x: xp.any(x > 7, axis=0),
    "from the column alone": lambda xp, x: xp.sum(x * (x[0] + x[1] * 3), axis=0),
    "deviation": lambda xp, x: xp.max(x - xp.sum(x, axis=0), axis=0),
    "two at once": lambda xp, x: xp.sum(x, axis=0) - xp.max(x, axis=0),
}


@pytest.mark.parametrize("dtype", ["int32", "float32", "float64"])
@pytest.mark.parametrize("name", REDUCED)
def test_columns(name: str, dtype: str) -> None:
    for shape in SHAPES:
        a = numbers(shape, dtype)
        found = REDUCED[name](xp, xp.asarray(a))
        np.testing.assert_array_equal(
            np.asarray(found), REDUCED[name](np, a).astype(found.dtype), err_msg=str(shape)
        )


def test_columns_of_axes_that_do_not_lie_together() -> None:
    a = numbers((5, 6, 7, 30), np.float64)
    x = xp.asarray(a)
    for axis in ((0, 2), (0, 1), (1, 2), 1, 2):
        np.testing.assert_array_equal(np.asarray(xp.sum(x, axis=axis)), np.sum(a, axis=axis))


def test_columns_with_guarded_functions() -> None:
    a = numbers((70, 1500), np.float64)
    a[5, 1030] = 1e300  # beyond what the fast form is good for
    found = xp.sum(xp.sin(xp.asarray(a)), axis=0)
    np.testing.assert_allclose(np.asarray(found), np.sin(a).sum(0), rtol=1e-12, atol=1e-13)
    found = xp.sum(xp.asarray(a) * xp.cos(xp.asarray(a)[5]), axis=0)
    np.testing.assert_allclose(np.asarray(found), (a * np.cos(a[5])).sum(0), rtol=1e-12)


def test_columns_that_are_gathered() -> None:
    a, places = numbers((70, 50), np.float64), np.arange(-40, 40) % 50
    found = xp.sum(xp.take(xp.asarray(a), xp.asarray(places), axis=1), axis=0)
    np.testing.assert_array_equal(np.asarray(found), a[:, places].sum(0))
    outside = xp.sum(xp.take(xp.asarray(a), xp.asarray(places + 20), axis=1), axis=0)
    with pytest.raises(IndexError, match="out of bounds for axis 1"):
        outside.block_until_ready()


def test_what_a_column_needs_is_computed_before_its_rows() -> None:
    x = xp.asarray(numbers((200, 300), np.float64))
    *_, text = functions(xp.max(x / xp.sqrt(x[0] + 1), axis=0))
    assert text.index("sqrt(") < text.index("for group")
    assert text.count("sqrt(") == 1


def test_sizes_need_few_forms_of_columns() -> None:
    texts: set[str] = set()
    for shape in SHAPES:
        texts.update(functions(xp.sum(xp.asarray(numbers(shape, np.float64)), axis=0)))
    assert len(texts) <= 2  # whole, and in chunks


def test_threads_change_no_bit_of_columns() -> None:
    a = np.random.default_rng(5).normal(size=(900, 700)).astype(np.float32)
    results = []
    for threads in (1, 2, 3):
        with xp.config(num_threads=threads):
            results.append(np.asarray(xp.var(xp.asarray(a), axis=0)).tobytes())
    assert len(set(results)) == 1


def test_many_reductions_of_one_kernel_take_shorter_blocks() -> None:
    a = numbers((70, 5000), np.float64)
    x = xp.asarray(a)
    found = [function(x * k, axis=0) for k in (1, 2, 3) for function in (xp.sum, xp.max)]
    (text,) = functions(*found)
    assert text.count("= float64_scratch(1024)") == 6
    xp.realize(*found)
    expected = [function(a * k, axis=0) for k in (1, 2, 3) for function in (np.sum, np.max)]
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(np.asarray(one), other)
