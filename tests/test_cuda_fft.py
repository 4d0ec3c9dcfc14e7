"""Fourier transforms on GPUs that aren't there: what cuFFT is asked for, and that it's the right thing.

fake_cufft.py has cuFFT's functions with their signatures, and computes what plans mean.
"""

import gc
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from fake_cufft import ALLOC_FAILED, EXEC_FAILED, INVALID_SIZE, FakeCufft
from fake_driver import FakeDriver, fake_gpus
from hypothesis import given, settings
from hypothesis import strategies as st
from test_fft import NORMS, OF_ONE_AXIS, OF_SEVERAL, close, numbers

import toonygrad as xp
from toonygrad.runtime.cuda_fft import Cufft
from toonygrad.runtime.cuda_libraries import open_library


@pytest.fixture
def gpu() -> Iterator[FakeDriver]:
    with fake_gpus() as driver:
        yield driver
        gc.collect()


@pytest.fixture
def cufft(gpu) -> FakeCufft:
    return gpu.libraries[Cufft]


def on_gpu(host: np.ndarray) -> xp.Array:
    return xp.asarray(host, device="cuda:1").block_until_ready()


def waves(shape: tuple[int, ...], dtype: Any = "complex128") -> np.ndarray:
    generator = np.random.default_rng(0)
    values = generator.normal(size=shape)
    return (values + 1j * generator.normal(size=shape) if np.dtype(dtype).kind == "c" else values).astype(
        dtype
    )


def check(found: xp.Array, expected: np.ndarray, x: np.ndarray) -> None:
    assert found.device == "cuda:1"
    close(found, expected, x)


@pytest.mark.parametrize("name", OF_ONE_AXIS)
@settings(max_examples=25)
@given(data=st.data())
def test_along_one_axis(name, data):
    x, norm = data.draw(numbers(name)), data.draw(NORMS)
    axis, n = data.draw(st.integers(-x.ndim, x.ndim - 1)), data.draw(st.none() | st.integers(1, 9))
    with fake_gpus():
        before = xp.counters()
        found = getattr(xp.fft, name)(on_gpu(x), n=n, axis=axis, norm=norm)
        check(found, getattr(np.fft, name)(x, n=n, axis=axis, norm=norm), x)
        assert (xp.counters() - before).host_steps == 0


@pytest.mark.parametrize("name", OF_SEVERAL)
@settings(max_examples=25)
@given(data=st.data())
def test_along_several_axes(name, data):
    x, norm = data.draw(numbers(name)), data.draw(NORMS)
    count = data.draw(st.integers(1, x.ndim))
    chosen = data.draw(st.permutations(range(x.ndim)))[:count]
    s = data.draw(st.none() | st.lists(st.integers(1, 7), min_size=count, max_size=count))
    with fake_gpus():
        before = xp.counters()
        found = getattr(xp.fft, name)(on_gpu(x), s=s, axes=chosen, norm=norm)
        check(found, getattr(np.fft, name)(x, s=s, axes=chosen, norm=norm), x)
        assert (xp.counters() - before).host_steps == 0


# What is transformed; then the calls of the library, with sizes and how many transforms, and how many kernels
# run besides.
CALLS: dict[str, tuple[Any, ...]] = {
    "rows": ((5, 8), "complex128", lambda f, x: f.fft(x), [((8,), 5)], 0),
    "columns": ((5, 8), "complex64", lambda f, x: f.fft(x, axis=0), [((5,), 8)], 1),
    "stacks": ((3, 4, 8), "complex128", lambda f, x: f.fft(x), [((8,), 12)], 0),
    "the middle axis": ((3, 4, 8), "complex128", lambda f, x: f.fft(x, axis=1), [((4,), 24)], 1),
    "two axes": ((5, 8), "complex128", lambda f, x: f.fftn(x), [((5, 8), 1)], 0),
    "three axes": ((3, 4, 8), "complex128", lambda f, x: f.ifftn(x, norm="forward"), [((3, 4, 8), 1)], 0),
    "four axes": ((2, 3, 4, 5), "complex64", lambda f, x: f.fftn(x), [((3, 4, 5), 2), ((2,), 60)], 1),
    "two of three": ((3, 4, 8), "complex128", lambda f, x: f.fftn(x, axes=(0, 1)), [((3, 4), 8)], 1),
    "real": ((5, 8), "float32", lambda f, x: f.rfftn(x), [((5, 8), 1)], 0),
    "real, columns first": ((5, 8), "float64", lambda f, x: f.rfftn(x, axes=(1, 0)), [((8, 5), 1)], 1),
    "to real": ((5, 8), "complex64", lambda f, x: f.irfft(x, norm="forward"), [((14,), 5)], 0),
    "to real, several": ((5, 8), "complex128", lambda f, x: f.irfftn(x), [((5,), 8), ((14,), 5)], 3),
    "divided once": ((5, 8), "complex128", lambda f, x: f.ifftn(x), [((5, 8), 1)], 1),
    "there and back": ((5, 8), "complex128", lambda f, x: f.ifft(f.fft(x)), [((8,), 5)] * 2, 1),
    "padded": ((5, 8), "complex128", lambda f, x: f.fft(x, n=16), [((16,), 5)], 2),
    "cut": ((5, 8), "complex128", lambda f, x: f.fft(x, n=4), [((4,), 5)], 0),
    "a part": ((9, 16), "complex128", lambda f, x: f.fft(x[1::2, 4:12]), [((8,), 4)], 0),
    "parts of stacks": ((9, 5, 8), "complex128", lambda f, x: f.fft(x[::2, 1:]), [((8,), 5)] * 4, 0),
    "of many stacks": ((40, 19, 8), "complex128", lambda f, x: f.fft(x[::2, 1:]), [((8,), 360)], 1),
    "every other": ((5, 16), "complex128", lambda f, x: f.fft(x[:, ::2]), [((8,), 5)], 1),
    "backwards": ((5, 8), "complex128", lambda f, x: f.fft(x[::-1]), [((8,), 5)], 1),
    "transposed": ((5, 8), "complex128", lambda f, x: f.fft(x.T, axis=0), [((8,), 5)], 0),
    "as complex": ((5, 8), "float64", lambda f, x: f.fft(x), [((8,), 5)], 1),
    "not aligned": ((5, 8), "complex64", lambda f, x: f.fft(x[:, 1:]), [((7,), 5)], 1),
}


