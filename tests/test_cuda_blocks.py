"""Blocks replaced in arrays, on GPUs that aren't there: one kernel writes them and what surrounds them."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from fake_driver import FakeDriver, fake_gpus
from numpy.testing import assert_allclose

import toonygrad as xp
from toonygrad.runtime.cuda_compile import compile_ptx

INSIDE = slice(1, -1)
SPACE, PLANE = (INSIDE,) * 3, (INSIDE,) * 2


@pytest.fixture
def gpu() -> Iterator[FakeDriver]:
    with fake_gpus(1 << 26) as driver:
        yield driver


def around(u: Any) -> Any:
    return u[PLANE] * -4 + u[:-2, 1:-1] + u[2:, 1:-1] + u[1:-1, :-2] + u[1:-1, 2:]


def replaced(
    shape: tuple[int, ...], key: Any, function: Callable[[Any], Any], dtype: str = "float32"
) -> tuple[xp.Array, np.ndarray]:
    """An array, and NumPy's, of which `key` is replaced."""
    host = np.random.default_rng(0).integers(-99, 99, shape).astype(dtype)
    u = xp.asarray(host, device="cuda").block_until_ready()
    u[key] = function(u)
    host[key] = function(host.copy())
    return u, host


@pytest.mark.parametrize(
    ("shape", "key", "function"),
    [
        ((100, 100), PLANE, around),
        ((97, 131), PLANE, around),
        ((100, 128), (slice(3, -2), slice(5, None)), lambda u: u[3:-2, 5:] * 2),
        ((60, 200), (slice(None), slice(40, None)), lambda u: u[:, 40:] + u[:, :-40]),
        ((100, 60), slice(8, -3), lambda u: u[8:-3] + u[5:-6]),
        ((9000,), INSIDE, lambda u: u[1:-1] + u[2:] - u[:-2]),
        ((20, 20, 70), SPACE, lambda u: u[SPACE] + u[:-2, 1:-1, 1:-1] * u[1:-1, 1:-1, 2:]),
        ((8, 40, 40), (slice(None), *PLANE), lambda u: u[:, 1:-1, 1:-1] * 2),
        ((90, 90), PLANE, lambda u: u.T[PLANE] * 2),
        ((90, 96), PLANE, lambda u: u[PLANE][::-1, ::-1] + u[0, 0]),
    ],
    ids=["plane", "odd rows", "unlike", "far", "rows", "row", "space", "planes", "transposed", "flipped"],
)
def test_one_kernel_writes_all(gpu, shape, key, function):
    before = len(gpu.launches)
    u, host = replaced(shape, key, function)
    assert len(gpu.launches) == before + 1
    assert_allclose(np.asarray(u), host, rtol=1e-5)


@pytest.mark.parametrize("dtype", ["float64", "complex64", "int8", "bool"])
def test_all_types(gpu, dtype):
    u, host = replaced((90, 90), PLANE, lambda u: u[PLANE] == u[:-2, :-2], dtype)
    assert_allclose(np.asarray(u), host)


def test_what_it_is_computed_of_may_be_stored_before(gpu):
    def centred(u: Any) -> Any:
        return u[PLANE] - u.__array_namespace__().sum(u, axis=0)[1:-1]

    before = len(gpu.launches)
    u, host = replaced((90, 90), PLANE, centred)
    assert len(gpu.launches) == before + 2
    assert_allclose(np.asarray(u), host, rtol=1e-5)


def test_where_much_surrounds_it_that_is_copied(gpu):
    u, host = replaced((100, 100), slice(40, None), lambda u: u[40:] + u[:60])
    assert_allclose(np.asarray(u), host)


def test_the_inside_is_read_in_vectors_and_looks_at_no_border(gpu, monkeypatch):
    texts, kernel = {}, gpu.kernel

    def noted(number: int, text: str, name: str, parameters: Any) -> Any:
        texts[name] = text
        assert ".local" not in compile_ptx(text, name, parameters)
        return kernel(number, text, name, parameters)

    monkeypatch.setattr(gpu, "kernel", noted)
    for side in (96, 128):
        replaced((side, side), PLANE, around)
    (text,) = texts.values()  # sizes are arguments
    together = text[text.index("if whole") : text.index("(not whole)")]
    assert "where" not in together
    assert (together.count("load_vector("), together.count("] = in0["), together.count("store_v")) == (
        4,
        4,
        2,
    )