@pytest.mark.parametrize("name", CALLS)
def test_calls(gpu, cufft, name):
    shape, dtype, function, calls, kernels = CALLS[name]
    x = waves(shape, dtype)
    there = on_gpu(x)
    before = xp.counters()
    found = function(xp.fft, there)
    found.block_until_ready()
    spent = xp.counters() - before
    check(found, function(np.fft, x), x)
    assert [(sizes, count) for sizes, count, _ in cufft.executed] == calls
    assert (spent.kernels_launched, spent.host_steps) == (kernels, 0)


def test_what_stands_around_fuses(gpu):
    x = on_gpu(waves((6, 8)))
    explained = xp.explain(xp.abs(xp.fft.ifft(x * 2)) + 1)
    assert [kernel.how for kernel in explained.kernels] == [
        "compiled for cuda:1",
        "library",
        "compiled for cuda:1",
    ]
    assert explained.kernels[1].name == "cufft"


def test_another_size_compiles_nothing(gpu):
    for size in (8, 8, 10):
        before = len(set(gpu.launches))
        x = waves((6, size))
        check(xp.fft.ifft(on_gpu(x)), np.fft.ifft(x), x)
        assert size == 8 or len(set(gpu.launches)) == before


def test_infinite_numbers_are_divided_by_parts(gpu):
    x = np.array([[np.inf, 1.0, 2.0, 3.0]], complex)
    assert np.isinf(np.asarray(xp.fft.ifft(on_gpu(x), n=1))).all()


def test_nothing_to_transform(gpu, cufft):
    assert xp.fft.fft(on_gpu(waves((0, 4)))).shape == (0, 4)
    assert xp.fft.rfft(on_gpu(waves((0, 4), "float32"))).block_until_ready().device == "cuda:1"
    assert not cufft.executed


def test_plans_are_kept_up_to_a_number(gpu, cufft):
    for _ in range(2):
        for size in range(2, 70):
            x = waves((size,))
            check(xp.fft.fft(on_gpu(x)), np.fft.fft(x), x)
    assert len(cufft.plans) == 64 and cufft.made == 2 * 68
    np.asarray(xp.fft.fft(on_gpu(waves((69,)))))
    assert cufft.made == 2 * 68


def test_memory_kept_for_reuse_is_given_up(gpu, cufft):
    x = waves((4, 8))
    for name in ("MakePlanMany64", "Exec"):
        cufft.status[name] = ALLOC_FAILED
        check(xp.fft.fft(on_gpu(x)), np.fft.fft(x), x)
        assert not cufft.status
    assert len(cufft.plans) == 1  # the one that wasn't made is gone


def test_errors_have_names(gpu, cufft):
    for status, name in (
        (EXEC_FAILED, "CUFFT_EXEC_FAILED"),
        (INVALID_SIZE, "CUFFT_INVALID_SIZE"),
        (99, "99"),
    ):
        cufft.status["Exec"] = status
        with pytest.raises(RuntimeError, match=rf"^cuFFT: {name}$"):
            xp.fft.fft(on_gpu(waves((4, 8)))).block_until_ready()


def test_without_the_library_the_host_computes(gpu):
    del gpu.libraries[Cufft]
    x = waves((4, 8))
    there = on_gpu(x)
    assert [kernel.how for kernel in xp.explain(xp.fft.fft(there)).kernels] == ["on the host"]
    before = xp.counters()
    check(xp.fft.fft(there), np.fft.fft(x), x)
    assert (xp.counters() - before).host_steps == 1


def test_interpreting_takes_no_library(gpu, cufft):
    x = waves((4, 8))
    with xp.config(compile="never"):
        check(xp.fft.fft(on_gpu(x)), np.fft.fft(x), x)
        assert [kernel.how for kernel in xp.explain(xp.fft.fft(on_gpu(x))).kernels] == ["on the host"]
    assert not cufft.executed


def test_a_library_without_its_functions():
    old = FakeCufft(lambda work: None, lambda address, nbytes: None)
    del old.cufftMakePlanMany64
    assert open_library(Cufft, old, 1000) is None
